"""Cameras with lenses, real and virtual: what their images are like, and how the distortion is undone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor
from torch.nn.functional import interpolate

from vo3d.datasets.resize import Size, is_resized, resize_intrinsics
from vo3d.errors import Vo3dError
from vo3d.geometry import distort_points, sample_image, undistort_points
from vo3d.geometry.distortion import LensModel
from vo3d.world.render import pinhole_camera
from vo3d.world.sensor import Sensor

ZOOMS = tuple(1.01**step for step in range(-70, 71))  # of an undistorted image against its original: 0.5 to 2
BORDER_POINTS = 17  # of each side, for the choice of the zoom
MAP_STEP = 4  # pixels between the places where a lens is computed; linear between them, within 0.01 pixels
SAME = 0.01  # pixels, after a lens is applied and undone
OFF_CENTRE = 0.1  # of the image's width or height, from which on a principal point is worth a line
LEAST_ANGLE, MOST_ANGLE = 3.0, 150.0  # degrees of a field of view, outside of which it is


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredCamera:
    """A camera as its images are stored; one object for all its images, so that the way to a pinhole is found once.

    `name` begins messages; `K` is in pixels of images of `size`; `lens` is a model of `vo3d.geometry.distortion` and
    its coefficients, None for an ideal pinhole; `zoom` is the factor on the focal lengths when the lens is undone, None
    for the least that leaves no pixel without a view.
    """

    name: str
    size: Size
    K: Float64[Tensor, "3 3"]
    lens: tuple[LensModel, tuple[float, ...]] | None = None
    zoom: float | None = None


def fit_to_images(
    cameras: Sequence[StoredCamera], images: Sequence[Path], sizes: Sequence[Size]
) -> tuple[list[StoredCamera], list[str]]:
    """Give each image its camera at the `sizes` that the images have, and a line where that is another than its own.

    Raises Vo3dError for an image of another shape than its camera's.
    """
    resized: dict[tuple[StoredCamera, Size], StoredCamera] = {}
    changed = []
    for path, camera, size in zip(images, cameras, sizes, strict=True):
        check_centre(camera.K, camera.size, f"{camera.name}, an image")
        found, expected = (f"{width}x{height}" for height, width in (size, camera.size))
        if not is_resized(size, camera.size):
            remedy = "give the images that the cameras were made for, or smaller ones of their shape"
            if is_resized((size[1], size[0]), camera.size):
                remedy = "it is for images that were turned: turn these too, as their EXIF orientation says (exiftran)"
            raise Vo3dError(f"{path}: is {found} pixels, but its camera in {camera.name} is for {expected}: {remedy}")
        if size != camera.size:
            changed.append(f"{path.name} is {found} pixels, its camera for {expected}")
        if (camera, size) not in resized:
            K = resize_intrinsics(camera.K, camera.size, size)
            resized[camera, size] = camera if size == camera.size else replace(camera, size=size, K=K)
    total = len(images)
    notes = [f"{len(changed)} of {total} images are resized ({changed[0]}): K is scaled to them"] if changed else []
    return [resized[camera, size] for camera, size in zip(cameras, sizes, strict=True)], notes


def check_centre(K: Float64[Tensor, "3 3"], size: Size, place: Path | str) -> None:
    """Raise Vo3dError, which begins with `place`, for a principal point outside of images of a size."""
    (height, width), cx, cy = size, float(K[0, 2]), float(K[1, 2])
    if not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        raise Vo3dError(
            f"{place}: is {width}x{height} pixels, but its camera has the principal point ({cx:g}, {cy:g}), outside of "
            "it: K is for images of another size: give the images it was made for, or scale K"
        )


def camera_notes(views: Sequence[tuple[str, Float64[Tensor, "3 3"], Size]]) -> list[str]:
    """Say of which views the principal point is far from the centre, or the field of view is one that few lenses have.

    Each view has a name, K, and the size of its image.
    """
    aside, odd = [], []
    for name, K, (height, width) in views:
        (fx, _, cx), (_, fy, cy), _ = K.tolist()
        if abs((cx + 0.5) / width - 0.5) > OFF_CENTRE or abs((cy + 0.5) / height - 0.5) > OFF_CENTRE:
            aside.append(f"{name} has ({cx:g}, {cy:g}) in {width}x{height} pixels")
        angle = 2 * math.degrees(math.atan(max(width / fx, height / fy) / 2))
        if not LEAST_ANGLE < angle < MOST_ANGLE:
            odd.append(f"{name} has {angle:.3g} degrees: fx {fx:g} at {width}x{height} pixels")
    notes = []
    if aside:
        notes.append(
            f"the principal point is far from the centre in {len(aside)} of {len(views)} views ({aside[0]}): right "
            "where the images are cut out of larger ones; else K is for images of another size"
        )
    if odd:
        notes.append(
            f"{len(odd)} of {len(views)} views have a field of view that few lenses have ({odd[0]}): is K for images "
            "of another size?"
        )
    return notes


def lens_pixels(camera: StoredCamera) -> Float32[Tensor, "h w 2"]:
    """Map each pixel of the undistorted image to where the real lens shows it, within 0.01 pixels."""
    return between(_coarse_map(camera), camera.size)


def between(steps: Float32[Tensor, "rows columns 2"], size: Size) -> Float32[Tensor, "h w 2"]:
    """Interpolate what `at_steps` finds to every pixel of images of a size."""
    rows, columns = ((count - 1) * MAP_STEP + 1 for count in steps.shape[:2])
    pixels = interpolate(steps.movedim(-1, 0)[None], size=[rows, columns], mode="bilinear", align_corners=True)
    return pixels[0, :, : size[0], : size[1]].movedim(0, -1)


def undo_lens(camera: StoredCamera, image: Float32[Tensor, "3 h w"]) -> Float32[Tensor, "3 h w"]:
    """Make the image that an ideal pinhole with the matrix `pinhole(camera)` shows out of what the lens does."""
    return image if camera.lens is None else sample_image(image, lens_pixels(camera))[0]


@lru_cache(maxsize=16)
def virtual_camera(sensor: Sensor, size: Size) -> StoredCamera:
    """Describe the images of `size` that a virtual camera takes, one object for all that are alike."""
    K = pinhole_camera(size, sensor).K
    return StoredCamera(name="the virtual camera", size=size, K=K, lens=sensor.lens)


@lru_cache(maxsize=1024)
def pinhole(camera: StoredCamera) -> Float64[Tensor, "3 3"]:
    """Find K of the undistorted images: the camera's, with focal lengths that leave no pixel without a view.

    Raises Vo3dError when no zoom from one half to two does, nor the camera's own, or the principal point lies outside
    of the image.
    """
    if camera.lens is None:
        return camera.K
    check_centre(camera.K, camera.size, f"{camera.name}, an image")
    K = zoomed_to_fill(camera, camera.K, partial(sees, camera))
    if K is None and camera.zoom is not None:
        angle = math.degrees(2 * math.atan(camera.size[1] / 2 / float(camera.K[0, 0]) / camera.zoom))
        raise Vo3dError(
            f"{camera.name}: its lens does not show {angle:.0f} degrees over the whole image: give a smaller field of "
            "view"
        )
    if K is None:
        raise Vo3dError(
            f"{camera.name}: its lens cannot be undone over the whole image: undistort the images first, such as with "
            "COLMAP's image_undistorter"
        )
    return K


def sees(camera: StoredCamera, ideal: Float64[Tensor, "*n 2"]) -> Bool[Tensor, "*n"]:
    """Tell which pixels of an ideal image with the camera's own K lie within what its lens shows."""
    last = torch.tensor([camera.size[1] - 1, camera.size[0] - 1], dtype=torch.float64)
    if camera.lens is None:
        return ((ideal >= 0) & (ideal <= last)).all(-1)
    model, coefficients = camera.lens
    real = distort_points(ideal, camera.K, coefficients, model)
    inside = ((real >= 0) & (real <= last)).all(-1)
    # a polynomial that stops growing brings far points back into the image: they do not come back from there
    there_and_back = undistort_points(real, camera.K, coefficients, model)
    comes_back: Tensor = (there_and_back - ideal).norm(dim=-1) < SAME
    return inside & comes_back


def zoomed_to_fill(
    camera: StoredCamera, K: Float64[Tensor, "3 3"], seen: Callable[[Float64[Tensor, "*n 2"]], Bool[Tensor, "*n"]]
) -> Float64[Tensor, "3 3"] | None:
    """Zoom K by the camera's zoom or the least of `ZOOMS`, at which all pixels of an image are `seen`.

    `seen` is told of pixels of K itself. Returns None where there is no such zoom.
    """
    zooms = ZOOMS if camera.zoom is None else (camera.zoom,)
    height, width = camera.size
    across, down = (torch.linspace(0, side - 1, BORDER_POINTS, dtype=torch.float64) for side in (width, height))
    sides = [torch.stack((across, torch.full_like(across, y)), dim=-1) for y in (0.0, height - 1.0)]
    sides += [torch.stack((torch.full_like(down, x), down), dim=-1) for x in (0.0, width - 1.0)]
    border = torch.cat(sides)  # n 2: pixels of the zoomed image
    # at a zoom z such a pixel shows what the pixel c + (p - c) / z of an image with K itself shows
    fitting = seen(torch.stack([K[:2, 2] + (border - K[:2, 2]) / zoom for zoom in zooms])).all(-1).nonzero()[:, 0]
    if not len(fitting):
        return None
    zoom = zooms[int(fitting[0])]
    return K * torch.tensor([[zoom, 1.0, 1.0], [1.0, zoom, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)


@lru_cache(maxsize=64)
def _coarse_map(camera: StoredCamera) -> Float32[Tensor, "rows columns 2"]:
    """Find where the real lens shows every `MAP_STEP`-th pixel of the undistorted image, one step beyond it at most."""
    return at_steps(camera.size, partial(show, camera, K_ideal=pinhole(camera)))


def show(
    camera: StoredCamera, pixels: Float64[Tensor, "*n 2"], K_ideal: Float64[Tensor, "3 3"]
) -> Float64[Tensor, "*n 2"]:
    """Find where the camera shows what an ideal pinhole with `K_ideal` in its place shows at `pixels`."""
    model, coefficients = camera.lens or ("radtan", (0.0, 0.0, 0.0, 0.0))
    return distort_points(pixels, camera.K, coefficients, model, K_ideal)


def at_steps(
    size: Size, real: Callable[[Float64[Tensor, "*n 2"]], Float64[Tensor, "*n 2"]]
) -> Float32[Tensor, "rows columns 2"]:
    """Find the `real` places of every `MAP_STEP`-th pixel of images of a size, one step beyond it at most."""
    rows, columns = ((side - 2) // MAP_STEP + 2 for side in size)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return real(MAP_STEP * torch.stack((x, y), dim=-1).double()).float()

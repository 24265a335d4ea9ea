"""Projects of COLMAP: photographs with a sparse model, which tells cameras, partners of views, and depth ranges."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Float64
from torch import Tensor
from torch.nn.functional import interpolate

from vo3d.datasets.multiview import MultiViewDataset, scene_folders
from vo3d.datasets.photographs import Photograph, Photographs, check_shape
from vo3d.datasets.resize import Size
from vo3d.datasets.views import first_of, given_and_target
from vo3d.errors import Vo3dError
from vo3d.formats.candidates import fullest
from vo3d.formats.colmap import ColmapCamera, ColmapModel, find_model, observations, read_model
from vo3d.formats.images import image_size, read_image
from vo3d.geometry import distort_points, sample_image, se3, undistort_points, view_selection
from vo3d.recording import Layout

ZOOMS = tuple(1.01**step for step in range(-70, 71))  # of an undistorted image against its original: 0.5 to 2
BORDER_POINTS = 17  # of each side, for the choice of the zoom
MAP_STEP = 4  # pixels between the places where a lens is computed; linear between them, within 0.01 pixels
SAME = 0.01  # pixels, after a lens is applied and undone


class Colmap(MultiViewDataset):
    """Samples of one or many projects: `image`, `K`, `world_T_cam`, `depth_range`; see `ColmapScene`.

    Args:
        root: the project, or the folder of the `scenes`.
        scenes: names of folders in `root`; None: `root` itself is the project.
        size, max_side, depth_range, num_sources, widen, min_points, max_depths: see `ColmapScene`.
        num_views, fewer_views, transforms, seed: see `MultiViewDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        scenes: Sequence[str] | None = None,
        *,
        size: Size | None = None,
        max_side: int | None = None,
        depth_range: tuple[float, float] | None = None,
        num_sources: int = 10,
        widen: float = 0.05,
        min_points: int = 10,
        max_depths: int = 256,
        num_views: int = 5,
        **views: Any,
    ) -> None:
        super().__init__(
            [
                ColmapScene(
                    folder,
                    size=size,
                    max_side=max_side,
                    depth_range=depth_range,
                    num_sources=num_sources,
                    widen=widen,
                    min_points=min_points,
                    max_depths=max_depths,
                )
                for folder in scene_folders(root, scenes)
            ],
            num_views=num_views,
            **views,
        )


class ColmapScene(Photographs):
    """The images that a sparse model has registered, by ascending id; lens distortion is undone when they are read.

    An undistorted image has the size and the principal point of its original; its focal lengths are zoomed as little as
    leaves no pixel without a view. Images are read as they are stored, whatever way up EXIF says, as COLMAP does.

    Sources are those that share the most and best seen sparse points (`pair_scores`); depth ranges hold the points that
    a view sees but for one percent at either end (`depth_ranges`), widened. A view that sees fewer than `min_points`
    points gets no sources, so it is never a reference, and its `depth_range` spans those of all other views.

    Args:
        folder: of the project: the model lies there or in sparse/ or in a folder of it such as sparse/0/, the images
            beside it or above it in images/; beside the target of a link only where the given path has none. Of several
            models or folders the fullest is taken.
        images: the folder of the images, where it is another.
        size, max_side: of the images, see `Photographs`; without `size`, images of unequal sizes are refused.
        depth_range: near and far for all views, in the model's unit, instead of those of the points.
        num_sources: at most, of each view.
        widen: near is divided and far multiplied by (far / near) ** widen.
        min_points: see above; not needed with `depth_range`.
        max_depths: upper limit of `num_depths`.

    Convention: lengths stay in the model's own unit, known up to scale.
    Raises Vo3dError naming the file: as `read_model` does; the model has no points, or no view that sees enough;
    an image is missing or of another size than its camera; a lens cannot be undone.
    """

    metric = False

    def __init__(
        self,
        folder: Path,
        *,
        images: Path | None = None,
        size: Size | None = None,
        max_side: int | None = None,
        depth_range: tuple[float, float] | None = None,
        num_sources: int = 10,
        widen: float = 0.05,
        min_points: int = 10,
        max_depths: int = 256,
    ) -> None:
        if num_sources < 1 or widen < 0 or min_points < 2:
            raise Vo3dError(
                f"num_sources {num_sources}, widen {widen:g}, min_points {min_points}: expected at least 1, 0 and 2"
            )
        model = read_model(folder)
        point, view = observations(model)
        cam_T_world = torch.stack([image.cam_T_world for image in model.images])
        scores = view_selection.pair_scores(cam_T_world, model.points.xyz, point, view)
        sources = [tuple(best) for best, _ in view_selection.best_sources(scores, num_sources)]
        if depth_range is None:
            ranges, known = _ranges(model, cam_T_world, point, view, widen, min_points)
        else:
            ranges = torch.tensor([depth_range], dtype=torch.float64).expand(len(model.images), 2)
            known = torch.ones(len(model.images), dtype=torch.bool)
        image_folder, notes = (images, []) if images is not None else _image_folder(model)
        files = [(image_folder / image.name, model.cameras[image.camera_id]) for image in model.images]
        for path, camera in files:
            _check_file(path, camera, model.folder)
        self._cameras = dict(files)
        super().__init__(
            _project_name(model.folder),
            [
                Photograph(
                    image=path,
                    size=(camera.height, camera.width),
                    K=pinhole(camera),
                    world_T_cam=se3.inverse(cam_T_world[index]),
                    depth_range=(near, far),
                    sources=sources[index] if known[index] else (),
                )
                for index, ((path, camera), (near, far)) in enumerate(zip(files, ranges.tolist(), strict=True))
            ],
            size=size,
            max_side=max_side,
            max_depths=max_depths,
            notes=[*model.notes, *notes],
        )

    def read(self, photograph: Photograph) -> Float32[Tensor, "3 h w"]:
        """Read the image without the distortion of its lens."""
        image = read_image(photograph.image)
        check_shape(photograph.image, image, photograph.size, "its camera in the model is for")
        camera = self._cameras[photograph.image]
        if camera.lens is None:
            return image
        return sample_image(image, lens_pixels(camera))[0]


def lens_pixels(camera: ColmapCamera) -> Float32[Tensor, "h w 2"]:
    """Map each pixel of the undistorted image to where the real lens shows it, within 0.01 pixels."""
    steps = _coarse_map(camera)
    rows, columns = ((count - 1) * MAP_STEP + 1 for count in steps.shape[:2])
    pixels = interpolate(steps.movedim(-1, 0)[None], size=[rows, columns], mode="bilinear", align_corners=True)
    return pixels[0, :, : camera.height, : camera.width].movedim(0, -1)


@lru_cache(maxsize=1024)
def pinhole(camera: ColmapCamera) -> Float64[Tensor, "3 3"]:
    """Find K of the undistorted images of a camera: its own, with focal lengths that leave no pixel without a view.

    Raises Vo3dError when no zoom from one half to two does.
    """
    K = camera.K
    if camera.lens is None:
        return K
    model, coefficients = camera.lens
    across, down = (
        torch.linspace(0, side - 1, BORDER_POINTS, dtype=torch.float64) for side in (camera.width, camera.height)
    )
    last = torch.tensor([camera.width - 1, camera.height - 1], dtype=torch.float64)
    sides = [torch.stack((across, torch.full_like(across, y)), dim=-1) for y in (0.0, float(last[1]))]
    sides += [torch.stack((torch.full_like(down, x), down), dim=-1) for x in (0.0, float(last[0]))]
    border = torch.cat(sides)  # n 2: pixels of an undistorted image
    # at a zoom z such a pixel shows what the pixel c + (p - c) / z of an ideal image with the camera's own K shows
    ideal = torch.stack([K[:2, 2] + (border - K[:2, 2]) / zoom for zoom in ZOOMS])  # z n 2
    real = distort_points(ideal, K, coefficients, model)
    inside = ((real >= 0) & (real <= last)).all(-1)
    # a polynomial that stops growing brings far points back into the image: they do not come back from there
    there_and_back = undistort_points(real, K, coefficients, model)
    good = inside & ((there_and_back - ideal).norm(dim=-1) < SAME)
    fitting = good.all(-1).nonzero()[:, 0]
    if not len(fitting):
        raise Vo3dError(
            f"camera {camera.id} ({camera.model} {' '.join(f'{value:g}' for value in camera.params)}): its lens cannot "
            "be undone over the whole image: undistort the images with COLMAP's image_undistorter first"
        )
    zoom = ZOOMS[int(fitting[0])]
    return K * torch.tensor([[zoom, 1.0, 1.0], [1.0, zoom, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)


def recognises(path: Path) -> bool:
    """Tell whether a folder holds a sparse model, itself or in sparse/ or in a folder of that."""
    return find_model(path) is not None


def scene(
    path: Path,
    *,
    size: Size | None = None,
    max_side: int | None = None,
    depth_range: tuple[float, float] | None = None,
    images: Path | None = None,
) -> ColmapScene:
    """Open the scene that a project holds."""
    return ColmapScene(path, images=images, size=size, max_side=max_side, depth_range=depth_range)


LAYOUT = Layout("a COLMAP model (cameras, images, points3D; beside images/)", recognises, scene, rank=2)


@lru_cache(maxsize=64)
def _coarse_map(camera: ColmapCamera) -> Float32[Tensor, "rows columns 2"]:
    """Find where the real lens shows every `MAP_STEP`-th pixel of the undistorted image, one step beyond it at most."""
    model, coefficients = camera.lens or ("radtan", (0.0, 0.0, 0.0, 0.0))
    rows, columns = ((side - 2) // MAP_STEP + 2 for side in (camera.height, camera.width))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    pixels = MAP_STEP * torch.stack((x, y), dim=-1).double()
    return distort_points(pixels, camera.K, coefficients, model, pinhole(camera)).float()


def _ranges(
    model: ColmapModel, cam_T_world: Tensor, point: Tensor, view: Tensor, widen: float, min_points: int
) -> tuple[Tensor, Tensor]:
    """Find near and far of each view (v 2), and whether it sees enough points for that (v)."""
    xyz, count = model.points.xyz, len(model.images)
    z = (cam_T_world[view, 2, :3] * xyz[point]).sum(-1) + cam_T_world[view, 2, 3]
    known = view[z > 0].bincount(minlength=count) >= min_points
    if not bool(known.any()):
        raise Vo3dError(
            f"{model.folder}: no view sees {min_points} sparse points: depth ranges are unknown: give depth_range, or "
            "a smaller min_points"
        )
    place = known.cumsum(0) - 1
    kept = known[view]
    names = [image.name for image, good in zip(model.images, known.tolist(), strict=True) if good]
    near, far = view_selection.depth_ranges(
        cam_T_world[known], xyz, point[kept], place[view[kept]], names=names
    ).unbind(-1)
    margin = (far / near) ** widen
    near, far = near / margin, far * margin
    ranges = torch.stack((near.min(), far.max())).repeat(count, 1)
    ranges[known] = torch.stack((near, far), dim=-1)
    return ranges, known


def _project_name(model: Path) -> str:
    """Return the name of the folder that holds a model as COLMAP puts it, in sparse/ or sparse/0/ or itself."""
    place = given_and_target(model)[0]
    if place.name == "0" or (place.name.isdecimal() and place.parent.name == "sparse"):
        place = place.parent
    return (place.parent if place.name == "sparse" else place).name


def _image_folder(model: ColmapModel) -> tuple[Path, list[str]]:
    """Find the folder that holds the most images of a model, and a line where there was a choice or a link."""
    given, *target = given_and_target(model.folder)
    without: list[Path] = []
    for place in (given, *target):
        folders = [path for above in (place, *place.parents[:2]) if (path := above / "images").is_dir()]
        counts = {path: sum((path / image.name).is_file() for image in model.images) for path in folders}
        if held := {path: count for path, count in counts.items() if count}:
            folder, notes = fullest(held, f"of {len(model.images)} images")
            linked = [f"{model.folder} is a link: the images are those in {folder}"] if place != given else []
            return folder, [*linked, *notes]
        without += folders
    complaint = f"{model.folder}: no folder images/ beside the model or above it: give the folder of its images"
    return first_of(without, complaint), []


def _check_file(path: Path, camera: ColmapCamera, model: Path) -> None:
    """Raise Vo3dError unless an image of the `model` is there, in the size that its camera is for."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such image file: {model} has registered it: add it, or give its folder")
    height, width = image_size(path)
    if (height, width) != (camera.height, camera.width):
        raise Vo3dError(
            f"{path}: is {width}x{height} pixels, but its camera in {model} is for {camera.width}x{camera.height}: "
            "give the images that the model was made from"
        )

"""Views as cameras take them: while the shutter is open, row after row, through a lens that distorts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import crop_intrinsics, pixel_grid, scale_intrinsics
from vo3d.geometry.distortion import undistort_points
from vo3d.geometry.warp import sample_image
from vo3d.world.casting import Camera
from vo3d.world.render import RenderedView, pinhole_camera, render
from vo3d.world.scene import Scene
from vo3d.world.sensor import Sensor

INSTANTS = 9  # that an open shutter averages; an odd number, so that the middle one is the frame's own
ROWS = 2  # that a rolling shutter reads at one instant: a row is off by half the time from one to the next
WIDEST = 4.0  # sides of an image: the most of an ideal view that a lens may show

PoseAt = Callable[[float], Float64[Tensor, "4 4"]]  # world_T_cam so many seconds after a frame's own time


@dataclass(frozen=True)
class Lens:
    """The way from an ideal view, which is finer and covers all that a lens shows, to the image of the lens."""

    fine: Camera
    pixels: Float32[Tensor, "n h w 2"]  # of the fine view, of which n make one of the lens's

    def through(self, radiance: Float[Tensor, "3 fine_h fine_w"]) -> Float[Tensor, "3 h w"]:
        """Compute what the lens shows of a fine view."""
        return sample_image(radiance, self.pixels.to(radiance.device))[0].mean(1)


@lru_cache(maxsize=16)
def lens_of(sensor: Sensor, size: tuple[int, int]) -> Lens | None:
    """Find the way through a sensor's lens for images of `size` (height, width); None for an ideal pinhole.

    Raises Vo3dError for coefficients that the model has not, and for a lens that shows more than an ideal view can
    hold: folds at its border, half a turn.
    """
    if sensor.lens is None:
        return None
    model, coefficients = sensor.lens
    camera = pinhole_camera(size, sensor)
    detail = max(sensor.samples, 2)
    # `detail` points in each direction, evenly in each pixel of the lens
    grid = (pixel_grid(size[0] * detail, size[1] * detail, dtype=torch.float64) + 0.5) / detail - 0.5
    ideal = undistort_points(grid, camera.K, coefficients, model)
    low, high = ideal.amin((0, 1)).floor() - 1, ideal.amax((0, 1)).ceil() + 1  # NaN stays
    width, height = (high - low).tolist()
    if not (width <= WIDEST * size[1] and height <= WIDEST * size[0]):
        raise Vo3dError(
            f"lens {sensor.lens} at a focal length of {sensor.focal:g} of the width: an ideal view of what it shows is "
            f"more than {WIDEST:g} times as large, or has no end: give a longer focal length or smaller coefficients"
        )
    left, top = low.tolist()
    K = scale_intrinsics(crop_intrinsics(camera.K, left, top), detail, detail)
    pixels = (ideal - low + 0.5) * detail - 0.5
    tiles = pixels.unfold(0, detail, detail).unfold(1, detail, detail)  # h w 2 detail detail
    fine = Camera(K, round(height) * detail, round(width) * detail)
    return Lens(fine, tiles.flatten(-2).movedim(-1, 0).float().contiguous())


def take(
    scene: Scene,
    camera: Camera,
    pose_at: PoseAt,
    time: float,
    sensor: Sensor,
    lens: Lens | None = None,
    *,
    label: bool = False,
) -> RenderedView:
    """Take the view of a time in seconds as a sensor does.

    Depth and object ids are those that the ideal `camera` sees at that time, where a shutter rolls each row's at its
    own, as are classes where `label` asks for them; the radiance is the mean over the open shutter of what it sees, or
    of what the lens shows.
    """
    if lens is not None:
        truth = render(scene, camera, pose_at(0.0), time, label=label)
        seen = _exposed(scene, lens.fine, pose_at, time, 0.0, replace(sensor, samples=1))
        return replace(truth, radiance=lens.through(seen.radiance))
    if not sensor.rolling_shutter:
        return _exposed(scene, camera, pose_at, time, 0.0, sensor, label)
    bands = []
    for top in range(0, camera.height, ROWS):
        bottom = min(top + ROWS, camera.height)
        first, last = max(top - 1, 0), min(bottom + 1, camera.height)  # with the neighbours that soften outlines
        band = Camera(crop_intrinsics(camera.K, 0, first), last - first, camera.width)
        view = _exposed(scene, band, pose_at, time, row_delay(top, camera.height, sensor), sensor, label)
        given = {name: value for name, value in vars(view).items() if value is not None}
        bands.append({name: value[..., top - first : bottom - first, :] for name, value in given.items()})
    return RenderedView(**{name: torch.cat([band[name] for band in bands], -2) for name in bands[0]})


def row_delay(row: int, height: int, sensor: Sensor) -> float:
    """Compute when a row is taken, seconds after the frame's time, which is that of the image's middle."""
    middle = row // ROWS * ROWS + (ROWS - 1) / 2
    return sensor.rolling_shutter * (middle / (height - 1) - 0.5)


def _exposed(
    scene: Scene,
    camera: Camera,
    pose_at: PoseAt,
    time: float,
    delay: float,
    sensor: Sensor,
    label: bool = False,
) -> RenderedView:
    """Render the mean radiance over the open shutter about `time + delay`, and the truth of that instant."""
    shutter = sensor.motion_blur / sensor.rate
    delays = [delay + shutter * ((number + 0.5) / INSTANTS - 0.5) for number in range(INSTANTS)] if shutter else [delay]
    views = [
        render(scene, camera, pose_at(each), time + each, samples=sensor.samples, exposure=sensor.exposure, label=label)
        for each in delays
    ]
    middle = views[len(views) // 2]
    return replace(middle, radiance=torch.stack([view.radiance for view in views]).mean(0)) if shutter else middle

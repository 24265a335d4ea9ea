"""Rendered views with exact truth: image, depth, object ids, flow, at an instant of a scene."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import crop_intrinsics
from vo3d.world.casting import TILE, Camera, Seen, cast
from vo3d.world.labels import SKY
from vo3d.world.primitives import TRIANGLE
from vo3d.world.scene import Scene, Solids, Zoned
from vo3d.world.sensor import Sensor
from vo3d.world.shading import shade

LARGEST = 16_384  # pixels of an image's side
MOST_RAYS = 1 << 20  # that are worked on at once, some 300 bytes each: larger views are rendered in bands of rows


def pinhole_camera(size: tuple[int, int], sensor: Sensor | None = None) -> Camera:
    """Make the ideal camera of a sensor, by default KITTI's, for images of `size` (height, width), with square pixels.

    Raises Vo3dError for odd sides, or one of fewer than 8 or more than `LARGEST` pixels.
    """
    height, width = size
    if not (8 <= min(size) <= max(size) <= LARGEST) or height % 2 or width % 2:
        raise Vo3dError(
            f"images of {height}x{width} (height x width): expected even numbers of at least 8, at most {LARGEST}"
        )
    sensor = sensor or Sensor()
    focal, (x, y) = sensor.focal * width, sensor.centre
    K = torch.tensor(
        [[focal, 0.0, x * width - 0.5], [0.0, focal, y * height - 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64
    )
    return Camera(K, height, width)


@dataclass(frozen=True)
class RenderedView:
    """One rendered view."""

    radiance: Float[Tensor, "3 h w"]  # linear RGB, 1 = the most that the image can show
    depth: Float[Tensor, "h w"]  # z in metres; 0 = sky
    mask: Int[Tensor, "h w"]  # ids of moving objects; 0 = static world
    label: Int[Tensor, "h w"] | None = None  # class of each pixel, see `vo3d.world.labels`

    @property
    def image(self) -> Float[Tensor, "3 h w"]:
        """Encode the radiance as RGB in [0, 1], with a gamma of 2."""
        return self.radiance.clamp(0, 1).sqrt()


def render(
    scene: Scene,
    camera: Camera,
    world_T_cam: Float64[Tensor, "4 4"],
    time: float,
    *,
    samples: int = 1,
    exposure: float = 1.0,
    label: bool = False,
) -> RenderedView:
    """Render what a camera sees at a time in seconds; colours average `samples` x `samples` rays a pixel.

    Classes of the pixels are found where `label` asks for them.
    """
    device = scene.solids.centre.device
    camera, world_T_cam = replace(camera, K=camera.K.to(device)), world_T_cam.to(device)
    solids = scene.placed(time, torch.float64)
    rows = max(MOST_RAYS // (camera.width * samples**2) // TILE, 1) * TILE
    cameras = (
        Camera(crop_intrinsics(camera.K, 0, top), min(rows, camera.height - top), camera.width)
        for top in range(0, camera.height, rows)
    )
    bands = [_render_band(scene, solids, band, world_T_cam, time, samples, label) for band in cameras]
    radiance, depth, mask, *classes = (torch.cat(parts, -2) for parts in zip(*bands, strict=True))
    return RenderedView(radiance * exposure, torch.where(depth < torch.inf, depth, 0.0), mask, *classes)


def quantised(image: Float[Tensor, "3 h w"], noise: float, generator: torch.Generator) -> UInt8[Tensor, "3 h w"]:
    """Round an image to 8 bits after adding white noise of a standard deviation, drawn on the CPU."""
    if noise > 0:
        image = image + noise * torch.randn(image.shape, generator=generator).to(image.device)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _render_band(
    scene: Scene, solids: Solids, camera: Camera, world_T_cam: Tensor, time: float, samples: int, label: bool
) -> tuple[Tensor, ...]:
    """Compute radiance, depth (inf: sky), object ids and, where asked for, classes of some rows of a view."""
    seen = cast(solids, camera, world_T_cam, scene.view_range)
    depth = camera.untile(seen.depth)
    mask = camera.untile(seen.of_solid(seen.solids.object, 0))
    classes = [camera.untile(_classes(scene, seen, camera, world_T_cam))] if label else []
    if samples == 1:
        radiance = camera.untile(shade(scene, seen, camera, world_T_cam, time))
        solid = camera.untile(seen.of_solid(_surfaces(seen.solids), -1))
        return _soften_edges(radiance, solid), depth, mask, *classes
    K = camera.K.clone()
    K[:2] *= samples
    K[:2, 2] += (samples - 1) / 2  # the centre of the top-left pixel stays (0, 0)
    fine = Camera(K, camera.height * samples, camera.width * samples)
    fine_seen = cast(solids, fine, world_T_cam, scene.view_range)
    radiance = functional.avg_pool2d(fine.untile(shade(scene, fine_seen, fine, world_T_cam, time)), samples)
    return radiance, depth, mask, *classes


def _surfaces(solids: Solids) -> Int[Tensor, " n"]:
    """Number the solids, those of one mesh alike."""
    number = torch.arange(len(solids), device=solids.kind.device)
    if not solids.shape.shape[1]:
        return number
    return torch.where(solids.kind == TRIANGLE, len(solids) + solids.shape[:, 1].long(), number)


def _classes(scene: Scene, seen: Seen, camera: Camera, world_T_cam: Float64[Tensor, "4 4"]) -> Int[Tensor, "t 64"]:
    """Find the class of each pixel: its solid's, or what the paint says of the point, or sky."""
    label, paint = seen.of_solid(seen.solids.label, SKY), seen.of_solid(seen.solids.paint, -1)
    ray_T_pixel = (world_T_cam[:3, :3] @ camera.K.inverse()).float()
    for number, zoned in enumerate(scene.paints):
        if isinstance(zoned, Zoned):
            where = paint == number
            pixel = torch.cat((seen.pixel[:, where], torch.ones_like(seen.depth[where])[None]))
            label[where] = zoned.classes(ray_T_pixel @ pixel * seen.depth[where] + world_T_cam[:3, 3:].float())
    return label


def _soften_edges(image: Float[Tensor, "3 h w"], solid: Int[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Mix 1/8 of each neighbour that shows another solid into a pixel: the blur of a lens, where one ray is too few."""
    softened = image.clone()
    across = (solid[:, 1:] != solid[:, :-1]) * ((image[..., 1:] - image[..., :-1]) * 0.125)
    softened[..., :-1] += across
    softened[..., 1:] -= across
    down = (solid[1:] != solid[:-1]) * ((image[:, 1:] - image[:, :-1]) * 0.125)
    softened[:, :-1] += down
    softened[:, 1:] -= down
    return softened


def forward_flow(
    view: RenderedView,
    camera: Camera,
    world_T_cam: Float64[Tensor, "4 4"],
    world_T_next: Float64[Tensor, "4 4"],
    world_T_object: Float64[Tensor, "m 4 4"],
    world_T_object_next: Float64[Tensor, "m 4 4"],
) -> Float[Tensor, "2 h w"]:
    """Find each pixel's surface point in the next view, minus the pixel; it may be hidden there or outside.

    The sky lies at infinity and moves with the camera's rotation alone. NaN where the point is behind the next camera.
    Object poses are those of `Scene.objects` at the two times.
    """
    next_T_cam = world_T_next.inverse() @ world_T_object_next @ world_T_object.inverse() @ world_T_cam
    turn = camera.K @ next_T_cam[:, :3, :3] @ camera.K.inverse()
    shift = next_T_cam[:, :3, 3] @ camera.K.mT
    rows = torch.cat((turn.flatten(1), shift), 1).float().T.to(view.mask.device)[:, view.mask]  # 12 h w
    y = torch.arange(camera.height, device=view.depth.device, dtype=torch.float32)[:, None]
    x = torch.arange(camera.width, device=view.depth.device, dtype=torch.float32)
    inverse_depth = torch.where(view.depth > 0, 1 / view.depth, 0.0)
    point = torch.stack(
        [rows[3 * i] * x + rows[3 * i + 1] * y + rows[3 * i + 2] + rows[9 + i] * inverse_depth for i in range(3)]
    )
    flow = point[:2] / point[2] - torch.stack((x.expand_as(view.depth), y.expand_as(view.depth)))
    return torch.where(point[2] > 1e-3, flow, torch.nan)

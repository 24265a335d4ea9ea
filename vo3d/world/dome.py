"""Still cameras about a table, as in the DTU benchmark: their lens, their places on a dome, the lamps above them.

The world of a table: its middle, on its surface, is the origin; x right, y down, z forward, away from the cameras.
Source: Jensen et al., "Large scale multi-view stereopsis evaluation", CVPR 2014, for the set-up; the places are drawn.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import crop_intrinsics, project, scale_intrinsics
from vo3d.geometry.rotations import axis_rotation
from vo3d.geometry.view_selection import angle_weight
from vo3d.world.casting import Camera
from vo3d.world.render import LARGEST
from vo3d.world.scene import Light

RADIUS = 0.65  # metres from a camera to the middle of the table
DEPTH_RANGE = (0.425, 0.935)  # metres: what DTU's cameras see of a table
VIEWS, LIGHTS = 49, 7
DIFFUSE = 3  # the light with all lamps on
STEP = math.radians(7.5)  # between neighbouring cameras
LOWEST, HIGHEST = math.radians(24), math.radians(72)  # above the table
WIDEST = math.radians(62)  # of the azimuth to either side
DTU_SIZE = (1200, 1600)
DTU_K = ((2892.33, 0.0, 823.205), (0.0, 2892.33, 619.071), (0.0, 0.0, 1.0))


def dtu_camera(size: tuple[int, int]) -> Camera:
    """Give DTU's lens for images of `size` (height, width): scaled to fill them, then cropped in the middle.

    Raises Vo3dError for a side of fewer than 8 pixels.
    """
    height, width = size
    if not 8 <= min(size) <= max(size) <= LARGEST:
        raise Vo3dError(f"images of {height}x{width} (height x width): expected 8 to {LARGEST} pixels on each side")
    scale = max(height / DTU_SIZE[0], width / DTU_SIZE[1])
    K = scale_intrinsics(torch.tensor(DTU_K, dtype=torch.float64), scale, scale)
    left, top = (DTU_SIZE[1] * scale - width) / 2, (DTU_SIZE[0] * scale - height) / 2
    return Camera(crop_intrinsics(K, left, top), height, width)


def dome_pose(
    azimuth: Float64[Tensor, "*b"],
    elevation: Float64[Tensor, "*b"],
    radius: Float64[Tensor, "*b"],
    target: Float64[Tensor, "*b 3"],
    roll: Float64[Tensor, "*b"],
) -> Float64[Tensor, "*b 4 4"]:
    """Return `world_T_cam` of cameras at `radius` metres from `target`, which they look at.

    Angles in radians: azimuth 0 is in front of the table (z < 0), positive to the right; elevation is above it.
    """
    turn = axis_rotation(1, -azimuth) @ axis_rotation(0, -elevation) @ axis_rotation(2, roll)
    return se3.from_rotation_translation(turn, target - radius[..., None] * turn[..., :, 2])


def dome_poses(seed: int, views: int = VIEWS) -> Float64[Tensor, "v 4 4"]:
    """Place `views` cameras on a dome, in rows that run there and back, 7.5 degrees apart and a little off.

    Return their `world_T_cam`, metres.

    Fewer views than `VIEWS` take a part of the dome at a place that is drawn from the seed. Raises Vo3dError for fewer
    than 2 views or more than 196, for which the dome has no room.
    """
    if not 2 <= views <= 4 * VIEWS:
        raise Vo3dError(f"{views} views about a table: expected 2 to {4 * VIEWS}")
    generator = torch.Generator().manual_seed(seed * 2 + 1)
    rows = round(math.sqrt(views))
    columns = -(-views // rows)
    step = min(STEP, (HIGHEST - LOWEST) / max(rows - 1, 1))
    place = torch.rand(2, generator=generator, dtype=torch.float64)
    lowest = LOWEST + float(place[0]) * (HIGHEST - LOWEST - step * (rows - 1))
    number = torch.arange(views)
    row, column = number // columns, number % columns
    column = torch.where(row % 2 == 1, columns - 1 - column, column)
    elevation = lowest + step * row.double()
    stride = torch.clamp(step / elevation.cos(), max=2 * WIDEST / max(columns - 1, 1))
    free = WIDEST - stride.max() * (columns - 1) / 2
    azimuth = stride * (column - (columns - 1) / 2) + (2 * place[1] - 1) * free
    jitter = torch.randn(7, views, generator=generator, dtype=torch.float64).clamp(-2, 2)
    elevation = elevation + math.radians(0.6) * jitter[0]
    azimuth = azimuth + math.radians(0.6) * jitter[1] / elevation.cos()
    target = torch.stack((0.008 * jitter[3], 0.008 * jitter[4] - 0.03, 0.008 * jitter[5]), -1)
    return dome_pose(azimuth, elevation, RADIUS + 0.006 * jitter[2], target, math.radians(1.0) * jitter[6])


def dome_scores(world_T_cam: Float64[Tensor, "v 4 4"], camera: Camera) -> Float64[Tensor, "v v"]:
    """Compute pair scores (`vo3d.geometry.view_selection`) of the views, from a grid of points above the table.

    A point counts for the views whose image it falls into, hidden or not: no view has to be rendered for this.
    """
    across = torch.linspace(-0.1, 0.1, 3, dtype=torch.float64)
    points = torch.cartesian_prod(across, torch.tensor([-0.09, 0.0], dtype=torch.float64), across)  # p 3
    pixels = project(camera.K, se3.transform(se3.inverse(world_T_cam), points.expand(len(world_T_cam), -1, 3)))[0]
    inside = ((pixels >= 0) & (pixels <= torch.tensor([camera.width - 1, camera.height - 1]))).all(-1).mT  # p v
    ray = torch.nn.functional.normalize(world_T_cam[:, :3, 3] - points[:, None], dim=-1)  # p v 3
    weight = angle_weight(ray @ ray.mT) * (inside[:, :, None] & inside[:, None])
    return weight.sum(0).fill_diagonal_(0.0)


def dome_light(seed: int, index: int) -> Light:
    """Return the light of a number: 0 to 6, one strong lamp each, but for 3, where all are on and little is in shadow.

    Raises Vo3dError for another number.
    """
    if not 0 <= index < LIGHTS:
        raise Vo3dError(f"light {index}: expected 0 to {LIGHTS - 1}")
    drawn = torch.rand(4, generator=torch.Generator().manual_seed(seed * LIGHTS + index)).tolist()
    azimuth = 2 * math.pi * (index + 0.6 * drawn[0]) / LIGHTS
    height = math.radians(40 + 32 * drawn[1])
    lamp, around = (0.35, 0.62) if index == DIFFUSE else (0.85 + 0.35 * drawn[2], 0.24 + 0.16 * drawn[2])
    warm = 0.16 * (drawn[3] - 0.3)
    return Light(
        to_sun=(math.cos(height) * math.sin(azimuth), -math.sin(height), math.cos(height) * math.cos(azimuth)),
        sun=(lamp, lamp * (1 - 0.4 * warm), lamp * (1 - warm)),
        ambient=(around * (1 - 0.3 * warm), around, around * (1 + 0.5 * warm)),
        zenith=(0.10, 0.11, 0.12),
        horizon=(0.22, 0.22, 0.23),
        haze=1e6,
        clouds=0.0,
    )

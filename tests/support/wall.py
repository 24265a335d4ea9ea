"""A slanted, painted wall and cameras before it: images, cameras and depth that are exact, for tests of loaders."""

import torch
from torch import Tensor

from vo3d.geometry import se3, warp_by_depth
from vo3d.geometry.camera import pixel_grid, rays

SLOPE = 0.2  # the wall is z = 1 + SLOPE * x, in metres
WAVES = ((20.0, 30.0), (35.0, -25.0), (-30.0, 30.0))  # radians a metre along x and y: of red, green, blue


def intrinsics(h: int, w: int, focal: float = 1.2) -> Tensor:
    """K of a camera with a focal length of `focal` widths, not quite centred; float64."""
    return torch.tensor([[focal * w, 0, 0.48 * w], [0, 1.02 * focal * w, 0.53 * h], [0, 0, 1]], dtype=torch.float64)


def poses(count: int) -> Tensor:
    """`world_T_cam` (count, 4, 4) of cameras side by side, each turned a little; metres, float64."""
    step = torch.tensor([0.06, 0.01, -0.01, 0.01, -0.03, 0.02], dtype=torch.float64)
    return se3.exp((torch.arange(count, dtype=torch.float64) - (count - 1) / 2)[:, None] * step)


def photograph(K: Tensor, world_T_cam: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Image (3, h, w) in [0, 1] and depth (h, w), metres, that a camera sees."""
    grid = pixel_grid(h, w, dtype=torch.float64)
    return look(rays(K, grid), world_T_cam)


def look(directions: Tensor, world_T_cam: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (3, h, w) and depths (h, w) along directions (h, w, 3) of depth 1 in the camera's frame."""
    rotation, centre = world_T_cam[:3, :3], world_T_cam[:3, 3]
    along = directions @ rotation.T
    normal = torch.tensor([-SLOPE, 0.0, 1.0], dtype=torch.float64)
    depth = (1 - centre @ normal) / (along @ normal)
    x, y, _ = (centre + along * depth[..., None]).unbind(-1)
    colours = [0.5 + 0.4 * torch.sin(a * x + b * y) for a, b in WAVES]
    return torch.stack(colours).float(), depth.float()


def disagreement(image: Tensor, K: Tensor, world_T_cam: Tensor, depth: Tensor) -> float:
    """Mean absolute difference of colour between view 0 of a sample and the others, looked up where its depth says."""
    differences = []
    for source in range(1, len(image)):
        source_T_target = se3.relative(world_T_cam[source], world_T_cam[0]).to(K)
        seen, valid = warp_by_depth(image[source], depth[0], K[0], source_T_target, K[source])
        assert valid.float().mean() > 0.3 * (depth[0] > 0).float().mean()
        differences.append((seen - image[0]).abs().mean(0)[valid].mean())
    return float(torch.stack(differences).mean())

"""A ball on a plane, with exact depth from any camera: the truth for tests of reconstruction."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vo3d.depth_map import PosedDepthMap
from vo3d.geometry import pixel_grid, rays, se3

CENTRE = (0.0, 0.0, 0.5)
RADIUS = 0.5
DISTANCE = 3.0  # of the cameras from the middle


def look_at(eye: Tensor, target: Tensor) -> Tensor:
    """`world_T_cam` of a camera at `eye` that looks at `target`; the world's z is up."""
    z = torch.nn.functional.normalize(target - eye, dim=0)
    x = torch.nn.functional.normalize(torch.linalg.cross(z, z.new_tensor((0.0, 0.0, 1.0))), dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = torch.stack((x, torch.linalg.cross(z, x), z), dim=1), eye
    return pose


def truth(
    world_T_cam: Tensor, K: Tensor, pixels: Tensor, centre: tuple[float, float, float] = CENTRE, radius: float = RADIUS
) -> tuple[Tensor, Tensor]:
    """Depth along the rays of pixels, 0 for the sky, and what they meet: 0 sky, 1 plane z = 0, 2 ball."""
    direction = se3.transform(world_T_cam, rays(K, pixels)) - world_T_cam[:3, 3]
    eye = world_T_cam[:3, 3]
    plane = torch.where(direction[..., 2] < 0, -eye[2] / direction[..., 2], torch.inf)
    offset = eye - eye.new_tensor(centre)
    a, b = (direction * direction).sum(-1), (direction * offset).sum(-1)
    root = b * b - a * ((offset * offset).sum() - radius**2)
    ball = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)
    depth = torch.minimum(plane, ball)
    seen = depth < 20
    return torch.where(seen, depth, 0.0), torch.where(seen, 1 + (ball < plane).long(), 0)


def colour_of(points: Tensor) -> Tensor:
    """A smooth colour for each point of space."""
    return 0.5 + 0.5 * torch.sin(3 * points)


def maps_of(poses: Sequence[Tensor], K: Tensor, h: int, w: int, num_sources: int) -> list[PosedDepthMap]:
    """Exact depth maps in double precision; the sources of each view are those with the nearest cameras."""
    positions = torch.stack([pose[:3, 3] for pose in poses])
    apart = torch.cdist(positions, positions)
    maps = []
    for index, pose in enumerate(poses):
        pixels = pixel_grid(h, w, dtype=torch.float64)
        depth, _ = truth(pose, K, pixels)
        points = se3.transform(pose, rays(K, pixels) * depth[..., None])
        maps.append(
            PosedDepthMap(
                name=f"{index:08d}",
                depth=depth,
                confidence=torch.ones_like(depth),
                K=K,
                world_T_cam=pose,
                image=colour_of(points).movedim(-1, 0),
                sources=tuple(apart[index].argsort()[1 : num_sources + 1].tolist()),
                depth_range=(1.0, 20.0),
            )
        )
    return maps


def ball_maps(num: int = 9, h: int = 48, w: int = 64, *, num_sources: int = 8) -> list[PosedDepthMap]:
    """Cameras in a ring around the ball, some higher than others."""
    poses = []
    for index in range(num):
        around, up = 2 * math.pi * index / num, 0.7 + 0.2 * math.sin(3.0 * index)
        eye = (math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up))
        poses.append(look_at(DISTANCE * torch.tensor(eye, dtype=torch.float64), torch.tensor((0.0, 0.0, 0.2)).double()))
    focal = 0.95 * w
    K = torch.tensor([[focal, 0, w / 2 - 0.5], [0, focal, h / 2 - 0.5], [0, 0, 1]], dtype=torch.float64)
    return maps_of(poses, K, h, w, num_sources)


def footprint(maps: Sequence[PosedDepthMap]) -> float:
    """The size of a pixel on the surface in the middle of the scene."""
    return DISTANCE / float(maps[0].K[0, 0])


def distance_to_surface(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """How far points are from the ball or the plane, whichever is nearer."""
    points = points.astype(np.float64)
    return np.minimum(np.abs(points[:, 2]), np.abs(np.linalg.norm(points - CENTRE, axis=1) - RADIUS))


def outward(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The true normals of points on the surface."""
    from_centre = points.astype(np.float64) - CENTRE
    length = np.linalg.norm(from_centre, axis=1)
    on_ball = np.abs(length - RADIUS) < np.abs(points[:, 2])
    return np.where(on_ball[:, None], from_centre / length[:, None], (0.0, 0.0, 1.0))


def changed(maps: Sequence[PosedDepthMap], **fields: Sequence[object]) -> list[PosedDepthMap]:
    """The maps with other values in some fields, one value a map."""
    return [
        replace(view, **{name: values[index] for name, values in fields.items()})  # type: ignore[arg-type]
        for index, view in enumerate(maps)
    ]

"""Clips of stereo cameras with the exact depth of both: before a painted wall, and along a rendered street."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from vo3d.datasets.rendered import Rendered
from vo3d.geometry import se3
from vo3d.geometry.camera import pixel_grid, rays
from vo3d.model import Prediction
from vo3d.sample import Sample
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit

WAVES = ((0.15, 0.25), (0.3, -0.2), (-0.25, 0.25))  # radians a pixel along x and y, at the wall: of red, green, blue
STEP = (0.15, -0.05, 0.4, 0.01, -0.02, 0.015)  # of the left camera, metres and radians


@dataclass(frozen=True)
class StereoScene:
    """A batch of one clip, with what a perfect network would say of it."""

    sample: Sample
    right_depth: Tensor  # 1 s h w, metres; 0 = unknown

    @property
    def prev_T_cam(self) -> Tensor:
        """The motion of the left camera (1 s-1 4 4), in the type of the images."""
        poses = self.sample.world_T_cam
        return se3.relative(poses[:, :-1], poses[:, 1:]).to(self.sample.image)

    @property
    def right_prev_T_cam(self) -> Tensor:
        """The motion of the right camera."""
        left_T_right = self.sample.left_T_right[:, None]
        return se3.compose(se3.inverse(left_T_right), self.prev_T_cam, left_T_right)

    def prediction(self, depth_scale: float = 1.0) -> Prediction:
        """The truth in the form of an answer, the depths perhaps times a factor."""
        return {
            "depth": depth_scale * self.sample.depth,
            "prev_T_cam": self.prev_T_cam,
            "aux": {"right_depth": depth_scale * self.right_depth, "right_prev_T_cam": self.right_prev_T_cam},
        }


def wall_scene(
    *,
    views: int = 2,
    size: tuple[int, int] = (48, 96),
    focal: float = 0.8,
    distance: float = 8.0,
    slope: float = 0.0,
    baseline: float = 0.5,
    step: tuple[float, ...] = STEP,
    dtype: torch.dtype = torch.float32,
) -> StereoScene:
    """A wall z = distance + slope x in the frame of the first left camera; `focal` is a share of the width.

    The paint is smooth, so that an image between its pixels is nearly what bilinear sampling says.
    """
    h, w = size
    K = torch.tensor([[focal * w, 0, 0.48 * w], [0, focal * w, 0.53 * h], [0, 0, 1]], dtype=torch.float64)
    left_T_right = torch.eye(4, dtype=torch.float64)
    left_T_right[0, 3] = baseline
    normal = torch.tensor([-slope, 0.0, 1.0], dtype=torch.float64)
    ray = rays(K, pixel_grid(h, w, dtype=torch.float64))

    def look(world_T_cam: Tensor) -> tuple[Tensor, Tensor]:
        along, centre = ray @ world_T_cam[:3, :3].T, world_T_cam[:3, 3]
        depth = (distance - centre @ normal) / (along @ normal)
        x, y, _ = ((centre + along * depth[..., None]) * (focal * w / distance)).unbind(-1)
        return torch.stack([0.5 + 0.4 * torch.sin(a * x + b * y) for a, b in WAVES]), depth

    poses = se3.exp(torch.arange(views)[:, None] * torch.tensor(step, dtype=torch.float64))
    left, right = ([look(pose @ offset) for pose in poses] for offset in (torch.eye(4).double(), left_T_right))
    sample = Sample(
        image=torch.stack([image for image, _ in left])[None].to(dtype),
        right=torch.stack([image for image, _ in right])[None].to(dtype),
        depth=torch.stack([depth for _, depth in left])[None].to(dtype),
        K=K.expand(1, views, 3, 3).to(dtype),
        world_T_cam=poses[None],
        left_T_right=left_T_right[None].to(dtype),
        scene=["wall"],
    )
    return StereoScene(sample, torch.stack([depth for _, depth in right])[None].to(dtype))


@cache
def street_scene(*, views: int = 2, size: tuple[int, int] = (96, 312), seed: int = 7) -> StereoScene:
    """A drive along a street where nothing else moves, without noise; the sky has no depth."""
    sensor, visit, first = Sensor(noise=0.0), Visit(traffic=0.0), 4
    options = {"stereo": True, "depth": True, "flow": True, "sensor": sensor, "visit": visit}
    dataset = Rendered("street", [seed], first + views, size, clip_length=views, **options)
    recorder = Recorder("street", seed, first + views, size, sensor, visit=visit)
    right_depth = torch.stack([recorder.frame(first + view, right=True).depth for view in range(views)])
    return StereoScene(Sample.collate([dataset[first]]), right_depth[None])

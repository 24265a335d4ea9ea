"""Batches of clips for tests of models."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vo3d.geometry import se3
from vo3d.sample import Sample

SIZE = (64, 96)  # rows and columns


def between(sample: Sample, first: int, last: int) -> Sample:
    """The views from `first` to `last` (exclusive) of a batch of clips, with what belongs to the whole clip."""
    whole = ("left_T_right", "cam_T_imu")
    kept = {name: getattr(sample, name) for name in whole}
    return replace(replace(sample, **dict.fromkeys(whole)).map(lambda tensor: tensor[:, first:last]), **kept)


def make_sample(b: int = 2, s: int = 3, size: tuple[int, int] = SIZE, seed: int = 0) -> Sample:
    """A batch of clips over smooth random texture that slides sideways, with forward motion and depth as its truth.

    The right view is the same texture 4 pixels further, as of a wall within the depths. The inertial sensor is at rest.
    """
    h, w = size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(b, 3, h // 8 + 1, w // 4 + 1, generator=generator)
    wide = interpolate(coarse, size=(h, 2 * w), mode="bicubic", align_corners=True).clamp(0, 1)
    slide = 1 + 3 * torch.rand(b, generator=generator)  # pixels a frame
    starts = [[round(float(step) * view) for view in range(s)] for step in slide]

    def views(shift: int) -> Tensor:
        return torch.stack([torch.stack([wide[i, :, :, at + shift :][..., :w] for at in starts[i]]) for i in range(b)])

    left_T_right = torch.eye(4)
    left_T_right[0, 3] = 4 * 4.8 / w
    steps = se3.exp(0.1 * torch.randn(b, s, 6, generator=generator) + torch.tensor([0.0, 0, 1, 0, 0, 0]))
    poses = [steps[:, 0]]
    for view in range(1, s):
        poses.append(poses[-1] @ steps[:, view])
    K = torch.tensor([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1]], dtype=torch.float32).expand(b, s, 3, 3)
    index = torch.arange(s).expand(b, s)
    bumps = torch.rand(b * s, 1, h // 16 + 1, w // 16 + 1, generator=generator)
    imu = torch.tensor([0.0, 0, 0, 0, -9.81, 0]) + 0.001 * torch.randn(b, s, 5, 6, generator=generator)
    imu_time = 0.1 * (index[..., None] - 1 + (torch.arange(5) + 0.5) / 5).double()
    imu[:, 0], imu[:, -1, -1], imu_time[:, 0], imu_time[:, -1, -1] = (torch.nan,) * 4  # a reading is lost
    depth = 4 + 2 * interpolate(bumps, size=(h, w), mode="bilinear", align_corners=True).reshape(b, s, h, w)
    return Sample(
        image=views(0),
        K=K,
        world_T_cam=torch.stack(poses, dim=1).double(),
        depth=depth,
        depth_range=torch.tensor([3.0, 8.0]).expand(b, s, 2),
        time=0.1 * index.double(),
        imu=imu,
        imu_time=imu_time,
        cam_T_imu=torch.eye(4).repeat(b, 1, 1),
        index=index,
        right=views(4),
        left_T_right=left_T_right.repeat(b, 1, 1),
        scene=["x"] * b,
    )

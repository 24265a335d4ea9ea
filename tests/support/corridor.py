"""A drawn corridor, its motions known exactly, for tests of the classic pipeline."""

from functools import cache

import cv2
import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from vo3d.geometry import se3, trajectory
from vo3d.sample import Sample

HEIGHT, WIDTH, FOCAL = 160, 480, 260.0
K = torch.tensor([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
CAMERA_HEIGHT, BASELINE = 1.65, 0.54
# planes n . X = d (metres, world axes as the first camera's) with their texels a metre
CORRIDOR = (  # road, ceiling, two walls, the end
    ((0, 1, 0), CAMERA_HEIGHT, 40),
    ((0, -1, 0), 4.0, 40),
    ((-1, 0, 0), 4.0, 40),
    ((1, 0, 0), 5.0, 40),
    ((0, 0, 1), 30.0, 40),
)
MOTORWAY = (((0, 1, 0), CAMERA_HEIGHT, 10), ((-1, 0, 0), 20.0, 4), ((1, 0, 0), 25.0, 4), ((0, 0, 1), 200.0, 1))
HALL = (*((normal, 6.0, 40) for normal in ((0, 1, 0), (0, -1, 0), (-1, 0, 0), (1, 0, 0))), ((0, 0, 1), 9.0, 40))
Planes = tuple[tuple[tuple[int, int, int], float, int], ...]
FORWARD = se3.exp(torch.tensor([0.04, -0.02, 0.8, 0.004, -0.02, 0.003], dtype=torch.float64))
TURN = se3.exp(torch.tensor([0.0, 0.0, 0.0, 0.01, 0.04, -0.01], dtype=torch.float64))
FAST = se3.exp(torch.tensor([0.03, -0.01, 2.5, 0.002, -0.004, 0.001], dtype=torch.float64))
SLOW = se3.exp(torch.tensor([0.03, 0.0, 0.0, 0.0, 0.003, 0.0], dtype=torch.float64))
STILL = torch.eye(4, dtype=torch.float64)


@cache
def texture(seed: int) -> ndarray:
    """Noise at three scales, 1024 texels a side, in [0, 1]."""
    random = np.random.default_rng(seed)
    layers = [
        cv2.resize(random.random((size, size)), (1024, 1024), interpolation=cv2.INTER_CUBIC) for size in (128, 256, 512)
    ]
    return np.clip(np.mean(layers, axis=0), 0, 1).astype(np.float32)


def draw(world_T_cam: Tensor, planes: Planes) -> Tensor:
    """The image (3 h w) that a camera between planes sees: rays cast on them, three by three samples a pixel."""
    fine = 3
    v, u = np.mgrid[: HEIGHT * fine, : WIDTH * fine]
    pixels = np.stack([(u + 0.5) / fine - 0.5, (v + 0.5) / fine - 0.5, np.ones_like(u)], axis=-1)
    pose = world_T_cam.numpy()
    rays = pixels @ np.linalg.inv(K.double().numpy()).T @ pose[:3, :3].T
    start = pose[:3, 3]
    normals, offsets = np.array([n for n, _, _ in planes], float), np.array([d for _, d, _ in planes])
    reach = (offsets - normals @ start) / np.where((towards := rays @ normals.T) > 1e-9, towards, 1e-9)
    plane = reach.argmin(-1)
    points = start + rays * reach.min(-1)[..., None]
    image = np.zeros(plane.shape, np.float32)
    for index, (normal, _, texels) in enumerate(planes):
        across = [axis for axis in range(3) if normal[axis] == 0]
        where = (points[..., across] * texels % 1024).astype(np.float32)
        seen = cv2.remap(texture(index), where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        image[plane == index] = seen[plane == index]
    small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).expand(3, -1, -1)


@cache
def _drawn(
    steps: tuple[str, ...], stereo: bool, planes: Planes, baseline: float
) -> tuple[Tensor, Tensor | None, Tensor]:
    motions = {"forward": FORWARD, "turn": TURN, "still": STILL, "fast": FAST, "slow": SLOW}
    world_T_cam = trajectory.chain(torch.stack([motions[step] for step in steps]))
    offset = se3.from_rotation_translation(torch.eye(3).double(), torch.tensor([baseline, 0, 0]).double())
    right = torch.stack([draw(pose @ offset, planes) for pose in world_T_cam]) if stereo else None
    return torch.stack([draw(pose, planes) for pose in world_T_cam]), right, world_T_cam


def clip(
    *steps: str,
    stereo: bool = False,
    noise: float = 0.0,
    planes: Planes = CORRIDOR,
    baseline: float = BASELINE,
) -> Sample:
    """A clip through the corridor or between other planes, with noise of that standard deviation in its images."""
    image, right, world_T_cam = _drawn(steps, stereo, planes, baseline)
    random = torch.Generator().manual_seed(0)
    image = (image + noise * torch.randn(image.shape, generator=random)).clamp(0, 1)
    offset = torch.eye(4)
    offset[0, 3] = baseline
    return Sample(
        image=image,
        K=K.expand(len(image), 3, 3),
        world_T_cam=world_T_cam,
        right=right,
        left_T_right=offset if stereo else None,
        scene="corridor",
    )

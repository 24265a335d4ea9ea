"""A place where the shade of an image tells where it was taken, and a model of clips that knows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor, nn

from vo3d.formats.images import write_image
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.model import Model, Prediction, Window
from vo3d.sample import Sample

SCALE = 10.0  # metres from black to white, along x


class ShadedClips(Model):
    """Finds x by the shade of each image; y is its place in the window, z the length of the window, both in mm.

    Args:
        scale: metres from black to white.
        sigma: what it says of its deviations: metres along x; twice that along y and z, a tenth of it in radians.
        margin: of its window.
    """

    needs = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam", "log_variance")

    def __init__(self, scale: float = SCALE, sigma: float = 0.1, margin: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.sigma = sigma
        self.window = Window(views=None, overlap=2 * margin, margin=margin)

    def forward(self, sample: Sample) -> Prediction:
        """The cameras look along z."""
        b, s = sample.image.shape[:2]
        poses = torch.eye(4, dtype=torch.float64).repeat(b, s, 1, 1)
        poses[..., 0, 3] = self.scale * sample.image.mean((-3, -2, -1))
        poses[..., 1, 3], poses[..., 2, 3] = torch.arange(s) / 1000, s / 1000
        sigma = self.sigma * torch.tensor([1, 2, 2, 0.1, 0.1, 0.1])
        return {"world_T_cam": poses, "log_variance": (2 * sigma.log()).expand(b, s, 6)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


def shades(count: int) -> Tensor:
    """`count` shades that 8 bits hold, up and down again."""
    steps = torch.arange(count)
    return torch.minimum(steps, count - steps) * (256 // count) / 255


def write_place(folder: Path, count: int, size: tuple[int, int] = (24, 32)) -> Path:
    """Write images 0.png and on, with their poses in KITTI's rows."""
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, 0, 3] = SCALE * shades(count)
    write_trajectory(folder / "poses.txt", Trajectory(world_T_cam=poses), "kitti")
    for index, shade in enumerate(shades(count)):
        write_image(folder / f"{index}.png", shade.expand(3, *size))
    return folder


def write_run(folder: Path, net: Model, arguments: Mapping[str, Any], data: Mapping[str, Any]) -> Path:
    """Write the folder of a run of `net`, as far as it is read: its configuration and the weights."""
    (folder / "checkpoints").mkdir(parents=True)
    kind = f"{type(net).__module__}.{type(net).__qualname__}"
    config = {"model": {"net": {"class_path": kind, "init_args": dict(arguments)}}, "data": dict(data)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    torch.save(net.state_dict(), folder / "checkpoints" / "best.ckpt")
    return folder


def posed_frames(root: Path, size: Sequence[int] | None) -> dict[str, Any]:
    """The description of the dataset of a place."""
    arguments = {"root": str(root), **({} if size is None else {"size": [*size]})}
    return {"class_path": "vo3d.datasets.posed_frames.PosedFrames", "init_args": arguments}

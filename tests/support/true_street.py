"""A stand-in for a model of depth and motion: what it gives of a rendered street is the truth, or near it."""

from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.datasets.rendered import RenderedRecording
from vo3d.geometry import se3
from vo3d.model import DepthModel, Prediction
from vo3d.sample import Sample


@cache
def street(seed: int, frames: int, size: tuple[int, int]) -> RenderedRecording:
    """A rendered street that is not rendered twice."""
    return RenderedRecording("street", seed, frames, size, stereo=True, depth=True, cache=True)


class TrueStreet(DepthModel):
    """Depth and steps of a rendered street, which it looks up by the numbers of the frames; it learns nothing.

    Args:
        seed, frames: of the street.
        size: rows and columns of its frames.
        noise: standard deviation of the relative error of each depth.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K")
    gives: ClassVar[tuple[str, ...]] = ("depth", "prev_T_cam")

    def __init__(self, seed: int = 3, frames: int = 12, size: tuple[int, int] = (64, 208), noise: float = 0.0) -> None:
        super().__init__()
        self.seed, self.frames, self.size, self.noise = seed, frames, tuple(size), noise
        self.clips = 0  # that it was shown

    def forward(self, sample: Sample) -> Prediction:
        """Look the truth up."""
        assert sample.index is not None
        assert tuple(sample.image.shape[-2:]) == self.size
        self.clips += 1
        found = [street(self.seed, self.frames, self.size).clip(row.tolist()) for row in sample.index]
        truth = Sample.collate(found)
        assert truth.depth is not None
        assert truth.world_T_cam is not None
        error = torch.randn(truth.depth.shape, generator=torch.Generator().manual_seed(0))
        steps = se3.relative(truth.world_T_cam[:, :-1], truth.world_T_cam[:, 1:])
        return {"depth": truth.depth * (1 + self.noise * error), "prev_T_cam": steps.float()}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}

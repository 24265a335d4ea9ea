"""Constant depth: the baseline that never looks at an image and that every depth of single views must beat."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.known_truth import known_depths
from vo3d.model import DepthModel, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample

POINTS = 10_000  # of one frame that `fit` looks at, at most


class ConstantDepth(DepthModel):
    """Predicts one and the same depth for every pixel: the median of true depths of training frames.

    Args:
        depth: Metres of every pixel, taken as it is; None: set by `fit`.
        far: Metres up to which `fit` looks at true depths: what is not scored need not be met.
        frames: Training frames that `fit` looks at, at most, evenly spaced over all recordings.

    Raises:
        Vo3dError: an argument is not positive.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("depth",)
    window = Window(views=1, overlap=0)
    baseline = "constant_depth"
    depth: Tensor  # a number

    def __init__(self, depth: float | None = None, far: float = 80.0, frames: int = 100) -> None:
        super().__init__()
        for name, value in (("depth", depth), ("far", far), ("frames", frames)):
            if value is not None and not value > 0:
                raise Vo3dError(f"{name} {value:g}: expected a positive number")
        self.far, self.frames = far, frames
        self.register_buffer("depth", torch.tensor(torch.nan if depth is None else depth))
        if depth is not None:  # there is nothing to learn, and no training recordings are asked for
            self.__dict__["fit"] = super().fit

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Set the depth to the median of those up to `far` in at most `frames` views of `recordings`.

        Of each view at most `POINTS` evenly spaced ones are taken. Raises Vo3dError where there is none.
        """
        found = []
        for sample in known_depths(recordings, self.frames):
            assert sample.depth is not None  # noqa: S101  as `known_depths` made sure
            truth = sample.depth[(sample.depth > 0) & (sample.depth <= self.far)]
            found.append(truth[:: len(truth) // POINTS + 1])
        if not any(map(len, found)):
            raise Vo3dError(f"no training frame has a true depth up to {self.far:g} m: give a larger far")
        self.depth.copy_(torch.cat(found).median())

    def forward(self, sample: Sample) -> Prediction:
        """Give each pixel of each view the depth, b s h w; Vo3dError before `fit`."""
        if not self.depth.is_meta and bool(self.depth.isnan()):  # there, nothing has a value
            raise Vo3dError("ConstantDepth knows no depth: call fit(recordings), or give it one")
        b, s, _, h, w = sample.image.shape
        return {"depth": self.depth.to(sample.image).expand(b, s, h, w).clone()}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("ConstantDepth has no parameters to train: evaluate it, after its fit(recordings), instead")

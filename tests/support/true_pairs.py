"""Models of flow and masks that give the truth of a rendered recording, or what is wrong by a known amount."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vo3d.datasets.rendered import RenderedRecording
from vo3d.metrics.masks import motion_in_camera
from vo3d.model import Model, Prediction
from vo3d.sample import Sample
from vo3d.world.visit import Visit

PAIRS_SIZE = (24, 48)


def moving_street(seed: int = 3, frames: int = 6, **fields: bool) -> RenderedRecording:
    """A small street in which objects of many pixels move; all that is true of it, but for what `fields` turn off."""
    given = {"depth": True, "flow": True, "mask": True, "object_motion": True} | fields
    return RenderedRecording("street", seed, frames, PAIRS_SIZE, visit=Visit(traffic=1.0), **given)


class TruePairs(Model):
    """The true flow plus `shift` pixels to the right, a mask of each of the first `num_masks` ids, and their motions.

    Args:
        shift: pixels.
        num_masks: masks, of the ids 1 to that.
        push: metres that each object moves too far along its camera's z.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "flow", "mask", "object_motion", "world_T_cam")
    gives: ClassVar[tuple[str, ...]] = ("flow", "mask", "object_motion")

    def __init__(self, shift: float = 0.0, num_masks: int = 19, push: float = 0.0) -> None:
        super().__init__()
        self.shift, self.num_masks, self.push = shift, num_masks, push
        self.windows: list[list[int]] = []  # that it saw

    def forward(self, sample: Sample) -> Prediction:
        """What it is told, changed."""
        assert sample.index is not None
        assert sample.flow is not None
        assert sample.object_motion is not None
        assert sample.world_T_cam is not None
        self.windows.append(sample.index[0].tolist())
        flow = sample.flow.clone()
        flow[:, :, 0] += self.shift
        pushed = torch.eye(4, dtype=torch.float64)
        pushed[2, 3] = self.push
        motions = pushed @ motion_in_camera(sample.object_motion, sample.world_T_cam[:, :-1])
        return {"flow": flow, "mask": self._masks(sample), "object_motion": motions[:, :, : self.num_masks].float()}

    def _masks(self, sample: Sample) -> Tensor:
        assert sample.mask is not None
        ids = sample.mask[:, :-1]
        every = one_hot(ids, max(int(ids.max()), self.num_masks) + 1).movedim(-1, 2)  # b s-1 k h w
        return every[:, :, 1 : self.num_masks + 1].float()

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


class Blank(Model):
    """No flow, one mask of nothing, and no motion of it."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("flow", "mask", "object_motion")

    def __init__(self, size: Sequence[int] = ()) -> None:
        super().__init__()
        self.size = tuple(size)  # of what it gives, where that is another than the image's

    def forward(self, sample: Sample) -> Prediction:
        """Zeros."""
        b, s, _, h, w = sample.image.shape
        h, w = self.size or (h, w)
        zeros = sample.image.new_zeros
        motion = torch.eye(4).expand(b, s - 1, 1, 4, 4)
        return {"flow": zeros(b, s - 1, 2, h, w), "mask": zeros(b, s - 1, 1, h, w), "object_motion": motion}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}

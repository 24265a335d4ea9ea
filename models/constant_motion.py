"""Constant motion: the baseline that never looks at an image and that every odometry must beat."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.rotations import mean_rotation
from vo3d.known_truth import known_steps
from vo3d.model import Model, Prediction
from vo3d.recording import Recording
from vo3d.sample import Sample


class ConstantMotion(Model):
    """Predicts one and the same motion for every step: the mean of the training steps, the identity before `fit`.

    Of all constant predictions the mean has the least squared error on the recordings it was fitted to: the mean
    translation, and the rotation nearest to the mean matrix (the chordal mean; Hartley et al., "Rotation averaging",
    IJCV 2013, section 5). It never sees the truth of a recording that it is tested on.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("prev_T_cam",)
    baseline = "constant"
    scale_source = "mean training step"
    motion: Tensor  # 4 4, metres

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("motion", torch.eye(4))

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Set the motion to the mean step of `recordings`; raises Vo3dError where poses are missing."""
        prev_T_cam = known_steps(recordings)
        rotation = mean_rotation(prev_T_cam[:, :3, :3])
        self.motion.copy_(se3.from_rotation_translation(rotation, prev_T_cam[:, :3, 3].mean(0)))

    def forward(self, sample: Sample) -> Prediction:
        """The constant motion for every step of every clip."""
        *batch, views, _, _, _ = sample.image.shape
        return {"prev_T_cam": self.motion.to(sample.image).expand(*batch, views - 1, 4, 4).clone()}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("ConstantMotion has no parameters to train: evaluate it, after its fit(recordings), instead")

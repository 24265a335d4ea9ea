"""Mean pose: the baseline that never looks at an image and that every relocalisation must beat."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.rotations import mean_rotation
from vo3d.known_truth import known_poses
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample


class MeanPose(Model):
    """Predicts one pose for every view: the mean position and the chordal mean rotation of the training views."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam",)
    window = Window(views=1, overlap=0)
    baseline = "mean_pose"
    scale_source = "poses of training views"
    world_T_cam: Tensor  # 4 4, metres, float64

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("world_T_cam", torch.full((4, 4), torch.nan, dtype=torch.float64))

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Take the mean over all frames of `recordings`; raises Vo3dError where poses are missing."""
        poses = known_poses(recordings)
        self.world_T_cam.copy_(se3.from_rotation_translation(mean_rotation(poses[:, :3, :3]), poses[:, :3, 3].mean(0)))

    def forward(self, sample: Sample) -> Prediction:
        """Give the mean for every view, b s 4 4; Vo3dError before `fit`."""
        if not self.world_T_cam.is_meta and bool(self.world_T_cam.isnan().any()):  # there, nothing has a value
            raise Vo3dError("MeanPose knows no training view: call fit(recordings)")
        return {"world_T_cam": self.world_T_cam.expand(*sample.image.shape[:2], 4, 4).clone()}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("MeanPose has no parameters to train: evaluate it, after its fit(recordings), instead")

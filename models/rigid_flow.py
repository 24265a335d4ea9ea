"""Rigid flow: what the true depth and the true motion of the camera explain, so all flow but that of moving objects."""

from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.optical_flow import rigid_flow
from vo3d.model import Model, Prediction
from vo3d.sample import Sample


class RigidFlow(Model):
    """Computes the flow of a static world from the true depth and the true motion of the camera.

    It is told the truth: what its flow leaves over is the motion of objects. A pixel without depth (0) shows a point
    infinitely far, such as the sky, which moves with the camera's rotation alone; where the depth is sparse, so do all
    pixels without a measurement. Points that come to lie behind the next camera get 0: the true flow is not defined
    there, so nothing scores it.

    See `vo3d.geometry.optical_flow.rigid_flow`.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K", "depth", "world_T_cam")
    gives: ClassVar[tuple[str, ...]] = ("flow",)
    baseline = "rigid_flow"

    def forward(self, sample: Sample) -> Prediction:
        """Give the flow from each view to the next, b s-1 2 h w, pixels; of one view, no flow (s-1 = 0).

        Raises Vo3dError where the sample lacks K, depth or poses.
        """
        if sample.K is None or sample.depth is None or sample.world_T_cam is None:
            raise Vo3dError("RigidFlow needs K, depth and world_T_cam: choose a dataset with true depth and poses")
        flow = rigid_flow(sample.depth, sample.K, sample.world_T_cam)
        return {"flow": torch.where(flow.isnan(), 0.0, flow)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("RigidFlow has no parameters to train: evaluate it instead")

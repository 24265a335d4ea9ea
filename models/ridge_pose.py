"""Ridge pose: a linear map from features that nobody trained for it to the pose, in closed form."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.rotations import mean_rotation, so3_exp, so3_log
from vo3d.known_truth import known_poses
from vo3d.layers.frozen import FrozenTrunk
from vo3d.layers.image_descriptor import of_all_views
from vo3d.layers.trunk import TrunkName
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample

PENALTIES = tuple(10.0**power for power in range(-6, 3))
BLOCKS = 10  # of training views that are neighbours in time, each left out once


class RidgePose(Model):
    """Predicts position and rotation by kernel ridge regression from a frozen trunk's features on a coarse grid.

    The features are averaged over the cells of the grid, so that they still tell where in the image something is, and
    have unit length together; images may have any size. The targets are positions about their mean, metres, and
    rotation vectors about the mean rotation, radians, all centred. About the identity, vectors would jump from pi to
    -pi where the views happen to be turned by half a turn in the world's axes, and no linear map follows; about the
    mean they do so only where views look the opposite way.

    The penalty is the one of `PENALTIES` with the least mean error, metres + radians, of training views whose block of
    neighbours in time is left out: left out alone, a view would be told by the frame before it. Its memory in `fit` is
    that of all features and of three matrices of views x views: of 7,000 views 0.4 GB each.

    Args:
        trunk: That makes the features.
        grid: Rows and columns.
        penalty: On the squares of the weights; None: chosen by `fit`.
        pretrained: Whether the trunk has weights of ImageNet; without them its filters are random.

    Raises:
        Vo3dError: There are no such weights, or an argument is not positive.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam",)
    window = Window(views=1, overlap=0)
    baseline = "ridge_pose"
    scale_source = "poses of training views"
    weights: Tensor  # c 6, metres and radians
    mean: Tensor  # 4 4, metres, float64

    def __init__(
        self,
        trunk: TrunkName = "efficientnet_lite0",
        grid: tuple[int, int] = (3, 4),
        penalty: float | None = None,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        if min(grid) < 1 or (penalty is not None and not penalty > 0):
            raise Vo3dError(f"grid {grid}, penalty {penalty}: expected at least one row and column, and more than 0")
        self.grid, self.penalty = grid, penalty
        self.trunk = FrozenTrunk(trunk, pretrained=pretrained)
        self.register_buffer("weights", torch.empty(0, 6, dtype=torch.float64), persistent=False)
        self.register_buffer("mean", torch.eye(4, dtype=torch.float64), persistent=False)

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Solve for the weights over all views of `recordings`; raises Vo3dError where poses are missing."""
        device = self.mean.device
        poses = known_poses(recordings).to(device)
        rotation, position = mean_rotation(poses[:, :3, :3]), poses[:, :3, 3].mean(0)
        turned = so3_log(rotation.mT @ poses[:, :3, :3])
        targets = torch.cat((poses[:, :3, 3] - position, turned), dim=-1)
        features = of_all_views(self._features, recordings, device).double()
        values, vectors = torch.linalg.eigh(features @ features.mT)
        values = values.clamp(min=0)
        if self.penalty is None:
            errors = [_error_left_out(values, vectors, targets, penalty) for penalty in PENALTIES]
            self.penalty = PENALTIES[errors.index(min(errors))]
        self.mean = se3.from_rotation_translation(rotation, position)
        self.weights = features.mT @ (vectors @ ((vectors.mT @ targets) / (values + self.penalty)[:, None]))

    def _features(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c"]:
        """Average the trunk's maps over the cells of the grid, to one vector of unit length."""
        return normalize(adaptive_avg_pool2d(self.trunk(image), self.grid).flatten(1), dim=-1)

    def forward(self, sample: Sample) -> Prediction:
        """Give the pose of each view, b s 4 4; Vo3dError before `fit`."""
        if not len(self.weights):
            raise Vo3dError("RidgePose knows no training view: call fit(recordings)")
        found = self._features(sample.image.flatten(0, 1)).double() @ self.weights
        rotation = self.mean[:3, :3] @ so3_exp(found[:, 3:])
        world_T_cam = se3.from_rotation_translation(rotation, self.mean[:3, 3] + found[:, :3])
        return {"world_T_cam": world_T_cam.reshape(*sample.image.shape[:2], 4, 4)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("RidgePose has no parameters to train: evaluate it, after its fit(recordings), instead")


def _error_left_out(
    values: Float64[Tensor, " n"], vectors: Float64[Tensor, "n n"], targets: Float64[Tensor, "n 6"], penalty: float
) -> float:
    """Compute the mean error, metres + radians, of views whose block of neighbours in time is left out.

    `values` and `vectors` are those of the kernel K. With A = (K + penalty)^-1, the residuals of a block B are
    A_BB^-1 (A targets)_B, without fitting again (as of leaving one out: Hastie et al., "The elements of statistical
    learning", 2009, section 7.10).
    """
    damped = vectors / (values + penalty)
    dual = damped @ (vectors.mT @ targets)
    blocks = torch.arange(len(targets), device=targets.device).tensor_split(min(BLOCKS, len(targets)))
    residual = torch.cat([torch.linalg.solve(damped[block] @ vectors[block].mT, dual[block]) for block in blocks])
    return float((residual[:, :3].norm(dim=-1) + residual[:, 3:].norm(dim=-1)).mean())

"""APE and RPE as evo computes them; evo is imported here alone, and only when called.

evo takes trajectories as they are stored (it does not move their first poses to the identity) and measures angles after
making rotations orthonormal, so its numbers differ from `vo3d.metrics.kitti_odometry`: on KITTI 00 in the sixth digit
of the APE after an alignment (1.303450 against 1.303453 m for ORB-SLAM and SE(3)), and by up to one percent in the RPE
of rotations between consecutive frames. Both are right for what they state.

Convention: poses are `world_T_cam`, metres.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.trajectory import AlignMode

if TYPE_CHECKING:
    from evo.core.metrics import PE


@dataclass(frozen=True)
class ErrorStatistics:
    """Statistics of one kind of error by evo; metres or degrees."""

    rmse: float
    mean: float
    median: float
    std: float
    min: float
    max: float
    num: int


def ape(reference: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "m 4 4"], align: AlignMode) -> ErrorStatistics:
    """Compute the absolute pose error of the positions, metres, after evo's own alignment.

    evo's "scale" is the scale of a Sim(3) alignment applied alone, not the least-squares factor of
    `vo3d.geometry.trajectory.align`. Raises Vo3dError where evo cannot align (positions on a line, too few poses).
    """
    from evo.core.metrics import APE, PoseRelation  # noqa: PLC0415  evo costs 0.3 s

    return _statistics(APE(PoseRelation.translation_part), reference, estimate, align)


def rpe(
    reference: Float64[Tensor, "n 4 4"],
    estimate: Float64[Tensor, "m 4 4"],
    align: AlignMode,
    kind: Literal["translation", "rotation"] = "translation",
) -> ErrorStatistics:
    """Compute the relative pose error of consecutive poses after evo's own alignment: metres, or degrees of rotation.

    Raises Vo3dError as `ape`, for fewer than two poses, and for rotations not orthonormal enough for evo (1e-6;
    some data sets have fewer digits). evo takes the angles one by one: a second for 4,000 poses.
    """
    from evo.core.metrics import RPE, PoseRelation, Unit  # noqa: PLC0415  evo costs 0.3 s

    if len(reference) < 2:
        raise Vo3dError(f"{len(reference)} poses have no step: expected at least two")
    relation = PoseRelation.translation_part if kind == "translation" else PoseRelation.rotation_angle_deg
    return _statistics(RPE(relation, 1, Unit.frames, all_pairs=False), reference, estimate, align)


def _statistics(
    metric: "PE", reference: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "m 4 4"], align: AlignMode
) -> ErrorStatistics:
    """Process copies of both as evo's paths, the estimate aligned by evo."""
    from evo.core.geometry import GeometryException  # noqa: PLC0415  evo costs 0.3 s
    from evo.core.lie_algebra import LieAlgebraException  # noqa: PLC0415
    from evo.core.trajectory import PosePath3D  # noqa: PLC0415

    if align == "yaw":
        raise Vo3dError("evo has no alignment by yaw; align with 6dof to see its values")
    if len(reference) != len(estimate) or not len(reference):
        raise Vo3dError(f"{len(reference)} reference and {len(estimate)} estimated poses: expected equal, not zero")
    target, source = (PosePath3D(poses_se3=[*poses.cpu().numpy().copy()]) for poses in (reference, estimate))
    try:
        if align != "none":
            source.align(target, correct_scale=align == "7dof", correct_only_scale=align == "scale")
        metric.process_data((target, source))
    except GeometryException as error:
        raise Vo3dError(f"evo cannot align ({align}) {len(reference)} poses: {error}; align with none") from error
    except LieAlgebraException as error:
        raise Vo3dError(f"evo cannot compare the rotations ({error}): they were stored with too few digits") from error
    found = metric.get_all_statistics()
    kept = {name: float(found[name]) for name in ("rmse", "mean", "median", "std", "min", "max")}
    return ErrorStatistics(**kept, num=len(metric.error))

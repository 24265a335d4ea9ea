"""Measure the errors of a path, where the source has true poses."""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.scoring import score
from vo3d.geometry.trajectory import AlignMode, align, start_at_identity
from vo3d.pipelines.track.run import Found


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """The errors of a path, in metres of the truth, and the truth in the axes and the unit of the path."""

    ape: float
    drift_percent: float | None
    scale: float
    length: float
    alignment: AlignMode
    position: Float64[Tensor, "n 3"]


def against_truth(found: Found, truth: Float64[Tensor, "n 4 4"], *, metric: bool) -> Truth:
    """Align the path to the truth, with a scale unless it is `metric`, and measure what is left.

    Raises Vo3dError where the poses tell no alignment: too few, or on a line.
    """
    mode: AlignMode = "6dof" if metric else "7dof"
    known, reference = found.known, start_at_identity(truth[: len(found)])
    metrics = score(
        reference, found.world_T_cam, alignment=mode, known=None if bool(known.all()) else known, with_evo=False
    ).metrics
    brought = align(found.world_T_cam[known], reference[known], mode)
    turn = brought.reference_T_estimate
    position = brought.scale * reference[:, :3, 3] @ turn[:3, :3].mT + turn[:3, 3]
    ape, drift, scale = metrics["ape_rmse_m"], metrics["final_drift_percent"], metrics["scale"]
    if ape is None or scale is None:
        raise Vo3dError("fewer than two poses: there is nothing to compare with the truth")
    length = metrics["path_length_m"] or 0.0
    return Truth(ape=ape, drift_percent=drift, scale=scale, length=length, alignment=mode, position=position)

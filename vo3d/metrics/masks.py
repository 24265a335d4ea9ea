"""Measure masks of moving objects, and their rigid motions, against the truth."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import rotations, se3

MEMBER = 0.5  # a pixel belongs to a mask from this membership on


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskScores:
    """The masks of one view beside its true objects; intersection over union (IoU) in [0, 1]."""

    objects: Int[Tensor, " n"]  # ids of the true objects that count, ascending
    masks: Int[Tensor, " n"]  # the mask of each by the best assignment, a place from 0 on; -1 where it has none
    iou: Float64[Tensor, " n"]  # with its mask; 0 where it has none
    moving_iou: float | None  # of all that moves; None where no object counts
    background_iou: float | None  # of what belongs to nothing; None where nothing does, in truth and by the masks
    num_small: int  # objects that are left out


@torch.no_grad()
def score_masks(mask: Float[Tensor, "k h w"], ids: Int[Tensor, "h w"], *, least: int = 20) -> MaskScores:
    """Assign masks to true objects so that the sum of IoU is largest, each to one at most, and compute all IoU.

    A pixel belongs to every mask in which its membership is at least 0.5, and to the background where it is in none.

    Args:
        mask: Membership in [0, 1] of k masks.
        ids: True objects; 0 = static world.
        least: Objects of fewer pixels are left out, and their pixels count nowhere.

    Raises:
        Vo3dError: a membership is not in [0, 1], or an id is negative.
    """
    if bad := int((~((mask >= 0) & (mask <= 1))).sum()):  # NaN too
        raise Vo3dError(f"{bad} of {mask.numel()} memberships in masks are outside of [0, 1] or NaN: expected shares")
    if bool((ids < 0).any()):
        raise Vo3dError(f"an object has the id {int(ids.min())}: expected ids from 1 on, 0 for the static world")
    present, pixels = torch.unique(ids[ids > 0], return_counts=True)
    objects = present[pixels >= least]
    counted = ((ids == 0) | torch.isin(ids, objects)).flatten()  # p = h w
    true = (ids.flatten() == objects[:, None]).double()  # n p
    claimed = ((mask >= MEMBER).flatten(1) & counted).double()  # k p
    both = true @ claimed.mT
    iou = both / (true.sum(-1)[:, None] + claimed.sum(-1) - both)  # n k
    masks, best = torch.full_like(objects, -1), iou.new_zeros(len(objects))
    for row, column in zip(*linear_sum_assignment(iou.numpy(), maximize=True), strict=True):
        if iou[row, column] > 0:
            masks[row], best[row] = int(column), iou[row, column]
    moving, static = claimed.any(0), (ids == 0).flatten()
    return MaskScores(
        objects=objects,
        masks=masks,
        iou=best,
        moving_iou=_iou(moving, true.any(0)) if len(objects) else None,
        background_iou=_iou(~moving & counted, static),
        num_small=len(present) - len(objects),
    )


def motion_in_camera(
    object_motion: Float64[Tensor, "*b k 4 4"], world_T_cam: Float64[Tensor, "*b 4 4"]
) -> Float64[Tensor, "*b k 4 4"]:
    """Express motions of the world, X(next) = M X(now), in the axes of a camera that stands still (metres).

    Convention: inverse(world_T_cam) M world_T_cam, as `Prediction.object_motion` has it, with the pose of the earlier
    view.
    """
    pose = world_T_cam[..., None, :, :]
    return se3.inverse(pose) @ object_motion @ pose


def rotation_error(motion: Float[Tensor, "*b 4 4"], truth: Float64[Tensor, "*b 4 4"]) -> Float64[Tensor, "*b"]:
    """Compute the angle, degrees, between the rotations of motions and of their truths.

    Raises Vo3dError for a motion that is none: numbers that are not finite, or a rotation off by more than 1e-3.
    """
    R = motion[..., :3, :3].double()
    if not bool(motion.isfinite().all()) or not bool(rotations.is_rotation(R, 1e-3).all()):
        raise Vo3dError("a motion of an object is not rigid (NaN, infinite, or no rotation): expected 4x4 of SE(3)")
    return torch.rad2deg(rotations.so3_log(R.mT @ truth[..., :3, :3]).norm(dim=-1))


def motion_distance(
    motion: Float[Tensor, "4 4"], truth: Float64[Tensor, "4 4"], points: Float64[Tensor, "p 3"]
) -> float:
    """Compute the mean distance between where points go by a motion and by its truth, in the unit of the points.

    Unlike the difference of translations it does not depend on the origin about which a motion is written down.
    """
    return float((se3.transform(motion.double(), points) - se3.transform(truth, points)).norm(dim=-1).mean())


def _iou(one: Tensor, other: Tensor) -> float | None:
    """Compute the IoU of two sets of pixels; None where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else None

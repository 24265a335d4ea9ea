"""Losses of rigid motions: distances to a true motion, and agreement of the motions of two rigidly joined cameras."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.geometry import rotations, se3


def wrap_angle(angle: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return the same angle in [-pi, pi], in radians; its gradient is 1."""
    turn = 2 * math.pi
    return angle - turn * torch.round(angle / turn)


def squared_translation_error(estimate: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    """Compute ||p' - p||^2 in square metres, for every pose.

    Source: Wang et al., "DeepVO", ICRA 2017, equation 5, first term.
    """
    return (estimate - target).square().sum(dim=-1)


def squared_euler_error(estimate: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    """Compute ||phi' - phi||^2 in square radians, for every pose; the differences are taken the short way round.

    Without the wrapping, two nearly equal headings on either side of +-180 degrees would count as a whole turn.

    Source: Wang et al., "DeepVO", ICRA 2017, equation 5, second term, without its factor kappa.
    """
    return wrap_angle(estimate - target).square().sum(dim=-1)


def pose_error(
    estimate: Float[Tensor, "*b 4 4"], truth: Float[Tensor, "*b 4 4"]
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Compute how far motions are from true ones: ||R'^-1 (t - t')|| in metres, and the angle of R'^-1 R in radians.

    The angle is acos((trace - 1) / 2), taken of both sine and cosine: an arc cosine alone has no gradient at 0.

    Source: the supervision of the camera in Vijayanarasimhan et al., "SfM-Net", 2017, section 3.3.
    """
    left = se3.relative(estimate, truth)
    return left[..., :3, 3].norm(dim=-1), rotations.so3_log(left[..., :3, :3]).norm(dim=-1)


def pose_consistency(
    left_motion: Float[Tensor, "*b 4 4"],
    right_motion: Float[Tensor, "*b 4 4"],
    left_T_right: Float[Tensor, "*#b 4 4"] | None = None,
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Compute how far the motions of two rigidly joined cameras disagree: metres and radians, each an L1 norm of three.

    A turning rig moves its cameras unlike: with `left_T_right` the left motion L is first seen from the right camera,
    inverse(left_T_right) L left_T_right, and true motions agree exactly. Without it they are compared as they are, as
    the paper does, which agrees for straight motions alone. The rotation is the logarithm of the one that is left over.

    Source: Li et al., "UnDeepVO", ICRA 2018, section III-C (pose consistency loss), without its weights.
    """
    if left_T_right is not None:
        left_motion = se3.compose(se3.inverse(left_T_right), left_motion, left_T_right)
    apart = left_motion[..., :3, 3] - right_motion[..., :3, 3]
    turn = rotations.so3_log(se3.relative(left_motion, right_motion)[..., :3, :3])
    return apart.abs().sum(-1), turn.abs().sum(-1)

"""The SE(3) composition layer: small motions of a network, multiplied into poses; it has no parameters."""

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.geometry import rotations, se3, trajectory


def compose_twists(
    xi: Float[Tensor, "*b m 6"], start: Float[Tensor, "*b 4 4"] | None = None
) -> Float[Tensor, "*b m 4 4"]:
    """Compute the pose after each of m steps: exp(xi_1), exp(xi_1) exp(xi_2), ...; behind `start` where one is given.

    Convention: `xi` is metres before radians (`vo3d.geometry.se3`), each in the axes of the camera before its step, so
    that steps multiply on the right.
    Source: Clark et al., "VINet", AAAI 2017, the SE(3) composition layer; after Handa et al., "gvnn", 2016, whose steps
    multiply on the left.
    """
    return trajectory.chain(se3.exp(xi), start)[..., 1:, :, :]


def seven_from_pose(a_T_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 7"]:
    """Spell poses as seven numbers: position (metres) and unit quaternion (w, x, y, z), w >= 0."""
    return torch.cat((a_T_b[..., :3, 3], rotations.quaternion_from_matrix(a_T_b[..., :3, :3])), dim=-1)

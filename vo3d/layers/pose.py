"""Motions as networks give them: six numbers for a rigid transformation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.geometry import rotations, se3

# Yaw, the camera's y axis, comes first: the order is singular only at a pitch of 90 degrees, which no car meets.
EULER_ORDER: rotations.EulerOrder = "yxz"


def motion_head(inputs: int, hidden: int) -> nn.Sequential:
    """Make the three linear layers, rectified between, that give three numbers of a motion from `inputs` features.

    Source: the separate heads for translation and angles of Li et al., "UnDeepVO", ICRA 2018, figure 2.
    """
    rectified = (nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
    return nn.Sequential(*rectified, nn.Linear(hidden, 3))


def pose_from_vector(vector: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 4 4"]:
    """Turn vectors (x, y, z, yaw, pitch, roll) into rigid transformations.

    Convention: translation in metres, then the angles in radians about y, x, z, each about the axis that the turns
    before it have moved (intrinsic): R = R_y(yaw) R_x(pitch) R_z(roll). For a vector that stands for `prev_T_cam` the
    translation is where the camera now is, in the axes of the frame before.

    Source: the six outputs of Wang et al., "DeepVO", ICRA 2017, which leaves the order of the angles open.
    """
    translation, angles = vector[..., :3], vector[..., 3:]
    return se3.from_rotation_translation(rotations.matrix_from_euler(angles, EULER_ORDER), translation)


def vector_from_pose(a_T_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 6"]:
    """Compute the vector (x, y, z, yaw, pitch, roll) of a rigid transformation: the inverse of `pose_from_vector`.

    Convention: as there; yaw and roll are in (-pi, pi], pitch is in [-pi / 2, pi / 2].
    """
    return torch.cat((a_T_b[..., :3, 3], rotations.euler_from_matrix(a_T_b[..., :3, :3], EULER_ORDER)), dim=-1)

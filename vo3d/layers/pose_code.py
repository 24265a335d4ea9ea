"""Poses in one known scene as numbers that a network regresses, and back."""

from typing import Literal

import torch
from jaxtyping import Float, Float64
from kornia.geometry.liegroup import So3
from torch import Tensor, nn
from torch.nn.functional import normalize

from vo3d.errors import Vo3dError
from vo3d.geometry import rotations

Rotation = Literal["quaternion", "log_quaternion", "6d"]
COUNT: dict[Rotation, int] = {"quaternion": 4, "log_quaternion": 3, "6d": 6}
FLAT = 1e-3  # of the largest extent: the least that counts along an axis in which a scene is flat


class PoseCode(nn.Module):
    """The numbers of a pose: three of the position, and those of the rotation.

    `fit` takes the mean and the extent of the training positions, x = mean + extent * numbers, and the mean rotation,
    on whose side of the unit sphere quaternions are taken, and about which logarithms are taken. Without a fit the
    mean is 0, the extent 1, the rotation the identity, as in published weights.

    Convention: numbers are float32, what is decoded float64: a world's origin may be far away.

    Args:
        rotation: "quaternion", four numbers, of unit length once decoded; "log_quaternion", three (MapNet); "6d", the
            first two columns of the matrix, which jump nowhere (Zhou et al., CVPR 2019).
    """

    position_mean: Tensor  # 3, float64
    position_extent: Tensor  # 3, metres
    reference: Tensor  # 4, a unit quaternion

    def __init__(self, rotation: Rotation) -> None:
        super().__init__()
        self.rotation = rotation
        self.register_buffer("position_mean", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("position_extent", torch.ones(3))
        self.register_buffer("reference", torch.tensor([1.0, 0, 0, 0]))

    @property
    def count(self) -> int:
        """Count the numbers of a rotation."""
        return COUNT[self.rotation]

    def fit(self, world_T_cam: Float64[Tensor, "n 4 4"]) -> None:
        """Take mean and extent of the positions of training views, metres, and their mean rotation.

        Raises Vo3dError where all have one position.
        """
        positions = world_T_cam[:, :3, 3]
        extent = positions.amax(0) - positions.amin(0)
        if not extent.max() > 0:
            raise Vo3dError("all training views stand at one place: a scene is learnt by views of different ones")
        self.position_mean.copy_(positions.mean(0))
        self.position_extent.copy_(extent.clamp(min=FLAT * extent.max()))
        self.reference.copy_(rotations.quaternion_from_matrix(rotations.mean_rotation(world_T_cam[:, :3, :3])))

    def position(self, numbers: Float[Tensor, "*b 3"]) -> Float64[Tensor, "*b 3"]:
        """Decode positions, metres in the scene's world."""
        return self.position_mean + self.position_extent.double() * numbers.double()

    def position_numbers(self, positions: Float64[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Encode positions, metres; they are rounded once they are relative."""
        return (positions - self.position_mean).float() / self.position_extent

    def matrix(self, numbers: Float[Tensor, "*b c"]) -> Float64[Tensor, "*b 3 3"]:
        """Decode rotations."""
        if self.rotation == "6d":
            return rotations.matrix_from_6d(numbers.double())
        if self.rotation == "quaternion":
            return rotations.matrix_from_quaternion(normalize(numbers.double(), dim=-1))
        return self._reference() @ rotations.matrix_from_log_quaternion(numbers.double())

    def rotation_numbers(self, matrices: Float64[Tensor, "*b 3 3"]) -> Float[Tensor, "*b c"]:
        """Encode rotations; of two quaternions the one on the side of the reference."""
        if self.rotation == "6d":
            return rotations.sixd_from_matrix(matrices).float()
        if self.rotation == "quaternion":
            quaternions = rotations.quaternion_from_matrix(matrices)
            behind = (quaternions @ self.reference.double())[..., None] < 0
            return torch.where(behind, -quaternions, quaternions).float()
        return rotations.log_quaternion_from_matrix(self._reference().mT @ matrices).float()

    def turn_per_number(self, numbers: Float[Tensor, "*b c"]) -> Float64[Tensor, "*b 3 c"]:
        """Compute the turn (radians, about the camera's axes) that a small change of a rotation's numbers makes.

        It is the derivative of what is decoded: what leads out of the rotations has no effect.
        """
        if self.rotation == "log_quaternion":
            right: Tensor = 2 * So3.right_jacobian(2 * numbers.double().reshape(-1, 3))
            return right.reshape(*numbers.shape[:-1], 3, 3)
        if self.rotation == "quaternion":
            w, x, y, z = normalize(numbers.double(), dim=-1).unbind(-1)
            rows = (-x, w, z, -y), (-y, -z, w, x), (-z, y, -x, w)  # q (0, e_i) for each axis, as w x y z
            length = torch.linalg.vector_norm(numbers.double(), dim=-1)[..., None, None]
            turns: Tensor = 2 * torch.stack([torch.stack(row, -1) for row in rows], -2) / length
            return turns
        x, y, z = self.matrix(numbers).unbind(-1)
        # the first column turns about the second and third axis, and the second one, made orthogonal, about the first
        zero = torch.zeros_like(x)
        return torch.stack((torch.cat((zero, z), -1), torch.cat((-z, zero), -1), torch.cat((y, zero), -1)), -2)

    def _reference(self) -> Float64[Tensor, "3 3"]:
        return rotations.matrix_from_quaternion(self.reference.double())

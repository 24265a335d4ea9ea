"""Six numbers and the rigid motion that they stand for."""

import math

import pytest
import torch

from vo3d.geometry import se3
from vo3d.layers.pose import pose_from_vector, vector_from_pose


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-3, 1.0])
def test_a_vector_survives_the_matrix(shape: tuple[int, ...], scale: float, generator: torch.Generator) -> None:
    vector = scale * torch.randn(*shape, 6, generator=generator, dtype=torch.float64)
    vector[..., 4] = vector[..., 4].clamp(-1.5, 1.5)  # pitch short of 90 degrees
    vector[..., 3:] = vector[..., 3:].clamp(-3.1, 3.1)

    torch.testing.assert_close(vector_from_pose(pose_from_vector(vector)), vector, rtol=1e-9, atol=1e-12)


def test_a_matrix_survives_the_vector(generator: torch.Generator) -> None:
    a_T_b = se3.exp(torch.randn(100, 6, generator=generator, dtype=torch.float64))

    torch.testing.assert_close(pose_from_vector(vector_from_pose(a_T_b)), a_T_b, rtol=1e-9, atol=1e-9)


def test_translation_is_the_position_in_the_frame_before() -> None:
    prev_T_cam = pose_from_vector(torch.tensor([1.0, 2.0, 3.0, 0.3, 0.2, 0.1], dtype=torch.float64))

    origin = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    assert (prev_T_cam @ origin).tolist() == [1.0, 2.0, 3.0, 1.0]


@pytest.mark.parametrize(
    ("angles", "axis", "lands"),
    [
        ((math.pi / 2, 0, 0), (0, 0, 1), (1, 0, 0)),  # a yaw to the right: forward becomes right
        ((0, math.pi / 2, 0), (0, 0, 1), (0, -1, 0)),  # a pitch up: forward becomes up, that is -y
        ((0, 0, math.pi / 2), (1, 0, 0), (0, 1, 0)),  # a roll clockwise: right becomes down
        ((math.pi / 2, math.pi / 2, 0), (0, 0, 1), (0, -1, 0)),  # pitch about the axis that the yaw has turned
        ((math.pi / 2, 0, math.pi / 2), (1, 0, 0), (0, 1, 0)),  # roll about the new forward axis
    ],
)
def test_angles_are_yaw_pitch_roll_each_about_the_turned_axis(
    angles: tuple[float, ...], axis: tuple[float, ...], lands: tuple[float, ...]
) -> None:
    R = pose_from_vector(torch.tensor((0.0, 0.0, 0.0, *angles), dtype=torch.float64))[:3, :3]

    turned = R @ torch.tensor(axis, dtype=torch.float64)
    torch.testing.assert_close(turned, torch.tensor(lands, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("vector", [[0.0] * 6, [1.0, -2.0, 3.0, 3.0, -1.2, -2.5]])
def test_gradients_are_right_at_rest_and_away(vector: list[float]) -> None:
    at = torch.tensor(vector, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(pose_from_vector, (at,))
    assert torch.autograd.gradcheck(lambda v: vector_from_pose(pose_from_vector(v)), (at,))


def test_half_precision_is_lifted_under_autocast() -> None:
    vector = torch.tensor([1.0, 2.0, 3.0, 0.1, 0.2, 0.3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pose = pose_from_vector(vector)
        assert pose_from_vector(vector.bfloat16()).dtype == torch.float32

    torch.testing.assert_close(pose, pose_from_vector(vector), rtol=0, atol=0)

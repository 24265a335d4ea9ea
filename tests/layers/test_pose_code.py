"""Poses as numbers: back and forth, without jumps, and the turn that a change of the numbers makes."""

import math

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import rotations, se3
from vo3d.layers.pose_code import COUNT, PoseCode

every_rotation = pytest.mark.parametrize("rotation", list(COUNT))


def some_poses(n: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    turn = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    position = torch.randn(n, 3, generator=generator, dtype=torch.float64) * torch.tensor([5.0, 1.0, 2.0])
    return se3.from_rotation_translation(rotations.so3_exp(turn), position)


@every_rotation
def test_numbers_and_poses_are_inverse_to_each_other(rotation: str) -> None:
    code, world_T_cam = PoseCode(rotation), some_poses()
    code.fit(world_T_cam)
    numbers = code.rotation_numbers(world_T_cam[:, :3, :3])
    assert numbers.shape == (20, COUNT[rotation])
    assert torch.allclose(code.matrix(numbers), world_T_cam[:, :3, :3], atol=1e-6)
    positions = code.position_numbers(world_T_cam[:, :3, 3])
    assert positions.abs().max() <= 1
    assert torch.allclose(code.position(positions), world_T_cam[:, :3, 3], atol=1e-5)


@every_rotation
def test_numbers_of_one_side_do_not_jump_where_w_is_zero(rotation: str) -> None:
    """Rotations about 180 degrees have quaternions with w of either sign: their numbers must be close."""
    angles = torch.linspace(math.pi - 0.3, math.pi + 0.3, 21, dtype=torch.float64)
    turns = torch.stack((torch.zeros_like(angles), angles, torch.zeros_like(angles)), dim=-1)
    code = PoseCode(rotation)
    code.fit(se3.from_rotation_translation(rotations.so3_exp(turns), turns * 1.5))
    assert code.rotation_numbers(rotations.so3_exp(turns)).diff(dim=0).norm(dim=-1).max() < 0.05


def test_six_numbers_jump_nowhere_in_a_whole_turn() -> None:
    angles = torch.linspace(0, 2 * math.pi, 181, dtype=torch.float64)
    turns = rotations.axis_rotation(1, angles)
    jumps = {}
    for rotation in COUNT:
        code = PoseCode(rotation)
        jumps[rotation] = code.rotation_numbers(turns).diff(dim=0).norm(dim=-1).max().item()
    assert jumps["6d"] < 0.05
    assert min(jumps["quaternion"], jumps["log_quaternion"]) > 1


@every_rotation
def test_a_change_of_the_numbers_is_told_as_a_turn(rotation: str) -> None:
    """Against central differences of the numbers of R exp(w)."""
    code, turns = PoseCode(rotation), some_poses(7)[:, :3, :3]
    code.fit(some_poses())
    numbers = code.rotation_numbers(turns).double()
    found = code.turn_per_number(numbers)
    step, axes = 1e-3, torch.eye(3, dtype=torch.float64)
    for axis in range(3):
        ahead, behind = (
            code.rotation_numbers(turns @ rotations.so3_exp(sign * step * axes[axis])).double() for sign in (1, -1)
        )
        change = (ahead - behind) / (2 * step)
        assert torch.allclose((found @ change[..., None])[..., 0], axes[axis].expand(7, 3), atol=2e-4)


def test_what_leads_out_of_the_rotations_turns_nothing() -> None:
    turns = some_poses(5)[:, :3, :3]
    for rotation in ("quaternion", "6d"):
        code = PoseCode(rotation)
        numbers = code.rotation_numbers(turns).double()  # longer numbers are the same rotation
        turn = code.turn_per_number(numbers) @ numbers[..., None]
        assert turn.abs().max() < 1e-6


def test_views_at_one_place_are_refused() -> None:
    with pytest.raises(Vo3dError, match="all training views stand at one place"):
        PoseCode("6d").fit(some_poses(1).expand(4, 4, 4))

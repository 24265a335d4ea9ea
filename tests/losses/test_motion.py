"""Losses of rigid motions against their formulas, and against rigs of two cameras whose motions are known."""

import math

import pytest
import torch

from stereo_scenes import wall_scene
from vo3d.geometry import se3
from vo3d.losses import pose_consistency, pose_error, squared_euler_error, squared_translation_error, wrap_angle


def test_translation_error_is_the_squared_norm() -> None:
    estimate = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)

    assert squared_translation_error(estimate, target).tolist() == [13.0, 0.0]


def test_euler_error_is_the_squared_norm_of_small_differences(generator: torch.Generator) -> None:
    target = torch.rand(4, 7, 3, generator=generator, dtype=torch.float64)
    difference = 0.1 * torch.randn(4, 7, 3, generator=generator, dtype=torch.float64)

    error = squared_euler_error(target + difference, target)

    assert error.shape == (4, 7)
    torch.testing.assert_close(error, difference.norm(dim=-1) ** 2)


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 2])
def test_euler_error_does_not_see_whole_turns(turns: int, generator: torch.Generator) -> None:
    estimate, target = torch.rand(2, 10, 3, generator=generator, dtype=torch.float64)

    turned = squared_euler_error(estimate + turns * 2 * math.pi, target)

    torch.testing.assert_close(turned, squared_euler_error(estimate, target))


def test_headings_on_either_side_of_south_are_close() -> None:
    estimate = torch.tensor([math.pi - 0.01, 0.0, 0.0], dtype=torch.float64)
    target = torch.tensor([-math.pi + 0.01, 0.0, 0.0], dtype=torch.float64)

    assert squared_euler_error(estimate, target).item() == pytest.approx(0.02**2, rel=1e-9)


def test_wrapped_angles_equal_the_angle_of_their_sine_and_cosine(generator: torch.Generator) -> None:
    angle = 20 * torch.randn(1000, generator=generator, dtype=torch.float64)

    torch.testing.assert_close(wrap_angle(angle), torch.atan2(angle.sin(), angle.cos()), rtol=0, atol=1e-12)


def test_gradients_point_the_short_way_round() -> None:
    estimate = torch.tensor([3.1, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([-3.1, 0.0, 0.0], dtype=torch.float64)

    squared_euler_error(estimate, target).backward()

    assert estimate.grad is not None
    assert estimate.grad[0].item() == pytest.approx(2 * (6.2 - 2 * math.pi))  # descent raises the angle past pi


def test_gradients_are_right_away_from_the_half_turn(generator: torch.Generator) -> None:
    estimate, target = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    estimate.requires_grad_()

    assert torch.autograd.gradcheck(lambda e: squared_euler_error(e, target), (estimate,))
    assert torch.autograd.gradcheck(lambda e: squared_translation_error(e, target), (estimate,))


def _rig(generator: torch.Generator, *batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Motions of a left camera, of the right one joined to it, and where that one sits."""
    left_T_right = se3.exp(torch.rand(*batch, 6, generator=generator, dtype=torch.float64) - 0.5)
    left = se3.exp(torch.rand(*batch, 6, generator=generator, dtype=torch.float64) - 0.5)
    return left, torch.linalg.inv(left_T_right) @ left @ left_T_right, left_T_right


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (2, 1, 3)])
def test_motions_of_one_rig_agree(batch: tuple[int, ...], generator: torch.Generator) -> None:
    left, right, left_T_right = _rig(generator, *batch)

    apart, turn = pose_consistency(left, right, left_T_right)

    assert apart.shape == turn.shape == batch
    assert apart.max() < 1e-12
    assert turn.max() < 1e-7  # of a logarithm whose cosine is rounded


def test_disagreement_equals_a_loop_over_poses(generator: torch.Generator) -> None:
    left, _, left_T_right = _rig(generator, 2, 3)
    other, _, _ = _rig(generator, 2, 3)

    for offset in (None, left_T_right):
        apart, turn = pose_consistency(left, other, offset)
        for i in range(2):
            for j in range(3):
                seen = left[i, j] if offset is None else torch.linalg.inv(offset[i, j]) @ left[i, j] @ offset[i, j]
                assert apart[i, j] == pytest.approx(sum(abs(float(x)) for x in seen[:3, 3] - other[i, j, :3, 3]))
                axis = _axis(seen[:3, :3].mT @ other[i, j, :3, :3])
                assert turn[i, j] == pytest.approx(sum(abs(float(x)) for x in axis))


def _axis(R: torch.Tensor) -> torch.Tensor:
    """The rotation vector, from the trace and the part of R that changes its sign when transposed."""
    angle = math.acos((float(R.trace()) - 1) / 2)
    skew = torch.stack((R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]))
    return skew * angle / (2 * math.sin(angle))


def test_a_turning_rig_agrees_only_when_its_baseline_is_known() -> None:
    scene = wall_scene(step=(0.0, 0.0, 0.0, 0.0, 0.1, 0.0), dtype=torch.float64)  # to the right, on the spot
    left, right, left_T_right = scene.prev_T_cam, scene.right_prev_T_cam, scene.sample.left_T_right[:, None]

    known, _ = pose_consistency(left, right, left_T_right)
    ignored, turn = pose_consistency(left, right)
    twice, _ = pose_consistency(left, right, _scaled(left_T_right, 2.0))

    assert known.item() < 1e-12
    arm = 0.5 * (math.sin(0.1) + 1 - math.cos(0.1))  # the lever arm of half a metre, x and z
    assert ignored.item() == pytest.approx(arm, rel=1e-6)
    assert twice.item() == pytest.approx(arm, rel=1e-6)
    assert turn.item() < 1e-7


@pytest.mark.parametrize("scale", [0.5, 2.0, -1.0])
def test_a_wrong_step_is_as_far_as_it_is_wrong(scale: float) -> None:
    scene = wall_scene(step=(0.0, 0.0, 0.4, 0.0, 0.0, 0.0), dtype=torch.float64)  # straight on

    apart, turn = pose_consistency(scene.prev_T_cam, _scaled(scene.right_prev_T_cam, scale))

    assert apart.item() == pytest.approx(abs(1 - scale) * 0.4)
    assert turn.item() == 0


def _scaled(motion: torch.Tensor, scale: float) -> torch.Tensor:
    """The motion with another step, or the rig with another baseline."""
    return se3.from_rotation_translation(motion[..., :3, :3], scale * motion[..., :3, 3])


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, math.pi])
def test_gradients_are_finite_for_no_motion_and_for_half_a_turn(angle: float) -> None:
    left = torch.eye(4).expand(2, 4, 4).clone().requires_grad_()
    right = se3.exp(torch.tensor([0.0, 0, 0, 0, angle, 0])).expand(2, 4, 4).clone().requires_grad_()
    left_T_right = se3.exp(torch.tensor([0.5, 0, 0, 0, 0, 0]))

    apart, turn = pose_consistency(left, right, left_T_right.expand(2, 4, 4))
    (apart.sum() + turn.sum()).backward()

    assert turn[0].item() == pytest.approx(angle, abs=1e-3)
    assert left.grad.isfinite().all()
    assert right.grad.isfinite().all()


def test_gradients_of_disagreement_equal_finite_differences(generator: torch.Generator) -> None:
    left, _, left_T_right = _rig(generator, 2)
    other = se3.log(_rig(generator, 2)[0]).requires_grad_()

    assert torch.autograd.gradcheck(lambda xi: pose_consistency(left, se3.exp(xi), left_T_right), (other,))


def test_one_rig_serves_all_pairs_of_its_clip(generator: torch.Generator) -> None:
    left, _, _ = _rig(generator, 2, 3)
    _, _, rig = _rig(generator, 2, 1)
    right = torch.linalg.inv(rig) @ left @ rig

    apart, turn = pose_consistency(left, right, rig)

    assert apart.shape == turn.shape == (2, 3)
    assert apart.max() < 1e-12


def test_pose_error_is_the_length_and_the_angle_of_what_is_left(generator: torch.Generator) -> None:
    truth = se3.exp(torch.randn(5, 6, generator=generator, dtype=torch.float64))
    left = se3.exp(torch.tensor([0.3, -0.4, 1.2, 0.2, -0.1, 0.2], dtype=torch.float64))

    apart, turn = pose_error(truth @ torch.linalg.inv(left), truth)

    R, t = left[:3, :3], left[:3, 3]
    torch.testing.assert_close(apart, t.norm().expand(5))
    torch.testing.assert_close(turn, torch.arccos((R.trace() - 1) / 2).expand(5))
    assert turn[0].item() == pytest.approx(0.3)
    assert max(value.max() for value in pose_error(truth, truth)) < 1e-7


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, math.pi])
def test_gradients_of_pose_error_are_finite(angle: float) -> None:
    estimate = torch.eye(4, requires_grad=True)
    truth = se3.exp(torch.tensor([0.0, 0, 0, 0, angle, 0]))

    apart, turn = pose_error(estimate, truth)
    (apart + turn).backward()

    assert turn.item() == pytest.approx(angle, abs=1e-3)
    assert estimate.grad.isfinite().all()

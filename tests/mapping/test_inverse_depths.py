"""Inverse depths against points that are known, Monte Carlo and closed forms."""

import numpy as np
import pytest

from vo3d.geometry import two_view
from vo3d.mapping.inverse_depths import InverseDepths, relative_length

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.uniform([-2, -1, 3], [2, 1, 12], (60, 3))
B_T_A = two_view.rigid(
    np.array([[0.995, 0.0, 0.0998], [0.0, 1.0, 0.0], [-0.0998, 0.0, 0.995]]), np.array([0.4, 0.1, -0.2])
)
A, IN_B = POINTS[:, :2] / POINTS[:, 2:], POINTS @ B_T_A[:3, :3].T + B_T_A[:3, 3]
B = IN_B[:, :2] / IN_B[:, 2:]


def test_two_views_give_inverse_depths() -> None:
    found = InverseDepths.between(A, B, B_T_A, noise=1e-3)
    assert found.mean == pytest.approx(1 / POINTS[:, 2], rel=2e-3)
    assert found.known.all()


def test_the_variance_is_that_of_noisy_rays() -> None:
    noise = 1e-4
    trials = [
        InverseDepths.between(A, B + noise * RANDOM.standard_normal(B.shape), B_T_A, noise).mean for _ in range(2000)
    ]
    stated = InverseDepths.between(A, B, B_T_A, noise).variance
    assert np.var(trials, axis=0) == pytest.approx(stated, rel=0.2)


def test_two_gaussians_are_fused_as_their_product() -> None:
    one, other = InverseDepths(np.array([0.2]), np.array([4e-4])), InverseDepths(np.array([0.23]), np.array([1e-4]))
    fused = one.fused(other)
    assert fused.mean[0] == pytest.approx((0.2 / 4e-4 + 0.23 / 1e-4) / (1 / 4e-4 + 1 / 1e-4))
    assert fused.variance[0] == pytest.approx(1 / (1 / 4e-4 + 1 / 1e-4))
    older = one.fused(other, forget=2.0)
    assert older.variance[0] == pytest.approx(1 / (1 / 8e-4 + 1 / 1e-4))


def test_nothing_known_changes_nothing_and_contradictions_are_forgotten() -> None:
    known = InverseDepths(np.array([0.2]), np.array([1e-6]))
    unknown = InverseDepths.unknown(1)
    assert (unknown.fused(known).mean[0], unknown.fused(known).variance[0]) == (0.2, 1e-6)
    apart = known.fused(InverseDepths(np.array([0.3]), np.array([1e-6])))
    assert np.isnan(apart.mean[0])
    assert np.isinf(apart.variance[0])
    assert not unknown.known[0]


def test_depths_move_with_the_camera() -> None:
    here = InverseDepths(1 / POINTS[:, 2], np.full(len(POINTS), 1e-6))
    there = here.moved(A, B_T_A)
    assert there.mean == pytest.approx(1 / IN_B[:, 2], rel=1e-9)
    nudge = 1e-6
    slope = (InverseDepths(here.mean + nudge, here.variance).moved(A, B_T_A).mean - there.mean) / nudge
    assert there.variance == pytest.approx(slope**2 * 1e-6, rel=1e-3)
    behind = here.moved(A, two_view.rigid(np.eye(3), np.array([0, 0, -5.0])))
    assert np.isnan(behind.mean[POINTS[:, 2] < 5]).all()
    assert np.isfinite(behind.mean[POINTS[:, 2] > 5]).all()


def test_the_length_of_a_motion_is_that_by_which_depths_agree() -> None:
    length = float(np.linalg.norm(B_T_A[:3, 3]))
    unit = two_view.rigid(B_T_A[:3, :3], B_T_A[:3, 3] / length)
    seen = InverseDepths.between(A, B, unit, 1e-4)
    known = InverseDepths(1 / POINTS[:, 2], np.full(len(POINTS), 1e-8))
    assert relative_length(known, seen, 8) == pytest.approx(length, rel=1e-6)
    assert seen.scaled(length).mean == pytest.approx(1 / POINTS[:, 2], rel=1e-6)
    assert relative_length(known.without(np.arange(60) > 5), seen, 8) is None
    wrong = np.arange(60) < 20  # a third of the points moved by themselves
    cars = InverseDepths(np.where(wrong, 2.0, 1.0) * known.mean, known.variance)
    assert relative_length(cars, seen, 8) == pytest.approx(length, rel=1e-6)


def test_a_motion_without_length_tells_nothing() -> None:
    assert not InverseDepths(np.array([0.2]), np.array([1e-6])).scaled(0.0).known.any()

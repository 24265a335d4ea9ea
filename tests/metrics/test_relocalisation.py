"""Errors of absolute poses: known turns and shifts, shares at their bounds, calibration against scipy and theory."""

from math import inf, nan, sqrt

import numpy as np
import pytest
import torch
from scipy.stats import chi, spearmanr
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import rotations
from vo3d.metrics.relocalisation import (
    BOUNDS,
    ause,
    deviation_factors,
    nearest_views,
    pose_errors,
    rank_correlation,
    relocalisation_metrics,
    shares_within,
    sparsification,
)


def draw(generator: torch.Generator, n: int) -> Tensor:
    """Draw poses of some metres and any rotation."""
    poses = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    poses[:, :3, :3] = rotations.so3_exp(torch.randn(n, 3, generator=generator, dtype=torch.float64))
    poses[:, :3, 3] = 5 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return poses


def moved(poses: Tensor, metres: float, degrees: float, generator: torch.Generator) -> Tensor:
    """Move and turn poses by so much, each along and about an axis of its own."""
    axes = torch.nn.functional.normalize(torch.randn(2, len(poses), 3, generator=generator, dtype=torch.float64), dim=2)
    found = poses.clone()
    found[:, :3, 3] += metres * axes[0]
    found[:, :3, :3] = poses[:, :3, :3] @ rotations.so3_exp(axes[1] * np.deg2rad(degrees))
    return found


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 5.0, 90.0, 179.0, 180.0])
def test_a_turn_has_its_angle_and_a_shift_its_length(generator: torch.Generator, degrees: float) -> None:
    """90 degrees are 90: the published tables of 2015 have 45."""
    truth = draw(generator, 20)
    errors = pose_errors(truth, moved(truth, 0.3, degrees, generator))
    assert errors[:, 0].tolist() == pytest.approx([0.3] * 20)
    assert errors[:, 1].tolist() == pytest.approx([degrees] * 20, rel=1e-6, abs=1e-6)


def test_both_quaternions_of_a_rotation_are_one(generator: torch.Generator) -> None:
    truth = draw(generator, 10)
    q = rotations.quaternion_from_matrix(truth[:, :3, :3])
    other = truth.clone()
    other[:, :3, :3] = rotations.matrix_from_quaternion(-q)
    assert pose_errors(truth, other)[:, 1].tolist() == pytest.approx([0] * 10, abs=1e-6)
    estimate = draw(generator, 10)
    p = rotations.quaternion_from_matrix(estimate[:, :3, :3])
    by_quaternions = (2 * (q * -p).sum(-1).abs().acos()).rad2deg()
    torch.testing.assert_close(pose_errors(truth, estimate)[:, 1], by_quaternions)


def test_medians_means_and_shares_by_hand() -> None:
    errors = torch.tensor([[0.05, 5.0], [0.25, 2.0], [0.5, 2.5], [5.0, 10.0]], dtype=torch.float64)
    found = relocalisation_metrics(errors)
    assert found["median_position_m"] == 0.375
    assert found["median_rotation_deg"] == 3.75
    assert (found["mean_position_m"], found["mean_rotation_deg"]) == pytest.approx((1.45, 4.875))
    assert [found[key] for key in BOUNDS] == [25, 25, 75, 100]  # the first is too far turned for the second bound
    assert set(found) == {
        *BOUNDS,
        *(f"{kind}_{of}" for kind in ("median", "mean") for of in ("position_m", "rotation_deg")),
    }
    one = relocalisation_metrics(torch.tensor([[6.0, 1.0]], dtype=torch.float64))
    assert (one["median_position_m"], one["within_5m_10deg_percent"]) == (6, 0)
    with pytest.raises(Vo3dError, match="no frame to measure"):
        relocalisation_metrics(torch.zeros(0, 2, dtype=torch.float64))


def test_the_curve_over_thresholds() -> None:
    errors = torch.tensor([0.1, 0.2, 0.2, 3.0], dtype=torch.float64)
    bounds = torch.tensor([0.0, 0.1, 0.2, 1.0, inf], dtype=torch.float64)
    assert shares_within(errors, bounds).tolist() == [0, 25, 75, 75, 100]


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_rank_correlation_is_that_of_scipy(generator: torch.Generator, digits: int) -> None:
    first = torch.randn(200, generator=generator, dtype=torch.float64).round(
        decimals=digits
    )  # of few digits: with ties
    second = first.square() + torch.rand(200, generator=generator, dtype=torch.float64)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert rank_correlation(first, first.exp()) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    assert rank_correlation(first, torch.ones_like(first)) is None
    assert rank_correlation(first[:1], second[:1]) is None


def test_sparsification_by_hand() -> None:
    errors = torch.tensor([1.0, 4.0, 2.0, 9.0], dtype=torch.float64)
    assert sparsification(errors, errors).tolist() == pytest.approx([4, 7 / 3, 1.5, 1])
    assert sparsification(errors, -errors).tolist() == pytest.approx([4, 5, 6.5, 9])
    deviation = torch.tensor([2.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    # after the last frame leaves, one of the first and third by chance, and the mean of both is 1.5
    assert sparsification(errors, deviation).tolist() == pytest.approx([4, 7 / 3, 2.75, 4])


def test_ause_is_none_for_the_oracle_and_one_for_chance(generator: torch.Generator) -> None:
    errors = torch.rand(500, generator=generator, dtype=torch.float64)
    assert ause(errors, errors.square()) == pytest.approx(0, abs=1e-12)
    assert ause(errors, torch.full_like(errors, 0.3)) == pytest.approx(1)
    orders = [torch.rand(500, generator=generator, dtype=torch.float64) for _ in range(50)]
    assert np.mean([ause(errors, order) for order in orders]) == pytest.approx(1, abs=0.05)
    worst = ause(errors, -errors)
    assert worst is not None
    assert worst > 1.5
    by_hand = ause(torch.tensor([1.0, 4.0, 2.0]).double(), torch.tensor([1.0, 1.0, 2.0]).double())
    curve, oracle = (7 / 3 + 2.5 + 2.5) / 3, (7 / 3 + 1.5 + 1) / 3
    assert by_hand == pytest.approx((curve - oracle) / (7 / 3 - oracle))
    assert ause(torch.ones(5).double(), torch.arange(5).double()) is None
    assert ause(torch.zeros(5).double(), torch.arange(5).double()) is None


def test_calibrated_noise_has_the_shares_of_theory(generator: torch.Generator) -> None:
    n = 20_000
    truth = draw(generator, n)
    sigma = 0.01 + torch.rand(n, 2, generator=generator, dtype=torch.float64)  # of each axis: metres, degrees
    noise = torch.randn(n, 2, 3, generator=generator, dtype=torch.float64) * sigma[..., None]
    estimate = truth.clone()
    estimate[:, :3, 3] += noise[:, 0]
    estimate[:, :3, :3] = truth[:, :3, :3] @ rotations.so3_exp(noise[:, 1].deg2rad())
    errors = pose_errors(truth, estimate)
    found = relocalisation_metrics(errors, sqrt(3) * sigma)
    for name in ("position", "rotation"):
        assert found[f"{name}_within_1sigma_percent"] == pytest.approx(100 * chi.cdf(sqrt(3), 3), abs=1.0)  # 60.8
        assert found[f"{name}_within_2sigma_percent"] == pytest.approx(100 * chi.cdf(2 * sqrt(3), 3), abs=0.3)  # 99.3
        order, area = found[f"{name}_rank_correlation"], found[f"{name}_ause"]
        assert order is not None
        assert area is not None
        assert order > 0.6
        assert area < 0.4
    timid = relocalisation_metrics(errors, 4 * sqrt(3) * sigma)
    bold = relocalisation_metrics(errors, sqrt(3) * sigma / 4)
    assert timid["position_within_1sigma_percent"] == pytest.approx(100, abs=0.1)
    assert bold["position_within_1sigma_percent"] == pytest.approx(100 * chi.cdf(sqrt(3) / 4, 3), abs=1.0)
    assert timid["position_ause"] == pytest.approx(found["position_ause"])  # an order alone


def test_the_nearest_view_is_that_of_least_metres_and_radians(generator: torch.Generator) -> None:
    poses, training = draw(generator, 300), draw(generator, 40)
    far = torch.tensor([500_000.0, 4_000_000.0, 30.0], dtype=torch.float64)  # as in maps of the ground
    poses[:, :3, 3] += far
    training[:, :3, 3] += far
    poses[7] = training[11]
    nearest, distance = nearest_views(poses, training)
    for index in (0, 7, 255, 256, 299):
        errors = pose_errors(poses[index].expand(40, 4, 4), training)
        assert nearest[index] == (errors[:, 0] + errors[:, 1].deg2rad()).argmin()
        assert torch.equal(distance[index], errors[nearest[index]])
    assert nearest[7] == 11
    assert distance[7].tolist() == pytest.approx([0, 0], abs=1e-6)
    with pytest.raises(Vo3dError, match="no training view"):
        nearest_views(poses, training[:0])


@pytest.mark.parametrize("n", [1, 2, 100, 163])
def test_factors_make_deviations_hold_68_percent_and_no_frame_more(generator: torch.Generator, n: int) -> None:
    errors, deviation = torch.rand(2, n, 2, generator=generator, dtype=torch.float64).add(0.01)
    factors = deviation_factors(errors, deviation)
    within = (errors <= deviation * factors * (1 + 1e-12)).sum(0).tolist()
    assert within == [-(-0.68269 * n // 1)] * 2
    assert (errors <= deviation * factors * (1 - 1e-9)).sum(0).tolist() == [within[0] - 1] * 2
    torch.testing.assert_close(deviation_factors(errors, deviation * factors), torch.ones(2, dtype=torch.float64))
    order = torch.randperm(n, generator=generator)
    assert torch.equal(deviation_factors(errors[order], deviation[order]), factors)


def test_factors_of_normal_errors_are_those_of_theory(generator: torch.Generator) -> None:
    """Of three errors of one variance, told right: the 68.3 % quantile of chi over the root of the trace."""
    sigma = torch.rand(20000, 2, generator=generator, dtype=torch.float64).add(0.1)
    noise = torch.randn(20000, 2, 3, generator=generator, dtype=torch.float64).norm(dim=-1)
    expected = chi.ppf(0.6827, 3) / sqrt(3)
    assert deviation_factors(sigma * noise, sqrt(3) * sigma).tolist() == pytest.approx([expected] * 2, rel=0.02)


def test_what_cannot_be_calibrated_is_said() -> None:
    ones = torch.ones(3, 2, dtype=torch.float64)
    for errors, deviation in ((0 * ones, ones), (ones, 0 * ones), (ones, nan * ones), (0 * ones, 0 * ones)):
        with pytest.raises(Vo3dError, match="expected errors and deviations above 0"):
            deviation_factors(errors, deviation)
    with pytest.raises(Vo3dError, match="no frame to calibrate by"):
        deviation_factors(ones[:0], ones[:0])

"""Depth metrics against a loop over pixels, values by hand, and what must not change them."""

import math

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.metrics.depth import depth_metrics


def one_image(depth: Tensor, truth: Tensor, mask: Tensor, interval: float) -> dict[str, float]:
    """The definitions, one pixel after the other."""
    pairs = [
        (float(d), float(t))
        for d, t, m in zip(depth.flatten(), truth.flatten(), mask.flatten(), strict=True)
        if m and t != 0
    ]
    wanted = len(pairs)
    pairs = [(d, t) for d, t in pairs if d != 0]
    n = len(pairs)
    errors = sorted(abs(d - t) for d, t in pairs)
    found = {
        "depth_num_pixels": float(n),
        "depth_coverage_percent": 100 * n / wanted,
        "depth_mae_mm": 1000 * sum(errors) / n,
        "depth_median_error_mm": 1000 * (errors[(n - 1) // 2] + errors[n // 2]) / 2,
        "depth_rmse_m": math.sqrt(sum(e * e for e in errors) / n),
        "depth_rmse_log": math.sqrt(sum(math.log(d / t) ** 2 for d, t in pairs) / n),
        "depth_abs_rel": sum(abs(d - t) / t for d, t in pairs) / n,
        "depth_sq_rel_m": sum((d - t) ** 2 / t for d, t in pairs) / n,
        "depth_mae_intervals": sum(errors) / interval / n,
    }
    for k in (1, 2, 3):
        found[f"depth_delta{k}_percent"] = 100 * sum(max(d / t, t / d) < 1.25**k for d, t in pairs) / n
        if k != 2:
            name = "interval" if k == 1 else "intervals"
            found[f"depth_within_{k}_{name}_percent"] = 100 * sum(e / interval <= k for e in errors) / n
    for x in (2, 4, 8):
        above = 100 * sum(e > x / 1000 for e in errors) / n
        found |= {f"depth_above_{x}mm_percent": above, f"depth_within_{x}mm_percent": 100 - above}
    for x in (1, 5):
        found[f"depth_within_{x}pc_percent"] = 100 * sum(abs(d - t) <= x / 100 * t for d, t in pairs) / n
    return found


def maps(generator: torch.Generator, spread: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    truth = 0.5 + torch.rand(2, 3, 9, 7, generator=generator, dtype=torch.float64)
    depth = truth * (spread * torch.randn(truth.shape, generator=generator, dtype=torch.float64)).exp()
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = 0
    depth[torch.rand(truth.shape, generator=generator) < 0.1] = 0
    return depth, truth, torch.rand(truth.shape, generator=generator) < 0.8


@pytest.mark.parametrize("spread", [0.003, 0.3])
def test_every_number_equals_a_loop_over_pixels(spread: float, generator: torch.Generator) -> None:
    depth, truth, mask = maps(generator, spread)
    interval = torch.tensor([[0.002, 0.01, 0.1], [0.3, 0.001, 0.05]], dtype=torch.float64)
    found = depth_metrics(depth, truth, mask=mask, interval=interval)
    for b in range(2):
        for c in range(3):
            expected = one_image(depth[b, c], truth[b, c], mask[b, c], interval[b, c].item())
            assert {key: value[b, c].item() for key, value in found.items()} == pytest.approx(expected, rel=1e-12)


def test_values_by_hand() -> None:
    depth = torch.tensor([[1.0, 2.5, 0.0, 7.0], [4.0, 1.0, 3.0, 5.0]])
    truth = torch.tensor([[1.0, 2.0, 3.0, 0.0], [2.0, 1.0, 3.0, 5.0]])
    mask = torch.tensor([[True, True, True, True], [True, True, True, False]])
    found = depth_metrics(depth, truth, mask=mask, interval=torch.tensor(0.5), above_mm=(500.0,))
    assert found["depth_num_pixels"] == 5
    assert found["depth_coverage_percent"].item() == pytest.approx(100 * 5 / 6)
    assert found["depth_mae_mm"] == 500
    assert found["depth_median_error_mm"] == 0
    assert found["depth_rmse_m"].item() == pytest.approx(math.sqrt((0.25 + 4) / 5))
    assert found["depth_abs_rel"].item() == pytest.approx((0.25 + 1) / 5)
    assert found["depth_sq_rel_m"].item() == pytest.approx((0.125 + 2) / 5)
    # a ratio of 1.25 is not below 1.25; an error of one interval, or of the threshold, is within it
    shares = {"delta1": 60, "delta2": 80, "delta3": 80, "above_500mm": 20, "within_500mm": 80, "within_5pc": 60}
    shares |= {"within_1_interval": 80, "within_3_intervals": 80}
    for name, share in shares.items():
        assert found[f"depth_{name}_percent"].item() == pytest.approx(share)
    assert "depth_mae_intervals" not in depth_metrics(depth, truth)


def test_what_does_not_count_changes_nothing(generator: torch.Generator) -> None:
    depth, truth, mask = maps(generator)
    before = depth_metrics(depth, truth, mask=mask)
    changed, changed_truth = depth.clone(), truth.clone()
    changed[(truth == 0) | ~mask] = torch.nan
    changed_truth[~mask] = -torch.inf
    after = depth_metrics(changed, changed_truth, mask=mask)
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=0)


def test_scale_changes_lengths_alone(generator: torch.Generator) -> None:
    depth, truth, _ = maps(generator)
    plain, scaled = depth_metrics(depth, truth), depth_metrics(2 * depth, 2 * truth)
    for key, value in plain.items():
        if "mm_percent" not in key:
            factor = 2 if key.endswith(("_mm", "_m")) else 1
            torch.testing.assert_close(scaled[key], factor * value)


def test_float32_maps_of_full_size_are_summed_in_float64() -> None:
    truth = torch.full((1184, 1600), 0.7)
    found = depth_metrics(truth + 0.001, truth)
    exact = (truth[0, 0] + 0.001).double() - truth[0, 0].double()
    assert found["depth_mae_mm"].item() == pytest.approx(1000 * exact.item(), rel=1e-12)
    assert found["depth_num_pixels"] == 1184 * 1600


def test_an_image_without_a_counted_pixel_has_no_errors() -> None:
    truth = torch.ones(2, 2, 2)
    truth[0] = 0
    found = depth_metrics(torch.ones(2, 2, 2), truth)
    assert found["depth_num_pixels"].tolist() == [0, 4]
    for key in found.keys() - {"depth_num_pixels"}:
        assert torch.isnan(found[key]).tolist() == [True, False]
    nothing_found = depth_metrics(torch.zeros(2, 2), torch.ones(2, 2))
    assert nothing_found["depth_coverage_percent"] == 0
    assert torch.isnan(nothing_found["depth_mae_mm"])


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_values_get_one_line_with_their_number(value: float) -> None:
    good, bad = torch.ones(3, 4), torch.ones(3, 4)
    bad[1, 1:3] = value
    with pytest.raises(Vo3dError, match="2 of 12 values of the depth are negative, NaN or infinite"):
        depth_metrics(bad, good)
    with pytest.raises(Vo3dError, match="2 of 12 values of the truth"):
        depth_metrics(good, bad)
    with pytest.raises(Vo3dError, match="interval is not positive and finite"):
        depth_metrics(good, good, interval=torch.tensor(value))
    if not value > 0:
        with pytest.raises(Vo3dError, match="thresholds"):
            depth_metrics(good, good, above_mm=(value,))

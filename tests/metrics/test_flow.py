"""Errors of optical flow: against a loop over pixels, by hand, and on both boundaries of KITTI's rule."""

from math import hypot, isnan, nan

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.metrics.flow import end_point_error, flow_metrics


def plainly(flow: Tensor, truth: Tensor, chosen: Tensor) -> dict[str, float]:
    """Count one pixel after the other; `chosen` are those that are looked at."""
    errors, outliers, lengths, num_truth = [], 0, [], 0
    for y in range(flow.shape[1]):
        for x in range(flow.shape[2]):
            u, v, a, b = (float(one) for one in (*flow[:, y, x], *truth[:, y, x]))
            if isnan(a) or isnan(b) or not chosen[y, x]:
                continue
            num_truth += 1
            lengths.append(hypot(a, b))
            if isnan(u) or isnan(v):
                continue
            errors.append(hypot(u - a, v - b))
            outliers += errors[-1] > 3 and errors[-1] / lengths[-1] > 0.05
    return {
        "flow_num_truth": num_truth,
        "flow_num_pixels": len(errors),
        "flow_coverage_percent": 100 * len(errors) / num_truth,
        "flow_length_px": sum(lengths) / num_truth,
        "flow_epe_px": sum(errors) / len(errors),
        "flow_outliers_percent": 100 * outliers / len(errors),
    }


def test_every_number_equals_that_of_a_loop(generator: torch.Generator) -> None:
    truth = 40 * torch.randn(2, 2, 2, 11, 13, generator=generator)
    flow = truth + 4 * torch.randn(truth.shape, generator=generator)
    ids = torch.randint(0, 3, (2, 2, 11, 13), generator=generator)
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = nan  # one of the two numbers is enough
    flow[torch.rand(flow.shape, generator=generator) < 0.1] = nan
    found = flow_metrics(flow, truth, ids)
    for b in range(2):
        for s in range(2):
            kinds = {"": torch.ones(11, 13), "static_": ids[b, s] == 0, "moving_": ids[b, s] > 0}
            for prefix, chosen in kinds.items():
                expected = plainly(flow[b, s], truth[b, s], chosen)
                for key in (
                    expected.keys() if not prefix else ("flow_num_pixels", "flow_epe_px", "flow_outliers_percent")
                ):
                    assert found[prefix + key][b, s].item() == pytest.approx(expected[key], rel=1e-12), prefix + key
    assert found["flow_outliers_percent"].min() > 10
    assert found["flow_outliers_percent"].max() < 90
    assert torch.equal(found["static_flow_num_pixels"] + found["moving_flow_num_pixels"], found["flow_num_pixels"])


def test_values_by_hand() -> None:
    truth = torch.tensor([[[0.0, 3.0, nan], [60.0, -6.0, 1.0]], [[0.0, 4.0, 1.0], [80.0, 8.0, 1.0]]])
    flow = torch.tensor([[[3.0, 3.0, 9.0], [60.0, -6.0, nan]], [[4.0, 4.0, 9.0], [76.0, 8.0, 1.0]]])
    error = end_point_error(flow, truth)
    assert error[0, :2].tolist() == [5, 0]
    assert error[1, :2].tolist() == [4, 0]
    assert error.isnan().tolist() == [[False, False, True], [False, False, True]]
    found = flow_metrics(flow, truth, torch.tensor([[0, 0, 0], [7, 0, 7]]))
    assert found["flow_epe_px"] == 9 / 4
    assert found["flow_coverage_percent"] == 80
    assert found["flow_length_px"].item() == pytest.approx((0 + 5 + 100 + 10 + 2**0.5) / 5)
    assert found["flow_outliers_percent"] == 25  # 4 px of 100 are 4 %
    assert (found["static_flow_epe_px"].item(), found["moving_flow_epe_px"]) == (pytest.approx(5 / 3), 4)
    assert found["static_flow_outliers_percent"].item() == pytest.approx(100 / 3)
    assert found["moving_flow_outliers_percent"] == 0


@pytest.mark.parametrize(
    ("length", "error", "outlier"),
    [
        (10.0, 3.0, False),  # 30 %, and not more than 3 px
        (10.0, 3.0001, True),
        (64.0, 3.2, False),  # more than 3 px, and exactly 5 %
        (64.0, 3.2001, True),
        (60.0, 3.0, False),  # on both
        (0.0, 3.0001, True),
        (0.0, 0.0, False),
    ],
)
def test_an_outlier_is_above_both_limits(length: float, error: float, outlier: bool) -> None:
    truth = torch.tensor([length, 0.0], dtype=torch.float64)[:, None, None]
    flow = truth + torch.tensor([0.0, error], dtype=torch.float64)[:, None, None]
    assert flow_metrics(flow, truth)["flow_outliers_percent"] == 100 * outlier


def test_without_a_pixel_nothing_is_defined() -> None:
    flow, none = torch.zeros(2, 3, 4), torch.full((2, 3, 4), nan)
    empty = flow_metrics(flow, none)
    assert (empty["flow_num_truth"], empty["flow_num_pixels"]) == (0, 0)
    assert all(empty[key].isnan() for key in ("flow_epe_px", "flow_outliers_percent", "flow_coverage_percent"))
    lacking = flow_metrics(none, flow, torch.zeros(3, 4, dtype=torch.long))
    assert (lacking["flow_num_truth"], lacking["flow_coverage_percent"]) == (12, 0)
    assert lacking["flow_epe_px"].isnan()
    assert lacking["moving_flow_epe_px"].isnan()
    assert "moving_flow_epe_px" not in empty


def test_infinite_numbers_are_refused_where_they_would_count() -> None:
    flow, truth = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    flow[0, 1, 2] = torch.inf
    with pytest.raises(Vo3dError, match="1 of 12 values of a flow or its truth are infinite: expected pixels, NaN"):
        flow_metrics(flow, truth)
    truth[1, 1, 2] = nan
    assert flow_metrics(flow, truth)["flow_epe_px"] == 0
    with pytest.raises(Vo3dError, match="12 of 12 values"):
        flow_metrics(truth.nan_to_num(), torch.full_like(truth, -torch.inf))

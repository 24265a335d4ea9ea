"""How near depth maps are to the truth: errors in metres, millimetres and depth intervals, ratios, shares of pixels."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vo3d.errors import Vo3dError

Value = TypeVar("Value")


@torch.no_grad()
def depth_metrics(
    depth: Float[Tensor, "*b h w"],
    truth: Float[Tensor, "*b h w"],
    *,
    mask: Bool[Tensor, "*b h w"] | None = None,
    interval: Float[Tensor, "*b"] | None = None,
    above_mm: Sequence[float] = (2.0, 4.0, 8.0),
    within_percent: Sequence[float] = (1.0, 5.0),
) -> dict[str, Float64[Tensor, "*b"]]:
    """Compute errors of each depth map over its counted pixels; d is the depth, t the truth, in metres, 0 = none.

    A pixel counts where the truth and the depth are not 0 and the `mask` is true. The number of these pixels in one
    image is the denominator of every mean and share but the coverage, so that maps with holes are scored by what they
    hold: read them beside it. Means over images are the caller's; an image without a counted pixel has NaN.

    | key | value |
    |---|---|
    | `depth_num_pixels` | counted pixels |
    | `depth_coverage_percent` | of the pixels with a truth, where the mask is true, those with a depth |
    | `depth_mae_mm`, `depth_median_error_mm` | mean and median of abs(d - t) |
    | `depth_rmse_m`, `depth_rmse_log` | root of the mean of (d - t)^2, of (ln d - ln t)^2 |
    | `depth_abs_rel`, `depth_sq_rel_m` | mean of abs(d - t) / t, of (d - t)^2 / t |
    | `depth_delta1_percent`, 2, 3 | max(d / t, t / d) < 1.25, 1.25^2, 1.25^3 |
    | `depth_above_<x>mm_percent`, `depth_within_<x>mm_percent` | abs(d - t) > x; its complement |
    | `depth_within_<x>pc_percent` | abs(d - t) <= x percent of t |
    | `depth_mae_intervals` | mean of abs(d - t) / `interval` |
    | `depth_within_1_interval_percent`, `depth_within_3_intervals_percent` | abs(d - t) <= 1 or 3 intervals |

    The last three are given where `interval` is: the metres between two depth planes, one number an image.

    Raises:
        Vo3dError: a depth or a truth is negative, NaN or infinite where it would count; an interval or a threshold is
            not positive.

    Source: relative errors and deltas as in Eigen et al., "Depth map prediction from a single image", NIPS 2014;
    intervals as in Yao et al., "MVSNet", ECCV 2018, whose program pools the pixels of a batch for the two shares.
    """
    _check_thresholds(above_mm, within_percent, interval)
    d, t = depth.double().flatten(-2), truth.double().flatten(-2)  # *b n
    wanted = t != 0 if mask is None else (t != 0) & mask.flatten(-2)
    counted = wanted & (d != 0)
    _check_values("truth", t, wanted)
    _check_values("depth", d, counted)
    num = counted.sum(-1)  # *b
    d, t = torch.where(counted, d, 1.0), torch.where(counted, t, 1.0)
    error = (d - t).abs()

    def mean(values: Tensor) -> Tensor:
        return torch.where(counted, values, 0).sum(-1, dtype=torch.float64) / num

    ratio = torch.maximum(d / t, t / d)
    metrics = {
        "depth_num_pixels": num.double(),
        "depth_coverage_percent": 100 * num / wanted.sum(-1).double(),
        "depth_mae_mm": 1000 * mean(error),
        "depth_median_error_mm": 1000 * torch.where(counted, error, torch.nan).nanquantile(0.5, dim=-1),
        "depth_rmse_m": mean(error.square()).sqrt(),
        "depth_rmse_log": mean((d.log() - t.log()).square()).sqrt(),
        "depth_abs_rel": mean(error / t),
        "depth_sq_rel_m": mean(error.square() / t),
    }
    metrics |= {f"depth_delta{power}_percent": 100 * mean(ratio < 1.25**power) for power in (1, 2, 3)}
    for x in above_mm:
        metrics |= {
            f"depth_above_{x:g}mm_percent": 100 * mean(error > x / 1000),
            f"depth_within_{x:g}mm_percent": 100 * mean(error <= x / 1000),
        }
    metrics |= {f"depth_within_{x:g}pc_percent": 100 * mean(error <= x / 100 * t) for x in within_percent}
    if interval is not None:
        intervals = error / interval.double()[..., None]
        metrics |= {
            "depth_mae_intervals": mean(intervals),
            "depth_within_1_interval_percent": 100 * mean(intervals <= 1),
            "depth_within_3_intervals_percent": 100 * mean(intervals <= 3),
        }
    return metrics


def without_lengths(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """Keep the metrics of `depth_metrics` that mean the same in any unit, for depths whose unit is not known."""
    return {key: value for key, value in metrics.items() if not re.search(r"mm_percent|_mm?$", key)}


def _check_thresholds(above_mm: Sequence[float], within_percent: Sequence[float], interval: Tensor | None) -> None:
    if not all(x > 0 for x in (*above_mm, *within_percent)):
        raise Vo3dError(f"thresholds {list(above_mm)} mm and {list(within_percent)} percent: expected positive numbers")
    if interval is not None and not bool(((interval > 0) & interval.isfinite()).all()):
        raise Vo3dError("a depth interval is not positive and finite: expected metres between two depth planes")


def _check_values(what: str, values: Float64[Tensor, "*b n"], counted: Bool[Tensor, "*b n"]) -> None:
    """Raise Vo3dError where a counted value is not positive and finite."""
    bad = counted & ~((values > 0) & values.isfinite())
    if bool(bad.any()):
        raise Vo3dError(
            f"{int(bad.sum())} of {int(counted.sum())} values of the {what} are negative, NaN or infinite: expected "
            "metres, 0 where there is none"
        )

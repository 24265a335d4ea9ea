"""Measure optical flow against the truth: end-point errors, and shares of gross errors by KITTI's rule."""

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vo3d.errors import Vo3dError

OUTLIER_PX, OUTLIER_SHARE = 3.0, 0.05  # an error above both, the second of the true length, is an outlier


@torch.no_grad()
def end_point_error(flow: Float[Tensor, "*b 2 h w"], truth: Float[Tensor, "*b 2 h w"]) -> Float64[Tensor, "*b h w"]:
    """Compute the distance, pixels, between where each pixel goes by the flow and by the truth; NaN where one is NaN.

    Source: Otte and Nagel, "Optical flow estimation: advances and comparisons", ECCV 1994.
    """
    return (flow.double() - truth.double()).square().sum(-3).sqrt()


@torch.no_grad()
def flow_metrics(
    flow: Float[Tensor, "*b 2 h w"],
    truth: Float[Tensor, "*b 2 h w"],
    ids: Int[Tensor, "*b h w"] | None = None,
) -> dict[str, Float64[Tensor, "*b"]]:
    """Compute the errors of each flow over its counted pixels; pixels, NaN = not defined, in the truth and in the flow.

    A pixel counts where both are defined. The number of these pixels is the denominator of every mean and share but the
    coverage: read that beside them. Without a counted pixel they are NaN.

    | key | value |
    |---|---|
    | `flow_num_truth`, `flow_num_pixels` | pixels with a truth; those of them with a flow, which count |
    | `flow_coverage_percent` | of the pixels with a truth, those with a flow |
    | `flow_length_px` | mean length of the truth over the pixels that have one: the error of no motion |
    | `flow_epe_px` | mean end-point error |
    | `flow_outliers_percent` | pixels whose error is above 3 px and above 5 % of the true length |

    Where `ids` are given, objects that move (0 = static world), the number of pixels, the error and the outliers come
    once more with `static_` and once with `moving_` before them.

    Raises:
        Vo3dError: a flow is infinite where there is a truth; a truth is infinite.

    Source: Menze and Geiger, "Object scene flow for autonomous vehicles", CVPR 2015, and the KITTI 2015 devkit, whose
    program compares in the same way (`>`, both conditions) and fills what an incomplete flow leaves open.
    """
    u, t = flow.double(), truth.double()
    wanted = ~t.isnan().any(-3)  # *b h w
    bad = wanted & (u.isinf() | t.isinf()).any(-3)
    if bool(bad.any()):
        raise Vo3dError(
            f"{int(bad.sum())} of {int(wanted.sum())} values of a flow or its truth are infinite: expected pixels, NaN "
            "where there is none: take precision float32, or other weights"
        )
    counted = wanted & ~u.isnan().any(-3)
    error, length = end_point_error(u, t), t.square().sum(-3).sqrt()
    outlier = (error > OUTLIER_PX) & (error > OUTLIER_SHARE * length)

    def mean(values: Tensor, where: Tensor) -> Tensor:
        return torch.where(where, values, 0.0).sum((-2, -1), dtype=torch.float64) / where.sum((-2, -1))

    def errors(prefix: str, where: Tensor) -> dict[str, Tensor]:
        return {
            f"{prefix}flow_num_pixels": where.sum((-2, -1)).double(),
            f"{prefix}flow_epe_px": mean(error, where),
            f"{prefix}flow_outliers_percent": 100 * mean(outlier, where),
        }

    metrics = {
        "flow_num_truth": wanted.sum((-2, -1)).double(),
        "flow_coverage_percent": 100 * mean(counted, wanted),
        "flow_length_px": mean(length, wanted),
        **errors("", counted),
    }
    if ids is not None:
        metrics |= errors("static_", counted & (ids == 0)) | errors("moving_", counted & (ids > 0))
    return metrics

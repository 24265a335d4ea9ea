"""The rules by which depths of single views are scored: which pixels count, and what the depths become before."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.metrics.depth import depth_metrics

# Top, bottom, left, right as shares of rows and columns; the numbers stand in the evaluation programs of Monodepth
# (Godard et al., CVPR 2017; utils/evaluate_kitti.py) and of SfMLearner (Zhou et al., CVPR 2017): "garg" is the crop of
# Garg et al., ECCV 2016, "eigen" one that reproduces the figures of Eigen et al., NIPS 2014.
CROPS: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "none": (0.0, 1.0, 0.0, 1.0),
        "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
        "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    }
)
SCALINGS = ("none", "median")


@dataclass(frozen=True, kw_only=True)
class EigenRules:
    """The rules of Eigen's protocol.

    Args:
        cap: Near and far, metres: a truth counts strictly between them, and depths are clamped to them.
        crop: The part of the image that counts, see `CROPS`.
        scaling: "median" multiplies the depths of each image by the median of its truths over that of its depths.

    Raises:
        Vo3dError: the cap does not ascend from 0 on, or a word is unknown.

    Source: the cap of 0.001 to 80 m, and scaling before clamping, as in the programs that `CROPS` names.
    """

    cap: tuple[float, float] = (1e-3, 80.0)
    crop: str = "none"
    scaling: str = "none"

    def __post_init__(self) -> None:
        near, far = self.cap
        if not 0 <= near < far < float("inf"):
            raise Vo3dError(f"cap {near:g} to {far:g} m: expected a near and a larger far, from 0 on")
        for name, value, known in (("crop", self.crop, CROPS), ("scaling", self.scaling, SCALINGS)):
            if value not in known:
                raise Vo3dError(f"{name} {value!r} is unknown: expected one of {', '.join(known)}")

    def __str__(self) -> str:
        crop = "no crop" if self.crop == "none" else f"the crop of {self.crop.capitalize()}"
        scaling = "no scaling" if self.scaling == "none" else "each image scaled by the ratio of medians"
        return f"truths from {self.cap[0]:g} to {self.cap[1]:g} m, {crop}, {scaling}"


def crop_mask(h: int, w: int, crop: str) -> Bool[Tensor, "{h} {w}"]:
    """Mark the pixels of an image of `h` rows and `w` columns that a crop leaves; its edges are rounded down."""
    top, bottom, left, right = CROPS[crop]
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[int(top * h) : int(bottom * h), int(left * w) : int(right * w)] = True
    return mask


def under_rules(
    depth: Float[Tensor, "*b h w"],
    truth: Float[Tensor, "*b h w"],
    rules: EigenRules,
    inside: Bool[Tensor, "*#b h w"] | None = None,
) -> tuple[Float64[Tensor, "*b h w"], Float64[Tensor, "*b h w"], Float64[Tensor, "*b"]]:
    """Scale and clamp depths, and leave the truths that count; metres, 0 = none.

    Values that are no lengths (negative, NaN) are left where they would count, for `depth_metrics` to refuse.

    Args:
        depth: Estimated z; 0 stays 0.
        truth: True z.
        rules: Cap and scaling; the crop is the caller's, who knows the size of the image.
        inside: Pixels that count, such as those of `crop_mask`; all if None.

    Returns:
        The depths, the truths that count (0 elsewhere), and the scale of each image: 1 where nothing is scaled, NaN
        where no pixel has both.
    """
    near, far = rules.cap
    d, t = depth.double(), truth.double()
    left_out = ((t >= 0) & (t <= near)) | (t >= far)
    if inside is not None:
        left_out = left_out | ~inside
    t = torch.where(left_out, 0, t)
    scale = torch.ones_like(d[..., 0, 0])
    if rules.scaling == "median":
        both = ((d != 0) & (t != 0)).flatten(-2)
        scale = _median(t.flatten(-2), both) / _median(d.flatten(-2), both)
        d = torch.where(both.any(-1)[..., None, None], d * scale[..., None, None], d)
    return torch.where(d > 0, d.clamp(near, far), d), t, scale


def single_view_metrics(
    depth: Float[Tensor, "*b h w"],
    truth: Float[Tensor, "*b h w"],
    rules: EigenRules,
    inside: Bool[Tensor, "*#b h w"] | None = None,
) -> dict[str, Float64[Tensor, "*b"]]:
    """Compute the errors of depths by Eigen's protocol.

    The keys of `depth_metrics` but its thresholds in millimetres, and where the rules scale `depth_scale`, the factor
    that each image was multiplied by. For the arguments see `under_rules`, which does everything before the formulas.
    """
    d, t, scale = under_rules(depth, truth, rules, inside)
    return depth_metrics(d, t, above_mm=()) | ({"depth_scale": scale} if rules.scaling == "median" else {})


def _median(values: Float64[Tensor, "*b n"], counted: Bool[Tensor, "*b n"]) -> Float64[Tensor, "*b"]:
    """Take the median of the counted values, between the two in the middle where their number is even."""
    return torch.where(counted, values, torch.nan).nanquantile(0.5, dim=-1)

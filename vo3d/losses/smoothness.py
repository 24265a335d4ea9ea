"""Losses that ask maps to be smooth: along the image where that is, or in their second derivatives."""

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.geometry.precision import full_precision


@full_precision
def edge_aware_smoothness(
    values: Float[Tensor, "*b h w"], image: Float[Tensor, "*b c h w"], edge_weight: float = 1.0
) -> tuple[Float[Tensor, "*b h w-1"], Float[Tensor, "*b h-1 w"]]:
    """Compute |dv/dx| exp(-a |dI/dx|) and |dv/dy| exp(-a |dI/dy|): a map may jump where its image does.

    Differences are those of neighbouring pixels, to the right and downwards; |dI| is the mean over the channels and a
    is `edge_weight`.

    Source: Godard et al., "Unsupervised monocular depth estimation with left-right consistency", CVPR 2017, equation 3
    (a = 1, on disparities).
    """
    terms = []
    for axis in (-1, -2):
        jump = image.diff(dim=axis).abs().mean(-3)
        terms.append(values.diff(dim=axis).abs() * torch.exp(-edge_weight * jump))
    return terms[0], terms[1]


@full_precision
def second_order_smoothness(
    values: Float[Tensor, "*b h w"],
) -> tuple[Float[Tensor, "*b h w-2"], Float[Tensor, "*b h-1 w-1"], Float[Tensor, "*b h-2 w"]]:
    """Compute |d2v/dx2|, |d2v/dxdy| and |d2v/dy2| by differences: 0 for a map that is linear, such as a flat wall's.

    Inverse depth is linear over any plane. The mixed term counts once; Zhou et al. count it twice.

    Source: Zhou et al., "Unsupervised learning of depth and ego-motion from video", CVPR 2017, section 3.4;
    Vijayanarasimhan et al., "SfM-Net", 2017, section 3.3 (on depth and flow).
    """
    across, down = values.diff(dim=-1), values.diff(dim=-2)
    return across.diff(dim=-1).abs(), across.diff(dim=-2).abs(), down.diff(dim=-2).abs()


@full_precision
def normalised_by_mean(values: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Divide maps by their means, so that no smoothness can be had by shrinking them.

    Source: Wang et al., "Learning depth from monocular videos using direct methods", CVPR 2018.
    """
    return values / values.mean((-2, -1), keepdim=True).clamp(min=1e-7)

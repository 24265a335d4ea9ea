"""Losses between an image and one made from another view: structural similarity (SSIM), L1, and their mix."""

from functools import reduce
from operator import add

import torch
from jaxtyping import Bool, Float
from kornia.filters import get_gaussian_kernel1d
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from vo3d.errors import Vo3dError
from vo3d.geometry.precision import full_precision

SIGMA = 1.5  # pixels, of the windows
C1, C2 = 0.01**2, 0.03**2  # for images in [0, 1]


@full_precision
def structural_error(
    image: Float[Tensor, "*b c h w"], other: Float[Tensor, "*b c h w"], window: int = 3
) -> Float[Tensor, "*b h w"]:
    """Compute (1 - SSIM) / 2 of images in [0, 1], the mean over the channels: 0 where equal, at most 1.

    The windows are Gaussian with a deviation of 1.5 pixels, `window` wide (odd), and mirrored at the border. The values
    are those of kornia.metrics.ssim to rounding (its eps is 0 here), whose convolutions take five times as long on a
    CPU and refuse torch's meta device.

    Source: Wang et al., "Image quality assessment", IEEE Transactions on Image Processing 2004; as a loss in Godard et
    al., "Unsupervised monocular depth estimation with left-right consistency", CVPR 2017, equation 2, whose windows
    weigh their 3x3 pixels alike.

    Raises:
        Vo3dError: the window is even or not positive, or reaches beyond the mirror image of the images.
    """
    if window < 1 or window % 2 == 0:
        raise Vo3dError(f"an SSIM window of {window} pixels: expected an odd number")
    half = window // 2
    if min(image.shape[-2:]) <= half:
        raise Vo3dError(
            f"an SSIM window of {window} pixels on images of {image.shape[-2]} rows and {image.shape[-1]} columns: "
            f"expected more than {half} of either: take a smaller window or larger images"
        )
    a, b = (pad(x.reshape(-1, *x.shape[-3:]), (half,) * 4, mode="reflect") for x in (image, other))
    weights = get_gaussian_kernel1d(window, SIGMA, dtype=torch.float64)[0].tolist()
    mean_a, mean_b, mean_squares, mean_product = (_windowed(x, weights) for x in (a, b, a * a + b * b, a * b))
    squares, product = mean_a.square() + mean_b.square(), mean_a * mean_b
    structure = (2 * (mean_product - product) + C2) / (mean_squares - squares + C2)
    similarity = structure * (2 * product + C1) / (squares + C1)
    error = ((1 - similarity) / 2).clamp(0, 1).mean(1)  # b h w
    return error.reshape(*image.shape[:-3], *image.shape[-2:])


def _windowed(x: Float[Tensor, "b c h w"], weights: list[float]) -> Float[Tensor, "b c rows columns"]:
    """Compute weighted means over windows, those that fit; sums of shifted maps are faster than any convolution."""
    for axis in (-1, -2):
        length = x.shape[axis] - len(weights) + 1
        x = reduce(add, (weight * x.narrow(axis, at, length) for at, weight in enumerate(weights)))
    return x


@full_precision
def photometric_error(
    image: Float[Tensor, "*b c h w"],
    other: Float[Tensor, "*b c h w"],
    valid: Bool[Tensor, "*b h w"] | None = None,
    ssim_weight: float = 0.85,
    window: int = 3,
) -> Float[Tensor, "*b h w"]:
    """Compute ssim_weight (1 - SSIM) / 2 + (1 - ssim_weight) |image - other|, the mean over the channels.

    Where `valid` is False the error is 0: `other` is replaced by the image there, so that the windows at the edge of
    what is valid do not see the emptiness behind it.

    Source: Godard et al., CVPR 2017, equation 2, with 0.85; Li et al., "UnDeepVO", ICRA 2018, section III-C.

    Raises:
        Vo3dError: `ssim_weight` is not in [0, 1]; the window is none, see `structural_error`.
    """
    if not 0 <= ssim_weight <= 1:
        raise Vo3dError(f"ssim_weight is {ssim_weight}: expected a share from 0 to 1")
    if valid is not None:
        other = torch.where(valid[..., None, :, :], other, image)
    error = (1 - ssim_weight) * (image - other).abs().mean(-3)
    if ssim_weight > 0:
        error = error + ssim_weight * structural_error(image, other, window)
    return error if valid is None else torch.where(valid, error, 0.0)


def halved(maps: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b c rows columns"]:
    """Average maps over blocks of 2 x 2 pixels, for errors at several scales; an odd last row or column is left out."""
    small = avg_pool2d(maps.reshape(-1, *maps.shape[-3:]), 2)
    return small.reshape(*maps.shape[:-2], *small.shape[-2:])


def masked_mean(values: Float[Tensor, "*b"], valid: Bool[Tensor, "*b"]) -> Float[Tensor, ""]:
    """Compute the mean of the values that are valid; 0, with gradients of 0, where none is."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)

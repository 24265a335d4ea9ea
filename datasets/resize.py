"""One place where views change their size: all maps of pixels and K always together."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import interpolate

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import scale_intrinsics
from vo3d.sample import Sample

Size = tuple[int, int]  # height, width
PIXELS = ("image", "right", "depth", "mask", "label", "flow")  # fields whose last two axes are rows and columns


def check_size(size: Size | None) -> None:
    """Raise Vo3dError unless `size` is None or two positive numbers."""
    if size is not None and min(size) < 1:
        raise Vo3dError(f"size {size} is no image size: expected height and width in pixels, each at least 1")


def wanted_size(stored: Size, size: Size | None, short_side: int | None) -> Size | None:
    """Return the size that images of the size `stored` get: `size`, or their own shape with a shorter side of pixels.

    The longer side is rounded: with 256, 1920x1080 becomes 455x256 and 640x480 becomes 341x256. None for neither.

    Raises Vo3dError when both are given, and for a side or a size that is none.
    """
    check_size(size)
    if short_side is None:
        return size
    if size is not None:
        raise Vo3dError(f"size {size} and short_side {short_side}: give one of the two")
    if short_side < 1:
        raise Vo3dError(f"short_side is {short_side}: expected pixels, at least 1")
    height, width = (round(side * short_side / min(stored)) for side in stored)
    return height, width


def resize_image(image: Float[Tensor, "*b c h w"], size: Size) -> Float[Tensor, "*b c new_h new_w"]:
    """Resize images: bilinear, and going down averaged over the area that an output pixel covers (no aliasing).

    Convention: pixels are areas; the centre of the top-left pixel is (0, 0), its corner (-0.5, -0.5).
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    flat = image.reshape(-1, *image.shape[-3:])
    resized = interpolate(flat, size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.clamp(0, 1).reshape(*image.shape[:-2], *size)


def resize_labels(labels: Shaped[Tensor, "*b h w"], size: Size) -> Shaped[Tensor, "*b new_h new_w"]:
    """Resize depth, object ids, anything that must not be averaged: the nearest value, by pixel centres."""
    (old_height, old_width), (height, width) = labels.shape[-2:], size
    # whole numbers, because (i + 0.5) * old / new in floating point falls on either side of a border
    rows = (2 * torch.arange(height, device=labels.device) + 1) * old_height // (2 * height)
    columns = (2 * torch.arange(width, device=labels.device) + 1) * old_width // (2 * width)
    return labels[..., rows[:, None], columns]


def resize_flow(flow: Float[Tensor, "*b 2 h w"], size: Size) -> Float[Tensor, "*b 2 new_h new_w"]:
    """Resize flow in pixels as `resize_labels` does, because known and unknown have no mean, and scale it alike."""
    stretch = torch.tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]], dtype=torch.float64)[:, None, None]
    return resize_labels(flow, size) * stretch.to(flow)


def resize_intrinsics(K: Float[Tensor, "*b 3 3"], old: Size, new: Size) -> Float[Tensor, "*b 3 3"]:
    """Return K of images of the size `old` once they are resized to `new`."""
    return scale_intrinsics(K, new[1] / old[1], new[0] / old[0])


def is_resized(size: Size, original: Size) -> bool:
    """Tell whether `size` is that of an `original` resized in its shape, each side rounded up or down."""
    factors = [((new - 1) / old, (new + 1) / old) for new, old in zip(size, original, strict=True)]
    return max(low for low, _ in factors) < min(high for _, high in factors)


def resize(sample: Sample, size: Size) -> Sample:
    """Return the sample with all maps of pixels (`PIXELS`) and K at `size` (height, width)."""
    check_size(size)
    old = (sample.image.shape[-2], sample.image.shape[-1])
    if old == tuple(size):
        return sample
    return replace(
        sample,
        **changed(sample, ("image", "right"), lambda image: resize_image(image, size)),
        **changed(sample, ("depth", "mask", "label"), lambda labels: resize_labels(labels, size)),
        **changed(sample, ("flow",), lambda flow: resize_flow(flow, size)),
        **changed(sample, ("K",), lambda K: resize_intrinsics(K, old, size)),
    )


def changed(sample: Sample, names: Sequence[str], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Return those of the fields that the sample has, after a change."""
    return {name: change(getattr(sample, name)) for name in names if name in sample.given()}

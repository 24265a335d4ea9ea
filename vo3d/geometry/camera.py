"""Pinhole cameras: between points in the camera's frame (metres) and pixels, and what image operations do to K.

Convention: camera axes x right, y down, z forward; the centre of the top-left pixel is (0, 0), so an image of width w
covers x from -0.5 to w - 0.5; K = [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels.
"""

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from vo3d.geometry.precision import full_precision

NEAR = 1e-6  # metres: what is nearer to the plane of the camera, or behind it, has no pixel


def pixel_grid(
    h: int, w: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, "{h} {w} 2"]:
    """The centres of all pixels of an image, (x, y), integers."""
    y = torch.arange(h, dtype=dtype, device=device)
    x = torch.arange(w, dtype=dtype, device=device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def cell_centres(size: tuple[int, int], rows: int, columns: int) -> Float64[Tensor, "g 2"]:
    """Spread pixels (x, y) over an image of `size` (h, w): the centres of equal cells, row by row."""
    cells = torch.cartesian_prod(
        *((torch.arange(count, dtype=torch.float64) + 0.5) / count for count in (rows, columns))
    )
    return (cells * torch.tensor(size) - 0.5).flip(-1)


@full_precision
def project(
    K: Float[Tensor, "*b 3 3"], points: Float[Tensor, "*points 3"], near: float = NEAR
) -> tuple[Float[Tensor, "*points 2"], Float[Tensor, "*points"]]:
    """The pixels of points in the camera's frame, and their depths z.

    The batch axes of `K` are the leading axes of `points` (each equal, or 1); the other axes of `points`, such as
    `h w`, share it. A point with z < `near` (metres), so every point beside or behind the camera, has no pixel: it gets
    NaN, which compares as outside of every image. Its gradient is zero.
    """
    fx, fy, cx, cy, skew = intrinsics(K, points.ndim - 1)
    x, y, z = points.unbind(-1)
    front = z >= near
    # The divisor is substituted, not the quotient: the gradient of x / 0 would be NaN even where it is not selected.
    inverse_z = 1 / torch.where(front, z, torch.ones_like(z))
    x, y = x * inverse_z, y * inverse_z
    pixels = torch.stack((fx * x + skew * y + cx, fy * y + cy), dim=-1)
    return torch.where(front[..., None], pixels, torch.nan), z


@full_precision
def rays(K: Float[Tensor, "*b 3 3"], pixels: Float[Tensor, "*pixels 2"]) -> Float[Tensor, "*pixels 3"]:
    """The points at depth 1 that pixels see; `K` is shared as in `project`."""
    fx, fy, cx, cy, skew = intrinsics(K, pixels.ndim - 1)
    x, y = pixels.unbind(-1)
    y = (y - cy) / fy
    return torch.stack(((x - cx - skew * y) / fx, y, torch.ones_like(y)), dim=-1)


@full_precision
def backproject(K: Float[Tensor, "*#b 3 3"], depth: Float[Tensor, "*#b h w"]) -> Float[Tensor, "*#b h w 3"]:
    """The points in the camera's frame that a depth map (z, metres) holds.

    Depth 0, no measurement, becomes the camera's centre, which `project` flags. Batch shapes broadcast.
    """
    h, w = depth.shape[-2:]
    grid = pixel_grid(h, w, dtype=depth.dtype, device=depth.device)
    return rays(K, grid.expand(*K.shape[:-2], h, w, 2)) * depth[..., None]


@full_precision
def scale_intrinsics(K: Float[Tensor, "*b 3 3"], scale_x: int | float, scale_y: int | float) -> Float[Tensor, "*b 3 3"]:
    """K after the image has been resized to (w * scale_x, h * scale_y) pixels.

    Convention: resizing keeps the borders of the image, not the centres of its corner pixels, in place, as OpenCV and
    `interpolate(align_corners=False)` do: cx' + 0.5 = (cx + 0.5) * scale_x.
    """
    scale = K.new_tensor((scale_x, scale_y, 1.0))[:, None]
    return K * scale + _last_column(K, 0.5 * scale_x - 0.5, 0.5 * scale_y - 0.5)


def subsample(pixels: Shaped[Tensor, "*b h w"], stride: int) -> Shaped[Tensor, "*b i j"]:
    """Every `stride`-th pixel of maps, the first one included; `subsample_intrinsics` does K.

    A view, without a copy: nothing is averaged.
    """
    return pixels[..., ::stride, ::stride]


@full_precision
def subsample_intrinsics(K: Float[Tensor, "*b 3 3"], stride: int) -> Float[Tensor, "*b 3 3"]:
    """K of the map that keeps every `stride`-th pixel of the image, the first one included.

    Convention: pixel (x, y) of the map is pixel (stride x, stride y) of the image, as it is for convolutions with that
    stride and centred windows; `scale_intrinsics` is for images that were resized instead.
    """
    return K / K.new_tensor((stride, stride, 1.0))[:, None]


@full_precision
def crop_intrinsics(K: Float[Tensor, "*b 3 3"], left: int | float, top: int | float) -> Float[Tensor, "*b 3 3"]:
    """K after `left` columns and `top` rows have been cut off; negative numbers mean padding."""
    return K + _last_column(K, -left, -top)


@full_precision
def flip_intrinsics(K: Float[Tensor, "*b 3 3"], width: int) -> Float[Tensor, "*b 3 3"]:
    """K after an image of `width` pixels has been flipped left to right; `se3.mirror` does the poses."""
    # The flipped image is seen by x' = width - 1 - x; the mirrored world has -X for X, so fx keeps its sign.
    sign = K.new_tensor(((1.0, -1.0, -1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    return K * sign + _last_column(K, width - 1.0, 0.0)


def intrinsics(K: Tensor, ndim: int) -> tuple[Tensor, ...]:
    """Return fx, fy, cx, cy, skew, with axes of length 1 behind the batch axes so that all have `ndim` axes."""
    K = K.reshape(*K.shape[:-2], *(1,) * (ndim - K.ndim + 2), 3, 3)
    return K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2], K[..., 0, 1]


def _last_column(K: Tensor, x: int | float, y: int | float) -> Tensor:
    """Return what moves the principal point by (x, y): a 3x3 matrix of zeros but for its last column."""
    return K.new_tensor(((0.0, 0.0, x), (0.0, 0.0, y), (0.0, 0.0, 0.0)))

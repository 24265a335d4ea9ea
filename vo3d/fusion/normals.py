"""Surface normals from depth maps."""

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.geometry import full_precision, pixel_grid


@full_precision
def normals_from_depth(
    depth: Float[Tensor, "h w"], K: Float[Tensor, "3 3"], *, radius: int = 2, max_step: float = 0.05
) -> Float[Tensor, "h w 3"]:
    """Unit normals in the camera's frame, towards the camera; 0 where there is no depth or no neighbours to tell.

    A plane is fitted to the depths (z) of each square of 2 `radius` + 1 pixels: the inverse depth of a plane n . X = 1
    is linear in the pixel, 1/z = a x + b y + c with (a, b, c) = K^-T n, so n = K^T (a, b, c). Neighbours whose depth
    differs from that of the pixel by more than the share `max_step` belong to another surface and are left out.
    """
    h, w = depth.shape
    known = (depth > 0) & depth.isfinite()
    inverse = torch.where(known, 1 / torch.where(known, depth, 1.0), 0.0)
    size = 2 * radius + 1
    around = torch.nn.functional.unfold(inverse[None, None], size, padding=radius).reshape(size * size, h, w)
    near = (around > 0) & known & ((around - inverse).abs() <= max_step * inverse)
    share = near.to(depth.dtype)
    offsets = pixel_grid(size, size, dtype=depth.dtype, device=depth.device) - radius
    x, y = offsets.reshape(-1, 2, 1, 1).unbind(1)  # each: size*size 1 1
    count = share.sum(0).clamp(min=1)
    mean_x, mean_y, mean = (x * share).sum(0) / count, (y * share).sum(0) / count, (around * share).sum(0) / count
    # Only what differs from the mean is summed: the squares of inverse depths far away would lose their digits.
    dx, dy, dw = (x - mean_x) * share, (y - mean_y) * share, (around - mean) * share
    xx, xy, yy = (dx * dx).sum(0), (dx * dy).sum(0), (dy * dy).sum(0)
    xw, yw = (dx * dw).sum(0), (dy * dw).sum(0)
    determinant = xx * yy - xy * xy  # 0 where the neighbours lie on one line; else at least 1/3
    told = determinant > 0.1
    safe = torch.where(told, determinant, 1.0)
    a, b = (xw * yy - yw * xy) / safe, (yw * xx - xw * xy) / safe
    column, row = pixel_grid(h, w, dtype=depth.dtype, device=depth.device).unbind(-1)
    c = mean - a * (mean_x + column) - b * (mean_y + row)
    fx, fy, cx, cy, skew = K[0, 0], K[1, 1], K[0, 2], K[1, 2], K[0, 1]
    # n . X = 1 for points in front of the camera: n points away from it.
    away = torch.stack((fx * a, skew * a + fy * b, cx * a + cy * b + c), dim=-1)
    return torch.where(told[..., None], -torch.nn.functional.normalize(away, dim=-1, eps=1e-30), 0.0)

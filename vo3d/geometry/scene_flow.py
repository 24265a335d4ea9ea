"""Points that move with masks and with the camera, and the optical flow that their motion makes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vo3d.geometry.camera import NEAR, intrinsics
from vo3d.geometry.precision import full_precision


@full_precision
def object_displacement(
    points: Float[Tensor, "*b 3 h w"], mask: Float[Tensor, "*b k h w"], object_motion: Float[Tensor, "*b k 4 4"]
) -> Float[Tensor, "*b 3 h w"]:
    """Compute how far masks carry the points on: sum_k m_k (M_k X - X), metres; 0 where no mask is.

    Convention: M_k = `object_motion`, in the axes of the camera before it moves.

    Source: Vijayanarasimhan et al., "SfM-Net", 2017, section 3.1.
    """
    carried = [
        m[..., None, :, :] * (transform_maps(motion, points) - points)
        for m, motion in zip(mask.unbind(-3), object_motion.unbind(-3), strict=True)
    ]
    return torch.stack(carried).sum(0) if carried else torch.zeros_like(points)


@full_precision
def transform_maps(a_T_b: Float[Tensor, "*b 4 4"], points: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """Compute R X + t of points that lie as maps of coordinates, on which arithmetic is fastest."""
    x, y, z = points.unbind(-3)
    rows = (row[..., None, None].unbind(-3) for row in a_T_b[..., :3, :].unbind(-2))
    # Not a matmul, which may round to TF32.
    return torch.stack([a * x + (b * y + (c * z + d)) for a, b, c, d in rows], dim=-3)


@full_precision
def flow_of_points(
    points: Float[Tensor, "*b 3 h w"], K: Float[Tensor, "*b 3 3"]
) -> tuple[Float[Tensor, "*b 2 h w"], Bool[Tensor, "*b h w"]]:
    """Compute the optical flow, in pixels, of pixels whose points are now at `points`, and which of them are visible.

    A point behind the camera has no pixel: it is not visible, and its flow is 0, with no gradient.
    """
    x, y, z = points.unbind(-3)
    fx, fy, cx, cy, skew = intrinsics(K, z.ndim)
    front = z >= NEAR
    z = torch.where(front, z, 1.0)  # the divisor is substituted, not the quotient, whose gradient would be NaN
    h, w = z.shape[-2:]
    x, y = x / z, y / z
    columns, rows = torch.arange(w).to(z), torch.arange(h).to(z)[:, None]
    flow = torch.stack((fx * x + skew * y + (cx - columns), fy * y + (cy - rows)), dim=-3)
    return torch.where(front[..., None, :, :], flow, 0.0), front

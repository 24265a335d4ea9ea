"""Losses between two views' own answers: disparities, points in space, and flows must say the same of one thing.

Each gives (error, valid): the error is 0 and `valid` False where the point leaves the other image, lies behind the
other camera, or has no answer. A point that something hides in the other view counts as well: there even the truth
disagrees.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, pixel_grid
from vo3d.geometry.precision import full_precision
from vo3d.geometry.warp import sample_image


@full_precision
def disparity_consistency(
    disparity: Float[Tensor, "*b h w"], other: Float[Tensor, "*b h w"], pixels: Float[Tensor, "*b h w 2"]
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """Compute |D - D'|, D' being the disparity that the other view of a stereo pair gives to the same point.

    Both are of one unit: pixels, or shares of the image's width as in the source; 0, negative and NaN are unknown.
    `pixels` are where its points lie in the other view (NaN: nowhere), as `vo3d.geometry.warp.reproject` finds them.

    Source: Li et al., "UnDeepVO", ICRA 2018, section III-C (disparity consistency loss); Godard et al., CVPR 2017,
    equation 4.
    """
    known = _is_known(disparity)
    seen, valid = _sample_known(other[..., None, :, :], _is_known(other), pixels)
    valid = valid & known
    return torch.where(valid, (torch.where(known, disparity, 0.0) - seen[..., 0, :, :]).abs(), 0.0), valid


@full_precision
def registration_error(
    depth: Float[Tensor, "*b h w"],
    other: Float[Tensor, "*b h w"],
    pixels: Float[Tensor, "*b h w 2"],
    K: Float[Tensor, "*b 3 3"],
    other_T_cam: Float[Tensor, "*b 4 4"],
    K_other: Float[Tensor, "*b 3 3"] | None = None,
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """Compute the distance, in metres (L1 over x, y, z), of each point to that which the other view has in its place.

    P(p) are the points of `depth`, P_o those of the other view's depth map, sampled where P(p) lies in it and brought
    back: |P(p) - inverse(other_T_cam) P_o(proj(p))|. `pixels` are proj(p), as `vo3d.geometry.warp.reproject` finds them
    (NaN: nowhere).

    Source: Li et al., "UnDeepVO", ICRA 2018, section III-C (3D geometric registration loss), whose text leaves the
    sampling open.
    """
    K_other = K if K_other is None else K_other
    known = _is_known(other)
    points = backproject(K_other, torch.where(known, other, 0.0)).movedim(-1, -3)  # *b 3 h w
    seen, valid = _sample_known(points, known, pixels)
    valid = valid & _is_known(depth)
    back = se3.transform(se3.inverse(other_T_cam), seen.movedim(-3, -1))  # *b h w 3
    apart = (backproject(K, torch.where(valid, depth, 1.0)) - back).abs().sum(-1)
    return torch.where(valid, apart, 0.0), valid


@full_precision
def moved_depth_error(
    moved: Float[Tensor, "*b h w"], other: Float[Tensor, "*b h w"], pixels: Float[Tensor, "*b h w 2"]
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """Compute |z - D'(p)|, in metres: the depth that a point has moved to, and that of the other view in its place.

    `moved` is z of the points of this view at the other instant, in the other camera; `pixels` are where they lie in it
    (NaN: nowhere). Depths of 0 and below are unknown.

    Source: the forward-backward constraint of Vijayanarasimhan et al., "SfM-Net", 2017, section 3.3, where z is written
    as the depth before plus the z of the scene flow.
    """
    known = _is_known(other)
    seen, valid = _sample_known(other[..., None, :, :], known, pixels)
    valid = valid & _is_known(moved)
    return torch.where(valid, (torch.where(valid, moved, 0.0) - seen[..., 0, :, :]).abs(), 0.0), valid


@full_precision
def round_trip_error(
    flow: Float[Tensor, "*b 2 h w"], back: Float[Tensor, "*b 2 h w"]
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """Compute |F(p) + B(p + F(p))|, in pixels (L1 of x and y): how far a pixel misses itself there and back.

    `flow` leads from this view to the other one, `back` from that to this; NaN is no flow.

    Source: the forward-backward constraint of Vijayanarasimhan et al., "SfM-Net", 2017, section 3.3; as a test of
    occlusion in Sundaram, Brox, Keutzer, ECCV 2010.
    """
    h, w = flow.shape[-2:]
    pixels = pixel_grid(h, w, dtype=flow.dtype, device=flow.device) + flow.movedim(-3, -1)  # *b h w 2
    returned, valid = _sample_known(back, back.isfinite().all(-3), pixels)
    missed = torch.where(valid[..., None, :, :], flow, 0.0) + returned
    return missed.abs().sum(-3), valid


def _is_known(values: Float[Tensor, "*b h w"]) -> Bool[Tensor, "*b h w"]:
    """Tell which depths or disparities are any."""
    return (values > 0) & values.isfinite()


def _sample_known(
    maps: Float[Tensor, "*b c h w"], known: Bool[Tensor, "*b h w"], pixels: Float[Tensor, "*b h w 2"]
) -> tuple[Float[Tensor, "*b c h w"], Bool[Tensor, "*b h w"]]:
    """Sample maps where all four pixels around are known; 0 and False elsewhere.

    What is unknown, NaN perhaps, is replaced before: times a weight of 0 it would still spoil values and gradients.
    """
    maps = torch.where(known[..., None, :, :], maps, 0.0)
    seen, inside = sample_image(torch.cat((maps, known.to(maps)[..., None, :, :]), dim=-3), pixels)  # *b c+1 h w
    share = seen[..., -1:, :, :]
    valid = inside & (share[..., 0, :, :] > 1 - 1e-3)  # rounding may give an unknown neighbour a little of the weight
    return torch.where(valid[..., None, :, :], seen[..., :-1, :, :] / share.clamp(min=0.5), 0.0), valid

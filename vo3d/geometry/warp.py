"""Views made from other views: by depth and pose, by stereo, by the homography of a plane.

Every warp is an inverse warp: for each target pixel it finds where the source saw that point and samples there. Each
returns (image, valid); `valid` is False, and the image 0, where the depth is unknown, the point lies behind the source
camera, or its pixel lies outside the source image. Occlusion is not modelled: a hidden point samples what hides it.

Convention: the centre of the top-left pixel is (0, 0) and that of the bottom-right one (w - 1, h - 1). `grid_sample`
calls this align_corners=True: -1 and 1 are the centres of the corner pixels, so x becomes 2 x / (w - 1) - 1.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vo3d.geometry.camera import NEAR, crop_intrinsics, intrinsics, pixel_grid
from vo3d.geometry.precision import full_precision, product

# How far a pixel may lie outside the centres of the border pixels: float32 rounding of an identity warp stays below it.
BORDER_SLACK = 1e-3


@full_precision
def sample_image(
    image: Float[Tensor, "*#b c h w"],
    pixels: Float[Tensor, "*pixels 2"],
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> tuple[Float[Tensor, "..."], Bool[Tensor, "..."]]:
    """The values of an image at pixels: `*b c *n` for pixels `*b *n 2` with two or more axes `*n`, and whether inside.

    The batch axes of `image` are the leading axes of `pixels`, broadcast; so one image can be sampled by the `d h w`
    pixels of a whole plane sweep without being copied. Outside, and where a pixel is NaN, the value is 0. Take
    "nearest" for depth maps and object ids, which must not be mixed.
    """
    h, w = image.shape[-2:]
    x, y = pixels.unbind(-1)
    known = ~(x.isnan() | y.isnan())
    x, y = (torch.where(known, position, 0.0) for position in (x, y))
    return _sampled(image, (x - (w - 1) / 2) * _per_pixel(w), (y - (h - 1) / 2) * _per_pixel(h), known, mode)


@full_precision
def reproject(
    depth: Float[Tensor, "*#b h w"],
    K: Float[Tensor, "*#b 3 3"],
    source_T_target: Float[Tensor, "*#b 4 4"],
    K_source: Float[Tensor, "*#b 3 3"] | None = None,
) -> tuple[Float[Tensor, "*#b h w 2"], Float[Tensor, "*#b h w"]]:
    """Find each target pixel of a depth map in the source, and its depth there (z, metres); batch shapes broadcast.

    The pixel is NaN and the depth 0 where the target's depth is 0, negative or not finite, and where the point is
    behind the source camera. The pixel minus `pixel_grid` is the optical flow of a static scene.
    """
    x, y, z, seen = _seen_in_source(depth, K, source_T_target, K if K_source is None else K_source)
    return _pixels(x, y, seen), torch.where(seen, z, 0.0)


@full_precision
def warp_by_depth(
    source: Float[Tensor, "*#b c hs ws"],
    depth: Float[Tensor, "*#b h w"],
    K: Float[Tensor, "*#b 3 3"],
    source_T_target: Float[Tensor, "*#b 4 4"],
    K_source: Float[Tensor, "*#b 3 3"] | None = None,
) -> tuple[Float[Tensor, "*#b c h w"], Bool[Tensor, "*#b h w"]]:
    """The target view, made from the source image by the target's depth (z, metres) and the motion between the two.

    `K` is the target's, and the source's unless `K_source` is given; the images may differ in size. Gradients flow into
    the image, the depth, the motion and the intrinsics.

    For a stereo pair, rectified or not: the right view from the left image by `left_T_right`, the left view from the
    right image by its inverse.

    Source: Zhou et al., "Unsupervised learning of depth and ego-motion from video", 2017, equation 2.
    """
    h, w = source.shape[-2:]
    K_source = K if K_source is None else K_source
    centred = crop_intrinsics(K_source, (w - 1) / 2, (h - 1) / 2)
    normalised = centred * centred.new_tensor((_per_pixel(w), _per_pixel(h), 1.0))[:, None]
    x, y, _, seen = _seen_in_source(depth, K, source_T_target, normalised)
    batch = _broadcast(source.shape[:-3], x.shape[:-2])
    x, y, seen = (positions.expand(*batch, *positions.shape[-2:]) for positions in (x, y, seen))
    return _sampled(source.expand(*batch, *source.shape[-3:]), x, y, seen)


@full_precision
def warp_by_disparity(
    source: Float[Tensor, "*#b c h w"], disparity: Float[Tensor, "*#b h w"]
) -> tuple[Float[Tensor, "*#b c h w"], Bool[Tensor, "*#b h w"]]:
    """One view of a rectified pair, made from the other by a disparity map of the view that is made.

    Convention: disparity is x_left - x_right in pixels, positive. Give it as it is to make the left view from the right
    image, and negated to make the right view from the left image. NaN marks unknown disparity.
    """
    h, w = disparity.shape[-2:]
    x, y = pixel_grid(h, w, dtype=disparity.dtype, device=disparity.device).unbind(-1)
    return _sample_view(source, torch.stack((x - disparity, y.expand_as(disparity)), dim=-1))


@full_precision
def warp_by_flow(
    source: Float[Tensor, "*#b c h w"], flow: Float[Tensor, "*#b 2 h w"]
) -> tuple[Float[Tensor, "*#b c h w"], Bool[Tensor, "*#b h w"]]:
    """The target view, made from the source image by the flow of the target's pixels to it; NaN marks unknown flow."""
    grid = pixel_grid(*flow.shape[-2:], dtype=flow.dtype, device=flow.device)
    return _sample_view(source, grid + flow.movedim(-3, -1))


@full_precision
def depth_from_disparity(
    disparity: Float[Tensor, "*b h w"], K: Float[Tensor, "*b 3 3"], left_T_right: Float[Tensor, "*b 4 4"]
) -> Float[Tensor, "*b h w"]:
    """Depth (z, metres) of a rectified pair, fx * baseline / disparity; 0 where the disparity (pixels) is not positive.

    The baseline is the x of the right camera in the left frame. The same formula turns depth into disparity.
    """
    known = disparity > 0
    focal_baseline = (K[..., 0, 0] * left_T_right[..., 0, 3])[..., None, None]
    return torch.where(known, focal_baseline / torch.where(known, disparity, 1.0), 0.0)


@full_precision
def plane_homography(
    K_target: Float[Tensor, "*#b 3 3"],
    source_T_target: Float[Tensor, "*#b 4 4"],
    normal: Float[Tensor, "*#b 3"],
    distance: Float[Tensor, "*#b"],
    K_source: Float[Tensor, "*#b 3 3"] | None = None,
) -> Float[Tensor, "*#b 3 3"]:
    """`source_H_target`, which maps target pixels to source pixels for points on a plane; batch shapes broadcast.

    Convention: the plane is n . X = d in the target's frame (metres), d > 0, so n points away from the camera and the
    fronto-parallel plane at depth d has n = (0, 0, 1). The scale is the natural one: the third coordinate of
    H (x, y, 1) is the depth in the source over the depth in the target, negative for points behind the source. A tilted
    plane is not in front of every target pixel; H says nothing about that.

    H = K_source (R + t n^T / d) K_target^-1. Source: Hartley and Zisserman, "Multiple view geometry", 2nd edition,
    equation 13.2, whose n points the other way.
    """
    offset = source_T_target[..., :3, 3:] * (normal / distance[..., None])[..., None, :]
    euclidean = source_T_target[..., :3, :3] + offset
    target_K = torch.linalg.inv(K_target)
    return product(product(K_target if K_source is None else K_source, euclidean), target_K)


@full_precision
def homography_pixels(source_H_target: Float[Tensor, "*b 3 3"], h: int, w: int) -> Float[Tensor, "*b {h} {w} 2"]:
    """The source pixel of each pixel of a target image of h rows and w columns; NaN where it lies behind the source.

    Behind means that the third coordinate of H (x, y, 1) is not positive, so the sign of H matters: `plane_homography`
    sets it; a homography from elsewhere should have a positive last element.
    """
    return _pixels(*_divided(*_mapped(source_H_target, *_columns_and_rows(h, w, source_H_target))))


@full_precision
def warp_homography(
    source: Float[Tensor, "*#b c hs ws"],
    source_H_target: Float[Tensor, "*#b 3 3"],
    size: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "*#b c h w"], Bool[Tensor, "*#b h w"]]:
    """The target view of a plane, made from the source image; `size` (h, w) is that of the target, by default the same.

    For a plane sweep over `d` planes: `sample_image(source, homography_pixels(H, h, w))` with H of shape `*b d 3 3`.
    """
    h, w = source.shape[-2:] if size is None else size
    return _sample_view(source, homography_pixels(source_H_target, h, w))


# Below, the coordinates of pixels are maps that lie apart in memory: arithmetic is several times faster on them than on
# pairs and triples.


def _seen_in_source(
    depth: Tensor, K: Tensor, source_T_target: Tensor, K_source: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find what `reproject` gives, as maps `*b h w`: x, y and z in the source, and where they mean something.

    A pixel p at depth d is seen at d K_source R K^-1 p + K_source t, up to scale. Matrix (the homography of infinitely
    far planes) and vector are made once an image, from the five numbers of a camera that are not constant. Pixels count
    from the principal points until the end, which leaves float32 more digits.

    Source: Hartley and Zisserman, "Multiple view geometry", 2nd edition, section 13.4.
    """
    batch = _broadcast(depth.shape[:-2], K.shape[:-2], source_T_target.shape[:-2], K_source.shape[:-2])
    x, y, z = source_T_target.expand(*batch, 4, 4)[..., :3, :].unbind(-2)
    fx, fy, source_cx, source_cy, skew = intrinsics(K_source.expand(*batch, 3, 3), len(batch) + 1)
    # Not a matmul, which may round to TF32.
    first, second, third, offset = torch.stack((fx * x + skew * y, fy * y, z), dim=-2).unbind(-1)
    fx, fy, cx, cy, skew = intrinsics(K.expand(*batch, 3, 3), len(batch) + 1)
    first = first / fx
    second = (second - skew * first) / fy
    known = (depth > 0) & (depth < math.inf)
    depth = torch.where(known, depth, 1.0)  # a substitute: an unknown depth must not spoil gradients
    h, w = depth.shape[-2:]
    columns, rows = _columns_and_rows(h, w, first)
    rays = _mapped(torch.stack((first, second, third), dim=-1), columns - cx, rows - cy)
    x, y, z = (
        torch.addcmul(start, depth, ray) for start, ray in zip(offset[..., None, None].unbind(-3), rays, strict=True)
    )
    x, y, seen = _divided(x, y, z)
    return x + source_cx[..., None], y + source_cy[..., None], z, seen & known


def _columns_and_rows(h: int, w: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The x (`w`) and the y (`h`) of an image's pixels, of the dtype and on the device of `like`."""
    x, y = (torch.arange(extent, dtype=like.dtype, device=like.device) for extent in (w, h))
    return x, y


def _mapped(H: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """H (x, y, 1) for columns at x (`*#b w`) and rows at y (`*#b h`), as three maps `*b h w`."""
    rows = (row[..., None, None].unbind(-3) for row in H.unbind(-2))
    first, second, third = (a * x[..., None, :] + (b * y[..., None] + c) for a, b, c in rows)
    return first, second, third


def _divided(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quotients x / z and y / z, and where z is in front of the camera; elsewhere they are finite, without meaning."""
    front = z >= NEAR
    # The divisor is substituted, not the quotient: the gradient of x / 0 would be NaN even where it is not selected.
    divisor = torch.where(front, z, 1.0)
    return x / divisor, y / divisor, front


def _pixels(x: Tensor, y: Tensor, seen: Tensor) -> Tensor:
    """Pixels `*b h w 2`, NaN where they are not seen."""
    return torch.stack([torch.where(seen, position, math.nan) for position in (x, y)], dim=-3).movedim(-3, -1)


def _per_pixel(extent: int) -> float:
    """The width of a pixel in the coordinates of `grid_sample`, where the centres of the first and last are 2 apart."""
    return 2 / max(extent - 1, 1)


def _sampled(image: Tensor, x: Tensor, y: Tensor, known: Tensor, mode: str = "bilinear") -> tuple[Tensor, Tensor]:
    """`sample_image` at coordinates of `grid_sample` `*b *n`, none NaN; those that are not `known` are outside."""
    axes = image.ndim - 3
    c, h, w = image.shape[-3:]
    batch = _broadcast(image.shape[:-3], x.shape[:axes])
    size = x.shape[axes:]
    x, y, known = (positions.expand(*batch, *size) for positions in (x, y, known))
    x_limit, y_limit = (((extent - 1) / 2 + BORDER_SLACK) * _per_pixel(extent) for extent in (w, h))
    valid = known & (x.abs() <= x_limit) & (y.abs() <= y_limit)
    x, y = (torch.where(valid, positions, 0.0) for positions in (x, y))  # NaN lets grid_sample read beyond the image
    maps = (math.prod(batch), math.prod(size[:-1]), size[-1])  # 4-D grids even for a sweep: exporters refuse 5-D ones
    values = torch.nn.functional.grid_sample(
        image.expand(*batch, c, h, w).reshape(-1, c, h, w),
        torch.stack((x.reshape(maps), y.reshape(maps)), dim=1).permute(0, 2, 3, 1),
        mode=mode,
        padding_mode="border",
        align_corners=True,
    )
    values = torch.where(valid.reshape(maps)[:, None], values, 0.0)
    return values.reshape(*batch, c, *size), valid


def _sample_view(source: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """`sample_image` for pixels `*b h w 2`, where either argument may have the fewer batch axes."""
    batch = _broadcast(source.shape[:-3], pixels.shape[:-3])
    return sample_image(source.expand(*batch, *source.shape[-3:]), pixels.expand(*batch, *pixels.shape[-3:]))


def _broadcast(*shapes: torch.Size) -> torch.Size:
    """The common shape."""
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]

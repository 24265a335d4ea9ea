"""Plane sweeps: the views of a scene seen through fronto-parallel planes of the reference view, and how they agree.

A pixel x of the reference at depth d lies at d K^-1 (x, y, 1) in its camera's frame, and a source sees it at
x_i ~ K_i (R d K^-1 (x, y, 1) + t), where (R, t) is `source_T_reference`. For all pixels at one d this is the
homography of the plane z = d (`vo3d.geometry.plane_homography`); written with d it costs one product and one sum.

Convention: as in `vo3d.geometry`; the first view is the reference; a warp reads zero outside of a source image, each
neighbour of a bilinear sample for itself, and zero behind the source camera.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import pixel_grid, project
from vo3d.geometry.precision import full_precision, product

SLAB = 8  # depths that are warped at once


@full_precision
def depth_hypotheses(
    depth_range: Float[Tensor, "*b 2"], num_depths: int, *, inverse: bool = False
) -> Float[Tensor, "*b d"]:
    """The depths of a sweep from near to far, both included, at equal steps of depth or, if `inverse`, of 1 / depth.

    Near and far keep their exact values; one hypothesis alone is the near end.

    Source: Yao et al., "MVSNet", ECCV 2018 (depth); "R-MVSNet", CVPR 2019 (inverse depth).
    """
    near, far = depth_range[..., :1], depth_range[..., 1:]
    step = torch.linspace(0, 1, num_depths, dtype=depth_range.dtype, device=depth_range.device)
    depths = near * far / (far + (near - far) * step) if inverse else near + (far - near) * step
    return torch.cat((near, depths[..., 1:-1], far), dim=-1)[..., :num_depths]


@full_precision
def sweep_pixels(
    K: Float[Tensor, "*#b 3 3"],
    K_source: Float[Tensor, "*#b 3 3"],
    source_T_reference: Float[Tensor, "*#b 4 4"],
    depths: Float[Tensor, "*#b d"] | Float[Tensor, "*#b d h w"],
    size: tuple[int, int],
) -> Float[Tensor, "*b d h w 2"]:
    """Find where a source sees the pixels of a reference of `size` (h, w) at each depth; NaN where it lies behind.

    `depths` are z in the reference: one for each plane, or one for each pixel of each plane.
    """
    homogeneous = functional.pad(pixel_grid(*size, dtype=K.dtype, device=K.device), (0, 1), value=1.0)  # h w 3
    turn, offset = sweep_projection(K, K_source, source_T_reference)  # *b 3 3, *b 3
    ray = torch.einsum("...ij,hwj->...hwi", turn, homogeneous)  # *b h w 3, projected, for depth 1
    if depths.ndim == K.ndim - 1:
        depths = depths[..., None, None]  # *b d 1 1
    points = ray[..., None, :, :, :] * depths[..., None] + offset[..., None, None, None, :]  # *b d h w 3
    return project(torch.eye(3, dtype=points.dtype, device=points.device), points)[0]


@full_precision
def sweep_projection(
    K: Float[Tensor, "*#b 3 3"], K_source: Float[Tensor, "*#b 3 3"], source_T_reference: Float[Tensor, "*#b 4 4"]
) -> tuple[Float[Tensor, "*#b 3 3"], Float[Tensor, "*#b 3"]]:
    """Compute A and a of x_i ~ A (x, y, 1) d + a: where a source sees pixel (x, y) of the reference at depth d.

    A = K_i R K^-1, a = K_i t.
    """
    turn = product(product(K_source, source_T_reference[..., :3, :3]), torch.linalg.inv(K))
    return turn, product(K_source, source_T_reference[..., :3, 3:])[..., 0]


@full_precision
def warp_to_planes(
    features: Float[Tensor, "b c hs ws"],
    pixels: Float[Tensor, "b d h w 2"],
    *,
    beyond: Literal["zeros", "border"] = "zeros",
) -> Float[Tensor, "b c d h w"]:
    """Sample the maps of a source where `sweep_pixels` says, bilinearly; differentiable in both.

    `beyond` the maps are zeros, or their pixels at the border go on.

    float16 and bfloat16 maps are sampled in float32: their grids would be off by more than a pixel.
    """
    b, c, *source_size = features.shape
    d, h, w = pixels.shape[1:4]
    # align_corners=True: -1 and 1 are the centres of the corner pixels
    scale = pixels.new_tensor([2 / max(source_size[1] - 1, 1), 2 / max(source_size[0] - 1, 1)])
    grid = torch.where(pixels.isnan(), -3.0, pixels * scale - 1)  # -3: outside of any image of two or more pixels
    flat = grid.reshape(b, d * h, w, 2)  # 4-D: exporters refuse 5-D grids
    warped = functional.grid_sample(features, flat, mode="bilinear", padding_mode=beyond, align_corners=True)
    return warped.reshape(b, c, d, h, w)


def variance_slabs(
    features: Sequence[Float[Tensor, "b c h w"]],
    K: Float[Tensor, "b s 3 3"],
    world_T_cam: Float[Tensor, "b s 4 4"],
    depths: Float[Tensor, "b d"],
    *,
    slab: int = SLAB,
) -> Iterator[Float[Tensor, "b c _ h w"]]:
    """The parts of `variance_cost` for `slab` depths after the other; only one of them is alive at a time."""
    yield from (_variance(features, K, world_T_cam, part) for part in torch.split(depths, slab, dim=1))


def variance_cost(
    features: Sequence[Float[Tensor, "b c h w"]],
    K: Float[Tensor, "b s 3 3"],
    world_T_cam: Float[Tensor, "b s 4 4"],
    depths: Float[Tensor, "b d"],
    *,
    slab: int = SLAB,
) -> Float[Tensor, "b c d h w"]:
    """Measure how much s views disagree at each depth of the reference: the variance of their features over the views.

    `features` are those of each view, the reference first, any number from two on; `K` is for their size. The variance
    is that of the population (divided by s). A view that does not see a point counts as zero, with full weight.

    Warped features are alive for `slab` depths at a time: where gradients are asked for, the slab is computed again on
    the way back.

    Raises:
        Vo3dError: there are fewer than two views.

    Source: Yao et al., "MVSNet", ECCV 2018, equation 2.
    """
    if not _wants_gradients(*features, K, world_T_cam, depths):
        b, c, h, w = features[0].shape
        cost = depths.new_empty(b, c, depths.shape[1], h, w)
        for index, part in enumerate(variance_slabs(features, K, world_T_cam, depths, slab=slab)):
            cost[:, :, index * slab : index * slab + part.shape[2]] = part
        return cost
    parts = [
        checkpoint(_variance, features, K, world_T_cam, part, use_reentrant=False, preserve_rng_state=False)
        for part in torch.split(depths, slab, dim=1)
    ]
    return torch.cat(parts, dim=2)


@full_precision
def _variance(features: Sequence[Tensor], K: Tensor, world_T_cam: Tensor, depths: Tensor) -> Tensor:
    """The variance over the views (b c d h w).

    Of the differences to the reference, which has the same variance: in float32 the mean of the squares minus the
    square of the mean would lose digits wherever features are large and equal.
    """
    if len(features) < 2:
        raise Vo3dError(f"{len(features)} view for a plane sweep: expected at least 2, a reference and a source")
    reference, *sources = (maps.to(torch.promote_types(maps.dtype, torch.float32)) for maps in features)
    size = (reference.shape[-2], reference.shape[-1])
    # pixels from float32 cameras would be off by 1e-4 of a pixel, which a network can turn into as much of a depth
    K, world_T_cam, depths = K.double(), world_T_cam.double(), depths.double()
    in_place = not _wants_gradients(*features, K, world_T_cam, depths)
    by_rows = in_place and reference.device.type == "cpu"  # grid_sample takes twice as long for channels last
    warp, layout = (_warp_rows, torch.channels_last) if by_rows else (warp_to_planes, torch.contiguous_format)
    reference = reference.contiguous(memory_format=layout)
    total = square = torch.zeros(())
    for index, source in enumerate(sources, start=1):
        source_T_reference = se3.relative(world_T_cam[:, index], world_T_cam[:, 0])
        pixels = sweep_pixels(K[:, 0], K[:, index], source_T_reference, depths, size)  # b d h w 2
        warped = warp(source.contiguous(memory_format=layout), pixels.to(reference.dtype))  # b c d h w
        difference = warped.sub_(reference[:, :, None]) if in_place else warped - reference[:, :, None]
        if index == 1:
            total, square = difference, difference.square()
        elif in_place:
            total, square = total.add_(difference), square.addcmul_(difference, difference)
        else:
            total, square = total + difference, square + difference.square()
    if in_place:
        mean = total.div_(len(features))
        return square.div_(len(features)).addcmul_(mean, mean, value=-1).clamp_(min=0)
    mean = total / len(features)
    return (square / len(features) - mean.square()).clamp(min=0)


def _warp_rows(features: Tensor, pixels: Tensor) -> Tensor:
    """`warp_to_planes` without gradients, with channels last in memory: on a CPU several times as fast.

    A bilinear sample is a weighted sum of four rows of a table with a row for each pixel; a ring of zeros around the
    map stands for all that lies outside or behind.
    """
    b, c, hs, ws = features.shape
    d, h, w = pixels.shape[1:4]
    table = functional.pad(features, (1, 2, 1, 2)).permute(0, 2, 3, 1).reshape(-1, c)  # b*(hs+3)*(ws+3) c
    x, y = pixels.nan_to_num(nan=-1.0).unbind(-1)  # b d h w
    x, y = x.clamp(-1, ws), y.clamp(-1, hs)
    left, top = x.floor(), y.floor()
    x, y = x.sub_(left), y.sub_(top)
    maps = torch.arange(0, len(table), (hs + 3) * (ws + 3), device=x.device)
    first = (maps + ws + 4)[:, None, None, None] + top.long() * (ws + 3) + left.long()
    rows = first.reshape(-1, 1) + torch.tensor([0, 1, ws + 3, ws + 4], device=x.device)
    xy = x * y
    weights = torch.stack((1 - x - y + xy, x - xy, y - xy, xy), dim=-1).reshape(-1, 4).to(table.dtype)
    warped = functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")
    return warped.reshape(b, d, h, w, c).permute(0, 4, 1, 2, 3)


class BestPlanes:
    """The plane of least cost at each pixel among those added so far, and the costs of the planes beside it.

    All are b h w: `best` is the least cost, `index` its plane, the first of equals; `below` and `above` are the costs
    of the planes before and after it. Costs are infinity where there is no plane.
    """

    def __init__(self) -> None:
        self.num = 0  # planes so far

    def add(self, cost: Float[Tensor, "b h w"]) -> None:
        """Look at one more plane."""
        if not self.num:
            self.best = self.previous = self.below = self.above = torch.full_like(cost, torch.inf)
            self.index = torch.zeros_like(cost, dtype=torch.long)
        self.above = torch.where(self.index == self.num - 1, cost, self.above)
        better = cost < self.best
        self.below = torch.where(better, self.previous, self.below)
        self.above = torch.where(better, torch.inf, self.above)
        self.index = torch.where(better, self.num, self.index)
        self.best = torch.where(better, cost, self.best)
        self.previous, self.num = cost, self.num + 1


def at_planes(values: Float[Tensor, "b d"], index: Int64[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Look up at each pixel the value of the plane with the number `index`, such as its depth."""
    return values.gather(1, index.flatten(1)).reshape(index.shape)


def _wants_gradients(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)

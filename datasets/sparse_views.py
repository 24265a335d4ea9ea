"""Views whose partners and depth ranges sparse points tell: those of a model, or points matched between the images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, pinhole, undo_lens
from vo3d.datasets.photographs import Photograph, check_shape, posed_photographs
from vo3d.datasets.resize import resize_image, resize_intrinsics
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.geometry import se3, view_selection
from vo3d.geometry.grey import grey_image
from vo3d.mapping.features import Grey
from vo3d.mapping.sparse_points import sparse_points

MATCHED_SIDE = 960  # pixels of the longer side of images that are matched
WIDEN = 0.1  # of matched points, see `photographs_by_points`
MIN_POINTS = 10


def photographs_by_points(
    images: Sequence[Path],
    cameras: Sequence[StoredCamera],
    world_T_cam: Float64[Tensor, "v 4 4"],
    xyz: Float64[Tensor, "p 3"],
    point: Int64[Tensor, " m"],
    view: Int64[Tensor, " m"],
    *,
    depth_range: tuple[float, float] | None = None,
    num_sources: int = 10,
    widen: float = 0.05,
    min_points: int = MIN_POINTS,
) -> list[Photograph]:
    """Make views of which view `view[i]` sees the sparse point `point[i]`.

    Sources are those that share the most and best seen points (`pair_scores`); depth ranges hold the points that a view
    sees but for one percent at either end (`depth_ranges`); near is divided and far multiplied by (far / near) **
    `widen`. A view that sees fewer than `min_points` gets no sources, and a range that spans those of all others.

    Raises Vo3dError when no view sees enough points and no `depth_range` is given for all.
    """
    cam_T_world = se3.inverse(world_T_cam)
    scores = view_selection.pair_scores(cam_T_world, xyz, point, view)
    sources = [tuple(best) for best, _ in view_selection.best_sources(scores, num_sources)]
    if depth_range is not None:
        ranges = [depth_range] * len(sources)
    else:
        found, known = _ranges(cam_T_world, xyz, point, view, [path.name for path in images], widen, min_points)
        ranges = [(near, far) for near, far in found.tolist()]
        sources = [row if good else () for row, good in zip(sources, known.tolist(), strict=True)]
    return [
        Photograph(
            image=path,
            size=camera.size,
            K=pinhole(camera),
            world_T_cam=world_T_cam[index],
            depth_range=ranges[index],
            sources=sources[index],
            stored=camera,
        )
        for index, (path, camera) in enumerate(zip(images, cameras, strict=True))
    ]


def photographs_by_poses(
    images: Sequence[Path],
    cameras: Sequence[StoredCamera],
    world_T_cam: Float64[Tensor, "v 4 4"],
    depth_range: tuple[float, float] | None,
    *,
    num_sources: int = 10,
) -> tuple[list[Photograph], list[str]]:
    """Make views of which poses are known and no points, and the lines to say of that.

    Without a `depth_range` their images are matched, and the points so found tell ranges and partners.

    Raises Vo3dError as `posed_photographs` does, and where too few points are found.
    """
    if depth_range is not None:
        return posed_photographs(images, cameras, world_T_cam, depth_range, num_sources=num_sources), []
    greys, K = _greys(images, cameras), _matched_intrinsics(cameras)
    found = sparse_points(greys, K.numpy(), world_T_cam.numpy())
    xyz, point, view = map(torch.from_numpy, (found.xyz, found.point, found.view))
    try:
        views = photographs_by_points(
            images, cameras, world_T_cam, xyz, point, view, num_sources=num_sources, widen=WIDEN
        )
    except Vo3dError as error:
        raise Vo3dError(
            f"{images[0].parent}: nothing there tells how far things are, and {len(found.xyz)} points that match "
            f"between the {len(images)} images fit their poses, too few: check the poses (camera into the "
            "world) and K, or give --depth-range NEAR FAR, in the poses' unit"
        ) from error
    ends = torch.tensor([one.depth_range for one in views if one.sources])
    near, far = float(ends[:, 0].min()), float(ends[:, 1].max())
    note = (
        f"nothing there tells how far things are: {len(found.xyz):,} points that match between the images and fit the "
        f"poses do, from {near:.3g} to {far:.3g} (--depth-range NEAR FAR says otherwise)"
    )
    return views, [note]


def _greys(images: Sequence[Path], cameras: Sequence[StoredCamera]) -> Iterator[Grey]:
    """Read the images without the distortion of their lenses, small enough to be matched."""
    for path, camera in zip(images, cameras, strict=True):
        image = read_image(path)
        check_shape(path, image, camera.size, "its camera is for")
        yield grey_image(resize_image(undo_lens(camera, image), _matched_size(camera)))


def _matched_size(camera: StoredCamera) -> tuple[int, int]:
    factor = min(1.0, MATCHED_SIDE / max(camera.size))
    return max(1, round(factor * camera.size[0])), max(1, round(factor * camera.size[1]))


def _matched_intrinsics(cameras: Sequence[StoredCamera]) -> Float64[Tensor, "v 3 3"]:
    return torch.stack([resize_intrinsics(pinhole(one), one.size, _matched_size(one)) for one in cameras])


def _ranges(
    cam_T_world: Float64[Tensor, "v 4 4"],
    xyz: Float64[Tensor, "p 3"],
    point: Int64[Tensor, " m"],
    view: Int64[Tensor, " m"],
    names: Sequence[str],
    widen: float,
    min_points: int,
) -> tuple[Tensor, Tensor]:
    """Find near and far of each view (v 2), and whether it sees enough points for that (v)."""
    z = (cam_T_world[view, 2, :3] * xyz[point]).sum(-1) + cam_T_world[view, 2, 3]
    known = view[z > 0].bincount(minlength=len(names)) >= min_points
    if not bool(known.any()):
        raise Vo3dError(
            f"no view sees {min_points} sparse points: depth ranges are unknown: give --depth-range NEAR FAR"
        )
    place = known.cumsum(0) - 1
    kept = known[view]
    near, far = view_selection.depth_ranges(
        cam_T_world[known],
        xyz,
        point[kept],
        place[view[kept]],
        names=[name for name, good in zip(names, known.tolist(), strict=True) if good],
    ).unbind(-1)
    margin = (far / near) ** widen
    near, far = near / margin, far * margin
    ranges = torch.stack((near.min(), far.max())).repeat(len(names), 1)
    ranges[known] = torch.stack((near, far), dim=-1)
    return ranges, known

"""Projects of COLMAP: photographs with a sparse model, which tells cameras, partners of views, and depth ranges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vo3d.datasets.lenses import pinhole
from vo3d.datasets.multiview import MultiViewDataset, scene_folders
from vo3d.datasets.photographs import Photograph, Photographs, posed_photographs
from vo3d.datasets.registered import registered_images
from vo3d.datasets.resize import Size
from vo3d.datasets.views import named_folder
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import ColmapModel, find_model, observations
from vo3d.geometry import view_selection
from vo3d.recording import Layout


class Colmap(MultiViewDataset):
    """Samples of one or many projects: `image`, `K`, `world_T_cam`, `depth_range`; see `ColmapScene`.

    Args:
        root: the project, or the folder of the `scenes`.
        scenes: names of folders in `root`; None: `root` itself is the project.
        size, max_side, depth_range, num_sources, widen, min_points, max_depths: see `ColmapScene`.
        num_views, fewer_views, transforms, seed: see `MultiViewDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        scenes: Sequence[str] | None = None,
        *,
        size: Size | None = None,
        max_side: int | None = None,
        depth_range: tuple[float, float] | None = None,
        num_sources: int = 10,
        widen: float = 0.05,
        min_points: int = 10,
        max_depths: int = 256,
        num_views: int = 5,
        **views: Any,
    ) -> None:
        super().__init__(
            [
                ColmapScene(
                    folder,
                    size=size,
                    max_side=max_side,
                    depth_range=depth_range,
                    num_sources=num_sources,
                    widen=widen,
                    min_points=min_points,
                    max_depths=max_depths,
                )
                for folder in scene_folders(root, scenes)
            ],
            num_views=num_views,
            **views,
        )


class ColmapScene(Photographs):
    """The images that a sparse model has registered, by ascending id; lens distortion is undone when they are read.

    An undistorted image has the size and the principal point of its original; its focal lengths are zoomed as little as
    leaves no pixel without a view. Images are read as they are stored, whatever way up EXIF says, as COLMAP does.

    Sources are those that share the most and best seen sparse points (`pair_scores`); depth ranges hold the points that
    a view sees but for one percent at either end (`depth_ranges`), widened. A view that sees fewer than `min_points`
    points gets no sources, so it is never a reference, and its `depth_range` spans those of all other views.

    Args:
        folder: of the project: the model lies there or in sparse/ or in a folder of it such as sparse/0/, the images
            beside it or above it in images/; beside the target of a link only where the given path has none. Of several
            models or folders the fullest is taken.
        images: the folder of the images, where it is another.
        size, max_side: of the images, see `Photographs`; without `size`, images of unequal sizes are refused.
        depth_range: near and far for all views, in the model's unit, instead of those of the points.
        num_sources: at most, of each view.
        widen: near is divided and far multiplied by (far / near) ** widen.
        min_points: see above; not needed with `depth_range`.
        max_depths: upper limit of `num_depths`.

    Images that are not there are left out, cameras are scaled to images that were resized, and views of a model without
    points are paired by their poses where `depth_range` is given: `notes` say so.

    Convention: lengths stay in the model's own unit, known up to scale.
    Raises Vo3dError naming the file: as `read_model` and `check_reprojection` do; the model has no points and there is
    no `depth_range`, or no view that sees enough; no image is there, or one of another shape than its camera; a lens
    cannot be undone.
    """

    metric = False

    def __init__(
        self,
        folder: Path,
        *,
        images: Path | None = None,
        size: Size | None = None,
        max_side: int | None = None,
        depth_range: tuple[float, float] | None = None,
        num_sources: int = 10,
        widen: float = 0.05,
        min_points: int = 10,
        max_depths: int = 256,
    ) -> None:
        if num_sources < 1 or widen < 0 or min_points < 2:
            raise Vo3dError(
                f"num_sources {num_sources}, widen {widen:g}, min_points {min_points}: expected at least 1, 0 and 2"
            )
        found = registered_images(folder, images)
        model, files, cameras, world_T_cam = found.model, found.files, found.cameras, found.world_T_cam
        notes = list(found.notes)
        if depth_range is not None and not len(model.points.point):
            notes.append("no sparse points of these images: views are paired by their poses and the depth range")
            views = posed_photographs(files, cameras, world_T_cam, depth_range, num_sources=num_sources)
        else:
            ranges, sources = _by_points(model, depth_range, num_sources, widen, min_points)
            views = [
                Photograph(
                    image=path,
                    size=camera.size,
                    K=pinhole(camera),
                    world_T_cam=world_T_cam[index],
                    depth_range=(near, far),
                    sources=sources[index],
                    stored=camera,
                )
                for index, (path, camera, (near, far)) in enumerate(zip(files, cameras, ranges, strict=True))
            ]
        super().__init__(
            found.name,
            views,
            size=size,
            max_side=max_side,
            max_depths=max_depths,
            notes=notes,
        )


def recognises(path: Path) -> bool:
    """Tell whether a folder holds a sparse model, itself or in sparse/ or in a folder of that."""
    return find_model(path) is not None


def scene(
    path: Path,
    *,
    size: Size | None = None,
    max_side: int | None = None,
    depth_range: tuple[float, float] | None = None,
    images: Path | None = None,
) -> ColmapScene:
    """Open the scene that a project holds."""
    return ColmapScene(path, images=named_folder(images, path), size=size, max_side=max_side, depth_range=depth_range)


LAYOUT = Layout("a COLMAP model (cameras, images, points3D; beside images/)", recognises, scene, rank=2)


def _by_points(
    model: ColmapModel, depth_range: tuple[float, float] | None, num_sources: int, widen: float, min_points: int
) -> tuple[list[tuple[float, float]], list[tuple[int, ...]]]:
    """Choose depth range and sources of each view by the sparse points that it sees."""
    point, view = observations(model)
    cam_T_world = torch.stack([image.cam_T_world for image in model.images])
    scores = view_selection.pair_scores(cam_T_world, model.points.xyz, point, view)
    sources = [tuple(best) for best, _ in view_selection.best_sources(scores, num_sources)]
    if depth_range is not None:
        return [depth_range] * len(sources), sources
    ranges, known = _ranges(model, cam_T_world, point, view, widen, min_points)
    kept = [row if good else () for row, good in zip(sources, known.tolist(), strict=True)]
    return [(near, far) for near, far in ranges.tolist()], kept


def _ranges(
    model: ColmapModel, cam_T_world: Tensor, point: Tensor, view: Tensor, widen: float, min_points: int
) -> tuple[Tensor, Tensor]:
    """Find near and far of each view (v 2), and whether it sees enough points for that (v)."""
    xyz, count = model.points.xyz, len(model.images)
    z = (cam_T_world[view, 2, :3] * xyz[point]).sum(-1) + cam_T_world[view, 2, 3]
    known = view[z > 0].bincount(minlength=count) >= min_points
    if not bool(known.any()):
        raise Vo3dError(
            f"{model.folder}: no view sees {min_points} sparse points: depth ranges are unknown: give depth_range, or "
            "a smaller min_points"
        )
    place = known.cumsum(0) - 1
    kept = known[view]
    names = [image.name for image, good in zip(model.images, known.tolist(), strict=True) if good]
    near, far = view_selection.depth_ranges(
        cam_T_world[known], xyz, point[kept], place[view[kept]], names=names
    ).unbind(-1)
    margin = (far / near) ** widen
    near, far = near / margin, far * margin
    ranges = torch.stack((near.min(), far.max())).repeat(count, 1)
    ranges[known] = torch.stack((near, far), dim=-1)
    return ranges, known

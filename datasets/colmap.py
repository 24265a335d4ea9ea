"""Projects of COLMAP: photographs with a sparse model, which tells cameras, partners of views, and depth ranges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vo3d.datasets.multiview import MultiViewDataset, scene_folders
from vo3d.datasets.photographs import Photographs
from vo3d.datasets.registered import registered_images
from vo3d.datasets.resize import Size
from vo3d.datasets.sparse_views import photographs_by_points, photographs_by_poses
from vo3d.datasets.views import named_folder
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import find_model, observations
from vo3d.recording import Layout


class Colmap(MultiViewDataset):
    """Samples of one or many projects: `image`, `K`, `world_T_cam`, `depth_range`; see `ColmapScene`.

    Args:
        root: the project, or the folder of the `scenes`.
        scenes: names of folders in `root`; None: `root` itself is the project.
        size, max_side, depth_range, num_sources, widen, min_points: see `ColmapScene`.
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

    Images that are not there are left out, cameras are scaled to images that were resized, and views of a model without
    points are paired by their poses, with the depths of points matched between the images where no `depth_range` is
    given (`photographs_by_poses`): `notes` say so.

    Convention: lengths stay in the model's own unit, known up to scale.
    Raises Vo3dError naming the file: as `read_model` and `check_reprojection` do; no view sees enough points and there
    is no `depth_range`; no image is there, or one of another shape than its camera; a lens
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
    ) -> None:
        if num_sources < 1 or widen < 0 or min_points < 2:
            raise Vo3dError(
                f"num_sources {num_sources}, widen {widen:g}, min_points {min_points}: expected at least 1, 0 and 2"
            )
        found = registered_images(folder, images)
        model, files, cameras, world_T_cam = found.model, found.files, found.cameras, found.world_T_cam
        notes = list(found.notes)
        if not len(model.points.point):
            notes.append("no sparse points of these images: views are paired by their poses")
            views, told = photographs_by_poses(files, cameras, world_T_cam, depth_range, num_sources=num_sources)
            notes += told
        else:
            point, view = observations(model)
            views = photographs_by_points(
                files,
                cameras,
                world_T_cam,
                model.points.xyz,
                point,
                view,
                depth_range=depth_range,
                num_sources=num_sources,
                widen=widen,
                min_points=min_points,
            )
        super().__init__(
            found.name,
            views,
            size=size,
            max_side=max_side,
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

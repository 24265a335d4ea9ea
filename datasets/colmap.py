"""Projects of COLMAP: photographs with a sparse model, which tells cameras, partners of views, and depth ranges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, fit_to_images, pinhole
from vo3d.datasets.multiview import MultiViewDataset, scene_folders
from vo3d.datasets.photographs import Photograph, Photographs, posed_photographs
from vo3d.datasets.resize import Size
from vo3d.datasets.views import as_spelled, first_of, given_and_target, is_there, missing_note, named_folder
from vo3d.errors import Vo3dError, shown
from vo3d.formats.candidates import fullest
from vo3d.formats.colmap import ColmapCamera, ColmapModel, find_model, observations, read_model
from vo3d.formats.colmap_check import check_reprojection
from vo3d.formats.images import image_size
from vo3d.geometry import se3, view_selection
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
        whole = read_model(folder)
        notes = [*whole.notes, *filter(None, [check_reprojection(whole)])]
        image_folder, chosen = (images, []) if images is not None else _image_folder(whole)
        notes += chosen
        places = {image.name: as_spelled(image_folder / image.name) for image in whole.images}
        model = whole.with_images([image for image in whole.images if is_there(places[image.name])])
        missing = [name for name, place in places.items() if not is_there(place)]
        if not model.images:
            raise Vo3dError(
                f"{image_folder}: holds none of the {len(missing)} images that {whole.folder} has registered, such as "
                f"{shown(missing[0])}: add them, or give their folder"
            )
        notes += missing_note(missing, len(whole.images), f"of {whole.folder}")
        files = [places[image.name] for image in model.images]
        owners = {camera.id: stored_camera(camera, model.folder) for camera in model.cameras.values()}
        cameras, resized = fit_to_images(
            [owners[image.camera_id] for image in model.images], files, list(map(image_size, files))
        )
        notes += resized
        world_T_cam = torch.stack([se3.inverse(image.cam_T_world) for image in model.images])
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
            _project_name(whole.folder),
            views,
            size=size,
            max_side=max_side,
            max_depths=max_depths,
            notes=notes,
        )


def stored_camera(camera: ColmapCamera, model: Path) -> StoredCamera:
    """Return a camera of the `model` as the loaders have them."""
    words = f"camera {camera.id} ({camera.model} {' '.join(f'{value:g}' for value in camera.params)}) of {model}"
    return StoredCamera(name=words, size=(camera.height, camera.width), K=camera.K, lens=camera.lens)


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


def _project_name(model: Path) -> str:
    """Return the name of the folder that holds a model as COLMAP puts it, in sparse/ or sparse/0/ or itself."""
    place = given_and_target(model)[0]
    if place.name == "0" or (place.name.isdecimal() and place.parent.name == "sparse"):
        place = place.parent
    return (place.parent if place.name == "sparse" else place).name


def _image_folder(model: ColmapModel) -> tuple[Path, list[str]]:
    """Find the folder that holds the most images of a model, and a line where there was a choice or a link."""
    given, *target = given_and_target(model.folder)
    without: list[Path] = []
    for place in (given, *target):
        folders = [path for above in (place, *place.parents[:2]) if (path := above / "images").is_dir()]
        counts = {path: sum(is_there(as_spelled(path / image.name)) for image in model.images) for path in folders}
        if held := {path: count for path, count in counts.items() if count}:
            folder, notes = fullest(held, f"of {len(model.images)} images")
            linked = [f"{model.folder} is a link: the images are those in {folder}"] if place != given else []
            return folder, [*linked, *notes]
        without += folders
    complaint = f"{model.folder}: no folder images/ beside the model or above it: give the folder of its images"
    return first_of(without, complaint), []

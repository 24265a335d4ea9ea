"""Scenes of NeRF: images with a transforms.json, as instant-ngp, nerfstudio and the scenes of Blender have it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vo3d.datasets.lenses import StoredCamera, fit_to_images
from vo3d.datasets.multiview import MultiViewDataset, scene_folders
from vo3d.datasets.photographs import Photographs
from vo3d.datasets.resize import Size
from vo3d.datasets.sparse_views import photographs_by_poses
from vo3d.datasets.views import as_spelled, given_and_target, given_name, is_there, missing_note, named_folder
from vo3d.errors import Vo3dError, first_few, shown
from vo3d.formats.candidates import check_stems
from vo3d.formats.images import IMAGE_SUFFIXES, image_size
from vo3d.formats.nerf import NerfCamera, read_transforms
from vo3d.recording import Layout

NAMES = ("transforms.json", "transforms_train.json")


class NeRF(MultiViewDataset):
    """Samples of one or many scenes: `image`, `K`, `world_T_cam`, `depth_range`; see `NeRFScene`.

    Args:
        root: the scene, or the folder of the `scenes`.
        scenes: names of folders, or of files, in `root`; None: `root` itself is the scene.
        depth_range, every, num_sources, size, max_side: see `NeRFScene`.
        num_views, fewer_views, transforms, seed: see `MultiViewDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        scenes: Sequence[str] | None = None,
        *,
        depth_range: tuple[float, float],
        every: int = 1,
        num_sources: int = 10,
        size: Size | None = None,
        max_side: int | None = None,
        num_views: int = 5,
        **views: Any,
    ) -> None:
        super().__init__(
            [
                NeRFScene(
                    path, depth_range=depth_range, every=every, num_sources=num_sources, size=size, max_side=max_side
                )
                for path in scene_folders(root, scenes)
            ],
            num_views=num_views,
            **views,
        )


class NeRFScene(Photographs):
    """The frames of a transforms.json, in its order; sources are chosen by the poses, a lens is undone.

    Images of another size than the file's `w` and `h` (without these, than the images that it names) but of their shape
    are taken, with K scaled to them; images that are not there are left out: `notes` say so.

    Args:
        path: the file, or its folder, in which it is transforms.json or transforms_train.json.
        images: the folder of the images, by their names with or without the folders before them, where they do not lie
            where the file says.
        depth_range: near and far for all views, in the unit of the poses; None: see `photographs_by_poses`.
        every: take every so many-th of the images that are there.
        num_sources: at most, of each view.
        size, max_side: of the images, see `Photographs`.

    Convention: poses, and what is made with them, are in the frame of the file's `transform_matrix`; see
    `vo3d.formats.nerf`.
    Raises Vo3dError naming the file: as `read_transforms` does; no image is there, or one of another shape than its
    camera's; a lens cannot be undone.
    """

    metric = False

    def __init__(
        self,
        path: Path,
        *,
        depth_range: tuple[float, float] | None = None,
        images: Path | None = None,
        every: int = 1,
        num_sources: int = 10,
        size: Size | None = None,
        max_side: int | None = None,
    ) -> None:
        if every < 1:
            raise Vo3dError(f"every is {every}: expected at least 1")
        if (file := find_transforms(path)) is None:
            raise Vo3dError(f"{path}: no {' or '.join(NAMES)}: expected one, or the name of the file")
        frames = read_transforms(file)
        _, *target = [place.parent for place in given_and_target(file)]
        places = [_image(file.parent, frame.file_path, images) for frame in frames]
        linked: list[str] = []
        if target and images is None and not any(map(is_there, places)):
            places = [_image(target[0], frame.file_path, None) for frame in frames]
            linked = [f"{file} is a link: the images are those beside {target[0] / file.name}"]
        there = [index for index, place in enumerate(places) if is_there(place)]
        missing = [frames[index].file_path for index, place in enumerate(places) if not is_there(place)]
        if not there:
            raise Vo3dError(
                f"{file}: none of its {len(frames)} images is there, the first of which would be "
                f"{shown(str(places[0]))}: add them, or give their folder"
            )
        others = [one for one in sorted(path.glob("transforms*.json")) if one != file]  # none where a file is named
        left_out = [f"{file} is read; left out: {first_few(one.name for one in others)}"] if others else []
        chosen = there[::every]
        files = [places[index] for index in chosen]
        sizes = list(map(image_size, files))
        stored: dict[tuple[NerfCamera, Size], StoredCamera] = {}
        owners = []
        for index, found in zip(chosen, sizes, strict=True):
            camera = frames[index].camera
            original = _image(file.parent, frames[index].file_path, None)  # for images elsewhere, of another size
            made_for = camera.size or (image_size(original) if is_there(original) else found)
            if (camera, made_for) not in stored:
                stored[camera, made_for] = StoredCamera(
                    name=camera.place, size=made_for, K=camera.intrinsics(made_for), lens=camera.lens
                )
            owners.append(stored[camera, made_for])
        cameras, resized = fit_to_images(owners, files, sizes)
        views, told = photographs_by_poses(
            files,
            cameras,
            torch.stack([frames[index].world_T_cam for index in chosen]),
            depth_range,
            num_sources=num_sources,
        )
        super().__init__(
            given_name(file.parent) + (f"_{file.stem}" if file.name != NAMES[0] else ""),
            views,
            size=size,
            max_side=max_side,
            notes=[*left_out, *linked, *missing_note(missing, len(frames), f"of {file}"), *resized, *told],
        )


def find_transforms(path: Path) -> Path | None:
    """Return a JSON file as it is named, or the file of a folder; None: there is none."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    return next((path / name for name in NAMES if (path / name).is_file()), None)


def recognises(path: Path) -> bool:
    """Tell whether a path is a JSON file, or a folder that holds a transforms.json."""
    return find_transforms(path) is not None


def scene(
    path: Path,
    *,
    size: Size | None = None,
    max_side: int | None = None,
    depth_range: tuple[float, float] | None = None,
    images: Path | None = None,
    every: int = 1,
) -> NeRFScene:
    """Open the scene of a transforms.json; without a `depth_range` its images are matched."""
    return NeRFScene(
        path,
        depth_range=depth_range,
        images=named_folder(images, path),
        every=every,
        size=size,
        max_side=max_side,
    )


LAYOUT = Layout("images with a NeRF's transforms.json", recognises, scene, rank=4)


def _image(folder: Path, name: str, images: Path | None) -> Path:
    """Return where an image is, or should be: in `images` below as many of the folders in its name as are there."""
    below = Path(name.replace("\\", "/"))
    parts = [part for part in below.parts if part not in ("..", below.anchor)]
    tails = [folder / below] if images is None else [images.joinpath(*parts[start:]) for start in range(len(parts))]
    return next(filter(None, map(_file, tails)), (tails or [folder])[-1])


def _file(path: Path) -> Path | None:
    """Return an image that may be written without its suffix; None: it is not there; Vo3dError where two would do."""
    if is_there(path):
        return path
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return found if is_there(found := as_spelled(path)) else None
    places = [Path(f"{path}{spelled}") for suffix in IMAGE_SUFFIXES for spelled in (suffix.upper(), suffix)]
    there = {place.stat().st_ino: place for place in places if is_there(place)}  # once where capitals do not count
    check_stems([*there.values()])
    return next(iter(there.values()), None)

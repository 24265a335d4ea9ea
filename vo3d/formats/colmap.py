"""Sparse models of COLMAP, text and binary: cameras, images, points, read and written without COLMAP.

Convention: see `vo3d.formats.colmap_model`: poses are world to camera, pixels are vo3d's, lengths in the model's unit.
"""

import os
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from vo3d.errors import Vo3dError, first_few
from vo3d.formats import colmap_binary, colmap_text
from vo3d.formats.candidates import fullest, visible_paths
from vo3d.formats.colmap_model import ColmapCamera, ColmapImage, ColmapModel, SparsePoints, make_points
from vo3d.formats.files import write_whole

__all__ = [
    "ColmapCamera",
    "ColmapImage",
    "ColmapModel",
    "SparsePoints",
    "find_model",
    "observations",
    "read_model",
    "write_model",
]

FORMS = {".bin": colmap_binary, ".txt": colmap_text}  # what reads and writes files with each suffix


def find_model(folder: Path) -> Path | None:
    """Return where a model is in a folder of COLMAP's layout (itself, sparse/, or a folder of that); None: nowhere.

    It is the first of several, among which `read_model` chooses.
    """
    return next((path.parent for path in _find_forms(folder)), None)


def read_model(folder: Path) -> ColmapModel:
    """Read cameras, images and points; `folder` is as in `find_model`.

    Of several models, and of the binary and the text form of one, the one with the most images is read, binary before
    text among equals; `notes` names the others. A model without points3D is one without points: `observations` refuses
    it, poses and cameras are of use without. Left out, with a line each in `notes`: cameras that make no sense but that
    no image has, and observations in images that are not there.

    Raises:
        Vo3dError: with file and, for text, line: there is no model, a file is truncated or makes no sense, an image has
            no camera or one of an unknown model, no observation has its image, an id comes twice, there is no image.
    """
    forms = _find_forms(folder)
    if not forms:
        raise Vo3dError(
            f"{folder}: no COLMAP model: expected cameras and images, .bin or .txt, there or in sparse/ or sparse/0/"
        )
    counts = {path: FORMS[path.suffix].count_images(path) if len(forms) > 1 else 0 for path in forms}
    chosen, notes = fullest(counts, "images")
    found, suffix = chosen.parent, chosen.suffix
    reader = FORMS[suffix]
    cameras_file, images_file, points_file = (found / f"{name}{suffix}" for name in ("cameras", "images", "points3D"))
    cameras, images = reader.read_cameras(cameras_file), reader.read_images(images_file)
    points = reader.read_points(points_file) if points_file.is_file() else make_points(str(points_file), [], [], [], [])
    if not images:
        raise Vo3dError(f"{images_file}: holds no images: expected at least one that COLMAP has registered")
    _check_unique(cameras_file, "camera", torch.tensor([camera.id for camera in cameras], dtype=torch.int64))
    image_ids = torch.tensor([image.id for image in images], dtype=torch.int64)
    _check_unique(images_file, "image", image_ids)
    _check_unique(points_file, "point", points.id)
    by_id = {camera.id: camera for camera in cameras}
    for image in images:
        if image.camera_id not in by_id:
            raise Vo3dError(f"{images_file}: image {image.id} has camera {image.camera_id}, which {cameras_file} lacks")
        by_id[image.camera_id].check()
    for camera in cameras:
        try:
            camera.check()
        except Vo3dError as error:
            del by_id[camera.id]
            notes.append(f"camera {camera.id} is left out, as no image has it: {error}")
    strange = ~torch.isin(points.image_id, image_ids)
    if bool(strange.any()):
        ids = torch.unique(points.image_id[strange]).tolist()
        if bool(strange.all()):
            raise Vo3dError(
                f"{points_file}: a point is seen in image {ids[0]}, which {images_file} lacks, and so are all "
                "others: expected the points of this model: copy both files from one"
            )
        notes.append(
            f"{int(strange.sum())} of {len(strange)} observations in {points_file} are left out: {images_file} lacks "
            f"their images ({first_few(map(str, ids))})"
        )
        points = points.seen_in(image_ids)
    images.sort(key=lambda image: image.id)
    return ColmapModel(folder=found, cameras=by_id, images=images, points=points, notes=tuple(notes))


def write_model(folder: Path, model: ColmapModel, *, binary: bool = True) -> None:
    """Write a model's three files into `folder`, in COLMAP's binary or text form; each is whole or absent."""
    suffix = ".bin" if binary else ".txt"
    writer = FORMS[suffix]
    write_whole(folder / f"cameras{suffix}", writer.camera_bytes([*model.cameras.values()]))
    write_whole(folder / f"images{suffix}", writer.image_bytes(model.images))
    write_whole(folder / f"points3D{suffix}", writer.point_bytes(model.points))


def observations(model: ColmapModel) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"]]:
    """Tell which view sees which point: rows of `model.points.xyz` and places in `model.images`, for view selection.

    Raises:
        Vo3dError: the model has no points, or none that an image sees.
    """
    if not len(model.points.point):
        raise Vo3dError(
            f"{model.folder}: the COLMAP model has no sparse points that an image sees, which tell how far things are: "
            "give the depth range in the unit of its poses (--depth-range NEAR FAR), or run COLMAP's point_triangulator"
        )
    image_ids = torch.tensor([image.id for image in model.images], dtype=torch.int64)  # ascending
    return model.points.point, torch.searchsorted(image_ids, model.points.image_id.contiguous())


def _find_forms(folder: Path) -> list[Path]:
    """Return the file of the images of each model in a folder, itself, in sparse/, or in a folder of sparse/.

    Binary comes before text, as COLMAP has it, and sparse/0 before sparse/1.
    """
    sparse = folder if os.path.basename(os.path.abspath(folder)) == "sparse" else folder / "sparse"  # also of `.`
    below = [path for path in visible_paths(sparse) if path.is_dir()] if sparse.is_dir() else []
    files = (
        place / f"images{suffix}"
        for place in dict.fromkeys((folder, sparse, *sorted(below, key=lambda path: (len(path.name), path.name))))
        for suffix in FORMS
    )
    return [path for path in files if path.is_file() and path.with_stem("cameras").is_file()]


def _check_unique(path: Path, what: str, ids: Tensor) -> None:
    values, counts = torch.unique(ids, return_counts=True)
    if bool((counts > 1).any()):
        raise Vo3dError(f"{path}: {what} {int(values[counts > 1][0])} is there twice: expected each id once")

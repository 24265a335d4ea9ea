"""Sparse models of COLMAP, text and binary: cameras, images, points, read and written without COLMAP.

Convention: see `vo3d.formats.colmap_model`: poses are world to camera, pixels are vo3d's, lengths in the model's unit.
"""

from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats import colmap_binary, colmap_text
from vo3d.formats.colmap_model import ColmapCamera, ColmapImage, ColmapModel, SparsePoints
from vo3d.formats.files import atomic_path

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

PLACES = (".", "sparse", "sparse/0")  # of the model, in the folder that a user names


def find_model(folder: Path) -> Path | None:
    """The folder of the model in a folder of COLMAP's layout (itself, sparse/ or sparse/0/); None: there is none."""
    for place in PLACES:
        if _suffix(folder / place) is not None:
            return folder / place
    return None


def read_model(folder: Path) -> ColmapModel:
    """Read cameras, images and points, binary where both forms are there; `folder` is as in `find_model`.

    A model without points3D is one without points: `observations` refuses it, poses and cameras are of use without.

    Raises:
        Vo3dError: with file and, for text, line: there is no model, a file is truncated or makes no sense, a camera
            model is unknown, an image has no camera, an observation no image, an id comes twice, there is no image.
    """
    found = find_model(folder)
    if found is None:
        raise Vo3dError(
            f"{folder}: no COLMAP model: expected cameras and images, .bin or .txt, there or in sparse/ or sparse/0/"
        )
    suffix = _suffix(found) or ""
    reader = colmap_binary if suffix == ".bin" else colmap_text
    cameras_file, images_file, points_file = (found / f"{name}{suffix}" for name in ("cameras", "images", "points3D"))
    cameras, images = reader.read_cameras(cameras_file), reader.read_images(images_file)
    points = reader.read_points(points_file) if points_file.is_file() else _no_points()
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
    strangers = points.image_id[~torch.isin(points.image_id, image_ids)]
    if len(strangers):
        raise Vo3dError(f"{points_file}: a point is seen in image {int(strangers[0])}, which {images_file} lacks")
    if not bool(points.xyz.isfinite().all()):
        raise Vo3dError(f"{points_file}: a point is NaN or infinite: expected finite positions: make the model again")
    images.sort(key=lambda image: image.id)
    return ColmapModel(folder=found, cameras=by_id, images=images, points=points)


def write_model(folder: Path, model: ColmapModel, *, binary: bool = True) -> None:
    """Write a model's three files into `folder`, in COLMAP's binary or text form; each is whole or absent."""
    cameras = list(model.cameras.values())
    if binary:
        contents = {
            "cameras.bin": colmap_binary.camera_bytes(cameras),
            "images.bin": colmap_binary.image_bytes(model.images),
            "points3D.bin": colmap_binary.point_bytes(model.points),
        }
    else:
        texts = {
            "cameras.txt": colmap_text.camera_lines(cameras),
            "images.txt": colmap_text.image_lines(model.images),
            "points3D.txt": colmap_text.point_lines(model.points),
        }
        contents = {name: "".join(f"{line}\n" for line in lines).encode() for name, lines in texts.items()}
    for name, content in contents.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)


def observations(model: ColmapModel) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"]]:
    """Which view sees which point: rows of `model.points.xyz` and places in `model.images`, for view selection.

    Raises:
        Vo3dError: the model has no points, or none that an image sees.
    """
    if not len(model.points.point):
        raise Vo3dError(
            f"{model.folder}: the COLMAP model has no sparse points: the choice of source views and depth ranges needs "
            "them: run COLMAP's point_triangulator, or give the scene in the MVSNet layout with pair.txt and cams/"
        )
    image_ids = torch.tensor([image.id for image in model.images], dtype=torch.int64)  # ascending
    return model.points.point, torch.searchsorted(image_ids, model.points.image_id.contiguous())


def _suffix(folder: Path) -> str | None:
    """The form of the model in a folder; None: there is none."""
    for suffix in (".bin", ".txt"):
        if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    return None


def _no_points() -> SparsePoints:
    ids, numbers = torch.empty(0, dtype=torch.int64), torch.empty(0, 3, dtype=torch.float64)
    return SparsePoints(
        id=ids, xyz=numbers, rgb=numbers.to(torch.uint8), error=numbers[:, 0], point=ids, image_id=ids, keypoint=ids
    )


def _check_unique(path: Path, what: str, ids: Tensor) -> None:
    values, counts = torch.unique(ids, return_counts=True)
    if bool((counts > 1).any()):
        raise Vo3dError(f"{path}: {what} {int(values[counts > 1][0])} is there twice: expected each id once")

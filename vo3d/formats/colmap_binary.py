"""The binary form of COLMAP's sparse models: cameras.bin, images.bin, points3D.bin, little-endian without padding."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.colmap_model import (
    CAMERA_MODELS,
    HALF_PIXEL,
    KNOWN_MODELS,
    ColmapCamera,
    ColmapImage,
    SparsePoints,
    make_image,
    make_points,
)
from vo3d.formats.files import LFS_POINTER

_KEYPOINT = np.dtype([("xy", "<f8", (2,)), ("point", "<i8")])  # COLMAP's largest uint64, no point, is -1 here
LEAST_IMAGE = 73  # bytes of an image without a name and keypoints
_POINT = struct.Struct("<q3d3BdQ")  # id, x y z, red green blue, error, number of observations


class _Cursor:
    """A place in the content of a file, which must not end too early or too late."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise Vo3dError(f"{path}: no such file: expected COLMAP's {path.name}")
        self.path, self.content, self.position = path, path.read_bytes(), 0
        if self.content.startswith(LFS_POINTER):
            raise Vo3dError(f"{path}: a Git LFS pointer, not the model that it stands for: run 'git lfs pull'")

    def take(self, form: str) -> tuple[Any, ...]:
        """Read the next values, by their codes for `struct`."""
        at = self.skip(struct.calcsize("<" + form))
        return struct.unpack_from("<" + form, self.content, at)

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; returns where they begin."""
        at, self.position = self.position, self.position + size
        if self.position > len(self.content):
            raise Vo3dError(
                f"{self.path}: truncated: byte {self.position} of {len(self.content)} is needed: copy or make it again"
            )
        return at

    def word(self) -> str:
        """Read the text up to the next zero byte."""
        end = self.content.find(b"\0", self.position)
        at = self.skip((end - self.position if end >= 0 else len(self.content)) + 1)
        try:
            return self.content[at:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise Vo3dError(f"{self.path}: the name at byte {at} is not UTF-8: no images.bin of COLMAP") from error

    def finish(self) -> None:
        """Raise unless this is the end of the file."""
        if self.position != len(self.content):
            raise Vo3dError(
                f"{self.path}: {len(self.content) - self.position} bytes left after the last entry: expected none: "
                "copy or make it again"
            )


def read_cameras(path: Path) -> list[ColmapCamera]:
    """Read the cameras in cameras.bin, which are not checked; Vo3dError with the file."""
    cursor = _Cursor(path)
    cameras = []
    for _ in range(*cursor.take("Q")):
        id, model_id, width, height = cursor.take("IiQQ")
        name, num_params = KNOWN_MODELS.get(model_id, (f"number {model_id}", 0))
        params = cursor.take(f"{num_params}d")
        cameras.append(ColmapCamera(id=id, model=name, width=width, height=height, params=params, place=str(path)))
        if model_id not in KNOWN_MODELS:
            cameras[-1].check()  # nobody knows where the next one begins
    cursor.finish()
    return cameras


def read_images(path: Path) -> list[ColmapImage]:
    """Read the images in images.bin; Vo3dError with the file."""
    cursor = _Cursor(path)
    images = []
    for _ in range(*cursor.take("Q")):
        id, *motion, camera_id = cursor.take("I7dI")
        name = cursor.word()
        (count,) = cursor.take("Q")
        at = cursor.skip(count * _KEYPOINT.itemsize)
        keypoints = np.frombuffer(cursor.content, _KEYPOINT, count, at)
        xy, point_ids = (torch.from_numpy(keypoints[key].astype(kind)) for key, kind in (("xy", "f8"), ("point", "i8")))
        images.append(make_image(f"{path}, image {id}", id, name, camera_id, motion, xy, point_ids))
    cursor.finish()
    return images


def count_images(path: Path) -> int:
    """Read how many images images.bin announces; no more than it has room for, as a damaged one may."""
    with path.open("rb") as file:
        return min(int.from_bytes(file.read(8), "little"), path.stat().st_size // LEAST_IMAGE)


def read_points(path: Path) -> SparsePoints:
    """Read the points in points3D.bin; Vo3dError with the file."""
    cursor = _Cursor(path)
    heads, tracks = [], []
    for _ in range(*cursor.take("Q")):
        heads.append(_POINT.unpack_from(cursor.content, cursor.skip(_POINT.size)))
        at = cursor.skip(heads[-1][-1] * 8)  # image id and keypoint, 32 bits each
        tracks.append(cursor.content[at : cursor.position])
    cursor.finish()
    track = torch.from_numpy(np.frombuffer(b"".join(tracks), "<u4").astype(np.int64))
    numbers, lengths = [head[1:8] for head in heads], [head[8] for head in heads]
    return make_points(str(path), [head[0] for head in heads], numbers, lengths, track)


def camera_bytes(cameras: Sequence[ColmapCamera]) -> bytes:
    """Return the content of cameras.bin."""
    parts = [struct.pack("<Q", len(cameras))]
    for camera in cameras:
        head = (camera.id, CAMERA_MODELS[camera.model].id, camera.width, camera.height)
        parts.append(struct.pack(f"<IiQQ{len(camera.params)}d", *head, *camera.params))
    return b"".join(parts)


def image_bytes(images: Sequence[ColmapImage]) -> bytes:
    """Return the content of images.bin."""
    parts = [struct.pack("<Q", len(images))]
    for image in images:
        keypoints = np.empty(len(image.point_ids), _KEYPOINT)
        keypoints["xy"], keypoints["point"] = (image.keypoints + HALF_PIXEL).numpy(), image.point_ids.numpy()
        name = image.name.encode() + b"\0"
        parts += [struct.pack("<I7dI", image.id, *image.motion, image.camera_id), name]
        parts += [struct.pack("<Q", len(keypoints)), keypoints.tobytes()]
    return b"".join(parts)


def point_bytes(points: SparsePoints) -> bytes:
    """Return the content of points3D.bin."""
    parts = [struct.pack("<Q", len(points))]
    for id, xyz, rgb, error, track in points.rows():
        parts += [_POINT.pack(id, *xyz, *rgb, error, len(track)), track.numpy().astype("<u4").tobytes()]
    return b"".join(parts)

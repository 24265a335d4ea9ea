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
    MODEL_NAMES,
    ColmapCamera,
    ColmapImage,
    SparsePoints,
    make_camera,
    make_pose,
)
from vo3d.geometry import rotations

_KEYPOINT = np.dtype([("xy", "<f8", (2,)), ("point", "<i8")])  # COLMAP's largest uint64, no point, is -1 here
_OBSERVATION = np.dtype([("image", "<u4"), ("keypoint", "<u4")])
_POINT = struct.Struct("<q3d3BdQ")  # id, x y z, red green blue, error, number of observations


class _Cursor:
    """A place in the content of a file, which must not end too early or too late."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise Vo3dError(f"{path}: no such file: expected COLMAP's {path.name}")
        self.path, self.content, self.position = path, path.read_bytes(), 0

    def take(self, form: str) -> tuple[Any, ...]:
        """The next values, by their codes for `struct`."""
        at = self.skip(struct.calcsize("<" + form))
        return struct.unpack_from("<" + form, self.content, at)

    def skip(self, size: int) -> int:
        """Where the next `size` bytes begin."""
        at, self.position = self.position, self.position + size
        if self.position > len(self.content):
            raise Vo3dError(
                f"{self.path}: truncated: byte {self.position} of {len(self.content)} is needed: copy or make it again"
            )
        return at

    def word(self) -> str:
        """The text up to the next zero byte."""
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
    """The cameras in cameras.bin; Vo3dError with the file."""
    cursor = _Cursor(path)
    cameras = []
    for _ in range(*cursor.take("Q")):
        id, model_id, width, height = cursor.take("IiQQ")
        name = MODEL_NAMES.get(model_id, f"number {model_id}")
        params = cursor.take(f"{CAMERA_MODELS[name].num_params}d") if name in CAMERA_MODELS else ()
        cameras.append(make_camera(str(path), id, name, (width, height), params))
    cursor.finish()
    return cameras


def read_images(path: Path) -> list[ColmapImage]:
    """The images in images.bin; Vo3dError with the file."""
    cursor = _Cursor(path)
    images = []
    for _ in range(*cursor.take("Q")):
        id, *motion, camera_id = cursor.take("I7dI")
        name = cursor.word()
        (count,) = cursor.take("Q")
        at = cursor.skip(count * _KEYPOINT.itemsize)
        keypoints = np.frombuffer(cursor.content, _KEYPOINT, count, at)
        images.append(
            ColmapImage(
                id=id,
                name=name,
                camera_id=camera_id,
                cam_T_world=make_pose(f"{path}, image {id}", motion[:4], motion[4:]),
                keypoints=torch.from_numpy(keypoints["xy"].astype(np.float64)) - HALF_PIXEL,
                point_ids=torch.from_numpy(keypoints["point"].astype(np.int64)),
            )
        )
    cursor.finish()
    return images


def read_points(path: Path) -> SparsePoints:
    """The points in points3D.bin; Vo3dError with the file."""
    cursor = _Cursor(path)
    heads, tracks = [], []
    for _ in range(*cursor.take("Q")):
        heads.append(_POINT.unpack_from(cursor.content, cursor.skip(_POINT.size)))
        at = cursor.skip(heads[-1][-1] * _OBSERVATION.itemsize)
        tracks.append(cursor.content[at : cursor.position])
    cursor.finish()
    id, *numbers, lengths = zip(*heads, strict=True) if heads else ((),) * 9
    values = torch.tensor(numbers, dtype=torch.float64).T  # p 7
    observed = np.frombuffer(b"".join(tracks), _OBSERVATION)
    return SparsePoints(
        id=torch.tensor(id, dtype=torch.int64),
        xyz=values[:, :3].contiguous(),
        rgb=values[:, 3:6].to(torch.uint8),
        error=values[:, 6].contiguous(),
        point=torch.repeat_interleave(torch.tensor(lengths, dtype=torch.int64)),
        image_id=torch.from_numpy(observed["image"].astype(np.int64)),
        keypoint=torch.from_numpy(observed["keypoint"].astype(np.int64)),
    )


def camera_bytes(cameras: Sequence[ColmapCamera]) -> bytes:
    """The content of cameras.bin."""
    parts = [struct.pack("<Q", len(cameras))]
    for camera in cameras:
        head = (camera.id, CAMERA_MODELS[camera.model].id, camera.width, camera.height)
        parts.append(struct.pack(f"<IiQQ{len(camera.params)}d", *head, *camera.params))
    return b"".join(parts)


def image_bytes(images: Sequence[ColmapImage]) -> bytes:
    """The content of images.bin."""
    parts = [struct.pack("<Q", len(images))]
    for image in images:
        q = rotations.quaternion_from_matrix(image.cam_T_world[:3, :3])
        motion = (*q.tolist(), *image.cam_T_world[:3, 3].tolist())
        keypoints = np.empty(len(image.point_ids), _KEYPOINT)
        keypoints["xy"], keypoints["point"] = (image.keypoints + HALF_PIXEL).numpy(), image.point_ids.numpy()
        name = image.name.encode() + b"\0"
        parts += [struct.pack("<I7dI", image.id, *motion, image.camera_id), name, struct.pack("<Q", len(keypoints))]
        parts.append(keypoints.tobytes())
    return b"".join(parts)


def point_bytes(points: SparsePoints) -> bytes:
    """The content of points3D.bin."""
    order = points.point.argsort(stable=True)
    observed = np.empty(len(order), _OBSERVATION)
    observed["image"], observed["keypoint"] = points.image_id[order].numpy(), points.keypoint[order].numpy()
    lengths = points.point.bincount(minlength=len(points)).tolist()
    parts, at = [struct.pack("<Q", len(points))], 0
    columns = (points.id.tolist(), points.xyz.tolist(), points.rgb.tolist(), points.error.tolist(), lengths)
    for id, xyz, rgb, error, length in zip(*columns, strict=True):
        parts += [_POINT.pack(id, *xyz, *rgb, error, length), observed[at : at + length].tobytes()]
        at += length
    return b"".join(parts)

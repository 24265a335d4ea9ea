"""The text form of COLMAP's sparse models: cameras.txt, images.txt, points3D.txt. Source: COLMAP's "Output Format"."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.colmap_model import (
    HALF_PIXEL,
    ColmapCamera,
    ColmapImage,
    SparsePoints,
    make_camera,
    make_pose,
)
from vo3d.formats.text import parse_number, parse_whole, parse_wholes, read_lines
from vo3d.geometry import rotations

_CAMERA = "a line: camera id, model, width, height, parameters"
_IMAGE = "a line: image id, quaternion w x y z, translation x y z, camera id, name"
_KEYPOINTS = "a line of keypoints (x, y, point id each) after the line of an image, empty where it has none"
_POINT = "a line: point id, x y z, red green blue, error, then image id and keypoint of each observation"


def read_cameras(path: Path) -> list[ColmapCamera]:
    """The cameras in cameras.txt; Vo3dError with file and line."""
    cameras = []
    for number, line in _rows(read_lines(path, "COLMAP's cameras.txt")):
        tokens = line.split()
        if len(tokens) < 5:
            raise Vo3dError(f"{path}:{number}: {len(tokens)} tokens: expected {_CAMERA}")
        id, width, height = (parse_whole(tokens[i], path, number, "an id or a size") for i in (0, 2, 3))
        params = _numbers(tokens[4:], path, number)
        cameras.append(make_camera(f"{path}:{number}", id, tokens[1], (width, height), params))
    return cameras


def read_images(path: Path) -> list[ColmapImage]:
    """The images in images.txt; Vo3dError with file and line."""
    images = []
    lines = enumerate(read_lines(path, "COLMAP's images.txt"), start=1)
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        tokens = line.split(maxsplit=9)
        if len(tokens) < 10:
            raise Vo3dError(f"{path}:{number}: {len(tokens)} tokens: expected {_IMAGE}")
        id, camera_id = (parse_whole(tokens[i], path, number, "an id") for i in (0, 8))
        motion = _numbers(tokens[1:8], path, number)
        after, keypoints = next(lines, (number + 1, ""))
        xy, point_ids = _keypoints(path, after, keypoints.split())
        images.append(
            ColmapImage(
                id=id,
                name=tokens[9].strip(),
                camera_id=camera_id,
                cam_T_world=make_pose(f"{path}:{number}", motion[:4], motion[4:]),
                keypoints=xy - HALF_PIXEL,
                point_ids=point_ids,
            )
        )
    return images


def read_points(path: Path) -> SparsePoints:
    """The points in points3D.txt; Vo3dError with file and line."""
    ids: list[int] = []
    numbers: list[list[float]] = []
    lengths: list[int] = []
    track: list[int] = []
    for number, line in _rows(read_lines(path, "COLMAP's points3D.txt")):
        tokens = line.split()
        if len(tokens) < 8 or len(tokens) % 2:
            raise Vo3dError(f"{path}:{number}: {len(tokens)} tokens: expected {_POINT}")
        ids.append(parse_whole(tokens[0], path, number, "the id of a point"))
        track += parse_wholes(tokens[8:], path, number, "an id in a track")
        lengths.append((len(tokens) - 8) // 2)
        numbers.append(_numbers(tokens[1:8], path, number))
        if not all(0 <= value <= 255 for value in numbers[-1][3:6]):
            raise Vo3dError(f"{path}:{number}: colour {' '.join(tokens[4:7])}: expected three numbers from 0 to 255")
    values = torch.tensor(numbers, dtype=torch.float64).reshape(-1, 7)
    observed = torch.tensor(track, dtype=torch.int64).reshape(-1, 2)
    return SparsePoints(
        id=torch.tensor(ids, dtype=torch.int64),
        xyz=values[:, :3],
        rgb=values[:, 3:6].to(torch.uint8),
        error=values[:, 6],
        point=torch.repeat_interleave(torch.tensor(lengths, dtype=torch.int64)),
        image_id=observed[:, 0],
        keypoint=observed[:, 1],
    )


def camera_lines(cameras: Sequence[ColmapCamera]) -> list[str]:
    """The lines of cameras.txt."""
    return [
        f"{camera.id} {camera.model} {camera.width} {camera.height} {' '.join(map(repr, camera.params))}"
        for camera in cameras
    ]


def image_lines(images: Sequence[ColmapImage]) -> list[str]:
    """The lines of images.txt, two for each image."""
    lines = []
    for image in images:
        q = rotations.quaternion_from_matrix(image.cam_T_world[:3, :3])
        motion = " ".join(map(repr, [*q.tolist(), *image.cam_T_world[:3, 3].tolist()]))
        xy = (image.keypoints + HALF_PIXEL).tolist()
        lines.append(f"{image.id} {motion} {image.camera_id} {image.name}")
        lines.append(" ".join(f"{x!r} {y!r} {id}" for (x, y), id in zip(xy, image.point_ids.tolist(), strict=True)))
    return lines


def point_lines(points: SparsePoints) -> list[str]:
    """The lines of points3D.txt."""
    tracks: list[list[str]] = [[] for _ in range(len(points))]
    for row, image_id, keypoint in zip(
        points.point.tolist(), points.image_id.tolist(), points.keypoint.tolist(), strict=True
    ):
        tracks[row].append(f"{image_id} {keypoint}")
    columns = (points.id.tolist(), points.xyz.tolist(), points.rgb.tolist(), points.error.tolist(), tracks)
    return [
        " ".join([str(id), *map(repr, xyz), *map(str, rgb), repr(error), *track])
        for id, xyz, rgb, error, track in zip(*columns, strict=True)
    ]


def _rows(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Numbered lines without blanks and comments."""
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _numbers(tokens: Sequence[str], path: Path, line: int) -> list[float]:
    return [parse_number(token, path, line) for token in tokens]


def _keypoints(path: Path, line: int, tokens: list[str]) -> tuple[Tensor, Tensor]:
    """Keypoints (k, 2), in COLMAP's pixels, and point ids (k,)."""
    if len(tokens) % 3:
        raise Vo3dError(f"{path}:{line}: {len(tokens)} tokens: expected {_KEYPOINTS}")
    columns = [_numbers(tokens[axis::3], path, line) for axis in (0, 1)]
    ids = parse_wholes(tokens[2::3], path, line, "the id of a point")
    return torch.tensor(columns, dtype=torch.float64).T.contiguous(), torch.tensor(ids, dtype=torch.int64)

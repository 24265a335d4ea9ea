"""The text form of COLMAP's sparse models: cameras.txt, images.txt, points3D.txt. Source: COLMAP's "Output Format"."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from vo3d.errors import Vo3dError, shown
from vo3d.formats.colmap_model import (
    HALF_PIXEL,
    ColmapCamera,
    ColmapImage,
    SparsePoints,
    make_image,
    make_points,
)
from vo3d.formats.text import parse_number, parse_whole, read_content, read_lines

_CAMERA = "a line: camera id, model, width, height, parameters"
_IMAGE = "a line: image id, quaternion w x y z, translation x y z, camera id, name"
_KEYPOINTS = "a line of keypoints (x, y, point id each) after the line of an image, empty where it has none"
_POINT = "a line: point id, x y z, red green blue, error, then image id and keypoint of each observation"


def read_cameras(path: Path) -> list[ColmapCamera]:
    """Read the cameras in cameras.txt, which are not checked; Vo3dError with file and line."""
    cameras = []
    for number, line in read_content(path, "COLMAP's cameras.txt"):
        tokens = line.split()
        if len(tokens) < 5:
            raise Vo3dError(f"{path}:{number}: {len(tokens)} tokens: expected {_CAMERA}")
        id, width, height = (parse_whole(tokens[i], path, number, "an id or a size") for i in (0, 2, 3))
        params = tuple(parse_number(token, path, number) for token in tokens[4:])
        cameras.append(
            ColmapCamera(id=id, model=tokens[1], width=width, height=height, params=params, place=f"{path}:{number}")
        )
    return cameras


def read_images(path: Path) -> list[ColmapImage]:
    """Read the images in images.txt; Vo3dError with file and line."""
    images = []
    lines = enumerate(read_lines(path, "COLMAP's images.txt"), start=1)
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        tokens = line.split(maxsplit=9)
        if len(tokens) < 10:
            raise Vo3dError(f"{path}:{number}: {len(tokens)} tokens: expected {_IMAGE}")
        id, camera_id = (parse_whole(tokens[i], path, number, "an id") for i in (0, 8))
        motion = [parse_number(token, path, number) for token in tokens[1:8]]
        after, keypoints = next(lines, (number + 1, ""))
        seen = keypoints.split()
        if len(seen) % 3:
            raise Vo3dError(f"{path}:{after}: {len(seen)} tokens: expected {_KEYPOINTS}")
        x, y = ([parse_number(token, path, after) for token in seen[axis::3]] for axis in (0, 1))
        point_ids = [parse_whole(token, path, after, "the id of a point") for token in seen[2::3]]
        images.append(
            make_image(
                f"{path}:{number}",
                id,
                tokens[9].strip(),
                camera_id,
                motion,
                torch.tensor([x, y], dtype=torch.float64).T.contiguous(),
                torch.tensor(point_ids, dtype=torch.int64),
            )
        )
    return images


def count_images(path: Path) -> int:
    """Count the images in images.txt."""
    lines, count = iter(read_lines(path, "COLMAP's images.txt")), 0
    for line in lines:
        if line.strip() and not line.startswith("#"):
            next(lines, None)  # its keypoints: an empty line where it has none
            count += 1
    return count


def read_points(path: Path) -> SparsePoints:
    """Read the points in points3D.txt; Vo3dError with file and line."""
    ids: list[int] = []
    numbers: list[list[float]] = []
    lengths: list[int] = []
    track: list[int] = []
    for number, line in read_content(path, "COLMAP's points3D.txt"):
        tokens = line.split()
        if len(tokens) < 8 or len(tokens) % 2:
            raise Vo3dError(f"{path}:{number}: {len(tokens)} tokens: expected {_POINT}")
        ids.append(parse_whole(tokens[0], path, number, "the id of a point"))
        track += [parse_whole(token, path, number, "an id in a track") for token in tokens[8:]]
        lengths.append((len(tokens) - 8) // 2)
        numbers.append([parse_number(token, path, number) for token in tokens[1:8]])
        if not all(0 <= value <= 255 for value in numbers[-1][3:6]):
            raise Vo3dError(
                f"{path}:{number}: colour {shown(' '.join(tokens[4:7]))}: expected three numbers from 0 to 255"
            )
    return make_points(str(path), ids, numbers, lengths, track)


def camera_bytes(cameras: Sequence[ColmapCamera]) -> bytes:
    """Return the content of cameras.txt."""
    return _lines(
        f"{camera.id} {camera.model} {camera.width} {camera.height} {' '.join(map(repr, camera.params))}"
        for camera in cameras
    )


def image_bytes(images: Sequence[ColmapImage]) -> bytes:
    """Return the content of images.txt, two lines for each image."""
    lines = []
    for image in images:
        lines.append(f"{image.id} {' '.join(map(repr, image.motion))} {image.camera_id} {image.name}")
        xy = (image.keypoints + HALF_PIXEL).tolist()
        lines.append(" ".join(f"{x!r} {y!r} {id}" for (x, y), id in zip(xy, image.point_ids.tolist(), strict=True)))
    return _lines(lines)


def point_bytes(points: SparsePoints) -> bytes:
    """Return the content of points3D.txt."""
    return _lines(
        " ".join([str(id), *map(repr, xyz), *map(str, rgb), repr(error), *map(str, track.flatten().tolist())])
        for id, xyz, rgb, error, track in points.rows()
    )


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()

"""MP4 files as telephones write them: OpenCV's, with the rate, the turn or the beginning in their boxes changed."""

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

RATE = 10  # frames a second of what is written
TICKS = 1024  # a frame, in the time scale of the track
H, W = 48, 64
STEP, BRIGHTER = 16, 12
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def write_mp4(path: Path, frames: int = 30) -> Path:
    """Write frames of rising brightness, `STEP` counts a frame and over again after 15; brighter in the left half."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (W, H))
    assert writer.isOpened()
    for number in range(frames):
        pixels = np.full((H, W, 3), STEP * (number % 15), np.uint8)
        pixels[:, : W // 2] += BRIGHTER
        writer.write(pixels)
    writer.release()
    return path


def set_durations(path: Path, runs: Sequence[tuple[int, int]]) -> Path:
    """Give runs of frames a duration each, in ticks."""
    content = path.read_bytes()
    table = b"".join(struct.pack(">II", *run) for run in runs)
    box = struct.pack(">I4sII", 16 + len(table), b"stts", 0, len(runs)) + table
    place, length = _box(content, b"stts")
    changed = content[:place] + box + content[place + length :]
    for parent in _PARENTS:
        place, old = _box(changed, parent)
        changed = _put(changed, place, ">I", old + len(box) - length)
    total = sum(count * ticks for count, ticks in runs)
    changed = _put(changed, _box(changed, b"mdhd")[0] + 24, ">I", total)
    changed = _put(changed, _box(changed, b"elst")[0] + 16, ">I", total * 1000 // (RATE * TICKS))
    path.write_bytes(changed)
    return path


def set_turn(path: Path, degrees: int) -> Path:
    """Write by how many degrees, clockwise, a player turns the frames."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    content = path.read_bytes()
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    path.write_bytes(_put(content, _box(content, b"tkhd")[0] + 48, ">9i", *matrix))
    return path


def cut_beginning(path: Path, frames: int) -> Path:
    """Leave out the first frames by the edit list alone, as telephones cut videos: they stay in the file."""
    content = path.read_bytes()
    path.write_bytes(_put(content, _box(content, b"elst")[0] + 20, ">I", frames * TICKS))
    return path


def _box(content: bytes, kind: bytes) -> tuple[int, int]:
    """Find where a box begins, and its length."""
    place = content.index(kind) - 4
    return place, struct.unpack_from(">I", content, place)[0]


def _put(content: bytes, place: int, form: str, *numbers: int) -> bytes:
    packed = struct.pack(form, *numbers)
    return content[:place] + packed + content[place + len(packed) :]

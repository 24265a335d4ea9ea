"""The files of KITTI's raw recordings: calibration, laser scans, GPS and IMU, time stamps, lists of frames.

Source: Geiger, Lenz, Stiller, Urtasun, "Vision meets robotics: the KITTI dataset", IJRR 2013, and the text files that
come with it (`dataformat.txt`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.errors import Vo3dError, first_few, quoted, shown
from vo3d.formats.kitti import check_projection
from vo3d.formats.text import parse_number, parse_whole, read_content, read_lines
from vo3d.formats.trajectories import check_poses
from vo3d.geometry import matrix_from_euler, se3

EARTH_RADIUS = 6378137.0  # metres, of the Mercator projection
OXTS_COLUMNS = 30
POSE_COLUMNS = range(6)
IMU_COLUMNS = (17, 18, 19, 11, 12, 13)
POINT_BYTES = 16  # x y z and reflectance in float32
LARGEST_SIDE = 1e6  # pixels of an image
HIGHEST_LATITUDE = 89.0  # degrees; the Mercator projection has no poles
_CALIB = "a calibration file of KITTI raw, lines of a name, a colon and numbers"
_STAMP = re.compile(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(\.\d{1,9})?", re.ASCII)
_DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_\d{4}_\w+", re.ASCII)
_SPLIT = "expected lines such as 2011_09_26/2011_09_26_drive_0001_sync 0000000069 l"


@dataclass(frozen=True)
class RawCameras:
    """The rectified cameras of one day."""

    P: dict[int, Float64[Tensor, "3 4"]]  # from points of rectified camera 0 to homogeneous pixels of each camera
    size: dict[int, tuple[int, int]]  # height and width of the rectified images
    rectify: Float64[Tensor, "4 4"]  # from camera 0 to rectified camera 0


def read_cameras(path: Path) -> RawCameras:
    """Read `calib_cam_to_cam.txt`: what belongs to rectified images (P_rect, S_rect), and R_rect_00.

    Raises Vo3dError with the file (and line) for what is missing or wrong.
    """
    entries = _read_calib(path)
    P, size = {}, {}
    for camera in range(4):
        if f"P_rect_{camera:02d}" in entries:
            place, P[camera] = _entry(entries, f"P_rect_{camera:02d}", path, (3, 4))
            check_projection(P[camera], place)
            place, pixels = _entry(entries, f"S_rect_{camera:02d}", path, (2,))
            width, height = pixels.tolist()
            if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE) or bool((pixels % 1).any()):
                raise Vo3dError(f"{place}: {width:g} x {height:g}: expected the pixels of an image: download it again")
            size[camera] = (int(height), int(width))
    if not P:
        raise Vo3dError(f"{path}: holds no P_rect_00 to P_rect_03: expected {_CALIB}: download it again")
    place, R = _entry(entries, "R_rect_00", path, (3, 3))
    return RawCameras(P, size, _rigid(R, torch.zeros(3, dtype=torch.float64), place))


def read_motion(path: Path) -> Float64[Tensor, "4 4"]:
    """Read `calib_velo_to_cam.txt` (`cam0_T_velo`) or `calib_imu_to_velo.txt` (`velo_T_imu`): R and T, metres.

    Raises Vo3dError with the file (and line) for what is missing, wrong or no rigid motion.
    """
    entries = _read_calib(path)
    place, R = _entry(entries, "R", path, (3, 3))
    return _rigid(R, _entry(entries, "T", path, (3,))[1], place)


def read_velodyne(path: Path) -> Float32[Tensor, "n 4"]:
    """Read a laser scan: x forward, y left, z up, metres, and reflectance.

    Raises Vo3dError with the file when it is missing, cut off, empty, or holds a number that is not finite.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected a laser scan of KITTI raw")
    content = path.read_bytes()
    if not content or len(content) % POINT_BYTES:
        raise Vo3dError(
            f"{path}: has {len(content)} bytes: expected {POINT_BYTES} a point: the file is cut off, download it again"
        )
    points = torch.from_numpy(np.frombuffer(content, "<f4").astype(np.float32).reshape(-1, 4))
    if not bool(points.isfinite().all()):
        row = int((~points.isfinite().all(-1)).nonzero()[0])
        raise Vo3dError(f"{path}: point {row} is not finite: expected a laser scan of KITTI raw: download it again")
    return points


def read_oxts(path: Path) -> Float64[Tensor, "6"]:
    """Read latitude, longitude (degrees), altitude (metres), roll, pitch and yaw (radians) of one GPS/IMU reading.

    Raises Vo3dError with the file when it is not one line of 30 numbers with a position on Earth.
    """
    reading = _oxts_numbers(path, POSE_COLUMNS)
    if not (abs(reading[0]) <= HIGHEST_LATITUDE and abs(reading[1]) <= 360):
        raise Vo3dError(f"{path}:1: latitude {reading[0]:g}, longitude {reading[1]:g}: expected degrees on Earth")
    return torch.tensor(reading, dtype=torch.float64)


def read_oxts_imu(path: Path) -> Float64[Tensor, "6"]:
    """Read angular rate (rad/s) then specific force (m/s^2, gravity included) of one GPS/IMU reading.

    Convention: x forward, y left, z up (columns wx wy wz and ax ay az).
    Raises Vo3dError with the file when it is not one line of 30 numbers.
    """
    return torch.tensor(_oxts_numbers(path, IMU_COLUMNS), dtype=torch.float64)


def _oxts_numbers(path: Path, columns: Sequence[int]) -> list[float]:
    """Return the numbers in some columns of one GPS/IMU reading."""
    rows = [line.split() for _, line in read_content(path, "a GPS/IMU reading of KITTI raw")]
    if len(rows) != 1 or len(rows[0]) != OXTS_COLUMNS:
        found = f"{len(rows)} lines" if len(rows) != 1 else f"{len(rows[0])} numbers"
        raise Vo3dError(f"{path}: has {found}: expected one line of {OXTS_COLUMNS} numbers: download it again")
    return [parse_number(rows[0][column], path, 1) for column in columns]


def oxts_poses(readings: Float64[Tensor, "n 6"], origin: Float64[Tensor, "6"]) -> Float64[Tensor, "n 4 4"]:
    """Compute `world_T_imu` of readings of `read_oxts`: x east, y north, z up, metres, from the place of `origin`.

    Positions are those of a Mercator projection, scaled by the cosine of the origin's latitude; R = Rz(yaw) Ry(pitch)
    Rx(roll). This is how KITTI's devkit (`convertOxtsToPose.m`) and its odometry benchmark have them.
    """
    scale = EARTH_RADIUS * torch.cos(torch.deg2rad(origin[0]))

    def place(reading: Tensor) -> Tensor:
        latitude, longitude = (torch.deg2rad(degrees) for degrees in (reading[..., 0], reading[..., 1]))
        north = torch.log(torch.tan(torch.pi / 4 + latitude / 2))
        return torch.stack([scale * longitude, scale * north, reading[..., 2]], dim=-1)

    rotation = matrix_from_euler(readings[:, 3:].flip(-1), "zyx")
    return se3.from_rotation_translation(rotation, place(readings) - place(origin))


def read_timestamps(path: Path, clock: Path | None = None) -> Float64[Tensor, " n"]:
    """Read `timestamps.txt`: seconds of each frame or reading since the first, or since the first in the file `clock`.

    Raises Vo3dError with file and line for what is no stamp, and without any.
    """
    start, seconds = _read_stamps(path)
    if clock is None:
        return seconds - seconds[0]
    other, first = _read_stamps(clock)
    return seconds - first[0] + (start - other).total_seconds()


def _read_stamps(path: Path) -> tuple[datetime, Float64[Tensor, " n"]]:
    """Return the whole second of the first stamp, and the seconds of all since then."""
    seconds: list[float] = []
    start: datetime | None = None
    for number, line in enumerate(read_lines(path, "a stamp a line, as 2011-09-26 13:02:25.964389445"), start=1):
        found = _STAMP.fullmatch(line.strip())
        try:
            whole = datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None
        except ValueError:  # month 13
            whole = None
        if found is None or whole is None:
            raise Vo3dError(f"{path}:{number}: {quoted(line)}: expected a stamp as 2011-09-26 13:02:25.964389445")
        start = start or whole
        seconds.append((whole - start).total_seconds() + float(found[2] or 0))
    if start is None:
        raise Vo3dError(f"{path}: is empty: expected a stamp a line: download it again")
    return start, torch.tensor(seconds, dtype=torch.float64)


@dataclass(frozen=True, order=True)
class NamedFrame:
    """One frame of a list: its drive, its number, and the side of its camera."""

    drive: str
    number: int
    right: bool


def read_split(path: Path) -> list[NamedFrame]:
    """Read a list of frames in the form of the public ones (Eigen's, Zhou's): folder of the drive, number, l or r.

    Without a side a frame is of the left camera. Raises Vo3dError with file and line for another form, and for a frame
    that comes twice.
    """
    frames: dict[NamedFrame, int] = {}
    for line, text in read_content(path, "a list of frames of KITTI raw"):
        folder, *rest = text.split()
        drive = folder.rstrip("/").rpartition("/")[2]
        if not _DRIVE.fullmatch(drive) or len(rest) not in {1, 2} or rest[1:] not in ([], ["l"], ["r"]):
            raise Vo3dError(f"{path}:{line}: {quoted(text)}: {_SPLIT}")
        number = parse_whole(rest[0], path, line, "the number of a frame")
        if number < 0:
            raise Vo3dError(f"{path}:{line}: frame {number}: {_SPLIT}")
        frame = NamedFrame(drive, number, rest[1:] == ["r"])
        if frame in frames:
            raise Vo3dError(f"{path}:{line}: is in line {frames[frame]} already: name each frame once")
        frames[frame] = line
    if not frames:
        raise Vo3dError(f"{path}: names no frame: {_SPLIT}")
    return list(frames)


def _read_calib(path: Path) -> dict[str, tuple[int, str]]:
    """Return the entries of a calibration file, as they are written, with their lines."""
    entries: dict[str, tuple[int, str]] = {}
    for line, text in read_content(path, _CALIB):
        name, colon, value = text.partition(":")
        if not colon:
            raise Vo3dError(f"{path}:{line}: {quoted(text)}: expected {_CALIB}")
        if name in entries:
            raise Vo3dError(f"{path}:{line}: a second {shown(name)}: expected each once: download the file again")
        entries[name] = (line, value)
    return entries


def _entry(
    entries: dict[str, tuple[int, str]], name: str, path: Path, shape: Sequence[int]
) -> tuple[str, Float64[Tensor, "..."]]:
    """Return where an entry stands, and its numbers."""
    if name not in entries:
        raise Vo3dError(f"{path}: has no {name}, only {first_few(entries) or 'nothing'}: download the file again")
    line, value = entries[name]
    numbers = torch.tensor([parse_number(token, path, line) for token in value.split()], dtype=torch.float64)
    if len(numbers) != int(np.prod(shape)):
        raise Vo3dError(
            f"{path}:{line}: {name} is followed by {len(numbers)} numbers: expected {int(np.prod(shape))}: download "
            "the file again"
        )
    return f"{path}:{line}: {name}", numbers.reshape(*shape)


def _rigid(R: Float64[Tensor, "3 3"], t: Float64[Tensor, "3"], place: str) -> Float64[Tensor, "4 4"]:
    """Return the rigid motion of a rotation and a translation; Vo3dError where it is none."""
    motion = se3.from_rotation_translation(R, t)
    check_poses(motion[None], Path(place))
    return motion

"""The files of EuRoC's ASL layout beside its trajectories: lists of images, inertial readings, cameras.

Source: Burri, Nikolic, Gohl, Schneider, Rehder, Omari, Achtelik, Siegwart, "The EuRoC micro aerial vehicle datasets",
IJRR 2016, and the files of the dataset. TUM-VI (Schubert et al. 2018) is published in the same layout.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.body_frames import section_of
from vo3d.formats.kitti import LARGEST_READING
from vo3d.formats.pinhole import check_pinhole
from vo3d.formats.text import LIMIT, parse_number, read_content, read_yaml
from vo3d.formats.trajectory_rows import unit_of
from vo3d.geometry.distortion import LensModel

IMAGES = "a list of images, lines of a stamp in ns and a file name (EuRoC: mav0/cam0/data.csv)"
READINGS = "inertial readings, lines of a stamp in ns, wx wy wz in rad/s and ax ay az in m/s^2 (EuRoC: imu0/data.csv)"
SENSOR = "a camera with intrinsics, resolution and distortion (EuRoC: sensor.yaml; Kalibr: camchain.yaml)"
LENSES: dict[str, LensModel] = {
    "radial-tangential": "radtan",  # EuRoC
    "radtan": "radtan",  # Kalibr
    "equidistant": "equidistant",
}
LARGEST_SIDE = 1e6  # pixels of an image
# Norms that a working sensor stays on its side of for most of a recording: gravity is 9.8 m/s^2, nobody spins so fast.
LEAST_GRAVITY, FASTEST_SPIN = 3.0, 3.0


@dataclass(frozen=True, kw_only=True)
class ListedImages:
    """The images of one camera: stamps and names of files."""

    nanoseconds: Int64[Tensor, " n"]
    names: list[str]

    @property
    def time(self) -> Float64[Tensor, " n"]:
        """Stamps in seconds."""
        return seconds(self.nanoseconds)


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The inertial readings of a recording, as the file has them: rad/s then m/s^2, axes of the sensor."""

    nanoseconds: Int64[Tensor, " n"]
    imu: Float64[Tensor, "n 6"]

    @property
    def time(self) -> Float64[Tensor, " n"]:
        """Stamps in seconds."""
        return seconds(self.nanoseconds)


@dataclass(frozen=True, kw_only=True)
class SensorCamera:
    """A camera of a calibration file: K in pixels of images of `size` (height, width), and the lens."""

    size: tuple[int, int]
    K: Float64[Tensor, "3 3"]
    lens: tuple[LensModel, tuple[float, ...]] | None


def seconds(nanoseconds: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Convert stamps: seconds of today in float64 keep 2e-7 s, and equal stamps stay equal."""
    return nanoseconds // 10**9 + (nanoseconds % 10**9).double() / 1e9


def read_image_list(path: Path) -> ListedImages:
    """Read a camera's `data.csv`.

    Raises Vo3dError with file and line for a wrong number of columns, a stamp that is none or does not ascend, a name
    that leaves the folder; for stamps in another unit, and for no image.
    """
    stamps, names, lines = [], [], []
    for number, (stamp, *rest) in _rows(path, IMAGES):
        if len(rest) != 1 or not rest[0] or "/" in rest[0] or "\\" in rest[0]:
            raise Vo3dError(f"{path}:{number}: found {quoted(','.join([stamp, *rest]))}: expected {IMAGES}")
        stamps.append(_stamp(stamp, path, number))
        names.append(rest[0])
        lines.append(number)
    return ListedImages(nanoseconds=_checked(stamps, lines, path, IMAGES), names=names)


def read_readings(path: Path) -> Readings:
    """Read `imu0/data.csv`.

    Raises Vo3dError with file and line for a wrong number of columns, a token that is no finite number, a reading
    beyond `LARGEST_READING`, a stamp that does not ascend; for stamps in another unit, no reading, rates and
    accelerations in each other's place, and a gyroscope that gives one value all along.
    """
    stamps, rows, lines = [], [], []
    for number, (stamp, *values) in _rows(path, READINGS):
        if len(values) != 6:
            raise Vo3dError(f"{path}:{number}: {len(values) + 1} columns: expected 7, {READINGS}")
        stamps.append(_stamp(stamp, path, number))
        rows.append([parse_number(value.strip(), path, number) for value in values])
        lines.append(number)
        if (largest := max(map(abs, rows[-1]))) > LARGEST_READING:
            raise Vo3dError(
                f"{path}:{number}: a reading of {largest:g}: expected rad/s and m/s^2 up to {LARGEST_READING:g}: copy "
                "the file again"
            )
    found = Readings(
        nanoseconds=_checked(stamps, lines, path, READINGS), imu=torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)
    )
    _check_sensor(found.imu, path)
    return found


def read_sensor_camera(path: Path, camera: str = "cam0") -> SensorCamera:
    """Read K and lens of a camera from `sensor.yaml` of EuRoC, or of one of the cameras in `camchain.yaml` of Kalibr.

    Raises Vo3dError with the file when it is absent, no YAML, or lacks or misspells a part of the camera.
    """
    content = section_of(read_yaml(path, SENSOR), camera)
    if not isinstance(content, dict):
        raise Vo3dError(f"{path}: holds no {camera}: expected {SENSOR}")
    place = f"{path}: {camera}"
    width, height = _numbers(content, "resolution", 2, place)
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE) or width % 1 or height % 1:
        raise Vo3dError(f"{place} has a resolution of {width:g} x {height:g}: expected width and height in pixels")
    fx, fy, cx, cy = _numbers(content, "intrinsics", 4, place)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    check_pinhole(K, place)
    if (kind := content.get("camera_model", "pinhole")) != "pinhole":
        raise Vo3dError(f"{place} has camera_model {quoted(kind)}: expected pinhole, calibrate with that model")
    word = content.get("distortion_model")
    if word in {None, "none"}:
        return SensorCamera(size=(int(height), int(width)), K=K, lens=None)
    if not isinstance(word, str) or word not in LENSES:
        raise Vo3dError(
            f"{place} has distortion_model {quoted(word)}: expected {', '.join(LENSES)} or none: calibrate with one of "
            "these, or undistort the images first"
        )
    key = "distortion_coefficients" if "distortion_coefficients" in content else "distortion_coeffs"
    coefficients = _numbers(content, key, 4, place)
    return SensorCamera(size=(int(height), int(width)), K=K, lens=(LENSES[word], tuple(coefficients)))


def _numbers(content: dict[Any, Any], key: str, count: int, place: str) -> list[float]:
    """Return the numbers of a list in a YAML file."""
    given = content.get(key)
    values: list[Any] = given if isinstance(given, list) else []
    if len(values) != count or not all(isinstance(one, int | float) and abs(one) < LARGEST_SIDE for one in values):
        found = f"has {key} {quoted(given)}" if key in content else f"has no {key}"
        raise Vo3dError(f"{place} {found}: expected {count} numbers: copy them from the calibration")
    return [float(value) for value in values]


def _rows(path: Path, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file with their lines, without names of columns above the first."""
    above = True
    for number, line in read_content(path, expected):
        tokens = [token.strip() for token in line.split(",")]
        if above and not any(character.isdigit() for character in tokens[0]):
            above = False
            continue
        above = False
        yield number, tokens


def _stamp(token: str, path: Path, line: int) -> int:
    """Return a stamp in nanoseconds."""
    if not (token.isascii() and token.isdecimal() and int(token[:20]) < LIMIT):
        raise Vo3dError(
            f"{path}:{line}: time stamp {quoted(token)}: expected whole nanoseconds; of seconds or microseconds, "
            "multiply by 1e9 or 1e3"
        )
    return int(token)


def _checked(stamps: list[int], lines: list[int], path: Path, expected: str) -> Int64[Tensor, " n"]:
    """Return the stamps; Vo3dError unless they ascend and are nanoseconds, and for none."""
    if not stamps:
        raise Vo3dError(f"{path}: is empty: expected {expected}")
    found = torch.tensor(stamps)
    back = (found.diff() <= 0).nonzero()
    if len(back):
        row = int(back[0])
        raise Vo3dError(
            f"{path}:{lines[row + 1]}: time stamp {stamps[row + 1]} follows {stamps[row]}: expected ascending ones: "
            "sort the rows and keep one of equal ones"
        )
    unit = unit_of(np.array(stamps, dtype=np.float64))
    if unit != "ns" and (unit or len(stamps) > 1):
        looks = f"look like {unit}" if unit else "may be milliseconds or microseconds"
        raise Vo3dError(f"{path}: time stamps from {stamps[0]} on {looks}: expected nanoseconds: multiply them")
    return found


def _check_sensor(imu: Float64[Tensor, "n 6"], path: Path) -> None:
    """Raise Vo3dError for a gyroscope that gives one value all along, and for rates in the place of accelerations."""
    rate, acceleration = imu[:, :3], imu[:, 3:]
    if len(imu) > 1 and bool((rate == rate[0]).all()):
        values = " ".join(f"{value:g}" for value in rate[0].tolist())
        raise Vo3dError(
            f"{path}: all {len(imu)} readings have the angular rate {values}: expected noise at least: the gyroscope "
            "is dead or its columns were not filled: record again, or turn imu off"
        )
    spin, gravity = (float(part.norm(dim=-1).median()) for part in (rate, acceleration))
    if gravity < LEAST_GRAVITY and spin > FASTEST_SPIN:
        raise Vo3dError(
            f"{path}: the angular rates are {spin:.3g} rad/s and the accelerations {gravity:.3g} m/s^2 in the median: "
            "expected gravity in the last three columns: exchange columns 2 to 4 with 5 to 7"
        )

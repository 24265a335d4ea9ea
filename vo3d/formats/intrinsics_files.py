"""Intrinsics and lenses out of the files that calibrations and other programs leave, known by their content.

Convention: `K` is in vo3d's pixels, the centre of the top-left one is (0, 0). So it is in the files of OpenCV, ROS,
Kalibr, EuRoC, KITTI and ORB-SLAM; those of COLMAP and NeRF are half a pixel off, which their readers take away.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, first_few, quoted, shown
from vo3d.formats.colmap_text import read_cameras
from vo3d.formats.euroc import LARGEST_SIDE, read_sensor_camera
from vo3d.formats.kitti import read_calib
from vo3d.formats.nerf import read_transforms
from vo3d.formats.pinhole import check_pinhole
from vo3d.formats.text import read_text
from vo3d.geometry.distortion import NUM_COEFFICIENTS, LensModel

Size = tuple[int, int]  # height, width
Lens = tuple[LensModel, tuple[float, ...]]

FORMS = "intrinsics: fx fy cx cy, a matrix K, or a file of OpenCV, ROS, Kalibr, EuRoC, KITTI, COLMAP, ORB-SLAM or NeRF"
LENS_WORDS: dict[str, LensModel] = {  # names of OpenCV's two models, in small letters
    **dict.fromkeys(("plumb_bob", "rational_polynomial", "radtan", "radial-tangential", "pinhole"), "radtan"),
    **dict.fromkeys(("equidistant", "fisheye", "kannalabrandt8"), "equidistant"),
}
MATRIX_KEYS = ("camera_matrix", "camera_matrix_", "cameramatrix", "intrinsic_matrix", "k")  # in small letters
LENS_KEYS = ("distortion_coefficients", "distcoeffs", "dist_coeffs", "distortion", "dist_coeff", "d")
SIDE_KEYS = (("image_height", "height", "camera.height"), ("image_width", "width", "camera.width"))
ORB_NUMBERS = ("fx", "fy", "cx", "cy")
ORB_LENS = ("k1", "k2", "p1", "p2", "k3")
ORB_FISHEYE = ("k1", "k2", "k3", "k4")


@dataclass(frozen=True, kw_only=True)
class FileCamera:
    """A camera of a file: its name there, K in pixels of images of `size`, and its lens.

    The name is empty where the file has no other; the size is None where it does not tell; the lens is None where it
    distorts nothing.
    """

    name: str = ""
    K: Float64[Tensor, "3 3"]
    size: Size | None = None
    lens: Lens | None = None

    def same(self, other: "FileCamera") -> bool:
        """Tell whether another camera differs by its name at most."""
        return (self.size, self.lens) == (other.size, other.lens) and torch.equal(self.K, other.K)


def read_intrinsics(given: str | Path, size: Size) -> FileCamera:
    """Read the camera of a file for images of a size, or, given `FILE:NAME`, the one of that name among several.

    Raises:
        Vo3dError: with the file, and line where it has them: it is absent or of no known form, a number is none or no
            camera's, it holds several cameras and no name is given, or none of that name.
    """
    path, _, name = (str(given), "", "") if Path(given).exists() else str(given).rpartition(":")
    file = Path(path or str(given))
    text = read_text(file, FORMS)
    reader = next(reader for looks, reader in _READERS if looks.search(text))
    cameras = list(reader(file, text, size))
    if not cameras:
        raise Vo3dError(f"{file}: holds no intrinsics: expected {FORMS}")
    for camera in cameras:
        check_pinhole(camera.K, f"{file}{f': {camera.name}' if camera.name else ''}")
    names = [camera.name for camera in cameras]
    if path and name:
        if name not in names:
            raise Vo3dError(f"{file}: has no camera {quoted(name)}: expected one of {first_few(names)}")
        return cameras[names.index(name)]
    if not all(camera.same(cameras[0]) for camera in cameras):
        raise Vo3dError(f"{file}: holds the cameras {first_few(names)}: give one by its name, as {file}:{names[0]}")
    return cameras[0]


def _of_calib(path: Path, text: str, size: Size) -> Iterator[FileCamera]:
    """Yield the cameras of KITTI's calib.txt."""
    for name, P in read_calib(path).items():
        if name != "Tr":
            yield FileCamera(name=name, K=P[:, :3])


def _of_colmap(path: Path, text: str, size: Size) -> Iterator[FileCamera]:
    """Yield the cameras of COLMAP's cameras.txt."""
    for camera in read_cameras(path):
        camera.check()
        yield FileCamera(name=str(camera.id), K=camera.K, size=(camera.height, camera.width), lens=camera.lens)


def _of_nerf(path: Path, text: str, size: Size) -> Iterator[FileCamera]:
    """Yield the cameras of a transforms.json, one a frame."""
    for frame in read_transforms(path):
        K = frame.camera.intrinsics(frame.camera.size or size)
        yield FileCamera(name=frame.file_path, K=K, size=frame.camera.size, lens=frame.camera.lens)


def _of_kalibr(path: Path, text: str, size: Size) -> Iterator[FileCamera]:
    """Yield the cameras of EuRoC's sensor.yaml, or of Kalibr's camchain.yaml, where each has a section."""
    content = _content(path, text)
    sections = [str(key) for key, part in content.items() if isinstance(part, dict) and "intrinsics" in part]
    for name in [""] if "intrinsics" in content else sections:
        found = read_sensor_camera(path, name or "cam0")
        yield FileCamera(name=name, K=found.K, size=found.size, lens=found.lens)


def _of_numbers(path: Path, text: str, size: Size) -> Iterator[FileCamera]:
    """Yield the camera of a file of numbers alone: fx fy cx cy and perhaps a lens, or a matrix of 3x3, 3x4 or 4x4."""
    numbers = _numbers([token for token in re.split(r"[\s,;\[\]]+", re.sub(r"#.*", "", text)) if token], str(path))
    columns = {9: 3, 12: 4, 16: 4}.get(len(numbers))
    if columns is not None and numbers[2 * columns : 2 * columns + 3] == [0, 0, 1]:
        yield FileCamera(K=torch.tensor(numbers, dtype=torch.float64).reshape(-1, columns)[:3, :3])
    elif 4 <= len(numbers) <= 12:
        yield FileCamera(K=_matrix(*numbers[:4]), lens=_lens("radtan", numbers[4:], str(path)))
    else:
        raise Vo3dError(f"{path}: holds {len(numbers)} numbers: expected {FORMS}")


def _of_keys(path: Path, text: str, size: Size) -> Iterator[FileCamera]:
    """Yield the cameras of a file of keys: a matrix and coefficients (OpenCV, ROS), or single numbers (ORB-SLAM)."""
    small = {str(key).lower(): value for key, value in _content(path, text).items()}
    sides = [next((small[key] for key in keys if key in small), None) for keys in SIDE_KEYS]
    told = None
    if None not in sides:
        height, width = (int(side) for side in _numbers(sides, f"{path}: height and width"))
        told = height, width
        if min(told) < 1:
            raise Vo3dError(f"{path}: images of {width} x {height} pixels: expected width and height in pixels")
    word = next((small[key] for key in ("distortion_model", "camera.type", "camera_model") if key in small), "radtan")
    model = LENS_WORDS.get(str(word).lower(), "radtan" if str(word).lower() == "rectified" else None)
    if model is None:
        raise Vo3dError(f"{path}: the lens model is {quoted(word)}: expected one of {', '.join(LENS_WORDS)}")
    if key := next((key for key in MATRIX_KEYS if key in small), None):
        numbers = _numbers(_flat(small[key]), f"{path}: {key}")
        if len(numbers) != 9:
            raise Vo3dError(f"{path}: {key} has {len(numbers)} numbers: expected the nine of K, row by row")
        lens = next((key for key in LENS_KEYS if key in small), None)
        coefficients = [] if lens is None else _numbers(_flat(small[lens]), f"{path}: {lens}")
        K = torch.tensor(numbers, dtype=torch.float64).reshape(3, 3)
        yield FileCamera(K=K, size=told, lens=_lens(model, coefficients, str(path)))
        return
    found = [name for name in ("camera", "camera1", "camera2") if f"{name}.fx" in small]
    if not found:
        raise Vo3dError(f"{path}: holds no intrinsics: expected {FORMS}")
    for name in found:
        numbers, coefficients = (
            _numbers([small.get(f"{name}.{key}", 0) for key in keys], f"{path}: {name}")
            for keys in (ORB_NUMBERS, ORB_FISHEYE if model == "equidistant" else ORB_LENS)
        )
        yield FileCamera(name=name, K=_matrix(*numbers), size=told, lens=_lens(model, coefficients, str(path)))


def _content(path: Path, text: str) -> Mapping[str, Any]:
    """Return the keys and values of YAML, OpenCV's too, of JSON, which is YAML, or of OpenCV's XML."""
    if text.lstrip().startswith("<"):
        return dict(_xml_values(text))
    text = re.sub(r"^%YAML.*$", "", text, flags=re.MULTILINE).replace("!!opencv-matrix", "")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # too long a number, too deep
        raise Vo3dError(f"{path}: not YAML ({shown(' '.join(str(error).split()), 80)}); expected {FORMS}") from error
    if not isinstance(content, dict):
        raise Vo3dError(f"{path}: holds no intrinsics: expected {FORMS}")
    return content


def _xml_values(text: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of OpenCV's XML: matrices as their numbers, all else as text."""
    for key, inside in re.findall(
        r"<(\w+)[^<>]*>((?:(?!<\1\b).)*?)</\1>", text.replace("opencv_storage", ""), re.DOTALL
    ):
        data = re.search(r"<data>(.*?)</data>", inside, re.DOTALL)
        yield key, inside.strip() if data is None else data[1].split()


def _flat(value: Any) -> list[Any]:
    """List the numbers of a matrix: those of its `data`, of its rows, or its own."""
    rows = value.get("data") if isinstance(value, dict) else value
    rows = rows if isinstance(rows, list) else []
    return [number for row in rows for number in (row if isinstance(row, list) else [row])]


def _numbers(values: list[Any], place: str) -> list[float]:
    """Return finite numbers, of which a YAML file may spell some as text (5e2)."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise Vo3dError(f"{place}: {quoted(values)}: expected numbers: correct the file") from error
    if not all(abs(number) < LARGEST_SIDE for number in numbers):
        raise Vo3dError(f"{place}: {quoted(values)}: expected numbers up to {LARGEST_SIDE:g}: correct the file")
    return numbers


def _matrix(fx: float, fy: float, cx: float, cy: float) -> Float64[Tensor, "3 3"]:
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def _lens(model: LensModel, coefficients: list[float], place: str) -> Lens | None:
    """Return a lens with as many coefficients as OpenCV takes; None where it distorts nothing."""
    if model == "radtan" and not any(coefficients):
        return None
    while coefficients and coefficients[-1] == 0:
        coefficients = coefficients[:-1]
    choices = NUM_COEFFICIENTS[model]
    num = next((num for num in choices if num >= len(coefficients)), None)
    if num is None:
        raise Vo3dError(f"{place}: {len(coefficients)} coefficients of a {model} lens: expected up to {choices[-1]}")
    return model, tuple(coefficients) + (0.0,) * (num - len(coefficients))


# What a text looks like, and who reads it: the first that fits, and the last fits all.
_READERS: tuple[tuple[re.Pattern[str], Callable[[Path, str, Size], Iterator[FileCamera]]], ...] = (
    (re.compile(r"\A(?:#.*\n|[-+\d.,;eE\s\[\]])*(?:#.*)?\Z"), _of_numbers),
    (re.compile(r"^P\d:", re.MULTILINE), _of_calib),
    (re.compile(r"^[ \t]*\d+ +[A-Z_]{3,} +\d+ +\d+ ", re.MULTILINE), _of_colmap),
    (re.compile(r'\A\s*\{[\s\S]*"file_path"'), _of_nerf),
    (re.compile(r"^\s*intrinsics\s*:", re.MULTILINE), _of_kalibr),
    (re.compile(""), _of_keys),
)

"""Images in a folder and their poses in a trajectory file: which pose is of which image, and whose camera took it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera
from vo3d.datasets.views import first_of, image_files, read_camera_path
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.candidates import check_stems, fullest
from vo3d.formats.images import image_size
from vo3d.formats.pinhole import check_pinhole
from vo3d.formats.text import parse_number, read_lines
from vo3d.formats.trajectories import Trajectory
from vo3d.formats.trajectory_rows import TrajectoryFormat
from vo3d.geometry import trajectory as trajectories
from vo3d.geometry.distortion import NUM_COEFFICIENTS, LensModel

IMAGE_FOLDERS = ("images", "rgb", "image_2", "color", ".")
TRAJECTORIES = ("poses.txt", "trajectory.txt", "groundtruth.txt")
INTRINSICS = ("intrinsics.txt", "K.txt", "camera-intrinsics.txt")
NANOSECONDS = 10**14  # a stamp in the name of an image above this is in nanoseconds, unless the poses say otherwise
STAMPS = 10**12  # whole numbers above this may be stamps since 1970
UNITS = (10**9, 10**6, 10**3)  # of such stamps, in a second

LENSES: dict[str, LensModel] = {  # words for the lens models of `vo3d.geometry.distortion`
    "radtan": "radtan",
    "plumb_bob": "radtan",
    "opencv": "radtan",
    "equidistant": "equidistant",
    "fisheye": "equidistant",
    "opencv_fisheye": "equidistant",
}

Intrinsics = tuple[float, ...]
Lens = tuple[LensModel, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class PosedImageFiles:
    """The images that have a pose, in natural order, or in that of their time stamps.

    Convention: lengths are in the unit of the file of poses.
    """

    images: list[Path]
    places: list[int]  # of these among all images of the folder
    total: int  # images in the folder
    world_T_cam: Float64[Tensor, "n 4 4"]
    notes: list[str]


def posed_image_files(
    folder: Path,
    *,
    poses: Path | None,
    format: TrajectoryFormat | None,
    max_difference: float,
    images: Path | None = None,
) -> PosedImageFiles:
    """Find the images of a folder that have a pose in a trajectory file.

    A pose belongs to an image by its place (as many poses as images), by its frame index (13 columns of KITTI: the
    place of its image), or by time, where a TUM file has stamps and the images are named by theirs, in seconds with a
    point or in ns, us or ms, as in TUM's and EuRoC's recordings. Images without a pose are left out in the latter two.

    Args:
        folder: holds the images, itself or in one of `IMAGE_FOLDERS`.
        poses: the file, camera to world; None: one of `TRAJECTORIES` in the folder.
        format: of the file; None: by what it holds.
        max_difference: seconds between an image and its pose, at most.
        images: the folder of the images, where it is another.

    Raises Vo3dError naming the file: it is missing or damaged, or poses and images do not go together.
    """
    if not folder.is_dir():
        raise Vo3dError(f"{folder}: no such folder")
    found, notes = image_files_in(folder) if images is None else (image_files(images), list[str]())
    if not found:
        where = f"{folder}: holds no image, nor do images/, rgb/, image_2/, color/"
        raise Vo3dError(f"{where if images is None else f'{images}: holds no image'}: expected some")
    check_stems(found)
    path = poses or _find(folder, TRAJECTORIES, "of poses (KITTI's rows or TUM's): name it (poses)")
    trajectory = read_camera_path(path, format or "auto")
    notes += trajectory.notes
    chosen, rows = _matched(found, trajectory, path, max_difference)
    without = sorted(set(range(len(found))) - set(chosen))
    if without:
        names = first_few(found[index].name for index in without)
        notes.append(f"{len(without)} of {len(found)} images have no pose in {path} ({names}): they are left out")
    return PosedImageFiles(
        images=[found[index] for index in chosen],
        places=chosen,
        total=len(found),
        world_T_cam=trajectory.world_T_cam[rows],
        notes=notes,
    )


def image_files_in(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the images of the folder that holds the most, in natural order, and a line on the others."""
    places = [folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()]
    found = {place: images for place in places if (images := image_files(place))}
    if not found:
        return [], []
    chosen, left_out = fullest({place: len(images) for place, images in found.items()}, "images")
    return found[chosen], left_out


def cameras_of(folder: Path, given: Intrinsics | None, images: Sequence[Path]) -> list[StoredCamera]:
    """Return the camera of each image, one for all of a size: as given, or from a file of the folder.

    Args:
        folder: holds one of the files `INTRINSICS`.
        given: fx, fy, cx, cy in pixels of the images, and where the lens distorts OpenCV's k1, k2, p1, p2 and so on;
            None: from the file.
        images: whose cameras these are.

    Raises Vo3dError naming the file: there is none, or several that differ; it is damaged; K is none.
    """
    if given is not None:
        numbers, place = list(given[:4]), f"{folder}: intrinsics"
        lens = _lens("radtan", given[4:], place) if len(given) > 4 else None
    else:
        path = _find(folder, INTRINSICS, "of the camera: give intrinsics (fx, fy, cx, cy, in pixels)")
        numbers, lens, place = *_read_intrinsics(path), str(path)
    if len(numbers) == 16:
        numbers = [numbers[4 * row + column] for row in range(3) for column in range(3)]
    if len(numbers) == 4:
        fx, fy, cx, cy = numbers
        numbers = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    if len(numbers) != 9:
        raise Vo3dError(f"{place}: {len(numbers)} numbers: expected fx fy cx cy, or a 3x3 or 4x4 matrix")
    K = torch.tensor(numbers, dtype=torch.float64).reshape(3, 3)
    check_pinhole(K, place)
    sizes = list(map(image_size, images))
    cameras = {size: StoredCamera(name=place, size=size, K=K, lens=lens) for size in sizes}
    return [cameras[size] for size in sizes]


def _find(folder: Path, names: Sequence[str], what: str) -> Path:
    """Return the file of one of these names in the folder; Vo3dError for none, and for two that say otherwise."""
    there = [path for name in names if (path := folder / name).is_file()]
    path = first_of(there, f"{folder}: no file {' or '.join(names)} {what}")
    if other := next((other for other in there if other.read_bytes() != path.read_bytes()), None):
        raise Vo3dError(f"{path}: {other.name} is there too and says otherwise: expected one file {what}")
    return path


def _matched(images: list[Path], poses: Trajectory, path: Path, max_difference: float) -> tuple[list[int], list[int]]:
    """Find the places of the images that have a pose, and the rows of their poses."""
    stamps = None if poses.time is None else _stamps(images, poses.time)
    if poses.time is not None and stamps is not None:
        order = stamps.argsort()  # names whose fractions differ in length sort otherwise
        try:
            first, second = trajectories.associate(stamps[order], poses.time, max_difference)
        except Vo3dError as error:
            raise Vo3dError(f"{path}, for the images in {images[0].parent}: {error}") from error
        return order[first].tolist(), second.tolist()
    if poses.frames is not None:
        frames = poses.frames.tolist()
        if frames[-1] >= len(images):
            raise Vo3dError(f"{path}: has a pose of frame {frames[-1]}, but there are {len(images)} images: add them")
        return frames, list(range(len(frames)))
    if len(poses) != len(images):
        raise Vo3dError(
            f"{path}: has {len(poses)} poses, but {images[0].parent} has {len(images)} images: expected as many, or "
            "images named by their time stamps, or rows with a frame index"
        )
    return list(range(len(images))), list(range(len(images)))


def _stamps(images: list[Path], time: Float64[Tensor, " m"]) -> Float64[Tensor, " n"] | None:
    """Read the seconds in the names of images, where all are named by a number with a point, or by a whole stamp.

    That is in nanoseconds, microseconds or milliseconds, by what lies within the `time` of the poses.
    """
    stems = [path.stem for path in images]
    if all(re.fullmatch(r"\d+\.\d+", stem) for stem in stems):
        return torch.tensor([float(stem) for stem in stems], dtype=torch.float64)
    if not all(stem.isdecimal() and int(stem) > STAMPS for stem in stems):
        return None
    found = [torch.tensor([int(stem) / unit for stem in stems], dtype=torch.float64) for unit in UNITS]
    within = (one for one in found if one.min() <= time.max() and time.min() <= one.max())
    return next(within, found[0] if all(int(stem) > NANOSECONDS for stem in stems) else None)


def _read_intrinsics(path: Path) -> tuple[list[float], Lens | None]:
    """Read the numbers of K, and the lens where a line begins with the name of its model."""
    numbers: list[float] = []
    lens: Lens | None = None
    lens_line: int | None = None
    for number, line in enumerate(read_lines(path, "fx fy cx cy, or a 3x3 or 4x4 matrix"), start=1):
        tokens = line.partition("#")[0].split()
        model = LENSES.get(tokens[0].lower()) if tokens else None
        values = [parse_number(token, path, number) for token in tokens[model is not None :]]
        if model is None:
            numbers += values
        elif lens_line is not None:
            raise Vo3dError(f"{path}:{number}: a lens, as line {lens_line} has: expected one: remove the other")
        else:
            lens, lens_line = _lens(model, values, f"{path}:{number}"), number
    return numbers, lens


def _lens(model: LensModel, coefficients: Sequence[float], place: str) -> Lens | None:
    """Return a lens, None for one that distorts nothing; Vo3dError for coefficients that the model has not."""
    if len(coefficients) not in NUM_COEFFICIENTS[model] or not all(map(math.isfinite, coefficients)):
        raise Vo3dError(
            f"{place}: {len(coefficients)} coefficients of a {model} lens: expected "
            f"{' or '.join(map(str, NUM_COEFFICIENTS[model]))} finite numbers, in OpenCV's order (k1 k2 p1 p2 k3 ..., "
            "of a fisheye k1 k2 k3 k4)"
        )
    return (model, tuple(coefficients)) if model == "equidistant" or any(coefficients) else None

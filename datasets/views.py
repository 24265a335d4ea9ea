"""The views of a clip: their images, one file each, and the inertial readings between them."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.resize import Size, check_size, resize_image
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.candidates import visible_paths
from vo3d.formats.image_folder import natural_key
from vo3d.formats.images import IMAGE_SUFFIXES, read_image
from vo3d.formats.trajectories import Trajectory, read_trajectory
from vo3d.formats.trajectory_rows import TrajectoryFormat
from vo3d.inertial import InertialSteps
from vo3d.recording import Recording
from vo3d.sample import Sample

DepthChoice = Literal["none", "required", "where present"]
Frames = tuple[int, int] | list[tuple[int, int]] | None  # first and last (exclusive): one range, several, or all


class FileRecording(Recording):
    """Frames that one camera took, in files: what folders of images, KITTI and 7-Scenes have in common.

    Args:
        name: of the recording.
        frames: first and last (exclusive) frame of the source that are taken; None: all.
        size: height and width that the images are resized to; None: their own.

    Raises Vo3dError for a range or a size that is none.
    """

    _poses: Tensor | None = None
    _time: Tensor | None = None
    _inertial: InertialSteps | None = None

    def __init__(self, name: str, frames: tuple[int, int] | None, size: Size | None) -> None:
        check_size(size)
        if frames is not None and not 0 <= frames[0] < frames[1]:
            raise Vo3dError(f"frames {frames[0]} to {frames[1]} is no range: expected 0 <= first < last (exclusive)")
        self.name, self._size = name, size
        self.first_frame = frames[0] if frames is not None else 0

    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """Return `world_T_cam` of every frame, in the unit of the files; None where they do not tell."""
        return self._poses

    def inertial(self) -> InertialSteps | None:
        """Return the inertial readings between all frames; None where none are asked for."""
        return self._inertial

    def sample(self, indices: Sequence[int], image: Tensor, K: Tensor | None, **fields: Tensor | None) -> Sample:
        """Return the views at `indices` with their images, K (3, 3) where it is known, readings, and other `fields`."""
        if self._inertial is not None:
            fields |= self._inertial.since_previous(indices, self.name)
        return Sample(
            image=image,
            K=None if K is None else K.float().expand(len(indices), 3, 3).clone(),
            world_T_cam=None if self._poses is None else self._poses[list(indices)],
            time=None if self._time is None else self._time[list(indices)],
            scene=self.name,
            index=torch.tensor(indices),
            **fields,
        )


def named_ranges(name: str, frames: Frames) -> list[tuple[str, tuple[int, int] | None]]:
    """Return name and range of each recording that is cut out of the frames called `name`.

    One range keeps the name; several bear the number of their first frame behind it: "chess_seq-01_000300".

    Raises Vo3dError for no range and for ranges that have frames in common.
    """
    if frames is None or isinstance(frames, tuple):
        return [(name, frames)]
    if not frames:
        raise Vo3dError(f"{name}: frames is an empty list: expected ranges [first, last (exclusive)], or null for all")
    for (first, last), (later, end) in pairwise(sorted(frames)):
        if later < last:
            raise Vo3dError(
                f"{name}: the frames {first} to {last} and {later} to {end} (exclusive) overlap: expected ranges that "
                "have no frame in common"
            )
    return [(name if len(frames) == 1 else f"{name}_{first:06d}", (first, last)) for first, last in frames]


def read_views(
    files: Sequence[Path], size: Size | None, *, upright: bool = False
) -> tuple[Float32[Tensor, "s 3 h w"], Size]:
    """Read the images of `files` as RGB in [0, 1], resized to `size` one by one, and their size before that.

    They come as they are stored, which is what their camera describes; without one, give `upright`: see `read_image`.

    Raises Vo3dError naming the file when an image is missing or damaged, or differs in size from the first.
    """
    original: list[Size] = []
    for place, path in enumerate(files):
        view = read_image(path, upright=upright)
        original.append((view.shape[-2], view.shape[-1]))
        if original[-1] != original[0]:
            (height, width), (first_height, first_width) = original[-1], original[0]
            raise Vo3dError(
                f"{path}: is {width}x{height} pixels and {files[0].name} is {first_width}x{first_height}: "
                "expected one size in a recording"
            )
        view = view if size is None else resize_image(view, size)
        if place == 0:
            views = torch.empty(len(files), *view.shape)  # filled one by one: half the memory of a stack
        views[place] = view
    return views, original[0]


def frame_files(
    there: Mapping[str, Path], place: str, frames: tuple[int, int] | None, *, suffixes: str = ""
) -> list[Path]:
    """Return the files of the frames 0 and on without a gap, or of those of a range.

    Args:
        there: the files by their names, or by what `suffixes` follow in messages.
        place: where a frame is expected, for `format` with its number; the end of it is its name in `there`.
        frames: first and last (exclusive); None: as many as there are.
        suffixes: of a frame that is missing, for messages.

    Raises Vo3dError naming the first that is missing.
    """
    first, last = frames or (0, len(there))
    paths = [Path(place.format(number)) for number in range(first, last)]
    if missing := [path for path in paths if path.name not in there]:
        raise Vo3dError(
            f"{missing[0]}{suffixes}, the first of {len(missing)} missing between {first} and {last - 1}: complete the "
            "folder, or give the range of frames that is there"
        )
    return [there[path.name] for path in paths]


def check_folder(folder: Path, what: str, pattern: str = "*") -> None:
    """Raise Vo3dError, which lists the folders beside it, unless the `folder` of a scene, scan or sequence is there."""
    if not folder.is_dir():
        raise Vo3dError(f"{folder}: no such {what}: there are {listed(folder.parent, pattern)}; choose one of them")


def listed(folder: Path, pattern: str) -> str:
    """Name the first of the folders in a folder, for messages."""
    names = [path.name for path in visible_paths(folder, pattern) if path.is_dir()]
    return (", ".join(names[:8]) or "none") + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def first_of(paths: Iterable[Path], complaint: str) -> Path:
    """Return the first of the paths; Vo3dError, which says the `complaint`, when there is none."""
    if (path := next(iter(paths), None)) is None:
        raise Vo3dError(complaint)
    return path


def is_there(path: Path) -> bool:
    """Tell whether there is such a file, also for names out of files that no system takes."""
    return os.path.isfile(path)  # Path.is_file raises for a name that is too long


def named_folder(folder: Path | None, scene: Path) -> Path | None:
    """Return a folder that a person named, from here or else from the scene; Vo3dError where neither is there."""
    if folder is None:
        return None
    home = scene if scene.is_dir() else scene.parent
    return first_of(filter(Path.is_dir, (folder, home / folder)), f"{folder}: no such folder of images, nor in {home}")


def as_spelled(path: Path) -> Path:
    """Return an image as it is there: with its suffix in other capitals where only that is, as 1.JPG for 1.jpg."""
    suffix = path.suffix
    return next(filter(is_there, (path, path.with_suffix(suffix.lower()), path.with_suffix(suffix.upper()))), path)


def missing_note(missing: Sequence[str], total: int, whose: str) -> list[str]:
    """Say which of the images of a file are not there, in one line; none where all are."""
    if not missing:
        return []
    return [f"{len(missing)} of {total} images {whose} are missing ({first_few(missing)}): the others are used"]


def read_camera_path(path: Path, format: TrajectoryFormat | Literal["auto"]) -> Trajectory:
    """Read the poses of a camera; Vo3dError as `read_trajectory`, and for poses of the body, as EuRoC has them."""
    found = read_trajectory(path, format)
    if found.pose_of == "body":
        raise Vo3dError(
            f"{path}: holds poses of the body, as EuRoC has them: expected the camera's: convert them first (vo3d "
            "convert-trajectory --camera-from-body)"
        )
    return found


def check_indices(indices: Sequence[int], recording: Recording, what: str) -> None:
    """Raise Vo3dError, which calls them `what`, unless all `indices` are frames or views of the recording."""
    if strange := [index for index in indices if not 0 <= index < len(recording)]:
        raise Vo3dError(f"{what} {strange[0]} of {recording.name!r}: expected 0 to {len(recording) - 1}")


def image_files(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images of a folder in natural order: frame2 before frame10; hidden ones are left out."""
    return sorted((path for path in visible_paths(folder) if path.suffix.lower() in suffixes), key=natural_key)


def given_and_target(path: Path) -> list[Path]:
    """Return a path from the root on, as it was given, and where it leads if there are links on the way."""
    given = Path(os.path.abspath(path))  # Path.resolve would follow links
    return list(dict.fromkeys((given, path.resolve())))


def given_name(path: Path) -> str:
    """Return the name of a file or folder as it was given, also of `.`; of a link it is that of the link."""
    return given_and_target(path)[0].name


def numbers_in(names: Sequence[str]) -> list[int] | None:
    """Read the numbers of frames at the end of their names; None where they do not tell all apart."""
    found = [re.search(r"(\d{1,18})$", PurePosixPath(name).stem) for name in names]
    numbers = [int(match[1]) for match in found if match is not None]
    return numbers if len(set(numbers)) == len(names) else None

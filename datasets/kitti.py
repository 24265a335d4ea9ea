"""KITTI odometry in its official layout, grey or colour, mono or stereo, with inertial readings where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.cut import at_size
from vo3d.datasets.lenses import camera_notes, check_centre
from vo3d.datasets.resize import Size, resize_intrinsics
from vo3d.datasets.views import FileRecording, check_folder, first_of, frame_files, read_views
from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.images import image_size, orientation_notes
from vo3d.formats.kitti import check_imu_time, read_calib, read_imu, read_times
from vo3d.formats.trajectories import read_trajectory
from vo3d.inertial import InertialSteps
from vo3d.recording import Recording, SequenceLayout
from vo3d.sample import Sample

LAYOUT = "expected sequences/<name>/{image_0..image_3, calib.txt, times.txt} and poses/<name>.txt"


class KITTIOdometry(ClipDataset):
    """Clips of KITTI odometry sequences: `image`, `K`, `time`, `index`, and where they are there the poses.

    Layout: `root/sequences/06/{image_0,image_1,image_2,image_3,calib.txt,times.txt}`, `root/poses/06.txt`. Sequences
    without a file in `poses` (the benchmark's 11 to 21) give no `world_T_cam`. A split is a list of sequences.

    Arguments:
        root: the folder that holds `sequences`.
        sequences: names or numbers, such as "06" or 6.
        colour: cameras 2 and 3; otherwise the grey cameras 0 and 1.
        stereo: also give the right camera, as `right` and `left_T_right`.
        imu: also give the readings of `root/imus/<name>.mat` or `.txt` and their instants (see
            `vo3d.formats.kitti.read_imu`), and of `.txt`, whose sensor is in the camera, `cam_T_imu`.
        frames: first and last (exclusive) frame to take of every sequence, for excerpts and splits within a sequence.
            Without it images, poses and times must be equally many; with it the files must reach that far.
        size: height and width to resize to at load.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Convention: the files hold poses of camera 0; `world_T_cam` is that of the camera that took `image`, moved by the
    offset in its projection matrix, in the world of camera 0.
    Raises Vo3dError when the root, a sequence or a file is missing or says something else than its neighbours.
    """

    def __init__(
        self,
        root: str | Path,
        sequences: Sequence[str | int],
        *,
        colour: bool = True,
        stereo: bool = False,
        imu: bool = False,
        frames: tuple[int, int] | None = None,
        size: Size | None = None,
        **clips: Any,
    ) -> None:
        names = (f"{name:02d}" if isinstance(name, int) else name for name in sequences)
        super().__init__(
            [
                KITTIRecording(Path(root), name, colour=colour, stereo=stereo, imu=imu, frames=frames, size=size)
                for name in names
            ],
            **clips,
        )


def _check_layout(root: Path, name: str) -> None:
    """Raise Vo3dError unless `root` has the official layout and the sequence."""
    if not root.is_dir():
        raise Vo3dError(f"{root}: no such folder: expected the root of KITTI odometry, which holds sequences and poses")
    sequences = root / "sequences"
    if not sequences.is_dir():
        there = ", ".join([path.name for path in visible_paths(root)][:8]) or "nothing"
        raise Vo3dError(f"{root}: holds {there}, but no folder sequences: {LAYOUT}")
    check_folder(sequences / name, "sequence")


@dataclass(frozen=True)
class _Camera:
    """One rectified camera: its images and its place beside camera 0."""

    files: list[Path]
    K: Float64[Tensor, "3 3"]  # pixels of the files
    cam0_T_cam: Float64[Tensor, "4 4"]  # metres


class KITTIRecording(FileRecording):
    """One sequence of KITTI odometry; arguments and errors as `KITTIOdometry` says.

    `index` of its samples is the place in the recording: 0 is the frame `first_frame` of the sequence.
    """

    camera = "calib.txt of KITTI"

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        colour: bool = True,
        stereo: bool = False,
        imu: bool = False,
        frames: tuple[int, int] | None = None,
        size: Size | None = None,
    ) -> None:
        _check_layout(root, name)
        super().__init__(name, frames, size)
        folder = root / "sequences" / name
        left = 2 if colour else 0
        self._left = _camera(folder, left, frames)
        self._right = _camera(folder, left + 1, frames) if stereo else None
        count = len(self._left.files)
        if self._right is not None and len(self._right.files) != count:
            raise Vo3dError(
                f"{self._right.files[0].parent}: has {len(self._right.files)} images and "
                f"{self._left.files[0].parent.name} has {count}: expected as many; complete the folder, or give frames"
            )
        if self._right is not None and not torch.allclose(self._right.K, self._left.K, rtol=1e-6):
            raise Vo3dError(f"{folder / 'calib.txt'}: left and right camera differ in K: expected a rectified pair")
        self._time = _rows_of(read_times(folder / "times.txt"), folder / "times.txt", count, frames)
        if (path := root / "poses" / f"{name}.txt").is_file():
            poses = _rows_of(read_trajectory(path, "kitti").world_T_cam, path, count, frames)
            self._poses = poses @ self._left.cam0_T_cam
        imu_notes: Sequence[str] = ()
        if imu:
            self._inertial, imu_notes = _imu_steps(root / "imus", name, count, frames, self._time)
        first = [camera.files[0] for camera in (self._left, self._right) if camera is not None]  # and the others alike
        stored = image_size(first[0])
        check_centre(self._left.K, stored, first[0])
        odd = camera_notes([(first[0].name, self._left.K, stored)])
        self.notes = [*imu_notes, *orientation_notes(first), *odd]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._left.files)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when an image is damaged or has another size."""
        image, original = read_views([self._left.files[index] for index in indices], self._size)
        K = self._left.K if self._size is None else resize_intrinsics(self._left.K, original, self._size)
        right = left_T_right = None
        if self._right is not None:
            right, _ = read_views([self._right.files[index] for index in indices], self._size)
            left_T_right = (torch.linalg.inv(self._left.cam0_T_cam) @ self._right.cam0_T_cam).float()
        return self.sample(indices, image, K, right=right, left_T_right=left_T_right)


def _camera(folder: Path, number: int, frames: tuple[int, int] | None) -> _Camera:
    """Return images and geometry of camera `number`: P = K [I | t], so that its place in camera 0 is -t."""
    calib = read_calib(folder / "calib.txt")
    if f"P{number}" not in calib:
        hint = "; the grey cameras are chosen by colour=False" if number >= 2 else ""
        raise Vo3dError(
            f"{folder / 'calib.txt'}: has no P{number}, only {', '.join(calib)}: camera {number} needs it{hint}"
        )
    P = calib[f"P{number}"]
    cam0_T_cam = torch.eye(4, dtype=torch.float64)
    cam0_T_cam[:3, 3] = -torch.linalg.solve(P[:, :3], P[:, 3])
    return _Camera(_image_files(folder / f"image_{number}", frames), P[:, :3], cam0_T_cam)


def _image_files(folder: Path, frames: tuple[int, int] | None) -> list[Path]:
    """Return the images 000000.png and on without a gap, or those of the range."""
    if not folder.is_dir():
        raise Vo3dError(f"{folder}: no such folder: {LAYOUT}")
    there = {path.name: path for path in visible_paths(folder, "*.png")}
    if not there:
        raise Vo3dError(f"{folder}: holds no image: expected 000000.png, 000001.png and on")
    return frame_files(there, f"{folder}/{{:06d}}.png", frames, suffixes=": no such file")


def _rows_of(rows: Tensor, path: Path, count: int, frames: tuple[int, int] | None, *, between: bool = False) -> Tensor:
    """Return the rows of the frames that are read, from a file of one row for each image, or one `between` two."""
    last = count if frames is None else frames[1]
    reach = len(rows) + between
    found = f"{path}: has the readings of {reach} frames" if between else f"{path}: has {reach} rows"
    if frames is None and reach != count:
        raise Vo3dError(
            f"{found}, but there are {count} images: expected as many; complete the sequence, or read an excerpt with "
            f"frames=(0, {min(count, reach)})"
        )
    if reach < last:
        raise Vo3dError(f"{found}, but frames up to {last} are asked for: shorten the range")
    return rows[frames[0] if frames else 0 : last - between]


def _imu_steps(
    folder: Path, name: str, count: int, frames: tuple[int, int] | None, frame_times: Float64[Tensor, " n"]
) -> tuple[InertialSteps, Sequence[str]]:
    """Return the readings between consecutive frames of the range, and notes on them."""
    there = [path for suffix in (".mat", ".txt") if (path := folder / f"{name}{suffix}").is_file()]
    path = first_of(there, f"{folder / name}.mat: no such file, nor .txt: turn imu off, or put the readings there")
    found = read_imu(path)
    imu = _rows_of(found.imu, path, count, frames, between=True)
    if found.time is None:
        time = frame_times[:-1, None] + frame_times.diff()[:, None] * found.part
    else:
        time = _rows_of(found.time, path, count, frames, between=True)
        check_imu_time(time, frame_times, path)
    left_out = [f"the readings are those of {path}; left out: {there[1]}"] if len(there) > 1 else []
    return InertialSteps(imu, time, found.cam_T_imu), (*left_out, *found.notes)


def recognises(path: Path) -> bool:
    """Tell whether a path is a sequence of KITTI odometry."""
    return path.is_dir() and path.absolute().parent.name == "sequences" and (path / "calib.txt").is_file()


def sequence(
    path: Path, *, frames: tuple[int, int] | None = None, size: Size | None = None, stereo: bool = False
) -> Recording:
    """Open a sequence by its folder, cut to a size; in colour where camera 2 is there, else in grey."""
    path = path.absolute()
    colour = (path / "image_2").is_dir() and "P2" in read_calib(path / "calib.txt")
    return at_size(KITTIRecording(path.parents[1], path.name, colour=colour, stereo=stereo, frames=frames), size)


SEQUENCE_LAYOUT = SequenceLayout("a sequence of KITTI odometry (sequences/06)", recognises, sequence, rank=1)

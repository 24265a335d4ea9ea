"""Recordings in the layout of ASL (EuRoC, TUM-VI): cameras with lenses, an inertial sensor, true poses of the body."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, camera_notes, fit_to_images, pinhole, undo_lens
from vo3d.datasets.photographs import check_shape
from vo3d.datasets.rectify import RectifiedPair, rectify_pair
from vo3d.datasets.resize import Size, resize_image, resize_intrinsics
from vo3d.datasets.tracked import check_listed, rows_in, track_frames
from vo3d.datasets.views import FileRecording, check_indices
from vo3d.errors import Vo3dError
from vo3d.formats.body_frames import read_body_T_camera
from vo3d.formats.euroc import ListedImages, read_image_list, read_readings, read_sensor_camera
from vo3d.formats.images import image_size, read_image
from vo3d.formats.trajectories import read_trajectory
from vo3d.geometry import se3
from vo3d.inertial import InertialSteps, cut_to_frames
from vo3d.recording import Recording
from vo3d.sample import Sample


@dataclass(frozen=True, kw_only=True)
class ASLFiles:
    """Says which files of a recording hold what, where the sources differ.

    Args:
        calibration: finds the file with a camera's intrinsics and its pose in the body, from the recording's folder and
            the camera's name.
        truth: folders of `mav0` whose `data.csv` may hold true poses of the body, the best first.
        sensor: whether `mav0/imu0/sensor.yaml` tells where in the body the inertial sensor sits; else it is the body.
    """

    calibration: Callable[[Path, str], Path]
    truth: Sequence[str]
    sensor: bool


@dataclass(frozen=True, eq=False)
class _Camera:
    """One camera: its images, and its place in the body."""

    folder: Path
    listed: ListedImages
    stored: StoredCamera
    body_T_cam: Float64[Tensor, "4 4"]
    notes: list[str]

    def file(self, row: int) -> Path:
        """Return the file of an image."""
        return self.folder / "data" / self.listed.names[row]


class ASLRecording(FileRecording):
    """One recording, without the distortion of its lenses; with `stereo` both cameras are turned into a rectified pair.

    `index` of its samples is the place in the recording; `frames` counts the rows of the camera's `data.csv`.

    Args:
        folder: holds `mav0`, or is it.
        files: of the source.
        name: of the recording; None: of the folder.
        camera: such as "cam0".
        field_of_view: horizontal, degrees, of the images without distortion; None: the most that leaves no pixel
            without a view.
        stereo: also give the camera of the next number, which stands to the right, of the frames that both took.
        imu: also give the inertial readings.
        poses: give the true poses where the recording has them, of the frames that they cover; else of all frames none.
        time_offset: seconds that are added to the stamps of the readings.
        frames: first and last (exclusive) image of `data.csv`.
        size: height and width to resize to at load.

    Raises Vo3dError naming the file for what is missing or damaged, or says something else than its neighbours.
    """

    def __init__(
        self,
        folder: Path,
        files: ASLFiles,
        *,
        name: str | None = None,
        camera: str = "cam0",
        field_of_view: float | None = None,
        stereo: bool = False,
        imu: bool = False,
        poses: bool = True,
        time_offset: float = 0.0,
        frames: tuple[int, int] | None = None,
        size: Size | None = None,
    ) -> None:
        home = home_of(folder)
        super().__init__(name or home.absolute().name, frames, size)
        if not math.isfinite(time_offset):
            raise Vo3dError(f"time_offset is {time_offset}: expected seconds")
        self._left = _camera(home, files, camera, field_of_view)
        self._right = _camera(home, files, _next(camera), field_of_view) if stereo else None
        numbers, partners, notes = self._chosen(frames)
        truth = [path for one in files.truth if (path := home / "mav0" / one / "data.csv").is_file()]
        self._time = self._left.listed.time[numbers]
        world_T_body = None
        if poses and truth:
            trajectory = read_trajectory(truth[0], "euroc")
            found = track_frames(self._time, trajectory, truth[0])
            numbers, world_T_body = numbers[found.places], found.poses
            partners = None if partners is None else partners[found.places]
            self._time = self._time[found.places]
            notes += [*trajectory.notes, *found.notes]
        self._numbers: list[int] = numbers.tolist()
        self._partners: list[int] | None = None if partners is None else partners.tolist()
        self.first_frame = self._numbers[0]
        check_listed([self._left.file(row) for row in self._numbers], self._left.folder / "data.csv")
        if self._right is not None and self._partners is not None:
            check_listed([self._right.file(row) for row in self._partners], self._right.folder / "data.csv")
        self._pair, body_T_cam, self._K = self._geometry()
        if world_T_body is not None:
            self._poses = world_T_body @ body_T_cam
        if imu:
            self._inertial = _steps(home, files, self._time, time_offset, body_T_cam)
        self.camera = f"{files.calibration(home, camera).name}, {camera}, its lens undone"
        cameras = [one for one in (self._left, self._right) if one is not None]
        odd = [(one.folder.name, one.stored.K, one.stored.size) for one in cameras]
        self.notes = [*notes, *(note for one in cameras for note in one.notes), *camera_notes(odd)]

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames by the rows of the camera's list."""
        return self._numbers

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._numbers)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when an image is damaged or has another size."""
        check_indices(indices, self, "frame")
        image = torch.stack([self._view(self._left, self._numbers[index]) for index in indices])
        right = left_T_right = None
        if self._right is not None and self._partners is not None and self._pair is not None:
            right = torch.stack([self._view(self._right, self._partners[index]) for index in indices])
            left_T_right = self._pair.left_T_right.float()
        return self.sample(indices, image, self._K, right=right, left_T_right=left_T_right)

    def _view(self, camera: _Camera, row: int) -> Float32[Tensor, "3 h w"]:
        """Read one image as the virtual camera without a lens would have taken it."""
        path = camera.file(row)
        image = read_image(path)
        check_shape(path, image, camera.stored.size, "the first is")
        if self._pair is None:
            image = undo_lens(camera.stored, image)
        else:
            image = self._pair.rectify(image, right=camera is self._right)
        return image if self._size is None else resize_image(image, self._size)

    def _chosen(
        self, frames: tuple[int, int] | None
    ) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"] | None, list[str]]:
        """Return the rows of the range, those of the images that the right camera took at the same time, and notes."""
        stamps = self._left.listed.nanoseconds
        numbers = rows_in(frames, len(stamps), self._left.folder / "data.csv")
        if self._right is None:
            return numbers, None, []
        other = self._right.listed.nanoseconds
        partners = torch.searchsorted(other, stamps[numbers]).clamp(max=len(other) - 1)
        paired = other[partners] == stamps[numbers]
        if not bool(paired.any()):
            raise Vo3dError(
                f"{self._right.folder / 'data.csv'}: none of its images has the stamp of one of {self._left.folder}: "
                "expected pairs that were taken at once: turn stereo off"
            )
        alone = int((~paired).sum())
        notes = [f"{alone} of {len(numbers)} frames have no image of the right camera: they are left out"] * (alone > 0)
        return numbers[paired], partners[paired], notes

    def _geometry(self) -> tuple[RectifiedPair | None, Float64[Tensor, "4 4"], Float64[Tensor, "3 3"]]:
        """Return the rectified pair, the pose of the camera of the images in the body, and its K at the size wanted."""
        left, size = self._left, self._left.stored.size
        pair, body_T_cam = None, left.body_T_cam
        if self._right is not None:
            left_T_right = se3.relative(left.body_T_cam, self._right.body_T_cam)
            pair = rectify_pair(
                left.stored, self._right.stored, left_T_right, f"{left.folder} and {self._right.folder}"
            )
            body_T_cam = body_T_cam @ pair.left_T_rectified
        K = pinhole(left.stored) if pair is None else pair.K
        return pair, body_T_cam, K if self._size is None else resize_intrinsics(K, size, self._size)


def home_of(folder: Path) -> Path:
    """Return the folder that holds `mav0`, given that or `mav0` itself; Vo3dError where there is none."""
    if (folder / "mav0").is_dir():
        return folder
    if folder.absolute().name == "mav0" and folder.is_dir():
        return folder.absolute().parent
    raise Vo3dError(f"{folder / 'mav0'}: no such folder: expected a recording with mav0/cam0/data.csv, as EuRoC has it")


def _next(camera: str) -> str:
    """Name the camera of the next number."""
    name, number = camera.rstrip("0123456789"), camera[len(camera.rstrip("0123456789")) :]
    if not number:
        raise Vo3dError(f"camera {camera!r} with stereo: expected a number at its end, such as cam0")
    return f"{name}{int(number) + 1}"


def _camera(home: Path, files: ASLFiles, name: str, field_of_view: float | None) -> _Camera:
    """Open one camera, at the size of its images."""
    folder = home / "mav0" / name
    listed = read_image_list(folder / "data.csv")
    calibration = files.calibration(home, name)
    camera = read_sensor_camera(calibration, name)
    stored = StoredCamera(name=f"{calibration}: {name}", size=camera.size, K=camera.K, lens=camera.lens)
    if field_of_view is not None:
        if not 0 < field_of_view < 180:
            raise Vo3dError(f"field_of_view is {field_of_view:g}: expected degrees between 0 and 180")
        focal = camera.size[1] / 2 / math.tan(math.radians(field_of_view) / 2)
        stored = replace(stored, zoom=focal / float(camera.K[0, 0]))
    first = next((path for one in listed.names if (path := folder / "data" / one).is_file()), folder / "data")
    notes: list[str] = []
    if first.is_file():  # else the complaint about what is missing comes
        (stored,), notes = fit_to_images([stored], [first], [image_size(first)])
    return _Camera(folder, listed, stored, read_body_T_camera(calibration, name), notes)


def _steps(
    home: Path,
    files: ASLFiles,
    frame_time: Float64[Tensor, " n"],
    time_offset: float,
    body_T_cam: Float64[Tensor, "4 4"],
) -> InertialSteps:
    """Return the readings between the frames."""
    folder = home / "mav0" / "imu0"
    readings = read_readings(folder / "data.csv")
    body_T_imu = torch.eye(4, dtype=torch.float64)
    if files.sensor:
        body_T_imu = read_body_T_camera(folder / "sensor.yaml")
    cam_T_imu = se3.relative(body_T_cam, body_T_imu)
    return cut_to_frames(
        readings.time + time_offset, readings.imu, frame_time, str(folder / "data.csv"), cam_T_imu=cam_T_imu
    )


def recordings_in(
    root: Path, sequences: Sequence[str] | None, open_one: Callable[[Path], Recording]
) -> list[Recording]:
    """Open the recordings of the folders `sequences` of a root, or without them the root itself."""
    if not root.is_dir():
        raise Vo3dError(f"{root}: no such folder: expected recordings with mav0/cam0/data.csv, as EuRoC has them")
    if sequences is None:
        return [open_one(root)]
    return [open_one(root / name) for name in sequences]

"""KITTI's raw recordings in their official layout: stereo video, laser scans as depth, GPS poses, lists of frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.clips import ClipDataset, NumberedDataset
from vo3d.datasets.cut import at_size
from vo3d.datasets.kitti_oxts import camera_of_imu, camera_poses, inertial_steps
from vo3d.datasets.lenses import camera_notes, check_centre
from vo3d.datasets.resize import Size, resize_intrinsics, resize_labels
from vo3d.datasets.views import FileRecording, check_folder, frame_files, read_views
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.candidates import check_stems, visible_paths
from vo3d.formats.images import image_size
from vo3d.formats.kitti_raw import (
    RawCameras,
    read_cameras,
    read_motion,
    read_split,
    read_timestamps,
    read_velodyne,
)
from vo3d.geometry import se3
from vo3d.recording import Recording, SequenceLayout, Transform
from vo3d.sample import Sample

LAYOUT = "expected <date>/<date>_drive_<number>_sync/{image_02, image_03, ...} and <date>/calib_*.txt"
SUFFIXES = (".png", ".jpg", ".jpeg")


class KITTIRaw(ClipDataset):
    """Clips of KITTI's raw recordings (synchronised and rectified): `image`, `K`, `time`, and what is asked for.

    Layout: `root/2011_09_26/{calib_cam_to_cam.txt,calib_velo_to_cam.txt,calib_imu_to_velo.txt}` and in
    `root/2011_09_26/2011_09_26_drive_0001_sync` the folders `image_00` to `image_03`, `velodyne_points` and `oxts`,
    each with `data` and `timestamps.txt`. Images are PNG, or JPEG as people convert them. For lists of frames, such as
    Eigen's test split, see `KITTIRawSplit`.

    Arguments:
        root: the folder that holds the dates.
        drives: names, such as 2011_09_26_drive_0001_sync, each a recording.
        colour: cameras 2 and 3; otherwise the grey cameras 0 and 1.
        stereo: also give the right camera, as `right` and `left_T_right`.
        depth: also give the laser scan of each frame as sparse `depth` (see `scan_depth`); 0 everywhere in the few
            frames of which the set has no scan. With `size` the map is resized as labels are, to the nearest pixel.
        eigen_depth: compute the depth as the published evaluations on Eigen's split do, for their tables alone: it is
            counted from the laser, 27 cm behind the camera, and lies one pixel up and to the left.
        poses: also give `world_T_cam`, out of GPS and IMU (`oxts`), in the world of rectified camera 0 at the first
            reading of the drive.
        imu: also give the inertial readings between frames, out of `oxts`, and `cam_T_imu`: 100 a second where the
            drive as it was recorded (`..._extract`) lies beside the synchronised one, else one a frame; a note says
            which (see `vo3d.datasets.kitti_oxts.inertial_steps`).
        frames: first and last (exclusive) frame to take of every drive.
        size: height and width to resize to at load. The days differ by some pixels: batches of several need one size.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Raises Vo3dError when the root, a drive or a file is missing or says something else than its neighbours.
    """

    def __init__(
        self,
        root: str | Path,
        drives: Sequence[str],
        *,
        colour: bool = True,
        stereo: bool = False,
        depth: bool = False,
        eigen_depth: bool = False,
        poses: bool = False,
        imu: bool = False,
        frames: tuple[int, int] | None = None,
        size: Size | None = None,
        **clips: Any,
    ) -> None:
        options: dict[str, Any] = {
            "stereo": stereo,
            "depth": depth,
            "eigen_depth": eigen_depth,
            "poses": poses,
            "imu": imu,
            "size": size,
        }
        camera = 2 if colour else 0
        super().__init__([RawDrive(Path(root), name, camera, frames=frames, **options) for name in drives], **clips)


class KITTIRawSplit(NumberedDataset):
    """The frames that a list names, such as Eigen's 697 test images or Zhou's training frames, out of `KITTIRaw`.

    A line of a list names the folder of a drive, a frame, and a side: `2011_09_26/2011_09_26_drive_0002_sync 69 l`. The
    lists are those of the repositories of Monodepth2 and its kin; vo3d has none of its own.

    Training sees one clip for each frame named: that frame and its neighbours in the drive, (clip_length - 1) // 2 of
    them before it; at the ends of a drive the clip is moved inside. Evaluation sees the frames named and no others:
    each drive is a recording of them, in ascending order.

    Arguments:
        split: the file.
        root, colour, stereo, depth, eigen_depth, poses, size: see `KITTIRaw`. With `stereo` each pair comes once, with
            `image` of the left camera, whichever side the list names; without, `image` is of the side.
        clip_length: views of a clip; 1 needs no images but those that are named.
        frame_stride: distance of the views of a clip, frames.
        transforms, seed: see `RecordingDataset`.

    Raises Vo3dError as `KITTIRaw`, and with the file and line for what is no such list.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | Path,
        *,
        colour: bool = True,
        stereo: bool = False,
        depth: bool = False,
        eigen_depth: bool = False,
        poses: bool = False,
        size: Size | None = None,
        clip_length: int = 2,
        frame_stride: int = 1,
        transforms: Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        for name, value in (("clip_length", clip_length), ("frame_stride", frame_stride)):
            if value < 1:
                raise Vo3dError(f"{name} is {value}: expected a whole number of at least 1")
        options: dict[str, Any] = {
            "stereo": stereo,
            "depth": depth,
            "eigen_depth": eigen_depth,
            "poses": poses,
            "size": size,
        }
        lines = read_split(Path(split))
        sides = {(one.drive, one.number, one.right and not stereo): None for one in lines}  # in the order of the list
        named: dict[tuple[str, bool], list[int]] = {}
        for drive, number, right in sides:
            named.setdefault((drive, right), []).append(number)
        first = 2 if colour else 0
        recordings = {
            key: RawDrive(Path(root), key[0], first + key[1], numbers=sorted(numbers), **options)
            for key, numbers in sorted(named.items())
        }
        self.recordings = list(recordings.values())
        if len(sides) < len(lines):
            self.recordings[0].notes = [
                *self.recordings[0].notes,
                f"{split}: {len(lines) - len(sides)} frames are named for both sides: with stereo each pair comes once",
            ]
        clips = recordings
        if clip_length > 1:
            clips = {
                key: RawDrive(Path(root), key[0], first + key[1], numbers="present", **options) for key in recordings
            }
        self._clips = [
            (clips[drive, right], _around(clips[drive, right], number, clip_length, frame_stride, split))
            for drive, number, right in sides
        ]
        super().__init__([len(self._clips)], transforms, seed)

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Return the drive of clip `index` and the places of its frames in it, without reading them."""
        _, number = self.group(index)
        return self._clips[number]


def _around(drive: "RawDrive", number: int, length: int, stride: int, split: str | Path) -> list[int]:
    """Return the places of a frame and its neighbours in a drive."""
    places = drive.places
    span = (length - 1) * stride
    first = max(min(number - (length - 1) // 2 * stride, drive.frames[-1] - span), drive.frames[0])
    wanted = range(first, first + span + 1, stride)
    if missing := [frame for frame in wanted if frame not in places]:
        raise Vo3dError(
            f"{split}: a clip of {length} views around frame {number} of {drive.name} needs frame {missing[0]}, which "
            "is not there: complete the drive, or give clip_length 1 to see the named frames alone"
        )
    return [places[frame] for frame in wanted]


class RawDrive(FileRecording):
    """One drive of KITTI's raw recordings, seen by one camera; arguments and errors as `KITTIRaw` says.

    Args:
        root: The folder that holds the dates.
        drive: Name of the drive; its date and a slash may stand before it.
        camera: Number of the camera that takes `image`, 0 to 3.
        stereo, depth, eigen_depth, poses, imu, frames, size: See `KITTIRaw`.
        numbers: Frames to take, ascending, in place of a range; "present" takes those that are there.
    """

    def __init__(
        self,
        root: Path,
        drive: str,
        camera: int,
        *,
        stereo: bool = False,
        depth: bool = False,
        eigen_depth: bool = False,
        poses: bool = False,
        imu: bool = False,
        frames: tuple[int, int] | None = None,
        numbers: Sequence[int] | Literal["present"] | None = None,
        size: Size | None = None,
    ) -> None:
        if eigen_depth and not depth:
            raise Vo3dError(f"{drive}: eigen_depth without depth: turn depth on")
        drive = drive.rstrip("/").rpartition("/")[2]
        self._day, self._folder = _find(root, drive)
        super().__init__(drive if camera % 2 == 0 else f"{drive}_image_{camera:02d}", frames, size)
        self._files, self._numbers = _images(self._folder, camera, frames, numbers)
        self.places = {number: place for place, number in enumerate(self._numbers)}
        self.first_frame = self._numbers[0]
        self._cameras = read_cameras(self._day / "calib_cam_to_cam.txt")
        self._K, self._cam0_T_cam = _camera(self._cameras, camera, self._day)
        stored, expected = image_size(self._files[0]), self._cameras.size[camera]
        if stored != expected:
            raise Vo3dError(
                f"{self._files[0]}: is {stored[1]}x{stored[0]} pixels, and calib_cam_to_cam.txt says "
                f"{expected[1]}x{expected[0]}: expected the images as they were published: give them, and size"
            )
        check_centre(self._K, stored, self._files[0])
        self.notes = camera_notes([(self._files[0].name, self._K, stored)])
        self._right: list[Path] | None = None
        if stereo:
            right_K, cam0_T_right = _camera(self._cameras, camera + 1, self._day)
            if not torch.allclose(right_K, self._K, rtol=1e-6):
                raise Vo3dError(f"{self._day}: left and right camera differ in K: expected a rectified pair")
            self._left_T_right = (se3.inverse(self._cam0_T_cam) @ cam0_T_right).float()
            self._right, _ = _images(self._folder, camera + 1, None, self._numbers)
        self._time = self._times(camera)
        self._eigen_depth = eigen_depth
        self._scans: dict[int, Path] | None = self._find_scans() if depth else None
        if self._scans is not None:
            cam_T_velo = se3.inverse(self._cam0_T_cam) @ self._cameras.rectify
            self._cam_T_velo = cam_T_velo @ read_motion(self._day / "calib_velo_to_cam.txt")
        cam_T_imu = camera_of_imu(self._day, self._cameras.rectify, self._cam0_T_cam) if poses or imu else None
        if cam_T_imu is not None and poses:
            self._poses = camera_poses(self._folder, self._numbers, cam_T_imu, self._cam0_T_cam)
        if cam_T_imu is not None and imu:
            clock = self._folder / f"image_{camera:02d}" / "timestamps.txt"
            if self._time is None:
                raise Vo3dError(f"{clock}: no such file: expected it, to know when frames were taken: or turn imu off")
            self._inertial, note = inertial_steps(self._folder, clock, self._time, cam_T_imu)
            self.notes = [*self.notes, note]

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames as in the drive."""
        return self._numbers

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._files)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when one is damaged or has another size."""
        image, original = read_views([self._files[index] for index in indices], self._size)
        K = self._K if self._size is None else resize_intrinsics(self._K, original, self._size)
        fields: dict[str, Tensor | None] = {}
        if self._right is not None:
            fields["right"], _ = read_views([self._right[index] for index in indices], self._size)
            fields["left_T_right"] = self._left_T_right.clone()
        if self._scans is not None:
            depth = torch.stack([self._depth(self._numbers[index], original) for index in indices])
            fields["depth"] = depth if self._size is None else resize_labels(depth, self._size)
        return self.sample(indices, image, K, **fields)

    def _depth(self, number: int, size: Size) -> Float32[Tensor, "h w"]:
        """Return the depth of a frame, zeros where it has no scan."""
        assert self._scans is not None  # noqa: S101  by the caller
        if number not in self._scans:
            return torch.zeros(size)
        scan = read_velodyne(self._scans[number])
        return scan_depth(scan, self._cam_T_velo, self._K, size, eigen=self._eigen_depth)

    def _find_scans(self) -> dict[int, Path]:
        """Return the laser scans that are there, by the numbers of their frames, and note those that are not."""
        folder = self._folder / "velodyne_points" / "data"
        there = {path.stem: path for path in visible_paths(folder, "*.bin")}
        found = {number: there[name] for number in self._numbers if (name := f"{number:010d}") in there}
        if not found:
            raise Vo3dError(
                f"{folder}: holds no scan of the {len(self)} frames: expected 0000000000.bin and on: download the "
                "drive's velodyne_points, or turn depth off"
            )
        if missing := [f"{number:010d}" for number in self._numbers if number not in found]:
            note = f"{len(missing)} of {len(self)} frames have no laser scan ({first_few(missing)}): their depth is 0"
            self.notes = [*self.notes, note]
        return found

    def _times(self, camera: int) -> Float64[Tensor, " n"] | None:
        """Return the seconds of each frame since the first of the drive; None, with a note, where no file tells."""
        path = self._folder / f"image_{camera:02d}" / "timestamps.txt"
        if not path.is_file():
            self.notes = [*self.notes, f"{path}: no such file: there are no times"]
            return None
        time = read_timestamps(path)
        if len(time) <= self._numbers[-1]:
            raise Vo3dError(
                f"{path}: has {len(time)} stamps, and there is a frame {self._numbers[-1]}: expected one for each, "
                "from frame 0 on: download the drive again"
            )
        return time[self._numbers]


def scan_depth(
    points: Float32[Tensor, "n 4"],
    cam_T_velo: Float64[Tensor, "4 4"],
    K: Float64[Tensor, "3 3"],
    size: Size,
    *,
    eigen: bool = False,
) -> Float32[Tensor, "h w"]:
    """Project a laser scan into a camera: metres, the nearest of the points in a pixel, 0 where there is none.

    Points behind the laser are left out. A point is z, in the pixel that it projects to, rounded; for `eigen` it is x
    of the laser, one pixel up and to the left.

    Source: facts of the programs that evaluate on Eigen's split (Godard et al., CVPR 2017 and ICCV 2019, and those
    after them), which subtract 1 as in KITTI's MATLAB code, and compare with x of the laser.
    """
    ahead = points[points[:, 0] >= 0].double()
    in_camera = se3.transform(cam_T_velo, ahead[:, :3])
    in_front = in_camera[:, 2] > 0
    ahead, in_camera = ahead[in_front], in_camera[in_front]
    homogeneous = in_camera @ K.T
    x, y = (homogeneous[:, :2] / homogeneous[:, 2:]).round().sub(int(eigen)).unbind(-1)
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    value = (ahead[:, 0] if eigen else in_camera[:, 2])[inside].float()
    pixel = (y * size[1] + x)[inside].long()
    depth = torch.zeros(size[0] * size[1]).scatter_reduce(0, pixel, value, "amin", include_self=False)
    return depth.reshape(size)


def _find(root: Path, drive: str) -> tuple[Path, Path]:
    """Return the folder of a drive's date and its own."""
    if not root.is_dir():
        raise Vo3dError(f"{root}: no such folder: expected the root of KITTI raw: {LAYOUT}")
    day = root / drive[: len("2011_09_26")]
    check_folder(day, "date", "20*")
    check_folder(day / drive, "drive", "*_drive_*")
    return day, day / drive


def _images(
    folder: Path, camera: int, frames: tuple[int, int] | None, numbers: Sequence[int] | Literal["present"] | None
) -> tuple[list[Path], list[int]]:
    """Return the images of a camera that are asked for, and the numbers of their frames."""
    data = folder / f"image_{camera:02d}" / "data"
    if not data.is_dir():
        raise Vo3dError(f"{data}: no such folder: {LAYOUT}")
    files = [path for path in visible_paths(data) if path.suffix.lower() in SUFFIXES and path.stem.isdecimal()]
    if not files:
        raise Vo3dError(f"{data}: holds no image: expected 0000000000.png, 0000000001.png and on")
    check_stems(files)
    if numbers is None:
        there = {path.stem: path for path in files}
        first, last = frames or (0, len(files))
        return frame_files(there, f"{data}/{{:010d}}", frames, suffixes=".png or .jpg"), list(range(first, last))
    present = {int(path.stem): path for path in files}
    wanted = sorted(present) if numbers == "present" else list(numbers)
    if missing := [number for number in wanted if number not in present]:
        raise Vo3dError(
            f"{data}/{missing[0]:010d}.png or .jpg, the first of {len(missing)} missing of {len(wanted)} that are "
            "asked for: complete the folder"
        )
    return [present[number] for number in wanted], wanted


def _camera(cameras: RawCameras, camera: int, day: Path) -> tuple[Float64[Tensor, "3 3"], Float64[Tensor, "4 4"]]:
    """Return K of a rectified camera and its place beside rectified camera 0: P = K [I | t] puts it at -t."""
    if camera not in cameras.P:
        raise Vo3dError(f"{day / 'calib_cam_to_cam.txt'}: has no P_rect_{camera:02d}: download the file again")
    P = cameras.P[camera]
    eye = torch.eye(3, dtype=torch.float64)
    return P[:, :3], se3.from_rotation_translation(eye, -torch.linalg.solve(P[:, :3], P[:, 3]))


def sequence(path: Path, *, frames: tuple[int, int] | None = None, size: Size | None = None) -> Recording:
    """Open a drive by its folder, cut to a size, seen by the left camera, in colour where it has colour."""
    path = path.absolute()
    return at_size(RawDrive(path.parents[1], path.name, 2 if (path / "image_02").is_dir() else 0, frames=frames), size)


def recognises(path: Path) -> bool:
    """Tell whether a path is a drive."""
    return "_drive_" in path.absolute().name and (path / "../calib_cam_to_cam.txt").is_file()


SEQUENCE_LAYOUT = SequenceLayout("a drive of KITTI raw", recognises, sequence, rank=2)

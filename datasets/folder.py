"""The material that users have: a folder of images or a video file, with known intrinsics."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.lenses import camera_notes, check_centre
from vo3d.datasets.resize import Size, resize_image, resize_intrinsics
from vo3d.datasets.views import FileRecording, given_name, image_files, read_camera_path, read_views
from vo3d.errors import Vo3dError
from vo3d.formats.candidates import check_stems
from vo3d.formats.images import IMAGE_SUFFIXES, image_size, orientation_notes
from vo3d.formats.trajectory_rows import TrajectoryFormat
from vo3d.recording import SequenceLayout
from vo3d.sample import Sample


class ImageFolder(ClipDataset):
    """Clips of one folder of images (in natural order: 2 before 10) or of one video file.

    Arguments:
        source: the folder, or the video file.
        intrinsics: fx, fy, cx, cy in pixels of the original images; the centre of the top-left pixel is (0, 0). They
            are for the pixels as they are stored: an EXIF orientation is ignored.
        field_of_view: horizontal, degrees; instead of `intrinsics`, for square pixels and a centred camera. Photographs
            are turned upright first, as EXIF says.
        fps: frames a second, for `time`. None: what a video says of itself; a folder has no time then.
        frames: first and last (exclusive) frame to take; without it, all.
        trajectory: file with the true pose of every frame of the source, for `world_T_cam`.
        trajectory_format: "auto" tells it from the file; one with time stamps also gives `time` where there is no fps.
        size: height and width to resize to at load.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Raises Vo3dError when there is no image, the video cannot be read, neither or both of `intrinsics` and
    `field_of_view` are given, or the trajectory has another length than the source.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        intrinsics: tuple[float, float, float, float] | None = None,
        field_of_view: float | None = None,
        fps: float | None = None,
        frames: tuple[int, int] | None = None,
        trajectory: str | Path | None = None,
        trajectory_format: TrajectoryFormat | Literal["auto"] = "auto",
        size: Size | None = None,
        **clips: Any,
    ) -> None:
        recording = FolderRecording(
            Path(source),
            intrinsics=intrinsics,
            field_of_view=field_of_view,
            fps=fps,
            frames=frames,
            trajectory=None if trajectory is None else Path(trajectory),
            trajectory_format=trajectory_format,
            size=size,
        )
        super().__init__([recording], **clips)


class FolderRecording(FileRecording):
    """One folder of images or one video; arguments and errors as `ImageFolder` says.

    `index` of its samples is the place in the recording: 0 is the frame `first_frame` of the source.
    """

    def __init__(
        self,
        source: Path,
        *,
        intrinsics: tuple[float, float, float, float] | None = None,
        field_of_view: float | None = None,
        fps: float | None = None,
        frames: tuple[int, int] | None = None,
        trajectory: Path | None = None,
        trajectory_format: TrajectoryFormat | Literal["auto"] = "auto",
        size: Size | None = None,
    ) -> None:
        super().__init__(Path(given_name(source)).stem if source.is_file() else given_name(source), frames, size)
        if (intrinsics is None) == (field_of_view is None):
            raise Vo3dError(f"{source}: give either intrinsics (fx, fy, cx, cy) or field_of_view (horizontal, degrees)")
        if fps is not None and not fps > 0:
            raise Vo3dError(f"fps is {fps}: expected frames a second, more than 0")
        self._source = _Video(source, frames) if source.is_file() else _Images(source, upright=intrinsics is None)
        if isinstance(self._source, _Images) and intrinsics is not None:
            self.notes = orientation_notes(self._source.files)
        total = len(self._source)
        last = total if frames is None else frames[1]
        if last > total:
            raise Vo3dError(f"{source}: has {total} frames, but frames up to {last} are asked for: shorten the range")
        self._count = last - self.first_frame
        K = _intrinsic_matrix(source, self._source.size, intrinsics, field_of_view)
        check_centre(K, self._source.size, source)
        self.notes = [*self.notes, *camera_notes([(source.name, K, self._source.size)])]
        self._K = K if size is None else resize_intrinsics(K, self._source.size, size)
        fps = fps or self._source.fps
        self._time = None if fps is None else torch.arange(self.first_frame, last, dtype=torch.float64) / fps
        if trajectory is not None:
            truth = read_camera_path(trajectory, trajectory_format)
            if len(truth) != total:
                raise Vo3dError(
                    f"{trajectory}: has {len(truth)} poses, but {source} has {total} frames: expected as many"
                )
            self.notes = [*self.notes, *truth.notes]
            self._poses = truth.world_T_cam[self.first_frame : last]
            if self._time is None and truth.time is not None:
                self._time = truth.time[self.first_frame : last]

    def __len__(self) -> int:
        """Number of frames."""
        return self._count

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when one is damaged or has another size."""
        image = self._source.read([self.first_frame + index for index in indices], self._size)
        return self.sample(indices, image, self._K)


class _Images:
    """The images of a folder, in natural order."""

    fps: float | None = None

    def __init__(self, folder: Path, *, upright: bool) -> None:
        if not folder.is_dir():
            raise Vo3dError(f"{folder}: no such folder or video file")
        self.files = image_files(folder)
        if not self.files:
            raise Vo3dError(f"{folder}: holds no image: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
        check_stems(self.files)
        self.upright = upright
        self.size = image_size(self.files[0], upright=upright)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int], size: Size | None) -> Float32[Tensor, "s 3 h w"]:
        """Read the frames at `indices`; one that differs in size from the first of the folder is refused."""
        files = [self.files[index] for index in indices]
        views, original = read_views(files, size, upright=self.upright)
        if original != self.size:
            raise Vo3dError(
                f"{files[0]}: is {original[1]}x{original[0]} pixels and {self.files[0].name} is {self.size[1]}x"
                f"{self.size[0]}: expected one size in a folder"
            )
        return views


class _Video:
    """The frames of a video file; each process opens the file for itself."""

    def __init__(self, path: Path, frames: tuple[int, int] | None) -> None:
        self._path = path
        self._capture: cv2.VideoCapture | None = None
        self._inherited: cv2.VideoCapture | None = None
        self._process = -1
        self._next = 0
        capture = self._opened()
        self.fps: float | None = capture.get(cv2.CAP_PROP_FPS) or None
        stated = self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # containers state the number of frames loosely: unless the last one is there, count by decoding them all
        if stated < 1 or self._frame(stated - 1) is None:
            self._capture = None
            self._count = sum(1 for _ in iter(self._opened().grab, False))
            self._capture = None
        first = self._frame(0) if self._count else None
        if first is None:
            raise Vo3dError(f"{path}: holds no frame that can be decoded: expected a video, or give a folder of images")
        if self._count < stated and frames is None:
            raise Vo3dError(
                f"{path}: states {stated} frames, but only {self._count} can be decoded: copy the video again, or read "
                f"what is there with frames=(0, {self._count})"
            )
        self.size: Size = (first.shape[1], first.shape[2])
        self._capture = None  # nothing that cannot be sent to another process stays

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, object]:
        """Give another process everything but the open file."""
        return self.__dict__ | {"_capture": None, "_inherited": None, "_process": -1}

    def read(self, indices: Sequence[int], size: Size | None) -> Float32[Tensor, "s 3 h w"]:
        """Decode the frames at `indices`; going forward by one costs no seek."""
        views: list[Tensor] = []
        for index in indices:
            view = self._frame(index)
            if view is None:
                raise Vo3dError(
                    f"{self._path}: frame {index} of {self._count} cannot be decoded: encode the video again"
                )
            views.append(view if size is None else resize_image(view, size))
        return torch.stack(views)

    def _opened(self) -> cv2.VideoCapture:
        """Return the file, opened by this process: a forked decoder would share its position with the parent."""
        if self._capture is not None and self._process != os.getpid():
            # closing it here would wait for ever for decoder threads, which exist in the parent only
            self._inherited, self._capture = self._capture, None
        if self._capture is None:
            self._capture, self._process, self._next = cv2.VideoCapture(str(self._path)), os.getpid(), 0
            if not self._capture.isOpened():
                raise Vo3dError(
                    f"{self._path}: not a video that OpenCV can open: convert it, or give a folder of images"
                )
        return self._capture

    def _frame(self, index: int) -> Float32[Tensor, "3 h w"] | None:
        """Decode one frame, or None where the file does not give it."""
        capture = self._opened()
        if index != self._next:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        there, pixels = capture.read()
        self._next = index + 1 if there else -1
        if not there:
            return None
        # not cvtColor: its threads do not survive the fork of a loader's workers
        return torch.from_numpy(pixels).flip(-1).permute(2, 0, 1).float() / 255


def _intrinsic_matrix(
    source: Path, size: Size, intrinsics: tuple[float, float, float, float] | None, field_of_view: float | None
) -> Float64[Tensor, "3 3"]:
    """Return K in pixels of the original, from either description."""
    height, width = size
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics
    elif field_of_view is not None and 0 < field_of_view < 180:
        fx = fy = width / 2 / math.tan(math.radians(field_of_view) / 2)
        cx, cy = (width - 1) / 2, (height - 1) / 2
    else:
        raise Vo3dError(f"{source}: field_of_view is {field_of_view}: expected degrees between 0 and 180")
    if not (fx > 0 and fy > 0 and math.isfinite(fx * fy * cx * cy)):
        raise Vo3dError(
            f"{source}: intrinsics {fx:g}, {fy:g}, {cx:g}, {cy:g}: expected fx, fy > 0 and cx, cy, in pixels"
        )
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def sequence(
    source: Path,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    field_of_view: float | None = None,
    frames: tuple[int, int] | None = None,
    size: Size | None = None,
) -> FolderRecording:
    """Open a folder of images or a video file; see `ImageFolder`."""
    return FolderRecording(source, intrinsics=intrinsics, field_of_view=field_of_view, frames=frames, size=size)


SEQUENCE_LAYOUT = SequenceLayout("a folder of images or a video file", Path.exists, sequence, rank=9)

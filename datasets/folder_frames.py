"""The frames of a folder of images or of a video file, read one by one."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.resize import Size, resize_image
from vo3d.datasets.views import image_files, read_views
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.candidates import check_stems, visible_paths
from vo3d.formats.images import IMAGE_SUFFIXES, image_size, rgb_of
from vo3d.formats.mp4 import is_whole_mp4

TWINS = (  # names of the folders of stereo rigs
    *(("left", "right"), ("image_0", "image_1"), ("image_2", "image_3"), ("image_00", "image_01")),
    *(("image_02", "image_03"), ("image_l", "image_r"), ("cam0", "cam1")),
)
SAME_TIME = 1e-4  # seconds between two readings of one stamp
BACK = (0, 16, 256, 10**9)  # frames before the one that is looked for, from where on it is looked for
UNEVEN = 1.5  # times the median time between frames, from where on a rate is called variable

UNREAD = (".heic", ".heif", ".avif", ".dng", ".cr2", ".nef", ".arw")  # images of telephones and cameras
CONVERT = "which OpenCV does not read: convert to JPEG, or take images in that format (iPhone: Most Compatible)"


class FolderImages:
    """The images of a folder, in natural order, or one image file."""

    fps: float | None = None
    time: Float64[Tensor, " n"] | None = None
    notes: Sequence[str] = ()

    def __init__(self, folder: Path, *, upright: bool) -> None:
        if not folder.exists():
            raise Vo3dError(f"{folder}: no such folder or video file")
        self.files = [folder] if folder.is_file() else image_files(folder)
        strange = [] if folder.is_file() else image_files(folder, UNREAD)
        if not self.files:
            _check_twins(folder)
            if strange:
                raise Vo3dError(f"{folder}: holds {first_few((path.name for path in strange), 2)}, {CONVERT}")
            raise Vo3dError(f"{folder}: holds no image: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
        check_stems(self.files)
        self.notes = [f"{len(strange)} images are left out ({strange[0].name}), {CONVERT}"] if strange else []
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


class Video:
    """The frames of a video file, upright as players show them; each process opens the file for itself.

    `time` are the stamps of the frames in the container, seconds, float64: those of variable rates are true. None where
    they do not ascend. They are read from the packets, without decoding them.
    """

    def __init__(self, path: Path, frames: tuple[int, int] | None) -> None:
        self._path = path
        self._capture: cv2.VideoCapture | None = None
        self._inherited: cv2.VideoCapture | None = None
        self._process = -1
        self._next = 0
        self._stamps: list[float] = []
        self._kept: tuple[int, Float32[Tensor, "3 h w"]] | None = None  # the frame that was decoded last
        capture = self._opened()
        self.fps: float | None = capture.get(cv2.CAP_PROP_FPS) or None
        turned = int(capture.get(cv2.CAP_PROP_ORIENTATION_META))
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        first = self._frame(0)
        if first is None:
            raise self._unreadable("holds no frame that can be decoded: expected a video, or give a folder of images")
        self.size: Size = (first.shape[1], first.shape[2])
        self._stamps = self._frame_stamps()
        self._count = len(self._stamps)
        gaps = torch.tensor(self._stamps, dtype=torch.float64).diff()
        ascending = bool((gaps > 0).all())
        covered = self._stamps[-1] + (float(gaps.max()) if len(gaps) and ascending else 0.0)
        # where a container has no list of its frames, OpenCV makes their number of their rate and the duration
        missing = self._count < stated and not (ascending and covered >= (stated - 1) / (self.fps or 1))
        if missing and frames is None and not is_whole_mp4(path):
            raise Vo3dError(
                f"{path}: states {stated} frames, but only {self._count} can be decoded: copy the video again, or read "
                f"what is there with frames=(0, {self._count})"
            )
        self.notes = _video_notes(gaps, self.fps, turned, self.size)
        if missing and frames is None:
            self.notes.append(f"{self._count} of the {stated} frames in the file are shown: the others were cut off")
        self.time = torch.tensor(self._stamps, dtype=torch.float64) if ascending else None
        self._stamps = self._stamps if ascending else []
        self._capture = self._kept = None  # nothing that cannot be sent to another process stays

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, object]:
        """Give another process everything but the open file."""
        return self.__dict__ | {"_capture": None, "_inherited": None, "_process": -1, "_kept": None}

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
                raise self._unreadable("not a video that OpenCV can open: convert it, or give a folder of images")
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        return self._capture

    def _unreadable(self, words: str) -> Vo3dError:
        """Say what is wrong with the file, that it is cut off if it is."""
        if is_whole_mp4(self._path) is False:
            words = "is cut off before its end: copy the video again"
        return Vo3dError(f"{self._path}: {words}")

    def _frame(self, index: int) -> Float32[Tensor, "3 h w"] | None:
        """Decode one frame, or None where the file does not give it."""
        if self._kept is not None and self._kept[0] == index:  # clips that overlap by a frame ask for it twice
            return self._kept[1]
        there, pixels = self._opened().retrieve() if self._grab(index) else (False, None)
        if not there or pixels is None:
            self._next = -1
            return None
        self._kept = index, rgb_of(pixels)
        return self._kept[1]

    def _grab(self, index: int) -> bool:
        """Go to a frame; False where the file does not give it.

        OpenCV seeks by the frame rate, which leads astray where it varies: what comes is held against the stamps.
        """
        there = self._count_to(index) if not self._stamps else self._seek(index)
        self._next = index + 1 if there else -1
        return there

    def _count_to(self, index: int) -> bool:
        """Go to a frame by counting from where the decoder is, or from the start."""
        if not 0 <= self._next <= index:
            self._capture = None
        capture = self._opened()
        return all(capture.grab() for _ in range(self._next, index + 1))

    def _seek(self, index: int) -> bool:
        """Go to the frame with the stamp that the frame `index` has."""
        capture, stamp = self._opened(), self._stamps[index]
        if index == self._next and capture.grab() and abs(self._now() - stamp) < SAME_TIME:
            return True
        for back in BACK:
            capture.set(cv2.CAP_PROP_POS_FRAMES, max(index - back, 0))
            while there := capture.grab():
                if self._now() > stamp - SAME_TIME:
                    break
            if there and self._now() < stamp + SAME_TIME:
                return True
            if back >= index:
                break
        return False

    def _now(self) -> float:
        """Return the stamp of the frame that was grabbed last, seconds."""
        return float(self._opened().get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def _frame_stamps(self) -> list[float]:
        """Return the stamps of all frames, seconds, once the first was decoded.

        The packets tell them, unless the last of them is not found as a frame: then all frames are decoded.
        """
        self._stamps = [stamp for stamp in _packet_stamps(self._path) if stamp > self._now() - SAME_TIME]
        if self._stamps and self._grab(len(self._stamps) - 1):
            return self._stamps
        self._capture, found = None, []
        while self._opened().grab():
            found.append(self._now())
        self._capture = None
        return found


def _packet_stamps(path: Path) -> list[float]:
    """Read the stamps of all packets of a video, seconds, in ascending order; none where OpenCV cannot."""
    capture, found = cv2.VideoCapture(str(path)), []
    if capture.set(cv2.CAP_PROP_FORMAT, -1):  # packets come as they are
        while capture.grab():
            found.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000)
    return sorted(found)  # they lie in the order of decoding


def _video_notes(gaps: Float64[Tensor, " m"], fps: float | None, turned: int, size: Size) -> list[str]:
    """Say where the frames of a video are not what one expects: turned, at no constant rate, or without good stamps."""
    notes = []
    if turned % 360:
        notes.append(
            f"its frames are turned by {turned} degrees, as the file says: K is for {size[1]}x{size[0]} pixels"
        )
    if bool((gaps <= 0).any()):
        frame = int((gaps <= 0).nonzero()[0]) + 1
        rate = "there are no times" if fps is None else f"times are by its {fps:g} frames a second"
        notes.append(f"its time stamps do not ascend (frame {frame} comes {-gaps[frame - 1]:g} s early): {rate}")
    elif len(gaps) and gaps.max() > UNEVEN * gaps.median():
        notes.append(f"{gaps.min():.3f} to {gaps.max():.3f} s lie between its frames: times are those of the file")
    return notes


def open_frames(source: Path, frames: tuple[int, int] | None, *, upright: bool) -> FolderImages | Video:
    """Return the images of a folder, a single image, or the frames of a video."""
    if source.is_file() and source.suffix.lower() in UNREAD:
        raise Vo3dError(f"{source}: is an image {CONVERT}")
    # OpenCV would read 000007.png as a video of all images that are numbered from there on
    is_video = source.is_file() and source.suffix.lower() not in IMAGE_SUFFIXES
    return Video(source, frames) if is_video else FolderImages(source, upright=upright)


def _check_twins(folder: Path) -> None:
    """Raise Vo3dError, which says what to give, for a folder that holds those of two cameras."""
    inside = {path.name for path in visible_paths(folder) if path.is_dir()}
    if found := next((pair for pair in TWINS if inside.issuperset(pair)), None):
        left, right = (folder / name for name in found)
        raise Vo3dError(
            f"{folder}: holds no image but the folders of a stereo rig: give source: {left}, and for pairs right: "
            f"{right} and baseline in metres"
        )

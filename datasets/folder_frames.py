"""The frames of a folder of images or of a video file, read one by one."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.datasets.resize import Size, resize_image
from vo3d.datasets.views import image_files, read_views
from vo3d.errors import Vo3dError
from vo3d.formats.candidates import check_stems, visible_paths
from vo3d.formats.images import IMAGE_SUFFIXES, image_size

TWINS = (  # names of the folders of stereo rigs
    *(("left", "right"), ("image_0", "image_1"), ("image_2", "image_3"), ("image_00", "image_01")),
    *(("image_02", "image_03"), ("image_l", "image_r"), ("cam0", "cam1")),
)


class FolderImages:
    """The images of a folder, in natural order, or one image file."""

    fps: float | None = None

    def __init__(self, folder: Path, *, upright: bool) -> None:
        if not folder.exists():
            raise Vo3dError(f"{folder}: no such folder or video file")
        self.files = [folder] if folder.is_file() else image_files(folder)
        if not self.files:
            _check_twins(folder)
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


class Video:
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


def open_frames(source: Path, frames: tuple[int, int] | None, *, upright: bool) -> FolderImages | Video:
    """Return the images of a folder, a single image, or the frames of a video."""
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

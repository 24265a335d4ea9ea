"""Frames that are still being made: a folder of images that grows, and a webcam."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.datasets.cut import cut_to
from vo3d.datasets.given_camera import FoundCamera, GivenCamera
from vo3d.datasets.resize import Size, check_size
from vo3d.datasets.views import given_name, image_files
from vo3d.errors import Vo3dError
from vo3d.formats.image_folder import natural_key
from vo3d.formats.images import read_image, rgb_of
from vo3d.recording import LiveFrames, LiveLayout
from vo3d.sample import Sample

LOOK = 0.05  # seconds between two looks into a folder
SETTLED = 1.0  # seconds since a file was written, after which nobody is writing it
IDLE = 10.0  # seconds without a new image
CAMERA = re.compile(r"camera:\d{1,9}")


class SameCamera:
    """Frames of one size from one camera, which is found at the first of them.

    Args:
        source: for messages.
        given: what a person says of the camera.
        size: height and width to cut and resize to; None: as they come in.
    """

    def __init__(self, source: str, given: GivenCamera, size: Size | None) -> None:
        given.check(source, needs_camera=True)
        check_size(size)
        self._source, self._given, self._size = source, given, size
        self._camera: FoundCamera | None = None
        self.found: Size | None = None  # of the frames as they come in

    @property
    def upright(self) -> bool:
        """Tell whether images are turned as their EXIF headers say."""
        return not self._given.of_stored

    def sample(
        self, image: Float32[Tensor, "3 h w"], name: str, index: int, files: Sequence[Path] = (), **fields: Any
    ) -> Sample:
        """Return a frame as a clip of one view, without the distortion of a lens."""
        if self._camera is None:
            self.found = (image.shape[-2], image.shape[-1])
            self._camera = self._given.find(self._source, self.found, files)
        camera = self._camera
        assert camera is not None  # noqa: S101  by `check`
        view = camera.undo(image)[None]
        found = Sample(image=view, K=camera.K.float()[None], scene=name, index=torch.tensor([index]), **fields)
        return found if self._size is None else cut_to(found, self._size)

    @property
    def words(self) -> str:
        """Say where K comes from."""
        return "" if self._camera is None else self._camera.words

    @property
    def notes(self) -> list[str]:
        """List what is to be said of the camera."""
        return [] if self._camera is None else self._camera.notes


class GrowingFolder(LiveFrames):
    """The images of a folder in natural order, and those that come while one looks.

    An image is taken once it is whole. One that sorts before an image that was taken already comes too late; it is left
    out, and so are images of another size and those that stay damaged, and `notes` say so. There is no `time`.

    Args:
        folder: which may be empty at first.
        given: what a person says of the camera.
        size: height and width to cut and resize to; None: as they come in.
        every: take each image of that distance.
        idle: seconds without a new image after which the recording is over.

    Raises:
        Vo3dError: there is no such folder, or an option is no such thing; and, after `idle` seconds, no image came.
    """

    def __init__(
        self, folder: Path, given: GivenCamera, *, size: Size | None = None, every: int = 1, idle: float = IDLE
    ) -> None:
        if not folder.is_dir():
            raise Vo3dError(f"{folder}: no such folder: expected one that images are being written to")
        if every < 1 or not idle >= 0:
            raise Vo3dError(f"every {every} images, idle {idle:g} s: expected at least 1, and seconds of 0 or more")
        self.name, self._folder, self._every, self._idle = given_name(folder), folder, every, idle
        self._frames = SameCamera(str(folder), given, size)
        self._left_out: dict[str, list[str]] = {}  # names of images by the reason

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """List what is to be said so far."""
        left_out = [f"{len(names)} images were left out, {why} ({names[0]})" for why, names in self._left_out.items()]
        return [*self._frames.notes, *left_out]

    def __iter__(self) -> Iterator[Sample]:
        """Yield the images, each as a clip of one view, until none comes any more."""
        count = 0
        for number, (path, image) in enumerate(self._whole_images()):
            if number % self._every:
                continue
            if self._frames.found not in {None, (image.shape[-2], image.shape[-1])}:
                self._leave_out("of another size than the first", path)
                continue
            sample = self._frames.sample(image, self.name, count, [path])
            self.camera = self._frames.words
            count += 1
            yield sample
        if not count:
            raise Vo3dError(f"{self._folder}: no image came within {self._idle:g} s: start what writes them first")

    def _whole_images(self) -> Iterator[tuple[Path, Float32[Tensor, "3 h w"]]]:
        """Yield the images in order, each once it is whole."""
        done: set[Path] = set()
        last: Path | None = None
        seen: dict[Path, tuple[int, float]] = {}  # size and time of writing at the last look
        since = time.monotonic()  # something was written
        while True:
            waiting = [path for path in image_files(self._folder) if path not in done]
            for path in waiting:
                if last is not None and natural_key(path) < natural_key(last):
                    self._leave_out("which came after later ones", path)
                    done.add(path)
                    continue
                before, state = seen.get(path), _state(path)
                if state is None:  # it got another name
                    continue
                if state != before:
                    seen[path], since = state, time.monotonic()
                settled = state == before or time.time() - state[1] > SETTLED
                image = self._read(path) if settled else None
                if image is None and not (state == before and time.monotonic() - since > self._idle):
                    break  # those behind it wait as well
                done.add(path)
                if image is None:
                    self._leave_out("which are not whole", path)
                    continue
                last = path
                yield path, image
                since = time.monotonic()  # what came while the frame was used has as long as any other
            else:
                if time.monotonic() - since > self._idle:
                    return
            time.sleep(LOOK)

    def _read(self, path: Path) -> Float32[Tensor, "3 h w"] | None:
        """Read an image; None where it is not whole."""
        try:
            return read_image(path, upright=self._frames.upright)
        except Vo3dError:
            return None

    def _leave_out(self, why: str, path: Path) -> None:
        self._left_out.setdefault(why, []).append(path.name)


def _state(path: Path) -> tuple[int, float] | None:
    """Return size and time of writing of a file; None where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime


class Webcam(LiveFrames):
    """The frames of a camera of this computer, each as new as it can be; `time` is seconds since 1970.

    What comes while a frame is used is dropped but for the newest, and counted.

    Args:
        number: of the camera, 0 for the first.
        given: what a person says of it.
        size: height and width to cut and resize to; None: as they come in.

    Raises:
        Vo3dError: OpenCV cannot open it, or it gives no frame.
    """

    def __init__(self, number: int, given: GivenCamera, *, size: Size | None = None) -> None:
        self.name = f"camera{number}"
        self._source = f"camera:{number}"
        self._frames = SameCamera(self._source, given, size)
        level = cv2.utils.logging.setLogLevel(0)  # else each way to open it complains, in many lines
        self._capture = cv2.VideoCapture(number)
        cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            raise Vo3dError(
                f"{self._source}: no camera that OpenCV can open: plug it in, close what else uses it, or give another "
                "number"
            )
        self._changed = Condition()
        self._newest: tuple[np.ndarray, float] | None = None
        self._over = False
        self.dropped = 0

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """List what is to be said so far."""
        dropped = [f"{self.dropped} frames came while others were used, and were dropped"] if self.dropped else []
        return [*self._frames.notes, *dropped]

    def __iter__(self) -> Iterator[Sample]:
        """Yield frames, each as a clip of one view, until the camera gives no more or the reader stops."""
        reader = Thread(target=self._follow, daemon=True)
        reader.start()
        count = 0
        try:
            while (newest := self._take()) is not None:
                pixels, stamp = newest
                stamps = torch.tensor([stamp], dtype=torch.float64)
                sample = self._frames.sample(rgb_of(pixels), self.name, count, time=stamps)
                self.camera = self._frames.words
                count += 1
                yield sample
        finally:
            self._over = True
            reader.join()
        if not count:
            raise Vo3dError(f"{self._source}: gives no frame: close what else uses it, or give another number")

    def _take(self) -> tuple[np.ndarray, float] | None:
        """Wait for a frame that was not used yet; None where none comes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._over)
            newest, self._newest = self._newest, None
            return newest

    def _follow(self) -> None:
        """Keep the newest frame until there are no more or nobody wants any."""
        start = time.time() - time.monotonic()  # a clock that is set meanwhile does no harm
        try:
            while not self._over:
                there, pixels = self._capture.read()
                if not there:
                    return
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = pixels, start + time.monotonic()
                    self._changed.notify()
        finally:
            self._capture.release()
            with self._changed:
                self._over = True
                self._changed.notify()


def growing_folder(
    source: str,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    field_of_view: float | None = None,
    focal: float | None = None,
    camera: str | None = None,
    guess: bool = False,
    size: Size | None = None,
    every: int = 1,
    idle: float = IDLE,
) -> GrowingFolder:
    """Open a folder that images are being written to; the camera is described as `ImageFolder` has it."""
    given = GivenCamera(intrinsics=intrinsics, field_of_view=field_of_view, focal=focal, camera=camera, guess=guess)
    return GrowingFolder(Path(source), given, size=size, every=every, idle=idle)


def webcam(
    source: str,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    field_of_view: float | None = None,
    focal: float | None = None,
    camera: str | None = None,
    guess: bool = False,
    size: Size | None = None,
) -> Webcam:
    """Open `camera:0`, or another number; the camera is described as `ImageFolder` has it."""
    given = GivenCamera(intrinsics=intrinsics, field_of_view=field_of_view, focal=focal, camera=camera, guess=guess)
    return Webcam(int(source.partition(":")[2]), given, size=size)


WEBCAM_LAYOUT = LiveLayout(
    "camera:0 for the first webcam", lambda source: re.fullmatch(CAMERA, source) is not None, webcam, rank=1
)
FOLDER_LAYOUT = LiveLayout(
    "a folder that images are being written to", lambda source: Path(source).is_dir(), growing_folder, rank=2
)

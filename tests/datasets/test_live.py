"""Frames that are still being made: folders that grow while one reads them, and a webcam, which is a stand-in here."""

import threading
import time
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from vo3d.errors import Vo3dError
from vo3d.recording import LiveFrames
from vo3d.sample import Sample
from vo3d.settings.layouts import open_live

H, W = 12, 16


def encoded(number: int, *, size: tuple[int, int] = (H, W)) -> bytes:
    """The bytes of an image whose brightness is its number."""
    return cv2.imencode(".png", np.full((*size, 3), 10 * number, np.uint8))[1].tobytes()


def numbers(samples: list[Sample]) -> list[int]:
    """The numbers of the images."""
    return [round(float(sample.image.mean()) * 25.5) for sample in samples]


def test_images_that_are_there_and_those_that_come_are_taken_in_order(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / f"a{number}.png").write_bytes(encoded(number))
    half = encoded(11)

    def write_on() -> None:
        (tmp_path / "a11.png").write_bytes(half[:-20])
        time.sleep(0.2)
        (tmp_path / "a12.png").write_bytes(encoded(12))
        time.sleep(0.2)
        (tmp_path / "a11.png").write_bytes(half)  # only now it is whole
        (tmp_path / "a3.png").write_bytes(encoded(3))  # too late

    frames = open_live(tmp_path, {"field_of_view": 90.0, "idle": 1.5, "size": (6, 8)})
    writer = threading.Thread(target=write_on)
    found = []
    for sample in frames:
        if not found:
            writer.start()
        found.append(sample)
    writer.join()
    assert numbers(found) == [1, 2, 10, 11, 12]
    assert [int(sample.index) for sample in found if sample.index is not None] == list(range(5))
    assert found[0].K is not None
    assert found[0].K[0].tolist() == [[4, 0, 3.5], [0, 4, 2.5], [0, 0, 1]]
    assert found[0].given() == ("image", "K", "scene", "index")
    assert frames.camera == "given: 90 degrees across"
    assert frames.notes == ["1 images were left out, which came after later ones (a3.png)"]


def test_damaged_and_odd_images_are_left_out_with_a_word(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(encoded(number))
    (tmp_path / "1.png").write_bytes(encoded(1)[:-20])
    (tmp_path / "2.png").write_bytes(encoded(2, size=(5, 5)))
    frames = open_live(str(tmp_path), {"guess": True, "idle": 0.1})
    assert numbers(list(frames)) == [0, 3]
    assert frames.notes == [
        "1 images were left out, which are not whole (1.png)",
        "1 images were left out, of another size than the first (2.png)",
    ]
    assert frames.camera.startswith("guessed: focal length 1.2 x the longer side")
    assert numbers(list(open_live(tmp_path, {"guess": True, "idle": 0.1, "every": 3}))) == [0]


class StandIn:
    """A webcam of `frames` frames, one every five milliseconds, whose brightness tells their number."""

    frames: ClassVar[int] = 20
    released: ClassVar[int] = 0
    came: ClassVar[list[float]] = []

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.005)
        if self.count == self.frames:
            return False, None
        self.count += 1
        self.came.append(time.time())
        return True, np.full((H, W, 3), 10 * (self.count - 1), np.uint8)

    def release(self) -> None:
        StandIn.released += 1


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> LiveFrames:
    """The first webcam."""
    monkeypatch.setattr(cv2, "VideoCapture", StandIn)
    return open_live("camera:0", {"focal": 20.0})


def test_a_webcam_gives_the_newest_frame_and_counts_the_others(camera: LiveFrames) -> None:
    start, found = time.time(), []
    for sample in camera:
        found.append(sample)
        time.sleep(0.018)
    seen = numbers(found)
    assert seen == sorted(set(seen))
    assert seen[-1] == StandIn.frames - 1
    assert len(seen) < StandIn.frames
    assert camera.notes == [f"{StandIn.frames - len(seen)} frames came while others were used, and were dropped"]
    stamps = [float(sample.time) for sample in found if sample.time is not None]
    assert stamps == sorted(set(stamps))
    assert start <= stamps[0] < stamps[-1] <= time.time()
    # a frame is stamped when it came, not when it was used: before the one after it
    came = [*StandIn.came[-StandIn.frames :], stamps[-1] + 1]
    assert all(came[n] - 1e-3 <= stamp <= came[n + 1] + 1e-3 for n, stamp in zip(seen, stamps, strict=True))
    assert camera.camera == "given: focal length 20 pixels"


def test_a_webcam_is_closed_when_the_reader_stops(camera: LiveFrames) -> None:
    before = StandIn.released
    frames = iter(camera)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert StandIn.released == before + 1


def test_what_is_no_place_for_frames_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", StandIn)
    for source, options, words in (
        ("camera:1", {"guess": True}, "camera:1: no camera that OpenCV can open: plug it in"),
        ("camera:0", {}, "camera:0: nothing tells its camera: give intrinsics"),
        ("camera:0", {"guess": True, "every": 2}, "camera:0: is camera:0 for the first webcam, which has no use for"),
        ("camera:x", {"guess": True}, "camera:x: no frames that are being made: expected camera:0"),
        (tmp_path, {"guess": True, "every": 0}, "every 0 images, idle 10 s: expected at least 1"),
    ):
        with pytest.raises(Vo3dError, match=words) as caught:
            open_live(source, options)
        assert "\n" not in str(caught.value)
    with pytest.raises(Vo3dError, match=r"no image came within 0 s"):
        list(open_live(tmp_path, {"guess": True, "idle": 0.0}))
    monkeypatch.setattr(StandIn, "frames", 0)
    with pytest.raises(Vo3dError, match="camera:0: gives no frame"):
        list(open_live("camera:0", {"guess": True}))

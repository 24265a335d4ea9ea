"""Videos as telephones write them: at no constant rate, turned, cut, grey; their times, and frames in any order."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mp4 import RATE, STEP, TICKS, H, W, cut_beginning, set_durations, set_turn, write_mp4
from vo3d.datasets.folder import FolderRecording
from vo3d.errors import Vo3dError
from vo3d.formats.mp4 import is_whole_mp4
from vo3d.settings.layouts import open_sequence


def opened(path: Path, **options: object) -> FolderRecording:
    """Open a video."""
    return FolderRecording(path, field_of_view=60.0, **options)  # type: ignore[arg-type]


def shades(recording: FolderRecording, indices: list[int]) -> list[int]:
    """The numbers of frames, modulo 15, by their brightness."""
    image = recording.clip(indices).image
    return (image[:, 0, -8:, -8:].mean((1, 2)) * 255 / STEP).round().long().tolist()


def test_times_are_those_of_the_file_and_frames_are_found_by_them(tmp_path: Path) -> None:
    runs = [(100, TICKS), (50, 4 * TICKS), (150, TICKS // 2)]
    path = set_durations(write_mp4(tmp_path / "a.mp4", 300), runs)
    recording = opened(path)
    durations = torch.cat([torch.full((count,), ticks / TICKS / RATE, dtype=torch.float64) for count, ticks in runs])
    expected = torch.cat([torch.zeros(1, dtype=torch.float64), durations.cumsum(0)[:-1]])
    assert recording.notes == ["0.050 to 0.400 s lie between its frames: times are those of the file"]
    places = np.random.default_rng(0).permutation(300)[:40].tolist()
    sample = recording.clip(places)
    assert sample.time is not None
    torch.testing.assert_close(sample.time, expected[places], rtol=0, atol=1e-6)
    assert shades(recording, places) == [place % 15 for place in places]
    copy = pickle.loads(pickle.dumps(recording))  # noqa: S301 - made one line up
    assert shades(copy, [250, 251]) == [250 % 15, 251 % 15]
    # OpenCV alone seeks by the mean rate, and lands elsewhere
    capture, found = cv2.VideoCapture(str(path)), []
    for place in places:
        capture.set(cv2.CAP_PROP_POS_FRAMES, place)
        found.append(round(capture.read()[1][-8:, -8:].mean() / STEP))
    assert sum(one == place % 15 for one, place in zip(found, places, strict=True)) < 20


def test_a_range_keeps_its_times_and_a_given_rate_goes_before_them(tmp_path: Path) -> None:
    path = set_durations(write_mp4(tmp_path / "a.mp4"), [(10, TICKS), (20, 2 * TICKS)])
    time = opened(path, frames=(8, 14)).clip(list(range(6))).time
    assert time is not None
    assert time.tolist() == pytest.approx([0.8, 0.9, 1.0, 1.2, 1.4, 1.6])
    time = opened(path, frames=(8, 14), fps=5.0).clip([5]).time
    assert time is not None
    assert time.tolist() == [13 / 5]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_come_upright_and_k_is_for_them(degrees: int, tmp_path: Path) -> None:
    plain = opened(write_mp4(tmp_path / "plain.mp4")).clip([7]).image[0]
    path = set_turn(write_mp4(tmp_path / "a.mp4"), degrees)
    recording = opened(path)
    sample = recording.clip([7])
    assert torch.equal(sample.image[0], torch.rot90(plain, -degrees // 90, (1, 2)))  # players turn clockwise
    h, w = (H, W) if degrees == 180 else (W, H)
    assert sample.K is not None
    assert sample.K[0, :2, 2].tolist() == [(w - 1) / 2, (h - 1) / 2]
    assert recording.notes == [f"its frames are turned by {degrees} degrees, as the file says: K is for {w}x{h} pixels"]
    given = FolderRecording(path, intrinsics=(50.0, 50.0, (w - 1) / 2, (h - 1) / 2))
    assert torch.equal(given.clip([7]).image, sample.image)


def test_a_file_for_frames_that_are_not_turned_is_refused(tmp_path: Path) -> None:
    path = set_turn(write_mp4(tmp_path / "a.mp4"), 90)
    (tmp_path / "cameras.txt").write_text(f"1 PINHOLE {W} {H} 50 50 32 24\n")
    with pytest.raises(Vo3dError, match=r"cameras\.txt: is for 64x48 pixels, but frames of .*a\.mp4 are 48x64"):
        FolderRecording(path, camera=str(tmp_path / "cameras.txt"))
    (tmp_path / "cameras.txt").write_text(f"1 PINHOLE {2 * H} {2 * W} 100 100 48 64\n")
    K = FolderRecording(path, camera=str(tmp_path / "cameras.txt")).clip([0]).K
    assert K is not None
    assert K[0].tolist() == [[50, 0, 23.5], [0, 50, 31.5], [0, 0, 1]]


def test_frames_that_were_cut_off_are_left_out(tmp_path: Path) -> None:
    path = cut_beginning(write_mp4(tmp_path / "a.mp4"), 7)
    recording = opened(path)
    assert (len(recording), shades(recording, [0, 5, 22])) == (23, [7, 12, 29 % 15])
    assert recording.notes == ["23 of the 30 frames in the file are shown: the others were cut off"]
    time = recording.clip([0, 22]).time
    assert time is not None
    assert time.tolist() == pytest.approx([0, 2.2])


def test_a_file_that_was_not_copied_whole_is_refused(tmp_path: Path) -> None:
    content = write_mp4(tmp_path / "a.mp4", 200).read_bytes()
    assert is_whole_mp4(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(content[:-100])
    assert is_whole_mp4(tmp_path / "a.mp4") is False
    with pytest.raises(Vo3dError, match=r"a\.mp4: is cut off before its end: copy the video again"):
        opened(tmp_path / "a.mp4")


def test_a_cut_off_file_without_a_list_of_frames_ends_long_before_its_duration(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mkv")  # by its suffix, Matroska
    assert len(opened(path)) == 30
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Vo3dError, match=r"a\.mkv: states 30 frames, but only \d+ can be decoded: copy the video again"):
        opened(path)


def test_stamps_that_do_not_ascend_are_told_and_the_rate_is_taken(tmp_path: Path) -> None:
    path = set_durations(write_mp4(tmp_path / "a.mp4"), [(10, TICKS), (1, 0), (19, TICKS)])
    recording = opened(path, frames=(0, 30))
    (note,) = recording.notes
    assert note.startswith("its time stamps do not ascend (frame 11 comes")
    time = recording.clip([0, 29]).time
    assert time is not None
    assert time[1].item() == pytest.approx(29 / 30 * 2.9, rel=0.05)
    assert shades(recording, [11, 12]) == [11, 12]


@pytest.mark.parametrize("code", ["MJPG", "mp4v"])
def test_grey_videos_are_three_equal_channels(code: str, tmp_path: Path) -> None:
    path = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), RATE, (W, H), False)
    for number in range(5):
        writer.write(np.full((H, W), 50 * number, np.uint8))
    writer.release()
    image = opened(path).clip([1, 3]).image
    assert torch.equal(image[:, 0], image[:, 2])
    assert (image[:, 0].mean((1, 2)) * 255 / 50).round().tolist() == [1, 3]


@pytest.mark.parametrize(("frames", "count"), [(1, 1), (2, 2)])
def test_short_videos_and_empty_ones(frames: int, count: int, tmp_path: Path) -> None:
    recording = opened(write_mp4(tmp_path / "a.mp4", frames))
    assert (len(recording), recording.notes) == (count, [])
    empty = tmp_path / "empty.avi"
    cv2.VideoWriter(str(empty), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (W, H)).release()
    with pytest.raises(Vo3dError, match=r"empty\.avi: (holds no frame|not a video)"):
        opened(empty)


def test_transparency_and_16_bits_are_rgb_as_any_other(tmp_path: Path) -> None:
    pixels = np.full((H, W, 4), (200, 100, 50, 128), np.uint8)  # blue first, half transparent
    cv2.imwrite(str(tmp_path / "1.png"), pixels)
    cv2.imwrite(str(tmp_path / "2.webp"), pixels, [cv2.IMWRITE_WEBP_QUALITY, 101])
    cv2.imwrite(str(tmp_path / "3.png"), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "4.png"), pixels[..., 0].astype(np.uint16) * 257)
    image = open_sequence(tmp_path, {"field_of_view": 60.0})[1].clip([0, 1, 2, 3]).image
    expected = torch.tensor([[50, 100, 200]] * 3 + [[200] * 3]) / 255
    torch.testing.assert_close(image, expected[..., None, None].expand(4, 3, H, W))

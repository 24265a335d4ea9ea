"""A folder of images or a video, with given intrinsics."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vo3d.datasets.folder import FolderRecording, ImageFolder
from vo3d.errors import Vo3dError
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import se3
from vo3d.sample import Sample

INTRINSICS = (50.0, 51.0, 31.0, 23.0)


def poses(count: int) -> torch.Tensor:
    """A straight walk."""
    step = torch.tensor([0.0, 0.0, 0.1, 0.0, 0.01, 0.0], dtype=torch.float64)
    return se3.exp(torch.arange(count, dtype=torch.float64)[:, None] * step)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images whose names sort otherwise as text than as numbers, and files that are no images."""
    source = tmp_path / "walk"
    source.mkdir()
    for number in range(12):
        cv2.imwrite(
            str(source / f"frame{number}.{'PNG' if number == 3 else 'png'}"), np.full((48, 64), 10 * number, np.uint8)
        )
    (source / "notes.txt").write_text("no image", encoding="utf-8")
    (source / ".frame5.png").write_bytes(b"left behind by a file manager")
    return source


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Thirty frames of rising brightness, at 10 frames a second."""
    path = tmp_path / "ride.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for number in range(30):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()
    return path


def test_images_come_in_natural_order(folder: Path) -> None:
    dataset = ImageFolder(folder, intrinsics=INTRINSICS, fps=20.0, clip_length=12)
    sample = dataset[0]
    assert sample.image[:, 0, 0, 0].mul(25.5).round().tolist() == list(range(12))
    assert sample.K[5].tolist() == [[50, 0, 31], [0, 51, 23], [0, 0, 1]]
    assert sample.scene == "walk"
    assert sample.time is not None
    assert torch.allclose(sample.time, torch.arange(12, dtype=torch.float64) / 20)
    assert sample.given() == ("image", "K", "time", "scene", "index")


def test_a_field_of_view_makes_the_intrinsics(folder: Path) -> None:
    K = ImageFolder(folder, field_of_view=90.0)[0].K[0]
    # the left border of the image, x = -0.5, is seen at 45 degrees
    assert K.tolist() == [[pytest.approx(32), 0, 31.5], [0, pytest.approx(32), 23.5], [0, 0, 1]]


def test_digits_that_are_no_decimals_do_not_count(folder: Path) -> None:
    (folder / "frame2.png").rename(folder / "frame².png")
    assert len(ImageFolder(folder, intrinsics=INTRINSICS).recordings[0]) == 12


def test_size_and_range(folder: Path) -> None:
    dataset = ImageFolder(folder, intrinsics=INTRINSICS, size=(24, 32), frames=(4, 9))
    assert dataset.recordings[0].frames == range(4, 9)
    sample = dataset[0]
    assert sample.image.shape == (2, 3, 24, 32)
    assert sample.image[:, 0, 0, 0].mul(25.5).round().tolist() == [4, 5]
    assert sample.K[0, 0].tolist() == [25, 0, 15.25]
    assert sample.index is not None
    assert sample.index.tolist() == [0, 1]


def test_a_trajectory_is_the_truth_of_its_frames(folder: Path, tmp_path: Path) -> None:
    time = torch.arange(12, dtype=torch.float64) * 0.05 + 100
    write_trajectory(tmp_path / "truth.tum", Trajectory(world_T_cam=poses(12), time=time), "tum")
    recording = FolderRecording(
        folder, intrinsics=INTRINSICS, trajectory=tmp_path / "truth.tum", trajectory_format="tum", frames=(2, 7)
    )
    found = recording.poses()
    assert found is not None
    assert torch.allclose(found, poses(12)[2:7], atol=1e-6)
    sample = recording.clip([1, 2])
    assert sample.time is not None
    assert torch.allclose(sample.time, time[3:5])
    assert sample.world_T_cam is not None
    assert torch.allclose(sample.world_T_cam, poses(12)[3:5], atol=1e-6)


def test_a_trajectory_of_another_length_is_refused(folder: Path, tmp_path: Path) -> None:
    write_trajectory(tmp_path / "truth.txt", Trajectory(world_T_cam=poses(11), time=None), "kitti")
    with pytest.raises(Vo3dError, match=r"truth\.txt: has 11 poses, but .*walk has 12 frames"):
        ImageFolder(folder, intrinsics=INTRINSICS, trajectory=tmp_path / "truth.txt")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"nothing tells its camera: give intrinsics \(fx"),
        ({"intrinsics": INTRINSICS, "field_of_view": 90.0}, "intrinsics, field_of_view are given: expected one"),
        ({"field_of_view": 180.0}, "expected degrees between 0 and 180"),
        ({"intrinsics": (0.0, 50.0, 30.0, 20.0)}, "expected fx, fy > 0"),
        ({"intrinsics": INTRINSICS, "fps": 0.0}, "fps is 0"),
        ({"intrinsics": INTRINSICS, "frames": (5, 13)}, "has 12 frames, but frames up to 13"),
        ({"intrinsics": INTRINSICS, "size": (0, 4)}, "no image size"),
    ],
)
def test_impossible_options_are_one_clear_line(folder: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(Vo3dError, match=words) as caught:
        ImageFolder(folder, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Vo3dError, match="empty: holds no image: expected files ending in"):
        ImageFolder(tmp_path / "empty", intrinsics=INTRINSICS)
    with pytest.raises(Vo3dError, match="gone: no such folder or video file"):
        ImageFolder(tmp_path / "gone", intrinsics=INTRINSICS)


def test_images_that_opencv_does_not_read_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "IMG_1.HEIC").write_bytes(b"of a telephone")
    assert FolderRecording(folder, intrinsics=INTRINSICS).notes[-1].startswith("1 images are left out (IMG_1.HEIC)")
    (tmp_path / "phone").mkdir()
    lone = (folder / "IMG_1.HEIC").rename(tmp_path / "phone" / "IMG_1.HEIC")
    for source in (lone, lone.parent):
        with pytest.raises(Vo3dError, match="which OpenCV does not read: convert to JPEG") as caught:
            FolderRecording(source, intrinsics=INTRINSICS)
        assert "\n" not in str(caught.value)


def test_a_damaged_or_odd_image_is_named(folder: Path) -> None:
    content = (folder / "frame7.png").read_bytes()
    (folder / "frame7.png").write_bytes(content[:-30])
    dataset = ImageFolder(folder, intrinsics=INTRINSICS)
    with pytest.raises(Vo3dError, match=r"frame7\.png: not a whole image \(truncated PNG"):
        dataset[6]
    for number in (9, 10):
        cv2.imwrite(str(folder / f"frame{number}.png"), np.zeros((5, 6), np.uint8))
    with pytest.raises(Vo3dError, match=r"frame9\.png: is 6x5 pixels and frame[08]\.png is 64x48"):
        dataset[8]
    with pytest.raises(Vo3dError, match=r"frame9\.png: is 6x5 pixels and frame0\.png is 64x48"):
        dataset[9]


def test_a_video_gives_its_frames_in_any_order(video: Path) -> None:
    recording = FolderRecording(video, field_of_view=80.0)
    assert len(recording) == 30
    assert recording.name == "ride"
    for indices in ([0, 1, 2], [20, 21], [29], [5, 10, 15], [3, 2, 1]):
        sample = recording.clip(indices)
        assert sample.image[:, 0, 20, 20].mul(255 / 8).round().tolist() == indices
        assert sample.time is not None
        assert torch.allclose(sample.time, torch.tensor(indices, dtype=torch.float64) / 10)


def test_a_video_resizes_and_keeps_its_range(video: Path) -> None:
    recording = FolderRecording(video, field_of_view=80.0, frames=(10, 20), size=(24, 32), fps=5.0)
    sample = recording.clip([0, 9])
    assert sample.image.shape == (2, 3, 24, 32)
    assert sample.image[:, 0, 10, 10].mul(255 / 8).round().tolist() == [10, 19]
    assert sample.time is not None
    assert sample.time.tolist() == [2.0, 3.8]


def test_workers_and_pickles_open_the_video_for_themselves(video: Path) -> None:
    dataset = ImageFolder(video, field_of_view=80.0, clip_length=3)
    dataset[4]  # the parent has it open when the workers start
    loader = DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=Sample.collate)
    seen = torch.cat([batch.image[:, :, 0, 20, 20] for batch in loader]).mul(255 / 8).round().long()
    assert torch.equal(seen, torch.arange(28)[:, None] + torch.arange(3))
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - made one line up
    assert torch.equal(copy[7].image, dataset[7].image)


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_bytes(b"not a video at all" * 100)
    with pytest.raises(Vo3dError, match=r"notes\.mp4: not a video that OpenCV can open"):
        ImageFolder(tmp_path / "notes.mp4", field_of_view=80.0)


def test_a_truncated_video_is_refused_or_read_by_its_range(video: Path) -> None:
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(Vo3dError, match=r"ride\.avi: states 30 frames, but only (\d+) can be decoded") as caught:
        FolderRecording(video, field_of_view=80.0)
    there = int(str(caught.value).rsplit(", ", 1)[1].rstrip(")"))
    assert 0 < there < 30
    recording = FolderRecording(video, field_of_view=80.0, frames=(0, there))
    assert recording.clip([there - 1]).image[0, 0, 20, 20].mul(255 / 8).round() == there - 1


def test_k_is_held_against_the_images(folder: Path, video: Path) -> None:
    for source in (folder, video):
        with pytest.raises(
            Vo3dError, match=rf"{source.name}: is 64x48 pixels, but .* principal point \(64, 48\), outside"
        ):
            FolderRecording(source, intrinsics=(90.0, 90.0, 64.0, 48.0))
        (note,) = FolderRecording(source, intrinsics=(25.0, 25.0, 15.0, 11.0)).notes
        assert "the principal point is far from the centre in 1 of 1 views" in note
    assert not FolderRecording(folder, intrinsics=INTRINSICS).notes

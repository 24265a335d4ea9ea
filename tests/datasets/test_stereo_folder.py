"""A stereo rig's images: two folders, two videos, or pairs side by side, with intrinsics and a baseline."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vo3d.datasets.folder import FolderRecording, ImageFolder
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.sample import Sample

FRAMES, HEIGHT, WIDTH, BASELINE = 6, 96, 312, 0.54


@pytest.fixture(scope="module")
def drive() -> Sample:
    """Render a few pairs."""
    return Rendered("street", [3], FRAMES, (HEIGHT, WIDTH), stereo=True, clip_length=FRAMES)[0]


@pytest.fixture
def rig(drive: Sample, tmp_path: Path) -> Path:
    """Write the pairs as folders left and right, with the same names in both."""
    assert drive.right is not None
    for name, images in (("left", drive.image), ("right", drive.right)):
        for index, image in enumerate(images):
            write_image(tmp_path / name / f"{index}.png", image)
    return tmp_path


def camera(drive: Sample) -> tuple[float, float, float, float]:
    assert drive.K is not None
    (fx, _, cx), (_, fy, cy), _ = drive.K[0].tolist()
    return fx, fy, cx, cy


def write_video(path: Path, images: Tensor) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (images.shape[-1], images.shape[-2]))
    assert writer.isOpened()
    for image in images:
        writer.write(np.ascontiguousarray((image * 255).round().byte().permute(1, 2, 0).flip(-1)))
    writer.release()
    return path


def test_two_folders_give_the_pairs_and_their_offset(rig: Path, drive: Sample) -> None:
    dataset = ImageFolder(rig / "left", right=rig / "right", baseline=BASELINE, intrinsics=camera(drive), clip_length=3)
    sample = dataset[2]
    assert torch.equal(sample.image, drive.image[2:5])
    assert torch.equal(sample.right, drive.right[2:5])
    assert torch.allclose(sample.left_T_right, drive.left_T_right)
    assert torch.allclose(sample.K, drive.K[2:5])
    assert not dataset.recordings[0].notes
    batch = next(iter(DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=Sample.collate)))
    assert batch.right.shape == (2, 3, 3, HEIGHT, WIDTH)
    assert batch.left_T_right.shape == (2, 4, 4)


def test_size_and_range_are_those_of_both_cameras(rig: Path, drive: Sample) -> None:
    recording = FolderRecording(
        rig / "left", right=rig / "right", baseline=BASELINE, intrinsics=camera(drive), size=(48, 156), frames=(1, 4)
    )
    whole = FolderRecording(rig / "left", intrinsics=camera(drive), size=(48, 156))
    other = FolderRecording(rig / "right", intrinsics=camera(drive), size=(48, 156))
    sample = recording.clip([0, 2])
    assert torch.equal(sample.image, whole.clip([1, 3]).image)
    assert torch.equal(sample.right, other.clip([1, 3]).image)
    assert torch.equal(sample.K, whole.clip([1, 3]).K)
    assert whole.clip([0]).right is whole.clip([0]).left_T_right is None


def test_two_videos_give_the_pairs(rig: Path, drive: Sample) -> None:
    left, right = (write_video(rig / f"{name}.avi", getattr(drive, name)) for name in ("image", "right"))
    dataset = ImageFolder(left, right=right, baseline=BASELINE, intrinsics=camera(drive), clip_length=2)
    assert len(dataset) == FRAMES - 1
    loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=Sample.collate)  # after both were looked at
    for index, batch in enumerate(loader):
        assert (batch.image[0] - drive.image[index : index + 2]).abs().mean() < 0.02  # as JPEG keeps them
        assert (batch.right[0] - drive.right[index : index + 2]).abs().mean() < 0.02
        assert batch.time[0].tolist() == pytest.approx([index / 10, (index + 1) / 10])


@pytest.mark.parametrize("kind", ["images", "video"])
def test_halves_side_by_side_are_a_pair(rig: Path, drive: Sample, kind: str) -> None:
    assert drive.right is not None
    both = torch.cat([drive.image, drive.right], dim=-1)
    if kind == "video":
        source = write_video(rig / "both.avi", both)
    else:
        source = rig / "both"
        for index, image in enumerate(both):
            write_image(source / f"{index}.png", image)
    options = {"side_by_side": True, "baseline": BASELINE, "intrinsics": camera(drive)}
    sample = FolderRecording(source, **options).clip([1, 4])
    near = 0.02 if kind == "video" else 1e-6
    assert (sample.image - drive.image[[1, 4]]).abs().mean() < near
    assert (sample.right - drive.right[[1, 4]]).abs().mean() < near
    assert torch.allclose(sample.K, drive.K[[1, 4]])
    small = FolderRecording(source, size=(48, 156), **options).clip([1, 4])
    plain = FolderRecording(rig / "left", size=(48, 156), intrinsics=camera(drive)).clip([1, 4])
    assert (small.image - plain.image).abs().mean() < near  # a half is resized by itself, without its neighbour
    assert small.right.shape == (2, 3, 48, 156)
    assert torch.equal(small.K, plain.K)


def test_swapped_folders_are_told_when_they_are_opened(rig: Path, drive: Sample) -> None:
    with pytest.raises(Vo3dError, match=r"right \(left\) and .*left \(right\): left and right images are swapped:"):
        ImageFolder(rig / "right", right=rig / "left", baseline=BASELINE, intrinsics=camera(drive))
    with pytest.raises(Vo3dError, match="left and right images are the same"):
        ImageFolder(rig / "left", right=rig / "left", baseline=BASELINE, intrinsics=camera(drive))


def test_other_names_pair_in_natural_order_and_a_note_says_so(rig: Path, drive: Sample) -> None:
    for index in range(FRAMES):
        (rig / "right" / f"{index}.png").rename(rig / "right" / f"r{index + 8}.png")  # r9 before r10
    recording = FolderRecording(rig / "left", right=rig / "right", baseline=BASELINE, intrinsics=camera(drive))
    (note,) = recording.notes
    assert note.endswith("they pair in natural order, 0.png with r8.png to 5.png with r13.png")
    assert torch.equal(recording.clip([0, 3]).right, drive.right[[0, 3]])


def test_names_that_pair_in_part_are_refused(rig: Path, drive: Sample) -> None:
    options = {"right": rig / "right", "baseline": BASELINE, "intrinsics": camera(drive)}
    (rig / "right" / "5.png").rename(rig / "right" / "6.png")
    with pytest.raises(Vo3dError, match=r"right: has other names than .*left: '5' is in one of them alone: expected"):
        ImageFolder(rig / "left", **options)
    (rig / "right" / "6.png").unlink()
    with pytest.raises(
        Vo3dError, match=r"right: has 5 images, and .*left has 6: '5' is in one of them alone: expected"
    ):
        ImageFolder(rig / "left", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"right": "right"}, "left: stereo pairs without baseline: give the metres"),
        ({"side_by_side": True}, "left: stereo pairs without baseline: give the metres"),
        ({"baseline": 0.5}, "left: baseline 0.5 without right images: give their folder or video as right"),
        ({"right": "right", "side_by_side": True, "baseline": 0.5}, "both right and side_by_side are given"),
        ({"right": "right", "baseline": 0.0}, "baseline is 0: expected metres from the left camera"),
        ({"right": "right", "baseline": -0.5}, "baseline is -0.5: expected metres from the left camera"),
        ({"right": "right", "baseline": float("nan")}, "baseline is nan: expected metres"),
        ({"right": "right", "baseline": float("inf")}, "baseline is inf: expected metres"),
        ({"right": "gone", "baseline": 0.5}, "gone: no such folder or video file"),
        ({"right": "small", "baseline": 0.5}, "small: is 300x96 pixels, and .*left is 312x96: expected left and right"),
        ({"right": "notes.mp4", "baseline": 0.5}, "notes.mp4: not a video that OpenCV can open"),
    ],
)
def test_impossible_pairs_are_one_clear_line(rig: Path, drive: Sample, options: dict[str, object], words: str) -> None:
    for index, image in enumerate(drive.image[..., :300]):
        write_image(rig / "small" / f"{index}.png", image)
    (rig / "notes.mp4").write_bytes(b"no video" * 99)
    given = {name: rig / value if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(Vo3dError, match=words) as caught:
        ImageFolder(rig / "left", intrinsics=camera(drive), **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_odd_width_has_no_halves(rig: Path, drive: Sample) -> None:
    write_image(rig / "odd" / "0.png", drive.image[0, ..., :311])
    with pytest.raises(Vo3dError, match="odd: is 311 pixels wide: expected an even width, with side_by_side"):
        ImageFolder(rig / "odd", side_by_side=True, baseline=0.5, field_of_view=80.0)


def test_damaged_and_odd_right_images_are_named(rig: Path, drive: Sample) -> None:
    options = {"right": rig / "right", "baseline": BASELINE, "intrinsics": camera(drive)}
    dataset = ImageFolder(rig / "left", **options)
    write_image(rig / "right" / "2.png", drive.image[2, ..., :300])
    with pytest.raises(Vo3dError, match=r"right/2\.png: is 300x96 pixels and 1\.png is 312x96"):
        dataset[1]
    (rig / "right" / "2.png").write_bytes(b"")
    with pytest.raises(Vo3dError, match=r"right/2\.png: not a whole image \(the file is empty\)"):
        dataset[1]


def test_the_folder_above_the_cameras_says_what_to_give(rig: Path, drive: Sample) -> None:
    with pytest.raises(Vo3dError, match=r"give source: .*/left, and for pairs right: .*/right and baseline in metres"):
        ImageFolder(rig, intrinsics=camera(drive))
    shutil.rmtree(rig / "right")
    with pytest.raises(Vo3dError, match="holds no image: expected files"):
        ImageFolder(rig, intrinsics=camera(drive))


def test_a_baseline_in_millimetres_is_noted(rig: Path, drive: Sample) -> None:
    options = {"right": rig / "right", "intrinsics": camera(drive)}
    (note,) = FolderRecording(rig / "left", baseline=540.0, **options).notes
    assert note == "the baseline is 540 m, which few rigs have: is it in metres?"

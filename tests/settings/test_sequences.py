"""Frames in time order are opened by their path alone, as what they are."""

from pathlib import Path

import pytest
import torch

import wall
from tiny import TinyRecording
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.formats.kitti import write_sequence
from vo3d.settings.layouts import open_scene, open_sequence
from wall_scenes import write_seven_scenes

FRAMES = 4


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """A sequence in KITTI's layout, in colour."""
    write_sequence(tmp_path, "06", [TinyRecording(frames=FRAMES).clip([index]) for index in range(FRAMES)])
    return tmp_path / "sequences" / "06"


def test_a_sequence_of_kitti_brings_its_camera(sequence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, found = open_sequence(sequence, {"frames": (1, 3), "size": (2, 3), "intrinsics": None})
    assert layout.words == "a sequence of KITTI odometry (sequences/06)"
    assert (found.name, len(found)) == ("06", 2)
    sample = found.clip([0])
    assert sample.image.shape == (1, 3, 2, 3)
    assert sample.K is not None
    torch.testing.assert_close(sample.K[0].diag(), torch.tensor([0.5, 0.5, 1]))
    monkeypatch.chdir(sequence)
    assert len(open_sequence(Path(), {})[1]) == FRAMES
    with pytest.raises(Vo3dError, match=r"is a sequence of KITTI odometry .*, which has no use for --field-of-view"):
        open_sequence(sequence, {"field_of_view": 80.0})


def test_every_thins_out_any_layout_and_a_camera_of_its_own_needs_no_guess(sequence: Path) -> None:
    whole = open_sequence(sequence, {})[1]
    found = open_sequence(sequence, {"every": 2, "frames": (1, FRAMES), "guess": True})[1]
    assert [*found.frames] == [1, 3]
    assert found.names == [whole.names[1], whole.names[3]]
    assert torch.equal(found.clip([1]).image, whole.clip([3]).image)
    assert found.camera == "calib.txt of KITTI"
    with pytest.raises(Vo3dError, match="every 0 frames"):
        open_sequence(sequence, {"every": 0})


def test_a_folder_above_says_which_to_choose(sequence: Path, tmp_path: Path) -> None:
    root = tmp_path / "kitti"
    root.mkdir()
    sequence.parent.rename(root / "sequences")
    with pytest.raises(
        Vo3dError, match=r"holds sequences, and is none itself: name one of them: .*/sequences/06, a seq"
    ):
        open_sequence(root, {})
    with pytest.raises(Vo3dError, match=r"holds frames in time order, which need a file of poses \(--poses\), and is"):
        open_scene(root, {})
    for name in ("desk/seq-01", "desk/seq-02", "sofa/seq-01"):
        (tmp_path / "rooms" / name).mkdir(parents=True)
        (tmp_path / "rooms" / name / "frame-000000.pose.txt").touch()
    for path, others in (("rooms", r"\(others: desk/seq-02, sofa/seq-01\)"), ("rooms/desk", r"\(others: seq-02\)")):
        with pytest.raises(Vo3dError, match=rf"name one of them: .*/rooms/desk/seq-01, a sequence of 7-S.* {others}$"):
            open_scene(tmp_path / path, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(Vo3dError, match="no scene: expected MVSNet's layout"):
        open_scene(tmp_path / "empty", {})


def test_a_sequence_without_the_calibration_of_colour_is_grey(sequence: Path) -> None:
    grey = torch.full((3, 4, 6), 0.5)
    for index in range(FRAMES):
        write_image(sequence / "image_0" / f"{index:06d}.png", grey)
    calib = sequence / "calib.txt"
    assert (open_sequence(sequence, {})[1].clip([0]).image[0] - grey).abs().max() > 0.1
    calib.write_text("\n".join(line for line in calib.read_text().splitlines() if line[:2] in {"P0", "P1"}) + "\n")
    assert (open_sequence(sequence, {})[1].clip([0]).image[0] - grey).abs().max() < 0.01


def test_any_other_folder_holds_images_and_a_file_is_a_video(sequence: Path, tmp_path: Path) -> None:
    layout, found = open_sequence(sequence / "image_2", {"field_of_view": 80.0})
    assert layout.words == "a folder of images, an image or a video file"
    assert (found.name, len(found)) == ("image_2", FRAMES)
    with pytest.raises(Vo3dError, match=f"{tmp_path}: holds sequences, and is none itself"):
        open_sequence(tmp_path, {"field_of_view": 80.0})
    with pytest.raises(Vo3dError, match="not a video that OpenCV can open"):
        open_sequence(sequence / "times.txt", {"field_of_view": 80.0})
    with pytest.raises(Vo3dError, match="nowhere: no such file or folder: expected frames in time order"):
        open_sequence(tmp_path / "nowhere", {})


def test_a_sequence_of_seven_scenes_brings_its_poses(tmp_path: Path) -> None:
    write_seven_scenes(tmp_path, views=3)
    layout, found = open_sequence(tmp_path, {"frames": (1, 3), "size": (48, 64)})
    assert layout.words == "a sequence of 7-Scenes (frame-000000.color.png, .pose.txt)"
    assert found.clip([0, 1]).image.shape == (2, 3, 48, 64)
    truth = found.poses()
    assert truth is not None
    torch.testing.assert_close(truth, wall.poses(3)[1:], atol=1e-6, rtol=0)


def test_an_image_is_a_sequence_of_one_though_others_are_numbered_from_there_on(sequence: Path) -> None:
    layout, found = open_sequence(sequence / "image_2" / "000001.png", {"field_of_view": 80.0})
    assert layout.words == "a folder of images, an image or a video file"
    assert (found.name, found.names, len(found)) == ("000001", ["000001"], 1)
    whole = open_sequence(sequence / "image_2", {"field_of_view": 80.0})[1]
    assert torch.equal(found.clip([0]).image, whole.clip([1]).image)


def test_frames_without_a_camera_have_no_intrinsics(sequence: Path) -> None:
    _, found = open_sequence(sequence / "image_2", {"frames": (1, 3)}, needs_camera=False)
    assert found.clip([0]).given() == ("image", "scene", "index")
    assert found.names == ["000001", "000002"]
    given = open_sequence(sequence / "image_2", {"field_of_view": 80.0}, needs_camera=False)[1]
    assert given.clip([0]).K is not None
    assert open_sequence(sequence, {}, needs_camera=False)[1].clip([0]).K is not None  # its own
    with pytest.raises(Vo3dError, match="nothing tells its camera"):
        open_sequence(sequence / "image_2", {})


@pytest.mark.real
def test_the_excerpt_is_grey(shared_data: Path) -> None:
    folder = shared_data / "kitti_odometry" / "sequences" / "06"
    with pytest.raises(Vo3dError, match="read an excerpt with"):
        open_sequence(folder, {})
    _, found = open_sequence(folder, {"frames": (0, 51), "size": (96, 312)})
    image = found.clip([0]).image
    assert torch.equal(image[:, 0], image[:, 1])
    assert len(found) == 51

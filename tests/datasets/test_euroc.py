"""EuRoC: recordings rendered into its layout, with lenses and a turned right camera; the real excerpt."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor

from asl_tree import BODY_T_LEFT, FIRST, LEFT_T_RIGHT, STEP, Truth, write_asl, write_lines
from vo3d.datasets.euroc import SEQUENCE_LAYOUT, EuRoC
from vo3d.errors import Vo3dError
from vo3d.geometry import rays, se3, trajectory
from vo3d.geometry.rotations import so3_log

SIZE, FRAMES = (48, 64), 4
NAME = "MH_01_easy"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """A stereo recording."""
    return write_asl(tmp_path_factory.mktemp("euroc") / NAME, frames=FRAMES, size=SIZE, stereo=True, samples=2)


def off(found: Tensor, expected: Tensor) -> float:
    """The mean difference of two images, in grey levels."""
    return 255 * float((found - expected).abs().mean())


def agrees(image: Tensor, world_T_cam: Tensor, K: Tensor, truth: Truth, frame: int) -> None:
    """An image is what an ideal camera takes at the pose, and not at one that is turned by a pixel."""
    assert off(image, truth.rendered(frame, world_T_cam, K, SIZE)) < 2
    for axis in (3, 4):
        turn = torch.zeros(6, dtype=torch.float64)
        turn[axis] = 1 / float(K[0, 0])
        assert off(image, truth.rendered(frame, world_T_cam @ se3.exp(turn), K, SIZE)) > 2.5


def test_images_are_those_of_an_ideal_camera_at_the_pose_that_is_given(whole: Truth) -> None:
    sample = EuRoC(whole.home.parent, [NAME], clip_length=FRAMES)[0]
    torch.testing.assert_close(sample.world_T_cam, whole.world_T_left, rtol=0, atol=1e-9)
    agrees(sample.image[2], sample.world_T_cam[2], sample.K[2], whole, 2)
    assert torch.equal(sample.image[:, 0], sample.image[:, 2])
    assert sample.time.tolist() == pytest.approx([FIRST / 1e9 + 0.05 * i for i in range(FRAMES)], abs=3e-7)
    assert sample.scene == NAME


def test_a_pair_is_rectified_and_pose_and_camera_of_the_sensor_turn_with_it(whole: Truth) -> None:
    sample = EuRoC(whole.home.parent, [NAME], stereo=True, imu=True, clip_length=FRAMES)[0]
    assert torch.equal(sample.left_T_right[:3, :3], torch.eye(3))
    assert sample.left_T_right[:3, 3].tolist() == pytest.approx([float(LEFT_T_RIGHT[:3, 3].norm()), 0, 0])
    agrees(sample.image[2], sample.world_T_cam[2], sample.K[2], whole, 2)
    right = sample.world_T_cam[2] @ sample.left_T_right.double()
    agrees(sample.right[2], right, sample.K[2], whole, 2)
    turned = se3.relative(sample.world_T_cam, whole.world_T_left)
    assert float(so3_log(turned[0, :3, :3]).norm()) > 0.005
    torch.testing.assert_close(sample.cam_T_imu.double(), turned[0] @ se3.inverse(BODY_T_LEFT), rtol=0, atol=1e-6)


def test_readings_turn_the_camera_as_the_truth_does(whole: Truth) -> None:
    """The rate, brought into the camera's axes and integrated, is the rotation between frames."""
    sample = EuRoC(whole.home, imu=True, clip_length=FRAMES)[0]
    truth = trajectory.steps(sample.world_T_cam)[:, :3, :3]
    spans = sample.imu_time[1:].diff()
    assert spans.sum(-1).tolist() == pytest.approx([0.05] * (FRAMES - 1), abs=1e-6)
    rate = sample.imu[1:, :, :3].double() @ sample.cam_T_imu[:3, :3].double().T
    turn = ((rate[:, 1:] + rate[:, :-1]) / 2 * spans[..., None]).sum(1)
    torch.testing.assert_close(turn, so3_log(truth), rtol=0, atol=2e-5)
    assert float(turn.norm(dim=-1).min()) > 3e-3
    assert sample.imu[1, 1].tolist() == pytest.approx(whole.reading(1), rel=1e-5)


@pytest.mark.parametrize("way", ["root and name", "the folder", "mav0", "by what it holds"])
def test_a_recording_is_found_as_people_name_it(whole: Truth, way: str) -> None:
    if way == "by what it holds":
        assert SEQUENCE_LAYOUT.recognises(whole.home)
        assert not SEQUENCE_LAYOUT.recognises(whole.home / "mav0" / "cam0")
        found = SEQUENCE_LAYOUT.recording(whole.home / "mav0", size=(24, 40), frames=(1, 3))
        assert found.clip([0]).image.shape == (1, 3, 24, 40)
        assert list(found.frames) == [1, 2]
        return
    folder = {"root and name": whole.home.parent, "the folder": whole.home, "mav0": whole.home / "mav0"}[way]
    (found,) = EuRoC(folder, [NAME] if way == "root and name" else None).recordings
    assert found.name == NAME
    assert len(found) == FRAMES


def test_a_size_scales_the_images_and_their_camera(whole: Truth) -> None:
    stored, small = (EuRoC(whole.home, size=size)[0] for size in (None, (24, 32)))
    assert small.image.shape == (2, 3, 24, 32)
    assert float(small.K[0, 0, 0]) == pytest.approx(float(stored.K[0, 0, 0]) / 2)
    assert float(small.K[0, 0, 2]) == pytest.approx((float(stored.K[0, 0, 2]) + 0.5) / 2 - 0.5)


@pytest.fixture
def home(whole: Truth, tmp_path: Path) -> Path:
    """A copy to change, of the left camera."""
    home = tmp_path / NAME
    shutil.copytree(whole.home, home)
    shutil.rmtree(home / "mav0" / "cam1")
    return home


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def stamp_of(line: str) -> int:
    return int(line.split(",", maxsplit=1)[0])


def test_frames_without_truth_are_left_out_and_counted(home: Path) -> None:
    path = home / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    head, *rows = lines_of(path)
    write_lines(path, [head, *(row for row in rows if FIRST < stamp_of(row) < FIRST + 25 * STEP)])
    (found,) = EuRoC(home).recordings
    assert list(found.frames) == [1, 2]
    assert found.first_frame == 1
    (note,) = found.notes
    assert "2 of 4 frames" in note
    assert "1 before it begins, 1 after it ends" in note
    (every,) = EuRoC(home, poses=False).recordings
    assert len(every) == FRAMES
    assert every.poses() is None


def test_no_pose_is_interpolated_over_a_gap(home: Path) -> None:
    path = home / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    head, *rows = lines_of(path)
    write_lines(path, [head, *(row for row in rows if not 11 * STEP < stamp_of(row) - FIRST < 39 * STEP)])
    (found,) = EuRoC(home).recordings
    assert list(found.frames) == [0, 1]
    assert "2 in gaps over 0.1 s" in found.notes[0]
    write_lines(path, [head, *(row for row in rows if stamp_of(row) < FIRST)])
    with pytest.raises(Vo3dError, match="cover none of the frames"):
        EuRoC(home)


def test_poses_between_stamps_are_interpolated_on_the_group(home: Path, whole: Truth) -> None:
    path = home / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    head, *rows = lines_of(path)
    write_lines(path, [head, *rows[1::2]])  # a frame lies in the middle of two
    (found,) = EuRoC(home).recordings
    assert (found.poses() - whole.world_T_left).abs().max() < 1e-5
    assert (found.poses() - whole.world_T_left).abs().max() > 1e-9


def test_an_offset_moves_the_stamps_of_the_readings(home: Path, whole: Truth) -> None:
    moved = EuRoC(home, imu=True, time_offset=0.01, clip_length=3)[0]
    assert moved.imu[1, 1].tolist() == pytest.approx(whole.reading(-1), rel=1e-4)
    with pytest.raises(Vo3dError, match=r"imu0/data.csv: the readings begin 0\.\d+ s after the first frame"):
        EuRoC(home, imu=True, time_offset=0.15)


def test_frames_that_one_camera_lacks_are_left_out(whole: Truth, tmp_path: Path) -> None:
    shutil.copytree(whole.home, tmp_path / NAME)
    path = tmp_path / NAME / "mav0" / "cam1" / "data.csv"
    lines = lines_of(path)
    write_lines(path, [*lines[:2], *lines[3:]])
    (found,) = EuRoC(tmp_path / NAME, stereo=True, clip_length=3).recordings
    assert list(found.frames) == [0, 2, 3]
    assert "1 of 4 frames have no image of the right camera" in found.notes[0]
    with pytest.raises(Vo3dError, match="no such file: expected a list of images"):
        EuRoC(tmp_path / NAME, camera="cam1", stereo=True)


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def without(path: Path, first: int, last: int) -> None:
    """Take the rows from one stamp to the other, both of 5 ms after the first image, out of a file."""
    head, *rows = lines_of(path)
    write_lines(path, [head, *(row for row in rows if not first * STEP <= stamp_of(row) - FIRST <= last * STEP)])


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda mav0: without(mav0 / "imu0" / "data.csv", 13, 18), r"imu0/data.csv: no reading for 0.035 s after"),
        (lambda mav0: without(mav0 / "imu0" / "data.csv", 28, 99), r"imu0/data.csv: the readings end 0.015 s before"),
        (lambda mav0: (mav0 / "cam0" / "sensor.yaml").unlink(), r"cam0/sensor.yaml: no such file: expected a camera"),
        (lambda mav0: (mav0 / "imu0" / "sensor.yaml").unlink(), r"imu0/sensor.yaml: no such file: expected a YAML"),
        (
            lambda mav0: (mav0 / "imu0" / "data.csv").unlink(),
            r"imu0/data.csv: no such file: expected inertial readings",
        ),
        (lambda mav0: (mav0 / "cam0" / "data.csv").write_text(""), r"cam0/data.csv: is empty"),
        (
            lambda mav0: (mav0 / "cam0" / "data" / f"{FIRST}.png").unlink(),
            rf"{FIRST}.png: no such file, the first of 1",
        ),
        (
            lambda mav0: edited(mav0 / "cam0" / "sensor.yaml", "[64, 48]", "[64, 50]"),
            r"is 64x48 pixels, but its camera",
        ),
        (
            lambda mav0: edited(mav0 / "cam0" / "sensor.yaml", "[-0.2834", "[-9.2834"),
            r"sensor.yaml: cam0: its lens can",
        ),
    ],
)
def test_bad_recordings_are_refused_in_one_line(home: Path, harm: Callable[[Path], object], complaint: str) -> None:
    harm(home / "mav0")
    with pytest.raises(Vo3dError, match=complaint) as refused:
        EuRoC(home, imu=True)
    assert "\n" not in str(refused.value)


def test_bad_arguments_are_refused(whole: Truth, tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="lists 4 images, but frames up to 9 are asked for"):
        EuRoC(whole.home, frames=(0, 9))
    with pytest.raises(Vo3dError, match="time_offset is nan"):
        EuRoC(whole.home, time_offset=math.nan)
    with pytest.raises(Vo3dError, match="MH_02/mav0: no such folder: expected a recording"):
        EuRoC(whole.home.parent, ["MH_02"])
    with pytest.raises(Vo3dError, match="none: no such folder: expected recordings"):
        EuRoC(tmp_path / "none")


def test_cameras_that_are_no_pair_are_refused(whole: Truth, tmp_path: Path) -> None:
    home = tmp_path / NAME
    shutil.copytree(whole.home, home)
    for one, other in (("cam0", "spare"), ("cam1", "cam0"), ("spare", "cam1")):
        (home / "mav0" / one).rename(home / "mav0" / other)
    with pytest.raises(Vo3dError, match=r"the second camera stands 0.11 m to the left of the first"):
        EuRoC(home, stereo=True)
    shutil.copy(home / "mav0" / "cam0" / "sensor.yaml", home / "mav0" / "cam1" / "sensor.yaml")
    with pytest.raises(Vo3dError, match="the cameras stand in one place"):
        EuRoC(home, stereo=True)


@pytest.fixture
def window(shared_data: Path) -> Path:
    """Five seconds of MH_01_easy, the left camera."""
    root = shared_data / "euroc"
    if not root.is_dir():
        pytest.skip("the excerpt of EuRoC is not beside this checkout")
    return root


@pytest.mark.real
def test_tracked_points_lie_on_the_epipolar_lines_of_the_true_poses(window: Path) -> None:
    """Through lens, K, T_BS and truth: 0.29 px in the median of this pair, 0.2 s apart; 0.40 px over the window."""
    sample = EuRoC(window, [NAME], clip_length=2, frame_stride=4, frames=(40, 45))[0]
    first, second = ((255 * image[0]).round().byte().numpy() for image in sample.image)
    corners = cv2.goodFeaturesToTrack(first, 400, 0.01, 10)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, corners, None, winSize=(21, 21), maxLevel=4)
    here, there = (torch.from_numpy(points[found[:, 0] == 1, 0]).double() for points in (corners, moved))
    assert len(here) > 200
    K = sample.K[0].double()

    def distance(second_T_first: Tensor, K: Tensor) -> float:
        turned = rays(K, here) @ second_T_first[:3, :3].T
        lines = torch.linalg.cross(second_T_first[:3, 3].expand_as(turned), turned) @ torch.linalg.inv(K)
        gaps = (lines[:, :2] * there).sum(-1) + lines[:, 2]
        return float((gaps.abs() / lines[:, :2].norm(dim=-1)).median())

    truth = se3.relative(sample.world_T_cam[1], sample.world_T_cam[0])
    assert distance(truth, K) < 0.6
    assert distance(torch.linalg.inv(truth), K) > 2


@pytest.mark.real
def test_the_gyroscope_turns_as_the_true_camera(window: Path) -> None:
    """The rate in the camera's axes against the rotation from frame to frame, but for a bias that stays."""
    (recording,) = EuRoC(window, [NAME], imu=True).recordings
    readings = recording.inertial()
    rate = readings.imu[:, :, :3] @ readings.cam_T_imu[:3, :3].T
    turn = ((rate[:, 1:] + rate[:, :-1]) / 2 * readings.time.diff()[..., None]).sum(1) / 0.05
    truth = so3_log(trajectory.steps(recording.poses())[:, :3, :3]) / 0.05
    bias = (turn - truth).median(0).values
    assert float((turn - truth - bias).norm(dim=-1).median()) < 0.001
    assert float(truth.norm(dim=-1).median()) > 0.1
    assert float(bias.norm()) == pytest.approx(0.082, abs=0.01)

"""KITTI odometry: the official layout written here, every refusal in one line, and the real excerpt of sequence 06."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import Tensor

from vo3d.datasets.kitti import KITTIOdometry
from vo3d.errors import Vo3dError
from vo3d.formats.kitti import read_imu, read_times
from vo3d.formats.trajectories import read_trajectory
from vo3d.geometry import se3

COUNT, HEIGHT, WIDTH = 6, 12, 40
# offsets as in the benchmark's calib.txt of sequence 00, over a small image
F = 20.0
P = {
    "P0": [F, 0, 19.3, 0, 0, F, 6.1, 0, 0, 0, 1, 0],
    "P1": [F, 0, 19.3, -0.5371657 * F, 0, F, 6.1, 0, 0, 0, 1, 0],
    "P2": [F, 0, 19.3, 0.0598 * F, 0, F, 6.1, -0.00035 * F, 0, 0, 1, 0.003779761],
    "P3": [F, 0, 19.3, -0.4731 * F, 0, F, 6.1, 0.0055 * F, 0, 0, 1, 0.002729905],
    "Tr": [0, -1, 0, 0, 0, 0, -1, -0.08, 1, 0, 0, -0.27],
}


def world_T_cam0() -> Tensor:
    """The poses of camera 0."""
    step = torch.tensor([0.01, -0.02, 0.9, 0.001, 0.03, -0.002], dtype=torch.float64)
    return se3.exp(torch.arange(COUNT, dtype=torch.float64)[:, None] * step)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sequences 06 (with poses and IMU) and 11 (without) in the official layout; pixels tell camera and frame."""
    for name in ("06", "11"):
        folder = tmp_path / "sequences" / name
        for camera in range(4):
            (folder / f"image_{camera}").mkdir(parents=True)
            for number in range(COUNT):
                pixels = np.full((HEIGHT, WIDTH, 3) if camera >= 2 else (HEIGHT, WIDTH), 20 * number + camera, np.uint8)
                cv2.imwrite(str(folder / f"image_{camera}" / f"{number:06d}.png"), pixels)
        lines = [f"{key}: " + " ".join(f"{value:.12e}" for value in values) for key, values in P.items()]
        (folder / "calib.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "times.txt").write_text("".join(f"{0.1 * i:e}\n" for i in range(COUNT)), encoding="utf-8")
    (tmp_path / "poses").mkdir()
    rows = world_T_cam0()[:, :3].reshape(COUNT, 12).tolist()
    text = "".join(" ".join(f"{value:.12e}" for value in row) + "\n" for row in rows)
    (tmp_path / "poses" / "06.txt").write_text(text, encoding="utf-8")
    (tmp_path / "imus").mkdir()
    readings = np.arange(10 * (COUNT - 1) + 1.0)[:, None] * np.ones(6)
    savemat(tmp_path / "imus" / "06.mat", {"imu_data_interp": readings})
    return tmp_path


@pytest.mark.parametrize("colour", [False, True])
def test_a_sample_holds_what_the_files_say(root: Path, colour: bool) -> None:
    dataset = KITTIOdometry(root, ["06", 11], colour=colour, stereo=True, clip_length=3)
    assert len(dataset) == 2 * (COUNT - 2)
    sample = dataset[1]
    left = 2 if colour else 0
    expected = (torch.tensor([20, 40, 60]) + left) / 255
    assert torch.allclose(sample.image, expected[:, None, None, None].expand(3, 3, HEIGHT, WIDTH))
    assert sample.right is not None
    assert torch.allclose(sample.right, sample.image + 1 / 255)
    assert sample.scene == "06"
    assert sample.index is not None
    assert sample.index.tolist() == [1, 2, 3]
    assert sample.time is not None
    assert torch.allclose(sample.time, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    assert sample.K[0].tolist() == [[F, 0, pytest.approx(19.3)], [0, F, pytest.approx(6.1)], [0, 0, 1]]
    assert dataset[COUNT].world_T_cam is None
    assert dataset.recordings[1].poses() is None


@pytest.mark.parametrize("colour", [False, True])
def test_pixels_are_those_of_the_projection_matrices(root: Path, colour: bool) -> None:
    recording = KITTIOdometry(root, ["06"], colour=colour, stereo=True).recordings[0]
    sample = recording.clip([2, 4])
    poses = recording.poses()
    assert poses is not None
    assert sample.world_T_cam is not None
    assert sample.left_T_right is not None
    assert torch.allclose(sample.world_T_cam.double(), poses[[2, 4]], atol=1e-6)
    point = torch.tensor([1.3, -0.7, 15.0, 1.0], dtype=torch.float64)  # in the world
    for view, frame in enumerate([2, 4]):
        for camera, pose in (
            (2 * colour, sample.world_T_cam[view]),
            (2 * colour + 1, sample.world_T_cam[view] @ sample.left_T_right.double()),
        ):
            matrix = torch.tensor(P[f"P{camera}"], dtype=torch.float64).reshape(3, 4)
            expected = matrix @ torch.linalg.inv(world_T_cam0()[frame]) @ point
            found = sample.K[view].double() @ (torch.linalg.inv(pose.double()) @ point)[:3]
            assert torch.allclose(found[:2] / found[2], expected[:2] / expected[2], atol=1e-4)
    assert sample.left_T_right[0, 3] == pytest.approx(0.5329 - 19.3 / F * 0.00105 if colour else 0.5371657, abs=1e-4)


def test_a_range_takes_its_rows_and_its_images(root: Path) -> None:
    (root / "sequences/06/image_2/000000.png").unlink()
    (root / "sequences/06/image_2/000005.png").unlink()
    recording = KITTIOdometry(root, ["06"], frames=(2, 5), imu=True).recordings[0]
    assert len(recording) == 3
    assert recording.frames == range(2, 5)
    sample = recording.clip([0, 1])
    assert sample.image[:, 0, 0, 0].mul(255).round().tolist() == [42, 62]
    assert sample.time is not None
    assert sample.time.tolist() == pytest.approx([0.2, 0.3])
    assert sample.index is not None
    assert sample.index.tolist() == [0, 1]
    whole = recording.poses()
    assert whole is not None
    assert torch.allclose(whole[:, :3, :3], world_T_cam0()[2:5, :3, :3])
    assert sample.imu is not None
    assert sample.imu[1, :, 2].tolist() == list(range(21, 31))
    assert sample.imu_time is not None
    assert torch.allclose(sample.imu_time[1], torch.arange(21, 31).double() / 100)


def test_readings_span_the_time_since_the_previous_view(root: Path) -> None:
    dataset = KITTIOdometry(root, ["06"], imu=True, clip_length=3, frame_stride=2)
    imu = dataset[1].imu  # frames 1, 3, 5
    assert imu is not None
    assert imu.shape == (3, 20, 6)
    assert imu[0].isnan().all()
    assert imu[1, :, 2].tolist() == list(range(11, 31))
    assert imu[2, :, 5].tolist() == list(range(31, 51))
    assert imu[1, :, 0].tolist() == [-value for value in range(11, 31)]
    instants = dataset[1].imu_time
    assert instants is not None
    assert instants[0].isnan().all()
    assert torch.allclose(instants[1:], torch.arange(11, 51).view(2, 20).double() / 100)  # row 10 i is at frame i
    for views in ([3, 1], [0, 1, 3]):
        with pytest.raises(Vo3dError, match="expected ascending views at one distance"):
            dataset.recordings[0].clip(views)


def test_size_resizes_images_and_cameras_together(root: Path) -> None:
    sample = KITTIOdometry(root, ["06"], stereo=True, size=(6, 20))[0]
    assert sample.image.shape == (2, 3, 6, 20)
    assert sample.right is not None
    assert sample.right.shape == (2, 3, 6, 20)
    found = [float(sample.K[1][place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2))]
    assert found == pytest.approx([10, 10, 19.8 / 2 - 0.5, 6.6 / 2 - 0.5])


def poses_of_length(root: Path, length: int) -> None:
    path = root / "poses/06.txt"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join((lines * 2)[:length]), encoding="utf-8")


def token(root: Path) -> None:
    path = root / "sequences/06/calib.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("P2: 2.0", "P2: two"), encoding="utf-8")


def empty_folder(root: Path) -> None:
    for path in (root / "sequences/06/image_2").iterdir():
        path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def without(path: Path, line: str) -> None:
    kept = [text for text in path.read_text(encoding="utf-8").splitlines() if not text.startswith(line)]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (lambda root: None, {"sequences": ["07"]}, "sequences/07: no such sequence: there are 06, 11"),
        (
            lambda root: (root / "sequences").rename(root / "seq"),
            {},
            "but no folder sequences: expected sequences/<name>",
        ),
        (lambda root: poses_of_length(root, 5), {}, "poses/06.txt: has 5 rows, but there are 6 images"),
        (lambda root: poses_of_length(root, 9), {}, "poses/06.txt: has 9 rows, but there are 6 images"),
        (lambda root: None, {"frames": (0, 8)}, "image_2/000006.png: no such file, the first of 2 missing"),
        (lambda root: poses_of_length(root, 3), {"frames": (0, 5)}, "poses/06.txt: has 3 rows, but frames up to 5"),
        (lambda root: None, {"frames": (3, 3)}, "frames 3 to 3 is no range"),
        (token, {}, "sequences/06/calib.txt:3: 'two"),
        (lambda root: without(root / "sequences/06/calib.txt", "P2"), {}, "calib.txt: has no P2, only P0, P1, P3, Tr"),
        (empty_folder, {}, "sequences/06/image_2: holds no image"),
        (lambda root: (root / "sequences/06/image_2").rename(root / "x"), {}, "sequences/06/image_2: no such folder"),
        (lambda root: (root / "sequences/06/image_2/000003.png").unlink(), {}, "image_2/000003.png: no such file"),
        (lambda root: (root / "sequences/06/times.txt").unlink(), {}, "times.txt: no such file"),
        (lambda root: without(root / "sequences/06/times.txt", "3"), {}, "times.txt: has 5 rows, but there are 6"),
        (lambda root: (root / "sequences/06/image_3/000005.png").unlink(), {"stereo": True}, "image_3: has 5 images"),
        (lambda root: (root / "imus/06.mat").unlink(), {"imu": True}, "imus/06.mat: no such file"),
        (
            lambda root: savemat(root / "imus/06.mat", {"imu_data_interp": np.ones((41, 6))}),
            {"imu": True},
            "imus/06.mat: has the readings of 5 frames, but there are 6 images",
        ),
        (lambda root: truncate(root / "sequences/06/image_2/000001.png"), {}, "image_2/000001.png: not a whole image"),
        (
            lambda root: cv2.imwrite(str(root / "sequences/06/image_2/000001.png"), np.zeros((5, 7), np.uint8)),
            {},
            "image_2/000001.png: is 7x5 pixels and 000000.png is 40x12",
        ),
    ],
)
def test_every_mistake_is_one_clear_line(root: Path, harm, options: dict[str, object], words: str) -> None:
    harm(root)
    with pytest.raises(Vo3dError) as caught:
        KITTIOdometry(root, **{"sequences": ["06"], **options})[0]  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="gone: no such folder"):
        KITTIOdometry(tmp_path / "gone", ["06"])


@pytest.mark.real
def test_the_real_excerpt_reads_by_its_range_alone(shared_data: Path) -> None:
    root = shared_data / "kitti_odometry"
    with pytest.raises(Vo3dError, match=r"times\.txt: has 1101 rows, but there are 51 images.*frames=\(0, 51\)"):
        KITTIOdometry(root, ["06"], colour=False)
    with pytest.raises(Vo3dError, match=r"calib\.txt: has no P2, only P0, P1"):
        KITTIOdometry(root, ["06"])
    dataset = KITTIOdometry(root, ["06"], colour=False, stereo=True, imu=True, frames=(0, 51), clip_length=5)
    assert len(dataset) == 47
    sample = dataset[3]
    assert sample.image.shape == (5, 3, 370, 1226)
    found = [float(sample.K[0][place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2))]
    assert found == pytest.approx([707.0912, 707.0912, 601.8873, 183.1104])
    assert sample.left_T_right is not None
    assert sample.left_T_right[0, 3] == pytest.approx(0.5372, abs=1e-4)
    assert sample.imu is not None
    assert sample.imu[1:, :, 4].mean() == pytest.approx(-9.8, abs=0.3)  # what holds the car up points against y


@pytest.mark.real
def test_points_of_the_real_stereo_pair_appear_in_the_next_frame_where_the_poses_say(shared_data: Path) -> None:
    root = shared_data / "kitti_odometry"
    dataset = KITTIOdometry(root, ["06"], colour=False, stereo=True, frames=(0, 51), clip_length=2)
    for start in (20, 30, 40):  # at its beginning the true poses of this sequence are off by two pixels
        sample = dataset[start]
        assert sample.right is not None
        assert sample.left_T_right is not None
        assert sample.world_T_cam is not None
        now, later, right = (
            np.ascontiguousarray(view[0].mul(255).to(torch.uint8).numpy())
            for view in (sample.image[0], sample.image[1], sample.right[0])
        )
        corners = cv2.goodFeaturesToTrack(now, 400, 0.01, 10)
        across, there, _ = cv2.calcOpticalFlowPyrLK(now, right, corners, None, winSize=(15, 15), maxLevel=4)
        ahead, still, _ = cv2.calcOpticalFlowPyrLK(now, later, corners, None, winSize=(15, 15), maxLevel=4)
        disparity = (corners - across)[:, 0]
        good = (there & still)[:, 0].astype(bool) & (np.abs(disparity[:, 1]) < 1) & (disparity[:, 0] > 8)
        assert good.sum() > 50
        K = sample.K[0].double()
        depth = K[0, 0] * sample.left_T_right[0, 3] / torch.from_numpy(disparity[good, 0]).double()
        pixels = torch.from_numpy(corners[good, 0]).double()
        rays = torch.cat([pixels, torch.ones(len(pixels), 1)], dim=1) @ torch.linalg.inv(K).T
        points = torch.cat([rays * depth[:, None], torch.ones(len(pixels), 1)], dim=1)
        world_T_cam = sample.world_T_cam.double()
        moved = (points @ se3.relative(world_T_cam[1], world_T_cam[0]).T)[:, :3] @ K.T
        error = (moved[:, :2] / moved[:, 2:] - torch.from_numpy(ahead[good, 0])).norm(dim=1).median()
        motion = (pixels - torch.from_numpy(ahead[good, 0])).norm(dim=1).median()
        assert error < 0.8
        assert motion > 10 * error


@pytest.mark.real
@pytest.mark.parametrize("name", ["06", "10"])
def test_the_real_gyroscope_turns_as_the_true_poses_do(shared_data: Path, name: str) -> None:
    root = shared_data / "kitti_odometry"
    rate = read_imu(root / "imus" / f"{name}.mat").imu[:, :, :3].mean(dim=1)
    poses = read_trajectory(root / "poses" / f"{name}.txt", "kitti").world_T_cam
    assert len(rate) == len(poses) - 1
    true_rate = se3.log(se3.relative(poses[:-1], poses[1:]))[:, 3:] / 0.1037
    if name == "06":
        times = read_times(root / "sequences/06/times.txt")
        true_rate = true_rate * 0.1037 / times.diff()[:, None]
    x, y, z = (torch.corrcoef(torch.stack([rate[:, axis], true_rate[:, axis]]))[0, 1] for axis in range(3))
    assert y > 0.99
    # pitch and roll are small beside the noise of the poses, but their signs must show
    assert x > 0.5
    assert z > 0.5
    slope = (rate[:, 1] * true_rate[:, 1]).sum() / true_rate[:, 1].square().sum()
    assert slope == pytest.approx(1, abs=0.02)


@pytest.mark.real
@pytest.mark.parametrize("name", ["02", "06", "10"])
def test_the_real_readings_show_the_turns_of_the_poses_late(shared_data: Path, name: str) -> None:
    """As docs/conventions.md says: yaw from frame to frame fits best 5.5 to 6.5 rows of 10.4 ms behind row 10 i."""
    root = shared_data / "kitti_odometry"
    rate = read_imu(root / "imus" / f"{name}.mat").imu[..., 1].flatten().numpy()
    poses = read_trajectory(root / "poses" / f"{name}.txt", "kitti").world_T_cam
    truth = se3.log(se3.relative(poses[:-1], poses[1:]))[3:-3, 4].numpy()
    turned = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)])  # turned[r] is of row r + 1
    frame = np.arange(3, len(poses) - 3)
    residual = {}
    for late in np.arange(-10, 10.5, 0.5):
        change = np.diff(np.interp(10 * frame + late - 1, np.arange(len(turned)), turned))
        slope = change @ truth / (change @ change)
        residual[late] = float((slope * change - truth).std())
    best = min(residual, key=lambda late: residual[late])
    assert 5.5 <= best <= 6.5
    assert residual[best] < residual[0] / 1.8


def test_k_is_held_against_the_images(root: Path) -> None:
    """Images that were made smaller, beside the calibration of the large ones."""
    dataset = KITTIOdometry(root, ["06"], clip_length=2)
    assert not dataset.recordings[0].notes
    for path in (root / "sequences/06").glob("image_2/*.png"):
        cv2.imwrite(str(path), np.zeros((HEIGHT * 3 // 4, WIDTH * 3 // 4, 3), np.uint8))
    (note,) = KITTIOdometry(root, ["06"], clip_length=2).recordings[0].notes
    assert "far from the centre in 1 of 1 views (000000.png has (19.3, 6.1) in 30x9 pixels)" in note
    for path in (root / "sequences/06").glob("image_2/*.png"):
        cv2.imwrite(str(path), np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8))
    with pytest.raises(Vo3dError, match=r"image_2/000000\.png: is 20x6 pixels, but its camera has the principal point"):
        KITTIOdometry(root, ["06"], clip_length=2)

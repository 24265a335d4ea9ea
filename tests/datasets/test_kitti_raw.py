"""KITTI raw: the official layout written here, scans of known points, GPS tracks, public lists, and every refusal."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from kitti_raw_tree import (
    COUNT,
    DAY,
    DRIVE,
    HEIGHT,
    IMU_R,
    IMU_T,
    OFFSETS,
    OTHER,
    RECTIFY,
    VELO_R,
    VELO_T,
    WIDTH,
    F,
    reading,
    scan_file,
    small_K,
    write_calibration,
    write_drive,
    write_list,
)
from vo3d.datasets.kitti_raw import KITTIRaw, KITTIRawSplit, RawDrive, scan_depth
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.formats.kitti_raw import oxts_poses, read_cameras, read_motion, read_oxts, read_timestamps
from vo3d.geometry import axis_rotation, se3
from vo3d.sample import Sample
from vo3d.settings.layouts import open_sequence


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two drives of one day."""
    write_calibration(tmp_path / DAY, small_K(), (HEIGHT, WIDTH))
    for drive in (DRIVE, OTHER):
        write_drive(tmp_path / DAY, drive)
    return tmp_path


def rigid(R: Sequence[float], t: Sequence[float]) -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.tensor(R, dtype=torch.float64).reshape(3, 3)
    matrix[:3, 3] = torch.tensor(t, dtype=torch.float64)
    return matrix


def cam_T_velo(camera: int) -> Tensor:
    """The calibration, step by step: laser, camera 0, rectified camera 0, rectified camera."""
    shift = rigid([1, 0, 0, 0, 1, 0, 0, 0, 1], OFFSETS[camera])
    return shift @ rigid(RECTIFY, [0, 0, 0]) @ rigid(VELO_R, VELO_T)


@pytest.mark.parametrize("colour", [True, False])
def test_a_sample_holds_what_the_files_say(root: Path, colour: bool) -> None:
    dataset = KITTIRaw(root, [DRIVE, f"{DAY}/{OTHER}"], colour=colour, stereo=True, clip_length=3)
    assert [recording.name for recording in dataset.recordings] == [DRIVE, OTHER]
    assert len(dataset) == 2 * (COUNT - 2)
    sample = dataset[1]
    left = 2 if colour else 0
    assert sample.image[:, 0, 0, 0].mul(255).round().tolist() == [20 * n + left for n in (1, 2, 3)]
    assert sample.right[:, 0, 0, 0].mul(255).round().tolist() == [20 * n + left + 1 for n in (1, 2, 3)]
    offset = [mine - its for mine, its in zip(OFFSETS[left], OFFSETS[left + 1], strict=True)]
    assert sample.left_T_right[:3, 3].tolist() == pytest.approx(offset, abs=1e-6)
    assert torch.allclose(sample.K[0].double(), small_K())
    assert sample.time is not None
    assert sample.time.tolist() == pytest.approx([0.1036, 0.2072, 0.3108], abs=1e-9)
    assert sample.given() == ("image", "K", "time", "right", "left_T_right", "scene", "index")
    assert dataset.recordings[0].notes == []
    assert list(dataset.recordings[0].frames) == list(range(COUNT))


def test_size_and_range(root: Path) -> None:
    dataset = KITTIRaw(root, [DRIVE], frames=(2, 5), size=(6, 20), depth=True, clip_length=3, stereo=True)
    sample = dataset[0]
    assert len(dataset) == 1
    assert sample.image.shape == sample.right.shape == (3, 3, 6, 20)
    assert sample.depth.shape == (3, 6, 20)
    assert sample.image[:, 0, 0, 0].mul(255).round().tolist() == [42, 62, 82]
    assert sample.K[0, 0, 0] == F / 2
    assert sample.K[0, 0, 2] == pytest.approx((19.3 + 0.5) / 2 - 0.5)
    assert sample.index.tolist() == [0, 1, 2]
    assert list(dataset.recordings[0].frames) == [2, 3, 4]
    assert dataset.recordings[0].names[0] == "000002"


def test_images_may_be_jpeg(root: Path) -> None:
    for path in sorted((root / DAY / DRIVE / "image_02" / "data").iterdir()):
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)))
        path.unlink()
    assert KITTIRaw(root, [DRIVE])[0].image.shape == (2, 3, HEIGHT, WIDTH)


def scan_of(pixels: Tensor, depth: Tensor, camera: int, K: Tensor) -> Tensor:
    """The laser points that a camera sees at `pixels`, z = `depth`, by the inverse of the calibration."""
    rays = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1) @ torch.linalg.inv(K).T
    points = se3.transform(torch.linalg.inv(cam_T_velo(camera)), rays * depth[:, None])
    return torch.cat([points, torch.zeros_like(points[:, :1])], dim=1).float()


@pytest.mark.parametrize("camera", [0, 2, 3])
def test_known_points_have_their_depth_in_their_pixels(root: Path, camera: int) -> None:
    # in turn: a corner, the other corner, two in one pixel, at the pixel's edge on both sides, and outside
    pixels = [(0, 0), (39, 11), (7, 3), (7.3, 2.8), (20.49, 5), (20.51, 6), (-0.51, 4), (39.51, 4), (3, 11.51)]
    depth = [4.0, 7.5, 30.0, 12.0, 5.0, 6.0, 9.0, 9.0, 9.0]
    points = scan_of(torch.tensor(pixels).double(), torch.tensor(depth).double(), camera, small_K())
    behind = torch.tensor([[-3.0, 0.1, 0.0, 0.0]])  # of the laser; it would project to (21, 6)
    scan = scan_file(root / DAY / DRIVE, 1)
    torch.cat([points, behind]).numpy().astype("<f4").tofile(scan)
    found = RawDrive(root, DRIVE, camera, depth=True).clip([1]).depth
    assert found is not None
    expected = torch.zeros(HEIGHT, WIDTH)
    for (x, y), z in {(0, 0): 4.0, (39, 11): 7.5, (7, 3): 12.0, (20, 5): 5.0, (21, 6): 6.0}.items():
        expected[y, x] = z
    assert torch.allclose(found[0], expected, atol=1e-5)


def loop_depth(points: Tensor, K: Tensor, camera: int, size: tuple[int, int]) -> Tensor:
    """What the evaluations on Eigen's split say of a scan, point by point, in the order that they tell it."""
    depth = torch.zeros(size, dtype=torch.float64)
    motion = cam_T_velo(camera)
    for forward, left, up, _ in points.double().tolist():
        if forward < 0:
            continue
        x, y, z = (K @ (motion[:3] @ torch.tensor([forward, left, up, 1.0]).double())).tolist()
        if z <= 0:
            continue
        column, row = round(x / z) - 1, round(y / z) - 1
        if 0 <= column < size[1] and 0 <= row < size[0] and not 0 < depth[row, column] <= forward:
            depth[row, column] = forward
    return depth.float()


def test_the_depth_of_eigens_evaluation_is_that_of_the_laser_a_pixel_up_left(root: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(3000, 4, generator=generator) * torch.tensor([40.0, 40.0, 8.0, 1.0])
    points -= torch.tensor([5.0, 20.0, 4.0, 0.0])
    points.numpy().astype("<f4").tofile(scan_file(root / DAY / DRIVE, 0))
    eigen = RawDrive(root, DRIVE, 2, depth=True, eigen_depth=True).clip([0]).depth
    assert eigen is not None
    expected = loop_depth(points, small_K(), 2, (HEIGHT, WIDTH))
    assert int((expected > 0).sum()) > 200
    assert torch.equal(eigen[0], expected)
    plain = RawDrive(root, DRIVE, 2, depth=True).clip([0]).depth
    assert plain is not None
    both = (plain[0, 1:, 1:] > 0) & (expected[:-1, :-1] > 0)
    assert torch.equal(plain[0, 1:, 1:] > 0, expected[:-1, :-1] > 0)  # the same points, a pixel on
    offset = (expected[:-1, :-1] - plain[0, 1:, 1:])[both].median()
    assert 0.2 < float(offset) < 0.35  # the laser stands 27 cm behind


def test_a_scan_without_points_in_the_image_is_an_empty_map() -> None:
    depth = scan_depth(torch.tensor([[-1.0, 0.0, 0.0, 0.0]]), cam_T_velo(2), small_K(), (4, 5))
    assert depth.shape == (4, 5)
    assert not depth.any()


def test_a_frame_without_a_scan_has_no_depth_and_a_note_says_so(root: Path) -> None:
    for number in (1, 4):
        scan_file(root / DAY / DRIVE, number).unlink()
    recording = RawDrive(root, DRIVE, 2, depth=True)
    assert recording.notes == ["2 of 6 frames have no laser scan (0000000001, 0000000004): their depth is 0"]
    depth = recording.clip([0, 1]).depth
    assert depth is not None
    assert depth[0].any()
    assert not depth[1].any()
    assert RawDrive(root, DRIVE, 2, depth=True, frames=(2, 4)).notes == []


def test_a_rendered_street_comes_back_from_the_layout(tmp_path: Path) -> None:
    """Images, depth and stereo of a street, written as KITTI's, are read as they were."""
    clip = Rendered("street", [5], 2, (48, 156), stereo=True, depth=True, clip_length=2)[0]
    assert clip.K is not None
    assert clip.depth is not None
    K, baseline = clip.K[0].double(), float(clip.left_T_right[0, 3])
    offsets = {**OFFSETS, 3: (OFFSETS[2][0] - baseline, *OFFSETS[2][1:])}
    write_calibration(tmp_path / DAY, K, (48, 156), offsets)
    folder = tmp_path / DAY / DRIVE
    (folder / "velodyne_points" / "data").mkdir(parents=True)
    v, u = (clip.depth[0] > 0).nonzero().unbind(-1)
    for number in range(2):
        for camera, images in ((2, clip.image), (3, clip.right)):
            write_image(folder / f"image_{camera:02d}" / "data" / f"{number:010d}.png", images[number])
        points = scan_of(torch.stack([u, v], dim=-1).double(), clip.depth[0, v, u].double(), 2, K)
        points.numpy().astype("<f4").tofile(scan_file(folder, number))
    dataset = KITTIRaw(tmp_path, [DRIVE], stereo=True, depth=True)
    found = dataset[0]
    assert torch.equal(found.image, clip.image)
    assert torch.equal(found.right, clip.right)
    assert torch.allclose(found.left_T_right, clip.left_T_right, atol=1e-6)
    ahead = found.depth[0] > 0
    assert torch.equal(ahead, clip.depth[0] > 0)
    assert torch.allclose(found.depth[0][ahead], clip.depth[0][ahead], rtol=1e-5)
    (note,) = dataset.recordings[0].notes
    assert note.endswith("image_02/timestamps.txt: no such file: there are no times")
    assert found.time is None


def test_poses_are_those_of_the_readings(root: Path) -> None:
    recording = RawDrive(root, DRIVE, 2, poses=True)
    found = recording.poses()
    assert found is not None

    def world_T_imu(number: int) -> Tensor:
        """The devkit's Mercator projection, word by word."""
        latitude, longitude, altitude, roll, pitch, yaw = reading(number)
        scale = math.cos(reading(0)[0] * math.pi / 180)
        x = scale * longitude * math.pi * 6378137 / 180
        y = scale * 6378137 * math.log(math.tan((90 + latitude) * math.pi / 360))
        turns = [
            axis_rotation(axis, torch.tensor(turn, dtype=torch.float64))
            for axis, turn in ((2, yaw), (1, pitch), (0, roll))
        ]
        return rigid((turns[0] @ turns[1] @ turns[2]).flatten().tolist(), [x, y, altitude])

    rectified_T_imu = rigid(RECTIFY, [0] * 3) @ rigid(VELO_R, VELO_T) @ rigid(IMU_R, IMU_T)
    cam_T_imu = rigid([1, 0, 0, 0, 1, 0, 0, 0, 1], OFFSETS[2]) @ rectified_T_imu
    start = world_T_imu(0) @ torch.linalg.inv(rectified_T_imu)
    for number in range(COUNT):
        expected = torch.linalg.inv(start) @ world_T_imu(number) @ torch.linalg.inv(cam_T_imu)
        assert torch.allclose(found[number], expected, atol=1e-5)
    sample = recording.clip([2, 3])
    assert torch.equal(sample.world_T_cam, found[2:4])
    part = RawDrive(root, DRIVE, 2, poses=True, frames=(3, 6)).poses()
    assert torch.allclose(part, found[3:])  # an excerpt lies in the same world
    other = RawDrive(root, DRIVE, 3, poses=True).poses()
    baseline = se3.inverse(found) @ other
    assert torch.allclose(baseline, baseline[:1].expand_as(baseline), atol=1e-6)
    assert float(baseline[0, 0, 3]) == pytest.approx(OFFSETS[2][0] - OFFSETS[3][0], abs=1e-6)


def test_a_step_north_is_a_step_of_its_metres() -> None:
    second = 1 / 3600
    rows = [[49.0, 8.4, 100.0, 0, 0, 0], [49.0 + second, 8.4, 101.0, 0, 0, math.pi / 2]]
    rows = torch.tensor(rows, dtype=torch.float64)
    poses = oxts_poses(rows, rows[0])
    assert poses[0].tolist() == torch.eye(4).tolist()
    x, y, z = poses[1, :3, 3].tolist()
    assert (x, z) == pytest.approx((0, 1), abs=1e-6)
    assert y == pytest.approx(6378137 * math.pi / 180 / 3600, rel=1e-4)  # a second of latitude: 30.92 m
    assert poses[1, :3, 0].tolist() == pytest.approx([0, 1, 0], abs=1e-12)  # yaw counts from east


def test_evaluation_sees_the_frames_of_a_list_and_no_others(root: Path, tmp_path: Path) -> None:
    split = write_list(
        tmp_path / "test_files.txt",
        f"{DAY}/{OTHER} 0000000003 l",
        f"{DAY}/{DRIVE} 0000000004 l",
        f"{DAY}/{DRIVE} 0000000001 l",
    )
    dataset = KITTIRawSplit(root, split, depth=True, poses=True, clip_length=1)
    assert [(one.name, list(one.frames)) for one in dataset.recordings] == [(DRIVE, [1, 4]), (OTHER, [3])]
    first = dataset.recordings[0]
    assert first.names == ["000001", "000004"]
    sample = first.clip([0, 1])
    assert sample.image[:, 0, 0, 0].mul(255).round().tolist() == [22, 82]
    assert sample.time.tolist() == pytest.approx([0.1036, 0.4144])
    whole = RawDrive(root, DRIVE, 2, depth=True, poses=True)
    assert torch.equal(sample.world_T_cam, whole.poses()[[1, 4]])
    assert torch.equal(sample.depth, whole.clip([1, 4]).depth)
    assert [dataset[index].image[0, 0, 0, 0].mul(255).round().item() for index in range(3)] == [62, 82, 22]
    with pytest.raises(IndexError):
        dataset.place(3)


def test_a_named_frame_needs_no_image_beside_it(root: Path, tmp_path: Path) -> None:
    for number in (0, 1, 2, 4, 5):
        (root / DAY / DRIVE / "image_02" / "data" / f"{number:010d}.png").unlink()
    split = write_list(tmp_path / "test.txt", f"{DAY}/{DRIVE} 3 l")
    assert KITTIRawSplit(root, split, clip_length=1).recordings[0].clip([0]).image[0, 0, 0, 0] == 62 / 255
    with pytest.raises(Vo3dError, match=r"of 2 views around frame 3 of .* needs frame 4, which is not there"):
        KITTIRawSplit(root, split)


@pytest.mark.parametrize(
    ("clip_length", "stride", "expected"),
    [
        (1, 1, [[2], [0], [5]]),
        (2, 1, [[2, 3], [0, 1], [4, 5]]),
        (3, 1, [[1, 2, 3], [0, 1, 2], [3, 4, 5]]),
        (3, 2, [[0, 2, 4], [0, 2, 4], [1, 3, 5]]),
        (6, 1, [[0, 1, 2, 3, 4, 5]] * 3),
    ],
)
def test_training_sees_clips_around_the_frames_of_a_list(
    root: Path, tmp_path: Path, clip_length: int, stride: int, expected: list[list[int]]
) -> None:
    split = write_list(tmp_path / "train.txt", *(f"{DAY}/{DRIVE} {number} l" for number in (2, 0, 5)))
    dataset = KITTIRawSplit(root, split, clip_length=clip_length, frame_stride=stride, stereo=True)
    seen = [(dataset[index].image[:, 0, 0, 0] * 255 - 2).div(20).round().int().tolist() for index in range(3)]
    assert seen == expected
    assert [list(one.frames) for one in dataset.recordings] == [[0, 2, 5]]
    (batch,) = DataLoader(dataset, batch_size=3, collate_fn=Sample.collate)
    assert batch.right.shape == (3, clip_length, 3, HEIGHT, WIDTH)


def test_a_side_is_a_camera_of_its_own_unless_pairs_are_wanted(root: Path, tmp_path: Path) -> None:
    lines = [f"{DAY}/{DRIVE} {number} {side}" for number, side in ((2, "r"), (2, "l"), (3, "r"))]
    split = write_list(tmp_path / "train.txt", *lines)
    mono = KITTIRawSplit(root, split, clip_length=1)
    assert [one.name for one in mono.recordings] == [DRIVE, f"{DRIVE}_image_03"]
    assert [mono[index].image[0, 0, 0, 0].mul(255).round().item() for index in range(3)] == [43, 42, 63]
    pairs = KITTIRawSplit(root, split, clip_length=1, stereo=True)
    assert [pairs[index].image[0, 0, 0, 0].mul(255).round().item() for index in range(len(pairs))] == [42, 62]
    assert [pairs[index].right[0, 0, 0, 0].mul(255).round().item() for index in range(len(pairs))] == [43, 63]
    (note,) = pairs.recordings[0].notes
    assert note.endswith("train.txt: 1 frames are named for both sides: with stereo each pair comes once")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def cam_to_cam(root: Path) -> Path:
    return root / DAY / "calib_cam_to_cam.txt"


def harm_by(name: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda root: edit(root / DAY / name, old, new)


def stamps(root: Path) -> Path:
    return root / DAY / DRIVE / "image_02" / "timestamps.txt"


def oxts(root: Path, number: int = 0) -> Path:
    return root / DAY / DRIVE / "oxts" / "data" / f"{number:010d}.txt"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: cam_to_cam(root).unlink(), r"calib_cam_to_cam.txt: no such file: expected a calibration file"),
        (lambda root: cam_to_cam(root).write_text(""), "holds no P_rect_00 to P_rect_03"),
        (harm_by("calib_cam_to_cam.txt", "P_rect_02", "Q_rect_02"), "calib_cam_to_cam.txt: has no P_rect_02"),
        (harm_by("calib_cam_to_cam.txt", "P_rect_03: 2", "P_rect_03: x"), r"txt:34: 'x[^']*': expected a finite"),
        (harm_by("calib_cam_to_cam.txt", "P_rect_03: ", "P_rect_03: 1 "), r"P_rect_03 is followed by 13 numbers: exp"),
        (harm_by("calib_cam_to_cam.txt", "P_rect_03: ", "P_rect_02: "), r"txt:34: a second P_rect_02: expected each"),
        (harm_by("calib_cam_to_cam.txt", "P_rect_03: 2", "P_rect_03: -2"), "P_rect_03 is no projection of a rectif"),
        (harm_by("calib_cam_to_cam.txt", "P_rect_03: 2", "P_rect_03: 3"), "left and right camera differ in K"),
        (harm_by("calib_cam_to_cam.txt", "S_rect_02", "S_rect_22"), "calib_cam_to_cam.txt: has no S_rect_02, only"),
        (harm_by("calib_cam_to_cam.txt", "R_rect_00: 9", "R_rect_00: 2"), r"R_rect_00: not a rotation"),
        (harm_by("calib_cam_to_cam.txt", "calib_time:", "calib_time"), None),  # a colon is in the time
        (harm_by("calib_cam_to_cam.txt", "corner_dist:", "corner_dist"), r"txt:2: 'corner_dist .*: expected a calib"),
        (harm_by("calib_velo_to_cam.txt", "R: 7", "R: 9"), None),  # a rotation to the digits that are published
        (harm_by("calib_velo_to_cam.txt", "T: ", "t: "), "calib_velo_to_cam.txt: has no T, only"),
        (lambda root: (root / DAY / "calib_imu_to_velo.txt").unlink(), "calib_imu_to_velo.txt: no such file"),
        (lambda root: scan_file(root / DAY / DRIVE, 1).write_bytes(b"1234567"), "1.bin: has 7 bytes: expected 16 a po"),
        (lambda root: scan_file(root / DAY / DRIVE, 1).write_bytes(b""), "1.bin: has 0 bytes: expected 16 a point"),
        (
            lambda root: np.array([[1, 2, np.nan, 0]], "<f4").tofile(scan_file(root / DAY / DRIVE, 1)),
            "1.bin: point 0 is not finite",
        ),
        (lambda root: oxts(root, 3).unlink(), "0000000003.txt: no such file: expected a GPS/IMU reading"),
        (lambda root: oxts(root).write_text("1 2 3\n"), "0000000000.txt: has 3 numbers: expected one line of 30"),
        (lambda root: oxts(root).write_text("\n"), "0000000000.txt: has 0 lines: expected one line of 30 numbers"),
        (lambda root: edit(oxts(root), "49.015", "149.015"), r"0.txt:1: latitude 149.015, longitude 8.43: expected"),
        (lambda root: edit(oxts(root), "49.015", "nan"), r"0.txt:1: 'nan': expected a finite number"),
        (lambda root: stamps(root).write_text("2011-09-26 13:02:25.9\n"), r"has 1 stamps, and there is a frame 5"),
        (lambda root: stamps(root).write_text(""), "timestamps.txt: is empty: expected a stamp a line"),
        (lambda root: stamps(root).write_text("0.1\n"), r"timestamps.txt:1: '0.1': expected a stamp as 2011-09-26"),
        (
            lambda root: stamps(root).write_text("2011-13-26 13:02:25\n"),
            r"stamps.txt:1: '2011-13-26 13:02:25': expected",
        ),
        (
            lambda root: (root / DAY / DRIVE / "image_02" / "data" / "0000000002.png").unlink(),
            r"0000000002.png or .jpg, the first of 1 missing between 0 and 4",
        ),
        (
            lambda root: (root / DAY / DRIVE / "image_03" / "data" / "0000000002.png").unlink(),
            r"image_03/data/0000000002.png or .jpg, the first of 1 missing of 6 that are asked for: complete",
        ),
        (
            lambda root: (root / DAY / DRIVE / "image_02" / "data" / "0000000002.jpg").write_bytes(b"1"),
            r"0000000002.png: 0000000002.jpg is of the same name",
        ),
    ],
)
def test_harmed_files_are_one_clear_line(root: Path, harm: Callable[[Path], object], words: str | None) -> None:
    def read() -> Sample:
        return KITTIRaw(root, [DRIVE], stereo=True, depth=True, poses=True, clip_length=COUNT)[0]

    read()
    harm(root)
    if words is None:
        assert read().image.shape == (COUNT, 3, HEIGHT, WIDTH)
        return
    with pytest.raises(Vo3dError, match=words) as caught:
        read()
    assert "\n" not in str(caught.value)


def test_images_of_another_size_than_their_calibration_are_refused(root: Path) -> None:
    for path in (root / DAY / DRIVE / "image_02" / "data").iterdir():
        cv2.imwrite(str(path), np.zeros((6, 20, 3), np.uint8))
    with pytest.raises(Vo3dError, match=r"0000000000.png: is 20x6 pixels, and calib_cam_to_cam.txt says 40x12"):
        KITTIRaw(root, [DRIVE])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"root": "gone"}, "gone: no such folder: expected the root of KITTI raw"),
        ({"drives": ["2011_09_28_drive_0001_sync"]}, "2011_09_28: no such date: there are 2011_09_26; choose"),
        ({"drives": ["2011_09_26_drive_0002_sync"]}, f"no such drive: there are {DRIVE}, {OTHER}; choose one"),
        ({"drives": []}, "no recording to take clips from"),
        ({"drives": [DRIVE, DRIVE]}, "is asked for twice"),
        ({"frames": (3, 9)}, r"0000000006.png or .jpg, the first of 3 missing between 3 and 8"),
        ({"frames": (3, 3)}, "frames 3 to 3 is no range"),
        ({"eigen_depth": True}, "eigen_depth without depth: turn depth on"),
        ({"size": (0, 4)}, "no image size"),
    ],
)
def test_impossible_options_are_one_clear_line(root: Path, options: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"root": root, "drives": [DRIVE], **options}
    given["root"] = root / str(given["root"])
    with pytest.raises(Vo3dError, match=words):
        KITTIRaw(**given)  # type: ignore[arg-type]


def test_what_is_asked_for_and_not_there_is_named(root: Path) -> None:
    for name in ("velodyne_points", "oxts"):
        for path in (root / DAY / DRIVE / name / "data").iterdir():
            path.unlink()
    assert KITTIRaw(root, [DRIVE])[0].depth is None
    with pytest.raises(Vo3dError, match="velodyne_points/data: holds no scan of the 6 frames"):
        KITTIRaw(root, [DRIVE], depth=True)
    with pytest.raises(Vo3dError, match="oxts/data: holds no reading: expected"):
        KITTIRaw(root, [DRIVE], poses=True)
    for path in (root / DAY / DRIVE / "image_02" / "data").iterdir():
        path.unlink()
    with pytest.raises(Vo3dError, match=r"image_02/data: holds no image: expected 0000000000\.png"):
        KITTIRaw(root, [DRIVE])
    (root / DAY / DRIVE / "image_02" / "data").rmdir()
    with pytest.raises(Vo3dError, match="image_02/data: no such folder: expected <date>"):
        KITTIRaw(root, [DRIVE])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["# nothing"], "list.txt: names no frame: expected lines such as 2011_09_26/2011"),
        ([f"{DAY}/{DRIVE} 1 l", f"{DAY}/{DRIVE}"], r"list.txt:2: .*_sync': expected lines such as"),
        ([f"{DAY}/{DRIVE} 1 m"], r"list.txt:1: .* 1 m': expected lines such as"),
        ([f"{DAY}/{DRIVE} one l"], r"list.txt:1: 'one' as the number of a frame: expected a whole number"),
        ([f"{DAY}/{DRIVE} -1 l"], "list.txt:1: frame -1: expected lines such as"),
        (["8 4056 r"], "list.txt:1: '8 4056 r': expected lines such as"),  # of the odometry set
        ([f"{DAY}/{DRIVE} 1 l", f"{DAY}/{DRIVE} 0001 l"], "list.txt:2: is in line 1 already: name each frame once"),
        ([f"{DAY}/{DRIVE} 9 l"], r"0000000009.png or .jpg, the first of 1 missing of 1 that are asked for"),
        ([f"{DAY}/2011_09_26_drive_0002_sync 1 l"], "no such drive: there are"),
    ],
)
def test_odd_lists_are_one_clear_line(root: Path, tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(Vo3dError, match=words) as caught:
        KITTIRawSplit(root, write_list(tmp_path / "list.txt", *lines))
    assert "\n" not in str(caught.value)


def test_lengths_of_clips_of_a_list_are_checked(root: Path, tmp_path: Path) -> None:
    split = write_list(tmp_path / "list.txt", f"{DAY}/{DRIVE} 1")
    for options, words in (
        ({"clip_length": 0}, "clip_length is 0"),
        ({"frame_stride": 0}, "frame_stride is 0"),
        ({"clip_length": 7}, "needs frame 6, which is not there"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(Vo3dError, match=words):
            KITTIRawSplit(root, split, **options)  # type: ignore[arg-type]


def test_stamps_count_from_the_first_to_the_nanosecond(tmp_path: Path) -> None:
    text = "2011-09-26 23:59:59.900000001\n2011-09-27 00:00:00\n2011-09-27 00:00:00.100000002\n"
    (tmp_path / "timestamps.txt").write_text(text, encoding="utf-8")
    time = read_timestamps(tmp_path / "timestamps.txt")
    assert time.tolist() == pytest.approx([0, 0.099999999, 0.200000001], abs=1e-12)


@pytest.mark.real
def test_the_published_calibration_is_read(shared_data: Path) -> None:
    folder = shared_data / "kitti_odometry" / "calib_raw_example"
    cameras = read_cameras(folder / "calib_cam_to_cam.txt")
    assert cameras.size == dict.fromkeys(range(4), (375, 1242))
    assert cameras.P[2][0].tolist() == [721.5377, 0, 609.5593, 44.85728]
    assert read_motion(folder / "calib_velo_to_cam.txt")[:3, 3].tolist() == [-0.004069766, -0.07631618, -0.2717806]
    assert read_motion(folder / "calib_imu_to_velo.txt")[0, 0] == 0.9999976
    with pytest.raises(Vo3dError, match=r"calib_cam_to_cam\.txt: has no R, only calib_time, corner_dist"):
        read_motion(folder / "calib_cam_to_cam.txt")
    with pytest.raises(Vo3dError, match="expected one line of 30 numbers"):
        read_oxts(folder / "calib_imu_to_velo.txt")


def test_a_drive_is_opened_by_its_folder_alone(root: Path) -> None:
    layout, found = open_sequence(root / DAY / DRIVE, {"frames": (1, 3)})
    assert layout.words == "a drive of KITTI raw"
    assert (found.name, len(found)) == (DRIVE, 2)
    expected = KITTIRaw(root, [DRIVE]).recordings[0].clip([1, 2])
    assert torch.equal(found.clip([0, 1]).image, expected.image)  # in colour
    for camera in (2, 3):
        shutil.rmtree(root / DAY / DRIVE / f"image_{camera:02d}")
    grey = KITTIRaw(root, [DRIVE], colour=False).recordings[0].clip([0])
    assert torch.equal(open_sequence(root / DAY / DRIVE, {})[1].clip([0]).image, grey.image)

"""Inertial readings of KITTI's raw recordings: axes, clock, where they are from, files that are harmed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kitti_raw_tree import (
    COUNT,
    DAY,
    DRIVE,
    FIRST,
    INTERVAL,
    inertial_row,
    small_K,
    stamp,
    write_calibration,
    write_drive,
    write_oxts,
)
from vo3d.datasets.kitti_raw import KITTIRaw
from vo3d.errors import Vo3dError
from vo3d.formats.kitti_raw import read_cameras, read_motion, read_timestamps
from vo3d.geometry import se3

EXTRACT = DRIVE.replace("_sync", "_extract")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A day with one drive."""
    write_calibration(tmp_path / DAY, small_K(), (12, 40))
    write_drive(tmp_path / DAY, DRIVE)
    return tmp_path


def write_whole(root: Path, first: float, count: int) -> Path:
    """Write the drive as it was recorded: 100 readings a second."""
    write_oxts(root / DAY / EXTRACT, [first + 0.01 * number for number in range(count)])
    return root / DAY / EXTRACT / "oxts"


def check_readings(root: Path, frames: tuple[int, int] | None = None) -> torch.Tensor:
    """Compare the readings of all steps with what they are read from, and return the instants of the first step."""
    clip = KITTIRaw(
        root, [DRIVE], imu=True, frames=frames, clip_length=(frames or (0, COUNT))[1] - (frames or (0,))[0]
    )[0]
    known = ~clip.imu_time.isnan()
    since = clip.imu_time[known] + FIRST
    expected = torch.tensor([inertial_row(time) for time in since.tolist()])
    torch.testing.assert_close(clip.imu[known], expected, atol=1e-5, rtol=0)
    assert bool((clip.imu_time[1:, 0] == clip.time[:-1]).all())
    for view in range(1, len(clip.time)):
        assert float(clip.imu_time[view][known[view]][-1]) == float(clip.time[view])
    return clip.imu_time[1][known[1]]


def test_readings_of_the_synchronised_drive_are_those_at_their_instants(root: Path) -> None:
    instants = check_readings(root)
    torch.testing.assert_close(instants, torch.tensor([0.0, 0.004, INTERVAL]).double(), atol=1e-8, rtol=0)
    check_readings(root, (1, 4))
    dataset = KITTIRaw(root, [DRIVE], imu=True)
    assert dataset.recordings[0].notes == [f"inertial readings of {DRIVE}/oxts, 10 a second"]
    assert KITTIRaw(root, [DRIVE])[0].imu is None


def test_readings_of_the_recorded_drive_are_taken_where_it_is_there(root: Path) -> None:
    write_whole(root, FIRST - 0.0155, 60)
    instants = check_readings(root)
    inside = torch.arange(11).double() / 100 - 0.0155 + 0.02
    inside = inside[(inside > 0) & (inside < INTERVAL)]
    torch.testing.assert_close(instants[1:-1], inside, atol=1e-8, rtol=0)
    assert KITTIRaw(root, [DRIVE], imu=True).recordings[0].notes == [
        f"inertial readings of {EXTRACT}/oxts, 100 a second"
    ]


@pytest.mark.parametrize("colour", [True, False])
def test_the_sensor_sits_where_the_calibration_says(root: Path, colour: bool) -> None:
    clip = KITTIRaw(root, [DRIVE], imu=True, poses=True, colour=colour)[0]
    day = root / DAY
    rectified_T_imu = read_cameras(day / "calib_cam_to_cam.txt").rectify @ read_motion(day / "calib_velo_to_cam.txt")
    rectified_T_imu = rectified_T_imu @ read_motion(day / "calib_imu_to_velo.txt")
    ahead = clip.cam_T_imu[:3, :3] @ torch.tensor([1.0, 0.0, 0.0])
    assert float(ahead[2]) > 0.999  # the car's x is the camera's z
    expected = rectified_T_imu if not colour else None
    if expected is not None:
        torch.testing.assert_close(clip.cam_T_imu.double(), expected, atol=1e-6, rtol=0)
    else:
        apart = (clip.cam_T_imu.double() @ se3.inverse(rectified_T_imu))[:3, 3]
        torch.testing.assert_close(apart, torch.tensor([0.0598, -0.00035, 0.0027]).double(), atol=1e-6, rtol=0)


def test_stamps_of_another_file_count_in_the_clock_of_the_first(root: Path) -> None:
    folder = root / DAY / DRIVE
    clock = folder / "image_02" / "timestamps.txt"
    time = read_timestamps(folder / "oxts" / "timestamps.txt", clock)
    expected = 0.004 + INTERVAL * torch.arange(COUNT).double()
    torch.testing.assert_close(time, expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(
        read_timestamps(clock, folder / "oxts" / "timestamps.txt"), expected - 0.008, atol=1e-8, rtol=0
    )


def rewrite_stamps(folder: Path, times: list[float]) -> None:
    (folder / "timestamps.txt").write_text("\n".join(map(stamp, times)) + "\n", encoding="utf-8")


def gap(root: Path) -> None:
    folder = write_whole(root, FIRST - 0.02, 60)
    for number in range(20, 40):
        (folder / "data" / f"{number:010d}.txt").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (
            lambda root: (root / DAY / DRIVE / "oxts/timestamps.txt").unlink(),
            r"oxts/timestamps.txt: no such file: expected a stamp for each reading",
        ),
        (
            lambda root: rewrite_stamps(root / DAY / DRIVE / "oxts", [FIRST, FIRST + 0.1]),
            r"oxts/timestamps.txt: has 2 stamps, and there is a reading 5: expected one for each",
        ),
        (
            lambda root: rewrite_stamps(root / DAY / DRIVE / "oxts", [FIRST + 0.1 - 0.1 * n for n in range(6)]),
            r"oxts/timestamps.txt: reading 1 at 0.000000 s follows 0.100000 s: expected two or more with ascending",
        ),
        (
            lambda root: rewrite_stamps(root / DAY / DRIVE / "oxts", [FIRST + 90 + 0.1 * n for n in range(6)]),
            r"oxts/timestamps.txt: the stamps lie 90.000 to 90.500 s after the first image: expected the frames",
        ),
        (gap, r"oxts/timestamps.txt: no reading for 0.210 s after 0.170000 s, 5 times the usual 0.0100 s"),
        (lambda root: write_whole(root, FIRST + 0.05, 60), r"oxts/timestamps.txt: the readings begin 0.050 s after"),
        (lambda root: write_whole(root, FIRST - 0.05, 10), r"oxts/timestamps.txt: the readings end 0.478 s before"),
        (
            lambda root: (root / DAY / DRIVE / "image_02/timestamps.txt").unlink(),
            r"image_02/timestamps.txt: no such file: expected it, to know when frames were taken",
        ),
        (
            lambda root: [path.unlink() for path in (root / DAY / DRIVE / "oxts/data").iterdir()],
            r"oxts/data: holds no reading: expected 0000000000.txt and on, or turn imu off",
        ),
        (
            lambda root: (root / DAY / DRIVE / "oxts/data/0000000002.txt").write_text("1 2 3\n"),
            r"0000000002.txt: has 3 numbers: expected one line of 30",
        ),
        (lambda root: (root / DAY / "calib_imu_to_velo.txt").unlink(), r"calib_imu_to_velo.txt: no such file"),
    ],
)
def test_harmed_readings_are_one_clear_line(root: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(root)
    with pytest.raises(Vo3dError, match=rf"^[^\n]*{words}[^\n]*$"):
        KITTIRaw(root, [DRIVE], imu=True)


def test_one_frame_has_no_readings_between_frames(root: Path) -> None:
    with pytest.raises(Vo3dError, match="one frame with imu: expected two or more"):
        KITTIRaw(root, [DRIVE], imu=True, frames=(2, 3), clip_length=1)

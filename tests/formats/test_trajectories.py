"""Trajectory files: what is written comes back, what is wrong is named with its line."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.trajectories import Trajectory, TrajectoryFormat, check_poses, read_trajectory, write_trajectory
from vo3d.geometry import se3

IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0"


@pytest.fixture
def trajectory(generator: torch.Generator) -> Trajectory:
    poses = se3.exp(torch.randn(20, 6, generator=generator, dtype=torch.float64))
    time = 1_403_636_579.763555584 + torch.arange(20, dtype=torch.float64) * 0.05
    return Trajectory(world_T_cam=poses, time=time)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def refused(path: Path, format: TrajectoryFormat | Literal["auto"], *lines: str) -> str:
    """The message that reading these lines ends with, without the path."""
    with pytest.raises(Vo3dError) as caught:
        read_trajectory(write(path, *lines), format)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize("format", ["kitti", "tum", "euroc"])
def test_what_is_written_is_read(tmp_path: Path, trajectory: Trajectory, format: TrajectoryFormat) -> None:
    path = tmp_path / "new" / "folder" / "poses.txt"
    write_trajectory(path, trajectory, format)
    back = read_trajectory(path, format)
    if format == "kitti":
        assert back.time is None
        assert torch.equal(back.world_T_cam, trajectory.world_T_cam)  # every digit
    else:
        assert torch.equal(back.time, trajectory.time)
        torch.testing.assert_close(back.world_T_cam, trajectory.world_T_cam, rtol=0, atol=1e-14)
    assert back.time_unit == {"kitti": None, "tum": "s", "euroc": "ns"}[format]
    assert back.pose_of == ("body" if format == "euroc" else "camera")
    assert [entry.name for entry in path.parent.iterdir()] == ["poses.txt"]


def test_columns_mean_what_the_formats_say(tmp_path: Path) -> None:
    half = 0.7071067811865476  # a quarter turn about z
    turned = torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], dtype=torch.float64)
    for format, line in {
        "kitti": "0 -1 0 1 1 0 0 2 0 0 1 3",
        "tum": f"10.5 1 2 3 0 0 {half} {half}",
        "euroc": f"10500000000,1,2,3,{half},0,0,{half}",
    }.items():
        found = read_trajectory(write(tmp_path / format, "# a comment", "", line), format)
        torch.testing.assert_close(found.world_T_cam[0], turned, rtol=0, atol=1e-15)


def test_an_index_before_kitti_rows_is_kept(tmp_path: Path, trajectory: Trajectory) -> None:
    frames = torch.arange(20) * 3 + 5
    path = tmp_path / "part.txt"
    write_trajectory(path, Trajectory(world_T_cam=trajectory.world_T_cam, frames=frames), "kitti")
    back = read_trajectory(path, "kitti")
    assert torch.equal(back.frames, frames)
    assert torch.equal(back.world_T_cam, trajectory.world_T_cam)
    write_trajectory(path, Trajectory(world_T_cam=trajectory.world_T_cam, frames=torch.arange(20)), "kitti")
    assert read_trajectory(path, "kitti").frames is None  # the official layout where nothing is left out


@pytest.mark.parametrize(
    ("stamps", "unit", "first"),
    [
        (("1403636579.76", "1403636579.81"), "s", 1403636579.76),
        (("0", "1", "900"), "s", 0),
        (("0", "1000000"), "ns", 0),
        (("1403636579763555584", "1403636579813555456"), "ns", 1403636579.763555584),
        (("1403636579763555584",), "ns", 1403636579.763555584),
        (("12.5",), "s", 12.5),
        (("0.0", "10.0", "20.0"), "s", 0),
        (("7", "8", "9", "30"), "s", 7),
        (("1403636579050", "1403636579100"), "ms", 1403636579.05),
        (("1403636579050000", "1403636579100000"), "us", 1403636579.05),
        (("1000000000", "1050000000", "1100000000"), "ns", 1.0),  # a clock of a second: no date, by its steps
    ],
)
def test_the_unit_of_time_is_detected_and_said(tmp_path: Path, stamps: tuple[str], unit: str, first: float) -> None:
    path = write(tmp_path / "a.txt", *(f"{stamp} 0 0 0 0 0 0 1" for stamp in stamps))
    found = read_trajectory(path, "tum")
    assert found.time_unit == unit
    assert found.time[0] == first


def test_a_unit_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    lines = [f"{stamp} 0 0 0 0 0 0 1" for stamp in (0, 50_000, 100_000)]  # microseconds, it seems
    message = refused(tmp_path / "a.txt", "tum", *lines)
    assert "50000 apart, from 0 on, may be seconds, milliseconds or microseconds" in message
    assert "--time-unit s, ms, us or ns, which vo3d convert-trajectory has for other verbs" in message
    for unit, last in (("s", 100_000), ("ms", 100), ("us", 0.1), ("ns", 100_000 / 1e9)):
        found = read_trajectory(tmp_path / "a.txt", "tum", time_unit=unit)
        assert (found.time_unit, found.time[-1]) == (unit, last)


@pytest.mark.parametrize(
    ("format", "lines", "message"),
    [
        ("kitti", (IDENTITY, IDENTITY + " 0 0"), ":2: 14 columns; expected 12, as in line 1"),
        ("kitti", ("# x", "1 2 3"), ":2: 3 columns; expected 12 (or 13 with a frame index first)"),
        ("kitti", ("0 " + IDENTITY, IDENTITY), ":2: 12 columns; expected 13, as in line 1"),
        ("kitti", (IDENTITY, "", "1 0 0 O" + IDENTITY[7:]), ":3: 'O' is not a number"),
        ("kitti", (IDENTITY, "1 0 0 nan" + IDENTITY[7:]), ":2: 'nan' in a pose"),
        ("kitti", (IDENTITY, "1 0 0 -inf" + IDENTITY[7:]), ":2: '-inf' in a pose"),
        ("kitti", (IDENTITY, "1 0 0 " + "9" * 400 + IDENTITY[7:]), f":2: '{'9' * 115}...' in a pose"),
        ("kitti", (IDENTITY, "2 0 0 0 0 2 0 0 0 0 2 0"), ":2: not a rotation: R^T R differs from 1 by 3"),
        ("kitti", (IDENTITY, "1 0 0 0 0 1 0 0 0 0 -1 0"), ":2: not a rotation"),
        ("kitti", ("0 " + IDENTITY, "2 " + IDENTITY, "1 " + IDENTITY), ":3: frame index 1 after 2"),
        ("kitti", ("0.5 " + IDENTITY,), ":1: frame index '0.5'"),
        ("kitti", ("-1 " + IDENTITY,), ":1: frame index '-1'"),
        ("kitti", ("1e30 " + IDENTITY,), ":1: frame index '1e30'; expected a whole number from 0 to"),
        ("kitti", (IDENTITY, "1 0 0 1e200" + IDENTITY[7:]), ":2: the position is 1e+200 0 0; expected up to 1e+09"),
        ("tum", ("1 0 0 -1e10 0 0 0 1",), ":1: the position is 0 0 -1e+10"),
        ("tum", ("-1 0 0 0 0 0 0 1", "2 0 0 0 0 0 0 1"), ":1: time stamp -1; expected 0 or more"),
        ("tum", ("1 \x1b[31m" + "x" * 999 + " 0 0 0 0 0 1",), r":1: '\x1b[31mxxx"),
        ("euroc", ("9" * 5000 + ",0,0,0,1,0,0,0",), f":1: '{'9' * 115}...' in a pose"),
        ("tum", ("1 0 0 0 0 0 0 1", "2 0 0 0 0 0 0"), ":2: 7 columns; expected 8"),
        ("tum", ("1 0 0 0 0 0 0 1.02",), ":1: not a rotation: the quaternion has length 1.02, expected 1 (within 1 %)"),
        ("tum", ("2.5 0 0 0 0 0 0 1", "# x", "1.5 0 0 0 0 0 0 1"), ":3: time stamp 1.5 after 2.5"),
        ("tum", ("1 0 0 0 0 0 0 0",), ":1: not a rotation: the quaternion has length 0"),
        ("tum", ("1 0 0 0 0 0 0.6 0.6",), ":1: not a rotation: the quaternion has length 0.848528"),
        ("euroc", ("#timestamp", "1,0,0,0,1,0,0"), ":2: 7 columns; expected at least 8"),
        ("euroc", ("1,0,0,0,1,0,0,0", "timestamp,p,p,p,q,q,q,q"), ":2: 'timestamp' is not a number"),
        ("euroc", ("timestamp,p,p,p,q,q,q,q",), ": no poses"),
        ("euroc", ("1,0,0,0,1,0,0,0,nan", "2,0,0,0,1,0,0,nan,9"), ":2: 'nan' in a pose"),
        ("euroc", ("1,0,0,0,1,0,0,0,nan", "2,0,0,0,1,0,0,0"), ":2: 8 columns; expected 9, as in line 1"),
        ("euroc", ("1;0;0;0;1;0;0;0",), ":1: 1 columns; expected at least 8"),
        ("kitti", ("",), ": no poses"),
        ("tum", ("# nothing", "#"), ": no poses"),
    ],
)
def test_mistakes_are_named_with_their_line(
    tmp_path: Path, format: TrajectoryFormat, lines: tuple[str], message: str
) -> None:
    assert refused(tmp_path / "poses.txt", format, *lines).startswith(message)


@pytest.mark.parametrize(
    ("lines", "format"),
    [
        ((IDENTITY,), "kitti"),
        (("7 " + IDENTITY,), "kitti"),
        (("1.5 0 0 0 0 0 0 1",), "tum"),
        (("# timestamp tx ty tz qx qy qz qw", "1.5,0,0,0,0,0,0,1"), "tum"),
        (("1403636579763555584,0,0,0,1,0,0,0",), "euroc"),
        (("1403636579763555584,0,0,0,1,0,0,0,9,9,9",), "euroc"),
        (("#timestamp [ns],p_x,p_y,p_z,q_RS_w [],q_RS_x [],q_RS_y [],q_RS_z []", "0,0,0,0,1,0,0,0"), "euroc"),
        (("# time tx ty tz qw qx qy qz", "1.5,0,0,0,1,0,0,0"), "euroc"),
    ],
)
def test_the_format_is_told_by_the_file(tmp_path: Path, lines: tuple[str], format: TrajectoryFormat) -> None:
    found = read_trajectory(write(tmp_path / "poses.txt", *lines))
    assert found.format == format
    assert torch.equal(found.world_T_cam[0], torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("above", ["", "\ufeff", "# of a program\n\n"])
def test_names_of_columns_above_the_rows_need_no_sign(tmp_path: Path, above: str, end: str) -> None:
    for names, row, format in (
        ("timestamp tx ty tz qx qy qz qw", "{} 0 0 0 0 0 0 1", "tum"),
        ('"timestamp","tx","ty","tz","qx","qy","qz","qw"', "{},0,0,0,0,0,0,1", "tum"),
        ("t [s],p_x,p_y,p_z,q_w,q_x,q_y,q_z", "{},0,0,0,1,0,0,0", "euroc"),
    ):
        text = above + "\n".join([names, *(row.format(second) for second in (1.5, 2.5, 3.5))]) + "\n"
        path = tmp_path / "poses.txt"
        path.write_bytes(text.replace("\n", end).encode())
        found = read_trajectory(path)
        assert found.format == format
        assert found.time.tolist() == [1.5, 2.5, 3.5]
        assert torch.equal(found.world_T_cam[2], torch.eye(4, dtype=torch.float64))


def test_what_follows_the_pose_in_rows_of_euroc_may_be_anything(tmp_path: Path) -> None:
    for rest in (",", ",nan,1", ",ok"):
        rows = (f"{stamp},1,2,3,1,0,0,0{rest}" for stamp in (1403636579763555584, 1403636579813555584))
        found = read_trajectory(write(tmp_path / "poses.csv", *rows))
        assert found.nanoseconds.tolist() == [1403636579763555584, 1403636579813555584]
        assert found.world_T_cam[1, :3, 3].tolist() == [1, 2, 3]


def test_a_format_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    line = "1403636579.5,5,0,0,0,0,0,1"  # w last, as it happens; half a turn, if it came first
    open_ = "8 columns, and whether q_w comes first (EuRoC) or last (TUM) is open; say which (--format tum or euroc)"
    assert open_ in refused(tmp_path / "poses.txt", "auto", line)
    assert read_trajectory(write(tmp_path / "poses.tum", line)).format == "tum"
    assert read_trajectory(tmp_path / "poses.txt", "tum").world_T_cam[0, 0, 0] == 1
    assert read_trajectory(tmp_path / "poses.txt", "euroc").world_T_cam[0, 0, 0] == -1
    assert open_ in refused(tmp_path / "poses.txt", "auto", "# ts x y z qw qx qy qz", "1.5 0 0 0 1 0 0 0")
    assert "9 columns; expected 12 or 13 (KITTI)" in refused(tmp_path / "poses.txt", "auto", "1 2 3 4 5 6 7 8 9")


def test_a_byte_order_mark_is_no_content(tmp_path: Path, trajectory: Trajectory) -> None:
    for format in ("kitti", "tum", "euroc"):
        path = tmp_path / format
        write_trajectory(path, trajectory, format)
        plain = read_trajectory(path)
        whole = path.read_bytes()
        for content in (whole, b"\n".join(whole.splitlines()[-20:])):  # with a comment above, and without
            path.write_bytes(b"\xef\xbb\xbf" + content)
            assert torch.equal(read_trajectory(path, format).world_T_cam, plain.world_T_cam)


def test_equal_stamps_are_kept_once_and_counted(tmp_path: Path) -> None:
    rows = ["0 0 0 0 0 0 0 1", "0.1 1 0 0 0 0 0 1", "0.1 1 0 0.5 0 0 0 1", "0.1 9 0 0 0 0 0 1", "0.2 2 0 0 0 0 0 1"]
    path = write(tmp_path / "a.tum", "# t", *rows)
    found = read_trajectory(path)
    assert found.time.tolist() == [0, 0.1, 0.2]
    assert found.nanoseconds.tolist() == [0, 100_000_000, 200_000_000]
    assert found.world_T_cam[:, 0, 3].tolist() == [0, 1, 2]
    assert [*found.notes] == [
        f"{path}: 2 rows left out with the time stamp of the row before (line 4): the first of equal ones is kept, "
        "whose positions differ by up to 8.02 m: which is right the file does not tell"
    ]
    path = write(tmp_path / "a.kitti", f"4 {IDENTITY}", f"4 {IDENTITY}", f"6 {IDENTITY}")
    found = read_trajectory(path)
    assert found.frames.tolist() == [4, 6]
    assert [*found.notes] == [
        f"{path}: 1 row left out with the frame index of the row before (line 2): the first of equal ones is kept"
    ]


def test_quaternions_a_percent_off_are_normalised_and_told_of(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tum", "0 0 0 0 0 0 0 1.0004", "1 0 0 0 0 0 0 1.01", "2 0 0 0 0 0 0 0.99")
    found = read_trajectory(path)
    assert torch.equal(found.world_T_cam[2], torch.eye(4, dtype=torch.float64))
    assert [*found.notes] == [f"{path}: 2 of 3 quaternions are up to 1 % off unit length: they are normalised"]
    assert not read_trajectory(write(tmp_path / "a.tum", "0 0 0 0 0 0 0 1.0004")).notes  # four digits leave as much


def test_stamps_are_exact_to_the_nanosecond(tmp_path: Path) -> None:
    stamps = [1403636579763555584, 1403636579763555703, 1403636579813555456]  # the first two are 0.1 us apart
    path = write(tmp_path / "a.csv", *(f"{stamp},0,0,0,1,0,0,0" for stamp in stamps[::2]))
    write_trajectory(tmp_path / "b.tum", read_trajectory(path), "tum")
    assert (tmp_path / "b.tum").read_text().splitlines()[1].startswith("1403636579.763555584 ")
    write_trajectory(tmp_path / "c.csv", read_trajectory(tmp_path / "b.tum"), "euroc")
    assert read_trajectory(tmp_path / "c.csv").nanoseconds.tolist() == stamps[::2]
    late = "time stamp '1.1e12' s; expected at most 2^63 ns, the year 2262; say which unit the stamps have (--time-unit"
    write(tmp_path / "late.tum", "1e12 0 0 0 0 0 0 1", "1.1e12 0 0 0 0 0 0 1")
    with pytest.raises(Vo3dError) as caught:
        read_trajectory(tmp_path / "late.tum", time_unit="s")
    assert late in str(caught.value)


def test_positions_far_from_the_origin_keep_their_digits(tmp_path: Path, trajectory: Trajectory) -> None:
    """UTM coordinates are millions of metres: float32 would leave half a metre of them."""
    poses = trajectory.world_T_cam.clone()
    poses[:, :3, 3] += torch.tensor([500_123.4567, 5_400_987.6543, 300.123456], dtype=torch.float64)
    for format in ("kitti", "tum", "euroc"):
        write_trajectory(tmp_path / format, replace(trajectory, world_T_cam=poses), format)
        assert torch.equal(read_trajectory(tmp_path / format, format).world_T_cam[:, :3, 3], poses[:, :3, 3])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"absent\.txt: cannot be read \(No such file"):
        read_trajectory(tmp_path / "absent.txt", "kitti")
    with pytest.raises(Vo3dError, match="cannot be read"):
        read_trajectory(tmp_path, "kitti")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(Vo3dError, match=r"image\.png: not a text file"):
        read_trajectory(tmp_path / "image.png", "tum")


def test_rounding_of_text_is_forgiven(tmp_path: Path, trajectory: Trajectory) -> None:
    for digits in (7, 6, 4, 3):
        rows = trajectory.world_T_cam[:, :3].flatten(1).tolist()
        path = write(tmp_path / "a.txt", *(" ".join(f"{value:.{digits}e}" for value in row) for row in rows))
        found = read_trajectory(path, "kitti").world_T_cam
        torch.testing.assert_close(found, trajectory.world_T_cam, rtol=10.0**-digits, atol=0)


def test_nothing_wrong_is_written(tmp_path: Path, trajectory: Trajectory) -> None:
    path = tmp_path / "a.txt"
    poses = trajectory.world_T_cam
    with pytest.raises(Vo3dError, match="need time stamps"):
        write_trajectory(path, Trajectory(world_T_cam=poses), "tum")
    with pytest.raises(Vo3dError, match="without poses"):
        write_trajectory(path, Trajectory(world_T_cam=poses[:0]), "kitti")
    wrong = poses.clone()
    wrong[3, :3, :3] *= 1.1
    with pytest.raises(Vo3dError, match="pose 3: not a rotation"):
        write_trajectory(path, Trajectory(world_T_cam=wrong, time=trajectory.time), "tum")
    assert not list(tmp_path.iterdir())


def test_poses_of_other_readers_are_checked() -> None:
    pose = torch.eye(4, dtype=torch.float64)[None]
    check_poses(pose, Path("frame-000000.pose.txt"))
    for row, column, value, message in (
        (0, 3, float("inf"), r"pose\.txt: the pose holds NaN or infinity"),
        (3, 0, 1.0, r"pose\.txt: the last row of the pose is 1 0 0 1; expected 0 0 0 1"),
        (1, 1, 1.1, r"pose\.txt: not a rotation"),
    ):
        wrong = pose.clone()
        wrong[0, row, column] = value
        with pytest.raises(Vo3dError, match=message):
            check_poses(wrong, Path("frame-000000.pose.txt"))


@pytest.mark.real
def test_euroc_ground_truth(shared_data: Path) -> None:
    path = shared_data / "euroc" / "MH_01_easy" / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    found = read_trajectory(path, "euroc")
    assert (found.time_unit, found.pose_of) == ("ns", "body")
    torch.testing.assert_close(found.time.diff().median(), torch.tensor(0.005).double(), rtol=0, atol=1e-6)
    first = torch.tensor([4.686291, -1.763874, 0.913726], dtype=torch.float64)
    assert torch.equal(found.world_T_cam[0, :3, 3], first)


@pytest.mark.real
def test_kitti_ground_truth(shared_data: Path) -> None:
    paths = sorted((shared_data / "kitti_odometry").rglob("poses/*.txt"))
    assert len(paths) == 11
    lengths = {path.stem: len(read_trajectory(path, "kitti")) for path in paths}
    assert (lengths["00"], lengths["04"]) == (4541, 271)

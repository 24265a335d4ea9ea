"""EuRoC's files: the numbers as written, and one line for each thing that is wrong with them."""

from pathlib import Path

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.body_frames import read_body_T_camera
from vo3d.formats.euroc import read_image_list, read_readings, read_sensor_camera
from vo3d.formats.tum_rgbd import read_stamped_files
from vo3d.geometry import se3

STAMPS = [1403636584763555584, 1403636584768555520, 1403636584773555456]
HEAD = "#timestamp [ns],w_RS_S_x [rad s^-1],w_RS_S_y [rad s^-1],w_RS_S_z [rad s^-1],a_RS_S_x,a_RS_S_y,a_RS_S_z\n"
ROWS = [[0.1 * i, -0.2, 0.3, 9.5, 0.25, -2.0] for i in range(3)]


def spelled(stamps: list[int] = STAMPS, rows: list[list[float]] = ROWS) -> str:
    return HEAD + "".join(f"{stamp},{','.join(map(str, row))}\n" for stamp, row in zip(stamps, rows, strict=True))


def written(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_stamps_keep_their_nanoseconds(tmp_path: Path) -> None:
    found = read_readings(written(tmp_path, "\ufeff" + spelled().replace("\n", "\r\n")))
    assert found.nanoseconds.tolist() == STAMPS
    assert found.imu.tolist() == ROWS
    assert found.time.diff().tolist() == pytest.approx([0.004999936] * 2, abs=3e-7)
    images = read_image_list(
        written(tmp_path, "#timestamp [ns],filename\n" + "".join(f"{s},{s}.png\n" for s in STAMPS))
    )
    assert images.names == [f"{stamp}.png" for stamp in STAMPS]
    assert torch.equal(images.time, found.time)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"data.csv: is empty: expected inertial readings"),
        (HEAD, r"data.csv: is empty"),
        (
            spelled([STAMPS[1], STAMPS[0], STAMPS[2]]),
            r"data.csv:3: time stamp 1403636584763555584 follows 14036365847685",
        ),
        (spelled([STAMPS[0]] * 3), r"data.csv:3: time stamp \d+ follows \d+: expected ascending"),
        (spelled([stamp // 1000 for stamp in STAMPS]), r"data.csv: time stamps from 1403636584763555 on look like us"),
        (spelled([stamp // 10**6 for stamp in STAMPS]), r"data.csv: time stamps from \d+ on look like ms"),
        (
            spelled().replace("1403636584763555584", "1403636584.763555584"),
            r"data.csv:2: time stamp '1403636584.763555584'",
        ),
        (spelled([5000, 10000, 15000]), r"data.csv: time stamps from 5000 on may be milliseconds or microseconds"),
        (spelled().replace("9.5,0.25", "9.5", 1), r"data.csv:2: 6 columns: expected 7"),
        (spelled().replace("9.5", "nan", 1), r"data.csv:2: 'nan': expected a finite number"),
        (spelled().replace("9.5", "x", 1), r"data.csv:2: 'x'"),
        (
            spelled().replace("9.5", "1e7", 1),
            r"data.csv:2: a reading of 1e\+07: expected rad/s and m/s\^2 up to 1e\+06",
        ),
        (
            spelled(rows=[[0.1, 0, 0, i, 0, 9.8] for i in range(3)]),
            r"data.csv: all 3 readings have the angular rate 0.1 0 0",
        ),
        (
            spelled(rows=[[9.5 + 0.01 * i, 0.25, -2, 0.1, -0.2, 0.3] for i in range(3)]),
            r"data.csv: the angular rates are 9.72 rad/s and the acc",
        ),
    ],
)
def test_damaged_readings_are_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Vo3dError, match=complaint) as refused:
        read_readings(written(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("#timestamp [ns],filename\n", r"data.csv: is empty: expected a list of images"),
        ("1403636584763555584\n", r"data.csv:1: found '1403636584763555584': expected a list of images"),
        ("1403636584763555584,../a.png\n", r"data.csv:1: found '1403636584763555584,../a.png'"),
        ("-5,a.png\n", r"data.csv:1: time stamp '-5'"),
        ("1403636584,a.png\n", r"data.csv: time stamps from 1403636584 on look like s"),
        ("9" * 30 + ",a.png\n", r"data.csv:1: time stamp '9+'"),
    ],
)
def test_a_damaged_list_of_images_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Vo3dError, match=complaint):
        read_image_list(written(tmp_path, text))


SENSOR = """T_BS:
  cols: 4
  rows: 4
  data: [0, -1, 0, 0.1, 1, 0, 0, 0.2, 0, 0, 1, 0.3, 0, 0, 0, 1]
resolution: [752, 480]
camera_model: pinhole
intrinsics: [458.654, 457.296, 367.215, 248.375] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.28, 0.07, 0.0002, 1.76e-05]
"""
CHAIN = """cam0:
  T_cam_imu: [[0, 1, 0, 0.1], [-1, 0, 0, 0.2], [0, 0, 1, 0.3], [0, 0, 0, 1]]
  camera_model: pinhole
  distortion_coeffs: [0.01, 0.02, 0.03, 0.04]
  distortion_model: equidistant
  intrinsics: [190, 191, 254, 256]
  resolution: [512, 512]
cam1:
  T_cam_imu: [[0, 1, 0, 0.9], [-1, 0, 0, 0.2], [0, 0, 1, 0.3], [0, 0, 0, 1]]
  camera_model: pinhole
  distortion_coeffs: [0, 0, 0, 0]
  distortion_model: radtan
  intrinsics: [195, 196, 254, 256]
  resolution: [512, 500]
"""


def test_cameras_of_euroc_and_of_kalibr(tmp_path: Path) -> None:
    one = read_sensor_camera(written(tmp_path, SENSOR))
    assert one.size == (480, 752)
    assert one.K.tolist() == [[458.654, 0, 367.215], [0, 457.296, 248.375], [0, 0, 1]]
    assert one.lens == ("radtan", (-0.28, 0.07, 0.0002, 1.76e-05))
    path = written(tmp_path, CHAIN)
    assert read_sensor_camera(path).lens == ("equidistant", (0.01, 0.02, 0.03, 0.04))
    right = read_sensor_camera(path, "cam1")
    assert (right.size, right.lens) == ((500, 512), ("radtan", (0, 0, 0, 0)))
    assert se3.inverse(read_body_T_camera(path, "cam1"))[0].tolist() == pytest.approx([0, 1, 0, 0.9])
    assert se3.inverse(read_body_T_camera(path))[0].tolist() == pytest.approx([0, 1, 0, 0.1])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("intrinsics", "intrinsic", r"sensor.yaml: cam0 has no intrinsics: expected 4 numbers"),
        ("248.375]", "]", r"sensor.yaml: cam0 has intrinsics \[458.654, 457.296, 367.215\]: expected 4"),
        ("458.654", "0", r"sensor.yaml: cam0: K is singular"),
        (
            "radial-tangential",
            "fov",
            r"sensor.yaml: cam0 has distortion_model 'fov': expected radial-tangential, radtan",
        ),
        ("camera_model: pinhole", "camera_model: ds", r"sensor.yaml: cam0 has camera_model 'ds': expected pinhole"),
        ("1.76e-05", "1.76e-05, 0.1", r"cam0 has distortion_coefficients .*: expected 4 numbers"),
        ("[752, 480]", "[752.5, 480]", r"cam0 has a resolution of 752.5 x 480"),
        (SENSOR, "- 1", r"sensor.yaml: holds no cam0"),
        (SENSOR, "a: [", r"sensor.yaml: not YAML"),
    ],
)
def test_a_damaged_camera_is_refused_in_one_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(Vo3dError, match=complaint) as refused:
        read_sensor_camera(written(tmp_path, SENSOR.replace(old, new), "sensor.yaml"))
    assert "\n" not in str(refused.value)


def test_a_pose_that_is_no_rotation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"sensor.yaml: not a rotation"):
        read_body_T_camera(written(tmp_path, SENSOR.replace("[0, -1", "[0, -2"), "sensor.yaml"))


def test_lists_of_tum_rgbd(tmp_path: Path) -> None:
    found = read_stamped_files(written(tmp_path, "# timestamp filename\n1.25 rgb/1.25.png\n1.5 rgb/1.5.png\n"))
    assert found.time.tolist() == [1.25, 1.5]
    assert found.files[1] == tmp_path / "rgb" / "1.5.png"

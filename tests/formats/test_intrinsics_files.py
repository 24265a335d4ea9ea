"""Intrinsics out of the files of calibrations, told by their content; OpenCV writes its own forms here."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.colmap_model import ColmapCamera
from vo3d.formats.colmap_text import camera_bytes
from vo3d.formats.intrinsics_files import read_intrinsics

SIZE = (480, 640)
NUMBERS = (500.0, 505.0, 320.0, 241.0)  # fx fy cx cy
K = torch.tensor([[500.0, 0, 320], [0, 505, 241], [0, 0, 1]], dtype=torch.float64)
LENS = (-0.3, 0.1, 0.001, -0.002)
FLAT = " ".join(f"{value:g}" for value in K.flatten().tolist())
ROS = f"""image_width: 640
image_height: 480
camera_name: head
camera_matrix: {{rows: 3, cols: 3, data: [{FLAT.replace(" ", ", ")}]}}
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, -0.002, 0]}}
"""
MESSAGE = f"""height: 480
width: 640
distortion_model: "plumb_bob"
D: [-0.3, 0.1, 0.001, -0.002, 0.0]
K: [{FLAT.replace(" ", ", ")}]
"""
ORB = """%YAML:1.0
#---- Camera
Camera.fx: 500.0
Camera.fy: 505.0
Camera.cx: 320.0
Camera.cy: 241.0
Camera.k1: -0.3
Camera.k2: 0.1
Camera.p1: 0.001
Camera.p2: -0.002
Camera.width: 640
Camera.height: 480
"""
ORB3 = 'File.version: "1.0"\nCamera.type: "PinHole"\n' + ORB.partition("#---- Camera\n")[2].replace(
    "Camera.", "Camera1."
).replace("Camera1.width", "Camera.width").replace("Camera1.height", "Camera.height")
EUROC = """sensor_type: camera
resolution: [640, 480]
camera_model: pinhole
intrinsics: [500, 505, 320, 241] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.3, 0.1, 0.001, -0.002]
"""
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.3, 0.1, 0.001, -0.002]
  distortion_model: radtan
  intrinsics: [500, 505, 320, 241]
  resolution: [640, 480]
"""
NERF = json.dumps(
    {
        **{"w": 640, "h": 480, "fl_x": 500, "fl_y": 505, "cx": 320.5, "cy": 241.5},
        **{"k1": -0.3, "k2": 0.1, "p1": 0.001, "p2": -0.002},
        "frames": [{"file_path": f"{name}.png", "transform_matrix": np.eye(4).tolist()} for name in "ab"],
    }
)


def by_opencv(suffix: str) -> Callable[[Path], Path]:
    """Write as OpenCV's calibration does."""

    def write(folder: Path) -> Path:
        storage = cv2.FileStorage(str(folder / f"camera.{suffix}"), cv2.FILE_STORAGE_WRITE)
        storage.write("calibration_time", "Mon 30 Nov 2026")
        storage.write("image_width", SIZE[1])
        storage.write("image_height", SIZE[0])
        storage.write("camera_matrix", K.numpy())
        storage.write("distortion_coefficients", np.array([[*LENS, 0.0]]).T)
        storage.write("avg_reprojection_error", 0.25)
        storage.release()
        return folder / f"camera.{suffix}"

    return write


def by_text(name: str, text: str | bytes) -> Callable[[Path], Path]:
    """Write a text."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder / name

    return write


COLMAP = ColmapCamera(id=3, model="OPENCV", width=640, height=480, params=(500.0, 505.0, 320.5, 241.5, *LENS))
FILES = {
    "OpenCV, YAML": by_opencv("yaml"),
    "OpenCV, XML": by_opencv("xml"),
    "OpenCV, JSON": by_opencv("json"),
    "ROS": by_text("camera_info.yaml", ROS),
    "a message of ROS": by_text("message.yaml", MESSAGE),
    "ORB-SLAM2": by_text("TUM1.yaml", ORB),
    "ORB-SLAM3": by_text("EuRoC.yaml", ORB3),
    "EuRoC": by_text("sensor.yaml", EUROC),
    "Kalibr": by_text("camchain.yaml", KALIBR),
    "COLMAP": by_text("cameras.txt", b"# Camera list\n" + camera_bytes([COLMAP])),
    "NeRF": by_text("transforms.json", NERF),
    "numbers": by_text("calib.txt", "# fx fy cx cy k1 k2 p1 p2\n500 505 320 241 -0.3 1e-1 0.001 -0.002\n"),
}


@pytest.mark.parametrize("form", FILES)
def test_every_form_tells_the_same_camera(form: str, tmp_path: Path) -> None:
    found = read_intrinsics(FILES[form](tmp_path), SIZE)
    torch.testing.assert_close(found.K, K)
    assert found.lens is not None
    assert (found.lens[0], found.lens[1][:4]) == ("radtan", pytest.approx(LENS))
    assert found.size == (None if form == "numbers" else SIZE)


@pytest.mark.parametrize(
    "text",
    [
        "500 505 320 241",
        "500,505,320,241\n",
        "500 505 320 241 0 0 0 0",
        "500 0 320\n0 505 241\n0 0 1\n",
        "[[500, 0, 320], [0, 505, 241], [0, 0, 1]]",
        "500 0 320 0\n0 505 241 0\n0 0 1 0",
        "500 0 320 0\n0 505 241 0\n0 0 1 0\n0 0 0 1\n",
        "P0: 500 0 320 0 0 505 241 0 0 0 1 0\nP1: 500 0 320 -250 0 505 241 0 0 0 1 0\n",
    ],
)
def test_numbers_and_matrices_without_a_lens(text: str, tmp_path: Path) -> None:
    found = read_intrinsics(by_text("K.txt", text)(tmp_path), SIZE)
    torch.testing.assert_close(found.K, K)
    assert (found.size, found.lens) == (None, None)


def test_a_fisheye_stays_one_without_coefficients(tmp_path: Path) -> None:
    text = ORB.replace("#---- Camera", 'Camera.type: "KannalaBrandt8"').replace("Camera.p", "Camera.other_p")
    found = read_intrinsics(by_text("fisheye.yaml", text)(tmp_path), SIZE)
    assert found.lens == ("equidistant", (-0.3, 0.1, 0, 0))
    found = read_intrinsics(by_text("fisheye.yaml", ROS.replace("plumb_bob", "fisheye"))(tmp_path), SIZE)
    assert found.lens == ("equidistant", LENS)
    bare = ROS.replace("plumb_bob", "fisheye").partition("distortion_coefficients")[0]
    found = read_intrinsics(by_text("fisheye.yaml", bare)(tmp_path), SIZE)
    assert found.lens == ("equidistant", (0, 0, 0, 0))


def test_one_of_several_cameras_is_chosen_by_its_name(tmp_path: Path) -> None:
    other = KALIBR.replace("cam0", "cam1").replace("500", "510")
    file = by_text("camchain.yaml", KALIBR + other)(tmp_path)
    with pytest.raises(Vo3dError, match=r"holds the cameras cam0, cam1: give one by its name, as .*yaml:cam0$"):
        read_intrinsics(file, SIZE)
    assert read_intrinsics(f"{file}:cam1", SIZE).K[0, 0] == 510
    with pytest.raises(Vo3dError, match="has no camera 'cam2': expected one of cam0, cam1"):
        read_intrinsics(f"{file}:cam2", SIZE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds 0 numbers: expected intrinsics: fx fy cx cy"),
        ("500 505 320", "holds 3 numbers"),
        ("500 505 3.2.0 241", "expected numbers"),
        ("-500 505 320 241", "no matrix of a pinhole"),
        ("hello", "holds no intrinsics"),
        ("a: [", "not YAML"),
        ("rig:\n  cam:\n    intrinsics: [1, 2, 3, 4]\n", "holds no intrinsics"),
        (ROS.replace("plumb_bob", "omni"), "the lens model is 'omni': expected one of plumb_bob"),
        (
            ROS.replace("rows: 3, cols: 3, data: [500, 0,", "rows: 3, cols: 3, data: [500,"),
            "camera_matrix has 8 numbers",
        ),
        (ROS.replace("500", "x"), "expected numbers: correct"),
        (
            ROS.replace("plumb_bob", "fisheye").replace("-0.002, 0]", "-0.002, 1]"),
            "5 coefficients of a equidistant lens",
        ),
        (ROS.replace("480", "0"), "images of 640 x 0 pixels"),
    ],
)
def test_bad_files_are_one_clear_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=words) as caught:
        read_intrinsics(by_text("bad.yaml", text)(tmp_path), SIZE)
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"gone\.yaml: no such file: expected intrinsics"):
        read_intrinsics(tmp_path / "gone.yaml", SIZE)
    with pytest.raises(Vo3dError, match=r"gone\.yaml: no such file"):
        read_intrinsics(f"{tmp_path / 'gone.yaml'}:cam0", SIZE)

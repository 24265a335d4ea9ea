"""List the readers of recordings' own files for `fuzz_readers.py`: KITTI raw, EuRoC, TUM RGB-D, files of intrinsics."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fuzz_places import write
from fuzz_readers import Target
from vo3d.formats import kitti_raw
from vo3d.formats.body_frames import read_body_T_camera
from vo3d.formats.euroc import read_image_list, read_readings, read_sensor_camera
from vo3d.formats.intrinsics_files import read_intrinsics
from vo3d.formats.tum_rgbd import read_stamped_files

P = "30 0 4 0 0 30 3 0 0 0 1 0"
SENSOR = "T_BS:\n  cols: 4\n  rows: 4\n  data: [0, -1, 0, 0.1, 1, 0, 0, 0.2, 0, 0, 1, 0.3, 0, 0, 0, 1]\n"
CAMERA = "resolution: [8, 6]\nintrinsics: [8, 8, 4, 3]\ndistortion_model: radtan\ndistortion_coeffs: [0.1, 0, 0, 0]\n"
ROTATION = "1 0 0 0 1 0 0 0 1"
CAM_TO_CAM = f"calib_time: 09-Jan-2012 13:57:47\nS_rect_00: 8 6\nR_rect_00: {ROTATION}\nP_rect_00: {P}\n"
SPLIT = "2011_09_26/2011_09_26_drive_0001_sync 0000000069 l\n2011_09_26/2011_09_26_drive_0001_sync 3 r\n"
MATRIX = "[30, 0, 4, 0, 30, 3, 0, 0, 1]"
INTRINSICS = {
    "numbers.txt": "# fx fy cx cy and a lens\n30 30 4 3 0.1 0 0 0\n",
    "matrix.txt": "30 0 4 0\n0 30 3 0\n0 0 1 0\n0 0 0 1\n",
    "ros.yaml": "image_width: 8\nimage_height: 6\ncamera_matrix: {rows: 3, cols: 3, data: " + MATRIX + "}\n"
    "distortion_model: plumb_bob\ndistortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n",
    "opencv.yaml": "%YAML:1.0\n---\ncamera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: "
    + MATRIX,
    "opencv.xml": '<?xml version="1.0"?>\n<opencv_storage>\n<image_width>8</image_width>\n'
    '<camera_matrix type_id="opencv-matrix">\n<data>\n30. 0. 4. 0. 30. 3. 0. 0. 1.</data></camera_matrix>'
    "\n</opencv_storage>\n",
    "orb.yaml": "%YAML:1.0\nCamera.fx: 30\nCamera.fy: 30\nCamera.cx: 4\nCamera.cy: 3\nCamera.k1: 0.1\n",
    "camchain.yaml": "cam0:\n  " + CAMERA.replace("\n", "\n  ").rstrip(" "),
    "cameras.txt": "# Camera list\n1 OPENCV 8 6 30 30 4 3 0.1 0 0 0\n",
}


def write_laser(folder: Path) -> Path:
    """Write a laser scan of three points."""
    np.arange(12, dtype="<f4").tofile(folder / "0000000000.bin")
    return folder / "0000000000.bin"


def targets() -> Iterator[Target]:
    """Yield the readers."""
    for name, text, read in (
        ("calib_cam_to_cam.txt", CAM_TO_CAM, kitti_raw.read_cameras),
        ("calib_velo_to_cam.txt", f"R: {ROTATION}\nT: 0 -0.1 0.3\ndelta_f: 0 0\n", kitti_raw.read_motion),
        ("oxts.txt", "49.01 8.43 112.8 0.02 -0.01 0.3" + " 0" * 24, kitti_raw.read_oxts),
        ("oxts_imu.txt", "49.01 8.43 112.8 0.02 -0.01 0.3" + " 0.1" * 24, kitti_raw.read_oxts_imu),
        ("timestamps.txt", "2011-09-26 13:02:25.964389445\n2011-09-26 13:02:26.07\n", kitti_raw.read_timestamps),
        ("split.txt", SPLIT, kitti_raw.read_split),
    ):
        yield Target(f"KITTI raw, {name}", partial(write, name=name, text=text), read)
    yield Target("KITTI raw, laser", write_laser, kitti_raw.read_velodyne)
    yield Target("sensor.yaml", partial(write, name="sensor.yaml", text=SENSOR), read_body_T_camera)
    for name, text, read in (
        ("sensor.yaml", SENSOR + CAMERA, read_sensor_camera),
        ("images.csv", "#timestamp [ns],filename\n5000000,a.png\n10000000,b.png\n", read_image_list),
        ("imu.csv", "5000000,0.1,0,0,0,0,9.8\n10000000,0.2,0,0,0,0,9.8\n", read_readings),
    ):
        yield Target(f"EuRoC, {name}", partial(write, name=name, text=text), read)
    for name, text in INTRINSICS.items():
        yield Target(
            f"intrinsics, {name}", partial(write, name=name, text=text), lambda path: read_intrinsics(path, (6, 8))
        )
    yield Target(
        "TUM RGB-D, rgb.txt", partial(write, name="rgb.txt", text="1.25 a.png\n1.5 b.png\n"), read_stamped_files
    )

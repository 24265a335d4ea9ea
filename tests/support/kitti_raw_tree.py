"""The layout of KITTI's raw recordings, on a small scale: calibration in the published form, drives, lists."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

DAY, DRIVE, OTHER = "2011_09_26", "2011_09_26_drive_0001_sync", "2011_09_26_drive_0013_sync"
COUNT, HEIGHT, WIDTH, F = 6, 12, 40, 20.0
FIRST, INTERVAL = 59.8, 0.1036  # seconds after the minute 13:02 of frame 0, and from frame to frame
RECTIFY = [0.9999239, 0.00983776, -0.007445048, -0.009869795, 0.9999421, -0.004278459, 0.007402527, 0.004351614]
RECTIFY += [0.9999631]  # as published for this day, all four
VELO_R = [0.007533745, -0.9999714, -0.000616602, 0.01480249, 0.000728073, -0.9998902, 0.9998621, 0.007523790]
VELO_R += [0.01480755]
VELO_T = [-0.004069766, -0.07631618, -0.2717806]
IMU_R = [0.9999976, 0.0007553071, -0.002035826, -0.0007854027, 0.9998898, -0.01482298, 0.002024406, 0.01482454]
IMU_R += [0.9998881]
IMU_T = [-0.8086759, 0.3195559, -0.7997231]
OFFSETS = {0: (0.0, 0.0, 0.0), 1: (-0.5371657, 0.0, 0.0), 2: (0.0598, -0.00035, 0.0027), 3: (-0.4731, 0.0055, 0.0027)}


def spelled(values: Sequence[float]) -> str:
    return " ".join(f"{value:.9e}" for value in values)


def write_calibration(
    day: Path, K: Tensor, size: tuple[int, int], offsets: dict[int, tuple[float, float, float]] = OFFSETS
) -> None:
    """Write the three files of a day: P = K [I | t] of four cameras over images of `size` (height, width)."""
    day.mkdir(parents=True, exist_ok=True)
    lines = ["calib_time: 09-Jan-2012 13:57:47", "corner_dist: 9.950000e-02"]
    for camera, t in offsets.items():
        P = torch.cat([K, K @ K.new_tensor(t)[:, None]], dim=1)
        lines += [
            f"S_{camera:02d}: 1.392000e+03 5.120000e+02",
            f"K_{camera:02d}: {spelled([984.2439, 0, 690, 0, 980.8141, 233.1966, 0, 0, 1])}",
            f"D_{camera:02d}: {spelled([-0.37, 0.2, 0.002, 0.001, -0.07])}",
            f"R_{camera:02d}: {spelled([1, 0, 0, 0, 1, 0, 0, 0, 1])}",
            f"T_{camera:02d}: {spelled([0, 0, 0])}",
            f"S_rect_{camera:02d}: {spelled([size[1], size[0]])}",
            f"R_rect_{camera:02d}: {spelled(RECTIFY)}",
            f"P_rect_{camera:02d}: {spelled(P.flatten().tolist())}",
        ]
    (day / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = f"calib_time: 15-Mar-2012 11:37:16\nR: {spelled(VELO_R)}\nT: {spelled(VELO_T)}\n"
    (day / "calib_velo_to_cam.txt").write_text(text + "delta_f: 0 0\ndelta_c: 0 0\n", encoding="utf-8")
    text = f"calib_time: 25-May-2012 16:47:16\nR: {spelled(IMU_R)}\nT: {spelled(IMU_T)}\n"
    (day / "calib_imu_to_velo.txt").write_text(text, encoding="utf-8")


def small_K() -> Tensor:
    return torch.tensor([[F, 0, 19.3], [0, F, 6.1], [0, 0, 1]], dtype=torch.float64)


def reading(number: int) -> list[float]:
    """Latitude, longitude, altitude, roll, pitch, yaw of a curve in Karlsruhe."""
    first = [49.015 + 8e-6 * number, 8.43 + 3e-6 * number, 112.8 + 0.02 * number]
    return [*first, 0.02, -0.01 + 0.001 * number, 0.3 + 0.02 * number]


def inertial_row(time: float) -> list[float]:
    """Angular rate, then specific force in the axes of the car, `time` seconds after the minute 13:02."""
    return [0.01 * time, -0.02 * time, 0.3, 0.5 + 0.1 * time, -0.2, 9.81 - 0.05 * time]


def stamp(time: float) -> str:
    """A stamp that many seconds after the minute 13:02."""
    second, nanosecond = divmod(round(time * 1e9), 10**9)
    return f"2011-09-26 13:{2 + second // 60:02d}:{second % 60:02d}.{nanosecond:09d}"


def write_oxts(folder: Path, times: Sequence[float]) -> None:
    """Write readings at these seconds after the minute 13:02, and their stamps."""
    (folder / "oxts" / "data").mkdir(parents=True)
    for number, time in enumerate(times):
        rate, force = inertial_row(time)[:3], inertial_row(time)[3:]
        row = [*reading(number), *[0.0] * 5, *force, *[0.0] * 3, *rate, *[0.0] * 10]
        text = " ".join(repr(float(value)) for value in row)
        (folder / "oxts" / "data" / f"{number:010d}.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "oxts" / "timestamps.txt").write_text("\n".join(map(stamp, times)) + "\n", encoding="utf-8")


def write_drive(day: Path, drive: str, count: int = COUNT) -> Path:
    """Write a drive with grey and colour cameras, scans of one point, readings and stamps; pixels tell which."""
    folder = day / drive
    for camera in range(4):
        (folder / f"image_{camera:02d}" / "data").mkdir(parents=True)
        shape = (HEIGHT, WIDTH, 3) if camera >= 2 else (HEIGHT, WIDTH)
        for number in range(count):
            path = folder / f"image_{camera:02d}" / "data" / f"{number:010d}.png"
            cv2.imwrite(str(path), np.full(shape, 20 * number + camera, np.uint8))
        stamps = [stamp(FIRST + INTERVAL * number) for number in range(count)]
        (folder / f"image_{camera:02d}" / "timestamps.txt").write_text("\n".join(stamps) + "\n", encoding="utf-8")
    (folder / "velodyne_points" / "data").mkdir(parents=True)
    for number in range(count):
        np.array([[5.0 + number, 0.0, 0.0, 0.5]], "<f4").tofile(scan_file(folder, number))
    write_oxts(folder, [FIRST + 0.004 + INTERVAL * number for number in range(count)])
    return folder


def scan_file(folder: Path, number: int) -> Path:
    return folder / "velodyne_points" / "data" / f"{number:010d}.bin"


def write_list(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path

"""The layouts of KITTI 2015 and 2012, on a small scale: scenes of two frames with flow, disparity and ids of cars."""

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from kitti_raw_tree import OFFSETS, small_K, spelled, write_calibration

WIDER = 2  # pixels that a scene is wider than the one before, as the real ones differ
BASELINE = OFFSETS[2][0] - OFFSETS[3][0]  # metres
GREY_BASELINE = OFFSETS[0][0] - OFFSETS[1][0]


def write_scenes(root: Path, year: int, size: tuple[int, int], count: int = 2, *, wider: int = WIDER) -> Path:
    """Write `training` with so many scenes; grey values and measurements tell which is which."""
    training = root / "training"
    for number in range(count):
        height, width = size[0], size[1] + wider * number
        cameras = {"image_2": 2, "image_3": 3}
        if year == 2012:
            cameras = {"image_0": 0, "image_1": 1, "colored_0": 2, "colored_1": 3}
        for folder, camera in cameras.items():
            shape = (height, width, 3) if camera >= 2 else (height, width)
            for frame in (10, 11):
                value = 40 * number + 10 * (frame - 10) + camera
                write(training / folder / f"{number:06d}_{frame}.png", np.full(shape, value, np.uint8))
        first = f"{number:06d}_10.png"
        for which in ("occ", "noc"):
            write(training / f"flow_{which}" / first, flow_counts(height, width, which)[..., ::-1])
            for folder in ("disp_{}_0", "disp_{}_1") if year == 2015 else ("disp_{}",):
                counts = disparity_counts(height, width, which)
                write(training / folder.format(which) / first, counts + (77 if folder[-1] == "1" else 0))
        if year == 2015:
            ids = np.zeros((height, width), np.uint8)
            ids[2:5, 3:9], ids[6:8, 20:23] = 1, 9
            write(training / "obj_map" / first, ids)
            write_calibration(training / "calib_cam_to_cam", small_K(), (height, width))
            (training / "calib_cam_to_cam" / "calib_cam_to_cam.txt").rename(
                training / "calib_cam_to_cam" / f"{number:06d}.txt"
            )
            for name in ("calib_velo_to_cam.txt", "calib_imu_to_velo.txt"):  # of folders of their own
                (training / "calib_cam_to_cam" / name).unlink()
        else:
            (training / "calib").mkdir(exist_ok=True)
            text = "".join(f"P{camera}: {spelled(projection(small_K(), camera))}\n" for camera in range(4))
            (training / "calib" / f"{number:06d}.txt").write_text(text, encoding="utf-8")
    return root


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def projection(K: Tensor, camera: int) -> list[float]:
    """Return the 12 numbers of P = K [I | t]."""
    t = K.new_tensor(OFFSETS[camera])
    return [value for row, last in zip(K.tolist(), (K @ t).tolist(), strict=True) for value in (*row, last)]


def flow_counts(height: int, width: int, which: str) -> np.ndarray:
    """Return red, green, blue of a map of flow: x - y / 2 and y pixels, every third column valid, of noc from 6 on."""
    y, x = np.mgrid[:height, :width]
    valid = (x % 3 == 0) & ((which == "occ") | (x >= 6))
    counts = np.stack([64 * x - 32 * y + 32768, 64 * y + 32768, np.ones_like(x)], axis=-1)
    return np.where(valid[..., None], counts, 0).astype(np.uint16)


def disparity_counts(height: int, width: int, which: str) -> np.ndarray:
    """Return a map of disparity: 1 + y pixels in every second column, of noc from 6 on."""
    y, x = np.mgrid[:height, :width]
    return np.where((x % 2 == 0) & ((which == "occ") | (x >= 6)), 256 * (1 + y), 0).astype(np.uint16)

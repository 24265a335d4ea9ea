"""Poses of cameras in their body: the files of EuRoC (sensor.yaml) and of Kalibr (camchain.yaml)."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.text import read_yaml
from vo3d.formats.trajectories import FARTHEST, check_poses

_EXPECTED = "a YAML file with T_BS (EuRoC: of the sensor in the body), T_cam_imu or T_imu_cam (Kalibr)"


def read_body_T_camera(path: Path, camera: str = "cam0") -> Float64[Tensor, "4 4"]:
    """Read the pose of the camera in the body; where the file has several cameras, of that one.

    Convention: T_BS and T_imu_cam map points of the camera into the body, T_cam_imu back; metres.
    Raises Vo3dError with the file when it is absent, no YAML, or holds none of the three as a rigid 4x4 matrix.
    """
    content = section_of(read_yaml(path, _EXPECTED), camera)
    for key in ("T_BS", "T_imu_cam", "T_cam_imu"):
        if isinstance(content, dict) and key in content:
            matrix = _matrix(content[key], f"{path}: {key}")
            check_poses(matrix[None], path)
            return matrix if key != "T_cam_imu" else matrix.inverse()
    raise Vo3dError(f"{path}: holds no pose of a camera; expected {_EXPECTED}")


def section_of(content: Any, camera: str) -> Any:
    """Return the part of a YAML file about a camera, where each has one (Kalibr); else the whole."""
    return content[camera] if isinstance(content, dict) and isinstance(content.get(camera), dict) else content


def _matrix(value: Any, place: str) -> Float64[Tensor, "4 4"]:
    """Make a matrix of 16 numbers, or of four rows of them; Vo3dError for anything else."""
    data = value.get("data") if isinstance(value, dict) else value
    rows = data if isinstance(data, list) else []
    flat = [number for row in rows for number in (row if isinstance(row, list) else [row])]
    if len(flat) != 16 or not all(isinstance(number, int | float) and abs(number) < FARTHEST for number in flat):
        raise Vo3dError(f"{place} holds no 4x4 matrix; expected 16 numbers, row by row")
    return torch.tensor(flat, dtype=torch.float64).reshape(4, 4)

"""Rendered recordings in the layout of ASL (EuRoC): cameras with lenses, an inertial sensor, the truth of the body."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor

from vo3d.formats.images import write_image
from vo3d.geometry import quaternion_from_matrix, se3
from vo3d.world.casting import Camera
from vo3d.world.optics import lens_of, take
from vo3d.world.path import GRAVITY
from vo3d.world.recorder import Recorder
from vo3d.world.render import RenderedView, pinhole_camera, render
from vo3d.world.sensor import Sensor

FIRST, STEP = 1403636579763555584, 5_000_000  # ns: the first image, a reading
LENS = ("radtan", (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05))  # of EuRoC's cam0
WORDS = {"radtan": "radial-tangential", "equidistant": "equidistant"}
ROTATION = ((0.0148655429818, -0.999880929698, 0.00414029679422), (0.999557249008, 0.0149672133247, 0.025715529948))
ROTATION += ((-0.0257744366974, 0.00375618835797, 0.999660727178),)  # of EuRoC's cam0 in the body
RATES = ",".join(f"w_RS_S_{axis} [rad s^-1]" for axis in "xyz")
READINGS_HEAD = f"#timestamp [ns],{RATES}," + ",".join(f"a_RS_S_{axis} [m s^-2]" for axis in "xyz")
TRUTH_HEAD = "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []"


def rigid(rotation: object, position: Sequence[float]) -> Tensor:
    """A pose whose rotation is written with few digits, made orthonormal."""
    left, _, right = torch.linalg.svd(torch.tensor(rotation, dtype=torch.float64))
    return se3.from_rotation_translation(left @ right, torch.tensor(position, dtype=torch.float64))


BODY_T_LEFT = rigid(ROTATION, [-0.0216401454975, -0.064676986768, 0.00981073058949])
LEFT_T_RIGHT = se3.exp(torch.tensor([0.11, 0.002, -0.003, 0.02, -0.012, 0.015], dtype=torch.float64))


@dataclass(frozen=True)
class Truth:
    """What a tree was written from."""

    home: Path
    recorder: Recorder
    time: Tensor  # of the frames in the recorder's clock, seconds
    world_T_left: Tensor

    def reading(self, tick: int) -> list[float]:
        """The reading so many of 5 ms after the first image, as the file has it."""
        rows = (self.home / "mav0" / "imu0" / "data.csv").read_text().splitlines()
        (row,) = [row for row in rows if row.startswith(str(FIRST + tick * STEP))]
        return [float(token) for token in row.split(",")[1:]]

    def rendered(self, frame: int, world_T_cam: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
        """The grey image that an ideal pinhole takes at a pose, 3 equal channels."""
        view = render(self.recorder.scene, Camera(K.double(), *size), world_T_cam, float(self.time[frame]), samples=2)
        return grey_of(view)


def write_asl(
    home: Path,
    *,
    kind: str = "tabletop",
    seed: int = 0,
    frames: int = 4,
    size: tuple[int, int] = (48, 64),
    lens: tuple[str, tuple[float, ...]] = LENS,
    focal: float = 0.62,
    stereo: bool = False,
    tum_vi: bool = False,
    samples: int = 1,
) -> Truth:
    """Write a recording at 20 Hz, with readings and truth at 200 Hz from 0.1 s before the first image on.

    With `tum_vi` the cameras are in one file of Kalibr, and the truth is where TUM-VI has it.
    """
    left = Sensor(rate=20.0, focal=focal, centre=(0.49, 0.51), lens=lens, noise=0.0, samples=samples)
    right = Sensor(rate=20.0, focal=focal * 0.99, centre=(0.51, 0.5), lens=lens, noise=0.0, samples=samples)
    recorder = Recorder(kind, seed, frames, size, left)
    path = recorder.scene.camera
    chain = {}
    for number, sensor in enumerate([left, right][: 1 + stereo]):
        left_T_cam = LEFT_T_RIGHT if number else torch.eye(4, dtype=torch.float64)
        folder = home / "mav0" / f"cam{number}"
        lines = ["#timestamp [ns],filename"]
        for frame, time in enumerate(recorder.times().tolist()):
            pose = path.poses(torch.tensor([time], dtype=torch.float64))[0, 0] @ left_T_cam
            view = take(
                recorder.scene, pinhole_camera(size, sensor), lambda _, p=pose: p, time, sensor, lens_of(sensor, size)
            )
            stamp = FIRST + 10 * STEP * frame
            write_image(folder / "data" / f"{stamp}.png", grey_of(view))
            lines.append(f"{stamp},{stamp}.png")
        write_lines(folder / "data.csv", lines)
        K = pinhole_camera(size, sensor).K
        intrinsics = f"[{K[0, 0]}, {K[1, 1]}, {K[0, 2]}, {K[1, 2]}]"
        chain[f"cam{number}"] = {
            "T_cam_imu": se3.inverse(BODY_T_LEFT @ left_T_cam).tolist(),
            "camera_model": "pinhole",
            "distortion_coeffs": list(lens[1]),
            "distortion_model": lens[0],
            "intrinsics": yaml.safe_load(intrinsics),
            "resolution": [size[1], size[0]],
        }
        text = _sensor(BODY_T_LEFT @ left_T_cam) + (
            f"rate_hz: 20\nresolution: [{size[1]}, {size[0]}]\ncamera_model: pinhole\n"
            f"intrinsics: {intrinsics} #fu, fv, cu, cv\n"
            f"distortion_model: {WORDS[lens[0]]}\ndistortion_coefficients: {list(lens[1])}\n"
        )
        if not tum_vi:
            (folder / "sensor.yaml").write_text(text)
    if tum_vi:
        write_lines(home / "dso" / "camchain.yaml", [yaml.safe_dump(chain)])
    ticks = torch.arange(-20, 10 * (frames - 1) + 21)
    _write_body(home / "mav0", recorder, ticks, "mocap0" if tum_vi else "state_groundtruth_estimate0")
    return Truth(home, recorder, recorder.times(), recorder.poses())


def grey_of(view: RenderedView) -> Tensor:
    return view.image.mean(0, keepdim=True).expand(3, -1, -1)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def _write_body(mav0: Path, recorder: Recorder, ticks: Tensor, truth: str) -> None:
    """Write readings and poses of the body, in which the inertial sensor sits."""
    time, step = ticks.double() * STEP / 1e9, 1e-3
    motion = recorder.scene.camera.motion(time)
    body_T_left = BODY_T_LEFT
    before, now, after = (
        recorder.scene.camera.poses(time + shift)[:, 0] @ se3.inverse(body_T_left) for shift in (-step, 0.0, step)
    )
    acceleration = (before[:, :3, 3] - 2 * now[:, :3, 3] + after[:, :3, 3]) / step**2
    force = (now[:, :3, :3].mT @ (acceleration - torch.tensor(GRAVITY, dtype=torch.float64))[..., None])[..., 0]
    rate = motion.angular_rate @ body_T_left[:3, :3].T
    stamps = (FIRST + ticks * STEP).tolist()
    readings = torch.cat((rate, force), -1).tolist()
    poses = torch.cat((now[:, :3, 3], quaternion_from_matrix(now[:, :3, :3])), -1).tolist()
    for folder, head, rows in (("imu0", READINGS_HEAD, readings), (truth, TRUTH_HEAD, poses)):
        lines = [f"{stamp}," + ",".join(map(repr, row)) for stamp, row in zip(stamps, rows, strict=True)]
        write_lines(mav0 / folder / "data.csv", [head, *lines])
    (mav0 / "imu0" / "sensor.yaml").write_text("sensor_type: imu\n" + _sensor(torch.eye(4, dtype=torch.float64)))


def _sensor(body_T_sensor: Tensor) -> str:
    rows = ",\n         ".join(", ".join(map(repr, row)) for row in body_T_sensor.tolist())
    return f"T_BS:\n  cols: 4\n  rows: 4\n  data: [{rows}]\n"

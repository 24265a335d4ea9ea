"""Rendered drives as files: the layout of KITTI odometry, and what the world knows beside it.

`out/truth/07` holds depth, ids and classes of the frames of sequence 07, the motions of its objects, the scene that it
was drawn from, and a contact sheet.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float64, UInt8
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.images import write_counts, write_image
from vo3d.formats.kitti import write_sequence
from vo3d.sample import Sample
from vo3d.world.imu import ImuChoice, check_imu_asked_for, imu_errors_of, reading_times
from vo3d.world.recorder import Frame, Recorder
from vo3d.world.sensor import Sensor, chosen_sensor
from vo3d.world.visit import Visit

IMU_READINGS = 10  # between two frames, as the 100 Hz readings that come with KITTI
COUNTS_PER_METRE = 256  # of depth images, as KITTI's depth benchmark has them; 0 = none, or 256 m and more
SHEET_FRAMES, SHEET_COLUMNS = 12, 3


def render_to_kitti(
    kind: str,
    frames: int,
    seed: int,
    out: Path,
    size: tuple[int, int],
    stereo: bool = True,
    imu: bool = True,
    imu_errors: ImuChoice = None,
    *,
    sensor: Sensor | Literal["drawn"] | None = None,
    visit: Visit | None = None,
    truth: bool = False,
) -> None:
    """Render a drive and write it under `out` as the KITTI sequence named by the seed (two digits or more).

    Images, calibration, times and poses in the official layout; with `imu`, readings with their stamps (10 between two
    frames) in `imus/`, exact unless there are `imu_errors`; with `truth`, what this file's first lines name. Poses are
    those in the world of the place, so that visits to one place agree. `size` is height, width. Raises Vo3dError for an
    unknown kind, fewer than 2 frames, odd sizes, a lens, unknown errors, or a folder that holds images already.
    """
    check_imu_asked_for(imu, imu_errors)
    recorder = Recorder(kind, seed, frames, size, chosen_sensor(sensor, seed), visit=visit)
    _refuse_lens(recorder.sensor)
    name = f"{seed:02d}"
    known = _Truth(out / "truth" / name, recorder) if truth else None
    sequence = render_sequence(
        recorder, stereo=stereo, label=truth and recorder.has_classes, seen=known.add if known else None
    )
    readings = recorder.imu(IMU_READINGS, imu_errors_of(imu_errors)).float() if imu else None
    stamps = reading_times(recorder.times(), IMU_READINGS) if imu else None
    write_sequence(out, name, track(sequence, f"{kind} {seed}", total=frames), imu=readings, imu_time=stamps)
    if known:
        known.finish()


def render_sequence(
    recorder: Recorder, *, stereo: bool, label: bool = False, seen: Callable[[int, Frame], None] | None = None
) -> Iterator[Sample]:
    """Take the frames of a recorder in order, as clips of one view with image, K, pose and time.

    Each left frame is also handed to `seen`, with classes where `label` asks for them. Raises Vo3dError for a sensor
    with a lens, which K does not describe.
    """
    _refuse_lens(recorder.sensor)
    poses, times = recorder.poses(), recorder.times()
    K = recorder.camera.K.float()[None]
    for index in range(recorder.frames):
        left = recorder.frame(index, label=label)
        if seen:
            seen(index, left)
        yield Sample(
            image=left.image[None].float() / 255,
            K=K,
            world_T_cam=poses[index : index + 1],
            time=times[index : index + 1],
            right=recorder.frame(index, right=True).image[None].float() / 255 if stereo else None,
            left_T_right=recorder.left_T_right.float() if stereo else None,
            scene=f"{recorder.kind}-{recorder.seed:04d}",
            index=torch.tensor([index]),
        )


def _refuse_lens(sensor: Sensor) -> None:
    if sensor.lens:
        raise Vo3dError(f"frames with lens {sensor.lens}, for which KITTI's files have no room: expected none")


class _Truth:
    """Writes what is known of a drive, frame by frame, and the rest when it is complete."""

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        if visible_paths(folder):
            raise Vo3dError(f"{folder}: holds files already: remove the folder or choose another")
        self.folder, self.recorder = folder, recorder
        self._ids: list[Tensor] = []  # that each frame shows
        count = min(recorder.frames, SHEET_FRAMES)
        self._chosen = set(torch.linspace(0, recorder.frames - 1, count).round().long().tolist())
        self._sheet: list[UInt8[Tensor, "3 h w"]] = []

    def add(self, index: int, frame: Frame) -> None:
        """Write depth, ids and classes of a frame."""
        counts = (frame.depth * COUNTS_PER_METRE).round().long()
        maps = {"depth": (torch.where(counts < 1 << 16, counts, 0), 16), "mask": (frame.mask, 16)}
        if frame.label is not None:
            maps["label"] = (frame.label, 8)
        for name, (values, bits) in maps.items():
            write_counts(self.folder / name / f"{index:06d}.png", values.long(), bits=16 if bits == 16 else 8)
        self._ids.append(torch.unique(frame.mask))
        if index in self._chosen:
            self._sheet.append(frame.image)

    def finish(self) -> None:
        """Write motions of objects, the scene and the contact sheet."""
        recorder = self.recorder
        motions = recorder.object_motion(range(recorder.frames))
        write_whole(self.folder / "object_motion.txt", "\n".join(_motion_lines(motions, self._ids[:-1])) + "\n")
        content = {
            "scene": recorder.kind,
            "seed": recorder.seed,
            "seeds": asdict(recorder.visit.seeds(recorder.seed)),
            "frames": recorder.frames,
            "size": [recorder.camera.height, recorder.camera.width],
            "visit": asdict(recorder.visit),
            "sensor": asdict(recorder.sensor),
            "vo3d": version("vo3d"),
        }
        write_whole(self.folder / "scene.json", json.dumps(content, indent=2) + "\n")
        write_image(self.folder / "contact_sheet.png", contact_sheet(self._sheet).float() / 255)


def _motion_lines(motions: Float64[Tensor, "steps k 4 4"], ids: Sequence[Tensor]) -> list[str]:
    """Spell the motions of the ids that each frame shows, one a line: frame, id, 12 numbers row by row."""
    lines = ["# frame id r11 r12 r13 t1 r21 r22 r23 t2 r31 r32 r33 t3: x(next frame) = R x(frame) + t, world, metres"]
    for number, (motion, shown) in enumerate(zip(motions, ids, strict=True)):
        for one in shown[shown > 0].tolist():
            rows = " ".join(f"{value:.12g}" for value in motion[one - 1, :3].flatten().tolist())
            lines.append(f"{number} {one} {rows}")
    return lines


def contact_sheet(images: Sequence[UInt8[Tensor, "3 h w"]], columns: int = SHEET_COLUMNS) -> UInt8[Tensor, "3 H W"]:
    """Lay out images of one size in rows, with white lines between them; places without an image stay white."""
    framed = [functional.pad(image, (2, 2, 2, 2), value=255) for image in images]
    framed += [torch.full_like(framed[0], 255)] * (-len(framed) % columns)
    rows = [torch.cat(framed[first : first + columns], 2) for first in range(0, len(framed), columns)]
    return torch.cat(rows, 1)

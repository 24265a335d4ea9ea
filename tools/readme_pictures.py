"""Render the pictures of the rendered world: frames with their depth, sheets of times, motions and cameras, walks.

Example: `python tools/readme_pictures.py --what street --out docs/images/street.png`

Example: `python tools/readme_pictures.py --what world --out docs/images/world.png`

Example: `python tools/readme_pictures.py --what room --out docs/images/room.png`

Example: `python tools/readme_pictures.py --what walks --out docs/images/walks.png`
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import matplotlib as mpl
import torch
from matplotlib import colormaps
from matplotlib import pyplot as plt
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vo3d.datasets.rendered import RenderedRecording
from vo3d.formats.images import write_image
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor, drawn_sensor
from vo3d.world.visit import Motion, Time, Visit
from vo3d.world.walk import Walk

VIEWS = ((2000, 60), (2002, 316), (7, 150))  # seed, frame
SIZE = (160, 520)
NEAREST, FARTHEST = 4.0, 120.0  # metres of the colours' ends
CLEAN = Sensor(samples=2, noise=0.0)
PLACE, FRAME, SHEET_SIZE, COLUMNS = 7, 60, (160, 416), 3
ROOM, ROOM_FRAMES, ROOM_SIZE = 1, (0, 60, 120, 180), (168, 224)
OTHER_ROOMS = ((6, 60), (8, 60), (9, 60), (7, 60))  # seed, frame
WALK, WALK_VIEWS, WALK_SIZE = 7, (2, 8, 13, 19, 28, 38), (120, 160)
CAMERAS = {
    "focal 0.45, height 2.2 m": replace(CLEAN, focal=0.45, height=2.2),
    "focal 1.3": replace(CLEAN, focal=1.3),
    "pitch 0.1, roll -0.06": replace(CLEAN, pitch=0.1, roll=-0.06),
    "motion blur 0.5": replace(CLEAN, samples=1, motion_blur=0.5),
    "lens equidistant, focal 0.4": replace(CLEAN, focal=0.4, lens=("equidistant", (0.0, 0.0, 0.0, 0.0))),
    "drawn by seed 5": replace(drawn_sensor(5), samples=2),
}


def coloured(depth: Tensor, nearest: float = NEAREST, farthest: float = FARTHEST) -> Tensor:
    """Depth (h w), metres, as colours (3 h w): near bright, far dark, sky black."""
    place = (depth.clamp(nearest, farthest) / nearest).log() / math.log(farthest / nearest)
    colours = torch.from_numpy(colormaps["magma"](1 - place.numpy())[..., :3]).permute(2, 0, 1).float()
    return colours * (depth > 0)


def street() -> Tensor:
    """Put frames beside their depth."""
    rows = []
    for seed, frame in VIEWS:
        recording = RenderedRecording("street", seed, 400, SIZE, depth=True, sensor=CLEAN)
        clip = recording.clip([frame])
        pair = [clip.image[0], coloured(clip.depth[0])]
        rows.append(torch.cat([functional.pad(picture, (3, 3, 3, 3), value=1.0) for picture in pair], dim=2))
    return torch.cat(rows, dim=1)


def world(out: Path) -> None:
    """Draw one place at every time, by every motion and through cameras of many kinds."""
    here = Visit(place_seed=PLACE)
    shots: list[tuple[str, Sensor, Visit]] = []
    shots += [(f"time {time}", CLEAN, replace(here, time=time)) for time in get_args(Time) if time not in {"any"}]
    shots += [("photographs", CLEAN, replace(here, photographs=True))]
    shots += [(f"motion {motion}", CLEAN, replace(here, motion=motion)) for motion in get_args(Motion)[:-1]]
    shots += [(words, sensor, here) for words, sensor in CAMERAS.items()]
    rows = -(-len(shots) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(COLUMNS * 4.3, rows * 1.85), layout="constrained")
    for axis, (words, sensor, visit) in zip(axes.flat, shots, strict=True):
        frame = Recorder("street", 1, 120, SHEET_SIZE, sensor, visit=visit).frame(FRAME)
        axis.imshow(frame.image.permute(1, 2, 0).numpy())
        axis.set_title(words, fontsize=9)
        axis.axis("off")
    figure.savefig(out, dpi=100)


def room(out: Path) -> None:
    """Draw views along a path through a room with their depth, its times of day, and other rooms."""
    here = Visit(place_seed=ROOM, time_seed=1, movers_seed=0, path_seed=1)
    shots: list[tuple[str, Visit, int]] = [(f"after {frame / 10:g} s", here, frame) for frame in ROOM_FRAMES]
    shots += [(f"time {time}", replace(here, time=time), ROOM_FRAMES[0]) for time in ("low-sun", "night")]
    shots += [("things moved", replace(here, movers_seed=3), ROOM_FRAMES[0])]
    shots += [(f"room {seed}", Visit(place_seed=seed), frame) for seed, frame in OTHER_ROOMS]
    figure, axes = plt.subplots(3, 4, figsize=(10.4, 6.4), layout="constrained")
    pictures: list[tuple[str, Tensor]] = []
    for words, visit, index in shots:
        frame = Recorder("room", 1, 600, ROOM_SIZE, replace(CLEAN, focal=0.6), visit=visit).frame(index)
        pictures.append((words, frame.image.float() / 255))
        if words == shots[0][0]:
            pictures.append(("its depth", coloured(frame.depth, 0.8, 6.0)))
    for axis, (words, picture) in zip(axes.flat, pictures, strict=True):
        axis.imshow(picture.permute(1, 2, 0).numpy())
        axis.set_title(words, fontsize=9)
        axis.axis("off")
    figure.savefig(out, dpi=100)
    Image.open(out).convert("RGB").quantize(255, kmeans=2).save(out, optimize=True)


def walks(out: Path) -> None:
    """Draw views of each pass of a walk, a row for each, at about the same metres of road."""
    walk = Walk()
    passes = walk.database(WALK, 0) + walk.queries(WALK, 0)
    figure, axes = plt.subplots(len(passes), len(WALK_VIEWS), figsize=(11.0, 7.2), layout="constrained")
    for one, row in zip(passes, axes, strict=True):
        recorder = one.recorder(WALK_SIZE)
        for view, axis in zip(WALK_VIEWS, row, strict=True):
            axis.imshow(recorder.frame(one.indices[view]).image.permute(1, 2, 0).numpy())
            axis.set_title(f"{one.metres[view]:.0f} m", fontsize=8, pad=2)
            axis.set(xticks=[], yticks=[])
        lane = 1.5 if one.visit.lateral is None else one.visit.lateral
        words = "database" if one is passes[0] else "query"
        row[0].set_ylabel(
            f"{words}: {one.visit.time}\nlane {lane:.1f} m, {math.degrees(one.sensor.yaw):+.0f}°", fontsize=8
        )
    figure.savefig(out, dpi=100)
    Image.open(out).convert("RGB").quantize(255, kmeans=2).save(out, optimize=True)


def main() -> None:
    """Write a picture."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--what", choices=("street", "world", "room", "walks"), default="street")
    parser.add_argument("--out", type=Path, default=Path("docs/images/street.png"))
    arguments = parser.parse_args()
    mpl.use("Agg")
    if arguments.what == "street":
        write_image(arguments.out, street())
    else:
        {"world": world, "room": room, "walks": walks}[arguments.what](arguments.out)


if __name__ == "__main__":
    main()

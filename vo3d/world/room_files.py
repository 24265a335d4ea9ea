"""Rendered rooms as files, in the layout of 7-Scenes: several hand-held sequences of one place, in its one world."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float, Float64, Int, UInt8
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.images import write_counts, write_image
from vo3d.world.drive_files import contact_sheet
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit, chosen_visit

COUNTS_PER_METRE = 1000  # of depth images
NO_DEPTH = 65535  # the count of nothing, or of 65.535 m and more
FOCAL, CENTRE, SIZE = 525.0, (320.0, 240.0), (480, 640)  # of 7-Scenes: pixels of the colour camera; height, width
MOST_SEQUENCES = 99  # whose names have two digits
SHEET_FRAMES, SHEET_SHRINK = 12, 2

# The camera of 7-Scenes: its principal point is (320, 240) where the centre of the top-left pixel is (0, 0).
HAND_HELD = Sensor(rate=30.0, focal=FOCAL / SIZE[1], centre=((CENTRE[0] + 0.5) / SIZE[1], (CENTRE[1] + 0.5) / SIZE[0]))


def render_to_7scenes(
    kind: str,
    frames: int,
    seed: int,
    out: Path,
    size: tuple[int, int] = SIZE,
    sequences: tuple[int, int] = (3, 2),
    *,
    visit: Visit | None = None,
) -> Path:
    """Render sequences of one place, first those for training, then those for testing; return the folder of the scene.

    Writes `out/room-0007/seq-01/frame-000000.{color.png,depth.png,pose.txt}` and so on, the same world for all, and at
    the end `TrainSplit.txt`, `TestSplit.txt`, `scene.json` and `contact_sheet.png`: a scene that was interrupted lacks
    them. Depth is in millimetres, 65535 for none, and lies in the pixels of the colour image, unlike that of 7-Scenes:
    `depth_focal: 525` reads it (`vo3d reconstruct` takes that from `scene.json`).
    Sequence i is the recording of seed 100 `seed` + i: its path, and what is moved, are
    its own unless the visit says where things lie; place and light are of `seed` unless the visit names others. `size`
    is height, width; what reads 7-Scenes knows 480x640 alone.

    Raises Vo3dError for fewer than one sequence of either kind or more than 99 together, a path for all of them, a
    folder that holds files already, and as `Recorder`.
    """
    train, test = sequences
    visit = chosen_visit(visit)
    if min(train, test) < 1 or train + test > MOST_SEQUENCES:
        raise Vo3dError(
            f"sequences {train} {test}: expected at least one for training and one for testing, {MOST_SEQUENCES} in all"
        )
    if visit.path_seed is not None:
        raise Vo3dError(f"path_seed {visit.path_seed} of several sequences: each has a path of its own: leave it out")
    seeds = visit.seeds(seed)
    visit = replace(visit, place_seed=seeds.place, time_seed=seeds.time)
    numbers = range(1, train + test + 1)

    def recorder_of(number: int) -> Recorder:
        return Recorder(kind, 100 * seed + number, frames, size, HAND_HELD, visit=visit)

    folder, total = out / f"{kind}-{seeds.place:04d}", frames * len(numbers)
    content = _content([recorder_of(number) for number in numbers], train)
    if visible_paths(folder):
        raise Vo3dError(f"{folder}: holds files already: remove the folder or choose another")
    chosen, sheet = torch.linspace(0, total - 1, min(SHEET_FRAMES, total)).round().long().tolist(), []
    images = (image for number in numbers for image in _write(folder / f"seq-{number:02d}", recorder_of(number)))
    for number, image in enumerate(track(images, folder.name, total=total)):
        if number in chosen:
            sheet.append(functional.avg_pool2d(image.float(), SHEET_SHRINK).round().to(torch.uint8))
    write_image(folder / "contact_sheet.png", contact_sheet(sheet).float() / 255)
    write_whole(folder / "scene.json", json.dumps(content, indent=2) + "\n")
    for name, named in (("Train", numbers[:train]), ("Test", numbers[train:])):
        write_whole(folder / f"{name}Split.txt", "".join(f"sequence{number}\n" for number in named))
    return folder


def _write(folder: Path, recorder: Recorder) -> Iterator[UInt8[Tensor, "3 h w"]]:
    """Write the frames of a sequence in order, and hand on their images."""
    for index, pose in enumerate(recorder.poses()):
        frame = recorder.frame(index)
        stem = folder / f"frame-{index:06d}"
        write_image(stem.with_suffix(".color.png"), frame.image.float() / 255)
        write_counts(stem.with_suffix(".depth.png"), _millimetres(frame.depth), bits=16)
        write_whole(stem.with_suffix(".pose.txt"), _pose_lines(pose))
        yield frame.image


def _millimetres(depth: Float[Tensor, "h w"]) -> Int[Tensor, "h w"]:
    """Return the counts of a depth image."""
    counts = (depth * COUNTS_PER_METRE).round().long()
    return torch.where((counts > 0) & (counts < NO_DEPTH), counts, NO_DEPTH)


def _pose_lines(world_T_cam: Float64[Tensor, "4 4"]) -> str:
    """Spell a pose as 7-Scenes does: four rows of four numbers."""
    return "".join("\t".join(f"{value:.10e}" for value in row) + "\n" for row in world_T_cam.tolist())


def _content(recorders: list[Recorder], train: int) -> dict[str, object]:
    """Collect what it takes to draw the scene again."""
    first = recorders[0]
    return {
        "scene": first.kind,
        "frames": first.frames,
        "size": [first.camera.height, first.camera.width],
        "K": first.camera.K.tolist(),
        "depth": "millimetres along z, 65535 for none, in the pixels of the colour image: the cameras are one",
        "depth_focal": FOCAL,
        "visit": asdict(first.visit),
        "sensor": asdict(first.sensor),
        "sequences": {
            f"seq-{number:02d}": {
                "split": "train" if number <= train else "test",
                "seed": recorder.seed,
                "seeds": asdict(recorder.visit.seeds(recorder.seed)),
            }
            for number, recorder in enumerate(recorders, start=1)
        },
        "vo3d": version("vo3d"),
    }

"""What a rendered drive knows beside KITTI's layout, as files: depth, ids, classes, motions of objects, its scene."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float64, Int, UInt8
from torch import Tensor
from torch.nn import functional

from vo3d.formats.files import write_whole
from vo3d.formats.images import write_counts, write_image
from vo3d.world.recorder import Frame, Recorder

COUNTS_PER_METRE = 256  # of depth images, as KITTI's depth benchmark has them; 0 = none, or more than 255.99 m
SHEET_FRAMES, SHEET_COLUMNS = 12, 3


def write_frame_truth(folder: Path, number: int, frame: Frame, label: Int[Tensor, "h w"]) -> None:
    """Write depth, ids of moving objects and classes of a frame as `folder/{depth,mask,label}/000000.png`."""
    counts = (frame.depth * COUNTS_PER_METRE).round().long()
    write_counts(folder / "depth" / f"{number:06d}.png", torch.where(counts < 1 << 16, counts, 0), bits=16)
    write_counts(folder / "mask" / f"{number:06d}.png", frame.mask.long(), bits=16)
    write_counts(folder / "label" / f"{number:06d}.png", label.long(), bits=8)


def write_object_motion(path: Path, motions: Float64[Tensor, "n k 4 4"], seen: Sequence[Int[Tensor, " ids"]]) -> None:
    """Write the rigid motions in the world, from each frame to the next, of the ids that are `seen` in it.

    A line holds the frame, the id and the 12 numbers of the upper rows, metres.
    """
    lines = ["# frame id r11 r12 r13 t1 r21 r22 r23 t2 r31 r32 r33 t3: x(next frame) = R x(frame) + t in the world"]
    for number, (motion, ids) in enumerate(zip(motions, seen, strict=True)):
        for one in ids.tolist():
            rows = " ".join(f"{value:.12g}" for value in motion[one - 1, :3].flatten().tolist())
            lines.append(f"{number} {one} {rows}")
    write_whole(path, "".join(f"{line}\n" for line in lines))


def write_scene(path: Path, recorder: Recorder) -> None:
    """Write what the drive was drawn from, as JSON: seeds of its parts, choices, camera, size."""
    height, width = recorder.size
    content = {
        "scene": recorder.kind,
        "seed": recorder.seed,
        "seeds": asdict(recorder.visit.seeds(recorder.seed)),
        "frames": recorder.frames,
        "size": [height, width],
        "visit": asdict(recorder.visit),
        "sensor": asdict(recorder.sensor),
        "vo3d": version("vo3d"),
    }
    write_whole(path, json.dumps(content, indent=2) + "\n")


def contact_sheet(images: Sequence[UInt8[Tensor, "3 h w"]], columns: int = SHEET_COLUMNS) -> UInt8[Tensor, "3 H W"]:
    """Lay out images of one size in rows, with white lines between them; places without an image stay white."""
    framed = [functional.pad(image, (2, 2, 2, 2), value=255) for image in images]
    framed += [torch.full_like(framed[0], 255)] * (-len(framed) % columns)
    rows = [torch.cat(framed[first : first + columns], 2) for first in range(0, len(framed), columns)]
    return torch.cat(rows, 1)


def write_sheet(path: Path, images: Sequence[UInt8[Tensor, "3 h w"]]) -> None:
    """Write a contact sheet."""
    write_image(path, contact_sheet(images).float() / 255)


def sheet_frames(frames: int) -> list[int]:
    """Choose the frames of a contact sheet, evenly from the first to the last."""
    count = min(frames, SHEET_FRAMES)
    return torch.linspace(0, frames - 1, count).round().long().tolist()

"""Optical flow and masks of moving objects in reports: drawn out of the files that their tasks leave with a result.

Those lie in `flow/<recording>/` and `masks/<recording>/`, for the first pair of each of the first recordings.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.synthesis import MOTION, read_motion
from vo3d.formats.candidates import visible_paths
from vo3d.formats.flow import read_flo
from vo3d.formats.pfm import read_pfm
from vo3d.formats.text import read_json
from vo3d.geometry import se3
from vo3d.recording import Recording
from vo3d.report.canvas import save_figure
from vo3d.report.flow import FlowPair, plot_flow
from vo3d.report.html import Picture, Section, Text
from vo3d.report.masks import LEAST_PIXELS, MOST_ARROWS, MovingMasks, plot_masks, true_masks
from vo3d.report.scored import Scored
from vo3d.sample import Sample

FLOW, MASKS = "flow", "masks"  # folders in a result folder
MOST = 2  # recordings of each model: pictures make a page heavy
FLOW_END, MOTIONS_END = "_flow.flo", "_motions.json"  # ends of the files of a pair, after the name of its first view
MASK_END = re.compile(r"(.+)_mask_(\d+)\.pfm")

Draw = Callable[[str, Recording, Path, Path], Picture]  # of a model, its recording, a file there and the figure's


def flow_sections(
    models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
) -> Iterator[Section]:
    """Show the flow of each model for a pair of each of the first recordings, its error and the next frame warped back.

    Args:
        models: The result of each by its name, with `flow/<recording>/<view>_flow.flo`.
        recordings: Those that each model saw, by its name.
        figures: The folder of the pictures.

    Raises:
        Vo3dError: a file cannot be read, or is of other images than those of the recording.
    """
    yield Section("Optical flow", [*_pictures(models, recordings, figures, FLOW, f"*{FLOW_END}", _flow_picture)])


def mask_sections(
    models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
) -> Iterator[Section]:
    """Show the masks of each model for a pair of each of the first recordings, beside the true ones, with motions.

    Args:
        models: The result of each by its name, with `masks/<recording>/<view>_mask_<number>.pfm`, and with
            `<view>_motions.json` and, of the camera, `<view>_motion.json` (see `write_motion`) or without.
        recordings: Those that each model saw, by its name.
        figures: The folder of the pictures.

    Raises:
        Vo3dError: a file cannot be read or is missing, or is of other images than those of the recording.
    """
    yield Section("Moving objects", [*_pictures(models, recordings, figures, MASKS, "*_mask_*.pfm", _mask_picture)])


def _pictures(
    models: Mapping[str, Scored],
    recordings: Mapping[str, Sequence[Recording]],
    figures: Path,
    kind: str,
    pattern: str,
    draw: Draw,
) -> Iterator[Picture | Text]:
    """Draw the first file of the pattern in the folder of each recording that is shown; a note where there is none."""
    for number, (name, model) in enumerate(models.items(), start=1):
        there = {recording.name: recording for recording in recordings.get(name, ())}
        found = [
            (there[one], paths[0])
            for one in model.sequences
            if one in there and (paths := visible_paths(model.folder / kind / one, pattern))
        ]
        for place, (recording, path) in enumerate(found[:MOST], start=1):
            yield draw(name, recording, path, figures / f"{kind}_{number}_{place}.png")
        if not found:
            yield Text(f"No {kind} of {name}: no recording of such files was given to this report.", "note")


def _pair(recording: Recording, path: Path, stem: str, shape: Sequence[int]) -> tuple[int, Sample]:
    """Read the two views of a pair, of which the first is called `stem`, and the place of that in the recording.

    `shape` is that of what was predicted.
    """
    views = [index for index, one in enumerate(recording.names) if Path(one).name == stem]
    if not views or views[0] + 1 == len(recording):
        missing = "view after it" if views else "such view"
        raise Vo3dError(f"{path}: {recording.name} has no {missing} now: evaluate the model again")
    sample = recording.clip([views[0], views[0] + 1])
    if sample.image.shape[-2:] != tuple(shape[-2:]):
        raise Vo3dError(
            f"{path}: of {shape[-1]}x{shape[-2]} pixels: expected {sample.image.shape[-1]}x{sample.image.shape[-2]}, "
            f"as {recording.name} has now: evaluate the model again"
        )
    return views[0], sample


def _flow_picture(name: str, recording: Recording, path: Path, file: Path) -> Picture:
    """Draw the flow in a file."""
    flow, stem = read_flo(path), path.name.removesuffix(FLOW_END)
    _, sample = _pair(recording, path, stem, flow.shape)
    pair = FlowPair(
        name=f"{recording.name}, {stem}",
        image=sample.image[0],
        following=sample.image[1],
        flow=flow,
        truth=None if sample.flow is None else sample.flow[0],
    )
    caption = (
        f"{name}: {recording.name}, {stem}, with its flow to the next frame. The hue is the direction and the "
        "saturation the length, as the wheel has them. Below, the next frame as the flow warps it back, and what "
        "differs from the view, beside what differs in the next frame as it is, over the same pixels; what is hidden "
        "there differs whatever the flow. Grey pixels have no flow, or leave the next frame."
    )
    return Picture(save_figure(plot_flow(pair), file), caption, caption)


def _mask_picture(name: str, recording: Recording, path: Path, file: Path) -> Picture:
    """Draw the masks that belong to one of them."""
    match = MASK_END.fullmatch(path.name)
    if match is None:
        raise Vo3dError(f"{path}: expected a name that ends in _mask_ and a number: remove it, or evaluate again")
    stem = match[1]
    mask = _read_masks(path.parent, stem)
    motions = path.with_name(f"{stem}{MOTIONS_END}")
    view, sample = _pair(recording, path, stem, mask.shape)
    found = MovingMasks(
        mask=mask,
        motion=_read_motions(motions, len(mask)) if motions.is_file() else None,
        camera=_read_camera(path.with_name(f"{stem}{MOTION}"), recording, view),
    )
    truth = None
    if sample.mask is not None:
        moving = None if sample.object_motion is None else sample.object_motion[0]
        truth = true_masks(sample.mask[0], moving, sample.world_T_cam)
    figure = plot_masks(
        sample.image[0],
        found,
        truth,
        depth=None if sample.depth is None else sample.depth[0],
        K=None if sample.K is None else sample.K[0],
        name=f"{recording.name}, {stem}",
        unit="m" if recording.metric else "",
    )
    beside = "" if truth is None else " beside the true ones, which have the colours of those that cover them"
    caption = (
        f"{name}: {recording.name}, {stem}, with the masks of what moves{beside}; opacity is membership. Arrows lead "
        f"from the middles of the {MOST_ARROWS} largest masks of at least {LEAST_PIXELS} pixels, at their true depths, "
        "to where their motions put these, the motion of the camera left out (a dot alone hardly moves in the image); "
        "the numbers are their lengths and the turns."
    )
    return Picture(save_figure(figure, file), caption, caption)


def _read_masks(folder: Path, stem: str) -> Float[Tensor, "k h w"]:
    """Read all masks of a view in the order of their numbers, from 0 on."""
    matches = [(MASK_END.fullmatch(path.name), path) for path in visible_paths(folder)]
    files = {int(match[2]): path for match, path in matches if match is not None and match[1] == stem}
    if gaps := [number for number in range(len(files)) if number not in files]:
        raise Vo3dError(f"{folder / f'{stem}_mask_{gaps[0]}.pfm'}: no such file: evaluate the model again")
    masks = [read_pfm(files[number]) for number in range(len(files))]
    for number, mask in enumerate(masks):
        if mask.shape != masks[0].shape or mask.ndim != 2:
            raise Vo3dError(
                f"{files[number]}: a map of shape {tuple(mask.shape)}: expected {tuple(masks[0].shape[-2:])}, as the "
                "others have: evaluate the model again"
            )
    return torch.stack(masks)


def _read_camera(path: Path, recording: Recording, view: int) -> Float64[Tensor, "4 4"] | None:
    """Read the pose of the next view in the frame of a view; None where the model gave no motion of the camera."""
    if not path.is_file():
        return None
    source, source_T_view = read_motion(path, len(recording))
    if source != view + 1:
        raise Vo3dError(
            f"{path}: a motion from frame {view} to {source}: expected {view + 1}: evaluate the model again"
        )
    return se3.inverse(source_T_view)


def _read_motions(path: Path, num_masks: int) -> Float64[Tensor, "k 4 4"]:
    """Read the motions of the masks, a list of matrices."""
    content: Any = read_json(path, "the motions of masks, a list of 4x4 matrices")
    try:
        motions = torch.tensor(content, dtype=torch.float64)
        if motions.shape != (num_masks, 4, 4) or not motions.isfinite().all():
            raise ValueError(f"shape {tuple(motions.shape)}, expected {num_masks} finite matrices of 4x4")
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise Vo3dError(f"{path}: not the motions of {num_masks} masks ({error}): evaluate the model again") from error
    return motions

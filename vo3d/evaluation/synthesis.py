"""Views made from other images, in reports: the motion of a shown map is kept while it is scored, then drawn."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.pfm import read_pfm
from vo3d.geometry import se3
from vo3d.geometry.camera import subsample
from vo3d.inference.loop import Answer
from vo3d.recording import Recording
from vo3d.report.canvas import save_figure
from vo3d.report.depth import depth_limits, known
from vo3d.report.html import Picture, Section
from vo3d.report.scored import Scored
from vo3d.report.synthesis import plot_view_synthesis, synthesise

MOST = 2  # recordings of each model: pictures make a page heavy
DEPTH, MOTION = "_depth.pfm", "_motion.json"  # ends of the files of a view's map and of its motion


def write_motion(folder: Path, name: str, answer: Answer, view: int) -> None:
    """Write the predicted motion from a view to a frame beside it, into the folder of its map; nothing where is none.

    That frame is the next of the window, or the one before the last. The file holds its number in the recording and
    `source_T_view`.
    """
    path = folder / f"{name}{MOTION}"
    views, steps = answer.frames.views, answer.prediction.get("prev_T_cam")
    if steps is None or len(views) < 2:
        path.unlink(missing_ok=True)  # of an earlier evaluation
        return
    source = view + 1 if view + 1 < len(views) else view - 1
    motion = se3.inverse(steps[0, view]) if source > view else steps[0, source]
    write_whole(path, json.dumps({"source": views[source], "source_T_view": motion.double().tolist()}) + "\n")


def synthesis_sections(
    models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], maps: str, figures: Path
) -> Iterator[Section]:
    """Show, for each model, a view of each of the first recordings as its depth makes it from other images.

    Those are the right image, where the recordings have one, and a frame beside it, where the model gave its motion.
    `maps` is the folder of the maps in a result folder. Without any such picture there is no section.

    Raises Vo3dError for a map or a motion that cannot be read, or is of other images than those of the recording.
    """
    pictures: list[Picture] = []
    for number, (name, model) in enumerate(models.items(), start=1):
        there = {recording.name: recording for recording in recordings.get(name, ())}
        shown = [there[one] for one in model.sequences if one in there and (model.folder / maps / one).is_dir()]
        for place, recording in enumerate(shown[:MOST], start=1):
            for path in visible_paths(model.folder / maps / recording.name, f"*{DEPTH}")[:1]:
                stride = int(model.protocol.get("stride") or 1)
                file = figures / f"synthesis_{number}_{place}.png"
                pictures += _pictures(name, recording, path, stride, file)
    if pictures:
        yield Section("Views made from other images", pictures)


def _pictures(name: str, recording: Recording, path: Path, stride: int, file: Path) -> Iterator[Picture]:
    """Draw the view of a map, where there is an image that it can be made from."""
    stem = path.name.removesuffix(DEPTH)
    view = next((index for index, one in enumerate(recording.names) if Path(one).name == stem), None)
    motion = path.with_name(f"{stem}{MOTION}")
    source, source_T_view = read_motion(motion, len(recording)) if motion.is_file() else (None, None)
    if view is None:
        return
    sample, depth = recording.clip([view] if source is None else [view, source]), read_pfm(path)
    image = subsample(sample.image, stride)
    if image.shape[-2:] != depth.shape:
        raise Vo3dError(
            f"{path}: a map of {depth.shape[-1]}x{depth.shape[-2]}: expected {image.shape[-1]}x{image.shape[-2]}, as "
            f"{recording.name} has now: evaluate the model again"
        )
    found = synthesise(
        sample,
        depth,
        source=None if source is None else 1,
        source_T_view=source_T_view,
        stride=stride,
        name=f"{recording.name}, {stem}",
        after=source is None or source > view,
    )
    if not found.made:
        return
    parts = " and from ".join(made.source for made in found.made)
    truth = [] if sample.depth is None else [sample.depth[0]]  # its colours: what is wrong must not look right
    limits = depth_limits(truth) if truth and known(truth[0]).any() else None
    figure = plot_view_synthesis(found, unit="m" if recording.metric else "", limits=limits)
    caption = (
        f"{name}: {recording.name}, {stem}, with its depth, made from {parts} by what the model predicts. The residual "
        "is what differs from the view; beside it, that of the other image as it is, over the same pixels. Grey pixels "
        "lie outside of the other image, or have no depth."
    )
    yield Picture(save_figure(figure, file), caption, caption)


def read_motion(path: Path, num_frames: int) -> tuple[int, Float[Tensor, "4 4"]]:
    """Read what `write_motion` wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        source, pose = content["source"], torch.tensor(content["source_T_view"], dtype=torch.float64)
        if not isinstance(source, int) or not 0 <= source < num_frames or pose.shape != (4, 4):
            raise ValueError(f"frame {source}, pose of {tuple(pose.shape)}")
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise Vo3dError(f"{path}: not the motion of a view ({error}): evaluate the model again") from error
    return source, pose

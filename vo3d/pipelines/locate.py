"""`vo3d locate`: where each image of a folder, or each frame of a video, was taken, in a scene that was learnt."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from jaxtyping import Float64
from rich.console import Console
from torch import Tensor
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError, visible
from vo3d.evaluation.task import failure_in_words
from vo3d.evaluation.tasks.relocalisation import KEY
from vo3d.formats.files import make_folder
from vo3d.formats.located import Located, write_located
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import rotations
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import evaluating, windows_of
from vo3d.inference.pretrained import load_into
from vo3d.inference.progress import progress_bar
from vo3d.inference.trajectory import track
from vo3d.mapper import Mapper
from vo3d.metrics.relocalisation import pose_errors
from vo3d.model import Frames, Model
from vo3d.recording import Recording, recordings_of
from vo3d.report.canvas import save_figure
from vo3d.report.located import plot_located, plot_over_time
from vo3d.report.positions import map_axes
from vo3d.settings.build import build
from vo3d.settings.layouts import open_sequence
from vo3d.settings.run_folder import find_checkpoint, read_run

CUT = 0.1  # share of an image that is cut off, of which more is said
LOST = 30.0  # degrees of a median error from which on a rotation can be called no better than the map's mean


@dataclass(frozen=True, kw_only=True, eq=False)
class _Map:
    """A model that learnt a scene, and the views that it learnt it from."""

    model: Model
    weights: str
    views: Float64[Tensor, "m 4 4"]
    size: tuple[int, int] | int | None  # that it sees images at: rows and columns, or the shorter side; None: any
    chosen_by: str  # what says so
    notes: list[str]


def locate(
    source: Path,
    *,
    run: Path,
    weights: str = "best",
    out: Path = Path("located"),
    clip_length: int | None = None,
    size: tuple[int, int] | None = None,
    frames: tuple[int, int] | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Located:
    """Tell the pose of each frame in the world of a run's training views; write tables and pictures of them to `out`.

    Options are those of `vo3d.verbs.relocalisation.locate`.

    Args:
        run: The folder of the run.
        frames: First and last (exclusive) frame; all if None.
        console: Where to print.

    Raises:
        Vo3dError: The source, the run or the options are none that can be used.
    """
    console = console or Console()
    chosen, scene = choose_device(device), _open_map(run, weights)
    opened, line = _open_source(source, scene, size, frames)
    windows = _windows(scene.model, opened, clip_length)
    _check_out(out, source)
    _say(console, "found", line)
    views = f"{len(scene.views)} training views" if len(scene.views) else "training views unknown"
    _say(console, "map", f"{run}: {type(scene.model).__name__} ({scene.weights}), {views}, on {chosen}")
    truth = opened.poses()
    for note in (*opened.notes, *scene.notes):
        _say(console, "note", visible(note))
    found, seconds, total = _run(scene.model, opened, windows, chosen)
    number, off = _frames(len(found)), None
    if truth is not None:
        metres, degrees = pose_errors(truth, found.world_T_cam).quantile(0.5, dim=0).tolist()
        off = (metres, degrees)
        _say(console, "truth", f"off by {metres:.3f} m and {degrees:.2f} deg in the median of {number}")
    for note in _doubts(found, scene.views, off):
        _say(console, "note", note)
    _write(out, found, scene.views, truth)
    more = ", over_time.png" if found.deviations is not None else ""
    _say(console, "poses", f"{out}: poses.tum, poses.csv, positions.png{more}: {number}")
    model, both = (len(found) / max(spent, 1e-9) for spent in (seconds, total))
    _say(console, "speed", f"{model:.1f} frames a second by the model, {both:.1f} with reading")
    return found


def _open_map(run: Path, weights: str) -> _Map:
    """Build the model of a run with its weights, and find the poses of its training views and the size of its images.

    Training data that cannot be opened are a note.
    """
    config = read_run(run)
    net: Model = build(Model, config["model"]["net"], str(run))
    name = type(net).__name__
    if KEY not in net.gives or isinstance(net, Mapper):
        why = "maps each recording in a world of its own" if KEY in net.gives else f"gives {', '.join(net.gives)}"
        raise Vo3dError(
            f"--map {run}: {name} {why}: expected the run of a model that gives {KEY} in a scene that it learnt, such "
            "as PoseNet"
        )
    checkpoint = find_checkpoint(weights, run)
    load_into(net, checkpoint)
    notes: list[str] = []
    recordings: list[Recording] = []
    if (spec := config["data"].get("train")) is None:
        notes.append(
            f"{run}: there is no data.train: the views of the map are not drawn, and nothing is checked by them"
        )
    else:
        try:
            recordings = list(recordings_of(build(Dataset, spec, f"{run}, data.train")))
        except Exception as error:  # noqa: BLE001 (poses need them not: it is said and goes on)
            notes.append(f"goes on without the views of the map: {failure_in_words(error)}")
    poses = [of for one in recordings if (of := one.poses()) is not None and len(of)]
    if recordings and not poses:
        notes.append("the training recordings have no poses: the views of the map are not drawn")
    if not all(one.metric for one in recordings):
        notes.append("the training poses are in a unit that nobody told: metres below are that unit")
    size, chosen_by = _size_of(config["data"], recordings, net)
    return _Map(
        model=net,
        weights=checkpoint.name,
        views=torch.cat([torch.zeros(0, 4, 4, dtype=torch.float64), *poses]),
        size=size,
        chosen_by=chosen_by,
        notes=notes,
    )


def _size_of(
    data: Mapping[str, Any], recordings: list[Recording], model: Model
) -> tuple[tuple[int, int] | int | None, str]:
    """Find the size at which the run shows images to its model, before crops; and what says so."""
    for split in ("test", "val", "train"):
        given = (data.get(split) or {}).get("init_args", {})
        for name in ("size", "short_side"):
            if (value := given.get(name)) is not None:
                return (value if name == "short_side" else (value[0], value[1])), f"{name} of data.{split}"
    if recordings:
        h, w = recordings[0].clip([0]).image.shape[-2:]
        return (h, w), "as its training views"
    if (own := getattr(model, "size", None)) is not None:
        return (own[0], own[1]), f"the size of {type(model).__name__}"
    return None, ""


def _open_source(
    source: Path, scene: _Map, size: tuple[int, int] | None, frames: tuple[int, int] | None
) -> tuple[Recording, str]:
    """Open the frames at the size that the model wants, and say what they are and what is done to them."""
    needs_camera = "K" in scene.model.needs
    layout, opened = open_sequence(source, {"frames": frames}, needs_camera=needs_camera)
    h, w = opened.clip([0]).image.shape[-2:]
    wanted, why = (size, "--size") if size is not None else (scene.size, scene.chosen_by)
    line = f"{opened.name}: {layout.words}; {_frames(len(opened))} of {w}x{h}"
    extra: list[str] = []
    if len(opened) == 1 and scene.model.window.views != 1:
        extra.append(f"one image, and {type(scene.model).__name__} looks at clips: a video is located better")
    if isinstance(wanted, int):
        wanted = round(h * wanted / min(h, w)), round(w * wanted / min(h, w))
    if wanted is None:
        line = f"{line}, seen as they are"
    else:
        if wanted != (h, w):
            opened = open_sequence(source, {"frames": frames, "size": wanted}, needs_camera=needs_camera)[1]
        line = f"{line}, seen as {wanted[1]}x{wanted[0]} ({why})"
        scale = max(wanted[0] / h, wanted[1] / w)
        lost = 1 - wanted[0] * wanted[1] / (scale * scale * h * w)
        extra += [f"{100 * lost:.0f} % of each image are cut off for this shape"] if lost > CUT else []
        extra += ["images are enlarged for this size: what is blurred is located less well"] if scale > 1 else []
    opened.notes = [*opened.notes, *(f"{opened.name}: {words}" for words in extra)]
    return opened, line


def _windows(model: Model, recording: Recording, clip_length: int | None) -> list[Frames]:
    """Cut the frames as the model wants them; refuse a clip length that it has no use for."""
    name, count = type(model).__name__, len(recording)
    if clip_length is not None:
        if model.window.views is not None:
            sees = "single images" if model.window.views == 1 else f"{model.window.views} frames at once"
            raise Vo3dError(f"--clip-length {clip_length}: {name} looks at {sees}: leave it out")
        if not 1 <= clip_length <= count:
            raise Vo3dError(f"--clip-length {clip_length}: {recording.name} has {count} frames: expected 1 to {count}")
    return windows_of(model, recording, clip_length=clip_length)


def _check_out(out: Path, source: Path) -> None:
    """Make the folder of the results; Vo3dError where they would lie among the images."""
    make_folder(out)
    if source.is_dir() and out.samefile(source):
        raise Vo3dError(f"--out {out}: is the folder of the images: choose another for the poses and pictures")


def _run(
    model: Model, recording: Recording, windows: list[Frames], device: torch.device
) -> tuple[Located, float, float]:
    """Locate all frames; tell the seconds of the model's work, and those of all with reading."""
    began = perf_counter()
    with evaluating(model, device), progress_bar() as bar:
        line = bar.add_task(recording.name, total=len(recording))
        told = track(model, recording, windows, device=device, advance=lambda done: bar.advance(line, done))
    found = Located(
        frames=torch.tensor([*recording.frames]),
        names=recording.names,
        world_T_cam=told.world_T_cam,
        time=told.time,
        deviations=told.deviations,
    )
    return found, told.seconds, perf_counter() - began


def _doubts(found: Located, views: Float64[Tensor, "m 4 4"], off: tuple[float, float] | None) -> list[str]:
    """Say what cannot be trusted: positions far from all training views, deviations or errors as large as the scene.

    `off` is the median error, metres and degrees, where true poses are known.
    """
    if not len(views):
        return []
    notes, known, position = [], views[:, :3, 3], found.world_T_cam[:, :3, 3]
    low, high = known.amin(0), known.amax(0)
    across = (high - low).norm().item()
    outside = ((low - position).clamp(min=0) + (position - high).clamp(min=0)).norm(dim=-1)
    if far := int((outside > across).sum()):
        notes.append(
            f"{far} of {len(found)} positions lie up to {outside.max().item():.3g} m outside of the box of the "
            f"training views, which is {across:.3g} m across: they cannot be trusted"
        )
    spread = known.std(0, correction=0).norm().item()  # what the mean of all training views is off by
    if found.totals is not None and (median := found.totals[:, 0].quantile(0.5).item()) > spread:
        notes.append(
            f"the predicted deviation is {median:.3g} m in the median, and the training views themselves are only "
            f"{spread:.3g} m from their mean: this cannot be trusted: are these images of the scene of the map?"
        )
    mean = rotations.mean_rotation(views[:, :3, :3])
    turned = rotations.so3_log(mean.mT @ views[:, :3, :3]).norm(dim=-1).rad2deg().quantile(0.5).item()
    if off is not None and (off[0] > spread or off[1] > max(turned, LOST)):
        notes.append(
            f"the mean of all training views would be off by about {spread:.3g} m and {turned:.3g} deg, which is no "
            "worse: the true poses are of another scene or world than the map, or the model has not learnt it"
        )
    return notes


def _write(out: Path, found: Located, views: Float64[Tensor, "m 4 4"], truth: Float64[Tensor, "n 4 4"] | None) -> None:
    """Write the poses and the pictures of them."""
    path = Trajectory(world_T_cam=found.world_T_cam, time=found.stamps)
    write_trajectory(out / "poses.tum", path, "tum")
    write_located(out / "poses.csv", found)
    save_figure(plot_located(found, views, truth), out / "positions.png")
    (out / "over_time.png").unlink(missing_ok=True)  # of an earlier model
    if found.deviations is not None:
        axes = map_axes(views if len(views) else found.world_T_cam)
        save_figure(plot_over_time(found, axes, truth), out / "over_time.png")


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"


def _say(console: Console, what: str, text: str) -> None:
    console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)

"""`vo3d view` of frames in time order: a coloured cloud by a model of depth and poses, written and shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError, visible
from vo3d.formats.ply import write_cloud
from vo3d.geometry.trajectory import path_lengths
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import evaluating, windows_of
from vo3d.inference.pretrained import load_pretrained
from vo3d.inference.progress import progress_bar
from vo3d.inference.sequence_cloud import CloudRules, model_of_sequences, sequence_cloud
from vo3d.pipelines.reconstruct.job import check_writable
from vo3d.recording import Recording, recordings_of
from vo3d.report.clouds import up_comment
from vo3d.report.viewer import Viewer, view_cloud
from vo3d.settings.build import build
from vo3d.settings.layouts import open_sequence
from vo3d.settings.run_folder import CONFIG, read_run


def view_sequence(
    source: Path,
    *,
    weights: str | None = None,
    model: str | None = None,
    recording: str | None = None,
    reading: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
    ply: Path | None = None,
    out: Path | None = None,
    viewer: Viewer = "auto",
    frames: int = 36,
    up: Sequence[float] | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> str:
    """Make a cloud of frames in time order by a model that gives depth and poses, write it, and show it.

    Options are those of `vo3d.verbs.scenes.view`.

    Args:
        recording: Of a run or a configuration, the name of the recording; its first one if None.
        reading: How other sources are read: intrinsics, field_of_view, frames, size; without a size the model's own.
        rules: Of `CloudRules`.
        console: Where to print.

    Returns:
        The line of `view_cloud`.

    Raises:
        Vo3dError: The source, the weights or the options are none that can be used; no point is left.
    """
    console = console or Console()
    if source.suffix.lower() == ".ply":
        raise Vo3dError(f"{source}: is a cloud already: leave --weights and --model out, or give a video or images")
    chosen, kept = choose_device(device), CloudRules(**(rules or {}))
    net = load_pretrained(weights, model=model)
    depth = model_of_sequences(net.model)
    opened, words = _opened(source, recording, dict(reading or {}), getattr(depth, "size", None))
    windows = windows_of(depth, opened)
    name = Path(opened.name).name
    ply = check_writable(ply or (out or Path()) / f"{name}.ply", "--ply")
    h, w = opened.clip([0]).image.shape[-2:]
    _say(console, "found", f"{opened.name}: {words}; {len(opened)} frames, seen as {w}x{h}")
    for note in opened.notes:
        _say(console, "note", visible(note))
    by = f"{type(depth).__name__} ({net.name}), on {chosen}"
    frames_of, pixels_of = (f"1 in {n}" if n > 1 else "all" for n in (kept.every, kept.every_pixel))
    some = f"points of {pixels_of} rows and columns of {frames_of} frames"
    _say(console, "plan", f"{some}, at most {kept.max_depth:g} m away, by {by}")
    with evaluating(depth, chosen), progress_bar() as bar:
        line = bar.add_task(name, total=len(opened))
        found = sequence_cloud(
            depth, opened, windows, kept, device=chosen, advance=lambda done: bar.advance(line, done)
        )
    write_cloud(ply, found.cloud, comments=[up_comment(found.world_T_cam)])
    length = path_lengths(found.world_T_cam)[-1].item()
    speed = f", {len(opened) / found.seconds:.1f} frames a second" if found.seconds > 0 else ""
    _say(
        console,
        "cloud",
        f"{ply}: {len(found.cloud):,} points of {found.num_frames} frames, along a path of {length:.1f} m{speed}",
    )
    return view_cloud(ply, out=out, viewer=viewer, frames=frames, up=up)


def _opened(
    source: Path, recording: str | None, reading: dict[str, Any], size: tuple[int, int] | None
) -> tuple[Recording, str]:
    """Open the frames, and say what they are; those of a configuration come as it describes them."""
    if source.suffix == ".yaml" or (source / CONFIG).is_file():
        if any(value is not None for value in reading.values()):
            raise Vo3dError(
                f"{source}: describes its own data: leave --intrinsics, --field-of-view, --range and --size out"
            )
        spec = read_run(source)["data"].get("test")
        if spec is None:
            raise Vo3dError(f"{source}: there is no data.test: expected a dataset whose recordings are shown")
        there = recordings_of(build(Dataset, spec, f"{source}, data.test"))
        chosen = [one for one in there if recording in {None, one.name}]
        if not chosen:
            names = ", ".join(one.name for one in there[:8])
            raise Vo3dError(f"{source}: has no recording {recording}: expected one of {names or 'none'}")
        return chosen[0], f"a recording of {source}"
    if recording is not None:
        raise Vo3dError(f"{source}: is one recording: leave --recording out, or give a run folder or a YAML file")
    if reading.get("size") is None and size is not None:
        reading = {**reading, "size": tuple(size)}
    layout, opened = open_sequence(source, reading)
    return opened, layout.words


def _say(console: Console, what: str, text: str) -> None:
    console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)

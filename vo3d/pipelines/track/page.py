"""The pictures and the page of a track."""

from pathlib import Path

from vo3d.pipelines.track.files import FRAMES, PAGE, PATH, extent, unit_of
from vo3d.pipelines.track.job import Job
from vo3d.pipelines.track.run import Found, Run
from vo3d.pipelines.track.truth import Truth
from vo3d.pipelines.track.words import (
    GUESSED,
    camera_in_words,
    frames_in_words,
    gaps_in_words,
    method_in_words,
    scale_in_words,
    speed_in_words,
)
from vo3d.provenance import provenance
from vo3d.report.canvas import save_figure
from vo3d.report.html import Cell, Column, Definitions, Part, Picture, Section, Table, Text, write_page
from vo3d.report.sections import origin_parts
from vo3d.report.tracks import Walk, plot_frames, plot_path

MOST_GAPS = 40  # rows


def write_pictures(out: Path, job: Job, made: Run, found: Found, truth: Truth | None) -> None:
    """Draw the path from above and from the side, and between frames of the film."""
    time = None if found.time is None else found.time - found.time[0]
    walk = Walk(
        position=found.world_T_cam[:, :3, 3],
        known=found.known,
        stamps=found.numbers.double() if time is None else time,
        clock="frame" if time is None else "time (s)",
        unit=unit_of(job),
        truth=None if truth is None else truth.position,
    )
    save_figure(plot_path(walk), out / PATH)
    save_figure(plot_frames(walk, made.film), out / FRAMES)


def write_report(out: Path, job: Job, made: Run, found: Found, notes: list[str], truth: Truth | None) -> Path:
    """Write one page with everything; the pictures are there."""
    unit = unit_of(job)
    numbered = (
        "Frames of the film around the path from above; each number on the path is the place of its frame. Colours go "
        "with time, from dark to bright."
    )
    sides = (
        "The path from above and from the side, in one scale and in the axes of the first camera: x to the right, z "
        "where it looked, and up. A camera that was not held level at the start tilts the path."
    )
    sides += " Dotted lines are gaps: what lies behind is joined on by a guess." * bool(found.gaps)
    sides += " The broad grey line is the true path." * (truth is not None)
    path: list[Part] = [
        Picture(out / FRAMES, numbered, numbered),
        Picture(out / PATH, sides, sides),
        *(Text(note, "note") for note in notes),
    ]
    reach = " x ".join(f"{length:.3g}" for length in extent(found))
    settings = {
        "source": f"{job.source}: {job.words}",
        "frames": frames_in_words(found),
        "camera": camera_in_words(job, made),
        "method": method_in_words(job),
        "arguments": ", ".join(f"{key} {value}" for key, value in job.net.init_args.items()) or "none",
        "speed": speed_in_words(made, found),
        "extent along x, y and z": f"{reach} {unit}",
    }
    origin = provenance()
    facts = {"platform": str(origin["platform"]), "date": str(origin["date"]), **_words(origin["versions"])}
    sections = [
        Section("The path", path),
        Section("Scale", [Text(_scale(job))]),
        Section("Camera", [Text(_camera(job, made))]),
        *([Section("Against the truth", [_errors(truth, job)])] if truth is not None else []),
        Section("Gaps", [Text(_sentence(gaps_in_words(found))), *_gap_table(found)]),
        Section("Settings", [Definitions(settings)]),
        Section("How to repeat this", [*origin_parts([str(origin["command"])], {"What made it": facts})]),
    ]
    return write_page(out / PAGE, f"The path of {job.name}", sections, _lead(job, found, unit))


def _lead(job: Job, found: Found, unit: str) -> str:
    """Say the whole in a sentence."""
    duration = ""
    if found.time is not None and len(found) > 1:
        duration = f" in {found.time[-1].item() - found.time[0].item():.1f} s"
    poses = f"{int(found.known.sum())} of {len(found)} frames have a pose" if found.gaps else "every frame has a pose"
    return (
        f"The camera moved {found.length:.3g} {unit} along its path{duration}; {poses}. Scale: "
        f"{job.model.scale_source}."
    )


def _scale(job: Job) -> str:
    if unit_of(job) == "m":
        return _sentence(scale_in_words(job))
    return (
        f"{_sentence(scale_in_words(job))} One camera alone cannot tell how large the world is: multiply all "
        "positions by one measured length, or take a source of scale that knows metres (--scale stereo, height)."
    )


def _camera(job: Job, made: Run) -> str:
    words = camera_in_words(job, made)
    guessed = " A wrong focal length bends turns and stretches the path."
    return f"{_sentence(words)}{guessed * words.startswith(GUESSED)}"


def _errors(truth: Truth, job: Job) -> Table:
    columns = [
        Column("method"),
        Column("APE", "m", 3),
        Column("final drift", "%", 2),
        Column("factor on lengths", "", 4),
        Column("true path", "m", 2),
    ]
    row: list[Cell] = [type(job.model).__name__, truth.ape, truth.drift_percent, truth.scale, truth.length]
    fitted = "rotation, translation and scale" if truth.alignment == "7dof" else "rotation and translation"
    return Table(
        columns,
        [row],
        f"APE: root mean square of the distances between true and found positions, after {fitted} were fitted "
        f"({truth.alignment}). Final drift: that distance at the last pose, of the length of the true path.",
    )


def _gap_table(found: Found) -> list[Table | Text]:
    if not found.gaps:
        return []
    columns = [
        Column("first frame"),
        Column("last frame"),
        Column("frames"),
        Column("from", "s", 2),
        Column("to", "s", 2),
    ]
    numbers, time = found.numbers.tolist(), found.time
    rows: list[list[Cell]] = [
        [
            numbers[first],
            numbers[last],
            last - first + 1,
            None if time is None else time[first].item(),
            None if time is None else time[last].item(),
        ]
        for first, last in found.gaps[:MOST_GAPS]
    ]
    more = f" The first {MOST_GAPS} of {len(found.gaps)} are shown." if len(found.gaps) > MOST_GAPS else ""
    return [Table(columns, rows, f"Frames without a pose; they are in no file.{more}")]


def _sentence(words: str) -> str:
    named = "." in words.partition(" ")[0]  # a file keeps its name
    return f"{words if named else words[0].upper() + words[1:]}."


def _words(versions: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in versions.items()} if isinstance(versions, dict) else {}

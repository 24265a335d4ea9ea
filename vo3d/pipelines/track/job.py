"""Open a track's parts: frames that are there or still come, a method, and the folder of the results."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from vo3d.errors import Vo3dError
from vo3d.formats.files import make_folder
from vo3d.inference.loop import pairs_of, windows_of
from vo3d.inference.pretrained import Pretrained
from vo3d.mapper import Mapper
from vo3d.model import Frames, Model
from vo3d.pipelines.contestants import folder_of
from vo3d.recording import LiveFrames, Recording
from vo3d.sample import Sample
from vo3d.settings.discovery import known_sequence_layouts
from vo3d.settings.layouts import open_live, open_sequence

FOLDER = Path("tracks")  # of results without --out
Moment = int | float  # a frame, or seconds from the first frame on


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source and a method that suit each other."""

    name: str  # of the source
    source: str  # as it was given
    words: str  # what the source is
    net: Pretrained
    device: torch.device
    out: Path
    frames: Recording | LiveFrames
    notes: list[str] = field(default_factory=list)

    @property
    def model(self) -> Model:
        """Return the model of `net`."""
        return self.net.model

    @property
    def recording(self) -> Recording | None:
        """Return frames that are there; None where they still come."""
        return self.frames if isinstance(self.frames, Recording) else None

    def windows(self) -> Iterator[tuple[Frames, Sample]]:
        """Give the windows that the model sees, with their samples, as they are read or come."""
        if isinstance(self.frames, LiveFrames):
            yield from pairs_of(self.frames)
            return
        for frames in windows_of(self.model, self.frames):
            try:
                yield frames, self.frames.clip(frames.views)
            except Vo3dError:
                yield from self._before_the_fault(self.frames, frames)
                raise

    def _before_the_fault(self, recording: Recording, frames: Frames) -> Iterator[tuple[Frames, Sample]]:
        """Give the part of a window that can be read, if the model takes windows of any length."""
        count = 0
        while count < len(frames.views) and self.model.window.views is None:
            try:
                recording.clip(frames.views[count : count + 1])
            except Vo3dError:
                break
            count += 1
        if counted := [place for place in frames.counted if 0 < place < count]:
            part = Frames(views=frames.views[:count], counted=[0, *counted] if frames.views[0] == 0 else counted)
            yield part, recording.clip(part.views)


def open_job(
    source: Path,
    net: Pretrained,
    *,
    camera: Mapping[str, Any],
    between: tuple[Moment | None, Moment | None],
    every: int,
    size: tuple[int, int] | None,
    follow: float | None,
    out: Path | None,
    device: torch.device,
) -> Job:
    """Open the source as the model wants it, and make the folder of the results.

    Args:
        source: A video, images, a sequence of a dataset; with `follow` a folder that grows, or camera:0.
        net: The method.
        camera: What is known of the camera, one option of `vo3d.settings.layouts.open_sequence`; empty: it is guessed.
        between: First frame and the one after the last; None: of the source.
        every: Take every so many-th frame.
        size: Rows and columns of the frames; None: those of the model, or as they are.
        follow: Seconds without a new frame after which a source that still grows is at its end; None: it does not grow.
        out: None: in `FOLDER`, by the name of the source.
        device: Where the model runs.

    Raises:
        Vo3dError: there is no such source, it has fewer than two frames, or lacks what the model needs.
    """
    own: tuple[int, int] | None = getattr(net.model, "size", None)
    reading = {"size": size or (tuple(own) if own is not None else None), **camera}
    if follow is not None:
        idle = None if str(source).startswith("camera:") else follow  # a webcam ends by itself, or by the keyboard
        frames: Recording | LiveFrames = _followed(source, net.model, {**reading, "idle": idle}, between, every)
        words, notes = "frames as they come", list[str]()
    else:
        words, frames = _opened(source, reading, between, every, net.model)
        notes = [*frames.notes]
        if len(frames) < 2:
            raise Vo3dError(f"{frames.name}: {len(frames)} frame: expected at least 2: a path needs a video")
        _check_needs(net, frames)
        if not net.model.metric and _has_right(source):
            notes.append("there is a right camera: --scale stereo gives lengths in metres")
    return Job(
        name=frames.name,
        source=str(source),
        words=words,
        net=net,
        device=device,
        out=_folder(out, frames.name, source),
        frames=frames,
        notes=notes,
    )


def _followed(
    source: Path, model: Model, reading: dict[str, Any], between: tuple[Moment | None, Moment | None], every: int
) -> LiveFrames:
    """Open frames that still come."""
    if model.window.views not in {None, 2} or isinstance(model, Mapper):
        raise Vo3dError(f"--follow: {type(model).__name__} does not go from frame to frame: take classic")
    if between != (None, None) or every != 1:
        raise Vo3dError("--follow takes frames as they come: leave --start, --end and --every out")
    return open_live(source, {**reading, "guess": True})


def _opened(
    source: Path, reading: dict[str, Any], between: tuple[Moment | None, Moment | None], every: int, model: Model
) -> tuple[str, Recording]:
    """Open frames that are there, from a moment to another."""
    if every < 1:
        raise Vo3dError(f"--every {every}: expected 1 or more: 2 takes each second frame")
    layout = next((one for one in known_sequence_layouts() if one.recognises(source)), None)
    takes = signature(layout.recording).parameters if layout is not None else {}
    reading = {**reading, "guess": True}
    if "stereo" in takes and "right" in model.needs:
        reading = {**reading, "stereo": True}
    if every > 1:
        reading = {**reading, "every": every}
    first, last = between
    if (first, last) == (None, None):
        return _read(source, reading)
    if last is None or isinstance(first, float) or isinstance(last, float):
        whole = _read(source, {key: value for key, value in reading.items() if key != "every"})[1]
        begin, end = (None if moment is None else _frame_of(moment, whole) for moment in between)
        first, last = begin or 0, len(whole) if end is None else end
    first = first or 0
    if not 0 <= first < last:
        raise Vo3dError(f"--start is frame {first} and --end is frame {last}: expected an end after the start")
    return _read(source, {**reading, "frames": (first, last)})


def _read(source: Path, reading: Mapping[str, Any]) -> tuple[str, Recording]:
    """Open frames; complaints name the options of this verb."""
    try:
        layout, recording = open_sequence(source, reading)
    except Vo3dError as error:
        words = re.sub(r"frames=\(0, (\d+)\)", r"--end \1", str(error)).replace("--field-of-view", "--fov")
        raise Vo3dError(words) from error
    return layout.words, recording


def _has_right(source: Path) -> bool:
    """Tell if a sequence can be opened with its right camera."""
    try:
        open_sequence(source, {"frames": (0, 1), "stereo": True})
    except Vo3dError:
        return False
    return True


def _check_needs(net: Pretrained, recording: Recording) -> None:
    """Raise Vo3dError where the frames lack what the method needs, in the words of the options."""
    given = recording.clip([0]).given()
    missing = [name for name in net.model.needs if name not in given]
    scale = getattr(net.model, "scale", None)
    if "right" in missing:
        raise Vo3dError(f"--scale {scale}: {recording.name} comes without a right camera: take --scale relative")
    if missing == ["world_T_cam"] and scale == "true":
        raise Vo3dError(f"--scale true: {recording.name} has no true poses: take --scale relative")
    if missing:
        raise Vo3dError(
            f"{type(net.model).__name__} needs {', '.join(missing)}, which {recording.name} does not give: take "
            "--method classic"
        )


def _frame_of(moment: Moment, recording: Recording) -> int:
    """Find the first frame that is not before a moment, which is its number or seconds from the first frame on."""
    if isinstance(moment, int):
        return moment
    first = recording.clip([0]).time
    if first is None:
        raise Vo3dError(f"{recording.name}: has no times: give --start and --end as numbers of frames, not {moment:g}s")

    def seconds(index: int) -> float:
        time = recording.clip([index]).time
        assert time is not None  # noqa: S101  as the first frame has one
        return float(time[0] - first[0])

    return bisect_left(range(len(recording)), moment - 1e-6, key=seconds)


def _folder(out: Path | None, name: str, source: Path) -> Path:
    """Make the folder of the results; Vo3dError where they would lie among the images."""
    out = out or FOLDER / folder_of(name)
    make_folder(out)
    if source.is_dir() and out.samefile(source):
        raise Vo3dError(f"--out {out}: is the folder of the images: choose another for the path and its pictures")
    return out

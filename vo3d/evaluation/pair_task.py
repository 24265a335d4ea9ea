"""Score what models give of pairs of frames: the choice of pairs, the run over a recording, and means by counts."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.task import Part, Seen, Task, frames_sha256
from vo3d.formats.results import Metrics
from vo3d.inference.loop import Answer, answers, windows_of
from vo3d.model import Frames, Model, has_own
from vo3d.recording import MultiViewScene, Recording, RecordingDataset, evenly_spaced
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names

MOST = 6  # recordings of whose first pair the prediction is written, for reports


class PairTask(Task):
    """A task that scores one key of predictions, which the data have as well, pair of frames by pair of frames.

    A pair is two neighbouring frames; each is scored once, whatever windows a model wants. Metrics whose name has
    `num_` in it are counts and add up. The others are means: over what `weights` says within a recording, then over
    recordings; and as `..._pooled` over what `weights` says in all recordings.

    Args:
        references: Pairs of each recording that are scored, evenly spaced; None for all.
        clip_length: Frames that go through the model at once, where it takes any number; None: its usual one.
    """

    weights: ClassVar[Mapping[str, str]]  # a mean: the count that it is over
    method_terms: ClassVar[Mapping[str, str]] = {"clip_length": "frames at once"}

    def __init__(self, references: int | None = None, clip_length: int | None = None) -> None:
        if references is not None and references < 1:
            raise Vo3dError(f"references {references}: expected at least 1 of each {self.things}")
        if clip_length is not None and clip_length < 2:
            raise Vo3dError(f"clip_length {clip_length}: expected at least 2 frames, for one pair")
        self.references, self.clip_length = references, clip_length

    @property
    def key(self) -> str:
        """Name what is scored, in samples and predictions."""
        return self.keys[0]

    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Give None for a model that gives the key, on frames in time order that have a truth."""
        name, kind = type(model).__name__, type(dataset).__name__
        if not self.suits(model):
            return f"{name} gives {', '.join(model.gives)}: the task {self.name} needs a model of {self.key}"
        if any(isinstance(recording, MultiViewScene) for recording in dataset.recordings):
            return f"{kind} holds views in no order: {self.key} needs frames in time order"
        try:
            parts = self.parts(model, dataset)
        except Vo3dError as error:
            return str(error)
        if parts and not any(self._has_truth(part.recording) for part in parts):
            return f"{kind} gives no {self.key} to compare with: turn it on in the dataset's arguments"
        return None

    def parts(self, model: Model, dataset: RecordingDataset) -> Sequence[Part]:
        """Take every recording; Vo3dError for one without a pair, or where windows leave pairs out."""
        parts = []
        for recording in dataset.recordings:
            if (num := len(recording)) < 2:
                frames = "1 frame" if num == 1 else f"{num} frames"
                raise Vo3dError(f"recording {recording.name} has {frames}: expected at least 2, for one pair")
            windows = windows_of(model, recording, clip_length=self.clip_length)
            if any(window.views[0] > 0 and 0 in window.counted for window in windows):
                raise Vo3dError(
                    f"{type(model).__name__} sees windows that share no frame, so that the pair between two windows is "
                    "missing: its window must overlap by 1 at least"
                )
            scored = frozenset(evenly_spaced(range(num - 1), self.references))
            if not has_own(model, "stream"):  # a memory must have seen all, else what nobody scores is left out
                windows = [one for one in windows if scored & {one.views[pair] for pair in _pairs(one)}]
            parts.append(Part(recording=recording, windows=windows, scored=scored))
        return parts

    def score(
        self,
        model: Model,
        part: Part,
        out: Path,
        *,
        device: torch.device | str,
        seen: Seen,
        advance: Callable[[int], object],
    ) -> Metrics:
        """Score the pairs of one recording that have a truth."""
        recording = part.recording
        rows: list[Metrics] = []
        scored: list[int] = []
        left_out = done = 0
        seconds = 0.0
        for answer in answers(model, recording, part.windows, device=device):
            self._check_size(model, answer)
            advance(len(answer.frames.counted))
            seconds += answer.seconds
            for pair in _pairs(answer.frames):
                done += 1
                view = answer.frames.views[pair]
                if part.scored is not None and view not in part.scored:
                    continue
                row = self.measure(recording, answer, pair, seen)
                if row is None:
                    left_out += 1
                    continue
                if not rows and len(seen.frames) < MOST:
                    self.keep(out / self.name / recording.name, Path(recording.names[view]).name, answer, pair)
                rows.append({"num_pairs": 1} | row)
                scored.append(recording.frames[view])
                seen.note_size(answer.sample.image.shape[-2:])
        if not rows:
            raise Vo3dError(f"{recording.name} has no pair with a true {self.key}: choose recordings that have one")
        found = join(rows, self.weights)
        self.check(recording, found)
        seen.frames.append((recording.name, scored))
        return found | {"num_pairs_without_truth": left_out, "fps": done / seconds if seconds else None}

    @abstractmethod
    def measure(self, recording: Recording, answer: Answer, pair: int, seen: Seen) -> Metrics | None:
        """Hold one pair of an answer, at this place in its window, against the truth; None where that has none."""

    @abstractmethod
    def keep(self, folder: Path, name: str, answer: Answer, pair: int) -> None:
        """Write what a report shows of a pair, under the name of its earlier view, in place of what lies there."""

    def check(self, recording: Recording, found: Metrics) -> None:
        """Raise Vo3dError where the metrics of a recording say nothing."""

    def mean(self, sequences: Mapping[str, Metrics]) -> dict[str, float | None]:
        """Take plain means, sums of the counts, and the means over all recordings together (`..._pooled`)."""
        mean = super().mean(sequences)
        for key, value in join(sequences.values(), self.weights).items():
            mean[key if is_count(key) else f"{key}_pooled"] = None if value is None else float(value)
        return mean

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Tell which pairs were scored, at which size, in windows of how many frames."""
        return {
            "task": self.name,
            "clip_length": model.window.length(self.clip_length),
            "resolution": ", ".join(map(str, seen.values.get("resolution", {}))),
            "frames_sha256": frames_sha256(seen.frames),
        }

    def _has_truth(self, recording: Recording) -> bool:
        """Tell if the first pair has a truth; also if it cannot be read, of which the evaluation will tell."""
        try:
            return getattr(recording.clip((0, 1)), self.key) is not None
        except Vo3dError:
            return True

    def _check_size(self, model: Model, answer: Answer) -> None:
        """Raise Vo3dError unless the prediction has one map a pair, of the size of the image."""
        given: Tensor = answer.prediction[self.key]  # type: ignore[literal-required]
        h, w = answer.sample.image.shape[-2:]
        steps = len(answer.frames.views) - 1
        if given.shape[1] != steps or given.shape[-2:] != (h, w):
            raise Vo3dError(
                f"{type(model).__name__} gave {self.key} of {given.shape[1]} pairs with {given.shape[-1]}x"
                f"{given.shape[-2]} pixels: expected {steps} with {w}x{h}, those of the image"
            )


def is_count(key: str) -> bool:
    """Tell whether a metric of pairs counts something."""
    return "num_" in key


def join(rows: Collection[Metrics], weights: Mapping[str, str]) -> Metrics:
    """Add up the counts of rows, and take the means that `weights` names over the counts that it names beside them.

    None for a mean over nothing; what is neither is left out.
    """
    found: Metrics = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        if key in weights:
            terms = [
                (value, num) for row in rows if (value := row.get(key)) is not None and (num := row.get(weights[key]))
            ]
            total = sum(num for _, num in terms)
            found[key] = sum(value * num for value, num in terms) / total if total else None
        elif is_count(key):
            found[key] = int(sum(row.get(key) or 0 for row in rows))
    return found


def compare_first(
    models: Mapping[str, Scored], comparable: bool, key: str, unit: str, *, lower: bool
) -> tuple[str, str] | None:
    """Tell the mean of a metric of the first model, and that of the second beside it, such as the first baseline.

    None where the first has no value, or the models must not be ranked.
    """
    known = {name: value for name, model in models.items() if (value := model.mean.get(key)) is not None}
    first = next(iter(models))
    if not comparable or first not in known:
        return None
    beside = ""
    if other := next((name for name in known if name != first), None):
        better = known[first] < known[other] if lower else known[first] > known[other]
        word = "as" if known[first] == known[other] else "better than" if better else "worse than"
        beside = f", {word} {other} ({known[other]:.2f} {unit})"
    return f"{known[first]:.2f} {unit} on {count(scored_names(models), 'recording')}", beside


def _pairs(frames: Frames) -> list[int]:
    """List the places of the earlier views of the pairs that count in a window: those whose later view counts."""
    return [view - 1 for view in frames.counted if view > 0]

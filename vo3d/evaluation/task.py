"""The contract of tasks: a model is run over recordings and scored, with a protocol, a table and a part of a report."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vo3d.errors import Vo3dError, printable, shown
from vo3d.formats.results import FILE_NAME, Metrics, Result
from vo3d.inference.loop import evaluating, memory_ended
from vo3d.inference.progress import progress_bar
from vo3d.model import Frames, Model
from vo3d.provenance import provenance as current_provenance
from vo3d.recording import Recording, RecordingDataset
from vo3d.report.html import Section
from vo3d.report.scored import Scored
from vo3d.sample import Sample
from vo3d.settings.complaints import is_mistake, one_line


@dataclass(frozen=True)
class Metric:
    """One column of a task's tables: its key in metrics.json, and how people read it."""

    key: str
    title: str
    unit: str = ""
    digits: int = 2  # decimals, in reports
    best: Literal["low", "high"] | None = None  # the better end, where there is one
    meaning: str = ""
    plain: float | None = None  # the value that says nothing: a column of it alone is left out
    plain_with: str | None = None  # the key of another column, without which this one says nothing
    shown: bool = True  # in tables of results; the others stand in metrics.json alone


@dataclass(frozen=True, kw_only=True)
class Part:
    """A recording as a task sees it."""

    recording: Recording
    windows: Sequence[Frames]
    scored: frozenset[int] | None = None  # views that are scored of those that the windows count; None: all
    read: Callable[[Frames], Sample] | None = None  # the sample of a window; None: the recording's own

    @property
    def name(self) -> str:
        """Name the part in results."""
        return self.recording.name

    @property
    def steps(self) -> int:
        """Count what `Task.score` tells its progress by: the views that count."""
        return sum(len(window.counted) for window in self.windows) or len(self.recording)


@dataclass
class Seen:
    """Collects what a protocol says of the samples that were scored."""

    values: dict[str, dict[object, None]] = field(default_factory=dict)  # term -> an ordered set
    frames: list[tuple[str, Sequence[int]]] = field(default_factory=list)  # recording, numbers of its frames
    kept: list[Mapping[str, Tensor]] = field(default_factory=list)  # of each recording, what `Task.pooled` looks at

    def note(self, term: str, value: object) -> None:
        """Note a value of a term."""
        self.values.setdefault(term, {})[value] = None

    def note_size(self, size: Sequence[int]) -> None:
        """Note rows and columns of images."""
        self.note("resolution", f"{size[-1]}x{size[-2]}")


class RecordingsFailed(Vo3dError):
    """Some recordings could not be scored; the results of the others are written."""


def is_defect(error: Exception) -> bool:
    """Tell whether an error is neither of the input nor of the machine, and so deserves its traceback."""
    return not (is_mistake(error) or memory_ended(error))


def failure_in_words(error: Exception) -> str:
    """Tell in one line why something could not be scored."""
    if is_mistake(error):
        return one_line(error)
    told = shown(printable(f"{type(error).__name__}: {error}"))
    return f"memory does not suffice ({told})" if memory_ended(error) else told


class Task(ABC):
    """One way to score models; its constructor has its options.

    A task is one file of `vo3d.evaluation.tasks` that bears its name, or a class anywhere that is named by its path.

    - `name`: in protocols and on the command line;
    - `keys`: a model that gives one of these `Prediction` keys is scored by it, unless `suits` says otherwise; `reads`:
      keys that it looks at beside;
    - `unasked`: whether `vo3d evaluate` runs it where nobody names tasks;
    - `must_agree`: terms of the protocol that must be equal for results to be compared: the question and the ruler.
      Other terms describe the method, and stand in tables where they differ;
    - `agree_where_known`: terms that must be equal where both results have them;
    - `method_terms`: of those, the ones that a report shows as columns, with their titles; a table in a terminal shows
      all that differ, these first, and `always_shown` even if it does not;
    - `metrics`: the columns of its tables; of two such as `error` and `error_pooled` one table shows the latter alone;
    - `things`: what a result has many of, as "recording", and `pieces`: what each of them has many of, in the plural;
    - `wants_training`: whether it looks at the recordings that models are trained on, `training`, which stays empty
      where nobody knows them.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    reads: ClassVar[tuple[str, ...]] = ()
    unasked: ClassVar[bool] = True
    must_agree: ClassVar[tuple[str, ...]]
    agree_where_known: ClassVar[tuple[str, ...]] = ()
    method_terms: ClassVar[Mapping[str, str]] = {}
    always_shown: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[Metric, ...]]
    things: ClassVar[str] = "recording"
    pieces: ClassVar[str] = "frames"
    wants_training: ClassVar[bool] = False
    training: Sequence[Recording] = ()

    def suits(self, model: Model) -> bool:
        """Tell if the task is about what the model gives, whatever the data; nothing is said of those that are not."""
        return bool(set(self.keys) & set(model.gives))

    @abstractmethod
    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Tell what keeps the model from being scored on these data, and what to do; None where nothing does."""

    def note(self, dataset: RecordingDataset) -> str | None:
        """Tell what to know before the task runs on these data; None where all is as one expects."""
        return None

    @abstractmethod
    def parts(self, model: Model, dataset: RecordingDataset) -> Sequence[Part]:
        """List the recordings that are scored; raises Vo3dError for one that cannot be."""

    @abstractmethod
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
        """Run the model over one recording, write what the report shows of it into `out`, and score it.

        Raises Vo3dError where something is wrong with the recording.
        """

    @abstractmethod
    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe the question, the measurement, and what was seen so far."""

    @abstractmethod
    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the finding in a sentence or two, for the head of a report."""

    @abstractmethod
    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Make what a report shows beside the tables; pictures are saved into the folder `figures`.

        `recordings` are those that each model saw, by its name.
        """

    def mean(self, sequences: Mapping[str, Metrics]) -> dict[str, float | None]:
        """Take the plain mean of each metric over the recordings that define it; None where none does.

        Every recording weighs the same.
        """
        of_key = defined(sequences.values())
        return {key: sum(values) / len(values) if values else None for key, values in of_key.items()}

    def pooled(self, seen: Seen) -> dict[str, float | None]:
        """Measure all recordings together by what was seen of them: what no mean over recordings can tell."""
        return {}

    def run(
        self,
        model: Model,
        dataset: RecordingDataset,
        out: Path,
        *,
        device: torch.device | str = "cpu",
        name: str | None = None,
        protocol: Mapping[str, object] | None = None,
        provenance: Mapping[str, object] | None = None,
        progress: bool = True,
    ) -> Result:
        """Run `model` over the recordings of `dataset`, score it, and write everything under `out`.

        metrics.json and what the report shows are brought up to date after each recording, so that nothing is lost
        when a later one fails; until the last one it says which are not scored yet. With a mistake in one recording the
        others go on; whatever else is raised goes through.

        Args:
            model: Put in evaluation mode and on `device`; its mode comes back.
            dataset: Whose recordings are scored.
            out: The result folder.
            device: Where the model runs.
            name: Of the model in tables; its class if None.
            protocol: What only the caller knows: at least `dataset` and `split`; its terms overrule the task's.
            provenance: Such as the hash of the weights and the seed; versions, command and date are added.
            progress: Show a bar on stderr, where that is a terminal.

        Returns:
            The result as written.

        Raises:
            Vo3dError: Nothing to evaluate.
            RecordingsFailed: Some recordings failed; the others are written.
        """
        if (reason := self.obstacle(model, dataset)) is not None:
            raise Vo3dError(reason)
        parts = self.parts(model, dataset)
        _check_names(parts, self.things)
        said = dict(protocol or {})
        facts = {"device": str(device), "must_agree": list(self.must_agree)}
        origin = current_provenance() | facts | dict(provenance or {})
        failed: dict[str, str] = {}
        left = {part.name: "not scored yet when the evaluation ended" for part in parts}
        result = Result(name or type(model).__name__, said, {}, {}, origin | {"failed": left})
        result.save(out)  # in place of what an earlier evaluation left there
        seen = Seen()
        with evaluating(model, device), progress_bar(progress) as bar:
            line = bar.add_task(result.model, total=sum(part.steps for part in parts))
            for part in parts:
                scene = part.name
                bar.update(line, description=f"{result.model} on {scene}")
                defect: Exception | None = None
                del left[scene]
                try:
                    result.sequences[scene] = self.score(
                        model, part, out, device=device, seen=seen, advance=lambda done: bar.advance(line, done)
                    )
                except Exception as error:  # noqa: BLE001 (noted in the file, then raised below)
                    failed[scene] = failure_in_words(error)
                    defect = None if is_mistake(error) else error
                unscored = failed | left
                result = replace(
                    result,
                    protocol={**said, **self.protocol(model, seen), **said},  # what the caller knows, first
                    mean=self.mean(result.sequences) | self.pooled(seen),
                    provenance=origin | ({"failed": unscored} if unscored else {}),
                )
                result.save(out)
                if defect is not None:
                    raise defect
        if failed:
            first, reason = next(iter(failed.items()))
            rest = f" (results of the others are in {out / FILE_NAME})" if result.sequences else ""
            raise RecordingsFailed(
                f"{len(failed)} of {len(parts)} {self.things}s failed, the first being {first}: {reason}{rest}"
            )
        return result


def _check_names(parts: Sequence[Part], things: str) -> None:
    """Raise Vo3dError unless there is something to score, and all of it has names of its own."""
    if not parts:
        raise Vo3dError(f"no {things}s to evaluate: expected at least one; check the split of the dataset")
    names = [part.name for part in parts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Vo3dError(f"two {things}s are called {twice}: their results would overwrite each other")


def defined(rows: Collection[Metrics]) -> dict[str, list[float | int]]:
    """Collect of each metric the values that are defined, not None."""
    keys = dict.fromkeys(key for metrics in rows for key in metrics)
    return {key: [value for metrics in rows if (value := metrics.get(key)) is not None] for key in keys}


def frames_sha256(recordings: Iterable[tuple[str, Sequence[int]]]) -> str:
    """Make a fingerprint of what was scored: the names of the recordings and the numbers of their frames, in order."""
    lines = [json.dumps([name, [int(frame) for frame in frames]]) for name, frames in recordings]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

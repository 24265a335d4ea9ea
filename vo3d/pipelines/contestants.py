"""Who takes part in an evaluation: the model of a run, with its weights, and baselines, each with its data."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import clear_frames
from typing import Any

from rich.console import Console
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError, quoted
from vo3d.evaluation.task import failure_in_words, is_defect
from vo3d.formats.weights import is_finished, sha256_of
from vo3d.inference.cards import find_pretrained, weights_names
from vo3d.inference.pretrained import load_into
from vo3d.model import Model, has_own
from vo3d.recording import RecordingDataset, recordings_of
from vo3d.sample import Sample
from vo3d.settings.build import build, read_spec
from vo3d.settings.discovery import known_baselines
from vo3d.settings.files import as_spec
from vo3d.settings.run_folder import find_checkpoint, read_run


@dataclass(frozen=True)
class Contestant:
    """One row of the table: who predicts, from which frames, and where it comes from."""

    model: Model
    dataset: RecordingDataset
    origin: Mapping[str, object]  # for the provenance of results
    settings: Mapping[str, object]  # the descriptions of the model and of its data


@dataclass
class Failures:
    """Collects what went wrong with single contestants, while the others go on."""

    reasons: dict[tuple[str, str], str] = field(default_factory=dict)  # contestant, task or "" for all of them
    tables: list[str] = field(default_factory=list)  # why some could not be printed
    defects: list[Exception] = field(default_factory=list)  # neither of the input nor of the machine

    def add(self, name: str, error: Exception | SystemExit, task: str = "") -> None:
        """Note why a contestant has no score; it ends the program for nobody but itself."""
        if isinstance(error, SystemExit):
            error = Vo3dError(f"it ended the program (SystemExit: {error})")
        self.reasons[name, task] = failure_in_words(error)
        if is_defect(error):
            clear_frames(error.__traceback__)  # which hold tensors, and so the memory of whoever comes next
            self.defects.append(error)

    def of(self, task: str) -> dict[str, str]:
        """Return the reasons of those that have no score in a task, by their names."""
        return {name: reason for (name, where), reason in self.reasons.items() if where in {"", task}}

    def error(self, others: Sequence[str] = ()) -> Exception:
        """Return a defect with its traceback, else one line of all reasons, each once, with the names it is about."""
        names: dict[str, list[str]] = {}
        for (name, _), reason in self.reasons.items():
            names.setdefault(reason, []).append(name)
        alone = len({name for name, _ in self.reasons} | {*others}) == 1
        lines = [r if alone else f"{', '.join(dict.fromkeys(who))}: {r}" for r, who in names.items()]
        told = "; ".join(dict.fromkeys([*lines, *self.tables]))
        if self.defects:
            self.defects[0].add_note(f"vo3d: {told}")
            return self.defects[0]
        return Vo3dError(told)


def read_contest(
    run: Path, split: str, data: Mapping[str, Any] | None, baselines: Sequence[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read the configuration of a run, with the changes to the data of `split`, and the descriptions of baselines.

    Raises Vo3dError where there is no such run, split or baseline.
    """
    specs = [read_spec(text, "--baselines", known_baselines()) for text in baselines]
    config = read_run(run)
    spec = config["data"].get(split)
    if spec is None:
        raise Vo3dError(f"{run}: there is no data.{split}: train with one, or choose another split")
    if data:
        config = {**config, "data": {**config["data"], split: _changed(spec, data)}}
    return config, specs


def console_of(console: Console | None) -> Console:
    """Return where to print: a log or a pipe has no width, and 80 columns would break tables."""
    return console or (Console() if sys.stdout.isatty() else Console(width=160))


def home_of(run: Path, config: Mapping[str, Any]) -> Path:
    """Name the folder that an evaluation lies in: the run's own, or the `out` of a YAML file, or one by its name."""
    if run.is_dir():
        return run
    out = config.get("out")
    if not isinstance(out, str | None):
        raise Vo3dError(f"{run}: out is {quoted(out)}: expected the path of a folder")
    return Path(out or Path("runs") / run.stem)


def folder_of(name: str) -> str:
    """Spell the name of a row as that of a folder."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def make_contestants(
    config: dict[str, Any],
    run: Path,
    weights: str,
    baselines: Sequence[dict[str, Any]],
    baseline_data: Mapping[str, Any] | None,
    split: str,
    failures: Failures,
    console: Console,
) -> dict[str, Contestant]:
    """Make the run's model, then its baselines, by their names in the table; those that fail are noted."""
    found: dict[str, Contestant] = {}
    names: list[str] = []
    data = {which: spec for which in ("train", split) if (spec := config["data"].get(which))}
    other = {which: _changed(spec, baseline_data) for which, spec in data.items()}  # what a baseline is fitted to, too
    changed = {**config, "data": {**config["data"], **other}}
    datasets: dict[bool, RecordingDataset] = {}
    for spec in (config["model"]["net"], *baselines):
        own = not names
        names.append(_name({"class_path": spec["class_path"]} if own else spec, names))
        try:
            model: Model = build(Model, spec, str(run) if own else "the baseline")
            which = own or not baseline_data
            if which not in datasets:
                datasets[which] = open_split(config if which else changed, split, run)
            if own:
                origin = _trained(model, config, run, weights, console)
            else:
                _fit(model, config if which else changed, run)
                origin = {"arguments": spec.get("init_args", {}), "data": dict(baseline_data or {})}
            seen = {key: (config if which else changed)["data"].get(key) for key in ("train", split)}
            found[names[-1]] = Contestant(model, datasets[which], origin, {"model": spec, "data": seen})
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the others go on; a defect is raised in the end)
            failures.add(names[-1], error)
    return found


def _trained(net: Model, config: dict[str, Any], run: Path, weights: str, console: Console) -> dict[str, object]:
    """Give `net` what training gave it; tells what that was."""
    if next(net.parameters(), None) is None:
        _fit(net, config, run)
        return {"run": run.name, "arguments": config["model"]["net"].get("init_args", {})}
    named = find_pretrained(weights)[0] if weights in weights_names() else None
    checkpoint = named or find_checkpoint(weights, home_of(run, config))
    report = load_into(net, checkpoint)
    if report.published:
        console.print("\n".join(report.lines), markup=False, highlight=False, soft_wrap=True)
    if has_own(net, "finish") and not is_finished(checkpoint):
        raise Vo3dError(
            f"{checkpoint}: its training did not end, and {type(net).__name__} learns a part at the end: resume it "
            "with vo3d fit --ckpt_path"
        )
    return {"run": run.name, "weights": checkpoint.name, "weights_sha256": sha256_of(checkpoint)}


def _fit(model: Model, config: dict[str, Any], run: Path) -> None:
    """Let a method that learns without gradients see the training recordings; Vo3dError where there are none."""
    if not has_own(model, "fit"):
        return
    if not config["data"].get("train"):
        raise Vo3dError(f"{run}: {type(model).__name__} learns from recordings, and there is no data.train: add one")
    recordings = recordings_of(_dataset(config, "train", run))
    if not recordings:
        raise _without_recordings(config["data"]["train"])
    model.fit(recordings)


def _changed(spec: dict[str, Any], arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """The description of a dataset with some arguments replaced, or within another one that a class path names."""
    if arguments and "class_path" in arguments:
        around = as_spec(dict(arguments), "--data")
        return {**around, "init_args": {"dataset": spec, **around["init_args"]}}
    return {**spec, "init_args": {**spec.get("init_args", {}), **(arguments or {})}}


def open_split(config: dict[str, Any], split: str, run: Path) -> RecordingDataset:
    """One of the run's datasets, which has recordings."""
    dataset = _dataset(config, split, run)
    if not isinstance(dataset, RecordingDataset):
        raise _without_recordings(config["data"][split])
    return dataset


def _dataset(config: dict[str, Any], split: str, run: Path) -> Dataset[Sample]:
    """One of the run's datasets, of whatever kind."""
    spec = config["data"].get(split)
    if spec is None:
        raise Vo3dError(f"{run}: there is no data.{split}: train with one, or choose another split")
    dataset: Dataset[Sample] = build(Dataset, spec, f"{run}, data.{split}")
    return dataset


def _without_recordings(spec: Mapping[str, Any]) -> Vo3dError:
    return Vo3dError(
        f"{spec['class_path']} is no vo3d.recording.RecordingDataset: derive it from that class to evaluate on it"
    )


def _name(spec: dict[str, Any], taken: Sequence[str]) -> str:
    """Name a row: its class, with the arguments where those are given, and a number where that is not enough.

    Names that are one as folders (`a/b`, `a_b`) are not different enough: a result would overwrite another.
    """
    kind = spec["class_path"].rpartition(".")[2]
    arguments = ", ".join(f"{key}={value}" for key, value in spec.get("init_args", {}).items())
    name = f"{kind} ({arguments})" if arguments else kind
    count = sum(folder_of(other.rpartition(" #")[0] or other) == folder_of(name) for other in taken)
    return f"{name} #{count + 1}" if count else name

"""`vo3d evaluate`: score the model of a training run, and baselines beside it, on the run's own data, task by task."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import clear_frames
from typing import Any

import torch
from rich.console import Console
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError, quoted, visible
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.page import write_report
from vo3d.evaluation.task import Task, failure_in_words, is_defect
from vo3d.formats.files import make_folder
from vo3d.formats.results import FILE_NAME, Result
from vo3d.formats.weights import is_finished, sha256_of
from vo3d.inference.cards import find_pretrained, weights_names
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import memory_ended
from vo3d.inference.pretrained import load_into
from vo3d.model import Model, has_own
from vo3d.pipelines.task_plan import build_tasks, check_options, give_training, plan
from vo3d.provenance import provenance
from vo3d.recording import RecordingDataset, notes_of
from vo3d.sample import Sample
from vo3d.settings.build import build, read_spec
from vo3d.settings.discovery import known_baselines
from vo3d.settings.files import as_spec
from vo3d.settings.run_folder import find_checkpoint, read_run, training_command

EARLIER = f"earlier_{FILE_NAME}"  # the result of an evaluation before one that failed


@dataclass(frozen=True)
class _Contestant:
    """One row of the table: who predicts, from which frames, and where it comes from."""

    model: Model
    dataset: RecordingDataset
    origin: Mapping[str, object]


@dataclass
class _Failures:
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
            self.defects[0].add_note(f"vo3d evaluate: {told}")
            return self.defects[0]
        return Vo3dError(told)


def evaluate_run(
    run: Path,
    *,
    weights: str = "best",
    data: Mapping[str, Any] | None = None,
    baselines: Sequence[str] = (),
    baseline_data: Mapping[str, Any] | None = None,
    out: Path | None = None,
    split: str = "test",
    tasks: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, dict[str, Path]]:
    """Score the run's model and `baselines` on the data of `split`; print a table for each task and write one report.

    Every task that runs unasked scores the model whose keys it gives, where the data have the truth; what is not scored
    is said. Each result goes to a folder of its own, `out/<model>/<task>`, the report beside them. Whoever cannot be
    built, fitted, loaded or run has a row of dashes and its reason, and the others are scored. For the options see
    `vo3d.verbs.learning.evaluate`.

    Args:
        options: Arguments of tasks by name, such as alignment or references; each task takes those that it knows.
        console: Where to print.

    Returns:
        By task the folder of each result by its model's name, as in the table.

    Raises:
        Vo3dError: What is wrong with the arguments, the run, the data, or the results; where something could not be
            scored, after the tables and the report of all that could. A defect of a model is raised then as it is.
    """
    chosen = choose_device(device)
    specs = [read_spec(text, "--baselines", known_baselines()) for text in baselines]
    config = read_run(run)
    if data:
        spec = config["data"].get(split)
        config = {**config, "data": {**config["data"], split: _changed(spec, data)}} if spec is not None else config
    if config["data"].get(split) is None:
        raise Vo3dError(f"{run}: there is no data.{split}: train with one, or choose another split")
    # a log or a pipe has no width: 80 columns would break the table
    console = console or (Console() if sys.stdout.isatty() else Console(width=160))
    wanted = build_tasks(tasks, options or {})
    failures = _Failures()
    contestants = _contestants(config, run, weights, specs, baseline_data, split, failures, console)
    if not contestants:
        raise failures.error()
    own = next(iter(contestants.values()))
    unseen = give_training(wanted, own.model, lambda: _dataset(config, "train", run), asked=bool(tasks))
    try:
        planned, notes = plan(own.model, own.dataset, wanted, asked=bool(tasks))
    except Vo3dError as error:
        if failures.reasons:  # the others are no more than what a baseline can be scored by
            raise failures.error(list(contestants)) from error
        raise
    check_options(options or {}, planned)
    folder = out if out is not None else _home(run, config) / "evaluation" / split
    make_folder(folder)  # before the work, not after it
    heard = dict.fromkeys(note for one in contestants.values() for note in notes_of(one.dataset))
    for note in [*unseen, *notes, *heard]:
        console.print(visible(note), markup=False, highlight=False)
    protocol = {"dataset": config["data"][split]["class_path"].rpartition(".")[2], "split": split}
    results = _score(planned, contestants, folder, protocol, config.get("seed_everything"), chosen, console, failures)
    if not results:
        raise failures.error(list(contestants))
    first = config["model"]["net"]["class_path"].rpartition(".")[2]
    write_report(
        folder,
        results,
        title=f"{first} on {protocol['dataset']}, {split}",
        run=run if run.is_dir() else None,
        recordings={name: one.dataset.recordings for name, one in contestants.items()},
        commands=list(dict.fromkeys(filter(None, (training_command(run), str(provenance()["command"]))))),
        failed={task: failures.of(task.name) for task in results},
    )
    if failures.reasons or failures.tables:
        raise failures.error(list(contestants))
    return {task.name: found for task, found in results.items()}


def _score(
    tasks: Sequence[Task],
    contestants: Mapping[str, _Contestant],
    folder: Path,
    protocol: Mapping[str, object],
    seed: object,
    device: torch.device,
    console: Console,
    failures: _Failures,
) -> dict[Task, dict[str, Path]]:
    """Score task by task, print the tables, and give the results by task and name; what fails is noted."""
    results: dict[Task, dict[str, Path]] = {}
    for task in tasks:
        found: dict[str, Path] = {}
        for name in failures.of(task.name):
            _set_aside(_place(folder, name, task))
        for name, one in contestants.items():
            place = _place(folder, name, task)
            origin = {"seed": seed, **one.origin}
            try:
                if (reason := task.obstacle(one.model, one.dataset)) is not None:
                    console.print(f"{name} has no row in {task.name}: {reason}", markup=False, highlight=False)
                    continue
                _set_aside(place)
                task.run(one.model, one.dataset, place, device=device, name=name, protocol=protocol, provenance=origin)
            except (Exception, SystemExit) as error:  # noqa: BLE001 (the others go on; a defect is raised in the end)
                failures.add(name, error, task.name)
                if memory_ended(error):
                    one.model.cpu()  # the memory is for the others
                if not _has_scores(place):
                    continue
            else:
                (place / EARLIER).unlink(missing_ok=True)
            found[name] = place
        if not found:
            continue
        results[task] = found
        failed = failures.of(task.name)
        whole = [place for name, place in found.items() if name not in failed]
        try:
            print_comparison(whole, console=console, tasks={task.name: type(task)}, failed=failed)
        except Vo3dError as error:
            failures.tables.append(str(error))
    return results


def _place(folder: Path, name: str, task: Task) -> Path:
    """Name the folder of a result."""
    return folder / _as_folder(name) / task.name


def _as_folder(name: str) -> str:
    """Spell the name of a row as that of a folder."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def _set_aside(place: Path) -> None:
    """Give the result of an earlier evaluation another name: nobody takes it for what follows."""
    if (place / FILE_NAME).is_file():
        (place / FILE_NAME).replace(place / EARLIER)


def _has_scores(place: Path) -> bool:
    """Tell if anything was scored before a failure; a result without is removed."""
    scored = (place / FILE_NAME).is_file() and bool(Result.load(place).sequences)
    if not scored:
        (place / FILE_NAME).unlink(missing_ok=True)
    return scored


def _home(run: Path, config: Mapping[str, Any]) -> Path:
    """Name the folder that an evaluation lies in: the run's own, or the `out` of a YAML file, or one by its name."""
    if run.is_dir():
        return run
    out = config.get("out")
    if not isinstance(out, str | None):
        raise Vo3dError(f"{run}: out is {quoted(out)}: expected the path of a folder")
    return Path(out or Path("runs") / run.stem)


def _contestants(
    config: dict[str, Any],
    run: Path,
    weights: str,
    baselines: Sequence[dict[str, Any]],
    baseline_data: Mapping[str, Any] | None,
    split: str,
    failures: _Failures,
    console: Console,
) -> dict[str, _Contestant]:
    """Make the run's model, then its baselines, by their names in the table; those that fail are noted."""
    found: dict[str, _Contestant] = {}
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
                datasets[which] = _dataset(config if which else changed, split, run)
            if own:
                origin = _trained(model, config, run, weights, console)
            else:
                _fit(model, config if which else changed, run)
                origin = {"arguments": spec.get("init_args", {}), "data": dict(baseline_data or {})}
            found[names[-1]] = _Contestant(model, datasets[which], origin)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the others go on; a defect is raised in the end)
            failures.add(names[-1], error)
    return found


def _trained(net: Model, config: dict[str, Any], run: Path, weights: str, console: Console) -> dict[str, object]:
    """Give `net` what training gave it; tells what that was."""
    if next(net.parameters(), None) is None:
        _fit(net, config, run)
        return {"run": run.name, "arguments": config["model"]["net"].get("init_args", {})}
    named = find_pretrained(weights)[0] if weights in weights_names() else None
    checkpoint = named or find_checkpoint(weights, _home(run, config))
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
    model.fit(_dataset(config, "train", run).recordings)


def _changed(spec: dict[str, Any], arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """The description of a dataset with some arguments replaced, or within another one that a class path names."""
    if arguments and "class_path" in arguments:
        around = as_spec(dict(arguments), "--data")
        return {**around, "init_args": {"dataset": spec, **around["init_args"]}}
    return {**spec, "init_args": {**spec.get("init_args", {}), **(arguments or {})}}


def _dataset(config: dict[str, Any], split: str, run: Path) -> RecordingDataset:
    """One of the run's datasets, which has recordings."""
    spec = config["data"].get(split)
    if spec is None:
        raise Vo3dError(f"{run}: there is no data.{split}: train with one, or choose another split")
    dataset: Dataset[Sample] = build(Dataset, spec, f"{run}, data.{split}")
    if not isinstance(dataset, RecordingDataset):
        raise Vo3dError(
            f"{spec['class_path']} is no vo3d.recording.RecordingDataset: derive it from that class to evaluate on it"
        )
    return dataset


def _name(spec: dict[str, Any], taken: Sequence[str]) -> str:
    """Name a row: its class, with the arguments where those are given, and a number where that is not enough.

    Names that are one as folders (`a/b`, `a_b`) are not different enough: a result would overwrite another.
    """
    kind = spec["class_path"].rpartition(".")[2]
    arguments = ", ".join(f"{key}={value}" for key, value in spec.get("init_args", {}).items())
    name = f"{kind} ({arguments})" if arguments else kind
    count = sum(_as_folder(other.rpartition(" #")[0] or other) == _as_folder(name) for other in taken)
    return f"{name} #{count + 1}" if count else name

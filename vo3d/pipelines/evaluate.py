"""`vo3d evaluate`: score the model of a training run, and baselines beside it, on the run's own data, task by task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from vo3d.errors import Vo3dError, visible
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.page import write_report
from vo3d.evaluation.task import Task
from vo3d.formats.files import make_folder
from vo3d.formats.results import FILE_NAME, Result
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import memory_ended
from vo3d.pipelines.contestants import (
    Contestant,
    Failures,
    console_of,
    folder_of,
    home_of,
    make_contestants,
    open_split,
    read_contest,
)
from vo3d.pipelines.task_plan import build_tasks, check_options, give_training, plan
from vo3d.provenance import provenance
from vo3d.recording import notes_of
from vo3d.settings.run_folder import training_command

EARLIER = f"earlier_{FILE_NAME}"  # the result of an evaluation before one that failed


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
    config, specs = read_contest(run, split, data, baselines)
    console = console_of(console)
    wanted = build_tasks(tasks, options or {})
    failures = Failures()
    contestants = make_contestants(config, run, weights, specs, baseline_data, split, failures, console)
    if not contestants:
        raise failures.error()
    own = next(iter(contestants.values()))
    unseen = give_training(wanted, own.model, lambda: open_split(config, "train", run), asked=bool(tasks))
    try:
        planned, notes = plan(own.model, own.dataset, wanted, asked=bool(tasks))
    except Vo3dError as error:
        if failures.reasons:  # the others are no more than what a baseline can be scored by
            raise failures.error(list(contestants)) from error
        raise
    check_options(options or {}, planned)
    folder = out if out is not None else home_of(run, config) / "evaluation" / split
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
    contestants: Mapping[str, Contestant],
    folder: Path,
    protocol: Mapping[str, object],
    seed: object,
    device: torch.device,
    console: Console,
    failures: Failures,
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
    return folder / folder_of(name) / task.name


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

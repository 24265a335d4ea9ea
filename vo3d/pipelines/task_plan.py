"""The tasks of an evaluation: those that are built, those that are run, and the training views that they look at."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vo3d.errors import Vo3dError
from vo3d.evaluation.task import Task, failure_in_words
from vo3d.evaluation.tasks import known_tasks
from vo3d.model import Model
from vo3d.recording import RecordingDataset
from vo3d.settings.build import build, read_spec


def build_tasks(asked: Sequence[str], options: Mapping[str, Any]) -> list[Task]:
    """The tasks that words name, or all that run unasked; each with those of the options that its constructor knows.

    Raises Vo3dError for a task that does not exist or refuses an option.
    """
    known = known_tasks()
    paths = {name: f"{kind.__module__}.{kind.__qualname__}" for name, kind in known.items()}
    tasks: list[Task] = []
    for word in asked or [name for name, kind in known.items() if kind.unasked]:
        spec = read_spec(word, "--tasks", paths)
        own = spec.get("init_args", {})
        task: Task = build(Task, {**spec, "init_args": own}, f"--tasks {word}")
        taken = inspect.signature(type(task)).parameters
        given = {name: value for name, value in options.items() if name in taken}
        if given:
            task = build(Task, {**spec, "init_args": {**given, **own}}, f"--tasks {word}")
        if task.name in [other.name for other in tasks]:
            raise Vo3dError(f"--tasks: two tasks are called {task.name}: their results would overwrite each other")
        tasks.append(task)
    return tasks


def plan(
    model: Model, dataset: RecordingDataset, tasks: Sequence[Task], *, asked: bool
) -> tuple[list[Task], list[str]]:
    """The tasks that score a model on its data, and a line for each key that none of them scores.

    Raises Vo3dError where there is no such task, or one that was asked for cannot.
    """
    planned: list[Task] = []
    reasons: list[str] = []
    for task in tasks:
        if not asked and not task.suits(model):
            continue
        reason = task.obstacle(model, dataset)
        if reason is None:
            planned.append(task)
            given = [key for key in task.keys if key in model.gives]
            reasons += [f"{key} not scored: {task.name} takes {given[0]} of this model" for key in given[1:]]
            reasons += [note] if (note := task.note(dataset)) else []
        elif asked:
            raise Vo3dError(reason)
        else:
            reasons.append(f"{' and '.join(key for key in task.keys if key in model.gives)} not scored: {reason}")
    if not asked:
        read = {key for task in tasks for key in (*task.keys, *task.reads)}
        reasons += [f"{key} not scored: there is no task for it" for key in model.gives if key not in read]
    if not planned:
        told = "; ".join(reasons) or "no task was asked for"
        raise Vo3dError(f"nothing of {type(model).__name__} can be scored on {type(dataset).__name__}: {told}")
    return planned, reasons


def give_training(
    tasks: Sequence[Task], model: Model, read: Callable[[], RecordingDataset], *, asked: bool
) -> list[str]:
    """Give the training recordings to the tasks that want them; `read` opens the data, if one of them may run.

    Returns a line for each that goes without, because the data are absent or cannot be opened.
    """
    wanting = [task for task in tasks if task.wants_training and (asked or task.suits(model))]
    if not wanting:
        return []
    try:
        training = read().recordings
    except Exception as error:  # noqa: BLE001 (what is scored needs them not: it is said and goes on)
        return [f"{task.name} goes without training views: {failure_in_words(error)}" for task in wanting]
    for task in wanting:
        task.training = training
    return []


def check_options(options: Mapping[str, Any], planned: Sequence[Task]) -> None:
    """Raise Vo3dError for an option that no task reads which runs."""
    for name in options:
        if not any(name in inspect.signature(type(task)).parameters for task in planned):
            takers = [task for task, kind in known_tasks().items() if name in inspect.signature(kind).parameters]
            running = ", ".join(task.name for task in planned)
            raise Vo3dError(
                f"--{name} is an option of {' and '.join(takers) or 'no task'}, and {running} runs: leave it out, or "
                "choose other --tasks"
            )

"""Results side by side, where their protocols agree: the one rule, and the tables in a terminal."""

from collections.abc import Collection, Mapping, Sequence
from math import isclose
from pathlib import Path
from types import MappingProxyType

from rich import box
from rich.console import Console
from rich.table import Table

from vo3d.errors import Vo3dError
from vo3d.evaluation.task import Metric, Task
from vo3d.evaluation.tasks import known_tasks
from vo3d.formats.results import Metrics, Result, find_results


def print_comparison(
    paths: Sequence[Path],
    force: bool = False,
    console: Console | None = None,
    tasks: Mapping[str, type[Task]] | None = None,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print one table of results for each task that they are of.

    Args:
        paths: Each a metrics.json, the folder that holds one, or the folder of a model, which holds one for each task.
        force: Print the table in spite of unequal protocols, and mark the rows that differ from the first.
        console: Where to print.
        tasks: Of other names than `known_tasks` has; of others, results say themselves which terms must agree.
        failed: Names of models that have no result, with the reason: rows of dashes.

    Raises:
        Vo3dError: protocols differ in what must agree (`Task.must_agree`), which is named with both values; recordings
            of the same name have truths of different length; some recordings of a result failed.

    Example: `print_comparison([Path("results/deepvo"), Path("results/classic/odometry/metrics.json")])`
    """
    console = console or Console()
    if failed and not paths:
        _print_failed(console, comparison_table([], None, next(iter((tasks or {}).values()), None), failed), failed, 0)
        return
    if not paths:
        raise Vo3dError("no results to compare: expected the metrics.json of at least one evaluation")
    of_path = [[(folder, Result.load(folder)) for folder in find_results(path)] for path in paths]
    everything = [one for found in of_path for one in found]
    names = list(dict.fromkeys(result.task for _, result in everything))
    shared = [task for task in names if all(any(one.task == task for _, one in found) for found in of_path)]
    groups = {task: [one for one in everything if one[1].task == task] for task in shared}
    for name, group in (groups or {names[0]: everything}).items():  # or one that says that tasks differ
        _compare_task(group, {**known_tasks(), **(tasks or {})}.get(name), force, console, failed)
    if shared and (left := [name for name in names if name not in shared]):
        console.print(f"Not of all of them: {', '.join(left)}.", markup=False, highlight=False)


def _compare_task(
    group: Sequence[tuple[Path, Result]],
    task: type[Task] | None,
    force: bool,
    console: Console,
    failed: Mapping[str, str],
) -> None:
    """Print the table of one task, and its protocol."""
    results = [result for _, result in group]
    differences = [differing(results[0], result, task) for result in results]
    if any(differences) and not force:
        index = next(index for index, found in enumerate(differences) if found)
        raise Vo3dError(
            f"{group[index][0]} is not comparable with {group[0][0]}: {'; '.join(differences[index])}; evaluate both "
            "in the same way, or force the comparison"
        )
    _print_failed(console, comparison_table(results, differences, task, failed), failed, len(results))
    for number, found in enumerate(differences, start=1):
        for difference in found:
            console.print(f"row {number} differs: {difference}", style="bold red", markup=False, highlight=False)
    protocol = "; ".join(f"{key} {shown(results[0].protocol.get(key))}" for key in _must_agree(results, task))
    console.print(f"Protocol{' of row 1' if any(differences) else ''}: {protocol}.", markup=False, highlight=False)


def _print_failed(console: Console, table: Table, failed: Mapping[str, str], above: int) -> None:
    """Print a table, and why its last rows hold dashes."""
    print_whole(console, table)
    for row, (name, reason) in enumerate(failed.items(), start=above + 1):
        line = f"row {row}, {name}, failed: {reason}"
        console.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)


def differing(first: Result, other: Result, task: type[Task] | None) -> list[str]:
    """List what keeps `other` out of one table with `first`, one sentence part each; empty if nothing does.

    The one rule of comparability, for tables, reports and tools. `task` is that of the results; None where it is not
    known, and then the terms must agree that the results themselves name, or all of them.
    """
    if other.task != first.task:
        return [f"task is {shown(other.protocol.get('task'))} instead of {shown(first.protocol.get('task'))}"]
    found = [
        f"{key} is {shown(other.protocol.get(key))} instead of {shown(first.protocol.get(key))}"
        for key in _must_agree([first, other], task)
        if other.protocol.get(key) != first.protocol.get(key)
    ]
    for key in task.agree_where_known if task is not None else ():
        one, two = first.protocol.get(key), other.protocol.get(key)
        if one is not None and two is not None and one != two:
            found.append(f"{key} is {shown(two)} instead of {shown(one)}")
    for name in sorted(first.sequences.keys() & other.sequences.keys()):
        lengths = [result.sequences[name].get("path_length_m") for result in (first, other)]
        if not _close(*lengths):
            found.append(f"the truth of {name} is {number(lengths[1])} m long instead of {number(lengths[0])} m")
    failed = other.provenance.get("failed")
    if isinstance(failed, Mapping) and failed:
        found.append(f"recordings failed: {', '.join(map(str, failed))}")
    return found


def _must_agree(results: Sequence[Result], task: type[Task] | None) -> tuple[str, ...]:
    """List the terms of the protocol that results in one table must share."""
    if task is not None:
        return task.must_agree
    named = [result.provenance.get("must_agree", list(result.protocol)) for result in results]
    return tuple(dict.fromkeys(str(key) for keys in named if isinstance(keys, list) for key in keys))


def columns(task: type[Task] | None, rows: Sequence[Mapping[str, float | int | None]]) -> list[Metric]:
    """List the metrics that a table of the rows shows: those that some row has, even as None, and not all as plain.

    One of which some row has the value over all recordings together, `..._pooled`, gives way to that.
    """
    keys = dict.fromkeys(key for row in rows for key in row)
    metrics = [Metric(key, key) for key in keys] if task is None else [one for one in task.metrics if one.shown]
    metrics = [one for one in metrics if f"{one.key}_pooled" not in {each.key for each in metrics} & set(keys)]
    plain = {one.key for one in metrics if one.plain is not None and all(row.get(one.key) == one.plain for row in rows)}
    return [one for one in metrics if not {one.key, one.plain_with} & plain and any(one.key in row for row in rows)]


def comparison_table(
    results: Sequence[Result],
    differences: Sequence[Sequence[str]] | None = None,
    task: type[Task] | None = None,
    failed: Collection[str] = (),
) -> Table:
    """Make one row per result: means over recordings, and descriptive parts of the protocol that are not all equal.

    The names of those that `failed` get a row of dashes each.
    """
    unequal = differences is not None and any(differences)
    keys = dict.fromkeys(key for result in results for key in result.protocol)
    first = list(task.method_terms) if task is not None else []
    always = task.always_shown if task is not None else ()
    told = [
        key
        for key in dict.fromkeys([*first, *keys])
        if key in always
        or (key not in _must_agree(results, task) and len({shown(result.protocol.get(key)) for result in results}) > 1)
    ]
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        title="UNEQUAL PROTOCOLS: not comparable" if unequal else None,
    )
    table.add_column("model", overflow="fold", min_width=12)
    rows: list[Metrics] = [result.mean for result in results]
    if not rows and task is not None:  # failures alone: every column that there could be
        rows = [dict.fromkeys(one.key for one in task.metrics)]
    metrics = columns(task, rows)
    for metric in metrics:
        table.add_column(f"{metric.title}\n{metric.unit}", justify="right", no_wrap=True, min_width=5)
    for key in told:
        table.add_column(key.replace("_", " "), overflow="fold", min_width=10)
    if unequal:
        table.add_column("protocol", style="bold red")
    for index, result in enumerate(results):
        row = [result.model, *(number(result.mean.get(metric.key)) for metric in metrics)]
        row += [shown(result.protocol.get(key)) for key in told]
        if differences is not None and unequal:
            row.append("differs" if differences[index] else "as row 1")
        table.add_row(*row)
    for name in failed:
        table.add_row(name, *["-"] * (len(table.columns) - 1))
    return table


def print_whole(console: Console, table: Table) -> None:
    """Print a table, whose brackets are no markup.

    Into a file or a pipe, which has no width, with every column as wide as it likes.
    """
    width = console.width
    try:
        if not console.is_terminal:
            options = console.options.update(width=10_000, markup=False)
            console.width = max(width, console.measure(table, options=options).maximum)
        console.print(table, markup=False)
    finally:
        console.width = width


def _close(first: float | None, second: float | None) -> bool:
    return first == second or (first is not None and second is not None and isclose(first, second, rel_tol=1e-6))


def number(value: float | None) -> str:
    """Write a metric for people: four significant digits; a dash where it is not defined."""
    return "-" if value is None else f"{value:.4g}"


def shown(value: object) -> str:
    """Write a value of a protocol for people: hashes shortened, lists joined, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text

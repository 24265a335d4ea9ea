"""The report of an evaluation: the results of several models, task by task, on one page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import columns, differing
from vo3d.evaluation.task import Metric, Task
from vo3d.recording import Recording
from vo3d.report.html import Cell, Column, Definitions, Section, Table, Text, write_page
from vo3d.report.scored import Scored, read_scored
from vo3d.report.sections import count, origin_parts, protocol_parts, scored_names, training_parts, words
from vo3d.settings.run_folder import CONFIG, HISTORY

SPEED = "fps"  # it varies with the machine: not in tables of single recordings


def write_report(
    out: Path,
    results: Mapping[Task, Mapping[str, Path]],
    *,
    title: str,
    run: Path | None = None,
    recordings: Mapping[str, Sequence[Recording]] = MappingProxyType({}),
    commands: Sequence[str] = (),
    failed: Mapping[Task, Mapping[str, str]] = MappingProxyType({}),
) -> Path:
    """Write `out/report.html`, which needs nothing beside it, and its figures as PNG files into `out/figures/`.

    Args:
        out: The folder.
        results: For each task the result folder of each model by its name.
        title: Of the page.
        run: The folder of a fit, whose history.csv and config.yaml are shown.
        recordings: Those that each model saw, by its name: sample frames and maps are taken from them.
        commands: The lines that repeat the whole.
        failed: For each task why models could not be scored, or not on every recording, by their names: they get a row
            of dashes, and what they did score is shown by itself.

    Raises:
        Vo3dError: a result is missing or malformed, or there is none.
    """
    if not any(results.values()):
        raise Vo3dError("a report without results was asked for: expected the result folder of at least one model")
    scored = {task: {name: read_scored(folder) for name, folder in of.items()} for task, of in results.items()}
    figures = out / "figures"
    sections: list[Section] = []
    leads = []
    for task, models in scored.items():
        broken = failed.get(task, {})
        whole = {name: model for name, model in models.items() if name not in broken}
        reasons = unlike(whole, task)
        leads.append(task.lead(whole, not reasons) if whole else "Nothing was scored on every recording.")
        head = f"{task.name.capitalize().replace('_', ' ')}: " if len(scored) > 1 else ""
        found = [
            Section("Result", [*_summary(models, task, reasons, broken)]),
            *task.sections(models, recordings, figures),
        ]
        sections += [
            Section(f"{head}{one.title[:1].lower()}{one.title[1:]}" if head else one.title, one.parts) for one in found
        ]
    if run is not None:
        sections.append(Section("Training", [*training_parts(figures, run / HISTORY, run / CONFIG)]))
    everyone = {
        f"{name}, {task.name}" if len(scored) > 1 else name: model
        for task, models in scored.items()
        for name, model in models.items()
    }
    origins = {
        f"Where the numbers of {name} came from": {
            key.replace("_", " "): words(value) for key, value in model.provenance.items() if key != "must_agree"
        }
        for name, model in everyone.items()
    }
    sections += [
        Section("Protocol", [*protocol_parts({name: model.protocol for name, model in everyone.items()})]),
        Section("How to repeat this", [*origin_parts(commands, origins)]),
    ]
    return write_page(out / "report.html", title, sections, " ".join(leads))


def unlike(models: Mapping[str, Scored], task: Task) -> list[str]:
    """List the reasons not to rank the numbers of the models, one sentence each; see `differing`."""
    reasons = []
    for name, model in models.items():
        absent = [one for one in scored_names(models) if one not in model.sequences]
        if absent:
            reasons.append(f"{name} was not scored on {', '.join(absent)}.")
        reasons += [f"{name}: {reason}." for reason in differing(next(iter(models.values())), model, type(task))]
    return reasons


def _summary(
    models: Mapping[str, Scored], task: Task, reasons: Sequence[str], broken: Mapping[str, str]
) -> Iterator[Text | Table | Definitions]:
    """Show the means in one table, what its columns mean, and each recording by itself."""
    names = scored_names(models)
    means = {name: {} if name in broken else model.mean for name, model in models.items()}
    used = columns(type(task), [mean for mean in means.values() if mean] or [model.mean for model in models.values()])
    told = {
        term: title
        for term, title in task.method_terms.items()
        if len({words(model.protocol.get(term)) for model in models.values()}) > 1
    }
    heads = [Column("model"), *(_column(metric, marked=not reasons) for metric in used)]
    heads += [Column(title) for title in told.values()]
    cells: list[list[Cell]] = [
        [name, *(means[name].get(one.key) for one in used), *(words(model.protocol.get(term)) for term in told)]
        for name, model in models.items()
    ]
    cells += [[name, *(None for _ in heads[1:])] for name in broken if name not in models]
    several, pooled = count(names, task.things), any(metric.key.endswith("_pooled") for metric in used)
    over = f"All {task.pieces} of {several} together." if pooled else f"Mean over {several}."
    over = over if len(names) > 1 else f"{task.things.capitalize()} {names[0]}."
    marks = "" if reasons else " The best value of each column is marked."
    yield Table(
        heads,
        cells,
        f"{over}{marks}{_plain([mean for mean in means.values() if mean], task, used)} A dash stands for no value.",
    )
    if reasons:
        yield Text(f"{' '.join(reasons)} No value is therefore marked as the best.", "note")
    for name, reason in broken.items():
        yield Text(f"{name} failed: {reason}", "note")
    for name, model in models.items():
        if (failed := model.provenance.get("failed")) and name not in broken:
            yield Text(f"{name} failed on {words(failed)}", "note")
    yield Definitions({metric.title: metric.meaning for metric in used if metric.meaning})
    if len(names) > 1:
        yield _each(models, task, names)


def _each(models: Mapping[str, Scored], task: Task, names: Sequence[str]) -> Table:
    """Show the metrics of each recording by itself, except speeds."""
    lines = [
        (one, name, model.sequences[one]) for one in names for name, model in models.items() if one in model.sequences
    ]
    used = [metric for metric in columns(type(task), [metrics for _, _, metrics in lines]) if metric.key != SPEED]
    heads = [Column(task.things), Column("model"), *(_column(metric, marked=False) for metric in used)]
    cells: list[list[Cell]] = [[one, name, *(metrics.get(each.key) for each in used)] for one, name, metrics in lines]
    plain = _plain([metrics for _, _, metrics in lines], task, used)
    return Table(heads, cells, f"Each {task.things} by itself.{plain}")


def _column(metric: Metric, *, marked: bool) -> Column:
    return Column(metric.title, metric.unit, metric.digits, metric.best if marked else None)


def _plain(rows: Sequence[Mapping[str, float | int | None]], task: Task, used: Sequence[Metric]) -> str:
    """Tell of columns that are left out because they hold one and the same plain value."""
    left: dict[str, list[str]] = {}
    for metric in task.metrics:
        left_out = metric.plain is not None and metric not in used
        if left_out and all(row.get(metric.key) == metric.plain for row in rows):
            left.setdefault(f"{metric.plain:g} {metric.unit}".strip(), []).append(metric.title)
    return "".join(
        f" {' and '.join(titles).capitalize()} {'are' if len(titles) > 1 else 'is'} {value} in all rows."
        for value, titles in left.items()
    )

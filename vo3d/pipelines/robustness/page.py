"""Show and write a robustness study: tables in a terminal, the numbers, the figure, the page."""

import json
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from vo3d.evaluation.compare import number, print_whole
from vo3d.evaluation.task import Metric
from vo3d.evaluation.tasks.odometry import SEGMENT_METRICS
from vo3d.formats.files import write_whole
from vo3d.pipelines.robustness.faults import CLEAN, FAULTS
from vo3d.pipelines.robustness.scores import OVER_ALL, Study, metric_of
from vo3d.provenance import provenance
from vo3d.report.canvas import line_styles, save_figure
from vo3d.report.html import Cell, Column, Definitions, Link, Picture, Section, Text, write_page
from vo3d.report.html import Table as PageTable
from vo3d.report.robustness import Panel, plot_robustness
from vo3d.report.sections import count, origin_parts, protocol_parts

FILE = "robustness.json"


def print_tables(study: Study, console: Console) -> None:
    """Print a table of the two errors that are shown for each fault, then why something is missing."""
    for fault, points in study.sweeps.items():
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=FAULTS[fault].label)
        table.title_justify = "left"
        table.add_column("error")
        table.add_column("model", overflow="fold", min_width=12)
        for point in points:
            table.add_column(f"{point.value:g}", justify="right", no_wrap=True)
        for metric in study.metrics:
            for model in study.models:
                table.add_row(_head(metric), model, *map(number, study.line(model, fault, metric.key)))
        print_whole(console, table)
    for note in study.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    for text in _failures(study):
        console.print(text, style="bold red", markup=False, highlight=False, soft_wrap=True)


def write_study(folder: Path, study: Study, title: str) -> Path:
    """Write the numbers, the figure and the page `report.html`, which needs nothing beside it; give the page's path."""
    write_whole(folder / FILE, json.dumps(_content(study), indent=2, allow_nan=False) + "\n")
    panels = [
        Panel(
            title=FAULTS[fault].title,
            xlabel=FAULTS[fault].unit,
            sizes=[point.value for point in points],
            lines={model: [study.line(model, fault, metric.key) for metric in study.metrics] for model in study.models},
            flat=[model for model in study.models if not study.reads(model, fault)],
        )
        for fault, points in study.sweeps.items()
    ]
    figure = plot_robustness(panels, [f"{one.title} ({one.unit})" for one in study.metrics], line_styles(study.models))
    caption = (
        f"Mean {' and '.join(one.title for one in study.metrics)} over the recordings, over the size of each fault; "
        "lower is better. A line without markers is of a model that does not read what the fault changes: its clean "
        "score stands for all sizes."
    )
    sections = [
        Section("Errors over faults", [Picture(save_figure(figure, folder / "robustness.png"), caption, caption)]),
        Section("Growth of errors", [_growth(study), *(Text(note, "note") for note in _words(study))]),
        *(
            Section(FAULTS[fault].title.capitalize(), [Text(FAULTS[fault].meaning), *_tables(study, fault)])
            for fault in study.sweeps
        ),
        Section(
            "What the errors mean", [Definitions({one.title: one.meaning for one in _defined(study) if one.meaning})]
        ),
        Section(
            "Protocol",
            [*protocol_parts({m: one.protocol for (m, point), one in study.results.items() if point == CLEAN})],
        ),
        Section(
            "How to repeat this",
            [*origin_parts([str(provenance()["command"])], {}), Link(f"The numbers: {FILE}", FILE)],
        ),
    ]
    recordings = dict.fromkeys(name for one in study.results.values() for name in one.sequences)
    lead = (
        f"Errors of {', '.join(study.models)} on {count(recordings, 'recording')} whose sensors are made to fail; "
        "nobody was trained anew."
    )
    return write_page(folder / "report.html", title, sections, lead)


def _head(metric: Metric) -> str:
    return f"{metric.title} {metric.unit}"


def _defined(study: Study) -> list[Metric]:
    """List the errors that some result has, of the four that tell most."""
    return [
        metric_of(key)
        for key in (*SEGMENT_METRICS, *OVER_ALL)
        if any(one.mean.get(key) is not None for one in study.results.values())
    ]


def _words(study: Study) -> list[str]:
    """Say what is missing and why, as sentences."""
    return [f"{text[:1].upper()}{text[1:]}." for text in [*study.notes, *_failures(study)]]


def _failures(study: Study) -> list[str]:
    """Say who failed where and why."""
    return [f"{m}{f', {point}' if point else ''}, failed: {why}" for (m, point), why in study.reasons.items()]


def _growth(study: Study) -> PageTable:
    """Show by how much the errors grow under each fault at its worst."""
    heads = [Column("error"), Column("model"), *(Column(FAULTS[fault].title, "times") for fault in study.sweeps)]
    cells: list[list[Cell]] = [
        [_head(metric), model, *(study.growth(model, fault, metric.key) for fault in study.sweeps)]
        for metric in study.metrics
        for model in study.models
    ]
    caption = (
        "The largest error over the sizes of a fault, as a multiple of the clean one. It says how much a model "
        "suffers, not how good it is: one that is wrong without a fault has little to lose."
    )
    return PageTable(heads, cells, caption)


def _tables(study: Study, fault: str) -> Iterator[PageTable]:
    """Show all errors of all models over the sizes of a fault."""
    points = study.sweeps[fault]
    heads = [Column("error"), Column("model"), *(Column(f"{one.value:g}", FAULTS[fault].unit) for one in points)]
    cells: list[list[Cell]] = []
    for metric in _defined(study):
        for model in study.models:
            values = study.line(model, fault, metric.key)
            cells.append(
                [_head(metric), model, *(None if one is None else f"{one:.{metric.digits}f}" for one in values)]
            )
    yield PageTable(heads, cells, "Means over the recordings. A dash stands for no value.")


def _content(study: Study) -> dict[str, object]:
    """Collect all numbers with their protocol, for the file."""
    faults = {
        name: {
            "title": FAULTS[name].title,
            "unit": FAULTS[name].unit,
            "changes": FAULTS[name].field,
            "sizes": [point.value for point in points],
            "arguments": [point.arguments for point in points],
        }
        for name, points in study.sweeps.items()
    }
    models = {
        model: {
            "reads": list(study.fields.get(model, ())),
            "failed": {point or "everywhere": why for (name, point), why in study.reasons.items() if name == model},
            "points": {
                point: {"protocol": one.protocol, "mean": one.mean, "recordings": one.sequences}
                for (name, point), one in study.results.items()
                if name == model
            },
            "faults": {
                fault: [point.name if study.reads(model, fault) else CLEAN for point in points]
                for fault, points in study.sweeps.items()
            },
        }
        for model in study.models
    }
    return {"faults": faults, "models": models, "shown": [one.key for one in study.metrics], **provenance()}

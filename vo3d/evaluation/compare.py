"""Results side by side, where their protocols agree."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from vo3d.errors import Vo3dError
from vo3d.evaluation.results import Result

# What must be equal for numbers to be comparable: the question (which frames, against which truth) and the ruler (which
# metric, after which alignment). Other fields describe the method and become columns where they differ: the source of
# the scale, the clip length, and the resolution as well, because errors are measured in metres against the same poses
# whatever size the images were shrunk to, and the size that a method can use is part of the method.
MUST_AGREE = (
    "task",
    "dataset",
    "split",
    "frames_sha256",
    "alignment",
    "segment_lengths_m",
    "segment_start_every",
    "segment_metric",
    "origin",
    "rpe",
)
# Depth is measured pixel by pixel: the size of the images and the stride say which pixels these are.
MUST_AGREE_IN_DEPTH = (
    "task",
    "dataset",
    "split",
    "frames_sha256",
    "resolution",
    "stride",
    "depth_range",
    "truth",
    "mean",
)
METRICS = {  # key -> title, unit
    "t_rel_percent": ("t_rel", "%"),
    "r_rel_deg_per_100m": ("r_rel", "deg/100m"),
    "ape_rmse_m": ("APE", "m"),
    "rpe_mean_m": ("RPE", "m"),
    "rpe_mean_deg": ("RPE", "deg"),
    "scale": ("scale", ""),
    "coverage": ("cover", ""),
    "fps": ("fps", "1/s"),
}
METRICS_OF_DEPTH = {
    "depth_within_1pc_percent": ("in 1 %", "%"),
    "depth_within_5pc_percent": ("in 5 %", "%"),
    "depth_median_error_mm": ("median", "mm"),
    "depth_mae_mm": ("mean", "mm"),
    "depth_abs_rel": ("abs rel", ""),
    "depth_coverage_percent": ("cover", "%"),
    "confident_depth_coverage_percent": ("kept", "%"),
    "confident_depth_within_1pc_percent": ("kept\nin 1 %", "%"),
    "fps": ("fps", "1/s"),
}


def compare(paths: Sequence[Path], force: bool = False, console: Console | None = None) -> None:
    """Print one table of results, each a metrics.json or the folder that holds one.

    Raises Vo3dError, naming the fields and their values, when the protocols differ in what must agree (`MUST_AGREE`,
    `MUST_AGREE_IN_DEPTH`), when recordings of the same name have truths of different length, or when some recordings of
    a result failed; with `force` the table comes nevertheless, and marks the rows that differ from the first.

    Example: `compare([Path("results/deepvo"), Path("results/classic/metrics.json")])`
    """
    if not paths:
        raise Vo3dError("no results to compare: expected the metrics.json of at least one evaluation")
    results = [Result.load(path) for path in paths]
    differences = [differing(results[0], result) for result in results]
    if any(differences) and not force:
        index = next(index for index, found in enumerate(differences) if found)
        raise Vo3dError(
            f"{paths[index]} is not comparable with {paths[0]}: {'; '.join(differences[index])}; evaluate both in the "
            "same way, or force the comparison"
        )
    console = console or Console()
    _print_whole(console, comparison_table(results, differences))
    for number, found in enumerate(differences, start=1):
        for difference in found:
            console.print(f"row {number} differs: {difference}", style="bold red", markup=False, highlight=False)
    protocol = "; ".join(f"{key} {_show(results[0].protocol.get(key))}" for key in _must_agree(results[0]))
    console.print(f"Protocol{' of row 1' if any(differences) else ''}: {protocol}.", markup=False, highlight=False)


def differing(first: Result, other: Result) -> list[str]:
    """Why `other` must not stand in one table with `first`, one sentence part each; empty if it may."""
    found = [
        f"{key} is {_show(other.protocol.get(key))} instead of {_show(first.protocol.get(key))}"
        for key in _must_agree(first)
        if other.protocol.get(key) != first.protocol.get(key)
    ]
    for name in first.sequences.keys() & other.sequences.keys():
        lengths = [result.sequences[name].get("path_length_m") for result in (first, other)]
        if not _close(*lengths):
            found.append(f"the truth of {name} is {_number(lengths[1])} m long instead of {_number(lengths[0])} m")
    failed = other.provenance.get("failed")
    if isinstance(failed, Mapping) and failed:
        found.append(f"recordings failed: {', '.join(map(str, failed))}")
    return found


def _must_agree(result: Result) -> tuple[str, ...]:
    """The terms of the protocol that results which stand beside `result` must share."""
    return MUST_AGREE_IN_DEPTH if result.protocol.get("task") == "depth" else MUST_AGREE


def comparison_table(results: Sequence[Result], differences: Sequence[Sequence[str]] | None = None) -> Table:
    """One row per result: means over recordings, and the descriptive parts of the protocol that are not all equal.

    Scale and coverage are shown unless they are 1 in all rows.
    """
    unequal = differences is not None and any(differences)
    keys = dict.fromkeys(key for result in results for key in result.protocol)
    of_depth = results[0].protocol.get("task") == "depth"
    shown = [] if of_depth else ["scale_source"]
    shown += [
        key
        for key in keys
        if key not in (*_must_agree(results[0]), "scale_source")
        and len({_show(result.protocol.get(key)) for result in results}) > 1
    ]
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        title="UNEQUAL PROTOCOLS: not comparable" if unequal else None,
    )
    table.add_column("model", overflow="fold", min_width=12)
    plain = [key for key in ("scale", "coverage") if all(result.mean.get(key) == 1 for result in results)]
    headings = METRICS_OF_DEPTH if of_depth else METRICS
    metrics = {key: heading for key, heading in headings.items() if key not in plain}
    for title, unit in metrics.values():
        table.add_column(f"{title}\n{unit}", justify="right", no_wrap=True, min_width=5)
    for key in shown:
        table.add_column(key.replace("_", " "), overflow="fold", min_width=10)
    if unequal:
        table.add_column("protocol", style="bold red")
    for index, result in enumerate(results):
        row = [result.model, *(_number(result.mean.get(key)) for key in metrics)]
        row += [_show(result.protocol.get(key)) for key in shown]
        if differences is not None and unequal:
            row.append("differs" if differences[index] else "as row 1")
        table.add_row(*row)
    return table


def _print_whole(console: Console, table: Table) -> None:
    """Print a table; into a file or a pipe, which has no width, with every column as wide as it likes."""
    width = console.width
    try:
        if not console.is_terminal:
            console.width = max(width, console.measure(table, options=console.options.update(width=10_000)).maximum)
        console.print(table)
    finally:
        console.width = width


def _close(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return abs(first - second) <= 1e-6 * max(abs(first), abs(second))


def _number(value: float | None) -> str:
    """A metric for people: four significant digits; a dash where it is not defined."""
    return "-" if value is None else f"{value:.4g}"


def _show(value: object) -> str:
    """A value of a protocol for people: hashes shortened, lists joined, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(_show, value))
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text

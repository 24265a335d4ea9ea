"""Tables of what optimisers did, as CSV files and in Markdown."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from vo3d.formats.files import atomic_path


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    """Write rows, the titles first, as a CSV file, and return `path`.

    Raises Vo3dError when it cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def spread(values: Iterable[float | None]) -> str:
    """Say the mean, the least and the largest value: `mean (least to largest)`; "none" if no run has one."""
    known = [value for value in values if value is not None]
    return f"{mean(known):.3g} ({min(known):.3g} to {max(known):.3g})" if known else "none"


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

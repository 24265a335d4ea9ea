"""The rows of trajectory files: which format a file has, its numbers, its stamps and their unit.

A file is parsed as a whole, by pandas; where that fails, or a number is not finite, line by line, for the message.
"""

import re
from collections.abc import Container, Iterator, Sequence
from csv import QUOTE_NONE
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.text import LIMIT

TrajectoryFormat = Literal["kitti", "tum", "euroc"]
TimeUnit = Literal["s", "ms", "us", "ns"]

NANOSECONDS: dict[TimeUnit, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

# Seconds since 1970 of 1990 and 2100: a stamp in between, in one of the units, is a date. The next unit lies a factor
# of 150 away.
_DATES = (6.3e8, 4.1e9)
# Where stamps count from something else: seconds up to a step of 10 (frame numbers are seconds as well), nanoseconds
# from 1e6 (1 kHz) on; between them lie seconds of slow keyframes, milliseconds and microseconds.
_MOST_SECONDS, _LEAST_NANOSECONDS = 10.0, 1e6
_LONGEST_STEP = 1e3  # s: a unit that makes the median step longer is the wrong one


class Layout(NamedTuple):
    """The columns of a format."""

    columns: Container[int]  # how many it may have
    expected: str  # the same, for messages
    read: int  # how many of them are read, the first ones
    header: Sequence[str] = ()  # what is written before the rows
    separator: str = " "  # that is written


LAYOUTS: dict[TrajectoryFormat, Layout] = {
    "kitti": Layout((12, 13), "12 (or 13 with a frame index first)", 13),
    "tum": Layout((8,), "8 (time tx ty tz qx qy qz qw)", 8, ["# time tx ty tz qx qy qz qw (s, m)"]),
    "euroc": Layout(
        range(8, 1000),
        "at least 8 (time, p_x, p_y, p_z, q_w, q_x, q_y, q_z)",
        8,
        ["#timestamp [ns],p_x [m],p_y [m],p_z [m],q_w [],q_x [],q_y [],q_z []"],
        ",",
    ),
}


@dataclass(frozen=True)
class Rows:
    """The rows of a file."""

    path: Path
    format: TrajectoryFormat
    values: NDArray[np.float64]  # n, columns
    whole: NDArray[np.int64] | None  # n; the first column where all of it is whole: nanoseconds exceed float64

    @cached_property
    def lines(self) -> list[int]:
        """Find the line of each row, for messages."""
        return [number for number, _ in _content(self.path)]

    @cached_property
    def first(self) -> list[str]:
        """Find the first column as spelled."""
        return [text.split(_separator(text), 1)[0].strip() for _, text in _content(self.path)]


def check_format(format: str) -> None:
    """Raise Vo3dError unless `format` is one that this module reads and writes."""
    if format not in get_args(TrajectoryFormat):
        raise Vo3dError(f"trajectory format {format!r} is unknown: choose kitti, tum or euroc")


def read_rows(path: Path, format: TrajectoryFormat | Literal["auto"]) -> Rows:
    """Read the numbers of every row, between blanks or commas; the format by what the file holds if it is "auto".

    Raises Vo3dError as `vo3d.formats.trajectories.read_trajectory`.
    """
    comments, line, row = _head(path)
    kind = _detect_format(path, row, comments) if format == "auto" else format
    table = _parsed(path, "," if "," in row else r"\s+", skip=line - 1)
    if table is None or table[0].shape[1] not in LAYOUTS[kind].columns:
        table = _parsed_line_by_line(path, kind), None
    return Rows(path, kind, *table)


def whole_numbers(rows: Rows, what: str) -> NDArray[np.int64]:
    """Return the first column as whole numbers from 0 on; Vo3dError, which names `what` they are, for others."""
    first = rows.values[:, 0]
    wrong = (first != np.floor(first)) | (first < 0) | (first >= LIMIT)
    if wrong.any():
        at = int(wrong.argmax())
        raise Vo3dError(
            f"{rows.path}:{rows.lines[at]}: {what} {quoted(rows.first[at])}; expected a whole number from 0 to 2^63 - 1"
        )
    return rows.whole if rows.whole is not None else first.astype(np.int64)


def detect_unit(rows: Rows) -> TimeUnit:
    """Tell the unit of stamps by their size, if they are dates, or else by the median step between them.

    A single stamp that is no date has the unit of its format. Raises Vo3dError where nothing tells.
    """
    time = rows.values[:, 0]
    if (unit := unit_of(time)) is not None:
        return unit
    if len(time) == 1:
        return "ns" if rows.format == "euroc" else "s"
    raise Vo3dError(
        f"{rows.path}: time stamps {_median_step(time):g} apart, from {time[0]:g} on, may be seconds, milliseconds or "
        "microseconds; say which (--time-unit s, ms, us or ns, which vo3d convert-trajectory has for other verbs)"
    )


def unit_of(time: NDArray[np.float64]) -> TimeUnit | None:
    """Tell the unit of ascending stamps as `detect_unit` does; None where nothing tells."""
    step = _median_step(time)
    for unit, per in NANOSECONDS.items():
        scale = 1e9 / per
        if _DATES[0] * scale <= time[0] <= _DATES[1] * scale and step <= _LONGEST_STEP * scale:
            return unit
    if len(time) > 1 and step <= _MOST_SECONDS:
        return "s"
    return "ns" if step >= _LEAST_NANOSECONDS else None


def _median_step(time: NDArray[np.float64]) -> float:
    """Return the lower median of the steps between stamps; 0 of a single one."""
    gaps = np.diff(time)
    middle = (len(gaps) - 1) // 2
    return float(np.partition(gaps, middle)[middle]) if len(gaps) else 0.0


def check_span(rows: Rows, unit: TimeUnit) -> None:
    """Raise Vo3dError where the last stamp is beyond what 64 bits of nanoseconds hold."""
    if rows.values[-1, 0] * NANOSECONDS[unit] >= LIMIT:
        raise Vo3dError(
            f"{rows.path}:{rows.lines[-1]}: time stamp {quoted(rows.first[-1])} {unit}; expected at most 2^63 ns, the "
            "year 2262; say which unit the stamps have (--time-unit s, ms, us or ns)"
        )


def seconds(rows: Rows, unit: TimeUnit) -> NDArray[np.float64]:
    """Return the stamps in seconds."""
    per = 10**9 // NANOSECONDS[unit]  # of a second
    if rows.whole is None:
        return rows.values[:, 0] / per
    return rows.whole // per + rows.whole % per / per  # float64 rounds whole nanoseconds of a date already


def exact_nanoseconds(rows: Rows, unit: TimeUnit) -> NDArray[np.int64]:
    """Return the stamps in whole nanoseconds, as spelled."""
    if rows.whole is not None:
        return rows.whole * NANOSECONDS[unit]
    return np.array([int((Decimal(text) * NANOSECONDS[unit]).to_integral_value()) for text in rows.first])


def _detect_format(path: Path, row: str, comments: Sequence[str]) -> TrajectoryFormat:
    """Tell the format by the number of columns, what stands between them, and the names in the comments above."""
    tokens = row.split(_separator(row))
    count = len(tokens)
    order = _order_of_quaternion(comments)
    if "," not in row:
        if count in LAYOUTS["kitti"].columns:
            return "kitti"
        if count == 8 and order != "euroc":
            return "tum"
    elif count >= 8:
        if order is not None and (order == "euroc" or count == 8):
            return order
        if tokens[0].strip().isdecimal() and float(tokens[0]) > 1e12:
            return "euroc"
        if path.suffix.lower() == ".tum" and count == 8:
            return "tum"
    if count == 8:
        raise Vo3dError(
            f"{path}: 8 columns, and whether q_w comes first (EuRoC) or last (TUM) is open; say which (--format tum or "
            "euroc)"
        )
    raise Vo3dError(
        f"{path}: {count} columns{' by commas' if ',' in row else ''}; expected 12 or 13 (KITTI), 8 (TUM), or at least "
        "8 by commas, the first of whole nanoseconds (EuRoC); name the format where it is one of them (--format)"
    )


def _order_of_quaternion(comments: Sequence[str]) -> TrajectoryFormat | None:
    """Tell from names of columns which format has its quaternion in that order: q_w first, or last."""
    for comment in comments:
        w, x = (re.search(rf"\bq_?(?:rs_)?{axis}\b", comment, re.IGNORECASE) for axis in "wx")
        if w and x:
            return "euroc" if w.start() < x.start() else "tum"
    return None


def _head(path: Path) -> tuple[list[str], int, str]:
    """Return the comments above the first row, its line, and that row."""
    comments: list[str] = []
    for number, text in _content(path, comments=True):
        if not text.startswith("#"):
            return comments, number, text
        comments.append(text)
    raise Vo3dError(f"{path}: no poses; expected at least one row of a trajectory")


def _content(path: Path, *, comments: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, nor comments unless asked for, with their numbers.

    Names of columns above the first row are a comment also where no # stands before them.
    """
    above = True
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if above and _names_columns(text):
                    text = f"# {text}"
                if text and (comments or text[0] != "#"):
                    yield number, text
                above = above and text[:1] in {"", "#"}
    except OSError as error:
        raise Vo3dError(f"{path}: cannot be read ({error.strerror}); expected a trajectory file") from error
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not a text file in UTF-8; expected a trajectory file") from error


def _names_columns(text: str) -> bool:
    """Tell if a line holds as many words as a row has numbers, and no number."""
    tokens = text.split(_separator(text))
    return (
        text[:1] != "#"
        and len(tokens) >= min(layout.read for layout in LAYOUTS.values())
        and not any(_is_number(token) for token in tokens)
    )


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def _separator(row: str) -> str | None:
    return "," if "," in row else None


def _parsed(path: Path, separator: str, skip: int) -> tuple[NDArray[np.float64], NDArray[np.int64] | None] | None:
    """Parse rows of numbers below `skip` lines, and the first column as whole numbers if it is.

    Returns None where a row is not as the others.
    """
    import pandas  # noqa: PLC0415  half a second

    try:
        with path.open(encoding="utf-8-sig") as file:  # which takes every line end for one, as pandas does not
            for _ in range(skip):
                file.readline()
            table = pandas.read_csv(file, sep=separator, header=None, comment="#", quoting=QUOTE_NONE)
    except (ValueError, OverflowError):  # of the parser, too
        return None
    if not all(kind.kind in "iuf" for kind in table.dtypes):
        return None
    values = table.to_numpy(dtype=np.float64, copy=True)
    whole = table[0].to_numpy(copy=True) if table[0].dtype == np.int64 else None
    return (values, whole) if np.isfinite(values).all() else None


def _parsed_line_by_line(path: Path, format: TrajectoryFormat) -> NDArray[np.float64]:
    """Parse rows of numbers; Vo3dError for the first mistake."""
    values: list[list[float]] = []
    first, width = 0, 0
    for number, text in _content(path):
        tokens = text.split(_separator(text))
        if len(tokens) not in LAYOUTS[format].columns or (first and len(tokens) != width):
            wanted = f"{width}, as in line {first}" if first else LAYOUTS[format].expected
            raise Vo3dError(f"{path}:{number}: {len(tokens)} columns; expected {wanted}; is this a {format} file?")
        values.append([_number(token.strip(), path, number) for token in tokens[: LAYOUTS[format].read]])
        first, width = first or number, len(tokens)
    return np.array(values)


def _number(token: str, path: Path, line: int) -> float:
    try:
        value = float(token)
    except ValueError as error:
        raise Vo3dError(f"{path}:{line}: {quoted(token)} is not a number; expected one in every column") from error
    if not isfinite(value):
        raise Vo3dError(f"{path}:{line}: {quoted(token)} in a pose; expected finite numbers; drop or mend this pose")
    return value

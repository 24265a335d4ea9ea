"""PLY files as they are: elements of named properties, scalars or lists, in text or binary form, in whole arrays.

`vo3d.formats.ply` reads clouds and meshes out of them. Source: Turk, "The PLY polygon file format", 1994.
"""

import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from numpy.typing import NDArray

from vo3d.errors import Vo3dError, quoted, shown
from vo3d.formats.files import atomic_path
from vo3d.formats.text import parse_whole

PlyForm = Literal["ascii", "binary_little_endian", "binary_big_endian"]
Array = NDArray[Any]
Buffer = bytes | memoryview

# numpy's code of each type, under both of its names; written with the older one, which every reader knows
TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
NAMES = {code: name for name, code in reversed(TYPES.items())}
_ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
_FIRST, _END = re.compile(rb"ply(\r\n|\n|\r)"), re.compile(rb"[\r\n]end_header[ \t]*(\r\n|\n|\r|\Z)")


@dataclass(frozen=True, kw_only=True, eq=False)
class ListColumn:
    """A list property: how many values each row has, and all values one after another."""

    counts: Array  # (rows,) int64
    values: Array  # (sum of counts,)


Column = Array | ListColumn


@dataclass(frozen=True, kw_only=True)
class _Property:
    name: str
    item: str  # numpy's code, without byte order
    count: str | None = None  # of the length of a list


@dataclass(frozen=True, kw_only=True)
class _Element:
    name: str
    rows: int
    properties: list[_Property] = field(default_factory=list)


def read_elements(path: Path) -> dict[str, dict[str, Column]]:
    """Read all elements of a PLY file: element name -> property name -> a column, scalars as arrays of their own type.

    Raises:
        Vo3dError: the file is absent, is no PLY, has a header that makes no sense (with its line), or holds more or
            less than its header says; a row of a text is not one line.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected a PLY file")
    content = path.read_bytes()
    form, elements, begin, lines = _read_header(path, content)
    buffer: Buffer = memoryview(content)[begin:]
    if form == "ascii":  # from here on a binary file whose numbers are all float64
        buffer = _ascii_numbers(path, content[begin:], lines)
    found: dict[str, dict[str, Column]] = {}
    offset = 0
    for element in elements:
        found[element.name], offset = _read_element(path, buffer, offset, element, form)
    rest = len(buffer) - offset
    if rest and (form == "ascii" or bytes(buffer[offset:]) not in (b"\n", b"\r\n")):  # some end a binary file so
        what = f"{rest // 8} numbers" if form == "ascii" else f"{rest} bytes"
        rows = shown(", ".join(f"{element.rows} {element.name}" for element in elements))
        raise Vo3dError(
            f"{path}: {what} left after the last row: expected as many rows as the header says ({rows}): make the file "
            "again"
        )
    if form == "ascii":
        _check_lines(path, content[begin:], lines, elements, found)
    return found


def write_elements(
    path: Path,
    elements: Mapping[str, Mapping[str, Array]],
    *,
    form: PlyForm = "binary_little_endian",
    comments: Iterable[str] = (),
) -> None:
    """Write elements: element name -> property name -> (rows,) array of scalars or (rows, k) array of lists of k.

    The file is whole or absent. Raises Vo3dError for columns of unequal length or of a type that PLY does not know.
    """
    if form not in get_args(PlyForm):
        raise Vo3dError(f"{path}: PLY form {form!r} is unknown: choose {', '.join(get_args(PlyForm))}")
    header = ["ply", f"format {form} 1.0", *(f"comment {line}" for line in comments)]
    tables = []
    for name, columns in elements.items():
        rows = {len(column) for column in columns.values()}
        if len(rows) != 1:
            raise Vo3dError(f"{path}: the columns of {name!r} have lengths {sorted(rows)}: expected one length")
        header.append(f"element {name} {rows.pop()}")
        header += [_declaration(path, key, column) for key, column in columns.items()]
        tables.append(_table(columns, _ORDERS[form]))
    header.append("end_header")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode())
        for table in tables:
            if form == "ascii":
                _write_ascii(file, table)
            else:
                file.write(table.tobytes())


def _read_header(path: Path, content: bytes) -> tuple[PlyForm, list[_Element], int, int]:
    """Read form, elements, where the data begin, and the number of lines of the header."""
    first = _FIRST.match(content)
    if first is None:
        raise Vo3dError(f"{path}: not a PLY file: expected 'ply' in the first line")
    end = _END.search(content)
    if end is None:
        raise Vo3dError(f"{path}: no end_header in {len(content)} bytes: the file is truncated or no PLY file")
    form: PlyForm | None = None
    elements: list[_Element] = []
    lines = [line.decode("utf-8", "replace") for line in content[: end.start()].splitlines()]
    for number, line in enumerate(lines[1:], start=2):
        match line.split():
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian") as known, "1.0"]:
                form = known
            case ["element", name, rows] if rows.isdecimal() and all(name != element.name for element in elements):
                elements.append(_Element(name=name, rows=parse_whole(rows, path, number, "a number of rows")))
            case ["property", "list", count, item, name] if elements and {count, item} <= TYPES.keys():
                _add(path, number, elements[-1], _Property(name=name, item=TYPES[item], count=TYPES[count]))
            case ["property", item, name] if elements and item in TYPES:
                _add(path, number, elements[-1], _Property(name=name, item=TYPES[item]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise Vo3dError(
                    f"{path}:{number}: {quoted(line.strip())}: expected a line of a PLY header, version 1.0"
                )
    if form is None:
        raise Vo3dError(f"{path}: the header names no format: expected 'format binary_little_endian 1.0' or another")
    # where lines end with \r alone, a \n after the last of them belongs to the data
    return form, elements, end.start(1) + (1 if first[1] == b"\r" else len(end[1])), len(lines) + 1


def _add(path: Path, number: int, element: _Element, new: _Property) -> None:
    if any(new.name == known.name for known in element.properties):
        raise Vo3dError(
            f"{path}:{number}: a second property {quoted(new.name, 40)} of {quoted(element.name, 40)}: expected each "
            "once"
        )
    if new.count in ("f4", "f8"):
        raise Vo3dError(
            f"{path}:{number}: the length of the list {quoted(new.name)} is no whole number: expected uchar or int"
        )
    element.properties.append(new)


def _ascii_numbers(path: Path, body: bytes, header_lines: int) -> bytes:
    """Return the numbers of a text as the bytes of an array of float64."""
    with suppress(DeprecationWarning, ValueError), warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's way to say that a word is no number
        return np.fromstring(body, dtype="<f8", sep=" ").tobytes() if body.strip() else b""
    for number, line in enumerate(body.splitlines(), start=header_lines + 1):
        for token in line.split():
            try:
                float(token)
            except ValueError as error:
                raise Vo3dError(
                    f"{path}:{number}: {quoted(token.decode('utf-8', 'replace'))} is not a number: correct the line"
                ) from error
    raise Vo3dError(f"{path}: the data are not numbers between blanks: expected a PLY file in text form")


def _check_lines(
    path: Path, body: bytes, header_lines: int, elements: list[_Element], found: dict[str, dict[str, Column]]
) -> None:
    """Raise Vo3dError unless each row of each element is one line of the text: all numbers together are as many."""
    wanted: list[int] = []
    for element in elements:
        columns = [found[element.name][prop.name] for prop in element.properties]
        counts = sum(1 + column.counts if isinstance(column, ListColumn) else 1 for column in columns)
        wanted += np.broadcast_to(counts, element.rows).tolist() if columns else ()
    lines = ((number, len(line.split())) for number, line in enumerate(body.splitlines(), start=header_lines + 1))
    for (number, count), expected in zip(((number, count) for number, count in lines if count), wanted, strict=False):
        if count != expected:
            raise Vo3dError(f"{path}:{number}: {count} numbers: expected the {expected} of one row: mend the line")


def _read_element(
    path: Path, buffer: Buffer, offset: int, element: _Element, form: PlyForm
) -> tuple[dict[str, Column], int]:
    """Read the columns of one element; returns them, and where the next one begins."""
    if not element.properties:
        return {}, offset
    stored = element.properties
    if form == "ascii":
        stored = [_Property(name=p.name, item="f8", count=p.count and "f8") for p in stored]
    found, end = _equal_rows(path, buffer, offset, element, stored, _ORDERS[form]) or _unequal_rows(
        path, buffer, offset, element, stored, _ORDERS[form]
    )
    columns: dict[str, Column] = {}
    for prop, (counts, values) in zip(element.properties, found, strict=True):
        cast = _cast(path, element, prop, values)
        columns[prop.name] = cast if counts is None else ListColumn(counts=counts, values=cast)
    return columns, end


Found = tuple[list[tuple[Array | None, Array]], int]  # counts of a list and values of each property; where they end


def _equal_rows(
    path: Path, buffer: Buffer, offset: int, element: _Element, stored: list[_Property], order: str
) -> Found | None:
    """Read rows that have lists as long as those of the first row; None where they have not, or there is no row."""
    if not element.rows:
        return None
    fields: list[Any] = []
    for prop in stored:
        shape: tuple[int, ...] = ()
        if prop.count is not None:
            counter = struct.Struct(order + np.dtype(prop.count).char)
            shape = (_list_length(path, buffer, offset + np.dtype(fields).itemsize, counter, element, 0),)
            fields.append((f"{prop.name} length", order + prop.count))
        fields.append((prop.name, order + prop.item, shape))
    row = np.dtype(fields)
    end = offset + element.rows * row.itemsize
    lists = [prop.name for prop in stored if prop.count is not None]
    if end > len(buffer):
        if lists:
            return None
        raise _truncated(path, element, (len(buffer) - offset) // row.itemsize)
    rows = np.frombuffer(buffer, row, element.rows, offset)
    if any((rows[f"{name} length"] != rows[name].shape[1]).any() for name in lists):
        return None
    return [
        (rows[f"{p.name} length"].astype(np.int64) if p.name in lists else None, rows[p.name].reshape(-1))
        for p in stored
    ], end


def _unequal_rows(
    path: Path, buffer: Buffer, offset: int, element: _Element, stored: list[_Property], order: str
) -> Found:
    """Read rows with lists of any length: one walk to find where all is, then whole arrays."""
    steps = [
        (np.dtype(p.item).itemsize, struct.Struct(order + np.dtype(p.count).char) if p.count else None) for p in stored
    ]
    places: list[list[tuple[int, int]]] = [[] for _ in stored]  # of each row: where values begin, and their number
    position = offset
    for number in range(element.rows):
        for (size, counter), place in zip(steps, places, strict=True):
            length = 1
            if counter is not None:
                length = _list_length(path, buffer, position, counter, element, number)
                position += counter.size
            place.append((position, length))
            position += length * size
        if position > len(buffer):
            raise _truncated(path, element, number)
    whole = np.frombuffer(buffer, np.uint8)
    found: list[tuple[Array | None, Array]] = []
    for prop, (size, _), place in zip(stored, steps, places, strict=True):
        starts, counts = np.array(place, np.int64).reshape(-1, 2).T
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        first = np.repeat(starts, counts) + within * size
        values = whole[first[:, None] + np.arange(size)].view(order + prop.item)[:, 0]
        found.append((counts if prop.count else None, values))
    return found, position


def _list_length(path: Path, buffer: Buffer, position: int, counter: struct.Struct, element: _Element, row: int) -> int:
    """Read the number before a list."""
    if position + counter.size > len(buffer):
        raise _truncated(path, element, row)
    (found,) = counter.unpack_from(buffer, position)
    if not 0 <= found <= len(buffer) or found != int(found):
        raise Vo3dError(f"{path}: row {row} of {quoted(element.name)} has a list of length {found:g}: expected 0+")
    return int(found)


def _cast(path: Path, element: _Element, prop: _Property, values: Array) -> Array:
    """Convert values as they are stored, in a text all of them float64, to the type that the header says."""
    if prop.item[0] in "iu" and values.dtype.kind == "f":
        limits = np.iinfo(prop.item)
        bad = ~((values >= limits.min) & (values <= limits.max) & (values == np.trunc(values)))
        if bad.any():
            raise Vo3dError(
                f"{path}: {values[bad][0]:g} as {quoted(prop.name, 40)} of {quoted(element.name, 40)}: expected a "
                f"whole number from {limits.min} to {limits.max}, as its type {NAMES[prop.item]} says"
            )
    with np.errstate(over="ignore"):  # a float32 beyond its range becomes infinite, which readers of clouds refuse
        return values.astype(prop.item)  # native byte order, contiguous


def _truncated(path: Path, element: _Element, found: int) -> Vo3dError:
    return Vo3dError(
        f"{path}: truncated: {found} whole rows of {quoted(element.name)}, expected {element.rows}: copy or "
        "make it again"
    )


def _declaration(path: Path, name: str, column: Array) -> str:
    """Return the line of the header for one property."""
    code = column.dtype.str[1:]
    if code not in NAMES or column.ndim not in (1, 2) or (column.ndim == 2 and column.shape[1] > 255):
        raise Vo3dError(
            f"{path}: property {name!r} is {column.dtype} of shape {column.shape}: expected (rows,) or (rows, up to "
            f"255) of {', '.join(NAMES)}"
        )
    return f"property {NAMES[code]} {name}" if column.ndim == 1 else f"property list uchar {NAMES[code]} {name}"


def _table(columns: Mapping[str, Array], order: str) -> Array:
    """Return the rows of an element as they lie in a binary file."""
    fields: list[Any] = []
    for name, column in columns.items():
        code = order + column.dtype.str[1:]
        fields += [(name, code)] if column.ndim == 1 else [(f"{name} length", "u1"), (name, code, column.shape[1:])]
    table = np.empty(len(next(iter(columns.values()))), np.dtype(fields))
    for name, column in columns.items():
        table[name] = column
        if column.ndim == 2:
            table[f"{name} length"] = column.shape[1]
    return table


def _write_ascii(file: IO[bytes], table: Array) -> None:
    """Write the rows of an element as text, with the digits that bring each number back as it was."""
    kinds = [table.dtype[name] for name in table.dtype.names or ()]
    digits = [({"f4": "%.9g", "f8": "%.17g"}.get(kind.base.str[1:], "%d"),) * prod(kind.shape) for kind in kinds]
    np.savetxt(file, structured_to_unstructured(table, np.float64), " ".join(chain.from_iterable(digits)))

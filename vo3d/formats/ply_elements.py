"""PLY files as they are: elements of named properties, scalars or lists, in text or binary form, in whole arrays.

`vo3d.formats.ply` reads clouds and meshes out of them. Source: Turk, "The PLY polygon file format", 1994.
"""

import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vo3d.errors import Vo3dError
from vo3d.formats.files import atomic_path

PlyForm = Literal["ascii", "binary_little_endian", "binary_big_endian"]
Array = NDArray[Any]

# numpy's code of each type, under both of its names; written with the older one, which every reader knows
TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
NAMES = {code: name for name, code in reversed(TYPES.items())}
_ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
_STRUCT = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f8": "d"}
_END = re.compile(rb"^end_header[ \t]*\r?\n?", re.MULTILINE)


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
    """All elements of a PLY file: element name -> property name -> a column, scalars as arrays of their own type.

    Raises:
        Vo3dError: the file is absent, is no PLY, has a header that makes no sense (with its line), or holds more or
            less than its header says.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected a PLY file")
    content = path.read_bytes()
    form, elements, offset, lines = _read_header(path, content)
    buffer = content
    if form == "ascii":  # from here on a binary file whose numbers are all float64
        buffer, offset = _ascii_numbers(path, content[offset:], lines), 0
    found: dict[str, dict[str, Column]] = {}
    for element in elements:
        found[element.name], offset = _read_element(path, buffer, offset, element, form)
    if offset != len(buffer):
        rest, unit = ((len(buffer) - offset) // 8, "numbers") if form == "ascii" else (len(buffer) - offset, "bytes")
        rows = ", ".join(f"{element.rows} {element.name}" for element in elements)
        raise Vo3dError(
            f"{path}: {rest} {unit} left after the last row: expected as many rows as the header says ({rows}): make "
            "the file again"
        )
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
            file.write(_ascii_rows(table) if form == "ascii" else table.tobytes())


def _read_header(path: Path, content: bytes) -> tuple[PlyForm, list[_Element], int, int]:
    """Form, elements, where the data begin, and the number of lines of the header."""
    if not content.startswith((b"ply\n", b"ply\r\n")):
        raise Vo3dError(f"{path}: not a PLY file: expected 'ply' in the first line")
    end = _END.search(content)
    if end is None:
        raise Vo3dError(f"{path}: no end_header in {len(content)} bytes: the file is truncated or no PLY file")
    form: PlyForm | None = None
    elements: list[_Element] = []
    lines = content[: end.start()].decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        match line.split():
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian") as known, "1.0"]:
                form = known
            case ["element", name, rows] if rows.isdecimal() and all(name != element.name for element in elements):
                elements.append(_Element(name=name, rows=int(rows)))
            case ["property", "list", count, item, name] if elements and {count, item} <= TYPES.keys():
                _add(path, number, elements[-1], _Property(name=name, item=TYPES[item], count=TYPES[count]))
            case ["property", item, name] if elements and item in TYPES:
                _add(path, number, elements[-1], _Property(name=name, item=TYPES[item]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case ["ply"] if number == 1:
                pass
            case _:
                raise Vo3dError(f"{path}:{number}: {line.strip()[:80]!r}: expected a line of a PLY header, version 1.0")
    if form is None:
        raise Vo3dError(f"{path}: the header names no format: expected 'format binary_little_endian 1.0' or another")
    return form, elements, end.end(), len(lines) + 1


def _add(path: Path, number: int, element: _Element, new: _Property) -> None:
    if any(new.name == known.name for known in element.properties):
        raise Vo3dError(f"{path}:{number}: a second property {new.name!r} of {element.name!r}: expected each once")
    if new.count in ("f4", "f8"):
        raise Vo3dError(
            f"{path}:{number}: the length of the list {new.name!r} is no whole number: expected uchar or int"
        )
    element.properties.append(new)


def _ascii_numbers(path: Path, body: bytes, header_lines: int) -> bytes:
    """The numbers of a text as the bytes of an array of float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's way to say that a word is no number
        try:
            return np.fromstring(body, dtype="<f8", sep=" ").tobytes() if body.strip() else b""
        except (DeprecationWarning, ValueError):
            pass
    for number, line in enumerate(body.split(b"\n"), start=header_lines + 1):
        for token in line.split():
            try:
                float(token)
            except ValueError as error:
                text = token[:40].decode("utf-8", "replace")
                raise Vo3dError(f"{path}:{number}: {text!r} is not a number: correct the line") from error
    raise Vo3dError(f"{path}: the data are not numbers between blanks: expected a PLY file in text form")


def _read_element(
    path: Path, buffer: bytes, offset: int, element: _Element, form: PlyForm
) -> tuple[dict[str, Column], int]:
    """The columns of one element, and where the next one begins."""
    order = _ORDERS[form]
    if not element.rows or not element.properties:
        empty = {p.name: np.empty(0, p.item) for p in element.properties}
        lists = {p.name: ListColumn(counts=np.empty(0, np.int64), values=empty[p.name]) for p in element.properties}
        return {p.name: lists[p.name] if p.count else empty[p.name] for p in element.properties}, offset
    # what lies in the buffer: in a text all numbers are float64
    stored = [
        (p, "f8" if form == "ascii" else p.item, ("f8" if form == "ascii" else p.count) if p.count else None)
        for p in element.properties
    ]
    equal = _equal_rows(buffer, offset, element.rows, stored, order)
    if equal is not None:
        columns, end = equal
    elif any(count for _, _, count in stored):
        columns, end = _unequal_rows(path, buffer, offset, element, stored, order)
    else:
        size = sum(np.dtype(item).itemsize for _, item, _ in stored)
        raise _truncated(path, element, (len(buffer) - offset) // size)
    if form == "ascii":
        columns = {p.name: _cast_column(path, element, p, columns[p.name]) for p in element.properties}
    return columns, end


Stored = list[tuple[_Property, str, str | None]]


def _equal_rows(
    buffer: bytes, offset: int, num_rows: int, stored: Stored, order: str
) -> tuple[dict[str, Column], int] | None:
    """The columns when every row has lists as long as those of the first row, else None."""
    fields: list[Any] = []
    position = offset
    lengths: dict[str, int] = {}
    for prop, item, count in stored:
        if count is None:
            fields.append((prop.name, order + item))
            position += np.dtype(item).itemsize
            continue
        width = np.dtype(count).itemsize
        if position + width > len(buffer):
            return None
        (length,) = struct.unpack_from(order + _STRUCT[count], buffer, position)
        if not 0 <= length <= len(buffer) or length != int(length):
            return None
        lengths[prop.name] = int(length)
        fields += [(f"{prop.name} length", order + count), (prop.name, order + item, (int(length),))]
        position += width + int(length) * np.dtype(item).itemsize
    row = np.dtype(fields)
    end = offset + num_rows * row.itemsize
    if end > len(buffer):
        return None
    rows = np.frombuffer(buffer, row, num_rows, offset)
    if any(not (rows[f"{name} length"] == length).all() for name, length in lengths.items()):
        return None
    columns: dict[str, Column] = {}
    for prop, item, _ in stored:
        values = rows[prop.name].astype(item)  # native byte order, contiguous
        if prop.name in lengths:
            counts = np.full(num_rows, lengths[prop.name], np.int64)
            columns[prop.name] = ListColumn(counts=counts, values=values.reshape(-1))
        else:
            columns[prop.name] = values
    return columns, end


def _unequal_rows(
    path: Path, buffer: bytes, offset: int, element: _Element, stored: Stored, order: str
) -> tuple[dict[str, Column], int]:
    """The columns of rows with lists of any length: one walk to find where all is, then whole arrays."""
    steps = [
        (np.dtype(item).itemsize, struct.Struct(order + _STRUCT[count]) if count else None) for _, item, count in stored
    ]
    starts: list[list[int]] = [[] for _ in stored]
    counts: list[list[int]] = [[] for _ in stored]
    position = offset
    for number in range(element.rows):
        for (size, counter), start, count in zip(steps, starts, counts, strict=True):
            length = 1
            if counter is not None:
                if position + counter.size > len(buffer):
                    raise _truncated(path, element, number)
                (found,) = counter.unpack_from(buffer, position)
                position += counter.size
                if not 0 <= found <= len(buffer) or found != int(found):
                    raise Vo3dError(
                        f"{path}: row {number} of {element.name!r} has a list of length {found}: expected 0+"
                    )
                length = int(found)
            start.append(position)
            count.append(length)
            position += length * size
        if position > len(buffer):
            raise _truncated(path, element, number)
    whole = np.frombuffer(buffer, np.uint8)
    columns: dict[str, Column] = {}
    for (prop, item, counted), (size, _), start, count in zip(stored, steps, starts, counts, strict=True):
        lengths = np.array(count, np.int64)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        first = np.repeat(np.array(start, np.int64), lengths) + within * size
        values = whole[first[:, None] + np.arange(size)].view(order + item)[:, 0].astype(item)
        columns[prop.name] = ListColumn(counts=lengths, values=values) if counted else values
    return columns, position


def _cast_column(path: Path, element: _Element, prop: _Property, column: Column) -> Column:
    """A column of a text in the type that its header says."""
    if isinstance(column, ListColumn):
        return ListColumn(counts=column.counts, values=_cast(path, element, prop, column.values))
    return _cast(path, element, prop, column)


def _cast(path: Path, element: _Element, prop: _Property, values: Array) -> Array:
    if prop.item[0] in "iu":
        limits = np.iinfo(prop.item)
        bad = ~((values >= limits.min) & (values <= limits.max) & (values == np.trunc(values)))
        if bad.any():
            raise Vo3dError(
                f"{path}: {values[bad][0]:g} as {prop.name!r} of {element.name!r}: expected a whole number from "
                f"{limits.min} to {limits.max}, as its type {NAMES[prop.item]} says"
            )
    with np.errstate(over="ignore"):  # a float32 beyond its range becomes infinite, which readers of clouds refuse
        return values.astype(prop.item)


def _truncated(path: Path, element: _Element, found: int) -> Vo3dError:
    return Vo3dError(
        f"{path}: truncated: {found} whole rows of {element.name!r}, expected {element.rows}: copy or make it again"
    )


def _declaration(path: Path, name: str, column: Array) -> str:
    """The line of the header for one property."""
    code = column.dtype.str[1:]
    if code not in NAMES or column.ndim not in (1, 2) or (column.ndim == 2 and column.shape[1] > 255):
        raise Vo3dError(
            f"{path}: property {name!r} is {column.dtype} of shape {column.shape}: expected (rows,) or (rows, up to "
            f"255) of {', '.join(NAMES)}"
        )
    return f"property {NAMES[code]} {name}" if column.ndim == 1 else f"property list uchar {NAMES[code]} {name}"


def _table(columns: Mapping[str, Array], order: str) -> Array:
    """The rows of an element as they lie in a binary file."""
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


def _ascii_rows(table: Array) -> bytes:
    """The rows of an element as text, with the digits that bring each number back as it was."""
    form, flat = [], []
    for name in table.dtype.names or ():
        values = table[name].reshape(len(table), -1)
        digits = {"f4": "%.9g", "f8": "%.17g"}.get(values.dtype.str[1:], "%d")
        form += [digits] * values.shape[1]
        flat += [column.tolist() for column in values.T]
    line = " ".join(form) + "\n"
    return "".join(line % row for row in zip(*flat, strict=True)).encode()

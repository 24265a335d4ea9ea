"""Tables that say where each image of a folder was taken: metres, or degrees of latitude and longitude."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, first_few, quoted
from vo3d.formats.place_names import ImageNames
from vo3d.formats.text import FARTHEST, parse_number, read_lines
from vo3d.geometry.geodesy import earth_centred

EXPECTED = "a table of positions: a header such as name,easting,northing or name,lat,lon, and a row for each image"
_NAME = ("name", "file", "filename", "file_name", "image", "img", "image_name", "path", "key")
_AXES = {  # names of columns, for the first of the two axes and the second
    "metres": (
        ("easting", "east", "utm_east", "utm_x", "x", "tx"),
        ("northing", "north", "utm_north", "utm_y", "y", "ty"),
    ),
    "degrees": (("lat", "latitude"), ("lon", "lng", "long", "longitude")),
}
_THIRD = ("z", "tz")
NULL_ISLAND = 4.0  # degrees around latitude 0, longitude 0 in which there is sea alone


@dataclass(frozen=True, kw_only=True)
class PositionTable:
    """Say where images were taken, in the order of their names.

    Args:
        metres: of each image; NaN where the table has no row for it.
        on_earth: whether they are metres from the centre of the Earth, out of degrees, or those of the table.
        notes: a line on rows that are of no image.
    """

    metres: Float64[Tensor, "n 3"]
    on_earth: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Columns:
    """The columns of a table: those of the axes, and that of the name, where there is one."""

    axes: tuple[int, ...]
    name: int | None
    in_degrees: bool
    named: bool  # by a header


def read_position_table(path: Path, names: Sequence[str]) -> PositionTable:
    """Read where the images of these names were taken.

    Columns are parted by commas, semicolons, tabs or blanks. A header names them, in any order and among others: the
    image (`name`, `file`, ...), and `easting` with `northing` or `x` with `y` (and `z`), metres, or `lat` with `lon`,
    degrees, which become metres on the ellipsoid of the Earth. Without a header they are a name, x, y (and z), or x, y
    (and z) alone, metres. Without names the rows are those of all images, in their order. An altitude is not read:
    who looks for a place means the way along the ground.

    Raises:
        Vo3dError: with file and line, for a table that is none, an image that has two rows, another number of rows
            where they have no names, rows that are of no image at all, and degrees without a header that says so.
    """
    rows = _rows(path)
    columns, first = _columns(path, rows, ImageNames(names))
    rows = rows[first:]
    values = torch.tensor([_numbers(path, line, cells, columns) for line, cells in rows], dtype=torch.float64)
    if not len(values):
        raise Vo3dError(f"{path}: no row: expected {EXPECTED}")
    if columns.in_degrees:
        _check_degrees(path, [line for line, _ in rows], values)
    elif not columns.named:
        check_metres(values, str(path))
    metres = earth_centred(values) if columns.in_degrees else torch.nn.functional.pad(values, (0, 3 - values.shape[1]))
    if columns.name is None:
        if len(rows) != len(names):
            raise Vo3dError(
                f"{path}: {len(rows)} rows without names for {len(names)} images: expected one for each, or a column "
                "of names"
            )
        return PositionTable(metres=metres, on_earth=columns.in_degrees)
    return _placed(path, rows, columns.name, metres, names, columns.in_degrees)


def check_metres(values: Float64[Tensor, "n c"], whose: str) -> None:
    """Raise Vo3dError where numbers that nothing names are degrees: within 1 of each other, and far from 0 0.

    A room in metres lies around its origin, and 1 degree off latitude 0, longitude 0 there is sea alone.
    """
    plane = values[:, :2]
    low, high = plane.amin(dim=0), plane.amax(dim=0)
    limits = torch.tensor([[90.0, 180.0], [180.0, 90.0]], dtype=torch.float64)
    inside = bool((plane.abs().amax(dim=0) <= limits).all(dim=1).any())
    if len(plane) > 1 and inside and (high - low).max() < 1 and ((low + high) / 2).norm() > NULL_ISLAND:
        raise Vo3dError(
            f"{whose}: positions from {low[0]:.6g} {low[1]:.6g} to {high[0]:.6g} {high[1]:.6g} look like degrees: "
            "expected metres: name the columns in a table (lat,lon for degrees; x,y where these are metres)"
        )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of each line that has some, with its number; comments behind the first line are left out."""
    lines = [
        (number, line)
        for number, line in enumerate(read_lines(path, EXPECTED), start=1)
        if line.strip() and (number == 1 or not line.startswith("#"))
    ]
    if not lines:
        raise Vo3dError(f"{path}: empty: expected {EXPECTED}")
    parts = max(",;\t", key=lines[-1][1].count)
    if parts not in lines[-1][1]:
        return [(number, line.lstrip("# ").split() if number == 1 else line.split()) for number, line in lines]
    return [(number, [cell.strip() for cell in row]) for number, line in lines for row in _csv(line, parts)]


def _csv(line: str, parts: str) -> list[list[str]]:
    """Split a line by its commas but for those between quotation marks."""
    try:
        return list(csv.reader([line.removeprefix("#").strip(" \r\n")], delimiter=parts))
    except csv.Error:  # a field of a size that no name or number has
        return [[line]]


def _columns(path: Path, rows: list[tuple[int, list[str]]], images: ImageNames) -> tuple[_Columns, int]:
    """Tell the columns, and which row is the first of numbers."""
    header = [cell.strip("# ").lower() for cell in rows[0][1]]
    name = next((header.index(word) for word in _NAME if word in header), None)
    for unit, axes in _AXES.items():
        found = [next((header.index(word) for word in words if word in header), None) for words in axes]
        first, second = found
        if first is not None and second is not None:
            third = [header.index(word) for word in _THIRD if word in header and header[first] in {"x", "tx"}]
            return _Columns((first, second, *third[:1]), name, unit == "degrees", named=True), 1
    line, cells = rows[0]
    numbered = len(cells) > 2 and all(images.find(row[0]) is not None for _, row in rows)  # 000012 for 000012.jpg
    start = 1 if numbered or not _is_number(cells[0]) else 0
    if not 2 <= len(cells) - start <= 3 or not all(map(_is_number, cells[start:])):
        raise Vo3dError(f"{path}:{line}: {quoted(', '.join(rows[0][1]))}: expected {EXPECTED}")
    return _Columns(tuple(range(start, len(cells))), 0 if start else None, in_degrees=False, named=False), 0


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, line: int, cells: list[str], columns: _Columns) -> list[float]:
    """Read the numbers of a row."""
    if len(cells) <= max(*columns.axes, columns.name or 0):
        raise Vo3dError(f"{path}:{line}: {len(cells)} columns: expected {max(columns.axes) + 1} at least")
    found = [parse_number(cells[axis], path, line) for axis in columns.axes]
    if max(map(abs, found)) > FARTHEST:
        raise Vo3dError(f"{path}:{line}: a position of {max(found, key=abs):g}: expected metres on Earth")
    return found


def _check_degrees(path: Path, lines: list[int], values: Float64[Tensor, "n 2"]) -> None:
    """Raise Vo3dError for the first row that is no place on Earth."""
    outside = ((values[:, 0].abs() > 90) | (values[:, 1].abs() > 180)).nonzero()[:, 0].tolist()
    if outside:
        latitude, longitude = values[outside[0]].tolist()
        raise Vo3dError(
            f"{path}:{lines[outside[0]]}: latitude {latitude:g}, longitude {longitude:g}: expected degrees on Earth, "
            "or columns named easting and northing"
        )


def _placed(
    path: Path,
    rows: list[tuple[int, list[str]]],
    column: int,
    metres: Float64[Tensor, "m 3"],
    names: Sequence[str],
    on_earth: bool,
) -> PositionTable:
    """Give each image its row."""
    images = ImageNames(names)
    lines: dict[int, int] = {}
    found, strange = torch.full((len(names), 3), torch.nan, dtype=torch.float64), []
    for row, (line, cells) in enumerate(rows):
        place = images.find(cells[column])
        if place is None:
            strange.append(cells[column])
        elif place in lines:
            raise Vo3dError(
                f"{path}:{line}: a second row of {names[place]} after line {lines[place]}: expected one for each image"
            )
        else:
            lines[place] = line
            found[place] = metres[row]
    if not lines:
        raise Vo3dError(
            f"{path}: none of its {len(rows)} rows ({first_few(strange, 2)}) is of an image ({first_few(names, 2)}): "
            "expected their names"
        )
    note = f"{path}: {len(strange)} of {len(rows)} rows are of no image ({first_few(strange, 3)})"
    return PositionTable(metres=found, on_earth=on_earth, notes=(note,) if strange else ())

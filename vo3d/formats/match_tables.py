"""Tables that say which images of a database show the place of a query."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.place_names import ImageNames
from vo3d.formats.text import read_json, read_lines

_LIST = "a list with a list for each query, of the numbers or names of the images in the database that are right"
_PAIRS = "rows query,database, by names or by numbers from 0 on"
_PICKLED = "expected JSON or CSV: write it again with json.dump(table.tolist(), file)"


def read_match_table(path: Path, queries: Sequence[str], database: Sequence[str]) -> list[list[int]]:
    """Read for each query the places in the database that are right, ascending; none where it has none.

    JSON holds a list of lists, one a query. CSV holds a pair a line, with a header or without; numbers are places, from
    0 on, in the order of the images. NumPy's files of lists are pickles, which can run programs, and are refused.

    Args:
        path: of the table, .json or .csv.
        queries, database: names of the images, as paths below their folder.

    Raises:
        Vo3dError: with file and line or row, for a table that is none, or that names an image that is not there.
    """
    if path.suffix == ".npy":
        raise Vo3dError(f"{path}: lists in a file of NumPy are pickles, which can run programs: {_PICKLED}")
    if path.suffix == ".json":
        return _from_json(path, queries, database)
    return _from_pairs(path, queries, database)


def _from_json(path: Path, queries: Sequence[str], database: Sequence[str]) -> list[list[int]]:
    content = read_json(path, _LIST)
    if not isinstance(content, list) or not all(isinstance(row, list) for row in content):
        raise Vo3dError(f"{path}: no list of lists: expected {_LIST}")
    if len(content) != len(queries):
        raise Vo3dError(f"{path}: {len(content)} lists for {len(queries)} queries: expected {_LIST}")
    images = ImageNames(database)
    return [
        sorted({_place(path, f"query {query}", one, database, images) for one in row})
        for query, row in enumerate(content)
    ]


def _from_pairs(path: Path, queries: Sequence[str], database: Sequence[str]) -> list[list[int]]:
    lines = read_lines(path, _PAIRS)
    rows = [(number, _cells(line)) for number, line in enumerate(lines, start=1) if line.strip()]
    if short := next((line for line, cells in rows if len(cells) != 2), None):
        raise Vo3dError(f"{path}:{short}: {quoted(lines[short - 1])}: expected {_PAIRS}")
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    order = 1 if header and header[0].startswith(("database", "db", "ref")) else 0  # the column of the query
    if order or (header and header[0].startswith("quer") and ImageNames(queries).find(rows[0][1][0]) is None):
        rows = rows[1:]
    if not rows:
        raise Vo3dError(f"{path}: no pair: expected {_PAIRS}")
    columns = [
        _column(path, [(line, cells[at]) for line, cells in rows], names)
        for at, names in ((order, queries), (1 - order, database))
    ]
    table: list[set[int]] = [set() for _ in queries]
    for query, place in zip(*columns, strict=True):
        table[query].add(place)
    return [sorted(row) for row in table]


def _cells(line: str) -> list[str]:
    """Split a line at its comma, semicolon, tab or blank."""
    parts = next((one for one in ",;\t" if one in line), " ")
    try:
        return [cell.strip() for cell in next(csv.reader([line.strip()], delimiter=parts, skipinitialspace=True))]
    except csv.Error:  # a field of a size that no name has
        return []


def _column(path: Path, cells: list[tuple[int, str]], names: Sequence[str]) -> list[int]:
    """Read a column of names, or of numbers alone; images called by numbers that are not their places are doubtful."""
    images = ImageNames(names)
    if all(cell.isdecimal() for _, cell in cells):
        for line, cell in cells:
            named = images.find(cell)
            if named is not None and len(cell) < 19 and named != int(cell):
                raise Vo3dError(
                    f"{path}:{line}: {cell} may be {names[named]}, or image {cell} from 0 on: write names with suffixes"
                )
        return [_place(path, f"line {line}", int(cell[:19]), names, images) for line, cell in cells]
    return [_place(path, f"line {line}", cell, names, images) for line, cell in cells]


def _place(path: Path, where: str, found: Any, names: Sequence[str], images: ImageNames) -> int:
    """Return the place of an image that a number or a name means."""
    place = images.find(found) if isinstance(found, str) else found
    if type(place) is int and 0 <= place < len(names):
        return place
    expected = f"a number from 0 to {len(names) - 1}, or the name of one image, such as {names[0]}"
    raise Vo3dError(f"{path}: {where}: {quoted(found)} is no image: expected {expected}")

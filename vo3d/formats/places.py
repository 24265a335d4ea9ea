"""Tables of found places: for each query the nearest images of a database, right or wrong; matrices of distances."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted, system_fault
from vo3d.formats.files import atomic_path, write_whole
from vo3d.formats.text import parse_number, parse_whole, read_text
from vo3d.metrics.retrieval import NEVER

_FIRST = ("query", "num_right", "first_right")
_EACH = ("image", "index", "squared_distance", "right")  # with the rank behind it, from 1 on
_EXPECTED = "a table that the task retrieval of vo3d evaluate wrote"
_ARRAYS = ("squared", "query", "database", "matches", "sizes", "recordings")


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundPlaces:
    """The queries of one set, each with the nearest images of the database.

    Args:
        queries: their names, see `Recording.names`.
        num_right: how many images of the database are right for each query.
        first_right: rank of the first right image, from 1 on; `vo3d.metrics.retrieval.NEVER` where none was found.
        images: names of the nearest images, nearest first; a list is shorter where fewer were found.
        index: their places in the database; -1 behind the last.
        squared: squared distances of the descriptors; infinite behind the last.
        right: whether they are right.
    """

    queries: Sequence[str]
    num_right: Int64[Tensor, " q"]
    first_right: Int64[Tensor, " q"]
    images: Sequence[Sequence[str]]
    index: Int64[Tensor, "q k"]
    squared: Float64[Tensor, "q k"]
    right: Bool[Tensor, "q k"]


def write_places(path: Path, found: FoundPlaces) -> None:
    """Write a table of comma-separated values with a header, one row a query; `first_right` is empty for never.

    Raises Vo3dError when the system refuses.
    """
    rows: list[list[object]] = [
        [*_FIRST, *(f"{what}_{rank}" for rank in range(1, found.index.shape[1] + 1) for what in _EACH)]
    ]
    for row, query in enumerate(found.queries):
        first = int(found.first_right[row])
        line: list[object] = [query, int(found.num_right[row]), "" if first == NEVER else first]
        cells = zip(found.index[row].tolist(), found.squared[row].tolist(), found.right[row].tolist(), strict=True)
        for rank, (index, squared, right) in enumerate(cells):
            line += [found.images[row][rank], index, squared, int(right)] if index >= 0 else [""] * len(_EACH)
        rows.append(line)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_whole(path, text.getvalue())


def read_places(path: Path) -> FoundPlaces:
    """Read what `write_places` wrote.

    Raises Vo3dError when the file is missing or is no such table, with the line of what is wrong.
    """
    reader = csv.reader(io.StringIO(read_text(path, _EXPECTED)))
    rows: list[tuple[int, list[str]]] = []
    try:
        rows += ((reader.line_num, row) for row in reader)
    except csv.Error as error:
        raise Vo3dError(f"{path}:{reader.line_num + 1}: {error}: expected {_EXPECTED}") from error
    header = rows[0][1] if rows else []
    depth = (len(header) - len(_FIRST)) // len(_EACH)
    if header != [*_FIRST, *(f"{what}_{rank}" for rank in range(1, depth + 1) for what in _EACH)] or depth < 1:
        raise Vo3dError(f"{path}:1: columns {quoted(','.join(header))}: expected {_EXPECTED}")
    if len(rows) < 2:
        raise Vo3dError(f"{path}: no query in it: expected {_EXPECTED}")
    num_right, first_right = [], []
    images: list[list[str]] = []
    index: list[list[int]] = []
    squared: list[list[float]] = []
    right: list[list[int]] = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise Vo3dError(f"{path}:{line}: {len(row)} values: expected {len(header)}: evaluate again")
        num_right.append(parse_whole(row[1], path, line, "num_right"))
        first_right.append(parse_whole(row[2], path, line, "first_right") if row[2] else NEVER)
        cells = [row[at : at + len(_EACH)] for at in range(len(_FIRST), len(header), len(_EACH))]
        images.append([cell[0] for cell in cells if cell[1]])
        index.append([parse_whole(cell[1], path, line, "index") if cell[1] else -1 for cell in cells])
        squared.append([parse_number(cell[2], path, line) if cell[1] else torch.inf for cell in cells])
        right.append([parse_whole(cell[3], path, line, "right") if cell[1] else 0 for cell in cells])
    return FoundPlaces(
        queries=[row[0] for _, row in rows[1:]],
        num_right=torch.tensor(num_right),
        first_right=torch.tensor(first_right),
        images=images,
        index=torch.tensor(index),
        squared=torch.tensor(squared, dtype=torch.float64),
        right=torch.tensor(right) > 0,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Distances:
    """Squared distances between queries and database, of all or of some of both, with the matches that are right.

    Args:
        squared: one row a query.
        query: which queries the rows are.
        database: which images of the database the columns are.
        matches: of these queries all pairs of a query and an image of the database that is right for it.
        sizes: how many queries and images of the database there are.
        recordings: names of the recordings of the queries and of the database.
    """

    squared: Float32[Tensor, "a b"]
    query: Int64[Tensor, " a"]
    database: Int64[Tensor, " b"]
    matches: Int64[Tensor, "p 2"]
    sizes: tuple[int, int]
    recordings: tuple[str, str]


def write_distances(path: Path, found: Distances) -> None:
    """Write an .npz file; Vo3dError when the system refuses."""
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            squared=found.squared.half().numpy(),
            query=found.query.numpy(),
            database=found.database.numpy(),
            matches=found.matches.numpy(),
            sizes=np.array(found.sizes),
            recordings=np.array(found.recordings),
        )


def read_distances(path: Path) -> Distances:
    """Read what `write_distances` wrote, in half precision; Vo3dError when the file is missing or none of these."""
    expected = "distances that the task retrieval of vo3d evaluate wrote"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            squared, *rest = (file[name] for name in _ARRAYS)
    except OSError as error:
        raise Vo3dError(f"cannot read {system_fault(error)}") from error
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise Vo3dError(f"{path}: damaged or another file: expected {expected}: evaluate again") from error
    query, database, matches = (torch.from_numpy(one) for one in rest[:3])
    first, second = (str(name) for name in rest[4])
    return Distances(
        squared=torch.from_numpy(squared).float(),
        query=query,
        database=database,
        matches=matches,
        sizes=(int(rest[3][0]), int(rest[3][1])),
        recordings=(first, second),
    )

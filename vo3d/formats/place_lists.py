"""Published lists of images to recognise places by: NetVLAD's structures of MATLAB, Patch-NetVLAD's arrays and texts.

Source: https://github.com/Relja/netvlad, README_more.md and datasets/dbBase.m; https://github.com/QVPR/Patch-NetVLAD.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, shown
from vo3d.formats.matlab_tree import read_tree
from vo3d.formats.text import FARTHEST, read_lines

_STRUCTURE = "dbStruct"
_ARRAYS = "arrays utmDb and utmQ (n x 2) and posDistThr"
_FAULTS = (
    *(ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, MemoryError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, kw_only=True)
class PlaceLists:
    """The images of a set, where they were taken, and how near is right.

    Args:
        database, queries: paths of the images below their folders.
        database_metres, query_metres: to the east and to the north, and 0.
        metres: within which an image is right.
        database_time, query_time: when the images were taken, as the set counts; None where it does not tell.
    """

    database: list[str]
    queries: list[str]
    database_metres: Float64[Tensor, "n 3"]
    query_metres: Float64[Tensor, "m 3"]
    metres: float
    database_time: Float64[Tensor, " n"] | None = None
    query_time: Float64[Tensor, " m"] | None = None


def read_place_structure(path: Path) -> PlaceLists:
    """Read the structure `dbStruct` of Pittsburgh, Tokyo 24/7 or Tokyo Time Machine, or one made like them.

    Raises Vo3dError for a file that is damaged, that lacks a field, or whose fields are of unequal lengths.
    """
    expected = f"{_STRUCTURE} with dbImageFns, utmDb, qImageFns, utmQ and posDistThr"
    tree = read_tree(path, expected)
    fields = tree.get(_STRUCTURE)
    if not isinstance(fields, dict):
        raise Vo3dError(f"{path}: holds {shown(', '.join(tree)) or 'nothing'}: expected {expected}")
    database, queries = (_names(path, fields, name) for name in ("dbImageFns", "qImageFns"))
    times = [
        _numbers(path, fields[name], name, (1, len(names)))[0] if name in fields else None
        for name, names in (("dbTimeStamp", database), ("qTimeStamp", queries))
    ]
    return PlaceLists(
        database=database,
        queries=queries,
        database_metres=_metres(_numbers(path, fields.get("utmDb"), "utmDb", (2, len(database))).T),
        query_metres=_metres(_numbers(path, fields.get("utmQ"), "utmQ", (2, len(queries))).T),
        metres=_limit(path, _numbers(path, fields.get("posDistThr"), "posDistThr", (1, 1))),
        database_time=None if times[0] is None else torch.tensor(times[0]),
        query_time=None if times[1] is None else torch.tensor(times[1]),
    )


def read_place_arrays(path: Path, database: Path, queries: Path) -> PlaceLists:
    """Read positions in NumPy's arrays, whose images two text files name, one a line.

    Raises Vo3dError for a file that is damaged or holds pickles, and for another number of positions than of images.
    """
    names = [_lines(one) for one in (database, queries)]
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected {_ARRAYS}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:  # it leaves files open on faults
            found = {name: np.asarray(content[name]) for name in ("utmDb", "utmQ", "posDistThr")}
    except _FAULTS as error:
        raise Vo3dError(f"{path}: not a whole file of {_ARRAYS} ({shown(str(error))}): copy it again") from error
    rows = [
        _numbers(path, found[name], name, (len(images), 2))
        for name, images in zip(("utmDb", "utmQ"), names, strict=True)
    ]
    limit = _numbers(path, found["posDistThr"].reshape(1, -1), "posDistThr", (1, 1))
    return PlaceLists(
        database=names[0],
        queries=names[1],
        database_metres=_metres(rows[0]),
        query_metres=_metres(rows[1]),
        metres=_limit(path, limit),
    )


def _names(path: Path, fields: dict[str, Any], name: str) -> list[str]:
    found = fields.get(name)
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one for one in found):
        raise Vo3dError(f"{path}: {name} is no list of names: expected cells of text, one for each image")
    return [one.replace("\\", "/").removeprefix("./") for one in found]


def _lines(path: Path) -> list[str]:
    lines = [line.strip().replace("\\", "/").removeprefix("./") for line in read_lines(path, "names of images")]
    names = [line for line in lines if line]
    if not names:
        raise Vo3dError(f"{path}: empty: expected names of images, one a line")
    return names


def _numbers(path: Path, found: Any, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Check numbers of a field; a row may come as a column."""
    right = isinstance(found, np.ndarray) and found.dtype.kind in "fiu"
    if right and 1 in shape and found.size == max(shape):
        found = found.reshape(shape)
    if not right or found.shape != shape or not (np.abs(found.astype(np.float64)) <= FARTHEST).all():
        what = f"of shape {found.shape}" if isinstance(found, np.ndarray) else "missing, or no numbers"
        raise Vo3dError(f"{path}: {name} is {what}: expected finite numbers {shape[0]}x{shape[1]}, as of its images")
    return np.asarray(found.astype(np.float64))


def _metres(plane: np.ndarray) -> Float64[Tensor, "n 3"]:
    return torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(plane)), (0, 1))


def _limit(path: Path, found: np.ndarray) -> float:
    limit = float(found.reshape(()))
    if limit <= 0:
        raise Vo3dError(f"{path}: posDistThr is {limit:g}: expected metres above 0")
    return limit

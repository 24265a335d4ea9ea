"""Matrices of similarity between queries and a database, as other programs write them."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, first_few, system_fault
from vo3d.formats.text import parse_number, read_content

SUFFIXES = (".npz", ".npy", ".csv")


def read_similarity(path: Path, key: str | None = None) -> Float64[Tensor, "q n"]:
    """Read a matrix with a row for each query and a column for each image of the database; higher is more alike.

    Args:
        path: .npy, .npz, or .csv: numbers with commas, without a header.
        key: of the array in a .npz file; None: its only one of two axes.

    Raises:
        Vo3dError: the file is missing, damaged or of another kind, the array is no matrix of numbers, or one of them is
            NaN or infinite.
    """
    if path.suffix not in SUFFIXES:
        raise Vo3dError(f"{path}: expected a matrix of similarity in a file of {', '.join(SUFFIXES)}")
    values = _read_csv(path) if path.suffix == ".csv" else _read_numpy(path, key)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise Vo3dError(
            f"{path}: {values.dtype} of shape {values.shape}: expected numbers with a row for each query and a column "
            "for each image of the database"
        )
    found = torch.from_numpy(values.astype(np.float64))
    if len(bad := (~found.isfinite()).nonzero()):
        row, column = bad[0].tolist()
        raise Vo3dError(f"{path}: row {row}, column {column} is {found[row, column].item()}: expected a finite number")
    return found


def _read_csv(path: Path) -> np.ndarray:
    rows: list[list[float]] = []
    for line, text in read_content(path, "a matrix of numbers with commas"):
        rows.append([parse_number(token.strip(), path, line) for token in text.split(",")])
        if len(rows[-1]) != len(rows[0]):
            raise Vo3dError(f"{path}:{line}: {len(rows[-1])} values: expected {len(rows[0])} as in the first row")
    return np.array(rows)


def _read_numpy(path: Path, key: str | None) -> np.ndarray:
    try:
        with path.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            arrays: dict[str, np.ndarray] = {name: found[name] for name in found.files}
    except OSError as error:
        raise Vo3dError(f"cannot read {system_fault(error)}") from error
    except (ValueError, EOFError, BadZipFile) as error:
        raise Vo3dError(f"{path}: damaged, or not of numpy without pickles: write it anew by numpy.save") from error
    matrices = [name for name, array in arrays.items() if array.ndim == 2] if key is None else [key]
    if len(matrices) != 1 or matrices[0] not in arrays:
        raise Vo3dError(
            f"{path} holds {first_few(arrays) or 'nothing'}: expected {key or 'one matrix alone'}: name it as key"
        )
    return arrays[matrices[0]]

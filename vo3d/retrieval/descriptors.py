"""Descriptors on disk: more of them than memory holds, in half precision, read in chunks."""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vo3d.errors import Vo3dError, system_fault
from vo3d.formats.files import atomic_path


class Descriptors:
    """Rows of half precision in the files of a folder, in the order in which they were added.

    The files are `000000.npy`, `000001.npy`, ...; hidden files, such as what a killed program left half written, are
    passed over. One program at a time may add rows (`vo3d.formats.files.hold_folder`).

    Args:
        folder: holds a file for each call of `append`, or nothing yet.

    Raises:
        Vo3dError: a file is damaged, missing, of another width than the first, or of another kind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._dim = 0
        self._starts = [0]  # number of the first row of each file, and of all rows
        try:
            found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            found = []
        except OSError as error:
            raise Vo3dError(f"cannot read {system_fault(error)}") from error
        for number, name in enumerate(found):
            if name != self._path(number).name:
                raise Vo3dError(
                    f"{folder / name}: expected {self._path(number).name}, as descriptors are numbered without a gap: "
                    "move what is not of them, or build the folder anew"
                )
            self._add(self._open(number))

    def __len__(self) -> int:
        """Count the rows."""
        return self._starts[-1]

    @property
    def dim(self) -> int:
        """Tell the width of a row; 0 of none."""
        return self._dim

    def append(self, rows: Float[Tensor, "m c"]) -> None:
        """Add rows behind the others, as a file that is whole or absent.

        Raises:
            Vo3dError: there is no row, the width is another, a value is NaN or beyond half precision (65504), or the
                file cannot be written.
        """
        if not rows.numel() or self._dim not in (0, rows.shape[1]):
            raise Vo3dError(
                f"{self.folder}: {len(rows)} rows of {rows.shape[-1]} values to add: expected at least one, of "
                f"{self._dim or 'some'} values as the others"
            )
        half = rows.detach().to("cpu", torch.float16)
        if bad := (~half.isfinite().all(1)).nonzero()[:1].flatten().tolist():
            raise Vo3dError(
                f"{self.folder}: row {bad[0]} to add has values that are NaN or beyond 65504, the largest number of "
                "half precision: expected descriptors of about unit length"
            )
        path = self._path(len(self._starts) - 1)
        if path.exists():
            raise Vo3dError(f"{path}: another program added rows meanwhile: open the folder again")
        with atomic_path(path) as temporary:
            np.save(temporary, half.numpy())
        self._add(half.numpy())

    def chunks(self, most: int = 16384) -> Iterator[tuple[int, Float32[Tensor, "m c"]]]:
        """Yield the number of the first row and at most `most` rows, in their order."""
        for first in range(0, len(self), most):
            yield first, self.rows(first, min(first + most, len(self)))

    def rows(self, first: int, stop: int) -> Float32[Tensor, "m c"]:
        """Read the rows from `first` to before `stop`."""
        return self.take(torch.arange(first, stop))

    def take(self, index: Int64[Tensor, " m"]) -> Float32[Tensor, "m c"]:
        """Read the rows with these numbers, which ascend.

        Raises:
            IndexError: there is no such row, or a number is smaller than the one before.
            Vo3dError: a file was damaged since the folder was opened.
        """
        numbers = index.numpy()
        if len(numbers) and (numbers[0] < 0 or numbers[-1] >= len(self) or (np.diff(numbers) < 0).any()):
            raise IndexError(f"rows {numbers[0]} to {numbers[-1]} of {len(self)}: expected ascending ones of these")
        read = torch.empty(len(numbers), self._dim)
        start = 0
        while start < len(numbers):
            which = bisect_right(self._starts, int(numbers[start])) - 1
            stop = int(np.searchsorted(numbers, self._starts[which + 1]))
            inside = numbers[start:stop] - self._starts[which]
            whole = inside[-1] - inside[0] == len(inside) - 1 and (np.diff(inside) == 1).all()  # a slice is not copied
            mapped = self._open(which)
            read[start:stop] = torch.from_numpy(
                np.array(mapped[inside[0] : inside[-1] + 1] if whole else mapped[inside])
            )
            start = stop
        return read

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.npy"

    def _add(self, rows: np.ndarray) -> None:
        self._dim = rows.shape[1]
        self._starts.append(len(self) + len(rows))

    def _open(self, number: int) -> np.memmap:
        """Map a file; it is closed as soon as nobody looks at the array, since systems allow few open files."""
        path = self._path(number)
        try:
            rows: np.memmap = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise Vo3dError(f"cannot read {system_fault(error)}") from error
        except (ValueError, EOFError) as error:
            raise Vo3dError(f"{path}: damaged or no file of descriptors: build the folder anew") from error
        if rows.dtype != np.float16 or rows.ndim != 2 or path.stat().st_size != rows.offset + rows.nbytes:
            raise Vo3dError(
                f"{path}: {rows.dtype} of shape {rows.shape} in {path.stat().st_size} bytes: expected a table of "
                "float16: build the folder anew"
            )
        if self._dim not in (0, rows.shape[1]):
            raise Vo3dError(f"{path}: rows of {rows.shape[1]} values: expected {self._dim} as in the files before")
        return rows

"""Descriptors on disk: more of them than memory holds, in half precision, read in chunks."""

from collections.abc import Iterator
from pathlib import Path

from jaxtyping import Float, Float32
from torch import Tensor


class Descriptors:
    """Rows of half precision in the files of a folder, in the order in which they were added.

    Args:
        folder: holds a file for each call of `append`, or nothing yet.

    Raises:
        Vo3dError: a file is damaged, or of another width than the first.
    """

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        """Count the rows."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Tell the width of a row; 0 of none."""
        raise NotImplementedError

    def append(self, rows: Float[Tensor, "m c"]) -> None:
        """Add rows behind the others, as a file that is whole or absent."""
        raise NotImplementedError

    def chunks(self, most: int = 16384) -> Iterator[tuple[int, Float32[Tensor, "m c"]]]:
        """Yield the number of the first row and at most `most` rows, file after file."""
        raise NotImplementedError

    def rows(self, first: int, stop: int) -> Float32[Tensor, "m c"]:
        """Read some rows."""
        raise NotImplementedError

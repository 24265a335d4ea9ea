"""The lists of images of TUM RGB-D: `rgb.txt` and `depth.txt`, lines of a stamp in seconds and a file.

Source: Sturm, Engelhard, Endres, Burgard, Cremers, "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012,
and the page of its file formats.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.text import parse_number, read_content
from vo3d.formats.trajectory_rows import unit_of

_EXPECTED = "lines of a stamp in seconds and a file, such as 1305031102.175304 rgb/1305031102.175304.png"


@dataclass(frozen=True, kw_only=True)
class StampedFiles:
    """The files of a list, each with the time it was taken, seconds."""

    time: Float64[Tensor, " n"]
    files: list[Path]


def read_stamped_files(path: Path) -> StampedFiles:
    """Read `rgb.txt` or `depth.txt`; the files are below the folder of the list.

    Raises Vo3dError with file and line for a wrong number of columns, a stamp that is none or does not ascend, a file
    elsewhere; for stamps in another unit, and for no line.
    """
    stamps: list[float] = []
    files: list[Path] = []
    for number, line in read_content(path, _EXPECTED):
        tokens = line.split()
        name = PurePosixPath(tokens[-1])
        if len(tokens) != 2 or name.is_absolute() or ".." in name.parts:
            raise Vo3dError(f"{path}:{number}: found {quoted(line.strip())}: expected {_EXPECTED}")
        stamp = parse_number(tokens[0], path, number)
        if stamps and stamp <= stamps[-1]:
            raise Vo3dError(
                f"{path}:{number}: time stamp {tokens[0]} follows {stamps[-1]:.6f}: expected ascending ones: sort the "
                "lines and keep one of equal ones"
            )
        stamps.append(stamp)
        files.append(path.parent / name)
    if not stamps:
        raise Vo3dError(f"{path}: is empty: expected {_EXPECTED}")
    if (unit := unit_of(np.array(stamps))) not in {"s", None}:
        raise Vo3dError(f"{path}: time stamps from {stamps[0]:.0f} on look like {unit}: expected seconds: divide them")
    return StampedFiles(time=torch.tensor(stamps, dtype=torch.float64), files=files)

"""Say where the images of a folder were taken: by their names, a table beside them, or GPS in their headers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.formats.images import image_position
from vo3d.formats.place_names import check_one_zone, utm_of
from vo3d.formats.position_tables import check_metres, read_position_table
from vo3d.geometry.geodesy import earth_centred

TABLES = ("gps.csv", "positions.csv", "gps.txt", "positions.txt")
BY_NAMES = "the names of the images (@utm_east@utm_north@)"


@dataclass(frozen=True)
class ImageFolder:
    """A folder and the names of its images, below it."""

    path: Path
    names: list[str]


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Say where the images of a folder were taken.

    Args:
        metres: of each image; NaN where nothing tells.
        frame: in which they are: that of a map, of the Earth, or of a file of poses.
        source: of them, for people.
        notes: on them, a line each.
    """

    metres: Float64[Tensor, "n 3"]
    frame: Literal["map", "earth", "poses"]
    source: str
    notes: tuple[str, ...] = ()


def find_positions_of(folder: ImageFolder) -> Positions | None:
    """Read the positions of a folder's images from the first of names, a table in it, and headers that tells some.

    Raises Vo3dError for a table that is damaged or of other images, and for degrees given as metres.
    """
    table = next((folder.path / name for name in TABLES if (folder.path / name).is_file()), None)
    by_table = None if table is None else positions_by_table(table, folder.names)
    return positions_by_names(folder) or by_table or positions_by_headers(folder)


def positions_by_names(folder: ImageFolder) -> Positions | None:
    """Read positions out of names; None where no name has one, Vo3dError for degrees and for two zones of UTM."""
    found = [utm_of(name) for name in folder.names]
    told = [one for one in found if one is not None]
    if not told:
        return None
    check_metres(torch.tensor(told, dtype=torch.float64), f"{folder.path}: the names of the images")
    check_one_zone(folder.names, str(folder.path))
    rows = [(*one, 0.0) if one is not None else (torch.nan,) * 3 for one in found]
    return Positions(metres=torch.tensor(rows, dtype=torch.float64), frame="map", source=BY_NAMES)


def positions_by_table(path: Path, names: list[str], mine: slice = slice(None)) -> Positions | None:
    """Read the positions of the images with these names out of a table, and keep those of `mine`; None without one."""
    table = read_position_table(path, names)
    metres = table.metres[mine]
    if bool(metres.isnan().all()):
        return None
    frame: Literal["earth", "map"] = "earth" if table.on_earth else "map"
    return Positions(metres=metres, frame=frame, source=str(path), notes=table.notes)


def positions_by_headers(folder: ImageFolder) -> Positions | None:
    """Read GPS out of the EXIF headers of all images; None where no header has it."""
    found = [image_position(folder.path / name) for name in folder.names]
    if not any(found):
        return None
    degrees = torch.tensor([one or (torch.nan, torch.nan) for one in found], dtype=torch.float64)
    return Positions(metres=earth_centred(degrees), frame="earth", source="GPS in the EXIF headers of the images")

"""Find where the images of two folders were taken: names, tables, poses and headers that say so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.image_poses import TRAJECTORIES, posed_image_files
from vo3d.errors import Vo3dError
from vo3d.formats.images import image_position
from vo3d.formats.place_names import utm_of
from vo3d.formats.position_tables import check_metres, read_position_table
from vo3d.geometry.geodesy import earth_centred

PositionSource = Literal["auto", "names", "table", "poses", "exif"]

TABLES = ("gps.csv", "positions.csv", "gps.txt", "positions.txt")
MAX_DIFFERENCE = 0.02  # seconds between an image and its pose


@dataclass(frozen=True)
class ImageFolder:
    """A folder and the names of its images, below it."""

    path: Path
    names: list[str]


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Where the images of a folder were taken.

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


def find_positions(
    root: Path, database: ImageFolder, queries: ImageFolder, source: PositionSource, *, headers: bool
) -> tuple[Positions, Positions] | None:
    """Find positions of both folders by one source, the first that has some, or else by one source each.

    Args:
        root: where a table of both may lie.
        database, queries: the folders.
        source: the one to take, or "auto".
        headers: whether "auto" looks into the headers of all images where nothing else tells.

    Returns None where one of the folders has none.
    Raises Vo3dError for a file that is damaged or of other images, and for positions that do not go together.
    """
    chosen = [one for one in _SOURCES if source in {one, "auto"} and (one != "exif" or headers or source == "exif")]
    first: list[Positions | None] = [None, None]
    for one in chosen:
        found = [_SOURCES[one](root, folder, (database, queries)) for folder in (database, queries)]
        if found[0] is not None and found[1] is not None and found[0].frame == found[1].frame:
            return found[0], found[1]
        first = [old or new for old, new in zip(first, found, strict=True)]
    if first[0] is None or first[1] is None:
        return None
    if first[0].frame != first[1].frame:
        raise Vo3dError(
            f"{root}: positions of the database by {first[0].source} and of the queries by {first[1].source}: expected "
            "both in metres of one map, or both in degrees: add a table for both"
        )
    return first[0], first[1]


def others_there(root: Path, folder: ImageFolder, taken: Positions) -> list[str]:
    """Name the other sources of positions that are there, without reading them."""
    files = [place / name for place, names in _candidates(root, folder.path) for name in names]
    there = [str(path) for path in files if path.is_file() and str(path) != taken.source]
    named = ["the names of the images"] if utm_of(folder.names[0]) and taken.source != _BY_NAMES else []
    return named + there


def _candidates(root: Path, folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    yield folder, (*TABLES, *TRAJECTORIES)
    yield root, TABLES


_BY_NAMES = "the names of the images (@utm_east@utm_north@)"


def _by_names(root: Path, folder: ImageFolder, both: tuple[ImageFolder, ImageFolder]) -> Positions | None:
    found = [utm_of(name) for name in folder.names]
    told = [one for one in found if one is not None]
    if not told:
        return None
    check_metres(torch.tensor(told, dtype=torch.float64), f"{folder.path}: the names of the images")
    rows = [(*one, 0.0) if one is not None else (torch.nan,) * 3 for one in found]
    return Positions(metres=torch.tensor(rows, dtype=torch.float64), frame="map", source=_BY_NAMES)


def _by_table(root: Path, folder: ImageFolder, both: tuple[ImageFolder, ImageFolder]) -> Positions | None:
    """Read the table in the folder, or the one beside it, whose rows are of both folders."""
    inside = next((folder.path / name for name in TABLES if (folder.path / name).is_file()), None)
    beside = next((root / name for name in TABLES if (root / name).is_file()), None)
    path = inside or beside
    if path is None:
        return None
    if inside is not None:
        names, mine = folder.names, slice(None)
    else:
        names = [f"{one.path.name}/{name}" for one in both for name in one.names]
        count = len(both[0].names)
        mine = slice(count) if folder is both[0] else slice(count, None)
    table = read_position_table(path, names)
    metres = table.metres[mine]
    if bool(metres.isnan().all()):
        return None
    frame: Literal["earth", "map"] = "earth" if table.on_earth else "map"
    return Positions(metres=metres, frame=frame, source=str(path), notes=table.notes)


def _by_poses(root: Path, folder: ImageFolder, both: tuple[ImageFolder, ImageFolder]) -> Positions | None:
    path = next((folder.path / name for name in TRAJECTORIES if (folder.path / name).is_file()), None)
    if path is None:
        return None
    found = posed_image_files(folder.path, poses=path, format=None, max_difference=MAX_DIFFERENCE)
    places = {image.relative_to(folder.path).as_posix(): row for row, image in enumerate(found.images)}
    metres = torch.full((len(folder.names), 3), torch.nan, dtype=torch.float64)
    for place, name in enumerate(folder.names):
        if name in places:
            metres[place] = found.world_T_cam[places[name], :3, 3]
    return Positions(metres=metres, frame="poses", source=str(path), notes=tuple(found.notes))


def _by_headers(root: Path, folder: ImageFolder, both: tuple[ImageFolder, ImageFolder]) -> Positions | None:
    found = [image_position(folder.path / name) for name in folder.names]
    if not any(found):
        return None
    degrees = torch.tensor([one or (torch.nan, torch.nan) for one in found], dtype=torch.float64)
    return Positions(metres=earth_centred(degrees), frame="earth", source="GPS in the EXIF headers of the images")


_SOURCES: dict[str, Callable[[Path, ImageFolder, tuple[ImageFolder, ImageFolder]], Positions | None]] = {
    "names": _by_names,
    "table": _by_table,
    "poses": _by_poses,
    "exif": _by_headers,
}

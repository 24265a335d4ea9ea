"""Find where the images of two folders were taken: names, tables, poses and headers that say so."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch

from vo3d.datasets.image_poses import TRAJECTORIES, posed_image_files
from vo3d.errors import Vo3dError
from vo3d.formats.place_names import check_one_zone, utm_of
from vo3d.formats.place_positions import (
    BY_NAMES,
    TABLES,
    ImageFolder,
    Positions,
    positions_by_headers,
    positions_by_names,
    positions_by_table,
)

PositionSource = Literal["auto", "names", "table", "poses", "exif"]

MAX_DIFFERENCE = 0.02  # seconds between an image and its pose


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
            if one == "names":
                check_one_zone((*database.names, *queries.names), str(root))
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
    named = ["the names of the images"] if utm_of(folder.names[0]) and taken.source != BY_NAMES else []
    return named + there


def _candidates(root: Path, folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    yield folder, (*TABLES, *TRAJECTORIES)
    yield root, TABLES


def _by_table(root: Path, folder: ImageFolder, both: tuple[ImageFolder, ImageFolder]) -> Positions | None:
    """Read the table in the folder, or the one beside it, whose rows are of both folders."""
    inside = next((folder.path / name for name in TABLES if (folder.path / name).is_file()), None)
    if inside is not None:
        return positions_by_table(inside, folder.names)
    beside = next((root / name for name in TABLES if (root / name).is_file()), None)
    if beside is None:
        return None
    names = [f"{one.path.name}/{name}" for one in both for name in one.names]
    count = len(both[0].names)
    return positions_by_table(beside, names, slice(count) if folder is both[0] else slice(count, None))


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


_SOURCES: dict[str, Callable[[Path, ImageFolder, tuple[ImageFolder, ImageFolder]], Positions | None]] = {
    "names": lambda root, folder, both: positions_by_names(folder),
    "table": _by_table,
    "poses": _by_poses,
    "exif": lambda root, folder, both: positions_by_headers(folder),
}

"""Two folders of images, one to find places in and one to find: places as people have them on disk."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.place_folders_positions import PositionSource, find_positions, others_there
from vo3d.datasets.place_images import PlaceImages, check_matches, inside
from vo3d.datasets.resize import Size
from vo3d.datasets.views import given_name, numbers_in
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.image_folder import images_below
from vo3d.formats.match_tables import read_match_table
from vo3d.formats.place_positions import ImageFolder, Positions
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet

FOLDERS = (
    ("database", "queries"),
    ("database", "query"),
    ("ref", "query"),
    ("reference", "query"),
    ("db", "q"),
    ("db", "query"),
)
TABLES = ("ground_truth.json", "ground_truth.csv", "matches.json", "matches.csv")
PICKLED = ("ground_truth_new.npy", "ground_truth.npy")
METRES = 25.0  # within which most publications count an image as right


class PlaceFolders(RetrievalDataset):
    """Places in two folders, `database` and `queries`: `image`, `scene` and `index` of images of any sizes.

    Images are those of a folder and the folders in it, in natural order (2.jpg before 10.jpg). Which of the database
    are right for a query is told by a table, by the numbers in the names of images, or by positions. Positions come
    from the first of these that both folders have; another one, if there, is named in a note:

    - "names": `@utm_east@utm_north@...@.jpg`, metres;
    - "table": `gps.csv`, `positions.csv`, `gps.txt` or `positions.txt` in each folder, or one for both beside them; see
      `vo3d.formats.position_tables`. Degrees become metres on the ellipsoid of the Earth;
    - "poses": a file of poses in each folder, as `vo3d.datasets.posed_frames` reads it;
    - "exif": GPS in the headers of photographs, looked at where nothing else tells.

    Arguments:
        root: holds both folders, and tables for both.
        database, queries: the folders, in `root` or from here; None: the first of `FOLDERS` that are there.
        matches: a table, in `root` or from here: JSON, a list of lists, or CSV, rows query,database; see
            `vo3d.formats.match_tables`. Without any rule `ground_truth.json` or another of `TABLES` is taken where it
            is there, else 25 metres where there are positions.
        frames: instead of it, images are right whose numbers differ by at most so many: those at the end of their
            names, or where these do not tell all apart their places in the order.
        metres: instead of it, images are right that were taken at most so far away. Those without a position are left
            out.
        positions: where they come from.
        size: height and width that images are resized to, whatever their shape; None: each keeps its own.
        max_side: instead of it, pixels that the longer side has at most.
        name: of the set; None: that of the folder.
        images, transforms, seed: see `RetrievalDataset`.

    Raises Vo3dError when a folder or its images are missing, a table is damaged or names other images, positions in
    metres are degrees or of two zones of UTM, there is no rule, or no query has a match.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        database: str | Path | None = None,
        queries: str | Path | None = None,
        matches: str | Path | None = None,
        frames: int | None = None,
        metres: float | None = None,
        positions: PositionSource = "auto",
        size: Size | None = None,
        max_side: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        root = Path(root)
        if sum(rule is not None for rule in (matches, frames, metres)) > 1:
            raise Vo3dError(f"{root}: several of matches, frames and metres: give one of them")
        folders, notes = _folders(root, database, queries)
        table = None if matches is None else inside(root, matches)
        if table is None and frames is None and metres is None:
            table = next((root / one for one in TABLES if (root / one).is_file()), None)
            notes += [f"{table} says which images are right"] if table is not None else []
        by_distance = table is None and frames is None
        found = find_positions(root, *folders, positions, headers=by_distance)
        if found is None and positions != "auto":
            raise Vo3dError(f"{root}: no positions by {positions} in both folders: expected some, or positions=auto")
        if found is None and by_distance:
            raise _no_rule(root, folders)
        if table is not None:
            rule = Matches(table=read_match_table(table, folders[1].names, folders[0].names))
        else:
            rule = (
                Matches(frames=frames) if frames is not None else Matches(metres=METRES if metres is None else metres)
            )
        name = name or given_name(root)
        numbers = [numbers_in(folder.names) for folder in folders]
        recordings = []
        for which, folder in enumerate(folders):
            keep, where, said = _positioned(root, folder, found[which] if found else None, needed=by_distance)
            told = numbers[which] if all(numbers) else None
            recordings.append(
                PlaceImages(
                    f"{name}_{('database', 'queries')[which]}",
                    [folder.path / folder.names[place] for place in keep],
                    names=[folder.names[place] for place in keep],
                    positions=where,
                    numbers=[told[place] for place in keep] if told else keep,
                    size=size,
                    max_side=max_side,
                    notes=[*notes, *said],
                )
            )
        places = RetrievalSet(name=name, database=recordings[0], queries=recordings[1], matches=rule)
        recordings[1].notes = [*recordings[1].notes, *check_matches(places)]
        super().__init__([places], **options)


def _folders(
    root: Path, database: str | Path | None, queries: str | Path | None
) -> tuple[tuple[ImageFolder, ImageFolder], list[str]]:
    """Find the two folders and list their images."""
    if not root.is_dir():
        raise Vo3dError(f"{root}: no such folder: expected one with two folders of images, database and queries")
    notes = []
    if database is None and queries is None:
        there = [pair for pair in FOLDERS if all((root / one).is_dir() for one in pair)]
        if not there:
            names = "; ".join(" and ".join(pair) for pair in FOLDERS)
            raise Vo3dError(f"{root}: no two folders of images ({names}): name them (database, queries)")
        database, queries = there[0]
        left = sorted({one for pair in there for one in pair} - {database, queries})
        notes = [f"{database} and {queries} are taken; left out: {', '.join(left)}"] if left else []
    if database is None or queries is None:
        raise Vo3dError(f"{root}: one of database and queries alone: name both folders, or none")
    found = []
    for folder in (inside(root, database), inside(root, queries)):
        if not folder.is_dir():
            raise Vo3dError(f"{folder}: no such folder, nor in {root}: expected images")
        images = images_below(folder)
        if not images:
            raise Vo3dError(f"{folder}: holds no image: expected some")
        found.append(ImageFolder(folder, images))
    return (found[0], found[1]), notes


def _no_rule(root: Path, folders: tuple[ImageFolder, ImageFolder]) -> Vo3dError:
    """Return what is wrong where nothing tells which images are right."""
    pickled = next((root / one for one in PICKLED if (root / one).is_file()), None)
    if pickled is not None:
        try:
            read_match_table(pickled, [], [])
        except Vo3dError as error:
            return error
    return Vo3dError(
        f"{root}: nothing says which images are right: expected {TABLES[0]}, frames, or positions of both "
        f"{folders[0].path.name} and {folders[1].path.name} (@utm_east@utm_north@ in names, gps.csv, poses, EXIF)"
    )


def _positioned(
    root: Path, folder: ImageFolder, positions: Positions | None, *, needed: bool
) -> tuple[list[int], Float64[Tensor, "n 3"] | None, list[str]]:
    """Return the images that are used, where they were taken, and what is to be said of that."""
    every = list(range(len(folder.names)))
    if positions is None:
        return every, None, []
    others = others_there(root, folder, positions)
    notes = [*positions.notes, *([f"positions by {positions.source}; left out: {', '.join(others)}"] if others else [])]
    known = ~positions.metres.isnan().any(dim=1)
    keep = known.nonzero()[:, 0].tolist()
    if len(keep) == len(every):
        return every, positions.metres, notes
    names = first_few(folder.names[place] for place in every if not known[place])
    missing = f"{len(every) - len(keep)} of {len(every)} images have no position by {positions.source} ({names})"
    if not needed:
        return every, None, [*notes, f"{missing}: positions are not used"]
    return keep, positions.metres[torch.tensor(keep)], [*notes, f"{missing}: they are left out"]

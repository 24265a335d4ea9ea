"""Pittsburgh, Tokyo 24/7 and Tokyo Time Machine, by the lists that NetVLAD's and Patch-NetVLAD's authors published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vo3d.datasets.place_images import PlaceImages, check_matches, inside
from vo3d.datasets.resize import Size
from vo3d.datasets.views import first_of, is_there
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.place_lists import read_place_arrays, read_place_structure
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet

DATABASE_FOLDERS = ("images", "database_gsv_vga", ".")
QUERY_FOLDERS = ("queries", "queries_real", "query", "247query_subset_v2", "images", ".")
VIEWS = {"tokyo247": 12}  # of a panorama, one after the other in the database, by the beginning of the set's name


class NetVLADLists(RetrievalDataset):
    """A set of places by its list: `image`, `scene` and `index`; right is what was taken within the list's metres.

    `dbStruct` of MATLAB names images and positions (`pitts30k_test.mat`, `tokyo247.mat`, `tokyoTM_val.mat` and so on),
    with time stamps in Tokyo Time Machine. Patch-NetVLAD's `.npz` holds positions alone, for two texts of names.
    Pittsburgh's 24 views of a panorama count one by one, as its authors count them, Tokyo 24/7's twelve as one place.

    Arguments:
        root: the folder of the images.
        lists: the file, .mat or .npz, in `root` or from here.
        database, queries: folders in `root` below which the images lie; None: the first of `DATABASE_FOLDERS` and of
            `QUERY_FOLDERS` that holds the first image.
        database_names, query_names: texts with the names of the images, for .npz.
        metres: within which an image is right; None: as the list says.
        views: of one panorama, which follow each other in the database; None: 12 for names that begin with tokyo247,
            else 1.
        size: height and width that images are resized to, whatever their shape; None: each keeps its own.
        max_side: instead of it, pixels that the longer side has at most.
        name: of the set; None: that of the file, as pitts30k_test.
        images, transforms, seed: see `RetrievalDataset`.

    Raises Vo3dError when a list is damaged, images are missing, or no query has a match.
    """

    def __init__(
        self,
        root: str | Path,
        lists: str | Path,
        *,
        database: str | None = None,
        queries: str | None = None,
        database_names: str | Path | None = None,
        query_names: str | Path | None = None,
        metres: float | None = None,
        views: int | None = None,
        size: Size | None = None,
        max_side: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        root = Path(root)
        path = inside(root, lists)
        texts = [None if text is None else inside(root, text) for text in (database_names, query_names)]
        if path.suffix == ".npz":
            if texts[0] is None or texts[1] is None:
                raise Vo3dError(f"{path}: holds no names of images: give database_names and query_names")
            found = read_place_arrays(path, texts[0], texts[1])
        elif texts != [None, None]:
            raise Vo3dError(f"{path}: names its images itself: expected no database_names and query_names")
        else:
            found = read_place_structure(path)
        name = name or path.stem
        files = [
            _files(root, path, names, folders if folder is None else (folder,))
            for names, folder, folders in (
                (found.database, database, DATABASE_FOLDERS),
                (found.queries, queries, QUERY_FOLDERS),
            )
        ]
        if views is None:
            views = next((count for start, count in VIEWS.items() if name.startswith(start)), 1)
        if views < 1 or len(found.database) % views:
            raise Vo3dError(
                f"{path}: {len(found.database)} images in panoramas of {views} views: expected a whole number of "
                "panoramas: give views"
            )
        recordings = [
            PlaceImages(f"{name}_{part}", paths, names=names, positions=where, time=time, size=size, max_side=max_side)
            for part, paths, names, where, time in (
                ("database", files[0], found.database, found.database_metres, found.database_time),
                ("queries", files[1], found.queries, found.query_metres, found.query_time),
            )
        ]
        places = RetrievalSet(
            name=name,
            database=recordings[0],
            queries=recordings[1],
            matches=Matches(metres=found.metres if metres is None else metres),
            panorama=None if views == 1 else torch.arange(len(found.database)) // views,
            database_time=found.database_time,
            query_time=found.query_time,
        )
        recordings[1].notes = [*recordings[1].notes, *check_matches(places)]
        super().__init__([places], **options)


def _files(root: Path, path: Path, names: Sequence[str], folders: Sequence[str]) -> list[Path]:
    """Find the images of a list in the first folder that has the first one."""
    tried = ", ".join(folders)
    folder = first_of(
        (root / one for one in folders if is_there(_as_there(root / one / names[0]))),
        f"{root}: {names[0]}, the first image that {path} names, is in none of the folders {tried}: name the folder "
        "(database, queries), or complete it",
    )
    files = [_as_there(folder / name) for name in names]
    if missing := [name for name, file in zip(names, files, strict=True) if not is_there(file)]:
        raise Vo3dError(
            f"{folder}: {len(missing)} of {len(names)} images that {path} names are missing ({first_few(missing, 3)}): "
            "complete the folder"
        )
    return files


def _as_there(path: Path) -> Path:
    """Return an image as it is there: Tokyo 24/7's list says .jpg, its files are .png."""
    return next(filter(is_there, (path, path.with_suffix(".png"), path.with_suffix(".jpg"))), path)

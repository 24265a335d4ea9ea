"""Names of images in tables, and positions in names of images."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from vo3d.errors import Vo3dError, shown

_ZONE = re.compile(r"^@[^@]*@[^@]*@\s*(\d+)\s*@\s*([A-Za-z])\s*@")  # the letter is of a band of latitude
_UTM = re.compile(r"^@\s*([^@]*)@\s*([^@]*)@")  # further fields follow: zone, latitude, panorama, time and so on


class ImageNames:
    """The images that a table may mean by a name: its path, with or without the suffix, or its last parts alone.

    Args:
        names: paths of the images below their folder, with /.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._places: dict[str, int | None] = {}  # None: of several images
        for place, name in enumerate(names):
            for key in set(_spellings(name)):
                self._places[key] = place if self._places.get(key, place) == place else None
        self._places.update({name: place for place, name in enumerate(names)})  # a whole path is always one image

    def find(self, name: str) -> int | None:
        """Return the place of the image that is meant; None where none is, or one of several."""
        name = name.strip().replace("\\", "/").removeprefix("./")
        tails = name.split("/")
        keys = ("/".join(tails[first:]) for first in range(len(tails)))  # a table may stand above the folder
        return next((self._places[key] for key in keys if key in self._places), None)


def _spellings(name: str) -> list[str]:
    """List the last parts of a path, with and without its suffix."""
    parts = name.split("/")
    tails = ["/".join(parts[first:]) for first in range(len(parts))]
    return tails + [tail.removesuffix(PurePosixPath(tail).suffix) for tail in tails]


def utm_of(name: str) -> tuple[float, float] | None:
    """Return metres to the east and to the north as a name of the form `@utm_east@utm_north@...@.jpg` says.

    None for another form, and for fields that are no finite numbers.

    Source: https://github.com/gmberton/VPR-datasets-downloader, the form of the names of all its sets.
    """
    found = _UTM.match(PurePosixPath(name).name)
    try:
        east, north = (float(number) for number in found.groups()) if found else (math.nan, math.nan)
    except ValueError:
        return None
    return (east, north) if math.isfinite(east + north) else None


def check_one_zone(names: Iterable[str], where: str) -> None:
    """Refuse images of two zones of UTM, whose metres have nothing to do with each other, by Vo3dError.

    Names of the form `@utm_east@utm_north@zone number@zone letter@...` tell their zone; others are of any.
    """
    zones: dict[str, str] = {}
    for name in names:
        if found := _ZONE.match(PurePosixPath(name).name):
            half = "north" if found[2].upper() >= "N" else "south"  # bands of one half share their metres
            zones.setdefault(f"{int(found[1])} {half}", name)
    if len(zones) > 1:
        (zone, name), (other_zone, other) = list(zones.items())[:2]
        raise Vo3dError(
            f"{where}: {shown(name)} lies in UTM zone {zone}, {shown(other)} in zone {other_zone}: metres of two zones "
            "do not compare: make a set of each zone"
        )

"""The images of a folder and of the folders in it, in the order in which people count."""

import os
import re
from pathlib import Path

from vo3d.formats.images import IMAGE_SUFFIXES


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a key for sorting paths by which digits compare as numbers."""
    parts = re.split(r"(\d+)", path.as_posix().lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def images_below(folder: Path) -> list[str]:
    """List the images of a folder and of the folders in it, as paths below it with /, in natural order.

    Hidden files and folders are left out.
    """
    found: list[str] = []
    for place, folders, files in os.walk(folder, followlinks=True):  # which asks nothing of each file
        real, above = os.path.realpath(place), os.path.realpath(os.path.dirname(place))
        if place != str(folder) and f"{above}/".startswith(f"{real}/"):  # a link that leads back
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        images = [name for name in files if name[0] != "." and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]
        below = Path(place).relative_to(folder).as_posix()
        found += images if below == "." else [f"{below}/{name}" for name in images]
    return sorted(found, key=lambda name: natural_key(Path(name)))

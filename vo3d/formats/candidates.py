"""One of several files or folders that would do, with a line about those that are left; hidden ones are none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vo3d.errors import Vo3dError


def visible_paths(folder: Path, pattern: str = "*") -> list[Path]:
    """List what a folder holds by a pattern of `Path.glob`, in the order of names, without hidden files and folders.

    Those begin with a point, as what systems leave beside other files does: `._000000.png`, `.DS_Store`.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def fullest(counts: Mapping[Path, int], unit: str) -> tuple[Path, list[str]]:
    """Return the path with the highest count, the first of equals, and a line that names the others, if any.

    Args:
        counts: of what each candidate holds, at least one.
        unit: of the counts, in the plural.
    """
    chosen = max(counts, key=lambda path: counts[path])  # the first of equals
    left = [f"{path} ({count})" for path, count in counts.items() if path != chosen]
    return chosen, [f"{chosen} is taken, with {counts[chosen]} {unit}; left out: {', '.join(left)}"] if left else []


def check_stems(files: Sequence[Path]) -> None:
    """Raise Vo3dError where two files differ in their suffixes alone, as a.jpg and a.png: which is meant?"""
    known: dict[Path, Path] = {}
    for path in files:
        other = known.setdefault(path.with_suffix(""), path)
        if other != path:
            raise Vo3dError(f"{path}: {other.name} is of the same name: remove one of the two, or rename it")

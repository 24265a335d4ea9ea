"""The seeds of rendered scenes, as numbers or as a range in words."""

from collections.abc import Sequence

from vo3d.errors import Vo3dError


def distinct_seeds(seeds: Sequence[int] | str) -> Sequence[int]:
    """The numbers that `seeds` stands for; "0-999" are the thousand from 0 to 999.

    Raises Vo3dError for other words, and for a number that comes twice.
    """
    if isinstance(seeds, str):
        first, sign, last = seeds.partition("-")
        if not (sign and first.isdigit() and last.isdigit() and int(first) <= int(last)):
            raise Vo3dError(f"seeds {seeds!r}: expected whole numbers, or a range such as '0-999'")
        return range(int(first), int(last) + 1)
    if len(set(seeds)) < len(seeds):
        raise Vo3dError(f"seeds {list(seeds)}: one is named twice; every scene needs its own")
    return seeds

"""Visits: the place, time, movers and path that a scene is drawn from, each with a seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

from vo3d.errors import Vo3dError

Time = Literal["day", "low-sun", "night", "rain", "fog", "any"]
Motion = Literal["car", "wide", "walking", "hand-held", "standing", "turning", "any"]
MOST_SEED = 2**32 - 1  # of the numbers that every part of a scene can be drawn from
FARTHEST = 30.0  # metres from the middle of the road, behind the houses
MOST_TRAFFIC = 20.0
TEXTURES_ADVICE = "pip install 'vo3d[textures]'"  # brings the photographs


@dataclass(frozen=True)
class Seeds:
    """The seeds of the four parts of a scene."""

    place: int
    time: int
    movers: int
    path: int


@dataclass(frozen=True)
class Visit:
    """The choices of one visit to a place; a part without a seed of its own takes that of the recording.

    A place is the same for all visits with its seed: it lies in one world frame, whatever is seen there, when, and from
    what path.

    Raises Vo3dError for an unknown time or motion, a number that no visit has, and for photographs without
    scikit-image, which holds them.
    """

    place_seed: int | None = None
    time_seed: int | None = None
    movers_seed: int | None = None
    path_seed: int | None = None
    time: Time = "day"  # light and weather; "any": drawn by the time's seed
    motion: Motion = "car"  # of the camera; "any": drawn by the path's seed
    start: float = 0.0  # metres along the road at which the path begins
    lateral: float | None = None  # metres right of the road's middle; None: the motion's own lane or side walk
    traffic: float = 1.0  # how much moves, as a multiple of the kind's own
    photographs: bool = False  # whether surfaces carry pictures and noise with the spectra of photographs

    def __post_init__(self) -> None:
        for part in ("place", "time", "movers", "path"):
            seed = getattr(self, f"{part}_seed")
            if seed is not None:
                check_seed(seed, f"{part}_seed {seed}")
        for name, choices in (("time", get_args(Time)), ("motion", get_args(Motion))):
            if getattr(self, name) not in choices:
                raise Vo3dError(f"no {name} {getattr(self, name)!r}: expected one of {', '.join(choices)}")
        if not 0 <= self.start < math.inf:
            raise Vo3dError(f"start {self.start}: expected metres along the road, 0 or more")
        if self.lateral is not None and not abs(self.lateral) <= FARTHEST:
            raise Vo3dError(
                f"lateral {self.lateral}: expected metres from -{FARTHEST:g} (left) to {FARTHEST:g} (right)"
            )
        if not 0 <= self.traffic <= MOST_TRAFFIC:
            raise Vo3dError(f"traffic {self.traffic}: expected a number of at least 0 and at most {MOST_TRAFFIC:g}")
        if self.photographs and find_spec("skimage") is None:
            raise Vo3dError(f"photographs: scikit-image is not installed: {TEXTURES_ADVICE}, or leave photographs out")

    def seeds(self, seed: int) -> Seeds:
        """Return the seeds of a recording's parts, `seed` for those without one of their own."""
        own = (self.place_seed, self.time_seed, self.movers_seed, self.path_seed)
        return Seeds(*(seed if part is None else part for part in own))

    @property
    def is_fixed(self) -> bool:
        """Tell whether every part has a seed of its own, so that no other has a meaning."""
        return None not in (self.place_seed, self.time_seed, self.movers_seed, self.path_seed)


def chosen_visit(visit: object) -> Visit:
    """Return the visit, or the default for None; Vo3dError for anything else."""
    if visit is not None and not isinstance(visit, Visit):
        raise Vo3dError(f"visit {visit!r}: expected a Visit")
    return visit or Visit()


def check_seed(seed: int, named: str) -> None:
    """Raise Vo3dError, which begins with a name, unless a number can be a seed."""
    if not 0 <= seed <= MOST_SEED:
        raise Vo3dError(f"{named}: expected a whole number of at least 0 and at most {MOST_SEED}")


def distinct_seeds(seeds: Sequence[int] | str) -> Sequence[int]:
    """Return the numbers that `seeds` stands for; "0-999" are the thousand from 0 to 999.

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


def several_seeds(seeds: Sequence[int] | str, visit: Visit | None) -> Sequence[int]:
    """Return the numbers of `distinct_seeds`; Vo3dError if a visit makes one recording of them all."""
    seeds = distinct_seeds(seeds)
    if chosen_visit(visit).is_fixed and len(seeds) > 1:
        raise Vo3dError(
            f"{len(seeds)} seeds beside a visit of which every part has a seed of its own: their recordings would be "
            "one: give one seed, or leave out place_seed, time_seed, movers_seed or path_seed"
        )
    return seeds

"""Sets of images to recognise places by: a database, queries, which of them match, and tuples to learn from."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
from jaxtyping import Bool, Float64, Int, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.recording import Recording, RecordingDataset, Transform, ViewDataset, augment
from vo3d.sample import Sample

Images = Literal["all", "database"]


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The rule by which a source says which images show one place; exactly one of the three is given.

    Args:
        metres: images taken at most so far apart.
        frames: images whose numbers (`Recording.frames`) differ by at most so many.
        table: for each query the places of the database that are right; empty where none is.

    Raises:
        Vo3dError: none or several are given, or a distance is negative.
    """

    metres: float | None = None
    frames: int | None = None
    table: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("metres", "frames", "table") if getattr(self, name) is not None]
        if len(given) != 1:
            raise Vo3dError(f"matches by {', '.join(given) or 'nothing'}: expected one of metres, frames, table")
        if not (self.metres or 0) >= 0 or (self.frames or 0) < 0:
            limit = self.metres if self.frames is None else self.frames
            raise Vo3dError(f"matches within {limit}: expected at least 0")

    @property
    def words(self) -> str:
        """Spell the rule."""
        if self.metres is not None:
            return f"within {self.metres:g} m"
        return "by a table" if self.frames is None else f"within {self.frames} frames"


@dataclass(frozen=True, kw_only=True)
class RetrievalSet:
    """Images to recognise places in, images to recognise them by, and the source's rule of what is right.

    Args:
        name: of the set.
        database: the images that are searched.
        queries: the images that are looked for.
        matches: which images of the database are right for a query.
        panorama: of each image of the database, the number of the place that it shows in one of several directions
            (Tokyo 24/7 has twelve); a place counts once. None: each image is a place.
        database_time: when each image of the database was taken, seconds; None where the set does not tell.
        query_time: the same of the queries.
        apart: where the queries are the database itself, frames between a query and what may be found for it: images
            whose numbers (`Recording.frames`) differ by at most so many are neither searched nor right. 0: the query
            alone. More of them leave out the neighbours of a drive, so that what is found is a place seen again.

    Raises:
        Vo3dError: a rule, panoramas or times do not fit the recordings, or `apart` is negative or of other queries.
    """

    name: str
    database: Recording
    queries: Recording
    matches: Matches
    panorama: Int[Tensor, " n"] | None = None
    database_time: Float64[Tensor, " n"] | None = None
    query_time: Float64[Tensor, " m"] | None = None
    apart: int = 0

    def __post_init__(self) -> None:
        if self.apart < 0 or (self.apart and self.queries is not self.database):
            raise Vo3dError(
                f"{self.name}: apart is {self.apart}: expected at least 0 frames, and 0 beside queries of their own"
            )
        n, m = len(self.database), len(self.queries)
        table = self.matches.table
        for what, rows, expected in (
            ("table", table, m),
            ("panorama", self.panorama, n),
            ("database_time", self.database_time, n),
            ("query_time", self.query_time, m),
        ):
            if rows is not None and len(rows) != expected:
                raise Vo3dError(
                    f"{self.name}: {what} has {len(rows)} rows for {expected} images: expected one for each"
                )
        if strange := [place for row in table or () for place in row if not 0 <= place < n]:
            raise Vo3dError(f"{self.name}: the table names image {strange[0]}: expected 0 to {n - 1}")
        if self.matches.metres is not None:
            if blind := [one.name for one in (self.database, self.queries) if one.positions() is None]:
                raise Vo3dError(f"{self.name}: {blind[0]} has no positions: matches in metres need some")

    def distances(self, query: int) -> Float64[Tensor, " n"] | None:
        """Compute how far from a query each image of the database was taken, metres; None without positions."""
        database, queries = self._positions
        return None if database is None or queries is None else (database - queries[query]).norm(dim=-1)

    def positives(self, query: int) -> Int[Tensor, " p"]:
        """List the places in the database that are right for a query, ascending."""
        if self.matches.table is not None:
            found = torch.tensor(sorted(set(self.matches.table[query])), dtype=torch.long)
        elif self.matches.frames is not None:
            found = ((self._numbers - self.queries.frames[query]).abs() <= self.matches.frames).nonzero()[:, 0]
        else:
            distances, limit = self.distances(query), self.matches.metres
            assert distances is not None  # noqa: S101  by the check at the start
            assert limit is not None  # noqa: S101  by that of `Matches`
            found = (distances <= limit).nonzero()[:, 0]
        return found[~self.own(torch.tensor([query]), found[None])[0]]

    def own(self, queries: Int64[Tensor, " q"], index: Int64[Tensor, "q k"]) -> Bool[Tensor, "q k"]:
        """Mark images of the database, a row for each query, that are the query itself or its neighbours (`apart`)."""
        if self.queries is not self.database:
            return torch.zeros_like(index, dtype=torch.bool)
        return (self._numbers[index] - self._numbers[queries, None]).abs() <= self.apart

    @property
    def num_own(self) -> int:
        """Count the images of the database that may be a query itself or its neighbours, at most."""
        return 2 * self.apart + 1 if self.queries is self.database else 0

    @cached_property
    def _numbers(self) -> Int64[Tensor, " n"]:
        """Number the images of the database."""
        return torch.tensor(self.database.frames)

    @cached_property
    def _positions(self) -> tuple[Float64[Tensor, "n 3"] | None, Float64[Tensor, "m 3"] | None]:
        """Read the positions of both once: each query asks for them."""
        return self.database.positions(), self.queries.positions()


class RetrievalDataset(ViewDataset):
    """The images of sets to find places in: one sample each, and samples composed of any of them.

    `recordings` are the database and the queries of each set, in that order; what several sets share comes once.

    Args:
        sets: what is evaluated.
        images: "all", or "database": methods that `fit` then see no query, as where a set is its own training set.
        transforms, seed: augmentation, see `RecordingDataset`.

    Raises:
        Vo3dError: there is no set, two have one name, or the seed is negative.
    """

    def __init__(
        self,
        sets: Sequence[RetrievalSet],
        *,
        images: Images = "all",
        transforms: Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        if not sets:
            raise Vo3dError("no set of places: name at least one")
        names = [one.name for one in sets]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise Vo3dError(f"two sets of places are called {twice}: name each once")
        if seed < 0:
            raise Vo3dError(f"seed is {seed}: expected a whole number of at least 0")
        self.sets = list(sets)
        parts = [part for one in sets for part in (one.database, *([one.queries] if images == "all" else []))]
        self.recordings = list({id(part): part for part in parts}.values())
        self.transforms, self.seed = list(transforms), seed
        self._starts = [0, *accumulate(map(len, self.recordings))]

    def __len__(self) -> int:
        """Count the views."""
        return self._starts[-1]

    def first_view(self, recording: Recording) -> int:
        """Give the number of the first view of a database or of queries; raises ValueError where it is none of them."""
        return self._starts[[id(one) for one in self.recordings].index(id(recording))]

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Give the recording of view `index`, and its place there."""
        if not 0 <= index < len(self):
            raise IndexError(f"view {index} of {len(self)}")
        which = bisect_right(self._starts, index) - 1
        return self.recordings[which], [index - self._starts[which]]

    def compose(self, views: Sequence[int]) -> Sample:
        """Make one sample of the images with these numbers, in their order, augmented as one.

        Raises:
            Vo3dError: the images differ in size.
        """
        clips = [recording.clip(places) for recording, places in map(self.place, views)]
        if odd := next((clip for clip in clips if clip.image.shape != clips[0].image.shape), None):
            sizes = [f"{one.image.shape[-1]}x{one.image.shape[-2]} of {one.scene}" for one in (clips[0], odd)]
            raise Vo3dError(f"images of {' and '.join(sizes)} for one sample: expected one size: scale or crop them")
        joined = Sample(
            image=torch.cat([clip.image for clip in clips]),
            scene=clips[0].scene,
            index=torch.tensor(list(views)),
        )
        return augment(joined, self.transforms, seed=self.seed, epoch=self.epoch, index=views[0])


@dataclass(frozen=True, kw_only=True)
class TupleRule:
    """The distances by which images of a database are potential positives and definite negatives of a query.

    Images between `near` and `far` are neither. Of a set without positions the right images are the positives and all
    others the negatives. Of a set with times positives were taken at another time than the query. An image is no
    positive of itself.

    Args:
        least: metres; nearer positives are left out as too easy, 1 in the release. The default takes them.
        near: metres, the most of a positive.
        far: metres; negatives are farther.

    Raises:
        Vo3dError: not 0 <= least < near <= far.

    Source: Arandjelovic et al., "NetVLAD", CVPR 2016, section 4, and Relja/netvlad: 1 m, 10 m and 25 m.
    """

    least: float = 0.0
    near: float = 10.0
    far: float = 25.0

    def __post_init__(self) -> None:
        if not 0 <= self.least < self.near <= self.far:
            raise Vo3dError(f"least {self.least}, near {self.near}, far {self.far}: expected 0 <= least < near <= far")

    def positives(self, places: RetrievalSet, query: int) -> Int64[Tensor, " p"]:
        """List the images of the database that may show the place of a query, ascending."""
        distance = places.distances(query)
        if distance is None:
            found = places.positives(query)
        else:
            found = ((distance <= self.near) & (distance >= self.least)).nonzero()[:, 0]
        if places.queries is places.database:
            found = found[found != query]
        if places.database_time is not None and places.query_time is not None:
            found = found[places.database_time[found] != places.query_time[query]]
        return found

    def negatives(self, places: RetrievalSet, query: int) -> Int64[Tensor, " n"]:
        """List the images of the database that do not show the place of a query, ascending."""
        distance = places.distances(query)
        if distance is not None:
            return (distance > self.far).nonzero()[:, 0]
        others = torch.ones(len(places.database), dtype=torch.bool)
        others[places.positives(query)] = False
        if places.queries is places.database:
            others[query] = False
        return others.nonzero()[:, 0]


def places_of(dataset: RecordingDataset, metres: float = 25.0) -> list[RetrievalSet]:
    """List the sets of a dataset of places; of other data each recording is one, the queries of which are its database.

    Raises:
        Vo3dError: a recording of other data has no positions.
    """
    if isinstance(dataset, RetrievalDataset):
        return dataset.sets
    return [
        RetrievalSet(name=one.name, database=one, queries=one, matches=Matches(metres=metres))
        for one in dataset.recordings
    ]

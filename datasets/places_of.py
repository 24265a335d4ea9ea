"""Sets of places out of any data with positions: rendered streets, drives, posed images."""

from collections.abc import Sequence
from typing import Any

import torch

from vo3d.errors import Vo3dError
from vo3d.recording import JoinedRecording, Recording, RecordingDataset
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet


class PlacesOf(RetrievalDataset):
    """The recordings of other data as sets of places; right is what was taken within some metres.

    With `queries` all recordings of either join into one database and one set of queries: they have to be of one world.
    Without, each recording is a set by itself, as where a drive is searched for places that it comes back to: each of
    its images is a query in all others but `apart` frames before and after it, which are neither searched nor right.

    Arguments:
        database: whose recordings are searched; its own samples and transforms are not taken.
        queries: whose recordings are looked for.
        metres: within which an image is right.
        apart: frames; 0 for images in no order. Without queries alone, and there it has to be given.
        name: of the one set with queries; else sets are called as their recordings.
        images, transforms, seed: see `RetrievalDataset`.

    Raises Vo3dError when a recording has no positions in metres, database and queries share one, or `apart` is missing
    or out of place.
    """

    def __init__(
        self,
        database: RecordingDataset,
        queries: RecordingDataset | None = None,
        *,
        metres: float = 25.0,
        apart: int | None = None,
        name: str = "places",
        **options: Any,
    ) -> None:
        for one in (*database.recordings, *(queries.recordings if queries is not None else ())):
            if one.positions() is None or not one.metric:
                lacks = "no positions" if one.positions() is None else "positions in an unknown unit"
                raise Vo3dError(
                    f"{one.name} has {lacks}: places within {metres:g} m are made of data with some in metres"
                )
        matches = Matches(metres=metres)
        if queries is None:
            if apart is None:
                raise Vo3dError(
                    f"{name}: without queries each image is looked for in its own recording, where the frame beside it "
                    "would always be found: give apart, the frames to leave out on either side (0: in no order)"
                )
            sets = [
                RetrievalSet(name=one.name, database=one, queries=one, matches=matches, apart=apart)
                for one in database.recordings
            ]
        else:
            if apart is not None:
                raise Vo3dError(f"{name}: apart is {apart} beside queries: expected one of the two")
            _refuse_shared(name, database.recordings, queries.recordings)
            parts = [
                _joined(f"{name}_{what}", found.recordings)
                for what, found in (("database", database), ("queries", queries))
            ]
            sets = [RetrievalSet(name=name, database=parts[0], queries=parts[1], matches=matches)]
        super().__init__(sets, **options)


def _joined(name: str, recordings: Sequence[Recording]) -> Recording:
    """Join recordings, if there are several."""
    return recordings[0] if len(recordings) == 1 else JoinedRecording(name, recordings)


def _refuse_shared(name: str, database: Sequence[Recording], queries: Sequence[Recording]) -> None:
    """Refuse a recording that is in both, by Vo3dError: its images would find themselves."""
    positions = {one.name: one.positions() for one in database}
    for one in queries:
        theirs, mine = positions.get(one.name), one.positions()
        if theirs is not None and mine is not None and torch.equal(theirs, mine):
            raise Vo3dError(
                f"{name}: {one.name} is in the database and in the queries, and its images would find themselves: take "
                "others, or leave queries out and give apart"
            )

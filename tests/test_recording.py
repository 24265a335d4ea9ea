"""Recordings and sets of places: positions, matches by each rule, what does not fit together."""

import pytest
import torch
from torch.utils.data import ConcatDataset, TensorDataset

from tiny import TinyRecording, Whole
from vo3d.errors import Vo3dError
from vo3d.recording import recordings_of
from vo3d.retrieval_set import Matches, RetrievalSet


def places(matches: Matches, **more: object) -> RetrievalSet:
    """A path, and the same path as queries."""
    return RetrievalSet(
        name="tiny", database=TinyRecording(frames=12), queries=TinyRecording(frames=5), matches=matches, **more
    )


def test_positions_are_those_of_the_poses_and_names_count_in_the_source() -> None:
    recording = TinyRecording(frames=3)
    recording.first_frame = 40
    assert torch.equal(recording.positions(), recording.poses()[:, :3, 3])
    assert list(recording.names) == ["000040", "000041", "000042"]


def test_joined_datasets_have_the_recordings_of_all() -> None:
    first, second = Whole([TinyRecording(0)]), Whole([TinyRecording(1), TinyRecording(2)])
    joined = ConcatDataset([first, ConcatDataset([second, TensorDataset(torch.zeros(3))])])
    assert [recording.name for recording in recordings_of(joined)] == ["tiny-0", "tiny-1", "tiny-2"]


def test_matches_by_metres_are_those_of_a_loop() -> None:
    found = places(Matches(metres=0.2))
    database, queries = found.database.positions(), found.queries.positions()
    for query in range(5):
        slow = [place for place in range(12) if (database[place] - queries[query]).norm() <= 0.2]
        assert found.positives(query).tolist() == slow
        assert query in slow


def test_matches_by_frames_and_by_a_table() -> None:
    by_frames = places(Matches(frames=2))
    assert [by_frames.positives(query).tolist() for query in (0, 4)] == [[0, 1, 2], [2, 3, 4, 5, 6]]
    by_table = places(Matches(table=[[3, 1], [], [2], [4], [0]]))
    assert [by_table.positives(query).tolist() for query in (0, 1)] == [[1, 3], []]


def test_rules_and_sets_that_do_not_fit_are_refused() -> None:
    for rule, words in (
        ({}, "matches by nothing: expected one of"),
        ({"metres": 25.0, "frames": 3}, "matches by metres, frames"),
        ({"metres": -1.0}, "within -1.0: expected at least 0"),
        ({"metres": float("nan")}, "within nan"),
    ):
        with pytest.raises(Vo3dError, match=words):
            Matches(**rule)
    blind = TinyRecording(frames=5)
    blind.positions = lambda: None  # type: ignore[method-assign]
    for changes, words in (
        ({"matches": Matches(table=[[0]])}, "tiny: table has 1 rows for 5 images"),
        ({"matches": Matches(table=[[0], [12], [], [], []])}, "names image 12: expected 0 to 11"),
        ({"matches": Matches(metres=1.0), "queries": blind}, "tiny-0 has no positions"),
        ({"matches": Matches(frames=1), "panorama": torch.zeros(3, dtype=torch.long)}, "panorama has 3 rows for 12"),
        ({"matches": Matches(frames=1), "query_time": torch.zeros(4).double()}, "query_time has 4 rows for 5"),
    ):
        with pytest.raises(Vo3dError, match=words):
            RetrievalSet(
                **{"name": "tiny", "database": TinyRecording(frames=12), "queries": TinyRecording(frames=5)} | changes
            )

"""Sets of places: matches by each rule, what does not fit together, and their images as a dataset."""

import pytest
import torch
from torch import Tensor

from tiny import TinyRecording
from vo3d.errors import Vo3dError
from vo3d.recording import Transform, recordings_of
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet
from vo3d.sample import Sample


def places(matches: Matches, **more: object) -> RetrievalSet:
    """A path, and the same path as queries."""
    return RetrievalSet(
        name="tiny", database=TinyRecording(frames=12), queries=TinyRecording(frames=5), matches=matches, **more
    )


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
    by_table = places(Matches(table=[[3, 1, 3], [], [2], [4], [0]]))
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


class Shift(Transform):
    """Adds one drawn number to all images of a sample."""

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        return Sample(image=sample.image + torch.rand((), generator=generator), scene=sample.scene, index=sample.index)


def two_sets() -> list[RetrievalSet]:
    """Sets of 3 and 2, and of 4 and 1 images, all different."""
    sizes = iter(enumerate((3, 2, 4, 1)))
    pairs = [[TinyRecording(seed, frames=count) for seed, count in (next(sizes), next(sizes))] for _ in range(2)]
    return [
        RetrievalSet(name=f"set {number}", database=database, queries=queries, matches=Matches(frames=0))
        for number, (database, queries) in enumerate(pairs)
    ]


def images_of(*recordings: TinyRecording) -> Tensor:
    return torch.cat([recording.image for recording in recordings])


def test_views_are_numbered_over_database_and_queries_of_each_set() -> None:
    sets = two_sets()
    dataset = RetrievalDataset(sets)
    assert [one.name for one in recordings_of(dataset)] == ["tiny-0", "tiny-1", "tiny-2", "tiny-3"]
    assert dataset.sets == sets
    assert len(dataset) == 10
    places = [(dataset.place(view)[0].name, dataset.place(view)[1]) for view in range(10)]
    assert places == [(f"tiny-{which}", [i]) for which, count in enumerate((3, 2, 4, 1)) for i in range(count)]
    assert torch.equal(torch.cat([dataset[view].image for view in range(10)]), images_of(*dataset.recordings))
    for beyond in (-1, 10):
        with pytest.raises(IndexError, match=f"view {beyond} of 10"):
            dataset.place(beyond)


def test_the_database_alone_has_no_query() -> None:
    sets = two_sets()
    dataset = RetrievalDataset(sets, images="database")
    assert list(dataset.recordings) == [one.database for one in sets]
    assert torch.equal(torch.cat([dataset[view].image for view in range(7)]), images_of(*dataset.recordings))
    assert len(dataset) == 7
    assert dataset.sets == sets


def test_a_sample_is_composed_of_any_views_in_their_order_and_augmented_as_one() -> None:
    plain, dataset = RetrievalDataset(two_sets()), RetrievalDataset(two_sets(), transforms=[Shift()], seed=5)
    every = images_of(*plain.recordings)
    sample = plain.compose([8, 0, 4, 0])
    assert torch.equal(sample.image, every[[8, 0, 4, 0]])
    assert sample.index.tolist() == [8, 0, 4, 0]
    assert sample.K is None
    moved = dataset.compose([8, 0, 4]).image - every[[8, 0, 4]]
    assert float(moved.std()) < 1e-6 < float(moved.mean())
    assert torch.equal(dataset.compose([8, 0, 4]).image, dataset.compose([8, 0, 4]).image)
    before = dataset.compose([8, 0]).image
    dataset.set_epoch(1)
    assert not torch.equal(dataset.compose([8, 0]).image, before)
    with pytest.raises(IndexError, match="view 10 of 10"):
        plain.compose([0, 10])


def test_datasets_that_make_no_sense_are_refused() -> None:
    sets = two_sets()
    for arguments, words in (
        ({"sets": []}, "no set of places"),
        ({"sets": [sets[0], sets[0]]}, "two sets of places are called set 0"),
        ({"sets": sets, "seed": -1}, "seed is -1"),
    ):
        with pytest.raises(Vo3dError, match=words):
            RetrievalDataset(**arguments)
    sets[0].queries.image = torch.rand(2, 3, 5, 7)
    with pytest.raises(Vo3dError, match="images of 6x4 of tiny-0 and 7x5 of tiny-1 for one sample"):
        RetrievalDataset(sets).compose([0, 1, 3])

"""Tuples of places: what is near, what is far, and that nothing but the numbers decides."""

import pytest
import torch
from torch import Tensor

from tiny import TinyRecording, Whole
from tiny_places import Swatches, swatch_set
from vo3d.datasets.place_tuples import PlaceTuples
from vo3d.errors import Vo3dError
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet


class Line(TinyRecording):
    """Views at 0, 1, 2 ... metres."""

    def __init__(self, frames: int = 60, seed: int = 0) -> None:
        super().__init__(seed, frames)
        self.world_T_cam = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
        self.world_T_cam[:, 0, 3] = torch.arange(frames)

    def positions(self) -> Tensor:
        return self.world_T_cam[:, :3, 3]


def test_positives_are_near_and_negatives_far_and_none_comes_twice() -> None:
    tuples = PlaceTuples(Whole([Line(), Line(80, seed=1)]), near=3.0, far=25.0, num_positives=2, num_negatives=10)

    for index in range(len(tuples)):
        recording, (query, *others) = tuples.place(index)
        distances = [abs(view - query) for view in others]
        assert all(1 <= one <= 3 for one in distances[:2])
        assert all(25 < one < len(recording) for one in distances[2:])
        assert len(set(others)) == 12
    # in a line of n views, those with 10 views beyond 25 m are the ones with 10 on either side or both sides together
    assert len(tuples) == sum(
        max(0, place - 25) + max(0, frames - place - 26) >= 10 for frames in (60, 80) for place in range(frames)
    )


def test_draws_follow_from_seed_epoch_and_number_alone() -> None:
    first, again = (PlaceTuples(Whole([Line()]), near=5.0, num_negatives=3, seed=4) for _ in range(2))
    other = PlaceTuples(Whole([Line()]), near=5.0, num_negatives=3, seed=5)
    everything = range(len(first))

    assert [first.place(i)[1] for i in everything] == [again.place(i)[1] for i in reversed(everything)][::-1]
    assert [first.place(i)[1] for i in everything] != [other.place(i)[1] for i in everything]
    again.set_epoch(1)
    assert [first.place(i)[1] for i in everything] != [again.place(i)[1] for i in everything]
    assert first[0].image.shape == (5, 3, 4, 6)


def test_recordings_that_give_no_tuple_are_refused() -> None:
    with pytest.raises(Vo3dError, match=r"no query of tiny-0 has 1 positives .*10 m .* 10 negatives.*25 m.; 20 have"):
        PlaceTuples(Whole([Line(20)]))
    with pytest.raises(Vo3dError, match=r"negatives \(beyond 25 m\); 0 have the positives"):
        PlaceTuples(Whole([Line()]), near=0.5)
    with pytest.raises(Vo3dError, match=r"near 30\.0, far 25\.0"):
        PlaceTuples(Whole([Line()]), near=30.0)

    class Blind(Line):
        def positions(self) -> None:
            return None

    with pytest.raises(Vo3dError, match="tiny-0 has no positions"):
        PlaceTuples(Whole([Blind()]))


def circle(**more: object) -> RetrievalSet:
    """A database every 10 degrees of a circle of 10 m (1.74 m apart), and queries 4 degrees behind every third."""
    database, queries = [10.0 * place for place in range(36)], [30.0 * place + 4 for place in range(12)]
    return swatch_set("circle", database, queries, Matches(metres=1.5), **more)


def test_of_a_set_of_places_queries_are_told_from_the_database() -> None:
    places = circle()
    tuples = PlaceTuples(RetrievalDataset([places]), least=1.0, near=2.5, far=5.0, num_positives=2)

    assert [one.name for one in tuples.recordings] == ["circle_database", "circle_queries"]
    assert tuples.sets == [places]
    assert len(tuples) == 12
    for index in range(len(tuples)):
        recording, views = tuples.place(index)
        clip = recording.clip(views)
        assert views[0] == index
        assert torch.equal(clip.image[:1], places.queries.clip((index,)).image)
        database = [view - 12 for view in views[1:]]
        # 4 degrees behind an image (0.7 m) it is too near, the next in front (1.05 m) and behind (2.4 m) are positives
        assert {place % 36 for place in database[:2]} == {(3 * index + 1) % 36, (3 * index - 1) % 36}
        assert all((places.distances(index) > 5.0)[database[2:]])
        assert torch.equal(clip.image[1:], places.database.clip(database).image)


def test_positives_are_of_another_time_and_without_positions_the_right_ones() -> None:
    time = torch.arange(36.0).double()
    times = {"database_time": time, "query_time": time[::3]}  # that of the image 4 degrees away, its only near one
    with pytest.raises(Vo3dError, match="no query of circle has 1 positives"):
        PlaceTuples(RetrievalDataset([circle(**times)]), near=1.0, far=5.0)

    table = RetrievalSet(
        name="table",
        database=Swatches("a", [0.0, 90.0, 180.0], placed=False),
        queries=Swatches("b", [5.0, 99.0], placed=False),
        matches=Matches(table=[[0], []]),
    )
    tuples = PlaceTuples(RetrievalDataset([table]), num_negatives=2)
    assert len(tuples) == 1
    query, positive, *negatives = tuples.place(0)[1]
    assert (query, positive, sorted(negatives)) == (0, 2, [3, 4])

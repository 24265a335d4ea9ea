"""Tuples of places: what is near, what is far, and that nothing but the numbers decides."""

import pytest
import torch
from torch import Tensor

from tiny import TinyRecording, Whole
from vo3d.datasets.place_tuples import PlaceTuples
from vo3d.errors import Vo3dError


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
    with pytest.raises(Vo3dError, match=r"no view of 1 recordings has 1 others within 10\.0 m and 10 beyond 25\.0 m"):
        PlaceTuples(Whole([Line(20)]))
    with pytest.raises(Vo3dError, match=r"near 30\.0, far 25\.0"):
        PlaceTuples(Whole([Line()]), near=30.0)

    class Blind(Line):
        def positions(self) -> None:
            return None

    with pytest.raises(Vo3dError, match="tiny-0 has no positions"):
        PlaceTuples(Whole([Blind()]))

"""Retrieval metrics: by hand, against loops over thresholds and lists, with ties and queries that cannot be found."""

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.metrics.retrieval import (
    NEVER,
    average_precision,
    best_views,
    depths_of,
    first_right,
    keep_first,
    other_times,
    precision_recall,
    recall_at_full_precision,
    recalls,
    retrieval_metrics,
)


def test_recall_counts_a_query_that_cannot_be_found_as_a_miss() -> None:
    right = torch.tensor([[True, False, True], [False, False, True], [False, False, False], [False, True, False]])
    rank = first_right(right)  # nothing is right for the third
    assert rank.tolist() == [1, 3, NEVER, 2]
    assert recalls(rank, (1, 2, 3)) == {1: 25.0, 2: 50.0, 3: 75.0}
    assert first_right(torch.zeros(2, 0, dtype=torch.bool)).tolist() == [NEVER, NEVER]
    with pytest.raises(Vo3dError, match="no query to measure"):
        recalls(rank[:0], (1,))


def test_depths_end_where_the_database_does() -> None:
    assert [depths_of(num) for num in (1, 3, 7)] == [(1,), (1, 2, 3), (1, 2, 3, 4, 5)]
    assert depths_of(1000)[-4:] == (85, 90, 95, 100)


def test_precision_and_recall_by_hand() -> None:
    squared = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    right = torch.tensor([True, True, False, True, False])
    findable = torch.tensor([True, True, True, True, False])
    curve = precision_recall(squared, right, findable)
    torch.testing.assert_close(curve.precision, torch.tensor([1, 1, 2 / 3, 3 / 4, 3 / 5], dtype=torch.float64))
    torch.testing.assert_close(curve.recall, torch.tensor([1, 2, 2, 3, 3], dtype=torch.float64) / 4)
    assert average_precision(curve) == pytest.approx(0.25 + 0.25 + 0.25 * 0.75)
    assert recall_at_full_precision(curve) == 0.5
    found = retrieval_metrics(torch.tensor([1, 1, 4, 1, NEVER]), squared, findable, (1, 4))
    assert found["recall_at_1_percent"] == pytest.approx(60)
    assert found["recall_at_4_percent"] == pytest.approx(80)
    assert (found["recall_at_100_precision_percent"], found["queries_without_positive"]) == (50, 1)


def test_matches_of_one_distance_are_believed_together() -> None:
    squared, right = torch.tensor([0.2, 0.2, 0.2]), torch.tensor([True, False, True])
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        curve = precision_recall(squared[order], right[order], torch.ones(3, dtype=torch.bool))
        assert curve.precision.tolist() == pytest.approx([2 / 3])
        assert recall_at_full_precision(curve) == 0


def test_the_curve_is_that_of_a_loop_over_thresholds(generator: torch.Generator) -> None:
    squared = torch.randint(0, 12, (80,), generator=generator).double() / 7  # with ties
    findable = torch.rand(80, generator=generator) < 0.8
    right = findable & (torch.rand(80, generator=generator) < 0.6)
    squared[3] = torch.inf  # nothing was found for it
    right[3] = False
    curve = precision_recall(squared, right, findable)
    area = before = 0.0
    points = []
    for level in sorted({value for value in squared.tolist() if value < torch.inf}):
        believed = [bool(one) for one, far in zip(right, squared.tolist(), strict=True) if far <= level]
        points.append((sum(believed) / len(believed), sum(believed) / int(findable.sum())))
        area += (points[-1][1] - before) * points[-1][0]
        before = points[-1][1]
    torch.testing.assert_close(
        torch.stack((curve.precision, curve.recall), 1), torch.tensor(points, dtype=torch.float64)
    )
    assert average_precision(curve) == pytest.approx(area)
    assert curve.recall[-1].item() == pytest.approx(int(right.sum()) / int(findable.sum()))


def test_nothing_is_recalled_where_nothing_can_be_found() -> None:
    nobody = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(Vo3dError, match="no query has a right image"):
        precision_recall(torch.zeros(2), nobody, nobody)
    found = retrieval_metrics(torch.full((2,), NEVER), torch.zeros(2), nobody, (1,))
    assert (found["pr_auc"], found["recall_at_1_percent"], found["queries_without_positive"]) == (None, 0, 2)


def test_a_panorama_counts_once_by_its_best_view(generator: torch.Generator) -> None:
    panorama = torch.arange(60) // 12
    index = torch.stack([torch.randperm(60, generator=generator) for _ in range(6)])
    index[2, 50:] = -1
    kept = keep_first(best_views(index, panorama), index, 4)
    for row, places in zip(index.tolist(), kept.tolist(), strict=True):
        slow: dict[int, int] = {}
        for place, image in enumerate(row):
            if image >= 0:
                slow.setdefault(image // 12, place)
        assert places == list(slow.values())[:4]


def test_images_of_the_own_time_are_dropped() -> None:
    index = torch.tensor([[3, 1, 0, 2], [0, 2, 1, -1]])
    time, own = torch.tensor([5.0, 6.0, 5.0, 7.0]).double(), torch.tensor([5.0, 6.0]).double()
    keep = other_times(index, time, own)
    assert keep.tolist() == [[True, True, False, False], [True, True, False, False]]
    assert keep_first(keep, index, 3).tolist() == [[0, 1, -1], [0, 1, -1]]

"""k-means: against a loop over vectors, what separates, what coincides, what never rises."""

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.retrieval import kmeans as room
from vo3d.retrieval.kmeans import kmeans


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def objective(vectors: Tensor, centres: Tensor, nearest: Tensor) -> float:
    return float((vectors.double() - centres.double()[nearest]).square().sum())


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "VALUES", 64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_separable_clusters_are_found_wherever_they_lie(seed: int, offset: float) -> None:
    truth = torch.arange(90) % 6
    means = offset + 20 * torch.eye(6, 8)
    vectors = means[truth] + 0.5 * drawn(90, 8)
    found = kmeans(vectors, 6, seed=seed)
    assert torch.equal(found.nearest[:, None] == found.nearest, truth[:, None] == truth)
    expected = torch.stack([vectors[found.nearest == k].double().mean(0) for k in range(6)]).float()
    torch.testing.assert_close(found.centres, expected, rtol=1e-6, atol=1e-6)
    assert found.iterations < 100


def test_each_iteration_is_that_of_a_loop_and_the_sum_of_squares_never_rises() -> None:
    vectors = drawn(200, 5)
    start = kmeans(vectors, 7, iterations=1)
    before = objective(vectors, start.centres, start.nearest)
    for iterations in range(2, 100):
        found = kmeans(vectors, 7, iterations=iterations)
        if found.iterations < iterations:
            break
        centres = torch.stack([vectors[start.nearest == k].mean(0) for k in range(7)])
        torch.testing.assert_close(found.centres, centres)
        slow = [int((centres - vector).square().sum(1).argmin()) for vector in vectors]
        assert found.nearest.tolist() == slow
        now = objective(vectors, found.centres, found.nearest)
        assert now <= before
        start, before = found, now
    assert 5 < iterations < 99
    assert torch.equal(found.nearest, start.nearest)


def test_an_empty_cluster_starts_from_the_farthest_vector() -> None:
    vectors = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    centres = torch.tensor([[1.0], [500.0], [400.0]])
    assert room._means(vectors, centres, torch.tensor([0, 0, 0, 0])).flatten().tolist() == [13.25, 50.0, 0.0]


def test_vectors_that_coincide_end_with_empty_clusters_and_as_many_clusters_as_vectors_with_none() -> None:
    some = drawn(3, 4)
    found = kmeans(some.repeat(5, 1), 6)
    assert objective(some.repeat(5, 1), found.centres, found.nearest) == 0
    assert len(found.nearest.unique()) == 3
    assert found.iterations < 5
    assert torch.equal(found.nearest[:3], found.nearest[3:6])
    assert sorted(kmeans(drawn(9, 4), 9).nearest.tolist()) == list(range(9))
    assert torch.allclose(kmeans(drawn(9, 4), 1).centres, drawn(9, 4).mean(0))


def test_the_start_prefers_what_is_far_and_the_seed_decides() -> None:
    vectors = torch.cat([0.01 * drawn(500, 2), 100 + 0.01 * drawn(1, 2)])
    assert all(kmeans(vectors, 2, iterations=1, seed=seed).nearest.bincount().min() == 1 for seed in range(10))
    first, again, other = (kmeans(drawn(80, 3), 8, iterations=1, seed=seed).centres for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert kmeans(drawn(80, 3).half(), 8).centres.dtype == torch.float32


def test_autocast_changes_nothing() -> None:
    expected = kmeans(drawn(200, 5), 7)
    with torch.autocast("cpu", torch.bfloat16):
        found = kmeans(drawn(200, 5), 7)
    assert torch.equal(found.centres, expected.centres)


def test_what_cannot_be_clustered_is_refused() -> None:
    holed = drawn(80, 3)
    holed[70, 1] = torch.inf
    for vectors, num, iterations, words in (
        (drawn(12, 3), 64, 100, "12 descriptors for 64 clusters: expected at least as many"),
        (holed, 4, 100, "NaN or infinite"),
        (drawn(12, 3), 0, 100, "0 clusters in 100 iterations"),
        (drawn(12, 3), 2, 0, "2 clusters in 0 iterations"),
    ):
        with pytest.raises(Vo3dError, match=words):
            kmeans(vectors, num, iterations=iterations)

"""Thinning and distances of clouds against slow loops over the rules, and values counted by hand."""

import math

import numpy as np
import pytest

from vo3d.errors import Vo3dError
from vo3d.metrics import thinning
from vo3d.metrics.clouds import cloud_metrics, nearest
from vo3d.metrics.thinning import thin_points


def walk(points: np.ndarray, radius: float, seed: int) -> list[int]:
    """The rule of the thinning, one point after the other."""
    alive = np.ones(len(points), bool)
    for row in np.random.default_rng(seed).permutation(len(points)):
        if alive[row]:
            square = ((points.astype(np.float64) - points[row].astype(np.float64)) ** 2).sum(axis=1)
            alive[square <= radius * radius] = False
            alive[row] = True
    return np.nonzero(alive)[0].tolist()


def clouds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    lattice = np.stack(np.meshgrid(*(np.arange(12) * 0.1,) * 3), axis=-1).reshape(-1, 3)
    return {
        "even": rng.random((3000, 3)) * 2,
        "float32": (rng.random((3000, 3)) * 2).astype(np.float32),
        "surface": np.c_[rng.random((4000, 2)) * 3, np.zeros(4000)],
        "clusters": np.repeat(rng.random((40, 3)), 60, axis=0) + rng.normal(size=(2400, 3)) * 0.05,
        "duplicates": np.repeat(rng.random((200, 3)), 10, axis=0),
        "lattice": lattice,  # many distances are the radius, up to the last bit
        "far": rng.random((2000, 3)) + 1e4,
        "line": np.c_[np.arange(2000) * 0.15, np.zeros((2000, 2))],
        "one": np.zeros((1, 3)),
        "none": np.empty((0, 3)),
    }


@pytest.mark.parametrize("name", clouds())
@pytest.mark.parametrize("slices", [(4096, 4_000_000), (16, 4_000_000), (16, 300)], ids=["whole", "sliced", "halved"])
def test_thinning_equals_the_walk(name: str, slices: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "FIRST_SLICE", slices[0])
    monkeypatch.setattr(thinning, "MOST_PAIRS", slices[1])
    points = clouds()[name]
    for seed in (0, 1):
        assert thin_points(points, 0.2, seed, workers=1).tolist() == walk(points, 0.2, seed)


def test_thinning_keeps_points_apart_and_covers_the_rest() -> None:
    points = np.random.default_rng(2).random((20_000, 3)) * 4
    stayed = thin_points(points, 0.2, seed=3)
    kept = points[stayed]
    apart = np.array([np.delete(((kept - p) ** 2).sum(1), i).min() for i, p in enumerate(kept)])
    assert apart.min() > 0.2**2
    assert nearest(points, kept)[0].max() <= 0.2
    assert thin_points(kept, 0.2, seed=4).tolist() == [*range(len(kept))]
    assert thin_points(points, 0.2, seed=4).tolist() != stayed.tolist()
    assert thin_points(points, 0.2, seed=3, workers=2).tolist() == stayed.tolist()


def test_a_distance_equal_to_the_radius_is_within_it() -> None:
    points = np.array([[0.0, 0, 0], [0.2, 0, 0]])
    assert len(thin_points(points, 0.2)) == 1
    assert len(thin_points(points, np.nextafter(0.2, 0))) == 2


def test_many_points_in_one_place_need_no_memory_for_their_pairs() -> None:
    points = np.zeros((300_000, 3), np.float32)
    assert thin_points(points, 0.2).tolist() == [np.random.default_rng(0).permutation(300_000)[0]]


def test_nearest_equals_a_loop() -> None:
    rng = np.random.default_rng(5)
    points, others = rng.random((300, 3)).astype(np.float32), rng.random((200, 3))
    all_pairs = np.sqrt(((points[:, None].astype(np.float64) - others) ** 2).sum(-1))
    distances, rows = nearest(points, others)
    np.testing.assert_allclose(distances, all_pairs.min(1), rtol=1e-14)
    assert (rows == all_pairs.argmin(1)).all()
    bounded, bounded_rows = nearest(points, others, bound=0.08)
    far = all_pairs.min(1) >= 0.08
    assert 10 < far.sum() < 290
    assert (np.isinf(bounded) == far).all()
    assert (bounded_rows[far] == len(others)).all()
    np.testing.assert_array_equal(bounded[~far], distances[~far])
    nothing = nearest(points, np.empty((0, 3)))
    assert np.isinf(nothing[0]).all()
    assert (nothing[1] == 0).all()


def test_cloud_metrics_by_hand() -> None:
    reference = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [30, 0, 0]])
    prediction = np.array([[0.0, 1, 0], [10, 0, 2], [10, 0, 0.5], [0, 0, 50]])
    found = cloud_metrics(prediction, reference, (1.0, 2.5), cut=15.0)
    assert found == {
        "cloud_num_predicted": 4,
        "cloud_num_reference": 4,
        "cloud_accuracy": pytest.approx((1 + 2 + 0.5) / 3),  # the fourth is 50 away: cut
        "cloud_accuracy_median": 1.0,
        "cloud_completeness": pytest.approx((1 + 0.5 + math.hypot(10, 0.5)) / 3),  # the fourth is cut
        "cloud_completeness_median": 1.0,
        "cloud_precision_1_percent": 25.0,  # a distance of 1 is not less than 1
        "cloud_recall_1_percent": 25.0,
        "cloud_f_score_1_percent": 25.0,
        "cloud_precision_2.5_percent": 75.0,
        "cloud_recall_2.5_percent": 50.0,
        "cloud_f_score_2.5_percent": pytest.approx(60.0),
    }
    whole = cloud_metrics(prediction, reference, ())
    assert whole["cloud_accuracy"] == pytest.approx((1 + 2 + 0.5 + 50) / 4)


def test_cloud_metrics_do_not_depend_on_the_frame_or_the_unit() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random((500, 3)), rng.random((400, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    plain = cloud_metrics(a, b, (0.05,), cut=0.1)
    moved = cloud_metrics(1000 * (a @ turn.T + 3), 1000 * (b @ turn.T + 3), (50.0,), cut=100.0)
    assert 0 < plain["cloud_f_score_0.05_percent"] < 100
    assert moved["cloud_f_score_50_percent"] == plain["cloud_f_score_0.05_percent"]
    assert moved["cloud_accuracy"] == pytest.approx(1000 * plain["cloud_accuracy"])
    swapped = cloud_metrics(b, a, (0.05,), cut=0.1)
    assert swapped["cloud_accuracy"] == plain["cloud_completeness"]
    assert swapped["cloud_recall_0.05_percent"] == plain["cloud_precision_0.05_percent"]


def test_an_empty_cloud_has_no_accuracy_and_no_recall() -> None:
    found = cloud_metrics(np.empty((0, 3)), np.zeros((2, 3)), (1.0,))
    assert found["cloud_recall_1_percent"] == 0
    for name in ("accuracy", "accuracy_median", "completeness", "precision_1_percent", "f_score_1_percent"):
        assert math.isnan(found[f"cloud_{name}"])
    far = cloud_metrics(np.full((2, 3), 9.0), np.zeros((2, 3)), (1.0,))
    assert far["cloud_f_score_1_percent"] == 0


def test_bad_input_gets_one_line() -> None:
    points = np.zeros((4, 3))
    broken = points.copy()
    broken[1, 2], broken[3, 0] = np.nan, np.inf
    with pytest.raises(Vo3dError, match="2 of 4 points of the prediction are NaN or infinite, the first is number 1"):
        cloud_metrics(broken, points, (1.0,))
    with pytest.raises(Vo3dError, match="2 of 4 points of the reference"):
        cloud_metrics(points, broken, (1.0,))
    with pytest.raises(Vo3dError, match="2 of 4 points of the cloud to thin"):
        thin_points(broken, 0.2)
    for wrong in ((0.0,), (1.0, 1.0), (math.nan,), (3.0,)):
        with pytest.raises(Vo3dError, match="different positive numbers, none beyond the cut"):
            cloud_metrics(points, points, wrong, cut=2.0)
    with pytest.raises(Vo3dError, match="distances are cut at"):
        cloud_metrics(points, points, (), cut=0.0)
    for radius in (0.0, math.nan, math.inf):
        with pytest.raises(Vo3dError, match="thinning radius"):
            thin_points(points, radius)

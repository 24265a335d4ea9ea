"""The numbers of clouds out of distances: what `distance_metrics` refuses by itself, and where its limits lie."""

import math

import numpy as np
import pytest

from vo3d.errors import Vo3dError
from vo3d.metrics.clouds import distance_metrics

TO_REFERENCE = np.array([0.5, 1.0, 2.0, 3.0, math.inf])
TO_PREDICTION = np.array([0.5, 2.5])


@pytest.mark.parametrize(
    ("distances", "cut"),
    [((0.0,), 2.0), ((-1.0,), 2.0), ((1.0, 1.0), 2.0), ((math.nan,), 2.0), ((math.inf,), math.inf), ((2.5,), 2.0),
     ((1.0, 2.000001), 2.0)],
)  # fmt: skip
def test_distances_without_sense_are_refused_also_without_clouds(distances: tuple[float, ...], cut: float) -> None:
    with pytest.raises(Vo3dError, match="different positive numbers, none beyond the cut"):
        distance_metrics(TO_REFERENCE, TO_PREDICTION, distances, cut=cut)


@pytest.mark.parametrize("cut", [0.0, -1.0, math.nan])
def test_a_cut_that_is_not_positive_is_refused_also_without_clouds(cut: float) -> None:
    with pytest.raises(Vo3dError, match="distances are cut at"):
        distance_metrics(TO_REFERENCE, TO_PREDICTION, (), cut=cut)


def test_a_distance_may_be_the_cut_itself_and_what_is_as_far_does_not_count() -> None:
    found = distance_metrics(TO_REFERENCE, TO_PREDICTION, (1.0, 2.0), cut=2.0)
    assert found == {
        "cloud_num_predicted": 5,
        "cloud_num_reference": 2,
        "cloud_accuracy": 0.75,  # of 0.5 and 1
        "cloud_accuracy_median": 0.75,
        "cloud_completeness": 0.5,
        "cloud_completeness_median": 0.5,
        "cloud_precision_1_percent": 20.0,
        "cloud_recall_1_percent": 50.0,
        "cloud_f_score_1_percent": pytest.approx(2 * 20 * 50 / 70),
        "cloud_precision_2_percent": 40.0,
        "cloud_recall_2_percent": 50.0,
        "cloud_f_score_2_percent": pytest.approx(2 * 40 * 50 / 90),
    }


def test_without_a_cut_infinite_distances_still_do_not_enter_the_mean() -> None:
    found = distance_metrics(TO_REFERENCE, TO_PREDICTION, (10.0,))
    assert found["cloud_accuracy"] == pytest.approx(6.5 / 4)
    assert found["cloud_accuracy_median"] == 1.5
    assert found["cloud_precision_10_percent"] == 80.0

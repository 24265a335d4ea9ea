"""Rendered walks as sets of places: positions, matches, and images that do not depend on what was asked before."""

import pickle

import pytest
import torch

from vo3d.datasets.rendered_walks import RenderedWalks
from vo3d.errors import Vo3dError

SMALL = {"size": (12, 16), "length": 20.0, "query_times": ("night", "rain")}


def test_a_set_has_the_places_apart_and_views_that_tell_place_time_and_metres():
    walks = RenderedWalks([7, 9], **SMALL)
    (places,) = walks.sets
    assert places.database.names[:2] == ["0007-day-1/0000m", "0007-day-1/0005m"]
    assert [part.name for part in places.queries.parts] == [
        f"{place}-{time}-1" for place in ("0007", "0009") for time in ("night", "rain")
    ]
    sample = places.queries.clip([len(places.queries) - 1])
    assert sample.image.shape == (1, 3, 12, 16)
    assert torch.equal(sample.world_T_cam[0, :3, 3], places.queries.positions()[-1])
    pose = places.queries.parts[-1].poses()[-1]
    assert torch.equal(sample.world_T_cam[0, :3, 3] - pose[:3, 3], torch.tensor([140.0, 0, 0]).double())
    numbers = {name: index for index, name in enumerate(places.database.names)}
    for query, name in enumerate(places.queries.names):
        right = places.positives(query)
        assert 1 <= len(right) <= 5
        assert {places.database.names[view][:4] for view in right} == {name[:4]}
        nearest = 5 * round(int(name[-5:-1]) / 5)
        assert numbers.get(f"{name[:4]}-day-1/{min(nearest, 20):04d}m") in right


def test_sets_by_time_share_the_database_and_hold_the_images_of_the_one_set():
    one, by_time = RenderedWalks([7], cache=True, **SMALL), RenderedWalks([7], by_time=True, **SMALL)
    assert [places.name for places in by_time.sets] == ["walks-night", "walks-rain"]
    assert by_time.sets[0].database is by_time.sets[1].database
    assert len(by_time.recordings) == 3
    assert [name for places in by_time.sets for name in places.queries.names] == list(one.sets[0].queries.names)
    copy = pickle.loads(pickle.dumps(by_time))  # noqa: S301
    assert len(one) == len(copy)
    for view in reversed(range(len(one))):  # in the other order, in another copy, without a cache
        assert torch.equal(one[view].image, copy[view].image)
    assert not torch.equal(one[0].image, one[1].image)


def test_composed_samples_are_views_of_both_recordings():
    walks = RenderedWalks([7], **SMALL)
    query = walks.first_view(walks.sets[0].queries)
    sample = walks.compose([query, 0])
    assert torch.equal(sample.image[0], walks[query].image[0])
    assert torch.equal(sample.image[1], walks[0].image[0])


def test_another_seed_of_the_walk_draws_other_passes_along_the_same_places():
    one, other = (RenderedWalks([7], seed_of_walk, **SMALL).sets[0] for seed_of_walk in (0, 1))
    assert not torch.equal(one.queries.positions()[:3], other.queries.positions()[:3])
    assert float((one.database.positions() - other.database.positions()).norm(dim=1).max()) < 1.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seeds": []}, "no seeds of rendered walks"),
        ({"seeds": [3, 3]}, "one is named twice"),
        ({"walk_seed": -1}, "seed -1 of a walk: expected a whole number"),
        ({"seeds": [-1]}, "place -1 of a walk: expected a whole number"),
        ({"size": (0, 8)}, "size"),
        ({"metres": -1.0}, "matches within -1.0"),
    ],
)
def test_bad_arguments_are_one_line(settings, words):
    with pytest.raises(Vo3dError, match=words) as caught:
        RenderedWalks(**{**SMALL, **settings})
    assert "\n" not in str(caught.value)

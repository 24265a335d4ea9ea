"""Sets of places out of other data: joined recordings, and one that is searched for its own images."""

from typing import Any

import pytest
import torch

from tiny import Whole
from tiny_places import Swatches
from vo3d.datasets.place_tuples import PlaceTuples
from vo3d.datasets.places_of import PlacesOf
from vo3d.errors import Vo3dError
from vo3d.retrieval.place_search import count_places, search_places

ROUND = [10.0 * place for place in range(36)]  # 1.74 m apart


def test_recordings_of_each_join() -> None:
    database = Whole([Swatches("morning", ROUND[:18]), Swatches("noon", ROUND[18:])])
    dataset = PlacesOf(database, Whole([Swatches("night", [44.0, 184.0])]), metres=2.0)

    (places,) = dataset.sets
    assert [one.name for one in dataset.recordings] == ["places_database", "night"]
    assert [places.positives(query).tolist() for query in range(2)] == [[4, 5], [18, 19]]
    assert places.database.names[18] == "noon/000000"
    assert torch.equal(places.database.clip((19,)).image, database.recordings[1].clip((1,)).image)
    assert len(PlaceTuples(dataset, near=2.0, far=5.0)) == 2


def test_a_drive_is_searched_for_places_that_it_comes_back_to() -> None:
    """Two rounds: what is right is the other round, not the frames before and after."""
    drive = Swatches("drive", ROUND + [angle + 2 for angle in ROUND])
    (places,) = PlacesOf(Whole([drive]), metres=2.0, apart=3).sets
    rows = drive.positions().float()
    assert count_places(places) == 72 - 7

    nearest, _ = search_places(places, rows, rows, "auto")

    for query in range(72):
        allowed = [other for other in range(72) if abs(other - query) > 3]
        distances = (rows[allowed] - rows[query]).norm(dim=-1)
        slow = [allowed[place] for place in distances.argsort(stable=True)[:65]]
        listed = nearest.index[query][nearest.index[query] >= 0].tolist()
        assert set(listed) <= set(allowed)
        assert len(listed) == 65
        assert listed[0] == slow[0] == (query + 36) % 72
        near = [other for other in allowed if (rows[other] - rows[query]).norm() <= 2]
        assert places.positives(query).tolist() == near


def test_an_image_in_no_order_is_not_found_itself() -> None:
    (places,) = PlacesOf(Whole([Swatches("album", ROUND)]), metres=2.0, apart=0).sets
    rows = places.database.positions().float()
    nearest, _ = search_places(places, rows, rows, "auto")
    assert nearest.index.shape == (36, 35)
    assert not (nearest.index == torch.arange(36)[:, None]).any()
    assert [places.positives(query).tolist() for query in (0, 7)] == [[1, 35], [6, 8]]


def test_what_makes_no_set_is_one_line() -> None:
    album, same, blind = Swatches("album", ROUND), Swatches("album", ROUND), Swatches("blind", ROUND, placed=False)
    unknown = Swatches("unknown", ROUND)
    unknown.metric = False
    for arguments, words in (
        ({"database": Whole([album, blind]), "apart": 1}, "blind has no positions: places within 25 m"),
        ({"database": Whole([album]), "queries": Whole([blind])}, "blind has no positions"),
        ({"database": Whole([unknown]), "apart": 1}, "unknown has positions in an unknown unit"),
        ({"database": Whole([album])}, "where the frame beside it would always be found: give apart"),
        ({"database": Whole([album]), "apart": -1}, "album: apart is -1: expected at least 0 frames"),
        ({"database": Whole([album]), "queries": Whole([same])}, "album is in the database and in the queries"),
        ({"database": Whole([album]), "queries": Whole([unknown]), "apart": 1}, "unknown unit"),
        ({"database": Whole([album]), "queries": Whole([Swatches("b", ROUND)]), "apart": 1}, "beside queries"),
    ):
        settings: dict[str, Any] = dict(arguments)
        with pytest.raises(Vo3dError, match=words):
            PlacesOf(**settings)

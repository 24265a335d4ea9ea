"""Walks: passes along one place at other times, in other lanes and headings; where their views are."""

import math

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, se3
from vo3d.world.recorder import Recorder
from vo3d.world.scenes.street import way
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit
from vo3d.world.walk import LANES, Walk

WALK = Walk(length=40.0, traffic=0.0)


def test_a_camera_with_yaw_looks_to_the_right():
    """What is straight ahead of a camera without yaw is seen at the left, tan(yaw) of the focal length."""
    visit = Visit(place_seed=3, path_seed=1)
    ahead, turned = (Recorder("street", 1, 8, (8, 16), Sensor(yaw=yaw), visit=visit) for yaw in (0.0, 0.2))
    point = se3.transform(ahead.poses()[0], torch.tensor([[0.0, 0.0, 10.0]], dtype=torch.float64))
    x, _, z = se3.transform(se3.inverse(turned.poses()[0]), point)[0].tolist()
    assert x / z == pytest.approx(-math.tan(0.2), abs=2e-3)
    torch.testing.assert_close(turned.poses()[:, :3, 3], ahead.poses()[:, :3, 3])


def test_views_lie_at_their_metres_of_the_road_in_the_lane_of_their_pass():
    for one in (*WALK.database(7, 0), *WALK.queries(7, 0)):
        line, camera = way(one.visit.seeds(0), 300, one.sensor, one.visit)
        metres = torch.tensor(one.metres, dtype=torch.float64)
        expected = line.at(60.0 + metres, camera.lateral)  # the world's origin is 60 metres along the line
        along = (one.poses[:, [0, 2], 3] - expected[:, :2]).norm(dim=1)
        assert float(along.max()) < 0.25 + 0.2, one.name  # half a frame, and how far the car sways
        assert metres.diff().tolist() == pytest.approx([5.0] * (len(metres) - 1))
        ahead = one.poses[:, [0, 2], 2]
        heading = torch.atan2(ahead[:, 0], ahead[:, 1]) - expected[:, 2]
        assert float((heading - one.sensor.yaw).abs().max()) < 0.05


def test_passes_differ_in_time_lane_heading_and_phase():
    database, queries = WALK.database(7, 0), WALK.queries(7, 0)
    assert [one.visit.time for one in (*database, *queries)] == ["day", "low-sun", "night", "rain", "fog"]
    assert database[0].visit.lateral is None
    assert database[0].sensor.yaw == database[0].metres[0] == 0.0
    assert all(0.5 <= one.metres[0] <= 4.5 and LANES[0] <= one.visit.lateral <= LANES[1] for one in queries)
    assert all(0 < abs(one.sensor.yaw) <= math.radians(15) for one in queries)
    for name in ("lateral", "time_seed", "movers_seed", "path_seed"):
        assert len({getattr(one.visit, name) for one in (*database, *queries)}) == 5, name
    assert Walk(turn=0.0).queries(7, 0)[0].sensor.yaw == 0.0
    other = WALK.queries(7, 1)
    assert {one.visit.time_seed for one in other}.isdisjoint(one.visit.time_seed for one in queries)
    # a pass is drawn from what it is called by, not from what is drawn beside it
    alone = Walk(length=40.0, traffic=0.0, query_times=("fog",), passes=2).queries(7, 0)
    assert [one.name for one in alone] == ["0007-fog-1", "0007-fog-2"]
    assert alone[0] == queries[3]
    assert WALK.queries(7, 0, "night") == [queries[1]]


def test_a_query_sees_the_place_of_the_database():
    """Points that a query sees lie where the nearest view of the database sees a surface, or behind one."""
    database, query = WALK.database(7, 0)[0], WALK.queries(7, 0, "fog")[0]
    assert torch.equal(query.recorder((8, 16)).poses()[query.indices], query.poses)
    one, other = query.recorder((48, 64)), database.recorder((144, 192))
    seen = one.frame(query.indices[2]).depth.double()
    points = se3.transform(query.poses[2], backproject(one.camera.K, seen))[seen > 0]
    inside = se3.transform(se3.inverse(database.poses[2]), points)
    pixel = (inside @ other.camera.K.mT)[:, :2] / inside[:, 2:]
    visible = (inside[:, 2] > 2) & (inside[:, 2] < 30) & (pixel > 0).all(1)
    visible &= (pixel < torch.tensor([191, 143])).all(1)
    where = pixel[visible].round().long()
    depth = other.frame(database.indices[2]).depth[where[:, 1], where[:, 0]].double()
    ratio = inside[visible, 2] / torch.where(depth > 0, depth, torch.inf)
    assert len(ratio) > 300
    assert float((ratio > 0.97).double().mean()) > 0.97
    assert float(((ratio - 1).abs() < 0.03).double().mean()) > 0.5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"query_times": ("any",)}, r"query_times \('any',\): expected a list of some of day, low-sun, night"),
        ({"database_times": ()}, r"database_times \(\): expected"),
        ({"query_times": ("fog", "fog")}, "each once"),
        ({"spacing": 0.0}, "spacing 0.0 of a walk: expected metres between two views, at least 1"),
        ({"spacing": math.nan}, "spacing nan"),
        ({"length": 9.0}, r"length 9.0 of a walk: expected metres of road, at least two spacings \(10\)"),
        ({"length": math.inf}, "length inf .* at most 5000"),
        ({"passes": 0}, "passes 0 of a walk: expected at least 1"),
        ({"turn": -1.0}, "turn -1.0 of a walk: expected degrees from 0 to 180"),
        ({"traffic": -1.0}, "traffic -1.0"),
    ],
)
def test_what_no_walk_has_is_refused_by_name(settings, words):
    with pytest.raises(Vo3dError, match=words) as caught:
        Walk(**settings)
    assert "\n" not in str(caught.value)

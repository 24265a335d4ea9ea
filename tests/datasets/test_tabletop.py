"""Rendered tables and drives as multi-view samples."""

import pickle

import pytest
import torch

from vo3d.datasets.street_views import StreetScene, StreetViews
from vo3d.datasets.tabletop import Tabletop, TabletopScene, drawn_light
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.warp import warp_by_depth
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor, drawn_sensor
from vo3d.world.stills import Stills
from vo3d.world.visit import Visit

SIZE = (64, 80)


def photometric(sample, source, least=0.3):
    """Median differences between the reference and a source, warped by the true depth and not, over the same pixels."""
    source_T_reference = se3.relative(sample.world_T_cam[source].double(), sample.world_T_cam[0].double()).float()
    warped, valid = warp_by_depth(
        sample.image[source], sample.depth[0], sample.K[0], source_T_reference, sample.K[source]
    )
    assert float(valid.float().mean()) > least
    good, bad = (
        float((image - sample.image[0]).abs().mean(0)[valid].median()) for image in (warped, sample.image[source])
    )
    return good, bad


@pytest.fixture(scope="module")
def tables() -> Tabletop:
    return Tabletop(seeds=(0, 3), size=SIZE, num_views=3, views_per_scene=16, cache=True)


def test_samples_hold_what_multi_view_models_need(tables):
    assert len(tables) == 2 * 16
    sample = tables[20]
    assert sample.given() == ("image", "K", "world_T_cam", "depth", "depth_range", "scene", "index")
    assert sample.image.shape == (3, 3, *SIZE)
    assert sample.depth.shape == (3, *SIZE)
    assert sample.scene == f"tabletop-0003-light{drawn_light(3)}"
    assert sample.index[0] == 4
    near, far = sample.depth_range.unbind(-1)
    torch.testing.assert_close(torch.stack((near, far)), torch.tensor([[0.425], [0.935]]).expand(2, 3))
    seen = sample.depth[sample.depth > 0]
    assert len(seen) > 0.4 * sample.depth.numel()
    assert float(seen.min()) >= 0.425
    assert float(seen.max()) <= 0.935
    for scene in tables.recordings:
        assert scene.names[3] == "00000003"
        assert scene.poses().shape == (16, 4, 4)
        for index in range(16):
            sources = scene.sources(index)
            assert len(sources) == 10
            assert index not in sources


@pytest.mark.parametrize("index", [3, 8, 21, 30])
def test_sources_warped_by_the_depth_look_like_the_reference(tables, index):
    sample = tables[index]
    for source in (1, 2):
        good, bad = photometric(sample, source)
        assert good < 12 / 255  # exposures differ by some percent
        assert good < 0.5 * bad


def test_the_cache_changes_nothing():
    stills = Stills(2, SIZE, views=6)
    plain, cached = TabletopScene(stills, 1), TabletopScene(stills, 1, cache=True)
    for _ in range(2):
        one, two = plain.clip([4, 0]), cached.clip([4, 0])
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.depth, two.depth)
    copy = pickle.loads(pickle.dumps(cached))  # noqa: S301 - our own bytes
    assert torch.equal(copy.clip([4]).image, one.image[:1])


def test_lights_are_scenes_of_one_table():
    tables = Tabletop(seeds=(1,), size=SIZE, views_per_scene=4, lights=(0, 3))
    assert [scene.name for scene in tables.recordings] == ["tabletop-0001-light0", "tabletop-0001-light3"]
    lamp, diffuse = tables[0], tables[4]
    assert torch.equal(lamp.depth, diffuse.depth)
    assert float((lamp.image - diffuse.image).abs().mean()) > 0.02
    assert len({drawn_light(seed) for seed in range(40)}) == 7


def test_seeds_may_be_a_range():
    assert [scene.stills.seed for scene in Tabletop("2-4", SIZE, views_per_scene=4).recordings] == [2, 3, 4]
    for wrong in ("4-2", "a-3", "5"):
        with pytest.raises(Vo3dError, match="expected whole numbers, or a range"):
            Tabletop(wrong, SIZE)
    with pytest.raises(Vo3dError, match="named twice"):
        Tabletop((1, 1), SIZE)
    with pytest.raises(Vo3dError, match="seed is -1"):
        Tabletop((1,), SIZE, views_per_scene=4, augmentation_seed=-1)
    drives = StreetViews("2-3", SIZE, frames=4, num_views=2)
    assert [scene.name for scene in drives.recordings] == ["street-0002", "street-0003"]


def test_wrong_arguments_are_named():
    stills = Stills(0, SIZE, views=4)
    with pytest.raises(Vo3dError, match="view 4 of 'tabletop-0000-light2': expected 0 to 3"):
        TabletopScene(stills, 2).clip([0, 4])
    with pytest.raises(Vo3dError, match="frame 4 of 'street-0001': expected 0 to 3"):
        StreetScene(1, SIZE, frames=4).clip([4])
    with pytest.raises(Vo3dError, match="light 9"):
        TabletopScene(stills, 9)
    for build in (lambda: TabletopScene(stills, 0, depth_range=(1.0, 0.5)), lambda: StreetScene(0, SIZE,
                  frames=4, depth_range=(0.0, 9.0))):  # fmt: skip
        with pytest.raises(Vo3dError, match="expected 0 < near < far"):
            build()


@pytest.fixture(scope="module")
def drives() -> StreetViews:
    return StreetViews(seeds=(0,), size=SIZE, frames=12, num_views=3)


def test_drives_are_seen_by_any_camera():
    lens = Sensor(noise=0.0, lens=("radtan", (-0.25, 0.05, 0.0, 0.0)))
    bent, plain = (StreetViews((0,), SIZE, frames=4, num_views=2, sensor=sensor) for sensor in (lens, None))
    K = bent[1].K[0].double()
    assert abs(float(K[0, 0]) - float(plain[1].K[0, 0, 0])) > 1
    ideal = Recorder("street", 0, 4, SIZE, Sensor(noise=0.0, samples=2), K=K).frame(1)
    scene = bent.recordings[0].clip([1])
    assert float((scene.image[0] - ideal.image / 255).abs().mean()) < 0.03
    near = scene.depth[0] > 0
    torch.testing.assert_close(scene.depth[0][near], ideal.depth[near], rtol=1e-4, atol=1e-3)
    drawn = StreetViews((5, 6), SIZE, frames=4, num_views=2, sensor="drawn").recordings
    assert [float(one.clip([0]).K[0, 0, 0]) for one in drawn] == [
        pytest.approx(drawn_sensor(seed).focal * SIZE[1]) for seed in (5, 6)
    ]


def test_frames_of_a_drive_are_views_too(drives):
    sample = drives[0]
    assert sample.given() == ("image", "K", "world_T_cam", "depth", "depth_range", "scene", "index")
    seen = sample.depth[sample.depth > 0]
    assert float(seen.min()) >= 3.0
    assert float(seen.max()) <= 60.0
    assert sample.index[0] == 0
    good, bad = photometric(sample, 1, least=0.2)  # without what moves, and the sky
    assert good < 0.6 * bad


def test_moving_things_have_no_truth_in_a_drive(drives):
    (scene,) = drives.recordings
    found = 0
    for index in range(0, 12, 3):
        mask = scene.recorder.frame(index).mask > 0
        found += int(mask.sum())
        assert float(scene.clip([index]).depth[0][mask].sum()) == 0
    assert found > 0


def test_street_views_are_those_of_a_visit() -> None:
    by_day, by_night = (
        StreetViews((1,), SIZE, frames=4, num_views=2, visit=Visit(place_seed=3, time=time))[0]
        for time in ("day", "night")
    )
    assert torch.equal(by_day.world_T_cam, by_night.world_T_cam)
    assert by_night.image.mean() < 0.7 * by_day.image.mean()
    fixed = Visit(place_seed=1, time_seed=2, movers_seed=3, path_seed=4)
    with pytest.raises(Vo3dError, match="every part has a seed of its own"):
        StreetViews((0, 1), SIZE, frames=4, visit=fixed)

"""Rain: streaks of each image's own, and a road that darkens and mirrors."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vo3d.world.casting import cast
from vo3d.world.primitives import PLANE
from vo3d.world.rain import rain_streaks
from vo3d.world.recorder import Recorder
from vo3d.world.render import render
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit

SIZE = (64, 208)
CLEAN = Sensor(noise=0.0)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder("street", 5, 60, SIZE, CLEAN, visit=Visit(time="rain"))


def pixels(recorder: Recorder, index: int, *, right: bool = False) -> Tensor:
    return recorder.frame(index, right=right).image.float() / 255


def test_rain_wets_the_road_and_not_the_walls(recorder) -> None:
    scene, camera, pose = recorder.scene, recorder.camera, recorder.poses()[20]
    dry = replace(scene, light=replace(scene.light, wet=0.0))
    change = (render(scene, camera, pose, 2.0).image - render(dry, camera, pose, 2.0).image).mean(0)
    seen = cast(scene.placed(2.0), camera, pose, scene.view_range)
    plane = camera.untile(seen.of_solid(seen.solids.kind, -1)) == PLANE
    around = torch.nn.functional.max_pool2d(plane[None].float(), 3, 1, 1)[0] > 0
    assert (change[~around] == 0).all()
    assert float(change[plane].max()) > 0.02  # seen at a grazing angle it shines
    above = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, -9], [0, -1, 0, 5], [0, 0, 0, 1]], dtype=torch.float64)
    wet_below, dry_below = (render(one, camera, above, 2.0) for one in (scene, dry))  # looking straight down
    road = ((wet_below.depth - 10.65).abs() < 1e-3) & (dry_below.image != wet_below.image).any(0)
    assert float(road.float().mean()) > 0.3
    assert float((wet_below.image - dry_below.image).mean(0)[road].mean()) < -0.03


def test_streaks_of_rain_are_those_of_a_generator() -> None:
    image = torch.rand(3, 64, 208, generator=torch.Generator().manual_seed(1)) * 0.5
    generator = torch.Generator().manual_seed(7)
    state = generator.get_state()
    assert rain_streaks(image, generator, 0.0) is image
    assert torch.equal(generator.get_state(), state)
    takes = [rain_streaks(image, torch.Generator().manual_seed(seed), 0.8) - image for seed in (7, 7, 8)]
    assert torch.equal(takes[0], takes[1])
    assert abs(float(torch.corrcoef(torch.stack((takes[0].flatten(), takes[2].flatten())))[0, 1])) < 0.2
    light = rain_streaks(image, torch.Generator().manual_seed(7), 0.2) - image
    assert 0.001 < float(light.mean()) < 0.5 * float(takes[0].mean()) < 0.05
    assert 0.02 < float((takes[0].mean(0) > 0.02).float().mean()) < 0.6


def test_each_frame_and_eye_has_rain_of_its_own(recorder) -> None:
    dry = Recorder("street", 5, 60, SIZE, CLEAN, visit=Visit(time="rain"))
    dry.__dict__["scene"] = replace(recorder.scene, light=replace(recorder.scene.light, rain=0.0))
    takes = [
        (pixels(recorder, index, right=right) - pixels(dry, index, right=right)).mean(0)
        for index in (0, 1)
        for right in (False, True)
    ]
    for one in range(4):
        assert float(takes[one].abs().mean()) > 0.003
        for other in range(one):
            assert abs(float(torch.corrcoef(torch.stack((takes[one].flatten(), takes[other].flatten())))[0, 1])) < 0.2

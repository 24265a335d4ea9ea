"""The door for scene kinds: one new file is a new kind, whatever it builds."""

import math

import pytest
import torch

import vo3d.world.scenes
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor

KIND = '''
import torch

from vo3d.world.paints import MATERIAL_SIZE, mottled
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BALL
from vo3d.world.scene import Light, Scene, SolidList
from vo3d.world.textures import noise_lattice


def build(seeds, frames, sensor, visit):
    """A red ball four metres ahead of a camera that turns away from it to the right."""
    solids = SolidList(MATERIAL_SIZE)
    solids.add(BALL, (0.0, 0.0, 4.0), (1.0, 1.0, 1.0), paint=0, material=(0.6, 0.1, 0.1, 0.6, 0.1, 0.1, 0.2, 0.5))
    control = torch.zeros(40, 6, dtype=torch.float64)
    control[:, 3] = torch.arange(-10, 30) * 0.2
    light = Light((0.0, -0.8, -0.6), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.1, 0.2, 0.5), (0.6, 0.7, 0.8), 400.0, 0.3)
    lattice = noise_lattice(torch.Generator().manual_seed(seeds.place))
    return Scene(solids.build(), (mottled,), light, RigidPath(Spline(control, -1.0, 0.1)), None, lattice, 50.0)
'''


@pytest.fixture
def moon(tmp_path, monkeypatch) -> Recorder:
    (tmp_path / "moon.py").write_text(KIND)
    monkeypatch.setattr(vo3d.world.scenes, "__path__", [*vo3d.world.scenes.__path__, str(tmp_path)])
    return Recorder("moon", 0, 10, (64, 96), Sensor(noise=0.0))


def test_a_new_file_is_a_new_kind(moon):
    frame = moon.frame(0)
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(96) - 47.5, indexing="ij")
    focal = float(moon.camera.K[0, 0])
    ray = torch.stack((x / focal, y / focal, torch.ones_like(x)), -1)
    square = ray.square().sum(-1)
    root = 16 - square * 15  # |t ray - (0, 0, 4)| = 1
    expected = torch.where(root > 0, (4 - root.clamp(min=0).sqrt()) / square, 0.0)
    inside = root.abs() > 0.05  # away from the outline
    torch.testing.assert_close(frame.depth[inside], expected[inside], atol=1e-4, rtol=1e-4)
    assert (frame.mask == 0).all()
    ball = frame.image[:, frame.depth > 0].float().mean(1)
    assert float(ball[0]) > 1.5 * float(ball[2])


def test_a_view_of_nothing_but_sky_is_sky(moon):
    frame = moon.frame(9, later=8)
    assert (frame.depth == 0).all()
    assert float(frame.image[2].float().mean()) > 80
    turned = float(moon.camera.K[0, 0]) * math.tan(0.2)  # the camera turns back by 0.2 rad to the left
    torch.testing.assert_close(frame.flow[:, 31:33, 47:49].mean((1, 2)), torch.tensor([turned, 0.0]), atol=0.05, rtol=0)


def test_the_sun_lights_the_side_that_faces_it(moon):
    frame = moon.frame(0)
    ball = torch.where(frame.depth > 0, frame.image[0].float(), 0.0)
    assert float(ball[16:32].sum()) > 1.2 * float(ball[32:48].sum())

"""Photographs in the rendered world: pictures filtered, upright and whole; noise of their spectrum; nothing else moves.

All but the last tests make their pictures themselves: they need no scikit-image.
"""

import math
import socket
import sys
from dataclasses import fields, is_dataclass, replace
from importlib.util import find_spec

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.geometry.rotations import axis_rotation
from vo3d.world import photographs as module
from vo3d.world.casting import cast
from vo3d.world.paints import MATERIAL_SIZE, mottled
from vo3d.world.path import RigidPath, Spline
from vo3d.world.photographs import (
    GRASS,
    Grained,
    Photographs,
    Pictures,
    Pyramids,
    amplitude_spectrum,
    from_pictures,
    photographic_lattice,
    pyramids,
)
from vo3d.world.posters import dress_houses, poster
from vo3d.world.primitives import BOX, PLANE
from vo3d.world.recorder import Recorder
from vo3d.world.render import pinhole_camera, render
from vo3d.world.roads import RoadLine
from vo3d.world.scene import Dice, Light, Scene, SolidList, build_scene
from vo3d.world.scenes.street import KERB, PICTURE, WALL
from vo3d.world.sensor import Sensor
from vo3d.world.shading import shade
from vo3d.world.textures import LATTICE, noise_lattice
from vo3d.world.visit import Visit

SHOWN = Visit(photographs=True) if find_spec("skimage") else None
RED, GREEN, BLUE, WHITE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0)


def field_of_slope(slope: float, size: tuple[int, int], seed: int) -> torch.Tensor:
    """Give Gaussian noise whose power falls with the frequency to the power `slope`, in [0, 1]."""
    white = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    radius = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1]))
    radius[0, 0] = torch.inf
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * radius ** (slope / 2), s=size)
    return (0.5 + 0.15 * noise / noise.std()).clamp(0, 1)


def measured_slope(power: torch.Tensor) -> float:
    """Fit the slope of log power over log frequency to rings of 3 to 40 periods in a window."""
    radius = torch.hypot(torch.fft.fftfreq(LATTICE)[:, None], torch.fft.rfftfreq(LATTICE)) * LATTICE
    rings = range(3, 40)
    level = torch.stack([power[(radius >= ring) & (radius < ring + 1)].mean().log() for ring in rings])
    frequency = torch.tensor([math.log(ring + 0.5) for ring in rings])
    return float(torch.corrcoef(torch.stack((frequency, level)))[0, 1] * level.std() / frequency.std())


@pytest.fixture(scope="module")
def given() -> Photographs:
    pictures = [torch.stack([field_of_slope(-2.0, (200 + 20 * n, 300), 3 * n + c) for c in range(3)]) for n in range(4)]
    return from_pictures(pictures, [field_of_slope(-2.0, (512, 512), 50 + n)[None] for n in range(3)])


@pytest.fixture
def shown(given, monkeypatch) -> Visit:
    """Give a visit that shows the pictures of the test."""
    monkeypatch.setattr("vo3d.world.visit.find_spec", lambda _: object())
    for kind in ("street", "tabletop"):
        build_scene(kind, 0, 2)
        monkeypatch.setattr(f"vo3d.world.scenes.{kind}.photographs", lambda: given)
    return Visit(photographs=True)


def quarters(height: int = 80, width: int = 120) -> torch.Tensor:
    """Make a picture: red and green above, blue and white below."""
    rows = [
        torch.tensor((left, right)).T.repeat_interleave(width // 2, 1) for left, right in ((RED, GREEN), (BLUE, WHITE))
    ]
    return torch.stack(rows, 1).repeat_interleave(height // 2, 1)


def scene_of(solids: SolidList, *paints) -> Scene:
    """Make a scene under an even light that leaves reflectances as they are, but for a factor."""
    light = Light((0.0, -1.0, 0.0), (0.0,) * 3, (1.0,) * 3, (0.0,) * 3, (0.0,) * 3, 1e6, 0.0)
    still = RigidPath(Spline(torch.zeros(10, 6, dtype=torch.float64), -1.0, 1.0))
    lattice = noise_lattice(torch.Generator().manual_seed(0))
    return Scene(solids.build(), paints, light, still, None, lattice, 100.0)


def pose(yaw: float, pitch: float, distance: float) -> torch.Tensor:
    """Look at the origin from a distance, to the right by `yaw` and down by `-pitch`."""
    angles = torch.tensor((yaw, pitch), dtype=torch.float64)
    world_T_cam = torch.eye(4, dtype=torch.float64)
    world_T_cam[:3, :3] = axis_rotation(1, angles[0]) @ axis_rotation(0, angles[1])
    world_T_cam[:3, 3] = -distance * world_T_cam[:3, 2]
    return world_T_cam


@pytest.mark.parametrize("view", [(0, 0), (90, 0), (180, 0), (270, 0), (0, -90)])
def test_a_picture_is_upright_and_not_mirrored_on_every_face(view):
    solids = SolidList(MATERIAL_SIZE)
    solids.add(
        BOX, (0.0, 0.0, 0.0), (1.2, 0.8, 0.9), paint=0, material=(*WHITE, *WHITE, 1.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.5)
    )
    scene = scene_of(solids, Pictures(pyramids([quarters()], 64)))
    image = render(scene, pinhole_camera((128, 192)), pose(*map(math.radians, view), 4.0), 0.0).image.square()
    for row, column, colour in ((55, 85, RED), (55, 105, GREEN), (72, 85, BLUE), (72, 105, WHITE)):
        found = image[:, row, column] / image[:, row, column].amax()
        torch.testing.assert_close(found, torch.tensor(colour), atol=0.03, rtol=0)


def test_a_picture_keeps_its_proportions_inside_its_margin():
    """Of a picture twice as wide as high, a square face shows the middle half; its colours tell the place in it."""
    across = torch.linspace(0, 1, 200).expand(100, 200)
    ramp = torch.stack((across, torch.linspace(0, 1, 100)[:, None].expand(100, 200), torch.zeros(100, 200)))
    material = (0.0, 0.0, 1.0, *WHITE, 1.0, 0.2, 0.0, 0.0, 1.0, 0.5, 0.5)  # a blue margin of 20 cm
    solids = SolidList(MATERIAL_SIZE)
    solids.add(BOX, (0.0, 0.0, 0.0), (1.0, 1.0, 0.1), paint=0, material=material)
    scene = scene_of(solids, Pictures(pyramids([ramp], 256)))
    camera = pinhole_camera((256, 384))
    image = render(scene, camera, pose(0.0, 0.0, 3.0), 0.0).image.square() / 0.7 / 0.85
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(384.0), indexing="ij")
    a, b = ((p - c) / float(camera.K[0, 0]) * 2.9 for p, c in ((x, 191.5), (y, 127.5)))
    inner = (a.abs() < 0.77) & (b.abs() < 0.77)
    torch.testing.assert_close(image[0][inner], (0.5 + 0.25 * a / 0.8)[inner], atol=0.012, rtol=0)
    torch.testing.assert_close(image[1][inner], (0.5 + 0.5 * b / 0.8)[inner], atol=0.012, rtol=0)
    margin = (torch.maximum(a.abs(), b.abs()) - 0.9).abs() < 0.07
    assert float(image[2][margin].min()) > 1.1
    assert float(image[:2, margin].max()) < 0.02  # the least reflectance


def sampled(held: Pyramids, u: torch.Tensor, v: torch.Tensor, step: float, taps: int = 1) -> torch.Tensor:
    steps = torch.tensor([[step, 0.0], [0.0, step]])[..., None].expand(2, 2, len(u))
    return held.sample(torch.zeros(len(u), dtype=torch.long), torch.stack((u, v)), steps, taps)


def test_pyramids_give_texels_their_means_and_mirrored_repeats(generator):
    picture = torch.rand(2, 3, 64, 64, generator=generator)
    held = pyramids(list(picture), 64)
    row, column = (torch.randint(64, (500,), generator=generator) for _ in range(2))
    u, v = (column + 0.5) / 64, (row + 0.5) / 64
    torch.testing.assert_close(sampled(held, u, v, 1e-4), picture[0][:, row, column], atol=1e-5, rtol=0)
    for place in (2 + u, -u, 2 - u):
        torch.testing.assert_close(sampled(held, place, v, 1e-4), sampled(held, u, v, 1e-4), atol=1e-4, rtol=0)
    for level in (1, 3, 6):  # a footprint of a block of texels: at the block's centre, its mean
        block = 2**level
        means = torch.nn.functional.avg_pool2d(picture[0], block)
        u, v = ((p // block + 0.5) * block / 64 for p in (column, row))
        found = sampled(held, u, v, block / 64)
        torch.testing.assert_close(found, means[:, row // block, column // block], atol=1e-5, rtol=0)
    u, v = torch.rand(2, 500, generator=generator) * 3
    torch.testing.assert_close(
        sampled(held, u, v, 5.0), picture[0].mean((1, 2))[:, None].expand(3, 500), atol=1e-5, rtol=0
    )
    even = pyramids([torch.full((1, 30, 50), 0.4)] * 2, 64)
    for step in (1e-4, 0.01, 0.1, 3.0):
        torch.testing.assert_close(sampled(even, u, v, step, 3), torch.full((1, 500), 0.4), atol=1e-6, rtol=0)
    torch.testing.assert_close(even.aspect, torch.tensor([50 / 30] * 2))


@pytest.mark.parametrize("surface", ["picture", "ground"])
def test_pictures_do_not_alias_with_distance(given, surface):
    """An image of one ray per pixel is close to the mean of 16 rays per pixel; without pyramids it is not."""
    solids = SolidList(MATERIAL_SIZE)
    grey = (0.4, 0.4, 0.4, 0.4, 0.4, 0.4)
    fine_grain = torch.rand(3, 512, 512, generator=torch.Generator().manual_seed(1))
    if surface == "picture":  # a long wall, seen at grazing angles, and one far ahead
        for x, z, half in ((4.0, 30.0, (0.1, 3.0, 28.0)), (-8.0, 30.0, (4.0, 3.0, 0.1))):
            solids.add(BOX, (x, 0.0, z), half, paint=0, material=(*grey, 1.0, 0.0, 0.0, 0.0, 1.0))
        paint = Pictures(pyramids([fine_grain], 256))
    else:
        solids.add(PLANE, (0.0, 1.5, 0.0), (1.0, 1.0, 1.0), paint=0, material=(*grey, 0.0, 1.0))
        grains = pyramids([2 * grain[None] for grain in fine_grain], 512)
        paint = Grained(mottled, grains, GRASS, 1.0, colours=2)

    def unfiltered(hits):
        return paint(replace(hits, a_step=hits.a_step * 1e-4, b_step=hits.b_step * 1e-4))

    coarse, fine = pinhole_camera((96, 312)), pinhole_camera((384, 1248))
    fine.K[:2, :2], fine.K[:2, 2] = coarse.K[:2, :2] * 4, coarse.K[:2, 2] * 4 + 1.5
    differences = []
    for shown_paint in (paint, unfiltered):
        scene = scene_of(solids, shown_paint)
        still = torch.eye(4, dtype=torch.float64)
        seen = [cast(scene.solids, camera, still, 100.0) for camera in (coarse, fine)]
        one, many = (
            camera.untile(shade(scene, part, camera, still, 0.0)).clamp(0, 1).sqrt()
            for camera, part in zip((coarse, fine), seen, strict=True)
        )
        owner = coarse.untile(torch.where(seen[0].depth < torch.inf, seen[0].solid, -1))
        blocks = fine.untile(torch.where(seen[1].depth < torch.inf, seen[1].solid, -1)).unfold(0, 4, 4).unfold(1, 4, 4)
        whole = (blocks.flatten(2) == owner[..., None]).all(-1) & (owner >= 0)
        assert int(whole.sum()) > 3000
        differences.append((one - torch.nn.functional.avg_pool2d(many, 4)).abs().mean(0)[whole])
    assert float(differences[0].mean()) < 0.012
    assert float(differences[0].quantile(0.99)) < 0.08
    assert float(differences[1].mean()) > 4 * float(differences[0].mean())


def test_the_spectrum_of_pictures_is_measured_whatever_their_contrast_and_shape():
    for slope in (-1.0, -2.0, -3.0):
        pictures = [field_of_slope(slope, (256, 400), 1), 0.1 * field_of_slope(slope, (512, 512), 2)]
        amplitude = amplitude_spectrum(pictures)
        assert measured_slope(amplitude.square()) == pytest.approx(slope, abs=0.25)


def test_a_photographic_lattice_has_the_spectrum_and_the_values_of_the_plain_one(given, generator):
    lattice = photographic_lattice(generator, given.amplitude)
    assert lattice.shape == noise_lattice(generator).shape
    assert torch.equal(lattice[..., -1, :], lattice[..., 0, :])
    assert torch.equal(lattice[..., -1], lattice[..., 0])
    cells = lattice[0, :, :LATTICE, :LATTICE]
    even = (torch.arange(LATTICE**2) * 2 + 1) / LATTICE**2 - 1
    for channel in cells:
        torch.testing.assert_close(channel.flatten().sort().values, even, atol=1e-6, rtol=0)
    power = torch.fft.rfft2(cells).abs().square().mean(0)
    assert measured_slope(power) == pytest.approx(measured_slope(given.amplitude.square()), abs=0.2)
    assert -2.4 < measured_slope(power) < -1.6
    plain = torch.fft.rfft2(noise_lattice(generator)[0, :, :LATTICE, :LATTICE]).abs().square().mean(0)
    assert measured_slope(plain) == pytest.approx(0.0, abs=0.2)
    again, other = (photographic_lattice(torch.Generator().manual_seed(s), given.amplitude) for s in (0, 1))
    assert torch.equal(again, lattice)
    assert abs(float(torch.corrcoef(torch.stack((other[0, 0].flatten(), lattice[0, 0].flatten())))[0, 1])) < 0.5


def test_photographs_add_pictures_to_a_street_and_change_nothing_else(shown):
    for seed in (0, 3):
        plain, with_pictures = (build_scene("street", seed, 60, visit=visit) for visit in (None, shown))
        solids = with_pictures.solids
        added = solids.select((solids.paint == PICTURE).nonzero()[:, 0])
        assert len(added) > 20
        assert not (plain.solids.paint == PICTURE).any()
        for name, value in vars(plain.solids).items():  # people walk round boards, so that only what stands is equal
            others = getattr(solids, name)[(solids.paint != PICTURE) & (solids.object == 0)]
            assert torch.equal(value[plain.solids.object == 0], others)
        assert torch.equal(plain.camera.spline.control, with_pictures.camera.spline.control)
        assert plain.movers.spline.control.shape == with_pictures.movers.spline.control.shape
        assert plain.light == with_pictures.light
        line: RoadLine = plain.paints[0].line
        corners = (added.corners() + added.centre[:, None]).flatten(0, 1)[:, ::2].double()
        assert float(line.distance(corners).min()) > KERB
        walls = plain.solids.select((plain.solids.paint == WALL).nonzero()[:, 0])
        assert float(torch.cdist(added.centre, walls.centre).amin(1).max()) < 16.0
        again = build_scene("street", seed, 60, visit=shown)
        assert torch.equal(again.solids.material, with_pictures.solids.material)


def test_the_plain_world_knows_no_photographs(shown, given, monkeypatch):
    frames = [Recorder("street", 2, 12, (48, 160), Sensor()).frame(3, later=4)]

    def refused():
        raise AssertionError("photographs were read")

    for kind in ("street", "tabletop"):
        monkeypatch.setattr(f"vo3d.world.scenes.{kind}.photographs", refused)
        assert not any(isinstance(paint, Pictures | Grained) for paint in build_scene(kind, 2, 12).paints)
    frames.append(Recorder("street", 2, 12, (48, 160), Sensor(), visit=Visit(photographs=False)).frame(3, later=4))
    for name, value in vars(frames[0]).items():
        torch.testing.assert_close(getattr(frames[1], name), value, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(AssertionError, match="photographs were read"):
        build_scene("street", 2, 12, visit=shown)


def test_a_table_has_pictures_on_its_boxes_and_the_same_shape(shown):
    changed = 0
    for seed in range(4):
        plain, pictured = (
            Recorder("tabletop", seed, 10, (96, 128), Sensor(noise=0.0), visit=visit).frame(2)
            for visit in (None, shown)
        )
        assert torch.equal(plain.depth, pictured.depth)
        changed += not torch.equal(plain.image, pictured.image)
    assert changed >= 2


def test_houses_are_dressed_by_their_own_numbers_whatever_their_order(shown):
    scene = build_scene("street", 1, 30)
    walls = scene.solids.select((scene.solids.paint == WALL).nonzero()[:, 0])
    rows = []
    for order in (torch.arange(len(walls)), torch.arange(len(walls) - 1, 4, -1)):
        solids = SolidList(MATERIAL_SIZE)
        dress_houses(solids, walls.select(order), scene.paints[0].line.distance, PICTURE)
        built = solids.build()
        rows.append({tuple(row) for row in torch.cat((built.centre, built.material), 1).tolist()})
    assert len(rows[1]) > 20
    assert rows[1] < rows[0]


def test_a_poster_hangs_on_a_moving_object(generator):
    solids = SolidList(MATERIAL_SIZE)
    poster(solids, Dice(generator), (1.0, -1.0, 0.0), (0.01, 0.5, 1.5), paint=3, object_id=2, label=14, yaw=0.1)
    built = solids.build()
    assert (int(built.object), int(built.label), int(built.paint)) == (2, 14, 3)


def tensors_in(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, tuple):
        return [tensor for part in value for tensor in tensors_in(part)]
    if not is_dataclass(value):
        return []
    return [tensor for field in fields(value) for tensor in tensors_in(getattr(value, field.name))]


def test_a_scene_with_photographs_moves_to_another_device_whole(shown):
    moved = build_scene("street", 1, 10, visit=shown).to("meta")
    found = tensors_in(moved.paints)
    assert len(found) > 8
    assert {tensor.device.type for tensor in found if tensor.dtype != torch.float64} == {"meta"}


def test_without_scikit_image_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr("vo3d.world.visit.find_spec", lambda _: None)
    with pytest.raises(Vo3dError, match=r"scikit-image is not installed: pip install 'vo3d\[textures\]'"):
        Visit(photographs=True)
    assert not Visit().photographs
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(Vo3dError, match=r"scikit-image cannot be loaded .*: pip install 'vo3d\[textures\]'"):
        module.photographs.__wrapped__()


needs_scikit_image = pytest.mark.skipif(SHOWN is None, reason="scikit-image (the extra 'textures') is not installed")


@needs_scikit_image
def test_the_photographs_of_scikit_image_are_free_and_come_with_it(monkeypatch):
    from skimage import data

    def refused(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    found = module.photographs.__wrapped__()
    assert found.pictures.texels.shape[1] == 3
    assert [round(float(aspect), 2) for aspect in found.pictures.aspect] == [1.5, 1.5, 1.5, 1.15]
    for name in (*module.PICTURES, *module.SURFACES):
        words = " ".join(getattr(data, name).__doc__.split())
        assert "CC0" in words or "public domain" in words, name
    assert -2.6 < measured_slope(found.amplitude.square()) < -1.8
    lattice = photographic_lattice(torch.Generator().manual_seed(3), found.amplitude)[0, :, :LATTICE, :LATTICE]
    assert -2.6 < measured_slope(torch.fft.rfft2(lattice).abs().square().mean(0)) < -1.8


@needs_scikit_image
def test_photographed_bricks_lie_level():
    bricks = module.photographs().surfaces.texels[0, 0, 1:513, 1:513]
    assert float(bricks.mean()) == pytest.approx(1.0, abs=1e-3)
    assert float(bricks.mean(1).std()) > 4 * float(bricks.mean(0).std())  # joints run along rows from end to end


@needs_scikit_image
def test_a_street_shows_its_pictures():
    plain, with_pictures = (
        Recorder("street", 3, 60, (96, 312), Sensor(noise=0.0), visit=visit).frame(5) for visit in (None, SHOWN)
    )
    assert 0.02 < float((plain.image.float() - with_pictures.image.float()).abs().mean() / 255) < 0.2
    assert 0.2 < float(with_pictures.image.float().mean() / 255) < 0.7

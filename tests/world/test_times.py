"""Times of a place: the light is drawn from its seed alone, shadows are right, lamps obey their laws, truth stays."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.warp import sample_image, warp_by_depth
from vo3d.world.casting import Camera, cast
from vo3d.world.lamps import NEAREST, glare, street_lamp
from vo3d.world.paints import MATERIAL_SIZE, mottled
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BALL, BOX, CYLINDER, ENTER, PLANE, local_normal
from vo3d.world.recorder import Recorder
from vo3d.world.render import pinhole_camera, render
from vo3d.world.scene import Light, Scene, SolidList, Solids, build_scene
from vo3d.world.scenes.street import WALL
from vo3d.world.sensor import Sensor
from vo3d.world.shadows import SKIN, lit
from vo3d.world.textures import noise_lattice
from vo3d.world.times import TIMES, drawn_time, outdoor_light
from vo3d.world.visit import Visit

SIZE = (64, 208)
CLEAN = Sensor(noise=0.0)
STILL = torch.eye(4, dtype=torch.float64)


@pytest.fixture(scope="module")
def recorders() -> dict[str, Recorder]:
    return {time: Recorder("street", 5, 60, SIZE, CLEAN, visit=Visit(time=time)) for time in TIMES}


def pixels(recorder: Recorder, index: int, *, right: bool = False) -> Tensor:
    return recorder.frame(index, right=right).image.float() / 255


def test_a_time_changes_the_image_and_nothing_else(recorders) -> None:
    for index in (0, 30):
        frames = {time: recorder.frame(index, later=index + 1) for time, recorder in recorders.items()}
        day = frames.pop("day")
        for time, frame in frames.items():
            assert torch.equal(frame.depth, day.depth), time
            assert torch.equal(frame.mask, day.mask), time
            torch.testing.assert_close(frame.flow, day.flow, rtol=0, atol=0, equal_nan=True)
            assert float((frame.image.float() - day.image.float()).abs().mean()) > 10, time


def test_images_of_each_time_are_places(recorders) -> None:
    for time, recorder in recorders.items():
        scene = recorder.scene
        for index in (0, 40):
            view = render(scene, recorder.camera, recorder.poses()[index], index / 10)
            assert view.image.isfinite().all(), time
            assert float(view.image.std()) > 0.05, time
            assert 0.05 < float(view.image.mean()) < 0.8, time


def test_nights_are_darkest_and_days_brighter_than_evenings_and_rain() -> None:
    mean = {}
    for time in TIMES:
        shots = [pixels(Recorder("street", seed, 30, SIZE, CLEAN, visit=Visit(time=time)), 15) for seed in range(3)]
        mean[time] = float(torch.stack(shots).square().mean())
    assert mean["night"] < 0.35 * min(value for time, value in mean.items() if time != "night")
    assert mean["day"] > max(mean["low-sun"], mean["rain"])


def test_a_light_is_that_of_its_seed() -> None:
    for time in (*TIMES, "any"):
        lights = [outdoor_light(time, seed) for seed in range(30)]
        assert lights == [outdoor_light(time, seed) for seed in range(30)]
        assert len(set(lights)) == 30
        for light in lights:
            assert math.hypot(*light.to_sun) == pytest.approx(1)
            assert light.to_sun[1] < 0  # above the horizon


def test_any_draws_every_time_and_keeps_to_the_seed() -> None:
    drawn = [drawn_time("any", seed) for seed in range(200)]
    assert drawn == [drawn_time("any", seed) for seed in range(200)]
    assert all(25 <= drawn.count(time) <= 55 for time in TIMES)
    assert all(drawn_time(time, 3) == time for time in TIMES)
    seed = drawn.index("night")
    assert outdoor_light("any", seed) == outdoor_light("night", seed)
    visit = Visit(time="any", time_seed=seed)
    assert build_scene("street", 1, 2, CLEAN, visit).light == outdoor_light("night", seed)
    assert build_scene("street", 2, 2, CLEAN, visit).light == outdoor_light("night", seed)


def test_sun_and_haze_keep_to_their_ranges_and_fill_them() -> None:
    def drawn(time: str, value) -> tuple[float, float]:
        values = [value(outdoor_light(time, seed)) for seed in range(200)]
        return min(values), max(values)

    def height(light: Light) -> float:
        return math.degrees(math.asin(-light.to_sun[1]))

    for time, value, low, high in (
        ("low-sun", height, 4, 14),
        ("day", height, 36, 64),
        ("fog", lambda light: light.haze, 25, 70),
        ("rain", lambda light: light.haze, 150, 300),
        ("night", lambda light: light.windows, 0.12, 0.5),
        ("low-sun", lambda light: math.atan2(light.to_sun[0], light.to_sun[2]), -math.pi, math.pi),
    ):
        least, most = drawn(time, value)
        assert low <= least < low + 0.05 * (high - low), time
        assert high - 0.05 * (high - low) < most <= high + 1e-6, time


def brute_force(solids: Solids, points: Tensor, normal: Tensor, to_sun: tuple[float, float, float]) -> Tensor:
    """Which points (n 3) see the sun: the ray of each towards it against each solid, in double precision."""
    sun = torch.tensor(to_sun, dtype=torch.float64)
    points, normal = points.double(), normal.double()
    seen = normal @ sun > 0
    local_R_world = solids.rotation.double().mT / solids.half.double()[..., None]
    for index, point in enumerate(points + SKIN * normal):
        origin = (local_R_world @ (point - solids.centre.double())[..., None])[..., 0]
        ray = local_R_world @ sun
        for kind, enter in ENTER.items():
            if kind != PLANE:
                mine = solids.kind == kind
                t = enter(tuple(origin[mine].T), tuple(ray[mine].T))
                seen[index] &= not bool((t < torch.inf).any())
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_shadows_are_those_of_rays_towards_the_sun(seed) -> None:
    scene = build_scene("street", seed, 60, CLEAN, Visit(time="low-sun"))
    assert scene.shadows
    camera, time = pinhole_camera(SIZE), 3.0
    world_T_cam = scene.camera.poses(torch.tensor([time], dtype=torch.float64))[0, 0]
    solids = scene.placed(time)
    seen = cast(solids, camera, world_T_cam, scene.view_range)
    depth, solid, pixel = seen.depth.flatten(), seen.solid.flatten(), seen.pixel.flatten(1)
    hit = (depth < torch.inf).nonzero()[:, 0]
    chosen = hit[torch.randperm(len(hit), generator=torch.Generator().manual_seed(seed))[:400]]
    rays = world_T_cam[:3, :3] @ camera.K.inverse() @ torch.cat((pixel, torch.ones_like(pixel[:1]))).double()
    world = (world_T_cam[:3, 3:] + rays * torch.where(depth < torch.inf, depth, 0.0)).float()
    mine = seen.solids.select(solid)
    local = (mine.rotation.mT @ (world.T - mine.centre)[..., None])[..., 0] / mine.half
    normal = torch.nn.functional.normalize(local_normal(mine.kind, local.T)[0].T / mine.half, dim=1)
    normal = (mine.rotation @ normal[..., None])[..., 0].T
    found = lit(solids, world[:, hit], normal[:, hit], scene.light.to_sun)
    every = torch.zeros(len(depth)).index_copy(0, hit, found)
    expected = brute_force(solids, world.T[chosen], normal.T[chosen], scene.light.to_sun)
    assert 0.02 < float(expected.float().mean()) < 0.9
    assert int((every[chosen].bool() != expected).sum()) <= 1  # the edge of a shadow may fall within rounding


def test_shadows_do_not_depend_on_the_order_of_the_points() -> None:
    scene = build_scene("street", 1, 20, CLEAN, Visit(time="low-sun"))
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(3, 3000, generator=generator) - 0.5) * torch.tensor([[60.0], [6.0], [120.0]])
    normal = torch.nn.functional.normalize(torch.randn(3, 3000, generator=generator), dim=0)
    whole = lit(scene.solids, points, normal, scene.light.to_sun)
    order = torch.randperm(3000, generator=generator)
    assert torch.equal(lit(scene.solids, points[:, order], normal[:, order], scene.light.to_sun), whole[order])
    assert 0.02 < float(whole.mean()) < 0.5
    assert lit(scene.solids, points[:, :0], normal[:, :0], scene.light.to_sun).shape == (0,)


EVENING = Light((-0.97, -math.sqrt(1 - 0.97**2), 0.0), (2.0, 1.4, 0.8), (0.3, 0.3, 0.4), (0.1, 0.2, 0.5),
                (0.5, 0.5, 0.5), 1e6, 0.0)  # fmt: skip
STONE = (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 1.0, 0.3)


def small_scene(add, light: Light, movers: RigidPath | None = None, **more) -> Scene:
    """A plain of one grey with what `add` puts on it, seen by a camera that stands still 2 metres above it."""
    solids = SolidList(MATERIAL_SIZE)
    solids.add(PLANE, (0.0, 2.0, 0.0), (1.0, 1.0, 1.0), paint=0, material=STONE)
    add(solids)
    camera = RigidPath(Spline(torch.zeros(60, 6, dtype=torch.float64), -1.0, 0.1))
    lattice = noise_lattice(torch.Generator().manual_seed(0))
    return Scene(solids.build(), (mottled,), light, camera, movers, lattice, 200.0, **more)


def looks(scene: Scene, time: float = 0.0, world_T_cam: Tensor = STILL) -> Tensor:
    return render(scene, pinhole_camera((96, 160)), world_T_cam, time).image.mean(0)


def test_a_house_shades_the_ground_and_the_wall_across_the_street() -> None:
    def street(solids: SolidList, *, house: bool) -> None:
        solids.add(BOX, (12.0, -3.0, 20.0), (4.0, 5.0, 8.0), paint=0, material=STONE)  # its front looks at the sun
        if house:
            solids.add(BOX, (-12.0, -3.0, 20.0), (4.0, 5.0, 8.0), paint=0, material=STONE)

    with_house, without = (
        looks(small_scene(lambda solids, house=house: street(solids, house=house), EVENING, shadows=True))
        for house in (True, False)
    )
    # Height of the shadow on the front, 16 m from the house: 10 m - 16 m tan(14 degrees) = 6 m.
    camera = pinhole_camera((96, 160))
    for point, shaded in (((8.0, 0.0, 20.0), True), ((8.0, -3.5, 20.0), True), ((8.0, -6.0, 20.0), False),
                          ((0.0, 2.0, 20.0), True), ((0.0, 2.0, 9.0), False)):  # fmt: skip
        column, row = (round(float(camera.K[i, i] * point[i] / point[2] + camera.K[i, 2])) for i in range(2))
        ratio = float(with_house[row, column] / without[row, column])
        assert ratio < 0.75 if shaded else ratio == pytest.approx(1, abs=0.02), point


@pytest.mark.parametrize("kind", [BOX, CYLINDER, BALL])
def test_whatever_moves_casts_its_shadow_on_ground_and_walls(kind) -> None:
    control = torch.zeros(60, 6, dtype=torch.float64)
    control[:, 2] = 10 + torch.arange(60) * 0.2  # 2 m/s ahead
    movers = RigidPath(Spline(control, -1.0, 0.1))

    def wall_and_mover(solids: SolidList) -> None:
        solids.add(BOX, (6.0, -3.0, 25.0), (1.0, 5.0, 20.0), paint=0, material=STONE)
        solids.add(kind, (-1.0, 0.9, 0.0), (0.7, 1.1, 0.7), paint=0, material=STONE, object_id=1)

    scene = small_scene(wall_and_mover, EVENING, movers, shadows=True)
    camera = pinhole_camera((192, 320))
    shadows = []
    for time in (0.0, 2.0):
        view, alone = (
            render(one, camera, STILL, time)
            for one in (scene, replace(scene, movers=None, solids=scene.solids.select(torch.tensor([0, 1]))))
        )
        darker = (alone.image - view.image).mean(0) > 0.05
        ground = view.depth * (torch.arange(192)[:, None] - 95.5) / float(camera.K[1, 1]) > 1.99
        assert int((darker & ground & (view.mask == 0)).sum()) > 10
        assert int((darker & ~ground & (view.mask == 0)).sum()) > 10
        shadows.append(float(view.depth[darker & ~ground & (view.mask == 0)].mean()))
    assert shadows[1] - shadows[0] == pytest.approx(4.0, abs=0.5)


def test_the_light_of_a_lamp_falls_with_the_square_of_the_distance_and_obeys_lambert() -> None:
    lamp = torch.tensor([1.0, -6.0, 3.0])
    distance = torch.tensor([2.0, 3.0, 6.0, 12.0, 24.0])
    below = lamp[:, None] + torch.stack((torch.zeros(5), distance, torch.zeros(5)))
    up = torch.tensor([0.0, -1.0, 0.0])[:, None].expand(3, 5)
    torch.testing.assert_close(street_lamp(lamp, below, up), distance**-2)
    tilted = torch.tensor([math.sin(1.0), -math.cos(1.0), 0.0])[:, None].expand(3, 5)
    torch.testing.assert_close(street_lamp(lamp, below, tilted), math.cos(1.0) * distance**-2)
    assert (street_lamp(lamp, below, -up) == 0).all()  # a ceiling's far side
    aside = lamp[:, None] + torch.tensor([[0.6], [0.8], [0.0]]) * distance
    towards = torch.tensor([-0.6, -0.8, 0.0])[:, None].expand(3, 5)
    ray = street_lamp(lamp, aside, towards)
    torch.testing.assert_close(ray * distance**2, ray[:1] * 4.0 * torch.ones(5))
    assert float(ray[0] * 4) < 1  # brightest straight below
    near = lamp[:, None] + torch.tensor([[0.0], [0.01], [0.0]])
    assert float(street_lamp(lamp, near, up[:, :1])) == pytest.approx(NEAREST**-2)


DARK = Light((0.0, -1.0, 0.0), (0.0, 0.0, 0.0), (0.01, 0.01, 0.01), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1e6, 0.0)


def test_street_lamps_light_the_ground_below_them() -> None:
    light = replace(DARK, lamps=(20.0, 20.0, 20.0))
    lamps = torch.tensor([[0.0, -3.0, 12.0]])
    lit_up = looks(small_scene(lambda solids: None, light, lamps=lamps))
    below = looks(small_scene(lambda solids: None, DARK))
    camera = pinhole_camera((96, 160))
    row = round(float(camera.K[1, 1] * 2.0 / 12.0 + camera.K[1, 2]))  # 5 metres below the lamp
    assert float(lit_up[row, 80] ** 2) == pytest.approx(0.5 * (20 / 25 + 0.01), rel=0.03)  # grey of 0.5, sky 1 above
    assert float(lit_up[row].argmax()) == pytest.approx(79.5, abs=1.5)
    assert float(below[row, 80] ** 2) == pytest.approx(0.5 * 0.01, rel=0.03)
    many = torch.cat((lamps, torch.tensor([[0.0, -3.0, -50.0]]), torch.rand(40, 3) * 10 + 140))
    torch.testing.assert_close(looks(small_scene(lambda solids: None, light, lamps=many)), lit_up)


def test_headlights_shine_ahead_of_the_scene_s_camera_whoever_looks() -> None:
    light = replace(DARK, lamps=(1e-3, 1e-3, 1e-3), headlights=(100.0, 100.0, 100.0))

    def wall(solids: SolidList) -> None:
        solids.add(BOX, (0.0, -3.0, 21.0), (60.0, 5.0, 1.0), paint=0, material=STONE)

    scene = small_scene(wall, light)
    image = looks(scene)
    linear = image**2
    assert float(linear[55, 80]) > 4 * float(linear[55, 5])  # a cone
    assert float(linear[55, 80]) > 4 * float(linear[20, 80])  # cut off above
    # The wall lies 20 m ahead: a camera to the right sees the same light there, its disparity of 14 pixels to the left.
    beside, shift = STILL.clone(), 14
    beside[0, 3] = shift * 20 / pinhole_camera((96, 160)).K[0, 0]
    moved = looks(scene, world_T_cam=beside)
    torch.testing.assert_close(moved[16:56, : 160 - shift], image[16:56, shift:], atol=1e-3, rtol=1e-3)


def test_both_eyes_see_the_same_light(recorders) -> None:
    for time, recorder in recorders.items():
        left, right = recorder.frame(20), recorder.frame(20, right=True)
        scene, pose = replace(recorder.scene, light=replace(recorder.scene.light, rain=0.0)), recorder.poses()[20]
        images = [
            render(scene, recorder.camera, eye, 2.0, samples=2).image for eye in (pose, pose @ recorder.left_T_right)
        ]
        warped, valid = warp_by_depth(
            images[1].double(), left.depth.double(), recorder.camera.K, recorder.left_T_right.inverse()
        )
        y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
        disparity = recorder.camera.K[0, 0] * CLEAN.baseline / left.depth
        other, _ = sample_image(right.depth[None], torch.stack((x - disparity, y), -1).float(), mode="nearest")
        keep = valid & (left.depth > 0) & ((other[0] / left.depth - 1).abs() < 0.05)
        assert float(keep.float().mean()) > 0.5, time
        assert float((warped - images[0]).abs().mean(0)[keep].mean()) < 0.025, time


def test_windows_and_lamps_glow_at_night_alone(recorders) -> None:
    scene, camera = recorders["night"].scene, recorders["night"].camera
    pose = recorders["night"].poses()[20]
    unlit = replace(scene, light=replace(scene.light, windows=0.0))
    glowing = (render(scene, camera, pose, 2.0).image - render(unlit, camera, pose, 2.0).image).mean(0)
    seen = cast(scene.placed(2.0), camera, pose, scene.view_range)
    wall = camera.untile(seen.of_solid(seen.solids.paint, -1)) == WALL
    around = torch.nn.functional.max_pool2d(wall[None].float(), 3, 1, 1)[0] > 0  # a lens softens outlines
    assert int((glowing > 0.1).sum()) > 50
    assert (glowing[~around].abs() < 0.01).all()
    assert float(glowing.min()) > -0.01
    day = recorders["day"].scene
    lamps_of_day = replace(day, lamps=None)
    assert torch.equal(render(day, camera, pose, 2.0).image, render(lamps_of_day, camera, pose, 2.0).image)


def test_glare_surrounds_what_is_brighter_than_white_and_nothing_else() -> None:
    plain = torch.rand(3, 70, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(glare(plain), plain)
    shining = plain.clone()
    shining[:, 30:33, 50:53] = 4.0
    halo = glare(shining) - shining
    assert float(halo.min()) >= 0
    assert float(halo[:, 28, 51].min()) > 0.02
    assert float(halo[:, 28, 51].min()) > 2 * float(halo[:, 25, 51].max())
    assert float(halo[:, 50, 51].max()) == 0


def test_fog_hides_what_is_far(recorders) -> None:
    def contrast(time: str, near: float, far: float) -> float:
        recorder = recorders[time]
        values = []
        for index in range(0, 60, 12):
            frame = recorder.frame(index)
            grey = (frame.image.float() / 255).square().mean(0)  # linear
            values.append(grey[(frame.depth > near) & (frame.depth < far)])
        return float(torch.cat(values).std())

    haze = recorders["fog"].scene.light.haze
    near, far = contrast("fog", 3, 12), contrast("fog", 2.0 * haze, 3.0 * haze)
    assert far < 0.3 * near
    assert contrast("day", 2.0 * haze, 3.0 * haze) > 0.5 * contrast("day", 3, 12)


def test_haze_grows_with_the_length_of_the_ray() -> None:
    """A black wall across the view is as grey as its distance says, at the rim more than in the middle."""
    light = replace(DARK, horizon=(0.5, 0.5, 0.5), haze=30.0)

    def wall(solids: SolidList) -> None:
        solids.add(BOX, (0.0, 0.0, 21.0), (60.0, 60.0, 1.0), paint=0, material=(*(0.0,) * 7, 1.0))

    camera = Camera(torch.tensor([[80.0, 0, 79.5], [0, 80.0, 47.5], [0, 0, 1]], dtype=torch.float64), 96, 160)
    image = render(small_scene(wall, light), camera, STILL, 0.0).image[0] ** 2
    y, x = torch.meshgrid((torch.arange(96) - 47.5) / 80, (torch.arange(160) - 79.5) / 80, indexing="ij")
    expected = 0.5 * (1 - torch.exp(-20.0 / 30.0 * (1 + x * x + y * y).sqrt()))
    torch.testing.assert_close(image[:50], expected[:50], atol=2e-4, rtol=1e-3)  # black has a reflectance of 0.01


def test_a_table_stands_indoors() -> None:
    with pytest.raises(Vo3dError, match="tabletop has no time 'fog'"):
        build_scene("tabletop", 0, 2, CLEAN, Visit(time="fog"))

"""Sets of views of rendered worlds, as photographs are taken: random cameras, places, light and baselines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from vo3d.geometry import se3
from vo3d.geometry.rotations import axis_rotation
from vo3d.world.casting import Camera
from vo3d.world.dome import LIGHTS, dome_light, dome_pose
from vo3d.world.lamps import glare
from vo3d.world.rain import rain_streaks
from vo3d.world.render import pinhole_camera, quantised, render
from vo3d.world.scene import Dice, Scene, build_scene, generator_of, inside_static
from vo3d.world.sensor import Sensor, drawn_sensor
from vo3d.world.visit import MOST_SEED, Motion, Time, Visit, check_seed

Choice = TypeVar("Choice")
World = Literal["tabletop", "room", "street", "walk"]
WORLDS: tuple[World, ...] = ("tabletop", "room", "street", "walk")
SAMPLES = 2  # rays a pixel in each direction: one would make fine textures flicker from view to view
EXPOSURE = 0.05  # relative standard deviation from view to view
FULL = 24  # views of a set, for which worlds and rates are made
PASSES = 3  # of a walk
LANES = (-3.0, 1.0)  # metres right of the own lane, of passes: from the other lane to the parked cars
FOCAL_PER_METRE = 2.8  # shares of the width: the camera of DTU, from its distance
# How often the light is what, and how fast views follow each other (Hz) on each way along a street.
TIMES: tuple[Time, ...] = (*("day",) * 6, *("low-sun",) * 3, "rain", "fog", "night")
ROOM_TIMES: tuple[Time, ...] = ("day", "day", "low-sun", "night")
RATES: dict[Motion, tuple[float, float]] = {
    "car": (4.0, 10.0),
    "wide": (8.0, 20.0),
    "walking": (1.5, 5.0),
    "hand-held": (0.5, 2.0),
}
ROOM_RATES = (2.0, 6.0)


@dataclass(frozen=True)
class ViewSet:
    """The views of one rendered world: where cameras stand in it, and when.

    `world_T_cam` and `time` are those of each view, metres and seconds; views of other times see other places of what
    moves. `seed` is that of exposure and noise.
    """

    name: str
    seed: int
    scene: Scene
    sensor: Sensor
    camera: Camera
    world_T_cam: Float64[Tensor, "v 4 4"]
    time: Float64[Tensor, " v"]

    def __len__(self) -> int:
        """Count the views."""
        return len(self.world_T_cam)

    @torch.no_grad()
    def take(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], Float[Tensor, "h w"]]:
        """Render the image of a view and its depth, z in metres; 0 is the sky and what moves."""
        generator = generator_of(self.seed, f"view {index}")
        exposure = self.sensor.exposure * math.exp(EXPOSURE * float(torch.randn((), generator=generator)))
        pose, time = self.world_T_cam[index], float(self.time[index])
        view = render(self.scene, self.camera, pose, time, samples=SAMPLES, exposure=exposure)
        if self.scene.light.dark:
            view = replace(view, radiance=glare(view.radiance))
        image = rain_streaks(view.image, generator, self.scene.light.rain)
        depth = torch.where(view.mask == 0, view.depth, 0.0)
        return quantised(image, self.sensor.noise, generator), depth


def draw_views(
    world: World, seed: int, size: tuple[int, int], views: int = FULL, *, photographs: bool = False
) -> ViewSet:
    """Draw a world of a kind, a camera, and where it stands.

    Args:
        world: a table from a dome; a room from a hand; a street from a car or on foot; a walk: several passes along one
            street in other lanes, heights and headings.
        seed: of everything random.
        size: height and width in pixels.
        views: at how many places; those inside of something are left out.
        photographs: whether surfaces carry pictures and textures of photographs.

    Raises Vo3dError as `build_scene` and `pinhole_camera` do.
    """
    check_seed(seed, f"seed {seed} of views")
    dice = Dice(generator_of(seed, f"views of a {world}"))
    own = int(torch.randint(MOST_SEED + 1, (), generator=dice.generator))
    sensor = drawn_sensor(own)
    if world == "tabletop":
        scene, poses = _table(own, views, sensor, dice, photographs)
        time = torch.zeros(views, dtype=torch.float64)
    else:
        sensor, motion, light = _ride(world, sensor, dice)
        traffic = dice.choose(((0.0,), (0.3,), (1.0,)))[0] if world == "street" else 1.0
        visit = Visit(time=light, motion=motion, traffic=traffic, photographs=photographs)
        if world == "walk":
            visit = replace(visit, traffic=0.0)
        scene = build_scene("room" if world == "room" else "street", own, views, sensor, visit)
        time = torch.arange(views, dtype=torch.float64) / sensor.rate
        poses = scene.camera.poses(time)[:, 0]
        if world != "room":
            poses = poses @ _mounts(views, PASSES if world == "walk" else 1, dice, motion)
    free = ~inside_static(scene.solids, poses[:, :3, 3].float())
    camera = pinhole_camera(size, sensor)
    return ViewSet(f"{world}-{seed:04d}", own, scene, sensor, camera, poses[free], time[free])


def _ride(world: World, sensor: Sensor, dice: Dice) -> tuple[Sensor, Motion, Time]:
    """Draw a way along the street, how often views are taken on it, and the light."""
    motion: Motion = "car" if world == "room" else _one_of(tuple(RATES), dice)
    low, high = ROOM_RATES if world == "room" else RATES[motion]
    rate = low * (high / low) ** dice.uniform(0.0, 1.0)
    return replace(sensor, rate=rate), motion, _one_of(ROOM_TIMES if world == "room" else TIMES, dice)


def _one_of(choices: Sequence[Choice], dice: Dice) -> Choice:
    return choices[int(torch.randint(len(choices), (), generator=dice.generator))]


def _mounts(views: int, passes: int, dice: Dice, motion: Motion) -> Float64[Tensor, "v 4 4"]:
    """Draw how the camera is turned, and for several passes moved, against the path; views take turns at the passes."""
    widest = 25.0 if motion in ("car", "wide") else 80.0
    heading, mounts = dice.uniform(-widest, widest), []
    for number in range(passes):
        turn = [math.radians(heading + number * dice.uniform(-15.0, 15.0)), math.radians(dice.uniform(-4.0, 6.0))]
        shift = (dice.uniform(*LANES), dice.uniform(-0.6, 0.4), 0.0) if passes > 1 else (0.0, 0.0, 0.0)
        yaw, pitch = torch.tensor(turn, dtype=torch.float64)
        rotation = axis_rotation(1, yaw) @ axis_rotation(0, pitch)
        mounts.append(se3.from_rotation_translation(rotation, torch.tensor(shift, dtype=torch.float64)))
    return torch.stack(mounts)[torch.arange(views) % passes]


def _table(
    seed: int, views: int, sensor: Sensor, dice: Dice, photographs: bool
) -> tuple[Scene, Float64[Tensor, "v 4 4"]]:
    """Build a table under one of its lights, and place cameras at random in a part of the dome."""
    scene = build_scene("tabletop", seed, 2, visit=Visit(photographs=photographs))
    light = int(torch.randint(LIGHTS, (), generator=dice.generator))
    share = min(math.sqrt(views / FULL), 1.0)  # of a part of the dome: fewer views stand no farther apart
    across, up = (share * math.radians(dice.uniform(*span)) for span in ((20.0, 80.0), (12.0, 40.0)))
    left, low = (math.radians(dice.uniform(-65.0, 65.0)) - across / 2, math.radians(dice.uniform(15.0, 38.0)))
    radius = max(sensor.focal / FOCAL_PER_METRE / dice.uniform(0.5, 1.0), 0.32)
    drawn = torch.rand(7, views, generator=dice.generator, dtype=torch.float64)
    target = 0.06 * (drawn[3:6].T - 0.5) - torch.tensor([0.0, 0.03, 0.0], dtype=torch.float64)
    roll = math.radians(10.0) * (drawn[6] - 0.5)
    poses = dome_pose(left + across * drawn[0], low + up * drawn[1], radius * (0.85 + 0.3 * drawn[2]), target, roll)
    return replace(scene, light=dome_light(seed, light)), poses

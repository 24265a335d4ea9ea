"""Scenes: solids, paints, light, a moving camera; and the door through which scene kinds are found."""

import importlib
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from types import ModuleType
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

import vo3d.world.scenes
from vo3d.errors import Vo3dError
from vo3d.world.labels import UNKNOWN
from vo3d.world.path import RigidPath
from vo3d.world.primitives import TRIANGLE, within
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Time, Visit, check_seed

MOST_FRAMES = 1_000_000  # of a recording, whose poses are all held
SHAPE_SIZE = 14  # numbers that a triangle has beyond those of all solids


@dataclass(frozen=True)
class Light:
    """One sun or moon, a sky that is its own light source, lamps, haze; colours linear, 1 = white paper in full light.

    The strength of a lamp is the light on a paper one metre before it.
    """

    to_sun: tuple[float, float, float]  # unit vector, the world's axes
    sun: tuple[float, float, float]
    ambient: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    haze: float  # metres after which 1 - 1/e of the colour is the horizon's
    clouds: float  # share of the sky, 0..1
    cloud: tuple[float, float, float] = (0.9, 0.9, 0.92)
    woods: float = 0.4  # light on the far line of trees
    dusk: tuple[float, float, float] = (0.0, 0.0, 0.0)  # glow of sky and haze on the sun's side of the horizon
    lamps: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of every street lamp
    headlights: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the car that bears the camera
    windows: float = 0.0  # share of the windows that are lit
    wet: float = 0.0  # 0..1: how far water darkens the road, and mirrors the sky in it
    rain: float = 0.0  # streaks of rain in the image, 1: a downpour

    @property
    def dark(self) -> bool:
        """Tell whether it is so dark that lamps are on."""
        return max(self.lamps) > 0


@dataclass(frozen=True)
class Hits:
    """Surface points that one paint colours: everything a procedural pattern may depend on.

    Convention: a and b are metric coordinates in the surface (on a wall: along it, and down it), from the middle of
    the face; `a_step` is their change from this pixel to its right and lower neighbours.
    """

    a: Float[Tensor, " n"]  # metres
    b: Float[Tensor, " n"]
    a_step: Float[Tensor, "2 n"]  # metres per pixel, to the right and down
    b_step: Float[Tensor, "2 n"]
    axis: Int[Tensor, " n"]  # 0, 1, 2: the solid's axis that the face looks along
    local: Float[Tensor, "3 n"]  # the point in the solid's axes, metres from its centre
    half: Float[Tensor, "3 n"]  # the solid's half extents, metres
    world: Float[Tensor, "3 n"]  # the point, metres
    normal: Float[Tensor, "3 n"]  # unit, in the world's axes
    plane: Bool[Tensor, " n"]  # whether the solid is a plane
    material: Float[Tensor, "m n"]  # the solid's numbers; their meaning is the paint's own
    lattice: Float[Tensor, "1 2 h w"]  # for `vo3d.world.textures`
    light: Light
    ray: Float[Tensor, "3 n"]  # from the camera towards the point, of any length, in the world's axes

    def part(self, which: slice) -> "Hits":
        """Return the points of a slice."""
        return replace(
            self, **{name: value[..., which] for name, value in vars(self).items() if name not in ("lattice", "light")}
        )

    @property
    def a_footprint(self) -> Float[Tensor, " n"]:
        """Measure what a pixel covers along a, metres."""
        return self.a_step.abs().sum(0)

    @property
    def b_footprint(self) -> Float[Tensor, " n"]:
        """Measure what a pixel covers along b, metres."""
        return self.b_step.abs().sum(0)


def column(values: tuple[float, float, float], like: Tensor) -> Float[Tensor, "3 1"]:
    """Return a colour or a direction as a column, on the device of another tensor."""
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]


@runtime_checkable
class Zoned(Protocol):
    """A paint of a surface that is of several classes."""

    def classes(self, world: Float[Tensor, "3 n"]) -> Int[Tensor, " n"]:
        """Tell the class (`vo3d.world.labels`) of points of the surface, metres."""
        ...


@runtime_checkable
class Illuminant(Protocol):
    """The light at places that an open sky does not light; a dataclass, so that `moved` finds its tensors."""

    def illumination(self, hits: Hits, solids: "Solids", offset: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """Compute the light on surface points; the solids and the points' `offset` are seen from one place."""
        ...


# A paint gives the reflectance (3 n, linear, 0..1), the share of sunlight that reaches each point (n) and, if anything
# glows, the light that it gives by itself (3 n, linear). One that holds tensors of its own is a dataclass, so that
# `moved` finds them.
Paint = Callable[[Hits], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Solids:
    """n solids (see `vo3d.world.primitives`), static or part of a moving object.

    `centre` and `rotation` (columns: the solid's axes) are in the world's axes, or, where `object` is an id from 1 on,
    in those of that object.
    """

    kind: Int[Tensor, " n"]
    centre: Float[Tensor, "n 3"]
    rotation: Float[Tensor, "n 3 3"]
    half: Float[Tensor, "n 3"]
    paint: Int[Tensor, " n"]  # index into the scene's paints
    material: Float[Tensor, "n m"]
    object: Int[Tensor, " n"]  # 0: static
    label: Int[Tensor, " n"]  # class, see `vo3d.world.labels`
    shape: Float[Tensor, "n s"]  # what a triangle has beyond that, see `SolidList.add`; s is 0 where none is

    def __len__(self) -> int:
        return len(self.kind)

    def select(self, index: Tensor) -> "Solids":
        """Return the solids at `index`."""
        return Solids(**{name: value[index] for name, value in vars(self).items()})

    def seen_from(self, place: Float64[Tensor, "3"]) -> "Solids":
        """Return the solids in axes moved to a place: near it, float32 then has digits to spare wherever it is."""
        return replace(self, centre=(self.centre.double() - place).float())

    def corners(self) -> Float[Tensor, "n 8 3"]:
        """Return the corners of the solids' boxes, from their centres: corner i has the signs of the bits of i."""
        ends = torch.tensor([-1.0, 1.0], device=self.half.device)
        local = self.half[:, None] * torch.cartesian_prod(ends, ends, ends).flip(1)
        if self.shape.shape[1]:  # the upper corners of a triangle are its apex
            upper = (self.kind == TRIANGLE)[:, None] & (local[..., 1] < 0)
            local[..., 0] = torch.where(upper, self.shape[:, :1] * self.half[:, :1], local[..., 0])
        return local @ self.rotation.mT

    def normalising(self, dtype: torch.dtype = torch.float32) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3"]]:
        """Compute the maps into normalised axes (see `vo3d.world.primitives`): `local = matrix (p - middle)`."""
        rotation, half, middle = self.rotation.to(dtype), self.half.to(dtype), self.centre.to(dtype)
        matrix = rotation.mT / half[..., None]
        if self.shape.shape[1]:  # x is sheared along y, so that the apex comes to stand over the base's middle
            lean = 0.5 * self.shape[:, :1].to(dtype)
            middle = middle + lean * half[:, :1] * rotation[..., 0]
            matrix = torch.cat((matrix[:, :1] + lean[..., None] * matrix[:, 1:2], matrix[:, 1:]), 1)
        return matrix, middle


def generator_of(seed: int, part: str) -> torch.Generator:
    """Return the source of random numbers of one part of a scene, independent of those of other parts and seeds."""
    words = np.random.SeedSequence([seed, *part.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]))


@dataclass
class Dice:
    """The source of a scene's random numbers, drawn one after the other while it is built."""

    generator: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        """Draw a number from low to high."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def chance(self, share: float) -> bool:
        """Decide for something that happens in this share of all cases."""
        return self.uniform(0.0, 1.0) < share

    def choose(self, options: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
        """Draw one of several tuples."""
        return options[int(torch.randint(len(options), (), generator=self.generator))]


def turn_of(yaw: float, rotation: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return 9 numbers, row-major: those of `rotation`, or the turn by `yaw` about y (positive turns right)."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return (cos, 0.0, sin, 0.0, 1.0, 0.0, -sin, 0.0, cos) if rotation is None else tuple(rotation)


class SolidList:
    """Collects solids one by one while a scene is built."""

    def __init__(self, material_size: int) -> None:
        self.material_size = material_size
        self._numbers: list[tuple[float, ...]] = []
        self._codes: list[tuple[int, int, int, int]] = []
        self._shapes: dict[int, Sequence[float]] = {}

    def add(
        self,
        kind: int,
        centre: Sequence[float],
        half: Sequence[float],
        *,
        paint: int,
        material: Sequence[float] = (),
        yaw: float = 0.0,
        rotation: Sequence[float] | None = None,
        object_id: int = 0,
        label: int = UNKNOWN,
        shape: Sequence[float] = (),
    ) -> None:
        """Add one solid; its rotation is `yaw` about y (positive turns right) unless 9 numbers, row-major, say more.

        `shape` is for triangles, which `vo3d.world.meshes.add_mesh` adds: x of the apex as a share of the half base,
        the number of the mesh, then 3 rows of 4 numbers, the factors of 1, x and y (metres in the triangle's plane) in
        the lean of the normal (its x and y where its z is 1) and the texture coordinates a, b.
        """
        padded = tuple(material) + (0.0,) * (self.material_size - len(material))
        if shape:
            self._shapes[len(self._codes)] = shape
        self._numbers.append((*centre, *turn_of(yaw, rotation), *half, *padded))
        self._codes.append((kind, paint, object_id, label))

    def __len__(self) -> int:
        return len(self._codes)

    def build(self) -> Solids:
        """Return the collected solids as tensors."""
        numbers = torch.tensor(self._numbers, dtype=torch.float64).float()
        codes = torch.tensor(self._codes)
        shape = torch.zeros(len(codes), SHAPE_SIZE if self._shapes else 0)
        if self._shapes:
            shape[list(self._shapes)] = torch.tensor(list(self._shapes.values()), dtype=torch.float64).float()
        return Solids(
            kind=codes[:, 0],
            centre=numbers[:, :3],
            rotation=numbers[:, 3:12].view(-1, 3, 3),
            half=numbers[:, 12:15],
            paint=codes[:, 1],
            material=numbers[:, 15:],
            object=codes[:, 2],
            label=codes[:, 3],
            shape=shape,
        )


@dataclass(frozen=True)
class Scene:
    """A built scene: what is seen, and the camera's and the objects' motion through it.

    Convention: the world's axes are x right, y down, z forward, gravity along +y. Its origin is a point
    above the right lane of a street, or the middle of a table.
    """

    solids: Solids
    paints: tuple[Paint, ...]
    light: Light
    camera: RigidPath
    movers: RigidPath | None  # the moving objects, ids 1, 2, ... in order
    lattice: Float[Tensor, "1 2 h w"]
    view_range: float  # metres; solids beyond are not drawn
    shadows: bool = False  # whether every solid casts a shadow on all others, found pixel by pixel
    lamps: Float[Tensor, "l 3"] | None = None  # the heads of street lamps, metres, that shine at night
    indoors: "Illuminant | None" = None  # what lights a room, instead of an open sky

    def to(self, device: torch.device | str) -> "Scene":
        """Return the scene with what is drawn on `device`; the paths stay where they are, small and in float64."""
        paints = tuple(moved(paint, device) for paint in self.paints)
        lamps = None if self.lamps is None else self.lamps.to(device)
        solids, lattice = moved(self.solids, device), self.lattice.to(device)
        indoors = moved(self.indoors, device)
        return replace(self, solids=solids, lattice=lattice, paints=paints, lamps=lamps, indoors=indoors)

    def objects(self, time: float) -> Float64[Tensor, "m 4 4"]:
        """Return `world_T_object` of every id at a time in seconds; row 0, the static world, is the identity."""
        static = torch.eye(4, dtype=torch.float64)[None]
        if self.movers is None:
            return static
        return torch.cat((static, self.movers.poses(torch.tensor([time], dtype=torch.float64))[0]))

    def placed(self, time: float, dtype: torch.dtype = torch.float32) -> Solids:
        """Return all solids in the world's axes at a time in seconds, their centres of a type.

        Kilometres from the origin float32 would move what moves by parts of a millimetre from frame to frame.
        """
        still = replace(self.solids, centre=self.solids.centre.to(dtype))
        if self.movers is None:
            return still
        moving = still.object.nonzero()[:, 0]
        world_T_object = self.objects(time).to(still.centre.device)[still.object[moving]]
        turn, shift = world_T_object[:, :3, :3], world_T_object[:, :3, 3]
        centre = (turn @ self.solids.centre[moving, :, None].double())[..., 0] + shift
        rotation = turn.to(still.rotation) @ still.rotation[moving]
        return replace(
            still,
            centre=still.centre.index_copy(0, moving, centre.to(dtype)),
            rotation=still.rotation.index_copy(0, moving, rotation),
        )


def moved(value: Any, device: torch.device | str) -> Any:
    """Return a dataclass, or what holds no tensor, with its tensors and those of its dataclasses on `device`."""
    if not is_dataclass(value) or isinstance(value, type):
        return value.to(device) if isinstance(value, Tensor) else value
    return replace(value, **{name: moved(part, device) for name, part in vars(value).items()})


def scene_kinds() -> tuple[str, ...]:
    """Name the scene kinds: the files in `vo3d/world/scenes`."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(vo3d.world.scenes.__path__)))


def check_scene(kind: str, seed: int, frames: int, visit: Visit) -> None:
    """Raise Vo3dError unless such a scene can be built, see `build_scene`."""
    if kind not in scene_kinds():
        raise Vo3dError(f"no scene kind {kind!r}: expected one of {', '.join(scene_kinds())}")
    if not 2 <= frames <= MOST_FRAMES:
        raise Vo3dError(f"{frames} frames of {kind!r}: expected at least 2, and at most {MOST_FRAMES}")
    check_seed(seed, f"seed {seed} of {kind!r}")
    obeyed: tuple[str, ...] = getattr(_module(kind), "OBEYS", tuple(field.name for field in fields(Visit)))
    for field in fields(Visit):
        value = getattr(visit, field.name)
        if value != field.default and field.name not in obeyed:
            can = f"only {', '.join(obeyed)}" if obeyed else "no such choice"
            raise Vo3dError(f"{kind} has no {field.name} {value!r}: it knows {can}: leave it out")
    times: tuple[str, ...] = getattr(_module(kind), "TIMES", get_args(Time))
    if visit.time not in (*times, "any"):
        raise Vo3dError(f"{kind} has no time {visit.time!r}: expected one of {', '.join(times)} or any")


def build_scene(kind: str, seed: int, frames: int, sensor: Sensor | None = None, visit: Visit | None = None) -> Scene:
    """Build a scene of a kind, the same for the same arguments.

    A kind is one module in `vo3d/world/scenes` with `build(seeds, frames, sensor, visit) -> Scene`: the camera's path
    must cover `frames` views at the sensor's rate. If it obeys some choices of a visit only, it names them in `OBEYS`,
    and its times of day, if it has not all of them, in `TIMES`.
    Raises Vo3dError for an unknown kind, a seed below 0, fewer than 2 frames, a choice that the kind does not obey, a
    camera that comes into a static solid.
    """
    sensor, visit = sensor or Sensor(), visit or Visit()
    check_scene(kind, seed, frames, visit)
    scene = _module(kind).build(visit.seeds(seed), frames, sensor, visit)
    if not isinstance(scene, Scene):
        raise TypeError(f"vo3d.world.scenes.{kind}.build returned {type(scene).__name__}, not a Scene")
    times = torch.arange(frames, dtype=torch.float64) / sensor.rate
    check_free(f"{kind} {seed}: the camera", scene.solids, scene.camera.poses(times)[:, 0], times, "height, lateral")
    return scene


def check_free(
    named: str, solids: Solids, poses: Float64[Tensor, "n 4 4"], times: Float64[Tensor, " n"], advice: str
) -> None:
    """Raise Vo3dError, which begins with the name of a camera, if it comes into a static solid at one of its poses."""
    hidden = inside_static(solids, poses[:, :3, 3].float().to(solids.centre.device)).cpu()
    if hidden.any():
        raise Vo3dError(
            f"{named} is inside of a solid or below the ground in {int(hidden.sum())} of {len(times)} frames, first at "
            f"{float(times[hidden][0]):.1f} s: expected a free path: change its {advice} or start"
        )


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"vo3d.world.scenes.{kind}")


def inside_static(solids: Solids, points: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    """Tell which points lie inside of a solid that never moves, or below a plane."""
    solids = solids.select((solids.object == 0).nonzero()[:, 0])
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for part in torch.split(torch.arange(len(points), device=points.device), 256):
        offset = points[part][:, None] - solids.centre
        local = torch.einsum("pnk,nkl->pnl", offset, solids.rotation) / solids.half
        inside[part] = within(solids.kind, local).any(1)
    return inside

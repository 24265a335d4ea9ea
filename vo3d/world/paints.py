"""Procedural paints: what a solid's material numbers look like. Reflectances are linear, 0..1."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vo3d.world.labels import ROAD, SIDEWALK, TERRAIN
from vo3d.world.roads import STEP, RoadLine, RoadMap
from vo3d.world.scene import Hits, Light, column
from vo3d.world.sky import clear_sky, low_sky
from vo3d.world.textures import band, cell_hash, fractal_noise, pulses

# Material numbers that all paints share; the rest is each paint's own.
COLOUR, SECOND, AMOUNT, WAVELENGTH, SEED, OWN = slice(0, 3), slice(3, 6), 6, 7, 8, 9
MATERIAL_SIZE = 13


def _seeded_noise(hits: Hits, octaves: int, gain: float = 0.6) -> Float[Tensor, "2 n"]:
    """Compute noise of the solid's own wavelength and place in the lattice."""
    footprint = torch.sqrt(hits.a_footprint * hits.b_footprint)
    seed = hits.material[SEED]
    return fractal_noise(
        hits.lattice, hits.a + seed * 211.0, hits.b + seed * 97.0, footprint, hits.material[WAVELENGTH], octaves, gain
    )


def mottled(hits: Hits) -> tuple[Tensor, ...]:
    """Paint one colour that wanders towards a second: bark, plaster, metal (own: 1 for heads of lamps, which glow)."""
    noise = _seeded_noise(hits, 3)
    amount = hits.material[AMOUNT]
    colour = torch.lerp(hits.material[COLOUR], hits.material[SECOND], (0.5 + noise[1]).clamp(0, 1))
    painted = (colour * (1 + amount * noise[0])).clamp(0.01, 1), torch.ones_like(hits.a)
    if not hits.light.dark:
        return painted
    lamp = column(hits.light.lamps, hits.a) / max(hits.light.lamps)
    return *painted, lamp * (hits.material[OWN] * (0.8 + 3.2 * (hits.normal[1] > 0.5)))  # y is down: most from below


def foliage(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint leaves: strong noise, dark below and inside."""
    noise = _seeded_noise(hits, 4, 0.75)
    lit = (0.62 + 0.38 * -hits.local[1] / hits.half[1]) * (1 + hits.material[AMOUNT] * noise[0]).clamp(0.15, 2.0)
    colour = torch.lerp(hits.material[COLOUR], hits.material[SECOND], (0.5 + 0.7 * noise[1]).clamp(0, 1))
    return (colour * lit).clamp(0.004, 1), (0.75 + 0.6 * noise[0]).clamp(0.1, 1)


def roof(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint rows of tiles on the slopes, the second colour on the gables (own: length of a row in metres)."""
    noise = _seeded_noise(hits, 3)
    row = hits.material[OWN]
    gaps = pulses(hits.a, row, 0.2, hits.a_footprint) * 0.3 + pulses(hits.b, row, 0.2, hits.b_footprint) * 0.3
    tiles = hits.material[COLOUR] * (1 + hits.material[AMOUNT] * noise[0] - gaps)
    gable = hits.material[SECOND] * (1 + 0.12 * noise[0])
    return torch.where(hits.axis == 2, gable, tiles).clamp(0.01, 1), torch.ones_like(hits.a)


def facade(hits: Hits) -> tuple[Tensor, ...]:
    """Paint a wall with storeys of windows and some doors (own: window pitch, storey height, window share, bricks)."""
    pitch, storey, share, bricks = hits.material[OWN : OWN + 4]
    seed = hits.material[SEED]
    width = torch.where(hits.axis == 0, hits.half[2], hits.half[0])
    columns = (2 * width / pitch).round().clamp(min=1)
    pitch = 2 * width / columns
    a, height = hits.a + width, hits.half[1] - hits.b
    fa, fb = hits.a_footprint, hits.b_footprint
    noise = _seeded_noise(hits, 4)

    wall = hits.material[COLOUR] * (1 + hits.material[AMOUNT] * (noise[0] + 0.5 * noise[1]))
    mortar = pulses(height, 0.25, 0.2, fb) + 0.5 * pulses(a + 0.25 * (height / 0.25).floor(), 0.5, 0.12, fa)
    wall = wall * (1 - 0.35 * bricks * mortar)
    streaks = 0.12 * band(height, 0.0, 0.6, fb) + 0.1 * band(height, 0.0, 0.25, fb)
    wall = wall * (1 - streaks - 0.18 * pulses(height + 0.1, storey, 0.06, fb))

    column_, floor = (a / pitch).floor(), (height / storey).floor()
    chance = cell_hash(column_, floor, seed)
    resolved = (1.5 - (fa / pitch + fb / storey)).clamp(0, 1)
    door = (floor == 0) & (chance < 0.22)
    tall = torch.where(door, 0.74, 0.52)
    bottom = torch.where(door, 0.0, 0.28) * storey
    inset = (1 - share) / 2 * pitch

    def opening(grow: float) -> Tensor:
        across = pulses(a - inset + grow, pitch, (share + 2 * grow / pitch).clamp(max=1), fa)
        sill = torch.where(door, 0.0, grow)  # a door's frame ends at the ground
        up = pulses(height - bottom + sill, storey, (tall + (sill + grow) / storey).clamp(max=1), fb)
        return across * up

    frame, glass = opening(0.12), opening(0.0)
    bars = pulses(a - pitch / 2 + 0.04, pitch, 0.08 / pitch, fa)
    sky = 0.04 + 0.25 * resolved * (chance - 0.3).clamp(min=0) * (
        0.4 + 0.6 * ((height - bottom).remainder(storey) / storey)
    )
    pane = torch.stack((0.75 * sky, 0.9 * sky, 1.1 * sky))
    pane = torch.where(door, hits.material[SECOND] * 0.35, pane) * (1 - bars) + hits.material[SECOND] * bars
    colour = torch.lerp(wall, hits.material[SECOND], frame)
    colour = torch.lerp(colour, pane, glass)
    painted = torch.where(hits.axis == 1, 0.25, colour).clamp(0.01, 1), 1 - 0.35 * glass
    lit = hits.light.windows
    if not lit > 0:
        return painted
    draw, tint = cell_hash(column_, floor, seed + 1.0), cell_hash(column_, floor, seed + 2.0)
    on = torch.lerp(torch.full_like(a, lit), (draw < lit).to(a), resolved)
    curtain = 0.55 + 0.45 * ((height - bottom).remainder(storey) / storey)
    room = torch.lerp(column((1.0, 0.62, 0.28), a), column((0.85, 0.85, 0.80), a), tint**2)
    room = room * (0.25 + 0.6 * draw / lit).clamp(max=0.85)
    return *painted, room * (on * curtain * glass * (1 - bars) * ~door * (hits.axis != 1))


def bodywork(hits: Hits) -> tuple[Tensor, ...]:
    """Paint a car's body or cabin (own: 1 for the cabin with its glass, 1 if lamps are on at night): lamps, sills."""
    cabin = hits.material[OWN]
    fa, fb = hits.a_footprint, hits.b_footprint
    noise = _seeded_noise(hits, 2)
    colour = hits.material[COLOUR] * (1 + 0.06 * noise[0])
    height = (hits.half[1] - hits.b) / (2 * hits.half[1])
    side = hits.axis != 1
    end = hits.axis == 2
    fh = fb / (2 * hits.half[1])
    width = torch.where(end, hits.half[0], hits.half[2])
    pane = band(height, 0.12, 0.9, fh) * band(hits.a.abs(), -1.0, width - 0.12, fa)
    pillar = torch.where(end, 0.0, band(hits.a.abs(), -0.05, 0.05, fa))
    glass = torch.where(side, cabin * pane * (1 - pillar), 0.0)
    colour = torch.lerp(colour, column((0.03, 0.04, 0.05), colour), glass)
    lamps = band(hits.a.abs(), width - 0.4, width - 0.1, fa) * band(height, 0.5, 0.8, fh) * (1 - cabin) * end
    front = (hits.local[2] > 0).float()
    lamp = torch.stack((0.75 * torch.ones_like(front), 0.1 + 0.65 * front, 0.08 + 0.62 * front))
    colour = torch.lerp(colour, lamp, lamps)
    plate = band(hits.a.abs(), -0.26, 0.26, fa) * band(height, 0.3, 0.48, fh) * (1 - cabin) * end
    colour = torch.lerp(colour, torch.full_like(colour, 0.7), plate)
    sill = torch.where(side, band(height, -1.0, 0.16, fh) * (1 - cabin), 0.0)
    painted = torch.lerp(colour, torch.full_like(colour, 0.03), sill).clamp(0.01, 1), torch.ones_like(hits.a)
    if not hits.light.dark:
        return painted
    shining = torch.where(front > 0, column((3.0, 2.8, 2.4), front), column((0.9, 0.03, 0.02), front))
    return *painted, shining * (lamps * hits.material[OWN + 1])


@dataclass(frozen=True)
class Road:
    """The ground of a street: asphalt with markings, patches and stains, kerbs, paved walks, grass.

    Lengths in metres from the centre line: `lane` to the edge of a driving lane, `kerb` to the kerb, `walk` to the
    outer edge of the side walk.
    """

    line: RoadLine
    map: RoadMap
    lane: float
    kerb: float
    walk: float

    def __call__(self, hits: Hits) -> tuple[Tensor, ...]:
        """Compute reflectance, sunlight and, where it is wet, mirrored light; a is x and b is z of the world."""
        x, z = hits.world[0], hits.world[2]
        s, lateral, sunlit = self.map.lookup(x, z)
        heading = self.line.heading.float().to(x.device)[(s / STEP).long().clamp(0, len(self.line.heading) - 1)]
        sin, cos = heading.sin(), heading.cos()
        fs = (hits.a_step * sin + hits.b_step * cos).abs().sum(0)
        fl = (hits.a_step * cos - hits.b_step * sin).abs().sum(0)
        off = lateral.abs()
        round_footprint = torch.sqrt(hits.a_footprint * hits.b_footprint)
        coarse = fractal_noise(hits.lattice, x, z, round_footprint, 2.7, 3, 0.7)
        fine = fractal_noise(hits.lattice, x + 31.0, z, round_footprint, 0.24, 3, 0.8)
        grain = 1 + 0.16 * coarse[0] + 0.28 * fine[0]

        colour = 0.12 * grain * self._wear(s, lateral, fs, fl, coarse) * column((1.0, 1.0, 1.04), x)  # asphalt
        paint = self._markings(s, lateral, fs, fl) * (0.8 + 0.25 * fine[1] - 0.15 * coarse[1]).clamp(0, 1)
        colour = torch.lerp(colour, 0.62 * column((1.0, 1.0, 0.96), x), paint)

        joints = 0.5 * (pulses(s, 0.6, 0.07, fs) + pulses(lateral, 0.6, 0.07, fl))
        slab = (cell_hash((s / 0.6).floor(), (lateral / 0.6).floor(), 3.0) - 0.5) * (1 - fs).clamp(0, 1)
        paving = 0.24 * (1 + 0.14 * coarse[0] + 0.14 * fine[0] + 0.25 * slab - 0.5 * joints)
        colour = torch.lerp(colour, paving * column((1.04, 1.0, 0.93), x), band(off, self.kerb, 1e4, fl))
        kerb = 0.36 * (1 + 0.2 * fine[0]) * (1 - 0.5 * pulses(s, 1.0, 0.05, fs)) * column((1.0, 1.0, 1.0), x)
        colour = torch.lerp(colour, kerb, band(off, self.kerb - 0.08, self.kerb + 0.12, fl))
        gutter = band(off, self.kerb - 0.3, self.kerb - 0.08, fl)
        colour = colour * (1 - 0.4 * gutter)
        dry = (0.4 + 0.6 * coarse[1]).clamp(0, 1)
        grass = torch.lerp(column((0.10, 0.17, 0.05), x), column((0.20, 0.19, 0.09), x), dry)
        grass = grass * (1 + 0.3 * coarse[0] + 0.45 * fine[0])
        green = band(off, self.walk, 1e4, fl)
        colour = torch.lerp(colour, grass, green).clamp(0.01, 1)
        if not hits.light.wet > 0:
            return colour, sunlit
        wet = hits.light.wet * (1 - green)
        puddle = ((coarse[1] + 0.5 * gutter + 0.8 * hits.light.wet - 0.95) * 5).clamp(0, 1)
        view = hits.ray * (hits.ray * hits.ray).sum(0).rsqrt()
        share = wet * (0.3 + 0.7 * puddle) * (0.02 + 0.98 * (1 + (view * hits.normal).sum(0)) ** 5)  # Schlick's formula
        dull = colour * (1 - hits.light.wet * (0.35 + 0.15 * puddle))
        return dull * (1 - share), sunlit, self._mirrored(hits.light, view, lateral, sin, cos) * share

    def _mirrored(self, light: Light, view: Tensor, lateral: Tensor, sin: Tensor, cos: Tensor) -> Float[Tensor, "3 n"]:
        """Compute what the wet road mirrors: the sky, but where rays to the side meet the fronts of a row of houses."""
        ray = torch.stack((view[0], -view[1].abs(), view[2]))
        sideways = ray[0] * cos - ray[2] * sin
        apart = (self.walk + 1 - lateral * sideways.sign()).clamp(min=0.5) / sideways.abs().clamp(min=1e-3)
        open_ = ((-ray[1] * apart - 6.0) / 5.0).clamp(0, 1)  # 6 to 11 metres: where roofs end
        fronts = 0.35 * column(light.ambient, apart)
        fronts = torch.lerp(fronts, low_sky(light, ray), 1 - torch.exp(apart * (-1.0 / light.haze)))
        return torch.lerp(fronts, clear_sky(light, ray), open_)

    def classes(self, world: Float[Tensor, "3 n"]) -> Int[Tensor, " n"]:
        """Tell the class of points of the ground: road up to the kerb, then side walk, then terrain."""
        off = self.map.lookup(world[0], world[2])[1].abs()
        return torch.where(off < self.kerb, ROAD, torch.where(off < self.walk, SIDEWALK, TERRAIN))

    def _markings(self, s: Tensor, lateral: Tensor, fs: Tensor, fl: Tensor) -> Tensor:
        """Compute the share of white paint: a dashed centre line, parking bays."""
        centre = band(lateral, -0.07, 0.07, fl) * pulses(s, 6.0, 0.5, fs)
        off = lateral.abs()
        edge = band(off, self.lane - 0.05, self.lane + 0.07, fl) * pulses(s + 2.0, 3.0, 0.66, fs)
        bays = band(off, self.lane, self.kerb - 0.1, fl) * pulses(s, 6.0, 0.02, fs)
        return (centre + edge + bays).clamp(0, 1)

    def _wear(self, s: Tensor, lateral: Tensor, fs: Tensor, fl: Tensor, coarse: Tensor) -> Tensor:
        """Compute the brightness of asphalt: repaired patches, manholes, tyre tracks, cracks."""
        block, side = (s / 7.0).floor(), (lateral / 2.5).floor()
        chance = cell_hash(block, side, 1.0)
        patch = band(s - 7.0 * block, 1.0, 1.5 + 6.0 * chance, fs) * band(lateral - 2.5 * side, 0.3, 2.2, fl)
        tone = 1 + (chance < 0.4) * patch * (1.6 * chance - 0.75)
        seam = patch * (
            1 - band(s - 7.0 * block, 1.08, 1.42 + 6.0 * chance, fs) * band(lateral - 2.5 * side, 0.38, 2.12, fl)
        )
        tone = tone * (1 - 0.5 * seam * (chance < 0.4))
        cell = (s / 19.0).floor()
        place = cell_hash(cell, cell, 2.0)
        radius = torch.hypot(s - 19.0 * cell - 4.0 - 10.0 * place, lateral - 4.0 * (place - 0.5))
        footprint = torch.maximum(fs, fl)
        tone = tone * (1 - 0.55 * band(radius, -1.0, 0.36, footprint) + 0.25 * band(radius, -1.0, 0.26, footprint))
        tracks = torch.exp(-(((lateral.abs() - 0.8) / 0.3) ** 2)) + torch.exp(-(((lateral.abs() - 2.2) / 0.3) ** 2))
        crack = (1 - (coarse[1].abs() / (0.03 + 0.25 * footprint))).clamp(0, 1) * (0.03 / (0.03 + 0.25 * footprint))
        return tone * (1 - 0.16 * tracks) * (1 - 0.5 * crack)

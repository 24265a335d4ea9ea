"""Paints of things on a table: printed packaging, grained wood, stone and cloth. Reflectances are linear, 0..1."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.world.paints import AMOUNT, COLOUR, OWN, SECOND, SEED, WAVELENGTH
from vo3d.world.scene import Hits
from vo3d.world.textures import between_cells, fractal_noise, pulses

MOST_OCTAVES = 6
BRIGHTEST = 0.85  # of a reflectance; white paper has about 0.8


def speckled(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint two colours mixed by noise of many scales: stone, clay, cloth, plaster."""
    x, y, footprint = _turned(hits, torch.zeros_like(hits.a))
    coarse = fractal_noise(hits.lattice, x, y, footprint, hits.material[WAVELENGTH], 2, 0.7)
    fine = _fine_noise(hits, x + 0.71, y, footprint, hits.material[WAVELENGTH] / 4)
    amount = hits.material[AMOUNT]
    mix = (0.5 + 0.5 * amount * (coarse[0] + fine[0])).clamp(0, 1)
    colour = torch.lerp(hits.material[COLOUR], hits.material[SECOND], mix)
    shade = 1 + amount * (0.35 * coarse[1] + 0.55 * fine[1])
    return (colour * shade).clamp(0.01, BRIGHTEST), torch.ones_like(hits.a)


def printed(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint coloured blocks, lines and marks (own: angle, width of a block, share of lines, contrast of the marks)."""
    angle, block, lines, contrast = hits.material[OWN : OWN + 4]
    x, y, footprint = _turned(hits, angle)
    amount = hits.material[AMOUNT]
    large = _blocks(hits, x, y, footprint, block * 2.7)
    small = _blocks(hits, x + 0.37, y * 1.6, footprint * 1.6, block)
    colour = torch.lerp(hits.material[COLOUR], hits.material[SECOND], (large[0] > 0.1).to(x) * amount)
    hue = torch.stack((large[1], small[1], -0.5 * (large[1] + small[1])))
    colour = colour * (1 + amount * (0.35 * small[0] + 0.3 * hue))
    stripe = pulses(x, block * 0.6, 0.4, footprint) * (large[1] > 1 - 2 * lines)
    marks = _blocks(hits, x + 0.9, y, footprint, block / 5)
    fine = _fine_noise(hits, x, y + 0.5, footprint, block / 3)
    ink = 1 - amount * (0.55 * stripe + contrast * (0.45 * (marks[0] > 0.3) + 0.3 * marks[1] + 0.3 * fine[0]))
    return (colour * ink).clamp(0.01, BRIGHTEST), torch.ones_like(hits.a)


def wooden(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint boards with grain (own: angle, width of a board in metres)."""
    angle, board = hits.material[OWN : OWN + 2]
    x, y, footprint = _turned(hits, angle)
    number = (y / board).floor()
    along = x + 7.3 * number
    wavelength = hits.material[WAVELENGTH]
    waves = _fine_noise(hits, along * 0.12, y, footprint, wavelength)
    knots = fractal_noise(hits.lattice, along * 0.5, y + 0.3, footprint, wavelength * 2, 2, 0.6)
    rings = (0.5 + 0.5 * (waves[0] + 0.6 * knots[0])).clamp(0, 1)
    colour = torch.lerp(hits.material[COLOUR], hits.material[SECOND], rings)
    gap = pulses(y, board, 0.03, footprint)
    tone = 1 + hits.material[AMOUNT] * (0.6 * waves[1] + 0.3 * knots[1]) - 0.5 * gap
    return (colour * tone).clamp(0.01, BRIGHTEST), torch.ones_like(hits.a)


def _turned(hits: Hits, angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn surface coordinates by `angle`, shift them to the solid's own place in the lattice; also their footprint."""
    cos, sin, seed = angle.cos(), angle.sin(), hits.material[SEED] + 0.37 * hits.axis
    x, y = cos * hits.a - sin * hits.b, sin * hits.a + cos * hits.b
    return x + seed * 5.3, y + seed * 3.1, torch.sqrt(hits.a_footprint * hits.b_footprint)


def _fine_noise(hits: Hits, x: Tensor, y: Tensor, footprint: Tensor, wavelength: Tensor) -> Float[Tensor, "2 n"]:
    """Compute fractal noise down to what the closest pixel resolves, without octaves that have faded everywhere."""
    resolved = math.log2(max(float(wavelength.max() / footprint.min().clamp(min=1e-6)), 1.0))
    octaves = min(max(math.ceil(resolved), 1), MOST_OCTAVES)
    return fractal_noise(hits.lattice, x, y, footprint, wavelength, octaves, 0.8)


def _blocks(hits: Hits, x: Tensor, y: Tensor, footprint: Tensor, size: Tensor) -> Float[Tensor, "2 n"]:
    """Draw rectangles with sides of `size` metres, each of two random numbers in [-1, 1], with edges one pixel soft."""
    soft = (footprint / size)[:, None].clamp(min=1e-4)
    points = torch.stack((x, y), -1) / size[:, None]
    values = between_cells(hits.lattice, points, lambda f: ((f - 0.5) / soft + 0.5).clamp(0, 1))
    return values * ((1 - soft[:, 0]) * 1.5).clamp(0, 1)

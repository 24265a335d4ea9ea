"""Band-limited procedural patterns: every one takes the pixel's footprint and fades what a pixel cannot resolve."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

LATTICE = 128  # cells of the periodic noise lattice


def noise_lattice(generator: torch.Generator) -> Float[Tensor, "1 2 h w"]:
    """Draw a periodic lattice of two independent channels of values in [-1, 1], with its wrapped border."""
    cells = torch.rand(1, 2, LATTICE, LATTICE, generator=generator) * 2 - 1
    return functional.pad(cells, (0, 1, 0, 1), mode="circular")


def between_cells(
    lattice: Tensor, points: Float[Tensor, "n 2"], ease: Callable[[Tensor], Tensor]
) -> Float[Tensor, "2 n"]:
    """Interpolate the lattice at points, in cells; `ease` bends the place in a cell, 0 to 1, on which it depends."""
    cell = points.floor()
    grid = (cell.remainder(LATTICE) + ease(points - cell)) * (2 / LATTICE) - 1
    return functional.grid_sample(lattice, grid[None, None], mode="bilinear", align_corners=True)[0, :, 0]


def value_noise(lattice: Tensor, x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> Float[Tensor, "2 n"]:
    """Compute smooth noise of unit cell size in [-1, 1] at points x, y: two independent channels."""
    return between_cells(lattice, torch.stack((x, y), -1), lambda f: f * f * (3 - 2 * f))


def fractal_noise(
    lattice: Tensor,
    x: Float[Tensor, " n"],
    y: Float[Tensor, " n"],
    footprint: Float[Tensor, " n"],
    wavelength: Float[Tensor, " n"] | float,
    octaves: int,
    gain: float = 0.6,
) -> Float[Tensor, "2 n"]:
    """Sum octaves of value noise, the first of the given cell size, each faded out by the footprint.

    Shapes: x, y, footprint in metres. An octave of cell L is whole while the pixel covers less than L / 3 and
    gone where it covers L: what remains of it would alias.
    """
    scale = torch.tensor([2.0**octave for octave in range(octaves)], device=x.device)
    turn = torch.arange(octaves, device=x.device) * 0.65  # each octave turned, so that the lattices do not show
    cos, sin = turn.cos() * scale, turn.sin() * scale
    inverse = 1.0 / wavelength
    x, y = x * inverse, y * inverse
    u = cos[:, None] * x - sin[:, None] * y + 17.3 * scale[:, None]
    v = sin[:, None] * x + cos[:, None] * y
    noise = value_noise(lattice, u.flatten(), v.flatten()).view(2, octaves, -1)
    gains = torch.tensor([gain**octave for octave in range(octaves)], device=x.device)
    fade = ((1 - footprint * inverse * scale[:, None]) * 1.5).clamp(0, 1) * gains[:, None]
    return (noise * fade).sum(1)


def band(x: Tensor, low: Tensor | float, high: Tensor | float, footprint: Tensor) -> Tensor:
    """Compute the share of the pixel [x - f/2, x + f/2] that lies between `low` and `high`: a box-filtered step."""
    half = footprint * 0.5
    covered = torch.minimum(x + half, torch.as_tensor(high)) - torch.maximum(x - half, torch.as_tensor(low))
    return (covered / footprint).clamp(0, 1)


def pulses(x: Tensor, period: Tensor | float, duty: Tensor | float, footprint: Tensor) -> Tensor:
    """Draw a box-filtered pulse train: 1 in the first `duty` share of every `period`, averaged over the footprint."""
    scaled = x / period
    half = (footprint / period * 0.5).clamp(min=1e-4)
    filled_low, filled_high = (  # how much of the train up to either end is 1
        end.floor() * duty + torch.minimum(end - end.floor(), torch.as_tensor(duty))
        for end in (scaled - half, scaled + half)
    )
    return (filled_high - filled_low) / (2 * half)


def cell_hash(x: Tensor, y: Tensor, seed: Tensor | float) -> Tensor:
    """Give a number in [0, 1) for each integer cell (x, y): small integer arithmetic, the same on every device."""
    h = x.to(torch.int32) * 7919 + y.to(torch.int32) * 104729 + torch.as_tensor(seed * 65536.0).to(torch.int32) * 31
    h = h ^ (h >> 13)
    h = h * 1274126177
    h = h ^ (h >> 16)
    return (h & 0xFFFF).to(torch.float32) / 65536.0

"""Paints of a furnished room: plaster, wallpaper, tiles, timber, books, pictures, rugs. Reflectances linear, 0..1."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.world.paints import AMOUNT, COLOUR, OWN, SECOND, SEED, WAVELENGTH
from vo3d.world.scene import Hits
from vo3d.world.table_paints import BRIGHTEST, printed
from vo3d.world.textures import band, cell_hash, fractal_noise, pulses

PAGES = (0.70, 0.66, 0.56)


def plain(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint one colour that wanders a little towards a second, with a fine grain: plaster, lacquer, cloth."""
    noise = _noise(hits, hits.a, hits.b, 2)
    mix = (hits.material[AMOUNT] * (0.5 + noise[1])).clamp(0, 1)
    colour = torch.lerp(hits.material[COLOUR], hits.material[SECOND], mix)
    return _finished(colour * (1 + hits.material[AMOUNT] * 0.5 * noise[0]))


def timber(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint a sawn board (own: angle of its grain)."""
    x, y = _along(hits)
    return _finished(_sawn(hits, x, y))


def parquet(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint a floor of boards, each of its own tone (own: angle of the boards; their width, metres)."""
    x, y = _along(hits)
    board = hits.material[OWN + 1]
    seed, row = hits.material[SEED], (y / board).floor()
    x = x + 8 * board * cell_hash(row, row, seed)
    number = (x / (8 * board)).floor()
    footprint = torch.sqrt(hits.a_footprint * hits.b_footprint)
    fade = (1.5 - footprint / board).clamp(0, 1)
    tone = 1 + 0.45 * (cell_hash(number, row, seed + 1.0) - 0.5) * fade
    gaps = pulses(y, board, 0.025, footprint) + pulses(x, 8 * board, 0.004, footprint)
    return _finished(_sawn(hits, x + 3.7 * number, y + 1.3 * row) * tone * (1 - 0.55 * gaps))


def wallpaper(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint a repeating pattern (own: stripes 0, diamonds 1 or blossoms 2; its period; where a and b begin, metres)."""
    pattern, period, right, down = hits.material[OWN : OWN + 4]
    a, b = (hits.a + right) / period, (hits.b + down) / period
    footprint = torch.sqrt(hits.a_footprint * hits.b_footprint) / period
    soft = footprint.clamp(min=0.02)
    stripes = pulses(a, 1.0, 0.5, footprint) * 0.7 + 0.3 * pulses(a + 0.15, 0.5, 0.08, footprint)
    row = (b / 1.3).floor()
    across, along = (a + 0.5 * row) % 1 - 0.5, b / 1.3 - row - 0.5
    diamond = across.abs() + along.abs()
    lines = 1 - ((diamond - 0.5).abs() / soft - 0.8).clamp(0, 1)
    heart = ((0.16 - diamond) / soft + 0.5).clamp(0, 1)
    radius, turn = torch.hypot(across, along), torch.atan2(along, across)
    petals = ((0.22 + 0.13 * torch.cos(5 * turn + 2.0 * row) - radius) / soft + 0.5).clamp(0, 1)
    eye = ((0.08 - radius) / soft + 0.5).clamp(0, 1)
    drawn = torch.where(pattern < 0.5, stripes, torch.where(pattern < 1.5, (lines + heart).clamp(0, 1), petals - eye))
    drawn = torch.lerp(drawn, torch.full_like(drawn, 0.3), ((footprint - 0.25) * 3).clamp(0, 1))
    tone = 1 + 0.3 * hits.material[AMOUNT] * _noise(hits, hits.a, hits.b, 3)[0]
    return _finished(torch.lerp(hits.material[COLOUR], hits.material[SECOND], drawn.clamp(0, 1)) * tone)


def tiles(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint square tiles, each of its own tone, the second colour between them (own: side; width of the joints)."""
    side, joint = hits.material[OWN : OWN + 2]
    noise = _noise(hits, hits.a, hits.b, 3)
    tone = cell_hash((hits.a / side).floor(), (hits.b / side).floor(), hits.material[SEED]) - 0.5
    fade = (1.5 - torch.maximum(hits.a_footprint, hits.b_footprint) / side).clamp(0, 1)
    colour = hits.material[COLOUR] * (1 + hits.material[AMOUNT] * (noise[0] + tone * fade))
    share = joint / side
    joints = pulses(hits.a, side, share, hits.a_footprint) + pulses(hits.b, side, share, hits.b_footprint)
    return _finished(torch.lerp(colour, hits.material[SECOND], joints.clamp(0, 1)))


def book(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint a book: covers look along x, the back along -z; pages between them (own: two places of a title, 0..1)."""
    place, size = hits.material[OWN : OWN + 2]
    height = 0.5 + hits.b / (2 * hits.half[1])  # 0 at the top
    soft = hits.b_footprint / (2 * hits.half[1])
    back = (hits.axis == 2) & (hits.local[2] < 0)
    title = band(height, 0.12 + 0.3 * place, 0.12 + 0.3 * place + 0.1 + 0.3 * size, soft)
    letters = pulses(hits.b + 0.002, 0.011, 0.6, hits.b_footprint)
    across = torch.where(back, hits.half[0] * 0.55, hits.half[2] * 0.7)
    printed_ = title * band(hits.a, -across, across, hits.a_footprint)
    rings = band(height, 0.86, 0.9, soft) + band(height, 0.05, 0.07, soft)
    ink = torch.where(back, (printed_ * letters + rings).clamp(0, 1), printed_ * (0.35 + 0.5 * letters))
    cover = torch.lerp(hits.material[COLOUR], hits.material[SECOND], ink.clamp(0, 1))
    cover = cover * (1 + hits.material[AMOUNT] * _noise(hits, hits.a, hits.b, 2)[0])
    sheets = 1 - 0.25 * pulses(hits.a, 0.004, 0.5, hits.a_footprint)
    paper = hits.material.new_tensor(PAGES)[:, None] * sheets
    return _finished(torch.where((hits.axis == 0) | back, cover, paper))


def painting(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint a picture in a white mat (own: landscape 0, shapes 1 or print 2; width of the mat; tone; place)."""
    kind, mat, tone, place = hits.material[OWN : OWN + 4]
    width, height = hits.half[0] - mat, hits.half[1] - mat
    x, y = hits.a / width.clamp(min=0.01), hits.b / height.clamp(min=0.01)  # -1..1, down
    soft = (hits.b_footprint / height.clamp(min=0.01)).clamp(min=0.01)
    first, second = hits.material[COLOUR], hits.material[SECOND]
    picture = torch.lerp(first, second * 0.6 + 0.3, (0.5 - 0.5 * y).clamp(0, 1))
    disc = ((0.22 - torch.hypot((x - 1.2 * place + 0.6) * width / height, y + 0.45)) / soft + 0.5).clamp(0, 1)
    picture = torch.lerp(picture, picture.new_tensor([0.8, 0.62, 0.35])[:, None], disc * 0.8)
    for number in range(3):
        ridge = fractal_noise(hits.lattice, x + 9.0 * hits.material[SEED] + 5.0 * number, place, soft, 0.9, 4)[0]
        below = ((y - 0.1 - 0.28 * number + 0.4 * ridge) / soft + 0.5).clamp(0, 1)
        shade = torch.lerp(second, first * 0.35, 0.3 + 0.3 * number)
        picture = torch.lerp(picture, shade * (0.75 + 0.5 * tone), below)
    shapes = _shapes(hits, x, y, soft)
    picture = torch.where(kind < 0.5, picture, torch.where(kind < 1.5, shapes, printed(_print(hits))[0]))
    picture = picture * (1 + hits.material[AMOUNT] * _noise(hits, hits.a, hits.b, 3)[0])
    shown = band(hits.a, -width, width, hits.a_footprint) * band(hits.b, -height, height, hits.b_footprint)
    return _finished(torch.lerp(picture.new_tensor([0.74, 0.73, 0.69])[:, None], picture, shown))


def rug(hits: Hits) -> tuple[Tensor, Tensor]:
    """Paint a woven rug: borders around a field of diamonds (own: width of a border; period of the field)."""
    border, period = hits.material[OWN : OWN + 2]
    inward = torch.minimum(hits.half[0] - hits.a.abs(), hits.half[2] - hits.b.abs())
    footprint = torch.maximum(hits.a_footprint, hits.b_footprint)
    lines = band(inward, 0.25 * border, 0.4 * border, footprint) + band(inward, 0.8 * border, border, footprint)
    teeth = band(inward, 0.4 * border, 0.8 * border, footprint) * pulses(hits.a + hits.b, border, 0.5, footprint)
    a, b = hits.a / period, hits.b / (1.5 * period)
    diamond = (a % 1 - 0.5).abs() + (b % 1 - 0.5).abs()
    soft = (footprint / period).clamp(min=0.02)
    field = ((0.3 - diamond) / soft + 0.5).clamp(0, 1) - ((0.14 - diamond) / soft + 0.5).clamp(0, 1)
    middle = ((0.35 - torch.hypot(hits.a / hits.half[0], hits.b / hits.half[2])) * 20).clamp(0, 1)
    field = torch.lerp(field, 1 - field, middle) * (inward > border)
    ink = (lines + teeth + field).clamp(0, 1)
    weave = 1 + 0.35 * _noise(hits, hits.a, hits.b, 3)[0] * hits.material[AMOUNT]
    return _finished(torch.lerp(hits.material[COLOUR], hits.material[SECOND], ink) * weave)


@dataclass(frozen=True)
class LampShade:
    """The shade of a lamp, which glows where the lamp is on (own: the lamp's number)."""

    glow: Float[Tensor, "l 3"]  # linear light of each lamp's shade

    def __call__(self, hits: Hits) -> tuple[Tensor, ...]:
        """Compute reflectance, sunlight and glow: brightest in the middle of the shade's height."""
        colour, sunlit = plain(hits)
        if not hits.light.dark:
            return colour, sunlit
        height = (hits.local[1] / hits.half[1]).clamp(-1, 1)
        return colour, sunlit, self.glow[hits.material[OWN].long()].T * (1 - 0.35 * height**2)


def _noise(hits: Hits, a: Tensor, b: Tensor, octaves: int) -> Float[Tensor, "2 n"]:
    """Compute noise of the solid's own wavelength and place, other on each of its faces."""
    seed = hits.material[SEED] * 5.3 + 0.61 * hits.axis
    footprint = torch.sqrt(hits.a_footprint * hits.b_footprint)
    return fractal_noise(hits.lattice, a + seed, b + 1.7 * seed, footprint, hits.material[WAVELENGTH], octaves, 0.75)


def _along(hits: Hits) -> tuple[Tensor, Tensor]:
    """Return coordinates along and across the grain, metres."""
    angle = hits.material[OWN]
    return angle.cos() * hits.a - angle.sin() * hits.b, angle.sin() * hits.a + angle.cos() * hits.b


def _sawn(hits: Hits, x: Tensor, y: Tensor) -> Float[Tensor, "3 n"]:
    """Compute the colour of wood that is grained along x."""
    grain = _noise(hits, x * 0.06, y, 4)
    colour = torch.lerp(hits.material[COLOUR], hits.material[SECOND], (0.5 + 0.5 * grain[0]).clamp(0, 1))
    return colour * (1 + hits.material[AMOUNT] * 0.6 * grain[1])


def _shapes(hits: Hits, x: Tensor, y: Tensor, soft: Tensor) -> Float[Tensor, "3 n"]:
    """Paint overlapping discs and beams of the two colours on paper."""
    first, second, place = hits.material[COLOUR], hits.material[SECOND], hits.material[OWN + 3]
    colour = torch.full_like(first, 0.6) * (1 + 0.1 * y)
    for number in range(4):
        turn, ink = 6.0 * place + 2.1 * number, first if number % 2 else second
        right, down = 0.5 * turn.cos(), 0.5 * (1.3 * turn).sin()
        disc = ((0.42 - 0.07 * number - torch.hypot(x - right, y - down)) / soft + 0.5).clamp(0, 1)
        colour = torch.lerp(colour, ink, disc * 0.85)
    beam = band(x * place.cos() + y * place.sin(), -0.06, 0.06, soft)
    return torch.lerp(colour, first * 0.3, beam)


def _print(hits: Hits) -> Hits:
    """Return the points with a material of printed blocks and lines."""
    material = hits.material.clone()
    material[AMOUNT] = 0.9
    material[OWN] = 0.0
    material[OWN + 1] = 0.06
    material[OWN + 2] = 0.3
    material[OWN + 3] = 0.6
    return replace(hits, material=material)


def _finished(colour: Tensor) -> tuple[Tensor, Tensor]:
    return colour.clamp(0.01, BRIGHTEST), torch.ones_like(colour[0])

"""Textures with the statistics of photographs: pictures, surfaces and noise from CC0 photographs in scikit-image.

They are an option of a visit; nothing here is used without it. The package is imported by `photographs` alone, every
other function takes its pictures as arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.world.paints import AMOUNT, COLOUR, OWN, SECOND, SEED, WAVELENGTH, Road
from vo3d.world.scene import Hits, Paint
from vo3d.world.textures import LATTICE, band
from vo3d.world.visit import TEXTURES_ADVICE

PICTURES = ("chelsea", "coffee", "rocket", "hubble_deep_field")  # CC0, CC0, and twice public domain; nobody's face
SURFACES = ("brick", "grass", "gravel")  # CC0
BRICK, GRASS, GRAVEL = range(3)
SIDE = 256  # texels of a picture's finest level
SURFACE_SIDE = 512
WHITEST = 0.85  # of a reflectance: white paper
# scikit-image's documentation of `brick` says by which homography its wall was turned aside, in pixels twice as fine.
BRICK_TURN = ((0.54764, -0.00219, 0.0), (-0.12822, 0.54688, 0.0), (-0.00022, 0.0, 1.0))
BRICK_WINDOW = (0.0, 300.0, 1200.0)  # left, top and side of what of the wall before that is in the picture
# Metres that the picture of a surface covers: a course of bricks is 11 cm, a stone of the gravel some 3 cm.
TILE = {BRICK: 1.15, GRASS: 1.4, GRAVEL: 1.0}


@dataclass(frozen=True)
class Pyramids:
    """Pictures as mip pyramids in one image: side by side, the levels of each below one another, with a border of one.

    The finest level of each is a square of `side` texels, whatever the picture's shape, the last a single texel.
    """

    texels: Float[Tensor, "1 c h w"]
    aspect: Float[Tensor, " p"]  # width of each picture over its height
    side: int

    def sample(
        self, number: Int[Tensor, " n"], place: Float[Tensor, "2 n"], step: Float[Tensor, "2 2 n"], taps: int
    ) -> Float[Tensor, "c n"]:
        """Filter the pictures of a number over pixels; beyond its edges a picture goes on as its mirror image.

        Args:
            number: picture at each point.
            place: right and down in the picture, 0 to 1 from its upper left corner.
            step: change of the place's first and second number to the pixel on the right and the one below.
            taps: samples along the longer side of a pixel's footprint, each trilinear; a longer one is blurred more.
        """
        length = torch.hypot(step[0], step[1])  # of the steps to the right and down
        longer = torch.where(length[0] > length[1], step[:, 0], step[:, 1])
        texels = torch.maximum(length.amin(0), length.amax(0) / taps) * self.side
        last = self.side.bit_length() - 1
        level = texels.clamp(min=1).log2().clamp(max=last)
        fine = level.floor()
        apart = (torch.arange(taps, device=place.device) + 0.5) / taps - 0.5
        spots = place[:, None, None] + longer[:, None, None] * apart[:, None]  # 2 1 taps n
        folded = 1 - (1 - spots.remainder(2)).abs()
        both = torch.stack((fine, (fine + 1).clamp(max=last)))[:, None]  # 2 1 n
        size = self.side * torch.exp2(-both)
        inside = torch.minimum((folded * size - 0.5).clamp(min=-0.5), size - 0.5)  # 2 2 taps n
        left = 1 + number * (self.side + 2)
        top = 1 + 2 * (self.side - size) + 2 * both
        height, width = self.texels.shape[-2:]
        grid = torch.stack(((inside[0] + left) * (2 / (width - 1)) - 1, (inside[1] + top) * (2 / (height - 1)) - 1), -1)
        colours = functional.grid_sample(self.texels, grid.flatten(0, 1)[None], mode="bilinear", align_corners=True)
        means = colours[0].view(-1, 2, taps, place.shape[1]).mean(2)  # c 2 n
        return torch.lerp(means[:, 0], means[:, 1], level - fine)


def pyramid(picture: Float[Tensor, "c h w"], side: int) -> Float[Tensor, "c H W"]:
    """Return the mip pyramid of one picture, its levels below one another, as `Pyramids` holds them."""
    level = functional.interpolate(picture[None], (side, side), mode="bilinear", antialias=True, align_corners=False)
    levels = []
    while True:
        framed = functional.pad(level, (1, 1, 1, 1), mode="replicate")
        levels.append(functional.pad(framed, (0, side + 2 - framed.shape[-1], 0, 0)))
        if level.shape[-1] == 1:
            return torch.cat(levels, 2)[0]
        level = functional.avg_pool2d(level, 2)


def pyramids(pictures: Sequence[Float[Tensor, "c _ _"]], side: int) -> Pyramids:
    """Return the mip pyramids of pictures in linear light, their finest levels of `side` texels, a power of two."""
    aspect = torch.tensor([picture.shape[2] / picture.shape[1] for picture in pictures])
    return Pyramids(torch.cat([pyramid(picture, side) for picture in pictures], 2)[None], aspect, side)


@dataclass(frozen=True)
class Photographs:
    """Pictures, surfaces and a spectrum for a scene, taken from photographs."""

    pictures: Pyramids  # colours in linear light, 0..1
    surfaces: Pyramids  # brightness as a multiple of each surface's mean
    amplitude: Float[Tensor, "128 65"]  # their mean amplitude spectrum, as `rfft2` orders it


@cache
def photographs() -> Photographs:
    """Read the photographs that scikit-image holds; its wheel brings them, and nothing is downloaded.

    Raises Vo3dError where it cannot be loaded.
    """
    try:
        from skimage import data  # noqa: PLC0415

        found = {name: torch.tensor(getattr(data, name)()) / 255 for name in (*PICTURES, *SURFACES)}
    except (ImportError, OSError) as error:  # the latter where a distribution leaves the pictures out
        raise Vo3dError(f"photographs: scikit-image cannot be loaded ({error}): {TEXTURES_ADVICE}") from error
    return from_pictures([found[name].permute(2, 0, 1) for name in PICTURES], [found[name][None] for name in SURFACES])


def from_pictures(pictures: list[Float[Tensor, "3 _ _"]], surfaces: list[Float[Tensor, "1 _ _"]]) -> Photographs:
    """Make ready encoded pictures in [0, 1], and the surfaces brick, grass and gravel, shapes 3 h w and 1 h w."""
    surfaces = [_upright_bricks(surfaces[BRICK]), *surfaces[BRICK + 1 :]]
    linear = [_linear(surface) for surface in surfaces]
    return Photographs(
        pictures=pyramids([_linear(picture) for picture in pictures], SIDE),
        surfaces=pyramids([surface / surface.mean() for surface in linear], SURFACE_SIDE),
        amplitude=amplitude_spectrum([picture.mean(0) for picture in (*pictures, *surfaces)]),
    )


def _linear(encoded: Tensor) -> Tensor:
    """Undo the encoding of sRGB (IEC 61966-2-1)."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _upright_bricks(picture: Float[Tensor, "1 512 512"]) -> Float[Tensor, "1 512 512"]:
    """Turn scikit-image's bricks so that their courses are level, and undo the perspective that was put on them."""
    left, top, side = BRICK_WINDOW
    along = (torch.arange(picture.shape[-1]) + 0.5) / picture.shape[-1] * side
    y, x = torch.meshgrid(top + along, left + along, indexing="ij")
    turned = torch.tensor(BRICK_TURN) @ torch.stack((x, y, torch.ones_like(x))).flatten(1)
    grid = (turned[:2] / turned[2] / 1024 * 2 - 1).T.view(1, *x.shape, 2)
    return functional.grid_sample(picture.rot90(1, (1, 2))[None], grid, align_corners=False, padding_mode="border")[0]


def amplitude_spectrum(pictures: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "128 65"]:
    """Measure the mean amplitude spectrum of grey pictures, in windows of half their shorter side.

    Each picture counts the same, whatever its contrast; windows (Hann's) keep its edges out of the spectrum.
    """
    window = torch.hann_window(LATTICE, periodic=False)
    window = window[:, None] * window
    power = torch.zeros(LATTICE, LATTICE // 2 + 1)
    for picture in pictures:
        scale = 2 * LATTICE / min(picture.shape)
        size = [round(scale * pixels) for pixels in picture.shape]
        small = functional.interpolate(picture[None, None], size, mode="bilinear", antialias=True, align_corners=False)
        tiles = small[0, 0].unfold(0, LATTICE, LATTICE).unfold(1, LATTICE, LATTICE).flatten(0, 1)
        means = (tiles * window).sum((1, 2), keepdim=True) / window.sum()
        found = torch.fft.rfft2((tiles - means) * window).abs().square().sum(0)
        power += found / found.sum()
    return (power / len(pictures)).sqrt()


def photographic_lattice(generator: torch.Generator, amplitude: Float[Tensor, "128 65"]) -> Float[Tensor, "1 2 h w"]:
    """Draw a lattice as `noise_lattice` does, of the same values, with an amplitude spectrum and random phases.

    The values are those of the spectrum's noise put in the order of their size onto the even distribution from -1 to 1.
    """
    white = torch.fft.rfft2(torch.randn(2, LATTICE, LATTICE, generator=generator))
    field = torch.fft.irfft2(white / white.abs() * amplitude, s=(LATTICE, LATTICE))
    order = field.flatten(1).argsort(1).argsort(1).view(1, 2, LATTICE, LATTICE)
    return functional.pad((2 * order + 1) / LATTICE**2 - 1, (0, 1, 0, 1), mode="circular")


@dataclass(frozen=True)
class Pictures:
    """A paint that shows a picture on the faces of a solid, upright and not mirrored, in a margin of its colour.

    Of the material, COLOUR is the margin's and WAVELENGTH its width in metres; AMOUNT says how colourful the print is,
    from one ink of the SECOND colour (0) to the picture's own colours (1). Own: number of the picture; the share of it
    that is shown, as large as the face's shape allows; the place of this part, 0 to 1 to the right and down.
    """

    pyramids: Pyramids
    taps: int = 4

    def __call__(self, hits: Hits) -> tuple[Tensor, Tensor]:
        """Compute reflectance and sunlight."""
        number, share, right, down = hits.material[OWN : OWN + 4]
        number = number.long()
        half = torch.stack(
            (
                torch.where(hits.axis == 0, hits.half[2], hits.half[0]),
                torch.where(hits.axis == 1, hits.half[2], hits.half[1]),
            )
        )
        # To a viewer outside, a runs to the right on the faces towards -z and +x, b upwards on those on top.
        mirrored = torch.where(hits.axis == 0, hits.local[0] < 0, (hits.axis == 2) & (hits.local[2] > 0))
        sign = torch.stack((torch.where(mirrored, -1.0, 1.0), torch.where(hits.axis == 1, -1.0, 1.0)))
        margin = hits.material[WAVELENGTH]
        inner = (half - margin).clamp(min=1e-4)
        shape = inner[0] / inner[1] / self.pyramids.aspect[number]
        shown = share * torch.stack((shape, 1 / shape)).clamp(max=1)
        surface = torch.stack((hits.a, hits.b)) * sign
        place = (1 - shown) * torch.stack((right, down)) + shown * (0.5 + 0.5 * surface / inner).clamp(0, 1)
        step = torch.stack((hits.a_step, hits.b_step)) * (shown / inner * 0.5)[:, None] * sign[:, None]
        picture = self.pyramids.sample(number, place, step, self.taps)
        ink = picture.mean(0) * hits.material[SECOND]
        paper = WHITEST * torch.lerp(ink, picture, hits.material[AMOUNT])
        printed = band(hits.a, -inner[0], inner[0], hits.a_footprint) * band(
            hits.b, -inner[1], inner[1], hits.b_footprint
        )
        return torch.lerp(hits.material[COLOUR], paper, printed.clamp(0, 1)).clamp(0.01, 1), torch.ones_like(hits.a)


@dataclass(frozen=True)
class Grained:
    """Any paint whose first `colours` of two have the grain of a photographed surface.

    `amount` is the share of its contrast. Where the material number at `bricks`, if any is named, is above 0, there are
    photographed bricks instead of those of the paint, for which the number is set to 0.
    """

    paint: Paint
    surfaces: Pyramids
    surface: int
    amount: float
    colours: int = 1
    bricks: int | None = None
    taps: int = 2

    def __call__(self, hits: Hits) -> tuple[Tensor, ...]:
        """Compute reflectance and sunlight."""
        material = hits.material.clone()
        number = torch.full_like(hits.axis, self.surface)
        amount: Tensor | float = self.amount
        if self.bricks is not None:
            of_bricks = material[self.bricks] > 0
            number = torch.where(of_bricks, BRICK, number)
            amount = torch.where(of_bricks, 0.7, self.amount)
            material[self.bricks] = 0
        shift = hits.material[SEED] * 31.0
        tone = _grain(self.surfaces, number, (hits.a + shift, hits.b), hits, self.taps)
        material[: 3 * self.colours] *= 1 + amount * (tone - 1)
        return self.paint(replace(hits, material=material))


@dataclass(frozen=True)
class GrainedRoad:
    """The ground of a street with the grain of photographs: gravel, and grass beyond the walks."""

    road: Road
    surfaces: Pyramids
    taps: int = 2

    def __call__(self, hits: Hits) -> tuple[Tensor, ...]:
        """Compute reflectance and sunlight of ground points, and what wet ground mirrors."""
        colour, sunlit, *mirrored = self.road(hits)
        x, z = hits.world[0], hits.world[2]
        grass = self.road.map.lookup(x, z)[1].abs() > self.road.walk
        number = torch.where(grass, GRASS, GRAVEL)
        tone = _grain(self.surfaces, number, (x, z), hits, self.taps)
        return (colour * (1 + torch.where(grass, 1.0, 0.6) * (tone - 1))).clamp(0.01, 1), sunlit, *mirrored

    def classes(self, world: Float[Tensor, "3 n"]) -> Int[Tensor, " n"]:
        """Tell the class of points of the ground, metres."""
        return self.road.classes(world)


def _grain(surfaces: Pyramids, number: Tensor, at: tuple[Tensor, Tensor], hits: Hits, taps: int) -> Float[Tensor, " n"]:
    """Look up surfaces at points of a plane in metres, whose steps are those of the hits' a and b."""
    per_metre = torch.tensor([1 / TILE[surface] for surface in range(len(TILE))], device=number.device)[number]
    step = torch.stack((hits.a_step, hits.b_step)) * per_metre
    return surfaces.sample(number, torch.stack(at) * per_metre, step, taps)[0]

"""Pictures and figures of what pooling keeps: images reduced 2, 4 and 8 times and brought back, with PSNR and SSIM.

Example: `python tools/pooling_pictures.py --out runs/pooling` (frames of the rendered street) or, with images of your
own, `python tools/pooling_pictures.py --image a.png b.png --out runs/pooling`.

4 and 8 times are two and three poolings of 2x2 windows, or with --direct one pooling of 4x4 and 8x8 windows. Reduced
images are brought back to their size by bilinear interpolation (align_corners=False: each pixel stands in the middle of
the window it came from; the pixels that stride keeps stand where they were taken) and compared with the original. PSNR
is over all pixels and channels, SSIM (by channel, 11x11 Gaussian window of sigma 1.5) the mean over all pixels whose
window is whole; both with data range 1.

AdaUnpool's reconstruction uses the weights of the pooling, n numbers for each window beside the pooled one: it is told
what was lost, which nearest and bilinear upsampling are not.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import mean

import kornia.metrics
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.image import imsave
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, max_pool2d

from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.formats.files import atomic_path
from vo3d.formats.images import read_image
from vo3d.layers import adapool2d, adaunpool, edscwpool2d, empool2d, idwpool2d
from vo3d.report.canvas import save_figure
from vo3d.report.comparison import Box, PictureRow, plot_picture_table
from vo3d.world.sensor import Sensor

FACTORS = (2, 4, 8)
BETA = 0.5
GAIN = 16  # EM weights grow with the scale of the values: those of an image in [0, 1] are nearly equal
STREETS = ((7, 150), (2000, 60), (2002, 316), (3, 40))  # seed, frame
SIZE = (192, 624)  # of the rendered frames
SMALL_DPI = 120  # pixels to the inch
LEAST = 96  # pixels of an image's shorter side
Image = Float[Tensor, "1 3 h w"]

STRIDE = "every 2nd\npixel"
POOLINGS: dict[str, Callable[[Tensor, int], Tensor]] = {
    STRIDE: lambda x, k: x[..., ::k, ::k],
    "average": avg_pool2d,
    "max": max_pool2d,
    "EM\n(SoftPool)": empool2d,
    "eDSCW": edscwpool2d,
    "IDW": idwpool2d,
    f"AdaPool\nbeta {BETA}": lambda x, k: adapool2d(x, BETA, k),
    f"AdaPool of\n{GAIN} x values": lambda x, k: adapool2d(GAIN * x, BETA, k) / GAIN,
    "bilinear,\nantialiased": lambda x, k: interpolate(
        x, size=[x.shape[-2] // k, x.shape[-1] // k], mode="bilinear", align_corners=False, antialias=True
    ),
}
UNPOOLINGS = ("nearest", "bilinear", "AdaUnpool\nmean", "AdaUnpool\nsum")


@dataclass(frozen=True)
class Score:
    """How near an image that was reduced and brought back is to the original: one row of the CSV file."""

    image: str
    task: str  # pooling (brought back by bilinear interpolation) | unpooling (AdaPool brought back by `method`)
    method: str
    factor: int
    psnr_db: float
    ssim: float


def pool_sizes(factor: int, direct: bool) -> list[int]:
    """The sizes of the windows of one pooling after the other."""
    return [factor] if direct else [2] * (factor.bit_length() - 1)


def windows(factor: int, direct: bool) -> str:
    """The poolings that reduce `factor` times, in words."""
    sizes = pool_sizes(factor, direct)
    return f"{len(sizes)} pooling{'s' if len(sizes) > 1 else ''} of {sizes[0]}x{sizes[0]} windows"


def enlarge(small: Image, factor: int, first: float) -> Image:
    """Bilinear interpolation to `factor` times the size; pixel 0 of `small` stands at `first` of the large image."""
    lines = []
    for count in small.shape[-2:]:
        place = (torch.arange(count * factor, dtype=small.dtype) - first) / factor
        lines.append(2 * place / max(count - 1, 1) - 1)
    y, x = torch.meshgrid(*lines, indexing="ij")
    grid = torch.stack([x, y], dim=-1)[None]  # (1, h, w, 2)
    return grid_sample(small, grid, mode="bilinear", padding_mode="border", align_corners=True)


def reduced(image: Image, method: str, factor: int, direct: bool) -> Image:
    """The image, reduced `factor` times by the pooling of that name."""
    for size in pool_sizes(factor, direct):
        image = POOLINGS[method](image, size)
    return image


def brought_back(small: Image, method: str, factor: int) -> Image:
    """A pooled image at its old size, by bilinear interpolation."""
    return enlarge(small, factor, 0.0 if method == STRIDE else (factor - 1) / 2)


def unpooled(image: Image, factor: int, direct: bool) -> dict[str, Image]:
    """The image after AdaPool, brought back in each way of UNPOOLINGS."""
    masks, small = [], image
    for size in pool_sizes(factor, direct):
        small, mask = adapool2d(small, BETA, size, return_mask=True)
        masks.append(mask)
    large = {"mean": small, "sum": small}
    for mask in reversed(masks):
        large = {rule: adaunpool(pooled, mask, normalise=rule) for rule, pooled in large.items()}
    nearest = interpolate(small, scale_factor=factor, mode="nearest")
    found = (nearest, enlarge(small, factor, (factor - 1) / 2), large["mean"], large["sum"])
    return dict(zip(UNPOOLINGS, found, strict=True))


def psnr_and_ssim(image: Image, truth: Image) -> tuple[float, float]:
    """PSNR (dB) over all pixels and channels, and the mean SSIM, of two images in [0, 1]."""
    similarity = kornia.metrics.ssim(image, truth, window_size=11, max_val=1.0, padding="valid")
    return float(kornia.metrics.psnr(image, truth, max_val=1.0)), float(similarity.mean())


def telling_crop(image: Image, at: Sequence[int] | None) -> Box:
    """A square of a third of the shorter side, to be magnified; its top-left pixel is near `at` (x, y).

    Without `at` it is where average and max pooling by 4 differ most: fine detail of strong contrast.
    """
    size = min(image.shape[-2:]) // 24 * 8
    if at is not None:
        x, y = (
            min(max(place, 0), extent - size) // 8 * 8 for place, extent in zip(at, image.shape[:-3:-1], strict=True)
        )
        return Box(x, y, size, size)
    apart = (max_pool2d(image, 4) - avg_pool2d(image, 4)).square().mean(1, keepdim=True)
    sums = avg_pool2d(apart, size // 4, stride=2)  # of squares that begin at every eighth pixel
    row, column = divmod(int(sums.argmax()), sums.shape[-1])
    return Box(8 * column, 8 * row, size, size)


def load(paths: Sequence[Path]) -> Iterator[tuple[str, Image]]:
    """Name and pixels of each image, cut at its right and lower edge to multiples of 8, the largest factor."""
    for path in paths:
        image = read_image(path, upright=True)[None]
        height, width = (extent // 8 * 8 for extent in image.shape[-2:])
        if min(height, width) < LEAST:
            raise Vo3dError(f"{path}: {image.shape[-1]}x{image.shape[-2]} pixels: expected at least {LEAST} a side")
        yield "_".join(path.with_suffix("").parts[-3:]), image[..., :height, :width]
    for seed, frame in () if paths else STREETS:
        recording = RenderedRecording("street", seed, 400, SIZE, sensor=Sensor(samples=2, noise=0.0))
        yield f"street-{seed}_{frame}", recording.clip([frame]).image


def compare(name: str, image: Image, direct: bool, crop: Box, folder: Path, small: bool) -> list[Score]:
    """Write the two figures of one image into `folder`, and return their numbers."""
    scores, rows = [], []
    for factor in FACTORS:
        pooled = {method: reduced(image, method, factor, direct) for method in POOLINGS}
        back = {method: brought_back(picture, method, factor) for method, picture in pooled.items()}
        found = [Score(name, "pooling", method, factor, *psnr_and_ssim(back[method], image)) for method in back]
        title = f"reduced {factor} times, to {image.shape[-1] // factor}x{image.shape[-2] // factor}"
        cuts = [crop.cut(one[0], factor) for one in pooled.values()]
        rows += [
            PictureRow([image[0], *(one[0] for one in pooled.values())], f"{title} ({windows(factor, direct)})"),
            PictureRow([crop.cut(image[0]), *cuts], notes=["", *map(note, found)]),
        ]
        scores += found
    figure = plot_picture_table(["original", *POOLINGS], rows, image[0], crop)
    save(figure, folder / f"pooling_{name}.png", small)

    rows = []
    for factor in FACTORS:
        large = unpooled(image, factor, direct)
        found = [Score(name, "unpooling", method, factor, *psnr_and_ssim(large[method], image)) for method in large]
        cuts = [crop.cut(one[0]) for one in (image, *large.values())]
        title = f"reduced {factor} times by AdaPool, and back"
        rows += [
            PictureRow([image[0], *(one[0] for one in large.values())], f"{title} ({windows(factor, direct)})"),
            PictureRow(cuts, notes=["", *map(note, found)]),
        ]
        scores += found
    figure = plot_picture_table(["original", *UNPOOLINGS], rows, box=crop)
    save(figure, folder / f"unpooling_{name}.png", small)
    return scores


def save(figure: "matplotlib.figure.Figure", path: Path, small: bool) -> None:
    """Write the figure as a PNG; a `small` one has fewer pixels, and 64 levels a channel, which the eye hardly sees."""
    if not small:
        save_figure(figure, path)
        return
    figure.set_dpi(SMALL_DPI)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    coarse = np.minimum(np.round(pixels / 4) * 4, 255).astype(np.uint8)
    with atomic_path(path) as temporary:
        imsave(temporary, coarse, format="png", pil_kwargs={"optimize": True})


def note(score: Score) -> str:
    """The numbers under a picture."""
    return f"{score.psnr_db:.2f} dB\nSSIM {score.ssim:.3f}"


def table(scores: Sequence[Score], task: str) -> str:
    """Means over the images as a table in Markdown: PSNR in dB / SSIM."""
    chosen = [score for score in scores if score.task == task]
    lines = [f"| {task} | " + " | ".join(f"{factor} times" for factor in FACTORS) + " |", "|---" * 4 + "|"]
    for method in dict.fromkeys(score.method for score in chosen):
        cells = []
        for factor in FACTORS:
            some = [score for score in chosen if (score.method, score.factor) == (method, factor)]
            cells.append(f"{mean(one.psnr_db for one in some):.2f} / {mean(one.ssim for one in some):.4f}")
        lines.append(f"| {' '.join(method.split())} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Write the figures and the numbers, and print their means; 2 after a mistake that the user can mend."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, nargs="+", default=[], help="images (default: frames of the street)")
    parser.add_argument("--direct", action="store_true", help="one pooling by 4 and by 8 instead of several by 2")
    parser.add_argument("--crop", type=int, nargs=2, metavar=("X", "Y"), help="top-left pixel of the magnified square")
    parser.add_argument("--small", action="store_true", help="write figures of a quarter of the bytes")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    try:
        write(arguments)
    except (Vo3dError, OSError) as error:
        print(f"pooling_pictures: {error}", file=sys.stderr)
        return 2
    return 0


def write(arguments: argparse.Namespace) -> None:
    """Write what the command line asks for."""
    scores = []
    for name, image in load(arguments.image):
        crop = telling_crop(image, arguments.crop)
        scores += compare(name, image, arguments.direct, crop, arguments.out, arguments.small)
        print(f"{name}: {image.shape[-1]}x{image.shape[-2]}, square at {crop.x}, {crop.y}", flush=True)
    with atomic_path(arguments.out / "scores.csv") as temporary, temporary.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(field.name for field in fields(Score))
        for score in scores:
            writer.writerow(" ".join(cell.split()) if isinstance(cell, str) else cell for cell in astuple(score))
    for task in ("pooling", "unpooling"):
        print(f"\n{table(scores, task)}")


if __name__ == "__main__":
    sys.exit(main())

"""Score networks of multi-view stereo beside plane sweeping on rendered tables that training never saw.

Every method gets the same images, cameras and depth ranges, one reference after the other, rendered once. The table
tells which share of the depths lies within 1 percent of the truth: of all, of those that each method is most confident
of, by the texture around a pixel, and at the edges of things.

    python tools/compare_mvs.py --model MVSNet=runs/mvsnet_tabletop --model R-MVSNet=runs/rmvsnet_tabletop

Written into the folder --out: table.md, table.json (a row of numbers under each name), views.png, and the result of
each method as `vo3d evaluate` writes it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from math import nan, sqrt
from pathlib import Path
from statistics import stdev
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from vo3d.datasets.tabletop import Tabletop
from vo3d.depth_map import DepthMap
from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.tasks.depth import Depth
from vo3d.formats.files import atomic_path, make_folder
from vo3d.formats.results import Result
from vo3d.geometry import subsample
from vo3d.inference.devices import choose_device
from vo3d.inference.pretrained import load_pretrained
from vo3d.model import Model
from vo3d.models.plane_sweep import PlaneSweep
from vo3d.provenance import provenance
from vo3d.recording import Recording, RecordingDataset, evenly_spaced
from vo3d.report.canvas import INK, WIDTH, new_figure, save_figure
from vo3d.report.depth import MAPS, STEPS, colour_depth, depth_error, depth_limits, percent_within
from vo3d.sample import Sample

STRIDE = 4  # of all methods here: their maps have a pixel on every fourth of the image
WINDOW = 9  # pixels: the contrast around a pixel is taken in a window of this side
EDGE = 0.02  # share of the depth: a larger step to a neighbour on the map is an edge
BASELINE = "plane sweep"
BASELINES: dict[str, dict[str, Any]] = {  # the first is the strongest: costs are smoothed plane by plane
    BASELINE: {},
    "plane sweep, unsmoothed": {"smoothing": "none", "window": 7},
    "plane sweep, variance": {"cost": "variance"},
}
SHARES = {  # what the shares are of
    "all": "all",
    "confident": "most confident half",
    "weak": "weak texture",
    "middle": "middle",
    "strong": "strong texture",
    "edge": "at edges",
    "inside": "elsewhere",
}


class Kept(RecordingDataset):
    """References of rendered tables, rendered once for all methods."""

    def __init__(self, dataset: Tabletop, references: int) -> None:
        by_scene: dict[str, list[int]] = {}
        for index in range(len(dataset)):
            by_scene.setdefault(dataset.place(index)[0].name, []).append(index)
        self.dataset, self.recordings = dataset, dataset.recordings
        self.indices = [index for indices in by_scene.values() for index in evenly_spaced(indices, references)]
        self._samples: dict[int, Sample] = {}

    def __len__(self) -> int:
        """Number of references."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        """The views of a reference, itself first."""
        if index not in self._samples:
            self._samples[index] = self.dataset[self.indices[index]]
        return self._samples[index]

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """The scene of a reference and the indices of its views."""
        return self.dataset.place(self.indices[index])


class Watched(Depth):
    """The task, which keeps every map by its place among the references."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: dict[int, DepthMap] = {}

    def watch(self, view: DepthMap, sample: Sample) -> None:
        """Keep the map."""
        self.maps[len(self.maps)] = view


def truth_of(sample: Sample) -> Tensor:
    """The true depth on the grid of the maps, h w."""
    if sample.depth is None:
        raise Vo3dError(f"{sample.scene} has no truth")
    return subsample(sample.depth[0], STRIDE)


def contrast(image: Tensor) -> Tensor:
    """Standard deviation of the grey of an image (3 h w) around each pixel of the map."""
    grey = image.mean(0)[None, None]

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)

    return subsample((mean(grey.square()) - mean(grey).square()).clamp(min=0).sqrt()[0, 0], STRIDE)


def at_edges(truth: Tensor) -> Tensor:
    """Find where a neighbour on the map is nearer or farther by more than `EDGE`, or has no depth."""
    far = max_pool2d(truth[None, None], 3, 1, 1)[0, 0]
    near = -max_pool2d(-torch.where(truth > 0, truth, 0.0)[None, None], 3, 1, 1)[0, 0]
    return (far - near) > EDGE * truth


def classes(samples: Kept) -> list[dict[str, Tensor]]:
    """For each reference, the pixels of each class, h w; the three of texture hold a third of all pixels each."""
    contrasts = [contrast(samples[index].image[0]) for index in range(len(samples))]
    truths = [truth_of(samples[index]) for index in range(len(samples))]
    values = torch.cat([values[truth > 0] for values, truth in zip(contrasts, truths, strict=True)])
    low, high = values.quantile(torch.tensor([1 / 3, 2 / 3])).tolist()
    found = []
    for value, truth in zip(contrasts, truths, strict=True):
        known, edge = truth > 0, at_edges(truth)
        found.append(
            {
                "weak": known & (value < low),
                "middle": known & (value >= low) & (value < high),
                "strong": known & (value >= high),
                "edge": known & edge,
                "inside": known & ~edge,
            }
        )
    return found


def shares_within(maps: dict[int, DepthMap], samples: Kept, pixels: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Percent of the pixels of each class that are within 1 percent of the truth; a pixel without a depth is not."""
    right: dict[str, int] = dict.fromkeys(SHARES, 0)
    total: dict[str, int] = dict.fromkeys(SHARES, 0)
    for index, estimate in maps.items():
        truth = truth_of(samples[index])
        known = truth > 0
        good = known & ((estimate.depth - truth).abs() <= 0.01 * truth)
        assert estimate.confidence is not None  # noqa: S101  all methods here give one
        sure = estimate.confidence[known].median()
        named = {"all": known, "confident": known & (estimate.confidence >= sure), **pixels[index]}
        for name, mask in named.items():
            right[name] += int((good & mask).sum())
            total[name] += int(mask.sum())
    return {name: 100 * right[name] / total[name] if total[name] else nan for name in SHARES}


def plot_views(
    samples: Kept, chosen: Sequence[int], maps: dict[str, dict[int, DepthMap]]
) -> "matplotlib.figure.Figure":
    """For each chosen reference its image over its truth, and beside them each method's depth over its error."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.colors import BoundaryNorm  # noqa: PLC0415

    height, width = samples[chosen[0]].image.shape[-2:]
    columns = 1 + len(maps)
    panel = WIDTH / columns - 0.1
    figure = new_figure(2 * len(chosen) * (panel * height / width + 0.2) + 0.7)
    grid = figure.subplots(2 * len(chosen), columns, squeeze=False)
    errors = colormaps[MAPS["error"]].with_extremes(bad="#b4bbc2")
    norm = BoundaryNorm(STEPS, errors.N, extend="max")
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_anchor("N")
    drawn = None
    for row, index in enumerate(chosen):
        image, truth = samples[index].image[0], truth_of(samples[index])
        limits = depth_limits([truth])
        above, below = grid[2 * row], grid[2 * row + 1]
        above[0].imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
        above[0].set_title(samples.place(index)[0].name, fontsize=7, color=INK, loc="left", pad=2)
        below[0].imshow(colour_depth(truth, limits).permute(1, 2, 0).numpy(), interpolation="nearest")
        below[0].set_title("true depth", fontsize=7, color=INK, loc="left", pad=2)
        for column, (name, estimates) in enumerate(maps.items(), start=1):
            view = DepthMap(name=name, image=image, depth=estimates[index].depth, truth=truth)
            colours = colour_depth(view.depth, limits).permute(1, 2, 0).numpy()
            above[column].imshow(colours, interpolation="nearest")
            above[column].set_title(name, fontsize=7, color=INK, loc="left", pad=2)
            error = depth_error(view)
            assert error is not None  # noqa: S101  the truth is given
            drawn = below[column].imshow(error.numpy(), cmap=errors, norm=norm, interpolation="nearest")
            title = f"{percent_within(view) or 0:.1f} % within 1 %"
            below[column].set_title(title, fontsize=7, color=INK, loc="left", pad=2)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(grid[-1]), location="bottom", fraction=0.12, aspect=60, pad=0.04)
        bar.set_label("error, percent of the true depth", fontsize=8, color=INK)
        bar.set_ticks(STEPS, labels=[f"{step:g}" for step in STEPS])
        bar.ax.tick_params(labelsize=7)
    return figure


def row_of(result: Result, shares: dict[str, float], baseline: Result | None) -> dict[str, object]:
    """The numbers of one method."""
    by_scene = [value for one in result.sequences.values() if (value := one["depth_recall_1pc_percent"]) is not None]
    row: dict[str, object] = {
        "within_1_percent": result.mean["depth_recall_1pc_percent"],
        "standard_error": stdev(by_scene) / sqrt(len(by_scene)) if len(by_scene) > 1 else None,
        "coverage_percent": result.mean["depth_coverage_percent"],
        "within_5_percent": result.mean["depth_within_5pc_percent"],
        "median_error_mm": result.mean["depth_median_error_mm"],
        "mean_error_mm": result.mean["depth_mae_mm"],
        "num_depths": result.protocol["num_depths"],
        "scenes": len(result.sequences),
    }
    row |= {f"within_1_percent_{name}": round(share, 2) for name, share in shares.items() if name != "all"}
    if baseline is not None:
        row["scenes_better_than_plane_sweep"] = sum(
            (one["depth_recall_1pc_percent"] or 0) > (baseline.sequences[name]["depth_recall_1pc_percent"] or 0)
            for name, one in result.sequences.items()
        )
    return row


def markdown(rows: dict[str, dict[str, object]], shares: dict[str, dict[str, float]], lines: Sequence[str]) -> str:
    """The table, and what it was made from."""
    heads = ["method", "depths", "within 1 %", *(f"{text}" for name, text in SHARES.items() if name != "all")]
    heads += ["median error, mm", "better than plane sweep"]
    text = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, row in rows.items():
        error = row["standard_error"]
        spread = "" if error is None else f" \N{PLUS-MINUS SIGN} {error:.1f}"
        cells = [name, f"{row['num_depths']}", f"{row['within_1_percent']:.1f}{spread}"]
        cells += [f"{share:.1f}" for key, share in shares[name].items() if key != "all"]
        cells += [f"{row['median_error_mm']:.2f}"]
        wins = row.get("scenes_better_than_plane_sweep")
        cells += ["" if wins is None else f"{wins} of {row['scenes']} tables"]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join([*text, "", *lines]) + "\n"


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=WEIGHTS", help="weights: a name, a file, a run's folder"
    )
    parser.add_argument("--first-seed", type=int, default=1000, help="of the tables")
    parser.add_argument("--scenes", type=int, default=20, help="number of tables")
    parser.add_argument("--references", type=int, default=2, help="of each table, evenly spaced")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 192), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--num-views", type=int, default=3, help="in a sample, the reference included")
    parser.add_argument("--num-depths", type=int, default=96, help="of plane sweeping; networks have their own")
    parser.add_argument("--pictures", type=int, default=3, help="references in views.png")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/compare_mvs"))
    return parser.parse_args(words)


def methods(options: argparse.Namespace) -> dict[str, tuple[Model, dict[str, object]]]:
    """The contestants by name, each with where it comes from; the baselines first."""
    found: dict[str, tuple[Model, dict[str, object]]] = {}
    for name, arguments in BASELINES.items():
        settings = {"num_depths": options.num_depths, **arguments}
        found[name] = PlaneSweep(**settings), {"arguments": settings}
    for text in options.model:
        name, sign, weights = text.partition("=")
        if not sign or not name or not weights or name in found:
            raise Vo3dError(f"--model {text}: expected NAME=WEIGHTS, with a name that is not taken")
        pretrained = load_pretrained(weights)
        found[name] = pretrained.model, pretrained.origin
    return found


def run(options: argparse.Namespace) -> None:
    """Score every method and write the table."""
    make_folder(options.out)
    contestants = methods(options)
    device = choose_device(options.device)
    seeds = range(options.first_seed, options.first_seed + options.scenes)
    samples = Kept(Tabletop(seeds, (options.size[0], options.size[1]), num_views=options.num_views), options.references)
    pixels = classes(samples)
    protocol = {"dataset": "Tabletop", "split": f"seeds {seeds[0]} to {seeds[-1]}"}
    rows: dict[str, dict[str, object]] = {}
    shares: dict[str, dict[str, float]] = {}
    maps: dict[str, dict[int, DepthMap]] = {}
    folders, baseline = [], None
    for name, (model, origin) in contestants.items():
        folder = options.out / "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
        task = Watched()
        result = task.run(model, samples, folder, device=device, name=name, protocol=protocol, provenance=origin)
        maps[name] = task.maps
        folders.append(folder)
        shares[name] = shares_within(maps[name], samples, pixels)
        rows[name] = row_of(result, shares[name], baseline)
        baseline = result if name == BASELINE else baseline
    print_comparison(folders)
    lines = [
        f"{len(samples)} references of {options.scenes} rendered tables (seeds {seeds[0]} to {seeds[-1]}), "
        f"{options.num_views} views of {options.size[1]}x{options.size[0]} pixels; within 1 %: share of the pixels "
        "with a truth whose depth is within 1 % of it, mean over the tables and the standard error of that mean; the "
        f"other shares are over the pixels of all tables. Edges: a neighbour differs by more than {100 * EDGE:g} %. "
        "Classes of texture: a third of the pixels each, by the contrast around them.",
        "",
        f"`{provenance()['command']}`",
    ]
    table = markdown(rows, shares, lines)
    sys.stdout.write(table)
    for file, text in (
        ("table.md", table),
        ("table.json", json.dumps({**rows, "protocol": provenance() | protocol}, indent=2, default=str) + "\n"),
    ):
        with atomic_path(options.out / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    chosen = evenly_spaced(range(len(samples)), options.pictures)
    save_figure(plot_views(samples, chosen, maps), options.out / "views.png")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        run(parse(words))
    except Vo3dError as error:
        sys.stderr.write(f"compare_mvs: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

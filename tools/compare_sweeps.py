"""Score and time plane sweeping with several settings on rendered tables, rooms and streets, and on a real sequence.

    python tools/compare_sweeps.py --real /data/7scenes/redkitchen/seq-01

Shares are of the pixels of the map with a truth whose depth is within 1 and 5 % of it; a pixel without a depth is not.
Seconds are processor time of a view, of one thread, in medians over the views; MVSNet's beside them.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from time import process_time
from typing import Any

import torch

from vo3d.datasets.rendered import RenderedRecording
from vo3d.datasets.tabletop import Tabletop
from vo3d.geometry import subsample
from vo3d.inference.loop import reference_window
from vo3d.inference.pretrained import load_pretrained
from vo3d.model import DepthModel
from vo3d.models.plane_sweep import PlaneSweep
from vo3d.recording import MultiViewScene
from vo3d.sample import Sample
from vo3d.settings.layouts import open_scene

METHODS: dict[str, dict[str, Any]] = {
    "every pixel": {"match_stride": 1, "smoothing_window": 7},
    "every second": {"match_stride": 2, "smoothing_window": 5},  # the named method
}
SPACING = {"room": 5, "street": 2}  # frames between a view and its neighbours


def tables(count: int, size: tuple[int, int]) -> Iterator[Sample]:
    """The first reference of each table, with four sources."""
    dataset = Tabletop(range(1000, 1000 + count), size, num_views=5)
    for scene in dataset.recordings:
        assert isinstance(scene, MultiViewScene)  # noqa: S101 (as the dataset says)
        yield scene.clip(reference_window(scene, scene.references[0], 5).views)


def drives(kind: str, count: int, size: tuple[int, int]) -> Iterator[Sample]:
    """A view of each drive, two before and two after it; depths from the 1st to the 99th percentile of the truth."""
    step = SPACING[kind]
    for seed in range(count):
        sample = RenderedRecording(kind, seed, 60, size, depth=True).clip([30 + step * i for i in (0, -1, 1, -2, 2)])
        assert sample.depth is not None  # noqa: S101 (asked for)
        near, far = sample.depth[0][sample.depth[0] > 0].quantile(torch.tensor([0.01, 0.99])).tolist()
        yield replace(sample, depth_range=torch.tensor([near, far]).expand(5, 2))


def photographs(folder: Path, count: int, size: tuple[int, int]) -> Iterator[Sample]:
    """Views of a sequence, with four sources."""
    _, scene = open_scene(folder, {"size": size, "every": 20})
    for index in scene.references[:: max(1, len(scene.references) // count)][:count]:
        yield scene.clip(reference_window(scene, index, 5).views)


def score(model: DepthModel, sample: Sample) -> tuple[float, float, float, float]:
    """Within 1 and 5 %, percent of all pixels without a depth, seconds."""
    batch = sample.map(lambda tensor: tensor[None])
    began = process_time()
    depth = model.predict(batch)["depth"][0, 0]
    seconds = process_time() - began
    assert sample.depth is not None  # noqa: S101 (all scenes here give it)
    truth = subsample(sample.depth[0], model.stride)
    error = (depth - truth).abs()[truth > 0] / truth[truth > 0]
    shares = (100 * float((error <= limit).float().mean()) for limit in (0.01, 0.05))
    return *shares, 100 * float((depth == 0).float().mean()), seconds


def main(words: Sequence[str] | None = None) -> None:
    """Print a row for each kind of scene and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="images with poses and depth")
    parser.add_argument("--kinds", nargs="+", default=["table", "room", "street"])
    parser.add_argument("--count", type=int, default=4, help="of views of each kind")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--num-depths", type=int, default=96)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    size = (options.size[0], options.size[1])
    models: dict[str, DepthModel] = {name: PlaneSweep(**arguments) for name, arguments in METHODS.items()}
    models["MVSNet"] = load_pretrained("mvsnet_tabletop").model.eval()  # type: ignore[assignment]
    for model in models.values():
        model.num_depths, model.inverse = options.num_depths, True
    heads = ("scenes", "method", "within 1 %", "within 5 %", "without a depth", "s a view", "times MVSNet")
    print("| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * 5, sep="\n", flush=True)
    for kind in [*options.kinds, *(["real"] if options.real else [])]:
        if kind == "table":
            samples = list(tables(options.count, size))
        elif kind == "real":
            samples = list(photographs(options.real, options.count, size))
        else:
            samples = list(drives(kind, options.count, size))
        found = {
            name: list(zip(*(score(model, one) for one in samples), strict=True)) for name, model in models.items()
        }
        for name, (first, fifth, none, seconds) in found.items():
            cells = [f"{len(samples)} {kind}", name, f"{mean(first):.1f}", f"{mean(fifth):.1f}", f"{mean(none):.1f} %"]
            cells += [f"{median(seconds):.2f}", f"{median(seconds) / median(found['MVSNet'][3]):.1f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

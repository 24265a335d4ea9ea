"""Compare what `vo3d reconstruct` foretells with what it takes: memory and seconds of a view, each run in a process.

    python tools/benchmark_reconstruct_cost.py /data/7scenes/redkitchen/seq-01 --every 50 --threads 1

The figures that are foretold are those of the printed estimate; those measured are the peak of the process, as the
kernel tells it, and the mean time of a view. Ratios are foretold / measured.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
ESTIMATE = re.compile(r"\((?P<view>[^)]+) a view\)(, (?P<memory>[\d.]+) (?P<unit>[kMG]B) of memory)?")
HEADS = (
    "weights", "size", "depths", "views", "MB foretold", "measured", "ratio",
    "s a view foretold", "measured", "ratio", "s of the estimate",
)  # fmt: skip


def seconds_of(words: str) -> float:
    """Read what `duration_in_words` writes."""
    scales = {"s": 1, "min": 60, "h": 3600}
    return sum(float(number) * scales[unit] for number, unit in re.findall(r"([\d.]+) (s|min|h)\b", words))


def run(scene: Path, options: argparse.Namespace, weights: str, size: str, depths: int, views: int) -> list[float]:
    """Reconstruct once; foretold and measured bytes and seconds, and the seconds before the first view."""
    folder = Path(tempfile.mkdtemp(prefix="cost_"))
    names = sorted(path.name.rsplit(".", 1)[0] for path in scene.iterdir() if path.suffix in {".jpg", ".png"})
    colours = [name for name in names if not name.endswith(".depth")]
    chosen = colours[:: options.every or 1][2 : 2 + options.references]
    every = ["--every", str(options.every)] if options.every else []
    command = [
        str(Path(sys.executable).with_name("vo3d")),
        "reconstruct",
        str(scene),
        "--weights",
        weights,
        "--num-depths",
        str(depths),
        "--size",
        size,
    ]
    command += ["--num-views", str(views), *every, "--views", *chosen, "--min-confidence", "0", "--min-consistent", "1"]
    command += ["--max-relative", "10", "--max-pixels", "1000", "--no-report", "--out", str(folder / "cloud.ply")]
    environment = os.environ | ({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {})
    with (folder / "words").open("w+") as words:
        process = subprocess.Popen(command, env=environment, stdout=words, stderr=words)
        _, status, usage = os.wait4(process.pid, 0)
        words.seek(0)
        said = words.read()
    found = ESTIMATE.search(said)
    if status or found is None:
        raise SystemExit(f"{' '.join(command)}: {said[-2000:]}")
    result = json.loads((folder / "cloud_depth/reconstruction.json").read_text())
    seconds = result["seconds"]
    rest = seconds["all"] - seconds["depth maps"] - seconds["fusion"]
    memory = float(found["memory"]) * UNITS[found["unit"]] if found["memory"] else 0.0
    shutil.rmtree(folder)
    return [memory, 1024 * usage.ru_maxrss, seconds_of(found["view"]), seconds["a_view"], rest]


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, help="images with poses, as `vo3d reconstruct` takes them")
    parser.add_argument("--weights", nargs="+", default=["mvsnet_tabletop", "rmvsnet_tabletop", "plane_sweep"])
    parser.add_argument("--sizes", nargs="+", default=["240x320", "480x640", "960x1280"], metavar="ROWSxCOLUMNS")
    parser.add_argument("--depths", nargs="+", type=int, default=[48, 96, 192, 256])
    parser.add_argument("--num-views", nargs="+", type=int, default=[3, 5])
    parser.add_argument("--references", type=int, default=2, help="views that get a depth map")
    parser.add_argument("--every", type=int, help="of a sequence")
    parser.add_argument("--threads", type=int)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Print a row for each run."""
    options = parse(words)
    print("| " + " | ".join(HEADS) + " |", "|---" * 4 + "|---:" * (len(HEADS) - 4) + "|", sep="\n", flush=True)
    for case in product(options.weights, options.sizes, options.depths, options.num_views):
        weights, size, depths, views = case
        memory, peak, foretold, view, rest = run(options.scene, options, *case)
        cells = [weights, size, f"{depths}", f"{views}", f"{memory / 1e6:.0f}", f"{peak / 1e6:.0f}"]
        cells += [f"{memory / peak:.2f}", f"{foretold:.2g}", f"{view:.2g}", f"{foretold / view:.2f}", f"{rest:.1f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

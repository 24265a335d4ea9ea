"""Time the DTU evaluation of one scan, and beside it a walk over the program's rules on fewer points; prints a table.

Example: `python tools/benchmark_dtu.py --points 1000000 --workers 2`
"""

import argparse
import platform
import resource
import sys
from time import perf_counter, process_time

import numpy as np
import scipy
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from vo3d.metrics.dtu import OFFICIAL, DtuScan, evaluate_scan
from vo3d.metrics.thinning import thin_points

DENSITY = 25.0  # reference points per square millimetre: about one in each square of 0.2 mm


def scene(num: int, generator: np.random.Generator) -> tuple[np.ndarray, DtuScan]:
    """A wavy sheet of `num` reference points, and `num` points near it in random order, a tenth of them 15 mm off."""
    side = float(np.sqrt(num / DENSITY))

    def sheet() -> np.ndarray:
        xy = generator.random((num, 2)) * side
        return np.c_[xy, 5 * np.sin(xy[:, 0] / 7) * np.cos(xy[:, 1] / 9)]

    points, reference = sheet(), sheet()
    points += generator.normal(size=(num, 3)) * 0.3
    points[: num // 10] += generator.normal(size=(num // 10, 3)) * 15
    width = int(side) + 21
    scan = DtuScan(
        reference=reference.astype(np.float32),
        observed=np.ones((width, width, 121), bool),
        box=np.array([[-10.0, -10, -60], [side + 10, side + 10, 60]]),
        resolution=1.0,
        plane=np.array([0.0, 0, 1, 4.5]),
    )
    return points.astype(np.float32), scan


def walk(points: np.ndarray, scan: DtuScan) -> tuple[float, float]:
    """Means of both sides as the program finds them: a greedy walk for the thinning, a tree for every block."""
    points = points.astype(np.float64)
    order = np.random.default_rng(OFFICIAL.seed).permutation(len(points))
    alive = np.ones(len(points), bool)
    for row, near in zip(order, cKDTree(points).query_ball_point(points[order], OFFICIAL.radius), strict=True):
        if alive[row]:
            alive[near] = False
            alive[row] = True
    thinned, reference = points[alive], scan.reference.astype(np.float64)
    voxels = np.floor((thinned - scan.box[0]) / scan.resolution + 0.5).astype(int)
    inside = ((voxels >= 0) & (voxels < scan.observed.shape)).all(axis=1)
    inside[inside] = scan.observed[tuple(voxels[inside].T)]
    above = reference @ scan.plane[:3] + scan.plane[3] > 0
    data, stl = by_blocks(reference, thinned, scan)[inside], by_blocks(thinned, reference, scan)[above]
    return float(data[data < OFFICIAL.cut].mean()), float(stl[stl < OFFICIAL.cut].mean())


def by_blocks(to: np.ndarray, start: np.ndarray, scan: DtuScan) -> np.ndarray:
    """Distances of one side, block by block."""
    block = OFFICIAL.block
    distances = np.full(len(start), block)
    for index in np.ndindex(*(np.floor((scan.box[1] - scan.box[0]) / block).astype(int) + 1)):
        low = scan.box[0] + np.array(index) * block
        asked = ((start >= low) & (start < low + block)).all(axis=1)
        near = to[((to >= low - block) & (to < low + 2 * block)).all(axis=1)]
        if len(near):
            distances[asked] = cKDTree(near).query(start[asked])[0]
    return distances


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000, help="in the prediction, and in the reference")
    parser.add_argument("--walk-points", type=int, default=100_000, help="of the smaller scene, which is walked too")
    parser.add_argument("--workers", type=int, default=2, help="threads of the search")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = Table(title="DTU evaluation of one scan")
    for title in ("by", "points", "wall s", "CPU s", "thinning s", "peak MiB", "acc. mm", "comp. mm"):
        table.add_column(title, justify="left" if title == "by" else "right", no_wrap=True)
    start_peak = peak_mebibytes()

    small = scene(options.walk_points, np.random.default_rng(options.seed))
    large = scene(options.points, np.random.default_rng(options.seed))
    for points, scan in (large, small):  # the large one before the walk, whose lists would be the peak
        begin, begin_cpu = perf_counter(), process_time()
        found = evaluate_scan(points, scan, workers=options.workers)
        times = [f"{perf_counter() - begin:.2f}", f"{process_time() - begin_cpu:.2f}"]
        peak = f"{peak_mebibytes():.0f}" if points is large[0] else ""
        begin = perf_counter()
        thin_points(points, OFFICIAL.radius, OFFICIAL.seed, workers=options.workers)
        times.append(f"{perf_counter() - begin:.2f}")
        means = (found["dtu_accuracy_mm"], found["dtu_completeness_mm"])
        table.add_row("vo3d", f"{len(points)}", *times, peak, *(f"{mean:.4f}" for mean in means))
    begin, begin_cpu = perf_counter(), process_time()
    walked = walk(*small)
    times = [f"{perf_counter() - begin:.2f}", f"{process_time() - begin_cpu:.2f}", "", ""]
    table.add_row("walk", f"{len(small[0])}", *times, *(f"{mean:.4f}" for mean in walked))
    if not np.allclose(walked, means, rtol=1e-9):
        raise SystemExit(f"the two disagree: {walked}, {means}")
    console = Console()
    console.print(table)
    console.print(
        f"{options.workers} workers; {start_peak:.0f} MiB before the clouds; numpy {np.__version__}, "
        f"scipy {scipy.__version__}, {platform.machine()}"
    )


def peak_mebibytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()

"""The classic pipeline's sources of scale on one sequence, a standing camera, and its speed beside a plain loop.

    python tools/benchmark_track.py data/redkitchen/seq-01 --end 300
    python tools/benchmark_track.py room/seq-01 --bundle 8

Scales: each tracks the sequence (`--scales`), and its path is aligned to the true one with a scale (7dof), whatever its
own unit: APE rmse, and the distance of the last position from the truth, in percent of the way.

Standing: the first image a hundred times, with fresh noise (`--noise`, grey levels, Gaussian) in each: the length of
the path that a relative scale makes of it after the real frames, in percent of the way that as many mean steps make.

Speed: both read the same files and take turns, `--rounds` times; told are the medians of milliseconds a frame, with
and without reading, and of the ratios. The plain loop is what tutorials of OpenCV do: the same FAST corners of a grid,
found anew when fewer than 60 % are left, or in each frame, pyramidal Lucas-Kanade there and back, findEssentialMat
(RANSAC, 0.999, one pixel) and recoverPose of each frame to the one before; images are read as grey ones.
Both loops find corners as vo3d does, which fills the free cells of the grid at each key frame; the number that the
loop with corners of each frame follows comes nearer to that of vo3d.
"""

import argparse
import math
import os
import platform
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.scoring import score
from vo3d.geometry.grey import grey_image
from vo3d.geometry.trajectory import path_lengths, start_at_identity
from vo3d.inference.loop import evaluating, windows_of
from vo3d.inference.trajectory import Track, track
from vo3d.mapping.features import Grey, grid_corners
from vo3d.mapping.features import track as follow
from vo3d.mapping.key_frames import KEEP, KeyFrameTracker
from vo3d.models.classic import ClassicOdometry
from vo3d.recording import Recording
from vo3d.settings.layouts import open_sequence

NUM_FEATURES = 800
STANDING = 100  # frames
PLAIN = {"plain loop": KEEP, "plain loop, corners of each frame": math.inf}  # share below which corners are found anew


def tracked(model: ClassicOdometry, recording: Recording) -> Track:
    """Run the model along the recording."""
    with evaluating(model, "cpu"):
        return track(model, recording, windows_of(model, recording), device="cpu")


def compare_scales(recording: Recording, truth: Float64[Tensor, "n 4 4"], scales: list[str], bundle: int) -> None:
    """Print the errors of each source of scale, and those of a relative one with `bundle` key frames adjusted."""
    reference = start_at_identity(truth)
    step = float(path_lengths(truth)[-1]) / (len(truth) - 1)
    models = {scale: ClassicOdometry(scale=scale, step=step) for scale in scales}
    if bundle:
        models[f"relative, bundle {bundle}"] = ClassicOdometry(scale="relative", bundle=bundle)
    sys.stdout.write(f"{'scale':<22} {'APE m':>8} {'drift %':>8} {'steps not told':>15}\n")
    for name, model in models.items():
        found = tracked(model, recording)
        errors = score(reference, found.world_T_cam, alignment="7dof", with_evo=False).metrics
        lost = 0 if found.tracked is None else int((~found.tracked).sum())
        ape, drift = errors["ape_rmse_m"] or float("nan"), errors["final_drift_percent"] or float("nan")
        sys.stdout.write(f"{name:<22} {ape:>8.4f} {drift:>8.2f} {lost:>15}\n")


def stand(images: list[Grey], K: Float64[ndarray, "3 3"], noise: float) -> None:
    """Print what a tracker makes of a camera that stands, from the start and after it has moved."""
    random = np.random.default_rng(0)
    for moving in (images[:1], images[: len(images) // 2]):
        tracker = KeyFrameTracker(NUM_FEATURES, threshold=0.5, min_parallax=0.3)
        still = moving[-1]
        for image in moving:
            tracker.add(image, K)
        before = len(tracker.poses)
        for _ in range(STANDING):
            noisy = np.clip(still + random.normal(0, noise, still.shape), 0, 255).round().astype(np.uint8)
            tracker.add(noisy, K)
        tracker.end()
        lengths = np.linalg.norm(np.diff(np.stack(tracker.poses)[:, :3, 3], axis=0), axis=1)
        mean = lengths[: before - 1].mean() if before > 1 else 1.0
        share = 100 * lengths[before:].sum() / (STANDING * mean)
        after = f"after {before} frames" if before > 1 else "from the start"
        sys.stdout.write(f"standing {after}, noise of {noise:g} grey levels: {share:.3g} % of constant steps\n")


def plain_loop(frames: Iterator[Grey], K: Float64[ndarray, "3 3"], keep: float) -> float:
    """Follow the frames as tutorials do, with new corners below a share `keep`; return the seconds without reading."""
    spent = 0.0
    corners: ndarray = np.empty((0, 2), np.float32)
    count, pose = 1, np.eye(4)
    for prev, cam in pairwise(frames):
        began = perf_counter()
        if len(corners) < keep * count:
            corners = grid_corners(prev, NUM_FEATURES)
            count = len(corners)
        moved, good = follow(prev, cam, corners)
        essential, mask = cv2.findEssentialMat(corners[good], moved[good], K, cv2.RANSAC, 0.999, 1.0)
        _, rotation, shift, _ = cv2.recoverPose(essential, corners[good], moved[good], K, mask=mask)
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = rotation, shift[:, 0]
        pose = step @ pose
        corners = moved[good]
        spent += perf_counter() - began
    return spent


def race(recording: Recording, files: list[Path], K: Float64[ndarray, "3 3"], rounds: int) -> None:
    """Print the times of both, and the ratios."""
    times: dict[str, list[tuple[float, float]]] = {"vo3d": []}
    for _ in range(rounds):
        began = perf_counter()
        found = tracked(ClassicOdometry(scale="relative"), recording)
        times["vo3d"].append((perf_counter() - began, found.seconds))
        for name, keep in PLAIN.items():
            began = perf_counter()
            work = plain_loop((cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files), K, keep)
            times.setdefault(name, []).append((perf_counter() - began, work))
    for name, taken in times.items():
        whole, work = (1e3 * median(column) / len(recording) for column in zip(*taken, strict=True))
        ratios = [[a / b for a, b in zip(*pair, strict=True)] for pair in zip(times["vo3d"], taken, strict=True)]
        read, alone = (median(column) for column in zip(*ratios, strict=True))
        sys.stdout.write(
            f"{name:<34} {whole:6.1f} ms a frame, {work:6.1f} of work; vo3d takes {read:.2f} and {alone:.2f} of it\n"
        )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("source", type=Path, help="a sequence that vo3d knows, with true poses and image files")
    parser.add_argument("--end", type=int, help="frames")
    parser.add_argument("--scales", nargs="*", default=["relative", "constant", "true"])
    parser.add_argument("--bundle", type=int, default=0, help="key frames; also track with so many adjusted")
    parser.add_argument("--noise", type=float, default=5.0, help="grey levels, of the standing camera")
    parser.add_argument("--rounds", type=int, default=0, help="of the race; 0: none")
    options = parser.parse_args()
    try:
        run(options)
    except Vo3dError as error:
        parser.error(str(error))


def run(options: argparse.Namespace) -> None:
    """Open the sequence and do what is asked for; Vo3dError where it cannot be done."""
    layout, recording = open_sequence(options.source, {"frames": None if options.end is None else (0, options.end)})
    first = recording.clip([0])
    truth = recording.poses()
    if first.K is None or truth is None:
        raise Vo3dError(
            f"{options.source}: has no true poses: expected a sequence of KITTI, 7-Scenes, EuRoC or TUM RGB-D"
        )
    K, (h, w) = first.K[0].double().numpy(), first.image.shape[-2:]
    sys.stdout.write(
        f"{recording.name}: {layout.words}; {len(recording)} frames of {w}x{h}, "
        f"{float(path_lengths(truth)[-1]):.3g} m\n"
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, OpenCV {cv2.__version__} with "
        f"{cv2.getNumThreads()} threads, torch {torch.__version__} with {torch.get_num_threads()}\n"
    )
    compare_scales(recording, truth, options.scales, options.bundle)
    stand([grey_image(recording.clip([index]).image[0]) for index in range(min(120, len(recording)))], K, options.noise)
    if options.rounds:
        files = sorted(
            path for path in options.source.rglob("*") if path.suffix in {".jpg", ".png"} and ".depth" not in path.name
        )
        race(recording, files[: len(recording)], K, options.rounds)


if __name__ == "__main__":
    main()

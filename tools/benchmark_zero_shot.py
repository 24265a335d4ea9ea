"""Odometry that only saw the rendered world, on real sequences and on rendered turns of other cameras.

    python tools/benchmark_zero_shot.py --kitti data/kitti_odometry/sequences/06 --euroc data/euroc/MH_01_easy \
        --kitchen data/7scenes/redkitchen/seq-01 --weights runs/deepvo_worlds undeepvo_streets

Sequences: KITTI 06, frames 0 to 50, segments of 10 to 50 m; EuRoC's window and redkitchen's frames 0 to 299, segments
of 0.25 to 1 m; six rendered streets with drawn cameras and wide motions, seeds 2000 to 2005, which no shipped weights
saw, 100 frames each, segments of 10 to 50 m. Frames are read as `vo3d track` reads them: those of a network of fixed
size are resized and cut to it.

Beside the weights: the classic pipeline with a relative scale, whose unit is not the metre, and constant motion, the
mean step of 20 rendered streets that no test shows (wide motions).

Told are t_rel and r_rel without any alignment (pooled over the segments of all streets), and the mean error of the
rotation of a step, which is what tells something of hand-held cameras that hardly move forward; then, after rotation,
translation and scale were fitted (7dof), the scale (what the path had to be multiplied by: 1 is right), t_rel and the
APE; of streets the means of RPE, scale and APE. The scale of a hand-held sequence says how far the metres of networks
that learnt the size of streets are from it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.evaluation.scoring import score
from vo3d.geometry.trajectory import start_at_identity
from vo3d.inference.loop import evaluating, windows_of
from vo3d.inference.pretrained import load_pretrained
from vo3d.inference.trajectory import track
from vo3d.metrics.kitti_odometry import pool
from vo3d.model import Model
from vo3d.models.classic import ClassicOdometry
from vo3d.models.constant_motion import ConstantMotion
from vo3d.recording import Recording
from vo3d.settings.layouts import open_sequence
from vo3d.world.visit import Visit

Size = tuple[int, int] | None
Row = dict[str, float | None]
FAR, NEAR = (10.0, 20.0, 30.0, 40.0, 50.0), (0.25, 0.5, 1.0)  # metres
RENDERED_SIZE = (128, 416)  # of methods that take any
COLUMNS = {
    "t_rel_percent": "t_rel %",
    "r_rel_deg_per_100m": "deg/100m",
    "rpe_mean_deg": "RPE deg",
    "scale": "scale",
    "t_rel_scaled_percent": "7dof t_rel %",
    "ape_7dof_m": "7dof APE m",
}


@dataclass(frozen=True)
class Trial:
    """Recordings that are scored together, opened at the size that a method wants."""

    name: str
    open: Callable[[Size], Sequence[Recording]]
    lengths: Sequence[float]


def sequence(name: str, folder: Path, frames: tuple[int, int] | None, lengths: Sequence[float]) -> Trial:
    """Make a trial of one stored sequence."""
    return Trial(
        name, lambda size: [open_sequence(folder, {"frames": frames, "size": size, "guess": False})[1]], lengths
    )


def turns(seeds: Sequence[int], frames: int) -> Trial:
    """Make a trial of rendered streets with drawn cameras and wide motions."""

    def opened(size: Size) -> Sequence[Recording]:
        visit = Visit(motion="wide", traffic=0.25)
        return Rendered("street", seeds, frames, size or RENDERED_SIZE, sensor="drawn", visit=visit).recordings

    return Trial("rendered turns", opened, FAR)


def measured(model: Model, trial: Trial) -> Row:
    """Run a method along a trial and score it."""
    size = getattr(model, "size", None)
    scores, scaled = [], []
    for recording in trial.open(None if size is None else tuple(size)):
        truth = recording.poses()
        if truth is None:
            raise Vo3dError(f"{recording.name} has no true poses: expected a sequence of KITTI, EuRoC or 7-Scenes")
        with evaluating(model, "cpu"):
            found = track(model, recording, windows_of(model, recording), device="cpu")
        for alignment, kept in (("none", scores), ("7dof", scaled)):
            # the pose of a frame without an estimate is left out
            kept.append(
                score(
                    start_at_identity(truth),
                    found.world_T_cam,
                    alignment=alignment,
                    lengths=trial.lengths,
                    known=found.known,
                    with_evo=False,
                )
            )
    raw, fitted = (pool([one.segments for one in kept]) for kept in (scores, scaled))
    metres = model.metric
    return {
        "t_rel_percent": raw.t_rel_percent if metres else None,
        "r_rel_deg_per_100m": raw.r_rel_deg_per_100m,
        "rpe_mean_deg": _mean([one.metrics["rpe_mean_deg"] for one in scores]),
        "scale": _mean([one.metrics["scale"] for one in scaled]) if metres else None,
        "t_rel_scaled_percent": fitted.t_rel_percent,
        "ape_7dof_m": _mean([one.metrics["ape_rmse_m"] for one in scaled]),
    }


def _mean(values: Sequence[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def methods(weights: Sequence[str]) -> dict[str, Model]:
    """Load the weights, and fit what they are compared with."""
    found: dict[str, Model] = {name: load_pretrained(name).model for name in weights}
    constant = ConstantMotion()
    constant.fit(Rendered("street", "3000-3019", 60, (32, 104), sensor="drawn", visit=Visit(motion="wide")).recordings)
    return {**found, "classic": ClassicOdometry(scale="relative"), "constant motion": constant}


def table(models: dict[str, Model], trials: Sequence[Trial]) -> dict[str, dict[str, Row]]:
    """Print a row of each method on each trial, and return them by method and trial."""
    head = " ".join(f"{words:>12}" for words in COLUMNS.values())
    sys.stdout.write(f"{'sequence':<18}{'method':<20}{head}\n")
    rows: dict[str, dict[str, Row]] = {name: {} for name in models}
    for trial in trials:
        for name, model in models.items():
            row = rows[name][trial.name] = measured(model, trial)
            values = " ".join("-".rjust(12) if row[key] is None else f"{row[key]:12.4g}" for key in COLUMNS)
            sys.stdout.write(f"{trial.name:<18}{name:<20}{values}\n")
            sys.stdout.flush()
    return rows


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--kitti", type=Path, help="the folder of sequence 06")
    parser.add_argument("--euroc", type=Path, help="the folder of a sequence")
    parser.add_argument("--kitchen", type=Path, help="the folder of redkitchen's seq-01")
    parser.add_argument("--weights", nargs="*", default=["undeepvo_streets"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*range(2000, 2006)], help="of the rendered streets")
    parser.add_argument("--frames", type=int, default=100, help="of each rendered street")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    trials = [
        sequence(name, folder, frames, lengths)
        for name, folder, frames, lengths in (
            ("KITTI 06", options.kitti, (0, 51), FAR),
            ("EuRoC window", options.euroc, None, NEAR),
            ("redkitchen", options.kitchen, (0, 300), NEAR),
        )
        if folder is not None
    ]
    if options.seeds:
        trials.append(turns(options.seeds, options.frames))
    try:
        rows = table(methods(options.weights), trials)
    except Vo3dError as error:
        parser.error(str(error))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

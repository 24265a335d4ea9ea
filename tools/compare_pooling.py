"""Train DeepVO with each way of halving its maps, at equal budgets, and put the errors in one table.

Every run is one `vo3d fit` on rendered streets, scored as by `vo3d evaluate` on streets that training never saw. Runs
differ in `pool` and in the seed alone: steps, batches, their order, schedule, data and the first weights are equal for
equal seeds. A finished run is not repeated, so an interrupted comparison goes on where it stopped.

    python tools/compare_pooling.py                 # train what is missing, then write the table
    python tools/compare_pooling.py --report true   # write the table of what is there
"""

import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from jsonargparse import auto_cli

from vo3d.cli import main as vo3d
from vo3d.errors import Vo3dError
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.files import atomic_path, make_folder
from vo3d.formats.results import Result
from vo3d.formats.weights import load_weights, read_weights
from vo3d.layers.downsampling import Pool
from vo3d.metrics.kitti_odometry import DEVKIT_LENGTHS
from vo3d.model import Model
from vo3d.models.constant_motion import ConstantMotion
from vo3d.pipelines.optimizers.optimizer_runs import ERRORS, keep_budget, plain
from vo3d.pipelines.optimizers.tables import markdown, spread
from vo3d.recording import RecordingDataset
from vo3d.settings.build import build
from vo3d.settings.files import find_config, read_settings
from vo3d.settings.run_folder import HISTORY, find_checkpoint, read_run
from vo3d.world.drive_files import render_to_kitti

COST = "cost.json"  # in the folder of a finished run: what its training took
BUDGET = "budget.json"  # in the folder of all runs: what they have in common
POOLS: tuple[Pool, ...] = ("stride", "max", "avg", "soft", "edscw", "ada")


@dataclass(frozen=True)
class Budget:
    """What is equal in all runs.

    Args:
        size: rows and columns of the frames.
        width: multiplier of the encoder's channels.
        hidden: size of the recurrent state.
        steps: of the optimiser.
        validate_every: steps between two looks at the validation loss, by which the weights are chosen.
        batch_size: clips in a batch.
        rate: the learning rate at the start; it falls to 0 along a cosine.
        frames: of each street to learn from or to choose the weights by.
        test_frames: of each street to test on.
        train_seeds: of the streets to learn from.
        val_seeds: of the streets to choose the weights by.
        test_seeds: of the streets to test on.
        lengths: metres of the segments of the KITTI metric; [] for the official ones.
    """

    size: tuple[int, int] = (32, 104)
    width: float = 0.25
    hidden: int = 128
    steps: int = 600
    validate_every: int = 60
    batch_size: int = 16
    rate: float = 1e-3
    frames: int = 250
    test_frames: int = 400
    train_seeds: tuple[int, ...] = tuple(range(24))
    val_seeds: tuple[int, ...] = (1000, 1001)
    test_seeds: tuple[int, ...] = (2000, 2001, 2002)
    lengths: tuple[float, ...] = ()


@dataclass(frozen=True)
class Run:
    """What one run found."""

    pool: str
    seed: int
    errors: dict[str, float | None]  # as named in ERRORS, means over the test streets
    constant: dict[str, float | None]  # those of constant motion on the same streets
    val_loss: float  # the smallest, whose weights were tested
    seconds: float  # of processor time for training
    betas: dict[str, float]  # name of the layer -> beta in [0, 1]; empty without AdaPool


def experiment(pool: str, seed: int, folder: Path, data: Path, budget: Budget) -> dict[str, object]:
    """The configuration of one run: that of deepvo_rendered.yaml, but for the budget and for frames from files."""
    rendered = read_settings(Path(find_config("deepvo_rendered.yaml")))
    sizes = {"size": budget.size, "width": budget.width, "hidden": budget.hidden}
    net = rendered["model"]["net"]["init_args"] | {**sizes, "pool": pool}

    def clips(seeds: Iterable[int], clip_step: int, transforms: Sequence[Mapping[str, object]]) -> dict[str, object]:
        sequences = [f"{seed:02d}" for seed in seeds]
        arguments = {"root": str(data), "sequences": sequences, "clip_length": 5, "clip_step": clip_step}
        return {
            "class_path": "vo3d.datasets.kitti.KITTIOdometry",
            "init_args": {**arguments, "transforms": list(transforms)},
        }

    return {
        "seed_everything": seed,
        "out": str(folder),
        "model": {
            "net": {"class_path": "vo3d.models.deepvo.DeepVO", "init_args": net},
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": budget.rate}},
            "scheduler": {
                "class_path": "torch.optim.lr_scheduler.CosineAnnealingLR",
                "init_args": {"T_max": budget.steps},
            },
            "interval": "step",
        },
        "data": {
            "batch_size": budget.batch_size,
            "train": clips(budget.train_seeds, 2, rendered["data"]["train"]["init_args"]["transforms"]),
            "val": clips(budget.val_seeds, 4, []),
            "test": clips(budget.test_seeds, 4, []),
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "deterministic": True,
            "max_epochs": -1,
            "max_steps": budget.steps,
            "gradient_clip_val": 1.0,
            "val_check_interval": budget.validate_every,
            "check_val_every_n_epoch": None,
            "log_every_n_steps": min(10, budget.validate_every),
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    }


def render_streets(data: Path, budget: Budget) -> None:
    """Render what is not there yet of the streets to train, choose weights and test on, as `vo3d render` would."""
    frames = dict.fromkeys((*budget.train_seeds, *budget.val_seeds), budget.frames)
    frames |= dict.fromkeys(budget.test_seeds, budget.test_frames)
    for seed, count in frames.items():
        folder = data / "sequences" / f"{seed:02d}"
        if not (folder / "calib.txt").is_file():  # written last
            shutil.rmtree(folder, ignore_errors=True)  # what an interruption left
            render_to_kitti("street", count, seed, data, budget.size, stereo=False, imu=False)


def train_and_test(pool: str, seed: int, folder: Path, data: Path, budget: Budget) -> None:
    """Make one run whole; COST is written last, so that a folder with it is a finished run."""
    done = folder / COST
    if done.is_file():
        return
    print(f"{folder}: training", flush=True)
    make_folder(folder)
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump(plain(experiment(pool, seed, folder, data, budget)), sort_keys=False))
    start, processor = time.perf_counter(), time.process_time()
    if vo3d(["fit", "-c", str(config), "--overwrite", "true"]):
        raise Vo3dError(f"{folder}: training failed, see above")
    cost = {"processor_seconds": time.process_time() - processor, "seconds": time.perf_counter() - start}
    score(folder, budget)
    facts = {"pool": pool, "seed": seed, **cost, "threads": torch.get_num_threads()}
    with atomic_path(done) as path:
        path.write_text(json.dumps(facts, indent=2) + "\n")


def score(folder: Path, budget: Budget) -> None:
    """Score the run's best weights, and constant motion fitted to its training streets, on the test streets."""
    config = read_run(folder)
    net: Model = build(Model, config["model"]["net"], str(folder))
    load_weights(net, find_checkpoint("best", folder))
    train, test = (build(RecordingDataset, config["data"][split], str(folder)) for split in ("train", "test"))
    constant = ConstantMotion()
    constant.fit(train.recordings)
    for model in (net, constant):
        task = Odometry(lengths=budget.lengths or DEVKIT_LENGTHS)
        said = {"dataset": "rendered streets", "split": "test"}
        task.run(model, test, folder / "test" / type(model).__name__, protocol=said, progress=False)


def read_result(folder: Path) -> Run:
    """Read what the finished run in `folder` found."""
    facts = json.loads((folder / COST).read_text())
    ours, constant = (Result.load(folder / "test" / name).mean for name in ("DeepVO", "ConstantMotion"))
    with (folder / HISTORY).open(newline="") as file:
        losses = [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "val/loss"]
    weights, _ = read_weights(find_checkpoint("best", folder))
    return Run(
        pool=facts["pool"],
        seed=facts["seed"],
        errors={name: ours[name] for name in ERRORS},
        constant={name: constant[name] for name in ERRORS},
        val_loss=min(losses),
        seconds=facts["processor_seconds"],
        betas={name.split(".")[1]: v.clamp(0, 1).item() for name, v in weights.items() if name.endswith("pool.beta")},
    )


def table(runs: Sequence[Run]) -> str:
    """The runs as Markdown: one row for each way of halving, means over its seeds; then what AdaPool learnt."""
    titles = ["pool", "seeds", *ERRORS.values(), "validation loss", "training, processor s"]
    rows = []
    for pool in dict.fromkeys(run.pool for run in runs):
        ours = [run for run in runs if run.pool == pool]
        cells = [spread(run.errors[name] for run in ours) for name in ERRORS]
        cells += [spread(run.val_loss for run in ours), spread(run.seconds for run in ours)]
        rows.append([pool, str(len(ours)), *cells])
    constant = [spread([runs[0].constant[name]]).partition(" ")[0] for name in ERRORS]
    rows.append(["constant motion", "", *constant, "", ""])
    text = markdown(titles, rows)
    learnt = [run.betas for run in runs if run.betas]
    if learnt:
        text += "\n" + markdown(
            ["layer", "beta after training"], [[name, spread(b[name] for b in learnt)] for name in learnt[0]]
        )
    return text


def write_report(runs: Sequence[Run], out: Path) -> None:
    """Write one row for each run to `out/runs.csv`, and the table to `out/table.md`."""
    layers = [f"beta_{name}" for name in next((run.betas for run in runs if run.betas), {})]
    with atomic_path(out / "runs.csv") as path, path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pool", "seed", *ERRORS, "val_loss", "processor_seconds", *layers])
        for run in runs:
            betas: list[float | str] = [*run.betas.values()] or [""] * len(layers)
            writer.writerow([run.pool, run.seed, *run.errors.values(), run.val_loss, run.seconds, *betas])
    with atomic_path(out / "table.md") as path:
        path.write_text(table(runs))
    print(table(runs))


def compare(
    pools: list[Pool] = list(POOLS),  # noqa: B006 (read only)
    seeds: list[int] = [0, 1, 2],  # noqa: B006 (read only)
    out: Path = Path("runs/compare_pooling"),
    report: bool = False,
    budget: Budget = Budget(),
    threads: int = 1,
) -> None:
    """Train and test DeepVO with each way of halving maps, and write the table.

    Args:
        pools: the ways, as the argument `pool` of DeepVO names them.
        seeds: of the weights and of the order of the batches; each way is trained with each.
        out: the folder of all runs and of the table.
        report: only write the table of the runs that are finished.
        budget: what is equal in all runs.
        threads: of torch.
    """
    torch.set_num_threads(threads)
    if not pools or not seeds:
        raise Vo3dError("found no pools or no seeds: give at least one of each")
    folders = {(pool, seed): out / f"{pool}_{seed}" for seed in seeds for pool in pools}
    if not report:
        keep_budget(out / BUDGET, budget)
        render_streets(out / "streets", budget)
        for (pool, seed), folder in folders.items():
            train_and_test(pool, seed, folder, out / "streets", budget)
    finished = [folders[pool, seed] for pool in pools for seed in seeds if (folders[pool, seed] / COST).is_file()]
    if not finished:
        raise Vo3dError(f"{out}: no finished run of {', '.join(pools)}: run this without --report first")
    write_report([read_result(folder) for folder in finished], out)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        auto_cli(compare, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"compare_pooling: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

"""Verbs around models: the demonstration, scores, comparison, what is installed."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
from pathlib import Path
from typing import Any, Literal

Alignment = Literal["none", "scale", "6dof", "7dof"]


def demo(out: Path = Path("runs/demo")) -> None:
    """Render a world, train DeepVO on it, score it beside baselines, write a report.

    Takes at most ten minutes on two cores. Example: vo3d demo --out runs/demo

    Args:
        out: The folder for the run, its results and the report.
    """
    from vo3d.pipelines.demo import run_demo

    run_demo(out)


def evaluate(
    run: Path,
    weights: str = "best",
    data: dict[str, Any] | None = None,
    baselines: list[str] = [],  # noqa: B006 (read only)
    baseline_data: dict[str, Any] | None = None,
    out: Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    tasks: list[str] = [],  # noqa: B006 (read only)
    alignment: Alignment | None = None,
    clip_length: int | None = None,
    lengths: list[float] = [],  # noqa: B006 (read only)
    references: int | None = None,
    min_confidence: float | None = None,
    cap: list[float] = [],  # noqa: B006 (read only)
    crop: Literal["none", "garg", "eigen"] | None = None,
    scaling: Literal["none", "median"] | None = None,
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Score the model of a run, and baselines, over whole recordings; print a table for each task and write a report.

    A model is scored by what it gives, where the data have the truth: steps and maps by their trajectories (odometry),
    poses in a world that was known before by position and angle (relocalisation), depth pixel by pixel, of references
    with sources (depth) and of frames without given poses (single_view_depth); optical flow (flow), masks of moving
    objects and their motions (masks) pair by pair; point clouds only if asked for (clouds). What is not scored is said.
    Whoever fails has a row of dashes with the reason, the others are scored, and the exit status is not 0.

    Example: vo3d evaluate runs/deepvo --baselines classic constant

    Example: vo3d evaluate runs/mvsnet --baselines plane_sweep

    Example: vo3d evaluate runs/mvsnet --tasks depth clouds

    Example: vo3d evaluate runs/kitchen --tasks relocalisation odometry

    Example: vo3d evaluate runs/undeepvo --baselines constant_depth ground_plane --cap 1 80 --crop garg

    Args:
        run: The folder that `vo3d fit` made, or a YAML file for a method that needs no training.
        weights: best, last, a file of weights, or a name that `vo3d info` lists.
        data: Arguments of the dataset that are other than in the configuration, such as '{"root": "data/kitti"}', or a
            dataset around it, such as '{"class_path": "vo3d.datasets.backwards.Backwards"}'.
        baselines: classic, classic_gyro, constant, constant_depth, dead_reckoning, dense_flow, ground_plane,
            mean_pose, nearest_image, no_motion, plane_sweep, residual_masks, retrieval_pnp, ridge_pose, rigid_flow,
            semi_global, class paths, YAML files or JSON with class_path (or one of these names) and init_args.
        baseline_data: Arguments of the datasets that are other for baselines, of that which they are fitted to as
            well, such as '{"size": [128, 416]}' or '{"depth": true}'.
        out: Where the results go; without it, evaluation/<split> in the run folder, of a YAML file in its `out`.
        split: Which of the run's datasets.
        tasks: odometry, relocalisation, retrieval, depth, single_view_depth, flow, masks, clouds, class paths, YAML
            files or JSON of tasks; without it, all that fit but clouds.
        alignment: Of odometry, what is fitted to the truth before the errors are taken; without it, nothing.
        clip_length: Frames that go through the model at once, where it takes any number; without it, the usual one.
        lengths: Of odometry, metres of the segments of the KITTI metric; without it the official 100 to 800.
        references: Of depth, views of each recording, of flow and masks pairs, evenly spaced; without it, all.
        min_confidence: Of depth and clouds, the least confidence of a depth; without it, what suits the model.
        cap: Of single_view_depth, near and far in metres between which truths count; without it, 0.001 and 80.
        crop: Of single_view_depth, the part of the image that counts; without it, all.
        scaling: Of single_view_depth, median scales each image to its truth before the errors are taken; without it,
            nothing is scaled.
        device: As torch names it; auto takes the accelerator where there is one.
        allow: Modules of your own, or files such as exp/mymethod.py, that the files may name, as the run its model.
    """
    from vo3d.pipelines.evaluate import evaluate_run
    from vo3d.settings.trust import allowing

    options = {
        "alignment": alignment,
        "clip_length": clip_length,
        "lengths": lengths or None,
        "references": references,
        "min_confidence": min_confidence,
        "cap": cap or None,
        "crop": crop,
        "scaling": scaling,
    }
    with allowing(allow, typed=[data, baselines, baseline_data, tasks], beside=[run]):
        evaluate_run(
            run,
            weights=weights,
            data=data,
            baselines=baselines,
            baseline_data=baseline_data,
            out=out,
            split=split,
            tasks=tasks,
            options={name: value for name, value in options.items() if value is not None},
            device=device,
        )


def robustness(
    run: Path,
    weights: str = "best",
    data: dict[str, Any] | None = None,
    baselines: list[str] = [],  # noqa: B006 (read only)
    baseline_data: dict[str, Any] | None = None,
    out: Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    faults: list[str] = [],  # noqa: B006 (read only)
    rotation_deg: list[float] = [],  # noqa: B006 (read only)
    time_offset: list[float] = [],  # noqa: B006 (read only)
    bias: list[float] = [],  # noqa: B006 (read only)
    noise: list[float] = [],  # noqa: B006 (read only)
    dropped: list[float] = [],  # noqa: B006 (read only)
    seed: int = 0,
    alignment: Alignment | None = None,
    clip_length: int | None = None,
    lengths: list[float] = [],  # noqa: B006 (read only)
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Score a model of motion, and baselines, while the sensors fail: a table and a panel of a figure for each fault.

    Faults are injected into the test data, one at a time and more of it from point to point; nobody is trained anew. A
    model that does not read what a fault changes is not run again: its clean score stands. Scores are those of the task
    odometry of `vo3d evaluate`. The same command goes on after an interruption, and keeps what was scored with the same
    weights and arguments.

    Example: vo3d robustness runs/vinet --baselines classic constant

    Example: vo3d robustness runs/vinet --faults rotation time --rotation_deg 0 2 4 --time_offset -0.05 0 0.05

    Args:
        run: The folder that `vo3d fit` made, or a YAML file for a method that needs no training.
        weights: best, last, a file of weights, or a name that `vo3d info` lists.
        data: Arguments of the dataset that are other than in the configuration, such as '{"imu": true}', or a dataset
            around it.
        baselines: As of `vo3d evaluate`.
        baseline_data: Arguments of the datasets that are other for baselines.
        out: Where the results go; without it, robustness/<split> in the run folder, of a YAML file in its `out`.
        split: Which of the run's datasets.
        faults: rotation, time, bias, noise, dropped; without it, all.
        rotation_deg: Degrees that the inertial sensor is turned by; without it 0 5 10 15.
        time_offset: Seconds by which inertial readings are later than their stamps; without it 0 0.01 0.02 0.05 0.1.
        bias: Bias of the inertial sensor, in multiples of that of a MEMS sensor; without it 0 1 2 5.
        noise: Noise of the inertial sensor, in multiples of that of a MEMS sensor; without it 0 10 30 100.
        dropped: Share of the frames that do not arrive, so that the last one is repeated; without it 0 0.05 0.1 0.2.
        seed: Of what is drawn: axes, biases, noise, which frames.
        alignment: What is fitted to the truth before the errors are taken; without it, nothing.
        clip_length: Frames that go through the model at once, where it takes any number; without it, the usual one.
        lengths: Metres of the segments of the KITTI metric; without it the official 100 to 800.
        device: As torch names it; auto takes the accelerator where there is one.
        allow: Modules of your own, or files such as exp/mymethod.py, that the files may name, as the run its model.
    """
    from vo3d.pipelines.robustness.pipeline import study_robustness
    from vo3d.settings.trust import allowing

    options = {"alignment": alignment, "clip_length": clip_length, "lengths": lengths or None}
    with allowing(allow, typed=[data, baselines, baseline_data], beside=[run]):
        study_robustness(
            run,
            weights=weights,
            data=data,
            baselines=baselines,
            baseline_data=baseline_data,
            out=out,
            split=split,
            faults=faults,
            sizes={
                "rotation": rotation_deg,
                "time": time_offset,
                "bias": bias,
                "noise": noise,
                "dropped": dropped,
            },
            seed=seed,
            options={name: value for name, value in options.items() if value is not None},
            device=device,
        )


def compare(results: list[Path], force: bool = False) -> None:
    """Put results side by side in one table; refuses results of unequal protocols.

    Example: vo3d compare runs/a/evaluation/test/DeepVO runs/b/evaluation/test/DeepVO

    Args:
        results: Files metrics.json, the folders that hold them, or the folders of models, which hold one for each task.
        force: Print the table in spite of unequal protocols, and mark the rows.
    """
    from vo3d.evaluation.compare import print_comparison

    print_comparison(results, force)


def info(
    model: str | None = None,
    weights: str | None = None,
    size: list[int] = [],  # noqa: B006 (read only)
    views: int | None = None,
    depth: int = 2,
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Print versions, devices, threads and the names of weights; what a model is made of; what weights are.

    Of a model: each layer with its output's shape, parameters and multiply-adds. The model may stand first, without
    --model. No data are read, and large models take no memory.

    Example: vo3d info deepvo_kitti.yaml

    Example: vo3d info vo3d.models.mvsnet.MVSNet --size 512 640 --views 5 --depth 1

    Example: vo3d info --weights mvsnet_dtu_port

    Args:
        model: A class path, or a configuration that names a model.
        weights: A name or a file: print its card.
        size: Rows and columns of the views; without it those of the model, or of its data, or 480 and 640.
        views: Views of a clip; without it as in the model's data, or 3.
        depth: Levels of layers within layers that are shown; 0 is the whole alone.
        allow: Modules of your own, or files such as exp/mymethod.py, that a configuration may name.
    """
    from vo3d.pipelines.info.overview import print_overview
    from vo3d.settings.trust import allowing

    with allowing(allow, beside=[Path(model)] if model else []):
        print_overview(model, weights, size=size or None, views=views, depth=depth)

"""The verbs that are one function each; `vo3d.cli` makes their options out of signatures and docstrings."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from vo3d.errors import Vo3dError

BASELINES = {
    "classic": "vo3d.models.classic.ClassicOdometry",
    "constant": "vo3d.models.constant_motion.ConstantMotion",
}
Alignment = Literal["none", "scale", "6dof", "7dof"]


def demo(out: Path = Path("runs/demo")) -> None:
    """Render a world, train DeepVO on it, score it beside baselines, write a report.

    Takes at most ten minutes on two cores. Example: vo3d demo --out runs/demo

    Args:
        out: The folder for the run, its results and the report.
    """
    from vo3d.demo import run_demo

    run_demo(out)


def render(
    kind: str,
    frames: int = 400,
    seed: int = 0,
    out: Path = Path("rendered"),
    size: str = "128x416",
    stereo: bool = True,
    imu: bool = True,
) -> None:
    """Write one recording of the rendered world in the official layout of KITTI odometry.

    Example: vo3d render street --frames 400 --seed 7 --out data/street

    Args:
        kind: The kind of scene, such as street.
        frames: Number of frames.
        seed: What the scene and the path are drawn from; equal seeds give equal files.
        out: The folder that will hold sequences/ and poses/.
        size: Rows and columns of the frames, such as 128x416.
        stereo: Also write the right camera.
        imu: Also write inertial readings, ten between two frames.
    """
    rows_and_columns = _rows_and_columns(size)
    from vo3d.world.export import render_to_kitti

    render_to_kitti(kind, frames=frames, seed=seed, out=out, size=rows_and_columns, stereo=stereo, imu=imu)


def evaluate(
    run: Path,
    weights: str = "best",
    data: dict[str, Any] | None = None,
    baselines: list[str] = [],  # noqa: B006 (read only)
    baseline_data: dict[str, Any] | None = None,
    out: Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    alignment: Alignment = "none",
    clip_length: int = 16,
    lengths: list[float] = [],  # noqa: B006 (read only)
    device: str = "auto",
) -> None:
    """Score the model of a run, and baselines, over whole recordings; print one table and write a report.

    Example: vo3d evaluate runs/deepvo --baselines classic constant

    Args:
        run: The folder that `vo3d fit` made, or a YAML file for a method that needs no training.
        weights: best, last, or a file of weights.
        data: Arguments of the dataset that are other than in the configuration, such as '{"root": "data/kitti"}'.
        baselines: classic, constant, class paths, YAML files or JSON with class_path and init_args.
        baseline_data: Arguments of the dataset that are other for baselines, such as '{"size": [128, 416]}'.
        out: Where the results go; without it, evaluation/<split> in the run folder.
        split: Which of the run's datasets.
        alignment: What is fitted to the ground truth before the errors are taken.
        clip_length: Frames that go through the model at once.
        lengths: Metres of the segments of the KITTI metric; without it the official 100 to 800.
        device: As torch names it; auto takes the accelerator where there is one.
    """
    from vo3d.evaluation.run import evaluate_run

    evaluate_run(
        Path(find_config(str(run))) if run.suffix == ".yaml" else run,
        weights=weights,
        data=data,
        baselines=[_baseline(name) for name in baselines],
        baseline_data=baseline_data,
        out=out,
        split=split,
        alignment=alignment,
        clip_length=clip_length,
        lengths=lengths or None,
        device=device,
    )


def reconstruct(
    scene: Path,
    weights: str | None = None,
    model: str | None = None,
    out: Path = Path("cloud.ply"),
    views: list[str] = [],  # noqa: B006 (read only)
    num_views: int = 5,
    num_depths: int | None = None,
    size: str | None = None,
    max_side: int | None = None,
    depth_range: list[float] = [],  # noqa: B006 (read only)
    images: Path | None = None,
    poses: Path | None = None,
    intrinsics: list[float] = [],  # noqa: B006 (read only)
    every: int | None = None,
    min_confidence: float | None = None,
    min_consistent: int = 3,
    max_pixels: float = 1.0,
    max_relative: float = 0.01,
    refine: bool = False,
    mesh: bool = False,
    report: bool = True,
    precision: Literal["float32", "bfloat16", "float16"] | None = None,
    slab: int | None = None,
    device: str = "auto",
) -> None:
    """Make a coloured point cloud of posed photographs by a model of multi-view stereo.

    The scene is a folder in MVSNet's layout, a COLMAP project, or images with poses. Depth maps go to OUT's name with
    _depth as they are made; the same command after an interruption goes on from there.

    Example: vo3d reconstruct data/temple --weights mvsnet_dtu_port --out temple.ply

    Args:
        scene: The folder of the scene.
        weights: A name that `vo3d info` lists, a file, or the folder of a run; plane_sweep needs none.
        model: The class that the weights are for, where they do not say it: a class path, YAML or JSON.
        out: The cloud, a PLY file.
        views: Names or numbers of the views to make depth maps of; without it, all.
        num_views: Views that a depth map is made from, itself included.
        num_depths: Depths to try between near and far; without it, what the weights were made with.
        size: Rows and columns that the images are resized and cut to, such as 480x640.
        max_side: The most pixels of the longer side of the images, instead of a size.
        depth_range: Near and far, instead of what the scene says.
        images: The folder of the images of a COLMAP model, where they do not lie beside it.
        poses: The file of the poses of images (KITTI's rows or TUM's), where it has no usual name.
        intrinsics: Of images with poses: fx, fy, cx, cy in pixels, where no file of the folder holds them.
        every: Of images with poses, take every so many-th.
        min_confidence: The least confidence of a depth; without it, what suits the model.
        min_consistent: Sources that must confirm a depth, or all where there are fewer.
        max_pixels: Pixels by which a point may miss itself, seen in a source and back.
        max_relative: Share of the depth by which it may differ there.
        refine: Move each depth between the hypotheses so that the images agree better.
        mesh: Also write a mesh.
        report: Also write a page with pictures.
        precision: Of the network, where the model has a choice.
        slab: Depths that are held at once, where the model has a choice.
        device: As torch names it; auto takes the accelerator where there is one.
    """
    from vo3d.reconstruct import reconstruct as reconstruct_scene

    for option, numbers, count in (("depth-range", depth_range, 2), ("intrinsics", intrinsics, 4)):
        if len(numbers) not in {0, count}:
            raise Vo3dError(f"--{option}: {len(numbers)} numbers: expected {count}")
    arguments = {"num_depths": num_depths, "precision": precision, "slab": slab}
    rules: dict[str, Any] = {
        "min_views": min_consistent,
        "max_reprojection": max_pixels,
        "max_depth_difference": max_relative,
    }
    reconstruct_scene(
        scene,
        out=out,
        weights=weights,
        model=model,
        reading={
            "size": None if size is None else _rows_and_columns(size),
            "max_side": max_side,
            "depth_range": tuple(depth_range) or None,
            "images": images,
            "trajectory": poses,
            "intrinsics": tuple(intrinsics) or None,
            "every": every,
        },
        arguments={name: value for name, value in arguments.items() if value is not None},
        views=views,
        num_views=num_views,
        rules=rules if min_confidence is None else {**rules, "min_confidence": min_confidence},
        refine=refine,
        mesh=mesh,
        report=report,
        device=device,
    )


def trajectory(
    ref: Path,
    est: Path,
    format: Literal["kitti", "tum", "euroc"] = "kitti",
    align: Alignment = "none",
    json: Path | None = None,
    lengths: list[float] = [],  # noqa: B006 (read only)
    max_difference: float = 0.01,
) -> None:
    """Score an estimated trajectory against the ground truth, by evo's metrics and by KITTI's.

    Example: vo3d trajectory poses/06.txt estimate/06.txt --format kitti --align 7dof --json scores.json

    Args:
        ref: The file of the ground truth.
        est: The file of the estimate.
        format: The format of both files.
        align: What is fitted to the ground truth before the errors are taken.
        json: A file for the numbers.
        lengths: Metres of the segments of the KITTI metric; without it the official 100 to 800.
        max_difference: Seconds between time stamps that belong together.
    """
    from vo3d.evaluation.trajectory import score_files

    score_files(ref, est, format, align=align, json=json, lengths=lengths or None, max_difference=max_difference)


def compare(results: list[Path], force: bool = False) -> None:
    """Put results side by side in one table; refuses results of unequal protocols.

    Example: vo3d compare runs/a/evaluation/test/DeepVO runs/b/evaluation/test/DeepVO

    Args:
        results: Files metrics.json, or the folders that hold them.
        force: Print the table in spite of unequal protocols, and mark the rows.
    """
    from vo3d.evaluation.compare import compare as compare_results

    compare_results(results, force)


def info(model: str | None = None, weights: str | None = None) -> None:
    """Print versions, devices, threads and the names of weights; what a model is made of; what weights are.

    Example: vo3d info --model deepvo_kitti.yaml

    Example: vo3d info --weights mvsnet_dtu_port

    Args:
        model: A class path, or a configuration that names a model.
        weights: A name or a file: print its card.
    """
    from vo3d.evaluation.overview import print_overview

    print_overview(find_config(model) if model and model.endswith(".yaml") else model, weights)


FUNCTIONS: dict[str, Callable[..., None]] = {
    function.__name__: function for function in (demo, render, evaluate, reconstruct, trajectory, compare, info)
}


def find_config(name: str) -> str:
    """The file of a configuration: `name` in the working folder, else the one of that name that vo3d brings.

    Raises Vo3dError when it is in neither.
    """
    if Path(name).is_file():
        return name
    brought = {path.name: path for path in resources.files("vo3d.configs").iterdir() if path.name.endswith(".yaml")}
    if name in brought:
        return str(brought[name])
    raise Vo3dError(
        f"there is no configuration {name!r}: neither a file, nor one that vo3d brings ({', '.join(sorted(brought))})"
    )


def _baseline(name: str) -> str:
    """The class path behind a short name; class paths, files and JSON as they are."""
    if name.isidentifier() and name not in BASELINES:
        raise Vo3dError(f"there is no baseline {name!r}: expected {', '.join(BASELINES)}, a class path, YAML or JSON")
    return BASELINES.get(name, name)


def _rows_and_columns(size: str) -> tuple[int, int]:
    """`128x416` as numbers."""
    rows, sign, columns = size.partition("x")
    if not (sign and rows.isdigit() and columns.isdigit()):
        raise Vo3dError(f"--size is {size!r}: expected rows and columns, such as 128x416")
    return int(rows), int(columns)

"""Score the model of a training run, and baselines beside it, on the run's own data."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from rich.console import Console
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError
from vo3d.evaluation.build import build, read_spec
from vo3d.evaluation.compare import compare
from vo3d.evaluation.depth import ViewSamples, evaluate_depth
from vo3d.evaluation.devices import choose_device
from vo3d.evaluation.odometry import evaluate_odometry
from vo3d.formats.files import make_folder
from vo3d.formats.pretrained import find_pretrained, weights_names
from vo3d.formats.run_folder import find_checkpoint, read_run, training_command
from vo3d.formats.weights import load_weights, sha256_of
from vo3d.geometry.trajectory import AlignMode
from vo3d.metrics.kitti_odometry import DEVKIT_LENGTHS
from vo3d.model import Model
from vo3d.provenance import provenance
from vo3d.report.depth_page import write_depth_report
from vo3d.report.odometry import write_odometry_report
from vo3d.sample import MultiViewScene, Recording, Sample


@dataclass(frozen=True)
class _Contestant:
    """One row of the table: who predicts, from which frames, and where it comes from."""

    model: Model
    dataset: Dataset[Sample]
    origin: Mapping[str, object]


def evaluate_run(
    run: Path,
    *,
    weights: str = "best",
    data: Mapping[str, Any] | None = None,
    baselines: Sequence[str] = (),
    baseline_data: Mapping[str, Any] | None = None,
    out: Path | None = None,
    split: str = "test",
    alignment: AlignMode = "none",
    clip_length: int = 16,
    lengths: Sequence[float] | None = None,
    references: int | None = None,
    min_confidence: float | None = None,
    device: str = "auto",
) -> dict[str, Path]:
    """Score the run's model and `baselines` on the data of `split`; print one table and write one report.

    Datasets of clips are scored by the trajectories of their whole recordings (`evaluate_odometry`), datasets of
    reference views with their sources by depth (`evaluate_depth`). Each result goes to a folder of its own under `out`
    (`run/evaluation/<split>`), the report beside them.

    Args:
        run: The folder that `vo3d fit` made; or a YAML file with `model.net` and `data`, for a method that learns
            nothing or together with a file of weights.
        weights: "best", "last", a file, or a name (see `vo3d.formats.pretrained`); methods without parameters need
            none.
        data: Arguments of the dataset that are other than in the configuration, such as its `root`.
        baselines: Each a class path, a table of class_path and init_args in JSON, or a YAML file of such a table. A
            baseline with a method `fit` is fitted to the recordings of the run's training set first.
        baseline_data: Arguments of the dataset that are other for the baselines, such as a larger `size` or `stereo`;
            the recordings and their frames must stay the same, which the comparison checks.
        out: Where the results go.
        split: "test", "val" or "train".
        alignment: See `vo3d.geometry.trajectory.align`.
        clip_length: Frames that go through the model at once.
        lengths: Metres of the segments of the KITTI metric; 100 to 800 if None.
        references: Of depth: reference views of each scene, evenly spaced; all if None.
        min_confidence: Of depth: the least confidence of depths that are kept; each model's own if None.
        device: As torch names it; "auto" takes the accelerator where there is one.

    Returns:
        The result folder of each model, by the name in the table.

    Raises Vo3dError for a folder that is no run, absent weights or data, and whatever the models and loaders find.
    """
    config = read_run(run)
    chosen = choose_device(device)
    if config["data"].get(split):
        config["data"][split] = _changed(config["data"][split], data)
    contestants = _contestants(config, run, weights, baselines, baseline_data, split)
    home = run if run.is_dir() else Path("runs") / run.stem
    folder = out if out is not None else home / "evaluation" / split
    make_folder(folder)  # before the work, not after it
    results = {name: folder / "".join(c if c.isalnum() or c in "-_" else "_" for c in name) for name in contestants}
    protocol = {"dataset": config["data"][split]["class_path"].rpartition(".")[2], "split": split}
    of_depth = _is_of_views(next(iter(contestants.values())).dataset)
    for name, contestant in contestants.items():
        said: dict[str, Any] = {
            "device": chosen,
            "name": name,
            "protocol": protocol,
            "provenance": {"seed": config.get("seed_everything"), **contestant.origin},
        }
        if _is_of_views(contestant.dataset):
            evaluate_depth(
                contestant.model,
                contestant.dataset,
                results[name],
                references=references,
                min_confidence=min_confidence,
                **said,
            )
        else:
            evaluate_odometry(
                contestant.model,
                _recordings(contestant.dataset),
                results[name],
                clip_length=clip_length,
                alignment=alignment,
                lengths=tuple(lengths) if lengths else DEVKIT_LENGTHS,
                **said,
            )
    # a log or a pipe has no width: 80 columns would break the table
    compare(list(results.values()), console=None if sys.stdout.isatty() else Console(width=160))
    title = f"{next(iter(contestants))} on {protocol['dataset']}, {split}"
    frames = _recordings(list(contestants.values())[-1].dataset)  # the sharpest: baselines may see larger frames
    commands = list(dict.fromkeys(filter(None, (training_command(run), str(provenance()["command"])))))
    history = run if run.is_dir() else None
    if of_depth:
        scenes = [scene for scene in frames if isinstance(scene, MultiViewScene)]
        write_depth_report(folder, results, title=title, run=history, scenes=scenes, commands=commands)
    else:
        write_odometry_report(folder, results, title=title, run=history, recordings=frames, commands=commands)
    return results


def _contestants(
    config: dict[str, Any],
    run: Path,
    weights: str,
    baselines: Sequence[str],
    baseline_data: Mapping[str, Any] | None,
    split: str,
) -> dict[str, _Contestant]:
    """The run's model, then its baselines, by their names in the table."""
    net: Model = build(Model, config["model"]["net"], str(run))
    dataset = _dataset(config, split, run)
    contestants = {type(net).__name__: _Contestant(net, dataset, _trained(net, config, run, weights))}
    specs = [read_spec(text, "--baselines") for text in baselines]
    if specs and baseline_data:
        config = {**config, "data": {**config["data"], split: _changed(config["data"][split], baseline_data)}}
        dataset = _dataset(config, split, run)
    for spec in specs:
        baseline: Model = build(Model, spec, "the baseline")
        _fit(baseline, config, run)
        facts = {"arguments": spec.get("init_args", {}), "data": dict(baseline_data or {})}
        contestants[_name(spec, baseline, contestants)] = _Contestant(baseline, dataset, facts)
    return contestants


def _trained(net: Model, config: dict[str, Any], run: Path, weights: str) -> dict[str, object]:
    """Give `net` what training gave it; tells what that was."""
    if next(net.parameters(), None) is None:
        _fit(net, config, run)
        return {"run": run.name, "arguments": config["model"]["net"].get("init_args", {})}
    named = find_pretrained(weights)[0] if weights in weights_names() else None
    checkpoint = named or find_checkpoint(weights, run)
    load_weights(net, checkpoint)
    return {"run": run.name, "weights": checkpoint.name, "weights_sha256": sha256_of(checkpoint)}


def _fit(model: Model, config: dict[str, Any], run: Path) -> None:
    """Let a method that learns without gradients see the training recordings, where there are any."""
    if (fit := getattr(model, "fit", None)) and config["data"].get("train"):
        fit(_recordings(_dataset(config, "train", run)))


def _changed(spec: dict[str, Any], arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """The description of a dataset with some arguments replaced."""
    return {**spec, "init_args": {**spec.get("init_args", {}), **(arguments or {})}}


def _dataset(config: dict[str, Any], split: str, run: Path) -> Dataset[Sample]:
    """One of the run's datasets, which has recordings."""
    spec = config["data"].get(split)
    if spec is None:
        raise Vo3dError(f"{run}: there is no data.{split}: train with one, or choose another split")
    dataset: Dataset[Sample] = build(Dataset, spec, f"{run}, data.{split}")
    if not _recordings(dataset):
        raise Vo3dError(f"{spec['class_path']} has no recordings: whole trajectories need a dataset of clips")
    return dataset


def _is_of_views(dataset: Dataset[Sample]) -> TypeGuard[ViewSamples]:
    """Whether samples are a reference and its sources, not clips in the order of time."""
    return all(isinstance(recording, MultiViewScene) for recording in _recordings(dataset))


def _recordings(dataset: Dataset[Sample]) -> list[Recording]:
    """The recordings behind a dataset."""
    return list(getattr(dataset, "recordings", ()))


def _name(spec: dict[str, Any], model: Model, taken: dict[str, Any]) -> str:
    """The class, with the arguments where those are given, and a number where that is not enough."""
    arguments = ", ".join(f"{key}={value}" for key, value in spec.get("init_args", {}).items())
    name = f"{type(model).__name__} ({arguments})" if arguments else type(model).__name__
    count = sum(other == name or other.startswith(f"{name} #") for other in taken)
    return f"{name} #{count + 1}" if count else name

"""The folder that a training run leaves: its files by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vo3d.errors import Vo3dError, printable
from vo3d.settings.files import as_spec, check_shape, find_config, read_settings

CONFIG = "config.yaml"  # the resolved configuration
HISTORY = "history.csv"  # the logged curves
VERSIONS = "versions.json"  # what made it: versions, seed, command, date
OWN_MODULES = "own_modules"  # among the versions: files by module
SPLITS = ("train", "val", "test")  # of its data
CHECKPOINTS = "checkpoints"  # folder of best.ckpt and last.ckpt


def read_run(run: Path) -> dict[str, Any]:
    """The resolved configuration of a run, or the configuration in a YAML file.

    Model and datasets are tables with class_path and init_args. Raises Vo3dError when there is none, or it is of
    another shape.
    """
    path = Path(find_config(str(run))) if run.suffix == ".yaml" else run / CONFIG
    if not path.is_file():
        hint = f"; the path of a camera along a video or images is found by vo3d track {run}" if run.exists() else ""
        raise Vo3dError(
            f"{path}: no such file: expected the run folder that `vo3d fit --out` made, or a YAML file{hint}"
        )
    config = read_settings(path)
    if not {"model", "data"} <= set(config):
        raise Vo3dError(f"{path}: not the configuration of a run: expected the keys model and data")
    check_shape(config, str(path))
    data = config["data"] or {}
    splits = {split: as_spec(data[split], str(path), "data", split) for split in SPLITS if data.get(split) is not None}
    return {
        **config,
        "model": {**(config["model"] or {}), "net": net_of(config, str(path))},
        "data": {**data, **splits},
    }


def net_of(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The description of the model in the settings of a run; Vo3dError where there is none, or of another shape."""
    check_shape(settings, source)
    return as_spec((settings.get("model") or {}).get("net"), source, "model", "net")


def find_checkpoint(name: str | Path, run: Path) -> Path:
    """The file that `best`, `last` or a path names; raises Vo3dError when it is not there."""
    path = run / CHECKPOINTS / f"{name}.ckpt" if str(name) in {"best", "last"} else Path(name)
    if not path.is_file():
        raise Vo3dError(f"{path}: no such checkpoint: expected a file, or 'best' or 'last' of the run {run}")
    return path


def training_command(run: Path) -> str | None:
    """The command that made the run; None where the folder does not tell."""
    path = run / VERSIONS
    command = read_settings(path).get("command") if path.is_file() else None
    return None if command is None else printable(str(command))


def trained_with(run: Path) -> dict[str, str]:
    """Return by module the files of one's own that a run was trained with, as its folder says: a hint, no more.

    A stranger's folder may say anything, so that nothing is imported because of it.
    """
    path = run / VERSIONS
    found = read_settings(path).get(OWN_MODULES) if path.is_file() else None
    return {str(name): str(file) for name, file in found.items()} if isinstance(found, dict) else {}

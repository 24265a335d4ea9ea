"""Models and datasets out of the configuration of a run, checked against their constructors, without a trainer."""

from argparse import ArgumentError
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser

from vo3d.errors import Vo3dError

T = TypeVar("T")


def build(base: type[T], spec: dict[str, Any] | str, where: str = "the configuration") -> T:
    """The object that `spec` describes: a class path, or a table with `class_path` and `init_args`.

    Raises Vo3dError, naming `where` the description stands, when the class does not exist, is not a `base`, or does
    not accept its arguments.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=base)
    try:
        built: T = parser.instantiate(parser.parse_object({"it": spec})).it
    except ArgumentError as error:
        raise Vo3dError(f"{where}: {' '.join(str(error).split())}") from error
    return built


def read_run(run: Path) -> dict[str, Any]:
    """The resolved configuration in a run folder; raises Vo3dError when there is none."""
    path = run / "config.yaml"
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected the run folder that `vo3d fit --out` made")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise Vo3dError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict) or not {"model", "data"} <= set(config):
        raise Vo3dError(f"{path}: not the configuration of a run: expected the keys model and data")
    return config


def find_checkpoint(name: str | Path, run: Path) -> Path:
    """The file that `best`, `last` or a path names; raises Vo3dError when it is not there."""
    path = run / "checkpoints" / f"{name}.ckpt" if str(name) in {"best", "last"} else Path(name)
    if not path.is_file():
        raise Vo3dError(f"{path}: no such checkpoint: expected a file, or 'best' or 'last' of the run {run}")
    return path

"""Results of evaluations with their protocol: one metrics.json for each model and task."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from sys import float_info

from vo3d.errors import Vo3dError, quoted, shown
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.text import read_json

Metrics = dict[str, float | int | None]

FILE_NAME = "metrics.json"


@dataclass(frozen=True)
class Result:
    """One model on one split of a dataset, by one task.

    `protocol` says what was measured and how: results are comparable when it agrees (`vo3d.evaluation.compare`).
    `provenance` says where the numbers came from: weights, seed, versions, command, date, recordings that failed.
    None as the value of a metric: not defined here (no segment is long enough, no ground truth).
    """

    model: str  # display name, e.g. "DeepVO"
    protocol: dict[str, object]
    sequences: dict[str, Metrics]  # recording name -> metrics
    mean: dict[str, float | None]  # over recordings
    provenance: dict[str, object]

    @property
    def task(self) -> str:
        """The name of the task that scored; empty where the result does not tell."""
        return str(self.protocol.get("task", ""))

    def save(self, folder: Path) -> Path:
        """Write `folder/metrics.json`, whole or not at all; returns its path."""
        path = folder / FILE_NAME
        write_whole(path, json.dumps(asdict(self), indent=2, allow_nan=False) + "\n")
        return path

    @staticmethod
    def load(path: Path) -> "Result":
        """Read a metrics.json, or the one in a result folder.

        Raises Vo3dError when the file is missing or is not such a result.
        """
        path = path / FILE_NAME if path.is_dir() else path
        content = read_json(path, "the metrics.json of an evaluation")
        names = [field.name for field in fields(Result)]
        if not isinstance(content, dict) or set(content) != set(names):
            found = shown(", ".join(content)) if isinstance(content, dict) else f"a {type(content).__name__}"
            raise Vo3dError(
                f"{path}: not the result of an evaluation: found {found or 'nothing'}; expected {', '.join(names)}; "
                "make one with vo3d evaluate"
            )
        if not isinstance(content["model"], str):
            raise Vo3dError(f"{path}: model is {quoted(content['model'])}; expected its name")
        for name in names[1:]:
            if not isinstance(content[name], dict):
                raise Vo3dError(f"{path}: {name} is a {type(content[name]).__name__}; expected a table of values")
        for name, metrics in content["sequences"].items():
            _check_metrics(metrics, f"sequences.{name}", path)
        _check_metrics(content["mean"], "mean", path)
        return Result(**content)


def find_results(path: Path) -> Sequence[Path]:
    """The results that a path names: a metrics.json, the folder that holds one, or that holds one for each task.

    Those of tasks come first: a metrics.json beside their folders is of a version of vo3d that knew one task.
    """
    if not path.is_dir():
        return [path]
    return [folder for folder in visible_paths(path) if (folder / FILE_NAME).is_file()] or [path]


def _check_metrics(metrics: object, where: str, path: Path) -> None:
    if not isinstance(metrics, dict):
        raise Vo3dError(f"{path}: {shown(where)} is a {type(metrics).__name__}; expected a table of metrics")
    for key, value in metrics.items():
        if value is not None and not (type(value) in (int, float) and abs(value) <= float_info.max):
            raise Vo3dError(f"{path}: {shown(f'{where}.{key}')} is {quoted(value)}; expected a finite number or null")

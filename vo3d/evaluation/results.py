"""What an evaluation found, with the protocol under which it was found."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path

from vo3d.errors import Vo3dError
from vo3d.formats.files import atomic_path

Metrics = dict[str, float | int | None]

FILE_NAME = "metrics.json"


@dataclass(frozen=True)
class Result:
    """One model on one split of a dataset.

    `protocol` says what was measured and how: results are comparable when it agrees (`vo3d.evaluation.compare`).
    `provenance` says where the numbers came from: weights, seed, versions, command, date, recordings that failed.
    None as the value of a metric: not defined here (no segment is long enough, no ground truth).
    """

    model: str  # display name, e.g. "DeepVO"
    protocol: dict[str, object]
    sequences: dict[str, Metrics]  # recording name -> metrics
    mean: dict[str, float | None]  # over recordings
    provenance: dict[str, object]

    def save(self, folder: Path) -> Path:
        """Write `folder/metrics.json`, whole or not at all; returns its path."""
        path = folder / FILE_NAME
        text = json.dumps(asdict(self), indent=2, allow_nan=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        return path

    @staticmethod
    def load(path: Path) -> "Result":
        """Read a metrics.json, or the one in a result folder.

        Raises Vo3dError when the file is missing or is not such a result.
        """
        path = path / FILE_NAME if path.is_dir() else path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Vo3dError(
                f"{path}: cannot be read ({error.strerror}); expected the result of an evaluation"
            ) from error
        except ValueError as error:  # not JSON, or not text
            raise Vo3dError(f"{path}: not JSON ({error}); expected the metrics.json of an evaluation") from error
        names = [field.name for field in fields(Result)]
        if not isinstance(content, dict) or set(content) != set(names):
            found = ", ".join(map(str, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
            raise Vo3dError(
                f"{path}: not the result of an evaluation: found {found or 'nothing'}; expected {', '.join(names)}; "
                "make one with vo3d evaluate"
            )
        if not isinstance(content["model"], str):
            raise Vo3dError(f"{path}: model is {content['model']!r}; expected its name")
        for name in names[1:]:
            if not isinstance(content[name], dict):
                raise Vo3dError(f"{path}: {name} is a {type(content[name]).__name__}; expected a table of values")
        for name, metrics in content["sequences"].items():
            _check_metrics(metrics, f"sequences.{name}", path)
        _check_metrics(content["mean"], "mean", path)
        return Result(**content)


def _check_metrics(metrics: object, where: str, path: Path) -> None:
    if not isinstance(metrics, dict):
        raise Vo3dError(f"{path}: {where} is a {type(metrics).__name__}; expected a table of metrics")
    for key, value in metrics.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if value is not None and not number:
            raise Vo3dError(f"{path}: {where}.{key} is {value!r}; expected a finite number or null")


def raise_failed(failed: Mapping[str, str], total: int, what: str, out: Path) -> None:
    """Raise Vo3dError if any of `total` recordings or scenes (`what`) failed, with the reason of the first."""
    if not failed:
        return
    first = next(iter(failed))
    raise Vo3dError(
        f"{len(failed)} of {total} {what} failed, the first being {first}: {failed[first]} (results of the others are "
        f"in {out / FILE_NAME})"
    )


def mean_over_recordings(sequences: Mapping[str, Metrics]) -> dict[str, float | None]:
    """Plain mean of every metric over the recordings that define it; None where none does.

    Every recording weighs the same. The two segment errors come a second time as `..._pooled`: the mean over the
    segments of all recordings together, which is what the KITTI leaderboard prints.
    """
    keys = dict.fromkeys(key for metrics in sequences.values() for key in metrics)
    mean: dict[str, float | None] = {}
    for key in keys:
        values = [value for metrics in sequences.values() if (value := metrics.get(key)) is not None]
        mean[key] = sum(values) / len(values) if values else None
    for key in ("t_rel_percent", "r_rel_deg_per_100m"):
        if key not in mean:
            continue
        weighted = [
            (value, count)
            for metrics in sequences.values()
            if (value := metrics.get(key)) is not None and (count := metrics.get("num_segments"))
        ]
        total = sum(count for _, count in weighted)
        mean[f"{key}_pooled"] = sum(value * count for value, count in weighted) / total if total else None
    return mean


def frames_sha256(recordings: Iterable[tuple[str, Sequence[int]]]) -> str:
    """A fingerprint of what was scored: the names of the recordings and the numbers of their frames, in order."""
    digest = hashlib.sha256()
    for name, frames in recordings:
        digest.update(json.dumps([name, [int(frame) for frame in frames]]).encode())
    return digest.hexdigest()

"""Reading what an evaluation of odometry wrote: metrics.json and the trajectories that it was computed from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.trajectories import read_trajectory
from vo3d.geometry.trajectory import align, start_at_identity
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS, SegmentErrors, pool, segment_errors

SEGMENTS = {"segment_lengths_m": "lengths", "segment_start_every": "start_every"}  # term of the protocol: argument
PARTS = ("protocol", "sequences", "mean", "provenance")


@dataclass(frozen=True)
class Track:
    """One recording as one model saw it: truth and estimate from a common start, metres, and the estimate as aligned.

    Convention: `world_T_cam` with the world at the first camera, except where `aligned` turns the estimate.
    """

    reference: Float64[Tensor, "n 4 4"]
    aligned: Float64[Tensor, "n 4 4"]  # by the protocol's alignment: what the metrics compared with the reference
    scaled: Float64[Tensor, "n 4 4"]  # only its scale: motions from frame to frame as the model saw them


@dataclass(frozen=True)
class Scored:
    """The result folder of one model."""

    folder: Path
    protocol: Mapping[str, Any]
    sequences: Mapping[str, Mapping[str, Any]]
    mean: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @cached_property
    def tracks(self) -> dict[str, Track]:
        """The trajectories of each recording that was scored against a ground truth, read when first asked for."""
        return {name: self._read_track(name) for name, metrics in self.sequences.items() if "coverage" in metrics}

    def _read_track(self, name: str) -> Track:
        file = Path(f"{name}.txt")
        reference = read_trajectory(self.folder / "reference" / file, "kitti").world_T_cam
        estimate = read_trajectory(self.folder / "trajectories" / file, "kitti").world_T_cam
        if len(reference) != len(estimate):
            raise Vo3dError(
                f"{self.folder / 'trajectories' / file}: found {len(estimate)} poses, expected {len(reference)} as in "
                f"{self.folder / 'reference' / file}: evaluate the model again"
            )
        reference, estimate = start_at_identity(reference), start_at_identity(estimate)
        alignment = align(reference, estimate, self.protocol.get("alignment", "none"))
        estimate[:, :3, 3] *= alignment.scale
        return Track(reference, alignment.estimate, estimate)

    def frame_seconds(self, name: str) -> float | None:
        """The time between frames of a recording, where the result states it."""
        return self.sequences.get(name, {}).get("frame_seconds")

    def segments(self) -> SegmentErrors | None:
        """The KITTI segment errors of all recordings together, as the protocol has them; None without ground truth.

        Speeds use the recording's own time between frames where the result states it, and else KITTI's 0.1 s.
        """
        settings = {key: self.protocol[term] for term, key in SEGMENTS.items() if term in self.protocol}
        found = []
        for name, track in self.tracks.items():
            seconds = self.frame_seconds(name) or DEVKIT_FRAME_SECONDS
            found.append(segment_errors(track.reference, track.aligned, frame_seconds=seconds, **settings))
        return pool(found) if found else None


def read_scored(folder: Path) -> Scored:
    """Read `folder/metrics.json`; raises Vo3dError when it is missing, is no JSON, or lacks a part of a result."""
    path = folder / "metrics.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Vo3dError(f"{path}: no such file: expected the result folder of an evaluation; run it first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Vo3dError(f"{path}: found no JSON ({error}): expected the metrics of an evaluation") from None
    missing = [part for part in PARTS if not isinstance(content, dict) or not isinstance(content.get(part), dict)]
    if missing:
        raise Vo3dError(f"{path}: found no {', '.join(missing)}: expected the metrics of an evaluation of odometry")
    if not content["sequences"]:
        raise Vo3dError(f"{path}: found no recording in sequences, expected at least one: evaluate the model again")
    for name, metrics in content["sequences"].items():
        _check_numbers(path, f"sequences.{name}", metrics)
    _check_numbers(path, "mean", content["mean"])
    return Scored(folder, *(content[part] for part in PARTS))


def _check_numbers(path: Path, where: str, metrics: object) -> None:
    if not isinstance(metrics, dict):
        raise Vo3dError(f"{path}: {where} is {metrics!r}, expected a table of metrics")
    for key, value in metrics.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise Vo3dError(f"{path}: {where}.{key} is {value!r}, expected a number or null")

"""Results with what they were computed from: metrics.json, and of odometry the trajectories beside it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.results import FILE_NAME, Result
from vo3d.formats.trajectories import read_trajectory
from vo3d.geometry.trajectory import align, start_at_identity
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS, SegmentErrors, pool, segment_errors

SEGMENTS = {"segment_lengths_m": "lengths", "segment_start_every": "start_every"}  # term of the protocol: argument


@dataclass(frozen=True)
class Track:
    """One recording as one model saw it: truth and estimate from a common start, metres, and the estimate as aligned.

    Convention: `world_T_cam` with the world at the first camera, except where `aligned` turns the estimate.
    """

    reference: Float64[Tensor, "n 4 4"]
    aligned: Float64[Tensor, "n 4 4"]  # by the protocol's alignment: what the metrics compared with the reference
    scaled: Float64[Tensor, "n 4 4"]  # only its scale: motions from frame to frame as the model saw them


@dataclass(frozen=True)
class Scored(Result):
    """The result of one model with the folder that it lies in."""

    protocol: dict[str, Any]  # this and the next hold whatever JSON holds
    sequences: dict[str, dict[str, Any]]
    folder: Path

    @cached_property
    def tracks(self) -> dict[str, Track]:
        """Read, when first asked for, the trajectories of each recording that was scored against a ground truth."""
        return {name: self._read_track(name) for name, metrics in self.sequences.items() if "coverage" in metrics}

    def _read_track(self, name: str) -> Track:
        file = Path(f"{name}.txt")
        reference = read_trajectory(self.folder / "reference" / file, "kitti").world_T_cam
        found = read_trajectory(self.folder / "trajectories" / file, "kitti")
        estimate = found.world_T_cam
        if self.sequences[name]["coverage"] < 1 and len(estimate) < len(reference):  # only some frames have one
            frames = torch.arange(len(estimate)) if found.frames is None else found.frames
            reference = reference[frames]
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
        """Give the time between frames of a recording, where the result states it."""
        return self.sequences.get(name, {}).get("frame_seconds")

    def segments(self) -> SegmentErrors | None:
        """Pool the KITTI segment errors of all recordings, as the protocol has them; None without ground truth.

        Speeds use the recording's own time between frames where the result states it, and else KITTI's 0.1 s.
        """
        settings = {key: self.protocol[term] for term, key in SEGMENTS.items() if term in self.protocol}
        seconds = {name: self.frame_seconds(name) or DEVKIT_FRAME_SECONDS for name in self.tracks}
        found = [
            segment_errors(track.reference, track.aligned, frame_seconds=seconds[name], **settings)
            for name, track in self.tracks.items()
        ]
        return pool(found) if found else None


def read_scored(folder: Path) -> Scored:
    """Read the result in a folder; raises Vo3dError when there is none, or it has no recording."""
    result = Result.load(folder)
    if not result.sequences:
        raise Vo3dError(
            f"{folder / FILE_NAME}: found no recording in sequences, expected at least one: evaluate the model again"
        )
    return Scored(**vars(result), folder=folder)

"""Collect the true poses, steps and depths of recordings: what a method without weights is fitted to."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import trajectory
from vo3d.recording import Recording, evenly_spaced
from vo3d.sample import Sample


def known_poses(recordings: Iterable[Recording]) -> Float64[Tensor, "n 4 4"]:
    """List `world_T_cam` (metres) of all frames of `recordings`.

    Raises Vo3dError when a recording has no poses or when there is no frame at all.
    """
    found = [_poses(recording, "a map is made of training views with true ones") for recording in recordings]
    if not any(map(len, found)):
        raise Vo3dError("no recording with a frame: a map is made of at least one training view")
    return torch.cat(found)


def known_steps(recordings: Iterable[Recording]) -> Float64[Tensor, "n 4 4"]:
    """Compute all steps `prev_T_cam` (metres) between neighbouring frames of `recordings`.

    Raises Vo3dError when a recording has no poses or when there is no step at all.
    """
    poses = [_poses(recording, "a baseline is fitted to recordings with ground truth") for recording in recordings]
    found = list(map(trajectory.steps, poses))
    if not any(map(len, found)):
        raise Vo3dError("no recording with two or more frames: a baseline needs at least one step to be fitted to")
    return torch.cat(found)


def known_depths(recordings: Iterable[Recording], frames: int) -> Iterator[Sample]:
    """Read at most `frames` views of the recordings, evenly spaced over all of them, each alone and with its depth.

    Raises Vo3dError when a recording has no depth or when there is no view at all.
    """
    places = [(recording, index) for recording in recordings for index in range(len(recording))]
    if not places:
        raise Vo3dError("no recording with a frame: a baseline needs at least one to be fitted to")
    for recording, index in evenly_spaced(places, frames):
        sample = recording.clip((index,))
        if sample.depth is None:
            raise Vo3dError(
                f"{recording.name} gives no depth: a baseline is fitted to true depths; turn depth on in the arguments "
                "of data.train, by --baseline_data for baselines alone"
            )
        yield sample


def _poses(recording: Recording, why: str) -> Float64[Tensor, "n 4 4"]:
    """Return the true poses of a recording; Vo3dError, which says `why` they are needed, where it has none."""
    world_T_cam = recording.poses()
    if world_T_cam is None:
        raise Vo3dError(f"{recording.name} has no poses: {why}")
    return world_T_cam

"""Calibration after training: predicted deviations that hold as many errors of the validation set as they should."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.weights import SCALE_KEY
from vo3d.inference.loop import evaluating, windows_of
from vo3d.inference.trajectory import track
from vo3d.known_truth import known_poses
from vo3d.metrics.relocalisation import deviation_factors, pose_errors, total_deviations
from vo3d.model import Model
from vo3d.recording import Recording, recordings_of
from vo3d.training.callbacks import AtomicCheckpoints
from vo3d.training.datamodule import DataModule
from vo3d.training.learner import PREFIX, weights_in

KEY = "world_T_cam"
SAME = 1e-9  # numbers of the poses of one view that is in two sets differ by less
UNFITTED = "deviations are not calibrated"


def calibrate(
    net: Model, checkpoints: Sequence[Path], data: DataModule, *, device: torch.device | str
) -> Iterator[str]:
    """Fit `variance_scale` of each checkpoint to the validation recordings; give a line on what was done.

    Does nothing for a method that has no such buffer, or gives no `log_variance` of poses. Training recordings are
    never read: their errors are too small. Each checkpoint is written anew, whole or not at all, and can be resumed:
    nothing that a training reads has changed. `net` is left with the weights of the last one.
    """
    if not {KEY, "log_variance"} <= set(net.gives) or SCALE_KEY not in net.state_dict() or not checkpoints:
        return
    recordings = [] if data.val is None else [one for one in recordings_of(data.val) if one.poses() is not None]
    if not recordings:
        for path in checkpoints:
            _keep(path, _stored(path), torch.ones(2))
        found = "there is no data.val" if data.val is None else "data.val has no recordings with poses"
        yield f"{UNFITTED}: {found}"
        return
    frames = sum(map(len, recordings))
    training = [] if data.train is None else [one for one in recordings_of(data.train) if one.poses() is not None]
    if learnt := _learnt(recordings, training):
        yield (
            f"{learnt} of {frames} frames of data.val are training views, whose errors are too small, and so will "
            "deviations be: choose other recordings for data.val"
        )
    num = f"{len(recordings)} recording{'s' * (len(recordings) != 1)}, {frames} frames"
    for path in checkpoints:
        stored = _stored(path)
        try:
            factors = _factors(net, weights_in(stored), recordings, device)
        except Vo3dError as error:  # the training is whole without it
            _keep(path, stored, torch.ones(2))
            yield f"{path.name}: {UNFITTED}: {error}"
            continue
        _keep(path, stored, factors.square().float())
        metres, degrees = factors.tolist()
        yield (
            f"{path.name}: calibrated on {num} of data.val: deviations x {metres:.3g} in metres, x {degrees:.3g} in "
            "degrees"
        )


def _stored(path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return stored


def _keep(path: Path, stored: dict[str, Any], scale: Float[Tensor, "2"]) -> None:
    """Write a checkpoint anew where its factors are others, such as those of weights that a training began with."""
    name = f"{PREFIX}{SCALE_KEY}"
    if not torch.equal(stored["state_dict"][name], scale):
        stored["state_dict"][name] = scale
        AtomicCheckpoints().save_checkpoint(stored, path)


def _learnt(validation: Sequence[Recording], training: Sequence[Recording]) -> int:
    """Count the validation frames that are training views: of one name, frame number and pose."""
    known = {key: pose for one in training for key, pose in _views(one)}
    return sum(
        bool((known[key] - pose).abs().max() < SAME) for one in validation for key, pose in _views(one) if key in known
    )


def _views(recording: Recording) -> Iterator[tuple[tuple[str, int], Float64[Tensor, "4 4"]]]:
    """List the names of a recording's frames with their poses."""
    yield from (
        ((recording.name, frame), pose) for frame, pose in zip(recording.frames, known_poses([recording]), strict=True)
    )


def _factors(
    net: Model, weights: dict[str, Tensor], recordings: Sequence[Recording], device: torch.device | str
) -> Float64[Tensor, "2"]:
    """Run the method with these weights along the recordings, and compute the factors of its deviations."""
    net.load_state_dict(weights)
    net.get_buffer(SCALE_KEY).fill_(1)
    errors, deviations = [], []
    with evaluating(net, device):
        for recording in recordings:
            found = track(net, recording, windows_of(net, recording), device=device)
            assert found.deviations is not None  # noqa: S101  by the caller
            errors.append(pose_errors(known_poses([recording]), found.world_T_cam))
            deviations.append(total_deviations(found.deviations))
    return deviation_factors(torch.cat(errors), torch.cat(deviations))

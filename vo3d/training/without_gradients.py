"""Learning without gradients: at the start of a fresh training, and after it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from vo3d.errors import Vo3dError
from vo3d.formats.files import atomic_path
from vo3d.formats.weights import FINISHED_KEY
from vo3d.model import Model, has_own
from vo3d.recording import Recording

PREFIX = "net."  # of the method's values in a checkpoint


def begin(net: Model, recordings: Sequence[Recording], trainer: Trainer) -> None:
    """Let a method that has a `fit` see the training recordings: in the first process, which tells the others."""
    if not has_own(net, "fit"):
        return
    _check(net, recordings, "fit")
    if trainer.is_global_zero:
        net.fit(recordings)
    if trainer.world_size > 1:
        net.load_state_dict(trainer.strategy.broadcast(net.state_dict()))


def finish(net: Model, recordings: Sequence[Recording], checkpoints: Sequence[Path]) -> None:
    """Let a method that has a `finish` see the training recordings, once with the weights of each checkpoint.

    Each checkpoint then holds what came out; it is written anew, whole or not at all.
    """
    if not has_own(net, "finish"):
        return
    _check(net, recordings, "finish")
    was_training = net.training
    for path in checkpoints:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        names = [name for name in stored["state_dict"] if name.startswith(PREFIX)]
        net.load_state_dict({name.removeprefix(PREFIX): stored["state_dict"][name] for name in names})
        net.eval()
        with torch.no_grad():
            net.finish(recordings)
        stored["state_dict"] |= {f"{PREFIX}{name}": value.cpu() for name, value in net.state_dict().items()}
        stored[FINISHED_KEY] = True
        with atomic_path(path) as temporary:
            torch.save(stored, temporary)
    net.train(was_training)


def _check(net: Model, recordings: Sequence[Recording], what: str) -> None:
    if not recordings:
        raise Vo3dError(
            f"{type(net).__name__} learns from whole recordings in its {what}, and data.train has none: give a "
            "vo3d.recording.RecordingDataset"
        )

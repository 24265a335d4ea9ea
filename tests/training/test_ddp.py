"""Two processes with a batch each learn what one process with the doubled batch learns."""

from pathlib import Path

import torch

from places import TINY
from runs import run_outside
from vo3d.cli import main


def test_two_processes_equal_the_doubled_batch(tmp_path: Path) -> None:
    """Also where steps depend on the loss; `test_mining.py` has those that do not."""
    words = ["fit", "-c", str(TINY), "-c", "optim_lbfgs.yaml", "--model.net.dropout", "0"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*words, "--out", str(one), "--data.batch_size", "8"]) == 0
    parallel = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
    run_outside([*words, "--out", str(two), "--data.batch_size", "4", *parallel], tmp_path)
    ours, theirs = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (two, one))
    assert ours["global_step"] == theirs["global_step"] == 8  # two epochs of 38 clips in global batches of 8
    for name, tensor in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], tensor, rtol=1e-5, atol=1e-6)
    # the validation loss is reduced over both processes, whose shares differ by a repeated clip at most
    assert abs(_val_loss(ours) - _val_loss(theirs)) < 0.1 * _val_loss(theirs)


def _val_loss(checkpoint: dict[str, object]) -> float:
    states = [state for name, state in checkpoint["callbacks"].items() if name.startswith("BestCheckpoint")]
    return float(states[0]["best_model_score"])

"""Checkpoints from which VidLoc begins: every key of theirs and of ours is accounted for."""

from pathlib import Path

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_matching, load_weights
from vo3d.models.posenet import PoseNet
from vo3d.models.vidloc import VidLoc

SMALL = {"size": (32, 64), "trunk": "resnet18"}


def geomapnet() -> dict[str, torch.Tensor]:
    """A checkpoint with the keys of geomapnet's VidLoc, of other numbers than a fresh model has."""
    torch.manual_seed(5)
    ours = VidLoc(**SMALL, hidden=8).state_dict()
    buffers = ("image_mean", "image_std", "num_batches_tracked")
    theirs = {
        key.replace("trunk.", "feature_extractor.", 1).replace("lstm.", "lstm_fc.", 1): torch.rand_like(value)
        for key, value in ours.items()
        if key.startswith(("trunk.", "lstm.")) and not key.endswith(buffers)
    }
    for name, width in (("lstm_xyz", 3), ("lstm_wpqr", 4)):
        theirs[f"{name}.weight_ih_l0"] = torch.rand(4 * width, 16)
        theirs[f"{name}.weight_hh_l0"] = torch.rand(4 * width, width)
        theirs |= {f"{name}.{part}_l0": torch.rand(4 * width) for part in ("bias_ih", "bias_hh")}
    return theirs


@pytest.mark.parametrize("head", ["linear", "mixture"])
def test_trunk_and_lstm_of_geomapnet_load_and_its_heads_do_not(head: str, tmp_path: Path) -> None:
    theirs, path = geomapnet(), tmp_path / "vidloc.pth.tar"
    torch.save({"epoch": 3, "model_state_dict": theirs}, path)
    model = VidLoc(**SMALL, hidden=8, head=head)
    report = load_weights(model, path)
    assert set(report.dropped) == {key for key in theirs if key.startswith(("lstm_xyz", "lstm_wpqr"))}
    assert set(report.matched) | set(report.dropped) == theirs.keys()
    assert torch.equal(model.lstm.weight_ih_l0_reverse, theirs["lstm_fc.weight_ih_l0_reverse"])
    assert torch.equal(
        model.trunk.state_dict()["layer4.1.conv2.weight"], theirs["feature_extractor.layer4.1.conv2.weight"]
    )
    ours = {key for key in model.state_dict() if key.startswith(("xyz", "turn", "mixture", "code"))}
    assert ours <= set(report.kept)
    with pytest.raises(
        Vo3dError, match=r"a VidLoc of geomapnet does not fit VidLoc: other shapes: .*; build the model with"
    ):
        load_weights(VidLoc(**SMALL, hidden=16), path)


def test_a_trunk_of_torchvision_alone_is_a_start(tmp_path: Path) -> None:
    trunk = {key.removeprefix("feature_extractor."): value for key, value in geomapnet().items() if "extractor" in key}
    torch.save({**trunk, "fc.weight": torch.rand(10, 512), "fc.bias": torch.rand(10)}, tmp_path / "resnet18.pth")
    model = VidLoc(**SMALL)
    report = load_weights(model, tmp_path / "resnet18.pth")
    assert torch.equal(model.trunk.state_dict()["conv1.weight"], trunk["conv1.weight"])
    assert {"lstm.weight_hh_l0", "xyz.weight", "code.reference"} <= set(report.kept)


def test_a_posenet_of_one_s_own_gives_its_trunk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    known = PoseNet(**SMALL, hidden=4)
    torch.save(
        {"state_dict": {f"net.{key}": value for key, value in known.state_dict().items()}}, tmp_path / "last.ckpt"
    )
    model = VidLoc(**SMALL)
    load_matching(model, tmp_path / "last.ckpt")
    for key, value in known.trunk.state_dict().items():
        assert torch.equal(model.trunk.state_dict()[key], value)

"""The tool that turns published checkpoints into ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import convert_weights
from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_weights, read_weights, sha256_of
from vo3d.inference.pretrained import load_into
from vo3d.models.deepvo import DeepVO
from vo3d.models.netvlad import NetVLAD

SMALL = ["--model.size", "[64,64]", "--model.width", "0.0625", "--model.hidden", "4"]


def _publish(path: Path) -> DeepVO:
    """Write a network's convolutions in the naming of FlowNetPytorch; the network itself."""
    model = DeepVO(size=(64, 64), width=0.0625, hidden=4)
    published = {name.replace("conv.", "0."): value for name, value in model.encoder.state_dict().items()}
    published |= {"conv6_1.0.weight": torch.rand(2), "predict_flow6.weight": torch.rand(2)}
    torch.save({"state_dict": published, "epoch": 1}, path)
    return model


def test_a_published_checkpoint_becomes_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published, out = tmp_path / "flownets.pth", tmp_path / "deepvo.safetensors"
    source = _publish(published)

    status = convert_weights.main(["--checkpoint", str(published), "--out", str(out), "--model", "DeepVO", *SMALL])

    assert status == 0
    text = capsys.readouterr().out
    assert "18 tensors loaded; dropped: conv6_1.0.weight, predict_flow6.weight" in text
    assert "other settings: leaky_slope 0.0 instead of 0.1" in text
    assert "It needs width 1, leaky_slope 0.1" in text
    metadata = read_weights(out)[1]
    assert metadata["checkpoint"] == "flownets.pth"
    assert metadata["checkpoint_sha256"] == sha256_of(published)
    assert metadata["dropped"] == "conv6_1.0.weight predict_flow6.weight"
    loaded = DeepVO(size=(64, 64), width=0.0625, hidden=4)
    load_weights(loaded, out)
    assert torch.equal(loaded.encoder.conv3_1.conv.weight, source.encoder.conv3_1.conv.weight)


def test_converted_weights_know_the_settings_that_no_shape_shows(tmp_path: Path) -> None:
    _publish(tmp_path / "flownets.pth")
    words = ["--checkpoint", str(tmp_path / "flownets.pth"), "--out", str(tmp_path / "w.safetensors")]
    assert convert_weights.main([*words, "--model", "DeepVO", *SMALL, "--model.leaky_slope", "0.1"]) == 0

    assert load_into(DeepVO(size=(64, 64), width=0.0625, hidden=4, leaky_slope=0.1), tmp_path / "w.safetensors").matched
    with pytest.raises(Vo3dError, match=r"leaky_slope 0\.0 instead of 0\.1"):
        load_into(DeepVO(size=(64, 64), width=0.0625, hidden=4), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("out", "extra", "message"),
    [
        ("w.pth", [], "give the file the suffix .safetensors"),
        ("w.safetensors", ["--model.batch_norm", "true"], "no value for: encoder.conv1.norm.weight"),
    ],
)
def test_mistakes_are_one_line_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, extra: list[str], message: str
) -> None:
    _publish(tmp_path / "flownets.pth")
    arguments = ["--checkpoint", str(tmp_path / "flownets.pth"), "--out", str(tmp_path / out), "--model", "DeepVO"]

    status = convert_weights.main([*arguments, *SMALL, *extra])

    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / out).exists()


def test_an_abbreviated_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        convert_weights.main(
            ["--checkp", str(tmp_path / "w.pth"), "--out", "w.safetensors", "--model", "DeepVO", *SMALL]
        )

    assert caught.value.code == 2


def test_a_network_of_netvlads_release_is_read_out_of_matlabs_structure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = NetVLAD(num_clusters=2, whitened=3)
    torch.nn.init.normal_(net.whitening.weight)
    layers: list[dict[str, object]] = [{"type": "other", "name": str(place)} for place in range(35)]
    state = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    for place in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28):
        weight, bias = state[f"trunk.features.{place}.weight"], state[f"trunk.features.{place}.bias"]
        layers[place]["weights"] = _cells(weight.transpose(2, 3, 1, 0), bias[None])
    layers[30]["weights"] = _cells(state["vlad.assignment.weight"].T, -state["vlad.centres"].T)
    d_major = state["whitening.weight"].reshape(3, 2, 512).transpose(0, 2, 1).reshape(3, -1)
    layers[33]["weights"] = _cells(d_major.T[None, None], state["whitening.bias"][None])
    average = np.broadcast_to(np.float32([123.68, 116.78, 103.94]), (4, 5, 3))
    cells = np.empty((1, len(layers)), object)
    cells[0] = layers
    tree = {"layers": cells, "meta": {"normalization": {"averageImage": average}}}
    savemat(tmp_path / "net.mat", {"net": tree})
    words = [
        "--checkpoint",
        str(tmp_path / "net.mat"),
        "--out",
        str(tmp_path / "net.safetensors"),
        "--model",
        "NetVLAD",
    ]

    assert convert_weights.main([*words, "--model.num_clusters", "2", "--model.whitened", "3"]) == 0

    assert "NetVLAD's release (net.mat)" in capsys.readouterr().out
    read = NetVLAD(num_clusters=2, whitened=3)
    load_weights(read, tmp_path / "net.safetensors")
    for name, value in net.state_dict().items():
        if not name.startswith("trunk.image"):
            assert torch.equal(read.state_dict()[name], value), name
    assert (255 * read.trunk.image_mean.flatten()).tolist() == pytest.approx([123.68, 116.78, 103.94])
    assert read.trunk.image_std.flatten().tolist() == pytest.approx([1 / 255] * 3)

    cells[0, 30] = {"type": "other"}
    savemat(tmp_path / "net.mat", {"net": tree})
    assert convert_weights.main(words) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path}/net.mat: no network of NetVLAD's release" in told
    assert "expected a structure net with weights in the layers 0, 2, 5" in told


def _cells(*values: np.ndarray) -> np.ndarray:
    found = np.empty((1, len(values)), object)
    found[0] = values
    return found

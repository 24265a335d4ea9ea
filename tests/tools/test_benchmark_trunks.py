"""The benchmark of trunks: the peer gets the same frame and weights, and differences and ratios are told rightly."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vo3d.layers.trunk import make_trunk

# Not the peer: our own trunk behind the peer's interface, with an error that a test can choose.
PEER = """
import torch
from vo3d.formats.weights import import_weights
from vo3d.layers.efficientnet import PYTORCH_MODEL
from vo3d.layers.trunk import make_trunk


class EfficientNet(torch.nn.Module):
    @classmethod
    def from_name(cls, name):
        assert name == "efficientnet-lite0"
        network = cls()
        network.trunk = make_trunk("efficientnet_lite0")
        return network

    def load_state_dict(self, state):
        import_weights(self.trunk, state, PYTORCH_MODEL)

    def extract_features(self, x):
        return self.trunk((128 * x + 127) / 255) + ERROR
"""


@pytest.fixture
def tool() -> Iterator[ModuleType]:
    """Import the tool, and forget the peer and its folder."""
    kept = list(sys.path)
    yield importlib.import_module("benchmark_trunks")
    sys.path[:] = kept
    sys.modules.pop("efficientnet_lite_pytorch", None)


@pytest.mark.parametrize(("error", "least", "most"), [(0.0, 0.0, 1e-6), (0.6, 0.08, 0.11)])
def test_a_peer_of_the_same_features_is_equal_and_a_wrong_one_is_not(
    tool: ModuleType, tmp_path: Path, error: float, least: float, most: float
) -> None:
    (tmp_path / "efficientnet_lite_pytorch").mkdir()
    (tmp_path / "efficientnet_lite_pytorch" / "__init__.py").write_text(PEER.replace("ERROR", str(error)))
    peer, ours = tool.load_peer(tmp_path), make_trunk("efficientnet_lite0", pretrained=True).eval()

    with torch.inference_mode():
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        apart = tool.differences(ours, peer, image)

    assert least <= apart["float64"] <= most
    assert 0 < apart["ours_rounding"] < 1e-5
    assert ours.stem.conv.weight.dtype == torch.float32  # copies were made for float64


def test_ratios_are_of_neighbours(tool: ModuleType) -> None:
    assert tool.ratio_of({"a": [2.0, 30.0, 3.0], "b": [4.0, 20.0, 6.0]}, "a", "b") == 0.5


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--size", "100"], "--size 100: expected a multiple of 32"),
        (["--rounds", "0"], "--rounds 0: expected at least 1"),
        (["--peer", "nowhere"], "nowhere: no efficientnet_lite_pytorch: expected what 'pip install"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    complaint: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark_trunks.py", *words])

    with pytest.raises(SystemExit) as stop:
        tool.main()

    assert complaint in f"{stop.value.code} {capsys.readouterr().err}".splitlines()[-1]

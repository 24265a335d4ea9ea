"""The benchmark of losses: the peer is called with the same motion, and differences and targets are told rightly."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from checks import assert_same

# Not the peer: the same formula in another form, whose errors a test can choose.
PEER = """
import torch

pixel_coords = None


def inverse_warp(img, depth, pose, intrinsics, rotation_mode="euler", padding_mode="zeros"):
    assert rotation_mode == "euler" and padding_mode == "zeros"
    b, _, h, w = img.shape
    x, y, z = pose[:, 3:].unbind(1)
    o, i = torch.zeros_like(x), torch.ones_like(x)
    about_x = torch.stack((i, o, o, o, x.cos(), -x.sin(), o, x.sin(), x.cos()), 1).view(b, 3, 3)
    about_y = torch.stack((y.cos(), o, y.sin(), o, i, o, -y.sin(), o, y.cos()), 1).view(b, 3, 3)
    about_z = torch.stack((z.cos(), -z.sin(), o, z.sin(), z.cos(), o, o, o, i), 1).view(b, 3, 3)
    v, u = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    ray = intrinsics.inverse() @ torch.stack((u, v, torch.ones_like(u))).to(img).view(3, -1)
    point = about_x @ about_y @ about_z @ (ray * depth.view(b, 1, -1)) + pose[:, :3, None]
    seen = intrinsics @ point
    grid = 2 * (seen[:, :2] / seen[:, 2:]) / torch.tensor([[w - 1.0], [h - 1.0]]).to(img) - 1
    grid = grid.mT.view(b, h, w, 2)
    image = torch.nn.functional.grid_sample(img, grid, padding_mode=padding_mode, align_corners=True)
    return image + ERROR, grid.abs().amax(-1) <= 1
"""


@pytest.fixture
def tool() -> ModuleType:
    """Import the tool."""
    return importlib.import_module("benchmark_losses")


def peer_with(error: float, folder: Path) -> Path:
    (folder / "inverse_warp.py").write_text(PEER.replace("ERROR", str(error)))
    return folder


def test_a_peer_of_the_same_formula_is_equal_and_a_wrong_one_is_not(tool, tmp_path: Path) -> None:
    problem = tool.problem_of((2, 3, 32, 64))
    found = tool.differences(problem, tool.load_peer(peer_with(0.0, tmp_path)))
    assert found["inside"] > 0.6
    assert found["float64"] < 1e-12
    assert found["gradient_float64"] < 1e-9
    assert 0 < found["float32"] < 1e-4
    assert 0 < found["ours_rounding"] < 1e-4
    found = tool.differences(problem, tool.load_peer(peer_with(0.25, tmp_path)))
    assert found["float64"] == pytest.approx(0.25)
    assert found["gradient_float64"] > 0.1


def test_gradients_are_of_what_is_asked(tool) -> None:
    problem = tool.problem_of((2, 3, 32, 64))
    for image in (False, True):
        asked = problem.asked(image=image)
        tool.our_loss(asked)[0].backward()
        assert (asked.source.grad is not None) == image
        assert asked.target.grad is None
        for leaf in (asked.depth, asked.motion):
            assert leaf.grad is not None
            assert leaf.grad.abs().sum() > 0


def test_our_loss_is_the_mean_over_what_is_seen(tool) -> None:
    problem = tool.problem_of((2, 3, 32, 64))
    loss, _ = tool.our_loss(problem)
    image, valid = tool.warp_by_depth(problem.source, problem.depth, problem.K, problem.motion)
    assert not valid.all()
    assert_same(loss, (image - problem.target).abs().movedim(1, -1)[valid].mean())


def test_it_prints_times_in_turns_and_writes_json(
    tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    words = ["--peer", str(peer_with(0.0, tmp_path)), "--quick", "--image-gradient", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["benchmark_losses.py", *words, "--threads", str(torch.get_num_threads())])
    tool.main()
    told = capsys.readouterr().out
    assert "float64, at most 1e-05" in told
    assert "met." in told
    assert "| SfmLearner " in told
    (times,) = json.loads(out.read_text())["times"]
    assert 0 < times["vo3d"]["forward"] < times["vo3d"]["both"]
    monkeypatch.setattr(sys, "argv", ["benchmark_losses.py", "--quick", "--threads", str(torch.get_num_threads())])
    tool.main()
    assert "SfmLearner" not in capsys.readouterr().out


def test_the_target_is_judged_by_the_ratio(tool) -> None:
    assert tool.judged("time", 0.8, 1.0) == "Target: time at most 1: 0.8, met."
    assert tool.judged("time", 1.2, 1.0) == "Target: time at most 1: 1.2, MISSED."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repetitions", "0"], "at least 1"),
        (["--device", "abacus"], "--device abacus: "),
        (["--peer", "absent"], "expected a checkout of"),
    ],
)
def test_wrong_arguments_are_told(
    tool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark_losses.py", *words])
    with pytest.raises(SystemExit) as stopped:
        tool.main()
    assert message in capsys.readouterr().err + str(stopped.value)

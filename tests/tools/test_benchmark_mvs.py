"""The benchmark of multi-view stereo: the peer is called as its weights were learnt, and targets are judged rightly."""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from vo3d.geometry import depth_hypotheses, variance_cost

SMALL = {"size": (32, 64), "views": 3, "depths": 8}
# Not the port: it has the names of its weights, and tells what it is called with.
PEER = """
import torch
import torch.nn.functional as F
from torch import nn


def block(convolution, norm, i, o, k=3):
    return nn.ModuleDict({"conv": convolution(i, o, k, bias=False), "bn": norm(o)})


class MVSNet(nn.Module):
    def __init__(self, refine=True):
        super().__init__()
        assert not refine
        maps = (3, 8), (8, 8), (8, 16, 5), (16, 16), (16, 16), (16, 32, 5), (32, 32)
        volumes = (32, 8), (8, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)
        ups = {"conv7": (64, 32), "conv9": (32, 16), "conv11": (16, 8)}
        self.feature = nn.Module()
        self.cost_regularization = nn.Module()
        for n in range(7):
            self.feature.add_module(f"conv{n}", block(nn.Conv2d, nn.BatchNorm2d, *maps[n]))
            self.cost_regularization.add_module(f"conv{n}", block(nn.Conv3d, nn.BatchNorm3d, *volumes[n]))
        for name, (i, o) in ups.items():
            up = nn.Sequential(nn.ConvTranspose3d(i, o, 3, bias=False), nn.BatchNorm3d(o))
            self.cost_regularization.add_module(name, up)
        self.feature.feature = nn.Conv2d(32, 32, 3)
        self.cost_regularization.prob = nn.Conv3d(8, 1, 3)

    def forward(self, images, projections, depths):
        ramp, place = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 0.0]]]])
        sampled = F.grid_sample(ramp, place, mode="bilinear", padding_mode="zeros")[0, 0, 0]
        weight = self.feature.conv5["conv"].weight.sum()[None]
        told = sampled, projections[0, 0, 0, :1], projections[0, 1, 0, 3:], depths[0, -1:], weight
        return {"depth": torch.stack(told)[None]}
"""


@pytest.fixture
def tools() -> tuple[ModuleType, ModuleType]:
    """Import the tool and its peers."""
    return importlib.import_module("benchmark_mvs"), importlib.import_module("mvs_peers")


def test_the_peer_has_our_weights_quarter_cameras_and_aligned_corners(tools, tmp_path: Path) -> None:
    _, peers = tools
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mvsnet.py").write_text(PEER)
    case = peers.Case(peers.PORT, **SMALL, port=str(tmp_path))
    sampled, focal, shift, far, weight = peers.runner(case)()[:, 0].tolist()
    assert sampled == 0.75  # 1 where the corners are not aligned
    K, world_T_cam = peers.sample_of(case).K[0, 1], peers.sample_of(case).world_T_cam[0, 1].float()
    assert focal == pytest.approx(1.8 * 64 / 4)
    assert shift == pytest.approx(-(K[0] @ world_T_cam[:3, 3]).item() / 4, rel=1e-5)
    assert far == pytest.approx(peers.FAR)
    assert weight == pytest.approx(peers.network(case).features.conv5.conv.weight.sum().item(), rel=1e-5)
    assert "models" not in sys.modules  # the name of a package of ours, in an editable install
    with pytest.raises(SystemExit, match="expected a checkout"):
        peers.load_port(tmp_path / "models")


def test_views_of_the_inputs_agree_at_the_plane_that_they_show(tools) -> None:
    _, peers = tools
    sample = peers.sample_of(peers.Case(peers.PREDICT, size=(64, 96)))
    depths = depth_hypotheses(torch.tensor([[peers.NEAR, peers.FAR]]), 30)
    cost = variance_cost(list(sample.image.unbind(1)), sample.K, sample.world_T_cam, depths).mean((0, 1))  # d h w
    found = depths[0, cost[:, 16:48, 24:72].argmin(0)]
    assert ((found - peers.PLANE).abs() < 0.02).float().mean() > 0.9


def test_a_measurement_has_time_memory_and_depths_of_both_paths(tools, tmp_path: Path, capsys) -> None:
    tool, peers = tools
    for number, candidate in enumerate((peers.FORWARD, peers.PREDICT, "predict, bfloat16")):
        case = asdict(peers.Case(candidate, **SMALL))
        task = {"case": case, "threads": torch.get_num_threads(), "out": str(tmp_path / f"{number}.npy"), "twice": True}
        tool.child(json.dumps(task))
        told = json.loads(capsys.readouterr().out)
        assert set(told) == {"wall", "processor", "peak"}
        assert told["wall"] > 0
        assert told["peak"] >= 0
    assert np.load(tmp_path / "0.npy").shape == (8, 16)
    assert tool.apart(tmp_path, 1, 0)["depth_apart_max"] < 1e-4
    assert 1e-6 < tool.apart(tmp_path, 2, 0)["depth_apart_max"] < 0.2


def test_targets_are_judged_by_the_ratio_to_the_port(tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, peers = tools
    seconds = {peers.PORT: 10.0, peers.FORWARD: 9.0, peers.PREDICT: 7.0}
    sizes = {peers.PORT: 1000, peers.FORWARD: 900, peers.PREDICT: 500}

    def in_child(case, threads: int, out: Path, *, twice: bool) -> dict[str, float]:
        np.save(out, np.full((2, 2), 2.0 if case.candidate == peers.PORT else 2.2))
        wall, peak = seconds.get(case.candidate, 20.0), sizes.get(case.candidate, 800)
        return {"wall": wall, "processor": threads * wall, "peak": peak * 2**20 * case.depths / 96}

    monkeypatch.setattr(tool, "in_child", in_child)
    lines, rows = tool.against_port(peers.Case(peers.PREDICT, port="port"), threads=1, rounds=2)
    told = "\n".join(lines)
    assert [row["candidate"] for row in rows] == ["port", "forward", "predict", "predict, bfloat16", "predict, float16"]
    assert "wall time of predict / port at most 0.8: 0.7, met." in told
    assert "peak of predict / port at most 0.4: 0.5, MISSED." in told
    ours = next(line for line in lines if line.startswith("| predict "))
    assert [cell.strip() for cell in ours.split("|")[2:7]] == ["7 (0.70)", "7 (0.70)", "500 (0.50)", "0.1", "0.1"]
    assert not any("Target" in line for line in tool.against_port(peers.Case(peers.PREDICT), threads=1, rounds=1)[0])
    told = tool.growth(peers.Case(peers.PREDICT), (64, 256), threads=1, rounds=1)[0][-1]
    assert told == "Target: growth of the peak from 64 to 256 depths at most 0.1: 3, MISSED."
    told = tool.alone(peers.Case(peers.PREDICT, depths=256), threads=1)[0][-1]
    assert told == "Target: peak at most 6 GB: 1.4 GB, met."


def test_itermvs_is_judged_by_its_authors_program(tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, peers = tools

    def in_child(case, threads: int, out: Path, *, twice: bool) -> dict[str, float]:
        ours = case.candidate == peers.ITERATIVE
        np.save(out, np.full((2, 2), 2.0))
        return {"wall": 1.0, "processor": 0.9 if ours else 1.0, "peak": (9.0 if ours else 10.0) * 2**20}

    monkeypatch.setattr(tool, "in_child", in_child)
    lines, rows = tool.against_authors(peers.Case(peers.PREDICT, authors="folder"), threads=1, rounds=1)
    told = "\n".join(lines)
    assert [row["candidate"] for row in rows] == ["IterMVS, authors", "IterMVS, predict"]
    assert "processor time / authors at most 1: 0.9, met." in told
    assert "peak / authors at most 0.8: 0.9, MISSED." in told
    assert not any("Target" in line for line in tool.against_authors(peers.Case(peers.PREDICT), 1, 1)[0])


def test_a_folder_without_the_authors_program_is_told(tools, tmp_path: Path) -> None:
    _, peers = tools
    with pytest.raises(SystemExit, match="expected a checkout of FangjinhuaWang/IterMVS"):
        peers.runner(peers.Case(peers.AUTHORS, authors=str(tmp_path), size=(32, 64), views=2))


@pytest.mark.parametrize(
    ("words", "message"), [(["--rounds", "0"], "at least 1"), (["--weights", "absent.ckpt"], "no such file")]
)
def test_wrong_arguments_are_told(
    tools, monkeypatch: pytest.MonkeyPatch, capsys, words: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark_mvs.py", *words])
    with pytest.raises(SystemExit):
        tools[0].main()
    assert message in capsys.readouterr().err

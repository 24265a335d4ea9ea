"""The benchmark of search: every search finds what the index finds, and a wrong row shows."""

import argparse
import importlib
import json
from pathlib import Path

import pytest
import torch


def test_searches_agree_and_a_wrong_row_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    tool = importlib.import_module("benchmark_search")
    arguments = argparse.Namespace(queries=30, database=500, dim=16, num=4, threads=torch.get_num_threads())
    tool.fill(arguments, tmp_path)
    runs = {}
    for name in tool.SEARCHES:
        tool.run_one(arguments, name, tmp_path)
        runs[name] = [json.loads(capsys.readouterr().out)]
        assert min(runs[name][0].values()) > 0
    queries, rows = tool.vectors(30, 500, 16)
    for name in tool.SEARCHES[:3]:
        equal, apart = tool.differences(tmp_path, name, queries, rows)
        assert equal > 0.95
        assert apart < 1e-6
    tool.tell(arguments, tmp_path, runs)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" equal ranks ")[0] != line for line in lines[1:5]] == [True] * 4
    assert all(line.startswith("Target:") for line in lines[5:])
    index, squared = torch.load(tmp_path / "1.pt")
    index[7, 0] = index[7, 3]  # the fourth in place of the first
    torch.save((index, squared), tmp_path / "1.pt")
    equal, apart = tool.differences(tmp_path, tool.OURS, queries, rows)
    assert equal <= 1 - 1 / 120
    assert apart == pytest.approx(float(squared[7, 3] - squared[7, 0]), rel=1e-4)

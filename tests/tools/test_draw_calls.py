"""The calls between rooms in a run of each large verb: every one goes down."""

from pathlib import Path

import pytest

from draw_calls import Call, draw, traced
from vo3d.cli import main


def test_every_call_of_an_evaluation_goes_down(trained: Path, tmp_path: Path) -> None:
    with traced() as calls:
        assert (
            main(["evaluate", str(trained), "--out", str(tmp_path), "--baselines", "constant", "--allow", "tiny"]) == 0
        )

    assert [call for call in calls if not call.goes_down] == []
    rooms = {call.rooms for call in calls}
    assert {("cli", "verbs"), ("verbs", "pipelines"), ("pipelines", "evaluation"), ("evaluation", "inference")} <= rooms
    draw(list(calls), "evaluate", tmp_path / "calls.png")
    assert (tmp_path / "calls.png").stat().st_size > 20_000


def test_every_call_of_a_reconstruction_goes_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path)
    assert main(["render", "tabletop", "--frames", "4", "--size", "48x64", "--out", out]) == 0
    words = ["--weights", "plane_sweep", "--num-depths", "16", "--min-confidence", "0", "--min-consistent", "1"]
    with traced() as calls:
        assert main(["reconstruct", f"{out}/scan0", *words, "--out", f"{out}/cloud.ply"]) == 0, capsys.readouterr().err

    assert [call for call in calls if not call.goes_down] == []
    assert {("pipelines", "fusion"), ("inference", "models"), ("pipelines", "report")} <= {call.rooms for call in calls}


def test_a_call_that_goes_up_or_aside_is_told() -> None:
    assert Call("pipelines.evaluate.evaluate_run", "model.has_own").goes_down
    assert Call("sample.Sample.to", "geometry.se3.inverse").goes_down
    assert not Call("formats.ply.read_cloud", "report.html.write_page").goes_down
    assert not Call("models.mvsnet.MVSNet", "datasets.dtu.DTU").goes_down

"""The table of odometry that saw rendered worlds alone, on one street of a few frames."""

import pytest

import benchmark_zero_shot as tool
from vo3d.datasets.rendered import Rendered
from vo3d.models.constant_motion import ConstantMotion
from vo3d.world.visit import Visit


def test_a_true_mean_step_needs_no_scale_and_a_doubled_one_half_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    trial = tool.turns([2000], 12)
    (street,) = Rendered(
        "street", [2000], 12, (32, 104), sensor="drawn", visit=Visit(motion="wide", traffic=0.25)
    ).recordings
    mean, double = ConstantMotion(), ConstantMotion()
    for model in (mean, double):
        model.fit([street])
        model.size = (32, 104)  # to render it fast
    double.motion[:3, 3] *= 2

    rows = tool.table({"mean": mean, "double": double}, [trial])

    one, two = rows["mean"]["rendered turns"], rows["double"]["rendered turns"]
    assert one["scale"] == pytest.approx(1.0, abs=0.05)
    assert two["scale"] == pytest.approx(one["scale"] / 2, rel=1e-6)
    for key in ("t_rel_scaled_percent", "ape_7dof_m"):  # nothing is left of the factor
        assert two[key] == pytest.approx(one[key], rel=1e-6)
    assert one["t_rel_percent"] < 0.5 * two["t_rel_percent"]
    assert len(capsys.readouterr().out.splitlines()) == 3

"""What work costs: the peak of a piece of work is its own, and forecasts follow the number of depths."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tiny import TinyRecording
from vo3d.inference import cost
from vo3d.inference.cost import KEPT, Cost, Forecast, forecast, measured, peak_memory
from vo3d.model import Frames
from vo3d.models.plane_sweep import PlaneSweep

CPU = torch.device("cpu")
FLOATS = 50_000_000  # 200 MB
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system forgets no peak")


def test_the_peak_of_a_piece_of_work_is_its_own() -> None:
    large = measured(lambda: torch.ones(FLOATS), CPU)
    small = measured(lambda: torch.ones(10), CPU)
    assert large.memory is not None
    assert small.memory is not None
    assert 0.9 * 4 * FLOATS < large.memory < 1.3 * 4 * FLOATS
    assert small.memory < 0.1 * 4 * FLOATS


def test_memory_that_was_freed_before_counts_when_it_is_taken_again() -> None:
    pieces = [
        torch.ones(16_000) for _ in range(2 * FLOATS // 16_000)
    ]  # 64 kB each: too small for mappings of their own
    last = pieces[-1]
    del pieces
    again = measured(lambda: torch.ones(FLOATS), CPU)
    assert again.memory is not None
    assert 0.9 * 4 * FLOATS < again.memory < 1.3 * 4 * FLOATS
    assert last.numel() == 16_000  # it kept what lay below it from being returned


def test_the_peak_is_not_that_of_the_process_which_started_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # what Linux tells of a child of a process of a terabyte
    monkeypatch.setattr("resource.getrusage", lambda _: SimpleNamespace(ru_maxrss=10**9))
    peak = peak_memory(CPU)
    assert peak is not None
    assert peak < 10**11


def test_a_forecast_follows_the_number_of_depths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chain of slabs that is full at 12 depths: what it holds is in the memory, and not in the slope."""

    def sweep(model: PlaneSweep, *_: object, **__: object) -> list[torch.Tensor]:
        return [torch.ones((model.num_depths + 4 * min(model.num_depths, 12)) * 1_000_000)]

    monkeypatch.setattr(cost, "depth_maps", sweep)
    model = PlaneSweep(num_depths=100)
    found = forecast(model, TinyRecording(), Frames(views=(0, 1), counted=(0,)), CPU)
    assert model.num_depths == 100
    assert found is not None
    for num_depths in (60, 100):
        assert found.memory(num_depths) == pytest.approx(KEPT * 4e6 * (num_depths + 48), rel=0.05)


def test_a_forecast_is_a_line() -> None:
    costs = Cost(seconds=1.0, memory=100), Cost(seconds=2.0, memory=140)
    found = Forecast(depths=(16, 32), costs=costs, kept=1.5)
    assert found.seconds(64) == pytest.approx(4.0)
    assert found.memory(64) == int(1.5 * 220)
    assert Forecast(depths=(16, 32), costs=(costs[0], Cost(seconds=0.5, memory=None))).memory(64) is None

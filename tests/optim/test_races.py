"""Races: the end points and steps that their settings lead to, traces that end where they should."""

import re
from functools import partial

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim import SGD, RMSprop
from vo3d.optim.landscapes import LANDSCAPES, beale, star
from vo3d.optim.races import (
    MINIMIZERS,
    RACES,
    MinimizerRace,
    Race,
    Trace,
    noisy,
    plain_six,
    settings_in_words,
    step_of_leaving,
    steps_to_reach,
)

BEALE, SADDLE = LANDSCAPES["beale"], LANDSCAPES["saddle"]
END_POINTS = {  # after 300 steps from (1, 1.5), made with torch's optimisers
    "SGD": (2.610, 0.384),
    "Momentum": (3.016, 0.504),
    "NAG": (3.007, 0.502),
    "Adagrad": (2.820, 0.451),
    "Adadelta": (1.585, 0.496),
    "RMSprop": (2.726, 0.428),
}


@pytest.fixture(scope="module")
def beale_traces() -> dict[str, Trace]:
    return RACES["beale"].run()


def made(*points: tuple[float, float]) -> Trace:
    positions = torch.tensor(points, dtype=torch.float64)
    return Trace(positions, beale(positions), gradients=len(points) - 1)


def escape(trace: Trace) -> int | None:
    """The first step at which |y| > 1."""
    far = (trace.positions[:, 1].abs() > 1).nonzero()
    return int(far[0]) if len(far) else None


def test_beale_ends_at_the_golden_points(beale_traces: dict[str, Trace]) -> None:
    assert list(beale_traces) == list(END_POINTS)
    for name, trace in beale_traces.items():
        assert trace.steps == 300
        assert trace.positions[0].tolist() == [1.0, 1.5]
        assert float(trace.values[0]) == pytest.approx(41.25)
        assert trace.positions[-1].tolist() == pytest.approx(END_POINTS[name], abs=1e-3), name
        assert torch.equal(trace.values, beale(trace.positions))
    assert float(beale_traces["SGD"].values[-1]) == pytest.approx(0.0387, abs=5e-5)
    assert float(beale_traces["Momentum"].values[-1]) == pytest.approx(3.8e-5, abs=5e-7)


def test_the_path_of_nag_is_that_of_its_iterates(beale_traces: dict[str, Trace]) -> None:
    """By the rule itself; the points at which it takes gradients end at another value (7.58e-6)."""
    theta, velocity = torch.tensor([1.0, 1.5], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for step in range(300):
        velocity = 0.9 * velocity + 0.005 * torch.func.grad(beale)(theta - 0.9 * velocity)
        theta = theta - velocity
        assert torch.allclose(beale_traces["NAG"].positions[step + 1], theta, rtol=0, atol=1e-10)
    assert float(beale_traces["NAG"].values[-1]) == pytest.approx(7.82e-6, abs=5e-9)


def test_at_twice_the_rate_momentum_diverges_and_sgd_does_not() -> None:
    traces = RACES["beale_limit"].run()
    for name in ("Momentum", "NAG"):
        assert traces[name].steps < 10, name
        assert float(traces[name].values[-1]) > 1e10
        assert traces[name].positions.isfinite().all()
        assert traces[name].values.isfinite().all()
    assert traces["SGD"].steps == 300
    assert float(traces["SGD"].values[-1]) < 0.01


def test_the_saddle_is_left_in_this_order() -> None:
    outside = {"RMSprop": partial(RMSprop, lr=0.01, eps_inside=False)}  # torch's form of the rule
    traces = Race(SADDLE, plain_six(0.01) | outside, 200).run()
    steps = {name: escape(trace) for name, trace in traces.items()}
    assert steps == {"Adagrad": 3, "Adadelta": 14, "RMSprop": 72, "NAG": 132, "Momentum": 140, "SGD": None}
    assert escape(RACES["saddle"].run()["RMSprop"]) == 73  # eps inside the root, as the survey has it


def test_only_noise_leads_off_the_ridge_of_the_saddle() -> None:
    traces = RACES["saddle_noise"].run()
    for name, trace in traces.items():
        if name.endswith(", noise"):
            assert abs(float(trace.positions[-1, 1])) > 0.3, name
        else:
            assert trace.positions[:, 1].tolist() == [0.0] * 201, name
    assert len(traces) == 12
    again = Race(RACES["saddle_noise"].landscape, noisy(plain_six(0.01), seed=0), 200).run()
    assert torch.equal(again["SGD, noise"].positions, traces["SGD, noise"].positions)
    other = Race(RACES["saddle_noise"].landscape, noisy(plain_six(0.01), seed=1), 200).run()
    assert not torch.equal(other["SGD, noise"].positions, traces["SGD, noise"].positions)


def test_all_reach_the_star_and_stop_there() -> None:
    shown = RACES["star"]
    assert shown.within == 0.05
    target = torch.tensor(shown.landscape.minima[0], dtype=torch.float64)
    for name, trace in shown.run().items():
        distances = (trace.positions - target).norm(dim=1)
        assert float(distances[-1]) < 0.05 <= float(distances[:-1].min()), name
        assert steps_to_reach(trace, shown.landscape.minima, 0.05) == trace.steps < shown.steps
        assert steps_to_reach(trace, shown.landscape.minima, 1e-9) is None


def test_every_first_order_method_of_the_survey_races() -> None:
    assert list(RACES["beale_nine"].racers) == [*END_POINTS, "Adam", "AdaMax", "Nadam"]
    for shown in RACES.values():
        if isinstance(shown, Race):
            short = Race(shown.landscape, shown.racers, 5).run()
            assert all(trace.steps == trace.gradients == 5 for trace in short.values())
            assert all(trace.values.isfinite().all() for trace in short.values())


def test_methods_with_curvature_race_too() -> None:
    shown = RACES["beale_second"]
    assert isinstance(shown, MinimizerRace)
    traces = shown.run()
    assert list(traces) == list(shown.settings()) == list(MINIMIZERS)
    for name, trace in traces.items():
        assert trace.positions[0].tolist() == [1.0, 1.5]
        assert torch.allclose(trace.values, beale(trace.positions), rtol=1e-12, atol=0)
        assert trace.gradients >= trace.steps
        end = torch.tensor((0.0, 1.0) if name == "Newton, pure" else (3.0, 0.5), dtype=torch.float64)
        if name != "gradient descent":  # which is still on its way
            assert float((trace.positions[-1] - end).abs().max()) < 1e-4, name
        assert (trace.hessian_products > 0) == name.startswith("Newton")
    assert shown.settings()["BFGS"] == "step length: strong wolfe"
    assert shown.settings()["Newton, pure"] == "step length: fixed"


def test_a_trace_leaves_the_domain_for_good() -> None:
    assert step_of_leaving(made((1, 1.5), (9, 0), (2, 2), (1, 4.6), (1, 5)), BEALE) == 3
    assert step_of_leaving(made((1, 1.5), (9, 0), (4.5, -4.5)), BEALE) is None


def test_settings_are_told_with_those_that_nobody_set() -> None:
    six = plain_six(0.005)
    assert settings_in_words(six["SGD"]) == "lr 0.005"
    assert settings_in_words(six["Momentum"]) == "lr 0.005, momentum 0.9, form accumulated"
    assert settings_in_words(six["Adagrad"]) == "lr 0.5, eps 1e-08"
    assert settings_in_words(six["RMSprop"]) == "lr 0.01, alpha 0.9, eps 1e-08, eps_inside True"
    noise = settings_in_words(noisy({"SGD": partial(SGD, lr=0.1)}, seed=3)["SGD, noise"])
    assert noise == "lr 0.1, noise eta 0.3, noise gamma 0.55, noise seed 3"
    told = {name: settings_in_words(racer) for name, racer in RACES["beale_nine"].racers.items()}
    assert all(re.search(r"\blr [\d.e-]+", words) for words in told.values())
    assert told["Adam"] == "lr 0.05, betas 0.9 and 0.999, eps 1e-08"
    assert "variant ruder" in told["Nadam"]


def test_a_race_is_refused_in_one_line() -> None:
    racers = {"SGD": partial(SGD, lr=0.1)}
    with pytest.raises(Vo3dError, match="a race of 0 steps: expected at least 1"):
        Race(BEALE, racers, 0).run()
    with pytest.raises(Vo3dError, match="saddle has no minimum that a race could end at"):
        Race(SADDLE, racers, 5, within=0.1).run()


def test_a_racer_may_start_where_it_would_end() -> None:
    landscape = star(seed=5)
    at_home = type(landscape)(**{**vars(landscape), "start": landscape.minima[0]})
    trace = Race(at_home, {"SGD": partial(SGD, lr=0.1)}, 5, within=0.01).run()["SGD"]
    assert trace.steps == 0
    assert trace.values.tolist() == [0.0]
    assert isinstance(trace.positions, Tensor)

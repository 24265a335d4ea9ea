"""Pictures of races: labelled, complete legends, unharmed by what diverges; moving ones small, their colours exact."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vo3d.errors import Vo3dError
from vo3d.optim import SGD, Momentum
from vo3d.optim.landscapes import LANDSCAPES
from vo3d.optim.races import RACES, Race, Trace, adam_kin, plain_six
from vo3d.report.canvas import COLOURS
from vo3d.report.races import (
    METHODS,
    method_styles,
    plot_race,
    plot_race_on_surface,
    steps_shown,
    up_to_the_edge,
    write_race_gif,
)

BEALE, SADDLE = LANDSCAPES["beale"], LANDSCAPES["saddle"]


@pytest.fixture(scope="module")
def nine() -> dict[str, Trace]:
    return Race(BEALE, plain_six(0.005) | adam_kin(0.05), 20).run()


@pytest.fixture(scope="module")
def saddle() -> dict[str, Trace]:
    return RACES["saddle"].run()


def legend(figure: Any) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]


def test_axes_are_labelled_and_the_legend_names_every_racer(nine: dict[str, Trace]) -> None:
    figure = plot_race(BEALE, nine)
    left, right = figure.axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("x", "y")
    assert (right.get_xlabel(), right.get_ylabel()) == ("step", "f (log scale)")
    assert left.get_title(loc="left") == BEALE.title
    assert legend(figure) == [*METHODS, "start", "saddle", "minimum"]
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert all(not box.overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_start_saddle_and_minimum_are_where_they_are(nine: dict[str, Trace]) -> None:
    left = plot_race(BEALE, nine).axes[0]
    marked = {line.get_label(): line.get_xydata()[0].tolist() for line in left.lines if len(line.get_xydata()) == 1}
    assert marked["start"] == [1.0, 1.5]
    assert marked["saddle"] == [0.0, 1.0]
    assert marked["minimum"] == [3.0, 0.5]
    (x0, x1), (y0, y1) = left.get_xlim(), left.get_ylim()
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in (marked[name] for name in ("start", "saddle", "minimum")))
    for trace in nine.values():
        inside = (trace.positions >= torch.tensor([x0, y0])) & (trace.positions <= torch.tensor([x1, y1]))
        assert inside.all()


def test_nine_methods_have_nine_colours_and_keep_them() -> None:
    styles = method_styles(METHODS)
    for key in ("color", "marker"):
        assert len({str(style[key]) for style in styles.values()}) == 9
    assert [style["color"] for style in styles.values()][:6] == list(COLOURS)
    assert method_styles(["Nadam", "SGD, noise"]) == {"Nadam": styles["Nadam"], "SGD, noise": styles["SGD"]}
    others = method_styles([f"method {number}" for number in range(12)])
    looks = {(str(style["color"]), str(style["linestyle"])) for style in others.values()}
    assert len(looks) == 12


def test_what_diverges_leaves_the_scales_alone_and_the_legend_says_when() -> None:
    racers = {"SGD": partial(SGD, lr=0.01), "Momentum": partial(Momentum, lr=0.01)}
    traces = Race(BEALE, racers, 50).run()
    assert float(traces["Momentum"].values.max()) > 1e80
    figure = plot_race(BEALE, traces)
    assert legend(figure)[:2] == ["SGD", "Momentum (left the picture at step 7)"]
    left, right = figure.axes
    assert right.get_ylim()[1] < 1e3
    assert right.get_xlim()[1] < 52
    assert left.get_xlim()[1] <= 4.5
    assert all(np.abs(line.get_xydata()).max() <= 4.5 for line in left.lines if len(line.get_xydata()))


def test_a_path_ends_on_the_edge_where_its_last_step_crosses_it() -> None:
    positions = torch.tensor([[1.0, 0.0], [0.5, 1.0], [-0.5, 2.0], [9.0, 9e40]], dtype=torch.float64)
    trace = Trace(positions, SADDLE.function(positions), gradients=3)
    points, gone = up_to_the_edge(trace, SADDLE)
    assert gone
    assert points[:, :2].tolist() == [[1.0, 0.0], [0.5, 1.0], [0.0, 1.5]]
    assert points[-1, 2] == -2.25
    stays = Trace(positions[:2], SADDLE.function(positions[:2]), gradients=1)
    assert not up_to_the_edge(stays, SADDLE)[1]


def test_arrivals_are_told(saddle: dict[str, Trace]) -> None:
    star = RACES["star"]
    assert isinstance(star, Race)
    traces = Race(star.landscape, {"SGD": star.racers["SGD"], "Adagrad": star.racers["Adagrad"]}, 100, 0.05).run()
    names = legend(plot_race(star.landscape, traces, within=0.05))
    assert names == ["SGD (not there)", "Adagrad (there at step 37)", "start", "minimum"]
    names = legend(plot_race(SADDLE, saddle))
    assert names[:2] == ["SGD", "Momentum (left the picture at step 144)"]


def test_the_surface_has_three_labelled_axes(saddle: dict[str, Trace]) -> None:
    figure = plot_race_on_surface(SADDLE, saddle)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()) == ("x", "y", "f")
    assert [name.partition(" (")[0] for name in legend(figure)] == [*saddle, "start", "saddle"]


def test_early_steps_are_shown_singly() -> None:
    shown = steps_shown(300, 60)
    assert shown[:4] == [0, 1, 2, 3]
    assert shown[-1] == 300
    assert shown == sorted(set(shown))
    assert 45 <= len(shown) <= 60


@pytest.mark.parametrize("surface", [False, True])
def test_a_moving_picture_loops_is_small_and_keeps_the_colours(
    tmp_path: Path, saddle: dict[str, Trace], surface: bool
) -> None:
    path = write_race_gif(tmp_path / "race.gif", SADDLE, saddle, surface=surface, frames=12)
    assert path.stat().st_size < 500_000
    with Image.open(path) as picture:
        assert picture.n_frames == len(steps_shown(200, 12))
        assert picture.info["loop"] == 0
        first = np.asarray(picture.convert("RGB")).astype(int)
        picture.seek(picture.n_frames - 1)
        last = np.asarray(picture.convert("RGB")).astype(int)
    assert (first != last).any()
    for colour in COLOURS:  # exact, in the legend and in the paths
        wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (np.abs(last - wanted).max(-1) <= 1).sum() > 20, colour


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path, saddle: dict[str, Trace]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Vo3dError, match=r"race\.gif: File exists"):
        write_race_gif(blocked / "race.gif", SADDLE, {"SGD": saddle["SGD"]}, frames=3)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

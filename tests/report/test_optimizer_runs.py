"""Figures of one network trained by several optimisers."""

import math

import pytest

from vo3d.errors import Vo3dError
from vo3d.report.optimizer_runs import Band, plot_bands, plot_rates

NAMES = ("SGD", "Momentum", "NAG", "Adagrad", "Adadelta", "RMSprop", "Adam")


def test_each_optimiser_has_a_panel_with_its_band_before_the_means_of_the_others() -> None:
    bands = {
        name: Band([0, 10, 20], [1.0, 0.5, 0.1 * (place + 1)], [0.9, 0.4, 0.1], [1.1, 0.6, 0.9])
        for place, name in enumerate(NAMES)
    }

    figure = plot_bands(bands, "validation loss")

    assert [axes.get_title(loc="left") for axes in figure.axes] == list(NAMES)
    for axes, name in zip(figure.axes, NAMES, strict=True):
        means = [list(line.get_ydata()) for line in axes.lines if len(line.get_ydata())]
        assert means[-1] == bands[name].mean
        assert sorted(means) == sorted(list(band.mean) for band in bands.values())
        corners = axes.collections[0].get_paths()[0].vertices
        assert (corners[:, 1].min(), corners[:, 1].max()) == (0.1, 1.1)
        assert axes.get_yscale() == "log"
        low, high = axes.get_ylim()
        assert low < 0.1
        assert high > 1.1
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["mean of each other optimiser", "mean of the seeds", "least to largest"]


@pytest.mark.parametrize(
    ("count", "lowest", "first"),
    [(7, ["Adadelta", "RMSprop", "Adam"], ["SGD", "Adagrad", "Adam"]), (4, ["NAG", "Adagrad"], ["SGD", "NAG"])],
)
def test_axes_are_named_at_the_borders(count: int, lowest: list[str], first: list[str]) -> None:
    bands = {name: Band([0, 1], [1.0, 0.5], [1.0, 0.5], [1.0, 0.5]) for name in NAMES[:count]}

    figure = plot_bands(bands, "loss")

    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_xlabel()] == lowest
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_ylabel()] == first


def test_rates_have_a_line_of_means_each_and_crosses_where_a_run_diverged() -> None:
    tried = {
        "SGD": {1.0: [math.inf, 0.1], 0.1: [0.1, 0.3], 0.01: [0.4, 0.4]},
        "Adam": {1e-3: [0.1, 0.1], 1e-2: [0.2, 0.4]},
    }

    figure = plot_rates(tried, "validation loss")

    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["SGD"].get_xdata()) == [0.01, 0.1]
    assert list(lines["SGD"].get_ydata()) == pytest.approx([0.4, 0.2])
    assert list(lines["Adam"].get_ydata()) == pytest.approx([0.1, 0.3])
    strokes = [line for line in axes.lines if list(line.get_xdata()) == [0.1, 0.1]]
    assert [list(line.get_ydata()) for line in strokes] == [[0.1, 0.3]]
    crosses = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[1.0]]
    assert 0.4 < crosses[0].get_ydata()[0] < axes.get_ylim()[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SGD", "Adam", "a run diverged"]
    whole = plot_rates({"Adam": tried["Adam"]}, "validation loss")
    assert [text.get_text() for text in whole.legends[0].get_texts()] == ["Adam"]


def test_figures_of_nothing_are_refused() -> None:
    with pytest.raises(Vo3dError, match="expected those of at least one"):
        plot_bands({}, "loss")
    with pytest.raises(Vo3dError, match="expected at least one run that did not diverge"):
        plot_rates({"SGD": {1.0: [math.inf, math.inf]}}, "loss")

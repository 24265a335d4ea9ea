"""The figure and the table of the data regimes."""

import csv
from itertools import pairwise
from pathlib import Path

import pytest

from vo3d.errors import Vo3dError
from vo3d.pipelines.optimizers.regimes import CASES, descend, run_regimes
from vo3d.report.regimes import RegimeCurve, plot_regimes


def test_the_table_holds_every_update_of_every_regime(tmp_path: Path) -> None:
    picture, table = run_regimes(tmp_path, updates=12)

    assert picture.read_bytes().startswith(b"\x89PNG")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * len(CASES)
    last = [(row["regime"], row["batch_size"], row["samples"]) for row in rows if row["update"] == "12"]
    assert last == [
        ("sample", "1", "12"),
        ("stochastic", "1", "12"),
        ("mini_batch", "10", "120"),
        ("mini_batch", "50", "600"),
        ("batch", "500", "6000"),
    ]
    assert {row["loss"] for row in rows if row["regime"] == "batch"} == {
        repr(loss) for loss in descend("batch", 1, 12).loss
    }


def test_a_batch_descends_steadily_and_single_samples_do_not() -> None:
    """The survey's statement about the variance of stochastic gradient descent."""

    def rises(regime: str, batch_size: int) -> float:
        loss = descend(regime, batch_size, 300).loss
        return sum(max(after - before, 0.0) for before, after in pairwise(loss))

    assert rises("batch", 1) == 0
    assert rises("stochastic", 1) > 5 * rises("mini_batch", 10) > 0
    assert rises("mini_batch", 10) > 2 * rises("mini_batch", 50)


def test_the_figure_shows_losses_over_samples_and_updates() -> None:
    curves = {"one": RegimeCurve([1, 2, 3], [0.6, 0.7, 0.5]), "all": RegimeCurve([9, 18, 27], [0.6, 0.5, 0.4])}

    figure = plot_regimes(curves)

    left, right = figure.axes
    assert [list(line.get_xdata()) for line in left.lines] == [[1, 2, 3], [9, 18, 27]]
    assert [list(line.get_xdata()) for line in right.lines] == [[1, 2, 3], [1, 2, 3]]
    assert [list(line.get_ydata()) for line in right.lines] == [curve.loss for curve in curves.values()]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "all"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("samples seen (log scale)", "updates (log scale)")
    with pytest.raises(Vo3dError, match="expected those of at least one"):
        plot_regimes({})

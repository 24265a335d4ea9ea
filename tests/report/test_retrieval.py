"""Retrieval in reports: what figures hold, which queries are chosen, and what is told where something is missing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_hex

from tiny_places import Swatches
from vo3d.errors import Vo3dError
from vo3d.formats.places import Distances, FoundPlaces
from vo3d.metrics.retrieval import NEVER
from vo3d.report.canvas import line_styles
from vo3d.report.html import Picture, Text
from vo3d.report.retrieval import Searched, retrieval_sections
from vo3d.report.retrieval_figures import RIGHT, WRONG, Found, plot_distances, plot_found, plot_places, plot_recalls

pytestmark = pytest.mark.usefixtures("coarse_figures")
NUM = 40


def searched(wrong: tuple[int, ...] = (0, 1, 30)) -> Searched:
    """Query i finds image i, but for some that find the image behind it; the distance grows with i."""
    index = torch.stack((torch.arange(NUM), torch.arange(NUM) + 1), 1)
    index[list(wrong)] = index[list(wrong)].flip(1)
    right = index == torch.arange(NUM)[:, None]
    table = FoundPlaces(
        queries=[f"q{number}" for number in range(NUM)],
        num_right=torch.ones(NUM, dtype=torch.long),
        first_right=right.int().argmax(1) + 1,
        images=[[f"d{at}" for at in row] for row in index.tolist()],
        index=index,
        squared=0.01 * torch.arange(1, NUM + 1)[:, None].double() + torch.tensor([0.0, 0.1]).double(),
        right=right,
    )
    every = torch.arange(NUM)
    return Searched(
        table,
        Distances(
            squared=torch.rand(NUM, NUM + 1, generator=torch.Generator().manual_seed(0)),
            query=every,
            database=torch.arange(NUM + 1),
            matches=torch.stack((every, every), 1),
            sizes=(NUM, NUM + 1),
            recordings=("s_queries", "s_database"),
        ),
        {1: 90.0, 2: 100.0},
    )


def recordings(queries: int = NUM) -> list[Swatches]:
    return [
        Swatches("s_database", [2.0 * number for number in range(NUM + 1)]),
        Swatches("s_queries", [2.0 * number for number in range(queries)]),
    ]


def test_sections_tell_what_is_drawn(tmp_path: Path) -> None:
    sections = [*retrieval_sections({"A": {"s": searched()}}, {"A": recordings()}, tmp_path)]
    assert [one.title for one in sections] == [
        "Recall and precision",
        "Best and worst queries",
        "Distances",
        "Where places were found",
    ]
    pictures = [part for one in sections for part in one.parts]
    assert all(isinstance(part, Picture) and part.path.is_file() for part in pictures)
    blind = [replace_positions(one) for one in recordings()]
    assert len([*retrieval_sections({"A": {"s": searched()}}, {"A": blind}, tmp_path)]) == 3  # no map


def replace_positions(one: Swatches) -> Swatches:
    one.placed = False
    return one


def test_the_chosen_queries_are_the_nearest_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[list[Found | None]]] = []

    def keep(rows: list[list[Found | None]]) -> object:
        drawn.append(rows)
        return plot_found(rows)

    monkeypatch.setattr("vo3d.report.retrieval.plot_found", keep)
    [*retrieval_sections({"A": {"s": searched()}}, {"A": recordings()}, tmp_path)]
    names = [[row[0].title for row in rows if row[0] is not None] for rows in drawn]
    assert names == [["query q2", "query q4", "query q6", "query q8"], ["query q0", "query q30"]]  # 1 is beside 0
    assert [one.right for one in drawn[1][0][1:3] if one is not None] == [False, True]
    last = drawn[1][1][-1]
    assert last is not None
    assert (last.title, last.below) == ("000030", "right, rank 2")


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    sections = [*retrieval_sections({"A": {"s": searched(())}}, {}, tmp_path)]
    assert [part.text for part in sections[1].parts if isinstance(part, Text)] == [
        "No images of A are shown: none of its recordings was given to this report."
    ]
    sections = [*retrieval_sections({"A": {"s": searched(())}}, {"A": recordings()}, tmp_path)]
    assert "A: no best match is wrong." in [part.text for part in sections[1].parts if isinstance(part, Text)]
    with pytest.raises(Vo3dError, match="s_queries has 7 images and had 40 when it was evaluated"):
        [*retrieval_sections({"A": {"s": searched()}}, {"A": recordings(7)}, tmp_path)]
    one = searched()
    lost = replace(
        one.table,
        num_right=one.table.num_right.clone().index_fill(0, torch.arange(3), 0),
        first_right=one.table.first_right.clone().index_fill(0, torch.arange(3), NEVER),
    )
    sections = [*retrieval_sections({"A": {"s": replace(one, table=lost)}}, {"A": recordings()}, tmp_path)]
    assert "There are 3 of 40 in s." in str(sections[0].parts[0])


def test_figures_hold_what_was_found() -> None:
    recalls = {"s": {"A": {1: 50.0, 5: 75.0}, "B": {1: 10.0, 5: 20.0}}}
    axes = plot_recalls(recalls, line_styles(["A", "B"])).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[50, 75], [10, 20]]
    one = searched()
    right = one.table.first_right == 1
    lines = plot_distances({"s": (one.distances, right, one.table.index[:, 0])}).axes[0].lines
    of = {line.get_label(): line for line in lines}
    assert of["best match, wrong"].get_xydata().tolist() == [[1, 0], [2, 1], [31, 30]]
    assert len(of["best match, right"].get_xydata()) == NUM - 3
    image = torch.zeros(3, 4, 6)
    borders = plot_found([[Found("q", "", image), Found("a", "", image, True), Found("b", "", image, False)]]).axes
    colours = [to_hex(each.spines["left"].get_edgecolor()).upper() for each in borders[1:]]
    assert colours == [RIGHT, WRONG]
    assert not borders[0].spines["left"].get_visible()
    database, queries = (each.positions() for each in recordings())
    assert database is not None
    assert queries is not None
    drawn = {
        line.get_label(): len(line.get_xdata())
        for line in plot_places({"A": right}, queries, database, (0, 1)).axes[0].lines
    }
    assert drawn == {"database": NUM + 1, "query, right": NUM - 3, "query, wrong": 3}

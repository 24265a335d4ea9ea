"""Pictures of why pixels were dropped: each outcome has a colour of its own, and the legend its share."""

import torch

from vo3d.depth_map import Outcome
from vo3d.report.outcomes import PAINT, colour_outcomes, plot_outcomes


def test_each_outcome_has_its_colour_and_its_share() -> None:
    outcomes = torch.tensor([list(Outcome), [Outcome.KEPT] * len(Outcome)], dtype=torch.uint8)
    image = colour_outcomes(outcomes)
    assert len({tuple(colour) for colour in image[:, 0].T.tolist()}) == len(Outcome) == len(PAINT)
    figure = plot_outcomes({"a_1": outcomes, "b": outcomes[1:]})
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[0] == f"a point: {100 * (1 + 9 + 9) / 27:.1f} %"
    assert labels[1:] == [
        f"{outcome.words}: {100 / 27:.1f} %" for outcome in reversed(Outcome) if outcome != Outcome.KEPT
    ]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a_1: 56 %", "b: 100 %"]

"""Pictures of depth say what is there, what is missing and how far it is from the truth; no text covers another."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from torch import Tensor

from vo3d.depth_map import DepthMap, Outcome, Planes
from vo3d.errors import Vo3dError
from vo3d.report import depth
from vo3d.report.depth import colour_depth, depth_limits, plot_contact_sheet

LONG = "scan 118, " + "W" * 60 + ", light 3"


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of few pixels: the layout is in inches and points, and drawing is faster."""
    monkeypatch.setattr("vo3d.report.canvas.DPI", 70)


def view(name: str = "frame 7", size: tuple[int, int] = (24, 32), seed: int = 0, **changes: Any) -> DepthMap:
    """A view four times finer than its maps, whose depth is up to 3 % wrong, with holes in depth and truth."""
    random = torch.Generator().manual_seed(seed)
    truth = 1 + torch.rand(size, generator=random)
    found = truth * (1 + 0.06 * (torch.rand(size, generator=random) - 0.5))
    truth[:2], found[5:9, 5:9] = 0, 0
    given: dict[str, Any] = {
        "name": name,
        "image": torch.rand(3, 4 * size[0], 4 * size[1], generator=random),
        "depth": found,
        "confidence": torch.rand(size, generator=random),
        "truth": truth,
        "planes": None,
    }
    return DepthMap(**(given | changes))


def panels(figure: Any) -> list[Any]:
    """Axes with a picture and a title, in their order."""
    return [axes for axes in figure.axes if axes.get_title(loc="left")]


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in panels(figure)]


def pixels(axes: Any) -> np.ndarray:
    """The colours of a picture as they are drawn, (h, w, 3)."""
    (image,) = axes.get_images()
    return np.asarray(image.to_rgba(image.get_array()))[..., :3]


def faults(figure: Any) -> list[str]:
    """Texts that cover one another or a picture, or leave the figure."""
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = {f"{text.get_text()!r} #{place}": text.get_window_extent() for place, text in enumerate(texts)}
    boxes |= {f"picture {place}": axes.get_window_extent() for place, axes in enumerate(panels(figure))}
    found = [f"{one} covers {other}" for one, other in combinations(boxes, 2) if boxes[one].overlaps(boxes[other])]
    width, height = figure.bbox.width, figure.bbox.height
    for name, box in boxes.items():
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width + 0.5 or box.y1 > height + 0.5:
            found.append(f"{name} leaves the figure")
    return found


def test_colours_span_the_depths_and_holes_are_grey() -> None:
    values = torch.linspace(2, 4, 101).reshape(1, -1).repeat(3, 1)
    values[1, :50] = torch.tensor([0.0, -1.0, torch.nan, torch.inf, -torch.inf]).repeat(10)
    image = colour_depth(values, (2.5, 3.5)).permute(1, 2, 0).numpy()
    ramp = colormaps["viridis"]
    np.testing.assert_allclose(image[0, 50], ramp(0.5)[:3], atol=1e-6)
    np.testing.assert_allclose(image[0, [0, 100]], [ramp(0.0)[:3], ramp(1.0)[:3]], atol=1e-6)
    np.testing.assert_allclose(image[1, :50], np.tile(to_rgb(depth.HOLE), (50, 1)), atol=1e-6)
    low, high = depth_limits([values, torch.zeros(2, 2)])
    assert (low, high) == pytest.approx((2.02, 3.98), abs=0.02)
    assert depth_limits([torch.zeros(4, 5)]) == (0.0, 1.0)
    assert torch.isfinite(colour_depth(torch.full((4, 5), 3.0))).all()


def test_no_colour_of_depth_is_near_the_grey_of_holes() -> None:
    """Compared in CIELAB, where a distance of 2.3 is just seen (Mahy et al., 1994)."""
    for name in set(depth.MAPS.values()):
        colours = np.concatenate((colormaps[name](np.linspace(0, 1, 256))[:, :3], [to_rgb(depth.HOLE)]))
        lab = _lab(colours)
        assert np.linalg.norm(lab[:-1] - lab[-1], axis=1).min() > 20, name
        assert (np.diff(lab[:-1, 0]) > -0.3).all() or (np.diff(lab[:-1, 0]) < 0.3).all(), name  # lightness only grows


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB, white point D65."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack((116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])), -1)


def test_errors_are_in_intervals_or_percent_and_counted_in_the_title() -> None:
    truth, found = torch.full((10, 10), 2.0), torch.full((10, 10), 2.0)
    found[0] = 2.015  # 0.75 %, half an interval of 0.03
    found[1] = 1.96  # 2 %, one and a third
    found[2], truth[3] = 0, 0
    percent = view(depth=found, truth=truth, confidence=None)
    intervals = replace(percent, planes=Planes(near=1.0, far=1.03, num=2, inverse=False))
    assert depth.depth_error(percent) is not None
    assert depth.depth_error(intervals) is not None
    assert depth.depth_error(percent)[:2, 0].tolist() == pytest.approx([0.75, 2.0], abs=1e-4)
    assert depth.depth_error(intervals)[:2, 0].tolist() == pytest.approx([0.5, 4 / 3], abs=1e-4)
    assert torch.equal(depth.depth_error(percent).isnan().nonzero()[:, 0].unique(), torch.tensor([2, 3]))
    assert depth.percent_within(percent) == pytest.approx(100 * 7 / 8)
    assert titles(plot_contact_sheet([percent]))[-1] == "error: 87.5 % within 1 %"
    figure = plot_contact_sheet([intervals])
    assert titles(figure)[-1] == "error: 87.5 % within 1 interval"
    drawn = pixels(panels(figure)[-1])
    assert drawn[2, 0] == pytest.approx(to_rgb(depth.HOLE))
    assert drawn[3, 0] == pytest.approx(to_rgb(depth.HOLE))
    assert len({tuple(drawn[row, 0]) for row in (0, 1, 4)}) == 3  # below 1, below 2, below 0.5


def test_steps_of_errors_are_those_that_are_asked_for() -> None:
    truth = torch.full((10, 10), 2.0)
    found = truth.clone()
    found[:4], found[4] = 2.4, 2.8  # 20 and 40 %, 4 and 8 intervals of 0.1
    percent = view(depth=found, truth=truth, confidence=None)
    figure = plot_contact_sheet([percent], steps=(0.0, 10.0, 25.0, 50.0), within=25.0)
    assert titles(figure)[-1] == "error: 90.0 % within 25 %"
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["0", "10", "25", "50"]
    drawn = pixels(panels(figure)[-1])
    assert len({tuple(drawn[row, 0]) for row in (0, 4, 5)}) == 3
    intervals = replace(percent, planes=Planes(near=1.0, far=1.1, num=2, inverse=False))
    assert depth.percent_within(intervals, 5.0) == 90
    assert titles(plot_contact_sheet([intervals], within=3.0))[-1] == "error: 50.0 % within 3 intervals"


def test_depth_is_drawn_in_the_scale_of_the_truth() -> None:
    wrong = view()
    wrong = replace(wrong, depth=3 * wrong.depth)
    axes = panels(plot_contact_sheet([wrong]))
    limits = [one.get_images()[0].get_clim() for one in (axes[1], axes[3])]
    assert wrong.truth is not None
    assert limits[0] == limits[1] == pytest.approx(depth_limits([wrong.truth]))
    blind = panels(plot_contact_sheet([replace(wrong, truth=None)]))
    assert blind[1].get_images()[0].get_clim() == pytest.approx(depth_limits([wrong.depth]))


def test_without_a_truth_depth_is_drawn_in_the_scale_of_what_lies_within_the_range() -> None:
    found = torch.full((6, 8), 400.0)  # a sky at the far end
    found[:2] = torch.linspace(2.0, 4.0, 16).reshape(2, 8)
    fates = torch.full((6, 8), Outcome.END, dtype=torch.uint8)
    fates[0], fates[1] = Outcome.KEPT, Outcome.UNCONFIRMED
    some = view(depth=found, truth=None, confidence=None)
    drawn = panels(plot_contact_sheet([some], outcomes=[fates]))[1].get_images()[0]
    assert drawn.get_clim() == pytest.approx(depth_limits([found[:2]]))
    nothing = panels(plot_contact_sheet([some], outcomes=[torch.zeros_like(fates)]))[1].get_images()[0]
    assert nothing.get_clim() == pytest.approx(depth_limits([found]))


def test_a_sheet_has_a_row_for_each_view_and_a_scale_for_each_column() -> None:
    views = [view(f"frame {place}", seed=place) for place in range(3)]
    views[1] = replace(views[1], truth=None, confidence=None)
    figure = plot_contact_sheet(views, min_confidence=0.5)
    heads = [title.partition(":")[0] for title in titles(figure)]
    assert sorted(heads) == sorted(
        ["frame 0", "frame 1", "frame 2"] + 3 * ["depth"] + 2 * ["confidence", "truth", "error"]
    )
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert labels == ["depth (m)", "confidence", "truth (m)", "error (%)"]
    assert views[0].confidence is not None
    share = 100 * (views[0].confidence >= 0.5).double().mean().item()
    assert f"confidence: {share:.0f} % \N{GREATER-THAN OR EQUAL TO} 0.5" in titles(figure)
    assert f"depth: {100 * (1 - 16 / 768):.0f} % of pixels" in titles(figure)
    for kind in ("depth", "confidence"):
        found = [axes.get_images()[0] for axes in panels(figure) if axes.get_title(loc="left").startswith(kind)]
        assert len({image.get_clim() for image in found}) == 1
    unknown = plot_contact_sheet(views[:1], unit="")
    assert [axes.get_xlabel() for axes in unknown.axes if axes.get_xlabel()][::2] == ["depth", "truth"]


def test_the_legend_explains_the_grey_where_there_is_some() -> None:
    figure = plot_contact_sheet([view()])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no value"]
    whole = replace(view(truth=None), depth=torch.ones(24, 32))
    assert plot_contact_sheet([whole]).legends == []


@pytest.mark.parametrize("size", [(24, 32), (12, 40), (40, 24)])
@pytest.mark.parametrize("count", [1, 4])
def test_no_text_covers_another_text_or_a_picture(size: tuple[int, int], count: int) -> None:
    views = [view(LONG if place % 2 == 0 else "a", size, place) for place in range(count)]
    assert faults(plot_contact_sheet(views, min_confidence=0.8)) == []
    assert faults(plot_contact_sheet([replace(one, truth=None, confidence=None) for one in views])) == []
    if count == 1:
        assert (
            faults(plot_contact_sheet([replace(views[0], planes=Planes(near=1.0, far=1.01, num=2, inverse=False))]))
            == []
        )


def test_pictures_of_a_row_stand_on_one_line() -> None:
    figure = plot_contact_sheet([view(size=(40, 24)), view(size=(24, 32)), view(size=(12, 40))])
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in panels(figure)]
    for row in range(3):
        tops = [boxes[5 * row + column].y1 for column in range(5)]
        assert max(tops) - min(tops) < 1.5
    assert faults(figure) == []


def test_pictures_fill_most_of_the_sheet_and_keep_their_shape() -> None:
    figure = plot_contact_sheet([view(seed=place) for place in range(4)])
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in panels(figure)]
    assert sum(box.width * box.height for box in boxes) > 0.5 * figure.bbox.width * figure.bbox.height
    for box in boxes:
        assert box.height / box.width == pytest.approx(24 / 32, rel=0.02)


@pytest.mark.parametrize("what", ["depth", "truth"])
def test_a_view_without_any_value_is_drawn(what: str) -> None:
    nothing: Tensor = torch.zeros(24, 32)
    figure = plot_contact_sheet([replace(view(), **{what: nothing})])
    assert faults(figure) == []
    assert titles(figure)[-1] == "error: nothing to compare"


def test_what_cannot_be_shown_together_is_said() -> None:
    with pytest.raises(Vo3dError, match="at least one"):
        plot_contact_sheet([])
    with pytest.raises(Vo3dError, match="one unit of errors"):
        plot_contact_sheet([view(), view(planes=Planes(near=1.0, far=1.1, num=2, inverse=False))])

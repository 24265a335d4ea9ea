"""Pictures of tracks: lines from frames to a path never cross, gaps are dotted; the film that frames come from."""

from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from vo3d.report.film import Film
from vo3d.report.tracks import GUESS, Walk, plot_frames, plot_path


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 40)


def walk(count: int = 60, missing: tuple[int, ...] = (), *, truth: bool = False) -> Walk:
    """A path that winds, in the axes of its first camera."""
    steps = torch.randn(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    position = steps.cumsum(0) - steps[0]
    known = torch.ones(count, dtype=torch.bool)
    known[[*missing]] = False
    return Walk(
        position=position,
        known=known,
        stamps=torch.arange(count, dtype=torch.float64) / 10,
        clock="time (s)",
        unit="m",
        truth=position + 0.1 if truth else None,
    )


def film(count: int, most: int = 64) -> Film:
    """Frames of one shade each, of which the red tells the place."""
    made = Film(most=most)
    for place in range(count):
        made.add(torch.full((3, 30, 40), place / count))
    return made


def crosses(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two segments have a point in common that is no end of both."""

    def side(line: NDArray[np.float64], point: NDArray[np.float64]) -> float:
        (ax, ay), (bx, by) = line
        return float((bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax))

    return side(one, other[0]) * side(one, other[1]) < -1e-9 and side(other, one[0]) * side(other, one[1]) < -1e-9


@pytest.mark.parametrize("count", [2, 7, 60, 200])
def test_lines_from_frames_to_the_path_do_not_cross(count: int) -> None:
    figure = plot_frames(walk(count), film(count))
    shown = min(count, 10)
    assert len(figure.axes) == shown + 1
    size = np.array(figure.get_size_inches())
    leaders = [line.get_xydata() * size for line in figure.artists]
    assert len(leaders) == shown
    assert not [pair for pair in combinations(leaders, 2) if crosses(*pair)]
    assert {text.get_text() for text in figure.axes[0].texts} == {str(number + 1) for number in range(shown)}


def test_a_path_breaks_at_gaps_and_both_views_have_one_scale() -> None:
    figure = plot_path(walk(missing=(10, 11, 40), truth=True))
    scales = []
    for panel in figure.axes[:2]:
        (lines,) = [one for one in panel.collections if isinstance(one, LineCollection)]
        assert len(lines.get_segments()) == 59 - 3 - 2
        guesses = [line for line in panel.lines if line.get_color() == GUESS["color"]]
        assert len(guesses) == 2
        assert [len(line.get_xdata()) for line in guesses] == [2, 2]
        scales.append(panel.get_window_extent().width / np.ptp(panel.get_xlim()))
        scales.append(panel.get_window_extent().height / np.ptp(panel.get_ylim()))
    assert scales == pytest.approx([scales[0]] * 4, rel=0.02)
    position = walk().position.numpy()
    above, side = (
        next(one for one in panel.collections if isinstance(one, LineCollection)) for panel in figure.axes[:2]
    )
    np.testing.assert_allclose(above.get_segments()[0], position[:2][:, [0, 2]])
    np.testing.assert_allclose(side.get_segments()[0], position[:2][:, [2, 1]] * [1, -1])


def test_a_film_keeps_frames_at_even_distances_and_both_ends() -> None:
    made = film(1000, most=16)
    assert len(made.images) <= 16
    assert {*np.diff(list(made.images))} == {made.apart}
    chosen = made.chosen(10)
    assert next(iter(chosen)) == 0
    assert list(chosen)[-1] == 999
    assert max(abs(place - want) for place, want in zip(chosen, np.linspace(0, 999, 10), strict=True)) <= made.apart
    for place, image in chosen.items():
        torch.testing.assert_close(image, torch.full((3, 30, 40), place / 1000))
    large = Film()
    large.add(torch.rand(3, 600, 800))
    assert large.images[0].shape == (3, 240, 320)
    assert film(3).contrast() == 0
    half = torch.zeros(3, 4, 4)
    half[..., :2] = 1
    large = Film()
    large.add(half)
    assert large.contrast() == pytest.approx(127.5)

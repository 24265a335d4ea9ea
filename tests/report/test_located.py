"""Pictures of located images: headings in closed form, what deviations say of them, what is drawn and left out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.formats.located import Located
from vo3d.geometry import rotations
from vo3d.report.located import headings, panel_values, plot_located, plot_over_time
from vo3d.report.positions import MapAxes, map_axes


def turning(count: int, degrees: float, axis: int = 1) -> Tensor:
    """Poses along x that turn by so many degrees in all about an axis of the world."""
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, :3, :3] = rotations.axis_rotation(axis, torch.linspace(0, degrees, count, dtype=torch.float64).deg2rad())
    poses[:, 0, 3] = torch.linspace(0, 4, count, dtype=torch.float64)
    poses[:, 2, 3] = torch.linspace(0, 1, count, dtype=torch.float64).square()
    return poses


def located(poses: Tensor, deviations: Tensor | None = None) -> Located:
    numbers = torch.arange(len(poses))
    return Located(
        frames=numbers, names=[str(number) for number in numbers.tolist()], world_T_cam=poses, deviations=deviations
    )


def test_headings_turn_with_the_camera_beyond_a_whole_circle() -> None:
    poses = turning(100, 800.0)
    axes = map_axes(poses)
    assert (axes.right, axes.ahead, axes.height) == (0, 2, 1)
    # about y, which points down: on a map that is seen from above the camera turns to the right
    expected = 90 - torch.linspace(0, 800, 100, dtype=torch.float64)
    torch.testing.assert_close(headings(poses, axes), expected)


@pytest.mark.parametrize(("roll", "part"), [(0.0, 4), (90.0, 3)])
def test_the_heading_is_as_unsure_as_the_turn_about_the_upright_axis(roll: float, part: int) -> None:
    poses = turning(7, 300.0)
    turn = rotations.axis_rotation(2, torch.tensor(roll, dtype=torch.float64).deg2rad())
    poses[:, :3, :3] = poses[:, :3, :3] @ turn
    deviations = torch.tensor([0.1, 0.2, 0.3, 1, 1, 1], dtype=torch.float64).repeat(7, 1)
    deviations[:, 3:] = 0.0
    deviations[:, part] = torch.tensor(2.0, dtype=torch.float64).deg2rad()
    _, found = panel_values(located(poses, deviations), MapAxes(0, 2, 1, sinks=True))
    assert found is not None
    expected = torch.tensor([0.1, 0.2, 0.3, 2.0], dtype=torch.float64).expand(7, 4)
    torch.testing.assert_close(found, expected)


def test_discs_are_as_large_as_deviations_and_far_positions_are_counted() -> None:
    training, poses = turning(50, 90.0), turning(20, 90.0)
    poses[:3, 0, 3] = 100.0
    deviations = torch.tensor([0.1, 0.2, 0.3, 0.01, 0.01, 0.01], dtype=torch.float64).repeat(20, 1)
    figure = plot_located(located(poses, deviations), training, training)
    above = figure.axes[0]
    assert above.get_title(loc="left") == "3 of 20 positions lie outside"
    assert above.get_xlim()[1] < 10
    assert above.get_aspect() == 1.0
    strokes, discs, dots = above.collections
    assert len(strokes.get_segments()) == len(dots.get_offsets()) == 17
    np.testing.assert_allclose(discs.get_widths(), 0.2)
    np.testing.assert_allclose(discs.get_heights(), 0.6)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["training views", "true path", "one predicted deviation", "located images, and where they look"]
    assert figure.axes[1].get_ylabel() == "frame"
    poses[:, 0, 3] = 100.0
    (above, _) = plot_located(located(poses, deviations), training).axes
    assert above.get_title(loc="left") == "20 of 20 positions lie outside"


def test_without_a_map_and_deviations_the_positions_are_drawn_alone() -> None:
    figure = plot_located(located(turning(5, 10.0)), torch.zeros(0, 4, 4, dtype=torch.float64))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["located images, and where they look"]
    assert len(figure.axes[0].collections) == 2


def test_bands_lie_around_the_lines_of_each_panel() -> None:
    poses = turning(30, 720.0)
    deviations = torch.tensor([0.1, 0.2, 0.3, 0.01, 0.02, 0.03], dtype=torch.float64).repeat(30, 1)
    truth = poses.clone()
    truth[:, 0, 3] += 0.05
    figure = plot_over_time(located(poses, deviations), MapAxes(0, 2, 1, sinks=True), truth)
    assert [axes.get_ylabel() for axes in figure.axes] == ["x (m)", "y (m)", "z (m)", "heading (deg)"]
    for place, (axes, around) in enumerate(zip(figure.axes, [0.1, 0.2, 0.3, np.rad2deg(0.02)], strict=True)):
        line, true = axes.lines
        box = axes.collections[0].get_paths()[0].get_extents()
        value = np.asarray(line.get_ydata())
        np.testing.assert_allclose([box.y0, box.y1], [value.min() - around, value.max() + around])
        low, high = axes.get_ylim()
        assert low < np.asarray(true.get_ydata()).min()
        assert high > value.max()
        assert np.abs(np.asarray(true.get_ydata()) - value).max() == pytest.approx(0.05 * (place == 0), abs=1e-9)

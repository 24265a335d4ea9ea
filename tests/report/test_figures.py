"""Figures say what they show: a line for each model, axes with units, nothing covered, nothing left out silently."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain
from vo3d.metrics.kitti_odometry import Bin
from vo3d.report import canvas, figures, paths

NAMES = ("DeepVO", "classic pipeline", "constant motion")


def drive(frames: int = 300, noise: float = 0.0, seed: int = 0) -> Tensor:
    """A curvy path of varied speed, `world_T_cam`, with noise on its steps."""
    time = torch.linspace(0, 1, frames - 1, dtype=torch.float64)
    twist = torch.zeros(frames - 1, 6, dtype=torch.float64)
    twist[:, 2] = 0.6 + 0.3 * torch.sin(12 * time)
    twist[:, 4] = 0.03 * torch.sin(9 * time) + 0.01 * torch.sin(25 * time)
    scale = torch.tensor([0.01, 0.01, 0.05, 0.001, 0.005, 0.001], dtype=torch.float64)
    random = torch.randn(twist.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return chain(se3.exp(twist + noise * scale * random))


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return drive()


def guesses(names: Sequence[str] = NAMES) -> dict[str, Tensor]:
    return {name: drive(noise=1.0 + place, seed=place + 1) for place, name in enumerate(names)}


def several(count: int, names: Sequence[str] = NAMES) -> dict[str, paths.Paths]:
    return {f"street-{place}": paths.Paths(drive(), guesses(names)) for place in range(count)}


def alone(reference: Tensor, **estimates: Tensor) -> dict[str, paths.Paths]:
    return {"street": paths.Paths(reference, estimates)}


def curves(factor: float = 1.0, names: Sequence[str] = NAMES) -> dict[str, list[Bin]]:
    points = [(100.0, 3.0, 1.0), (200.0, 2.5, 0.9), (300.0, 2.0, 0.8)]
    return {
        name: [Bin(at, factor**place * percent, degrees, num_segments=5) for at, percent, degrees in points]
        for place, name in enumerate(names)
    }


def history(path: Path, rows: str = "0,0,train/loss,3\n5,0,lr-Adam,0.001\n5,0,val/loss,2\n9,0,train/loss,1\n") -> Path:
    path.write_text("step,epoch,name,value\n" + rows)
    return path


def all_figures(folder: Path, count: int = 3, names: Sequence[str] = NAMES) -> dict[str, Any]:
    images = torch.rand(3, 3, 32, 104, generator=torch.Generator().manual_seed(0))
    recordings = several(count, names)
    sights = paths.plot_frames_with_motion(images, [10, 100, 200], ["a", "b", "c"], recordings["street-0"])
    return {
        "trajectories": paths.plot_trajectories(recordings),
        "distance": figures.plot_segment_errors(curves(names=names), "length of the segment (m)"),
        "speed": figures.plot_segment_errors(curves(names=names), "mean speed along the segment (m/s)"),
        "drift": paths.plot_drift(recordings),
        "motion": paths.plot_motion_over_time(recordings),
        "frames": sights,
        "training": figures.plot_training_curves(history(folder / "history.csv")),
    }


def overlap(first: Any, second: Any) -> float:
    """The area in square pixels that two boxes share."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return max(width, 0.0) * max(height, 0.0)


def labels(figure: Any) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def faults(drawn: dict[str, Any], names: Sequence[str]) -> list[str]:
    """What is missing, cut off or covered in the figures."""
    found = []
    for name, figure in drawn.items():
        figure.canvas.draw()
        expected = {"training", "validation"} if name == "training" else set(names)
        missing = expected - {label.replace("\n", " ") for label in labels(figure)}
        found += [f"{name}: the legend lacks {one}" for one in missing]
        legend = figure.legends[0].get_window_extent()
        boxes = {"legend": legend} | {f"axes {place}": axes.get_tightbbox() for place, axes in enumerate(figure.axes)}
        for part, box in boxes.items():
            if overlap(box, figure.bbox) < 0.9999 * box.width * box.height:
                found.append(f"{name}: {part} is cut off")
            if part != "legend" and overlap(box, legend) > 0:
                found.append(f"{name}: the legend covers {part}")
        if min(axes.get_window_extent().height for axes in figure.axes) < 0.35 * figure.dpi:
            found.append(f"{name}: the legend took the room of an axes")
    return found


def test_every_axis_with_numbers_names_its_unit(tmp_path: Path) -> None:
    for name, figure in all_figures(tmp_path, count=1).items():
        shown = [axes for axes in figure.axes if axes.axison]
        assert shown, name
        for axes in shown:
            if name == "training":
                assert axes.get_ylabel() in {"loss (log scale)", "learning rate"}
            elif axes.get_subplotspec().is_first_col() or name in {"distance", "speed"}:
                assert "(" in axes.get_ylabel(), name
        bottom = shown[-1].get_xlabel()
        assert bottom in {"frame", "optimiser step"} or "(m" in bottom, (name, bottom)


@pytest.mark.parametrize("count", [1, 4])
def test_the_legend_names_every_model_and_covers_no_axes(tmp_path: Path, count: int) -> None:
    assert faults(all_figures(tmp_path, count), NAMES) == []


def test_legends_of_six_long_names_lie_inside_the_figure(tmp_path: Path) -> None:
    names = [f"ClassicOdometry (scale=stereo, features={place * 1000}) #{place}" for place in range(5)]
    names.append("one " + "long " * 40 + "name")
    assert faults(all_figures(tmp_path, 3, names), names) == []


def test_names_are_neither_mathematics_nor_hidden(tmp_path: Path) -> None:
    names = [r"a$\foo$.txt", "_b.txt", "c$d.txt"]
    drawn = all_figures(tmp_path, 3, names)
    drawn["titles"] = paths.plot_drift({name: several(1)["street-0"] for name in names})
    shown = {name: figure for name, figure in drawn.items() if name != "titles"}
    assert faults(shown, [canvas.spelled(name) for name in names]) == []
    drawn["titles"].canvas.draw()
    for text in [*labels(drawn["drift"]), *(axes.get_title(loc="left") for axes in drawn["titles"].axes)]:
        assert text.count("$") == text.count(r"\$")  # matplotlib draws these as they are


@pytest.mark.parametrize("count", [1, 3, 8])
def test_there_are_as_many_lines_as_models(count: int) -> None:
    recordings = several(2, [f"model {place}" for place in range(count)])
    for extra, plot in ((0, paths.plot_drift), (2, paths.plot_trajectories), (1, paths.plot_motion_over_time)):
        for axes in plot(recordings).axes:
            assert len(axes.lines) == count + extra  # the truth, and the start of a path
    styles = canvas.line_styles(list(recordings["street-0"].estimates))
    assert len({(style["color"], style["linestyle"]) for style in styles.values()}) == count


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (7, (3, 3))])
def test_recordings_stand_side_by_side_each_under_its_name(count: int, shape: tuple[int, int]) -> None:
    assert canvas.grid_shape(count) == shape
    figure = paths.plot_drift(several(count, NAMES[:1]))
    assert [axes.get_title(loc="left").partition(",")[0] for axes in figure.axes] == list(several(count))
    assert len(figure.legends) == 1
    assert figure.get_figwidth() == canvas.WIDTH


def test_a_model_keeps_its_style_where_another_is_missing(reference: Tensor) -> None:
    styles, estimate = canvas.line_styles(NAMES), guesses()[NAMES[2]]
    single = paths.plot_drift({"a": paths.Paths(reference, {NAMES[2]: estimate})}, styles).axes[0].lines[0]
    beside = paths.plot_drift(several(1), styles).axes[0].lines[2]
    assert single.get_color() == beside.get_color()
    assert single.get_linestyle() == beside.get_linestyle()


def test_a_model_that_only_a_later_recording_knows_is_in_the_legend(reference: Tensor) -> None:
    recordings = {"a": paths.Paths(reference, {"early": reference}), "b": paths.Paths(reference, {"late": reference})}
    assert labels(paths.plot_drift(recordings)) == ["early", "late"]


@pytest.mark.parametrize("count", [1, 3])
def test_trajectories_have_equal_axes_and_true_positions(reference: Tensor, count: int) -> None:
    figure = paths.plot_trajectories(several(count))
    figure.canvas.draw()
    assert len(figure.axes) == count
    for axes in figure.axes:
        box = axes.get_window_extent()
        horizontal = box.width / (axes.get_xlim()[1] - axes.get_xlim()[0])
        vertical = box.height / (axes.get_ylim()[1] - axes.get_ylim()[0])
        assert horizontal == pytest.approx(vertical, rel=1e-6)
        drawn = dict(zip(("ground truth", *NAMES), axes.lines, strict=False))
        for name, poses in {"ground truth": reference, **guesses()}.items():
            x, z = drawn[name].get_xdata(), drawn[name].get_ydata()
            assert torch.equal(torch.as_tensor(x), poses[:, 0, 3])
            assert torch.equal(torch.as_tensor(z), poses[:, 2, 3])
            assert axes.get_xlim()[0] < min(x) <= max(x) < axes.get_xlim()[1]
            assert axes.get_ylim()[0] < min(z) <= max(z) < axes.get_ylim()[1]


def test_the_maps_are_the_largest_thing_in_their_figure() -> None:
    figure = paths.plot_trajectories(several(3))
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert sum(box.width * box.height for box in boxes) > 0.55 * figure.bbox.width * figure.bbox.height


def test_a_path_that_runs_away_is_named_and_does_not_shrink_the_others(reference: Tensor) -> None:
    away = reference.clone()
    away[:, :3, 3] *= 100
    (axes,) = paths.plot_trajectories(alone(reference, fair=reference, wild=away)).axes
    assert axes.get_title(loc="left").endswith("\nleaves the picture: wild")
    extent = (reference[:, [0, 2], 3].amax(0) - reference[:, [0, 2], 3].amin(0)).max().item()
    assert axes.get_ylim()[1] - axes.get_ylim()[0] < 4 * extent


def test_drift_is_the_distance_between_positions(reference: Tensor) -> None:
    shifted = reference.clone()
    shifted[:, 0, 3] += 3
    shifted[:, 2, 3] += 4
    (line,) = paths.plot_drift(alone(reference, shifted=shifted)).axes[0].lines
    assert torch.as_tensor(line.get_ydata()).allclose(torch.full((300,), 5.0, dtype=torch.float64))
    travelled = (reference[1:, :3, 3] - reference[:-1, :3, 3]).norm(dim=-1).sum().item()
    assert line.get_xdata()[-1] == pytest.approx(travelled)


def test_panels_of_a_row_share_limits_that_hold_all_their_lines(reference: Tensor) -> None:
    near, far = (reference.clone() for _ in range(2))
    near[:, 0, 3] += torch.linspace(0, 0.1, 300, dtype=torch.float64)
    far[:, 0, 3] += torch.linspace(0, 50, 300, dtype=torch.float64)
    recordings = {"a": paths.Paths(reference, {"m": near}), "b": paths.Paths(reference, {"m": far})}
    first, second = paths.plot_drift(recordings).axes
    assert first.get_ylabel() == "position error (m, log scale)"
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[0] == pytest.approx(50e-4)
    assert first.get_ylim()[1] > 50
    fast = reference.clone()
    fast[:, :3, 3] *= 3
    recordings = {"a": paths.Paths(reference, {}), "b": paths.Paths(reference, {"m": fast})}
    speeds = paths.plot_motion_over_time(recordings).axes[:2]
    assert speeds[0].get_ylim()[1] > paths.frame_motion(fast)[0].max()


def test_frame_motion_gives_metres_and_degrees_to_the_right() -> None:
    twist = torch.zeros(5, 6, dtype=torch.float64)
    twist[:, 2], twist[:, 4] = 0.5, math.radians(2)  # forward; y points down, so about +y is to the right
    poses = chain(se3.exp(twist))
    speed, yaw = paths.frame_motion(poses)
    assert yaw == pytest.approx([2.0] * 5)
    assert speed == pytest.approx([0.5] * 5, rel=1e-3)  # the chord of the arc
    assert poses[-1, 0, 3] > 0


def test_paths_under_frames_start_at_the_camera(reference: Tensor) -> None:
    recording = paths.Paths(reference, {})
    figure = paths.plot_frames_with_motion(torch.zeros(2, 3, 8, 16), [50, 120], ["a", "b"], recording, ahead=7)
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 2
    for panel, index in zip(panels, (50, 120), strict=True):
        line = panel.lines[0]
        assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((0, 0), abs=1e-9)
        expected = se3.relative(reference[index], reference[index + 7])
        ahead, left = line.get_xdata()[-1], line.get_ydata()[-1]
        assert [-left, ahead] == pytest.approx(expected[[0, 2], 3].tolist())
    assert panels[0].get_xlim() == pytest.approx(panels[1].get_xlim(), rel=0.05)
    assert panels[0].get_ylim() == pytest.approx(panels[1].get_ylim(), rel=0.05)


def test_a_camera_that_stands_still_can_be_drawn() -> None:
    poses = torch.eye(4, dtype=torch.float64).expand(30, 4, 4)
    still = paths.Paths(poses, {"m": poses})
    figure = paths.plot_trajectories({"still": still, "moving": paths.Paths(drive(30), {"m": poses})})
    figure.canvas.draw()
    assert all(axes.get_window_extent().width > 100 for axes in figure.axes)
    (frame,) = paths.telling_frames(still.reference[:9], ahead=8)
    paths.plot_frames_with_motion(torch.zeros(1, 3, 8, 16), [frame], ["a"], still, ahead=8).canvas.draw()
    paths.plot_drift({"still": still}).canvas.draw()
    paths.plot_motion_over_time({"still": still}).canvas.draw()


def test_telling_frames_are_a_turn_and_the_extremes_of_speed() -> None:
    twist = torch.zeros(200, 6, dtype=torch.float64)
    twist[:, 2] = 0.5
    twist[40:50, 4] = -math.radians(3)  # a turn to the left
    twist[100:110, 2], twist[150:160, 2] = 2.0, 0.1
    found = paths.telling_frames(chain(se3.exp(twist)), ahead=10)
    assert list(found) == [40, 100, 150]
    assert list(found.values()) == ["sharpest turn, 30\N{DEGREE SIGN} to the left", "fastest, 20.0 m", "slowest, 1.0 m"]


@pytest.mark.parametrize(("num", "most"), [(2, 1), (11, 1), (30, 2), (300, 3)])
def test_telling_frames_are_apart_and_have_a_path_ahead(num: int, most: int) -> None:
    found = list(paths.telling_frames(drive(num), ahead=10))
    assert 1 <= len(found) <= most
    assert found == sorted(found)
    assert all(second - first >= 10 for first, second in pairwise(found))
    assert found[-1] + min(10, num - 1) < num


def test_small_frames_are_enlarged_smoothly(reference: Tensor) -> None:
    images = torch.zeros(1, 3, 8, 16)
    images[..., 8:] = 1
    figure = paths.plot_frames_with_motion(images, [50], ["a"], paths.Paths(reference, {}))
    figure.canvas.draw()
    box = figure.axes[0].get_window_extent()
    pixels = torch.as_tensor(np.array(figure.canvas.buffer_rgba()))[
        int(figure.bbox.height - (box.y0 + box.y1) / 2), :, 0
    ]
    edge = pixels[int(box.x0) + 4 : int(box.x1) - 4].float()
    assert len(edge.unique()) > 20  # enlarged into blocks, only two


def test_errors_far_apart_are_drawn_on_a_log_scale_that_says_so() -> None:
    near, far = (figures.plot_segment_errors(curves(factor), "m").axes[0] for factor in (1.5, 10.0))
    assert (near.get_yscale(), near.get_ylabel()) == ("linear", "translation error (%)")
    assert near.get_ylim()[0] == 0
    assert (far.get_yscale(), far.get_ylabel()) == ("log", "translation error (%, log scale)")


def test_training_curves_show_losses_and_the_learning_rate(tmp_path: Path) -> None:
    losses, rate = figures.plot_training_curves(history(tmp_path / "history.csv")).axes
    assert losses.get_yscale() == "log"
    assert [list(line.get_xdata()) for line in losses.lines] == [[0, 9], [5]]
    assert [list(line.get_ydata()) for line in losses.lines] == [[3, 1], [2]]
    assert list(rate.lines[0].get_ydata()) == [0.001]


def test_losses_below_zero_and_not_finite_are_drawn_on_a_linear_scale(tmp_path: Path) -> None:
    rows = "0,0,train/loss,nan\n1,0,train/loss,-1\n2,0,train/loss,inf\n3,0,train/loss,2\n"
    (losses,) = figures.plot_training_curves(history(tmp_path / "history.csv", rows)).axes
    assert losses.get_yscale() == "linear"
    assert losses.get_ylim()[0] <= -1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "history.csv:1: "),
        ("a,b\n1,2\n", "history.csv:1: "),
        ("step,epoch,name,value\n", "neither train/loss nor val/loss"),
        ("step,epoch,name,value\n0,0,train/loss,1\n1,0,train/loss,low\n", "history.csv:3: found step '1', value 'low'"),
        ("step,epoch,name,value\n0,0,val/loss\n", "history.csv:2: found step '0', value None"),
    ],
    ids=["empty", "other columns", "no rows", "a word", "cut off"],
)
def test_a_bad_history_is_named_with_its_line(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(Vo3dError) as error:
        figures.plot_training_curves(path)
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no such file"):
        figures.plot_training_curves(tmp_path / "history.csv")
    with pytest.raises(Vo3dError, match="at least one model"):
        figures.plot_segment_errors({}, "m")


def test_a_figure_is_saved_whole_at_twice_the_size_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    figure = figures.plot_segment_errors(curves(), "m")
    assert canvas.save_figure(figure, path) == path
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20]) == round(figure.get_figwidth() * 200)
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]


def test_drawing_needs_no_window_system_and_no_global_state() -> None:
    program = (
        "import sys, vo3d.evaluation.page; from vo3d.report.figures import *\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot_segment_errors({'a': [Bin(1.0, 1.0, 1.0, 1)]}, 'm/s').canvas.draw()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {key: value for key, value in os.environ.items() if key not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

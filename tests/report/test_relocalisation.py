"""Relocalisation in reports: every picture for every kind of result, and what is in them and said of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.relocalisation import Relocalised
from vo3d.geometry import rotations, se3
from vo3d.metrics.relocalisation import nearest_views, pose_errors
from vo3d.recording import MultiViewScene, Recording
from vo3d.report.canvas import line_styles
from vo3d.report.html import Picture, Section, Text, write_page
from vo3d.report.pose_errors import (
    NEAREST,
    ErrorsOverTime,
    plot_deviations,
    plot_errors_over_time,
    plot_share_within,
    quantile_bins,
    running_median,
)
from vo3d.report.positions import MapAxes, Positions, map_axes, plot_positions
from vo3d.report.relocalisation import THUMBNAIL, relocalisation_sections, thumbnail
from vo3d.sample import Sample

ALL = {"positions", "errors_over_time", "within", "frames_best", "frames_worst", "deviations"}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 60)


def walk(count: int, start: float = 0.0) -> Tensor:
    """Poses along a bow in the plane of x and z, each turned a little further; y points down."""
    along = start + torch.linspace(0, 2, count, dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, :3, :3] = rotations.axis_rotation(1, 0.3 * along)
    poses[:, :3, 3] = torch.stack((along, 0.05 * along.sin(), along.cos()), -1)
    return poses


class Walk(Recording):
    """Flat frames, each as bright as its place, of any size."""

    def __init__(self, name: str, count: int, start: float = 0.0, size: tuple[int, int] = (24, 32)) -> None:
        self.name, self.count, self.start, self.size = name, count, start, size
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def clip(self, indices: Sequence[int]) -> Sample:
        """Flat pictures."""
        self.read += indices
        return Sample(image=torch.stack([torch.full((3, *self.size), index / self.count) for index in indices]))

    def poses(self) -> Tensor | None:
        """The bow."""
        return walk(self.count, self.start)


class Unordered(Walk, MultiViewScene):
    """The same without an order."""

    def sources(self, index: int) -> Sequence[int]:
        """None."""
        return []


def relocalised(
    recording: Recording, noise: float, *, deviates: bool = False, training: Recording | None = None
) -> Relocalised:
    """The truth of a recording, with noise that grows along it."""
    truth = recording.poses()
    assert truth is not None
    n = len(truth)
    random = torch.randn(n, 6, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    size = noise * torch.linspace(0.2, 1, n, dtype=torch.float64)
    estimate = se3.compose(truth, se3.exp(size[:, None] * random))
    found = Relocalised(frames=torch.tensor(recording.frames), names=recording.names, truth=truth, estimate=estimate)
    if deviates:
        found = replace(found, deviation=torch.stack((size, size.rad2deg()), -1))
    views = None if training is None else training.poses()
    if training is not None and views is not None:
        nearest, distance = nearest_views(truth, views)
        found = replace(found, nearest=[(training.name, at) for at in nearest.tolist()], nearest_distance=distance)
    return found


def parts(sections: Sequence[Section]) -> tuple[dict[str, Picture], list[str]]:
    """The pictures by the names of their files, and the texts; no caption is empty or speaks of NaN."""
    everything = [part for section in sections for part in section.parts]
    pictures = {part.path.stem: part for part in everything if isinstance(part, Picture)}
    for picture in pictures.values():
        assert picture.caption
        assert picture.alt
        assert "nan" not in picture.caption
        assert cv2.imread(str(picture.path)).std() > 1  # something is drawn
    return pictures, [part.text for part in everything if isinstance(part, Text)]


def test_two_models_with_everything(tmp_path: Path) -> None:
    training, test = Walk("train", 60), Walk("test", 40, 0.5)
    found = {
        "net": {"test": relocalised(test, 0.1, deviates=True, training=training)},
        "rival": {"test": relocalised(test, 1.0, training=training)},
    }
    sections = list(relocalisation_sections(found, {name: [test] for name in found}, [training], tmp_path / "figures"))
    pictures, texts = parts(sections)
    assert set(pictures) == ALL
    assert not texts
    assert [section.title for section in sections] == [
        "Positions",
        "Errors",
        "Best and worst frames",
        "Predicted deviations",
    ]
    assert "the 60 training views" in pictures["positions"].caption
    assert "x and z" in pictures["positions"].caption
    assert "nearest training view" in pictures["errors_over_time"].caption
    medians = pose_errors(found["net"]["test"].truth, found["net"]["test"].estimate).quantile(0.5, dim=0).tolist()
    assert (
        f"at the median: net {medians[0]:.3f} m, {medians[1]:.1f}\N{DEGREE SIGN}; rival" in pictures["within"].caption
    )
    assert len(test.read) == len(set(test.read)) == 10  # five and five, none of them twice
    assert "rival" not in pictures["deviations"].caption
    assert "Rank correlation (Spearman) of deviation and error, 1 at best and 0 for chance: net position" in (
        pictures["deviations"].caption
    )
    assert "within one deviation (68 % where it is calibrated): net " in pictures["deviations"].caption
    page = write_page(tmp_path / "report.html", "Where", sections).read_text()
    assert page.count("<img ") == len(ALL)


def test_neither_training_views_nor_deviations(tmp_path: Path) -> None:
    test = Walk("test", 40)
    sections = list(relocalisation_sections({"net": {"test": relocalised(test, 0.1)}}, {"net": [test]}, [], tmp_path))
    pictures, texts = parts(sections)
    assert set(pictures) == ALL - {"deviations"}
    assert not texts
    assert "No training views" in pictures["positions"].caption
    assert "nearest" not in " ".join(picture.caption for picture in pictures.values())


def test_one_frame(tmp_path: Path) -> None:
    test = Walk("test", 1)
    found = {"net": {"test": relocalised(test, 0.1, deviates=True)}}
    pictures, texts = parts(list(relocalisation_sections(found, {"net": [test]}, [], tmp_path)))
    assert set(pictures) == ALL - {"frames_worst", "deviations"}
    assert texts == ["Deviations are compared with errors where there are 10 frames or more."]
    assert "the best frame" in pictures["frames_best"].caption


def test_exact_poses_of_a_camera_that_stands_still(tmp_path: Path) -> None:
    test = Walk("test", 11)
    still = torch.eye(4, dtype=torch.float64).repeat(11, 1, 1)
    found = replace(relocalised(test, 0.0), truth=still, estimate=still, deviation=torch.zeros(11, 2).double())
    assert map_axes(still).height == 1
    pictures, _ = parts(list(relocalisation_sections({"net": {"test": found}}, {"net": [test]}, [], tmp_path)))
    assert set(pictures) == ALL


def test_several_recordings_one_of_them_without_order_and_one_not_given(tmp_path: Path) -> None:
    training = Walk("train", 30)
    tests = [Walk("a", 30), Unordered("b", 20), Walk("away", 25)]
    found = {
        "net": {one.name: relocalised(one, 0.2, deviates=True, training=training) for one in tests},
        "part": {"a": relocalised(tests[0], 0.4)},
    }
    pictures, texts = parts(list(relocalisation_sections(found, {"net": tests[:2]}, [training], tmp_path)))
    assert set(pictures) == ALL
    assert not texts
    assert "in no order" in pictures["errors_over_time"].caption
    assert not tests[2].read


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    test, other = Walk("test", 12), Walk("test", 3)
    found = {"net": {"test": relocalised(test, 0.1)}}
    pictures, texts = parts(list(relocalisation_sections(found, {}, [], tmp_path)))
    assert set(pictures) == {"positions", "errors_over_time", "within"}
    assert texts == ["No frames of net are shown: none of its recordings was given to this report."]
    with pytest.raises(Vo3dError, match=r"test has no frame \d+ now: evaluate the model again"):
        list(relocalisation_sections(found, {"net": [other]}, [], tmp_path))
    _, texts = parts(list(relocalisation_sections({}, {}, [], tmp_path)))
    assert texts == ["No relocalised frame was given to this report."]


def test_only_the_first_of_many_recordings_have_panels(tmp_path: Path) -> None:
    tests = [Walk(f"w{number}", 4) for number in range(8)]
    found = {f"m{at}": {one.name: relocalised(one, 0.1 + at) for one in tests} for at in range(4)}
    pictures, _ = parts(list(relocalisation_sections(found, {}, [], tmp_path)))
    assert "the first 6 of 8 recordings" in pictures["errors_over_time"].caption
    assert "the first 3 of 4 models" in pictures["positions"].caption


def test_of_many_points_some_are_drawn_and_far_predictions_are_counted() -> None:
    truth = walk(5000)[:, :3, 3]
    estimate = truth.clone()
    estimate[:7] += 100
    estimate[7] = math.nan
    figure = plot_positions({"net": Positions(truth, estimate)}, truth, map_axes(walk(5000)))
    solid, above = figure.axes
    assert solid.get_title(loc="left") == "net\n8 of 5000 predictions lie outside"
    counts = {line.get_label(): len(line.get_xdata()) for line in above.lines}
    assert counts["training views"] == counts["true position"] == 300
    assert 290 <= counts["predicted position"] <= 300
    drawn = next(line for line in above.lines if line.get_label() == "predicted position")
    assert np.isfinite(drawn.get_xydata()).all()
    assert np.abs(drawn.get_xydata()).max() < 10


def test_maps_have_one_scale_and_name_their_axes() -> None:
    poses = walk(20)
    at = poses[:, :3, 3]
    figure = plot_positions(dict.fromkeys("ab", Positions(at, at)), at[:0], map_axes(poses))
    maps = [axes for axes in figure.axes if axes.name == "rectilinear"]
    assert [axes.get_xlabel() for axes in maps] == ["x (m)", "x (m)"]
    assert maps[0].get_ylabel() == "z (m)"
    figure.draw_without_rendering()
    for axes in maps:
        box = axes.get_window_extent()
        wide, high = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
        assert box.width / wide == pytest.approx(box.height / high, rel=1e-2)
    labels = {line.get_label() for axes in maps for line in axes.lines}
    assert "training views" not in labels


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("height", range(3))
def test_a_map_is_seen_from_above(height: int, down: bool) -> None:
    """A walk that turns right, clockwise from above, turns clockwise on the page."""
    up = torch.zeros(3, dtype=torch.float64)
    up[height] = -1.0 if down else 1.0
    first = torch.eye(3, dtype=torch.float64)[(height + 1) % 3]
    second = torch.linalg.cross(first, up)  # to the right of it, for who looks along it with `up` above
    poses = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    poses[:, :3, 1] = -up  # the cameras' y
    poses[:, :3, 3] = torch.stack((0 * first, 2 * first, 2 * first + 3 * second))
    axes = map_axes(poses)
    assert axes.height == height
    assert axes.sinks == down
    x, y = poses[:, axes.right, 3].diff().tolist(), poses[:, axes.ahead, 3].diff().tolist()
    assert x[0] * y[1] - y[0] * x[1] < 0
    assert str(MapAxes(0, 2, 1, sinks=True)) == "x and z"


def test_errors_over_time_show_what_is_known() -> None:
    frames = torch.arange(100, 140)
    errors = torch.stack((torch.linspace(0.1, 0.2, 40), torch.linspace(1, 2, 40)), -1).double()
    one = ErrorsOverTime(frames, errors, deviation=errors / 2, nearest=errors * 2)
    figure = plot_errors_over_time({"a": {"net": one}, "b": {"net": one}}, line_styles(["net"]), ["b"])
    for place, axes in enumerate(figure.axes[::2]):  # those of the first recording
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(lines["net"].get_xdata(), frames)
        np.testing.assert_array_equal(lines["net"].get_ydata(), errors[:, place])
        np.testing.assert_array_equal(lines[NEAREST].get_ydata(), 2 * errors[:, place])
        (band,) = axes.collections
        assert band.get_datalim(axes.transData).y1 == pytest.approx(errors[-1, place].item() / 2)
        assert axes.get_ylim()[1] > 2 * errors[-1, place].item()
    assert {axes.get_ylabel() for axes in figure.axes} >= {"error (m)", "error (deg)"}
    points = [axes for axes in figure.axes if any(line.get_linestyle() == "None" for line in axes.lines)]
    assert len(points) == 2  # of the recording without an order
    assert not any(axes.collections for axes in points)


def test_models_that_are_far_apart_have_a_log_scale() -> None:
    errors = torch.linspace(0.5, 1.5, 50, dtype=torch.float64)[:, None].expand(50, 2)
    models = {"near": 0.01 * errors, "far": errors}
    styles = line_styles(list(models))
    frames = torch.arange(50)
    over_time = {"a": {name: ErrorsOverTime(frames, found) for name, found in models.items()}}
    for axes in plot_errors_over_time(over_time, styles).axes:
        assert axes.get_yscale() == "log"
        assert "log scale" in axes.get_ylabel()
    for axes in plot_share_within(models, styles).axes:
        assert axes.get_xscale() == "log"
        assert "log scale" in axes.get_xlabel()
    for axes in plot_share_within({"far": errors}, styles).axes:
        assert axes.get_xscale() == "linear"


def test_shares_rise_to_all_frames() -> None:
    errors = torch.tensor([[0.3, 4.0], [0.1, 2.0], [0.2, 8.0], [0.4, 6.0]], dtype=torch.float64)
    left, right = plot_share_within({"net": errors}, line_styles(["net"])).axes
    for axes, bounds in ((left, (0.05, 0.1, 0.25, 0.4)), (right, (1.0, 2.0, 5.0, 8.0))):
        (line,) = axes.lines
        assert line.get_drawstyle() == "steps-post"
        at, share = line.get_data()
        drawn = [share[np.searchsorted(at, bound, "right") - 1] for bound in bounds]
        assert drawn == [0.0, 25.0, 50.0, 100.0]
    assert left.get_ylim() == (0, 102)


def test_a_long_line_is_a_running_median() -> None:
    frames = torch.arange(999, -1, -1)
    values = torch.zeros(1000, dtype=torch.float64)
    values[500] = 9.0
    values[:100] = 1.0  # the last hundred frames
    at, median = running_median(frames, values)
    np.testing.assert_array_equal(at, np.arange(1000))
    assert median[499] == 0.0  # one frame that is off is no line
    assert (median[905:] == 1.0).all()
    at, median = running_median(frames[:20], values[:20])
    np.testing.assert_array_equal(median, np.ones(20))


def test_bins_hold_as_many_frames_each_in_the_order_of_their_deviations() -> None:
    deviation = torch.arange(100, 0, -1, dtype=torch.float64)
    predicted, observed = quantile_bins(deviation, 2 * deviation)
    assert len(predicted) == 10
    torch.testing.assert_close(observed, 2 * predicted)
    torch.testing.assert_close(predicted[0], torch.arange(1, 11).double().square().mean().sqrt())
    assert (predicted.diff() > 0).all()
    assert len(quantile_bins(deviation[:12], deviation[:12])[0]) == 2
    assert len(quantile_bins(deviation[:1], deviation[:1])[0]) == 1


def test_a_deviation_that_tells_all_lies_on_the_oracle() -> None:
    errors = torch.linspace(0.1, 1, 30, dtype=torch.float64)[:, None].expand(30, 2)
    figure = plot_deviations({"net": (errors, errors)}, line_styles(["net"]))
    above, _, below, _ = figure.axes
    net, line = above.lines
    np.testing.assert_allclose(net.get_xdata(), net.get_ydata())
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    dots = above.collections[0].get_offsets()
    np.testing.assert_allclose(dots, np.stack([errors[:, 0]] * 2, axis=1))
    assert above.get_title(loc="left") == "net: rank correlation 1.00, 100 % within one deviation"
    assert above.get_xscale() == "linear"
    np.testing.assert_array_equal(below.lines[0].get_ydata(), below.lines[1].get_ydata())
    assert below.lines[0].get_ydata()[0] == pytest.approx(errors[:, 0].mean().item())


def test_images_are_read_small() -> None:
    assert thumbnail(Walk("a", 3, size=(480, 640)), 1).shape == (3, 240, THUMBNAIL)
    assert thumbnail(Walk("a", 3, size=(24, 32)), 2).shape == (3, 24, 32)
    torch.testing.assert_close(thumbnail(Walk("a", 4, size=(480, 640)), 2), torch.full((3, 240, THUMBNAIL), 0.5))


def test_of_deviations_far_apart_axes_are_logarithmic_and_some_frames_are_dots() -> None:
    errors = torch.linspace(0.1, 1, 3000, dtype=torch.float64)[:, None].expand(3000, 2)
    models = {"sure": (errors, 0.05 * errors), "right": (errors, errors.mean() * torch.ones_like(errors))}
    above, *_ = plot_deviations(models, line_styles(list(models))).axes
    assert (above.get_xscale(), above.get_yscale()) == ("log", "log")
    assert above.get_xlabel() == "predicted deviation (m, log scale)"
    assert [len(one.get_offsets()) for one in above.collections] == [1000, 1000]
    sure, right = above.get_title(loc="left").splitlines()
    assert sure == "sure: rank correlation 1.00, 0 % within one deviation"
    assert right == "right: 50 % within one deviation"  # equal deviations have no order


def test_timid_deviations_do_not_shrink_the_errors() -> None:
    errors = torch.full((40, 2), 0.1, dtype=torch.float64)
    one = ErrorsOverTime(torch.arange(40), errors, deviation=1000 * errors)
    for axes in plot_errors_over_time({"a": {"net": one}}, line_styles(["net"])).axes:
        assert 0.1 < axes.get_ylim()[1] < 0.5

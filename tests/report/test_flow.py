"""Pictures of optical flow: each direction its colour, grey where there is none, and the next frame warped back."""

import math
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_rgb

from textured_plane import textured_plane
from vo3d.formats.images import read_image
from vo3d.geometry import se3
from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.warp import reproject
from vo3d.report.canvas import save_figure
from vo3d.report.depth import HOLE
from vo3d.report.flow import DISC, FlowPair, colour_flow, colour_wheel, flow_limit, flow_pictures, plot_flow

WAYS = {(1, 0): "#D55E00", (0, 1): "#F0E442", (-1, 0): "#0072B2", (0, -1): "#CC79A7"}  # right, down, left, up


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 70)


@pytest.fixture(scope="module")
def pair() -> FlowPair:
    """Two views of a plane, with their true flow as the prediction."""
    plane = textured_plane(cells=12).map(lambda tensor: tensor[0])
    assert plane.depth is not None
    assert plane.K is not None
    assert plane.world_T_cam is not None
    next_T_view = se3.relative(plane.world_T_cam[1], plane.world_T_cam[0]).float()
    pixels, _ = reproject(plane.depth[0], plane.K[0], next_T_view)
    flow = (pixels - pixel_grid(*plane.depth.shape[-2:])).permute(2, 0, 1)
    return FlowPair(name="plane", image=plane.image[0], following=plane.image[1], flow=flow, truth=flow.clone())


def changed(pair: FlowPair, **changes: torch.Tensor | None) -> FlowPair:
    return FlowPair(**{**{name: getattr(pair, name) for name in FlowPair.__dataclass_fields__}, **changes})


@pytest.mark.parametrize(("way", "colour"), WAYS.items())
def test_a_direction_has_its_colour(way: tuple[int, int], colour: str) -> None:
    lengths = torch.tensor([0.0, 2.0, 4.0, 9.0])
    flow = torch.tensor(way, dtype=torch.float32)[:, None, None] * lengths
    drawn = colour_flow(flow, limit=4.0)[:, 0]
    rim = torch.tensor(to_rgb(colour))
    for place, share in enumerate((0.0, 0.5, 1.0, 1.0)):  # white, half-way, and no more than the rim
        torch.testing.assert_close(drawn[:, place], 1 - share * (1 - rim))


def test_what_has_no_flow_is_grey() -> None:
    flow = torch.tensor([[math.nan, 0.0, math.inf, 1.0], [0.0, math.nan, 0.0, 0.0]])[:, None]
    drawn = colour_flow(flow, limit=1.0)[:, 0]
    assert (drawn[:, :3] == torch.tensor(to_rgb(HOLE))[:, None]).all()
    torch.testing.assert_close(drawn[:, 3], torch.tensor(to_rgb(WAYS[1, 0])))


def test_the_colours_go_round_without_a_step() -> None:
    angles = torch.linspace(0, 2 * math.pi, 721)
    drawn = colour_flow(torch.stack((angles.cos(), angles.sin()))[:, None], limit=1.0)[:, 0]
    assert drawn.diff(dim=1).abs().max() < 0.02
    torch.testing.assert_close(drawn[:, 0], drawn[:, -1], atol=1e-4, rtol=0)


def test_the_wheel_shows_the_flow_from_its_middle() -> None:
    wheel, middle = colour_wheel(), DISC // 2
    assert wheel.shape == (3, DISC, DISC)
    assert (wheel[:, 0, 0] == 1).all()
    assert (wheel[:, middle, middle] == 1).all()
    for (x, y), colour in WAYS.items():
        torch.testing.assert_close(wheel[:, middle + y * middle, middle + x * middle], torch.tensor(to_rgb(colour)))


def test_the_limit_is_that_of_what_stays_in_the_image() -> None:
    flow = torch.zeros(2, 1, 201)
    flow[0, 0, :101] = torch.arange(101)  # 100 pixels from x = 100 is the last one
    flow[0, 0, 101:] = 150.0  # all of these leave
    assert flow_limit([flow]) == pytest.approx(90)
    assert flow_limit([-flow.flip(2), torch.full((2, 5, 5), math.nan)]) == pytest.approx(90)
    assert flow_limit([0.001 * flow]) == 1  # what hardly moves must not glare
    assert flow_limit([]) == flow_limit([torch.full((2, 3, 3), math.nan)]) == flow_limit([flow[..., 101:]]) == 1


def test_the_true_flow_makes_the_view_again(pair: FlowPair) -> None:
    residual, identity = pair.made.means()
    assert residual < 0.004
    assert residual < 0.1 * identity
    nothing = changed(pair, flow=torch.zeros_like(pair.flow)).made
    assert nothing.means()[0] == pytest.approx(nothing.means()[1])
    half = pair.flow.clone()
    half[:, :32] = math.nan
    assert not changed(pair, flow=half).made.seen[:32].any()


def test_the_error_is_the_distance_of_the_ends(pair: FlowPair) -> None:
    assert pair.truth is not None
    flow, truth = pair.flow + torch.tensor([3.0, 4.0])[:, None, None], pair.truth.clone()
    flow[:, 0, 0], truth[0, 1, 1] = math.nan, math.nan
    error = changed(pair, flow=flow, truth=truth).error
    assert error is not None
    assert error[0, 0].isnan()
    assert error[1, 1].isnan()
    assert error.isnan().sum() == 2
    torch.testing.assert_close(error.nanmean(), torch.tensor(5.0))
    assert changed(pair, truth=None).error is None


def titles(found: FlowPair, limit: float | None = None) -> list[str]:
    return [axes.get_title(loc="left") for axes in plot_flow(found, limit).axes if axes.get_title(loc="left")]


def test_the_figure_tells_the_error_and_the_residuals(pair: FlowPair, tmp_path: Path) -> None:
    assert pair.truth is not None
    flow = pair.flow.clone()
    flow[0, :16] += 4.0  # a quarter of the rows
    found = changed(pair, flow=flow)
    residual, identity = found.made.means()
    assert titles(found) == [
        "plane",
        f"flow: mean {flow.norm(dim=0).mean():.2f} pixels",
        f"true flow: mean {pair.truth.norm(dim=0).mean():.2f} pixels",
        "the next frame",
        "error: mean 1.00 pixels, 25.0 % over 3",
        f"flow: white 0, rim {flow_limit([pair.truth]):.3g} pixels or more",  # the scale of the truth
        f"made from the next frame: {100 * found.made.share:.0f} % of pixels lie in it",
        f"residual: mean {residual:.4f}",
        f"the next frame as it is: mean {identity:.4f}",
    ]
    assert read_image(save_figure(plot_flow(found), tmp_path / "figure.png")).shape[0] == 3


def test_the_figure_without_a_truth(pair: FlowPair) -> None:
    assert [title.split(":")[0] for title in titles(changed(pair, truth=None), 7.0)] == [
        *("plane", "flow", "flow", "made from the next frame", "residual", "the next frame as it is"),
    ]
    assert "flow: white 0, rim 7 pixels or more" in titles(changed(pair, truth=None), 7.0)


def test_a_long_name_stays_in_its_column(pair: FlowPair) -> None:
    named = FlowPair(name=40 * "long", image=pair.image, following=pair.following, flow=pair.flow)
    figure = plot_flow(named)
    figure.draw_without_rendering()
    first, second = figure.axes[:2]
    title = first._left_title
    assert "\N{HORIZONTAL ELLIPSIS}" in title.get_text()
    assert title.get_window_extent().x1 < second.get_window_extent().x0


def test_the_figure_of_no_flow_at_all(pair: FlowPair) -> None:
    found = titles(changed(pair, flow=torch.full_like(pair.flow, math.nan)))
    assert "flow: none" in found
    assert "error: nothing to compare" in found
    assert "residual: nothing to compare" in found
    assert "true flow: none" in titles(changed(pair, truth=torch.full_like(pair.flow, math.nan)))


def test_pictures_share_the_scale_of_the_images(pair: FlowPair) -> None:
    pictures = flow_pictures(pair, 4.0)
    assert list(pictures) == ["flow", "flow_next", "flow_next_residual", "flow_next_identity"]
    assert all(picture.shape == pair.image.shape for picture in pictures.values())
    torch.testing.assert_close(pictures["flow"], colour_flow(pair.flow, 4.0))
    other = flow_pictures(changed(pair, flow=0.5 * pair.flow), 4.0)
    seen = pair.made.seen
    torch.testing.assert_close(other["flow_next_identity"][:, seen], pictures["flow_next_identity"][:, seen])
    assert other["flow_next_residual"][:, seen].mean() > pictures["flow_next_residual"][:, seen].mean()

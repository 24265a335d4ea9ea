"""Pictures of moving objects: each mask its colour by membership, and arrows that lead where the object goes."""

from dataclasses import replace
from math import radians
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch

from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, project
from vo3d.report.canvas import save_figure
from vo3d.report.masks import (
    OPACITY,
    PALE,
    PALETTE,
    MovingMasks,
    arrow,
    coloured_like,
    paint_masks,
    plot_masks,
    true_masks,
)
from vo3d.sample import Sample

K = torch.tensor([[50.0, 0, 29.5], [0, 50.0, 19.5], [0, 0, 1]])
SIZE = (40, 60)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 70)


@pytest.fixture(scope="module")
def clip() -> Sample:
    """Two frames of a street with a lorry and a van."""
    street = RenderedRecording("street", 3, 8, (48, 156), mask=True, depth=True, flow=True, object_motion=True)
    return street.clip([2, 3])


def square(top: int, left: int, side: int = 8) -> torch.Tensor:
    mask = torch.zeros(SIZE)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_a_mask_is_as_opaque_as_its_membership() -> None:
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    member = torch.zeros(2, *SIZE)
    member[0, 0], member[0, 1], member[1, 1] = 1, 0.4, 1
    pale = (PALE + (1 - PALE) * image.mean(0)).expand(3, -1, -1)
    blue, red = (torch.tensor(to_rgb(colour))[:, None] for colour in PALETTE[:2])
    painted = paint_masks(image, member)
    torch.testing.assert_close(painted[:, 0], (1 - OPACITY) * pale[:, 0] + OPACITY * blue.expand(3, 60))
    below = (1 - 0.4 * OPACITY) * pale[:, 1] + 0.4 * OPACITY * blue
    torch.testing.assert_close(painted[:, 1], (1 - OPACITY) * below + OPACITY * red)
    torch.testing.assert_close(painted[:, 2:], pale[:, 2:])
    torch.testing.assert_close(paint_masks(image, member.flip(0), colours=[1, 0])[:, 0], painted[:, 0])


def test_colours_begin_again() -> None:
    image = torch.zeros(3, *SIZE)
    member = torch.zeros(len(PALETTE) + 1, *SIZE)
    member[0, 0], member[-1, 1] = 1, 1
    painted = paint_masks(image, member)
    assert torch.equal(painted[:, 0], painted[:, 1])
    assert len(set(PALETTE)) == len(PALETTE) == 10


def test_an_arrow_is_the_way_of_the_centre() -> None:
    motion = se3.exp(torch.tensor([0.5, 0.1, -1.0, 0, radians(7.0), 0]))
    motion[:3, 3] = torch.tensor([0.5, 0.1, -1.0])
    depth = torch.full(SIZE, 5.0)
    depth[10, 20:24] = torch.tensor([0.0, 90.0, float("inf"), 90.0])  # what is not known, and what is behind
    found = arrow(square(10, 20), depth, K, motion)
    assert found is not None
    assert found.start == (23.5, 13.5)
    point = torch.tensor([(23.5 - 29.5) / 50 * 5, (13.5 - 19.5) / 50 * 5, 5.0])
    moved = motion[:3, :3] @ point + motion[:3, 3]
    pixel, _ = project(K, moved)
    assert found.end == pytest.approx(pixel.tolist(), abs=1e-4)
    assert found.length == pytest.approx((moved - point).norm().item(), abs=1e-5)
    assert found.degrees == pytest.approx(7.0, abs=1e-3)


def test_there_is_no_arrow_without_pixels_or_depth() -> None:
    motion, depth = torch.eye(4), torch.full(SIZE, 5.0)
    assert arrow(square(0, 0, 4), depth, K, motion) is None  # 16 pixels
    assert arrow(0.4 * square(0, 0), depth, K, motion) is None
    assert arrow(square(0, 0), torch.zeros(SIZE), K, motion) is None
    motion[2, 3] = -6.0
    behind = arrow(square(0, 0), depth, K, motion)
    assert behind is not None
    assert behind.end is None
    assert behind.length == 6


def test_true_masks_move_as_the_flow_says(clip: Sample) -> None:
    """Points of an object, moved by its motion and seen by the next camera, lie where the flow leads."""
    assert clip.mask is not None
    assert clip.object_motion is not None
    assert clip.world_T_cam is not None
    assert clip.depth is not None
    assert clip.flow is not None
    assert clip.K is not None
    truth = true_masks(clip.mask[0], clip.object_motion[0], clip.world_T_cam)
    assert truth.camera is not None
    assert truth.motion is not None
    assert [int(name) for name in truth.names] == [one for one in clip.mask[0].unique().tolist() if one]
    assert torch.equal(truth.mask.sum(0) > 0, clip.mask[0] > 0)
    points = backproject(clip.K[0], clip.depth[0]).double()
    grid, _ = project(clip.K[0].double(), points)
    assert len(truth.large) >= 2
    for one in truth.large:
        moved = se3.transform(se3.compose(se3.inverse(truth.camera), truth.motion[one]), points)
        pixels, _ = project(clip.K[0].double(), moved)
        inside = truth.mask[one] > 0
        expected = clip.flow[0].permute(1, 2, 0)[inside].double()
        torch.testing.assert_close((pixels - grid)[inside], expected, atol=2e-3, rtol=1e-4)


def test_true_masks_without_their_motions() -> None:
    ids = (2 * square(0, 0) + 5 * square(20, 20)).long()
    found = true_masks(ids)
    assert found.names == ["2", "5"]
    assert found.motion is None
    assert found.camera is None
    assert true_masks(0 * ids, torch.eye(4).double()[None]).mask.shape == (0, *SIZE)
    with pytest.raises(Vo3dError, match="ids 2 to 5, and motions of 4 objects: expected a motion of each id from 1 on"):
        true_masks(ids, torch.eye(4).double().expand(4, 4, 4), torch.eye(4).double().expand(2, 4, 4))


def test_the_largest_masks_come_first() -> None:
    masks = MovingMasks(mask=torch.stack((square(0, 0, 5), square(9, 9, 4), square(9, 9, 9))))
    assert masks.large == [2, 0]
    assert masks.name(2) == "3"


def test_true_masks_take_the_colours_of_those_that_cover_them() -> None:
    found = MovingMasks(mask=torch.stack((square(0, 0), square(20, 30))))
    truth = MovingMasks(mask=torch.stack((square(30, 0), square(21, 30), square(0, 2), square(0, 4))))
    assert coloured_like(truth, found).colours == [2, 1, 0, 3]  # the last covers the first mask less
    nothing = MovingMasks(mask=torch.zeros(0, *SIZE))
    assert coloured_like(nothing, found).colours == []
    assert coloured_like(found, nothing).colours == [0, 1]


def test_the_figure_tells_how_each_object_and_the_camera_moves(clip: Sample, tmp_path: Path) -> None:
    assert clip.mask is not None
    assert clip.object_motion is not None
    assert clip.depth is not None
    assert clip.K is not None
    truth = true_masks(clip.mask[0], clip.object_motion[0], clip.world_T_cam)
    assert truth.motion is not None
    large = truth.large
    found = MovingMasks(mask=truth.mask[large], motion=truth.motion[large], camera=truth.camera)
    figure = plot_masks(clip.image[0], found, truth, depth=clip.depth[0], K=clip.K[0], name="here")
    left, right = figure.axes
    assert left.get_title(loc="left") == f"here, predicted: {len(large)} masks, {len(large)} with an arrow"
    assert right.get_title(loc="left") == f"true: {len(truth.mask)} objects, {len(large)} with an arrow"
    told = [text.get_text() for text in right.texts]
    ways = [arrow(truth.mask[one], clip.depth[0], clip.K[0], truth.motion[one]) for one in large]
    assert told == [
        f"{truth.names[one]}: {way.length:.2f} m, {way.degrees:.1f}\N{DEGREE SIGN}"
        for one, way in zip(large, ways, strict=True)
        if way is not None
    ]
    assert [text.split(": ")[1] for text in told] == [text.get_text().split(": ")[1] for text in left.texts]
    assert truth.camera is not None
    metres = f"{truth.camera[:3, 3].norm():.2f} m"
    (line,) = [text.get_text() for text in figure.texts if "camera" in text.get_text()]
    assert line.startswith(f"The camera moves: predicted {metres}, ")
    assert f"; true {metres}, " in line
    assert read_image(save_figure(figure, tmp_path / "figure.png")).shape[0] == 3


@pytest.mark.parametrize(("metres", "drawn"), [(0.5, [[13.5, 13.5], [18.5, 13.5]]), (0.01, None)])
def test_an_arrow_is_drawn_where_it_can_be_seen(metres: float, drawn: list[list[float]] | None) -> None:
    motion = torch.eye(4)
    motion[0, 3] = metres
    masks = MovingMasks(mask=square(10, 10)[None], motion=motion[None])
    axes = plot_masks(torch.rand(3, *SIZE), masks, depth=torch.full(SIZE, 5.0), K=K).axes[1]
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == (drawn is not None)
    for one in arrows:
        ends = axes.transData.inverted().transform(one.get_transform().transform(one.get_path().vertices))
        assert ends[0] == pytest.approx(drawn[0], abs=0.3)  # type: ignore[index]
        assert abs(ends[:, 0].max() - drawn[1][0]) < 0.5  # type: ignore[index]
    (dots,) = axes.collections
    assert dots.get_offsets().tolist() == [[13.5, 13.5]]
    assert axes.get_xlim() == (-0.5, 59.5)


def test_labels_lie_within_the_panel_and_apart(clip: Sample) -> None:
    """Twelve arrows in one corner."""
    places = [square(2 * row, 3 * column, 6) for row in range(4) for column in range(3)]
    motion = se3.exp(torch.tensor([0.1, 0, 0, 0, 0, 0])).expand(12, 4, 4)
    masks = MovingMasks(mask=torch.stack(places), motion=motion)
    figure = plot_masks(torch.rand(3, *SIZE), masks, depth=torch.full(SIZE, 5.0), K=K)
    figure.draw_without_rendering()
    axes, renderer = figure.axes[1], figure.canvas.get_renderer()
    boxes = [text.get_bbox_patch().get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == 12
    panel = axes.get_window_extent(renderer).padded(1)
    for number, box in enumerate(boxes):
        assert panel.containsx(box.x0)
        assert panel.containsx(box.x1)
        assert panel.containsy(box.y0)
        assert panel.containsy(box.y1)
        assert not box.count_overlaps(boxes[:number])


@pytest.mark.parametrize("absent", ["motion", "depth", "K"])
def test_without_motion_or_depth_there_are_masks_alone(absent: str) -> None:
    given = {"depth": torch.full(SIZE, 5.0), "K": K, "motion": torch.eye(4)[None]}
    given[absent] = None  # type: ignore[assignment]
    masks = MovingMasks(mask=square(0, 0)[None], motion=given.pop("motion"))
    figure = plot_masks(torch.rand(3, *SIZE), masks, **given, name="here", unit="")
    left, right = figure.axes
    assert left.get_title(loc="left") == "here"
    assert right.get_title(loc="left") == f"predicted: 1 mask{'' if absent == 'motion' else ', 0 with an arrow'}"
    assert not right.texts
    assert not [text for text in figure.texts if "camera" in text.get_text()]


def test_lengths_without_a_unit() -> None:
    motion = torch.eye(4)
    motion[0, 3] = 0.25
    masks = MovingMasks(mask=square(0, 0)[None], motion=motion[None], camera=motion)
    figure = plot_masks(torch.rand(3, *SIZE), masks, replace(masks, names=["4"]), depth=torch.ones(SIZE), K=K, unit="")
    assert [axes.texts[0].get_text() for axes in figure.axes] == [
        "1: 0.25, 0.0\N{DEGREE SIGN}",
        "4: 0.25, 0.0\N{DEGREE SIGN}",
    ]

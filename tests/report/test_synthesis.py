"""A view made from other images by depth and motion: near the view where both are true, grey where nothing is seen."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from textured_plane import textured_plane
from vo3d.formats.images import read_image
from vo3d.geometry import se3
from vo3d.report.canvas import save_figure
from vo3d.report.depth import HOLE
from vo3d.report.synthesis import (
    ViewSynthesis,
    plot_view_synthesis,
    residual_limit,
    synthesis_pictures,
    synthesise,
    synthesise_first,
)
from vo3d.sample import Sample


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 70)


@pytest.fixture(scope="module")
def clip() -> Sample:
    """Three views of a plane; the last one serves as the right image of the first."""
    plane = textured_plane(cells=12).map(lambda tensor: tensor[0])
    assert plane.world_T_cam is not None
    left_T_right = se3.relative(plane.world_T_cam[0], plane.world_T_cam[2]).float()
    right = plane.image[2:].expand_as(plane.image)
    return replace(plane, scene="plane", right=right, left_T_right=left_T_right)


def steps(clip: Sample) -> torch.Tensor:
    """`prev_T_cam` of the clip."""
    assert clip.world_T_cam is not None
    return se3.relative(clip.world_T_cam[:-1], clip.world_T_cam[1:]).float()


def true(clip: Sample, scale: float = 1.0, stride: int = 1) -> ViewSynthesis:
    assert clip.depth is not None
    depth = scale * clip.depth[:, ::stride, ::stride]
    return synthesise_first(clip, {"depth": depth, "prev_T_cam": steps(clip)}, stride=stride, name="view 0")


def test_true_depth_and_motion_make_the_view_again(clip: Sample) -> None:
    found = true(clip)
    assert [made.key for made in found.made] == ["right", "next"]
    for made in found.made:
        residual, identity = made.means()
        assert residual < 0.004
        assert residual < 0.1 * identity
        assert 0.5 < made.share < 1
        assert torch.equal(made.residual.isnan(), ~made.seen)
        wrong = next(other for other in true(clip, 1.5).made if other.key == made.key)
        assert wrong.means()[0] > 5 * residual


def test_the_residual_of_doing_nothing_is_that_of_the_other_image(clip: Sample) -> None:
    assert clip.right is not None
    right, following = true(clip).made
    torch.testing.assert_close(right.identity, (clip.right[0] - clip.image[0]).abs().mean(0))
    torch.testing.assert_close(following.identity, (clip.image[1] - clip.image[0]).abs().mean(0))
    torch.testing.assert_close(right.means()[1], right.identity[right.seen].mean().item())


def test_disparity_is_focal_length_times_baseline_over_depth(clip: Sample) -> None:
    assert clip.K is not None
    assert clip.depth is not None
    assert clip.left_T_right is not None
    holes = clip.depth.clone()
    holes[:, :4] = 0
    found = synthesise_first(replace(clip, depth=None), {"depth": holes})
    assert found.disparity is not None
    baseline = clip.left_T_right[0, 3]
    torch.testing.assert_close(found.disparity[4:], clip.K[0, 0, 0] * baseline / holes[0, 4:])
    assert not found.disparity[:4].any()
    assert not found.made[0].seen[:4].any()


def test_maps_at_every_fourth_pixel_see_the_whole_image(clip: Sample) -> None:
    whole, coarse = true(clip), true(clip, stride=4)
    for fine, made in zip(whole.made, coarse.made, strict=True):
        assert torch.equal(made.seen, fine.seen[::4, ::4])
        torch.testing.assert_close(made.image, fine.image[:, ::4, ::4], atol=1e-4, rtol=0)


def test_a_view_is_made_from_the_frame_before_too(clip: Sample) -> None:
    assert clip.depth is not None
    found = synthesise(clip, clip.depth[1], view=1, source=0, source_T_view=steps(clip)[0], after=False)
    before = found.made[-1]
    assert (before.key, before.source) == ("before", "the frame before")
    assert before.means()[0] < 0.1 * before.means()[1]


@pytest.mark.parametrize(
    ("absent", "names"),
    [
        ({"K": None}, {"image", "depth"}),
        ({"right": None}, {"image", "depth", "next", "next_residual", "next_identity"}),
    ],
)
def test_what_is_not_known_is_left_out(absent: dict[str, None], names: set[str], clip: Sample) -> None:
    found = true(replace(clip, **absent))  # type: ignore[arg-type]
    assert set(synthesis_pictures(found)) == names
    single = synthesise_first(clip, {"depth": found.depth[None]})
    assert [made.key for made in single.made] == ["right"]  # no motion was predicted


def test_pictures_are_grey_where_nothing_is_seen_and_share_one_scale(clip: Sample) -> None:
    found = true(clip)
    pictures = synthesis_pictures(found)
    assert len(pictures) == 9
    for name, picture in pictures.items():
        assert picture.shape == (3, 64, 80), name
        assert picture.min() >= 0
        assert picture.max() <= 1
    made, grey = found.made[0], torch.tensor(to_rgb(HOLE))
    for name in ("right", "right_residual", "right_identity"):
        assert (pictures[name][:, ~made.seen] == grey[:, None]).all()
    torch.testing.assert_close(pictures["right"][:, made.seen], made.image[:, made.seen])
    shade = colormaps["magma"]((made.identity / residual_limit(found.made)).clamp(max=1).numpy())[..., :3]
    expected = torch.from_numpy(shade).permute(2, 0, 1).float()
    torch.testing.assert_close(pictures["right_identity"][:, made.seen], expected[:, made.seen])
    assert residual_limit(true(clip, 2.0).made) == residual_limit(found.made)  # it does not depend on the prediction


def test_the_figure_tells_the_means_and_the_shares(clip: Sample, tmp_path: Path) -> None:
    found = true(clip)
    figure = plot_view_synthesis(found)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    right = found.made[0]
    residual, identity = right.means()
    assert titles[0] == "view 0"
    assert f"made from the right image: {100 * right.share:.0f} % of pixels lie in it" in titles
    assert f"residual: mean {residual:.4f}" in titles
    assert f"the right image as it is: mean {identity:.4f}" in titles
    scales = [axes.get_images()[0].get_clim() for axes in figure.axes if axes.get_title(loc="left")[:8] == "residual"]
    assert scales == [(0.0, residual_limit(found.made))] * 2
    assert read_image(save_figure(figure, tmp_path / "figure.png")).shape[0] == 3


def test_the_figure_of_a_depth_that_sees_nothing(clip: Sample) -> None:
    found = synthesise_first(clip, {"depth": torch.zeros(3, 64, 80), "prev_T_cam": steps(clip)})
    titles = [axes.get_title(loc="left") for axes in plot_view_synthesis(found).axes]
    assert titles.count("residual: nothing to compare") == 2
    assert "depth: 0 % of pixels" in titles

"""A depth of 0, a negative one and one that is not finite are no measurement, wherever depth maps are read."""

import math

import pytest
import torch

from vo3d.depth_map import PosedDepthMap
from vo3d.fusion.diagnosis import diagnose
from vo3d.fusion.filtering import FusionRules, confident_pixels, reproject
from vo3d.fusion.fuse import normals_from_depth
from vo3d.geometry.warp import reproject as reproject_map
from vo3d.report.depth import known

VALUES = [2.0, 0.0, -0.0, -2.0, math.nan, math.inf, -math.inf, 1e-3]
KNOWN = [True, False, False, False, False, False, False, True]


def a_map(depth: torch.Tensor, x: float = 0.0) -> PosedDepthMap:
    """A view from `x` with one source, the other one of two."""
    world_T_cam = torch.eye(4, dtype=torch.float64)
    world_T_cam[0, 3] = x
    return PosedDepthMap(
        name=str(x),
        depth=depth,
        confidence=torch.ones_like(depth),
        K=torch.tensor([[8.0, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, 0.0, 1.0]], dtype=depth.dtype),
        world_T_cam=world_T_cam,
        image=torch.zeros(3, *depth.shape, dtype=depth.dtype),
        sources=(1,) if x == 0 else (0,),
        depth_range=(1.0, 9.0),
    )


def test_only_positive_finite_depths_are_known() -> None:
    depth = torch.tensor([VALUES], dtype=torch.float64)
    assert a_map(depth).known.tolist() == [KNOWN]
    assert known(depth).tolist() == [KNOWN]
    assert confident_pixels(a_map(depth), FusionRules()).tolist() == [KNOWN]
    assert diagnose([a_map(depth), a_map(depth, 1.0)], FusionRules()).known == 2 / 8


def test_a_warp_of_unknown_depths_is_nan() -> None:
    depth = torch.tensor([VALUES], dtype=torch.float64)
    view = a_map(depth)
    pixels, z = reproject_map(depth, view.K, torch.eye(4, dtype=torch.float64))
    assert (~pixels[0].isnan().any(-1)).tolist() == KNOWN
    assert (z[0] > 0).tolist() == KNOWN


def test_unknown_depths_have_no_normal() -> None:
    depth = torch.full((5, 5), 4.0, dtype=torch.float64)
    for value in VALUES[1:7]:
        depth[2, 2] = value
        lengths = normals_from_depth(depth, a_map(depth).K).norm(dim=-1)
        assert lengths[2, 2] == 0
        assert int((lengths > 0.9).sum()) == 24


@pytest.mark.parametrize("step", [None, 0.05])
@pytest.mark.parametrize("nothing", [0.0, -4.0, math.nan])
def test_a_source_without_a_depth_there_says_nothing_even_if_its_centre_is_in_sight(
    step: float | None, nothing: float
) -> None:
    """A depth of 0 would put its surface into the centre of its camera, which the view sees here."""
    view = a_map(torch.full((6, 10), 4.0, dtype=torch.float64))
    source = a_map(torch.full((6, 10), nothing, dtype=torch.float64), 0.5)
    source.world_T_cam[2, 3] = 2.0  # in front of the view, at its pixel (2, 0)
    pixels = torch.tensor([[2.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    seen = reproject(view, pixels, torch.tensor([4.0, 2.5], dtype=torch.float64), source, max_depth_step=step)
    assert bool(seen.inside.all())
    assert seen.found.tolist() == [0.0, 0.0]
    assert seen.depth.tolist() == [0.0, 0.0]
    assert seen.distance.tolist() == [math.inf, math.inf]
    assert seen.difference.tolist() == [math.inf, math.inf]

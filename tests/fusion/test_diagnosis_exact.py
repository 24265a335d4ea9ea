"""The shares of the diagnosis, counted by hand on two small maps."""

import pytest
import torch

from vo3d.depth_map import PosedDepthMap
from vo3d.fusion.diagnosis import diagnose
from vo3d.fusion.filtering import FusionRules


def two_maps() -> list[PosedDepthMap]:
    """Two views of 4 x 10 pixels of a wall 4 metres away, the second 1 metre, and so 2 pixels, to the right."""
    depths = torch.full((2, 4, 10), 4.0, dtype=torch.float64)
    confidence = torch.full((2, 4, 10), 0.9, dtype=torch.float64)
    depths[0, 2, 4] = 0.0  # a hole
    depths[0, 0, 0] = 1.1  # near the near end, and out of sight of the second view
    depths[0, 2, 1] = 10.9  # near the far end, and in sight of the second view, far off in pixels and in depth
    depths[1, 1] = 4.3  # off by 7 percent, but by only 0.14 pixels
    confidence[0, 0] = 0.5
    confidence[0, 2, 4] = 1.0  # of the hole: nothing
    confidence[1, 3, :8] = 0.99
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, 0, 3] = 1.0
    return [
        PosedDepthMap(
            name=str(view),
            depth=depths[view],
            confidence=confidence[view],
            K=torch.tensor([[8.0, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64),
            world_T_cam=poses[view],
            image=torch.zeros(3, 4, 10, dtype=torch.float64),
            sources=(1 - view,),
            depth_range=(1.0, 11.0),
        )
        for view in range(2)
    ]


def test_each_share_is_of_what_it_says() -> None:
    found = diagnose(two_maps(), FusionRules())

    inside = (4 * 8 - 1 + 1) + 4 * 8  # eight columns are in both views; not the hole, but the pixel at 10.9 metres
    near = (4 * 8 - 1) + (4 * 8 - 1)  # not the pixel at 10.9 metres, nor the one that sees the hole
    agree = near - 8 - 8  # not the row at 4.3 metres, from either side
    assert (found.num_maps, found.num_pairs) == (2, 2)
    assert found.known == pytest.approx(79 / 80)
    assert found.confident == pytest.approx(69 / 79)
    assert found.at_ends == pytest.approx(2 / 79)
    assert found.overlap == pytest.approx(inside / 79)
    assert found.reprojection == pytest.approx(near / inside)
    assert found.depth_difference == pytest.approx(agree / inside)
    assert found.agreement == pytest.approx(agree / inside)
    assert found.agree_enough == pytest.approx(agree / 79)
    assert found.confidence_for_tenth == pytest.approx(0.99)  # of 8 pixels in 79
    assert found.cause == "confidence"


def test_shares_are_of_all_maps_together() -> None:
    whole, half = two_maps()
    half.depth[:, 5:] = 0.0
    found = diagnose([whole, half], FusionRules())
    assert found.known == pytest.approx((39 + 20) / 80)
    assert found.confident == pytest.approx((29 + 20) / (39 + 20))


def test_nothing_known_gives_shares_of_zero() -> None:
    maps = [view.with_depth(torch.zeros(4, 10, dtype=torch.float64)) for view in two_maps()]
    found = diagnose(maps, FusionRules())
    shares = (found.known, found.confident, found.at_ends, found.overlap, found.agreement, found.agree_enough)
    assert shares == (0.0,) * 6
    assert found.cause == "no depth"

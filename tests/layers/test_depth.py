"""Shares of the way from near to far as depths: exact at both ends, even in what they are spread over."""

import pytest
import torch

from vo3d.layers.depth import spread_depth


@pytest.mark.parametrize("inverse", [False, True])
def test_shares_are_even_between_ends_that_are_met_exactly(inverse: bool) -> None:
    share = torch.linspace(0, 1, 5)

    depth = spread_depth(share, 0.5, 80.0, inverse=inverse)

    assert (depth[0].item(), depth[-1].item()) == (0.5, 80.0)
    steps = ((1 / depth) if inverse else depth).diff()
    torch.testing.assert_close(steps, steps[:1].expand(4))

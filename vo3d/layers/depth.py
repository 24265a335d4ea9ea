"""Depth as networks give it: a share of the way from near to far."""

from jaxtyping import Float
from torch import Tensor


def spread_depth(share: Float[Tensor, "*b"], near: float, far: float, *, inverse: bool) -> Float[Tensor, "*b"]:
    """Turn shares in [0, 1] into depths from `near` to `far`, even in depth or, if `inverse`, in 1 / depth."""
    if inverse:
        return 1 / ((1 - share) / near + share / far)  # exact at both ends
    return near + share * (far - near)

"""Predicted variances made to hold what they say: the factors that a training fits at its end.

A model that gives `log_variance` registers a buffer `variance_scale`, torch.ones(2), and passes what it gives through
`calibrated`, in `forward` and in `predict`. Its loss reads what the network says, never this.
"""

from jaxtyping import Float
from torch import Tensor


def calibrated(log_variance: Float[Tensor, "*b 6"], variance_scale: Float[Tensor, "2"]) -> Float[Tensor, "*b 6"]:
    """Multiply the variances of metres x 3 and of radians x 3 by their factors, in logarithms."""
    return log_variance + variance_scale.log().repeat_interleave(3)

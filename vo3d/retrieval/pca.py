"""Principal components and whitening of descriptors."""

from dataclasses import dataclass

from jaxtyping import Float, Float32
from torch import Tensor

EPS = 1e-9  # added to eigenvalues before their roots are divided by


@dataclass(frozen=True, eq=False)
class Components:
    """The directions of largest variance, largest first."""

    mean: Float32[Tensor, " c"]
    directions: Float32[Tensor, "m c"]  # of unit length
    variances: Float32[Tensor, " m"]  # of samples along them, divided by n - 1

    def whitening(self) -> tuple[Float32[Tensor, "m c"], Float32[Tensor, " m"]]:
        """Compute weight and bias of the linear map after which all variances are 1: W x + b."""
        weight = self.directions / (self.variances + EPS).sqrt()[:, None]
        return weight, -weight @ self.mean


def principal_components(vectors: Float[Tensor, "n c"], num: int) -> Components:
    """Find the `num` directions of largest variance; by the Gram matrix where there are fewer vectors than numbers.

    Raises:
        Vo3dError: there are not more vectors than directions, or a number is NaN or infinite.
    """
    raise NotImplementedError

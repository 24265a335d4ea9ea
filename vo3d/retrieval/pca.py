"""Principal components and whitening of descriptors."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from vo3d.errors import Vo3dError

EPS = 1e-9  # added to eigenvalues before their roots are divided by
VALUES = 2**23  # numbers that are looked at at once


@dataclass(frozen=True, eq=False)
class Components:
    """The directions of largest variance, largest first."""

    mean: Float32[Tensor, " c"]
    directions: Float32[Tensor, "m c"]  # of unit length; the entry of largest magnitude is positive
    variances: Float32[Tensor, " m"]  # of samples along them, divided by n - 1

    def whitening(self) -> tuple[Float32[Tensor, "m c"], Float32[Tensor, " m"]]:
        """Compute weight and bias of the linear map after which all variances are 1: W x + b."""
        weight = self.directions / (self.variances + EPS).sqrt()[:, None]
        return weight, -weight @ self.mean


def principal_components(vectors: Float[Tensor, "n c"], num: int) -> Components:
    """Find the `num` directions of largest variance; by the Gram matrix where there are fewer vectors than numbers.

    The smaller of covariance (c x c) and Gram matrix (n x n) is summed in float64 from blocks of the vectors, so that
    memory beside the vectors is about five times its square. Both give the same directions.

    Source: R. Arandjelovic et al., NetVLAD, CVPR 2016: whitening.

    Raises:
        Vo3dError: there are not more vectors than directions, the vectors do not vary along as many, or a number is
            NaN or infinite.
    """
    n, c = vectors.shape
    if not 1 <= num <= min(n - 1, c):
        raise Vo3dError(
            f"{num} principal components of {n} descriptors of {c} values: expected 1 to {max(0, min(n - 1, c))}: take "
            "more images, or fewer components"
        )
    mean = torch.zeros(c, dtype=torch.float64, device=vectors.device)
    for rows in torch.split(vectors, max(1, VALUES // c)):
        mean += rows.double().sum(0) / n
    if not bool(mean.isfinite().all()):
        raise Vo3dError("descriptors for principal components are NaN or infinite: expected numbers")
    variances, directions = (_by_covariance if n >= c else _by_gram)(vectors, mean, num)
    turn = torch.where(directions.amax(1) >= -directions.amin(1), 1.0, -1.0)
    return Components(mean.float(), directions.mul_(turn[:, None]), variances.float())


def _by_covariance(
    vectors: Float[Tensor, "n c"], mean: Float64[Tensor, " c"], num: int
) -> tuple[Float64[Tensor, " m"], Float32[Tensor, "m c"]]:
    """Compute variances and directions from the covariance."""
    n, c = vectors.shape
    covariance = mean.new_zeros(c, c)
    for rows in torch.split(vectors, max(1, VALUES // c)):
        centred = rows.double() - mean
        covariance.addmm_(centred.T, centred, alpha=1 / (n - 1))
    variances, basis = _largest(covariance, num, max(n, c))
    return variances, basis.T.float().contiguous()


def _by_gram(
    vectors: Float[Tensor, "n c"], mean: Float64[Tensor, " c"], num: int
) -> tuple[Float64[Tensor, " m"], Float32[Tensor, "m c"]]:
    """Compute the same from the products of vectors: a direction is their sum, weighted by an eigenvector."""
    n, c = vectors.shape
    gram = mean.new_zeros(n, n)
    for _, centred in _columns(vectors, mean):
        gram.addmm_(centred, centred.T, alpha=1 / (n - 1))
    variances, basis = _largest(gram, num, max(n, c))
    del gram
    basis /= (variances * (n - 1)).sqrt()
    directions = torch.empty(num, c, device=vectors.device)
    for where, centred in _columns(vectors, mean):
        directions[:, where] = (basis.T @ centred).float()
    return variances, directions


def _columns(
    vectors: Float[Tensor, "n c"], mean: Float64[Tensor, " c"]
) -> Iterator[tuple[slice, Float64[Tensor, "n m"]]]:
    """Yield some columns less their means, and where they stand."""
    most = max(1, VALUES // len(vectors))
    for first in range(0, vectors.shape[1], most):
        where = slice(first, first + most)
        yield where, vectors[:, where].double() - mean[where]


def _largest(
    matrix: Float64[Tensor, "d d"], num: int, size: int
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "d m"]]:
    """Find the largest eigenvalues and their vectors; Vo3dError where some of them are 0 up to rounding."""
    values, basis = torch.linalg.eigh(matrix)
    values, basis = values.flip(0)[:num], basis[:, -num:].flip(1)
    rank = int((values > values[0] * size * torch.finfo(torch.float64).eps).sum())
    if rank < num:
        raise Vo3dError(
            f"the descriptors vary along {rank} directions: expected {num} for as many principal components: take more "
            "or other images, or fewer components"
        )
    return values, basis

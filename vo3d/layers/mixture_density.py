"""Mixture density networks: a sum of Gaussians instead of one answer, for what looks alike at several places."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus


@dataclass(frozen=True)
class GaussianMixture:
    """m Gaussians with independent axes in d dimensions; fields may be float32 or float64.

    Source: Bishop, "Mixture density networks", 1994.
    """

    logits: Float[Tensor, "*b m"]  # of the weights, by softmax
    mean: Float[Tensor, "*b m d"]
    deviation: Float[Tensor, "*b m d"]  # standard deviations

    def log_density(self, target: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """Compute log p(target), by log-sum-exp: finite however far off the target is."""
        apart = (target[..., None, :] - self.mean) / self.deviation
        log_normal = -0.5 * apart.square() - self.deviation.log() - 0.5 * torch.log(apart.new_tensor(2 * torch.pi))
        return torch.logsumexp(self.logits.log_softmax(-1) + log_normal.sum(-1), -1)

    @property
    def weight(self) -> Float[Tensor, "*b m"]:
        """Compute the share of each Gaussian."""
        return self.logits.softmax(-1)

    def likeliest(self) -> Float[Tensor, "*b d"]:
        """Find the mean of the Gaussian of the largest weight."""
        best = self.logits.argmax(-1)[..., None, None]
        return self.mean.gather(-2, best.expand(*best.shape[:-1], self.mean.shape[-1]))[..., 0, :]

    def average(self) -> Float[Tensor, "*b d"]:
        """Compute the mean of the mixture."""
        return (self.weight[..., None] * self.mean).sum(-2)

    def second_moment(self, about: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d d"]:
        """Compute the expectation of e e^T for e = y - `about`; about the average it is the covariance."""
        apart = self.mean - about[..., None, :]
        spread = torch.einsum("...m,...mi,...mj->...ij", self.weight, apart, apart)
        inner = (self.weight[..., None] * self.deviation.square()).sum(-2)
        return spread + torch.diag_embed(inner)


class MixtureHead(nn.Module):
    """A linear layer to the numbers of a mixture: a logit, d means and d deviations of each Gaussian.

    Deviations are softplus(s) + floor: positive, and never so small that one sample outweighs all.

    Args:
        features: that it reads.
        dimensions: d.
        components: Gaussians; 1 is the plain heteroscedastic one.
        floor: the least deviation.
        begin: the deviation at the start.
    """

    def __init__(
        self, features: int, dimensions: int, components: int, *, floor: float = 1e-3, begin: float = 0.3
    ) -> None:
        super().__init__()
        self.dimensions, self.components, self.floor = dimensions, components, floor
        self.linear = nn.Linear(features, components * (2 * dimensions + 1))
        nn.init.normal_(self.linear.weight, std=0.01)
        with torch.no_grad():
            self.linear.bias.zero_()
            inverse = torch.log(torch.expm1(torch.tensor(begin - floor)))  # of softplus
            self.linear.bias[components * (1 + dimensions) :] = inverse

    def forward(self, features: Float[Tensor, "*b f"]) -> GaussianMixture:
        """Read the mixture off features."""
        m, d = self.components, self.dimensions
        logits, mean, deviation = self.linear(features).float().split((m, m * d, m * d), -1)
        deviation = softplus(deviation) + self.floor
        shape = (*features.shape[:-1], m, d)
        return GaussianMixture(logits, mean.reshape(shape), deviation.reshape(shape))

    def begin_at(self, centres: Float[Tensor, "m d"]) -> None:
        """Let the means begin at `centres`."""
        m, d = self.components, self.dimensions
        with torch.no_grad():
            self.linear.bias[m : m + m * d] = centres.flatten()

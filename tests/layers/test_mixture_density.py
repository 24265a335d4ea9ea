"""Mixtures of Gaussians against torch.distributions, sampling and closed forms."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vo3d.layers.mixture_density import GaussianMixture, MixtureHead


def some_mixture(*batch: int, m: int = 3, d: int = 4) -> GaussianMixture:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, generator=generator, dtype=torch.float64)

    return GaussianMixture(draw(m), draw(m, d), draw(m, d).exp())


def test_the_density_is_that_of_torch_distributions() -> None:
    mixture = some_mixture(5, 2)
    normal = Independent(Normal(mixture.mean, mixture.deviation), 1)
    reference = MixtureSameFamily(Categorical(logits=mixture.logits), normal)
    target = torch.linspace(-2, 2, 40, dtype=torch.float64).reshape(5, 2, 4)
    assert torch.allclose(mixture.log_density(target), reference.log_prob(target))
    assert torch.allclose(mixture.average(), reference.mean)
    covariance = mixture.second_moment(mixture.average())
    assert torch.allclose(covariance.diagonal(dim1=-2, dim2=-1), reference.variance)


def test_one_gaussian_of_deviation_one_is_half_the_square_and_a_constant() -> None:
    mean = torch.tensor([[1.0, -2.0]])
    one = GaussianMixture(torch.zeros(1), mean, torch.ones(1, 2))
    for target in (torch.zeros(2), torch.tensor([3.0, 4.0])):
        expected = -(target - mean[0]).square().sum() / 2 - torch.log(torch.tensor(2 * torch.pi))
        assert one.log_density(target).item() == pytest.approx(expected.item())


def test_the_density_passes_gradcheck() -> None:
    mixture, target = some_mixture(2), torch.randn(2, 4, dtype=torch.float64)
    inputs = [one.clone().requires_grad_() for one in (mixture.logits, mixture.mean, mixture.deviation, target)]
    assert torch.autograd.gradcheck(lambda a, b, c, y: GaussianMixture(a, b, c).log_density(y), inputs)


@pytest.mark.parametrize("metres", [1e3, 1e6])
def test_the_density_and_its_gradient_are_finite_however_far_off(metres: float) -> None:
    head = MixtureHead(2, 3, 5, floor=1e-3, begin=2e-3)
    mixture = head(torch.ones(4, 2))
    found = mixture.log_density(torch.full((4, 3), metres))
    assert bool(found.isfinite().all())
    found.sum().backward()
    assert head.linear.weight.grad is not None
    assert bool(head.linear.weight.grad.isfinite().all())


def test_the_second_moment_about_a_point_is_that_of_samples() -> None:
    mixture = some_mixture(d=2)
    normal = Independent(Normal(mixture.mean, mixture.deviation), 1)
    torch.manual_seed(0)
    drawn = MixtureSameFamily(Categorical(logits=mixture.logits), normal).sample((200_000,))
    about = mixture.likeliest()
    apart = drawn - about
    assert torch.allclose(mixture.second_moment(about), apart.mT @ apart / len(drawn), rtol=0.03, atol=0.03)
    assert torch.equal(about, mixture.mean[mixture.logits.argmax()])


def test_a_head_begins_where_it_is_told() -> None:
    head, centres = MixtureHead(8, 3, 2, floor=0.01, begin=0.25), torch.tensor([[1.0, 2, 3], [-1, 0, 1]])
    head.begin_at(centres)
    mixture = head(torch.zeros(8))
    assert torch.equal(mixture.mean, centres)
    assert torch.allclose(mixture.deviation, torch.full((2, 3), 0.25))
    assert torch.allclose(mixture.weight, torch.full((2,), 0.5))
    assert sum(one.numel() for one in MixtureHead(1024, 7, 5).parameters()) == 76_875  # the paper's form, h = 512

"""The NetVLAD layer beside its literal definition, its initialisation, and its limits."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vo3d.errors import Vo3dError
from vo3d.layers.netvlad import NetVLADPool, Version, unit

both = pytest.mark.parametrize("version", [1, 2])


def _pool(version: Version, dim: int = 12, num_clusters: int = 5) -> NetVLADPool:
    torch.manual_seed(version)
    return NetVLADPool(dim, num_clusters, version)


def _literal(pool: NetVLADPool, x: Tensor, assigned: Tensor | None = None) -> Tensor:
    """The definition in float64, with the tensor of all residuals."""
    x = x.double().flatten(2)
    x = x / (x.square().sum(1, keepdim=True) + 1e-12).sqrt()
    logits = torch.einsum("kd,bdn->bkn", pool.assignment.weight.double(), x)
    if pool.version == 2:
        logits = logits + pool.assignment.bias.double()[None, :, None]
    a = logits.softmax(1) if assigned is None else assigned.double()
    residuals = x[:, None] - pool.centres.double()[None, :, :, None]  # b k d n
    vlad = torch.einsum("bkn,bkdn->bkd", a, residuals)
    vlad = vlad / (vlad.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    vlad = vlad.flatten(1)
    return vlad / (vlad.square().sum(-1, keepdim=True) + 1e-12).sqrt()


@both
def test_it_computes_its_definition_cluster_after_cluster(version: Version, generator: torch.Generator) -> None:
    pool, x = _pool(version), 5 * torch.randn(3, 12, 4, 6, generator=generator)

    found = pool(x)

    assert found.shape == (3, 60)
    torch.testing.assert_close(found.double(), _literal(pool, x), rtol=0, atol=1e-6)
    torch.testing.assert_close(pool(x.to(memory_format=torch.channels_last)), found, rtol=0, atol=1e-6)
    blocks = found.unflatten(1, (5, 12)).norm(dim=-1)
    torch.testing.assert_close(blocks, torch.full((3, 5), 1 / math.sqrt(5)))
    torch.testing.assert_close(pool.double()(x.double()), _literal(pool, x))


@both
def test_gradients_are_those_of_the_definition(version: Version, generator: torch.Generator) -> None:
    pool = _pool(version).double()
    x = torch.randn(2, 12, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    to = torch.randn(2, 60, generator=generator, dtype=torch.float64)
    wanted = [x, *pool.parameters()]

    ours = torch.autograd.grad((pool(x) * to).sum(), wanted)
    literal = torch.autograd.grad((_literal(pool, x) * to).sum(), wanted)

    for a, b in zip(ours, literal, strict=True):
        torch.testing.assert_close(a, b)


@both
def test_assignments_begin_a_hundred_times_larger_than_the_next(version: Version, generator: torch.Generator) -> None:
    pool = _pool(version)
    centres, x = torch.randn(5, 12, generator=generator), 3 * torch.randn(400, 12, generator=generator)

    alpha = pool.initialise(centres, x)

    a = pool.assignment(unit(x)).log_softmax(-1).topk(2).values
    torch.testing.assert_close((a[:, 0] - a[:, 1]).mean().item(), math.log(100), rtol=1e-5, atol=0)
    torch.testing.assert_close(pool.centres.detach(), centres)
    if version == 2:
        squared = torch.cdist(unit(x).double(), centres.double()).square()
        torch.testing.assert_close(
            pool.assignment(unit(x)).softmax(-1).double(), (-alpha * squared).softmax(-1), rtol=0, atol=1e-5
        )


def test_very_sharp_assignments_give_vlad(generator: torch.Generator) -> None:
    pool, x = _pool(2), torch.randn(2, 12, 6, 6, generator=generator)
    centres = unit(torch.randn(5, 12, generator=generator))
    pool.initialise(centres, x.flatten(2).mT.flatten(0, 1))
    with torch.no_grad():
        pool.assignment.weight.mul_(1e4)
        pool.assignment.bias.mul_(1e4)
    nearest = torch.cdist(unit(x.flatten(2).mT), centres).argmin(-1)  # b n

    hard = _literal(pool, x, one_hot(nearest, 5).mT)

    torch.testing.assert_close(pool(x).double(), hard, rtol=0, atol=1e-5)


def test_maps_of_zeros_and_half_precision_stay_finite() -> None:
    pool, x = _pool(1), torch.zeros(1, 12, 2, 2, requires_grad=True)

    pool(x).sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pool(torch.randn(1, 12, 2, 2).bfloat16())

    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert half.dtype == torch.float32


@pytest.mark.parametrize(("version", "parameters"), [(1, 65_536), (2, 65_600)])
def test_it_has_as_many_parameters_as_published(version: Version, parameters: int) -> None:
    pool = NetVLADPool(512, 64, version)

    assert sum(parameter.numel() for parameter in pool.parameters()) == parameters
    assert pool.out_channels == 32_768


def test_descriptors_that_are_all_alike_are_refused() -> None:
    with pytest.raises(Vo3dError, match="nearer to one centre"):
        _pool(2, 4, 2).initialise(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]), torch.ones(3, 4))
    with pytest.raises(Vo3dError, match=r"centres \(3, 4\) and descriptors"):
        _pool(1, 4, 2).initialise(torch.ones(3, 4), torch.ones(3, 4))
    with pytest.raises(Vo3dError, match="at least 2 clusters"):
        NetVLADPool(4, 1)


def test_what_is_stored_does_not_grow_with_clusters_times_channels() -> None:
    """Tensors kept for the gradient: the maps themselves, and what is smaller."""
    x = torch.randn(1, 64, 16, 16, requires_grad=True)
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.numel() * (tensor.data_ptr() != x.data_ptr())) or tensor, lambda kept: kept
    ):
        NetVLADPool(64, 32)(x)

    assert 0 < max(sizes) <= 32 * 256

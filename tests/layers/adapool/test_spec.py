"""The AdaPool family against its definition: loops in NumPy, published numbers, invariants, finite differences."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import adapool_oracle as oracle
from adapool_oracle import ADA, ALL, EDSCW, EM, FOUR, IDW, Index, Operator
from vo3d import layers

Geometry = tuple[Index, Index, Index, Index, bool]  # input, kernel, stride, padding, ceil_mode
GEOMETRIES: dict[str, Geometry] = {
    "1d": ((7,), (2,), (2,), (0,), False),
    "1d k!=s p ceil": ((10,), (3,), (2,), (1,), True),
    "1d s>k": ((11,), (2,), (5,), (0,), True),
    "2d": ((5, 6), (2, 2), (2, 2), (0, 0), False),
    "2d s>k p": ((7, 8), (3, 2), (2, 3), (1, 1), False),
    "2d s<k p ceil": ((5, 8), (2, 4), (3, 3), (0, 2), True),
    "3d": ((5, 4, 7), (2, 2, 2), (2, 2, 2), (0, 0, 0), False),
    "3d k!=s p ceil": ((4, 5, 6), (2, 3, 2), (2, 1, 3), (0, 1, 1), True),
}
geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
members = pytest.mark.parametrize("operator", ALL, ids=str)
four = pytest.mark.parametrize("operator", FOUR, ids=lambda operator: operator.name)
GRID = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def options(geometry: Geometry) -> dict[str, object]:
    return {"stride": geometry[2], "padding": geometry[3], "ceil_mode": geometry[4]}


def betas(geometry: Geometry) -> Tensor:
    """A value of beta for each position of the output, from 0 to 1."""
    shape = oracle.output_size(*geometry)
    return torch.linspace(0, 1, math.prod(shape), dtype=torch.float64).reshape(shape)


def loop_weights(operator: Operator, x: Tensor, beta: Tensor, geometry: Geometry) -> oracle.Array:
    """The fused weights of the loops."""
    _, kernel, stride, padding, ceil_mode = geometry
    em = oracle.weights(x.numpy(), kernel, stride, padding, None, ceil_mode=ceil_mode)
    if operator == EM:
        return em
    smooth = oracle.weights(x.numpy(), kernel, stride, padding, operator.similarity, operator.over_channels, ceil_mode)
    return oracle.fuse(smooth, em, beta.numpy() if operator.beta is None else operator.beta, len(kernel))


@members
@geometries
def test_values_gradients_masks_and_unpooling_equal_the_loops(operator: Operator, geometry: Geometry) -> None:
    size, kernel, stride, padding, ceil_mode = geometry
    x, beta = noise(2, 3, *size).requires_grad_(), betas(geometry)
    weights = loop_weights(operator, x.detach(), beta, geometry)
    where = size, kernel, stride, padding, ceil_mode

    def same(found: Tensor, expected: oracle.Array) -> None:
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-11, atol=1e-13)

    y, mask = operator(x, kernel, beta, return_mask=True, **options(geometry))
    same(y, oracle.apply(x.detach().numpy(), weights, *where[1:]))
    torch.testing.assert_close(operator(x, kernel, beta, **options(geometry)), y, rtol=0, atol=0)
    dy = noise(*y.shape, seed=1)
    y.backward(dy)
    same(x.grad, oracle.spread(dy.numpy(), weights, *where))  # straight through: by the weights

    beside = oracle.side_by_side(weights, kernel)
    same(mask.fused().expand(beside.shape), beside)
    if operator.over_channels:
        assert mask.edscw.shape[1] == 1
    assert (mask.edscw is None, mask.em is None) == (operator == EM, operator.name in ("idw", "edscw"))
    assert (mask.kernel, mask.stride, mask.padding, mask.input_size) == (kernel, stride, padding, size)

    values = noise(*y.shape, seed=6)
    same(layers.adaunpool(values, mask, output_size=size), oracle.spread(values.numpy(), weights, *where))
    valid = np.zeros((1, 1, *y.shape[2:]))
    for position, pairs in oracle.windows(*where):
        valid[(0, 0, *position)] = len(pairs)
    mean = oracle.spread(values.numpy() * valid, weights, *where)
    same(layers.adaunpool(values, mask, normalise="mean", output_size=size), mean)


# Values


@pytest.mark.parametrize(
    ("operator", "values", "weights"),
    [
        (EM, [4.58878, 5.58878, 7.58878, 8.58878], [0.012755, 0.034671, 0.256187, 0.696387]),
        (EDSCW, [3.137028, 4.062361, 6.019234, 7.012196], [0.194517, 0.268700, 0.278806, 0.257977]),
        (IDW, [3, 4, 6, 7], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    ],
    ids=["EM", "eDSCW", "IDW"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_values(operator: Operator, values: list[float], weights: list[float], dtype: torch.dtype) -> None:
    y, mask = operator(GRID.to(dtype), (2, 2), stride=1, return_mask=True)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.flatten(), values, atol=6e-6)
    np.testing.assert_allclose(mask.fused()[0, 0, :2, :2].flatten(), weights, atol=6e-7)


@four
@pytest.mark.parametrize("stride", [None, (1, 3)])
def test_all_dimensions_agree(operator: Operator, stride: tuple[int, int] | None) -> None:
    x = noise(2, 3, 7, 9)
    options = {"stride": stride} if stride else {}
    y = operator(x, (2, 3), **options)
    for axis, kernel in enumerate([(1, 2, 3), (2, 1, 3), (2, 3, 1)]):
        deeper = {"stride": (*stride[:axis], 1, *stride[axis:])} if stride else {}
        torch.testing.assert_close(operator(x.unsqueeze(2 + axis), kernel, **deeper), y.unsqueeze(2 + axis))
    line = operator(x[:, :, 0], (3,), stride=stride and stride[1])
    torch.testing.assert_close(operator(x[:, :, :1], (1, 3), stride=stride)[:, :, 0], line)


def test_3d_voxels_are_those_of_the_window() -> None:
    x = torch.zeros(1, 1, 4, 4, 6, dtype=torch.float64)
    x[0, 0, 2, 1, 4] = 8.0  # every other window is zero
    for operator in (EM, EDSCW, ADA):
        y = operator(x, (2, 2, 2))
        assert y.nonzero().tolist() == [[0, 0, 1, 0, 2]]


def test_the_published_cpu_form_is_not_reproduced() -> None:
    x = noise(1, 4, 6, 6)
    y = layers.soft_pool2d(x, 2)
    torch.testing.assert_close(y, torch.cat([layers.soft_pool2d(channel, 2) for channel in x.split(1, dim=1)], dim=1))
    assert (y < 0).any()  # nor are negative values cut off


# Invariants

finite = st.floats(-100, 100, width=32)


def windows_of(*lengths: int) -> st.SearchStrategy[list[float]]:
    return st.sampled_from(lengths).flatmap(lambda n: st.lists(finite, min_size=n, max_size=n))


def line(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)


@given(windows_of(4, 8, 9))
@settings(deadline=None, max_examples=60)
def test_smooth_weights_are_bounded(values: list[float]) -> None:
    n = len(values)
    _, mask = EDSCW(line(values), (n,), return_mask=True)
    weights = mask.edscw.flatten()
    assert weights.sum().item() == pytest.approx(1)
    assert weights.min() >= 1 / ((n - 1) * math.e + 1) - 1e-12
    assert weights.max() <= math.e / (math.e + n - 1) + 1e-12


@given(windows_of(2, 4, 9), st.randoms(use_true_random=False), st.floats(-8, 8), st.floats(-50, 50))
@settings(deadline=None, max_examples=60)
def test_order_translation_and_scale(values: list[float], random: object, scale: float, offset: float) -> None:
    x, kernel = line(values), (len(values),)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for operator in (EM, EDSCW, ADA):
        torch.testing.assert_close(operator(line(shuffled), kernel), operator(x, kernel), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(EM(x + offset, kernel), EM(x, kernel) + offset, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(EDSCW(scale * x, kernel), scale * EDSCW(x, kernel), rtol=1e-9, atol=1e-9)


@given(windows_of(1, 2, 5, 9), st.sampled_from(ALL), st.floats(0, 1))
@settings(deadline=None, max_examples=100)
def test_result_lies_within_the_window(values: list[float], operator: Operator, beta: float) -> None:
    y = operator(line(values), (len(values),), beta).item()
    slack = 1e-12 * max(map(abs, values))
    assert min(values) - slack <= y <= max(values) + slack


@pytest.mark.parametrize("over", ["element", "channel"])
def test_beta_chooses_between_both_averages(over: str) -> None:
    x = noise(2, 3, 6, 6)
    shared = {"similarity_over": over}
    torch.testing.assert_close(layers.adapool2d(x, 0.0, **shared), layers.empool2d(x), rtol=0, atol=0)
    torch.testing.assert_close(layers.adapool2d(x, 1.0, **shared), layers.edscwpool2d(x, **shared), rtol=0, atol=0)
    for beta in (torch.tensor(0.25), torch.full((1, 1), 0.25), torch.full((3, 3), 0.25)):
        expected = 0.25 * layers.edscwpool2d(x, **shared) + 0.75 * layers.empool2d(x)
        torch.testing.assert_close(layers.adapool2d(x, beta.double(), **shared), expected)


def test_opposite_of_the_mean_is_similar() -> None:
    x = line([3.0, 2.0, -1.25])  # mean 1.25
    _, mask = EDSCW(x, (3,), return_mask=True)
    scores = mask.edscw.flatten().log()
    expected = torch.tensor([7.5 / 10.5625 - 1, 5 / 5.5625 - 1], dtype=torch.float64)
    torch.testing.assert_close(scores[:2] - scores[2], expected)


# Gradients


@members
def test_straight_through_sums_to_the_gradient_of_the_window(operator: Operator) -> None:
    x = noise(2, 3, 6, 9).requires_grad_()
    y = operator(x, (2, 3))
    dy = noise(*y.shape, seed=1)
    y.backward(dy)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(x.grad, (2, 3)) * 6, dy)


@geometries
def test_exact_gradient_in_every_geometry(geometry: Geometry) -> None:
    size, kernel, *_ = geometry
    x, beta = noise(1, 2, *size).requires_grad_(), betas(geometry).requires_grad_()
    exact = options(geometry) | {"gradient": "exact"}
    assert torch.autograd.gradcheck(lambda x, beta: ADA(x, kernel, beta, **exact), (x, beta), fast_mode=True)


@members
def test_exact_gradient_of_every_similarity(operator: Operator) -> None:
    x, beta = noise(1, 3, 5, 4, seed=3).requires_grad_(), torch.full((2, 2), 0.4).double().requires_grad_()
    inputs = (x, beta) if operator.name == "ada" else (x,)
    exact = {"stride": (2, 1), "padding": (0, 0), "gradient": "exact"}
    assert torch.autograd.gradcheck(lambda x, beta=0.0: operator(x, (3, 3), beta, **exact), inputs, fast_mode=True)


@members
def test_second_derivatives(operator: Operator) -> None:
    x, beta = noise(1, 2, 5, seed=4).requires_grad_(), torch.full((2,), 0.4).double().requires_grad_()
    inputs = (x, beta) if operator.name == "ada" else (x,)
    exact = {"stride": 2, "gradient": "exact"}
    assert torch.autograd.gradgradcheck(lambda x, beta=0.0: operator(x, (3,), beta, **exact), inputs)


@pytest.mark.parametrize("nan_to_num", [False, True])
def test_first_derivatives_do_not_depend_on_the_second(nan_to_num: bool) -> None:
    x, beta = noise(1, 2, 8, 8).requires_grad_(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    if nan_to_num:
        x.data[0, 0, 2, 3] = math.nan
    options = {"stride": 1, "gradient": "exact", "nan_to_num": nan_to_num}
    y = ADA(ADA(x, (2, 2), beta, **options), (3, 3), beta * x.nan_to_num().sum(), **options)
    plain = torch.autograd.grad(y.square().sum(), (x, beta), retain_graph=True)
    assert all(gradient.isfinite().all() for gradient in plain)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), (x, beta), create_graph=True), plain)


@four
def test_exact_gradient_equals_differences_of_the_loops(operator: Operator) -> None:
    x, kernel, stride = noise(1, 1, 5, 4, seed=5), (3, 2), (2, 1)
    beta = noise(2, 3).sigmoid()
    dy = noise(1, 1, 2, 3, seed=1)

    def loss(values: oracle.Array) -> float:
        mix = beta.numpy() if operator.beta is None else operator.beta
        return float(
            (oracle.pool(values, kernel, stride, similarity=operator.similarity or "dsc", beta=mix) * dy.numpy()).sum()
        )

    a = x.clone().requires_grad_()
    operator(a, kernel, beta, stride=stride, gradient="exact").backward(dy)
    np.testing.assert_allclose(a.grad, oracle.finite_difference(loss, x.numpy()), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gradient", ["straight_through", "exact"])
@pytest.mark.parametrize("shape", [(), (1, 1), (3, 4)])
def test_gradient_of_beta(gradient: str, shape: Index) -> None:
    x, dy = noise(2, 3, 7, 8), noise(2, 3, 3, 4, seed=1)
    beta = noise(*shape, seed=2).sigmoid().requires_grad_()
    layers.adapool2d(x, beta, gradient=gradient).backward(dy)

    def loss(value: oracle.Array) -> float:
        return float((oracle.pool(x.numpy(), (2, 2), beta=np.broadcast_to(value, (3, 4))) * dy.numpy()).sum())

    assert beta.grad.shape == shape
    difference = oracle.finite_difference(loss, beta.detach().numpy().copy(), step=1e-3)  # linear: any step will do
    np.testing.assert_allclose(beta.grad, difference, rtol=1e-8, atol=1e-10)


# Masks and unpooling


def test_masks_are_separate() -> None:
    x = noise(3, 4, 6, 6)
    one, two = layers.AdaPool2d(2, beta=0.2, return_mask=True), layers.IDWPool2d(3, return_mask=True)
    _, first = one(x)
    kept = first.fused().clone()
    _, second = two(x)
    _, again = one(x.flip(0))
    torch.testing.assert_close(first.fused(), kept, rtol=0, atol=0)
    torch.testing.assert_close(again.fused(), kept.flip(0), rtol=0, atol=0)
    assert second.fused().shape == (3, 4, 6, 6)
    assert second.em is None
    items = first.fused().flatten(2).flatten(0, 1)
    assert torch.cdist(items, items).fill_diagonal_(1).min() > 1e-3  # each item and channel has its own


def test_mask_gradient_only_if_asked() -> None:
    x = noise(1, 2, 4, 6).requires_grad_()
    _, mask = ADA(x, (2, 2), return_mask=True)
    assert not mask.edscw.requires_grad
    assert not mask.em.requires_grad

    def fused(x: Tensor) -> Tensor:
        return ADA(x, (2, 3), return_mask=True, detach_mask=False, gradient="exact")[1].fused()

    assert torch.autograd.gradcheck(fused, (x,))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unpooling_keeps_sums_or_means(dims: int) -> None:
    x = noise(2, 3, *(4, 6, 8)[:dims])
    y, mask = ADA(x, (2,) * dims, return_mask=True)
    average = getattr(torch.nn.functional, f"avg_pool{dims}d")
    torch.testing.assert_close(average(layers.adaunpool(y, mask), 2) * 2**dims, y)
    torch.testing.assert_close(average(layers.adaunpool(y, mask, normalise="mean"), 2), y)


@pytest.mark.parametrize("batched_mask", [(2, 3), (2, 1), (2,)], ids=["B C", "B 1", "B"])
@pytest.mark.parametrize("interpolate", [True, False])
def test_published_tuple_and_single_mask(batched_mask: Index, interpolate: bool) -> None:
    y, beta = noise(2, 3, 2, 3), noise(2, 3, seed=1).sigmoid()
    edscw, em = noise(*batched_mask, 4, 6, seed=2).sigmoid(), noise(*batched_mask, 4, 6, seed=3).sigmoid()
    wide = {True: y, False: y.repeat_interleave(2, -1).repeat_interleave(2, -2)}[interpolate]
    large = y.repeat_interleave(2, -1).repeat_interleave(2, -2)
    b = beta.repeat_interleave(2, -1).repeat_interleave(2, -2)
    w1, w2 = (w if len(batched_mask) == 2 else w[:, None] for w in (edscw, em))
    expected = large * (b * w1 + (1 - b) * w2)
    torch.testing.assert_close(layers.adaunpool(wide, (edscw, em, beta), interpolate), expected)
    torch.testing.assert_close(layers.adaunpool(wide, edscw, interpolate), large * w1)


def test_gradient_of_unpooling() -> None:
    x = noise(1, 2, 5, 6)
    y, mask = ADA(x, (3, 2), stride=(2, 2), return_mask=True)
    values = y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: layers.adaunpool(y, mask), (values,))
    assert torch.autograd.gradcheck(lambda y: layers.adaunpool(y, mask, normalise="mean"), (values,))

    def there_and_back(x: Tensor, beta: Tensor) -> Tensor:
        y, mask = ADA(x, (2, 2), beta, return_mask=True, detach_mask=False, gradient="exact")
        return layers.adaunpool(y, mask)

    beta = noise(2, 3).sigmoid().requires_grad_()
    assert torch.autograd.gradcheck(there_and_back, (noise(1, 2, 4, 6).requires_grad_(), beta))


def test_unpooling_lands_on_the_input() -> None:
    for size, kernel, padding in product([(7, 9), (8, 8)], [(2, 2), (3, 2)], [0, 1]):
        y, mask = ADA(noise(1, 1, *size), kernel, stride=2, padding=padding, return_mask=True)
        assert layers.adaunpool(y, mask, output_size=size).shape[2:] == size

"""The functions of the AdaPool family as users call them: arguments, beta, masks, and what they refuse."""

import inspect
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vo3d import layers
from vo3d.errors import Vo3dError

OPERATORS = ("adapool", "edscwpool", "empool", "idwpool")
SIZES = {1: (7,), 2: (6, 7), 3: (4, 5, 6)}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def called(operator: str, axes: int) -> Callable[..., Any]:
    """The function with a beta of 0.3 where it takes one, so that all are called alike."""
    function = getattr(layers, f"{operator}{axes}d")
    return (lambda x, *args, **options: function(x, 0.3, *args, **options)) if operator == "adapool" else function


each = pytest.mark.parametrize(("operator", "axes"), list(product(OPERATORS, (1, 2, 3))))


# Names and arguments


@each
def test_arguments_come_in_the_published_order(operator: str, axes: int) -> None:
    parameters = inspect.signature(getattr(layers, f"{operator}{axes}d")).parameters
    expected = ["x", "beta", "kernel_size", "stride", "return_mask", "native"]
    if operator != "adapool":
        expected.remove("beta")
    assert list(parameters) == [*expected, "options"]
    assert [parameters[name].default for name in expected[-4:]] == [2, None, False, False]


@each
def test_help_tells_shapes_and_arguments(operator: str, axes: int) -> None:
    function = getattr(layers, f"{operator}{axes}d")
    assert function.__name__ == f"{operator}{axes}d"
    text = inspect.getdoc(function)
    shape = {1: "(B, C, L)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}[axes]
    names = ["kernel_size:", "stride:", "padding=0", "ceil_mode=False", "gradient=", "Vo3dError"]
    assert all(word in text for word in [shape, *names])
    options = layers.EMPoolOptions if operator == "empool" else layers.PoolOptions
    assert all(name in text and name in layers.PoolOptions.__doc__ + layers.EMPoolOptions.__doc__
               for name in options.__annotations__)  # fmt: skip


def test_second_names() -> None:
    for axes in (1, 2, 3):
        assert getattr(layers, f"soft_pool{axes}d") is getattr(layers, f"empool{axes}d")


@each
def test_sizes_are_numbers_or_one_for_each_axis(operator: str, axes: int) -> None:
    pool, x = called(operator, axes), noise(2, 3, *SIZES[axes])
    expected = pool(x, 2)
    for size in ((2,) * axes, [2] * axes):
        torch.testing.assert_close(pool(x, size, size, padding=[0] * axes), expected, rtol=0, atol=0)
    torch.testing.assert_close(pool(x), expected, rtol=0, atol=0)  # kernel 2, stride the kernel's
    torch.testing.assert_close(pool(x, 3), pool(x, 3, 3), rtol=0, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(pool(x, 3), pool(x, 3, 2))


@each
def test_windows_lie_as_those_of_torch(operator: str, axes: int) -> None:
    pool, torch_pool = called(operator, axes), getattr(functional, f"max_pool{axes}d")
    for size, kernel, stride, ceil in product((1, 3, 4, 7), (1, 2, 3), (1, 2, 3), (False, True)):
        for padding in range(kernel // 2 + 1):
            x = noise(1, 1, *(size,) * axes)
            options = {"padding": padding, "ceil_mode": ceil}
            try:
                expected = torch_pool(x, kernel, stride, **options).shape
            except RuntimeError:
                with pytest.raises(Vo3dError, match="larger than the input"):
                    pool(x, kernel, stride, **options)
            else:
                assert pool(x, kernel, stride, **options).shape == expected


@each
def test_an_input_without_batch_stays_as_it_is(operator: str, axes: int) -> None:
    leaf = noise(3, *SIZES[axes]).requires_grad_()
    x = leaf * 2  # not a leaf: a change in place would break its gradient
    before = x.detach().clone()
    y, mask = called(operator, axes)(x, return_mask=True)
    y.sum().backward()
    assert x.shape == before.shape
    assert x._version == 0
    torch.testing.assert_close(x.detach(), before, rtol=0, atol=0)
    torch.testing.assert_close(y, called(operator, axes)(x[None])[0], rtol=0, atol=0)
    assert leaf.grad.abs().sum() > 0
    assert mask.fused().shape[:2] == (1, 3)


# Beta


@pytest.mark.parametrize("gradient", ["straight_through", "exact"])
@pytest.mark.parametrize("shape", [(), (1, 1), (4, 1), (4, 3)])
def test_gradient_of_beta_is_that_of_finite_differences(gradient: str, shape: tuple[int, ...]) -> None:
    x, dy = noise(2, 3, 7, 8), noise(2, 3, 4, 3, seed=1)
    beta = noise(*shape, seed=2).sigmoid().requires_grad_()

    def loss(beta: Tensor) -> Tensor:
        return (layers.adapool2d(x, beta, (2, 3), (2, 3), padding=(1, 1), gradient=gradient)[..., :4, :3] * dy).sum()

    loss(beta).backward()
    assert beta.grad.shape == shape
    values, step = beta.detach(), 0.25  # the output is linear in beta, so that any step will do
    for index in range(values.numel()):
        change = torch.zeros(values.numel(), dtype=torch.float64)
        change[index] = step
        difference = (loss(values + change.view(shape)) - loss(values - change.view(shape))) / (2 * step)
        torch.testing.assert_close(beta.grad.flatten()[index], difference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("of_x", "of_beta"), [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float64"),
                                               ("float64", "float32"), ("float32", "bfloat16")])  # fmt: skip
def test_beta_may_have_another_precision(of_x: str, of_beta: str) -> None:
    x = noise(2, 3, 4, 6).to(getattr(torch, of_x)).requires_grad_()
    beta = noise(2, 3, seed=1).sigmoid().to(getattr(torch, of_beta)).requires_grad_()
    y = layers.adapool2d(x, beta)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype, beta.grad.dtype) == (x.dtype, x.dtype, beta.dtype)
    expected = layers.adapool2d(x.double(), beta.double())
    torch.testing.assert_close(y.double(), expected, rtol=5 * torch.finfo(x.dtype).eps, atol=torch.finfo(x.dtype).eps)


def test_one_value_of_beta_serves_every_size() -> None:
    for size in ((4, 4), (5, 9), (2, 30)):
        x = noise(1, 2, *size)
        y = layers.adapool2d(x, 0.25)
        full = torch.full(y.shape[2:], 0.25, dtype=torch.float64)
        for beta in (torch.tensor(0.25), torch.full((1, 1), 0.25), full):
            torch.testing.assert_close(layers.adapool2d(x, beta), y, rtol=0, atol=0)


def test_gradients_of_gradients_where_beta_is_made_from_the_input() -> None:
    x = noise(1, 2, 4, 4).requires_grad_()

    def pool(x: Tensor) -> Tensor:
        return layers.adapool2d(x, x.mean((0, 1))[::2, ::2].sigmoid(), gradient="exact")

    (plain,) = torch.autograd.grad(pool(x).sum(), x)
    (recorded,) = torch.autograd.grad(pool(x).sum(), x, create_graph=True)
    torch.testing.assert_close(recorded.detach(), plain)
    assert torch.autograd.gradgradcheck(pool, (x,))


# Masks and special values


@each
def test_weights_of_a_window_sum_to_one(operator: str, axes: int) -> None:
    x = noise(2, 3, *SIZES[axes]).requires_grad_()
    for kernel, stride, padding in ((2, None, 0), (3, 2, 1)):
        y, mask = called(operator, axes)(x, kernel, stride, True, padding=padding, ceil_mode=True)
        assert mask.fused().shape == (2, 3, *(kernel * o for o in y.shape[2:]))
        sums = getattr(functional, f"avg_pool{axes}d")(mask.fused(), kernel) * kernel**axes
        torch.testing.assert_close(sums, torch.ones_like(sums))
        assert not mask.fused().requires_grad


def test_masks_of_vectors_are_shared_by_the_channels() -> None:
    x = noise(2, 3, 4, 6)
    y, mask = layers.adapool2d(x, 0.3, return_mask=True, similarity="cosine", similarity_over="channel")
    assert (mask.edscw.shape, mask.em.shape, mask.fused().shape) == ((2, 1, 4, 6), (2, 3, 4, 6), (2, 3, 4, 6))
    torch.testing.assert_close(functional.avg_pool2d(mask.fused() * x, 2) * 4, y)


def test_gradients_flow_through_a_mask_that_is_not_detached() -> None:
    x, beta = noise(1, 2, 4, 6).requires_grad_(), noise(2, 3, seed=1).sigmoid().requires_grad_()
    for detach in (True, False):
        mask = layers.adapool2d(x, beta, return_mask=True, detach_mask=detach)[1]
        assert all(part.requires_grad is not detach for part in mask[:3])

    def fused(x: Tensor, beta: Tensor) -> Tensor:
        return layers.adapool2d(x, beta, return_mask=True, detach_mask=False)[1].fused()

    assert torch.autograd.gradcheck(fused, (x, beta))


@pytest.mark.parametrize("operator", OPERATORS)
def test_not_a_number_is_passed_on_or_becomes_zero(operator: str) -> None:
    x = noise(1, 1, 4, 4)
    x[0, 0, 0, 1] = torch.nan
    clean = called(operator, 2)(x.nan_to_num())
    for hide in (False, True):
        a = x.clone().requires_grad_()
        y, mask = called(operator, 2)(a, return_mask=True, nan_to_num=hide)
        torch.testing.assert_close(y[0, 0, 1:], clean[0, 0, 1:], rtol=0, atol=0)
        assert y[0, 0, 0, 0].isnan().item() is not hide
        assert mask.fused()[0, 0, 0, 0].isnan().item() is not hide
        y.sum().backward()
        assert a.grad[0, 0, 2:].isfinite().all()
        if hide:
            assert (y[0, 0, 0, 0], a.grad[0, 0, :2, :2].abs().sum(), mask.fused()[0, 0, :2, :2].sum()) == (0, 0, 0)


# One clear line for each mistake

X = noise(1, 3, 4, 6)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: layers.empool2d(X, (5, 2), padding=(0, 1)), "the kernel (5, 2) is larger than the input, (4, 8)"),
        (lambda: layers.empool2d(X[..., :0]), "empool2d: the kernel (2, 2) is larger than the input, (4, 0)"),
        (lambda: layers.empool2d(X, 3, padding=2), "empool2d: found padding 2 for kernel_size 3, expected at most"),
        (lambda: layers.empool2d(X, (2, 2, 2)), "found kernel_size (2, 2, 2), expected a whole number of at least 1"),
        (lambda: layers.empool2d(X, 2, 0), "empool2d: found stride 0, expected a whole number of at least 1"),
        (lambda: layers.empool2d(X, padding=-1), "empool2d: found padding -1, expected a whole number of at least 0"),
        (lambda: layers.empool2d(X, similarity="l1"), "empool2d: found similarity 'l1', but the smooth maximum"),
        (lambda: layers.empool3d(X[0]), "empool3d: found an input of shape (3, 4, 6), expected (B, C, D, H, W)"),
        (lambda: layers.idwpool1d(X), "idwpool1d: found an input of shape (1, 3, 4, 6), expected (B, C, L) or (C, L)"),
        (lambda: layers.idwpool2d(X.long()), "idwpool2d: found an input of torch.int64, expected floating point"),
        (lambda: layers.edscwpool2d(X, similarity="cosine"), "similarity 'cosine' compares vectors"),
        (lambda: layers.edscwpool2d(X, similarity="pce"), "edscwpool2d: similarity 'pce' compares vectors"),
        (lambda: layers.edscwpool2d(X, similarity="l3"), "'l3' is unknown: expected one of dsc, cosine, pce, l1"),
        (lambda: layers.edscwpool2d(X, gradient="true"), "'true' is unknown: expected one of straight_through"),
        (lambda: layers.edscwpool2d(X, similarity_over="all"), "'all' is unknown: expected one of element"),
        (lambda: layers.adapool2d(X, None), "adapool2d: beta is missing: give a number in [0, 1], or a tensor"),
        (lambda: layers.adapool2d(X, torch.ones(3, 2)), "shape (3, 2), expected the output's size (2, 3)"),
        (lambda: layers.adapool2d(X, torch.ones(3)), "found a beta of shape (3,), expected the output's size (2, 3)"),
        (lambda: layers.adapool2d(X, torch.ones(2, 3).int()), "found a beta of torch.int32, expected floating point"),
        (lambda: layers.adapool2d(X, torch.ones(2, 3, device="meta")), "beta is on meta and the input on cpu"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(call: Callable[[], Any], line: str) -> None:
    with pytest.raises(Vo3dError) as error:
        call()
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_option_is_no_option() -> None:
    with pytest.raises(Vo3dError, match="pading"):
        layers.adapool2d(X, 0.5, pading=1)

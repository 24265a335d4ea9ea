"""The AdaPool family at its edges: extreme values, odd shapes and layouts, every dtype, wrong arguments."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import adapool_oracle as oracle
from adapool_oracle import ALL, EM, FOUR, Operator
from vo3d import layers
from vo3d.errors import Vo3dError

members = pytest.mark.parametrize("operator", ALL, ids=str)
four = pytest.mark.parametrize("operator", FOUR, ids=lambda operator: operator.name)
rules = pytest.mark.parametrize("gradient", ["straight_through", "exact"])
MAX = torch.finfo(torch.float32).max


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# Extreme values


@members
@rules
def test_zeros(operator: Operator, gradient: str) -> None:
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    y, mask = operator(x, (2, 2), gradient=gradient, return_mask=True)
    torch.testing.assert_close(y, torch.zeros(2, 3, 2, 2), rtol=0, atol=0)
    torch.testing.assert_close(mask.fused().expand(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.25))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2, 3, 4, 4), 0.25))


@members
@rules
def test_constant_windows(operator: Operator, gradient: str) -> None:
    for value in (1.0, -3.0, 0.1, 7.7e-20, -2e-40, 1e30, -MAX, MAX):
        x = torch.full((1, 2, 7, 7), value, requires_grad=True)
        y = operator(x, (3, 3), stride=2, gradient=gradient)
        torch.testing.assert_close(y, torch.full((1, 2, 3, 3), value), rtol=1e-6, atol=1e-44)
        y.backward(torch.ones_like(y))
        torch.testing.assert_close(x.grad.sum(), torch.tensor(18.0))


def test_one_odd_element_in_a_window_of_mean_zero() -> None:
    for values in ([1.0, -1.0, 0.0, 0.0], [5.0, -5.0, 5.0, -5.0], [0.0, 0.0, 0.0, 1e-45]):
        x = torch.tensor(values).reshape(1, 1, 4)
        for operator in FOUR:
            y = operator(x, (4,)).item()
            assert min(values) <= y <= max(values), (operator, values, y)


@members
@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float16, 1e4), (torch.float32, 1e30), (torch.float32, 1e-30), (torch.bfloat16, 1e38)]
)
def test_large_and_small_numbers_equal_the_loops(operator: Operator, dtype: torch.dtype, scale: float) -> None:
    x = (torch.tensor([[3.0, -1.5, 2.0, -2.5, 1.0, 1.25, -3.0, 0.5], [1, 2, 3, 4, 5, 6, 5, 3]]) / 6 * scale).to(dtype)[
        None
    ]
    beta = operator.beta if operator.beta is not None else 0.3
    over = operator.over_channels
    expected = oracle.pool(
        x.double().numpy(), (4,), similarity=operator.similarity or "dsc", beta=beta, over_channels=over
    )
    y = operator(x, (4,))
    assert y.dtype == dtype
    error = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    np.testing.assert_allclose(y.double(), expected, rtol=error, atol=error * scale)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4), st.sampled_from(ALL)
)
@settings(deadline=None, max_examples=150)
def test_any_finite_window(values: list[float], operator: Operator) -> None:
    x = torch.tensor(values).reshape(1, 1, 4).requires_grad_()
    y = operator(x, (4,))
    slack = 1e-6 * max(map(abs, values)) + 1e-44  # denormal numbers are 1.4e-45 apart
    assert min(values) - slack <= y.item() <= max(values) + slack
    y.sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.sum().item() == pytest.approx(1, rel=1e-5)
    assert x.grad.min() >= 0


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4), st.sampled_from(ALL))
@settings(deadline=None, max_examples=100)
def test_exact_gradient_of_any_window_is_finite(values: list[float], operator: Operator) -> None:
    x = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 4).requires_grad_()
    operator(x, (4,), gradient="exact").sum().backward()
    assert x.grad.isfinite().all(), x.grad


@four
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_large_numbers_do_not_overflow(operator: Operator, dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    x = torch.tensor([top, -top, top / 2, 12.0, 90.0, -200.0, -150.0, -104.0], dtype=dtype).reshape(1, 1, 8)
    y, mask = operator(x, (4,), return_mask=True)
    assert y.isfinite().all()
    torch.testing.assert_close(mask.fused().reshape(2, 4).sum(1), torch.ones(2, dtype=dtype), rtol=2e-3, atol=0)
    if operator == EM:
        torch.testing.assert_close(y.flatten(), torch.tensor([top, 90.0], dtype=dtype), rtol=0, atol=0)
    assert EM(x[..., 5:8], (3,)).item() == pytest.approx(-104, abs=0.1)  # all far below zero: nothing vanishes


@members
@rules
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_a_number_stays_in_its_window(operator: Operator, gradient: str, value: float) -> None:
    clean = noise(2, 3, 4, 6, dtype=torch.float64)
    spoiled = clean.clone()
    spoiled[1, 2, 3, 1] = value
    whole = (1, slice(None) if operator.over_channels else 2, 1, 0)
    bad = torch.zeros(2, 3, 2, 3, dtype=torch.bool)
    bad[whole] = True
    wide = bad.repeat_interleave(2, -1).repeat_interleave(2, -2)
    expected, x = operator(clean, (2, 2), gradient=gradient), clean.clone().requires_grad_()
    operator(x, (2, 2), gradient=gradient).sum().backward()
    for nan_to_num in (False, True):
        a = spoiled.clone().requires_grad_()
        y = operator(a, (2, 2), gradient=gradient, nan_to_num=nan_to_num)
        y.sum().backward()
        torch.testing.assert_close(y[~bad], expected[~bad])
        torch.testing.assert_close(a.grad[~wide], x.grad[~wide])
        if nan_to_num:
            assert y.isfinite().all()
            assert a.grad.isfinite().all()
        else:
            assert y[1, 2, 1, 0].isnan()
    y = operator(torch.full((1, 2, 2, 2), float("nan")), (2, 2), nan_to_num=True)
    torch.testing.assert_close(y, torch.zeros(1, 2, 1, 1), rtol=0, atol=0)


@four
def test_denormals(operator: Operator) -> None:
    x = noise(2, 3, 6, 6).abs() * 1e-40
    y = operator(x, (2, 2))
    assert (y <= torch.nn.functional.max_pool2d(x, 2)).all()
    assert (y >= -torch.nn.functional.max_pool2d(-x, 2)).all()
    assert (y > 0).all()


# Shapes and layouts


@members
@rules
def test_kernel_of_one_is_the_identity(operator: Operator, gradient: str) -> None:
    for kernel in ((1,), (1, 1), (1, 1, 1)):
        size = (4, 3, 2)[: len(kernel)]
        x = torch.cat([noise(2, 3, *size), torch.zeros(2, 3, *size)]).requires_grad_()
        y = operator(x, kernel, gradient=gradient)
        torch.testing.assert_close(y, x)
        y.sum().backward()
        torch.testing.assert_close(x.grad, torch.ones_like(x))
        assert operator(x, kernel, stride=2).shape[2:] == tuple((n + 1) // 2 for n in x.shape[2:])


@four
@rules
def test_layouts_and_expanded_gradients(operator: Operator, gradient: str) -> None:
    reference = noise(4, 6, 7, 8)
    layouts: dict[str, Callable[[Tensor], Tensor]] = {
        "channels_last": lambda x: x.to(memory_format=torch.channels_last),
        "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        "batch last": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "strided": lambda x: torch.stack([x, x + 1], dim=-1)[..., 0],
        "offset": lambda x: torch.nn.functional.pad(x, (3, 2, 1, 1))[..., 1:-1, 3:-2],
    }
    beta = noise(3, 4, seed=1).sigmoid()
    a, b = reference.clone().requires_grad_(), beta.clone().requires_grad_()
    expected = operator(a, (3, 2), b, stride=2, gradient=gradient)
    expected.sum().backward()
    for name, layout in layouts.items():
        x, c = layout(reference).requires_grad_(), beta.t().contiguous().t().requires_grad_()
        y = operator(x, (3, 2), c, stride=2, gradient=gradient)
        torch.testing.assert_close(y, expected, msg=name)
        y.sum().backward()  # an expanded gradient: all strides 0
        torch.testing.assert_close(x.grad, a.grad, msg=name)
        x.grad = None
        operator(x, (3, 2), c, stride=2, gradient=gradient).backward(
            torch.ones_like(y).to(memory_format=torch.channels_last)
        )
        torch.testing.assert_close(x.grad, a.grad, msg=name)
        y, mask = operator(x, (3, 2), c, stride=2, return_mask=True)
        torch.testing.assert_close(
            mask.fused(), operator(reference, (3, 2), beta, stride=2, return_mask=True)[1].fused()
        )
        torch.testing.assert_close(
            layers.adaunpool(layout(y.detach()), mask), layers.adaunpool(expected.detach(), mask)
        )


@four
def test_channels_last_stays(operator: Operator) -> None:
    x = noise(2, 8, 6, 6).to(memory_format=torch.channels_last).requires_grad_()
    y = operator(x, (2, 2))
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.sum().backward()
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


@four
def test_input_expanded_over_the_batch(operator: Operator) -> None:
    x = noise(1, 3, 4, 4).requires_grad_()
    y = operator(x.expand(5, 3, 4, 4), (2, 2))
    torch.testing.assert_close(y, operator(x, (2, 2)).expand(5, 3, 2, 2))
    y.sum().backward()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(60.0))


@members
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_without_a_batch(operator: Operator, dims: int) -> None:
    x = noise(3, *(4, 6, 5)[:dims]).requires_grad_()
    before, version = x.detach().clone(), x._version
    y, mask = operator(x, (2,) * dims, return_mask=True)
    assert y.ndim == dims + 1
    torch.testing.assert_close(y, operator(x[None], (2,) * dims)[0])
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert x._version == version
    torch.testing.assert_close(x.detach(), before, rtol=0, atol=0)
    torch.testing.assert_close(layers.adaunpool(y, mask).sum(), y.sum())


@members
def test_empty(operator: Operator) -> None:
    for shape in ((0, 3, 4, 4), (2, 0, 4, 4), (0, 0, 5, 3), (0, 4, 4)):
        x, beta = torch.zeros(shape, requires_grad=True), torch.rand((), requires_grad=True)
        y, mask = operator(x, (2, 2), beta, return_mask=True)
        assert y.shape == (*shape[:-2], shape[-2] // 2, shape[-1] // 2)
        (y.sum() + 0 * beta).backward()
        assert x.grad.shape == shape
        assert beta.grad.item() == 0
        assert layers.adaunpool(y, mask).numel() == 0


@four
def test_every_output_of_an_odd_size(operator: Operator) -> None:
    for size in range(3, 12):
        for stride in (1, 2, 3, 5):
            x = noise(2, 2, size, 3)
            y = operator(x, (3, 2), stride=(stride, 1))
            for row in range((size - 3) // stride + 1):
                torch.testing.assert_close(
                    y[:, :, row : row + 1], operator(x[:, :, row * stride : row * stride + 3], (3, 2), stride=1)
                )
            assert y.shape[2] == (size - 3) // stride + 1


# Kinds of numbers


@members
@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float32, 1e-5)])
def test_precision(operator: Operator, dtype: torch.dtype, error: float) -> None:
    x = noise(2, 3, 9, 9, dtype=dtype).requires_grad_()
    y, mask = operator(x, (3, 3), return_mask=True)
    y.sum().backward()
    a = x.detach().double().requires_grad_()
    expected = operator(a, (3, 3))
    expected.sum().backward()
    assert (y.dtype, x.grad.dtype, mask.fused().dtype) == (dtype, dtype, dtype)
    torch.testing.assert_close(y.double(), expected, rtol=error, atol=error)
    if operator.name != "idw" or dtype == torch.float32:
        torch.testing.assert_close(x.grad.double(), a.grad, rtol=error, atol=error)


@four
def test_autocast_gives_float32(operator: Operator) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        x = noise(2, 3, 4, 4, dtype=dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y, mask = operator(x, (2, 2), return_mask=True)
            back = layers.adaunpool(y, mask)
        assert (y.dtype, mask.fused().dtype, back.dtype) == (torch.float32,) * 3
        y.sum().backward()
        assert x.grad.dtype == dtype
        torch.testing.assert_close(y, operator(x.float(), (2, 2)))


# Wrong arguments: one line


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: layers.empool2d(x, 5), ["4", "5"]),
        (lambda x: layers.empool2d(x, 2, padding=2), ["padding"]),
        (lambda x: layers.empool2d(x, 0), ["kernel"]),
        (lambda x: layers.empool2d(x, 2, 0), ["stride"]),
        (lambda x: layers.empool2d(x, 2, padding=-1), ["padding"]),
        (lambda x: layers.empool2d(x, (2, 2, 2)), ["kernel"]),
        (lambda x: layers.empool3d(x[0, 0], 2), ["empool3d"]),
        (lambda x: layers.empool1d(x, 2), ["empool1d"]),
        (lambda x: layers.empool2d(x.int(), 2), ["int32"]),
        (lambda x: layers.empool2d(x.to(torch.complex64), 2), ["complex64"]),
        (lambda x: layers.adapool2d(x, torch.zeros(3, 3)), ["beta", "(3, 3)", "(2, 2)"]),
        (lambda x: layers.adapool2d(x, torch.zeros(1, 1, 1, 1)), ["beta"]),
        (lambda x: layers.adapool2d(x, torch.zeros(2)), ["beta"]),
        (lambda x: layers.adapool2d(x, torch.zeros(2, 2, device="meta")), ["beta", "meta", "cpu"]),
        (lambda x: layers.adapool2d(x, torch.zeros(2, 2, dtype=torch.int64)), ["beta", "int64"]),
        (lambda x: layers.adapool2d(x, 3.0, 2, 1), ["beta", "3.0", "[0, 1]"]),  # max_pool2d(x, 3, 2, 1), renamed
        (lambda x: layers.adapool2d(x, float("nan")), ["beta", "nan"]),
        (lambda x: layers.adapool2d(x, 0.5, dilation=2), ["dilation", "similarity"]),
        (lambda x: layers.SoftPool2d(2, force_inplace=True), ["force_inplace", "padding"]),
        (lambda x: layers.edscwpool2d(x, similarity="cosine"), ["cosine", "channel"]),
        (lambda x: layers.edscwpool2d(x, similarity="pce"), ["pce", "channel"]),
        (lambda x: layers.edscwpool2d(x, similarity="dice"), ["dice", "dsc"]),
        (lambda x: layers.edscwpool2d(x, similarity=""), ["similarity"]),
        (lambda x: layers.edscwpool2d(x, similarity_over="batch"), ["batch", "element"]),
        (lambda x: layers.edscwpool2d(x, gradient="none"), ["none", "exact"]),
        (lambda x: layers.adaunpool(x, layers.empool2d(x, return_mask=True)[1]), ["mask"]),
        (lambda x: layers.adaunpool(x, torch.ones(7, 8, 8)), ["mask"]),
        (lambda x: layers.adaunpool(x, torch.ones(1, 3, 7, 8)), ["mask"]),
        (lambda x: layers.adaunpool(x, torch.ones(1, 3, 8, 8), normalise="max"), ["max", "mean"]),
        (lambda x: layers.adaunpool(x, torch.ones(1, 3, 8, 8), output_size=(7, 8)), ["output_size"]),
        (lambda x: layers.adaunpool(x, torch.ones(1, 3, 8, 8), interpolate=False), ["mask"]),
        (lambda x: layers.AdaPool2d(2), ["beta"]),
        (lambda x: layers.AdaPool2d(2, beta=(2, 2), parametrisation="tanh"), ["tanh", "sigmoid"]),
    ],
)
def test_wrong_arguments(call: Callable[[Tensor], Any], words: list[str]) -> None:
    with pytest.raises(Vo3dError) as error:
        call(noise(1, 3, 4, 4))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


WRONG_TYPES = """
import numpy as np, torch
from vo3d import layers
from vo3d.errors import Vo3dError

x = torch.rand(1, 3, 4, 4)
y, mask = layers.adapool2d(x, 0.5, return_mask=True)
calls = {
    "ndarray, expected a tensor": lambda: layers.empool2d(x.numpy()),
    "tuple, expected a number or a tensor (2, 2)": lambda: layers.adapool2d(x, (2, 2)),
    "ndarray, expected a number, a tensor or a tuple": lambda: layers.AdaPool2d(2, np.ones((2, 2))),
    "(0.2, 0.5) as the size of beta": lambda: layers.AdaPool2d(2, (0.2, 0.5)),
    "a size is a tuple, as (4,)": lambda: layers.AdaPool1d(2, beta=4),
    "EMPool2d: found return_mask 1": lambda: layers.SoftPool2d(3, 2, 1),
    "idwpool2d: found return_mask 1": lambda: layers.idwpool2d(x, 3, 2, 1),
    "native 'yes'": lambda: layers.AdaPool2d(2, 0.5, native="yes"),
    "type NoneType": lambda: layers.adaunpool(y, None),
    "type tuple": lambda: layers.adaunpool(y, (mask.edscw, mask.em)),
    "values of type PoolMask and a mask of type Tensor": lambda: layers.adaunpool(mask, y),
    "values of type tuple": lambda: layers.adaunpool((y, mask), mask),
}
for words, call in calls.items():
    try:
        call()
    except Vo3dError as error:
        assert words in str(error) and "\\n" not in str(error), (words, str(error))
    else:
        raise AssertionError(words)
print(len(calls))
"""


def test_wrong_types() -> None:
    """Without the types that the tests check on every call."""
    done = subprocess.run([sys.executable, "-c", WRONG_TYPES], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "12\n"), done.stderr

"""Unpooling: values back in their windows, against a literal loop; the faults of the published one."""

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vo3d import layers
from vo3d.errors import Vo3dError
from vo3d.layers.adapool import unpooling

Index = tuple[int, ...]
GEOMETRIES = {  # input, kernel, stride, padding, ceil_mode
    "1d": ((8,), (2,), (2,), (0,), False),
    "1d overlap": ((10,), (3,), (2,), (1,), True),
    "2d": ((4, 6), (2, 2), (2, 2), (0, 0), False),
    "2d remainder": ((5, 7), (2, 2), (2, 2), (0, 0), False),
    "2d overhang": ((5, 7), (2, 3), (2, 3), (0, 0), True),
    "2d overlap": ((5, 8), (2, 4), (3, 3), (0, 2), True),
    "2d gaps": ((7, 8), (2, 1), (3, 2), (1, 0), False),
    "3d": ((4, 5, 6), (2, 2, 2), (2, 2, 2), (0, 0, 0), False),
    "3d overlap": ((4, 5, 6), (2, 3, 2), (2, 1, 2), (0, 1, 0), True),
}
geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
normalisations = pytest.mark.parametrize("normalise", ["sum", "mean"])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pooled(geometry: tuple[Any, ...], seed: int = 0, **options: Any) -> tuple[Tensor, layers.PoolMask]:
    """Pooled noise and its mask; beta differs from window to window."""
    size, kernel, stride, padding, ceil = geometry
    pool = getattr(layers, f"adapool{len(size)}d")
    x = noise(2, 3, *size, seed=seed)
    options |= {"padding": padding, "ceil_mode": ceil}
    out = pool(x, 0.5, kernel, stride, **options).shape[2:]
    y, mask = pool(x, noise(*out, seed=seed + 1).sigmoid(), kernel, stride, True, **options)
    return y, mask


def windows(size: Index, mask: layers.PoolMask, out: Index) -> list[tuple[Index, list[tuple[Index, Index]]]]:
    """Each window with (place in the mask, place in the input) of its elements inside the input."""
    found = []
    for window in product(*map(range, out)):
        elements = []
        for element in product(*map(range, mask.kernel)):
            axes = list(zip(window, element, mask.kernel, mask.stride, mask.padding, strict=True))
            place = tuple(w * s - p + e for w, e, _, s, p in axes)
            if all(0 <= q < extent for q, extent in zip(place, size, strict=True)):
                elements.append((tuple(w * k + e for w, e, k, _, _ in axes), place))
        found.append((window, elements))
    return found


def loop(y: Tensor, mask: layers.PoolMask, size: Index, mean: bool) -> Tensor:
    """Unpooling, written out."""
    out, weights = y.new_zeros(*y.shape[:2], *size), mask.fused().expand(*y.shape[:2], *mask.fused().shape[2:])
    for window, elements in windows(size, mask, tuple(y.shape[2:])):
        for inside, place in elements:
            share = y[(..., *window)] * weights[(..., *inside)]
            out[(..., *place)] += share * len(elements) if mean else share
    return out


def loop_backward(dout: Tensor, mask: layers.PoolMask, out: Index, mean: bool) -> Tensor:
    """The gradient of unpooling to its values, written out."""
    dy, weights = dout.new_zeros(*dout.shape[:2], *out), mask.fused().expand(*dout.shape[:2], *mask.fused().shape[2:])
    for window, elements in windows(tuple(dout.shape[2:]), mask, out):
        for inside, place in elements:
            share = dout[(..., *place)] * weights[(..., *inside)]
            dy[(..., *window)] += share * len(elements) if mean else share
    return dy


# Forward and backward


@normalisations
@pytest.mark.parametrize("over", ["element", "channel"])
@geometries
def test_values_and_gradient_equal_the_loops(geometry: tuple[Any, ...], over: str, normalise: str) -> None:
    y, mask = pooled(geometry, similarity_over=over)
    values = noise(*y.shape, seed=3).requires_grad_()
    out = layers.adaunpool(values, mask, normalise=normalise)
    torch.testing.assert_close(out, loop(values, mask, geometry[0], normalise == "mean"), rtol=1e-12, atol=1e-12)
    dout = noise(*out.shape, seed=4)
    out.backward(dout)
    expected = loop_backward(dout, mask, tuple(y.shape[2:]), normalise == "mean")
    torch.testing.assert_close(values.grad, expected, rtol=1e-12, atol=1e-12)


@normalisations
@geometries
def test_gradients_to_values_weights_and_beta(geometry: tuple[Any, ...], normalise: str) -> None:
    y, mask = pooled(geometry, similarity_over="channel")
    parts = [part.clone()[:, :1].requires_grad_() if part.ndim > len(mask.kernel) else part.clone().requires_grad_()
             for part in mask[:3]]  # fmt: skip
    values = y[:, :1].clone().requires_grad_()

    def unpool(y: Tensor, edscw: Tensor, em: Tensor, beta: Tensor) -> Tensor:
        return layers.adaunpool(y, mask._replace(edscw=edscw, em=em, beta=beta), normalise=normalise)

    assert torch.autograd.gradcheck(unpool, (values, *parts), fast_mode=True)
    assert torch.autograd.gradgradcheck(unpool, (values, *parts), fast_mode=True)


def test_there_and_back_is_differentiated_once() -> None:
    # values and weights come from one input: neither gradient may pass through the other
    x = noise(1, 2, 4, 6).requires_grad_()

    def there_and_back(x: Tensor) -> Tensor:
        y, mask = layers.adapool2d(x, 0.3, return_mask=True, detach_mask=False, gradient="exact")
        return layers.adaunpool(y, mask)

    assert torch.autograd.gradcheck(there_and_back, (x,))
    (plain,) = torch.autograd.grad(there_and_back(x).square().sum(), x)
    (recorded,) = torch.autograd.grad(there_and_back(x).square().sum(), x, create_graph=True)
    torch.testing.assert_close(recorded.detach(), plain)


def test_nothing_but_the_arguments_is_kept_for_the_gradient() -> None:
    y, mask = pooled(GEOMETRIES["2d overlap"])
    values = y.clone().requires_grad_()
    given = {tensor.data_ptr() for tensor in (values, *mask[:3])}
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = layers.adaunpool(values, mask)
    assert kept
    assert {tensor.data_ptr() for tensor in kept} <= given
    assert out.requires_grad


REGISTERED = """
import torch
from vo3d import layers

x = torch.rand(2, 3, 5, 8)
y, mask = layers.adapool2d(x, 0.5, (2, 4), 3, True, padding=(0, 2))
where = [list(part) for part in mask[3:]]
for of_values, of_weights in ((True, False), (True, True)):
    values, edscw = y.clone().requires_grad_(of_values), mask.edscw.clone().requires_grad_(of_weights)
    results = torch.library.opcheck(torch.ops.vo3d.adaunpool.default, (values, edscw, *mask[1:3], *where, True))
    assert set(results.values()) == {"SUCCESS"}, results
print("registered")
"""


def test_the_operator_is_registered_as_torch_wants_it() -> None:
    # apart from this process, whose checks of types refuse the symbols that compilers trace sizes with
    command = [sys.executable, "-W", "error", "-c", REGISTERED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == "registered", done.stderr[-3000:]


def test_mapping_over_values_and_masks() -> None:
    y, weights = noise(4, 2, 3, 2, 2), noise(4, 2, 3, 4, 4, seed=1)
    each = torch.stack([layers.adaunpool(a, b) for a, b in zip(y, weights, strict=True)])
    torch.testing.assert_close(torch.vmap(layers.adaunpool)(y, weights), each)
    same = torch.stack([layers.adaunpool(a, weights[0]) for a in y])
    torch.testing.assert_close(torch.vmap(layers.adaunpool, (0, None))(y, weights[0]), same)


# Sums, means, sizes


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_window_sums_or_means_are_the_values(axes: int) -> None:
    average = getattr(functional, f"avg_pool{axes}d")
    for kernel in (2, 3):
        geometry = ((2 * kernel,) * axes, (kernel,) * axes, (kernel,) * axes, (0,) * axes, False)
        y, mask = pooled(geometry)
        values = noise(*y.shape, seed=5)
        torch.testing.assert_close(average(layers.adaunpool(values, mask), kernel) * kernel**axes, values)
        torch.testing.assert_close(average(layers.adaunpool(values, mask, normalise="mean"), kernel), values)


@geometries
def test_the_size_is_that_of_the_input(geometry: tuple[Any, ...]) -> None:
    y, mask = pooled(geometry)
    out = layers.adaunpool(y, mask)
    assert out.shape == (2, 3, *geometry[0])
    larger = tuple(extent + more for extent, more in zip(geometry[0], (3, 0, 1), strict=False))
    enlarged = layers.adaunpool(y, mask, output_size=larger)
    assert enlarged.shape == (2, 3, *larger)
    crop = (..., *(slice(extent) for extent in geometry[0]))
    torch.testing.assert_close(enlarged[crop], out, rtol=0, atol=0)
    enlarged[crop] = 0
    assert enlarged.abs().sum() == 0


def test_a_mask_without_its_input_covers_its_windows() -> None:
    y, mask = pooled(GEOMETRIES["2d remainder"])
    out = layers.adaunpool(y, mask[:3])
    assert out.shape == (2, 3, 4, 6)
    torch.testing.assert_close(layers.adaunpool(y, mask[:3], output_size=(5, 7)), layers.adaunpool(y, mask))


def test_a_constant_image_comes_back_unless_it_is_darkened() -> None:
    x = torch.full((1, 3, 6, 8), 0.7)
    y, mask = layers.adapool2d(x, 0.5, return_mask=True)
    torch.testing.assert_close(layers.adaunpool(y, mask, normalise="mean"), x)
    torch.testing.assert_close(layers.adaunpool(y, mask), x / 4)


# Published masks


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("leading", [(2, 3), (2, 1), (2,), (1, 1)], ids=str)
def test_published_layouts(axes: int, leading: Index) -> None:
    out, kernel = (2, 3, 2)[:axes], (2, 3, 4)[:axes]
    size = tuple(o * k for o, k in zip(out, kernel, strict=True))
    y, beta = noise(2, 3, *out), noise(*out, seed=1).sigmoid()
    edscw, em = noise(*leading, *size, seed=2).sigmoid(), noise(*leading, *size, seed=3).sigmoid()
    wide, share = y, beta
    for axis, k in enumerate(kernel):
        wide, share = wide.repeat_interleave(k, 2 + axis), share.repeat_interleave(k, axis)
    first, second = (w.unsqueeze(1) if len(leading) == 1 else w for w in (edscw, em))
    blend = wide * (share * first + (1 - share) * second)
    torch.testing.assert_close(layers.adaunpool(y, (edscw, em, beta)), blend)
    # published: beta is ignored without interpolation, and a single mask has no effect (x m + x (1 - m) = x)
    torch.testing.assert_close(layers.adaunpool(wide, (edscw, em, beta), False), blend)
    torch.testing.assert_close(layers.adaunpool(y, edscw), wide * first)
    torch.testing.assert_close(layers.adaunpool(wide, edscw, False), wide * first)
    half = wide * (first + second) / 2
    for one in (0.5, torch.tensor(0.5), torch.full((1,) * axes, 0.5)):
        torch.testing.assert_close(layers.adaunpool(y, (edscw, em, one)), half)
        torch.testing.assert_close(layers.adaunpool(wide, (edscw, em, one), False), half)


@normalisations
@geometries
def test_values_of_the_size_of_the_mask_are_multiplied(geometry: tuple[Any, ...], normalise: str) -> None:
    y, mask = pooled(geometry)
    values = noise(*mask.em.shape, seed=5)
    expected = values * mask.fused()
    if normalise == "mean":
        for window, elements in windows(geometry[0], mask, tuple(y.shape[2:])):
            tile = (..., *(slice(w * k, w * k + k) for w, k in zip(window, mask.kernel, strict=True)))
            expected[tile] *= len(elements)
    torch.testing.assert_close(layers.adaunpool(values, mask, False, normalise=normalise), expected)


def test_a_published_mask_of_masks_that_a_pooling_gave() -> None:
    y, mask = pooled(GEOMETRIES["2d"])
    torch.testing.assert_close(layers.adaunpool(y, mask[:3]), layers.adaunpool(y, mask), rtol=0, atol=0)
    torch.testing.assert_close(layers.adaunpool(y, mask.fused()), layers.adaunpool(y, mask))


# Batches, precisions, empty inputs


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_without_a_batch(axes: int) -> None:
    x = noise(3, *(4, 6, 2)[:axes])
    y, mask = getattr(layers, f"adapool{axes}d")(x, 0.4, return_mask=True)
    out = layers.adaunpool(y, mask)
    assert out.shape == x.shape
    torch.testing.assert_close(out, layers.adaunpool(y[None], mask)[0], rtol=0, atol=0)
    torch.testing.assert_close(layers.adaunpool(x, mask, False), layers.adaunpool(x[None], mask, False)[0])
    several = layers.adaunpool(torch.stack([y, 2 * y]), mask)  # one mask for the whole batch
    torch.testing.assert_close(several, torch.stack([out, 2 * out]))


@pytest.mark.parametrize("name", ["2d", "2d overlap", "3d overlap"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_precisions(name: str, dtype: torch.dtype) -> None:
    y, mask = pooled(GEOMETRIES[name])
    expected = layers.adaunpool(y, mask, normalise="mean")
    exact = mask._replace(edscw=mask.edscw.float(), em=mask.em.float(), beta=mask.beta.float())
    rounded = mask._replace(edscw=mask.edscw.to(dtype), em=mask.em.to(dtype))
    for weights in (exact, rounded):
        values = y.to(dtype).requires_grad_()
        out = layers.adaunpool(values, weights, normalise="mean")
        assert out.dtype == dtype
        tolerance = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())
        out.sum().backward()
        assert values.grad.dtype == dtype


def test_layouts_in_memory_do_not_matter() -> None:
    y, mask = pooled(GEOMETRIES["2d overlap"])
    expected = layers.adaunpool(y, mask)
    last = mask._replace(em=mask.em.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(layers.adaunpool(y.contiguous(memory_format=torch.channels_last), last), expected)
    values = y.clone().requires_grad_()
    layers.adaunpool(values, mask).sum().backward()  # an expanded gradient
    again = y.clone().requires_grad_()
    layers.adaunpool(again, mask).backward(torch.ones_like(expected))
    torch.testing.assert_close(values.grad, again.grad, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 3, 4, 6), (2, 0, 4, 6)])
def test_empty(shape: Index) -> None:
    y, mask = layers.adapool2d(torch.zeros(shape), 0.5, return_mask=True)
    values = y.requires_grad_()
    out = layers.adaunpool(values, mask, normalise="mean", output_size=(5, 6))
    assert out.shape == (*shape[:2], 5, 6)
    out.sum().backward()
    assert values.grad.shape == y.shape


# One clear line for each mistake

Y = noise(2, 3, 2, 3)
MASK = layers.adapool2d(noise(2, 3, 4, 6), 0.5, return_mask=True)[1]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: layers.adaunpool(Y[:1].repeat(3, 1, 1, 1), MASK), "a mask of shape (2, 3, 4, 6) does not fit values"),
        (lambda: layers.adaunpool(Y[:, :2], MASK), "expected (2, 2, 4, 6), or 1 in place of batch or channels"),
        (lambda: layers.adaunpool(Y[..., :2], MASK), "does not fit values of shape (2, 3, 2, 2)"),
        (lambda: layers.adaunpool(Y, MASK, False), "does not fit values of shape (2, 3, 2, 3): expected (2, 3, 2, 3)"),
        (lambda: layers.adaunpool(Y[..., None], MASK), "the mask has 2 spatial axes, which does not fit"),
        (lambda: layers.adaunpool(Y, torch.ones(2, 3, 5, 6)), "a mask of size (5, 6) does not fit (2, 3) windows"),
        (lambda: layers.adaunpool(Y, torch.ones(4, 6)), "a mask of shape (4, 6) does not fit values of shape"),
        (lambda: layers.adaunpool(Y, (MASK.edscw, MASK.em, torch.ones(3, 2))), "a beta of shape (3, 2), expected"),
        (lambda: layers.adaunpool(Y, (MASK.edscw, MASK.em[:, :2], 0.5)), "a mask of shape (2, 2, 4, 6) does not fit"),
        (lambda: layers.adaunpool(Y, MASK.em.to("meta")), "the mask is on meta and the values on cpu"),
        (lambda: layers.adaunpool(Y, MASK, normalise="max"), "normalise 'max' is unknown: expected one of sum, mean"),
        (lambda: layers.adaunpool(Y, MASK, output_size=(4, 5)), "output_size (4, 5) is smaller than what the windows"),
        (lambda: layers.adaunpool(Y, MASK, output_size=(9, 9, 9)), "found output_size (9, 9, 9), expected"),
        (lambda: layers.adaunpool(MASK.em, MASK.em, False, normalise="mean"), "'mean' needs the size of a window"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(call: Callable[[], Any], line: str) -> None:
    with pytest.raises(Vo3dError) as error:
        call()
    assert line in str(error.value)
    assert str(error.value).startswith("adaunpool: ")
    assert "\n" not in str(error.value)


def test_every_element_has_one_place() -> None:
    # what forward and backward walk over: each element inside the input once, with its place in the mask
    for size, kernel, stride, padding, ceil in GEOMETRIES.values():
        y, mask = pooled((size, kernel, stride, padding, ceil))
        out = tuple(y.shape[2:])
        found = torch.zeros(mask.em.shape[2:], dtype=torch.int64)
        for run in {1, kernel[-1] if kernel[-1] == stride[-1] and padding[-1] == 0 else 1}:
            found.zero_()
            for _, _, inside in unpooling._elements(out, kernel, stride, padding, size, run):
                found[inside] += 1
            expected = torch.zeros_like(found)
            for _, elements in windows(size, mask, out):
                for inside, _ in elements:
                    expected[inside] += 1
            assert torch.equal(found, expected)

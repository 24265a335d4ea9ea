"""The operator `vo3d::adapool` against its twin: values, gradients, layouts, tiles, and what torch's compilers see."""

import random
import shutil
import subprocess
import sys
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from vo3d.layers.adapool import formula, operator
from vo3d.layers.adapool.windows import gather, margins, output_size

POOL = torch.ops.vo3d.adapool
BY_ELEMENT = ("", "dsc", "l1", "l2", "linf", "huber")
OVER_CHANNELS = ("dsc", "cosine", "pce", "l1", "l2", "linf", "huber")
MODES = [*product(BY_ELEMENT, [False]), *product(OVER_CHANNELS, [True])]
modes = pytest.mark.parametrize(("similarity", "over_channels"), MODES)
LAYOUTS = ("contiguous", "channels_last", "transposed", "steps", "expanded")


class Geometry(NamedTuple):
    """Where windows lie."""

    size: tuple[int, ...]
    kernel: list[int]
    stride: list[int]
    padding: list[int]
    ceil_mode: bool = False

    @property
    def windows(self) -> tuple[list[int], list[int], list[int], bool]:
        return self.kernel, self.stride, self.padding, self.ceil_mode

    @property
    def out(self) -> tuple[int, ...]:
        return output_size(self.size, *self.windows)


def geometries(number: int, seed: int) -> list[Geometry]:
    """Random geometries of 1 to 3 axes: kernels above, at and below the stride, with padding and without."""
    source = random.Random(seed)  # noqa: S311
    found = []
    while len(found) < number:
        axes = source.choice([1, 2, 3])
        kernel = [source.randint(1, 4) for _ in range(axes)]
        padding = [source.randint(0, k // 2) if source.random() < 0.5 else 0 for k in kernel]
        stride = kernel if source.random() < 0.3 else [source.randint(1, 4) for _ in range(axes)]
        size = tuple(source.randint(3, 8) for _ in range(axes))
        candidate = Geometry(size, kernel, list(stride), padding, source.random() < 0.5)
        if min(candidate.out) > 0:
            found.append(candidate)
    return found


ONE = Geometry((2, 6, 5), [2, 2, 2], [2, 2, 2], [0, 0, 0])
SQUARE = Geometry((6, 7), [2, 2], [2, 2], [0, 0])
OVERLAP = Geometry((7, 6), [3, 2], [2, 1], [1, 0], True)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The numbers of x (b, c, *size) in another order in memory."""
    if layout == "channels_last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "transposed":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "steps":
        return torch.stack((x, x), dim=-1).flatten(-2)[..., ::2]
    return x[:1].expand(x.shape) if layout == "expanded" else x


def both_ways(
    x: Tensor, beta: Tensor | None, geometry: Geometry, *mode: Any, order: str = "contiguous"
) -> tuple[list[Tensor], list[Tensor]]:
    """Output and gradients of the operator, and of its twin under autograd."""
    results = []
    for function, rest in ((POOL, (False, False)), (formula.twin, ())):
        leaves = [laid_out(x, order).detach().requires_grad_()]
        if beta is not None:
            leaves.append(beta.detach().requires_grad_())
        y = function(leaves[0], leaves[1] if beta is not None else None, *geometry.windows, *mode, *rest)
        dy = noise(*y.shape, seed=9, dtype=y.dtype)
        results.append([y.detach(), *torch.autograd.grad(y, leaves, dy)])
    return results[0], results[1]


def beta_of(geometry: Geometry, dtype: torch.dtype = torch.float64) -> Tensor:
    return noise(*geometry.out, seed=5).sigmoid().to(dtype)


# Values and gradients


@modes
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("tile", [60, operator.TILE])
def test_equals_the_twin(
    similarity: str, over_channels: bool, exact: bool, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "TILE", tile)
    cases = geometries(4, seed=MODES.index((similarity, over_channels)) + 100 * (tile == 60))
    for i, (geometry, dtype) in enumerate(product(cases, (torch.float64, torch.float32))):
        x = noise(2, 3, *geometry.size, seed=i, dtype=dtype)
        blend = beta_of(geometry, dtype) if similarity and i % 4 < 3 else None
        mode = (similarity, over_channels, exact)
        ours, expected = both_ways(x, blend, geometry, *mode, order=LAYOUTS[i % len(LAYOUTS)])
        bound = 1e-12 if dtype == torch.float64 else 1e-6
        # gradients of float32 add up to nine terms of either sign, and divide by small distances
        for name, a, b, factor in zip(("y", "dx", "dbeta"), ours, expected, (1, 10, 10), strict=False):
            scale = max(1.0, b.abs().max().item())
            error = (a - b).abs().max().item()
            assert error <= factor * bound * scale, (name, geometry, error)


@pytest.mark.parametrize("order", LAYOUTS)
@pytest.mark.parametrize("geometry", [Geometry((9,), [3], [2], [1]), SQUARE, OVERLAP, ONE])
def test_every_layout_gives_the_same(geometry: Geometry, order: str) -> None:
    x = noise(2, 3, *geometry.size)
    ours, expected = both_ways(x, beta_of(geometry), geometry, "dsc", False, True, order=order)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("geometry", [SQUARE, OVERLAP, ONE])
@pytest.mark.parametrize("last", [False, True])
def test_output_and_gradient_keep_the_order_in_memory(geometry: Geometry, last: bool) -> None:
    channels_last = {2: torch.channels_last, 3: torch.channels_last_3d}[len(geometry.size)]
    order = channels_last if last else torch.contiguous_format
    x = noise(2, 3, *geometry.size).contiguous(memory_format=order).requires_grad_()
    y = POOL(x, None, *geometry.windows, "dsc", False, False, False, False)
    y.sum().backward()
    assert y.is_contiguous(memory_format=order)
    assert x.grad is not None
    assert x.grad.is_contiguous(memory_format=order)


@pytest.mark.parametrize("geometry", [SQUARE, OVERLAP, Geometry((6,), [3], [3], [0])])
def test_straight_through_is_the_gradient_with_constant_weights(geometry: Geometry) -> None:
    x, beta = noise(2, 3, *geometry.size).requires_grad_(), beta_of(geometry)
    edges = margins(geometry.size, *geometry.windows[:3], geometry.out)
    windows, valid = gather(x, *geometry.windows[:2], geometry.out, edges)  # n b c *out
    smooth, em = formula.smooth_average(windows, "dsc", None, valid), formula.smooth_maximum(windows, valid)
    y = ((beta * smooth + (1 - beta) * em).detach() * windows).sum(0)
    ours = POOL(x, beta, *geometry.windows, "dsc", False, False, False, False)
    dy = noise(*y.shape, seed=1)
    torch.testing.assert_close(ours, y, rtol=0, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(t, x, dy)[0] for t in (ours, y)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("geometry", [*(Geometry((5,), [k], [2], [0]) for k in (2, 3)), SQUARE, OVERLAP, ONE])
def test_exact_gradient_is_that_of_finite_differences(geometry: Geometry) -> None:
    x, beta = noise(1, 2, *geometry.size).requires_grad_(), beta_of(geometry).requires_grad_()
    arguments = (*geometry.windows, "dsc", False, True, False, False)
    assert torch.autograd.gradcheck(lambda x, beta: POOL(x, beta, *arguments), (x, beta))


def test_second_derivatives_are_those_of_finite_differences() -> None:
    geometry = Geometry((5, 4), [3, 2], [2, 2], [0, 0])
    x, beta = noise(1, 2, *geometry.size).requires_grad_(), beta_of(geometry).requires_grad_()
    arguments = (*geometry.windows, "dsc", False, True, False, False)
    assert torch.autograd.gradgradcheck(lambda x, beta: POOL(x, beta, *arguments), (x, beta))


@modes
def test_numbers_far_below_the_padding(similarity: str, over_channels: bool) -> None:
    """exp(0 - x) of the padding would overflow: it must not reach what a differentiated gradient is made from."""
    x = noise(1, 3, *OVERLAP.size).sub(1000).requires_grad_()
    y = POOL(x, None, *OVERLAP.windows, similarity, over_channels, True, False, False)
    plain = torch.autograd.grad(y.sum(), x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x, create_graph=True), plain, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@modes
def test_half_precision(similarity: str, over_channels: bool, dtype: torch.dtype, error: float) -> None:
    x, beta = noise(2, 4, 9, 8).to(dtype), beta_of(OVERLAP._replace(size=(9, 8)))
    arguments = (beta if similarity else None, *OVERLAP.windows, similarity, over_channels, False, False, False)
    a, b = x.clone().requires_grad_(), x.float().requires_grad_()
    y, expected = POOL(a, *arguments), POOL(b, *arguments)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=error, atol=error)
    y.sum().backward()
    expected.sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(a.grad.float(), b.grad, rtol=error, atol=error)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_in_nothing_out(shape: tuple[int, int]) -> None:
    x, beta = torch.zeros(*shape, 6, 7, requires_grad=True), beta_of(SQUARE).requires_grad_()
    y = POOL(x, beta, *SQUARE.windows, "dsc", False, True, False, False)
    assert y.shape == (*shape, 3, 3)
    y.sum().backward()
    assert x.grad is not None
    assert beta.grad is not None
    assert x.grad.shape == x.shape
    assert beta.grad.count_nonzero() == 0


@pytest.mark.parametrize("with_beta", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_the_backward_pass_keeps_input_and_beta_alone(with_beta: bool, exact: bool) -> None:
    x = noise(2, 3, 6, 7).requires_grad_()
    beta = beta_of(SQUARE).requires_grad_() if with_beta else None
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        POOL(x, beta, *SQUARE.windows, "dsc", False, exact, False, False)
    inputs = [t for t in (x, beta) if t is not None]
    assert kept == [t.untyped_storage().data_ptr() for t in inputs]


# What torch's compilers and transforms see; symbolic sizes are no ints for the checks of types, hence the processes

GRAPHS = """
import torch
from torch._dynamo.backends.common import aot_autograd
from vo3d.layers.adapool import formula, operator

POOL, BACKWARD = torch.ops.vo3d.adapool, torch.ops.vo3d.adapool_backward
SQUARE, OVERLAP = ([2, 2], [2, 2], [0, 0], False), ([3, 2], [2, 1], [1, 0], True)

def noise(*shape, last=False):
    x = torch.randn(shape, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last) if last else x

def opcheck(similarity, over_channels, last):
    x, dy = noise(2, 3, 7, 6, last=last), noise(2, 3, 4, 5, last=last)
    beta = torch.rand(4, 5, dtype=torch.float64) if similarity == "dsc" else None
    settings = (similarity, over_channels, True, False, False)
    arguments = dy, x, beta, *OVERLAP[:3], *settings
    torch.library.opcheck(BACKWARD, arguments, test_utils=("test_schema", "test_faketensor"))
    leaves = (x.requires_grad_(), None if beta is None else beta.requires_grad_())
    torch.library.opcheck(POOL, (*leaves, *OVERLAP, *settings))

def compiled(last):
    seen = []
    def record(graph, inputs):
        seen.append([str(node.target) for node in graph.graph.nodes if "vo3d" in str(node.target)])
        return graph
    settings = (*SQUARE, "dsc", False, True)
    backend = aot_autograd(fw_compiler=record, bw_compiler=record)
    pool = lambda x, beta: POOL(x * 2, beta, *settings, False, False) + 1
    pool = torch.compile(pool, fullgraph=True, dynamic=True, backend=backend)
    for batch in (2, 5):
        found = []
        x, beta = noise(batch, 3, 6, 7, last=last), torch.rand(3, 3, dtype=torch.float64)
        for function in (pool, lambda x, beta: formula.twin(x * 2, beta, *settings) + 1):
            leaves = x.clone().requires_grad_(), beta.clone().requires_grad_()
            y = function(*leaves)
            found.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    assert seen == [["vo3d.adapool.default"], ["vo3d.adapool_backward.default"]], seen

class Pool(torch.nn.Module):
    def forward(self, x):
        return POOL(x.relu(), None, *OVERLAP, "dsc", False, False, False, False) + 1

def exported():
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Pool(), (noise(3, 3, 7, 6),), dynamic_shapes=({0: batch},))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [target for target in targets if "aten" not in target] == ["vo3d.adapool.default"], targets
    for number in (2, 7):
        x = noise(number, 3, 7, 6)
        torch.testing.assert_close(program.module()(x), Pool()(x), rtol=0, atol=0)

for last in (False, True):
    compiled(last)
    for mode in (("dsc", False), ("", False), ("cosine", True)):
        opcheck(*mode, last)
exported()
print("one operator")
"""


def test_compiled_and_exported_graphs_have_one_operator_each_way() -> None:
    done = subprocess.run([sys.executable, "-c", GRAPHS], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == "one operator", done.stderr[-3000:]


FUSED = """
import torch
from vo3d import layers
from vo3d.layers.adapool import operator

operator.TILE = 500  # many tiles, and a last one that is smaller
for batch, channels in ((3, 2), (2, 5), (4, 3)):
    x = torch.randn(batch, channels, 21, 22, requires_grad=True)
    beta = torch.rand(10, 11, requires_grad=True)
    found = []
    for native in (False, True):
        y = layers.adapool2d(x, beta, native=native)
        found.append([y, *torch.autograd.grad(y.square().sum(), (x, beta))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
print("equal", torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="Inductor finds no C++ compiler on this machine"
)
def test_native_gives_the_same_by_few_graphs() -> None:
    done = subprocess.run([sys.executable, "-c", FUSED], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.startswith("equal"), done.stderr[-3000:]
    assert int(done.stdout.split()[1]) <= 4  # two with torch 2.13, one each way


@pytest.mark.parametrize("dims", [(0, None), (1, None), (None, 0), (1, 2)])
def test_vmap_is_a_loop(dims: tuple[int | None, int | None]) -> None:
    of_x, of_beta = dims
    xs = noise(4, 2, 3, 6, 7)
    betas = noise(4, 3, 3, seed=1).sigmoid()
    x = xs[0] if of_x is None else xs.movedim(0, of_x)
    beta = betas[0] if of_beta is None else betas.movedim(0, of_beta)

    def pool(x: Tensor, beta: Tensor) -> Tensor:
        return POOL(x, beta, *SQUARE.windows, "dsc", False, True, False, False)

    each = [pool(xs[0 if of_x is None else i], betas[0 if of_beta is None else i]) for i in range(4)]
    torch.testing.assert_close(torch.vmap(pool, in_dims=dims)(x, beta), torch.stack(each), rtol=0, atol=1e-13)


@pytest.mark.parametrize("with_beta", [False, True])
def test_many_gradients_at_once(with_beta: bool) -> None:
    x = noise(2, 3, 6, 7).requires_grad_()
    beta = beta_of(SQUARE).requires_grad_() if with_beta else None
    y = POOL(x, beta, *SQUARE.windows, "dsc", False, True, False, False)
    dys = noise(4, *y.shape, seed=1)
    leaves = [t for t in (x, beta) if t is not None]
    together = torch.autograd.grad(y, leaves, dys, retain_graph=True, is_grads_batched=True)
    one_by_one = [torch.autograd.grad(y, leaves, dy, retain_graph=True) for dy in dys]
    for a, b in zip(together, zip(*one_by_one, strict=True), strict=True):
        torch.testing.assert_close(a, torch.stack(b), rtol=0, atol=1e-13)

"""The AdaPool family in use: modules, threads, function transforms, compilers."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from vo3d import layers


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Modules


def modules() -> list[torch.nn.Module]:
    return [
        layers.AdaPool2d(2, beta=(2, 2), return_mask=True),
        layers.AdaPool2d(2, beta=torch.rand(2, 2), beta_trainable=False, return_mask=True),
        layers.EDSCWPool2d(2, return_mask=True),
        layers.IDWPool2d(2, return_mask=True),
        layers.EMPool2d(2, return_mask=True),
        layers.SoftPool2d(2, return_mask=True),
    ]


def test_modules_are_copied_pickled_and_run_in_threads() -> None:
    inputs = [noise(2, 3, 4, 4, seed=seed) for seed in range(8)]
    for module in modules():
        expected = [module(x) for x in inputs]
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
            torch.testing.assert_close(twin(inputs[0])[0], expected[0][0], rtol=0, atol=0)
            assert list(twin.state_dict()) == list(module.state_dict())
        with ThreadPoolExecutor(4) as pool:
            for (y, mask), (want, kept) in zip(pool.map(module, inputs), expected, strict=True):
                torch.testing.assert_close(y, want, rtol=0, atol=0)
                torch.testing.assert_close(mask.fused(), kept.fused(), rtol=0, atol=0)


def test_beta_of_the_module() -> None:
    x = noise(2, 3, 4, 4)
    fixed = layers.AdaPool2d(2, beta=torch.full((2, 2), 0.25), beta_trainable=False)
    assert (list(fixed.parameters()), list(fixed.state_dict())) == ([], ["beta"])
    outside = layers.AdaPool2d(2, beta=torch.tensor([[-1.0, 0.0], [1.0, 2.0]]))
    torch.testing.assert_close(outside(x), layers.adapool2d(x, torch.tensor([[0.0, 0.0], [1.0, 1.0]])), rtol=0, atol=0)
    outside(x).sum().backward()
    assert (outside.beta.grad != 0).all()  # straight through the clamp
    uniform = layers.AdaPool2d(2, beta=(30, 30)).beta
    assert ((uniform > 0) & (uniform < 1)).all()
    assert layers.AdaPool2d(2, beta=0.5)(noise(1, 1, 9, 7)).shape == (1, 1, 4, 3)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unpooling_modules(dims: int) -> None:
    x = noise(2, 3, *(4, 6, 2)[:dims])
    y, mask = getattr(layers, f"AdaPool{dims}d")(2, beta=0.5, return_mask=True)(x)
    for name in ("AdaUnpool", "AdaUnPool"):
        unpool = getattr(layers, f"{name}{dims}d")(mask)
        torch.testing.assert_close(unpool(y), layers.adaunpool(y, mask), rtol=0, atol=0)
        assert unpool(y).shape == x.shape


# Derivatives by torch.func


def there_and_back(x: Tensor, beta: Tensor) -> Tensor:
    y, mask = layers.adapool2d(x, beta, gradient="exact", return_mask=True, detach_mask=False)
    return layers.adaunpool(y, mask)


@pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated:DeprecationWarning")  # from within torch
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("function", [lambda x, beta: layers.adapool2d(x, beta, gradient="exact"), there_and_back])
def test_function_transforms_agree_with_autograd(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    x, beta = noise(3, 1, 2, 4, 4).double(), noise(3, 2, 2, seed=1).sigmoid().double()

    def loss(x: Tensor, beta: Tensor) -> Tensor:
        return function(x, beta).square().sum()

    jacobians = torch.autograd.functional.jacobian(function, (x[0], beta[0]))
    torch.testing.assert_close(torch.func.jacrev(function, (0, 1))(x[0], beta[0]), jacobians)
    torch.testing.assert_close(torch.func.jacfwd(function, (0, 1))(x[0], beta[0]), jacobians)
    tangents = (torch.ones_like(x[0]), torch.zeros_like(beta[0]))
    _, forward = torch.autograd.functional.jvp(function, (x[0], beta[0]), tangents)
    torch.testing.assert_close(torch.func.jvp(function, (x[0], beta[0]), tangents)[1], forward)
    hessian = torch.autograd.functional.hessian(lambda x: loss(x, beta[0]), x[0])
    torch.testing.assert_close(torch.func.hessian(lambda x: loss(x, beta[0]))(x[0]), hessian)
    each = [torch.autograd.functional.jacobian(loss, pair) for pair in zip(x, beta, strict=True)]
    for gradient, wanted in zip(
        torch.vmap(torch.func.grad(loss, (0, 1)))(x, beta), zip(*each, strict=True), strict=True
    ):
        torch.testing.assert_close(gradient, torch.stack(wanted))
    values = [function(*pair) for pair in zip(x, beta, strict=True)]
    torch.testing.assert_close(torch.vmap(function)(x, beta), torch.stack(values))


def test_function_transforms_keep_the_published_gradient() -> None:
    x = noise(1, 2, 4, 4).requires_grad_()
    layers.adapool2d(x, 0.3).sum().backward()
    torch.testing.assert_close(torch.func.grad(lambda x: layers.adapool2d(x, 0.3).sum())(x.detach()), x.grad)


# Compilers

COMPILED = """
import numpy as np
import torch
from vo3d import layers
from vo3d.errors import Vo3dError

def run(pool, x, beta):
    x, beta = x.clone().requires_grad_(), beta.clone().requires_grad_()
    y = pool(x, beta)
    y.square().sum().backward()
    return y.detach(), x.grad, beta.grad if beta.grad is not None else torch.zeros(())

class ThereAndBack(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = layers.AdaPool2d(2, (3, 4), return_mask=True, parametrisation="sigmoid", resize_beta=True)
        self.unpool = layers.AdaUnpool2d(normalise="mean")
    def forward(self, x):
        y, mask = self.pool(x)
        return self.unpool(2 * y, mask)

net = ThereAndBack()
compiled = torch.compile(net, fullgraph=True, backend="aot_eager", dynamic=True)
for shape in [(2, 3, 6, 8), (3, 3, 8, 6)]:  # beta as it is, and resized
    x, found = torch.randn(shape), []
    for function in (compiled, net):
        net.zero_grad()
        found.append(run(lambda x, beta: function(x), x, torch.zeros(())) + (net.pool.beta.grad,))
    torch.testing.assert_close(*found)
program = torch.export.export(net, (x,))
operators = [str(node.target) for node in program.graph.nodes if "vo3d" in str(node.target)]
assert operators == ["vo3d.adapool.default", "vo3d.adaunpool.default"], operators
torch.testing.assert_close(program.module()(x), net(x))

how = {"padding": 1, "ceil_mode": True, "gradient": "exact"}
for pool in [
    lambda x, beta: layers.adapool2d(x, beta, (3, 2), 2, similarity_over="channel", **how),
    lambda x, beta: layers.idwpool2d(x, 3, 1, **how) * beta,
    lambda x, beta: layers.empool2d(x.half(), 3, nan_to_num=True) * beta.half(),
]:
    x, beta = torch.empty(2, 3, 7, 9, device="meta"), torch.empty(1, 1, device="meta")
    traced = torch.compile(pool, fullgraph=True, backend="aot_eager")
    assert [t.shape for t in run(traced, x, beta)] == [t.shape for t in run(pool, x, beta)]

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = layers.AdaPool2d(2, beta=(3, 4))
        self.soft = layers.SoftPool2d(2)
    def forward(self, x):
        return self.soft(self.pool(x))

def soft(x):
    return layers.soft_pool2d(x, 3, 2, padding=1, ceil_mode=True)

class Resized(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = layers.AdaPool2d(2, beta=(3, 4), resize_beta=True)
    def forward(self, x):
        return soft(self.pool(x))

batch, rows = torch.export.Dim("batch", min=2, max=64), torch.export.Dim("rows", min=6, max=512)
for net, sizes in [(Net(), {0: batch}), (Resized(), {0: batch, 2: rows})]:
    program = torch.export.export(net.eval(), (torch.randn(2, 3, 7, 9),), dynamic_shapes=(sizes,))
    assert "vo3d.adapool" in str(program.graph)
    for b, h in [(2, 7), (7, 6), (33, 11), (3, 30)]:
        x = torch.randn(b, 3, h if 2 in sizes else 7, 9)
        torch.testing.assert_close(program.module()(x), net(x))
x = torch.randn(1, 1, 4, 4)  # sizes that the type checks under test would refuse first
torch.testing.assert_close(layers.empool2d(x, np.int64(2)), layers.empool2d(x, 2))
for size in (2.0, (2, 1.5), "2", None):
    try:
        raise AssertionError(layers.empool2d(x, size))
    except Vo3dError as error:
        assert "expected a whole number" in str(error)
print("equal")
"""


def test_compiled_and_exported_give_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]

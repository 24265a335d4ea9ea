"""The Triton kernels of the AdaPool family against the plain formulas: on a GPU where there is one, else interpreted.

`tests/conftest.py` asks Triton for its interpreter where there is no GPU. What the interpreter cannot tell, whether the
compiler takes the kernels and what it makes of them, is seen by compiling them for a GPU that need not be there.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

import check_adapool_gpu as tool
from vo3d.layers.adapool import kernels, tiling

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
SHAPES, LARGEST = (200, 70) if ON_GPU else (8, 7)
SIMILARITIES = ("dsc", "", "l1", "huber")

# The interpreter computes in NumPy, which warns of infinities that GPUs pass over; they are not in the results.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.parametrize("seed", range(SHAPES))
def test_kernels_equal_the_formulas(seed: int) -> None:
    """Forward, both gradients, beta's, unpooling; half to double; odd strides; NaN, infinite, huge, tiny, zero."""
    case = tool.random_case(seed, LARGEST)
    assert tool.pooling_faults(case, DEVICE) + tool.unpooling_faults(case, DEVICE) == [], case


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_long_passes_and_rows_equal_the_formulas(similarity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large windows are looped over; positions too many for floating point are divided as integers."""
    monkeypatch.setattr(tiling, "SMALL", 1)
    windows = ((7, 7), (5, 5), (3, 0)) if similarity == "dsc" else ((7, 7), (7, 7), (0, 0))
    case = tool.Case((2, 3, 15, 16), *windows, similarity=similarity, blend=similarity != "", exact=similarity != "l1")
    assert tool.pooling_faults(case, DEVICE) == []
    assert tool.unpooling_faults(case, DEVICE) == []


def test_many_planes_are_walked_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that walks over several planes sums the gradient to beta over them."""
    monkeypatch.setattr(tiling, "PROGRAMS", 2)
    monkeypatch.setattr(tiling, "THREADS", 16)
    windows = tiling.Windows((1, 2, 2), (1, 2, 2), (0, 0, 0), (1, 5, 4), (1, 2, 2))
    for layout in ("contiguous", "channels_last"):
        case = tool.Case((13, 7, 5, 4), (2, 2), (2, 2), (0, 0), layout=layout)
        assert tiling.plan(windows, 2 * [torch.empty(case.shape)], "dsc", blend=True).counts[4] > 1
        assert tool.pooling_faults(case, DEVICE) == []
        assert tool.unpooling_faults(case, DEVICE) == []


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_constant_is_returned_as_it_is(similarity: str) -> None:
    for value in (0.0, 0.1, -3e4, 1e30, 1e-39):
        x = torch.full((1, 2, 6, 6), value, device=DEVICE)
        y = kernels.adapool_forward(x, None, [2, 2], [2, 2], [0, 0], [3, 3], similarity, False)
        torch.testing.assert_close(y, x[..., :3, :3], rtol=3e-7, atol=0)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8)])
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    x, out = torch.empty(shape, device=DEVICE), (*shape[:2], 4, 4)
    beta = torch.rand(4, 4, device=DEVICE)
    y = kernels.adapool_forward(x, beta, [2, 2], [2, 2], [0, 0], [4, 4], "dsc", False)
    dx, dbeta = kernels.adapool_backward(y, x, beta, [2, 2], [2, 2], [0, 0], "dsc", False, False)
    assert (y.shape, dx.shape) == (out, shape)
    assert dbeta is not None
    assert torch.equal(dbeta, torch.zeros_like(beta))
    laid = kernels.adaunpool_forward(y, x, None, None, [2, 2], [2, 2], [0, 0], [8, 8], False)
    assert laid.shape == shape
    assert kernels.adaunpool_backward(laid, x, None, None, [2, 2], [2, 2], [0, 0], [4, 4], False).shape == out


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (2, 3)])
def test_equal_calls_give_equal_bits(kernel: int, stride: int, generator: torch.Generator) -> None:
    x = torch.randn(2, 5, 14, 14, generator=generator).to(DEVICE)
    out = [(14 - kernel) // stride + 1] * 2
    beta = torch.rand(out, generator=generator).to(DEVICE)
    windows = [kernel] * 2, [stride] * 2, [0, 0]
    results = []
    for _ in range(2):
        y = kernels.adapool_forward(x, beta, *windows, out, "dsc", False)
        results.append((y, *kernels.adapool_backward(y, x, beta, *windows, "dsc", True, False)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_positions_divide_exactly_in_floating_point() -> None:
    """Numbers times an inverse that is off by two in the last place, as on a GPU, never reach the next quotient."""
    source = random.Random(0)  # noqa: S311
    for size in [*range(1, 200), *(source.randrange(200, tiling.SMALL) for _ in range(300)), tiling.SMALL]:
        ends = torch.arange(size, 2 * tiling.SMALL, size)[-5000:]  # the larger, the nearer
        index = torch.cat((ends - 1, ends))
        for wrong in (-2, 0, 2):
            inverse = (1 / torch.tensor(float(size))).view(torch.int32).add(wrong).view(torch.float32)
            found = ((index.float() + 0.5) * inverse).int()
            assert torch.equal(found, (index // size).int()), (size, wrong)


def test_the_check_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    case = tool.Case((1, 2, 6, 6), (2, 2), (2, 2), (0, 0))
    right = kernels.adapool_forward

    def slightly_off(*arguments: object) -> torch.Tensor:
        return right(*arguments) * (1 + 1e-4)  # type: ignore[arg-type]

    def beyond(*arguments: object) -> torch.Tensor:
        y = right(*arguments)  # type: ignore[arg-type]
        y.as_strided((1,), (1,), y.storage_offset() + y.numel()).zero_()
        return y

    assert tool.pooling_faults(case, DEVICE) == []
    monkeypatch.setattr(kernels, "adapool_forward", slightly_off)
    assert [fault[:2] for fault in tool.pooling_faults(case, DEVICE)] == ["y:"]
    monkeypatch.setattr(kernels, "adapool_forward", beyond)
    assert tool.pooling_faults(case, DEVICE) == ["written outside of a tensor"]


@pytest.mark.skipif(ON_GPU, reason="there is a GPU")
def test_the_check_tells_in_a_line_that_it_needs_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check_adapool_gpu.py"])
    assert tool.main() == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "no CUDA GPU" in err


def test_pooling_needs_no_triton() -> None:
    program = """
import sys
sys.modules["triton"] = None  # importing it raises ImportError
import torch
from vo3d.layers import adapool2d
assert adapool2d(torch.ones(1, 1, 4, 4), 0.5).shape == (1, 1, 2, 2)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


COMPILE = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver, jit

class Absent:  # a GPU of which only the kind is known
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = get_current_stream = staticmethod(lambda *_: 0)

driver.set_active(Absent())
launch = jit.JITFunction.run
compiled = []

def compile_only(self, *arguments, grid, warmup, **options):
    compiled.append((self.__name__, launch(self, *arguments, grid=grid, warmup=True, **options)))

jit.JITFunction.run = compile_only
from vo3d.layers.adapool import kernels

def pool(dtype, kernel, stride, padding, similarity, blend, exact, last=False, size=(56, 56), nan_to_num=False):
    x = torch.empty(4, 8, *size, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    windows = [[n] * len(size) for n in (kernel, stride, padding)]
    out = [(n + 2 * padding - kernel) // stride + 1 for n in size]
    beta = torch.empty(out) if blend else None
    compiled.clear()
    y = kernels.adapool_forward(x, beta, *windows, out, similarity, nan_to_num)
    kernels.adapool_backward(y, x, beta, *windows, similarity, exact, nan_to_num)
    return [(name, kernel.asm["ptx"]) for name, kernel in compiled]

def unpool(dtype, kernel, stride):
    y, mask = torch.empty(4, 8, 14, 14, dtype=dtype), torch.empty(4, 8, 14 * kernel, 14 * kernel, dtype=dtype)
    windows = [kernel, kernel], [stride, stride], [0, 0]
    size = [13 * stride + kernel] * 2
    kernels.adaunpool_forward(y, mask, mask, torch.empty(14, 14), *windows, size, True)
    dout, beta = torch.empty(4, 8, *size, dtype=dtype), torch.empty(14, 14)
    kernels.adaunpool_backward(dout, mask, mask, beta, *windows, [14, 14], True)

for last in (False, True):  # whole vectors of 16 bytes, of inputs and of gradients
    (_, forward), (_, backward) = pool(torch.float16, 2, 2, 0, "dsc", True, False, last)
    for text in (forward, backward):
        assert "ld.global.v4.b32" in text and "ld.global.b16" not in text and ".local" not in text
    assert "st.global.v4.b32" in backward and "st.global.b16" not in backward
assert [name for name, _ in pool(torch.float32, 3, 2, 1, "dsc", True, True)][1:] == ["pool_backward", "pool_gather"]
pool(torch.bfloat16, 2, 2, 1, "huber", True, True, nan_to_num=True)
pool(torch.float64, 7, 7, 0, "l1", False, True, size=(21,))
pool(torch.float16, 2, 1, 1, "", False, False, size=(5, 6, 7), nan_to_num=True)
unpool(torch.float16, 2, 2)
unpool(torch.float32, 3, 2)
"""


@pytest.mark.skipif(ON_GPU, reason="the kernels have run there")
def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]

"""Check the Triton kernels of the AdaPool family against the plain formulas, on random shapes and a CUDA GPU.

Without a GPU it says so and exits with status 2; with status 1, after a line for each fault, where a kernel is wrong.
Inputs lie between NaNs and outputs between marks, so that most reading and writing outside of them shows; what hides
from that does not hide from `compute-sanitizer python tools/check_adapool_gpu.py --shapes 20`. Speed is measured by
benchmark_adapool.py.
"""

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from vo3d.layers.adapool import formula, unpooling
from vo3d.layers.adapool.windows import output_size

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
SIMILARITIES = ("dsc", "dsc", "", "l1", "l2", "linf", "huber")
LAYOUTS = ("contiguous", "channels_last", "transposed", "steps", "expanded")
VALUES = ("normal", "normal", "normal", "whole", "zeros", "constant", "huge", "tiny", "nan", "infinite")
HUGE = {torch.float64: 1e200, torch.float32: 1e30, torch.float16: 1e4, torch.bfloat16: 1e30}
TINY = {torch.float64: 1e-310, torch.float32: 1e-39, torch.float16: 1e-6, torch.bfloat16: 1e-34}
MARK, MARGIN = 1234.0, 64


@dataclass(frozen=True)
class Case:
    """What is pooled, and how."""

    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool = False
    similarity: str = "dsc"
    blend: bool = True
    exact: bool = False
    nan_to_num: bool = False
    mean: bool = False
    dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    values: str = "normal"
    seed: int = 0

    @property
    def out(self) -> tuple[int, ...]:
        """Number of windows along each axis."""
        return output_size(self.shape[2:], self.kernel, self.stride, self.padding, self.ceil_mode)


def random_case(seed: int, largest: int) -> Case:
    """A case with 1 to 3 axes of at most `largest` elements, or a third of that where there are three."""
    source = random.Random(seed)  # noqa: S311
    while True:
        axes = source.choice([1, 2, 2, 3])
        extent = max(4, largest // 3) if axes == 3 else largest
        kernel = tuple(source.choice([1, 2, 2, 3, 4, 5]) for _ in range(axes))
        stride = kernel if source.random() < 0.5 else tuple(source.randint(1, 4) for _ in range(axes))
        values = source.choice(VALUES)
        # Denormal numbers have few digits, and their distances fewer.
        similarity = source.choice(("dsc", "") if values == "tiny" else SIMILARITIES)
        case = Case(
            (source.randint(1, 4), source.randint(1, 9), *(source.randint(1, extent) for _ in range(axes))),
            kernel,
            stride,
            tuple(source.randint(0, k // 2) if source.random() < 0.3 else 0 for k in kernel),
            ceil_mode=source.random() < 0.3,
            similarity=similarity,
            blend=similarity != "" and source.random() < 0.7,
            exact=source.random() < 0.5 and values != "tiny",  # whose derivatives overflow
            nan_to_num=source.random() < 0.3,
            mean=source.random() < 0.5,
            dtype=source.choice(list(TOLERANCES)),
            layout=source.choice(LAYOUTS),
            values=values,
            seed=seed,
        )
        if min(case.out) > 0:
            return case


def pooling_faults(case: Case, device: str) -> list[str]:
    """Find where pooling and its gradients differ from the formulas in float64; a line each."""
    from vo3d.layers.adapool import kernels  # noqa: PLC0415 (only where Triton is)

    torch.manual_seed(case.seed)
    x, dy = (
        _tensor(case, case.shape, case.values, device),
        _tensor(case, (*case.shape[:2], *case.out), "normal", device),
    )
    beta = torch.rand(case.out, dtype=_wide(case), device=device) if case.blend else None
    where = case.kernel, case.stride, case.padding
    with _marks() as overwritten:
        y = kernels.adapool_forward(x, beta, *where, case.out, case.similarity, case.nan_to_num)
        dx, dbeta = kernels.adapool_backward(dy, x, beta, *where, case.similarity, case.exact, case.nan_to_num)
    found = overwritten()

    def twin(x: Tensor, beta: Tensor | None, similarity: str) -> Tensor:
        return formula.twin(x, beta, *where, case.ceil_mode, similarity, False, case.exact)

    known = x.double().requires_grad_()
    pooled = twin(known, None if beta is None else beta.double(), case.similarity)
    (gradient,) = torch.autograd.grad(pooled, known, dy.double())
    found += _compare("y", y, _clean(case, pooled.detach()), TOLERANCES[case.dtype])
    ill = 30 if case.exact and case.similarity in formula.DISTANCES else 1  # near the mean these derivatives are steep
    if not (case.nan_to_num and _overlaps(case)):  # where these meet, only the sum of clean windows would do
        found += _compare("dx", dx, _clean(case, gradient), ill * TOLERANCES[case.dtype])
    if dbeta is not None:
        y_smooth, y_em = twin(x.double(), None, case.similarity), twin(x.double(), None, "")
        terms, sizes = dy.double() * (y_smooth - y_em), dy.double().abs() * (y_smooth.abs() + y_em.abs())
        found += _compare(
            "dbeta", dbeta, _clean(case, terms).sum((0, 1)), 10 * TOLERANCES[_wide(case)], sizes.sum((0, 1))
        )
    return found


def unpooling_faults(case: Case, device: str) -> list[str]:
    """Find where unpooling and its gradient differ from the operators on the CPU in float64; a line each."""
    from vo3d.layers.adapool import kernels  # noqa: PLC0415 (only where Triton is)

    torch.manual_seed(case.seed)
    y = _tensor(case, (*case.shape[:2], *case.out), "normal", device)
    dout = _tensor(case, case.shape, "normal", device)
    weights = (*case.shape[:2], *(k * o for k, o in zip(case.kernel, case.out, strict=True)))
    one_channel = (weights[0], 1, *weights[2:])
    smooth = (
        torch.rand(one_channel if case.mean else weights, dtype=case.dtype, device=device) if case.similarity else None
    )
    em = torch.rand(weights, device=device)[:1].expand(weights) if case.blend or not case.similarity else None
    beta = torch.rand((), device=device).expand(case.out) if case.blend else None
    where = list(case.kernel), list(case.stride), list(case.padding)
    with _marks() as overwritten:
        out = kernels.adaunpool_forward(y, smooth, em, beta, *where, case.shape[2:], case.mean)
        dy = kernels.adaunpool_backward(dout, smooth, em, beta, *where, case.out, case.mean)
    masks = [None if t is None else t.double().cpu() for t in (smooth, em, beta)]
    laid = unpooling.adaunpool(y.double().cpu(), *masks, *where, list(case.shape[2:]), case.mean)
    gradient = unpooling.adaunpool_backward(dout.double().cpu(), *masks, *where, list(case.out), case.mean)
    found = overwritten() + _compare("out", out, laid, TOLERANCES[case.dtype])
    return found + _compare("dy", dy, gradient, TOLERANCES[case.dtype])


def _wide(case: Case) -> torch.dtype:
    return torch.promote_types(case.dtype, torch.float32)


def _overlaps(case: Case) -> bool:
    return any(k > s for k, s in zip(case.kernel, case.stride, strict=True))


def _clean(case: Case, t: Tensor) -> Tensor:
    return t.nan_to_num(0, torch.inf, -torch.inf) if case.nan_to_num else t


def _tensor(case: Case, shape: tuple[int, ...], values: str, device: str) -> Tensor:
    """Numbers of a kind, in the layout of the case, between NaNs."""
    numbers = torch.randn(shape)
    numbers = {
        "whole": numbers.round(),
        "zeros": numbers * 0,
        "constant": numbers * 0 + 0.375,
        "huge": numbers.double() * HUGE[case.dtype],
        "tiny": numbers.double() * TINY[case.dtype],
        "nan": numbers.where(torch.rand(shape) > 0.05, torch.nan),
        "infinite": numbers.where(torch.rand(shape) > 0.05, torch.inf),
    }.get(values, numbers)
    order, step, axes = list(range(len(shape))), 1, len(shape) - 2
    if case.layout == "channels_last":
        order = [0, *range(2, axes + 2), 1]
    elif case.layout == "transposed":
        order = [0, 1, *reversed(range(2, axes + 2))]
    elif case.layout == "steps":
        step = 2
    stored = [shape[axis] for axis in order]
    stored[-1] *= step
    flat = torch.full((prod(stored) + 2 * MARGIN,), torch.nan, dtype=case.dtype, device=device)
    inner = flat[MARGIN + case.seed % 2 : -MARGIN + case.seed % 2].view(stored)[..., ::step]
    inner.copy_(numbers.permute(order))
    result = inner.permute([order.index(axis) for axis in range(len(shape))])
    return result[:1].expand(shape) if case.layout == "expanded" else result


@contextmanager
def _marks() -> Iterator[Callable[[], list[str]]]:
    """Surround what kernels allocate by marks; the result tells whether any was overwritten."""
    buffers: list[Tensor] = []

    def marked(self: Tensor, *size: Any, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
        length = prod(shape) + 2 * MARGIN
        buffers.append(torch.full((length,), MARK, dtype=dtype or self.dtype, device=device or self.device))
        return buffers[-1][MARGIN:-MARGIN].view(shape)

    def overwritten() -> list[str]:
        outside = [torch.cat((buffer[:MARGIN], buffer[-MARGIN:])) for buffer in buffers]
        return ["written outside of a tensor"] if any((marks != MARK).any() for marks in outside) else []

    with patch.object(torch.Tensor, "new_empty", marked):
        yield overwritten


def _compare(name: str, got: Tensor, want: Tensor, tolerance: float, size: Tensor | None = None) -> list[str]:
    """One line if `got` is further from `want` than the tolerance, which is relative to the largest number there is."""
    got, want = got.detach().double().cpu(), want.to(got.dtype).double().cpu()
    finite = (want if size is None else size.cpu()).abs()
    scale = finite[finite.isfinite()].max() if finite.isfinite().any() else torch.tensor(1.0)
    wrong = ~torch.isclose(got, want, rtol=tolerance, atol=tolerance * scale.item(), equal_nan=True)
    if got.shape == want.shape and not wrong.any():
        return []
    at = tuple(wrong.nonzero()[0].tolist())
    return [f"{name}: {wrong.sum()} of {wrong.numel()} differ, at {at} {got[at]:.9g} instead of {want[at]:.9g}"]


def main() -> int:
    """Check as many shapes as asked for; 0 where all are right."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--shapes", type=int, default=200, help="how many random shapes")
    parser.add_argument("--largest", type=int, default=70, help="elements along an axis")
    parser.add_argument("--first", type=int, default=0, help="number of the first shape, to repeat one")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "check_adapool_gpu: found no CUDA GPU, expected one: run this where torch.cuda.is_available() is true",
            file=sys.stderr,
        )
        return 2
    wrong = 0
    for seed in range(options.first, options.first + options.shapes):
        case = random_case(seed, options.largest)
        for fault in (*pooling_faults(case, "cuda"), *unpooling_faults(case, "cuda")):
            wrong += 1
            print(f"shape {seed}: {fault}\n    {case}")
    name = torch.cuda.get_device_name()
    print(f"{options.shapes} shapes on {name}: " + (f"{wrong} faults" if wrong else "kernels and formulas agree"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

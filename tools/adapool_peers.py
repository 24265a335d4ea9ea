"""What `benchmark_adapool.py` compares: the cases, the naive compositions, torch's poolings and ours."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from vo3d import layers

FUNCTIONS = {"ada": "adapool", "soft": "empool", "edscw": "edscwpool", "idw": "idwpool"}
WHAT = ("output", "gradient of x", "gradient of beta")
SHAPES = ((32, 64, 112, 112), (32, 256, 56, 56), (8, 64, 16, 56, 56))
GRADIENTS = {"straight_through": "naive, detached weights", "exact": "naive"}  # whose gradient equals ours


@dataclass(frozen=True)
class Case:
    """What is pooled, and how."""

    operator: str = "ada"
    shape: tuple[int, ...] = SHAPES[0]
    kernel: int = 2
    stride: int = 2
    channels_last: bool = False
    dtype: str = "float32"
    device: str = "cpu"
    compiled: bool = True

    @property
    def out(self) -> tuple[int, ...]:
        """Spatial size of the output."""
        return tuple((extent - self.kernel) // self.stride + 1 for extent in self.shape[2:])

    @property
    def bytes_of_x(self) -> int:
        """Size of the input."""
        return prod(self.shape) * getattr(torch, self.dtype).itemsize

    @property
    def bytes_of_y(self) -> int:
        """Size of the output."""
        return prod(self.shape[:2] + self.out) * getattr(torch, self.dtype).itemsize

    @property
    def bytes_moved(self) -> tuple[int, int]:
        """Return what forward, and forward+backward, must at least read and write; beta is too small to count."""
        covered = tuple((o - 1) * self.stride + self.kernel for o in self.out)  # no window reaches the rest
        read = self.bytes_of_x * prod(covered) // prod(self.shape[2:])
        return read + self.bytes_of_y, 2 * (read + self.bytes_of_y) + self.bytes_of_x

    @property
    def title(self) -> str:
        """The case in one line."""
        layout = ", channels_last" if self.channels_last else ""
        return f"{self.operator}, {self.shape}, k={self.kernel}, s={self.stride}, {self.dtype}{layout}, {self.device}"


@dataclass(frozen=True)
class Candidate:
    """A pooling `function(x, beta)`, the name of the naive peer with its gradient, and whether beta takes part."""

    function: Callable[[Tensor, Tensor], Tensor]
    peer: str
    blends: bool = False


def windows_of(x: Tensor, case: Case) -> Tensor:
    """(B, C, *size) -> (B, C, n, *out); the window's axis lies where autograd is fastest, not last."""
    if len(case.out) == 2:
        return F.unfold(x, case.kernel, stride=case.stride).view(*x.shape[:2], case.kernel**2, *case.out)
    for axis in range(2, x.dim()):
        x = x.unfold(axis, case.kernel, case.stride)  # (B, C, *out, k, ...)
    axes = len(case.out)
    order = (0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    return x.permute(order).flatten(2, 1 + axes)


def naive(x: Tensor, beta: Tensor, case: Case, *, detached: bool) -> Tensor:
    """The formulas as a reader of the paper writes them."""
    windows, axis = windows_of(x, case), 2
    values = windows.detach() if detached else windows
    mean = values.mean(axis, keepdim=True)
    smooth = maximum = torch.empty(0)
    if case.operator in {"ada", "edscw"}:
        weights = torch.softmax(2 * (values * mean).abs() / (values * values + mean * mean), axis)
        smooth = (weights * windows).sum(axis)
    if case.operator == "idw":
        inverse = 1 / (values - mean).abs()
        smooth = (inverse / inverse.sum(axis, keepdim=True) * windows).sum(axis)
    if case.operator in {"ada", "soft"}:
        maximum = (torch.softmax(values, axis) * windows).sum(axis)
    if case.operator == "ada":
        return beta * smooth + (1 - beta) * maximum
    return maximum if case.operator == "soft" else smooth


def ours(x: Tensor, beta: Tensor, case: Case, *, gradient: str, native: bool = False) -> Tensor:
    """Ours, as a user calls it."""
    function = getattr(layers, f"{FUNCTIONS[case.operator]}{len(case.out)}d")
    blend = (beta,) if case.operator == "ada" else ()
    pooled: Tensor = function(x, *blend, case.kernel, case.stride, native=native, gradient=gradient)
    return pooled


def candidates(case: Case) -> dict[str, Candidate]:
    """All that compete in a case, the peers first."""
    compiled = partial(torch.compile, fullgraph=True, dynamic=False)
    blends = case.operator == "ada"
    detached, exact = (partial(naive, case=case, detached=detached) for detached in (True, False))
    found = {
        "naive": Candidate(exact, "naive", blends),
        GRADIENTS["straight_through"]: Candidate(detached, GRADIENTS["straight_through"], blends),
    }
    if case.compiled:
        found["naive, compiled"] = Candidate(compiled(exact), "naive", blends)
        found[f"{GRADIENTS['straight_through']}, compiled"] = Candidate(
            compiled(detached), GRADIENTS["straight_through"], blends
        )
    for name, short in (("average", "avg"), ("max", "max")):
        pool = getattr(F, f"{short}_pool{len(case.out)}d")
        found[f"{name} pooling"] = Candidate(
            lambda x, _, pool=pool: pool(x, case.kernel, case.stride), GRADIENTS["straight_through"]
        )
    for gradient, peer in GRADIENTS.items():
        mode = partial(ours, case=case, gradient=gradient)
        found[f"ours, {gradient}"] = Candidate(mode, peer, blends)
        if case.compiled:
            found[f"ours, {gradient}, native"] = Candidate(partial(mode, native=True), peer, blends)
            found[f"ours, {gradient}, compiled"] = Candidate(compiled(mode), peer, blends)
    return found


def tensors(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Input, beta and upstream gradient, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.shape, generator=generator)
    beta = torch.rand(case.out, generator=generator)
    dy = torch.randn(*case.shape[:2], *case.out, generator=generator)
    dtype = getattr(torch, case.dtype)
    if case.channels_last:
        layout = torch.channels_last if len(case.out) == 2 else torch.channels_last_3d
        x, dy = x.to(memory_format=layout), dy.to(memory_format=layout)
    x, beta, dy = (tensor.to(case.device, dtype) for tensor in (x, beta, dy))
    return x.requires_grad_(), beta.requires_grad_(), dy


def call(candidate: Candidate, given: tuple[Tensor, Tensor, Tensor], *, backward: bool) -> tuple[Tensor, ...]:
    """Output alone, or output and gradients."""
    x, beta, dy = given
    if not backward:
        with torch.no_grad():
            return (candidate.function(x, beta),)
    y = candidate.function(x, beta)
    return (y, *torch.autograd.grad(y, (x, beta) if candidate.blends else (x,), dy))


def check_agreement(case: Case, named: dict[str, Candidate], given: tuple[Tensor, Tensor, Tensor]) -> None:
    """Compare output and gradients of all with the naive composition in float32; also warms up."""
    wide = tuple(tensor.detach().float().requires_grad_() for tensor in given)
    truth = {name: call(named[name], wide, backward=True) for name in set(GRADIENTS.values())}
    tolerance = 1e-3 if case.dtype == "float32" else 5e-2
    for name, candidate in named.items():
        call(candidate, given, backward=False)
        found = call(candidate, given, backward=True)
        if not name.startswith("ours") or candidate.peer == name:
            continue
        for what, ours_, theirs in zip(WHAT[: len(found)], found, truth[candidate.peer], strict=True):
            wrong = (ours_.float() - theirs).abs() > tolerance * (1 + theirs.abs())
            if (share := wrong.float().mean().item()) > 1e-4:  # ill-conditioned windows (mean near 0) may differ
                raise SystemExit(f"{case.title}: {what} of '{name}' differs from '{candidate.peer}' in {share:.1%}")

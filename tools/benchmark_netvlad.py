"""Time and memory of the NetVLAD layer beside that of Nanne/pytorch-NetVlad, in one run.

Example: `python tools/benchmark_netvlad.py --peer FOLDER`, where FOLDER holds the `netvlad.py` of
https://github.com/Nanne/pytorch-NetVlad; without `--peer` ours alone, beside its definition in float64. Nothing of the
peer is called but the layer; scikit-learn, which its file imports, is not needed.

Maps (8, 512, 30, 40), 64 clusters, version 1 with equal weights, float32, one thread. First the outputs are compared.
Then both take turns, after one round for warming up; told are medians of seconds on the clock, and the median over the
rounds of one's time by the other's. "Forward" runs without autograd; with backward, gradients of maps and weights are
made. Memory: the highest sum of torch's allocations during one call, as torch.profiler records them, output and
gradients included, the maps not. An expression of known peak is measured first, and must come out within 2 %.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from types import ModuleType

import torch
from torch import Tensor, nn

from benchmark_adapool import MIB, aligned, allocated_peak
from benchmark_losses import judged
from vo3d.layers.netvlad import EPS, NetVLADPool

PEER = "pytorch-NetVlad"
SHAPE, NUM_CLUSTERS = (8, 512, 30, 40), 64
TIME_TARGET, MEMORY_TARGETS, VALUE_TARGET = 0.2, (0.25, 0.1), 1e-5
MODES = ("forward", "forward+backward")


def load_peer(folder: Path, ours: NetVLADPool) -> nn.Module:
    """The peer's layer with the weights of ours."""
    if not (folder / "netvlad.py").is_file():
        raise SystemExit(f"{folder}: no netvlad.py: expected that of https://github.com/Nanne/{PEER}")
    for name in ("sklearn", "sklearn.neighbors"):
        sys.modules.setdefault(name, ModuleType(name)).__dict__.setdefault("NearestNeighbors", None)
    sys.path.insert(0, str(folder))
    peer: nn.Module = import_module("netvlad").NetVLAD(num_clusters=ours.num_clusters, dim=ours.dim)
    weight = ours.assignment.weight.detach()[:, :, None, None]
    peer.load_state_dict({"conv.weight": weight, "centroids": ours.centres.detach()})
    return peer


def definition(ours: NetVLADPool, x: Tensor) -> Tensor:
    """Compute version 1 as it is defined, in float64, from the residuals of one image after the other."""
    W, c = ours.assignment.weight.double(), ours.centres.double()
    rows = []
    for one in x.double().flatten(2):
        columns = one / (one.square().sum(0) + EPS).sqrt()  # d n
        residuals = columns[None] - c[:, :, None]  # k d n
        vlad = torch.einsum("kn,kdn->kd", (W @ columns).softmax(0), residuals)
        vlad = vlad / (vlad.square().sum(-1, keepdim=True) + EPS).sqrt()
        rows.append((vlad / (vlad.square().sum() + EPS).sqrt()).flatten())
    return torch.stack(rows)


def call(layer: nn.Module, x: Tensor, upstream: Tensor, *, backward: bool) -> object:
    """Run one layer; with backward, give the gradients of maps and weights."""
    if backward:
        return torch.autograd.grad(layer(x), [x, *layer.parameters()], upstream)
    with torch.no_grad():
        return layer(x)


def timed(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each in each round; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(-1, rounds):
        for name, function in calls.items():
            start = perf_counter()
            function()
            if index >= 0:
                found[name].append(perf_counter() - start)
    return found


def main() -> None:
    """Compare, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help=f"where the file of {PEER} lies (default: none)")
    parser.add_argument("--rounds", type=int, default=7, help="of each, after one for warming up")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: expected at least 1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(SHAPE)
    if abs(allocated_peak(x.exp) / x.nbytes - 1) > 0.02:
        raise SystemExit("memory is not measured right here: exp of the maps does not take their size")
    ours = NetVLADPool(SHAPE[1], NUM_CLUSTERS)
    ours.initialise(torch.randn(NUM_CLUSTERS, SHAPE[1]), x.flatten(2).mT.flatten(0, 1))
    layers: dict[str, nn.Module] = {"ours": ours}
    if options.peer:
        layers[PEER] = load_peer(options.peer, ours)
    print(f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, 1 thread; maps {SHAPE}, float32")
    with torch.no_grad():
        found = {name: layer(x).double() for name, layer in layers.items()}
        exact = definition(ours, x)
    print(
        judged(
            "largest difference from the definition in float64",
            float((found["ours"] - exact).abs().max()),
            VALUE_TARGET,
        )
    )
    if PEER in found:
        print(judged(f"largest difference from {PEER}", float((found["ours"] - found[PEER]).abs().max()), VALUE_TARGET))
    upstream, x = torch.randn_like(found["ours"], dtype=torch.float32), x.requires_grad_()
    rows, targets = [["layer", "pass", "seconds", "least", "MiB"]], []
    for backward, mode in enumerate(MODES):
        calls = {
            name: lambda layer=layer, backward=bool(backward): call(layer, x, upstream, backward=backward)
            for name, layer in layers.items()
        }
        seconds = timed(calls, options.rounds)
        bytes_ = {name: allocated_peak(function) for name, function in calls.items()}
        for name in layers:
            peak = f"{bytes_[name] / MIB:.1f}"
            rows.append([name, mode, f"{median(seconds[name]):.4f}", f"{min(seconds[name]):.4f}", peak])
        if PEER in layers:
            ratio = median(a / b for a, b in zip(seconds["ours"], seconds[PEER], strict=True))
            targets.append(judged(f"time of {mode} / {PEER}", ratio, TIME_TARGET))
            targets.append(
                judged(f"memory of {mode} / {PEER}", bytes_["ours"] / bytes_[PEER], MEMORY_TARGETS[backward])
            )
    print("", *aligned(rows), "", *targets, sep="\n")


if __name__ == "__main__":
    main()

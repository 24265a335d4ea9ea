"""Time of a frame through every trunk, and EfficientNet-Lite0 beside its published module, in one run.

Example: `python tools/benchmark_trunks.py --peer FOLDER`, where FOLDER holds what
`pip install --no-deps --target FOLDER efficientnet-lite-pytorch==0.1.0` writes; without `--peer` ours alone.

One frame of 224 x 224, float32, without gradients, normalisation of the image included, with random weights; beside
its published module EfficientNet-Lite0 has the published weights, which the extra `imagenet` brings. One thread, in
processor time, which other programs on the same cores disturb least. The candidates take turns; told are medians, and
the median over the rounds of one module's time by the other's.

First the features of the two are compared, relative to the largest: in float64, and in float32 beside how far each is
from its own float64.
"""

import argparse
import contextlib
import copy
import io
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from time import process_time
from typing import get_args

import torch
from torch import Tensor, nn

from benchmark_adapool import aligned
from benchmark_losses import judged
from vo3d.layers.imagenet import efficientnet_lite0_weights
from vo3d.layers.trunk import TrunkName, make_trunk

TIME_TARGET, VALUE_TARGET = 1.05, 1e-5  # of the peer's time; of the largest feature
LITE0, PEER, PEER_PACKAGE = "efficientnet_lite0", "efficientnet-lite-pytorch", "efficientnet_lite_pytorch"
Features = Callable[[Tensor], Tensor]  # of an image, RGB in [0, 1]


def load_peer(folder: Path) -> nn.Module:
    """The published module with the published weights, in evaluation mode."""
    if not (folder / PEER_PACKAGE / "__init__.py").is_file():
        raise SystemExit(
            f"{folder}: no {PEER_PACKAGE}: expected what 'pip install --no-deps --target {folder} {PEER}==0.1.0' writes"
        )
    sys.path.insert(0, str(folder))
    module = import_module(PEER_PACKAGE)
    with contextlib.redirect_stdout(io.StringIO()):
        network: nn.Module = module.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(efficientnet_lite0_weights())
    return network.eval()


def peer_features(network: nn.Module) -> Features:
    """The peer's features of images as ours take them."""
    return lambda image: network.extract_features((255 * image - 127) / 128)  # type: ignore[operator, no-any-return]


def differences(ours: nn.Module, peer: nn.Module, image: Tensor) -> dict[str, float]:
    """Largest differences of features, relative to the largest feature."""
    double = image.double()
    exact = copy.deepcopy(ours).double()(double), peer_features(copy.deepcopy(peer).double())(double)
    single = ours(image).double(), peer_features(peer)(image).double()
    pairs = {
        "float64": exact,
        "float32": single,
        "ours_rounding": (single[0], exact[0]),
        "peer_rounding": (single[1], exact[1]),
    }
    return {name: float((a - b).abs().max() / b.abs().max()) for name, (a, b) in pairs.items()}


def timed(candidates: dict[str, Features], image: Tensor, rounds: int) -> dict[str, list[float]]:
    """Processor milliseconds of each candidate in each round; they take turns, after three rounds for warming up."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for index in range(-3, rounds):
        for name, features in candidates.items():
            start = process_time()
            features(image)
            if index >= 0:
                found[name].append(1e3 * (process_time() - start))
    return found


def ratio_of(found: dict[str, list[float]], name: str, other: str) -> float:
    """Median over the rounds of one candidate's time by another's."""
    return median(a / b for a, b in zip(found[name], found[other], strict=True))


def main() -> None:
    """Compare, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help=f"where {PEER} lies (default: none)")
    parser.add_argument("--rounds", type=int, default=30, help="of each, after three for warming up")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of the frame, a multiple of 32")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: expected at least 1")
    if options.size < 32 or options.size % 32:
        parser.error(f"--size {options.size}: expected a multiple of 32: {PEER} pads other sizes as it pads 224")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peer = load_peer(options.peer) if options.peer else None
    trunks = {name: make_trunk(name, pretrained=bool(peer) and name == LITE0).eval() for name in get_args(TrunkName)}
    image = torch.randint(0, 256, (1, 3, options.size, options.size)) / 255
    figures: dict[str, object] = {}
    print(
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, 1 thread; "
        f"1x3x{options.size}x{options.size}, float32; medians of {options.rounds}"
    )
    with torch.inference_mode():
        if peer is not None:
            figures["differences"] = apart = differences(trunks[LITE0], peer, image)
            print(judged("largest difference of features, float64,", apart["float64"], VALUE_TARGET))
            print(judged("largest difference of features, float32,", apart["float32"], VALUE_TARGET))
            print(f"from their own float64: {apart['ours_rounding']:.2g}, {PEER} {apart['peer_rounding']:.2g}")
        candidates: dict[str, Features] = dict(trunks)
        if peer is not None:
            candidates[PEER] = peer_features(peer)  # next after ours
        found = timed(candidates, image, options.rounds)
    rows = [["trunk", "weights", "processor ms a frame", "least"]]
    for name, times in found.items():
        network = trunks.get(name, peer)
        count = sum(p.numel() for key, p in network.named_parameters() if not key.startswith("_fc")) if network else 0
        rows.append([name, f"{count:,}", f"{median(times):.1f}", f"{min(times):.1f}"])
    print("", *aligned(rows), sep="\n")
    if peer is not None:
        print("", judged(f"time of {LITE0} / {PEER}", ratio_of(found, LITE0, PEER), TIME_TARGET), sep="\n")
    if options.json:
        options.json.write_text(json.dumps({**figures, "ms": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

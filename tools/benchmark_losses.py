"""Time of warping by depth and its L1 loss beside SfmLearner's, in one run.

Example: `python tools/benchmark_losses.py --peer SfmLearner-Pytorch --threads 1 2`, where SfmLearner-Pytorch is a
checkout of github.com/ClementPinard/SfmLearner-Pytorch; without `--peer` ours alone.

One scale, one source, no SSIM: the source image is warped into the target view by depth and motion, and the absolute
differences are averaged, over the pixels that are seen (ours) or over all, with those outside as 0 (the peer); forward,
and backward into the depth and the motion, with `--image-gradient` into the source image too. Ours takes the motion as
a matrix, the peer as three metres and three angles. The two take turns; medians are told. Processor time counts all
threads, and suffers less than wall time from other programs.

First the values are compared: in float64, where both must agree to 1e-5 wherever z > 0.1 m and the pixel is a pixel
away from the border; and in float32, where coordinates are rounded, beside how far each is from its own float64.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional

from benchmark_adapool import aligned, plural
from vo3d.geometry import reproject, warp_by_depth

SIZE = (4, 3, 128, 416)
TIME_TARGET, VALUE_TARGET = 1.0, 1e-5  # of the peer's time; of the values
OURS, PEER = "vo3d", "SfmLearner"
Loss = Callable[[], tuple[Tensor, Tensor]]  # the loss, and the warped image


@dataclass(frozen=True)
class Problem:
    """One target view, one source view and what lies between them."""

    source: Tensor  # b 3 h w
    target: Tensor  # b 3 h w
    depth: Tensor  # b h w, metres
    K: Tensor  # b 3 3
    vector: Tensor  # b 6: metres, then radians about x, y and z
    motion: Tensor  # b 4 4: source_T_target, the same

    def to(self, dtype: torch.dtype, device: str = "cpu") -> "Problem":
        """Return the same problem, new leaves of the graph."""
        return Problem(*(tensor.detach().to(device, dtype, copy=True) for tensor in vars(self).values()))

    def asked(self, *, image: bool) -> "Problem":
        """Ask for gradients of the depth, the motion and, where wanted, the source image."""
        leaves = self.to(self.depth.dtype, str(self.depth.device))
        for tensor in (leaves.depth, leaves.vector, leaves.motion, *([leaves.source] if image else [])):
            tensor.requires_grad_()
        return leaves


def problem_of(size: tuple[int, ...] = SIZE) -> Problem:
    """Smooth pictures and depths of 2 to 40 m out of a seed, seen by a camera that goes half a metre; float64."""
    generator = torch.Generator().manual_seed(0)
    b, _, h, w = size

    def smooth(channels: int, step: int) -> Tensor:
        coarse = torch.rand(b, channels, h // step, w // step, generator=generator, dtype=torch.float64)
        return functional.interpolate(coarse, (h, w), mode="bicubic", align_corners=False).clamp(0, 1)

    focal = 0.58 * w
    K = torch.tensor([[focal, 0.0, (w - 1) / 2], [0.0, focal, (h - 1) / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    scale = torch.tensor((0.1, 0.05, 0.5, 0.01, 0.02, 0.005), dtype=torch.float64)
    vector = scale * (2 * torch.rand(b, 6, generator=generator, dtype=torch.float64) - 1)
    depth = 2 + 38 * smooth(1, 16)[:, 0]
    return Problem(smooth(3, 8), smooth(3, 8), depth, K.expand(b, 3, 3).clone(), vector, matrix(vector))


def matrix(vector: Tensor) -> Tensor:
    """The motion (b 4 4) of translations and angles (b 6): the rotation about z, then about y, then about x."""
    motion = torch.eye(4, dtype=vector.dtype).repeat(len(vector), 1, 1)
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(4, dtype=vector.dtype).repeat(len(vector), 1, 1)
        cos, sin = vector[:, 3 + axis].cos(), vector[:, 3 + axis].sin()
        turn[:, i, i], turn[:, j, j], turn[:, i, j], turn[:, j, i] = cos, cos, -sin, sin
        motion = motion @ turn
    motion[:, :3, 3] = vector[:, :3]
    return motion


def load_peer(folder: Path) -> ModuleType:
    """The warp of a checkout of ClementPinard/SfmLearner-Pytorch."""
    path = folder / "inverse_warp.py"
    if not path.is_file():
        raise SystemExit(f"{folder}: no inverse_warp.py: expected a checkout of ClementPinard/SfmLearner-Pytorch")
    spec = util.spec_from_file_location("sfmlearner_inverse_warp", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: expected a Python file")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def our_loss(problem: Problem) -> tuple[Tensor, Tensor]:
    """Warp, and average |image - target| over what is seen; outside, where the image is 0, so is the target made."""
    image, valid = warp_by_depth(problem.source, problem.depth, problem.K, problem.motion)
    target = torch.where(valid[:, None], problem.target, 0.0)
    return (image - target).abs().sum() / (image.shape[1] * valid.sum()), image


def peer_loss(peer: ModuleType, problem: Problem) -> tuple[Tensor, Tensor]:
    """Warp, and average as the peer's `photometric_reconstruction_loss` does at its full scale."""
    image, valid = peer.inverse_warp(
        problem.source, problem.depth, problem.vector, problem.K, rotation_mode="euler", padding_mode="zeros"
    )
    difference = (problem.target - image) * valid.unsqueeze(1).float()
    return difference.abs().mean(), image


@contextmanager
def fresh(peer: ModuleType) -> Iterator[None]:
    """Let the peer build its grid of pixels anew, before and behind: it keeps one of any dtype and width."""
    peer.pixel_coords = None  # type: ignore[attr-defined]
    yield
    peer.pixel_coords = None  # type: ignore[attr-defined]


def differences(problem: Problem, peer: ModuleType) -> dict[str, float]:
    """Compare images and depth gradients (relative to the largest) where z > 0.1 m and the pixel lies inside."""
    h, w = problem.depth.shape[-2:]
    pixels, z = reproject(problem.depth, problem.K, problem.motion)
    inside = (z > 0.1) & ((pixels >= 1) & (pixels <= pixels.new_tensor((w - 2.0, h - 2.0)))).all(-1)
    found: dict[tuple[str, torch.dtype], tuple[Tensor, Tensor]] = {}
    for dtype in (torch.float64, torch.float32):
        for name in (OURS, PEER):
            asked = problem.to(dtype).asked(image=False)
            with fresh(peer):
                loss, image = our_loss(asked) if name == OURS else peer_loss(peer, asked)
            seen = warp_by_depth(asked.source, asked.depth, asked.K, asked.motion)[1]
            scale = 1 if name == OURS else seen.numel() / int(seen.sum())  # of all pixels, or of those that are seen
            (gradient,) = torch.autograd.grad(loss * scale, asked.depth)
            found[name, dtype] = image.detach().double(), gradient.double()

    def apart(one: tuple[str, torch.dtype], other: tuple[str, torch.dtype], part: int) -> float:
        left, right = found[one][part], found[other][part]
        mask = inside if part else inside[:, None].expand_as(left)
        return float((left - right)[mask].abs().max() / (right[mask].abs().max() if part else 1))

    double, single = torch.float64, torch.float32
    return {
        "inside": float(inside.double().mean()),
        "float64": apart((OURS, double), (PEER, double), 0),
        "float32": apart((OURS, single), (PEER, single), 0),
        "ours_rounding": apart((OURS, single), (OURS, double), 0),
        "peer_rounding": apart((PEER, single), (PEER, double), 0),
        "gradient_float64": apart((OURS, double), (PEER, double), 1),
        "gradient_float32": apart((OURS, single), (PEER, single), 1),
    }


def timed(losses: dict[str, Loss], repetitions: int, *, gpu: bool) -> dict[str, dict[str, float]]:
    """Median milliseconds of each loss: forward, both ways, and both in processor time; they take turns."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in losses}
    wait = torch.cuda.synchronize if gpu else lambda: None
    for repetition in range(-3, repetitions):
        for name, loss in losses.items():
            wait()
            start, processor = perf_counter(), process_time()
            value = loss()[0]
            wait()
            middle = perf_counter()
            value.backward()  # type: ignore[no-untyped-call]
            wait()
            if repetition >= 0:  # the first are for warming up
                found[name].append((middle - start, perf_counter() - start, process_time() - processor))
    keys = ("forward", "both", "processor")
    return {
        name: {key: 1e3 * median(values) for key, values in zip(keys, zip(*several, strict=True), strict=True)}
        for name, several in found.items()
    }


def judged(what: str, value: float, target: float) -> str:
    """One line on a target."""
    return f"Target: {what} at most {target:g}: {value:.3g}, {'met' if value <= target else 'MISSED'}."


def main() -> None:
    """Compare, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="a checkout of SfmLearner-Pytorch (default: none)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="each of these numbers")
    parser.add_argument("--repetitions", type=int, default=50, help="of each, after three for warming up")
    parser.add_argument("--image-gradient", action="store_true", help="ask for the gradient of the source image too")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--quick", action="store_true", help="small images, three repetitions: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if min(options.repetitions, *options.threads) < 1:
        parser.error("--repetitions and --threads: expected whole numbers of at least 1")
    try:
        device = torch.device(options.device).type
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"--device {options.device}: {str(error).splitlines()[0]}")
    peer = load_peer(options.peer) if options.peer else None
    size, repetitions = ((2, 3, 32, 64), 3) if options.quick else (SIZE, options.repetitions)
    problem = problem_of(size)
    figures: dict[str, object] = {"size": size, "device": device}
    print(
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, {device}; "
        f"{'x'.join(map(str, size))}, float32; medians of {repetitions}; gradients into depth and motion"
        f"{' and source image' if options.image_gradient else ''}"
    )
    if peer:
        apart = differences(problem, peer)
        figures["differences"] = apart
        print(f"compared: {apart['inside']:.1%} of the pixels")
        print(judged("largest difference of values, float64,", apart["float64"], VALUE_TARGET))
        print(
            f"float32: {apart['float32']:.2g}; from their own float64: {OURS} {apart['ours_rounding']:.2g}, "
            f"{PEER} {apart['peer_rounding']:.2g}"
        )
        print(
            f"gradient of the depth, relative: float64 {apart['gradient_float64']:.2g}, "
            f"float32 {apart['gradient_float32']:.2g}"
        )
    ours, other = (problem.to(torch.float32, device).asked(image=options.image_gradient) for _ in range(2))
    losses: dict[str, Loss] = {OURS: lambda: our_loss(ours)}
    if peer:
        losses = {PEER: lambda: peer_loss(peer, other), **losses}
    times = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        found = timed(losses, repetitions, gpu=device == "cuda")
        times.append({"threads": threads, **found})
        first = next(iter(found.values()))
        rows = [["candidate", "forward ms", "forward and backward ms", "processor ms"]]
        for name, one in found.items():
            rows.append([name, *(f"{one[key]:.2f} ({one[key] / first[key]:.2f})" for key in first)])
        print("", f"### {plural(threads)}", "", *aligned(rows), sep="\n", flush=True)
        if peer and not options.quick:
            ratio = found[OURS]["both"] / found[PEER]["both"]
            print("", judged(f"time of {OURS} / {PEER}", ratio, TIME_TARGET), sep="\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps({**figures, "times": times}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

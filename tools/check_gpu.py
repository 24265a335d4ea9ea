"""Run every method forward and backward on a device, at its published size, and print seconds and peak memory.

    python tools/check_gpu.py                      # on the accelerator, float32 and bfloat16
    python tools/check_gpu.py --device cpu --small true --models '[UnDeepVO]'

The images are smooth noise, the weights drawn: what is checked is that each method runs there, that its terms and
gradients are finite, and what it costs. Exits with status 1, after a line for each, where one fails.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter

import torch
from jsonargparse import auto_cli
from torch import Tensor
from torch.nn.functional import interpolate

from vo3d.errors import Vo3dError
from vo3d.inference.devices import choose_device
from vo3d.model import Model
from vo3d.models.deepvo import DeepVO
from vo3d.models.itermvs import IterMVS
from vo3d.models.mvsnet import MVSNet
from vo3d.models.netvlad import NetVLAD
from vo3d.models.posenet import PoseNet
from vo3d.models.rmvsnet import RMVSNet
from vo3d.models.sfmnet import SfMNet
from vo3d.models.undeepvo import UnDeepVO
from vo3d.models.vidloc import VidLoc
from vo3d.models.vinet import VINet
from vo3d.sample import Sample

REPETITIONS = 3


@dataclass(frozen=True)
class Row:
    """One method: how it is built for images of rows and columns, and what it is shown."""

    build: Callable[[tuple[int, int]], Model]
    size: tuple[int, int]  # as published
    small: tuple[int, int]  # for a processor
    batch: int = 1
    views: int = 2


ROWS = {
    "DeepVO": Row(lambda size: DeepVO(size=size), (384, 1280), (64, 128), views=5),
    "VINet": Row(lambda size: VINet(size=size, trunk="flownetc"), (384, 512), (64, 128), views=6),
    "UnDeepVO": Row(lambda size: UnDeepVO(size=size), (128, 416), (64, 128), batch=4),
    "SfMNet": Row(lambda size: SfMNet(size=size), (128, 384), (64, 128), batch=4),
    "VidLoc": Row(lambda size: VidLoc(size=size, head="mixture"), (224, 224), (96, 96), batch=2, views=16),
    "PoseNet": Row(lambda size: PoseNet(size=size, samples=40), (224, 224), (96, 96), batch=32, views=1),
    "NetVLAD": Row(lambda _: NetVLAD(), (480, 640), (64, 96), batch=4, views=12),
    "MVSNet": Row(lambda _: MVSNet(num_depths=192), (512, 640), (64, 80), views=3),
    "IterMVS": Row(lambda _: IterMVS(), (512, 640), (64, 80), views=5),
    "RMVSNet": Row(lambda _: RMVSNet(num_depths=192), (512, 640), (64, 80), views=3),
}


def check(models: Sequence[str] = tuple(ROWS), device: str = "auto", small: bool = False) -> int:
    """Print a line for each method and precision; give the number of those that fail.

    Args:
        models: methods to run.
        device: as torch names it; auto takes the accelerator.
        small: small images, for a processor.
    """
    if unknown := [name for name in models if name not in ROWS]:
        raise Vo3dError(f"models {', '.join(unknown)}: expected some of {', '.join(ROWS)}")
    place, failed = choose_device(device), 0
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    print(f"torch {torch.__version__} on {name}; seconds a step and peak memory, forward and backward")
    for model in models:
        row = ROWS[model]
        size = row.small if small else row.size
        for precision in ("float32", "bfloat16"):
            try:
                told = _run(row, size, place, precision)
            except (RuntimeError, Vo3dError) as error:
                told, failed = f"FAILED: {error}".splitlines()[0], failed + 1
            print(f"{model} {row.batch}x{row.views}x{size[1]}x{size[0]} {precision}: {told}", flush=True)
    return failed


def _run(row: Row, size: tuple[int, int], device: torch.device, precision: str) -> str:
    """Time one method in one precision, and tell; raises RuntimeError for a term or a gradient that is not finite."""
    torch.manual_seed(0)
    model = row.build(size).to(device).train()
    sample = smooth_sample(row.batch, row.views, size).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
    seconds = []
    for _ in range(1 + REPETITIONS):
        began = perf_counter()
        model.zero_grad()
        with autocast:
            terms = model.loss(model(sample), sample)
        torch.stack(list(terms.values())).sum().backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        finite = all(bool(values.isfinite().all()) for values in (*terms.values(), *gradients))  # waits for the device
        seconds.append(perf_counter() - began)
        if not finite:
            raise RuntimeError("a term of the loss or a gradient is not finite")
    peak = f", {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB" if device.type == "cuda" else ""
    return f"{min(seconds[1:]):.3f} s{peak}"


def smooth_sample(b: int, s: int, size: tuple[int, int]) -> Sample:
    """Make clips of smooth noise with cameras on a straight line, depth, a right view, and readings."""
    h, w = size
    generator = torch.Generator().manual_seed(0)

    def noise(channels: int) -> Tensor:
        coarse = torch.rand(b * s, channels, h // 8 + 1, w // 8 + 1, generator=generator)
        return interpolate(coarse, size, mode="bilinear").reshape(b, s, channels, h, w)

    world_T_cam = torch.eye(4, dtype=torch.float64).repeat(b, s, 1, 1)
    world_T_cam[..., 0, 3] = 0.1 * torch.arange(s)
    left_T_right = torch.eye(4).repeat(b, 1, 1)
    left_T_right[:, 0, 3] = 0.5
    K = torch.tensor([[0.6 * w, 0, w / 2], [0, 0.6 * w, h / 2], [0, 0, 1]]).expand(b, s, 3, 3).clone()
    image = noise(3)
    imu_time = 0.1 * (torch.arange(s)[:, None] - torch.linspace(0.95, 0.05, 10)).double().expand(b, s, 10).clone()
    imu = 0.1 * torch.randn(b, s, 10, 6, generator=generator)
    imu[:, 0], imu_time[:, 0] = torch.nan, torch.nan
    return Sample(
        image=image,
        K=K,
        world_T_cam=world_T_cam,
        depth=4 + noise(1)[:, :, 0],
        depth_range=torch.tensor([2.0, 8.0]).expand(b, s, 2).clone(),
        right=image.roll(-4, -1),
        left_T_right=left_T_right,
        imu=imu,
        imu_time=imu_time,
        cam_T_imu=torch.eye(4).repeat(b, 1, 1),
        time=0.1 * torch.arange(s).double().expand(b, s).clone(),
        index=torch.arange(s).expand(b, s).clone(),
        scene=["noise"] * b,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        failed = auto_cli(check, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"check_gpu: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

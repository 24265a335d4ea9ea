"""Frames a second of the rendered street: `python tools/benchmark_world.py [--threads 2] [--seconds 5]`."""

import argparse
import platform
import time

import torch

from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor
from vo3d.world.times import TIMES
from vo3d.world.visit import Visit

SIZES = ((64, 208), (128, 416), (256, 832))
CHOICES = {f"time {time}": (Sensor(), Visit(time=time)) for time in TIMES} | {
    "traffic 0": (Sensor(), Visit(traffic=0.0)),
    "photographs": (Sensor(), Visit(photographs=True)),
    "motion blur": (Sensor(motion_blur=0.5), Visit()),
    "rolling shutter": (Sensor(rolling_shutter=0.03), Visit()),
    "lens": (Sensor(lens=("radtan", (-0.2, 0.05, 0.0, 0.0))), Visit()),
}


def frames_per_second(recorder: Recorder, seconds: float, *, with_flow: bool) -> float:
    """Render frames spread over the drive for `seconds`; depth and object ids always come with the image."""
    recorder.frame(0)
    frame, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        index = frame * 7 % (recorder.frames - 1)
        recorder.frame(index, later=index + 1 if with_flow else None)
        frame += 1
    return frame / (time.perf_counter() - start)


def main() -> None:
    """Print a table in Markdown, and what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0, help="of rendering per figure")
    parser.add_argument("--samples", type=int, default=1, help="rays per pixel in each direction")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    _ = Recorder("street", 7, 400, SIZES[0], Sensor(), arguments.device).scene
    build = time.perf_counter() - start
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, {platform.machine()}, device {arguments.device}, "
        f"samples {arguments.samples}; building 400 frames of street takes {build:.2f} s"
    )
    print("| width x height | image + depth, frames/s | with flow, frames/s |")
    print("|---|---|---|")
    for height, width in SIZES:
        sensor = Sensor(samples=arguments.samples)
        recorder = Recorder("street", 7, 400, (height, width), sensor, arguments.device)
        plain, flow = (
            frames_per_second(recorder, arguments.seconds, with_flow=with_flow) for with_flow in (False, True)
        )
        print(f"| {width}x{height} | {plain:.1f} | {flow:.1f} |")
    height, width = SIZES[1]
    print(f"\n| {width}x{height} | image + depth, frames/s |\n|---|---|")
    for words, (sensor, visit) in CHOICES.items():
        recorder = Recorder("street", 7, 400, SIZES[1], sensor, arguments.device, visit=visit)
        print(f"| {words} | {frames_per_second(recorder, arguments.seconds, with_flow=False):.1f} |")


if __name__ == "__main__":
    main()

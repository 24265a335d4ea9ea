"""The files of a track: poses in two formats, and what must be known to use them."""

import json
from pathlib import Path
from typing import Any

import torch

from vo3d.formats.files import write_whole
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.pipelines.track.job import Job
from vo3d.pipelines.track.run import Found, Run
from vo3d.provenance import provenance

TUM, KITTI, FACTS, PATH, FRAMES, PAGE = "poses.tum", "poses.txt", "track.json", "path.png", "frames.png", "report.html"


def write_poses(out: Path, found: Found) -> None:
    """Write the poses that the images told: TUM with times, and KITTI's rows, with frame indices where some lack."""
    poses = found.world_T_cam[found.known]
    write_trajectory(out / TUM, Trajectory(world_T_cam=poses, time=found.stamps[found.known]), "tum")
    write_trajectory(out / KITTI, Trajectory(world_T_cam=poses, frames=found.numbers[found.known]), "kitti")


def unit_of(job: Job) -> str:
    """Name the unit of lengths: m, or units where the method or the source chose one."""
    return "m" if job.model.metric and (job.recording is None or job.recording.metric) else "units"


def frame_rate(found: Found) -> float | None:
    """Compute the frames of a second of the source, by the median; None where it has no times."""
    if found.time is None or len(found) < 2:
        return None
    apart = found.time.diff().quantile(0.5).item()
    return 1 / apart if apart > 0 else None


def write_facts(
    out: Path, job: Job, made: Run, found: Found, camera: str, notes: list[str], truth: dict[str, Any]
) -> None:
    """Write what the page says as JSON."""
    numbers = found.numbers.tolist()
    facts = {
        "source": job.source,
        "name": job.name,
        "frames": {"number": len(found), "first": numbers[0], "last": numbers[-1]},
        "size": f"{found.size[1]}x{found.size[0]}",
        "fps": frame_rate(found),
        "times": "frame numbers" if found.time is None else "seconds",
        "camera": camera,
        "K": None
        if made.K is None
        else [made.K[0, 0].item(), made.K[1, 1].item(), made.K[0, 2].item(), made.K[1, 2].item()],
        "method": job.net.origin,
        "scale": job.model.scale_source,
        "unit": unit_of(job),
        "says_gaps": found.says,
        "gaps": [[numbers[first], numbers[last]] for first, last in found.gaps],
        "poses": int(found.known.sum()),
        "path_length": found.length,
        "truth": truth,
        "notes": notes,
        "ended_early": None if made.broken is None else str(made.broken) or type(made.broken).__name__,
        "seconds": {"model": made.seconds, "all": made.total},
        "provenance": provenance() | {"device": str(job.device)},
    }
    write_whole(out / FACTS, json.dumps(facts, indent=2, default=str) + "\n")


def extent(found: Found) -> list[float]:
    """Compute how far the path reaches along x, y and z."""
    position = found.world_T_cam[found.known, :3, 3]
    reach: list[float] = (position.amax(0) - position.amin(0)).tolist()
    return reach


def empty(found: Found) -> bool:
    """Tell if not one step was told."""
    return len(found) < 2 or not bool(torch.any(found.known[1:]))

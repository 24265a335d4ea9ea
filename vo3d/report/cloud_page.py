"""One HTML file in which a point cloud can be turned, moved and zoomed, without a network or anything installed.

`cloud_page.html` beside this file is the page: a small WebGL viewer with holes for a title, a note, facts as JSON and
the points as base64. Positions are rounded to 16 bits an axis.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt16
from numpy.typing import NDArray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole
from vo3d.formats.ply import PointCloud
from vo3d.report.clouds import extent, facing_axes
from vo3d.report.drawn_path import DrawnPath

AROUND = 5.0  # radii around the middle that are shown: strays far outside would coarsen the positions
COUNTS = 65535  # of 16 bits; of a scalar the last one means that there is no number
CLOSE = 3.5  # times the distance of neighbours: points so large leave few gaps on a surface
STOPS = 17  # colours of the ramp, between which the page interpolates


def cloud_page(
    cloud: PointCloud,
    path: Path,
    title: str,
    max_points: int = 300_000,
    *,
    up: Sequence[float] | None = None,
    world_T_cam: Float[Tensor, "n 4 4"] | None = None,
    parts: Sequence[tuple[str, int, bool]] = (),
    lines: Mapping[str, DrawnPath] = MappingProxyType({}),
    seed: int = 0,
) -> Path:
    """Write the page to `path`, whole or not at all, and return `path`; it says how many of the points it shows.

    More than `max_points` are thinned by chance (`seed`); points farther from the middle than 5 radii (a radius holds
    98 % of the points) are left out. The page colours by RGB, normals, height along `up` (as in `turntable`) and by
    each scalar from its 1st to its 99th percentile. It opens on the side of the cameras, where they are given. Points
    are as large as closes the gaps between them. `parts` are the layers that the cloud is made of: the name and the
    number of points of each, and whether it is shown at first; `lines` are further layers.

    Raises:
        Vo3dError: the cloud is empty, or `max_points` is less than 1.
    """
    if not len(cloud) or max_points < 1:
        raise Vo3dError(f"{path}: {max_points} of {len(cloud)} points were to be shown: expected at least one of each")
    axes = facing_axes(cloud, up, world_T_cam)
    middle, radius = extent(cloud, axes)
    centred = np.asarray(cloud.points, dtype=np.float64) - middle.numpy()
    kept = np.flatnonzero(np.linalg.norm(centred, axis=-1) <= AROUND * radius)
    strays = len(cloud) - len(kept)
    if len(kept) > max_points:
        kept = np.sort(np.random.default_rng(seed).choice(kept, max_points, replace=False))
    arrays, about = _packed(cloud, kept, centred[kept])
    edges = np.searchsorted(kept, np.cumsum([0, *(count for _, count, _ in parts)])).tolist()
    layers: list[dict[str, Any]] = [
        {"name": name, "first": first, "count": end - first, "shown": shown}
        for (name, _, shown), first, end in zip(parts, edges, edges[1:], strict=False)
    ] or [{"name": title, "first": 0, "count": len(kept), "shown": True}]
    layers += [{"name": name, "shown": True} | _line_layer(path, middle.numpy()) for name, path in lines.items()]
    heights = np.quantile(centred[kept] @ axes[2].numpy(), (0.01, 0.99))
    about |= {
        "count": len(kept),
        "radius": radius,
        "point": min(CLOSE * _spacing(centred[kept]), radius / 100) or radius / 300,
        "layers": layers,
        "upright": axes.flatten().tolist(),
        "height": [heights[0], max(heights[1], heights[0] + 1e-9 * radius)],
        "ramp": _ramp(),
    }
    page = files("vo3d.report").joinpath("cloud_page.html").read_text(encoding="utf-8")
    holes = {
        "TITLE": escape(title),
        "NOTE": escape(_note(len(cloud), len(kept), strays, max(about["size"]) / COUNTS)),
        "ABOUT": json.dumps(about).replace("<", "\\u003c"),
        "POINTS": base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode(),
    }
    pieces = page.split("@@")  # text, hole, text, hole, ..., text
    write_whole(path, "".join(holes[part] if place % 2 else part for place, part in enumerate(pieces)))
    return path


def _spacing(points: Float[np.ndarray, "n 3"]) -> float:
    """Measure the distance of a point to its nearest neighbour, the median over some points."""
    from scipy.spatial import cKDTree  # noqa: PLC0415  scipy is imported late

    near, _ = cKDTree(points).query(points[:: max(1, len(points) // 2000)], k=2)
    apart = near[:, 1][np.isfinite(near[:, 1])]  # infinite of a single point
    return float(np.median(apart)) if len(apart) else 0.0


def _line_layer(drawn: DrawnPath, middle: Float[np.ndarray, " 3"]) -> dict[str, Any]:
    """List the ends of lines around the middle of the page, and the colours of both ends."""
    ends = [float(f"{value:.7g}") for value in (drawn.lines - middle).ravel().tolist()]
    return {"lines": ends, "colours": np.repeat(drawn.colours, 2, axis=0).ravel().tolist()}


def _packed(
    cloud: PointCloud, kept: NDArray[Any], centred: Float[np.ndarray, "n 3"]
) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    """Pack the arrays of the payload, and say where they lie and what they mean."""
    low, high = centred.min(0), centred.max(0)
    size = np.maximum(high - low, 1e-12 * max(float(np.abs(centred).max()), 1e-300))
    found: dict[str, NDArray[Any]] = {"points": np.rint((centred - low) / size * COUNTS).astype("<u2")}
    names = {"colours": "RGB", "normals": "normal", "height": "height"}  # of what the page can colour by
    ends: dict[str, tuple[str, str]] = {}
    for place, (name, values) in enumerate(cloud.scalars.items()):
        key = f"scalar{place}"
        names[key] = name
        found[key], least, most = _counts(values[kept])
        ends[key] = (f"{least:.4g}", f"{most:.4g}")
    if cloud.normals is not None:
        long = np.linalg.norm(cloud.normals[kept], axis=-1, keepdims=True)
        found["normals"] = np.rint(127 * cloud.normals[kept] / np.where(long > 0, long, 1)).astype(np.int8)
    if cloud.colours is not None:
        found["colours"] = cloud.colours[kept]
    kinds = [
        {"name": name, "kind": array.dtype.name, "width": 1 if array.ndim == 1 else array.shape[1]}
        for name, array in found.items()
    ]
    choices = [(key, name) for key, name in names.items() if key == "height" or key in found]
    about = {"low": low.tolist(), "size": size.tolist(), "arrays": kinds, "choices": choices, "ends": ends}
    return [*found.values()], about


def _counts(values: NDArray[Any]) -> tuple[UInt16[np.ndarray, " n"], float, float]:
    """Count a scalar from its 1st to its 99th percentile in 16 bits; give these two numbers too.

    The last count stands for no number.
    """
    numbers = values.astype(np.float64)
    finite = np.isfinite(numbers)
    least, most = np.quantile(numbers[finite], (0.01, 0.99)) if finite.any() else (0.0, 0.0)
    share = (np.where(finite, numbers, least) - least) / (most - least if most > least else 1.0)
    counts = np.rint(np.clip(share, 0, 1) * (COUNTS - 1)).astype("<u2")
    return np.where(finite, counts, np.uint16(COUNTS)), float(least), float(most)


def _ramp() -> list[list[int]]:
    """List RGB of viridis from 0 to 1 (`vo3d.report.depth` says why this map)."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late

    ramp: list[list[int]] = colormaps["viridis"](torch.linspace(0, 1, STOPS).numpy(), bytes=True)[:, :3].tolist()
    return ramp


def _note(total: int, shown: int, strays: int, step: float) -> str:
    """Tell what of the cloud is on the page."""
    part = "" if shown == total else f" of {total:,}"
    chosen = ", chosen by chance" if shown < total - strays else ""
    left = f"; {strays:,} far outside are left out" if strays else ""
    return f"{shown:,}{part} points{chosen}{left}. Positions are rounded to {step:.1g} of the cloud's unit."

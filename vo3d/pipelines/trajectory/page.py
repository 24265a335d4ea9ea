"""The page of `vo3d trajectory --plot`: one table, the paths from above, the errors along them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from vo3d.evaluation.compare import columns
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.trajectories import Trajectory
from vo3d.provenance import provenance
from vo3d.report.canvas import line_styles, save_figure
from vo3d.report.html import Cell, Column, Definitions, Picture, Section, Table, Text, write_page
from vo3d.report.paths import Paths, plot_drift, plot_trajectories
from vo3d.report.sections import origin_parts, protocol_parts

MOST = 20_000  # poses of a line; a page is a thousand pixels wide


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The poses of one estimate that were scored.

    Convention: `world_T_cam`, metres, in the world of the reference as stored.
    """

    reference: Float64[Tensor, "k 4 4"]
    aligned: Float64[Tensor, "k 4 4"]
    content: Mapping[str, Any]  # metrics, reasons, protocol


def write_trajectory_page(
    folder: Path,
    ref: Path,
    truth: Trajectory,
    drawn: Mapping[str, Drawn],
    failed: Mapping[str, str],
) -> Path:
    """Write `folder/report.html`, which needs nothing beside it, and its pictures as PNG files there."""
    styles = line_styles(list(drawn))
    used = columns(Odometry, [one.content for one in drawn.values()])
    heads = [Column("estimate"), *(Column(one.title, one.unit, one.digits, one.best) for one in used)]
    cells: list[list[Cell]] = [[name, *(one.content.get(metric.key) for metric in used)] for name, one in drawn.items()]
    cells += [[name, *[None] * len(used)] for name in failed]
    reasons = {
        f"{name}, {metric.title}": one.content["reasons"][metric.key]
        for name, one in drawn.items()
        for metric in used
        if metric.key in one.content["reasons"]
    }
    reasons |= {name: f"not scored: {reason}" for name, reason in failed.items()}
    why: list[Text | Definitions] = [Text("Why there is no value:"), Definitions(reasons)] if reasons else []
    ground = _ground(truth.world_T_cam)
    whole = Paths(_thinned(truth.world_T_cam), {name: _thinned(one.aligned) for name, one in drawn.items()}, ground)
    along = {name: Paths(_thinned(one.reference), {name: _thinned(one.aligned)}) for name, one in drawn.items()}
    most = max(len(truth), *(len(one.aligned) for one in drawn.values()))
    thinned = f" Of more than {MOST} poses some are drawn, and distances lead along these." if most > MOST else ""
    paths = (
        f"Reference and estimates over the {'xyz'[ground[0]]} and {'xyz'[ground[1]]} axes of the reference's world, "
        f"along which it reaches furthest, in metres, after the alignment.{thinned}"
    )
    drift = f"Distance between estimated and true position over the distance travelled, after the alignment.{thinned}"
    sections = [
        Section(
            "Result",
            [
                Table(heads, cells, "A dash stands for no value; scale and coverage are 1 where they are not shown."),
                *why,
                Definitions({metric.title: metric.meaning for metric in used if metric.meaning}),
            ],
        ),
        Section(
            "Paths",
            [Picture(save_figure(plot_trajectories({ref.name: whole}, styles), folder / "paths.png"), paths, paths)],
        ),
        Section(
            "Errors along the path",
            [Picture(save_figure(plot_drift(along, styles), folder / "drift.png"), drift, drift)],
        ),
        Section(
            "Protocol",
            [*protocol_parts({name: one.content["protocol"] for name, one in drawn.items()})],
        ),
        Section("How to repeat this", [*origin_parts([str(provenance()["command"])], {})]),
    ]
    return write_page(folder / "report.html", f"Trajectories against {ref.name}", sections)


def _thinned(world_T_cam: Float64[Tensor, "n 4 4"]) -> Float64[Tensor, "m 4 4"]:
    """Take at most `MOST` poses, evenly spaced, from the first on."""
    return world_T_cam[:: max(1, -(-len(world_T_cam) // MOST))]


def _ground(world_T_cam: Float64[Tensor, "n 4 4"]) -> tuple[int, int]:
    """Choose the two axes along which the positions reach furthest, in their order."""
    position = world_T_cam[:, :3, 3]
    reach = position.amax(0) - position.amin(0)
    first, second = sorted(reach.argsort(descending=True)[:2].tolist())
    return first, second

"""Score trajectory files against a reference."""

import json as json_format
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float64
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from torch import Tensor

from vo3d.errors import Vo3dError, visible
from vo3d.evaluation.compare import print_whole
from vo3d.evaluation.scoring import metric_protocol, score
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.files import check_target, make_folder, write_whole
from vo3d.formats.trajectories import Trajectory, read_trajectory
from vo3d.formats.trajectory_rows import TimeUnit, TrajectoryFormat
from vo3d.geometry.trajectory import AlignMode
from vo3d.metrics.kitti_odometry import DEVKIT_LENGTHS, check_lengths
from vo3d.pipelines.trajectory.match import Association, Match, match
from vo3d.pipelines.trajectory.page import Drawn, write_trajectory_page
from vo3d.report.sections import words

Format = TrajectoryFormat | Literal["auto"]
Unit = TimeUnit | Literal["auto"]


OTHER_FRAMES = (
    "{ref} and {est} may hold poses of different frames: EuRoC's rows are of the body (the IMU), others mostly of a "
    "camera; what lies between counts as error (vo3d convert-trajectory --camera-from-body)"
)
METRICS = tuple(metric for metric in Odometry.metrics if metric.key != "fps")


@dataclass(frozen=True)
class Scored:
    """The scores of one estimate, with the poses behind them."""

    content: dict[str, Any]  # of the JSON file
    match: Match
    aligned: Float64[Tensor, "k 4 4"]


def score_files(
    ref: Path,
    estimates: Sequence[Path],
    *,
    format: Format = "auto",
    ref_format: Format | None = None,
    est_format: Format | None = None,
    time_unit: Unit = "auto",
    ref_time_unit: Unit | None = None,
    est_time_unit: Unit | None = None,
    align: AlignMode = "none",
    association: Association = "mutual",
    max_difference: float = 0.01,
    t_offset: float = 0.0,
    lengths: Sequence[float] | None = None,
    evo: bool = True,
    json: Path | None = None,
    plot: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Score estimated trajectories, print one table with the protocol, and write it to `json` and `plot` if given.

    Files with time stamps are associated by time; KITTI files by frame index, where the estimate has that column (13
    numbers a row), or row by row. Where one of several estimates fails, the others are scored.

    For the options see `vo3d.verbs.trajectories.trajectory`; the table goes to `console`, the standard output if None.

    Returns:
        The content of `json`. For one estimate: the metrics of `vo3d.evaluation.scoring.score`, `coverage_estimate`
        (poses scored / poses in the estimate), `coverage_seconds` (time from the first to the last pose scored / time
        of the reference), `reasons` (why a metric is null), `notes` (what reading the files left out or mended),
        `by_length` and `by_speed` (lists of bins), `protocol`.
        For several: `results`, which holds this by estimate, and `failed`, a reason by estimate.

    Raises:
        Vo3dError: A file is wrong (file and line), the two do not belong together, or cannot be aligned; of several
            estimates, after all that could be scored was printed and written.

    Example: `score_files(Path("poses/00.txt"), [Path("orb.txt")], align="6dof", json=Path("orb.json"))`
    """
    names = _names(estimates)
    chosen = tuple(lengths) if lengths else DEVKIT_LENGTHS
    check_lengths(chosen)
    if json is not None:
        check_target(json, ref, *estimates)
    for folder in (json.parent if json else None, plot):  # before the work, not after it
        if folder is not None:
            make_folder(folder)
    console = console or Console()
    truth = read_trajectory(ref, ref_format or format, time_unit=ref_time_unit or time_unit, exact=False)
    _say(console, *truth.notes)
    if align == "yaw" and truth.format == "kitti":
        raise Vo3dError(
            f"{ref}: alignment yaw turns about a vertical z axis, and the world of KITTI's rows is the first camera, "
            "whose z axis points ahead; align with 6dof"
        )
    rules = Rules(
        align=align,
        lengths=chosen,
        association=association,
        max_difference=max_difference,
        t_offset=t_offset,
        evo=evo,
    )
    found: dict[str, Scored] = {}
    failed: dict[str, Vo3dError] = {}
    for name, est in names.items():
        try:
            guess = read_trajectory(est, est_format or format, time_unit=est_time_unit or time_unit, exact=False)
            _say(console, *guess.notes)
            found[name] = rules.score(truth, guess, ref, est)
            if truth.pose_of != guess.pose_of:
                _say(console, OTHER_FRAMES.format(ref=ref.name, est=name))
        except Vo3dError as error:
            failed[name] = error
    if len(names) == 1 and failed:
        raise next(iter(failed.values()))
    results = {name: one.content for name, one in found.items()}
    reasons = {name: str(error) for name, error in failed.items()}
    content: dict[str, Any] = (
        {"results": results, "failed": reasons} if len(names) > 1 else next(iter(results.values()))
    )
    _print(console, ref, truth, list(names), found, reasons)
    if json is not None:
        write_whole(json, json_format.dumps(content, indent=2, allow_nan=False) + "\n")
    if plot is not None and found:
        drawn = {name: _drawn(one, moved=align != "yaw") for name, one in found.items()}
        write_trajectory_page(plot, ref, truth, drawn, reasons)
    if failed:
        raise Vo3dError("; ".join(f"{name} is not scored: {reason}" for name, reason in reasons.items()))
    return content


def _names(estimates: Sequence[Path]) -> dict[str, Path]:
    """Name the estimates by their files, by their paths where two files have one name."""
    files = [path.name for path in estimates]
    names = {path.name if files.count(path.name) == 1 else str(path): path for path in estimates}
    if len(names) < len(estimates):
        twice = next(path for path in estimates if list(estimates).count(path) > 1)
        raise Vo3dError(f"{twice}: this estimate is given twice: name it once")
    return names


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The options of a comparison with a reference; see `vo3d.verbs.trajectories.trajectory`."""

    align: AlignMode
    lengths: Sequence[float]
    association: Association
    max_difference: float
    t_offset: float
    evo: bool

    def score(self, truth: Trajectory, guess: Trajectory, ref: Path, est: Path) -> Scored:
        """Score one estimate; Vo3dError when it does not belong to the reference, or cannot be aligned."""
        pair = match(
            truth,
            guess,
            ref,
            est,
            association=self.association,
            max_difference=self.max_difference,
            t_offset=self.t_offset,
        )
        scores = score(
            pair.reference,
            pair.estimate,
            alignment=self.align,
            lengths=self.lengths,
            frame_seconds=pair.frame_seconds,
            known=pair.known,
            with_evo=self.evo,
        )
        metrics = scores.metrics | {"coverage": pair.count / len(truth), "coverage_estimate": pair.used / len(guess)}
        if pair.seconds is not None and truth.time is not None:
            whole = (truth.time[-1] - truth.time[0]).item()
            metrics["coverage_seconds"] = (pair.seconds[1] - pair.seconds[0]) / whole if whole > 0 else None
        reasons = {**scores.reasons, "coverage_seconds": "the reference lasts no time"}
        content = {
            **metrics,
            "reasons": {key: reasons[key] for key, value in metrics.items() if value is None},
            "notes": [*truth.notes, *guess.notes],
            "by_length": [asdict(part) for part in scores.segments.by_length()],
            "by_speed": [asdict(part) for part in scores.segments.by_speed()],
            "protocol": self._protocol(truth, guess, pair, ref, est),
        }
        return Scored(content, pair, scores.aligned)

    def _protocol(self, truth: Trajectory, guess: Trajectory, pair: Match, ref: Path, est: Path) -> dict[str, object]:
        """Tell what must be known to read the metrics."""
        protocol: dict[str, object] = {
            "reference": ref.name,
            "estimate": est.name,
            "format": {"reference": truth.format, "estimate": guess.format},
            "matched_by": pair.by,
        }
        if pair.by == "time":
            protocol |= {
                "association": self.association,
                "max_difference_s": self.max_difference,
                "t_offset_s": self.t_offset,
                "time_unit": {"reference": truth.time_unit, "estimate": guess.time_unit},
            }
        return protocol | metric_protocol(self.align, self.lengths) | {"frame_seconds": pair.frame_seconds}


def _print(
    console: Console,
    ref: Path,
    truth: Trajectory,
    estimates: Sequence[str],
    found: Mapping[str, Scored],
    failed: Mapping[str, str],
) -> None:
    """Print one column of numbers for each estimate, below them the reasons of dashes, what was covered, the rules."""
    heads = (Column(visible(name), justify="right") for name in estimates)
    table = Table("metric", *heads, "unit", title=escape(f"against {visible(ref.name)}"))
    used = [metric for metric in METRICS if any(metric.key in one.content for one in found.values())]
    for metric in used:
        values = [found[name].content.get(metric.key) if name in found else None for name in estimates]
        table.add_row(metric.title, *map(_spelled, values), metric.unit)
    print_whole(console, table)
    lines: list[str] = []
    for name, reason in failed.items():
        lines.append(f"{name} is not scored: {reason}")
    for name, one in found.items():
        head = f"{name}: " if len(estimates) > 1 else ""
        lines.append(f"{head}{_covered(one.match, truth)}")
        titles: dict[str, list[str]] = {}
        for metric in used:
            if metric.key in one.content["reasons"]:
                title = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
                titles.setdefault(one.content["reasons"][metric.key], []).append(title)
        lines += [f"{head}no {', '.join(of)}: {reason}." for reason, of in titles.items()]
    protocols = {name: one.content["protocol"] for name, one in found.items()}
    shared = {
        key: value
        for key, value in next(iter(protocols.values()), {}).items()
        if all(other.get(key) == value for other in protocols.values())
    }
    lines.append(f"Protocol: {_listed(shared)}.")
    for name, protocol in protocols.items():
        own = {key: value for key, value in protocol.items() if key not in shared and key != "estimate"}
        lines += [f"Protocol of {name}: {_listed(own)}."] if own else []
    _say(console, *lines)


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def _drawn(one: Scored, *, moved: bool) -> Drawn:
    """Put an estimate in the world of its reference, where scoring `moved` both to a common start."""
    reference = one.match.reference if one.match.known is None else one.match.reference[one.match.known]
    aligned = reference[0] @ one.aligned if moved else one.aligned
    return Drawn(reference=reference, aligned=aligned, content=one.content)


def _spelled(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.6f}"


def _listed(protocol: Mapping[str, object]) -> str:
    return "; ".join(f"{key} {words(value)}" for key, value in protocol.items())


def _covered(pair: Match, truth: Trajectory) -> str:
    """Tell how much of the reference was scored, in poses and in seconds."""
    poses = f"{pair.count} of {len(truth)} poses of the reference were scored"
    if pair.seconds is None or truth.time is None:
        return f"{poses}."
    first, last, gap = pair.seconds
    begin, end = truth.time[0].item(), truth.time[-1].item()
    return (
        f"{poses}, {last - first:.3f} of its {end - begin:.3f} s (from {first - begin:.3f} s on), the longest gap "
        f"{gap:.3f} s."
    )

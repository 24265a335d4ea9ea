"""The report of a reconstruction: the cloud from all sides, depth maps, what each view gave, and how it was made."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vo3d.depth_map import DepthMap, PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.fusion.filtering import FusionRules
from vo3d.fusion.fuse import Fused, ViewCounts
from vo3d.metrics.depth import depth_metrics
from vo3d.report.canvas import save_figure
from vo3d.report.cloud_page import cloud_page
from vo3d.report.clouds import turntable, write_turntable
from vo3d.report.depth import known, plot_contact_sheet
from vo3d.report.html import Cell, Column, Definitions, Link, Part, Picture, Section, Table, Text, write_page
from vo3d.report.outcomes import plot_outcomes
from vo3d.report.sections import origin_parts
from vo3d.report.words import duration_in_words, size_in_words

MOST = 6  # views on the contact sheet
MOST_DROPPED = 48  # pictures of why pixels were dropped
SIDES = 8  # pictures of the cloud on the page, four in a row
ERRORS = {  # key of `depth_metrics`: how its column reads
    "depth_coverage_percent": Column("measured", "% of truth", 1),
    "depth_within_1_interval_percent": Column("within 1 interval", "%", 1, "high"),
    "depth_within_1pc_percent": Column("within 1 %", "%", 1, "high"),
    "depth_within_5pc_percent": Column("within 5 %", "%", 1, "high"),
    "depth_abs_rel": Column("mean error", "% of depth", 2, "low"),
}
Errors = dict[str, tuple[dict[str, float], dict[str, float]]]  # by view: of all depths, of the confident ones


def write_reconstruction_report(
    folder: Path,
    fused: Fused,
    maps: Sequence[PosedDepthMap],
    rules: FusionRules,
    *,
    title: str,
    settings: Mapping[str, str],
    seconds: Mapping[str, float] | None = None,
    peak_bytes: int | None = None,
    unit: str = "m",
    up: Sequence[float] | None = None,
    frames: int = 36,
    commands: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
) -> Path:
    """Write `folder/report.html`, its pictures into `figures/`, and the pages and pictures of the cloud beside it.

    Beside the report lie `cloud.html`, in which the cloud can be turned, and `turntable/`. `maps` are the depth maps
    before filtering, in any sequence; each is read once. `rules` are those that `fused` was made with. `settings` says
    what went in (scene, model, weights, device and so on), `seconds` what each stage took, `peak_bytes` the most memory
    in use. Maps that have an interval of hypotheses have their errors in intervals too. `unit` is that of the poses,
    empty where it is not known. `up` is as in `turntable`; unstated it is the mean up of the cameras.

    Raises:
        Vo3dError: there are no maps, or the cloud is empty.
    """
    if not len(maps) or not len(fused.cloud):
        raise Vo3dError(f"{folder}: {len(maps)} depth maps and {len(fused.cloud)} points: a report needs some of both")
    poses, shown, errors = _look(maps, rules)
    outcomes = dict(zip((view.name for view in fused.views), fused.outcomes, strict=False))
    world_T_cam = torch.stack(poses)
    images = turntable(fused.cloud, frames, up=up, world_T_cam=world_T_cam)
    write_turntable(folder / "turntable", images)
    cloud_page(fused.cloud, folder / "cloud.html", title, up=up, world_T_cam=world_T_cam)
    sections = [
        Section(
            "The cloud", [*_warned(fused), *_cloud(folder, fused, images, unit), *_spent(seconds or {}, peak_bytes)]
        ),
        Section("Depth maps", [_sheet(folder, shown, len(maps), rules, unit, outcomes)]),
    ]
    if outcomes:
        sections.append(Section("Why pixels were dropped", [*_dropped(folder, outcomes)]))
    if errors:
        sections.append(Section("Depth against the truth", [*_against_truth(errors, rules)]))
    sections += [
        Section("What each view gave", [_counts(fused.views), Definitions(_meanings(rules))]),
        Section("Settings", [Definitions(dict(settings) | _thresholds(rules))]),
        Section("How to repeat this", [*origin_parts(commands, {"Where the numbers came from": provenance or {}})]),
    ]
    return write_page(folder / "report.html", title, sections, _lead(fused, seconds or {}, peak_bytes))


def _look(
    maps: Sequence[PosedDepthMap], rules: FusionRules
) -> tuple[list[Float[Tensor, "4 4"]], list[PosedDepthMap], Errors]:
    """Find in one walk over the depth maps the poses, the maps that are shown, and the errors."""
    chosen = set(np.linspace(0, len(maps) - 1, min(MOST, len(maps))).round().astype(int).tolist())
    poses: list[Tensor] = []
    shown: list[PosedDepthMap] = []
    errors: Errors = {}
    for index, view in enumerate(maps):
        poses.append(view.world_T_cam.double().cpu())
        if view.truth is not None:
            sure = view.confidence >= rules.min_confidence
            errors[view.name] = (_errors(view, view.truth, None), _errors(view, view.truth, sure))
        if index in chosen:
            shown.append(view)
    return poses, shown, errors


def _errors(view: DepthMap, truth: Tensor, sure: Tensor | None) -> dict[str, float]:
    """Compute the errors that are shown, of the depths where `sure` is true."""
    depth, true = (torch.where(known(values), values.double().cpu(), 0.0) for values in (view.depth, truth))
    if sure is not None:
        depth = torch.where(sure.cpu(), depth, 0.0)
    step = None if view.interval is None else torch.tensor(view.interval, dtype=torch.float64)
    metrics = depth_metrics(depth, true, interval=step)
    values = {key: metrics[key].item() for key in ERRORS if key in metrics}
    return values | {"depth_abs_rel": 100 * values["depth_abs_rel"]}


def _lead(fused: Fused, seconds: Mapping[str, float], peak_bytes: int | None) -> str:
    giving = sum(view.fused > 0 for view in fused.views)
    time = f", in {duration_in_words(sum(seconds.values()))}" if seconds else ""
    memory = "" if peak_bytes is None else f", with at most {size_in_words(peak_bytes)} of memory"
    return f"{len(fused.cloud):,} points from {giving} of {len(fused.views)} views{time}{memory}."


def _warned(fused: Fused) -> Iterator[Part]:
    """Show what is likely wrong."""
    if fused.warning:
        yield Text(f"Warning: {fused.warning}.", "note")


def _dropped(folder: Path, outcomes: Mapping[str, UInt8[Tensor, "_ _"]]) -> Iterator[Part]:
    """Show a picture for each view, a colour for each reason; what is too much for a page is left to the figures."""
    some = dict(list(outcomes.items())[:: -(-len(outcomes) // MOST_DROPPED)])
    which = f"{len(some)} of {len(outcomes)} views, evenly chosen" if len(some) < len(outcomes) else "All views"
    caption = (
        f"{which}, each with the share of its pixels that became points. A pixel has the colour of the first test that "
        "it failed, in the order of the legend from below. Counts of all views are in reconstruction.json."
    )
    yield Picture(save_figure(plot_outcomes(some), folder / "figures" / "dropped.png"), caption, caption)


def _cloud(folder: Path, fused: Fused, images: Sequence[Tensor], unit: str) -> Iterator[Part]:
    step = max(1, len(images) // SIDES)
    some = list(images[::step][:SIDES])
    rows = [torch.cat(some[start : start + 4], dim=-1) for start in range(0, len(some), 4)]
    wide = rows[0].shape[-1]
    rows = [torch.nn.functional.pad(row, (0, wide - row.shape[-1]), value=1.0) for row in rows]
    path = folder / "figures" / "sides.png"
    write_image(path, torch.cat(rows, dim=-2))
    low, high = np.quantile(fused.cloud.points, (0.01, 0.99), axis=0)
    size = " x ".join(f"{length:.3g}" for length in high - low)
    caption = (
        f"The cloud from {len(some)} sides; 98 % of its points lie within {size}{' ' if unit else ''}{unit} along x, y "
        f"and z. All {len(images)} pictures are in the folder turntable, with turntable.gif, which moves."
    )
    yield Picture(path, caption, caption)
    yield Link("Turn the cloud in the browser (cloud.html)", "cloud.html")


def _spent(seconds: Mapping[str, float], peak_bytes: int | None) -> list[Part]:
    memory = {} if peak_bytes is None else {"peak memory": size_in_words(peak_bytes)}
    entries = {stage: duration_in_words(time) for stage, time in seconds.items()} | memory
    return [Definitions(entries)] if entries else []


def _sheet(
    folder: Path,
    shown: Sequence[DepthMap],
    count: int,
    rules: FusionRules,
    unit: str,
    outcomes: Mapping[str, UInt8[Tensor, "_ _"]],
) -> Picture:
    fates = [outcomes[view.name] for view in shown] if outcomes else []
    figure = plot_contact_sheet(shown, unit=unit, min_confidence=rules.min_confidence, outcomes=fates)
    which = f"{len(shown)} of {count} views, evenly chosen" if len(shown) < count else f"All {count} views"
    about_errors = " Errors are distances from the truth, in steps; shares are of the pixels with depth and truth."
    caption = (
        f"{which}: depth before any filter, how sure the method is of it (confidence), and the share of pixels that "
        f"reach the least confidence of {rules.min_confidence:g}. A column has one scale."
        f"{about_errors if any(view.truth is not None for view in shown) else ''}"
    )
    return Picture(save_figure(figure, folder / "figures" / "depth.png"), caption, caption)


def _against_truth(errors: Errors, rules: FusionRules) -> Iterator[Part]:
    """Show the errors of the views and their means, of all depths and of the confident ones."""
    keys = [key for key in ERRORS if any(key in every for every, _ in errors.values())]
    columns = [Column("view"), Column("depths"), *(ERRORS[key] for key in keys)]
    plain = [Column("view"), Column("depths"), *(Column(one.name, one.unit, one.digits) for one in columns[2:])]
    kinds = ("all", f"confidence \N{GREATER-THAN OR EQUAL TO} {rules.min_confidence:g}")

    def cells(name: str, pair: Sequence[Mapping[str, float]]) -> list[list[Cell]]:
        return [[name, kind, *(each.get(key) for key in keys)] for kind, each in zip(kinds, pair, strict=True)]

    means = [
        {key: _mean([pair[place][key] for pair in errors.values() if key in pair[place]]) for key in keys}
        for place in range(2)
    ]
    caption = f"Mean over {len(errors)} views with a truth. The better value of each column is marked."
    yield Table(columns, cells("mean", means), caption)
    if len(errors) > 1:
        rows = [row for name, pair in errors.items() for row in cells(name, pair)]
        yield Table(plain, rows, "Each view by itself. A dash stands for no value.")


def _mean(values: Sequence[float]) -> float:
    """Compute the mean of the numbers among the values."""
    numbers = [value for value in values if np.isfinite(value)]
    return float(np.mean(numbers)) if numbers else float("nan")


def _counts(views: Sequence[ViewCounts]) -> Table:
    total = ViewCounts(
        name="all views",
        pixels=sum(view.pixels for view in views),
        known=sum(view.known for view in views),
        confident=sum(view.confident for view in views),
        consistent=sum(view.consistent for view in views),
        fused=sum(view.fused for view in views),
    )
    rows: list[list[Cell]] = [
        [one.name, one.pixels, one.known, one.confident, one.consistent, one.fused, 100 * one.fused / one.pixels]
        for one in (*views, total)
    ]
    heads = ("view", "pixels", "with a depth", "confident", "confirmed", "points")
    columns = [*map(Column, heads), Column("points", "% of pixels", 1)]
    return Table(columns, rows, "Pixels of each view that were left after each step.")


def _meanings(rules: FusionRules) -> dict[str, str]:
    once = "; a surface point that an earlier view has put into the cloud is left out" if rules.visibility else ""
    return {
        "with a depth": "The method gave a depth, whatever its confidence, to a pixel that no mask leaves out.",
        "confident": f"Of these, those with a confidence of at least {rules.min_confidence:g}, away from the ends of "
        "the depth range, where the image is neither black nor burnt out.",
        "confirmed": f"Of these, those that {rules.min_consistent} other views confirm, or all where there are fewer, "
        "and that not more views look through.",
        "points": f"Of these, those that became points of the cloud{once}.",
    }


def _thresholds(rules: FusionRules) -> dict[str, str]:
    """Write the rules of the fusion in words."""
    return {
        "least confidence": f"{rules.min_confidence:g}",
        "views that must confirm": f"{rules.min_consistent}",
        "largest reprojection error": f"{rules.max_pixels:g} px",
        "largest difference of depths": f"{100 * rules.max_relative:g} %",
        "dropped at the ends of the depth range": f"{rules.drop_ends:g} steps",
        "dropped as black or burnt out": f"{100 * rules.drop_clipped:g} % of the intensities at either end",
        "sources that may look through a point": "any"
        if rules.max_violations is None
        else f"{rules.max_violations:g} for each view that agrees",
        "points seen by several views": "kept once" if rules.visibility else "kept for each view",
    }

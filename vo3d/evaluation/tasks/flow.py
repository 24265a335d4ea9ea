"""Optical flow: pairs of neighbouring frames, pixel by pixel against the truth."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from vo3d.errors import Vo3dError
from vo3d.evaluation.depth_task import numbers
from vo3d.evaluation.flow_pictures import flow_sections
from vo3d.evaluation.pair_task import PairTask, compare_first
from vo3d.evaluation.task import Metric, Seen
from vo3d.formats.flow import write_flo
from vo3d.formats.results import Metrics
from vo3d.inference.loop import Answer
from vo3d.metrics.flow import flow_metrics
from vo3d.model import Model
from vo3d.recording import Recording
from vo3d.report.html import Section
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names

HEADLINE = "flow_epe_px"
MOST_PX = 1e9  # such files hold no longer flow: to them it is not defined
KINDS = ("", "static_", "moving_")  # all pixels, and those of the two kinds where the data have masks


class Flow(PairTask):
    """Flow from each frame to the next, where the truth is defined, by end-point error and by KITTI's outliers.

    To the keys of `vo3d.metrics.flow.flow_metrics` come `num_pairs`, how many others had no truth, and `fps`, pairs per
    second of the model. The metrics of a recording are means over its pixels, those of the dataset means over its
    recordings; `..._pooled` are means over all pixels, which KITTI's program prints. `flow/<recording>/` holds the flow
    of the first pair of some recordings. For the arguments see `PairTask`.
    """

    name = "flow"
    keys = ("flow",)
    must_agree = ("task", "dataset", "split", "frames_sha256", "resolution", "rule", "truth", "mean")
    weights: ClassVar[Mapping[str, str]] = {
        "flow_coverage_percent": "flow_num_truth",
        "flow_length_px": "flow_num_truth",
        **{f"{kind}flow_epe_px": f"{kind}flow_num_pixels" for kind in KINDS},
        **{f"{kind}flow_outliers_percent": f"{kind}flow_num_pixels" for kind in KINDS},
    }
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            HEADLINE,
            "EPE",
            "px",
            best="low",
            meaning="Mean end-point error: the distance between where a pixel goes by the flow and by the truth.",
        ),
        Metric(
            "flow_outliers_percent",
            "outliers",
            "%",
            best="low",
            meaning="Pixels whose error is above 3 px and above 5 % of the length of the true flow (KITTI's Fl).",
        ),
        Metric(
            "static_flow_epe_px",
            "static EPE",
            "px",
            best="low",
            meaning="The same of pixels of the static world, and of those of moving objects, by the true masks.",
        ),
        Metric("static_flow_outliers_percent", "static outliers", "%", best="low"),
        Metric("moving_flow_epe_px", "moving EPE", "px", best="low"),
        Metric("moving_flow_outliers_percent", "moving outliers", "%", best="low"),
        Metric(
            "flow_coverage_percent",
            "coverage",
            "% of truth",
            1,
            "high",
            meaning="Pixels with a truth for which the model gave a flow; the errors are of these alone.",
            plain=100.0,
        ),
        Metric("flow_length_px", "mean length of the truth", "px", shown=False),
        Metric(
            "num_pairs_without_truth",
            "left out",
            "pairs",
            0,
            meaning="Pairs of all recordings without a true flow.",
            plain=0.0,
        ),
        Metric("fps", "speed", "pairs/s"),
    )

    def measure(self, recording: Recording, answer: Answer, pair: int, seen: Seen) -> Metrics | None:
        """Compute the errors of a pair."""
        sample = answer.sample
        if sample.flow is None:
            return None
        ids = None if sample.mask is None else sample.mask[pair]
        found = numbers(flow_metrics(answer.prediction["flow"][0, pair], sample.flow[pair], ids))
        return found if found["flow_num_truth"] else None

    def keep(self, folder: Path, name: str, answer: Answer, pair: int) -> None:
        """Write the flow as `<name>_flow.flo`."""
        for old in folder.glob("*_flow.flo"):
            old.unlink()
        flow = answer.prediction["flow"][0, pair].float()
        write_flo(folder / f"{name}_flow.flo", flow.where(flow.abs() < MOST_PX, torch.nan))

    def check(self, recording: Recording, found: Metrics) -> None:
        """Want a flow at one pixel at least."""
        if not found["flow_num_pixels"]:
            raise Vo3dError(f"no flow was given where {recording.name} has a truth: there is nothing to score")

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe the rule, on which pixels of which pairs."""
        return super().protocol(model, seen) | {
            "rule": "outliers: error > 3 px and > 5 % of the true length (KITTI)",
            "truth": "flow to the next frame at the image's pixels, where the data define it",
            "mean": "over pixels of a recording, then recordings; pooled: over all pixels",
        }

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the error of the first model beside that of the first baseline."""
        told = compare_first(models, comparable, HEADLINE, "px", lower=True)
        if told is None:
            return f"{', '.join(models)} on {count(scored_names(models), 'recording')}."
        mean = next(iter(models.values())).mean
        outliers, coverage = mean.get("flow_outliers_percent") or 0.0, mean.get("flow_coverage_percent") or 0.0
        partly = f" (of {coverage:.0f} % of the truth)" if coverage < 99.5 else ""
        return f"The flow of {next(iter(models))} is off by {told[0]}{partly}{told[1]}; {outliers:.1f} % are outliers."

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show flow in colours, with its errors."""
        yield from flow_sections(models, recordings, figures)

"""Depth: maps of references, estimated from their sources, pixel by pixel against the truth."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from vo3d.depth_map import DepthMap
from vo3d.evaluation.depth_task import DepthTask, numbers, share_in_words
from vo3d.evaluation.task import Metric, Seen
from vo3d.formats.results import Metrics
from vo3d.metrics.depth import depth_metrics
from vo3d.model import Model, depth_model
from vo3d.report.scored import Scored

HEADLINE = "depth_within_1pc_percent"


class Depth(DepthTask):
    """Depth maps of all references that have a truth, by models that match a view with its sources.

    Models that see a view without the poses of others are scored by `vo3d.evaluation.tasks.single_view_depth`.

    The metrics of a recording are means over its views, those of the dataset means over its recordings, each of what
    is defined. To the keys of `vo3d.metrics.depth.depth_metrics` (counts are sums) come `depth_recall_1pc_percent`, the
    share within 1 percent of all pixels with a truth, whether or not they got a depth; the same with `confident_`
    before them, of models that give a confidence; `num_references`, and `fps`, views per second of the model. Lengths
    are there only where a recording is `metric`. For the arguments see `DepthTask`.
    """

    name = "depth"
    # Depth is measured pixel by pixel: the size of the images and the stride say which pixels these are.
    must_agree: ClassVar[tuple[str, ...]] = (
        "task",
        "dataset",
        "split",
        "frames_sha256",
        "resolution",
        "stride",
        "depth_range",
        "truth",
        "mean",
    )
    method_terms = {"num_views": "views", "num_depths": "depths"}  # noqa: RUF012 (read only)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            HEADLINE,
            "within 1 %",
            "% of depths",
            1,
            "high",
            meaning="Depths that differ from the truth by at most 1 percent of it: of all depths that a model gave, "
            "and of all pixels that have a truth.",
        ),
        Metric(
            "depth_within_5pc_percent",
            "within 5 %",
            "% of depths",
            1,
            "high",
            meaning="Depths that differ from the truth by at most 5 percent of it.",
        ),
        Metric(
            "depth_median_error_mm",
            "median error",
            "mm",
            best="low",
            meaning="Median over the pixels of a view of the difference to the truth.",
        ),
        Metric("depth_mae_mm", "mean error", "mm", best="low", meaning="Mean of the same; a few gross errors move it."),
        Metric("depth_abs_rel", "abs rel", digits=4, best="low", meaning="Mean of the difference over the truth."),
        Metric(
            "depth_coverage_percent",
            "coverage",
            "% of truth",
            1,
            "high",
            meaning="Pixels with a truth for which the model gave a depth.",
            plain=100.0,
        ),
        Metric("depth_recall_1pc_percent", "within 1 %", "% of truth", 1, "high", plain_with="depth_coverage_percent"),
        Metric(
            "confident_depth_coverage_percent",
            "confident",
            "% of truth",
            1,
            meaning="Pixels whose confidence reaches the threshold of the protocol: each model has its own measure.",
        ),
        Metric("confident_depth_within_1pc_percent", "of these within 1 %", "%", 1, "high"),
        Metric("fps", "speed", "views/s"),
    )
    things = "scene"

    def __init__(self, references: int | None = None, min_confidence: float | None = None) -> None:
        super().__init__(references, min_confidence)

    def suits(self, model: Model) -> bool:
        """Want a model that matches a view with its sources."""
        return super().suits(model) and model.window.reference

    def measure(self, view: DepthMap, stride: int) -> Metrics | None:
        """Compute the metrics of a view against its truth."""
        truth = view.truth
        if truth is None or not bool((truth > 0).any()):
            return None
        interval = None if view.interval is None else torch.tensor(view.interval)
        found = numbers(depth_metrics(view.depth, truth, interval=interval))
        within, coverage = found[HEADLINE], found["depth_coverage_percent"]
        found["depth_recall_1pc_percent"] = (within or 0.0) * (coverage or 0.0) / 100
        return found

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe how depth was asked for and measured, on which pixels of which views."""
        ranges = list(seen.values.get("depth_range", {}))
        views = sorted(seen.values.get("num_views", {}), key=lambda num: int(str(num)))
        return super().protocol(model, seen) | {
            "num_depths": depth_model(model).num_depths,
            "truth": "z of the reference at every stride-th pixel, where it has one",
            "mean": "over pixels of a view, then views of a scene, then scenes",
            "num_views": ", ".join(map(str, views)),
            "depth_range": _one_or_several(ranges),
        }

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the share of right depths of each model, where they may be compared."""
        return share_in_words(models, comparable, HEADLINE, "Depths within 1 % of the truth", ", ".join(models))


def _one_or_several(ranges: Sequence[object]) -> object:
    """Give the range of all views; their number where they differ; None without any."""
    return ranges[0] if len(ranges) == 1 else f"{len(ranges)} different, the dataset's" if ranges else None

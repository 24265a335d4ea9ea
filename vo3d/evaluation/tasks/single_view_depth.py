"""Depth of single views: maps by models that see no poses, against the truth by Eigen's protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import ClassVar, Literal

from jaxtyping import Bool
from torch import Tensor

from vo3d.depth_map import DepthMap
from vo3d.errors import Vo3dError
from vo3d.evaluation.depth_task import DepthTask, numbers
from vo3d.evaluation.task import Metric, Seen, defined
from vo3d.formats.results import Metrics
from vo3d.geometry.camera import subsample
from vo3d.metrics.single_view import EigenRules, crop_mask, single_view_metrics, under_rules
from vo3d.model import Model
from vo3d.recording import Recording
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names

HEADLINE = "depth_abs_rel"
EIGEN = (
    HEADLINE,
    "depth_sq_rel_m",
    "depth_rmse_m",
    "depth_rmse_log",
    "depth_delta1_percent",
    "depth_delta2_percent",
    "depth_delta3_percent",
)


class SingleViewDepth(DepthTask):
    """Depth of frames by models that see them without given poses, alone or in clips, by the protocol of Eigen et al.

    Models that match a view with its sources are scored by `vo3d.evaluation.tasks.depth`.

    The metrics of a recording are means over its images, those of the dataset means over its recordings, each of what
    is defined; the errors come a second time as `..._pooled`, the mean over all images, which the programs of Eigen,
    Monodepth and SfMLearner print. To the keys of `vo3d.metrics.single_view.single_view_metrics` come
    `depth_recall_delta1_percent`, the share within a factor of 1.25 of all pixels with a truth, whether or not they got
    a depth; the same with `confident_` before them, of models that give a confidence; `num_images`, and how many others
    had no truth that counts, how many of them got no depth there; `depth_scale` and its spread, where images are
    scaled; `fps`, frames per second of the model. Lengths are there only where a recording is `metric`.

    Args:
        cap: Near and far, metres: truths count strictly between them, and depths are clamped to them.
        crop: The part of the image that counts, by the published shares of its rows and columns.
        scaling: "median" multiplies the depths of each image by the median of its truths over that of its depths.
        references, min_confidence, clip_length: See `DepthTask`.

    Source: Eigen et al., "Depth map prediction from a single image using a multi-scale deep network", NIPS 2014,
    section 4.3; for cap, crop and scaling see `vo3d.metrics.single_view`.
    """

    name = "single_view_depth"
    views = "images"
    steps = (0.0, 2.0, 5.0, 10.0, 25.0, 50.0)  # percent: single views are not as near as stereo
    within = 25.0
    must_agree = (
        "task",
        "dataset",
        "split",
        "frames_sha256",
        "resolution",
        "stride",
        "cap",
        "crop",
        "scaling",
        "truth",
        "mean",
    )
    always_shown = ("scaling",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(HEADLINE, "abs rel", digits=3, best="low", meaning="Mean of the difference over the truth."),
        Metric(
            "depth_sq_rel_m", "sq rel", "m", 3, "low", meaning="Mean of the squared difference over the truth, metres."
        ),
        Metric("depth_rmse_m", "RMSE", "m", 3, "low", meaning="Root of the mean squared difference."),
        Metric("depth_rmse_log", "RMSE log", digits=3, best="low", meaning="The same of natural logarithms."),
        Metric(
            "depth_delta1_percent",
            "delta 1",
            "%",
            1,
            "high",
            meaning="Depths that differ from the truth by a factor of less than 1.25, for delta 2 and 3 its square and "
            "its cube: of the depths that a model gave, and of all pixels that have a truth.",
        ),
        Metric("depth_delta2_percent", "delta 2", "%", 1, "high"),
        Metric("depth_delta3_percent", "delta 3", "%", 1, "high"),
        Metric(
            "depth_coverage_percent",
            "coverage",
            "% of truth",
            1,
            "high",
            meaning="Pixels with a truth for which the model gave a depth; the errors are of these alone.",
            plain=100.0,
        ),
        Metric(
            "depth_recall_delta1_percent",
            "delta 1",
            "% of truth",
            1,
            "high",
            plain_with="depth_coverage_percent",
        ),
        Metric("confident_depth_coverage_percent", "confident", "% of truth", 1),
        Metric("confident_depth_abs_rel", "of these abs rel", digits=3, best="low"),
        Metric(
            "depth_scale",
            "scale",
            digits=3,
            meaning="The factor that fits the depths of an image to its truth: its mean over the images, and its "
            "standard deviation over them.",
        ),
        Metric("depth_scale_spread", "spread", digits=3),
        Metric(
            "num_images_without_truth",
            "left out",
            "images",
            0,
            meaning="Images of all recordings without a truth within cap and crop.",
            plain=0.0,
        ),
        Metric(
            "num_images_without_depth",
            "no depth",
            "images",
            0,
            meaning="Images of all recordings in which the model gave no depth where there is a truth; the errors "
            "are of the others.",
            plain=0.0,
        ),
        Metric("fps", "speed", "frames/s"),
    )

    def __init__(
        self,
        cap: Sequence[float] = (1e-3, 80.0),
        crop: Literal["none", "garg", "eigen"] = "none",
        scaling: Literal["none", "median"] = "none",
        references: int | None = None,
        min_confidence: float | None = None,
        clip_length: int | None = None,
    ) -> None:
        super().__init__(references, min_confidence, clip_length)
        self.rules = _rules(cap, crop, scaling)

    def suits(self, model: Model) -> bool:
        """Want a model that sees views without the poses of others."""
        return super().suits(model) and not model.window.reference

    def measure(self, view: DepthMap, stride: int) -> Metrics | None:
        """Compute the errors of an image by the rules."""
        assert view.truth is not None  # noqa: S101  by the contract
        inside = _inside(view, self.rules, stride)
        found = numbers(single_view_metrics(view.depth, view.truth, self.rules, inside))
        if (coverage := found["depth_coverage_percent"]) is None:  # a share of no pixels
            return None
        found["depth_recall_delta1_percent"] = (found["depth_delta1_percent"] or 0.0) * coverage / 100
        return found

    def of_recording(self, recording: Recording, rows: Sequence[Metrics], left_out: int) -> Metrics:
        """Add what was left out, what got no depth, and the spread of the scales."""
        if not rows:
            raise Vo3dError(
                f"{recording.name} has no image with a true depth that counts ({self.rules}): widen the cap or the "
                "crop, or choose recordings with such a truth"
            )
        empty = sum(row["depth_num_pixels"] == 0 for row in rows)
        if empty == len(rows):
            raise Vo3dError(
                f"no depth was given where {recording.name} has a truth that counts ({self.rules}): there is nothing "
                "to score; choose other arguments of the model, or other recordings"
            )
        found = super().of_recording(recording, rows, left_out)
        found |= {"num_images_without_truth": left_out, "num_images_without_depth": empty}
        if scales := defined(rows).get("depth_scale"):
            mean = sum(scales) / len(scales)
            found["depth_scale_spread"] = sqrt(sum((scale - mean) ** 2 for scale in scales) / len(scales))
        return found

    def mean(self, sequences: Mapping[str, Metrics]) -> dict[str, float | None]:
        """Take plain means, sums of the counts, the errors over all images (`..._pooled`) and the spread over all."""
        mean = super().mean(sequences)
        for key in [key for key in mean if key.startswith("num_images")]:
            mean[key] = float(sum(metrics[key] or 0 for metrics in sequences.values()))
        for key in [key for key in EIGEN if key in mean]:
            rows = [
                (value, (metrics["num_images"] or 0) - (metrics["num_images_without_depth"] or 0))
                for metrics in sequences.values()
                if (value := metrics.get(key)) is not None
            ]
            mean[f"{key}_pooled"] = sum(value * num for value, num in rows) / sum(num for _, num in rows)
        if (scale := mean.get("depth_scale")) is not None:
            squares = [
                (metrics["depth_scale"] or 0) ** 2 + (metrics["depth_scale_spread"] or 0) ** 2
                for metrics in sequences.values()
            ]
            mean["depth_scale_spread"] = sqrt(max(sum(squares) / len(squares) - scale**2, 0.0))
        return mean

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe the rules, on which pixels of which images."""
        return super().protocol(model, seen) | {
            "cap": list(self.rules.cap),
            "crop": self.rules.crop,
            "scaling": self.rules.scaling,
            "truth": "z of the image at every stride-th pixel, within cap and crop; depths scaled, then clamped",
            "mean": "over pixels of an image, then images of a recording, then recordings; pooled: over all images",
        }

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the relative error of each model and the rules, where the models may be compared."""
        recordings = count(scored_names(models), "recording")
        errors = {name: model.mean.get(HEADLINE) for name, model in models.items()}
        if not comparable or any(error is None for error in errors.values()):
            return f"{', '.join(models)} on {recordings}."
        known = {name: model.mean.get("depth_coverage_percent") or 0.0 for name, model in models.items()}
        told = ", ".join(
            f"{name} {error:.3f}{f' (on {known[name]:.0f} % of the truth)' if known[name] < 99.5 else ''}"
            for name, error in errors.items()
        )
        rules = _of_protocol(next(iter(models.values())).protocol)
        return f"Mean error over true depth (abs rel), mean over {recordings}: {told}; {rules}."

    def as_scored(self, view: DepthMap, protocol: Mapping[str, object]) -> DepthMap:
        """Scale and clamp the depths, and leave the truths that count."""
        if view.truth is None:
            return view
        rules, stride = _of_protocol(protocol), int(str(protocol.get("stride") or 1))
        depth, truth, _ = under_rules(view.depth, view.truth, rules, _inside(view, rules, stride))
        return replace(view, depth=depth.float(), truth=truth.float())

    def said(self, protocol: Mapping[str, object]) -> str:
        """Name the rules."""
        return f" As scored: {_of_protocol(protocol)}."


def _inside(view: DepthMap, rules: EigenRules, stride: int) -> Bool[Tensor, "h w"]:
    """Mark the pixels of a map, every `stride`-th of the image, that the crop leaves."""
    h, w = view.image.shape[-2:]
    return subsample(crop_mask(h, w, rules.crop), stride)


def _rules(cap: Sequence[float], crop: str, scaling: str) -> EigenRules:
    """Make the rules of options; Vo3dError where they are none."""
    if len(cap) != 2:
        raise Vo3dError(f"cap of {len(cap)} numbers: expected two, near and far in metres")
    return EigenRules(cap=(float(cap[0]), float(cap[1])), crop=crop, scaling=scaling)


def _of_protocol(protocol: Mapping[str, object]) -> EigenRules:
    """Read the rules that a result was made by."""
    cap = protocol["cap"]
    assert isinstance(cap, list)  # noqa: S101  as `protocol` wrote it
    return _rules(cap, str(protocol["crop"]), str(protocol["scaling"]))

"""The scores of models under faults, as tables, figures and pages show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vo3d.evaluation.task import Metric
from vo3d.evaluation.tasks.odometry import SEGMENT_METRICS, Odometry
from vo3d.formats.results import Result
from vo3d.pipelines.robustness.faults import CLEAN, FAULTS, Point

OVER_ALL = ("ape_rmse_m", "rpe_mean_deg")  # errors of recordings without segments


@dataclass(frozen=True, kw_only=True)
class Study:
    """The scores of models at all points.

    Args:
        sweeps: the points of each fault in the order of size, a clean one among them.
        models: names of all, those that failed everywhere as well.
        fields: of samples that each model reads, by its name; of those that could not be made there are none.
        results: by the names of the model and of the point; absent where it failed.
        reasons: why, by the same names; of the point "" for all of them.
        lengths: metres of the segments.
    """

    sweeps: Mapping[str, Sequence[Point]]
    models: Sequence[str]
    fields: Mapping[str, Sequence[str]]
    results: Mapping[tuple[str, str], Result]
    reasons: Mapping[tuple[str, str], str]
    lengths: Sequence[float]

    def reads(self, model: str, fault: str) -> bool:
        """Tell whether a model reads what a fault changes; else its clean score stands for all sizes."""
        return FAULTS[fault].field in self.fields.get(model, ())

    def result(self, model: str, fault: str, point: Point) -> Result | None:
        """Find the result of a model at a point; None where it failed."""
        return self.results.get((model, point.name if self.reads(model, fault) else CLEAN))

    def line(self, model: str, fault: str, key: str) -> list[float | None]:
        """List a mean error of a model over the sizes of a fault; None where it is not defined."""
        found = [self.result(model, fault, point) for point in self.sweeps[fault]]
        return [None if one is None else one.mean.get(key) for one in found]

    def growth(self, model: str, fault: str, key: str) -> float | None:
        """Divide the largest error over the sizes of a fault by the clean one; None where one is not defined."""
        errors = self.line(model, fault, key)
        clean = errors[[point.value for point in self.sweeps[fault]].index(0.0)]
        return None if not clean or None in errors else max(error for error in errors if error is not None) / clean

    @property
    def has_segments(self) -> bool:
        """Tell whether all models have errors of segments."""
        return all(set(SEGMENT_METRICS) == {metric.key for metric in told_of(one)} for one in self.results.values())

    @property
    def metrics(self) -> list[Metric]:
        """Choose the two errors that are shown: of position, and of rotation."""
        return [metric_of(key) for key in (SEGMENT_METRICS if self.has_segments else OVER_ALL)]

    @property
    def notes(self) -> list[str]:
        """Say why errors of segments are not shown, and who does not read what."""
        found = []
        if not self.has_segments:
            least = min(self.lengths)
            found.append(
                f"not all results have segments of {least:g} m or more, which t_rel and r_rel are errors of: APE and "
                "RPE stand for them; --lengths takes shorter ones"
            )
        for model in self.fields:
            flat = [fault for fault in self.sweeps if not self.reads(model, fault)]
            for field in dict.fromkeys(FAULTS[fault].field for fault in flat):
                under = ", ".join(FAULTS[fault].title for fault in flat if FAULTS[fault].field == field)
                found.append(f"{model} does not read {field}: its clean score stands under {under}")
        return found


def metric_of(key: str) -> Metric:
    """Find a metric of odometry by its key."""
    return next(metric for metric in Odometry.metrics if metric.key == key)


def told_of(result: Result) -> list[Metric]:
    """Choose the two errors that tell most of a result: those of segments, or of all poses where there are none."""
    whole = all(result.mean.get(key) is not None for key in SEGMENT_METRICS)
    return [metric_of(key) for key in (SEGMENT_METRICS if whole else OVER_ALL)]

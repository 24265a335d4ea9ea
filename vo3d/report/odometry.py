"""The report of odometry: results of several models on the same recordings as one page with its figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vo3d.errors import Vo3dError
from vo3d.report.canvas import line_styles
from vo3d.report.html import Cell, Column, Definitions, Section, Table, Text, write_page
from vo3d.report.pictures import Pictures
from vo3d.report.scored import Scored, read_scored
from vo3d.report.sections import count, origin_parts, protocol_parts, scored_names, training_parts, unlike, words
from vo3d.sample import Recording

METRICS = {  # key in metrics.json: how its column reads
    "t_rel_percent": Column("t_rel", "%", 2, "low"),
    "r_rel_deg_per_100m": Column("r_rel", "deg/100 m", 2, "low"),
    "ape_rmse_m": Column("APE rmse", "m", 2, "low"),
    "rpe_mean_m": Column("RPE mean", "m", 4, "low"),
    "rpe_mean_deg": Column("RPE mean", "deg", 3, "low"),
    "scale": Column("scale", "", 3),
    "coverage": Column("coverage", "", 2),
    "fps": Column("speed", "frames/s", 0),  # no better end: a model that computes nothing is the fastest
}
MEANINGS = {
    "t_rel": "Mean translation error of all segments of fixed lengths, in percent of the length (KITTI).",
    "r_rel": "Mean rotation error of the same segments, in degrees per 100 m (KITTI).",
    "APE rmse": "Root mean square of the distance between estimated and true positions after the stated alignment, m.",
    "RPE mean": "Mean error of the motion between consecutive frames: metres and degrees.",
    "scale": "The factor that the alignment put on the estimate's positions; 1 where it fits none.",
    "coverage": "Scored poses divided by poses in the ground truth.",
}
METHOD_TERMS = ("scale_source", "clip_length", "resolution")  # of a protocol: they describe the method, not the test
METHOD_COLUMNS = {"scale_source": "scale source", "resolution": "input"}  # where models differ in them
FLOOR = "ConstantMotion"  # the class of the model that looks at no image: what others are measured against


def write_odometry_report(
    out: Path,
    results: Mapping[str, Path],
    *,
    title: str,
    run: Path | None = None,
    recordings: Sequence[Recording] = (),
    commands: Sequence[str] = (),
) -> Path:
    """Write `out/report.html`, which needs nothing beside it, and its figures as PNG files into `out/figures/`.

    `results` maps the name of each model to its result folder (metrics.json, trajectories/, reference/). `run` is the
    folder of a fit, whose history.csv and config.yaml are shown. `recordings` give the sample frames; only those that
    were scored are used. `commands` are the lines that repeat the whole.
    Raises Vo3dError when a result is missing or malformed.
    """
    if not results:
        raise Vo3dError("a report without results was asked for: expected the result folder of at least one model")
    models = {name: read_scored(folder) for name, folder in results.items()}
    names = list(dict.fromkeys(name for model in models.values() for name in model.tracks))
    pictures = Pictures(out / "figures", models, line_styles(list(models)))
    sections = [Section("Result", [*_summary(models)])]
    if names:
        sections += [
            Section("Paths from above", [pictures.trajectories(names)]),
            Section("Errors over distance and speed", [*pictures.errors()]),
            Section("Drift along the path", [pictures.drift(names)]),
            Section("Motion from frame to frame", [pictures.motion(names)]),
            Section("Frames and the motion ahead", [*pictures.frames(recordings)]),
        ]
    if run is not None:
        sections.append(Section("Training", [*training_parts(pictures, run)]))
    sections += [
        Section("Protocol", [*protocol_parts(models)]),
        Section("How to repeat this", [*origin_parts(models, commands)]),
    ]
    return write_page(out / "report.html", title, sections, _lead(models))


def _lead(models: Mapping[str, Scored]) -> str:
    """What was compared and, where protocols agree, how far the first model is from constant motion and the best."""
    errors = {name: model.mean.get("t_rel_percent") for name, model in models.items()}
    known = {name: error for name, error in errors.items() if error is not None}
    first = next(iter(models))
    if len(known) < 2 or first not in known or any(unlike(models, METHOD_TERMS)):
        return f"{', '.join(models)} on {count(scored_names(models), 'recording')}."
    recordings = count(scored_names(models), "recording")
    lead = f"{first} is off by {known[first]:.2f} % of the distance travelled on {recordings}"
    floor = next((name for name in known if name.startswith(FLOOR) and name != first), None)
    if floor and min(known[first], known[floor]) > 0:
        ratio = known[floor] / known[first]
        ratio, than = (ratio, "less") if ratio >= 1 else (1 / ratio, "more")
        lead += f", {ratio:.1f} times {than} than {floor} ({known[floor]:.2f} %), which looks at no image"
    best = min(known, key=lambda name: known[name])
    end = f"that is the lowest of {len(known)} models" if best == first else f"lowest: {best}, {known[best]:.2f} %"
    return f"{lead}; {end}."


def _summary(models: Mapping[str, Scored]) -> Iterator[Text | Table | Definitions]:
    names, reasons = scored_names(models), [*unlike(models, METHOD_TERMS)]
    rows = [model.mean for model in models.values()]
    used, ones = _shown(rows)
    told = [key for key in METHOD_COLUMNS if len({words(model.protocol.get(key)) for model in models.values()}) > 1]
    columns = [Column("model"), *(replace(METRICS[key], best=None if reasons else METRICS[key].best) for key in used)]
    columns += [Column(METHOD_COLUMNS[key]) for key in told]
    over = f"Mean over {len(names)} recordings. " if len(names) > 1 else f"Recording {names[0]}. "
    marks = "" if reasons else "The best value of each column is marked. "
    caption = f"{over}{marks}{ones}A dash stands for no value."
    cells: list[list[Cell]] = [
        [name, *(model.mean.get(key) for key in used), *(words(model.protocol.get(key)) for key in told)]
        for name, model in models.items()
    ]
    yield Table(columns, cells, caption)
    if reasons:
        yield Text(f"{' '.join(reasons)} No value is therefore marked as the best.", "note")
    for name, model in models.items():
        blind = [one for one in model.sequences if one not in model.tracks]
        if blind:
            yield Text(f"No ground truth for {', '.join(blind)}: {name} has no errors there.", "note")
        failed = model.provenance.get("failed")
        if failed:
            yield Text(f"{name} failed on {words(failed)}", "note")
    yield Definitions({column.name: MEANINGS[column.name] for column in columns if column.name in MEANINGS})
    if len(names) > 1:
        yield _each(models, names)


def _each(models: Mapping[str, Scored], names: Sequence[str]) -> Table:
    """The metrics of each recording by itself, except speeds, which vary with the machine."""
    lines = [
        (one, name, model.sequences[one]) for one in names for name, model in models.items() if one in model.sequences
    ]
    used, ones = _shown([metrics for _, _, metrics in lines])
    used = [key for key in used if key != "fps"]
    heads = [Column("recording"), Column("model"), *(replace(METRICS[key], best=None) for key in used)]
    cells: list[list[Cell]] = [[one, name, *(metrics.get(key) for key in used)] for one, name, metrics in lines]
    return Table(heads, cells, f"Each recording by itself. {ones}".strip())


def _shown(rows: Sequence[Mapping[str, float | int | None]]) -> tuple[list[str], str]:
    """The metrics that have a value in some row, and a sentence on scale and coverage where they are 1 in all rows."""
    ones = [key for key in ("scale", "coverage") if all(row.get(key) == 1 for row in rows)]
    used = [key for key in METRICS if key not in ones and any(row.get(key) is not None for row in rows)]
    said = f"{' and '.join(ones).capitalize()} {'are' if len(ones) > 1 else 'is'} 1 in all rows. " if ones else ""
    return used, said

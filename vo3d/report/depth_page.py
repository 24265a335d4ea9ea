"""The report of depth: results of several models on the same views as one page with their maps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vo3d.errors import Vo3dError
from vo3d.formats.pfm import read_pfm
from vo3d.report.canvas import save_figure
from vo3d.report.depth import DepthView, plot_contact_sheet
from vo3d.report.html import Cell, Column, Definitions, Picture, Section, Table, Text, write_page
from vo3d.report.pictures import Pictures
from vo3d.report.scored import Scored, read_scored
from vo3d.report.sections import count, origin_parts, protocol_parts, scored_names, training_parts, unlike, words
from vo3d.sample import MultiViewScene

METRICS = {  # key in metrics.json: how its column reads
    "depth_within_1pc_percent": Column("within 1 %", "% of depths", 1, "high"),
    "depth_within_5pc_percent": Column("within 5 %", "% of depths", 1, "high"),
    "depth_median_error_mm": Column("median error", "mm", 2, "low"),
    "depth_mae_mm": Column("mean error", "mm", 2, "low"),
    "depth_coverage_percent": Column("coverage", "% of truth", 1, "high"),
    "depth_recall_1pc_percent": Column("within 1 %", "% of truth", 1, "high"),
    "confident_depth_coverage_percent": Column("confident", "% of truth", 1),
    "confident_depth_within_1pc_percent": Column("of these within 1 %", "%", 1, "high"),
    "fps": Column("speed", "views/s", 2),
}
PLAIN = "depth_coverage_percent"  # with "within 1 %" of the truth left out where it is 100 in all rows
MEANINGS = {
    "within 1 %": "Depths that differ from the truth by at most 1 percent of it: of all depths that a model gave, and "
    "of all pixels that have a truth.",
    "within 5 %": "Depths that differ from the truth by at most 5 percent of it.",
    "median error": "Median over the pixels of a view of the difference to the truth.",
    "mean error": "Mean of the same; a few gross errors move it.",
    "coverage": "Pixels with a truth for which the model gave a depth.",
    "confident": "Pixels whose confidence reaches the threshold of the protocol: each model has its own measure.",
}
METHOD_TERMS = ("num_views", "num_depths", "min_confidence")  # they describe the method, not the test
METHOD_COLUMNS = {"num_views": "views", "num_depths": "depths"}  # where models differ in them
HEADLINE = "depth_within_1pc_percent"


def write_depth_report(
    out: Path,
    results: Mapping[str, Path],
    *,
    title: str,
    run: Path | None = None,
    scenes: Sequence[MultiViewScene] = (),
    commands: Sequence[str] = (),
) -> Path:
    """Write `out/report.html`, which needs nothing beside it, and its figures as PNG files into `out/figures/`.

    `results` maps the name of each model to its result folder (metrics.json, maps/). `run` is the folder of a fit.
    `scenes` give the images and the truth of the maps that are shown; each is drawn as its scene has it now.
    `commands` are the lines that repeat the whole.
    Raises Vo3dError when a result is missing or malformed.
    """
    if not results:
        raise Vo3dError("a report without results was asked for: expected the result folder of at least one model")
    models = {name: read_scored(folder) for name, folder in results.items()}
    figures = out / "figures"
    sections = [Section("Result", [*_summary(models)]), Section("Depth maps", [*_sheets(models, scenes, figures)])]
    if run is not None:
        sections.append(Section("Training", [*training_parts(Pictures(figures, {}, {}), run)]))
    sections.append(Section("Protocol", [*protocol_parts(models)]))
    sections.append(Section("How to repeat this", [*origin_parts(models, commands)]))
    return write_page(out / "report.html", title, sections, _lead(models))


def _lead(models: Mapping[str, Scored]) -> str:
    """The share of right depths of each model, where they may be compared."""
    scenes = count(scored_names(models), "scene")
    shares = {name: model.mean.get(HEADLINE) for name, model in models.items()}
    if any(share is None for share in shares.values()) or any(unlike(models, METHOD_TERMS)):
        return f"{', '.join(models)} on {scenes}."
    told = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
    return f"Depths within 1 % of the truth, mean over {scenes}: {told}."


def _summary(models: Mapping[str, Scored]) -> Iterator[Text | Table | Definitions]:
    names, reasons = scored_names(models), [*unlike(models, METHOD_TERMS)]
    used = _used([model.mean for model in models.values()])
    told = [key for key in METHOD_COLUMNS if len({words(model.protocol.get(key)) for model in models.values()}) > 1]
    columns = [Column("model"), *(replace(METRICS[key], best=None if reasons else METRICS[key].best) for key in used)]
    columns += [Column(METHOD_COLUMNS[key]) for key in told]
    rows: list[list[Cell]] = [
        [name, *(model.mean.get(key) for key in used), *(words(model.protocol.get(key)) for key in told)]
        for name, model in models.items()
    ]
    marks = "" if reasons else " The best value of each column is marked."
    whole = "" if PLAIN in used else " Every pixel with a truth got a depth."
    yield Table(columns, rows, f"Mean over {count(names, 'scene')}.{marks}{whole}")
    if reasons:
        yield Text(f"{' '.join(reasons)} No value is therefore marked as the best.", "note")
    for name, model in models.items():
        if failed := model.provenance.get("failed"):
            yield Text(f"{name} failed on {words(failed)}", "note")
    yield Definitions({column.name: MEANINGS[column.name] for column in columns if column.name in MEANINGS})
    if len(names) > 1:
        used = [key for key in used if key != "fps"]
        heads = [Column("scene"), Column("model"), *(replace(METRICS[key], best=None) for key in used)]
        cells: list[list[Cell]] = [
            [one, name, *(model.sequences[one].get(key) for key in used)]
            for one in names
            for name, model in models.items()
            if one in model.sequences
        ]
        yield Table(heads, cells, "Each scene by itself.")


def _used(rows: Sequence[Mapping[str, float | int | None]]) -> list[str]:
    """The metrics that have a value in some row; what says nothing beside full coverage is left out."""
    whole = all(row.get(PLAIN) == 100 for row in rows)
    plain = {PLAIN, "depth_recall_1pc_percent"} if whole else set()
    return [key for key in METRICS if key not in plain and any(row.get(key) is not None for row in rows)]


def _sheets(models: Mapping[str, Scored], scenes: Sequence[MultiViewScene], folder: Path) -> Iterator[Picture | Text]:
    """One sheet of maps for each model."""
    by_name = {scene.name: scene for scene in scenes}
    for number, (name, model) in enumerate(models.items(), start=1):
        views = [*_views(model, by_name)]
        if not views:
            yield Text(f"No maps of {name} are shown: no scene of its maps was given to this report.", "note")
            continue
        threshold = model.protocol.get("min_confidence")
        sheet = plot_contact_sheet(views, min_confidence=threshold)
        caption = (
            f"{name}: one view of each of {count(views, 'scene')}, with its depth, confidence, true depth and error in "
            "percent of the true depth. Maps have the model's resolution; grey has no value."
        )
        yield Picture(save_figure(sheet, folder / f"maps_{number}.png"), caption, caption)


def _views(model: Scored, scenes: Mapping[str, MultiViewScene]) -> Iterator[DepthView]:
    """The maps in a result folder, each with the image and the truth of its scene."""
    stride = int(model.protocol.get("stride") or 1)
    for name in model.sequences:
        scene = scenes.get(name)
        if scene is None:
            continue
        for path in sorted((model.folder / "maps" / name).glob("*_depth.pfm")):
            stem = path.name.removesuffix("_depth.pfm")
            places = [index for index, view in enumerate(scene.names) if Path(view).name == stem]
            if not places:
                continue
            sample = scene.clip(places[:1])
            truth = None if sample.depth is None else sample.depth[0, ::stride, ::stride]
            depth = read_pfm(path)
            if truth is not None and truth.shape != depth.shape:
                raise Vo3dError(
                    f"{path}: a map of {depth.shape[-2]}x{depth.shape[-1]}: expected {truth.shape[0]}x"
                    f"{truth.shape[1]}, as {name} has now: evaluate the model again"
                )
            confidence = read_pfm(path.with_name(f"{stem}_confidence.pfm"))
            yield DepthView(
                name=f"{name}, {stem}", image=sample.image[0], depth=depth, confidence=confidence, truth=truth
            )

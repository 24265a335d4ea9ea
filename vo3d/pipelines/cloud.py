"""Score point clouds against reference clouds, in general and by the rules of the DTU benchmark."""

import json as json_format
import re
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from vo3d.errors import Vo3dError, visible
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import make_folder, write_whole
from vo3d.formats.ply import read_cloud, write_cloud
from vo3d.inference.progress import progress_bar
from vo3d.metrics.clouds import check_distances, cloud_distances, distance_metrics, error_cloud
from vo3d.metrics.dtu import DtuRules
from vo3d.metrics.dtu_table import DTU_TEST_SCANS, DtuTable, evaluate_dataset
from vo3d.metrics.thinning import thin_points

DISTANCES = (0.005, 0.01, 0.02)  # of the general metrics, in the clouds' unit: half a centimetre to two, if metres
SCAN = re.compile(r"(\d+)(?:_l[37])?$")  # the number of a scan at the end of a file's name


def score_clouds(
    est: str,
    ref: Path | None = None,
    dtu: Path | None = None,
    scans: list[int] | None = None,
    distances: list[float] | None = None,
    unit: str = "m",
    scale: float = 1.0,
    thin: float = 0.0,
    cut: float | None = None,
    seed: int = 0,
    json: Path | None = None,
    errors: Path | None = None,
    protocol: dict[str, Any] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Score a point cloud against a reference, or a folder of clouds by the DTU benchmark, and print one table.

    With `ref`: accuracy (from the estimate to the reference), completeness (back), precision, recall and F-score at
    each of `distances`; nothing is aligned. With `dtu`: the numbers of the benchmark's own program, in millimetres.

    For the options see `vo3d.verbs.scenes.cloud`; the table goes to `console`, the standard output if None.

    Returns:
        The content of `json`; numbers that are not defined are None.

    Raises:
        Vo3dError: neither or both of `ref` and `dtu` are given; a file is absent, empty or damaged, or holds NaN; a
            distance is out of its range.

    Example: `score_clouds("temple.ply", Path("reference.ply"), distances=[0.001, 0.002], errors=Path("errors"))`
    """
    if (ref is None) == (dtu is None):
        what = "neither a reference nor" if ref is None else "both a reference and"
        raise Vo3dError(f"{what} a DTU folder is given: expected --ref REF.ply or --dtu FOLDER")
    if not 0 < scale < inf:
        raise Vo3dError(f"scale {scale}: expected a positive number; 1000 makes millimetres of metres")
    for path in (json, errors):  # before the work, not after it
        if path is not None:
            make_folder(path if path is errors else path.parent)
    console = console or Console()
    if ref is not None:
        if scans or protocol:
            raise Vo3dError("scans and a protocol are given with a reference: they belong to --dtu FOLDER")
        content = _score_pair(Path(est), ref, distances or DISTANCES, unit, scale, thin, cut, seed, errors, console)
    else:
        assert dtu is not None  # noqa: S101  by the first condition
        if thin or cut is not None:
            raise Vo3dError("thin and cut are given with a DTU folder: there they are the benchmark's")
        table = _score_dtu(
            est, dtu, scans, DtuRules(within=tuple(distances or (1.0, 2.0)), seed=seed), scale, errors, protocol
        )
        _print_dtu(table, console)
        content = json_format.loads(table.to_json())
    if json is not None:
        write_whole(json, json_format.dumps(content, indent=2, allow_nan=False) + "\n")
    return content


def _score_pair(
    est: Path,
    ref: Path,
    distances: Sequence[float],
    unit: str,
    scale: float,
    thin: float,
    cut: float | None,
    seed: int,
    errors: Path | None,
    console: Console,
) -> dict[str, Any]:
    """Give numbers and protocol of one cloud against another."""
    bound = inf if cut is None else cut
    check_distances(distances, bound)
    if not 0 <= thin < inf:
        raise Vo3dError(f"thin {thin}: expected a distance in the unit of the clouds, or 0 for none")
    clouds = [read_cloud(est).points * scale, read_cloud(ref).points]
    read = [len(points) for points in clouds]
    if thin:
        clouds = [points[thin_points(points, thin, seed)] for points in clouds]
    found = cloud_distances(*clouds, cut=bound)
    metrics = {
        key: value if isfinite(value) else None for key, value in distance_metrics(*found, distances, cut=bound).items()
    }
    protocol = {
        "estimate": est.name,
        "reference": ref.name,
        "unit": unit,
        "scale": scale,
        "thin": thin,
        "cut": cut,
        "seed": seed,
        "distances": list(distances),
        "points_read": read,
    }
    _print_pair(console, metrics, protocol)
    if errors is not None:
        names = (f"{est.stem}_estimate_error.ply", f"{ref.stem}_reference_error.ply")
        for name, points, values in zip(names, clouds, found, strict=True):
            write_cloud(errors / name, error_cloud(points, values.clip(max=bound), max(distances)))
    return {"metrics": metrics, "protocol": protocol}


def _print_pair(console: Console, metrics: Mapping[str, float | int | None], protocol: Mapping[str, Any]) -> None:
    unit = protocol["unit"]
    table = Table("", *_right("accuracy", "completeness"), title=_title(protocol))
    for name, end in (("mean", ""), ("median", "_median")):
        table.add_row(
            f"{name}, {unit}", *(_number(metrics[f"cloud_{side}{end}"]) for side in ("accuracy", "completeness"))
        )
    table.add_row("points", *(str(metrics[f"cloud_num_{side}"]) for side in ("predicted", "reference")))
    shares = Table("within", *_right("precision %", "recall %", "F-score %"))
    for d in protocol["distances"]:
        cells = [_number(metrics[f"cloud_{key}_{d:g}_percent"], ".2f") for key in ("precision", "recall", "f_score")]
        shares.add_row(f"{d:g} {unit}", *cells)
    _print(console, protocol, table, shares)


def _score_dtu(
    est: str,
    root: Path,
    scans: Sequence[int] | None,
    rules: DtuRules,
    scale: float,
    errors: Path | None,
    protocol: Mapping[str, Any] | None,
) -> DtuTable:
    """Make the table of the benchmark for a folder, a pattern, or the one file of a single scan."""
    files: str | dict[int, Path] = est
    chosen = list(scans) if scans else list(DTU_TEST_SCANS)
    if Path(est).is_dir():
        files = _clouds_in(Path(est))
        chosen = list(scans) if scans else [*files]
        if absent := [scan for scan in chosen if scan not in files]:
            raise Vo3dError(f"{est}: holds no cloud of scan {absent[0]}: expected a file such as scan{absent[0]}.ply")
    elif len(chosen) == 1:
        files = {chosen[0]: Path(est)} if Path(est).is_file() else est
    elif "{" not in est:
        raise Vo3dError(f"{est}: no such folder: expected the folder of the clouds, or a pattern with {{scan}} in it")
    with progress_bar() as bar:
        task = bar.add_task("scans", total=len(chosen))
        return evaluate_dataset(
            root,
            files,
            chosen,
            rules,
            scale=scale,
            protocol=protocol,
            clouds=errors,
            progress=lambda scan, row: bar.advance(task),
        )


def _clouds_in(folder: Path) -> dict[int, Path]:
    """Find the clouds in a folder by the number at the end of their names, ascending."""
    found: dict[int, Path] = {}
    for path in visible_paths(folder, "*.ply"):
        if number := SCAN.search(path.stem):
            first = found.setdefault(int(number[1]), path)
            if first is not path:
                raise Vo3dError(
                    f"{folder}: {first.name} and {path.name} are both of scan {int(number[1])}: expected one cloud"
                )
    if not found:
        raise Vo3dError(f"{folder}: holds no cloud whose name ends in the number of a scan, such as scan1.ply")
    return dict(sorted(found.items()))


def _print_dtu(table: DtuTable, console: Console) -> None:
    scores = [key for key in table.mean if key.startswith("dtu_f_score")]
    keys = ["dtu_accuracy_mm", "dtu_completeness_mm", "dtu_overall_mm", *scores]
    titles = [key.removeprefix("dtu_").replace("_", " ").replace("percent", "%") for key in keys]
    shown = Table("scan", *_right(*titles), title="DTU evaluation")
    for name, row in [*((str(scan), row) for scan, row in table.rows.items()), ("mean", table.mean)]:
        cells = [_number(row[key], ".2f" if key in scores else ".4g") for key in keys]
        shown.add_row(name, *cells, style="bold" if name == "mean" else None)
    _print(console, table.protocol, shown)


def _title(protocol: Mapping[str, Any]) -> str:
    """Name both clouds; brackets in the names of their files are no markup."""
    return escape(visible("{estimate} against {reference}".format(**protocol)))


def _right(*titles: str) -> list[Column]:
    """Make columns of numbers."""
    return [Column(title, justify="right") for title in titles]


def _print(console: Console, protocol: Mapping[str, Any], *tables: Table) -> None:
    """Print the tables and, below them, the protocol in one sentence."""
    for table in tables:
        console.print(table, markup=False)
    console.print("; ".join(f"{key} {value}" for key, value in protocol.items()) + ".", markup=False, highlight=False)


def _number(value: float | int | None, form: str = ".4g") -> str:
    return "-" if value is None or not isfinite(value) else format(value, form)

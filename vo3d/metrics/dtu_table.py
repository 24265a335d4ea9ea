"""The DTU evaluation of many scans: one row each, their mean, and the protocol without which the numbers say little."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isnan
from pathlib import Path

from vo3d.errors import Vo3dError
from vo3d.formats.ply import read_cloud, write_cloud
from vo3d.metrics.dtu import OFFICIAL, DtuRules, DtuScan, compare_scan, dtu_metrics, error_clouds, scan_files
from vo3d.provenance import versions

Row = dict[str, float | int]

DTU_TEST_SCANS = (1, 4, 9, 10, 11, 12, 13, 15, 23, 24, 29, 32, 33, 34, 48, 49, 62, 75, 77, 110, 114, 118)
# what the maker of the clouds alone knows; fusion programs differ more than networks do
PROTOCOL = (
    "light", "input size", "views", "depths", "interval scale", "depth range mm", "filter thresholds", "fusion",
)  # fmt: skip


@dataclass(frozen=True)
class DtuTable:
    """Rows of `dtu_metrics` by scan, the plain mean of each number over the scans, and the protocol.

    Counts have no mean. A number that is NaN in one scan has the mean NaN, as in MATLAB.
    """

    rows: dict[int, Row]
    mean: dict[str, float]
    protocol: dict[str, object]

    def to_json(self) -> str:
        """Return all of it as JSON; NaN becomes null."""
        content = {
            "protocol": self.protocol,
            "mean": _without_nan(self.mean),
            "scans": {str(scan): _without_nan(row) for scan, row in self.rows.items()},
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def evaluate_dataset(
    root: Path,
    pattern: str | Mapping[int, Path],
    scans: Sequence[int] = DTU_TEST_SCANS,
    rules: DtuRules = OFFICIAL,
    *,
    scale: float = 1.0,
    protocol: Mapping[str, object] | None = None,
    clouds: Path | None = None,
    progress: Callable[[int, Row], None] | None = None,
    workers: int = -1,
) -> DtuTable:
    """Evaluate the predicted clouds of many scans, one at a time.

    Args:
        root: The folder that holds `Points` and `ObsMask`.
        pattern: Where the clouds are, PLY files in millimetres, such as "out/mvsnet{scan:03d}_l3.ply"; or the file of
            each scan.
        scans: Numbers of the scans; the benchmark's 22 unless told otherwise.
        rules: Constants of the evaluation.
        scale: What makes millimetres of the clouds' coordinates: 1000 for clouds in metres.
        protocol: What to print with the numbers beside the rules, see `PROTOCOL`; what is not said is marked so.
        clouds: A folder for the coloured error clouds of each scan; measuring all their points takes longer.
        progress: Called with the number and the row of each scan as soon as it is done.
        workers: Threads of the search, -1 for all cores.

    Raises:
        Vo3dError: there is no scan, or one twice; a file is absent (all are looked for before the first is read) or
            damaged; a cloud is empty or holds NaN.
    """
    if not 0 < scale < inf:
        raise Vo3dError(f"scale {scale}: expected a positive number, 1000 for clouds in metres")
    paths = {scan: _predicted(pattern, scan) for scan in scans}
    if not paths or len(paths) != len(scans):
        raise Vo3dError(f"scans {list(scans)}: expected the numbers of one or more different scans")
    if len(paths) > 1 and len({*paths.values()}) == 1:
        raise Vo3dError(f"{pattern!r} names one file for all scans: expected '{{scan}}' or '{{scan:03d}}' in it")
    for scan, path in paths.items():
        for needed in (path, *scan_files(root, scan)):
            if not needed.is_file():
                raise Vo3dError(f"{needed}: no such file: expected for scan {scan}: leave it out or correct the path")
    rows: dict[int, Row] = {}
    for scan, path in paths.items():
        points = read_cloud(path).points * scale
        distances = compare_scan(
            points, DtuScan.load(root, scan), rules, everywhere=clouds is not None, workers=workers
        )
        rows[scan] = dtu_metrics(distances)
        if clouds is not None:
            for name, cloud in zip(("prediction", "reference"), error_clouds(distances), strict=True):
                write_cloud(clouds / f"{path.stem}_{scan:03d}_{name}_error.ply", cloud)
        if progress is not None:
            progress(scan, rows[scan])
    keys = [key for key in next(iter(rows.values())) if not key.startswith("dtu_num_")]
    mean = {key: sum(row[key] for row in rows.values()) / len(rows) for key in keys}
    said = {"scale to mm": scale, **(protocol or {})} if scale != 1 else protocol or {}
    return DtuTable(rows, mean, _protocol(rules, [*paths], said))


def _predicted(pattern: str | Mapping[int, Path], scan: int) -> Path:
    if not isinstance(pattern, str):
        if scan not in pattern:
            raise Vo3dError(f"no cloud of scan {scan} was given: expected one for each of the scans")
        return pattern[scan]
    try:
        return Path(pattern.format(scan=scan))
    except (LookupError, ValueError, AttributeError) as error:
        raise Vo3dError(
            f"{pattern!r} names no file of scan {scan} ({error}): expected a path such as out/mvsnet{{scan:03d}}_l3.ply"
        ) from error


def _protocol(rules: DtuRules, scans: Sequence[int], said: Mapping[str, object]) -> dict[str, object]:
    """Write down what was said about the clouds, what was not, and how they were evaluated."""
    found = versions()
    return {
        "scans": " ".join(map(str, scans)),
        **dict.fromkeys(PROTOCOL, "not stated"),
        **said,
        **{f"evaluation {name}": value for name, value in asdict(rules).items()},
        "evaluation version": ", ".join(
            f"{name} {found[name]}" for name in ("vo3d", "numpy", "scipy") if name in found
        ),
    }


def _without_nan(values: Mapping[str, float | int]) -> dict[str, float | int | None]:
    return {key: None if isnan(value) else value for key, value in values.items()}

"""What sweeps over trainings share: one budget a folder, the small DeepVO on streets, and tables of their errors."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from vo3d.errors import Vo3dError
from vo3d.formats.files import atomic_path

ERRORS = {"t_rel_percent": "t_rel %", "r_rel_deg_per_100m": "r_rel deg/100 m", "ape_rmse_m": "APE m"}


def street_net(size: tuple[int, int], width: float, hidden: int) -> dict[str, Any]:
    """Arguments of the DeepVO that learns from rendered streets: those of deepvo_rendered.yaml, but for its size."""
    return {
        "size": size,
        "width": width,
        "batch_norm": True,
        "leaky_slope": 0.1,
        "hidden": hidden,
        "kappa": 300.0,
        "image_mean": (0.443, 0.443, 0.443),
        "image_std": (0.174, 0.167, 0.176),
        "step_mean": (0.0, 0.0, 0.747, 0.0, 0.0, 0.0),
        "step_std": (0.01, 0.004, 0.333, 0.016, 0.004, 0.004),
    }


def keep_budget(path: Path, budget: Any) -> None:
    """Write the budget, a dataclass, to `path`; raises Vo3dError when runs of another one are there already."""
    if path.is_file() and (found := json.loads(path.read_text())) != plain(asdict(budget)):
        raise Vo3dError(f"{path}: the runs there have another budget ({found}): choose another --out, or remove them")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(budget), indent=2) + "\n")


def plain(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings as they come back out of JSON, with lists for tuples."""
    found: dict[str, object] = json.loads(json.dumps(settings))
    return found


def spread(values: Iterable[float | None]) -> str:
    """Mean, least and largest value: `mean (least to largest)`; "none" where a run has no value."""
    known = [value for value in values if value is not None]
    return f"{mean(known):.3g} ({min(known):.3g} to {max(known):.3g})" if known else "none"


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

"""The verb of the survey: what optimisers do, in pictures."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
import sys
from pathlib import Path


def optimizers(out: Path = Path("runs/optimizers"), parts: list[str] = []) -> None:  # noqa: B006 (read only)
    """Race the optimisers on surfaces, compare data regimes, train a network with each: pictures, tables, a page.

    Surfaces and regimes take about a minute; training takes an hour or two and is asked for by name. Finished
    runs of it are not repeated.

    Example: vo3d optimizers --out runs/optimizers

    Example: vo3d optimizers --parts training

    Args:
        out: The folder for pictures (PNG, GIF), numbers (CSV) and the page index.html.
        parts: Some of surfaces, regimes, training; without it surfaces and regimes.
    """
    from vo3d.pipelines.optimizers.survey import run_survey

    sys.stdout.write(f"Open {run_survey(out, parts)} for the pictures.\n")

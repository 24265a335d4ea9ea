"""The verb of the survey: what optimisers do, in pictures."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
import shlex
import sys
from difflib import get_close_matches
from pathlib import Path

from vo3d.errors import Vo3dError

PARTS = ("surfaces", "regimes", "training")
DEFAULT_PARTS = ["surfaces", "regimes"]


def optimizers(out: Path = Path("runs/optimizers"), parts: list[str] = []) -> None:  # noqa: B006 (read only)
    """Race the optimisers on surfaces, compare data regimes, train a network with each: pictures, tables, a page.

    Surfaces and regimes take about a minute; training takes hours and is asked for by name. Finished runs of it are not
    repeated.

    Example: vo3d optimizers --out runs/optimizers

    Example: vo3d optimizers --parts training

    Args:
        out: The folder for pictures (PNG, GIF), numbers (CSV) and the page index.html.
        parts: Some of surfaces, regimes, training; without it surfaces and regimes.
    """
    from vo3d.formats.files import make_folder

    for part in parts:
        if part not in PARTS:
            near = get_close_matches(part, PARTS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(PARTS)}"
            raise Vo3dError(f"--parts: there is no part {part!r}: {hint}")
    make_folder(out)
    wanted = parts or DEFAULT_PARTS
    if "surfaces" in wanted:
        from vo3d.survey.surfaces import run_surfaces

        run_surfaces(out)
    if "regimes" in wanted:
        from vo3d.survey.regimes import run_regimes

        run_regimes(out)
    if "training" in wanted:
        from vo3d.survey.training import run_training

        run_training(out)
    from vo3d.survey.page import write_survey_page

    words = ["vo3d", "optimizers", "--out", str(out), "--parts", *wanted]
    sys.stdout.write(f"Open {write_survey_page(out, shlex.join(words))} for the pictures.\n")

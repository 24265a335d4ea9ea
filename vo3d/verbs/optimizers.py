"""The verb of the survey: what optimisers do, in pictures."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEFAULT_PARTS = ["surfaces", "regimes"]


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
    from vo3d.formats.files import make_folder
    from vo3d.optim.choice import choose
    from vo3d.pipelines.optimizers.page import write_survey_page
    from vo3d.pipelines.optimizers.regimes import run_regimes
    from vo3d.pipelines.optimizers.surfaces import run_surfaces
    from vo3d.pipelines.optimizers.training import run_training

    every: dict[str, Callable[[Path], list[Path]]] = {
        "surfaces": run_surfaces,
        "regimes": run_regimes,
        "training": run_training,
    }
    wanted = list(dict.fromkeys(parts or DEFAULT_PARTS))
    chosen = [choose("--parts", part, every) for part in wanted]
    make_folder(out)
    with one_thread():
        for run in chosen:
            run(out)
    words = ["vo3d", "optimizers", "--out", str(out), "--parts", *wanted]
    sys.stdout.write(f"Open {write_survey_page(out, shlex.join(words))} for the pictures.\n")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: on a few numbers at a time, others only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

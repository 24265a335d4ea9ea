"""The tables and figures of DeepVO trained with each first-order optimiser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole
from vo3d.pipelines.optimizers.optimizer_runs import ERRORS, OPTIMIZERS, Budget, Found, Run, sweep
from vo3d.pipelines.optimizers.tables import markdown, spread, write_rows
from vo3d.report.canvas import save_figure
from vo3d.report.optimizer_runs import Band, plot_bands, plot_rates

LOSS = "validation loss"
BUDGET = Budget()


def run_training(
    out: Path,
    *,
    optimizers: Mapping[str, float] = OPTIMIZERS,
    seeds: Sequence[int] = (0, 1, 2),
    budget: Budget = BUDGET,
) -> list[Path]:
    """Train what is missing, then write pictures and tables under `out/training`, and give their paths.

    `curves.png` and `curves.csv`: validation loss over the steps at the chosen rates; `rates.png`: what each rate came
    to; `runs.csv`: one row a run; `table.md`: one row an optimiser, as `table` makes it.

    Args:
        out: The folder of everything; finished runs under it are not repeated.
        optimizers: Classes of `vo3d.optim`, and the rate about which the grid of each lies.
        seeds: Of weights and batches; each rate is trained with each.
        budget: What is equal in all runs.

    Raises:
        Vo3dError: As `vo3d.pipelines.optimizers.optimizer_runs.sweep`, or when every run of the sweep diverged.
    """
    folder = out / "training"
    found = sweep(folder, optimizers, seeds, budget)
    bands = {name: band for name, runs in found.chosen.items() if (band := band_of(runs))}
    if not bands:
        raise Vo3dError(f"{folder}: every run diverged: expected one that did not; try smaller rates")
    tried = {
        name: {runs[0].rate: [run.val_loss for run in runs] for runs in rates} for name, rates in found.tried.items()
    }
    pictures = [
        save_figure(plot_bands(bands, LOSS), folder / "curves.png"),
        save_figure(plot_rates(tried, LOSS), folder / "rates.png"),
    ]
    write_whole(folder / "table.md", table(found))
    return [*pictures, *write_csv(found, folder), folder / "table.md"]


def band_of(runs: Sequence[Run]) -> Band | None:
    """Take mean, least and largest validation loss of the runs that did not diverge; None where all did."""
    ended = [run for run in runs if run.diverged is None]
    if not ended:
        return None
    values = list(zip(*(run.validation for run in ended), strict=True))
    return Band(ended[0].validated, list(map(mean, values)), list(map(min, values)), list(map(max, values)))


def table(found: Found) -> str:
    """Make one row an optimiser, means over the seeds at its chosen rate; the last row is constant motion."""
    titles = ["optimiser", "rate", "rates tried", LOSS, "training loss", *ERRORS.values()]
    rows = []
    for name, runs in found.chosen.items():
        ended = [run for run in runs if run.diverged is None]
        cells = [
            spread(run.val_loss for run in ended),
            spread(run.train_loss for run in ended),
            *(spread(run.errors[key] for run in ended) for key in ERRORS),
        ]
        tried = found.tried[name]
        edge = " (an end of the grid)" if runs in (tried[0], tried[-1]) else ""
        rates = ", ".join(f"{each[0].rate:g}" + diverged(each) for each in tried)
        rows.append([name, f"{runs[0].rate:g}{edge}{diverged(runs)}", rates, *cells])
    constant = [spread([found.constant.mean[key]]).partition(" ")[0] for key in ERRORS]
    rows.append(["constant motion", "", "", "", "", *constant])
    return markdown(titles, rows)


def diverged(runs: Sequence[Run]) -> str:
    """Say how many runs diverged; nothing where none did."""
    failed = sum(run.diverged is not None for run in runs)
    return f" ({failed} of {len(runs)} diverged)" if failed else ""


def write_csv(found: Found, folder: Path) -> list[Path]:
    """Write one row for each run, and one for each look at a validation loss at the chosen rates; give both paths."""
    chosen = [run for runs in found.chosen.values() for run in runs]
    every = [run for rates in found.tried.values() for runs in rates for run in runs]
    rows = [
        (
            *(run.optimizer, run.rate, run.seed, run in chosen, run.diverged or "", run.val_loss, run.train_loss),
            *(run.errors.get(key, "") for key in ERRORS),
        )
        for run in every
    ]
    looks = [
        (run.optimizer, run.rate, run.seed, *look)
        for run in chosen
        for look in zip(run.validated, run.validation, strict=True)
    ]
    which = ("optimizer", "rate", "seed")
    return [
        write_rows(folder / "runs.csv", [(*which, "chosen", "diverged_at", "val_loss", "train_loss", *ERRORS), *rows]),
        write_rows(folder / "curves.csv", [(*which, "step", "val_loss"), *looks]),
    ]

"""The survey's pictures: races of optimisers on surfaces, as PNG, GIF and CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from vo3d.optim.races import RACES, MinimizerRace, Race, Trace, step_of_leaving, steps_to_reach
from vo3d.pipelines.optimizers.tables import write_rows
from vo3d.report.canvas import save_figure
from vo3d.report.races import NOISE, plot_race, plot_race_on_surface, write_race_gif

FOLDER = "surfaces"
TRACES = ("method", "step", "x", "y", "f")  # titles of the CSV file of paths, and of that of racers
RACERS = (
    "method",
    "settings",
    "steps",
    "gradients",
    "Hessian products",
    "left at step",
    "there at step",
    "f at the end",
)


@dataclass(frozen=True)
class Show:
    """The way a race is shown: its heading, what to look for, and which pictures there are beside the contours."""

    title: str
    text: str
    moving: bool = False
    in_space: bool = False  # the moving picture, and one more still, are of the surface in space
    only: str = ""  # how the names of the racers end that are drawn


SHOWS: Mapping[str, Show] = {  # by the name of the race
    "beale": Show(
        "Beale's surface, six methods",
        "From (1, 1.5), beside a saddle, to the minimum at (3, 0.5) along a curved and ever flatter valley. Momentum "
        "and NAG overshoot the bend and come back; Adadelta comes near the minimum and then jumps to and fro, ever "
        "wider.",
        moving=True,
    ),
    "beale_limit": Show(
        "Beale's surface at twice the rate",
        "The same start with the rate 0.01 instead of 0.005: the step that gradient descent still takes well is too "
        "long for the methods that add up their steps. Only the paths until they leave the picture are drawn.",
    ),
    "saddle": Show(
        "A saddle, six methods",
        "From beside the ridge, 0.000001 off it, where the slope that leads away is tiny. With these rates Adagrad, "
        "Adadelta and RMSprop, which divide by the size of past gradients, leave before Momentum and NAG do; gradient "
        "descent has not left after 200 steps.",
        moving=True,
        in_space=True,
    ),
    "saddle_noise": Show(
        "A saddle, from the ridge itself, with noise",
        "From y = 0 exactly every gradient points along the ridge, and without noise all six methods end on the saddle "
        "(their paths are in the CSV file). With noise on the gradients, drawn here, they go down.",
        only=NOISE,
    ),
    "star": Show(
        "Convergence to a star, six methods",
        "A bowl that curves twenty times as much across as along, with its minimum, the star, at a place drawn at "
        "random. A race ends within 0.05 of the star.",
        moving=True,
    ),
    "beale_nine": Show(
        "Beale's surface, all nine methods",
        "As above, with Adam, AdaMax and Nadam.",
    ),
    "rosenbrock_nine": Show(
        "Rosenbrock's valley, all nine methods",
        "A curved valley whose floor falls gently to (1, 1) between steep walls: a rate that the walls allow is slow "
        "on the floor.",
    ),
    "himmelblau_nine": Show(
        "Himmelblau's function, all nine methods",
        "Four minima of equal depth: which of them a method ends in depends on its first steps.",
    ),
    "long_valley_nine": Show(
        "A long valley, all nine methods",
        "Walls that are steep beside the floor, which falls evenly and for ever. With these rates Adagrad, RMSprop, "
        "Adam and its kin go along the floor as fast as across it from the first step on; the others cross it first.",
        moving=True,
    ),
    "beale_second": Show(
        "Beale's surface, with curvature",
        "Methods that also use how the gradient changes, from the same start. Pure Newton seeks a zero of the "
        "gradient, and finds that of the saddle; Newton with its guards against that goes to the minimum.",
        moving=True,
    ),
    "rosenbrock_second": Show(
        "Rosenbrock's valley, with curvature",
        "Few steps, each of more work: the table counts gradients, and products of the Hessian with a vector. Pure "
        "Newton jumps out of the picture and back.",
    ),
}


def run_surfaces(out: Path, shows: Mapping[str, Show] = SHOWS) -> list[Path]:
    """Run the races and write, under `out/surfaces`, what each leaves; give the paths of all files.

    Of each race: `<name>.png`, `<name>.csv` (every step of every racer), `<name>_racers.csv` (settings and outcome, one
    row a racer), and `<name>.gif` and `<name>_surface.png` where its show has them.
    Raises Vo3dError when a file cannot be written.
    """
    console = Console(stderr=True)
    paths: list[Path] = []
    for name, show in shows.items():
        written = run_show(name, show, out / FOLDER)
        paths += written
        console.print(
            f"{out / FOLDER}:", ", ".join(path.name for path in written), highlight=False, markup=False, soft_wrap=True
        )
    return paths


def run_show(name: str, show: Show, folder: Path) -> list[Path]:
    """Run one race of `RACES` and write its files into `folder`, as `run_surfaces` says."""
    race = RACES[name]
    traces = race.run()
    drawn = {racer: trace for racer, trace in traces.items() if racer.endswith(show.only)}
    paths = [save_figure(plot_race(race.landscape, drawn, within=race.within), folder / f"{name}.png")]
    if show.in_space:
        figure = plot_race_on_surface(race.landscape, drawn, within=race.within)
        paths.append(save_figure(figure, folder / f"{name}_surface.png"))
    if show.moving:
        gif = folder / f"{name}.gif"
        paths.append(write_race_gif(gif, race.landscape, drawn, within=race.within, surface=show.in_space))
    return [
        *paths,
        write_traces(folder / f"{name}.csv", traces),
        write_racers(folder / f"{name}_racers.csv", race, traces),
    ]


def write_traces(path: Path, traces: Mapping[str, Trace]) -> Path:
    """Write traces as a CSV file, one row a step (`TRACES`; all digits), and return `path`."""
    rows = [
        (name, step, *position, value)
        for name, trace in traces.items()
        for step, (position, value) in enumerate(zip(trace.positions.tolist(), trace.values.tolist(), strict=True))
    ]
    return write_rows(path, [TRACES, *rows])


def write_racers(path: Path, race: Race | MinimizerRace, traces: Mapping[str, Trace]) -> Path:
    """Write a CSV file with one row a racer (`RACERS`), and return `path`; cells without a meaning are empty."""
    settings = race.settings()
    rows: list[Sequence[object]] = [RACERS]
    for name, trace in traces.items():
        rows.append(
            [
                name,
                settings[name],
                trace.steps,
                trace.gradients,
                trace.hessian_products,
                step_of_leaving(trace, race.landscape),
                None if race.within is None else steps_to_reach(trace, race.landscape.minima, race.within),
                f"{float(trace.values[-1]):.3g}",
            ]
        )
    return write_rows(path, rows)

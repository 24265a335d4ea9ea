"""The page of `vo3d optimizers`: every picture that its folder holds, with what is seen and the settings behind it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from vo3d.formats.candidates import visible_paths
from vo3d.optim.races import RACES
from vo3d.pipelines.optimizers.surfaces import FOLDER, SHOWS, Show
from vo3d.report.html import Cell, Code, Column, Link, Part, Picture, Section, Table, Text, write_page

LEAD = (
    "What different rules make of the same gradients: paths on surfaces, loss curves of ways to feed the data, and a "
    "network trained with each."
)
READING = (
    "The methods differ in what they make of the gradients that they see. Gradient descent (SGD) goes along the last "
    "one; Momentum and NAG keep a part of their earlier steps; Adagrad, Adadelta and RMSprop divide each coordinate by "
    "the size of its past gradients; Adam, AdaMax and Nadam do both. Newton's method and its kin also use how the "
    "gradient changes from place to place.",
    "Every setting is in the tables. The rates were chosen by us, so that differences show in few steps; those of the "
    "well-known moving pictures of this kind were never published. Other rates, starts and surfaces give other "
    "orders, so nothing here says that one method is better than another: Schaul et al. (2014), whom the survey "
    "quotes, compared many and found no clear winner.",
)
REGIMES = (
    "Logistic regression on two interlocked half moons, by gradient descent at one rate, equally many updates in each "
    "regime: what differs is how many samples an update sees, and which. The fewer samples an update sees, the noisier "
    "its curve, and the earlier, by samples, the loss falls; by updates the curves lie close together."
)
TRAINING = (
    "DeepVO (small) on rendered streets, trained with each first-order optimiser for equally many steps, at the best "
    "rate of a small grid, with three seeds. What is said here holds for this network, these data and this budget."
)
OVERFLOW = "A dash: never. What goes on until its numbers overflow ends with its last finite step."
EPS = (
    "RMSprop's eps of 1e-08 is inside of the root, as in the survey's formula, which gives it no number there: 1e-08 "
    "is the usual size that the survey names for Adagrad's."
)
WORDS = {  # of pictures outside of the races: what is seen
    "regimes.png": "Loss on all data of each regime, over the samples that were seen and over the updates.",
    "curves.png": "Validation loss over the steps, each optimiser at its chosen rate: mean, least and largest of the "
    "seeds.",
    "rates.png": "Validation loss in the end over the rate: means of the seeds, strokes from the least to the largest; "
    "a cross is a rate at which a run diverged.",
}


def write_survey_page(out: Path, command: str = "vo3d optimizers") -> Path:
    """Write `out/index.html`, which needs nothing beside it, from the files of all parts that are there; give its path.

    `command` is the line that repeats it.
    """
    sections = [Section("How to read this", [Text(text) for text in READING])]
    sections += [
        Section(show.title, [*_race(out, name, show)])
        for name, show in SHOWS.items()
        if (out / FOLDER / f"{name}.png").is_file()
    ]
    if (out / "regimes.png").is_file():
        parts: list[Part] = [Text(REGIMES), *_pictures(out, ["regimes.png"]), *_links(out, ["regimes.csv"])]
        sections.append(Section("Data regimes", parts))
    if (out / "training").is_dir():
        sections.append(Section("A network trained with each", [*_training(out)]))
    sections.append(Section("How to repeat this", [Code(command)]))
    return write_page(out / "index.html", "Optimisers, watched", sections, LEAD)


def _race(out: Path, name: str, show: Show) -> Iterator[Part]:
    """Show the results of a race, in the order of reading."""
    folder = out / FOLDER
    yield Text(show.text)
    seen = f"{RACES[name].landscape.title}: paths over the contours, and the value at each step."
    pictures = {
        f"{name}.gif": f"The race, looped. Its early steps are shown singly, later ones pass faster ({name}.gif).",
        f"{name}.png": f"{seen} ({name}.png)",
        f"{name}_surface.png": f"The same paths on the surface in space ({name}_surface.png).",
    }
    yield from (Picture(folder / file, text, text) for file, text in pictures.items() if (folder / file).is_file())
    racers = folder / f"{name}_racers.csv"
    if racers.is_file():
        yield _table_of_racers(racers)
    yield from _links(out, [f"{FOLDER}/{name}.csv", f"{FOLDER}/{racers.name}"])


def _training(out: Path) -> Iterator[Part]:
    folder = out / "training"
    yield Text(TRAINING)
    if (folder / "table.md").is_file():
        yield _table_of_markdown(folder / "table.md")
    yield from _pictures(folder, [path.name for path in visible_paths(folder, "*.png")])
    yield from _links(out, [f"training/{path.name}" for path in visible_paths(folder, "*.csv")])


def _pictures(folder: Path, names: list[str]) -> Iterator[Picture]:
    return (Picture(folder / name, f"{WORDS.get(name, '')} ({name})".strip(), WORDS.get(name, name)) for name in names)


def _links(out: Path, names: list[str]) -> Iterator[Link]:
    return (Link(f"The numbers: {name}", name) for name in names if (out / name).is_file())


def _table_of_racers(path: Path) -> Table:
    """Make the table of a race's CSV file, without columns that would say nothing."""
    with path.open(newline="", encoding="utf-8") as file:
        heads, *rows = csv.reader(file)
    columns = dict(zip(heads, zip(*rows, strict=True), strict=True))
    if columns["gradients"] == columns["steps"]:
        del columns["gradients"]
    told = {head: cells for head, cells in columns.items() if set(cells) - {"", "0"}}
    cells: list[list[Cell]] = [[cell or None for cell in row] for row in zip(*told.values(), strict=True)]
    notes = [
        OVERFLOW if "left at step" in told else "",
        EPS if any("RMSprop" in name for name in columns["method"]) else "",
    ]
    return Table([Column(head) for head in told], cells, " ".join(filter(None, notes)))


def _table_of_markdown(path: Path) -> Table:
    """Make the table of a file that holds nothing else."""
    lines = [line.strip().strip("|") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    heads, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    return Table([Column(head) for head in heads], [[cell or None for cell in row] for row in rows])

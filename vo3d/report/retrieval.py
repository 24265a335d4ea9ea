"""Retrieval in reports: recall, precision, queries with what was found, distances with the true matches, maps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vo3d.errors import Vo3dError
from vo3d.formats.places import Distances, FoundPlaces
from vo3d.metrics.retrieval import NEVER, precision_recall
from vo3d.recording import Recording
from vo3d.report.canvas import Styles, line_styles, save_figure
from vo3d.report.html import Picture, Section, Text
from vo3d.report.relocalisation import thumbnail
from vo3d.report.retrieval_figures import (
    Found,
    plot_distances,
    plot_found,
    plot_places,
    plot_precision_recall,
    plot_recalls,
)

MOST_SETS = 6  # that have panels of their own
MOST_MODELS = 3  # maps side by side
SHOWN = 4  # queries of the best and of the worst
TOP = 5  # images that are shown for each
APART = 20  # two queries of a set are at least this part of it apart: neighbours look alike


@dataclass(frozen=True, eq=False)
class Searched:
    """Hold what one model found in one set."""

    table: FoundPlaces
    distances: Distances
    recalls: Mapping[int, float]  # percent by N


Models = Mapping[str, Mapping[str, Searched]]  # by the model's name, by the set's


def retrieval_sections(
    found: Models, recordings: Mapping[str, Sequence[Recording]], figures: Path
) -> Iterator[Section]:
    """Show how well places were found, by which distances, and what was taken for what.

    Args:
        found: what each model found in each set; the first model's queries and distances are shown.
        recordings: those that each model saw, by its name.
        figures: the folder of the pictures.

    Raises:
        Vo3dError: a recording is another than that of the evaluation.
    """
    styles = line_styles(list(found))
    names = list(dict.fromkeys(name for of in found.values() for name in of))
    yield Section("Recall and precision", [*_curves(found, names, styles, figures)])
    model, of = next(iter(found.items()))
    seen = recordings.get(model, ())
    yield Section("Best and worst queries", [*_queries(model, of, seen, figures)])
    yield Section("Distances", [_distances(model, of, figures)])
    if maps := [*_maps(found, names, seen, figures)]:
        yield Section("Where places were found", maps)


def _first_of(names: Sequence[str]) -> str:
    """Say that not all sets are drawn."""
    return f" Drawn are the first {MOST_SETS} of {len(names)} sets." if len(names) > MOST_SETS else ""


def _curves(found: Models, names: Sequence[str], styles: Styles, figures: Path) -> Iterator[Picture]:
    """Draw recall over N, and precision over recall."""
    drawn = {name: {model: of[name] for model, of in found.items() if name in of} for name in names[:MOST_SETS]}
    caption = (
        "Queries with a right image among the first N that were found; queries without a right image in the database "
        f"count as misses.{_without(drawn)}{_first_of(names)}"
    )
    recalls = {name: {model: one.recalls for model, one in of.items()} for name, of in drawn.items()}
    yield Picture(save_figure(plot_recalls(recalls, styles), figures / "recall.png"), caption, caption)
    curves = {
        name: {
            model: precision_recall(one.table.squared[:, 0], one.table.first_right == 1, one.table.num_right > 0)
            for model, one in of.items()
        }
        for name, of in drawn.items()
    }
    caption = (
        "Precision over recall as the best match of a query is believed up to a distance, from none to all: right ones "
        "of those that are believed, and right ones that are believed of the queries that have a right image. A curve "
        f"ends at recall@1 of these queries.{_first_of(names)}"
    )
    yield Picture(
        save_figure(plot_precision_recall(curves, styles), figures / "precision_recall.png"), caption, caption
    )


def _without(drawn: Mapping[str, Mapping[str, Searched]]) -> str:
    """Count the queries that cannot be found, by set."""
    told = []
    for name, of in drawn.items():
        table = next(iter(of.values())).table
        if lost := int((table.num_right == 0).sum()):
            told.append(f"{lost} of {len(table.queries)} in {name}")
    return f" There are {', '.join(told)}." if told else ""


def _pair(recordings: Sequence[Recording], one: Searched) -> tuple[Recording, Recording] | None:
    """Choose the recordings of queries and database among those that a model saw; None where they were not given."""
    queries = next((each for each in reversed(recordings) if each.name == one.distances.recordings[0]), None)
    database = next((each for each in recordings if each.name == one.distances.recordings[1]), None)
    if queries is None or database is None:
        return None
    for recording, size in zip((queries, database), one.distances.sizes, strict=True):
        if len(recording) != size:
            raise Vo3dError(
                f"{recording.name} has {len(recording)} images and had {size} when it was evaluated: evaluate again"
            )
    return queries, database


def _queries(
    model: str, of: Mapping[str, Searched], recordings: Sequence[Recording], figures: Path
) -> Iterator[Picture | Text]:
    """Show queries that were found at the smallest distances, and wrong ones at the smallest distances."""
    pairs = {name: pair for name, one in of.items() if (pair := _pair(recordings, one)) is not None}
    if not pairs:
        yield Text(f"No images of {model} are shown: none of its recordings was given to this report.", "note")
        return
    ranked = sorted(
        (one.table.squared[row, 0].item(), name, row)
        for name, one in of.items()
        if name in pairs
        for row in range(len(one.table.queries))
        if one.table.index[row, 0] >= 0 and one.table.num_right[row] > 0
    )
    for what, wanted in (("right", True), ("wrong", False)):
        chosen = _apart([(name, row) for _, name, row in ranked if _right(of[name], row) == wanted], of)
        if not chosen:
            yield Text(f"{model}: no best match is {what}.", "note")
            continue
        rows = [_row(of[name], row, *pairs[name], several=len(of) > 1, lost=not wanted) for name, row in chosen]
        behind = "" if wanted else "; behind them an image that is right, with the rank of the first right one"
        caption = (
            f"{model}: of the queries whose best match is {what} those of the smallest distance, with the first "
            f"{TOP} images that were found and their squared distances{behind}. Green borders are right, dashed red "
            f"ones wrong. Queries of a set are at least 1/{APART} of it apart."
        )
        yield Picture(save_figure(plot_found(rows), figures / f"queries_{what}.png"), caption, caption)


def _right(one: Searched, row: int) -> bool:
    return int(one.table.first_right[row]) == 1


def _apart(ranked: Sequence[tuple[str, int]], of: Mapping[str, Searched]) -> list[tuple[str, int]]:
    """Choose the first queries that are far enough in their set from those chosen before them."""
    chosen: list[tuple[str, int]] = []
    for name, row in ranked:
        gap = len(of[name].table.queries) / APART
        if not any(name == other and abs(row - at) < gap for other, at in chosen):
            chosen.append((name, row))
        if len(chosen) == SHOWN:
            break
    return chosen


def _row(
    one: Searched, row: int, queries: Recording, database: Recording, *, several: bool, lost: bool
) -> list[Found | None]:
    """Read the images of a query and of what was found for it; of a `lost` one also an image that is right."""
    table = one.table
    name = Path(table.queries[row]).name
    shown: list[Found | None] = [
        Found(f"query {name}", f"of {queries.name}" if several else "", thumbnail(queries, row))
    ]
    for rank, image in enumerate(table.images[row][:TOP]):
        at, squared = int(table.index[row, rank]), table.squared[row, rank].item()
        shown.append(Found(Path(image).name, f"{squared:.3f}", thumbnail(database, at), bool(table.right[row, rank])))
    if lost:
        shown += [None] * (1 + TOP - len(shown))
        matches = one.distances.matches
        right = matches[matches[:, 0] == row, 1].tolist()
        if right:
            at = right[len(right) // 2]
            rank = int(table.first_right[row])
            below = "right" if rank == NEVER else f"right, rank {rank}"
            shown.append(Found(Path(database.names[at]).name, below, thumbnail(database, at)))
    return shown


def _distances(model: str, of: Mapping[str, Searched], figures: Path) -> Picture:
    """Draw the distances of the first sets."""
    drawn = {
        name: (one.distances, one.table.first_right == 1, one.table.index[:, 0])
        for name, one in list(of.items())[:MOST_SETS]
    }
    thin = any(one.distances.squared.shape != one.distances.sizes for one in of.values())
    caption = (
        f"{model}: squared distances between the descriptors of queries and database, dark where they look alike. Blue "
        "squares: images that are right for a query. Green dots and red crosses: the best match of each query."
        f"{' Of large sets the distances are those of evenly spaced images.' if thin else ''}{_first_of(list(of))}"
    )
    return Picture(save_figure(plot_distances(drawn), figures / "distances.png"), caption, caption)


def _maps(found: Models, names: Sequence[str], recordings: Sequence[Recording], figures: Path) -> Iterator[Picture]:
    """Draw the sets whose images have positions from above."""
    for number, name in enumerate(names[:MOST_SETS]):
        of = {model: sets[name] for model, sets in found.items() if name in sets}
        pair = _pair(recordings, next(iter(of.values())))
        queries, database = (None, None) if pair is None else (one.positions() for one in pair)
        if queries is None or database is None:
            continue
        spread = database.std(dim=0, correction=0) + queries.std(dim=0, correction=0)
        first, second = sorted(spread.argsort(descending=True, stable=True)[:2].tolist())
        models = {model: one.table.first_right == 1 for model, one in list(of.items())[:MOST_MODELS]}
        caption = (
            f"{name}: where the images were taken, metres, along {'xyz'[first]} and {'xyz'[second]}, over which they "
            "are spread most. Grey: the database. Green dots: queries whose best match is right. Red crosses: the "
            f"others.{f' Drawn are the first {MOST_MODELS} of {len(of)} models.' if len(of) > MOST_MODELS else ''}"
        )
        figure = plot_places(models, queries, database, (first, second))
        yield Picture(save_figure(figure, figures / f"places_{number}.png"), caption, caption)

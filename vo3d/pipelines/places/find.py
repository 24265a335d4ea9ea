"""`vo3d places find`: which images of a map show the places of other images."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Bool, Float32
from rich.console import Console
from torch import Tensor

from vo3d.errors import Vo3dError, first_few, visible
from vo3d.formats.files import make_folder, write_whole
from vo3d.formats.images import read_image
from vo3d.inference.descriptors import descriptor_of
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import evaluating
from vo3d.inference.place_map import Place, PlaceMap, small
from vo3d.inference.progress import progress_bar
from vo3d.metrics.retrieval import first_right, precision_recall, retrieval_metrics
from vo3d.pipelines.places.build import Say, speaker
from vo3d.pipelines.places.descriptor import describe_settings
from vo3d.pipelines.places.images import PlaceViews, open_views
from vo3d.pipelines.places.truth import right_places
from vo3d.report import retrieval_figures as figures
from vo3d.report.canvas import line_styles, save_figure
from vo3d.report.places import plot_similarity

RECALLS = (1, 5, 10)
MOST = 800  # images of the map, and queries, in the matrix
ROWS = 8  # queries in the picture of matches, evenly spaced
FEW = 10  # images of a map from which on a match can be told from none
NEAR = 0.93  # of the median distance: what is further away is no match (docs/places.md)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The places that were found for each query that could be read.

    Args:
        names: of the queries.
        thumbnails: of the queries.
        index: of the best images of the map, best first.
        squared: distances to those, squared.
        matrix: similarities to evenly spaced images of the map.
        columns: which images these are.
        doubtful: where the best match says nothing, see `doubtful`.
        right: for each query the images that show its place; None where it is not known.
    """

    names: list[str]
    thumbnails: list[Float32[Tensor, "3 _ _"]]
    index: Tensor
    squared: Float32[Tensor, "q k"]
    matrix: Float32[Tensor, "q m"]
    columns: list[int]
    doubtful: Bool[Tensor, " q"]
    right: list[set[int]] | None

    @property
    def similarity(self) -> Float32[Tensor, "q k"]:
        """Return the dot products with the best images, 1 for an equal one."""
        return 1 - self.squared / 2


def find_places(
    source: Path,
    *,
    map_folder: Path,
    out: Path = Path("found"),
    top: int = 5,
    every: int = 1,
    within: float | None = None,
    matches: Path | None = None,
    frames: int | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Found:
    """Find the images of a map that are most similar to each image at `source`; write tables and pictures to `out`.

    Options are those of `vo3d.verbs.places.places_find`.

    Args:
        map_folder: Of the map.
        console: Where to print.

    Raises:
        Vo3dError: the source, the map or the options are none that can be used; or some images could not be read,
            after all others were found.
    """
    say = speaker(console or Console())
    if top < 1:
        raise Vo3dError(f"--top {top}: expected a whole number of at least 1")
    chosen, known = choose_device(device), PlaceMap(map_folder)
    model = known.model()
    views = open_views(source, every=every, max_side=known.settings.max_side)
    right, rule = right_places(known, views, within=within, matches=matches, frames=frames)
    if out.exists() and (out.is_file() or out.samefile(map_folder) or (source.is_dir() and out.samefile(source))):
        raise Vo3dError(f"--out {out}: is a file, the map or the folder of the images: choose another")
    make_folder(out)
    say("found", f"{views.name}: {len(views)} to find, seen at up to {known.settings.max_side} pixels a side")
    say("map", f"{map_folder}: {len(known.places)} images, {describe_settings(known.settings)}, on {chosen}")
    for note in views.notes:
        say("note", visible(note))
    rows, thumbnails, whole, bad, began = [], [], [], [], perf_counter()
    with evaluating(model, chosen), progress_bar() as bar:
        line = bar.add_task(views.name, total=len(views))
        for index in range(len(views)):
            try:
                thumbnails.append(small(views.image(index)))
            except (Vo3dError, OSError) as error:
                bad.append(visible(str(error)))
            else:
                rows.append(descriptor_of(model, views, index, device=chosen))
                whole.append(index)
            bar.advance(line)
    for fault in bad:
        say("left out", fault)
    if not rows:
        raise Vo3dError(f"none of {len(views)} images could be read: {bad[0]}")
    described = perf_counter() - began
    found = _search(known, torch.stack(rows), views, whole, thumbnails, right, top)
    seconds = perf_counter() - began
    _tell(found, known, top, rule, say)
    _write(out, found, known, top)
    speed, both = (len(rows) / max(spent, 1e-9) for spent in (described, seconds))
    say("speed", f"{speed:.1f} images a second described, {both:.1f} with the search")
    if bad:
        raise Vo3dError(f"{len(bad)} of {len(views)} images could not be read, all others were looked for: {bad[0]}")
    return found


def _search(
    known: PlaceMap,
    queries: Float32[Tensor, "q c"],
    views: PlaceViews,
    whole: list[int],
    thumbnails: list[Tensor],
    right: list[set[int]] | None,
    top: int,
) -> Found:
    """Find the nearest images, and how near evenly spaced ones are."""
    nearest = known.nearest(queries, max(top, *RECALLS))
    columns = spaced(len(known.places), MOST)
    spread = known.descriptors_of(columns)
    matrix = queries @ spread.T
    return Found(
        names=[views.names[index] for index in whole],
        thumbnails=thumbnails,
        index=nearest.index,
        squared=nearest.squared,
        matrix=matrix,
        columns=columns,
        doubtful=doubtful(1 - nearest.squared[:, 0] / 2, matrix),
        right=None if right is None else [right[index] for index in whole],
    )


def doubtful(best: Float32[Tensor, " q"], matrix: Float32[Tensor, "q m"]) -> Bool[Tensor, " q"]:
    """Tell which best matches say nothing: those hardly nearer to their query than the map is in the median.

    That is where the distance is more than `NEAR` of the median's, as of a query of another world, or where many images
    tie. Places of the same kind that are not in the map may pass (docs/places.md). Of a map of fewer than 10 images
    nothing can be said, and all are doubtful.

    Args:
        best: the largest similarity of each query.
        matrix: similarities of the queries to images of the map, evenly spaced.
    """
    if matrix.shape[1] < FEW:
        return torch.ones(len(best), dtype=torch.bool)
    distance, median = ((1 - one).clamp(min=0).sqrt() for one in (best, matrix.median(dim=1).values))
    return distance >= NEAR * median


def spaced(count: int, most: int) -> list[int]:
    """Choose at most so many of `count` numbers, evenly spaced, first and last among them."""
    if count <= most:
        return list(range(count))
    return torch.linspace(0, count - 1, most).round().long().tolist()


def _tell(found: Found, known: PlaceMap, top: int, rule: str, say: Say) -> None:
    """Print the best images for each query, what cannot be trusted, and recall where the truth is known."""
    for query, (name, index, similarity) in enumerate(
        zip(found.names, found.index.tolist(), found.similarity.tolist(), strict=True)
    ):
        names = ", ".join(visible(known.places[place].name) for place in index[:top][:5])
        doubt = "?" if found.doubtful[query] else ""
        say("place", f"{visible(name)}: {visible(known.places[index[0]].name)} ({similarity[0]:.3f}{doubt}); {names}")
    count = len(found.names)
    if (images := len(known.places)) < FEW:
        of = "1 image, which is" if images == 1 else f"{images} images, one of which is"
        say("note", f"the map has {of} the nearest whatever is looked for: fewer than {FEW} tell no match from none")
    elif unsure := int(found.doubtful.sum()):
        names = first_few(name for name, doubt in zip(found.names, found.doubtful.tolist(), strict=True) if doubt)
        say(
            "note",
            f"{unsure} of {count} best matches (?) are hardly nearer than the map is in the median: these places may "
            f"not be in the map: {names}",
        )
    if found.right is None:
        return
    hits, able = truth_of(found)
    count = int((~able).sum())
    if count == len(able):
        say("note", f"no query has a right image in the map ({rule}): there is no recall")
        return
    if count:
        say("note", f"{count} of {len(able)} queries have no right image in the map: recall counts them as missed")
    depths = [depth for depth in RECALLS if depth <= hits.shape[1]]
    shares = retrieval_metrics(first_right(hits), found.squared[:, 0], able, depths)
    values = " / ".join(f"{shares[f'recall_at_{depth}_percent']:.2f}" for depth in depths)
    say("recall", f"@{'/'.join(map(str, depths))} {values} % of {len(able)} (right: {rule})")
    full = shares["recall_at_100_precision_percent"]
    say("precision", f"area under precision over recall {shares['pr_auc']:.3f}, recall at full precision {full:.2f} %")


def truth_of(found: Found) -> tuple[Bool[Tensor, "q k"], Bool[Tensor, " q"]]:
    """Tell which of the best images are right, and which queries have a right image in the map at all."""
    right = found.right or []
    hits = [[place in there for place in row] for row, there in zip(found.index.tolist(), right, strict=True)]
    return torch.tensor(hits), torch.tensor([bool(there) for there in right])


def _write(out: Path, found: Found, known: PlaceMap, top: int) -> None:
    """Write the table and the pictures; those of an earlier call that have no counterpart now are removed."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("query", "rank", "name", "similarity", "doubtful", *(["right"] if found.right is not None else [])))
    for query, (name, index, similarity) in enumerate(
        zip(found.names, found.index.tolist(), found.similarity.tolist(), strict=True)
    ):
        for rank, (place, value) in enumerate(zip(index[:top], similarity, strict=False), 1):
            truth = [] if found.right is None else [int(place in found.right[query])]
            row = (name, rank, known.places[place].name, f"{value:.6f}", int(found.doubtful[query]), *truth)
            table.writerow(row)
    write_whole(out / "places.csv", text.getvalue().encode(errors="surrogateescape"))
    shown = spaced(len(found.names), ROWS)
    save_figure(figures.plot_found([_pictures(found, known, query) for query in shown]), out / "matches.png")
    for name in ("similarity.png", "precision_recall.png"):
        (out / name).unlink(missing_ok=True)
    if len(found.names) > 1:
        rows = spaced(len(found.names), MOST)
        save_figure(plot_similarity(found.matrix[rows], rows, found.columns), out / "similarity.png")
    if found.right is not None and any(found.right):
        hits, able = truth_of(found)
        curve = precision_recall(found.squared[:, 0], hits[:, 0], able)
        drawn = figures.plot_precision_recall({"": {"best match": curve}}, line_styles(["best match"]))
        save_figure(drawn, out / "precision_recall.png")


def _pictures(found: Found, known: PlaceMap, query: int) -> list[figures.Found]:
    """Gather the pictures of a query and its best five images."""
    shown = [figures.Found(f"query {found.names[query]}", "", found.thumbnails[query])]
    for rank, (place, similarity) in enumerate(
        zip(found.index[query, :5].tolist(), found.similarity[query].tolist(), strict=False)
    ):
        doubt = " ?" if found.doubtful[query] and not rank else ""
        right = None if found.right is None else place in found.right[query]
        image, name = _thumbnail(known, known.places[place]), known.places[place].name
        shown.append(figures.Found(name, f"{similarity:.2f}{doubt}", image, right))
    return shown


def _thumbnail(known: PlaceMap, place: Place) -> Float32[Tensor, "3 _ _"]:
    """Read the small picture of an image; grey where it is missing."""
    path = known.thumbnail(place)
    return read_image(path) if path.is_file() else torch.full((3, 60, 80), 0.8)

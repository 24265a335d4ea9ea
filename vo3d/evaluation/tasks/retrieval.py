"""Retrieval: which images of a database show the place of a query, by the distance of descriptors."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import ClassVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from vo3d.evaluation.task import Metric, Part, Seen, Task, frames_sha256
from vo3d.formats.places import (
    FoundPlaces,
    read_distances,
    read_places,
    write_distances,
    write_places,
)
from vo3d.formats.results import Metrics
from vo3d.inference.descriptors import KEY, describe_all
from vo3d.metrics.retrieval import (
    DEPTHS,
    depths_of,
    first_right,
    retrieval_metrics,
)
from vo3d.model import Model
from vo3d.recording import Recording, RecordingDataset
from vo3d.report.html import Section
from vo3d.report.retrieval import Searched, retrieval_sections
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names
from vo3d.retrieval.descriptors import Descriptors
from vo3d.retrieval.place_search import (
    TIMES,
    check_widths,
    drawn_distances,
    mark_right,
    most_views,
    right_images,
    search_places,
)
from vo3d.retrieval.search import Engine, Nearest
from vo3d.retrieval_set import RetrievalDataset, RetrievalSet

FOLDER = "retrieval"  # of a result: two files for each set
LISTED = 10  # of the images found for a query, in tables
RECALLS = tuple(
    Metric(
        f"recall_at_{depth}_percent",
        f"R@{depth}",
        "%",
        1,
        "high",
        "R@N: queries with a right image among the first N; those without a right image in the database count as "
        "misses."
        if depth == 1
        else "",
        shown=depth in {1, 5, 10, 20},
    )
    for depth in DEPTHS
)
_METRICS = (
    *RECALLS,
    Metric(
        "pr_auc",
        "AP",
        "",
        3,
        "high",
        "Area under precision over recall as the best match is believed up to a distance (average precision): of the "
        "queries that have a right image.",
    ),
    Metric(
        "recall_at_100_precision_percent",
        "recall at full precision",
        "%",
        1,
        "high",
        "Of the same queries, those found before the first wrong match is believed.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class SetPart(Part):
    """A set of places as the task sees it; `recording` is that of its queries."""

    places: RetrievalSet

    @property
    def name(self) -> str:
        """Name the set."""
        return self.places.name

    @property
    def steps(self) -> int:
        """Count the images that are described."""
        return len(self.places.database) + len(self.places.queries)


class Retrieval(Task):
    """Descriptors of queries and databases, and exact search for the nearest ones; right is what the set says.

    The metrics are those of `vo3d.metrics.retrieval.retrieval_metrics`: of each set, and as `..._pooled` of all queries
    of several sets together; with `fps`, images read and described in a second, and `search_seconds`.
    `retrieval/<set>.csv` holds every query with what was found, `retrieval/<set>.npz` the distances that a report
    draws, see `vo3d.formats.places`.

    Of a set with panoramas the best view of each counts, of those among the V N nearest, where V is the largest number
    of views of one; of a set with times the images of the query's own time are dropped from the 10 N nearest
    (Arandjelovic et al., CVPR 2016: Tokyo 24/7 and TokyoTM).

    Args:
        engine: what searches, see `vo3d.retrieval.search.search`.
    """

    name = "retrieval"
    keys = (KEY,)
    must_agree = ("task", "dataset", "split", "frames_sha256", "matches", "matches_sha256", "candidates")
    method_terms: ClassVar[Mapping[str, str]] = {"descriptor": "descriptor", "resolution": "input", "engine": "search"}
    things = "set"
    pieces = "queries"
    metrics: ClassVar[tuple[Metric, ...]] = (
        *(replace(metric, key=f"{metric.key}_pooled") for metric in _METRICS),
        *_METRICS,
        Metric("num_queries", "queries", "", 0),
        Metric(
            "queries_without_positive",
            "without",
            "queries",
            0,
            meaning="Queries that no image of the database is right for.",
            plain=0.0,
        ),
        Metric("fps", "speed", "images/s"),
        Metric("search_seconds", "search", "s", shown=False),
    )

    def __init__(self, engine: Engine = "auto") -> None:
        self.engine = engine

    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Give None for a model of single images on sets of places."""
        name = type(model).__name__
        if KEY not in model.gives:
            return f"{name} gives {', '.join(model.gives)}: the task {self.name} needs a model of {KEY}"
        if model.window.views != 1:
            return f"{name} looks at several views at once: the task {self.name} describes single images"
        if not isinstance(dataset, RetrievalDataset):
            return (
                f"{type(dataset).__name__} does not say which images show one place: choose a dataset of places, with "
                "a database, queries and their matches"
            )
        return None

    def parts(self, model: Model, dataset: RecordingDataset) -> Sequence[Part]:
        """Take every set."""
        assert isinstance(dataset, RetrievalDataset)  # noqa: S101  by the obstacle
        return [SetPart(recording=one.queries, windows=(), places=one) for one in dataset.sets]

    def score(
        self,
        model: Model,
        part: Part,
        out: Path,
        *,
        device: torch.device | str,
        seen: Seen,
        advance: Callable[[int], object],
    ) -> Metrics:
        """Describe all images of a set, search, and write what was found."""
        assert isinstance(part, SetPart)  # noqa: S101  by `parts`
        places = part.places
        positives = right_images(places)
        stored = out / FOLDER / f".{places.name}_descriptors"
        shutil.rmtree(stored, ignore_errors=True)  # what a killed program left
        try:
            began = perf_counter()
            database = describe_all(model, places.database, device=device, advance=advance, folder=stored)
            queries = describe_all(model, places.queries, device=device, advance=advance)
            assert isinstance(queries, Tensor)  # noqa: S101  no folder was given
            described = perf_counter() - began
            check_widths(model, places, queries, database)
            began = perf_counter()
            nearest, num_places = search_places(places, queries, database, self.engine)
            searched = perf_counter() - began
            drawn = drawn_distances(places, queries, database, positives)
        finally:
            shutil.rmtree(stored, ignore_errors=True)
        right = mark_right(nearest.index, positives)
        rank = first_right(right)
        num_right = torch.tensor([len(of) for of in positives])
        write_places(out / FOLDER / f"{places.name}.csv", _table(places, nearest, right, rank, num_right))
        write_distances(out / FOLDER / f"{places.name}.npz", drawn)
        squared = nearest.squared[:, 0]
        seen.kept.append(
            {"rank": rank, "squared": squared, "findable": num_right > 0, "places": torch.tensor([num_places])}
        )
        seen.frames += [(one.name, [*one.frames]) for one in (places.database, places.queries)]
        self._note(seen, places, positives, queries, database)
        metrics = retrieval_metrics(rank, squared, num_right > 0, depths_of(num_places))
        fps = part.steps / described if described else None
        return {**metrics, "fps": fps, "search_seconds": searched}

    def _note(
        self,
        seen: Seen,
        places: RetrievalSet,
        positives: Sequence[Tensor],
        queries: Tensor,
        database: Tensor | Descriptors,
    ) -> None:
        """Note what the protocol tells."""
        seen.note("matches", places.matches.words)
        rows = json.dumps([places.name, [row.tolist() for row in positives]])
        seen.note("matches_sha256", hashlib.sha256(rows.encode()).hexdigest()[:16])
        rules = []
        if places.num_own:
            rules.append(
                f"without those within {places.apart} frames of the query" if places.apart else "but the query"
            )
        if places.database_time is not None and places.query_time is not None:
            rules.append(f"without those of the query's own time, of the {TIMES} N nearest")
        if places.panorama is not None:
            rules.append(f"the best view of each panorama, of the {most_views(places)} N nearest")
        seen.note("candidates", " and ".join(rules) or "all images of the database")
        on_disk = "" if isinstance(database, Tensor) else ", the database in half precision"
        seen.note("descriptor", f"{queries.shape[1]} values{on_disk}")
        seen.note_size(places.queries.clip((0,)).image.shape)

    def pooled(self, seen: Seen) -> dict[str, float | None]:
        """Measure the queries of several sets together, for each N that all databases define."""
        if not seen.kept:
            return {}
        together = {key: torch.cat([kept[key] for kept in seen.kept]) for key in seen.kept[0]}
        depths = depths_of(int(together.pop("places").min()))
        found = retrieval_metrics(together["rank"], together["squared"], together["findable"], depths)
        counts = {key: found.pop(key) for key in ("num_queries", "queries_without_positive")}  # no means over sets
        return counts | ({f"{key}_pooled": value for key, value in found.items()} if len(seen.kept) > 1 else {})

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Tell which images are right, which are searched, and by what."""
        terms = ("matches", "matches_sha256", "candidates", "descriptor", "resolution")
        return {
            "task": self.name,
            **{term: ", ".join(map(str, seen.values.get(term, {}))) for term in terms},
            "distance": "Euclidean, of descriptors",
            "engine": self.engine,
            "frames_sha256": frames_sha256(seen.frames),
        }

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the recall of the first model beside that of the best rival."""
        known = {name: one for name, model in models.items() if (one := _headline(model)) is not None}
        first, sets = next(iter(models)), count(scored_names(models), self.things)
        if first not in known:
            return f"{', '.join(models)} on {sets}."
        queries = models[first].mean.get("num_queries") or 0.0
        lead = f"{first} finds the place of {known[first]:.1f} % of {queries:,.0f} queries of {sets} by its first image"
        if comparable and (rivals := [name for name in known if name != first]):
            best = max(rivals, key=lambda name: known[name])
            lead += f"; the best rival, {best}, of {known[best]:.1f} %"
        return f"{lead}."

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show recall, precision, best and worst queries, distances, and where queries were found."""
        found = {
            name: {
                one: Searched(
                    read_places(model.folder / FOLDER / f"{one}.csv"),
                    read_distances(model.folder / FOLDER / f"{one}.npz"),
                    {
                        depth: float(share)
                        for depth in DEPTHS
                        if (share := model.sequences[one].get(f"recall_at_{depth}_percent")) is not None
                    },
                )
                for one in model.sequences
            }
            for name, model in models.items()
        }
        yield from retrieval_sections(found, recordings, figures)


def _headline(model: Scored) -> float | None:
    pooled = model.mean.get("recall_at_1_percent_pooled")
    return model.mean.get("recall_at_1_percent") if pooled is None else pooled


def _table(
    places: RetrievalSet,
    nearest: Nearest,
    right: Bool[Tensor, "q k"],
    rank: Int64[Tensor, " q"],
    num_right: Int64[Tensor, " q"],
) -> FoundPlaces:
    index = nearest.index[:, :LISTED]
    names = places.database.names
    return FoundPlaces(
        queries=places.queries.names,
        num_right=num_right,
        first_right=rank,
        images=[[names[at] for at in row if at >= 0] for row in index.tolist()],
        index=index,
        squared=nearest.squared[:, :LISTED].double(),
        right=right[:, :LISTED],
    )

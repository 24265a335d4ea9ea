"""Known similarities: the order of a matrix comes back, and a matrix of another set is told."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tiny_places import Swatches, swatch_set
from vo3d.errors import Vo3dError
from vo3d.evaluation.task import RecordingsFailed
from vo3d.evaluation.tasks.retrieval import Retrieval
from vo3d.formats.places import read_places
from vo3d.model import Model
from vo3d.models.known_similarity import KnownSimilarity
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet


def line(queries: int, images: int) -> RetrievalSet:
    return swatch_set("line", [0.0] * images, [0.0] * queries, Matches(frames=1))


def run(model: Model, places: RetrievalSet, out: Path) -> None:
    Retrieval().run(model, RetrievalDataset([places]), out, progress=False)


def similarity(folder: Path, values: Tensor) -> Path:
    path = folder / "scores.csv"
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in values.tolist()))
    return path


def test_known_similarities_are_found_in_their_order(tmp_path: Path, generator: torch.Generator) -> None:
    scores = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    places = line(6, 9)
    run(KnownSimilarity(similarity(tmp_path, scores)), places, tmp_path)
    table = read_places(tmp_path / "retrieval/line.csv")
    assert torch.equal(table.index, scores.argsort(1, descending=True))
    best = scores.amax(1)
    assert torch.equal(table.squared[:, 0].argsort(), best.argsort(descending=True))  # of different queries as well


def test_a_matrix_of_another_set_is_told(tmp_path: Path) -> None:
    model = KnownSimilarity(similarity(tmp_path, torch.rand(4, 9)))
    words = "is of 4 queries .rows. and a database of 9 images"
    with pytest.raises(RecordingsFailed, match=f"line_queries has an image 4, counted from 0: .*{words}"):
        run(model, line(5, 9), tmp_path)
    with pytest.raises(Vo3dError, match=f"line_database has 8 images: .*{words}"):
        model.fit([Swatches("line_database", [0.0] * 8)])
    with pytest.raises(Vo3dError, match="elsewhere: expected a recording whose name ends with _queries or _database"):
        model.fit([Swatches("elsewhere", [0.0])])

"""Retrieval over sets of places: what is found by hand, the rules of panoramas and times, published numbers, misuse."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from checks import complaint
from tiny import TinyModel, TinyRecording, Whole
from tiny_places import Swatches, SwatchPlaces, Told, swatch_set
from vo3d.cli import main
from vo3d.evaluation.compare import differing
from vo3d.evaluation.task import RecordingsFailed
from vo3d.evaluation.tasks.retrieval import Retrieval
from vo3d.formats.images import read_image
from vo3d.formats.places import read_distances, read_places
from vo3d.formats.results import Result
from vo3d.inference import descriptors
from vo3d.model import Model
from vo3d.models.known_similarity import KnownSimilarity
from vo3d.retrieval.descriptors import Descriptors
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet
from vo3d.sample import Sample

PROTOCOL = {"dataset": "tiny", "split": "test"}
LINE = torch.arange(8.0)[:, None]  # descriptors on a line: nearest is easy by hand


def evaluate(model: Model, sets: Sequence[RetrievalSet], out: Path, **options: Any) -> Result:
    return Retrieval(**options).run(model, RetrievalDataset(sets), out, protocol=PROTOCOL, progress=False)


def line_set(matches: Matches, queries: int = 3, images: int = 8, name: str = "line", **more: Any) -> RetrievalSet:
    return swatch_set(name, [0.0] * images, [0.0] * queries, matches, **more)


def told(*queries: float, images: int = 8, name: str = "line") -> dict[str, Tensor]:
    return {f"{name}_database": LINE[:images], f"{name}_queries": torch.tensor(queries)[:, None]}


def test_what_is_found_is_told_by_query(tmp_path: Path) -> None:
    places = line_set(Matches(table=[[2], [6, 7], []]))
    result = evaluate(Told(told(2.1, 4.9, 0.2)), [places], tmp_path)
    assert result.mean["recall_at_1_percent"] == pytest.approx(100 / 3)
    assert result.mean["recall_at_2_percent"] == pytest.approx(100 / 3)
    assert result.mean["recall_at_3_percent"] == pytest.approx(200 / 3)  # 5, 4, 6: the second query's third
    assert "recall_at_10_percent" not in result.mean  # of eight images
    assert (result.mean["num_queries"], result.mean["queries_without_positive"]) == (3, 1)
    table = read_places(tmp_path / "retrieval/line.csv")
    assert table.index[:, :3].tolist() == [[2, 3, 1], [5, 4, 6], [0, 1, 2]]
    assert table.right[1, :5].tolist() == [False, False, True, False, True]
    assert table.num_right.tolist() == [1, 2, 0]
    torch.testing.assert_close(table.squared[0, 0].item(), 0.01, rtol=1e-3, atol=0)
    drawn = read_distances(tmp_path / "retrieval/line.npz")
    assert drawn.sizes == (3, 8)
    assert drawn.matches.tolist() == [[0, 2], [1, 6], [1, 7]]
    assert drawn.recordings == ("line_queries", "line_database")


def test_one_query_and_a_database_of_one_image(tmp_path: Path) -> None:
    result = evaluate(Told(told(0.0, images=1)), [line_set(Matches(table=[[0]]), 1, 1)], tmp_path)
    assert (result.mean["recall_at_1_percent"], result.mean["pr_auc"]) == (100, 1)
    assert result.mean["recall_at_100_precision_percent"] == 100
    assert [key for key in result.mean if key.startswith("recall_at")] == [
        "recall_at_1_percent",
        "recall_at_100_precision_percent",
    ]


def test_a_panorama_counts_once_and_the_own_time_is_dropped(tmp_path: Path) -> None:
    panorama = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
    views = evaluate(Told(told(0.0)), [line_set(Matches(table=[[3]]), 1, panorama=panorama)], tmp_path / "views")
    assert views.mean["recall_at_2_percent"] == 100  # the images 0, 3: the views 1 and 2 are of the place of 0
    assert "the best view of each panorama, of the 3 N nearest" in str(views.protocol["candidates"])
    assert read_places(tmp_path / "views/retrieval/line.csv").index.tolist() == [[0, 3, 5, 7]]
    times = {"database_time": torch.arange(8).double() // 4, "query_time": torch.zeros(1).double()}
    later = evaluate(Told(told(0.0)), [line_set(Matches(table=[[4]]), 1, **times)], tmp_path / "times")
    assert later.mean["recall_at_1_percent"] == 100
    assert read_places(tmp_path / "times/retrieval/line.csv").index.tolist() == [[4, 5, 6, 7, -1, -1, -1, -1]]
    both = evaluate(Told(told(3.9)), [line_set(Matches(table=[[5]]), 1, panorama=panorama, **times)], tmp_path / "both")
    # the place of 3 and 4 has a view of another time
    assert read_places(tmp_path / "both/retrieval/line.csv").index.tolist() == [[4, 5, 7, -1]]
    assert len(differing(later, both, Retrieval)) == 2  # another rule, other matches


def test_queries_of_several_sets_are_pooled(tmp_path: Path) -> None:
    sets = [line_set(Matches(table=[[0]]), 1), line_set(Matches(table=[[0], [0], [7]]), 3, 4 + 4, name="other")]
    model = Told(told(0.1) | told(5.5, 0.3, 7.0, name="other"))
    result = evaluate(model, sets, tmp_path)
    assert result.mean["recall_at_1_percent"] == pytest.approx((100 + 200 / 3) / 2)
    assert result.mean["recall_at_1_percent_pooled"] == 75
    assert result.mean["recall_at_100_precision_percent_pooled"] == 75  # the wrong one is the furthest
    assert result.mean["num_queries"] == 4


def test_descriptors_that_memory_does_not_hold_go_through_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[Tensor] = []

    class OnDisk(Descriptors):
        """Keeps rows as the folder would, and looks at the folder that it is given."""

        def __init__(self, folder: Path) -> None:
            folder.mkdir(parents=True)
            self.folder = folder

        def __len__(self) -> int:
            return sum(map(len, stored))

        @property
        def dim(self) -> int:
            return stored[0].shape[1]

        def append(self, rows: Tensor) -> None:
            assert self.folder.is_dir()
            stored.append(rows.half().float())

        def rows(self, first: int, stop: int) -> Tensor:
            return torch.cat(stored)[first:stop]

        def take(self, index: Tensor) -> Tensor:
            return torch.cat(stored)[index]

        def chunks(self, most: int = 3) -> Any:
            rows = torch.cat(stored)
            return ((first, rows[first : first + 3]) for first in range(0, len(rows), 3))

    places = line_set(Matches(table=[[2], [6, 7], []]))
    whole = evaluate(Told(told(2.1, 4.9, 0.2)), [places], tmp_path / "memory")
    monkeypatch.setattr(descriptors, "Descriptors", OnDisk)
    monkeypatch.setattr(descriptors, "BLOCK", 3)
    monkeypatch.setattr(descriptors, "MOST_BYTES", 31)
    result = evaluate(Told(told(2.1, 4.9, 0.2)), [places], tmp_path / "disk")
    assert [len(rows) for rows in stored] == [3, 3, 2]
    assert {path.name for path in (tmp_path / "disk/retrieval").iterdir()} == {"line.npz", "line.csv"}  # no rows
    left_out = {"fps", "search_seconds"}
    assert {key: value for key, value in result.mean.items() if key not in left_out} == {
        key: value for key, value in whole.mean.items() if key not in left_out
    }
    assert "half precision" in str(result.protocol["descriptor"])
    same = [read_distances(tmp_path / name / "retrieval/line.npz").squared for name in ("memory", "disk")]
    torch.testing.assert_close(same[0], same[1])


def test_what_cannot_be_scored_is_told_in_a_line(tmp_path: Path) -> None:
    good = line_set(Matches(table=[[0]]), 1)
    for rows, places, words in (
        (
            told(0.0),
            line_set(Matches(table=[[]]), 1),
            r"for any query \(1, matches by a table\)",
        ),
        (told(0.0), swatch_set("line", [0.0], [180.0], Matches(metres=3.0)), r"matches within 3 m\): check that both"),
        ({**told(0.0), "line_queries": torch.tensor([[torch.nan]])}, good, "NaN or infinite"),
        (told(0.0), swatch_set("line", [0.0], [], Matches(table=[])), "line_queries has no image"),
    ):
        with pytest.raises(RecordingsFailed, match=words):
            evaluate(Told(rows), [places], tmp_path)
    wide = {"line_database": torch.ones(8, 2), "line_queries": torch.ones(1, 3)}
    with pytest.raises(TypeError, match="queries of line by 3 values and its database by 2"):
        evaluate(Told(wide), [good], tmp_path)
    ragged = {**told(0.0), "line_database": [torch.ones(2 + at // 5) for at in range(8)]}
    with pytest.raises(TypeError, match="gives 2 values of a view of line_database and 3 of view 5"):
        evaluate(Told(ragged), [good], tmp_path)  # type: ignore[arg-type]


def test_models_and_data_of_another_kind_are_refused() -> None:
    task = Retrieval()
    assert "TinyModel gives prev_T_cam: the task retrieval needs a model of descriptor" in str(
        task.obstacle(TinyModel(), SwatchPlaces())
    )
    words = task.obstacle(Told({}), Whole([TinyRecording()]))
    assert words is not None
    assert "Whole does not say which images show one place: choose a dataset of places" in words
    assert task.obstacle(Told({}), SwatchPlaces()) is None


class Files(Swatches):
    """Images of a folder, in the order of their names."""

    def __init__(self, name: str, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.jpg"))
        super().__init__(name, [0.0] * len(self.paths), placed=False)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read them."""
        image = torch.stack([read_image(self.paths[index]) for index in indices])
        return Sample(image=image, scene=self.name, index=torch.tensor(list(indices)))


@pytest.mark.real
def test_the_published_matrix_of_the_corridor_gives_its_published_recall(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "vpr_corridor"
    corridor = RetrievalSet(
        name="corridor",
        database=Files("corridor_database", folder / "ref"),
        queries=Files("corridor_queries", folder / "query"),
        matches=Matches(table=json.loads((folder / "ground_truth.json").read_text())),
    )
    model = KnownSimilarity(folder / "precomputed/NetVLAD.npz", "all_scores")
    mean = evaluate(model, [corridor], tmp_path).mean
    published = json.loads((folder / "precomputed/recall_at_1_5_10.json").read_text())["corridor/NetVLAD"]
    found = [mean[f"recall_at_{depth}_percent"] for depth in (1, 5, 10)]
    assert found == pytest.approx([100 * share for share in published], abs=0.005)
    assert [round(value, 2) for value in found] == [67.57, 93.69, 99.1]  # type: ignore[arg-type]


def test_the_verb_scores_compares_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], coarse_figures: None
) -> None:
    places = {"class_path": "tiny_places.SwatchPlaces"}
    net = {"class_path": "vo3d.models.image_features.ImageFeatures", "init_args": {"features": "thumbnail"}}
    config = {"model": {"net": net}, "data": {"train": places, "test": places}, "out": str(tmp_path / "run")}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    words = ["evaluate", str(tmp_path / "own.yaml"), "--allow", "tiny_places", "--device", "cpu"]
    baseline = json.dumps({**net, "class_path": "image_features"})
    assert main([*words, "--baselines", baseline]) == 0
    text = capsys.readouterr().out
    assert "Protocol: task retrieval" in text
    assert "R@1" in text
    folder = tmp_path / "run/evaluation/test"
    result = Result.load(folder / "ImageFeatures/retrieval")
    assert result.mean["recall_at_1_percent"] == pytest.approx(100 * 11 / 12)  # one stands where nothing was taken
    page = (folder / "report.html").read_text()
    for title in ("Result", "Recall and precision", "Best and worst queries", "Distances", "Where places were found"):
        assert f">{title}</h2>" in page
    assert "There are 1 of 12 in circle." in page
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {
        f"{name}.png" for name in ("recall", "precision_recall", "queries_right", "distances", "places_0")
    }
    assert main(["compare", *(str(path) for path in sorted(folder.glob("ImageFeatures*")))]) == 0
    changes = json.dumps({"metres": 0.0})
    told = complaint(capsys, *words, "--data", changes)
    assert "no image of circle_database is right for any query (12, matches within 0 m)" in told

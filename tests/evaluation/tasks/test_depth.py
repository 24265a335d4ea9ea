"""Depth maps of whole test sets: an oracle is perfect, errors are those that were made, protocols are compared."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float64
from rich.console import Console
from torch import Tensor

from tiny import TinyRecording, Whole
from vo3d.datasets.multiview import MultiViewDataset
from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.page import write_report
from vo3d.evaluation.task import RecordingsFailed
from vo3d.evaluation.tasks.depth import Depth
from vo3d.formats.pfm import read_pfm
from vo3d.formats.results import Result
from vo3d.model import DepthModel, Prediction, Window
from vo3d.pipelines.evaluate import evaluate_run
from vo3d.recording import MultiViewScene, evenly_spaced
from vo3d.sample import Sample


class Wall(MultiViewScene):
    """A wall at 2 m, seen by `views` cameras; its upper left quarter has no true depth."""

    def __init__(self, name: str, views: int = 5, broken_at: int | None = None, truth: float = 2.0) -> None:
        self.name, self.views, self.broken_at, self.truth = name, views, broken_at, truth
        self.names = [f"{view:08d}" for view in range(views)]

    def __len__(self) -> int:
        return self.views

    def sources(self, index: int) -> Sequence[int]:
        """All others."""
        return [view for view in range(self.views) if view != index]

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """All at the origin."""
        return torch.eye(4, dtype=torch.float64).repeat(self.views, 1, 1)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Images that hold nothing."""
        if self.broken_at in list(indices)[:1]:
            raise Vo3dError(f"{self.name}/{self.broken_at}.png: truncated; copy the file again")
        s = len(indices)
        depth = torch.full((s, 17, 22), self.truth)
        depth[:, :8, :11] = 0
        return Sample(
            image=torch.zeros(s, 3, 17, 22),
            K=torch.eye(3).expand(s, 3, 3),
            world_T_cam=torch.eye(4).double().expand(s, 4, 4),
            depth=depth,
            depth_range=torch.tensor([1.0, 5.0]).expand(s, 2),
            scene=self.name,
            index=torch.tensor(list(indices)),
        )


class Small(Wall):
    """The same with smaller images."""

    def clip(self, indices: Sequence[int]) -> Sample:
        """Their upper left parts."""
        sample = super().clip(indices)
        return replace(sample, image=sample.image[..., :16, :16], depth=sample.depth[..., :16, :16])  # type: ignore[index]


class Guess(DepthModel):
    """`depth` everywhere, on every fourth pixel; the confidence grows from left to right."""

    needs: ClassVar[tuple[str, ...]] = ("image", "depth")
    gives: ClassVar[tuple[str, ...]] = ("depth", "confidence")
    window = Window(reference=True)
    stride = 4
    min_confidence = 0.5

    def __init__(self, depth: float = 2.0, num_depths: int = 41, holes: bool = False) -> None:
        super().__init__()
        self.depth, self.num_depths, self.holes = depth, num_depths, holes
        self.seen: list[tuple[str, list[int]]] = []

    def forward(self, sample: Sample) -> Prediction:
        """The same for all."""
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen.append((sample.scene[0], sample.index[0].tolist()))  # type: ignore[index]
        b, _, _, h, w = sample.image.shape
        depth = torch.full((b, 1, -(-h // 4), -(-w // 4)), self.depth)
        if self.holes:
            depth[..., ::2, :] = 0
        confidence = torch.linspace(0, 1, depth.shape[-1]).expand_as(depth)
        return {"depth": depth, "confidence": confidence}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


PROTOCOL = {"dataset": "walls", "split": "test"}


def evaluate(
    model: DepthModel,
    scenes: Sequence[MultiViewScene],
    out: Path,
    num_views: int = 3,
    name: str | None = None,
    **options: object,
) -> Result:
    samples = MultiViewDataset(scenes, num_views=num_views)
    return Depth(**options).run(model, samples, out, protocol=PROTOCOL, progress=False, name=name)


def test_an_oracle_is_perfect_and_sees_every_reference(tmp_path: Path) -> None:
    model = Guess()
    result = evaluate(model, [Wall("a"), Wall("b/c", views=4)], tmp_path)
    assert model.seen == [
        *(("a", [view, *[other for other in range(5) if other != view][:2]]) for view in range(5)),
        *(("b/c", [view, *[other for other in range(4) if other != view][:2]]) for view in range(4)),
    ]
    assert model.training  # as it was
    found = result.sequences["a"]
    assert found["num_references"] == 5
    assert found["depth_num_pixels"] == 5 * (5 * 6 - 2 * 3)  # every fourth of 17 x 22, less those without a truth
    assert found["depth_within_1pc_percent"] == found["depth_recall_1pc_percent"] == 100
    assert found["depth_mae_mm"] == found["depth_mae_intervals"] == 0
    assert found["depth_coverage_percent"] == 100
    assert found["fps"] > 0
    assert Result.load(tmp_path) == result
    assert result.mean["depth_within_1pc_percent"] == 100
    assert "t_rel_percent_pooled" not in result.mean


def test_errors_are_those_that_were_made(tmp_path: Path) -> None:
    result = evaluate(Guess(2.03), [Wall("a"), Wall("b", truth=2.06)], tmp_path)
    first, second = result.sequences["a"], result.sequences["b"]
    assert first["depth_mae_mm"] == pytest.approx(30, abs=1e-3)
    assert first["depth_mae_intervals"] == pytest.approx(0.3, abs=1e-4)  # 40 intervals from 1 to 5 m
    assert (first["depth_within_1pc_percent"], first["depth_within_5pc_percent"]) == (0, 100)
    assert second["depth_mae_mm"] == pytest.approx(30, abs=1e-3)
    assert result.mean["depth_abs_rel"] == pytest.approx((0.03 / 2 + 0.03 / 2.06) / 2, rel=1e-4)


def test_an_unknown_unit_has_no_lengths(tmp_path: Path) -> None:
    wall = Wall("a")
    wall.metric = False

    mean = evaluate(Guess(2.1), [wall], tmp_path, num_views=2).mean

    assert mean["depth_abs_rel"] == pytest.approx(0.05)
    assert not [key for key in mean if "mm" in key or key.endswith("_m")]


def test_holes_and_doubts_are_counted(tmp_path: Path) -> None:
    found = evaluate(Guess(holes=True), [Wall("a")], tmp_path).sequences["a"]
    # rows 0, 2, 4 of five have no depth; rows 0 and 1 have a truth in their right halves alone
    assert found["depth_coverage_percent"] == pytest.approx(100 * (3 + 6) / 24)
    assert found["depth_within_1pc_percent"] == 100
    assert found["depth_recall_1pc_percent"] == found["depth_coverage_percent"]
    # confidences 0, 0.2, ... 1: the right half is kept
    assert found["confident_depth_coverage_percent"] == pytest.approx(100 * (3 + 3) / 24)
    none = evaluate(Guess(), [Wall("a")], tmp_path, min_confidence=1.5).sequences["a"]
    assert none["confident_depth_coverage_percent"] == none["confident_depth_recall_1pc_percent"] == 0
    assert none["confident_depth_mae_mm"] is None
    assert none["confident_depth_num_pixels"] == 0
    model = Guess()
    model.min_confidence = None  # type: ignore[assignment, misc]
    assert not any("confident" in key for key in evaluate(model, [Wall("a")], tmp_path).sequences["a"])


def test_the_protocol_tells_what_was_asked(tmp_path: Path) -> None:
    protocol = evaluate(Guess(), [Wall("a")], tmp_path, min_confidence=0.7).protocol
    assert {key: protocol[key] for key in ("task", "dataset", "split", "resolution", "stride", "num_views")} == {
        "task": "depth",
        "dataset": "walls",
        "split": "test",
        "resolution": "22x17",
        "stride": 4,
        "num_views": "3",
    }
    assert (protocol["num_depths"], protocol["min_confidence"]) == (41, 0.7)
    assert protocol["depth_range"] == "1 to 5"
    assert set(Depth.must_agree) <= set(protocol)


def test_some_references_of_each_scene(tmp_path: Path) -> None:
    assert evenly_spaced(range(49), 1) == [24]
    assert evenly_spaced(range(49), 2) == [12, 36]
    assert evenly_spaced(range(3), 5) == evenly_spaced(range(3), None) == [0, 1, 2]
    assert evenly_spaced([7, 9], 2) == [7, 9]
    model = Guess()
    few = evaluate(model, [Wall("a"), Wall("b")], tmp_path / "few", references=1)
    assert [(scene, views[0]) for scene, views in model.seen] == [("a", 2), ("b", 2)]
    every = evaluate(Guess(), [Wall("a"), Wall("b")], tmp_path / "all")
    assert few.protocol["frames_sha256"] != every.protocol["frames_sha256"]
    with pytest.raises(Vo3dError, match="frames_sha256"):
        print_comparison([tmp_path / "few", tmp_path / "all"], console=Console(file=io.StringIO()))


def test_recordings_without_truth_do_not_hide_those_with_it(tmp_path: Path) -> None:
    class Blind(Wall):
        def clip(self, indices: Sequence[int]) -> Sample:
            return replace(super().clip(indices), depth=None)

    class Seeing(Guess):
        needs: ClassVar[tuple[str, ...]] = ("image",)

    with pytest.raises(RecordingsFailed, match="1 of 2 scenes failed, the first being a: a has no view with a true"):
        evaluate(Seeing(), [Blind("a"), Wall("b")], tmp_path)
    assert Result.load(tmp_path).mean["depth_mae_mm"] == pytest.approx(0, abs=1e-3)
    with pytest.raises(Vo3dError, match="gives no depth to compare with"):
        evaluate(Seeing(), [Blind("a")], tmp_path)


def test_the_maps_of_one_reference_of_a_scene_are_kept(tmp_path: Path) -> None:
    evaluate(Guess(2.5), [Wall(name) for name in "abcdefgh"], tmp_path, references=2)
    kept = sorted(str(path.relative_to(tmp_path / "maps")) for path in (tmp_path / "maps").rglob("*.pfm"))
    assert kept == [f"{name}/00000001_{what}.pfm" for name in "abcdef" for what in ("confidence", "depth")]
    assert (read_pfm(tmp_path / "maps/a/00000001_depth.pfm") == 2.5).all()


def test_a_scene_that_fails_leaves_the_others(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"1 of 3 scenes failed, the first being b: b/2\.png: truncated"):
        evaluate(Guess(), [Wall("a"), Wall("b", broken_at=2), Wall("c")], tmp_path)
    result = Result.load(tmp_path)
    assert list(result.sequences) == ["a", "c"]
    assert result.provenance["failed"] == {"b": "b/2.png: truncated; copy the file again"}
    whole = evaluate(Guess(), [Wall("a"), Wall("c")], tmp_path / "whole")
    assert result.protocol["frames_sha256"] == whole.protocol["frames_sha256"]


def printed(tmp_path: Path, *results: Result, force: bool = False) -> str:
    paths = [result.save(tmp_path / f"printed{index}") for index, result in enumerate(results)]
    output = io.StringIO()
    print_comparison(paths, force, Console(file=output, width=250))
    return output.getvalue()


def test_results_stand_in_one_table(tmp_path: Path) -> None:
    first = evaluate(Guess(), [Wall("a")], tmp_path / "first")
    second = evaluate(Guess(2.1, num_depths=81), [Wall("a")], tmp_path / "second", name="Another", num_views=5)
    text = printed(tmp_path, first, second)
    rows = [line.split() for line in text.splitlines() if line.startswith(("Guess", "Another"))]
    assert [row[:5] for row in rows] == [["Guess", "100", "100", "0", "0"], ["Another", "0", "100", "100", "100"]]
    assert rows[0][-2:] == ["3", "41"] or rows[0][-2:] == ["41", "3"]
    assert "Protocol: task depth; dataset walls; split test; frames_sha256 " in text


@pytest.mark.parametrize("term", Depth.must_agree)
def test_unequal_protocols_are_refused(term: str, tmp_path: Path) -> None:
    first = evaluate(Guess(), [Wall("a")], tmp_path / "first", references=1)
    other = replace(first, protocol=first.protocol | {term: "something else"})
    with pytest.raises(Vo3dError, match=f"{term} is something else instead of "):
        printed(tmp_path, first, other)
    assert "row 2 differs" in printed(tmp_path, first, other, force=True)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    class Blind(Guess):
        gives: ClassVar[tuple[str, ...]] = ("prev_T_cam",)

    class Moving(Guess):
        needs: ClassVar[tuple[str, ...]] = ("image", "imu")

    class Coarse(Guess):
        def forward(self, sample: Sample) -> Prediction:
            return {key: value[..., ::2, ::2] for key, value in super().forward(sample).items()}  # type: ignore[index, return-value]

    class Double(Guess):
        def forward(self, sample: Sample) -> Prediction:
            return {key: value.expand(-1, 2, -1, -1) for key, value in super().forward(sample).items()}  # type: ignore[attr-defined, return-value]

    class Alone(Guess):
        window = Window(views=1, overlap=0)

    class Mad(Guess):
        def forward(self, sample: Sample) -> Prediction:
            return {key: value / 0 for key, value in super().forward(sample).items()}  # type: ignore[operator, return-value]

    for model, scenes, options, message in (
        (Blind(), [Wall("a")], {}, "Blind gives prev_T_cam: expected a model of depth"),
        (Alone(), [Wall("a")], {}, "Alone sees a view without the poses of others: the task single_view_depth scores"),
        (Guess(), [Wall("a")], {"references": 0}, "references 0"),
        (Guess(), [Wall("a"), Wall("a")], {}, "two scenes are called a"),
        (Moving(), [Wall("a")], {}, "Moving needs imu"),
        (Guess(), [Wall("a", truth=0.0)], {}, "a has no view with a true depth"),
        (Mad(), [Wall("a")], {}, "NaN or infinite"),
    ):
        with pytest.raises(Vo3dError, match=message):
            evaluate(model, scenes, tmp_path, **options)
    with pytest.raises(Vo3dError, match="Guess matches a view with its sources, and tiny-0 holds frames in time order"):
        Depth().run(Guess(), Whole([TinyRecording()]), tmp_path, progress=False)
    with pytest.raises(TypeError, match=r"Coarse gave depth of the shape \(1, 1, 3, 3\): expected \(1, 1, 5, 6\)"):
        evaluate(Coarse(), [Wall("a")], tmp_path)
    with pytest.raises(TypeError, match=r"Double gave depth of the shape \(1, 2, 5, 6\): expected \(1, 1, 5, 6\)"):
        evaluate(Double(), [Wall("a")], tmp_path)


RUN = """
model: {net: {class_path: vo3d.models.plane_sweep.PlaneSweep, init_args: {num_depths: 16, window: 5}}}
data:
  test:
    class_path: vo3d.datasets.tabletop.Tabletop
    init_args: {seeds: [1000, 1001], size: [48, 64], num_views: 3, views_per_scene: 4}
"""


def test_one_command_scores_a_model_and_its_baselines_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep.yaml").write_text(RUN)
    baseline = '{"class_path": "vo3d.models.plane_sweep.PlaneSweep", "init_args": {"num_depths": 8}}'
    results = evaluate_run(
        tmp_path / "sweep.yaml",
        baselines=[baseline],
        out=tmp_path / "out",
        options={"references": 1},
        device="cpu",
    )
    assert list(results) == ["depth"]
    assert list(results["depth"]) == ["PlaneSweep", "PlaneSweep (num_depths=8)"]
    fine, coarse = (Result.load(folder) for folder in results["depth"].values())
    assert fine.mean["depth_mae_mm"] < coarse.mean["depth_mae_mm"]  # type: ignore[operator]
    assert fine.protocol["dataset"] == "Tabletop"
    assert fine.provenance["arguments"] == {"num_depths": 16, "window": 5}
    assert "PlaneSweep (num_depths=8)" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"{fine.mean['depth_within_1pc_percent']:.1f} %" in page
    assert page.count("data:image/png") == 2
    assert sorted(path.name for path in (tmp_path / "out" / "figures").iterdir()) == ["maps_1.png", "maps_2.png"]


def test_the_page_says_what_must_not_be_ranked_and_what_is_not_shown(tmp_path: Path) -> None:
    evaluate(Guess(), [Wall("a"), Wall("b")], tmp_path / "one")
    evaluate(Guess(2.1, holes=True), [Wall("a")], tmp_path / "two")
    results = {Depth(): {"one": tmp_path / "one", "two": tmp_path / "two"}}
    page = write_report(
        tmp_path / "page",
        results,
        title="Walls",
        recordings={"one": [Wall("a")], "two": [Wall("a")]},
        commands=["vo3d it"],
    )
    text = page.read_text()
    assert "two was not scored on b. two: frames_sha256 is " in text
    assert "vo3d it" in text
    assert text.count("data:image/png") == 2
    bare = write_report(tmp_path / "bare", {Depth(): {"one": tmp_path / "one"}}, title="Walls").read_text()
    assert "No maps of one are shown" in bare
    assert "Depths within 1 % of the truth, mean over 2 scenes: one 100.0 %." in bare
    assert "Coverage is 100 % of truth in all rows." in bare
    with pytest.raises(Vo3dError, match="expected 4x4, as a has now"):
        write_report(tmp_path / "other", results, title="Walls", recordings={"one": [Small("a")]})
    with pytest.raises(Vo3dError, match="a report without results"):
        write_report(tmp_path / "none", {}, title="Walls")

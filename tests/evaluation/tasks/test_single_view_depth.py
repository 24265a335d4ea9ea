"""Depth of single views over whole recordings: errors by hand, what the rules change, what is left out and counted."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console
from torch import Tensor

from tiny import TinyRecording, Whole
from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.page import write_report
from vo3d.evaluation.task import RecordingsFailed
from vo3d.evaluation.tasks.single_view_depth import EIGEN, SingleViewDepth
from vo3d.formats.results import Result
from vo3d.model import DepthModel, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample

PROTOCOL = {"dataset": "tiny", "split": "test"}
H, W = 20, 30


class Frames(TinyRecording):
    """Frames of 20 x 30 pixels; frame i is at 10 + i metres, its uppermost row at 200 m, its first column nowhere."""

    def __init__(self, seed: int = 0, frames: int = 6, blind: Sequence[int] = ()) -> None:
        super().__init__(seed, frames)
        self.image = torch.rand(frames, 3, H, W)
        self.blind = blind

    def clip(self, indices: Sequence[int]) -> Sample:
        """Frames with their depths; those that are blind have none."""
        depth = (10.0 + torch.tensor(list(indices)))[:, None, None].expand(-1, H, W).clone()
        depth[:, 0], depth[:, :, 0] = 200, 0
        for place, index in enumerate(indices):
            depth[place] *= index not in self.blind
        return replace(super().clip(indices), depth=depth)


class Oracle(DepthModel):
    """`factor` times the true depth; nothing in the columns from `holes` on, and nothing at all of `empty` frames."""

    needs: ClassVar[tuple[str, ...]] = ("image", "depth")
    gives: ClassVar[tuple[str, ...]] = ("depth",)
    window = Window(views=1, overlap=0)

    def __init__(self, factor: float = 1.0, holes: int = W, empty: Sequence[int] = ()) -> None:
        super().__init__()
        self.factor, self.holes, self.empty = factor, holes, empty

    def forward(self, sample: Sample) -> Prediction:
        """What it is told, changed."""
        assert sample.depth is not None
        assert sample.index is not None
        depth = self.factor * torch.where(sample.depth > 0, sample.depth, 7.0)
        depth[..., self.holes :] = 0
        for index in self.empty:
            depth[sample.index == index] = 0
        return {"depth": depth}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


class Matching(Oracle):
    """One that wants sources."""

    window = Window(reference=True)


def evaluate(model: DepthModel, recordings: Sequence[Recording], out: Path, **options: Any) -> Result:
    task = SingleViewDepth(**options)
    return task.run(model, Whole(recordings), out, protocol=PROTOCOL, progress=False)


def test_an_oracle_is_perfect_on_what_counts(tmp_path: Path) -> None:
    result = evaluate(Oracle(), [Frames(0), Frames(1, frames=3)], tmp_path)
    found = result.sequences["tiny-0"]
    assert found["num_images"] == 6
    assert found["depth_num_pixels"] == 6 * (H - 1) * (W - 1)  # neither the row at 200 m nor the blind column
    assert [found[key] for key in EIGEN] == [0, 0, 0, 0, 100, 100, 100]
    assert found["depth_coverage_percent"] == found["depth_recall_delta1_percent"] == 100
    assert found["num_images_without_truth"] == found["num_images_without_depth"] == 0
    assert found["fps"] > 0  # type: ignore[operator]
    assert "depth_scale" not in found
    assert Result.load(tmp_path) == result


def test_errors_are_those_that_were_made(tmp_path: Path) -> None:
    result = evaluate(Oracle(1.3), [Frames(0, frames=2), Frames(1, frames=4)], tmp_path)
    short, long = result.sequences["tiny-0"], result.sequences["tiny-1"]
    assert short["depth_abs_rel"] == pytest.approx(0.3, rel=1e-6)
    assert short["depth_rmse_m"] == pytest.approx(0.3 * 10.5, rel=1e-6)  # a mean over images
    assert long["depth_sq_rel_m"] == pytest.approx(0.09 * 11.5, rel=1e-5)
    assert [long[f"depth_delta{power}_percent"] for power in (1, 2, 3)] == [0, 100, 100]
    assert result.mean["depth_rmse_m"] == pytest.approx(0.3 * (10.5 + 11.5) / 2, rel=1e-6)
    assert result.mean["depth_rmse_m_pooled"] == pytest.approx(0.3 * (10 + 11 + 10 + 11 + 12 + 13) / 6, rel=1e-6)


def test_the_rules_change_what_is_compared(tmp_path: Path) -> None:
    recordings = [Frames(frames=4)]

    def metrics(**options: Any) -> dict[str, Any]:
        return dict(evaluate(Oracle(2.0), recordings, tmp_path, **options).sequences["tiny-0"])

    assert metrics()["depth_abs_rel"] == pytest.approx(1)
    assert metrics(scaling="median")["depth_abs_rel"] == pytest.approx(0)
    # frames at 10, 11, 12, 13 m: two of them are nearer than 12, and what is given as 20 and 22 m becomes 12
    capped = metrics(cap=[5.0, 12.0])
    assert (capped["num_images"], capped["num_images_without_truth"]) == (2, 2)
    assert capped["depth_abs_rel"] == pytest.approx((2 / 10 + 1 / 11) / 2)
    garg = metrics(crop="garg")
    assert garg["depth_num_pixels"] == 4 * (19 - 8) * (28 - 1)  # rows 8.16 to 19.8, columns 1.08 to 28.9


def test_the_scale_and_its_spread_are_written(tmp_path: Path) -> None:
    class Wavering(Oracle):
        def forward(self, sample: Sample) -> Prediction:
            assert sample.index is not None
            depth = super().forward(sample)["depth"]
            return {"depth": depth / (1 + sample.index[..., None, None])}

    result = evaluate(Wavering(), [Frames(0, frames=2), Frames(1, frames=3)], tmp_path, scaling="median")
    assert result.sequences["tiny-0"]["depth_scale"] == pytest.approx(1.5)
    assert result.sequences["tiny-0"]["depth_scale_spread"] == pytest.approx(0.5)
    assert result.sequences["tiny-1"]["depth_scale_spread"] == pytest.approx(sqrt(2 / 3))
    mean, square = (1.5 + 2) / 2, ((1 + 4) / 2 + (1 + 4 + 9) / 3) / 2  # recordings weigh the same
    assert result.mean["depth_scale"] == pytest.approx(mean)
    assert result.mean["depth_scale_spread"] == pytest.approx(sqrt(square - mean**2))
    assert result.mean["depth_abs_rel"] == pytest.approx(0, abs=1e-6)


def test_holes_are_seen(tmp_path: Path) -> None:
    found = evaluate(Oracle(holes=16, empty=[2]), [Frames(frames=4)], tmp_path).sequences["tiny-0"]
    assert found["num_images_without_depth"] == 1
    assert found["depth_coverage_percent"] == pytest.approx(100 * 15 / 29 * 3 / 4)
    assert found["depth_recall_delta1_percent"] == found["depth_coverage_percent"]
    assert (found["depth_abs_rel"], found["depth_delta1_percent"]) == (0, 100)  # of what was given
    result = evaluate(Oracle(2.0, empty=[0]), [Frames(0, frames=2), Frames(1, frames=4)], tmp_path)
    assert result.mean["num_images_without_depth"] == 2
    assert result.mean["depth_rmse_m_pooled"] == pytest.approx((11 + 11 + 12 + 13) / 4)


def test_images_without_a_truth_are_left_out_and_counted(tmp_path: Path) -> None:
    result = evaluate(Oracle(), [Frames(0, blind=[1, 4]), Frames(1, blind=[5])], tmp_path)
    assert result.sequences["tiny-0"]["num_images"] == 4
    assert result.sequences["tiny-0"]["num_images_without_truth"] == 2
    assert (result.mean["num_images"], result.mean["num_images_without_truth"]) == (9, 3)
    every = evaluate(Oracle(), [Frames(0), Frames(1)], tmp_path)
    assert every.protocol["frames_sha256"] != result.protocol["frames_sha256"]


def test_an_unknown_unit_has_no_lengths(tmp_path: Path) -> None:
    recording = Frames()
    recording.metric = False
    mean = evaluate(Oracle(1.1), [recording], tmp_path).mean
    assert mean["depth_abs_rel"] == pytest.approx(0.1)
    assert "depth_rmse_log" in mean
    assert not [key for key in mean if key.removesuffix("_pooled").endswith(("_m", "_mm"))]


def test_the_doubtful_are_scored_apart(tmp_path: Path) -> None:
    class Doubting(Oracle):
        gives: ClassVar[tuple[str, ...]] = ("depth", "confidence")

        def forward(self, sample: Sample) -> Prediction:
            depth = super().forward(sample)["depth"]
            sure = (torch.arange(W) < 16).float().expand_as(depth)
            return {"depth": torch.where(sure > 0, depth, 2 * depth), "confidence": sure}

    found = evaluate(Doubting(), [Frames()], tmp_path, min_confidence=0.5).sequences["tiny-0"]
    assert found["depth_abs_rel"] == pytest.approx(14 / 29)
    assert found["confident_depth_abs_rel"] == 0
    assert found["confident_depth_coverage_percent"] == pytest.approx(100 * 15 / 29)


def test_every_third_pixel_keeps_the_crop_of_the_image(tmp_path: Path) -> None:
    class Coarse(Oracle):
        stride = 3

        def forward(self, sample: Sample) -> Prediction:
            return {"depth": super().forward(sample)["depth"][..., ::3, ::3]}

    found = evaluate(Coarse(), [Frames(frames=1)], tmp_path, crop="garg").sequences["tiny-0"]
    assert found["depth_num_pixels"] == 4 * 9  # rows 9, 12, 15, 18 of 8 to 18; columns 3 to 27 of 1 to 27
    assert found["depth_abs_rel"] == 0


def test_the_same_frames_are_scored_whatever_windows_a_model_wants(tmp_path: Path) -> None:
    class Frame(DepthModel):
        needs = ("image",)
        gives: ClassVar[tuple[str, ...]] = ("depth",)

        def forward(self, sample: Sample) -> Prediction:
            return {"depth": sample.image[:, :, 0] + 2}

        def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
            return {}

    class Alone(Frame):
        window = Window(views=1, overlap=0)

    class Streamed(Frame):
        def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
            return map(self, samples)

    class Unnumbered(TinyRecording):
        def clip(self, indices: Sequence[int]) -> Sample:
            found = super().clip(indices)
            near = torch.full((len(indices), *found.image.shape[-2:]), 2.0)
            return replace(found, index=None, depth=near * (torch.tensor(list(indices)) % 7 > 0)[:, None, None])

    data = Whole([Unnumbered(frames=40)])
    results = [
        SingleViewDepth(references=5, clip_length=6).run(model, data, tmp_path, protocol=PROTOCOL, progress=False)
        for model in (Frame(), Alone(), Streamed())
    ]
    assert [result.sequences["tiny-0"]["num_images"] for result in results] == [4, 4, 4]  # frame 28 has no truth
    assert len({str(result.protocol["frames_sha256"]) for result in results}) == 1


def tables(*folders: Path) -> str:
    output = io.StringIO()
    print_comparison(folders, console=Console(file=output, width=250))
    return output.getvalue()


def test_the_protocol_tells_the_rules_and_the_table_says_them(tmp_path: Path) -> None:
    options: dict[str, Any] = {"cap": [1.0, 50.0], "crop": "eigen", "scaling": "median"}
    result = evaluate(Oracle(2.0, holes=16), [Frames()], tmp_path, **options)
    assert {key: result.protocol[key] for key in ("task", "cap", "crop", "scaling", "resolution", "stride")} == {
        "task": "single_view_depth",
        "cap": [1.0, 50.0],
        "crop": "eigen",
        "scaling": "median",
        "resolution": "30x20",
        "stride": 1,
    }
    assert set(SingleViewDepth.must_agree) <= set(result.protocol)
    text = tables(tmp_path, tmp_path)
    assert "cap 1 50; crop eigen; scaling median" in text
    for column in (
        "abs rel",
        "sq rel",
        "RMSE",
        "RMSE log",
        "delta 1",
        "delta 3",
        "coverage",
        "scale",
        "spread",
        "scaling",
    ):
        assert column in text, column
    assert "left out" not in text  # no image was


@pytest.mark.parametrize("options", [{"cap": [1.0, 80.0]}, {"crop": "garg"}, {"scaling": "median"}])
def test_results_of_other_rules_are_not_compared(options: dict[str, Any], tmp_path: Path) -> None:
    evaluate(Oracle(), [Frames()], tmp_path / "one")
    evaluate(Oracle(), [Frames()], tmp_path / "other", **options)
    with pytest.raises(Vo3dError, match=f"{next(iter(options))} is .* instead of .*; evaluate both in the same way"):
        tables(tmp_path / "one", tmp_path / "other")


def test_the_page_says_the_rules_and_shows_what_was_compared(tmp_path: Path) -> None:
    options: dict[str, Any] = {"cap": [1.0, 50.0], "crop": "garg", "scaling": "median"}
    recordings = [Frames(blind=[1])]
    evaluate(Oracle(2.0), recordings, tmp_path / "one", **options)
    evaluate(Oracle(3.0, holes=16), recordings, tmp_path / "two", **options)
    task = SingleViewDepth(**options)
    results = {task: {"one": tmp_path / "one", "two": tmp_path / "two"}}
    page = write_report(
        tmp_path / "page", results, title="Frames", recordings={"one": recordings, "two": recordings}
    ).read_text()
    rules = "truths from 1 to 50 m, the crop of Garg, each image scaled by the ratio of medians"
    errors = "one 0.000, two 0.000 (on 56 % of the truth)"
    assert f"Mean error over true depth (abs rel), mean over 1 recording: {errors}; {rules}." in page
    assert page.count(f"As scored: {rules}.") >= 2
    assert page.count("data:image/png") == 2
    view = next(iter(_maps(tmp_path / "one", recordings[0])))
    shown = task.as_scored(view, Result.load(tmp_path / "one").protocol)
    assert shown.truth is not None
    assert (shown.truth > 0).sum() == 11 * 27
    torch.testing.assert_close(shown.depth[shown.truth > 0], shown.truth[shown.truth > 0])


def _maps(folder: Path, recording: Recording) -> Iterator[Any]:
    from vo3d.evaluation.depth_task import _views
    from vo3d.report.scored import read_scored

    return _views(read_scored(folder), {recording.name: recording})


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    class Blind(Oracle):
        gives: ClassVar[tuple[str, ...]] = ("prev_T_cam",)

    class Told(Oracle):
        needs: ClassVar[tuple[str, ...]] = ("image",)

    rules = r"\(truths from 0.001 to 80 m, no crop, no scaling\)"
    cases: list[tuple[DepthModel, Recording, dict[str, Any], str]] = [
        (Blind(), Frames(), {}, "Blind gives prev_T_cam: expected a model of depth"),
        (Matching(), Frames(), {}, "Matching matches a view with its sources: the task depth scores it"),
        (Told(), TinyRecording(), {}, "Whole gives no depth to compare with: turn it on in the dataset's arguments"),
        (Oracle(), Frames(blind=range(6)), {}, f"tiny-0 has no image with a true depth that counts {rules}: widen"),
        (Oracle(empty=range(6)), Frames(), {}, f"no depth was given where tiny-0 has a truth that counts {rules}"),
        (Oracle(-1.0), Frames(), {}, "values of the depth are negative"),
        (Oracle(), Frames(), {"cap": [80.0]}, "cap of 1 numbers: expected two, near and far in metres"),
        (Oracle(), Frames(), {"cap": [80.0, 1.0]}, "cap 80 to 1 m: expected a near and a larger far, from 0 on"),
        (Oracle(), Frames(), {"references": 0}, "references 0: expected at least 1 of each recording"),
        (Oracle(), Frames(), {"clip_length": 0}, "clip_length 0"),
    ]
    for model, recording, options, words in cases:
        with pytest.raises(Vo3dError, match=words):
            evaluate(model, [recording], tmp_path, **options)
    with pytest.raises(RecordingsFailed, match="1 of 2 recordings failed, the first being tiny-0"):
        evaluate(Oracle(), [Frames(0, blind=range(6)), Frames(1)], tmp_path)
    assert Result.load(tmp_path).mean["depth_abs_rel"] == 0

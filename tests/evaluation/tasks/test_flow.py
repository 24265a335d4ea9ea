"""Optical flow over whole recordings: the truth has no error, pairs are scored once, means and pools by hand."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console

from tiny import TinyRecording, Whole
from true_pairs import Blank, TruePairs, moving_street
from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.page import write_report
from vo3d.evaluation.task import RecordingsFailed
from vo3d.evaluation.tasks.flow import Flow
from vo3d.formats.flow import read_flo
from vo3d.formats.results import Result
from vo3d.model import Model, Prediction, Window
from vo3d.recording import MultiViewScene, Recording
from vo3d.sample import Sample

PROTOCOL = {"dataset": "tiny", "split": "test"}
H, W = 4, 6


class Slides(TinyRecording):
    """Frames whose pixels go `lengths[i]` pixels to the left to the next; NaN: nobody knows; masks only where told."""

    def __init__(self, seed: int = 0, lengths: Sequence[float] = (1, 2, 3), moving: Sequence[int] = ()) -> None:
        super().__init__(seed, len(lengths) + 1)
        self.lengths, self.moving = torch.tensor(lengths), list(moving)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Frames with the flow between neighbours, and with the first `moving[i]` pixels of the first row as object."""
        flow = torch.zeros(len(indices) - 1, 2, H, W)
        flow[:, 0] = -self.lengths[list(indices)[:-1]][:, None, None]
        mask = None
        if self.moving:
            mask = torch.zeros(len(indices), H, W, dtype=torch.long)
            for place, index in enumerate(indices):
                mask[place, 0, : self.moving[index]] = 1
        return replace(super().clip(indices), flow=flow, mask=mask)


class Still(Model):
    """No flow."""

    needs = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("flow",)

    def forward(self, sample: Sample) -> Prediction:
        """Zeros."""
        b, s, _, h, w = sample.image.shape
        return {"flow": sample.image.new_zeros(b, s - 1, 2, h, w)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, torch.Tensor]:
        """Nothing to learn."""
        return {}


def evaluate(model: Model, recordings: Sequence[Recording], out: Path, **options: Any) -> Result:
    return Flow(**options).run(model, Whole(recordings), out, protocol=PROTOCOL, progress=False)


def test_the_truth_has_no_error_and_no_motion_has_its_length(tmp_path: Path) -> None:
    street = moving_street()
    sample = street.clip(range(6))
    found = evaluate(TruePairs(), [street], tmp_path / "true").sequences["street-0003"]
    assert found["num_pairs"] == 5
    for kind in ("", "static_", "moving_"):
        assert found[f"{kind}flow_num_pixels"] > 50  # type: ignore[operator]
        assert found[f"{kind}flow_epe_px"] == found[f"{kind}flow_outliers_percent"] == 0
    assert found["flow_coverage_percent"] == 100
    assert found["fps"] > 0  # type: ignore[operator]
    assert sample.flow is not None
    assert sample.mask is not None
    lengths = sample.flow.double().norm(dim=1)
    still = evaluate(Blank(), [street], tmp_path / "still").sequences["street-0003"]
    assert still["flow_epe_px"] == pytest.approx(lengths.mean().item())
    assert still["flow_epe_px"] == pytest.approx(still["flow_length_px"])
    assert still["moving_flow_epe_px"] == pytest.approx(lengths[sample.mask[:-1] > 0].mean().item())
    assert still["flow_outliers_percent"] == pytest.approx(100 * (lengths > 3).double().mean().item())
    shifted = evaluate(TruePairs(shift=2.0), [street], tmp_path / "shift").sequences["street-0003"]
    assert shifted["flow_epe_px"] == pytest.approx(2, rel=1e-5)
    assert shifted["flow_outliers_percent"] == 0


def test_means_are_over_pixels_then_recordings_and_pools_over_all_pixels(tmp_path: Path) -> None:
    recordings = [Slides(0, (2, 8), moving=(6, 0, 0)), Slides(1, (4,), moving=(2, 0)), Slides(2, (nan, 5, nan))]
    result = evaluate(Still(), recordings, tmp_path)
    first, second, third = result.sequences.values()
    assert (first["flow_epe_px"], first["flow_outliers_percent"]) == (5, 50)
    assert (first["moving_flow_epe_px"], first["static_flow_epe_px"]) == (2, pytest.approx((18 * 2 + 24 * 8) / 42))
    assert (second["flow_epe_px"], second["moving_flow_num_pixels"]) == (4, 2)
    assert (third["num_pairs"], third["num_pairs_without_truth"]) == (1, 2)
    assert "moving_flow_epe_px" not in third
    mean = result.mean
    assert mean["flow_epe_px"] == pytest.approx((5 + 4 + 5) / 3)
    assert mean["flow_epe_px_pooled"] == pytest.approx((2 + 8 + 4 + 5) / 4)
    assert mean["flow_outliers_percent_pooled"] == pytest.approx(75)
    assert mean["moving_flow_epe_px"] == 3
    assert mean["moving_flow_epe_px_pooled"] == pytest.approx((6 * 2 + 2 * 4) / 8)
    assert (mean["num_pairs"], mean["num_pairs_without_truth"], mean["flow_num_pixels"]) == (4, 2, 96)
    assert "fps_pooled" not in mean
    assert Result.load(tmp_path) == result


def test_what_a_model_leaves_open_is_counted(tmp_path: Path) -> None:
    class Half(Still):
        def forward(self, sample: Sample) -> Prediction:
            flow = super().forward(sample)["flow"]
            flow[..., 3:] = nan
            return {"flow": flow}

    found = evaluate(Half(), [Slides()], tmp_path).sequences["tiny-0"]
    assert (found["flow_coverage_percent"], found["flow_epe_px"], found["flow_num_truth"]) == (50, 2, 72)
    assert read_flo(tmp_path / "flow/tiny-0/000000_flow.flo")[..., 3:].isnan().all()


def test_each_pair_is_scored_once_whatever_windows_a_model_wants(tmp_path: Path) -> None:
    class Pairs(Still):
        window = Window(views=2)

    class Clips(Still):
        window = Window(views=5, overlap=2, margin=1)

    class Streamed(Still):
        def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
            return map(self, samples)

    recording = Slides(lengths=range(1, 18))
    for options, num, error in (({}, 17, 9.0), ({"references": 3}, 3, (3 + 9 + 15) / 3)):
        results = [
            evaluate(model, [recording], tmp_path, clip_length=length, **options)
            for model, length in ((Still(), 16), (Still(), 4), (Pairs(), 16), (Clips(), 16), (Streamed(), 6))
        ]
        assert [result.sequences["tiny-0"]["num_pairs"] for result in results] == [num] * 5
        assert [result.sequences["tiny-0"]["flow_epe_px"] for result in results] == pytest.approx([error] * 5)
        assert len({str(result.protocol["frames_sha256"]) for result in results}) == 1
        assert [result.protocol["clip_length"] for result in results] == [16, 4, 2, 5, 6]
    model = TruePairs()
    evaluate(model, [moving_street()], tmp_path, references=1, clip_length=2)
    assert model.windows == [[2, 3]]  # nothing else was looked at


def test_files_of_the_first_pair_are_left_for_the_report(tmp_path: Path) -> None:
    recordings = [Slides(seed) for seed in range(8)]
    evaluate(Still(), recordings, tmp_path, references=1)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.flo"))
    assert files == [f"flow/tiny-{seed}/000001_flow.flo" for seed in range(6)]
    evaluate(TruePairs(shift=1.5), [moving_street()], tmp_path)
    assert [path.name for path in (tmp_path / "flow/street-0003").iterdir()] == ["000000_flow.flo"]
    truth = moving_street().clip((0, 1)).flow
    assert truth is not None
    found = read_flo(tmp_path / "flow/street-0003/000000_flow.flo")
    torch.testing.assert_close(found, truth[0] + torch.tensor([1.5, 0])[:, None, None])
    evaluate(Still(), recordings[:1], tmp_path, references=3)
    assert [path.name for path in (tmp_path / "flow/tiny-0").iterdir()] == ["000000_flow.flo"]  # the old one is gone


def test_what_such_files_do_not_hold_is_scored_all_the_same(tmp_path: Path) -> None:
    class Wild(Still):
        def forward(self, sample: Sample) -> Prediction:
            flow = super().forward(sample)["flow"]
            flow[..., 0, 0] = 4e9
            return {"flow": flow}

    found = evaluate(Wild(), [Slides()], tmp_path).sequences["tiny-0"]
    assert found["flow_epe_px"] == pytest.approx(2**0.5 * 4e9 / (H * W))
    written = read_flo(tmp_path / "flow/tiny-0/000000_flow.flo")
    assert written.isnan().nonzero().tolist() == [[0, 0, 0], [1, 0, 0]]


def tables(*folders: Path) -> str:
    output = io.StringIO()
    print_comparison(folders, console=Console(file=output, width=250))
    return output.getvalue()


def test_the_table_the_page_and_what_they_say(tmp_path: Path) -> None:
    recordings = [moving_street()]
    found = {
        name: evaluate(model, recordings, tmp_path / name)
        for name, model in (("True", TruePairs(shift=1.0)), ("Blank", Blank()))
    }
    for result in found.values():
        assert set(Flow.must_agree) <= set(result.protocol)
    text = tables(tmp_path / "True", tmp_path / "Blank")
    for column in ("EPE", "outliers", "static EPE", "moving outliers"):
        assert column in text, column
    for column in ("coverage", "left out"):
        assert column not in text, column
    assert "outliers: error > 3 px and > 5 % of the true length" in text
    results = {Flow(): {name: tmp_path / name for name in found}}
    page = write_report(
        tmp_path / "page", results, title="Street", recordings=dict.fromkeys(found, recordings)
    ).read_text()
    error = found["Blank"].mean["flow_epe_px"]
    assert f"The flow of True is off by 1.00 px on 1 recording, better than Blank ({error:.2f} px); 0.0 % are" in page
    evaluate(TruePairs(), recordings, tmp_path / "Less", references=2)
    with pytest.raises(Vo3dError, match=r"frames_sha256 is .* instead of"):
        tables(tmp_path / "True", tmp_path / "Less")


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    class Views(Slides, MultiViewScene):
        def sources(self, index: int) -> Sequence[int]:
            return [0]

    class Alone(Still):
        window = Window(views=1, overlap=0)

    class Apart(Still):
        window = Window(views=2, overlap=0)

    class Matching(Still):
        window = Window(reference=True)

    class Depth(Still):
        gives: ClassVar[tuple[str, ...]] = ("depth",)

    class Open(Still):
        value = nan

        def forward(self, sample: Sample) -> Prediction:
            return {"flow": super().forward(sample)["flow"] + self.value}

    class Endless(Open):
        value = torch.inf

    one = Slides(lengths=())
    cases: list[tuple[Model, Recording, dict[str, Any], str]] = [
        (Depth(), Slides(), {}, "Depth gives depth: the task flow needs a model of flow"),
        (Still(), TinyRecording(), {}, "Whole gives no flow to compare with: turn it on in the dataset's arguments"),
        (Still(), one, {}, "recording tiny-0 has 1 frame: expected at least 2, for one pair"),
        (Still(), Views(), {}, "Whole holds views in no order: flow needs frames in time order"),
        (Matching(), Slides(), {}, "Matching matches a view with its sources"),
        (Alone(), Slides(), {}, "Alone sees windows that share no frame"),
        (Apart(), Slides(), {}, "Apart sees windows that share no frame"),
        (Still(), Slides(lengths=(nan, nan)), {}, "tiny-0 has no pair with a true flow"),
        (Open(), Slides(), {}, "no flow was given where tiny-0 has a truth: there is nothing to score"),
        (Endless(), Slides(), {}, "24 of 24 values of a flow or its truth are infinite"),
        (Blank((2, 3)), Slides(), {}, "Blank gave flow of 3 pairs with 3x2 pixels: expected 3 with 6x4"),
        (Still(), Slides(), {"references": 0}, "references 0: expected at least 1 of each recording"),
        (Still(), Slides(), {"clip_length": 1}, "clip_length 1: expected at least 2 frames, for one pair"),
    ]
    for model, recording, options, words in cases:
        with pytest.raises(Vo3dError, match=words):
            evaluate(model, [recording], tmp_path, **options)
    with pytest.raises(RecordingsFailed, match="1 of 2 recordings failed, the first being tiny-0"):
        evaluate(Still(), [Slides(0, (nan,)), Slides(1)], tmp_path)
    assert Result.load(tmp_path).mean["flow_epe_px"] == 2

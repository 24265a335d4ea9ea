"""Masks of moving objects over whole recordings: the truth is perfect, what is missed counts, motions by hand."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from math import degrees
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console
from torch import Tensor

from tiny import TinyRecording, Whole
from true_pairs import Blank, TruePairs, moving_street
from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.page import write_report
from vo3d.evaluation.tasks.masks import Masks
from vo3d.formats.pfm import read_pfm
from vo3d.formats.results import Result
from vo3d.geometry import se3
from vo3d.model import Model, Prediction
from vo3d.recording import Recording
from vo3d.sample import Sample

PROTOCOL = {"dataset": "tiny", "split": "test"}
H, W = 4, 6


def evaluate(model: Model, recordings: Sequence[Recording], out: Path, **options: Any) -> Result:
    return Masks(**options).run(model, Whole(recordings), out, protocol=PROTOCOL, progress=False)


class Rows(TinyRecording):
    """Frames of 6x4 pixels whose row r is object `rows[i][r]`; all 2 m away, and object 1 moves along the world's x."""

    def __init__(self, seed: int = 0, rows: Sequence[Sequence[int]] = ((0, 1, 0, 0),) * 3, num: int = 3) -> None:
        super().__init__(seed, len(rows))
        self.rows = torch.tensor(rows)
        self.world_T_object = torch.eye(4, dtype=torch.float64).repeat(num, 1, 1)
        self.world_T_object[0, 0, 3] = 0.5

    def clip(self, indices: Sequence[int]) -> Sample:
        """Frames with their truth."""
        ids = self.rows[list(indices)][:, :, None].expand(-1, H, W)
        return replace(
            super().clip(indices),
            mask=ids,
            depth=torch.full(ids.shape, 2.0),
            object_motion=self.world_T_object.expand(len(indices) - 1, -1, 4, 4),
        )


class Fixed(Model):
    """The same masks, and if it is told so the same motions, of every pair."""

    needs = ("image",)

    def __init__(self, mask: Tensor, motion: Tensor | None = None) -> None:
        super().__init__()
        self.mask, self.motion = mask, motion
        self.gives: tuple[str, ...] = ("mask",) if motion is None else ("mask", "object_motion")  # type: ignore[misc]

    def forward(self, sample: Sample) -> Prediction:
        """What it was told."""
        b, s = sample.image.shape[:2]
        found: Prediction = {"mask": self.mask.expand(b, s - 1, *self.mask.shape)}
        return found if self.motion is None else {**found, "object_motion": self.motion.expand(b, s - 1, -1, 4, 4)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


def rows(*chosen: Sequence[int]) -> Tensor:
    """A mask of each set of rows."""
    mask = torch.zeros(len(chosen), H, W)
    for one, places in zip(mask, chosen, strict=True):
        one[list(places)] = 1
    return mask


def test_the_truth_is_perfect(tmp_path: Path) -> None:
    found = evaluate(TruePairs(), [moving_street()], tmp_path, least=1).sequences["street-0003"]
    assert found["num_pairs"] == found["num_moving_pairs"] == 5
    assert found["num_objects"] == found["num_found"] == found["num_motions"] == found["num_distances"]
    assert found["num_objects"] > 20  # type: ignore[operator]
    for key in ("mask_iou_percent", "mask_found_percent", "mask_moving_iou_percent", "mask_background_iou_percent"):
        assert found[key] == 100, key
    assert found["num_objects_beyond"] == found["num_small_objects"] == 0
    assert found["object_rotation_deg"] == pytest.approx(0, abs=1e-4)
    assert found["object_distance_m"] == pytest.approx(0, abs=1e-4)
    assert found["object_still_distance_m"] > 0.1  # type: ignore[operator]


def test_a_push_is_the_distance_that_the_points_are_off(tmp_path: Path) -> None:
    found = evaluate(TruePairs(push=0.7), [moving_street()], tmp_path).sequences["street-0003"]
    assert found["object_distance_m"] == pytest.approx(0.7, abs=1e-4)
    assert found["object_rotation_deg"] == pytest.approx(0, abs=1e-4)


def test_a_model_of_nothing_finds_nothing(tmp_path: Path) -> None:
    street = moving_street()
    found = evaluate(Blank(), [street], tmp_path).sequences["street-0003"]
    assert found["mask_iou_percent"] == found["mask_found_percent"] == found["mask_moving_iou_percent"] == 0
    mask = street.clip(range(6)).mask
    assert mask is not None
    shares = []
    for ids in mask[:-1]:
        kept = [one for one in ids.unique() if (ids == one).sum() >= 20]
        shares.append((ids == 0).sum().item() / sum((ids == one).sum().item() for one in kept))
    assert found["mask_background_iou_percent"] == pytest.approx(100 * sum(shares) / 5)
    assert (found["num_motions"], found["object_rotation_deg"], found["object_distance_m"]) == (0, None, None)
    assert found["num_small_objects"] > 5  # type: ignore[operator]


def test_more_objects_than_masks_are_missed_and_said(tmp_path: Path) -> None:
    crowd = [Rows(rows=((1, 2, 3, 0),) * 3), Rows(1)]
    result = evaluate(Fixed(rows((0,))), crowd, tmp_path, least=1)
    first = result.sequences["tiny-0"]
    assert (first["num_objects"], first["num_objects_beyond"], first["num_found"]) == (6, 4, 2)
    assert first["mask_iou_percent"] == pytest.approx(100 / 3)
    assert first["mask_moving_iou_percent"] == pytest.approx(100 / 3)
    assert first["mask_background_iou_percent"] == pytest.approx(100 / 3)  # one row of three
    assert (result.mean["num_objects"], result.mean["num_objects_beyond"]) == (8, 4)
    assert result.mean["mask_iou_percent"] == pytest.approx(100 / 6)  # nothing is found in the other
    assert result.mean["mask_iou_percent_pooled"] == pytest.approx(100 * 2 / 8)
    output = io.StringIO()
    print_comparison([tmp_path], console=Console(file=output, width=250))
    assert "beyond" in output.getvalue()
    assert "small" not in output.getvalue()


def test_where_nothing_is_visible_the_background_alone_counts(tmp_path: Path) -> None:
    recording = Rows(rows=((0, 0, 0, 0), (0, 1, 0, 0), (0, 1, 0, 0)))
    found = evaluate(Fixed(rows((1,), (3,))), [recording], tmp_path, least=6).sequences["tiny-0"]
    assert (found["num_pairs"], found["num_moving_pairs"], found["num_objects"]) == (2, 1, 1)
    assert (found["mask_iou_percent"], found["mask_moving_iou_percent"]) == (100, 50)
    assert found["mask_background_iou_percent"] == pytest.approx(100 * (2 / 4 + 2 / 3) / 2)
    nothing = evaluate(Fixed(rows((1,))), [recording], tmp_path, least=7).sequences["tiny-0"]
    assert (nothing["num_objects"], nothing["num_small_objects"]) == (0, 1)
    for key in ("mask_iou_percent", "mask_found_percent", "mask_moving_iou_percent"):
        assert nothing[key] is None, key
    # the small object's row counts nowhere in the second pair
    assert nothing["mask_background_iou_percent"] == pytest.approx(100 * (3 / 4 + 1) / 2)


def test_motions_are_compared_in_the_axes_of_the_earlier_camera(tmp_path: Path) -> None:
    recording = Rows(rows=((0, 1, 0, 0),) * 2)
    still = torch.eye(4, dtype=torch.float64)
    pose, angle = (
        recording.world_T_cam[0] @ se3.exp(torch.tensor([1.0, 2, 3, 0.4, -0.5, 0.6], dtype=torch.float64)),
        0.02,
    )
    recording.world_T_cam = torch.stack((pose, pose @ pose))
    in_camera = se3.inverse(pose) @ recording.world_T_object[0] @ pose
    turn = se3.exp(torch.tensor([0.0, 0, 0, 0, angle, 0], dtype=torch.float64))
    points = torch.tensor(
        [[2.0 * x, 2.0, 2.0] for x in range(W)], dtype=torch.float64
    )  # of row 1, with the identity as K
    turned = (se3.transform(turn, points) - points).norm(dim=-1).mean().item()
    for motion, degree, metres in ((in_camera, 0, 0), (still, 0, 0.5), (in_camera @ turn, degrees(angle), turned)):
        both = torch.stack((still, motion))
        found = evaluate(Fixed(rows((0,), (1,)), both), [recording], tmp_path, least=1).sequences["tiny-0"]
        assert (found["num_motions"], found["num_distances"]) == (1, 1)
        assert found["object_rotation_deg"] == pytest.approx(degree, abs=1e-6)
        assert found["object_distance_m"] == pytest.approx(metres, abs=1e-9)
        assert found["object_still_distance_m"] == pytest.approx(0.5)


@pytest.mark.parametrize("lacking", ["depth", "K", "metric", "object_motion", "given"])
def test_without_a_truth_or_a_prediction_the_rest_is_scored(lacking: str, tmp_path: Path) -> None:
    class Lacking(Rows):
        metric = lacking != "metric"

        def clip(self, indices: Sequence[int]) -> Sample:
            sample = super().clip(indices)
            return replace(sample, **{lacking: None}) if lacking in sample.given() else sample

    motion = None if lacking == "given" else torch.eye(4)[None]
    found = evaluate(Fixed(rows((1,)), motion), [Lacking()], tmp_path, least=1).sequences["tiny-0"]
    assert found["mask_iou_percent"] == 100
    assert ("object_rotation_deg" in found) == (lacking not in {"object_motion", "given"})
    assert not {"object_distance_m", "object_still_distance_m", "num_distances"} & set(found)


def test_masks_and_motions_are_left_for_the_report(tmp_path: Path) -> None:
    motion = torch.eye(4).repeat(3, 1, 1)
    evaluate(Fixed(0.25 * rows((0,), (1,), (2,)), motion), [Rows(seed) for seed in range(7)], tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 1 + 6  # metrics.json is one
    folder = tmp_path / "masks/tiny-0"
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"000000_mask_{k}.pfm" for k in range(3)),
        "000000_motions.json",
    ]
    assert torch.equal(read_pfm(folder / "000000_mask_1.pfm"), 0.25 * rows((1,))[0])
    assert torch.tensor(json.loads((folder / "000000_motions.json").read_text())).equal(motion)
    evaluate(Fixed(rows((0,))), [Rows()], tmp_path)
    assert [path.name for path in folder.iterdir()] == ["000000_mask_0.pfm"]  # nothing of before is left


def test_the_page_compares_with_the_first_baseline(tmp_path: Path) -> None:
    recordings = [moving_street()]
    for name, model in (("True", TruePairs(num_masks=2)), ("Blank", Blank())):
        result = evaluate(model, recordings, tmp_path / name)
        assert set(Masks.must_agree) <= set(result.protocol)
    found = Result.load(tmp_path / "True")
    assert found.protocol["num_masks"] == 2
    iou, num, seen = (found.mean[key] for key in ("mask_iou_percent", "num_objects", "num_found"))
    results = {Masks(): {name: tmp_path / name for name in ("True", "Blank")}}
    page = write_report(
        tmp_path / "page", results, title="Street", recordings={"True": recordings, "Blank": recordings}
    ).read_text()
    told = f"{iou:.2f} % on 1 recording, better than Blank (0.00 %); found: {seen:.0f} of {num:.0f}."
    assert f"The masks of True have an IoU with moving objects of {told}" in page
    assert 0 < seen < num  # type: ignore[operator]


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    class Flows(Blank):
        gives: ClassVar[tuple[str, ...]] = ("flow",)

    class Unposed(Rows):
        def clip(self, indices: Sequence[int]) -> Sample:
            return replace(super().clip(indices), world_T_cam=None)

    identity = torch.eye(4)[None]
    cases: list[tuple[Model, Recording, dict[str, Any], str]] = [
        (Flows(), Rows(), {}, "Flows gives flow: the task masks needs a model of mask"),
        (Blank(), TinyRecording(), {}, "Whole gives no mask to compare with: turn it on in the dataset's arguments"),
        (Blank(), Rows(rows=((0, 1, 0, 0),)), {}, "recording tiny-0 has 1 frame: expected at least 2"),
        (Blank(), Rows(rows=((0, 4, 0, 0),) * 2), {}, "tiny-0: mask shows object 4, and object_motion has those of 1"),
        (Blank((2, 3)), Rows(), {}, "Blank gave mask of 2 pairs with 3x2 pixels: expected 2 with 6x4"),
        (Fixed(2 * rows((0,))), Rows(), {}, r"6 of 24 memberships in masks are outside of \[0, 1\]"),
        (Fixed(rows((0,), (1,)), identity), Rows(), {}, "1 motions of objects for 2 masks: expected one of each"),
        (Fixed(rows((1,)), 2 * identity), Rows(), {"least": 1}, "a motion of an object is not rigid"),
        (Fixed(rows((1,)), identity), Unposed(), {}, "tiny-0 has object_motion without world_T_cam"),
        (Blank(), Rows(), {"least": 0}, "least 0: expected at least 1 pixel"),
    ]
    for model, recording, options, words in cases:
        with pytest.raises(Vo3dError, match=words):
            evaluate(model, [recording], tmp_path, **options)

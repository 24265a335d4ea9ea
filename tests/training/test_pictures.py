"""Pictures of the validation: the same clip each time, and no trace of them in the training."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from places import TINY
from stubs import Restless
from vo3d.cli import main
from vo3d.datasets.rendered import Rendered
from vo3d.report.depth import colour_depth, depth_limits
from vo3d.report.flow import colour_flow, flow_limit
from vo3d.report.masks import paint_masks
from vo3d.report.positions import Positions, map_axes, paint_positions
from vo3d.training.pictures import ValidationPictures

QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
STREET = {"seeds": [1], "frames": 6, "size": [24, 80], "clip_length": 3, "stereo": True, "depth": True, "cache": True}
OF_FLOW = {"flow", "flow_next", "flow_next_residual", "flow_next_identity"}
OF_ALL = {
    *OF_FLOW,
    "depth",
    "disparity",
    *(f"{key}{kind}" for key in ("right", "next") for kind in ("", "_residual", "_identity")),
}


def fit(folder: Path, net: str, **changes: Any) -> int:
    """Train for 3 steps, with a validation after each."""
    data = {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": {**STREET, **changes}}
    config = {
        "model": {"net": {"class_path": f"stubs.{net}"}},
        "data": {"train": data, "val": data, "batch_size": 1},
        "trainer": {"accelerator": "cpu", "max_steps": 3, "val_check_interval": 1, "log_every_n_steps": 1},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "street.yaml").write_text(yaml.safe_dump(config))
    return main(["fit", "-c", str(folder / "street.yaml"), "--out", str(folder), *QUIET])


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0})
    found.Reload()
    return found


def picture(event: Any) -> np.ndarray:
    """The pixels of an image in an event file, rows, columns, RGB."""
    return cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_the_event_file_holds_pictures_of_each_validation(tmp_path: Path) -> None:
    assert fit(tmp_path, "StepsAndDepth") == 0
    found = events(tmp_path)
    assert set(found.Tags()["images"]) == {f"val/{name}" for name in {*OF_ALL, "image", "true_depth"}}
    for name in OF_ALL:
        assert [event.step for event in found.Images(f"val/{name}")] == [1, 2, 3], name
    clips = Rendered(**{**STREET, "size": (24, 80)})
    clip = clips[len(clips) // 2]
    (image,) = found.Images("val/image")
    np.testing.assert_array_equal(picture(image), (clip.image[0] * 255).round().byte().permute(1, 2, 0).numpy())
    assert clip.depth is not None
    (truth,) = found.Images("val/true_depth")
    drawn = colour_depth(clip.depth[0], depth_limits([clip.depth[0]]))
    assert np.abs(picture(truth) - (drawn * 255).permute(1, 2, 0).numpy()).max() <= 1
    assert "val/loss" in found.Tags()["scalars"]


def test_what_the_data_lack_is_left_out(tmp_path: Path) -> None:
    assert fit(tmp_path, "StepsAndDepth", stereo=False) == 0
    names = set(events(tmp_path).Tags()["images"])
    of_depth = {"image", "depth", "true_depth", "next", "next_residual", "next_identity"}
    assert {f"val/{name}" for name in of_depth | OF_FLOW} == names


def test_flow_and_masks_are_drawn_of_a_model_without_depth(tmp_path: Path) -> None:
    truths = {"flow": True, "mask": True, "depth": False}
    assert fit(tmp_path, "FlowAndMasks", **truths) == 0
    found = events(tmp_path)
    once = {"image", "true_flow", "true_masks"}
    assert set(found.Tags()["images"]) == {f"val/{name}" for name in {*OF_FLOW, *once, "masks"}}
    for name in {*OF_FLOW, "masks"}:
        assert [event.step for event in found.Images(f"val/{name}")] == [1, 2, 3], name
    clips = Rendered(**{**STREET, **truths, "size": (24, 80)})
    clip = clips[len(clips) // 2]
    assert clip.flow is not None
    assert clip.mask is not None
    limit = flow_limit([clip.flow[0]])
    flow = torch.tensor([3.0, 4.0])[:, None, None].expand(2, 24, 80)
    ids = [one for one in clip.mask[0].unique().tolist() if one]
    masks = torch.stack([(clip.mask[0] == one).float() for one in ids]) if ids else torch.zeros(0, 24, 80)
    for name, drawn in {
        "flow": colour_flow(flow, limit),
        "true_flow": colour_flow(clip.flow[0], limit),
        "true_masks": paint_masks(clip.image[0], masks),
    }.items():
        for event in found.Images(f"val/{name}"):
            assert np.abs(picture(event) - (drawn * 255).permute(1, 2, 0).numpy()).max() <= 1, name


def test_flow_without_a_truth_has_one_scale(tmp_path: Path) -> None:
    assert fit(tmp_path, "FlowAndMasks", depth=False) == 0
    found = events(tmp_path)
    assert set(found.Tags()["images"]) == {f"val/{name}" for name in {*OF_FLOW, "image", "masks"}}
    (drawn,) = colour_flow(torch.tensor([3.0, 4.0])[:, None, None], limit=80 / 16).permute(1, 2, 0)
    for event in found.Images("val/flow"):
        assert np.abs(picture(event) - 255 * drawn.numpy()).max() <= 1


def test_a_single_view_has_neither_flow_nor_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, "FlowAndMasks", depth=False, clip_length=1) == 0
    assert events(tmp_path).Tags()["images"] == ["val/image"]
    assert "no more pictures" not in capsys.readouterr().err


def test_a_training_leaves_no_trace_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, seen = ValidationPictures.on_validation_end, []

    def watched(self: ValidationPictures, trainer: Any, module: Any) -> None:
        before, modes = torch.get_rng_state(), [part.training for part in module.modules()]
        random = np.random.get_state()[1].tolist()  # noqa: NPY002
        inner(self, trainer, module)
        assert torch.equal(torch.get_rng_state(), before)
        assert np.random.get_state()[1].tolist() == random  # noqa: NPY002
        assert [part.training for part in module.modules()] == modes
        seen.append(trainer.global_step)

    monkeypatch.setattr(ValidationPictures, "on_validation_end", watched)
    Restless.drawn.clear()
    assert fit(tmp_path / "with", "Restless") == 0
    assert seen == [0, 1, 2, 3]  # the first is that of the trial before the training
    assert Restless.drawn.count(False) == 3  # steps: all else is in evaluation
    monkeypatch.setattr(ValidationPictures, "on_validation_end", lambda *_: None)
    assert fit(tmp_path / "without", "Restless") == 0
    assert not events(tmp_path / "without").Tags()["images"]
    ours, theirs = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("with", "without")
    )
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_a_failure_is_said_once_and_training_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, "Unable") == 0
    line = "vo3d: no more pictures of the validation, training goes on: Vo3dError: no prediction today\n"
    assert capsys.readouterr().err.count(line) == 1
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_a_model_of_motion_alone_has_none(tmp_path: Path) -> None:
    assert main(["fit", "-c", str(TINY), "--out", str(tmp_path), "--trainer.max_epochs", "1", *QUIET]) == 0
    found = events(tmp_path)
    assert not found.Tags()["images"]
    assert "val/loss" in found.Tags()["scalars"]


def test_a_model_of_places_has_a_map_of_them(tmp_path: Path) -> None:
    assert fit(tmp_path, "Places", clip_length=1, depth=False, stereo=False) == 0
    found = events(tmp_path)
    assert found.Tags()["images"] == ["val/positions"]
    drawn = found.Images("val/positions")
    assert [event.step for event in drawn] == [1, 2, 3]
    poses = Rendered(**{**STREET, "size": (24, 80)}).recordings[0].poses()
    assert poses is not None
    positions = poses[:, :3, 3]
    blue, red = (picture(drawn[-1]) == colour for colour in ([0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]))
    assert blue.all(-1).any()
    assert red.all(-1).any()
    assert map_axes(poses).height == 1
    stay = paint_positions(Positions(positions, positions + 1e3), map_axes(poses))  # with a title instead of crosses
    assert stay.min() >= 0
    assert stay.max() <= 1
    assert not ((stay * 255).round().permute(1, 2, 0).int() == torch.tensor([0xD5, 0x5E, 0x00])).all(-1).any()

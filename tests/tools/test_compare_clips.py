"""The error over the length of clips, here of a model whose error is known: 1 m over the length, twice it backwards."""

import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from torch import Tensor, nn

import compare_clips
from tiny import TinyRecording, Whole
from vo3d.geometry import rotations, se3
from vo3d.metrics.relocalisation import pose_errors
from vo3d.model import Model, Prediction, Window
from vo3d.sample import Sample


class Walk(TinyRecording):
    """A camera that walks along x."""

    def __init__(self, frames: int = 24) -> None:
        super().__init__(0, frames)
        self.world_T_cam = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
        self.world_T_cam[:, 0, 3] = torch.arange(frames)


class Walks(Whole):
    """One walk."""

    def __init__(self, frames: int = 24) -> None:
        super().__init__([Walk(frames)])


class Clips(Model):
    """The truth, moved aside."""

    needs = ("image", "world_T_cam")
    gives = ("world_T_cam",)
    window: ClassVar[Window] = Window(overlap=0)

    def __init__(self) -> None:
        super().__init__()
        self.metres = nn.Parameter(torch.tensor(1.0))

    def forward(self, sample: Sample) -> Prediction:
        """By as much less as there are more frames; backwards by twice as much."""
        assert sample.world_T_cam is not None
        poses = sample.world_T_cam.clone()
        s = poses.shape[1]
        back = s > 1 and bool(poses[0, 1, 0, 3] < poses[0, 0, 0, 3])
        poses[..., 1, 3] += self.metres.double() * (2 if back else 1) / s
        return {"world_T_cam": poses}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing."""
        return {}


class Single(Clips):
    """The same of single images."""

    window = Window(views=1, overlap=0)


class Pairs(Clips):
    """The same of pairs."""

    window = Window(views=2)


def run(folder: Path, net: str, metres: float, frames: int = 24) -> str:
    """Write what a training would leave."""
    data = {"test": {"class_path": f"{__name__}.Walks", "init_args": {"frames": frames}}}
    folder.mkdir(parents=True)
    config = {"model": {"net": {"class_path": f"{__name__}.{net}"}}, "data": data}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "checkpoints").mkdir()
    torch.save({"state_dict": {"metres": torch.tensor(metres)}}, folder / "checkpoints/best.ckpt")
    return str(folder)


def words(runs: dict[str, list[str]], *more: str) -> list[str]:
    return ["--runs", json.dumps(runs), "--allow", json.dumps([__name__]), "--device", "cpu", *more]


def test_errors_fall_with_the_length_and_are_told_apart_by_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {
        "clips": [run(tmp_path / "a", "Clips", 1.0), run(tmp_path / "b", "Clips", 3.0)],
        "single": [run(tmp_path / "c", "Single", 0.5)],
    }
    files = ["--picture", str(tmp_path / "clips.png"), "--out", str(tmp_path / "clips.json")]
    assert compare_clips.main(words(runs, "--lengths", "[1, 4, 12]", *files)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| clips | forwards | 4 | 2 | 0.500 (0.250 to 0.750) | 0.00 (0.00 to 0.00) |" in lines
    assert "| clips | backwards | 12 | 2 | 0.333 (0.167 to 0.500) | 0.00 (0.00 to 0.00) |" in lines
    assert "| single | forwards | 1 (single images) | 1 | 0.500 | 0.00 |" in lines
    assert "| single | averaged along the true motion | 12 | 1 | 0.500 | 0.00 |" in lines  # all are off by the same
    assert len(lines) == 2 + 6 + 1 + 3
    assert (tmp_path / "clips.png").stat().st_size > 10_000
    rows = [compare_clips.Row(**row) for row in json.loads((tmp_path / "clips.json").read_text())]
    metres, _ = compare_clips.plot_lengths(rows).axes
    forth, back, single, averaged = metres.lines
    assert list(forth.get_xdata()) == [1, 4, 12]
    assert list(forth.get_ydata()) == pytest.approx([2, 0.5, 1 / 6])
    assert list(back.get_ydata()) == pytest.approx([2, 1, 1 / 3])  # one frame has no way
    assert list(single.get_ydata()) == [0.5, 0.5]
    assert (list(averaged.get_xdata()), averaged.get_linestyle()) == ([1, 4, 12], ":")
    assert (forth.get_linestyle(), back.get_linestyle(), metres.get_xscale()) == ("-", "--", "log")
    (band,) = metres.collections
    assert band.get_datalim(metres.transData).y1 == pytest.approx(3)


def test_averaging_along_the_true_motion_leaves_of_noise_what_it_should_and_of_a_common_error_all() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(400, 6, generator=generator, dtype=torch.float64)
    truth = se3.exp(torch.arange(400)[:, None] * torch.tensor([0.1, 0, 0, 0, 0.02, 0], dtype=torch.float64))
    noisy = truth.clone()
    noisy[:, :3, 3] += 0.1 * noise[:, :3]
    noisy[:, :3, :3] = truth[:, :3, :3] @ rotations.so3_exp(0.01 * noise[:, 3:])
    single, many = (
        pose_errors(truth, compare_clips.averaged(truth, noisy, length)).square().mean(0).sqrt() for length in (1, 25)
    )
    assert single[0].item() == pytest.approx(0.1 * 3**0.5, rel=0.05)
    # a turn about the middle frame moves what is far from it: only rotations are averages alone
    assert (single / many)[1].item() == pytest.approx(5, rel=0.15)
    common = se3.exp(torch.tensor([0.2, 0, 0, 0, 0.1, 0], dtype=torch.float64)) @ truth
    for length in (1, 4, 25):
        errors = pose_errors(truth, compare_clips.averaged(truth, common, length))
        assert torch.allclose(errors, pose_errors(truth, common), rtol=1e-6)


def test_what_cannot_be_compared_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips, single, pairs = (run(tmp_path / net, net, 1.0, 6) for net in ("Clips", "Single", "Pairs"))
    for runs, more, line in (
        ({"x": [clips]}, ["--lengths", "[40]"], "tiny-0 has 6 frames: clips of 40 do not fit: give --lengths"),
        ({"x": [clips]}, ["--lengths", "[0]"], "lengths of at least 1 frame"),
        ({"x": [clips, single]}, ["--lengths", "[2]"], "x: runs of clips and runs of single images"),
        ({"x": [pairs]}, [], "Pairs gives world_T_cam of 2 frames: expected world_T_cam of clips of any length"),
        ({"x": [clips]}, ["--split", "val"], "data.val: there is none: choose another split"),
        ({}, [], "expected at least one run"),
    ):
        assert compare_clips.main(words(runs, *more)) == 2
        assert line in capsys.readouterr().err.splitlines()[-1]

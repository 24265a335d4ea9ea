"""The comparison of depths of single views with OpenCV's on real pairs, here on rendered ones."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import compare_stereo
from vo3d.datasets.rendered import Rendered
from vo3d.geometry import se3
from vo3d.inference.pretrained import Pretrained
from vo3d.model import DepthModel, Prediction
from vo3d.models.undeepvo import UnDeepVO
from vo3d.sample import Sample
from vo3d.world.drive_files import render_to_kitti
from vo3d.world.visit import Visit

SIZE = (96, 312)


class Knowing(DepthModel):
    """Gives the true depths of the frames that it is shown, times a factor."""

    needs = ("image",)
    gives = ("depth",)

    def __init__(self, depths: Tensor, factor: float) -> None:
        super().__init__()
        self.depths, self.factor, self.size = depths, factor, SIZE

    def forward(self, sample: Sample) -> Prediction:
        """The depth of the frame that its index names."""
        assert sample.index is not None
        return {"depth": self.factor * self.depths[sample.index]}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short drive in KITTI's layout."""
    root = tmp_path_factory.mktemp("drive")
    render_to_kitti("street", 3, 5, root, size=SIZE, imu=False, truth=False)
    return root


def rows(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, float]]:
    arguments = ["--root", str(root), "--sequence", "05", "--frames", "[0,3]", "--colour", "true", *more]
    given = ["--weights", "[right,double]", "--out", str(tmp_path / "t.json"), "--picture", str(tmp_path / "p.png")]
    assert compare_stereo.main([*arguments, *given]) == 0
    assert "means over 3 frames" in capsys.readouterr().out
    assert (tmp_path / "p.png").stat().st_size > 0
    return json.loads((tmp_path / "t.json").read_text())["rows"]  # type: ignore[no-any-return]


@pytest.fixture
def two_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the weights "right" and "double" models that know the true depths, and their double."""
    truth = Rendered(seeds=[5], frames=3, size=SIZE, depth=True).recordings[0].clip(range(3)).depth
    assert truth is not None
    truth = torch.where(truth > 0, truth, 1e4)
    models = {"right": Knowing(truth, 1.0), "double": Knowing(truth, 2.0)}
    monkeypatch.setattr(
        compare_stereo,
        "load_pretrained",
        lambda name: Pretrained(model=models[name], name=name, class_path="", init_args={}),
    )


@pytest.mark.usefixtures("two_models")
def test_true_depth_comes_out_best(drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(drive, tmp_path, capsys)

    assert list(table) == ["OpenCV", "right", "double", "no disparity"]
    errors = {name: row["photometric"] for name, row in table.items()}
    # OpenCV's depths are those that make the images agree best, where it gives any
    assert errors["OpenCV"] < errors["right"] < 1.4 * errors["OpenCV"]
    assert errors["right"] < 0.7 * errors["double"] < errors["no disparity"]
    assert table["right"]["median"] < 0.06
    assert table["right"]["ratio"] == pytest.approx(1, abs=0.03)
    assert table["double"]["median"] == pytest.approx(1, abs=0.05)
    assert "next" not in table["right"]  # it tells no motion
    assert 0.2 < table["OpenCV"]["counted"] == table["no disparity"]["counted"] <= 1


@pytest.mark.usefixtures("two_models")
def test_depths_without_a_scale_are_compared_after_scaling(
    drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = rows(drive, tmp_path, capsys, "--scaling", "median")

    assert table["double"] == pytest.approx(table["right"])
    assert table["double"]["ratio"] == pytest.approx(1, abs=0.1)  # the mean over frames of medians of ratios


def test_frames_are_made_again_by_flow_or_by_depth_and_motion() -> None:
    still = Visit(traffic=0.0)
    recording = Rendered(seeds=[5], frames=3, size=SIZE, depth=True, flow=True, visit=still).recordings[0]
    sample = Sample.collate([recording.clip([0, 1])])
    assert sample.depth is not None
    assert sample.world_T_cam is not None
    prev_T_cam = se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:]).float()
    depth = torch.where(sample.depth > 0, sample.depth, 1e4)

    by_motion = compare_stereo._from_beside(sample, {"depth": depth, "prev_T_cam": prev_T_cam})
    by_flow = compare_stereo._from_beside(sample, {"depth": depth, "flow": sample.flow})
    wrong = compare_stereo._from_beside(sample, {"depth": depth, "flow": -sample.flow})

    assert by_flow["next"] == pytest.approx(by_motion["next"], abs=0.005)
    assert by_flow["next"] < 0.6 * by_flow["next_as_it_is"]
    assert wrong["next"] > wrong["next_as_it_is"]


def test_models_of_two_sizes_are_refused(
    drive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Pretrained:
        size = SIZE if name == "a" else (64, 208)
        model = UnDeepVO(size=size, channels=(4, 8), motion_channels=(4, 8), hidden=8)
        return Pretrained(model=model, name=name, class_path="", init_args={})

    monkeypatch.setattr(compare_stereo, "load_pretrained", load)
    assert compare_stereo.main(["--root", str(drive), "--sequence", "05", "--weights", "[a,b]"]) == 2
    assert "expected one size for all" in capsys.readouterr().err

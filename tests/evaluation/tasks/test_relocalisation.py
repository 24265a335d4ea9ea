"""Relocalisation over recordings: known errors, each frame once, pools by hand, calibration, other worlds."""

import io
from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan, sqrt
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console
from scipy.stats import chi
from torch import Tensor

from stubs import TrivialMapper
from tiny import TinyModel, TinyRecording, Whole
from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import differing, print_comparison
from vo3d.evaluation.page import write_report
from vo3d.evaluation.task import RecordingsFailed
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.evaluation.tasks.relocalisation import Relocalisation, another_world
from vo3d.formats.relocalisation import read_relocalised
from vo3d.formats.results import Result
from vo3d.geometry import rotations
from vo3d.model import Model, Prediction, Window
from vo3d.recording import MultiViewScene, Recording
from vo3d.sample import Sample

PROTOCOL = {"dataset": "tiny", "split": "test"}


class Oracle(Model):
    """The truth, moved by `metres` along an axis of the world and turned by `degrees` about one of the camera."""

    needs = ("image", "world_T_cam")
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam",)
    window = Window(views=1, overlap=0)

    def __init__(self, metres: float = 0.0, degrees: float = 0.0) -> None:
        super().__init__()
        self.metres, self.degrees = metres, degrees
        self.windows: list[list[int]] = []

    def forward(self, sample: Sample) -> Prediction:
        """The same error everywhere."""
        assert sample.world_T_cam is not None
        assert sample.index is not None
        self.windows += sample.index.tolist()
        poses = sample.world_T_cam.clone()
        poses[..., 1, 3] += self.metres
        turn = rotations.axis_rotation(2, torch.tensor(self.degrees, dtype=torch.float64).deg2rad())
        poses[..., :3, :3] = poses[..., :3, :3] @ turn
        return {"world_T_cam": poses}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


class Noisy(Oracle):
    """Noise of a deviation that changes from frame to frame, and what it says of it: `says` times the truth."""

    gives: ClassVar[tuple[str, ...]] = ("world_T_cam", "log_variance")
    window = Window()

    def __init__(self, says: float = 1.0) -> None:
        super().__init__()
        self.says = says
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, sample: Sample) -> Prediction:
        """Metres along the world's axes, radians on the right of the rotation."""
        assert sample.world_T_cam is not None
        poses = sample.world_T_cam.clone()
        sigma = 0.01 + 0.1 * torch.rand(*poses.shape[:2], 2, generator=self.generator, dtype=torch.float64)
        noise = torch.randn(*poses.shape[:2], 2, 3, generator=self.generator, dtype=torch.float64) * sigma[..., None]
        poses[..., :3, 3] += noise[..., 0, :]
        poses[..., :3, :3] = poses[..., :3, :3] @ rotations.so3_exp(noise[..., 1, :])
        told = 2 * (self.says * sigma).log().repeat_interleave(3, -1)
        return {"world_T_cam": poses, "log_variance": told.float()}


class Album(TinyRecording, MultiViewScene):
    """Views in no order."""

    def sources(self, index: int) -> Sequence[int]:
        """All others."""
        return [other for other in range(len(self)) if other != index]


class Blind(TinyRecording):
    """Nobody knows where it was taken."""

    def poses(self) -> Tensor | None:  # type: ignore[override]
        """None."""
        return None


def evaluate(
    model: Model, recordings: Sequence[Recording], out: Path, training: Sequence[Recording] = (), **options: Any
) -> Result:
    task = Relocalisation(**options)
    task.training = training
    return task.run(model, Whole(recordings), out, protocol=PROTOCOL, progress=False)


def test_known_errors_come_out(tmp_path: Path) -> None:
    recordings = [TinyRecording(0), TinyRecording(1)]
    right = evaluate(Oracle(), recordings, tmp_path / "right")
    assert right.mean["median_position_m_pooled"] == 0
    assert right.mean["median_rotation_deg_pooled"] == pytest.approx(0, abs=1e-6)
    assert right.mean["within_5cm_5deg_percent_pooled"] == 100
    for metres, degrees, shares in (
        (0.3, 90.0, (0, 0, 0, 0)),
        (0.2, 4.0, (0, 0, 100, 100)),
        (0.2, 1.5, (0, 100, 100, 100)),
    ):
        result = evaluate(Oracle(metres, degrees), recordings, tmp_path / "off")
        for row, suffix in ((result.sequences["tiny-0"], ""), (result.mean, "_pooled")):
            assert row[f"median_position_m{suffix}"] == pytest.approx(metres)
            assert row[f"mean_rotation_deg{suffix}"] == pytest.approx(degrees)  # 90 degrees are 90, not 45
            bounds = ("within_5cm_5deg", "within_25cm_2deg", "within_50cm_5deg", "within_5m_10deg")
            assert tuple(row[f"{bound}_percent{suffix}"] for bound in bounds) == shares
        assert "position_ause" not in result.sequences["tiny-0"]
        assert result.sequences["tiny-0"]["fps"] > 0  # type: ignore[operator]
        assert "fps_pooled" not in result.mean
    assert Result.load(tmp_path / "off") == result


def test_every_frame_is_written_with_its_pose(tmp_path: Path) -> None:
    recording = TinyRecording(4, frames=7)
    recording.first_frame = 30
    evaluate(Oracle(0.5, 10.0), [recording], tmp_path)
    found = read_relocalised(tmp_path / "relocalisation" / "tiny-4.csv")
    assert found.frames.tolist() == list(range(30, 37))
    assert found.names == [f"{frame:06d}" for frame in range(30, 37)]
    torch.testing.assert_close(found.truth, recording.poses())
    torch.testing.assert_close(found.estimate[:, 1, 3], recording.poses()[:, 1, 3] + 0.5)
    assert (found.deviation, found.nearest, found.nearest_distance) == (None, None, None)


def test_pools_are_over_all_frames(tmp_path: Path) -> None:
    class Length(Oracle):
        """Off by as many metres as there are frames in the recording."""

        def forward(self, sample: Sample) -> Prediction:
            self.metres = {"tiny-0": 2.0, "tiny-1": 0.01}[sample.scene[0]]
            return super().forward(sample)

    result = evaluate(Length(), [TinyRecording(0, 3), TinyRecording(1, 9)], tmp_path)
    assert result.mean["median_position_m"] == pytest.approx((2 + 0.01) / 2)
    assert result.mean["median_position_m_pooled"] == pytest.approx(0.01)
    assert result.mean["mean_position_m_pooled"] == pytest.approx((3 * 2 + 9 * 0.01) / 12)
    assert result.mean["within_5cm_5deg_percent_pooled"] == pytest.approx(75)
    assert result.mean["num_frames"] == 12
    assert result.sequences["tiny-0"]["num_frames"] == 3


def test_each_frame_counts_once_whatever_windows_a_model_wants(tmp_path: Path) -> None:
    class Clips(Oracle):
        window = Window(views=5, overlap=2, margin=1)

    class Free(Oracle):
        window = Window()

    recording = TinyRecording(0, 18)
    results = [evaluate(model, [recording], tmp_path) for model in (Oracle(0.1), Clips(0.1), Free(0.1))]
    assert [result.sequences["tiny-0"]["num_frames"] for result in results] == [18] * 3
    assert len({str(result.protocol["frames_sha256"]) for result in results}) == 1
    assert [result.protocol["clip_length"] for result in results] == [1, 5, 16]
    assert read_relocalised(tmp_path / "relocalisation" / "tiny-0.csv").frames.tolist() == list(range(18))


def test_views_in_no_order_and_one_frame(tmp_path: Path) -> None:
    model = Oracle(0.1)
    result = evaluate(model, [Album(0, 5), TinyRecording(1, 1)], tmp_path)
    assert model.windows == [[0], [1], [2], [3], [4], [0]]
    assert result.mean["num_frames"] == 6
    assert result.mean["median_position_m_pooled"] == pytest.approx(0.1)
    alone = evaluate(Noisy(), [TinyRecording(1, 1)], tmp_path)
    assert alone.mean["position_rank_correlation_pooled"] is None
    assert alone.mean["position_ause_pooled"] is None


def test_the_shares_within_a_calibrated_deviation_are_those_of_theory(tmp_path: Path) -> None:
    recordings = [TinyRecording(0, 1500), TinyRecording(1, 1500)]
    result = evaluate(Noisy(), recordings, tmp_path / "right", clip_length=500)
    assert result.sequences["tiny-0"]["position_within_1sigma_percent"] == pytest.approx(60.8, abs=4)
    for name in ("position", "rotation"):
        share, twice = (result.mean[f"{name}_within_{times}sigma_percent_pooled"] for times in (1, 2))
        assert share == pytest.approx(100 * chi.cdf(sqrt(3), 3), abs=3)
        assert twice == pytest.approx(100 * chi.cdf(2 * sqrt(3), 3), abs=1)
        order, area = result.mean[f"{name}_rank_correlation_pooled"], result.mean[f"{name}_ause_pooled"]
        assert order is not None
        assert area is not None
        assert 0.5 < order < 1
        assert 0 < area < 0.5
    bold = evaluate(Noisy(says=0.5), recordings, tmp_path / "bold", clip_length=500)
    assert bold.mean["rotation_within_1sigma_percent_pooled"] == pytest.approx(100 * chi.cdf(sqrt(3) / 2, 3), abs=3)
    found = read_relocalised(tmp_path / "bold" / "relocalisation" / "tiny-0.csv")
    right = read_relocalised(tmp_path / "right" / "relocalisation" / "tiny-0.csv")
    assert found.deviation is not None
    assert right.deviation is not None
    torch.testing.assert_close(2 * found.deviation, right.deviation, rtol=1e-5, atol=0)
    # the trace of three variances of at least (0.01)^2 metres^2 and radians^2, at most (0.11)^2
    assert 0.01 * sqrt(3) < right.deviation[:, 0].min() < right.deviation[:, 0].max() < 0.11 * sqrt(3)
    assert 0.57 * sqrt(3) < right.deviation[:, 1].min() < right.deviation[:, 1].max() < 6.31 * sqrt(3)


def test_the_nearest_training_view(tmp_path: Path) -> None:
    recording = TinyRecording(0, 6)
    shifted = TinyRecording(0, 6)
    shifted.name = "shifted"
    shifted.world_T_cam = recording.world_T_cam.clone()
    shifted.world_T_cam[:, 0, 3] += 0.02
    far = TinyRecording(5, 3)
    far.world_T_cam[:, 0, 3] += 10
    result = evaluate(Oracle(), [recording], tmp_path, training=[Blind(8), far, shifted])
    found = read_relocalised(tmp_path / "relocalisation" / "tiny-0.csv")
    assert found.nearest == [("shifted", index) for index in range(6)]
    assert found.nearest_distance is not None
    torch.testing.assert_close(found.nearest_distance[:, 0], torch.full((6,), 0.02).double())
    assert result.mean["nearest_position_m_pooled"] == pytest.approx(0.02)
    assert result.sequences["tiny-0"]["nearest_rotation_deg"] == pytest.approx(0, abs=1e-6)
    unknown = evaluate(Oracle(), [recording], tmp_path, training=[Blind(8)])
    assert "nearest_position_m" not in unknown.sequences["tiny-0"]
    task = Relocalisation()
    task.training = [Blind(8)]
    assert "the training recordings have no poses" in (task.note(Whole([recording])) or "")
    task.training = [shifted]
    assert task.note(Whole([recording])) is None
    recording.metric = False
    assert "lengths of tiny-0 are in a unit that nobody told" in (task.note(Whole([recording])) or "")


def test_training_views_must_agree_where_both_results_know_them(tmp_path: Path) -> None:
    recording, other = TinyRecording(0, 6), TinyRecording(5, 6)
    without = evaluate(Oracle(), [recording], tmp_path / "without")
    first = evaluate(Oracle(), [recording], tmp_path / "first", training=[other])
    second = evaluate(Oracle(), [recording], tmp_path / "second", training=[other, TinyRecording(6)])
    assert "training_frames_sha256" not in without.protocol
    assert not differing(without, first, Relocalisation)
    assert not differing(first, without, Relocalisation)
    (told,) = differing(first, second, Relocalisation)
    assert told.startswith("training_frames_sha256 is ")
    with pytest.raises(Vo3dError, match="not comparable"):
        print_comparison([tmp_path / "first", tmp_path / "second"], console=Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("scale", "shift", "told"),
    [
        (1.0, 0.0, None),
        (0.05, 0.0, None),
        (1.0, 3.0, None),  # aside, by less than the training views' diagonal
        (1.0, 1000.0, "half of the test positions lie 998.5 m and more outside of the box of the training views"),
        (1000.0, 0.0, "the test positions span 5196 m and those of the training views 5.196 m"),
        (0.001, 0.0, "the test positions span 0.005196 m and those of the training views 5.196 m"),
        (0.0, 0.0, None),  # a camera that stands has no extent
    ],
)
def test_a_map_of_another_world_is_told(scale: float, shift: float, told: str | None) -> None:
    training = torch.eye(4, dtype=torch.float64).repeat(31, 1, 1)
    training[:, :3, 3] = torch.linspace(0, 3, 31, dtype=torch.float64)[:, None]
    test = training.clone()
    test[:, :3, 3] = test[:, :3, 3] * scale
    test[:, 0, 3] += shift
    line = another_world(test, training)
    assert line is None if told is None else told in (line or "")
    task = Relocalisation()
    recording, known = TinyRecording(0, 31), TinyRecording(1, 31)
    recording.world_T_cam, known.world_T_cam = test, training
    task.training = [known]
    assert task.note(Whole([recording])) == line


def test_who_is_scored_by_what() -> None:
    class Both(Oracle):
        gives = ("world_T_cam", "prev_T_cam")

    suits = {
        kind: [task.suits(model) for task in (Relocalisation(), Odometry())]
        for kind, model in (("poses", Oracle()), ("steps", TinyModel()), ("map", TrivialMapper()), ("both", Both()))
    }
    assert suits == {"poses": [True, False], "steps": [False, True], "map": [False, True], "both": [True, True]}
    assert Odometry().obstacle(Oracle(), Whole([TinyRecording()])) is None  # where it is named


class Sequel(Oracle):
    """It matches views with their sources."""

    window = Window(reference=True)


@pytest.mark.parametrize(
    ("model", "recording", "words"),
    [
        (
            TinyModel(),
            TinyRecording(),
            "TinyModel gives prev_T_cam: the task relocalisation needs a model of world_T_cam",
        ),
        (
            TrivialMapper(),
            TinyRecording(),
            "TrivialMapper maps each recording in a world of its own: the task odometry",
        ),
        (Oracle(), Blind(), "Whole has no true poses to compare with: choose recordings that have some"),
        (Sequel(), TinyRecording(), "Sequel matches a view with its sources"),
    ],
)
def test_obstacles(model: Model, recording: Recording, words: str, tmp_path: Path) -> None:
    assert words in (Relocalisation().obstacle(model, Whole([recording])) or "")
    with pytest.raises(Vo3dError, match=words):
        evaluate(model, [recording], tmp_path)


def test_mistakes_in_one_line(tmp_path: Path) -> None:
    class Lost(Oracle):
        def forward(self, sample: Sample) -> Prediction:
            return {"world_T_cam": super().forward(sample)["world_T_cam"] * nan}

    class Unsure(Noisy):
        def forward(self, sample: Sample) -> Prediction:
            found = super().forward(sample)
            return {**found, "log_variance": found["log_variance"] * inf}

    strange = TinyRecording(3)
    strange.world_T_cam[4, 0, 3] = nan
    for model, recording, words in (
        (Lost(), TinyRecording(), "world_T_cam of Lost on tiny-0, pose 0: the pose holds NaN"),
        (Unsure(says=100.0), TinyRecording(), "Unsure predicts a deviation of tiny-0 that is NaN or infinite"),
        (Oracle(), Blind(2), "tiny-2 has no true poses"),
        (Oracle(), strange, "true poses of tiny-3, pose 4: the pose holds NaN"),
    ):
        with pytest.raises(RecordingsFailed) as error:
            evaluate(model, [TinyRecording(9), recording] if type(model) is Oracle else [recording], tmp_path)
        assert words in str(error.value)
    assert Result.load(tmp_path).mean["num_frames"] == 20  # of the one that could be scored
    with pytest.raises(Vo3dError, match="clip_length 0: expected at least 1 frame"):
        Relocalisation(clip_length=0)


def test_a_wrong_number_of_deviations_is_a_defect(tmp_path: Path) -> None:
    class Short(Noisy):
        def forward(self, sample: Sample) -> Prediction:
            found = super().forward(sample)
            return {**found, "log_variance": found["log_variance"][..., :3]}

    with pytest.raises(TypeError, match="Short gave log_variance of shape"):
        evaluate(Short(), [TinyRecording()], tmp_path)


def test_tables_and_report_show_the_pool(tmp_path: Path) -> None:
    class MeanPose(Oracle):
        pass

    recordings = [TinyRecording(0, 4), TinyRecording(1, 8)]
    training = [TinyRecording(2)]
    models = {"Noisy": Noisy(), "Near": Oracle(0.4, 3), "Far": Oracle(0.7, 1), "MeanPose": MeanPose(2.0, 40.0)}
    task = Relocalisation()
    task.training = training
    places = {}
    for name, model in models.items():
        places[name] = tmp_path / name
        task.run(model, Whole(recordings), places[name], protocol=PROTOCOL, name=name, progress=False)
    text = io.StringIO()
    print_comparison(list(places.values()), console=Console(file=text, width=300))
    table = text.getvalue()
    head, rows = table.splitlines()[0], table.splitlines()[3:7]
    assert head.split()[:2] == ["median", "median"]
    assert head.count("median") == 2  # not of recordings and pooled
    assert ["0.4", "3"] == rows[1].split()[1:3]
    assert "-" in rows[1]  # it has no deviation
    assert "training_frames_sha256" not in head
    page = write_report(tmp_path, {task: places}, title="t", recordings=dict.fromkeys(places, recordings)).read_text()
    mean = Result.load(places["Noisy"]).mean
    metres, degrees = mean["median_position_m_pooled"], mean["median_rotation_deg_pooled"]
    assert (
        f"Noisy is off by {metres:.2f} m and {degrees:.1f} deg "
        "in the median of 12 frames of 2 recordings; the best rival, Near, by 0.40 m and 3.0 deg; the mean pose of the "
        "training, which looks at no image, by 2.00 m and 40.0 deg."
    ) in page
    assert "All frames of 2 recordings together." in page
    assert page.count("<img") >= 4
    replace(Result.load(places["Near"]), mean={}).save(places["Near"])
    page = write_report(tmp_path / "alone", {task: {"Near": places["Near"]}}, title="t").read_text()
    assert "Near on 2 recordings." in page
    (places["Near"] / "relocalisation" / "tiny-1.csv").unlink()
    with pytest.raises(Vo3dError, match=r"tiny-1\.csv: no such file: expected a table that the task relocalisation"):
        write_report(tmp_path / "alone", {task: {"Near": places["Near"]}}, title="t")

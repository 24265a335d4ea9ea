"""Whole recordings through a model: every frame once, state carried, nothing lost."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float64
from torch import Tensor

from tiny import Whole
from vo3d.errors import Vo3dError
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.results import Result
from vo3d.formats.trajectories import read_trajectory
from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain, start_at_identity, steps
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample


class Drive(Recording):
    """A drive of `num` frames; made from its length."""

    def __init__(
        self, name: str, num: int, truth: bool = True, broken_at: int | None = None, frame_seconds: float | None = 0.1
    ) -> None:
        generator = torch.Generator().manual_seed(num)
        self.name = name
        xi = torch.randn(num - 1, 6, generator=generator, dtype=torch.float64) * 0.02
        xi[:, 2] += 1
        self._poses = chain(se3.exp(xi), se3.exp(torch.randn(6, generator=generator, dtype=torch.float64)))
        self._truth = truth
        self._broken_at = broken_at
        self._frame_seconds = frame_seconds

    def __len__(self) -> int:
        return len(self._poses)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Images that hold nothing but their number."""
        indices = list(indices)
        if self._broken_at in indices:
            raise Vo3dError(f"{self.name}/{self._broken_at:06d}.png: truncated; copy the file again")
        number = torch.tensor(indices)
        return Sample(
            image=(number[:, None, None, None] / 1000).expand(-1, 3, 4, 6),
            K=torch.eye(3).expand(len(indices), 3, 3),
            world_T_cam=self._poses[indices],
            time=None if self._frame_seconds is None else number.double() * self._frame_seconds,
            scene=self.name,
            index=number,
        )

    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """The truth, unless it is kept."""
        return self._poses if self._truth else None


class Oracle(Model):
    """Steps of the truth, at a scale; it remembers what its stream was given."""

    needs = ("image", "world_T_cam")
    gives: ClassVar[tuple[str, ...]] = ("prev_T_cam",)

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.streams: list[list[list[int]]] = []

    def forward(self, sample: Sample) -> Prediction:
        """The steps of the truth."""
        assert not self.training
        assert not torch.is_grad_enabled()
        prev_T_cam = torch.stack([steps(poses) for poses in sample.world_T_cam])
        prev_T_cam[..., :3, 3] *= self.scale
        return {"prev_T_cam": prev_T_cam}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}

    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Clip after clip, noted down."""
        self.streams.append([])
        for sample in samples:
            self.streams[-1].append(sample.index[0].tolist())
            yield self(sample)


def evaluate(model: Model, recordings: list[Recording], out: Path, **options: object) -> Result:
    said = {"dataset": "drives", "split": "test"}
    return Odometry(**options).run(model, Whole(recordings), out, protocol=said, progress=False)


@pytest.mark.parametrize(("num", "clip_length"), [(150, 16), (141, 5), (142, 5), (2, 16), (10, 2)])
def test_the_oracle_is_perfect_and_sees_every_frame_once(tmp_path: Path, num: int, clip_length: int) -> None:
    recording, model = Drive("a", num), Oracle()
    result = evaluate(model, [recording], tmp_path, clip_length=clip_length)
    clips = model.streams[0]
    assert clips[0] + [index for clip in clips[1:] for index in clip[1:]] == list(range(num))
    assert all(before[-1] == after[0] for before, after in pairwise(clips))
    metrics = result.sequences["a"]
    assert metrics["ape_rmse_m"] == pytest.approx(0, abs=1e-4)  # float32 steps
    assert metrics["coverage"] == 1
    assert metrics["scale"] == 1
    assert metrics["fps"] > 0
    assert metrics["path_length_m"] == pytest.approx(num - 1, rel=0.05)
    if num < 100:
        assert (metrics["num_segments"], metrics["t_rel_percent"]) == (0, None)
    else:
        assert metrics["t_rel_percent"] == pytest.approx(0, abs=1e-3)
    assert Result.load(tmp_path) == result
    assert model.training  # as it was


def test_files_hold_both_trajectories_from_the_identity_on(tmp_path: Path) -> None:
    recordings = [Drive("seq-01", 30), Drive("kitchen/seq-02", 40)]
    evaluate(Oracle(0.5), recordings, tmp_path, alignment="7dof", clip_length=8)
    for recording in recordings:
        reference = read_trajectory(tmp_path / "reference" / f"{recording.name}.txt", "kitti").world_T_cam
        estimate = read_trajectory(tmp_path / "trajectories" / f"{recording.name}.txt", "kitti").world_T_cam
        torch.testing.assert_close(reference, start_at_identity(recording.poses()), rtol=0, atol=1e-12)
        torch.testing.assert_close(estimate[:, :3, 3], reference[:, :3, 3] / 2, rtol=0, atol=1e-4)
        gram = estimate[:, :3, :3].mT @ estimate[:, :3, :3]
        torch.testing.assert_close(gram, torch.eye(3).double().expand_as(gram), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seconds", [0.04, None], ids=["25 frames a second", "no times"])
def test_the_time_between_frames_is_stated(tmp_path: Path, seconds: float | None) -> None:
    result = evaluate(Oracle(), [Drive("a", 30, frame_seconds=seconds), Drive("b", 31)], tmp_path)
    found = [result.sequences[name]["frame_seconds"] for name in ("a", "b")]
    assert found == [seconds if seconds is None else pytest.approx(seconds), pytest.approx(0.1)]


def test_alignment_and_lengths_are_stated(tmp_path: Path) -> None:
    result = evaluate(Oracle(0.5), [Drive("a", 60)], tmp_path, alignment="scale", lengths=(10.0, 20.0), clip_length=9)
    assert result.sequences["a"]["scale"] == pytest.approx(2, rel=1e-5)
    assert result.sequences["a"]["t_rel_percent"] == pytest.approx(0, abs=1e-3)
    protocol = result.protocol
    assert protocol["alignment"] == "scale"
    assert protocol["segment_lengths_m"] == [10.0, 20.0]
    assert (protocol["dataset"], protocol["split"]) == ("drives", "test")
    assert protocol["resolution"] == "6x4"
    assert protocol["scale_source"] == "network (learned)"
    assert len(protocol["frames_sha256"]) == 64
    assert {"versions", "command", "date", "device"} <= result.provenance.keys()


def test_the_source_of_the_scale_is_the_models_or_as_told(tmp_path: Path) -> None:
    model = Oracle()
    model.scale_source = "ground truth"
    assert evaluate(model, [Drive("a", 9)], tmp_path).protocol["scale_source"] == "ground truth"
    said = {"scale_source": "a yardstick"}
    told = Odometry().run(model, Whole([Drive("a", 9)]), tmp_path, protocol=said, progress=False)
    assert told.protocol["scale_source"] == "a yardstick"


def test_a_recording_that_fails_leaves_the_others(tmp_path: Path) -> None:
    recordings = [Drive("a", 30), Drive("b", 30, broken_at=29), Drive("c", 40)]
    with pytest.raises(Vo3dError, match=r"1 of 3 recordings failed, the first being b: b/000029\.png: truncated"):
        evaluate(Oracle(), recordings, tmp_path)
    result = Result.load(tmp_path)
    assert list(result.sequences) == ["a", "c"]
    assert result.provenance["failed"] == {"b": "b/000029.png: truncated; copy the file again"}
    assert result.mean["coverage"] == 1
    whole = evaluate(Oracle(), [recordings[0], recordings[2]], tmp_path / "whole")
    assert result.protocol["frames_sha256"] == whole.protocol["frames_sha256"]  # of what was scored
    assert sorted(path.name for path in (tmp_path / "trajectories").iterdir()) == ["a.txt", "c.txt"]


def test_excerpts_of_one_recording_are_told_apart(tmp_path: Path) -> None:
    whole, excerpt = Drive("a", 9), Drive("a", 9)
    excerpt.first_frame = 100
    assert (whole.frames, excerpt.frames) == (range(9), range(100, 109))
    prints = [
        evaluate(Oracle(), [drive], tmp_path / str(drive.first_frame)).protocol["frames_sha256"]
        for drive in (whole, excerpt)
    ]
    assert prints[0] != prints[1]


def test_results_are_written_after_each_recording(tmp_path: Path) -> None:
    class Crash(Oracle):
        def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
            if self.streams:
                raise MemoryError
            yield from super().stream(samples)

    with pytest.raises(MemoryError):
        evaluate(Crash(), [Drive("a", 30), Drive("b", 30)], tmp_path)
    assert list(Result.load(tmp_path).sequences) == ["a"]


def test_an_alignment_that_cannot_be_keeps_the_trajectory(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no positive scale"):
        evaluate(Oracle(0.0), [Drive("a", 30)], tmp_path, alignment="scale")
    assert len(read_trajectory(tmp_path / "trajectories" / "a.txt", "kitti")) == 30
    assert json.loads((tmp_path / "metrics.json").read_text())["sequences"] == {}


def test_recordings_without_truth_get_a_trajectory_and_no_metrics(tmp_path: Path) -> None:
    result = evaluate(Oracle(), [Drive("a", 30, truth=False)], tmp_path)
    assert set(result.sequences["a"]) == {"fps", "frame_seconds"}
    assert len(read_trajectory(tmp_path / "trajectories" / "a.txt", "kitti")) == 30
    assert not (tmp_path / "reference").exists()


def test_steps_that_are_no_motions_are_refused(tmp_path: Path) -> None:
    class Broken(Oracle):
        def forward(self, sample: Sample) -> Prediction:
            prev_T_cam = super().forward(sample)["prev_T_cam"]
            prev_T_cam[:, 3] = float("nan")
            return {"prev_T_cam": prev_T_cam}

    with pytest.raises(Vo3dError, match="prev_T_cam of Broken on a, pose 3: the pose holds NaN"):
        evaluate(Broken(), [Drive("a", 30)], tmp_path)


def test_a_stream_that_drops_clips_is_a_defect(tmp_path: Path) -> None:
    class Sleepy(Oracle):
        def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
            yield self(next(iter(samples)))

    with pytest.raises(TypeError, match="Sleepy left 1 windows out: its stream must"):
        evaluate(Sleepy(), [Drive("a", 30)], tmp_path)


def test_a_missing_step_between_windows_is_refused(tmp_path: Path) -> None:
    class Apart(Oracle):
        window = Window(views=3, overlap=0)

    class Pairs(Oracle):
        window = Window(views=2)

    with pytest.raises(Vo3dError, match="Apart gives steps in windows that share no frame"):
        evaluate(Apart(), [Drive("a", 9)], tmp_path)
    assert evaluate(Pairs(), [Drive("a", 9)], tmp_path).mean["ape_rmse_m"] == pytest.approx(0, abs=1e-9)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    class Depth(Oracle):
        gives: ClassVar[tuple[str, ...]] = ("depth",)

    class Inertial(Oracle):
        needs = ("image", "imu")

    for model, recordings, options, message in (
        (Oracle(), [], {}, "no recordings"),
        (Oracle(), [Drive("a", 1)], {}, "recording a has 1 frames"),
        (Oracle(), [Drive("a", 9), Drive("a", 8)], {}, "two recordings are called a"),
        (Oracle(), [Drive("a", 9)], {"clip_length": 1}, "clip_length 1"),
        (Depth(), [Drive("a", 9)], {}, "Depth gives depth: odometry needs a model of prev_T_cam"),
        (Inertial(), [Drive("a", 9)], {}, "Inertial needs imu; recording a gives"),
    ):
        with pytest.raises(Vo3dError, match=message):
            evaluate(model, recordings, tmp_path, **options)

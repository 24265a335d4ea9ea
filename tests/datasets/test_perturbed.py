"""Faults of sensors: what each changes, by how much, and what it leaves alone."""

import math

import pytest
import torch

from tiny import TinyRecording, Whole
from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.perturbed import Perturbed, PerturbedRecording
from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.geometry import so3_log
from vo3d.inertial import InertialSteps, cut_to_frames
from vo3d.recording import MultiViewScene
from vo3d.world.imu import MEMS, ImuErrors, imu_readings
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor

STREET = RenderedRecording("street", 0, 12, (16, 32), imu=True, stereo=True, cache=True)
EXACT = STREET.inertial()
assert EXACT is not None


def steps_of(**faults: object) -> InertialSteps:
    found = PerturbedRecording(STREET, **faults).inertial()  # type: ignore[arg-type]
    assert found is not None
    return found


def test_no_fault_changes_nothing() -> None:
    dataset = ClipDataset([STREET], clip_length=3)
    same = Perturbed(dataset)
    assert len(same) == len(dataset)
    for name in dataset[4].given():
        value, found = getattr(dataset[4], name), getattr(same[4], name)
        assert value == found if name == "scene" else torch.equal(value.nan_to_num(9), found.nan_to_num(9)), name


def test_every_reading_turns_by_the_angle_about_one_axis() -> None:
    turned, more = steps_of(rotation_deg=10.0), steps_of(rotation_deg=20.0)
    vectors, before = turned.imu.reshape(-1, 3), EXACT.imu.reshape(-1, 3)
    u, _, vh = torch.linalg.svd(vectors.mT @ before)  # Kabsch: the rotation between two sets of vectors
    turn = u @ vh
    torch.testing.assert_close(before @ turn.mT, vectors)
    torch.testing.assert_close(so3_log(turn).norm(), torch.tensor(math.radians(10.0), dtype=torch.float64))
    torch.testing.assert_close(vectors @ turn.mT, more.imu.reshape(-1, 3))
    assert torch.equal(turned.cam_T_imu, EXACT.cam_T_imu)  # type: ignore[arg-type]
    assert not torch.equal(steps_of(rotation_deg=10.0, seed=1).imu, turned.imu)


@pytest.mark.parametrize("offset", [0.004, 0.033, -0.02])
def test_readings_with_an_offset_are_those_of_the_path_at_the_later_instant(offset: float) -> None:
    late = steps_of(time_offset=offset)
    recorder = Recorder("street", 0, 12, (16, 32), Sensor())
    exact = imu_readings(recorder.scene.camera, recorder.times() + offset, 10, ImuErrors(), 0)
    inner = ((EXACT.time + offset > EXACT.time[0, 0]) & (EXACT.time + offset < EXACT.time[-1, -1]))[..., None]
    error = torch.where(inner, (late.imu - exact).abs(), 0)
    change = torch.where(inner, (EXACT.imu - exact).abs(), 0)
    assert error.max() < 0.05 * change.max()
    assert torch.equal(late.time, EXACT.time)
    end = (-1, -1) if offset > 0 else (0, 0)
    assert torch.equal(late.imu[end], EXACT.imu[end])  # held


def test_an_offset_reads_across_frames_and_past_padding() -> None:
    """Of a linear signal, cut with readings at frames and padding, what is read is the signal at t + offset."""
    time = torch.arange(0, 1.01, 0.013, dtype=torch.float64)
    slope = torch.arange(1, 7, dtype=torch.float64)
    cut = cut_to_frames(time, time[:, None] * slope, torch.arange(0.1, 0.9, 0.1, dtype=torch.float64), "it")
    recording = TinyRecording(0, frames=len(cut.time) + 1)
    recording.inertial = lambda: cut  # type: ignore[method-assign]
    late = PerturbedRecording(recording, time_offset=0.05).inertial()
    assert late is not None
    assert bool(cut.time.isnan().any())
    expected = (cut.time + 0.05).clamp(max=cut.time[~cut.time.isnan()].max())[..., None] * slope
    torch.testing.assert_close(late.imu, expected, equal_nan=True)


def test_bias_and_noise_are_those_of_the_model_of_errors() -> None:
    biased, twice = (steps_of(imu_errors=ImuErrors(gyro_bias=size)).imu - EXACT.imu for size in (0.1, 0.2))
    assert torch.allclose(biased, biased[0, 0].expand_as(biased))
    torch.testing.assert_close(twice, 2 * biased)
    assert biased[0, 0, :3].abs().min() > 0
    assert torch.allclose(biased[..., 3:], torch.zeros(1, dtype=torch.float64))

    long = RenderedRecording("street", 0, 200, (16, 32), imu=True)
    noisy = PerturbedRecording(long, imu_errors=ImuErrors(accelerometer_density=0.01)).inertial()
    noise = (noisy.imu - long.inertial().imu)[..., 3:]  # type: ignore[union-attr]
    assert noise.std().item() == pytest.approx(0.01 / math.sqrt(0.01), rel=0.05)  # a reading each 10 ms
    assert torch.equal(steps_of(imu_errors="mems").imu, steps_of(imu_errors=MEMS).imu)


def test_dropped_frames_show_the_last_that_arrived_whatever_the_clip() -> None:
    faulty = PerturbedRecording(STREET, dropped=0.5)
    whole, truth = faulty.clip(range(12)), STREET.clip(range(12))
    arrived = [torch.equal(one, other) for one, other in zip(whole.image, truth.image, strict=True)]
    assert arrived[0]
    assert 2 <= arrived.count(False) <= 10
    for frame in range(1, 12):
        source = frame if arrived[frame] else frame - 1
        expected = truth if arrived[frame] else whole
        assert torch.equal(whole.image[frame], expected.image[source])
        assert torch.equal(whole.right[frame], expected.right[source])  # type: ignore[index]
    for name in ("time", "world_T_cam", "imu", "index"):
        assert torch.equal(getattr(whole, name).nan_to_num(9), getattr(truth, name).nan_to_num(9))
    for indices in ([5], [3, 5, 7], [9, 10, 11]):
        assert torch.equal(faulty.clip(indices).image, whole.image[indices])
    fewer = PerturbedRecording(STREET, dropped=0.25).clip(range(12)).image
    late = [one for one in range(12) if not torch.equal(fewer[one], truth.image[one])]
    assert late
    assert not any(arrived[one] for one in late)  # what drops rarely drops often


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"rotation_deg": -1.0}, "rotation_deg -1.0: expected"),
        ({"time_offset": math.nan}, "time_offset nan: expected"),
        ({"dropped": 1.0}, "dropped 1.0: expected"),
        ({"dropped": -0.1}, "dropped -0.1: expected"),
        ({"seed": -1}, "seed -1: expected"),
    ],
)
def test_bad_arguments_are_one_line_each(faults: dict[str, object], said: str) -> None:
    with pytest.raises(Vo3dError, match=said) as error:
        Perturbed(Whole([STREET]), **faults)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_data_without_readings_or_order_are_refused() -> None:
    blind = Whole([TinyRecording(0, frames=4)])
    assert torch.equal(Perturbed(blind, dropped=0.5)[0].time, blind[0].time)  # type: ignore[arg-type]
    with pytest.raises(Vo3dError, match="no inertial readings to perturb: turn imu on"):
        Perturbed(blind, time_offset=0.01)

    class Photographs(TinyRecording, MultiViewScene):
        def sources(self, index: int) -> list[int]:
            return []

    with pytest.raises(Vo3dError, match="in no order"):
        Perturbed(Whole([Photographs(0, frames=4)]))

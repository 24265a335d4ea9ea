"""Inertial readings and their instants, from every source, integrated back to the poses; errors of a real sensor."""

import inspect
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from scipy.io import savemat
from torch import Tensor

import vo3d.world.scenes
from vo3d.datasets.kitti import KITTIOdometry
from vo3d.datasets.rendered import Rendered, RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.formats.kitti import write_sequence
from vo3d.geometry.rotations import so3_exp
from vo3d.sample import Sample
from vo3d.settings.build import build
from vo3d.world.drive_files import render_to_kitti
from vo3d.world.imu import MEMS, ImuErrors, imu_errors_of, imu_readings, reading_times
from vo3d.world.path import GRAVITY, RigidPath, Spline
from vo3d.world.scene import build_scene

SIZE = (16, 32)
FRAMES = 101  # ten seconds

KIND = '''
import torch

from vo3d.world.paints import MATERIAL_SIZE, mottled
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BALL
from vo3d.world.scene import Light, Scene, SolidList
from vo3d.world.textures import noise_lattice


def build(seeds, frames, sensor, visit):
    """A ball, and a camera that is driven round bends at about eight metres a second."""
    solids = SolidList(MATERIAL_SIZE)
    solids.add(BALL, (0.0, 0.0, 4.0), (1.0, 1.0, 1.0), paint=0, material=(0.6, 0.1, 0.1, 0.6, 0.1, 0.1, 0.2, 0.5))
    time = torch.arange(-10, 60, dtype=torch.float64) * 0.25
    control = torch.zeros(len(time), 6, dtype=torch.float64)
    control[:, 0], control[:, 2] = 3 * torch.sin(time), 8 * time + torch.cos(1.3 * time)
    control[:, 3] = 0.5 * torch.sin(0.9 * time) + 0.1 * time
    control[:, 4], control[:, 5] = 0.03 * torch.sin(2 * time), 0.04 * torch.cos(1.7 * time)
    light = Light((0.0, -0.8, -0.6), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.1, 0.2, 0.5), (0.6, 0.7, 0.8), 400.0, 0.3)
    lattice = noise_lattice(torch.Generator().manual_seed(seeds.place))
    return Scene(solids.build(), (mottled,), light, RigidPath(Spline(control, -2.5, 0.25)), None, lattice, 50.0)
'''


@pytest.fixture
def bends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RigidPath:
    """The path of the camera of a scene kind of this name."""
    (tmp_path / "bends.py").write_text(KIND)
    monkeypatch.setattr(vo3d.world.scenes, "__path__", [*vo3d.world.scenes.__path__, str(tmp_path)])
    return build_scene("bends", 0, FRAMES).camera


def integrate(path: RigidPath, frame_times: Tensor, imu: Tensor, imu_time: Tensor) -> Tensor:
    """Positions at the frames by strapdown integration; each reading holds until half-way to the instant of the next.

    Only the pose and the velocity at the first frame are taken from the path.
    """
    readings, instants = imu.flatten(0, 1).double(), imu_time.flatten()
    turns = (instants[1:] + instants[:-1]) / 2  # from one reading to the next
    inside = turns[(turns > frame_times[0]) & (turns < frame_times[-1])]
    borders = torch.cat((frame_times, inside)).unique()
    middles, durations = (borders[1:] + borders[:-1]) / 2, borders.diff()
    rate, force = readings[torch.searchsorted(turns, middles)].split(3, dim=1)
    half, whole = (so3_exp(rate * durations[:, None] * share) for share in (0.5, 1.0))
    start = path.motion(frame_times[:1])
    rotation, position, velocity = start.world_T_cam[0, :3, :3], start.world_T_cam[0, :3, 3], start.velocity[0]
    gravity = torch.tensor(GRAVITY, dtype=torch.float64)
    positions = [position]
    for turned, turn, specific, dt in zip(half, whole, force, durations, strict=True):
        acceleration = rotation @ turned @ specific + gravity
        position = position + velocity * dt + acceleration * dt**2 / 2
        velocity = velocity + acceleration * dt
        rotation = rotation @ turn
        positions.append(position)
    return torch.stack(positions)[torch.searchsorted(borders, frame_times)]


def drift(path: RigidPath, clip: Sample, moved: float = 0.0) -> float:
    """Return the largest distance from the true positions, metres, with the stamps moved by so many seconds."""
    assert clip.imu is not None
    assert clip.imu_time is not None
    assert clip.time is not None
    assert clip.world_T_cam is not None
    found = integrate(path, clip.time, clip.imu[1:], clip.imu_time[1:] + moved)
    return float((found - clip.world_T_cam[:, :3, 3]).norm(dim=1).max())


def write_mat(path: RigidPath, frame_times: Tensor, file: Path) -> None:
    """Write exact readings as those of KITTI are: ten rows a frame, row 10 i at frame i, in the vehicle's axes."""
    share = torch.arange(10, dtype=torch.float64) / 10
    instants = (frame_times[:-1, None] + frame_times.diff()[:, None] * share).flatten()
    motion = path.motion(torch.cat((instants, frame_times[-1:])))
    gravity = torch.tensor(GRAVITY, dtype=torch.float64)
    force = (motion.world_T_cam[:, :3, :3].mT @ (motion.acceleration - gravity)[..., None])[..., 0]
    rows = torch.cat([values[:, [2, 0, 1]] * torch.tensor([1.0, -1, -1]) for values in (force, motion.angular_rate)], 1)
    savemat(file, {"imu_data_interp": rows.numpy()})


def test_readings_of_every_source_integrate_to_the_poses_by_their_instants(bends: RigidPath, tmp_path: Path) -> None:
    everything = range(FRAMES)
    rendered = RenderedRecording("bends", 4, FRAMES, SIZE, imu=True).clip(everything)
    render_to_kitti("bends", FRAMES, 4, tmp_path, SIZE, stereo=False)
    files = KITTIOdometry(tmp_path, [4], imu=True, clip_length=FRAMES).recordings[0]
    written = files.clip(everything)
    assert not files.notes
    (tmp_path / "imus/04.txt").unlink()
    assert rendered.time is not None
    write_mat(bends, rendered.time, tmp_path / "imus/04.mat")
    matlab = KITTIOdometry(tmp_path, [4], imu=True, clip_length=FRAMES).recordings[0].clip(everything)
    exact = drift(bends, rendered)
    assert exact < 0.02  # metres after ten seconds
    assert drift(bends, written) == pytest.approx(exact, abs=1e-4)
    assert drift(bends, matlab) < 0.02
    for clip, half in ((rendered, 0.005), (written, 0.005), (matlab, -0.005)):  # each by the other's rule
        assert drift(bends, clip, half) > 4 * drift(bends, clip)
    assert written.imu_time is not None
    assert matlab.imu_time is not None
    torch.testing.assert_close(written.imu_time, rendered.imu_time, atol=1e-9, rtol=0, equal_nan=True)
    torch.testing.assert_close(matlab.imu_time[1:], rendered.imu_time[1:] + 0.005)
    assert torch.equal(written.cam_T_imu, rendered.cam_T_imu)
    assert matlab.cam_T_imu is None  # somewhere in the car


@pytest.mark.parametrize("stride", [1, 3])
def test_instants_lie_between_the_views_and_ascend(bends: RigidPath, tmp_path: Path, stride: int) -> None:
    render_to_kitti("bends", 8, 4, tmp_path, SIZE, stereo=False)
    views = {"clip_length": 3, "frame_stride": stride}
    for dataset in (
        Rendered("bends", [4], 8, SIZE, imu=True, **views),
        KITTIOdometry(tmp_path, [4], imu=True, **views),
        KITTIOdometry(tmp_path, [4], imu=True, frames=(1, 8), **views),
    ):
        clip = dataset[0]
        assert clip.imu.shape == (3, 10 * stride, 6)
        assert clip.imu_time.shape == (3, 10 * stride)
        assert torch.equal(clip.imu_time.isnan(), clip.imu.isnan().all(-1))
        assert clip.imu_time[0].isnan().all()
        instants = clip.imu_time[1:]
        assert bool((instants.flatten().diff() > 0).all())
        assert bool((instants > clip.time[:-1, None]).all() & (instants < clip.time[1:, None]).all())
        truth = bends.motion(instants.flatten()).angular_rate
        torch.testing.assert_close(clip.imu[1:, :, :3].flatten(0, 1).double(), truth, atol=1e-6, rtol=1e-6)


def test_stamps_are_exact_to_the_nanosecond_after_hours(tmp_path: Path) -> None:
    frame_times = torch.tensor([36_000.123456789, 36_000.2, 36_000.3], dtype=torch.float64)
    imu_time = reading_times(frame_times, 3)
    recording = RenderedRecording("street", 0, 3, SIZE)
    views = [recording.clip([index]) for index in range(3)]
    for view, time in zip(views, frame_times, strict=True):
        object.__setattr__(view, "time", time[None])
    write_sequence(tmp_path, "00", views, imu=torch.zeros(2, 3, 6), imu_time=imu_time)
    clip = KITTIOdometry(tmp_path, [0], imu=True, clip_length=3)[0]
    torch.testing.assert_close(clip.time, frame_times, atol=1e-9, rtol=0)
    torch.testing.assert_close(clip.imu_time[1:], imu_time, atol=1e-9, rtol=0)


@pytest.fixture
def still() -> RigidPath:
    """A camera at rest."""
    return RigidPath(Spline(torch.zeros(12, 6, dtype=torch.float64), -1e4, 1e4))


def errors_of(path: RigidPath, frame_times: Tensor, readings: int, errors: ImuErrors, seed: int = 0) -> Tensor:
    """What the errors add to the exact readings: (frames - 1, readings, 6)."""
    args = (path, frame_times, readings)
    return imu_readings(*args, errors, seed) - imu_readings(*args, ImuErrors(), 0)


@pytest.mark.parametrize("readings", [1, 4, 10])
def test_noise_of_a_mean_falls_with_its_time_whatever_the_rate(still: RigidPath, readings: int) -> None:
    frame_times = torch.arange(6001, dtype=torch.float64) / 10
    noise = errors_of(still, frame_times, readings, ImuErrors(gyro_density=2e-3, accelerometer_density=5e-2))
    for seconds in (0.1, 1.0):
        means = noise.view(-1, round(seconds * 10 * readings), 6).mean(1).view(-1, 2, 3)
        found = means.square().mean((0, 2)).sqrt() * seconds**0.5
        torch.testing.assert_close(found, torch.tensor([2e-3, 5e-2], dtype=torch.float64), rtol=0.06, atol=0)


@pytest.mark.parametrize("readings", [1, 4, 10])
def test_a_bias_wanders_with_the_square_root_of_time_whatever_the_rate(still: RigidPath, readings: int) -> None:
    frame_times = torch.arange(6001, dtype=torch.float64) / 10
    bias = errors_of(still, frame_times, readings, ImuErrors(gyro_walk=1e-4, accelerometer_walk=3e-3)).view(-1, 6)
    for seconds in (0.1, 1.0):
        changes = bias[:: round(seconds * 10 * readings)].diff(dim=0).view(-1, 2, 3)
        found = changes.square().mean((0, 2)).sqrt() / seconds**0.5
        torch.testing.assert_close(found, torch.tensor([1e-4, 3e-3], dtype=torch.float64), rtol=0.06, atol=0)
        later = changes.flatten(1)
        assert abs(float((later[1:] * later[:-1]).mean() / later.square().mean())) < 0.06  # no change knows the last


def test_a_bias_starts_at_the_first_frame_and_walks_through_uneven_intervals(still: RigidPath) -> None:
    frame_times = torch.tensor([3.0, 4.0, 12.0], dtype=torch.float64)  # readings at 3.25, 3.75, 6 and 10 s
    exact = imu_readings(still, frame_times, 2, ImuErrors(), 0)

    def drawn(errors: ImuErrors) -> Tensor:
        return torch.stack([imu_readings(still, frame_times, 2, errors, seed) - exact for seed in range(500)])[..., :3]

    bias = drawn(ImuErrors(gyro_bias=0.5, gyro_walk=1.0)).flatten(1, 2)
    found = torch.cat((bias[:, :1], bias.diff(dim=1)), 1).square().mean((0, 2))
    expected = torch.tensor([0.25 + 0.25, 0.5, 2.25, 4.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0.12, atol=0)
    found = drawn(ImuErrors(gyro_density=1.0)).square().mean((0, 2, 3))
    expected = torch.tensor([2.0, 0.25], dtype=torch.float64)  # a reading stands for half a second, then for four
    torch.testing.assert_close(found, expected, rtol=0.12, atol=0)


def test_the_perfect_sensor_reads_the_derivatives_of_the_path(bends: RigidPath) -> None:
    frame_times = torch.arange(50, dtype=torch.float64) / 10
    motion = bends.motion(reading_times(frame_times, 10).flatten())
    gravity = torch.tensor(GRAVITY, dtype=torch.float64)
    force = (motion.world_T_cam[:, :3, :3].mT @ (motion.acceleration - gravity)[..., None])[..., 0]
    expected = torch.cat((motion.angular_rate, force), 1).view(49, 10, 6)
    for seed in (0, 7):
        assert torch.equal(imu_readings(bends, frame_times, 10, ImuErrors(), seed), expected)


def test_each_kind_of_error_is_drawn_for_itself(still: RigidPath) -> None:
    frame_times = torch.arange(4001, dtype=torch.float64) / 10
    names = [field.name for field in fields(ImuErrors)]
    alone = [errors_of(still, frame_times, 5, ImuErrors(**{name: 1.0})) for name in names]
    torch.testing.assert_close(errors_of(still, frame_times, 5, ImuErrors(**dict.fromkeys(names, 1.0))), sum(alone))
    for name, error in zip(names, alone, strict=True):
        gyro, accelerometer = (error[..., part].abs().max() for part in (slice(0, 3), slice(3, 6)))
        assert (float(gyro) > 0.1, float(accelerometer) > 0.1) == (name[0] == "g", name[0] == "a")
    noise = (alone[2] + alone[3]).view(-1, 6)
    walk = (alone[4] + alone[5]).view(-1, 6).diff(dim=0)
    pairs = torch.corrcoef(torch.cat((noise[1:], walk), 1).T) - torch.eye(12)
    assert float(pairs.abs().max()) < 0.03  # nor do axes share them


def test_mems_is_the_sensor_of_euroc_and_reaches_datasets_and_files(bends: RigidPath, tmp_path: Path) -> None:
    assert imu_errors_of("mems") == MEMS
    assert imu_errors_of(None) == ImuErrors()
    assert math.degrees(MEMS.gyro_bias) == pytest.approx(0.5)
    exact, real, ours = (
        RenderedRecording("bends", 4, 6, SIZE, imu=True, imu_errors=errors).clip(range(6)).imu
        for errors in (None, "mems", MEMS)
    )
    assert torch.equal(real[1:], ours[1:])
    off = (real - exact)[1:].flatten(0, 1).abs().mean(0)
    assert 1e-4 < float(off[:3].max()) < 0.05
    assert 1e-2 < float(off[3:].max()) < 1.0
    render_to_kitti("bends", 6, 4, tmp_path, SIZE, stereo=False, imu_errors="mems")
    torch.testing.assert_close(KITTIOdometry(tmp_path, [4], imu=True, clip_length=6)[0].imu, real, equal_nan=True)
    for words, errors in (("mems", MEMS), (None, ImuErrors()), ({"gyro_bias": 0.25}, ImuErrors(gyro_bias=0.25))):
        spec = {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": {"imu": True, "imu_errors": words}}
        made = build(Rendered, spec, "data.yaml")
        assert made.recordings[0]._imu_errors == errors
    for words, message in (
        ("cheap", r".*imu_errors.*cheap"),
        ({"gyro_bias": -1.0}, "gyro_bias -1.0 of an inertial sensor"),
    ):
        spec = {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": {"imu": True, "imu_errors": words}}
        with pytest.raises(Vo3dError, match=rf"^data\.yaml: {message}[^\n]*$"):
            build(Rendered, spec, "data.yaml")
    with pytest.raises(Vo3dError, match="imu_errors 'cheap': expected mems, the numbers of ImuErrors, or none"):
        inspect.unwrap(imu_errors_of)("cheap")  # types are checked under test alone, and before this is


@pytest.mark.real
def test_mems_has_the_numbers_that_euroc_states(shared_data: Path) -> None:
    text = (shared_data / "euroc/MH_01_easy/mav0/imu0/sensor.yaml").read_text()
    stated = yaml.safe_load(text)
    assert MEMS.gyro_density == stated["gyroscope_noise_density"]
    assert MEMS.gyro_walk == stated["gyroscope_random_walk"]
    assert MEMS.accelerometer_density == stated["accelerometer_noise_density"]
    assert MEMS.accelerometer_walk == stated["accelerometer_random_walk"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ImuErrors(gyro_bias=-0.1), "gyro_bias -0.1 of an inertial sensor: expected a number of at least 0"),
        (lambda: ImuErrors(accelerometer_walk=math.nan), "accelerometer_walk nan of an inertial sensor"),
        (lambda: ImuErrors(gyro_density=math.inf), "gyro_density inf of an inertial sensor"),
        (lambda: RenderedRecording("street", 0, 3, SIZE, imu=True, imu_readings=-1).clip([0, 1]), "-1 imu readings"),
    ],
)
def test_errors_that_no_sensor_has_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(Vo3dError) as caught:
        make()
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)

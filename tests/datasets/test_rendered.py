"""The rendered world as a dataset: fields on request, cache, workers; the same frames as through files."""

import pytest
import torch
from torch.utils.data import DataLoader

from vo3d.datasets.kitti import KITTIOdometry
from vo3d.datasets.rendered import Rendered, RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.sample import Sample
from vo3d.settings.build import build
from vo3d.world.drive_files import render_to_kitti
from vo3d.world.sensor import Sensor, drawn_sensor

SIZE = (32, 96)
EVERYTHING = {"stereo": True, "depth": True, "flow": True, "mask": True, "imu": True}


def assert_equal(first: Sample, second: Sample) -> None:
    assert first.given() == second.given()
    for name in first.given():
        one, two = getattr(first, name), getattr(second, name)
        if isinstance(one, torch.Tensor):
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)
        else:
            assert one == two


def test_clips_carry_what_was_asked_for():
    plain = RenderedRecording("street", 7, 6, SIZE).clip([0, 1])
    assert set(plain.given()) == {"image", "K", "world_T_cam", "time", "scene", "index"}
    assert plain.scene == "street-0007"
    full = RenderedRecording("street", 7, 6, SIZE, **EVERYTHING)
    clip = full.clip([1, 3, 5])
    assert clip.image.shape == clip.right.shape == (3, 3, *SIZE)
    assert clip.depth.shape == clip.mask.shape == (3, *SIZE)
    assert clip.flow.shape == (2, 2, *SIZE)
    assert not clip.flow.isnan().all()
    assert clip.imu.shape == (3, 20, 6)
    assert clip.imu[0].isnan().all()
    assert torch.equal(clip.imu_time.isnan(), clip.imu.isnan().all(-1))
    torch.testing.assert_close(clip.imu[1], torch.cat((full.clip([1, 2]).imu[1], full.clip([2, 3]).imu[1])))
    assert clip.index.tolist() == [1, 3, 5]
    torch.testing.assert_close(clip.world_T_cam, full.poses()[[1, 3, 5]])
    torch.testing.assert_close(clip.time, torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64))
    assert float(clip.left_T_right[0, 3]) == pytest.approx(0.54)
    torch.testing.assert_close(full.poses()[0], torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)
    assert torch.equal(clip.image * 255, (clip.image * 255).round())


@pytest.mark.parametrize("fields", [{"stereo": True}, EVERYTHING])
def test_cached_clips_equal_fresh_ones(fields):
    fresh = Rendered(seeds=[3], frames=5, size=SIZE, **fields)
    cached = Rendered(seeds=[3], frames=5, size=SIZE, cache=True, **fields)
    for _ in range(2):
        for index in (2, 0, 3, 1):
            assert_equal(cached[index], fresh[index])


@pytest.mark.parametrize("fields", [{}, {"depth": True, "flow": True, "stereo": True}])
def test_the_cache_renders_a_frame_once(fields, monkeypatch):
    recording = RenderedRecording("street", 3, 4, SIZE, cache=True, **fields)
    expected = recording.clip([0, 1])
    monkeypatch.setattr(type(recording._recorder), "frame", lambda *args, **kwargs: pytest.fail("rendered twice"))
    assert_equal(recording.clip([0, 1]), expected)


def test_workers_in_any_number_make_the_same_clips():
    dataset = Rendered(seeds=[1, 2], frames=4, size=SIZE, cache=True, flow=True)
    expected = [dataset[index] for index in range(len(dataset))]
    loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=Sample.collate, multiprocessing_context="fork")
    for batch, clip in zip(loader, expected, strict=True):
        assert_equal(batch, Sample.collate([clip]))


def test_seeds_are_recordings():
    dataset = Rendered(seeds=[5, 6], frames=4, size=SIZE, clip_length=3)
    assert [recording.name for recording in dataset.recordings] == ["street-0005", "street-0006"]
    assert len(dataset) == 4
    assert dataset[3].scene == "street-0006"
    assert not torch.equal(dataset[0].image, dataset[2].image)


def test_every_recording_draws_a_camera_of_its_own():
    dataset = Rendered(seeds=[3, 4], frames=3, size=SIZE, sensor="drawn", stereo=True)
    for clip, seed in zip((dataset[0], dataset[2]), (3, 4), strict=True):
        sensor = drawn_sensor(seed)
        assert float(clip.K[0, 0, 0]) == pytest.approx(sensor.focal * SIZE[1])
        assert float(clip.K[0, 1, 2]) == pytest.approx(sensor.centre[1] * SIZE[0] - 0.5)
        assert float(clip.left_T_right[0, 3]) == pytest.approx(sensor.baseline)
    assert Sample.collate([dataset[0], dataset[2]]).K.shape == (2, 2, 3, 3)


def test_cameras_are_set_in_yaml():
    init = {"seeds": [3], "frames": 3, "size": list(SIZE)}
    lens = ["radtan", [-0.2, 0.05, 0.0, 0.0]]
    settings = {"focal": 0.7, "centre": [0.45, 0.5], "pitch": 0.05, "motion_blur": 0.5, "lens": lens}
    same = Sensor(focal=0.7, centre=(0.45, 0.5), pitch=0.05, motion_blur=0.5, lens=("radtan", (-0.2, 0.05, 0.0, 0.0)))
    for sensor, expected in ((settings, same), ("drawn", "drawn"), (None, Sensor())):
        config = {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": init | {"sensor": sensor}}
        made = build(Rendered, config, "data").recordings[0]
        assert_equal(made.clip([1]), RenderedRecording("street", 3, 3, SIZE, sensor=expected).clip([1]))
    for sensor, words in (({"focal": 0}, "focal 0.0 of a camera"), ("new", "new"), ({"lens": ["bent", []]}, "bent")):
        with pytest.raises(Vo3dError, match=words) as caught:
            build(Rendered, {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": {"sensor": sensor}})
        assert "\n" not in str(caught.value)


def test_files_read_back_to_the_same_samples(tmp_path):
    render_to_kitti("street", frames=5, seed=7, out=tmp_path, size=SIZE)
    files = KITTIOdometry(tmp_path, ["07"], stereo=True, imu=True, clip_length=3)
    rendered = Rendered(seeds=[7], frames=5, size=SIZE, stereo=True, imu=True, clip_length=3)
    assert len(files) == len(rendered) == 3
    for index in range(3):
        read, made = files[index], rendered[index]
        assert torch.equal((read.image * 255).round(), (made.image * 255).round())
        assert torch.equal((read.right * 255).round(), (made.right * 255).round())
        torch.testing.assert_close(read.world_T_cam, made.world_T_cam, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(read.K, made.K, atol=1e-5, rtol=1e-6)
        torch.testing.assert_close(read.time, made.time, atol=1e-9, rtol=0)
        torch.testing.assert_close(read.left_T_right, made.left_T_right, atol=1e-6, rtol=0)
        torch.testing.assert_close(read.imu, made.imu, atol=1e-5, rtol=1e-5, equal_nan=True)
        torch.testing.assert_close(read.imu_time, made.imu_time, atol=1e-9, rtol=0, equal_nan=True)
        assert read.given() == made.given()


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(Vo3dError, match="no scene kind 'moon': expected one of room, street"):
        Rendered("moon", [0])
    with pytest.raises(Vo3dError, match="1 frames of 'street': expected at least 2"):
        render_to_kitti("street", 1, 0, tmp_path, (32, 96))
    with pytest.raises(Vo3dError, match=r"33x96 .*expected even numbers"):
        render_to_kitti("street", 4, 0, tmp_path, (33, 96))
    with pytest.raises(Vo3dError, match="seed -1"):
        Rendered(seeds=[-1])
    with pytest.raises(Vo3dError, match="named twice"):
        Rendered(seeds=[1, 1])
    with pytest.raises(Vo3dError, match="samples 0"):
        Rendered(sensor=Sensor(samples=0))
    with pytest.raises(Vo3dError, match="frame 4 of 'street-0000': expected 0 to 3"):
        RenderedRecording("street", 0, 4, SIZE).clip([3, 4])
    with pytest.raises(Vo3dError, match="expected ascending views at one distance"):
        RenderedRecording("street", 0, 4, SIZE, imu=True).clip([0, 1, 3])
    assert list(tmp_path.iterdir()) == []

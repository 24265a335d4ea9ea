"""Files of rendered drives: what lies beside KITTI's layout is what the recorder knows."""

import json

import cv2
import numpy as np
import pytest
import torch

from vo3d.datasets.kitti import KITTIOdometry
from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_depth_png, read_image, write_counts
from vo3d.world.drive_files import COUNTS_PER_METRE, contact_sheet, render_to_kitti
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor, drawn_sensor
from vo3d.world.visit import Visit

SIZE = (48, 160)
VISIT = Visit(place_seed=3, time="low-sun")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    render_to_kitti("street", 14, 7, folder, SIZE, stereo=False, sensor=Sensor(height=1.4), visit=VISIT, truth=True)
    return folder


@pytest.fixture(scope="module")
def recorder():
    return Recorder("street", 7, 14, SIZE, Sensor(height=1.4), visit=VISIT)


def test_maps_are_those_of_the_frames(folder, recorder):
    truth = folder / "truth" / "07"
    for index in (0, 6, 13):
        frame = recorder.frame(index, label=True)
        depth = read_depth_png(truth / "depth" / f"{index:06d}.png", metres_per_count=1 / COUNTS_PER_METRE)
        expected = torch.where(frame.depth < 255.99, frame.depth, 0.0)
        torch.testing.assert_close(depth, expected, atol=0.5 / COUNTS_PER_METRE + 1e-5, rtol=0)
        for name, expected in (("mask", frame.mask), ("label", frame.label)):
            found = cv2.imread(str(truth / name / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(found, expected.numpy())
    assert len(list((truth / "label").iterdir())) == 14


def test_motions_are_those_of_the_ids_in_view(folder, recorder):
    rows = np.loadtxt(folder / "truth" / "07" / "object_motion.txt", ndmin=2)
    motions = recorder.object_motion(range(14))
    expected = [(i, one) for i in range(13) for one in recorder.frame(i).mask.unique().tolist() if one]
    assert [tuple(row[:2].astype(int)) for row in rows] == expected
    assert len(expected) > 5
    for row in rows:
        motion = motions[int(row[0]), int(row[1]) - 1, :3]
        torch.testing.assert_close(torch.from_numpy(row[2:]).view(3, 4), motion, atol=1e-9, rtol=1e-9)


def test_the_scene_can_be_drawn_again_from_its_file(folder, recorder):
    written = json.loads((folder / "truth" / "07" / "scene.json").read_text())
    assert written["seeds"] == {"place": 3, "time": 7, "movers": 7, "path": 7}
    sensor = written["sensor"] | {"centre": tuple(written["sensor"]["centre"])}
    again = RenderedRecording(
        written["scene"], written["seed"], written["frames"], tuple(written["size"]),
        sensor=Sensor(**sensor), visit=Visit(**written["visit"]),
    )  # fmt: skip
    read = KITTIOdometry(folder, ["07"], imu=True)
    sample, made = read[4], again.clip([4, 5])
    assert torch.equal((sample.image * 255).round(), (made.image * 255).round())
    torch.testing.assert_close(sample.world_T_cam, made.world_T_cam, atol=1e-6, rtol=1e-6)  # in the place's frame
    assert float(made.world_T_cam[0, 1, 3]) == pytest.approx(0.25, abs=0.06)


def test_a_sheet_shows_frames_from_the_first_to_the_last(folder, recorder):
    sheet = read_image(folder / "truth" / "07" / "contact_sheet.png")
    assert sheet.shape == (3, 4 * (SIZE[0] + 4), 3 * (SIZE[1] + 4))
    corner = (sheet[:, 2 : 2 + SIZE[0], 2 : 2 + SIZE[1]] * 255).round()
    assert torch.equal(corner, recorder.frame(0).image.float())
    last = (sheet[:, -2 - SIZE[0] : -2, -2 - SIZE[1] : -2] * 255).round()
    assert torch.equal(last, recorder.frame(13).image.float())
    assert contact_sheet([torch.zeros(3, 4, 6, dtype=torch.uint8)] * 4).shape == (3, 16, 30)


def test_drawn_cameras_and_errors_reach_the_files(tmp_path):
    render_to_kitti("street", 3, 11, tmp_path, SIZE, imu_errors="mems", sensor="drawn")
    sample = KITTIOdometry(tmp_path, ["11"], stereo=True)[0]
    sensor = drawn_sensor(11)
    assert float(sample.K[0, 0, 0]) == pytest.approx(sensor.focal * SIZE[1], rel=1e-6)
    assert float(sample.left_T_right[0, 3]) == pytest.approx(sensor.baseline, rel=1e-6)
    assert not (tmp_path / "truth").exists()


def test_what_cannot_be_written_is_refused(tmp_path):
    lens = Sensor(lens=("radtan", (-0.1, 0.02, 0.0, 0.0)))
    with pytest.raises(Vo3dError, match=r"lens .* KITTI's files have no room"):
        render_to_kitti("street", 3, 0, tmp_path, SIZE, sensor=lens, truth=True)
    with pytest.raises(Vo3dError, match=r"numbers from 0 to 256: expected 0 to 255"):
        write_counts(tmp_path / "a.png", torch.tensor([[0, 256]]), bits=8)
    with pytest.raises(Vo3dError, match=r"imu_errors 'mems' without inertial readings"):
        render_to_kitti("street", 3, 0, tmp_path, SIZE, imu=False, imu_errors="mems")
    with pytest.raises(Vo3dError, match=r"imu_errors 'mems' without inertial readings"):
        RenderedRecording("street", 0, 3, SIZE, imu_errors="mems")
    assert list(tmp_path.iterdir()) == []


def test_no_truth_is_left_of_a_longer_drive(tmp_path):
    write_counts(tmp_path / "truth" / "04" / "mask" / "000009.png", torch.zeros(4, 4, dtype=torch.long), bits=16)
    with pytest.raises(Vo3dError, match=r"truth/04: holds files already: remove the folder"):
        render_to_kitti("street", 3, 4, tmp_path, SIZE, truth=True)
    assert not (tmp_path / "sequences").exists()

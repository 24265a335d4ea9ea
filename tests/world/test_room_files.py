"""Files of rendered rooms: the reader of 7-Scenes gives back what the recorder took."""

import json
from pathlib import Path

import pytest
import torch

from vo3d.datasets.sevenscenes import SevenScenes, scene
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.world.recorder import Recorder
from vo3d.world.room_files import HAND_HELD, render_to_7scenes
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Three sequences of small images, which nobody reads as 7-Scenes."""
    root = tmp_path_factory.mktemp("rooms")
    visit = Visit(place_seed=7)
    assert render_to_7scenes("room", 2, 3, root, (24, 32), (2, 1), visit=visit) == root / "room-0007"
    return root


def test_the_reader_of_7scenes_gives_back_frames_poses_and_depth(tmp_path):
    folder = render_to_7scenes("room", 2, 3, tmp_path, sequences=(1, 1), visit=Visit(place_seed=7))
    read = SevenScenes(tmp_path, "room-0007", split="test", depth="required", depth_focal=525.0, clip_length=2)
    sample = read[0]
    again = json.loads((folder / "scene.json").read_text())
    sensor = again["sensor"] | {"centre": tuple(again["sensor"]["centre"])}
    last = again["sequences"]["seq-02"]
    recorder = Recorder("room", last["seed"], 2, tuple(again["size"]), Sensor(**sensor), visit=Visit(**again["visit"]))
    frame = recorder.frame(1)
    assert torch.equal((sample.image[1] * 255).round(), frame.image.float())
    torch.testing.assert_close(sample.world_T_cam, recorder.poses(), atol=1e-6, rtol=0)
    torch.testing.assert_close(sample.depth[1], torch.where(frame.depth < 65.5, frame.depth, 0.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(sample.K[1].double(), recorder.camera.K, atol=1e-4, rtol=0)
    assert sample.K[1].tolist() == [[525.0, 0.0, 320.0], [0.0, 525.0, 240.0], [0.0, 0.0, 1.0]]
    assert read_image(folder / "contact_sheet.png").shape == (3, 2 * 244, 3 * 324)
    opened = scene(folder / "seq-02", every=1)  # what is reconstructed is scored by the same depth
    assert torch.equal(opened.clip([1]).depth[0], sample.depth[1])
    (folder / "scene.json").write_text('{"depth_focal": "585"}')
    with pytest.raises(Vo3dError, match="depth_focal is '585': expected pixels"):
        scene(folder / "seq-02", every=1)


def test_sequences_are_split_and_lie_in_one_place_by_paths_of_their_own(small):
    names = {
        split: [recording.name for recording in SevenScenes(small, "room-0007", split=split).recordings]
        for split in ("train", "test")
    }
    assert names == {"train": ["room-0007_seq-01", "room-0007_seq-02"], "test": ["room-0007_seq-03"]}
    sequences = json.loads((small / "room-0007" / "scene.json").read_text())["sequences"]
    assert [sequence["split"] for sequence in sequences.values()] == ["train", "train", "test"]
    for part, different in (("place", 1), ("time", 1), ("movers", 3), ("path", 3)):
        assert len({sequence["seeds"][part] for sequence in sequences.values()}) == different
    assert read_image(small / "room-0007" / "contact_sheet.png").shape == (3, 2 * 16, 3 * 20)


def test_other_sizes_keep_the_field_of_view(small):
    folder = small / "room-0007"
    assert read_image(folder / "seq-02" / "frame-000001.color.png").shape == (3, 24, 32)
    K = torch.tensor(json.loads((folder / "scene.json").read_text())["K"])
    torch.testing.assert_close(K, torch.tensor([[26.25, 0, 15.525], [0, 26.25, 11.525], [0, 0, 1]]))


def test_what_cannot_be_written_is_refused(small, tmp_path):
    with pytest.raises(Vo3dError, match=r"room-0007: holds files already: remove the folder"):
        render_to_7scenes("room", 2, 7, small)
    with pytest.raises(Vo3dError, match=r"sequences 3 0: expected at least one for training and one for testing"):
        render_to_7scenes("room", 2, 7, tmp_path, sequences=(3, 0))
    with pytest.raises(Vo3dError, match=r"path_seed 4 of several sequences: each has a path of its own"):
        render_to_7scenes("room", 2, 7, tmp_path, visit=Visit(path_seed=4))
    assert list(tmp_path.iterdir()) == []
    assert HAND_HELD.rate == 30

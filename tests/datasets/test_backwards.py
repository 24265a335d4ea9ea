"""A path walked backwards: the same views the other way round, in a time that ascends."""

import pytest
import torch

from tiny import TinyRecording, Whole
from vo3d.datasets.backwards import Backwards, BackwardsRecording
from vo3d.datasets.clips import ClipDataset, Segments
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry import se3, trajectory
from vo3d.recording import MultiViewScene
from vo3d.settings.build import build

FORWARD = TinyRecording(3, frames=7)


def test_views_come_in_the_opposite_order_with_their_numbers_names_and_poses() -> None:
    back = BackwardsRecording(FORWARD)
    sample, same = back.clip([0, 1, 5]), FORWARD.clip([6, 5, 1])

    assert (back.name, len(back)) == ("tiny-3_backwards", 7)
    assert list(back.frames) == [6, 5, 4, 3, 2, 1, 0]
    assert list(back.names) == list(FORWARD.names)[::-1]
    assert torch.equal(sample.image, same.image)
    assert torch.equal(sample.world_T_cam, same.world_T_cam)  # type: ignore[arg-type]
    assert torch.equal(sample.world_T_cam, back.poses()[[0, 1, 5]])  # type: ignore[arg-type,index]
    assert torch.equal(back.positions(), FORWARD.positions().flip(0))  # type: ignore[arg-type,union-attr]
    assert sample.scene == back.name
    assert sample.index.tolist() == [0, 1, 5]  # type: ignore[union-attr]
    forth = trajectory.steps(FORWARD.poses()).flip(0)
    torch.testing.assert_close(trajectory.steps(back.poses()), se3.inverse(forth))  # type: ignore[arg-type]


def test_time_is_that_of_a_film_run_backwards() -> None:
    back = BackwardsRecording(FORWARD)
    time, forward = (one.clip(range(7)).time for one in (back, FORWARD))
    assert time[0] == 0  # type: ignore[index]
    torch.testing.assert_close(time.diff(), forward.diff().flip(0))  # type: ignore[union-attr]
    assert torch.equal(back.clip([4]).time, time[[4]])  # type: ignore[arg-type,index]


def test_there_and_back_is_the_recording() -> None:
    again = BackwardsRecording(BackwardsRecording(FORWARD))
    assert list(again.frames) == list(FORWARD.frames)
    for name, value in FORWARD.clip([2, 3]).__dict__.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(getattr(again.clip([2, 3]), name), value)


def test_samples_are_those_of_the_dataset_run_backwards() -> None:
    clips = ClipDataset([TinyRecording(0, 9), TinyRecording(1, 9)], clip_length=3, segments=Segments(frames=6), seed=5)
    back = Backwards(clips)
    assert len(back) == len(clips)
    drawn = []
    for epoch in (0, 1):
        back.set_epoch(epoch)
        for index in range(len(clips)):
            recording, views = clips.place(index)
            assert torch.equal(back[index].image, recording.clip(views).image.flip(0))
            assert back[index].index.diff().min() > 0  # type: ignore[union-attr]
        drawn.append([clips.place(index)[1] for index in range(len(clips))])
    assert drawn[0] != drawn[1]  # the other dataset heard of the epoch


class Album(TinyRecording, MultiViewScene):
    """Views in no order."""

    def sources(self, index: int) -> list[int]:
        """None."""
        return []


def test_what_has_no_way_back_is_refused() -> None:
    with pytest.raises(Vo3dError, match="tiny-0 holds views in no order"):
        Backwards(Whole([Album(0)]))
    moving = Rendered(seeds=[0], frames=3, size=(24, 32), flow=True, imu=True)
    with pytest.raises(Vo3dError, match=r"street-0000 gives flow, imu, which lead forwards.*turn them off"):
        Backwards(moving)[0]


def test_a_file_of_settings_wraps_a_dataset() -> None:
    inner = {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": {"frames": 3, "size": [24, 32]}}
    dataset = build(
        Backwards, {"class_path": "vo3d.datasets.backwards.Backwards", "init_args": {"dataset": inner}}, "x.yaml"
    )
    assert [one.name for one in dataset.recordings] == ["street-0000_backwards"]
    assert dataset[0].image.shape == (2, 3, 24, 32)

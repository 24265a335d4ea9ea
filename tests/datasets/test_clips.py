"""Clips: which frames, never across a border, and augmentation that depends on seed, epoch and index alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from vo3d.datasets.clips import ClipDataset, Segments
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.recording import Recording, Transform
from vo3d.sample import Sample


class Counted(Recording):
    """Images that hold the number of their frame."""

    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self._length = length

    def __len__(self) -> int:
        return self._length

    def clip(self, indices: Sequence[int]) -> Sample:
        """The numbers of the frames, as images."""
        index = torch.tensor(indices)
        image = index.float()[:, None, None, None].expand(-1, 3, 2, 2)
        return Sample(image=image, K=torch.eye(3).expand(len(index), 3, 3), scene=self.name, index=index)

    def poses(self) -> None:
        """No truth."""
        return None


class AddNoise(Transform):
    """Shows what the generator gave."""

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The clip and one number."""
        return replace(sample, image=sample.image + torch.rand((), generator=generator))


lengths = st.lists(st.integers(9, 14), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 5), st.integers(1, 5), st.integers(1, 2))
def test_clips_are_those_of_a_plain_loop(lengths: list[int], clip_length: int, step: int, stride: int) -> None:
    recordings = [Counted(f"r{number}", length) for number, length in enumerate(lengths)]
    expected = []
    for recording in recordings:
        for first in range(0, len(recording), step):
            frames = [first + view * stride for view in range(clip_length)]
            if frames[-1] < len(recording):
                expected.append((recording.name, frames))
    dataset = ClipDataset(recordings, clip_length=clip_length, clip_step=step, frame_stride=stride)
    assert len(dataset) == len(expected)
    for index, (name, frames) in enumerate(expected):
        sample = dataset[index]
        assert sample.index is not None
        assert (sample.scene, sample.index.tolist()) == (name, frames)
        assert sample.image[:, 0, 0, 0].tolist() == frames


def test_segments_share_one_frame_with_the_next() -> None:
    dataset = ClipDataset([Counted("r", 10)], clip_length=4, clip_step=3)
    assert [dataset.place(index)[1] for index in range(len(dataset))] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_several_strides_give_the_clips_of_each() -> None:
    both = ClipDataset([Counted("a", 9), Counted("b", 7)], clip_length=3, frame_stride=[1, 3])
    clips = [(recording.name, frames) for recording, frames in map(both.place, range(len(both)))]
    single = [
        [(recording.name, frames) for recording, frames in map(one.place, range(len(one)))]
        for one in (
            ClipDataset([Counted(name, length)], clip_length=3, frame_stride=stride)
            for name, length in (("a", 9), ("b", 7))
            for stride in (1, 3)
        )
    ]
    assert clips == [clip for group in single for clip in group]
    with pytest.raises(Vo3dError, match="frame_stride is 0"):
        ClipDataset([Counted("a", 9)], clip_length=3, frame_stride=[])


def test_iteration_ends_and_negative_indices_are_refused() -> None:
    dataset = ClipDataset([Counted("r", 5)], clip_length=2)
    assert len([dataset[index] for index in range(len(dataset))]) == 4
    for index in (-1, 4):
        with pytest.raises(IndexError):
            dataset[index]


def test_a_recording_that_is_too_short_is_named() -> None:
    with pytest.raises(Vo3dError, match=r"'short' has 4 frames.*needs 5"):
        ClipDataset([Counted("long", 9), Counted("short", 4)], clip_length=3, frame_stride=2)


def test_no_recording_is_an_error() -> None:
    with pytest.raises(Vo3dError, match="no recording"):
        ClipDataset([], clip_length=2)


@pytest.mark.parametrize("option", ["clip_length", "clip_step", "frame_stride"])
def test_numbers_below_one_are_refused(option: str) -> None:
    with pytest.raises(Vo3dError, match=f"{option} is 0"):
        ClipDataset([Counted("r", 5)], **{"clip_length": 2, option: 0})


def drawn(dataset: ClipDataset, order: Sequence[int]) -> dict[int, float]:
    """What the transform drew for each clip."""
    return {index: float(dataset[index].image[0, 0, 0, 0]) for index in order}


def test_augmentation_depends_on_seed_epoch_and_index_alone() -> None:
    def make(seed: int = 0) -> ClipDataset:
        return ClipDataset([Counted("r", 12)], clip_length=2, transforms=[AddNoise()], seed=seed)

    dataset = make()
    first = drawn(dataset, range(11))
    torch.rand(7)  # the global generator has no say
    assert drawn(dataset, range(10, -1, -1)) == first
    assert len({value - index for index, value in first.items()}) == 11
    dataset.set_epoch(1)
    second = drawn(dataset, range(11))
    assert all(second[index] != first[index] for index in first)
    assert all(drawn(make(seed=1), range(11))[index] != first[index] for index in first)
    # a sum of seed, epoch and index as the seed would repeat the clips of the epoch before, one place further
    assert not {round(second[index] - index, 6) for index in second} & {
        round(first[index] - index, 6) for index in first
    }
    resumed = make()
    resumed.set_epoch(1)
    assert drawn(resumed, [6, 3]) == {6: second[6], 3: second[3]}


def test_workers_make_what_the_main_process_makes() -> None:
    dataset = ClipDataset([Counted("r", 9)], clip_length=2, transforms=[AddNoise()])
    batches = [
        [batch.image for batch in DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=Sample.collate)]
        for workers in (0, 2)
    ]
    assert all(torch.equal(alone, shared) for alone, shared in zip(*batches, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 3))
def test_each_segment_gives_one_of_its_frames(length: int, clip_length: int, epoch: int) -> None:
    """Segment k of K holds the frames from floor(k n / K) to before floor((k + 1) n / K)."""
    for random in (True, False):
        dataset = ClipDataset([Counted("r", length)], clip_length=clip_length, segments=Segments(random=random))
        dataset.set_epoch(epoch)
        frames = dataset.place(0)[1]
        assert len(dataset) == 1
        assert len(frames) == clip_length
        assert all(earlier <= later for earlier, later in pairwise(frames))
        for part, frame in enumerate(frames):
            first, last = part * length // clip_length, (part + 1) * length // clip_length
            own = list(range(first, last)) or [first]  # fewer frames than segments: frames come again
            assert frame in own
            if not random:
                assert frame == own[len(own) // 2]


def test_segments_in_the_middle_are_those_of_the_paper_code() -> None:
    """Windows of equal segments: floor((2 k + 1) n / (2 K))."""
    for length, clip_length in ((10, 5), (9, 3), (400, 8), (3, 3)):
        dataset = ClipDataset([Counted("r", length)], clip_length=clip_length, segments=Segments(random=False))
        expected = [(2 * part + 1) * length // (2 * clip_length) for part in range(clip_length)]
        assert dataset.place(0)[1] == expected


def test_random_segments_draw_every_frame_equally_often() -> None:
    dataset = ClipDataset([Counted("r", 12)], clip_length=3, segments=Segments())
    drawn: Counter[int] = Counter()
    for epoch in range(2000):
        dataset.set_epoch(epoch)
        drawn.update(dataset.place(0)[1])
    assert set(drawn) == set(range(12))
    # each of 4 frames of a segment 500 times of 2000, with a deviation of sqrt(2000 / 4 * 3 / 4) = 19
    assert all(abs(count - 500) < 5 * 19.4 for count in drawn.values())


def test_random_segments_depend_on_seed_epoch_and_index_alone() -> None:
    def places(seed: int, epoch: int, order: Sequence[int]) -> dict[int, list[int]]:
        dataset = ClipDataset([Counted("r", 100)], clip_length=4, clip_step=10, segments=Segments(frames=40), seed=seed)
        dataset.set_epoch(epoch)
        return {index: [frame - 10 * index for frame in dataset.place(index)[1]] for index in order}

    first = places(0, 0, range(7))
    assert places(0, 0, range(6, -1, -1)) == first
    assert len({tuple(frames) for frames in first.values()}) > 1  # neighbours draw for themselves
    assert places(0, 1, range(7)) != first != places(1, 0, range(7))
    transformed = ClipDataset([Counted("r", 12)], clip_length=2, transforms=[AddNoise()], segments=Segments())
    plain = ClipDataset([Counted("r", 12)], clip_length=2, transforms=[AddNoise()])
    noise = [float((one[0].image[0] - one.place(0)[1][0])[0, 0, 0]) for one in (transformed, plain)]
    assert noise[0] == pytest.approx(noise[1], abs=1e-6)  # the transforms draw what they drew


def test_windows_of_segments_slide() -> None:
    dataset = ClipDataset(
        [Counted("a", 10), Counted("b", 3)], clip_length=2, clip_step=3, segments=Segments(random=False, frames=4)
    )
    places = [(recording.name, frames) for recording, frames in map(dataset.place, range(len(dataset)))]
    assert places == [("a", [1, 3]), ("a", [4, 6]), ("a", [7, 9]), ("b", [0, 2])]


def test_segments_give_poses_that_chain() -> None:
    dataset = Rendered(frames=9, size=(8, 16), clip_length=4, segments=Segments())
    sample, truth = dataset[0], dataset.recordings[0].poses()
    assert sample.world_T_cam is not None
    assert truth is not None
    assert sample.index is not None
    steps = se3.relative(sample.world_T_cam[:-1], sample.world_T_cam[1:])
    assert (steps[:, 2, 3] > 0).all()  # the camera drives forward
    torch.testing.assert_close(sample.world_T_cam, truth[sample.index])


def test_segments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Vo3dError, match=r"segments\.frames is 2: expected at least clip_length, which is 3"):
        ClipDataset([Counted("r", 9)], clip_length=3, segments=Segments(frames=2))
    with pytest.raises(Vo3dError, match="frame_stride is"):
        ClipDataset([Counted("r", 9)], clip_length=3, frame_stride=2, segments=Segments())
    with pytest.raises(Vo3dError, match="'empty' has 0 frames"):
        ClipDataset([Counted("empty", 0)], clip_length=3, segments=Segments())

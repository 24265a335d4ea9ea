"""Constant depth: the median of true depths of training frames, and nothing of the recording under test."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from samples import make_sample
from tiny import TinyRecording
from vo3d.errors import Vo3dError
from vo3d.model import check_gives, check_needs
from vo3d.models.constant_depth import POINTS, ConstantDepth
from vo3d.models.ground_plane import GroundPlane
from vo3d.recording import Recording
from vo3d.sample import Sample


class Steps(TinyRecording):
    """Frames of one depth each, which is the number of the frame and 1 m; it notes which are read."""

    def __init__(self, frames: int = 20, size: tuple[int, int] = (4, 6), truth: float = 1.0) -> None:
        super().__init__(frames=frames)
        self.size, self.truth = size, truth
        self.read: list[int] = []

    def clip(self, indices: Sequence[int]) -> Sample:
        """All pixels but one in ten have a depth."""
        self.read += list(indices)
        depth = (1.0 + torch.tensor(list(indices)))[:, None, None].expand(-1, *self.size).clone() * self.truth
        depth[:, 0, ::2] = 0
        image = torch.zeros(len(depth), 3, *self.size)
        return replace(super().clip(indices), image=image, depth=depth)


def test_it_is_the_median_of_what_is_near_enough() -> None:
    model, recording = ConstantDepth(far=15.5), Steps()
    model.fit([recording])
    assert model.depth == 8  # of 1 to 15
    sample = make_sample(b=2, s=3)
    check_needs(model, sample, "the test")
    prediction = model(sample)
    check_gives(model, prediction)
    assert prediction["depth"].shape == (2, 3, 64, 96)
    assert (prediction["depth"] == 8).all()


def test_it_looks_at_some_frames_of_all_recordings() -> None:
    first, second = Steps(frames=20), Steps(frames=10)
    ConstantDepth(frames=3).fit([first, second])
    assert (first.read, second.read) == ([5, 15], [5])


def test_no_frame_outweighs_the_others() -> None:
    """A frame with many more pixels than are looked at counts little more than one that has just so many."""
    large, small = Steps(frames=1, size=(10 * POINTS // 100, 100)), Steps(frames=2, size=(POINTS // 100, 100))
    model = ConstantDepth()
    model.fit([large, small])
    assert model.depth == 1  # frames at 1, 1 and 2 m
    model.fit([small])
    assert model.depth == 1  # the lower of the two in the middle


def test_a_depth_that_is_given_needs_no_training() -> None:
    model = ConstantDepth(depth=7.0)
    model.fit([])
    assert (model(make_sample())["depth"] == 7).all()


def test_it_travels_with_the_weights() -> None:
    model, copy = ConstantDepth(), ConstantDepth()
    model.fit([Steps()])
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(make_sample())["depth"], model(make_sample())["depth"])
    assert list(model.parameters()) == []


@pytest.mark.parametrize("kind", [ConstantDepth, GroundPlane])
@pytest.mark.parametrize(
    ("recordings", "words"),
    [
        ([], "no recording with a frame"),
        ([TinyRecording()], "tiny-0 gives no depth: a baseline is fitted to true depths; turn depth on"),
        ([Steps(truth=0.0)], "true depth"),
        ([Steps(truth=100.0)], "up to 80 m"),
    ],
)
def test_nothing_to_fit_is_told_in_words(
    kind: type[ConstantDepth] | type[GroundPlane], recordings: list[Recording], words: str
) -> None:
    with pytest.raises(Vo3dError, match=words):
        kind().fit(recordings)


@pytest.mark.parametrize("kind", [ConstantDepth, GroundPlane])
def test_wrong_use_is_told_in_words(kind: type[ConstantDepth] | type[GroundPlane]) -> None:
    with pytest.raises(Vo3dError, match=f"{kind.__name__} knows no .*: call fit"):
        kind()(make_sample())
    with pytest.raises(Vo3dError, match="no parameters to train"):
        kind().loss({}, make_sample())
    with pytest.raises(Vo3dError, match="far -1: expected a positive number"):
        kind(far=-1.0)
    with pytest.raises(Vo3dError, match="frames 0: expected a positive number"):
        kind(frames=0)

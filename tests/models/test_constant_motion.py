"""Constant motion: the mean of the training steps, and nothing of the recording under test."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3, trajectory
from vo3d.model import check_gives, check_needs
from vo3d.models.classic import ClassicOdometry
from vo3d.models.constant_motion import ConstantMotion
from vo3d.recording import Recording
from vo3d.sample import Sample


class Path(Recording):
    """A recording of poses alone."""

    def __init__(self, name: str, world_T_cam: Tensor | None, frames: int) -> None:
        self.name = name
        self.world_T_cam = world_T_cam
        self.length = frames

    def __len__(self) -> int:
        return self.length

    def clip(self, indices: Sequence[int]) -> Sample:
        """Nothing to see."""
        raise AssertionError("a baseline is fitted to poses: it must not read images")

    def poses(self) -> Tensor | None:
        """The poses that the test gave."""
        return self.world_T_cam


def path(name: str, *twists: list[float]) -> Path:
    steps = se3.exp(torch.tensor(twists, dtype=torch.float64).reshape(-1, 6))
    world_T_cam = trajectory.chain(steps) if twists else torch.eye(4, dtype=torch.float64)[None]
    return Path(name, world_T_cam, len(world_T_cam))


def images(*batch: int, views: int = 3) -> Sample:
    return Sample(image=torch.zeros(*batch, views, 3, 4, 6), K=torch.eye(3).expand(*batch, views, 3, 3))


def test_identity_before_fit() -> None:
    model = ConstantMotion()
    check_needs(model, images(), "the test")
    prediction = model(images(2))
    check_gives(model, prediction)
    assert torch.equal(prediction["prev_T_cam"], torch.eye(4).expand(2, 2, 4, 4))


def test_the_mean_of_half_turns_about_all_axes_is_no_reflection() -> None:
    model = ConstantMotion()
    model.fit([path("half turns", *(torch.pi * torch.eye(6)[3:]).tolist())])  # their mean matrix is -1/3
    torch.testing.assert_close(torch.linalg.det(model.motion[:3, :3]), torch.tensor(1.0))


def test_mean_of_opposite_turns_is_straight_on() -> None:
    left = [0.0, 0.0, 0.0, 0.0, -0.3, 0.0]
    right = [0.0, 0.0, 0.0, 0.0, 0.3, 0.0]
    model = ConstantMotion()
    model.fit([path("one", left, right), path("two", [0.1, 0.0, 1.0, 0.0, 0.0, 0.0], [0.3, 0.0, 2.0, 0.0, 0.0, 0.0])])
    expected = torch.eye(4)
    expected[:3, 3] = torch.tensor([0.1, 0.0, 0.75])
    assert torch.allclose(model.motion, expected, atol=1e-6)


def test_no_constant_is_better() -> None:
    generator = torch.Generator().manual_seed(0)
    twists = torch.tensor([0, 0, 1, 0, 0.1, 0]) + 0.3 * torch.randn(50, 6, generator=generator)
    recording = path("train", *twists.tolist())
    model = ConstantMotion()
    model.fit([recording])
    steps = trajectory.steps(recording.poses())

    def error(motion: Tensor) -> Tensor:
        return (steps - motion).square().sum()

    best = error(model.motion.double())
    for nudge in 0.01 * torch.randn(20, 6, generator=generator, dtype=torch.float64):
        assert error(model.motion.double() @ se3.exp(nudge)) > best
    rotation = model.motion[:3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-6)
    assert torch.linalg.det(rotation) > 0


def test_motion_travels_with_the_weights() -> None:
    model, copy = ConstantMotion(), ConstantMotion()
    model.fit([path("train", [0.0, 0.0, 1.0, 0.0, 0.1, 0.0])])
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(images())["prev_T_cam"], model(images())["prev_T_cam"])
    assert list(model.parameters()) == []


def test_truth_of_the_clip_is_ignored() -> None:
    model = ConstantMotion()
    model.fit([path("train", [0.0, 0.0, 1.0, 0.0, 0.0, 0.0])])
    plain = images()
    told = Sample(image=plain.image, K=plain.K, world_T_cam=torch.rand(3, 4, 4).double())
    assert torch.equal(model(plain)["prev_T_cam"], model(told)["prev_T_cam"])


def test_classic_takes_the_mean_speed() -> None:
    model = ClassicOdometry(scale="constant")
    model.fit([path("train", [0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0, 0.0, 0.0])])
    assert float(model.step) == pytest.approx(2.0)
    assert model.scale_source == "constant step 2 m"


@pytest.mark.parametrize("model", [ConstantMotion(), ClassicOdometry()])
@pytest.mark.parametrize(
    ("recordings", "words"),
    [
        ([], "at least one step"),
        ([path("single")], "at least one step"),
        ([Path("blind", None, 9)], "blind has no poses"),
    ],
)
def test_nothing_to_fit_is_told_in_words(model: ConstantMotion, recordings: list[Path], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        model.fit(recordings)


def test_there_is_nothing_to_train() -> None:
    with pytest.raises(Vo3dError, match="no parameters"):
        ConstantMotion().loss({}, images())

"""The tracker of key frames on a drawn corridor, whose motions are known exactly."""

import numpy as np
import pytest
import torch
from numpy import ndarray

from corridor import HALL, MOTORWAY, WIDTH, clip
from vo3d.geometry.grey import grey_image
from vo3d.mapping.key_frames import KeyFrameTracker
from vo3d.sample import Sample

NEAR = tuple((normal, offset / 3, 120) for normal, offset, _ in HALL)  # a room in which steps of 3 cm are seen


def followed(sample: Sample, **options: int) -> tuple[ndarray, KeyFrameTracker, int]:
    """World positions of the frames, the tracker, and how many were settled before the end."""
    tracker = KeyFrameTracker(num_features=400, threshold=0.5, min_parallax=0.3, **options)
    assert sample.K is not None
    for image, K in zip(sample.image, sample.K, strict=True):
        tracker.add(grey_image(image), K.double().numpy())
    settled = tracker.settled
    tracker.end()
    return np.stack(tracker.poses)[:, :3, 3], tracker, settled


def standing(sample: Sample, count: int, noise: float) -> Sample:
    """A clip that goes on with `count` noisy images of its last view."""
    random = torch.Generator().manual_seed(1)
    more = sample.image[-1:] + noise * torch.randn(count, *sample.image.shape[1:], generator=random)
    image = torch.cat([sample.image, more.clamp(0, 1)])
    assert sample.K is not None
    return Sample(image=image, K=sample.K[:1].expand(len(image), 3, 3))


def lengths(positions: ndarray) -> ndarray:
    return np.asarray(np.linalg.norm(np.diff(positions, axis=0), axis=1))


@pytest.mark.parametrize("bundle", [0, 4])
def test_the_lengths_of_unequal_steps_are_carried_on(bundle: int) -> None:
    sample = clip(*["fast"] * 3, *["forward"] * 4, *["fast"] * 2, planes=MOTORWAY, noise=0.005)
    positions, tracker, _ = followed(sample, bundle=bundle)
    true = lengths(sample.world_T_cam[:, :3, 3].numpy())
    ratio = lengths(positions) / true
    assert ratio / np.median(ratio) == pytest.approx(np.ones(9), abs=0.06)
    assert tracker.settled == 10
    assert all(tracker.told)


def test_the_first_key_frame_is_one_unit_away_and_frames_that_waited_lie_between() -> None:
    sample = clip(*["slow"] * 12, planes=NEAR, noise=0.005)
    positions, _, settled = followed(sample)
    assert settled == 1  # sideways motion looks much like a turn
    away = np.linalg.norm(positions, axis=1)
    assert away.max() == pytest.approx(1.0, rel=1e-3)
    true = lengths(sample.world_T_cam[:, :3, 3].numpy()).cumsum()
    assert away[1:] == pytest.approx(true / true[-1], abs=0.12)


def test_a_standing_camera_does_not_move() -> None:
    positions, tracker, settled = followed(standing(clip("still", planes=HALL, noise=0.03), 29, noise=0.03))
    assert not positions.any()
    assert (settled, tracker.settled) == (1, 31)  # the others waited for a motion


def test_a_camera_that_stops_stays_where_it_is() -> None:
    positions, _, _ = followed(standing(clip(*["fast"] * 4, planes=MOTORWAY, noise=0.03), 30, noise=0.03))
    step = lengths(positions[:5]).mean()
    assert lengths(positions[5:]).sum() < 0.01 * 30 * step


def test_a_pure_rotation_keeps_the_position() -> None:
    positions, tracker, _ = followed(clip(*["fast"] * 3, *["turn"] * 4, planes=MOTORWAY, noise=0.005))
    assert lengths(positions[3:]).max() < 0.02 * lengths(positions[:4]).mean()
    assert all(tracker.told)


def test_dark_frames_are_not_told_and_the_track_goes_on_after_them() -> None:
    sample = clip(*["forward"] * 8, noise=0.005)
    image = sample.image.clone()
    image[4:6] = 0  # a lens cap
    positions, tracker, _ = followed(Sample(image=image, K=sample.K))
    assert tracker.told == [True] * 4 + [False] * 2 + [True] * 3
    true = sample.world_T_cam[:, :3, 3].norm(dim=-1).numpy()
    assert np.linalg.norm(positions[6:], axis=1) / true[6:] == pytest.approx(
        np.linalg.norm(positions[3]) / true[3], rel=0.06
    )


def test_after_a_cut_a_new_map_begins_at_the_usual_speed() -> None:
    sample = clip(*["forward"] * 12, noise=0.005)
    image = torch.cat([sample.image[:6], sample.image[6:].flip(-1).roll(WIDTH // 3, -1)])  # something else
    positions, tracker, _ = followed(Sample(image=image, K=sample.K))
    assert tracker.told[:6] == [True] * 6
    assert not any(tracker.told[6:9])
    assert all(tracker.told[9:])
    speed = lengths(positions)
    assert speed[9:].mean() == pytest.approx(speed[:5].mean(), rel=0.5)

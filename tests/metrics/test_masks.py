"""Masks of moving objects and their motions: against all assignments there are, by hand, and where nothing moves."""

from itertools import permutations
from math import cos, degrees, nan, sin

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.metrics.masks import motion_distance, motion_in_camera, rotation_error, score_masks


def overlap(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one | other else nan


def plainly(mask: Tensor, ids: Tensor, least: int) -> tuple[float, float, float, list[int]]:
    """The largest sum of IoU over all assignments, the IoU of what moves and of the rest, and the ids that count."""
    flat = ids.flatten().tolist()
    large = [one for one in sorted(set(flat) - {0}) if flat.count(one) >= least]
    pixels = {place for place, one in enumerate(flat) if one in {0, *large}}
    truth = [{place for place in pixels if flat[place] == one} for one in large]
    found = [{place for place in pixels if one.flatten()[place] >= 0.5} for one in mask]
    spare = [*range(len(found)), *[-1] * len(truth)]
    best = max(
        sum(overlap(one, found[place]) for one, place in zip(truth, choice, strict=True) if place >= 0)
        for choice in permutations(spare, len(truth))
    )
    moving, claimed = set().union(*truth), set().union(*found)
    return best, overlap(moving, claimed), overlap(pixels - moving, pixels - claimed), large


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_assignment_is_the_best_of_all(k: int, generator: torch.Generator) -> None:
    rest = 0
    for _ in range(20):
        ids = torch.randint(0, 5, (4, 6), generator=generator)
        mask = torch.rand(k, 4, 6, generator=generator)
        scores = score_masks(mask, ids, least=5)
        best, moving, background, large = plainly(mask, ids, 5)
        assert scores.objects.tolist() == large
        assert scores.num_small == len(set(ids.flatten().tolist()) - {0, *large})
        assert scores.iou.sum().item() == pytest.approx(best, abs=1e-12)
        assert scores.moving_iou == pytest.approx(moving)
        assert scores.background_iou == pytest.approx(background)
        given = [place for place in scores.masks.tolist() if place >= 0]
        assert len(given) == len(set(given)) <= k
        assert ((scores.masks < 0) == (scores.iou == 0)).all()
        rest += scores.num_small
    assert rest > 10


IDS = torch.tensor(
    [
        [0, 0, 3, 3, 3, 3],
        [0, 0, 3, 3, 3, 3],
        [5, 5, 5, 0, 0, 9],
    ]
)


def test_values_by_hand() -> None:
    mask = torch.zeros(3, 3, 6)
    mask[0, 2, :3] = 0.5  # object 5, at the edge of membership
    mask[1, :2, 2:5] = 1  # 6 of the 8 pixels of object 3
    mask[1, 0, 1] = 0.9  # and one of the background
    mask[2, 0, 5] = 0.49
    mask[2, 2, 5] = 1  # the pixel of object 9, which is too small to count
    scores = score_masks(mask, IDS, least=2)
    assert scores.objects.tolist() == [3, 5]
    assert scores.masks.tolist() == [1, 0]
    assert scores.iou.tolist() == [6 / 9, 1]
    assert scores.num_small == 1
    assert scores.moving_iou == 9 / 12
    assert scores.background_iou == 5 / 8
    assert score_masks(mask, IDS, least=1).iou.tolist() == [6 / 9, 1, 1]


def test_more_objects_than_masks_are_missed() -> None:
    scores = score_masks((IDS[None] == 3).float(), IDS, least=1)
    assert scores.masks.tolist() == [0, -1, -1]
    assert scores.iou.tolist() == [1, 0, 0]
    none = score_masks(torch.zeros(0, 3, 6), IDS, least=1)
    assert none.masks.tolist() == [-1, -1, -1]
    assert (none.moving_iou, none.background_iou) == (0, 6 / 18)


def test_where_nothing_moves_the_background_is_left() -> None:
    ids = torch.zeros(3, 6, dtype=torch.int32)
    mask = torch.zeros(2, 3, 6)
    mask[0, 0] = 1
    scores = score_masks(mask, ids)
    assert (len(scores.objects), scores.moving_iou, scores.background_iou) == (0, None, 12 / 18)
    assert score_masks(mask, IDS, least=9).moving_iou is None  # none is large enough
    full = torch.ones_like(ids)
    assert score_masks(torch.ones(1, 3, 6), full, least=18).background_iou is None


def test_the_motion_of_the_world_is_turned_into_the_axes_of_the_camera(generator: torch.Generator) -> None:
    def motions(*shape: int) -> Tensor:
        return se3.exp(torch.randn(*shape, 6, generator=generator, dtype=torch.float64))

    world, pose = motions(2, 3), motions(2)
    found = motion_in_camera(world, pose)
    point = torch.randn(3, generator=generator, dtype=torch.float64)
    for b in range(2):
        for k in range(3):
            seen = se3.transform(se3.inverse(pose[b]), se3.transform(world[b, k], se3.transform(pose[b], point)))
            torch.testing.assert_close(se3.transform(found[b, k], point), seen)


def test_errors_of_motions_are_angles_and_ways_of_points(generator: torch.Generator) -> None:
    angle = 0.03
    turn = torch.eye(4, dtype=torch.float64)
    turn[0, 0] = turn[2, 2] = cos(angle)
    turn[0, 2], turn[2, 0] = sin(angle), -sin(angle)
    shift = torch.eye(4, dtype=torch.float64)
    shift[:3, 3] = torch.tensor([1.0, 2.0, 2.0])
    still = torch.eye(4, dtype=torch.float64)
    found = rotation_error(torch.stack((turn, shift, turn)), torch.stack((still, turn, turn)))
    assert found.tolist() == pytest.approx([degrees(angle), degrees(angle), 0], abs=1e-9)
    points = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    assert motion_distance(shift, still, points) == pytest.approx(3)
    radii = points[:, [0, 2]].norm(dim=-1)
    assert motion_distance(turn, still, points) == pytest.approx(float(radii.mean()) * 2 * sin(angle / 2))
    # about a pivot elsewhere the same motion has another translation, and the way of the points is the same
    pivot = shift @ turn @ se3.inverse(shift)
    moved = points + shift[:3, 3]
    assert motion_distance(pivot, still, moved) == pytest.approx(motion_distance(turn, still, points))
    assert motion_distance(turn.float(), turn, points) == pytest.approx(0, abs=1e-6)


def test_wrong_input_is_one_line() -> None:
    mask = torch.zeros(1, 3, 6)
    for value in (1.1, -0.1, nan):
        mask[0, 0, 0] = value
        with pytest.raises(Vo3dError, match=r"1 of 18 memberships in masks are outside of \[0, 1\] or NaN"):
            score_masks(mask, IDS)
    with pytest.raises(Vo3dError, match="an object has the id -1: expected ids from 1 on"):
        score_masks(torch.zeros(1, 3, 6), -(IDS > 0).long())
    truth = torch.eye(4, dtype=torch.float64)[None]
    for motion in (2 * truth, truth / 0, torch.diag(torch.tensor([-1.0, 1, 1, 1]))[None]):
        with pytest.raises(Vo3dError, match="a motion of an object is not rigid"):
            rotation_error(motion, truth)

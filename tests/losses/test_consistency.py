"""Consistency of two views against loops over pixels, and where depths, cameras and flows are known exactly."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from stereo_scenes import StereoScene, street_scene, wall_scene
from textured_plane import textured_plane
from vo3d.geometry import reproject, se3
from vo3d.geometry.camera import pixel_grid
from vo3d.losses import disparity_consistency, masked_mean, moved_depth_error, registration_error, round_trip_error

H, W = 6, 8
K = torch.tensor([[7.0, 0.3, 3.4], [0, 6.0, 2.6], [0, 0, 1]], dtype=torch.float64)
K_OTHER = torch.tensor([[6.5, 0.0, 3.7], [0, 6.6, 2.3], [0, 0, 1]], dtype=torch.float64)
MOTION = se3.exp(torch.tensor([0.3, -0.1, 0.2, 0.03, -0.05, 0.04], dtype=torch.float64))
UNKNOWN = (0.0, -1.0, math.nan, math.inf)


def _registered(
    depth: Tensor, other: Tensor, K: Tensor, other_T_cam: Tensor, K_other: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The error of registration where the depth's points lie in the other view."""
    pixels, _ = reproject(depth, K, other_T_cam, K_other)
    return registration_error(depth, other, pixels, K, other_T_cam, K_other)


def _bilinear(maps: Tensor, x: float, y: float) -> list[float] | None:
    """The channels of maps c h w between four pixels; None outside, for NaN coordinates, or beside a NaN.

    A NaN with a weight of less than 1e-3, as rounding might give it, has none.
    """
    c, h, w = maps.shape
    if not (0 <= x <= w - 1 and 0 <= y <= h - 1):  # nor for NaN
        return None
    i, j = min(int(y), h - 2), min(int(x), w - 2)
    parts = [(i + di, j + dj, abs(1 - di - (y - i)) * abs(1 - dj - (x - j))) for di, dj in product((0, 1), repeat=2)]
    parts = [part for part in parts if not maps[:, part[0], part[1]].isnan().any()]
    total = sum(weight for _, _, weight in parts)
    if total <= 1 - 1e-3:
        return None
    return [sum(weight * float(maps[k, row, column]) for row, column, weight in parts) / total for k in range(c)]


def _known(maps: Tensor) -> Tensor:
    """The same with NaN for all that is unknown."""
    return torch.where((maps > 0) & maps.isfinite(), maps, torch.nan)


def _depths(generator: torch.Generator, *batch: int, holes: bool = False) -> Tensor:
    """Random depths of 4 to 6 m, perhaps with every kind of gap."""
    depth = 4 + 2 * torch.rand(*batch, H, W, generator=generator, dtype=torch.float64)
    if holes:
        for index, gap in enumerate(UNKNOWN):
            depth[..., (2 * index + 1) % H, (3 * index + 2) % W] = gap
    return depth


def _compare(found: tuple[Tensor, Tensor], expected: list[list[float | None]]) -> None:
    """Errors and masks must be those of the loop, with both kinds of pixels among them."""
    error, valid = found
    wanted = torch.tensor([[value is not None for value in row] for row in expected])
    assert torch.equal(valid, wanted)
    assert 0 < wanted.sum() < wanted.numel()
    values = torch.tensor([[value or 0.0 for value in row] for row in expected], dtype=torch.float64)
    torch.testing.assert_close(error, values, rtol=0, atol=1e-10)


def test_disparity_consistency_equals_a_loop(generator: torch.Generator) -> None:
    disparity, other = 3 / _depths(generator), 3 / _depths(generator)
    pixels = pixel_grid(H, W, dtype=torch.float64) - torch.stack((disparity, torch.zeros(H, W)), dim=-1)
    for index, gap in enumerate(UNKNOWN):
        other[index, index + 1], disparity[index + 2, 7 - index] = gap, gap
    pixels[1, 5] = torch.nan
    pixels[5, 2] = torch.tensor([1.0, 9.0])

    expected: list[list[float | None]] = [[None] * W for _ in range(H)]
    for y, x in product(range(H), range(W)):
        seen = _bilinear(_known(other)[None], *pixels[y, x].tolist())
        if seen is not None and float(disparity[y, x]) > 0 and math.isfinite(disparity[y, x]):
            expected[y][x] = abs(float(disparity[y, x]) - seen[0])

    _compare(disparity_consistency(disparity, other, pixels), expected)


@pytest.mark.parametrize("own", [False, True], ids=["one camera", "two cameras"])
def test_registration_error_equals_a_loop(own: bool, generator: torch.Generator) -> None:
    depth, other = _depths(generator, holes=True), _depths(generator, holes=True).flip(-1)
    K_other = K_OTHER if own else K
    back, inverse_K = torch.linalg.inv(MOTION), torch.linalg.inv(K)
    points_other = torch.full((3, H, W), torch.nan, dtype=torch.float64)
    for y, x in product(range(H), range(W)):
        ray = torch.linalg.inv(K_other) @ torch.tensor([x, y, 1.0], dtype=torch.float64)
        points_other[:, y, x] = ray * _known(other)[y, x]

    expected: list[list[float | None]] = [[None] * W for _ in range(H)]
    for y, x in product(range(H), range(W)):
        point = inverse_K @ torch.tensor([x, y, 1.0], dtype=torch.float64) * _known(depth)[y, x]
        pixel = K_other @ (MOTION[:3, :3] @ point + MOTION[:3, 3])
        seen = _bilinear(points_other, *(pixel[:2] / pixel[2]).tolist())
        if seen is not None:
            apart = point - (back[:3, :3] @ torch.tensor(seen, dtype=torch.float64) + back[:3, 3])
            expected[y][x] = sum(abs(float(a)) for a in apart)

    _compare(_registered(depth, other, K, MOTION, K_OTHER if own else None), expected)


def test_moved_depth_error_equals_a_loop(generator: torch.Generator) -> None:
    moved, other = _depths(generator, holes=True).flip(-2), _depths(generator, holes=True).flip(-1)
    pixels = pixel_grid(H, W, dtype=torch.float64) + 2 * torch.randn(H, W, 2, generator=generator, dtype=torch.float64)
    pixels[1, 5] = torch.nan

    expected: list[list[float | None]] = [[None] * W for _ in range(H)]
    for y, x in product(range(H), range(W)):
        seen = _bilinear(_known(other)[None], *pixels[y, x].tolist())
        if seen is not None and math.isfinite(_known(moved)[y, x]):
            expected[y][x] = abs(float(moved[y, x]) - seen[0])

    _compare(moved_depth_error(moved, other, pixels), expected)


def test_round_trip_error_equals_a_loop(generator: torch.Generator) -> None:
    flow, back = 4 * torch.rand(2, 2, H, W, generator=generator, dtype=torch.float64) - 2
    flow[:, 2, 3] = torch.nan
    back[:, 3, 4] = torch.nan
    back[1, 1, 1] = torch.nan  # half a flow is none

    expected: list[list[float | None]] = [[None] * W for _ in range(H)]
    for y, x in product(range(H), range(W)):
        u, v = flow[:, y, x].tolist()
        seen = _bilinear(back, x + u, y + v)
        if seen is not None:
            expected[y][x] = abs(u + seen[0]) + abs(v + seen[1])

    _compare(round_trip_error(flow, back), expected)


def test_a_gap_beside_a_pixel_that_is_met_exactly_does_no_harm() -> None:
    gaps = torch.full((H, W), 5.0)
    gaps[2, 3] = torch.nan
    still = torch.zeros(2, H, W)
    broken = torch.where(gaps.isnan(), torch.nan, still)
    identity, camera = torch.eye(4), K.float()

    for error, valid in (
        _registered(torch.full((H, W), 5.0), gaps, camera, identity),
        disparity_consistency(torch.full((H, W), 5.0), gaps, pixel_grid(H, W)),
        round_trip_error(still, broken),
    ):
        assert torch.equal(valid, ~gaps.isnan())
        assert error.max() < 1e-5


def _left_out(found: tuple[Tensor, Tensor], rows: slice = slice(None), columns: slice = slice(None)) -> None:
    """Inside of the window nothing counts, and elsewhere something does, if there is an elsewhere."""
    error, valid = found
    assert not valid[rows, columns].any()
    assert (error[~valid] == 0).all()
    assert valid.sum() > 0 or (rows, columns) == (slice(None), slice(None))


def test_points_outside_behind_and_unknown_are_left_out(generator: torch.Generator) -> None:
    depth, other = _depths(generator), _depths(generator)
    grid = pixel_grid(H, W, dtype=torch.float64)
    right = torch.tensor([3.0, 0.0], dtype=torch.float64)
    half = depth.clone()
    half[:, :4] = 0.0
    back_away = se3.exp(torch.tensor([0.0, 0, -10.0, 0, 0, 0], dtype=torch.float64))  # all points are behind
    standing = torch.eye(4, dtype=torch.float64)
    turned = se3.exp(torch.tensor([0.0, 0, 0, 0, math.pi, 0], dtype=torch.float64))
    flow = right[:, None, None].expand(2, H, W)

    _left_out(disparity_consistency(depth, other, grid + right), columns=slice(W - 3, None))
    _left_out(disparity_consistency(half, other, grid), columns=slice(4))
    _left_out(disparity_consistency(depth, half, grid), columns=slice(4))
    _left_out(disparity_consistency(depth, other, reproject(depth, K, back_away)[0]))
    _left_out(_registered(half, other, K, standing), columns=slice(4))
    _left_out(_registered(depth, half, K, standing), columns=slice(4))
    _left_out(_registered(depth, other, K, back_away))
    _left_out(_registered(depth, other, K, turned))
    _left_out(round_trip_error(flow, -flow), columns=slice(W - 3, None))
    assert round_trip_error(flow, -flow)[0].max() == 0


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (2, 1, 3)])
def test_any_batch_axes(batch: tuple[int, ...], generator: torch.Generator) -> None:
    depth, other = _depths(generator, *batch), _depths(generator, *batch, holes=True)
    xi = 0.1 * torch.randn(*batch, 6, generator=generator, dtype=torch.float64)
    other_T_cam, cameras = se3.exp(xi), K.expand(*batch, 3, 3)
    pixels, _ = reproject(depth, cameras, other_T_cam)
    flow = 2 * torch.randn(2, *batch, 2, H, W, generator=generator, dtype=torch.float64)

    calls = (
        (disparity_consistency, (depth, other, pixels)),
        (registration_error, (depth, other, pixels, cameras, other_T_cam)),
        (moved_depth_error, (depth, other, pixels)),
        (round_trip_error, (flow[0], flow[1])),
    )
    for call, arguments in calls:
        error, valid = call(*arguments)
        assert error.shape == valid.shape == (*batch, H, W)
        assert valid.any()
        for index in product(*map(range, batch)):
            alone = call(*(argument[index] for argument in arguments))
            torch.testing.assert_close(error[index], alone[0])
            assert torch.equal(valid[index], alone[1])


def _finite(*leaves: Tensor) -> bool:
    return all(leaf.grad is not None and bool(leaf.grad.isfinite().all()) for leaf in leaves)


@pytest.mark.parametrize("step", [0.0, 1e-12, 0.3, -5.0, -100.0], ids=lambda step: f"step {step}")
@pytest.mark.parametrize("level", [0.0, 1e-6, 5.0, 1e6, math.nan, math.inf], ids=lambda level: f"depth {level}")
def test_gradients_are_finite_wherever_points_lie(step: float, level: float) -> None:
    """No motion, points beside and behind the camera, depths that are nothing, nearly nothing, and very far."""
    depth, other = (torch.full((H, W), level, requires_grad=True) for _ in range(2))
    xi = torch.tensor([0.0, 0, step, 0, 0, 0], requires_grad=True)
    camera = K.float().requires_grad_()
    pixels, _ = reproject(depth, camera, se3.exp(xi))

    registered, registered_valid = _registered(depth, other, camera, se3.exp(xi))
    apart, apart_valid = disparity_consistency(depth, other, pixels)
    (registered.sum() + apart.sum()).backward()

    assert _finite(depth, other, xi, camera)
    assert registered.isfinite().all()
    assert apart.isfinite().all()
    known = 0 < level < math.inf
    assert bool(registered_valid.any()) == bool(apart_valid.any()) == (known and level + step > 0)


def test_gradients_are_finite_beside_gaps(generator: torch.Generator) -> None:
    depth, other = (_depths(generator, holes=True).requires_grad_() for _ in range(2))
    flow, back = torch.randn(2, 2, H, W, generator=generator, dtype=torch.float64)
    flow[:, 2, 3] = back[:, 3, 4] = torch.nan
    flow.requires_grad_()
    back.requires_grad_()
    camera, motion = K.clone().requires_grad_(), MOTION.clone().requires_grad_()

    pixels, _ = reproject(depth, camera, motion)
    terms = (
        disparity_consistency(depth, other, pixels),
        _registered(depth, other, camera, motion),
        moved_depth_error(depth, other, pixels),
        round_trip_error(flow, back),
    )
    sum(error.sum() for error, _ in terms).backward()

    assert all(0 < valid.sum() < H * W for _, valid in terms)
    assert _finite(depth, other, flow, back, camera, motion)


def test_masks_without_a_pixel_give_zero() -> None:
    depth = torch.full((H, W), 5.0, requires_grad=True)
    nowhere = torch.full((2, H, W), torch.nan, requires_grad=True)

    terms = (
        disparity_consistency(depth, depth, nowhere.movedim(0, -1)),
        _registered(depth, torch.zeros(H, W), K.float(), torch.eye(4)),
        moved_depth_error(depth, depth, nowhere.movedim(0, -1)),
        round_trip_error(nowhere, nowhere),
    )
    means = [masked_mean(*term) for term in terms]
    sum(means).backward()

    assert [mean.item() for mean in means] == [0, 0, 0, 0]
    assert depth.grad.tolist() == torch.zeros(H, W).tolist()
    assert nowhere.grad.tolist() == torch.zeros(2, H, W).tolist()


def test_gradients_equal_finite_differences(generator: torch.Generator) -> None:
    depth, other = (_depths(generator).requires_grad_() for _ in range(2))
    xi = se3.log(MOTION).requires_grad_()

    def disparities(depth: Tensor, other: Tensor, xi: Tensor) -> Tensor:
        return disparity_consistency(3 / depth, 3 / other, reproject(depth, K, se3.exp(xi))[0])[0]

    assert torch.autograd.gradcheck(disparities, (depth, other, xi))
    assert torch.autograd.gradcheck(lambda d, o, x: _registered(d, o, K, se3.exp(x))[0], (depth, other, xi))
    flow = (3.7 / depth.detach())[None].expand(2, H, W).clone().requires_grad_()
    back = (-3.1 / other.detach())[None].expand(2, H, W).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, b: round_trip_error(f, b)[0], (flow, back))


def _disparity_error(scene: StereoScene, *, scale: float = 1.0, baseline: float = 1.0) -> float:
    """The mean disagreement of left and right disparities, pixels; of wrong right depths or a wrong baseline."""
    sample = scene.sample
    left_T_right = sample.left_T_right[:, None]
    wrong = se3.from_rotation_translation(left_T_right[..., :3, :3], baseline * left_T_right[..., :3, 3])
    unit = (sample.K[..., 0, 0] * left_T_right[..., 0, 3])[..., None, None]
    pixels, _ = reproject(sample.depth, sample.K, se3.inverse(wrong))
    apart = disparity_consistency(unit / sample.depth, unit / (scale * scene.right_depth), pixels)
    assert apart[1].float().mean() > 0.5
    return masked_mean(*apart).item()


def _registration(scene: StereoScene, next_T_cam: Tensor, *, scale: float = 1.0) -> float:
    """The mean distance of points to those of the next frame, of which the depths are wrong, metres."""
    depth, cameras = scene.sample.depth, scene.sample.K
    apart = _registered(depth[:, :-1], scale * depth[:, 1:], cameras[:, :-1], next_T_cam, cameras[:, 1:])
    assert apart[1].float().mean() > 0.4
    return masked_mean(*apart).item()


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_a_wall_is_consistent_for_the_truth_alone(slope: float) -> None:
    scene = wall_scene(slope=slope, views=3)
    next_T_cam = se3.inverse(scene.prev_T_cam)

    assert _disparity_error(scene) < 1e-3
    assert _disparity_error(scene, scale=2.0) > 2  # half of 4.8 pixels
    assert _disparity_error(scene, scale=0.5) > 4
    assert _registration(scene, next_T_cam) < 1e-3
    assert _registration(scene, next_T_cam, scale=2.0) > 8  # behind the wall at 8 m by as much again
    sideways = se3.exp(torch.tensor([0.1, 0.0, 0.0, 0.0, 0.0, 0.0]))
    for wrong in (scene.prev_T_cam, torch.eye(4).expand_as(next_T_cam), next_T_cam @ next_T_cam):
        assert _registration(scene, wrong) > 0.2
    # along a wall that is seen straight on, points slide unnoticed
    assert (_registration(scene, sideways @ next_T_cam) > 0.02) == (slope > 0)
    if slope > 0:
        assert _disparity_error(scene, baseline=-1.0) > 0.1


def test_a_street_is_most_consistent_for_the_truth() -> None:
    scene = street_scene(views=3)
    next_T_cam = se3.inverse(scene.prev_T_cam)

    best = _disparity_error(scene)
    assert best < 0.25  # what one camera alone can see is left
    for wrong in ({"scale": 2.0}, {"scale": 0.5}, {"baseline": -1.0}, {"baseline": 3.0}):
        assert _disparity_error(scene, **wrong) > 2 * best, wrong
    best = _registration(scene, next_T_cam)
    for wrong in (scene.prev_T_cam, torch.eye(4).expand_as(next_T_cam)):
        assert _registration(scene, wrong) > best + 0.5
    assert _registration(scene, next_T_cam, scale=2.0) > 2 * best
    assert _registration(scene, next_T_cam, scale=0.5) > 2 * best


def test_points_of_a_street_meet_except_where_something_hides_them() -> None:
    scene = street_scene(views=3)
    depth, cameras = scene.sample.depth, scene.sample.K
    near = torch.where(depth < 50, depth, 0.0)

    error, valid = _registered(near[:, :-1], near[:, 1:], cameras[:, :-1], se3.inverse(scene.prev_T_cam))

    assert error[valid].quantile(0.9) < 0.1  # metres; the rest lies at edges
    assert error[valid].median() < 0.005


def test_flow_there_and_back_is_that_of_a_static_scene() -> None:
    scenes = (wall_scene(slope=0.3).sample, textured_plane(views=2))
    for sample in scenes:
        prev_T_cam = se3.relative(sample.world_T_cam[:, :1], sample.world_T_cam[:, 1:]).float()
        grid = pixel_grid(*sample.image.shape[-2:])
        there, _ = reproject(sample.depth[:, :1], sample.K[:, :1], se3.inverse(prev_T_cam))
        back, _ = reproject(sample.depth[:, 1:], sample.K[:, 1:], prev_T_cam)
        flow, back = (there - grid).movedim(-1, -3), (back - grid).movedim(-1, -3)

        error, valid = round_trip_error(flow, back)

        assert valid.float().mean() > 0.5
        assert masked_mean(error, valid) < 0.01
        for wrong in (-back, 0 * back, 2 * back, back + 1):
            assert masked_mean(*round_trip_error(flow, wrong)) > 0.9


def test_flow_of_a_street_is_that_of_its_depth_and_motion() -> None:
    sample = street_scene(views=3).sample
    prev_T_cam = street_scene(views=3).prev_T_cam
    grid = pixel_grid(*sample.image.shape[-2:])
    back, _ = reproject(sample.depth[:, 1:], sample.K[:, 1:], prev_T_cam)

    error, valid = round_trip_error(sample.flow, (back - grid).movedim(-1, -3))

    assert error[valid].median() < 0.05
    assert error[valid].mean() < 1
    wrong, wrong_valid = round_trip_error(-sample.flow, (back - grid).movedim(-1, -3))
    assert wrong[wrong_valid].median() > 1


def test_moved_depths_of_a_street_are_those_of_the_next_frame() -> None:
    scene = street_scene(views=3)
    sample = scene.sample
    depth, K = sample.depth, sample.K
    next_T_cam = se3.inverse(scene.prev_T_cam)

    def errors(scale: float, next_T_cam: Tensor) -> Tensor:
        pixels, moved = reproject(depth[:, :-1], K[:, :-1], next_T_cam, K[:, 1:])
        error, valid = moved_depth_error(moved, scale * depth[:, 1:], pixels)
        assert valid.float().mean() > 0.4
        return error[valid]

    assert errors(1.0, next_T_cam).median() < 0.01  # metres
    for wrong in (errors(1.2, next_T_cam), errors(1.0, scene.prev_T_cam)):
        assert wrong.median() > 0.3

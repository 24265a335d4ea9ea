"""Scene flow where it is known: nothing moves, a plane comes nearer, one object moves, a street as it was rendered."""

import pytest
import torch
from torch import Tensor

from vo3d.datasets.rendered import RenderedRecording
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, pixel_grid
from vo3d.geometry.scene_flow import flow_of_points, object_displacement, transform_maps
from vo3d.geometry.warp import sample_image
from vo3d.world.visit import Visit

H, W = 24, 40
K = torch.tensor([[30.0, 0.4, 18.3], [0, 28.0, 11.6], [0, 0, 1]], dtype=torch.float64)
MOTION = se3.exp(torch.tensor([0.3, -0.1, 0.2, 0.03, -0.05, 0.04], dtype=torch.float64))


def _points(depth: Tensor, K: Tensor = K) -> Tensor:
    """The points of a depth map, 3 h w."""
    return backproject(K, depth).movedim(-1, -3)


@pytest.fixture
def depth(generator: torch.Generator) -> Tensor:
    return 4 + 2 * torch.rand(H, W, generator=generator, dtype=torch.float64)


def test_nothing_moves_without_motion(depth: Tensor, generator: torch.Generator) -> None:
    points, eye = _points(depth), torch.eye(4, dtype=torch.float64)
    mask = torch.rand(2, H, W, generator=generator, dtype=torch.float64)
    image = torch.rand(3, H, W, generator=generator, dtype=torch.float64)

    moved = transform_maps(eye, points + object_displacement(points, mask, eye.expand(2, 4, 4)))
    flow, visible = flow_of_points(moved, K)
    warped, valid = sample_image(image, pixel_grid(H, W, dtype=torch.float64) + flow.movedim(0, -1))

    assert flow.abs().max() < 1e-12
    assert visible.all()
    assert valid.all()
    torch.testing.assert_close(warped, image)


def test_a_plane_that_comes_nearer_flows_away_from_the_centre() -> None:
    near, step = 5.0, 1.25
    motion = torch.eye(4, dtype=torch.float64)
    motion[2, 3] = -step

    flow, visible = flow_of_points(transform_maps(motion, _points(torch.full((H, W), near, dtype=torch.float64))), K)

    radial = pixel_grid(H, W, dtype=torch.float64) - K[:2, 2]
    torch.testing.assert_close(flow.movedim(0, -1), radial * (near / (near - step) - 1))
    assert visible.all()
    assert flow.norm(dim=0).max() > 5  # pixels


def test_a_plane_that_is_passed_is_not_visible() -> None:
    motion = torch.eye(4, dtype=torch.float64)
    motion[2, 3] = -6.0

    flow, visible = flow_of_points(transform_maps(motion, _points(torch.full((H, W), 5.0, dtype=torch.float64))), K)

    assert not visible.any()
    assert flow.isfinite().all()


def test_an_object_flows_inside_its_mask_alone(depth: Tensor) -> None:
    points = _points(depth)
    mask = torch.zeros(2, H, W, dtype=torch.float64)
    mask[1, 5:12, 8:20] = 1

    displacement = object_displacement(points, mask, MOTION.expand(2, 4, 4))
    flow, _ = flow_of_points(points + displacement, K)

    inside = mask[1] > 0
    assert flow[:, ~inside].abs().max() < 1e-12
    assert flow.norm(dim=0)[inside].min() > 0.5
    expected = torch.stack([(MOTION @ torch.cat((p, p.new_ones(1))))[:3] - p for p in points[:, inside].T], dim=1)
    torch.testing.assert_close(displacement[:, inside], expected)


def test_masks_add_up(depth: Tensor, generator: torch.Generator) -> None:
    points, motions = _points(depth), torch.stack((MOTION, se3.inverse(MOTION)))
    mask = torch.rand(2, H, W, generator=generator, dtype=torch.float64)

    both = object_displacement(points, mask, motions)

    each = [object_displacement(points, mask[i : i + 1], motions[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(both, each[0] + each[1])
    assert object_displacement(points, mask[:0], motions[:0]).abs().max() == 0


def test_a_rendered_street_flows_as_its_depth_objects_and_camera_say() -> None:
    street = RenderedRecording(
        "street", 3, 20, (48, 156), depth=True, flow=True, mask=True, object_motion=True, visit=Visit(traffic=1.0)
    )
    scored = moving = 0
    for first in (2, 9, 16):
        sample = street.clip([first, first + 1])
        depth, ids, K = sample.depth[0].double(), sample.mask[0], sample.K[0].double()  # type: ignore[index]
        world_T_cam = sample.world_T_cam
        M = sample.object_motion[0]  # type: ignore[index]
        in_camera = se3.compose(se3.inverse(world_T_cam[0]), M, world_T_cam[0])  # type: ignore[index]
        mask = torch.stack([(ids == number).double() for number in range(1, len(M) + 1)])
        next_T_cam = se3.relative(world_T_cam[1], world_T_cam[0])  # type: ignore[index]
        points = _points(depth, K)

        flow, visible = flow_of_points(
            transform_maps(next_T_cam, points + object_displacement(points, mask, in_camera)), K
        )

        known = (depth > 0) & visible
        error = (flow - sample.flow[0]).norm(dim=0)[known]  # type: ignore[index]
        assert error.max() < 0.02  # pixels: the render's depth and flow are float32
        scored, moving = scored + int(known.sum()), moving + int(((ids > 0) & known).sum())
    assert scored > 10_000
    assert moving > 200


def test_gradients_are_finite_where_nothing_moves_and_behind_the_camera(depth: Tensor) -> None:
    depth = depth.clone()
    depth[0], depth[1] = 0.0, -1.0
    depth.requires_grad_()
    motion = torch.eye(4, dtype=torch.float64).expand(2, 4, 4).clone().requires_grad_()
    mask = torch.zeros(1, H, W, dtype=torch.float64, requires_grad=True)

    points = _points(depth)
    flow, _ = flow_of_points(transform_maps(motion[1], points + object_displacement(points, mask, motion[:1])), K)
    flow.sum().backward()

    assert all(value.grad is not None and value.grad.isfinite().all() for value in (depth, motion, mask))

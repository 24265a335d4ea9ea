"""Optical flow without learning: rendered truth is met where all stands still, a slide is found, bad input refused."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from samples import make_sample
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, pixel_grid, project
from vo3d.geometry.optical_flow import PRESETS, check_preset, dense_flow, rigid_flow
from vo3d.sample import Sample

K = torch.tensor([[50.0, 0.5, 20.0], [0, 60.0, 14.0], [0, 0, 1]])
H, W = 30, 40


def poses(*twists: list[float]) -> Tensor:
    return se3.exp(torch.tensor(twists, dtype=torch.float64))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_rendered_street_is_met_to_a_thousandth_of_a_pixel(seed: int) -> None:
    data = Rendered(seeds=[seed], frames=30, size=(96, 312), depth=True, flow=True, mask=True)
    sample = Sample.collate([data.recordings[0].clip([4, 5, 20])])  # the last step is a long one
    assert sample.depth is not None
    assert sample.K is not None
    assert sample.world_T_cam is not None
    assert sample.flow is not None
    assert sample.mask is not None

    flow = rigid_flow(sample.depth, sample.K, sample.world_T_cam)

    assert flow.shape == (1, 2, 2, 96, 312)
    apart, length = (flow - sample.flow).abs().amax(dim=2), sample.flow.norm(dim=2)
    still, sky = sample.mask[:, :2] == 0, sample.depth[:, :2] == 0
    near = length < 500  # farther away float32 holds fewer digits: the point is almost beside the camera; false of NaN
    assert (still & near).float().mean() > 0.5
    assert (apart < 1e-3)[still & near].all()
    assert (still & sky).sum() > 3000
    assert (apart < 1e-3)[still & sky].all()
    assert length[still & sky].max() > 3  # the camera did turn
    assert (apart > 1)[~still & near].sum() > 300  # what moves is not explained
    assert not (apart.isnan() & ~length.isnan() & still).any()


def test_it_is_projected_motion() -> None:
    generator = torch.Generator().manual_seed(0)
    depth = 3 + 4 * torch.rand(2, 3, H, W, generator=generator, dtype=torch.float64)
    cameras = torch.stack([K, K * torch.tensor([1.2, 1.1, 1])[:, None], K]).double().expand(2, 3, 3, 3)
    world_T_cam = se3.exp(0.1 * torch.randn(2, 3, 6, generator=generator, dtype=torch.float64))

    flow = rigid_flow(depth, cameras, world_T_cam)

    for row in range(2):
        for view in range(2):
            points = backproject(cameras[row, view], depth[row, view])
            moved = torch.linalg.inv(world_T_cam[row, view + 1]) @ world_T_cam[row, view]
            there, _ = project(cameras[row, view + 1], points @ moved[:3, :3].T + moved[:3, 3])
            expected = (there - pixel_grid(H, W, dtype=torch.float64)).movedim(-1, 0)
            torch.testing.assert_close(flow[row, view], expected, rtol=0, atol=1e-9)


def test_half_precision_is_lifted() -> None:
    depth = torch.full((2, H, W), 4.0)  # a number that bfloat16 holds
    world_T_cam = poses([0.0] * 6, [0.013, 0.027, 0.91, 0.003, 0.007, 0.0])
    flow = rigid_flow(depth.bfloat16(), K.expand(2, 3, 3), world_T_cam)
    assert flow.dtype == torch.float32
    torch.testing.assert_close(flow, rigid_flow(depth, K.expand(2, 3, 3), world_T_cam), rtol=0, atol=0)


def test_a_camera_that_does_not_move_sees_no_flow() -> None:
    depth = torch.rand(2, H, W, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # with zeros
    assert (depth == 0).any()
    flow = rigid_flow(depth, K.expand(2, 3, 3), poses([100.0, 20, 3, 0.1, 0.2, 0.3], [100.0, 20, 3, 0.1, 0.2, 0.3]))
    torch.testing.assert_close(flow, torch.zeros(1, 2, H, W), rtol=0, atol=1e-4)


@pytest.mark.parametrize("unknown", [0.0, -1.0, torch.nan, torch.inf])
def test_what_has_no_depth_is_infinitely_far(unknown: float) -> None:
    world_T_cam = poses([0.0] * 6, [0.4, -0.2, 0.5, 0.02, -0.03, 0.01])
    none, far = (rigid_flow(torch.full((2, H, W), depth), K.expand(2, 3, 3), world_T_cam) for depth in (unknown, 1e7))
    torch.testing.assert_close(none, far, rtol=0, atol=1e-3)
    R = world_T_cam[1, :3, :3].T  # the homography, by hand
    pixel = K.double() @ R @ torch.linalg.inv(K.double()) @ torch.tensor([7.0, 5, 1]).double()
    expected = (pixel[:2] / pixel[2] - torch.tensor([7.0, 5])).float()
    torch.testing.assert_close(none[0, :, 5, 7], expected, rtol=0, atol=1e-4)


def test_what_comes_to_lie_behind_the_camera_has_no_flow() -> None:
    depth = torch.full((2, H, W), 2.0)
    depth[0, 3, 4], depth[0, 0, 0] = 5.0, 0.0
    flow = rigid_flow(depth, K.expand(2, 3, 3), poses([0.0] * 6, [0.0, 0, 3, 0, 0, 0]))
    seen = torch.zeros(H, W, dtype=torch.bool)
    seen[3, 4] = seen[0, 0] = True
    assert torch.equal(flow[0].isnan().any(0), ~seen)
    # 5 m become 2 m: a pixel moves away from the principal point by one and a half times its distance from it
    torch.testing.assert_close(flow[0, :, 3, 4], 1.5 * torch.tensor([4.0 - 20, 3 - 14]), rtol=0, atol=1e-4)


def test_one_view_has_no_flow() -> None:
    sample = make_sample(b=2, s=1)
    assert sample.depth is not None
    assert sample.K is not None
    assert sample.world_T_cam is not None
    assert rigid_flow(sample.depth, sample.K, sample.world_T_cam).shape == (2, 0, 2, 64, 96)
    assert dense_flow(sample.image).shape == (2, 0, 2, 64, 96)


def slide(x: int, y: int, size: tuple[int, int] = (96, 160)) -> Tensor:
    """Two grey views of smooth noise that moves by x and y pixels to the right and down."""
    h, w = size
    noise = torch.rand(1, 1, h // 4 + 8, w // 4 + 8, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(noise, scale_factor=4, mode="bicubic")[0].clamp(0, 1).expand(3, -1, -1)
    return torch.stack([wide[:, 16 : 16 + h, 16 : 16 + w], wide[:, 16 - y : 16 - y + h, 16 - x : 16 - x + w]])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("x", "y"), [(3, 0), (-2, 4)])
def test_a_slide_is_found(preset: str, x: int, y: int) -> None:
    flow = dense_flow(slide(x, y), preset)
    assert flow.shape == (1, 2, 96, 160)
    inner = flow[0, :, 16:-16, 16:-16]
    error = (inner - torch.tensor([x, y])[:, None, None]).norm(dim=0)
    assert error.mean() < 0.2
    assert (error < 0.5).float().mean() > 0.95


def test_the_slower_is_the_finer() -> None:
    truth = torch.tensor([3.0, 1])[:, None, None]
    errors = [
        (dense_flow(slide(3, 1), preset)[0] - truth)[:, 16:-16, 16:-16].norm(dim=0).mean()
        for preset in ("ultrafast", "fast", "medium")
    ]
    assert errors[2] < errors[1]
    assert errors[2] < errors[0]


def test_it_is_what_opencv_finds_whatever_was_asked_before() -> None:
    images = torch.stack([slide(3, 1), slide(-5, 2)])
    assert images.shape[:2] == (2, 2)
    both = dense_flow(images)
    grey = [
        cv2.cvtColor((255 * view).round().byte().permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for view in images[1]
    ]
    expected = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    np.testing.assert_array_equal(both[1, 0].permute(1, 2, 0).numpy(), expected)
    assert torch.equal(dense_flow(images[1]), both[1])
    three = torch.cat([images[1], images[0, :1]])
    assert torch.equal(dense_flow(three)[0], both[1, 0])


def test_other_types_of_numbers_are_kept() -> None:
    images = slide(3, 1)
    assert dense_flow(images.double()).dtype == torch.float64
    assert dense_flow(images.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("preset", "size", "words"),
    [
        ("medium", (15, 200), r"images of 200x15 pixels: dense flow \(medium\) needs at least 16 a side: give larger"),
        ("fast", (200, 31), r"images of 31x200 pixels: dense flow \(fast\) needs at least 32 a side: give larger"),
        ("ultrafast", (20, 500), "needs at least 32 a side"),  # a crash of OpenCV
    ],
)
def test_images_that_are_too_small_are_one_line(preset: str, size: tuple[int, int], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        dense_flow(torch.rand(2, 3, *size), preset)


@pytest.mark.parametrize(("preset", "least"), [("medium", 16), ("fast", 32), ("ultrafast", 32)])
def test_the_least_size_is_enough(preset: str, least: int) -> None:
    for h, w in ((least, least), (least, 300), (300, least), (least, 3 * least - 1)):
        images = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(0))
        flow = dense_flow(images, preset)
        assert flow.shape == (1, 2, h, w)
        assert flow.isfinite().all()


def test_a_preset_that_is_none_is_one_line() -> None:
    with pytest.raises(Vo3dError, match="preset 'slow': expected one of ultrafast, fast, medium"):
        check_preset("slow")

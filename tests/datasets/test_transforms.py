"""Transforms against a renderer: the changed clip must be what the changed cameras see of the (mirrored) world.

The world is the plane Z = 8 m, whose colour is a function of the point. `seen` casts a ray through every pixel; it
makes the clips, and it judges them after each transform by the K and the poses that the transform says they have.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vo3d.datasets.resize import resize, resize_image, resize_labels
from vo3d.datasets.transforms import (
    HorizontalFlip,
    InertialBias,
    PhotometricJitter,
    RandomCrop,
    RandomGrey,
    RandomResizedCrop,
    Resize,
    ReverseTime,
    Transform,
)
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.sample import Sample

HEIGHT, WIDTH, VIEWS = 48, 80, 4
NO_CHANGE = dict.fromkeys(["brightness", "contrast", "saturation", "hue", "gamma", "exposure"], 0.0)
LEFT_T_RIGHT = se3.from_rotation_translation(
    torch.eye(3, dtype=torch.float64), torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64)
)


def seen(K: Tensor, world_T_cam: Tensor, size: tuple[int, int], *, mirrored: bool = False) -> tuple[Tensor, ...]:
    """Colour (3, h, w), depth (h, w) and the points (h, w, 3) that one camera sees."""
    y, x = torch.meshgrid(
        torch.arange(size[0], dtype=torch.float64), torch.arange(size[1], dtype=torch.float64), indexing="ij"
    )
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ torch.linalg.inv(K).T  # h w 3, z = 1
    rotation, centre = world_T_cam[:3, :3], world_T_cam[:3, 3]
    directions = rays @ rotation.T
    depth = (8 - centre[2]) / directions[..., 2]
    points = centre + depth[..., None] * directions
    across = -points[..., 0] if mirrored else points[..., 0]
    colour = torch.stack([0.5 + across / 40, 0.5 + points[..., 1] / 40, 0.5 + 0.2 * torch.sin(across / 2)])
    return colour, depth, points


def flow_of(K: Tensor, world_T_cam: Tensor, points: Tensor) -> Tensor:
    """Where the next camera sees the points, less the pixel itself (2, h, w)."""
    in_next = (points - world_T_cam[:3, 3]) @ world_T_cam[:3, :3]
    pixels = (in_next @ K.T)[..., :2] / in_next[..., 2:]
    y, x = torch.meshgrid(torch.arange(points.shape[0]), torch.arange(points.shape[1]), indexing="ij")
    return (pixels - torch.stack([x, y], dim=-1)).permute(2, 0, 1)


@pytest.fixture
def clip() -> Sample:
    """Four views with every field that a moving camera can have, but for stereo."""
    steps = torch.tensor([0.1, -0.03, 0.2, 0.02, -0.03, 0.01], dtype=torch.float64)
    poses = se3.exp(torch.arange(VIEWS, dtype=torch.float64)[:, None] * steps)
    K = torch.tensor([[60.0, 0.7, 37.0], [0, 55.0, 26.0], [0, 0, 1]], dtype=torch.float64)
    views = [seen(K, pose, (HEIGHT, WIDTH)) for pose in poses]
    imu = torch.cat([se3.log(se3.relative(poses[:-1], poses[1:]))[:, 3:], torch.rand(VIEWS - 1, 3)], dim=-1)
    return Sample(
        image=torch.stack([view[0] for view in views]),
        K=K.expand(VIEWS, 3, 3),
        world_T_cam=poses,
        depth=torch.stack([view[1] for view in views]),
        depth_range=torch.tensor([1.0, 20.0], dtype=torch.float64).expand(VIEWS, 2),
        time=torch.tensor([0.0, 0.1, 0.3, 0.35], dtype=torch.float64),
        imu=torch.cat([torch.zeros(1, 6), imu])[:, None].double(),
        imu_time=torch.tensor([[0.0], [0.05], [0.2], [0.34]], dtype=torch.float64),
        mask=torch.stack([(view[2][..., 0] > 0).long() for view in views]),
        flow=torch.stack([flow_of(K, pose, view[2]) for pose, view in zip(poses[1:], views[:-1], strict=True)]),
        scene="plane",
        index=torch.arange(5, 5 + VIEWS),
    )


@pytest.fixture
def stereo(clip: Sample) -> Sample:
    """The same views of a stereo pair, with nothing that is bound to the left camera alone."""
    assert clip.world_T_cam is not None
    right = [seen(clip.K[0], pose @ LEFT_T_RIGHT, (HEIGHT, WIDTH))[0] for pose in clip.world_T_cam]
    return replace(
        clip,
        right=torch.stack(right),
        left_T_right=LEFT_T_RIGHT,
        depth=None,
        mask=None,
        flow=None,
        imu=None,
        imu_time=None,
    )


def assert_geometry(sample: Sample, *, mirrored: bool = False, border: int = 2) -> None:
    """Pixels, depth, mask, flow and right image must agree with K and poses as the renderer understands them."""
    assert sample.world_T_cam is not None
    size = (sample.image.shape[-2], sample.image.shape[-1])
    inside = (..., slice(border, -border), slice(border, -border))  # the filter is cut off at the border
    for view, pose in enumerate(sample.world_T_cam):
        colour, depth, points = seen(sample.K[view], pose, size, mirrored=mirrored)
        assert torch.allclose(sample.image[view][inside], colour[inside], atol=1e-3)
        if sample.depth is not None:
            # the nearest of the original pixels lies within half a pixel: 8 m x 0.13 rad / 55 px / 2
            assert torch.allclose(sample.depth[view], depth, atol=0.02)
        if sample.mask is not None:
            across = -points[..., 0] if mirrored else points[..., 0]
            off_border = across.abs() > 0.2
            assert torch.equal(sample.mask[view][off_border], (across > 0).long()[off_border])
        if sample.flow is not None and view + 1 < len(sample.world_T_cam):
            expected = flow_of(sample.K[view], sample.world_T_cam[view + 1], points)
            assert torch.allclose(sample.flow[view], expected, atol=0.1)  # nearest pixel, as above
        if sample.right is not None:
            assert sample.left_T_right is not None
            colour, _, _ = seen(sample.K[view], pose @ sample.left_T_right, size, mirrored=mirrored)
            assert torch.allclose(sample.right[view][inside], colour[inside], atol=1e-3)


def test_the_judge_tells_half_a_pixel(clip: Sample) -> None:
    assert_geometry(clip)
    K = clip.K.clone()
    K[:, 0, 2] += 0.5
    with pytest.raises(AssertionError):
        assert_geometry(replace(clip, K=K))


@pytest.mark.parametrize(
    "transform",
    [
        Resize((24, 40)),
        Resize((31, 53)),
        Resize((96, 120)),
        Resize((30, 100)),
        RandomCrop((30, 50)),
        RandomCrop((HEIGHT, WIDTH)),
        RandomResizedCrop(scale=(0.5, 0.9)),
        RandomResizedCrop(size=(32, 64), scale=(0.7, 0.7)),
        HorizontalFlip(probability=0.0),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_pixels_follow_the_cameras(clip: Sample, stereo: Sample, transform: Transform) -> None:
    for seed in range(5):
        assert_geometry(transform(clip, torch.Generator().manual_seed(seed)))
        assert_geometry(transform(stereo, torch.Generator().manual_seed(seed)))


def test_sizes_are_those_asked_for(clip: Sample, generator: torch.Generator) -> None:
    assert Resize((24, 40))(clip, generator).image.shape == (VIEWS, 3, 24, 40)
    assert RandomCrop((30, 50))(clip, generator).image.shape == (VIEWS, 3, 30, 50)
    assert RandomResizedCrop(scale=(0.5, 0.6))(clip, generator).image.shape == (VIEWS, 3, HEIGHT, WIDTH)


def test_a_mirrored_clip_is_what_mirrored_cameras_see_of_a_mirrored_world(
    clip: Sample, generator: torch.Generator
) -> None:
    flipped = HorizontalFlip(probability=1.0)(clip, generator)
    assert_geometry(flipped, mirrored=True)
    assert torch.allclose(flipped.image, clip.image.flip(-1))
    # steps and inertial readings are the mirrored ones
    assert clip.world_T_cam is not None
    assert flipped.world_T_cam is not None
    assert clip.imu is not None
    assert flipped.imu is not None
    M = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))
    before = se3.relative(clip.world_T_cam[:-1], clip.world_T_cam[1:])
    after = se3.relative(flipped.world_T_cam[:-1], flipped.world_T_cam[1:])
    assert torch.allclose(after, M @ before @ M)
    assert torch.allclose(flipped.imu[1:, 0, :3], se3.log(after)[:, 3:])
    assert torch.allclose(flipped.imu[1:, 0, 3:], clip.imu[1:, 0, 3:] @ M[:3, :3])
    assert flipped.imu_time is clip.imu_time  # a mirror changes no clock


def test_a_mirrored_stereo_clip_has_its_right_camera_on_the_right(stereo: Sample, generator: torch.Generator) -> None:
    flipped = HorizontalFlip(probability=1.0)(stereo, generator)
    assert_geometry(flipped, mirrored=True)
    assert flipped.left_T_right is not None
    assert flipped.left_T_right[0, 3] == 0.5
    assert stereo.right is not None
    assert torch.equal(flipped.image, stereo.right.flip(-1))


def test_mirroring_twice_changes_nothing(clip: Sample, stereo: Sample, generator: torch.Generator) -> None:
    flip = HorizontalFlip(probability=1.0)
    for sample in (clip, stereo):
        twice = flip(flip(sample, generator), generator)
        for name in sample.given():
            if name != "scene":
                assert torch.allclose(getattr(twice, name), getattr(sample, name), atol=1e-12, equal_nan=True), name


def test_mirroring_refuses_what_it_cannot_change(clip: Sample, stereo: Sample, generator: torch.Generator) -> None:
    never = HorizontalFlip(probability=0.0)  # the refusal must not wait for the dice
    with pytest.raises(Vo3dError, match="stereo pair cannot change depth"):
        never(replace(stereo, depth=clip.depth), generator)
    with pytest.raises(Vo3dError, match="cannot change occupancy"):
        never(replace(clip, occupancy=torch.zeros(2, 2, 2, dtype=torch.bool)), generator)


def test_reversed_clips_are_the_way_back(clip: Sample, generator: torch.Generator) -> None:
    clip = replace(clip, imu=None, imu_time=None, flow=None)
    back = ReverseTime(probability=1.0)(clip, generator)
    assert_geometry(back)
    assert back.index is not None
    assert back.index.tolist() == [8, 7, 6, 5]
    assert back.time is not None
    assert torch.allclose(back.time, torch.tensor([0.0, 0.05, 0.25, 0.35], dtype=torch.float64))
    assert clip.world_T_cam is not None
    assert back.world_T_cam is not None
    forwards = se3.relative(clip.world_T_cam[:-1], clip.world_T_cam[1:])
    backwards = se3.relative(back.world_T_cam[:-1], back.world_T_cam[1:])
    assert torch.allclose(backwards, se3.inverse(forwards).flip(0))


def test_reversing_refuses_readings_of_one_direction(clip: Sample, generator: torch.Generator) -> None:
    with pytest.raises(Vo3dError, match="ReverseTime cannot change imu, imu_time, flow"):
        ReverseTime(probability=0.0)(clip, generator)


def test_coins_are_fair(clip: Sample, generator: torch.Generator) -> None:
    clip = replace(clip, imu=None, imu_time=None, flow=None)
    for transform in (HorizontalFlip(0.25), ReverseTime(0.25)):
        changed = sum(not torch.equal(transform(clip, generator).image, clip.image) for _ in range(200))
        assert 30 <= changed <= 70


def test_a_crop_reaches_every_corner(clip: Sample, generator: torch.Generator) -> None:
    crop = RandomCrop((HEIGHT - 1, WIDTH - 2))
    offsets = {tuple((clip.K - crop(clip, generator).K)[0, :2, 2].tolist()) for _ in range(100)}
    assert offsets == {(float(left), float(top)) for left in range(3) for top in range(2)}


def test_a_window_larger_than_the_images_is_refused(clip: Sample, generator: torch.Generator) -> None:
    with pytest.raises(Vo3dError, match=r"49x80 .* does not fit into images of 48x80 in 'plane'"):
        RandomCrop((49, 80))(clip, generator)


def test_resizing_down_averages() -> None:
    # black and white stripes, two pixels wide, are grey from afar; between its neighbours each new pixel is white
    stripes = ((torch.arange(64) + 1) // 2).remainder(2).float().expand(1, 3, 64, 64)
    assert (resize_image(stripes, (16, 16))[..., 1:-1] - 0.5).abs().max() < 1e-5
    assert (resize_image(stripes.mT, (16, 16))[..., 1:-1, :] - 0.5).abs().max() < 1e-5
    labels = resize_labels(stripes, (16, 16))
    assert set(labels.unique().tolist()) <= {0.0, 1.0}


def test_labels_take_the_nearest_pixel_centre() -> None:
    for old, new in ((7, 3), (3, 7), (10, 4), (480, 96), (5, 5)):
        centres = (torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5
        taken = resize_labels(torch.arange(old)[None].expand(2, old), (2, new))[0]
        assert (taken - centres).abs().max() <= 0.5 + 1e-12
        assert torch.equal(resize_labels(torch.arange(old)[:, None].expand(old, 2), (new, 2))[:, 0], taken)


def test_resizing_scales_flow_and_keeps_its_gaps(clip: Sample) -> None:
    assert clip.flow is not None
    flow = clip.flow.clone()
    flow[0, :, 10:20, 10:20] = torch.nan
    resized = resize(replace(clip, flow=flow), (24, 40)).flow
    assert resized is not None
    assert bool(resized[0, :, 5:10, 5:10].isnan().all())
    assert int(resized.isnan().sum()) == 2 * 25


def test_batches_resize_like_their_clips(clip: Sample) -> None:
    batch = resize(Sample.collate([clip, clip]), (24, 40))
    alone = resize(clip, (24, 40))
    for name in alone.given():
        if name != "scene":
            assert torch.equal(getattr(batch, name)[1], getattr(alone, name)), name


def test_no_jitter_changes_nothing(stereo: Sample, generator: torch.Generator) -> None:
    same = PhotometricJitter(**NO_CHANGE)(stereo, generator)
    assert torch.allclose(same.image, stereo.image)
    assert same.right is not None
    assert stereo.right is not None
    assert torch.allclose(same.right, stereo.right)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "gamma"])
def test_equal_colours_stay_equal_over_views_and_cameras(stereo: Sample, generator: torch.Generator, name: str) -> None:
    right = stereo.image.flip(0)
    right[..., WIDTH // 2 :] = 0  # another mean, which must not count
    stereo = replace(stereo, right=right)
    changed = PhotometricJitter(**{**NO_CHANGE, name: 0.4})(stereo, generator)
    assert changed.right is not None
    assert not torch.allclose(changed.image, stereo.image, atol=1e-3)
    seen_by_both = (..., slice(WIDTH // 2))
    assert torch.allclose(changed.right[seen_by_both], changed.image.flip(0)[seen_by_both], atol=1e-6)
    assert 0 <= changed.image.min() <= changed.image.max() <= 1
    for field in ("K", "world_T_cam", "time"):
        assert torch.equal(getattr(changed, field), getattr(stereo, field))


def test_brightness_and_exposure_are_the_factors_that_they_say(clip: Sample, generator: torch.Generator) -> None:
    clip = replace(clip, image=torch.full_like(clip.image, 0.4))
    plain = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    bright = torch.stack(
        [PhotometricJitter(brightness=0.3, **plain)(clip, generator).image[:, 0, 0, 0] / 0.4 for _ in range(100)]
    )
    assert torch.equal(bright, bright[:, :1].expand_as(bright))
    assert 0.7 <= bright.min() < 0.75
    assert 1.25 < bright.max() <= 1.3
    exposed = torch.stack(
        [
            PhotometricJitter(brightness=0.0, exposure=1.0, **plain)(clip, generator).image[:, 0, 0, 0] / 0.4
            for _ in range(50)
        ]
    )
    assert bool((exposed[:, 0] != exposed[:, 1]).all())
    assert 0.5 <= exposed.min() < 0.55
    assert 1.8 < exposed.max() <= 2.0


def test_the_right_camera_has_a_gain_of_its_own(stereo: Sample, generator: torch.Generator) -> None:
    assert stereo.right is not None
    dark = replace(stereo, image=stereo.image * 0.4, right=stereo.right * 0.4)
    gains = []
    for _ in range(100):
        found = PhotometricJitter(**NO_CHANGE | {"stereo_exposure": 0.25})(dark, generator)
        assert torch.equal(found.image, dark.image)
        assert found.right is not None
        ratio = found.right / dark.right
        assert torch.allclose(ratio, ratio[0, 0, 0, 0].expand_as(ratio), atol=1e-6)
        gains.append(float(ratio[0, 0, 0, 0]))
    assert 0.8 - 1e-6 <= min(gains) < 0.85
    assert 1.18 < max(gains) <= 1.25 + 1e-6
    assert 35 <= sum(gain > 1 for gain in gains) <= 65


def test_a_gain_of_the_right_camera_leaves_other_clips_as_they_were(clip: Sample) -> None:
    both = [
        PhotometricJitter(stereo_exposure=gain)(clip, torch.Generator().manual_seed(1)).image for gain in (0.0, 0.5)
    ]
    assert torch.equal(*both)


def test_grey_clips_have_the_luma_of_all_views_and_cameras(stereo: Sample, generator: torch.Generator) -> None:
    grey = RandomGrey(probability=1.0)(stereo, generator)
    for name in ("image", "right"):
        colour, found = getattr(stereo, name), getattr(grey, name)
        luma = (colour * colour.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
        assert found.shape == colour.shape
        for channel in range(3):
            assert torch.allclose(found[:, channel], luma, atol=1e-6)
        assert not torch.allclose(found, colour, atol=0.01)
    assert torch.equal(grey.K, stereo.K)
    assert RandomGrey(probability=0.0)(stereo, generator) is stereo
    turned = [not torch.equal(RandomGrey(0.25)(stereo, generator).image, stereo.image) for _ in range(400)]
    assert 70 <= sum(turned) <= 130
    assert RandomGrey.breaks == ()


def test_grey_images_stay_grey(clip: Sample, generator: torch.Generator) -> None:
    grey = replace(clip, image=clip.image[:, :1].expand(-1, 3, -1, -1))
    image = PhotometricJitter(hue=0.5, saturation=1.0)(grey, generator).image
    assert (image - image.mean(dim=1, keepdim=True)).abs().max() < 1e-6


def test_grey_clips_are_the_luma_of_either_camera_in_three_channels(stereo: Sample, generator: torch.Generator) -> None:
    assert stereo.right is not None
    right = stereo.image.flip(0)  # the same colours, in other views of the other camera
    grey = RandomGrey(probability=1.0)(replace(stereo, right=right), generator)

    luma = (stereo.image * torch.tensor([0.299, 0.587, 0.114]).double()[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(grey.image, luma.expand(-1, 3, -1, -1), rtol=0, atol=1e-6)
    assert torch.equal(grey.image, grey.image[:, :1].expand(-1, 3, -1, -1))
    assert torch.equal(grey.right, grey.image.flip(0))
    assert (grey.image.shape, grey.right.shape) == (stereo.image.shape, right.shape)
    assert grey.given() == stereo.given()
    for field in set(stereo.given()) - {"image", "right", "scene"}:
        assert getattr(grey, field) is getattr(stereo, field), field
    grey.image[:, 0] = 0  # three channels of their own, not views of one
    assert grey.image[:, 1:].min() > 0


def test_grey_comes_as_often_as_asked_for_and_draws_one_number_always(clip: Sample) -> None:
    generator = torch.Generator().manual_seed(3)
    assert RandomGrey(0.0)(clip, generator) is clip
    after_none = torch.rand(4, generator=generator)
    generator = torch.Generator().manual_seed(3)
    assert not torch.equal(RandomGrey(1.0)(clip, generator).image, clip.image)
    assert torch.equal(torch.rand(4, generator=generator), after_none)
    generator = torch.Generator().manual_seed(3)
    torch.rand((), generator=generator, dtype=torch.float64)
    assert torch.equal(torch.rand(4, generator=generator), after_none)

    changed = sum(RandomGrey(0.25)(clip, generator) is not clip for _ in range(200))
    assert 30 <= changed <= 70
    assert RandomGrey.breaks == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Resize((0, 5)),
        lambda: RandomResizedCrop(scale=(0.5, 1.5)),
        lambda: HorizontalFlip(1.5),
        lambda: ReverseTime(-0.1),
        lambda: RandomGrey(1.01),
        lambda: PhotometricJitter(hue=0.6),
        lambda: PhotometricJitter(stereo_exposure=-0.1),
        lambda: RandomGrey(1.5),
    ],
)
def test_impossible_options_are_refused(make: Callable[[], Transform]) -> None:
    with pytest.raises(Vo3dError, match="expected"):
        make()


def test_labels_motions_and_the_sensor_go_with_the_pixels(clip: Sample) -> None:
    """A flip mirrors motions in the world and the place of the inertial sensor; time that runs back inverts motions."""
    assert clip.world_T_cam is not None
    motion = se3.exp(0.1 * torch.rand(VIEWS - 1, 2, 6, dtype=torch.float64))
    label = torch.arange(VIEWS * HEIGHT * WIDTH).reshape(VIEWS, HEIGHT, WIDTH)
    full = replace(
        clip, object_motion=motion, label=label, cam_T_imu=se3.exp(torch.rand(6)), imu=None, imu_time=None, flow=None
    )
    generator = torch.Generator()
    flipped = HorizontalFlip(1.0)(full, generator)
    M = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(flipped.object_motion, M @ motion @ M)
    torch.testing.assert_close(flipped.cam_T_imu, (M.float() @ full.cam_T_imu @ M.float()))
    assert torch.equal(flipped.label, label.flip(-1))
    backwards = ReverseTime(1.0)(full, generator)
    torch.testing.assert_close(backwards.object_motion @ motion.flip(0), torch.eye(4).double().expand_as(motion))
    assert torch.equal(backwards.label, label.flip(0))
    assert RandomCrop((8, 9))(full, generator).label.shape == (VIEWS, 8, 9)
    assert resize(full, (24, 40)).label.shape == (VIEWS, 24, 40)
    bare = replace(full, K=None)
    assert all(
        change(bare, generator).K is None for change in (HorizontalFlip(1.0), RandomCrop((8, 9)), Resize((8, 9)))
    )


def test_transforms_declare_what_they_break() -> None:
    assert (HorizontalFlip.breaks, ReverseTime.breaks, RandomCrop.breaks) == (("mirror",), ("time",), ())


def test_a_bias_is_one_for_all_readings_of_a_clip_and_drawn_for_each(clip: Sample) -> None:
    sensed = replace(clip, imu=torch.randn(VIEWS, 3, 6), imu_time=torch.zeros(VIEWS, 3, dtype=torch.float64))
    transform, generator = InertialBias(gyro=0.5, accelerometer=2.0), torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(400):
        changed = transform(sensed, generator)
        assert changed.imu is not None
        assert sensed.imu is not None
        offset = changed.imu - sensed.imu
        torch.testing.assert_close(offset, offset[:1, :1].expand_as(offset))
        drawn.append(offset[0, 0])
    deviation = torch.stack(drawn).std(0)
    assert deviation.tolist() == pytest.approx([0.5] * 3 + [2.0] * 3, rel=0.15)
    with pytest.raises(Vo3dError, match="has no imu: turn it on, or leave InertialBias out"):
        transform(clip if clip.imu is None else replace(clip, imu=None, imu_time=None), generator)

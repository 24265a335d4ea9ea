"""Baselines of flow and masks: no motion, the true camera's flow, OpenCV's flow, and masks where the two differ."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from samples import make_sample
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry.optical_flow import dense_flow, rigid_flow
from vo3d.model import Model, check_gives, check_needs
from vo3d.models.dense_flow import DenseFlow
from vo3d.models.no_motion import NoMotion
from vo3d.models.residual_masks import ResidualMasks
from vo3d.models.rigid_flow import RigidFlow
from vo3d.sample import Sample
from vo3d.settings.discovery import known_baselines

ALL = [NoMotion, RigidFlow, DenseFlow, ResidualMasks]
H, W = 96, 128


def squares(*places: tuple[int, int, int, int, int]) -> Sample:
    """A still camera before a wall of smooth noise, on which squares slide: x, y, side, and pixels along x and y."""
    generator = torch.Generator().manual_seed(0)

    def noise(h: int, w: int) -> Tensor:
        coarse = torch.rand(1, 1, h // 4 + 2, w // 4 + 2, generator=generator)
        return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic")[0, 0, :h, :w].clamp(0, 1)

    first = noise(H, W)
    then = first.clone()
    for x, y, side, dx, dy in places:
        patch = noise(side, side)
        first[y : y + side, x : x + side] = patch
        then[y + dy : y + dy + side, x + dx : x + dx + side] = patch
    image = torch.stack([first, then])[None, :, None].expand(1, 2, 3, H, W).clone()
    K = torch.tensor([[100.0, 0, W / 2], [0, 100, H / 2], [0, 0, 1]]).expand(1, 2, 3, 3)
    poses = torch.eye(4, dtype=torch.float64).expand(1, 2, 4, 4)
    return Sample(image=image, K=K, world_T_cam=poses, depth=torch.full((1, 2, H, W), 10.0))


def iou(mask: Tensor, x: int, y: int, side: int) -> float:
    true = torch.zeros(H, W, dtype=torch.bool)
    true[y : y + side, x : x + side] = True
    return float((mask.bool() & true).sum() / (mask.bool() | true).sum())


def test_they_have_short_names() -> None:
    found = known_baselines()
    for kind, name in zip(ALL, ("no_motion", "rigid_flow", "dense_flow", "residual_masks"), strict=True):
        assert found[name] == f"{kind.__module__}.{kind.__name__}"


@pytest.mark.parametrize("kind", ALL)
def test_one_view_has_no_pairs(kind: type[Model]) -> None:
    model, sample = kind(), make_sample(b=2, s=1)
    check_needs(model, sample, "the test")
    prediction = model(sample)
    check_gives(model, prediction)
    (key,) = model.gives
    assert prediction[key].shape[:2] == (2, 0)
    assert prediction[key].shape[3:] == (64, 96)


def test_no_motion_is_zero() -> None:
    flow = NoMotion()(make_sample(b=2, s=4))["flow"]
    assert flow.shape == (2, 3, 2, 64, 96)
    assert (flow == 0).all()


def test_rigid_flow_is_that_of_depth_and_poses() -> None:
    sample = make_sample(b=2, s=3)
    assert sample.depth is not None
    assert sample.K is not None
    assert sample.world_T_cam is not None
    flow = RigidFlow()(sample)["flow"]
    expected = rigid_flow(sample.depth, sample.K, sample.world_T_cam)
    assert expected.isfinite().all()
    assert torch.equal(flow, expected)
    assert flow.norm(dim=2).mean() > 1


def test_rigid_flow_is_zero_behind_the_camera() -> None:
    sample = make_sample(b=1, s=2)
    far = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    far[0, 1, 2, 3] = 100.0
    flow = RigidFlow()(replace(sample, world_T_cam=far))["flow"]
    assert flow.shape == (1, 1, 2, 64, 96)
    assert (flow == 0).all()


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_dense_flow_is_that_of_its_preset(preset: str) -> None:
    sample = make_sample(b=2, s=3)
    flow = DenseFlow(preset)(sample)["flow"]
    assert torch.equal(flow, dense_flow(sample.image, preset))
    assert not torch.equal(flow, dense_flow(sample.image, "fast"))


def test_squares_that_move_are_a_mask_each_from_the_largest_on() -> None:
    sample = squares((8, 50, 24, 0, 3), (60, 20, 40, 4, 0), (100, 70, 16, 0, 0))  # the last stands still
    mask = ResidualMasks(num_masks=4)(sample)["mask"]
    assert mask.shape == (1, 1, 4, H, W)
    assert ((mask == 0) | (mask == 1)).all()
    assert iou(mask[0, 0, 0], 60, 20, 40) > 0.7
    assert iou(mask[0, 0, 1], 8, 50, 24) > 0.7
    assert (mask[0, 0, 2:] == 0).all()
    assert mask.sum(dim=2).max() == 1


def test_no_more_masks_than_asked_for() -> None:
    sample = squares((8, 50, 24, 0, 3), (60, 20, 40, 4, 0))
    one, two = (ResidualMasks(num_masks=num)(sample)["mask"][0, 0] for num in (1, 2))
    assert one.shape == (1, H, W)
    assert torch.equal(one[0], two[0])


def test_small_components_and_small_residuals_are_left_out() -> None:
    sample = squares((8, 50, 24, 0, 3), (60, 20, 40, 4, 0))
    small = int(ResidualMasks()(sample)["mask"][0, 0, 1].sum())
    for least, places in ((small, 2), (small + 1, 1)):
        mask = ResidualMasks(min_pixels=least)(sample)["mask"][0, 0]
        assert int(mask.flatten(1).any(dim=1).sum()) == places
    mask = ResidualMasks(threshold=3.5)(sample)["mask"][0, 0]  # pixels: one square moves by 3, one by 4
    assert iou(mask[0], 60, 20, 40) > 0.6
    assert (mask[1:] == 0).all()
    assert (ResidualMasks(threshold=20.0)(sample)["mask"] == 0).all()


def test_what_the_camera_explains_is_no_mask() -> None:
    sample = squares()
    assert sample.K is not None
    assert sample.depth is not None
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    poses[0, 1, 0, 3] = 0.5  # metres to the right, so that the wall slides 5 pixels to the left
    image = sample.image.clone()
    image[0, 1] = image[0, 0].roll(-5, dims=-1)
    moved = replace(sample, image=image, world_T_cam=poses)
    assert (ResidualMasks()(moved)["mask"] == 0).all()  # the 5 columns that leave the image are not judged
    still = replace(moved, world_T_cam=torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1))
    assert ResidualMasks()(still)["mask"][0, 0, 0].mean() > 0.8


def test_what_comes_to_lie_behind_the_camera_is_not_judged() -> None:
    sample = squares((60, 20, 40, 4, 0))
    far = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    far[0, 1, 2, 3] = 100.0
    assert (ResidualMasks()(replace(sample, world_T_cam=far))["mask"] == 0).all()


def test_a_moving_car_of_a_rendered_street_is_found() -> None:
    data = Rendered(seeds=[0], frames=30, size=(96, 312), depth=True, mask=True)
    sample = Sample.collate([data.recordings[0].clip([4, 5])])
    assert sample.mask is not None
    mask = ResidualMasks()(sample)["mask"][0, 0].bool()
    car = sample.mask[0, 0] == sample.mask[0, 0][sample.mask[0, 0] > 0].mode().values
    assert car.sum() > 2000
    assert max(float((one & car).sum() / (one | car).sum()) for one in mask) > 0.5


@pytest.mark.parametrize("missing", ["K", "depth", "world_T_cam"])
@pytest.mark.parametrize("kind", [RigidFlow, ResidualMasks])
def test_what_is_missing_is_one_line(kind: type[Model], missing: str) -> None:
    sample = replace(make_sample(b=1, s=2), **{missing: None})
    with pytest.raises(Vo3dError, match=f"{kind.__name__} needs {missing}; the test gives"):
        check_needs(kind(), sample, "the test")
    with pytest.raises(Vo3dError, match=f"{kind.__name__} needs K, depth and world_T_cam: choose a dataset"):
        kind()(sample)


@pytest.mark.parametrize("model", [DenseFlow(), ResidualMasks()])
def test_images_that_are_too_small_are_one_line(model: Model) -> None:
    with pytest.raises(Vo3dError, match=r"images of 96x12 pixels: dense flow \(medium\) needs at least 16 a side"):
        model(make_sample(b=1, s=2, size=(12, 96)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 0.0}, "threshold 0: expected pixels, more than 0"),
        ({"threshold": float("nan")}, "threshold nan: expected pixels"),
        ({"min_pixels": 0}, "min_pixels 0: expected at least 1"),
        ({"num_masks": 0}, "num_masks 0: expected at least 1"),
    ],
)
def test_arguments_out_of_range_are_one_line(options: dict[str, float], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        ResidualMasks(**options)


@pytest.mark.parametrize("kind", ALL)
def test_there_is_nothing_to_train(kind: type[Model]) -> None:
    with pytest.raises(Vo3dError, match=f"{kind.__name__} has no parameters to train"):
        kind().loss({}, make_sample(b=1, s=2))

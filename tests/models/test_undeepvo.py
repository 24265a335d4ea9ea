"""UnDeepVO: its layers, its metres, and its loss where depth and motion are known exactly."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stereo_scenes import StereoScene, wall_scene
from vo3d import losses
from vo3d.datasets.transforms import HorizontalFlip
from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, pixel_grid, project, rotations, se3, warp_by_disparity
from vo3d.geometry.camera import flip_intrinsics
from vo3d.model import Prediction
from vo3d.models.undeepvo import DepthNet, MotionNet, UnDeepVO
from vo3d.sample import Sample

SIZE = (48, 96)
TINY = {"size": SIZE, "channels": (4, 4), "motion_channels": (4, 4), "hidden": 4}
FORMS = ("depth", "inverse_depth")
every_form = pytest.mark.parametrize("output", FORMS)
TERMS = {"stereo", "disparity", "smoothness", "temporal", "registration", "position", "rotation"}
TEMPORAL = {"temporal", "registration", "position", "rotation"}


class Says(nn.Module):
    """A network that gives the same answer whatever it sees."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> Tensor:
        return self.answer.expand(len(images), *self.answer.shape)


def _model(**arguments: object) -> UnDeepVO:
    torch.manual_seed(0)
    return UnDeepVO(**{**TINY, **arguments})  # type: ignore[arg-type]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _values(model: UnDeepVO, prediction: Prediction, sample: Sample) -> dict[str, float]:
    return {name: term.item() for name, term in model.loss(prediction, sample).items()}


# Layers


def test_parameters_are_those_of_the_figure() -> None:
    with torch.device("meta"):
        model = UnDeepVO()

    assert _parameters(model.motion_net.encoder) == 2_175_312
    assert _parameters(model.motion_net) == 4_801_878
    assert _parameters(model.depth_net) == 31_593_873
    assert model.motion_net.translation[0].in_features == model.motion_net.rotation[0].in_features == 2048


def test_maps_halve_and_round_up_as_in_the_figure() -> None:
    halves = [(64, 208), (32, 104), (16, 52), (8, 26), (4, 13), (2, 7), (1, 4)]
    with torch.device("meta"):
        model = UnDeepVO()
        seen: list[tuple[int, ...]] = []
        for stage in (*model.depth_net.down, *model.motion_net.encoder[:-1], *model.depth_net.merge):
            stage.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape[1:])))
        depth = model.depth_net(torch.empty(2, 3, 128, 416))
        motion = model.motion_net(torch.empty(2, 6, 128, 416))

    down, rest = seen[:7], seen[7:]
    assert down == [(c, *size) for c, size in zip((32, 64, 128, 256, 512, 512, 512), halves, strict=True)]
    up = [(128, 416), *halves[:-1]][::-1]
    assert rest[:7] == [(c, *size) for c, size in zip((512, 512, 256, 128, 64, 32, 16), up, strict=True)]
    assert rest[7:] == [(c, *size) for c, size in zip((16, 32, 64, 128, 256, 256, 512), halves, strict=True)]
    assert (depth.shape, motion.shape) == ((2, 128, 416), (2, 6))


@pytest.mark.parametrize("pool", ["stride", "max", "ada"])
def test_odd_sizes_round_up_with_every_pool(pool: str) -> None:
    size = (13, 21)
    depth_net = DepthNet((4, 4, 4), (5,), batch_norm=True, pool=pool)
    motion_net = MotionNet(size, (4, 4, 4), (5,), 4, batch_norm=True, pool=pool)

    assert depth_net(torch.rand(2, 3, *size)).shape == (2, *size)
    assert motion_net(torch.rand(2, 6, *size)).shape == (2, 6)
    assert motion_net.translation[0].in_features == 2 * 3 * 4


@every_form
@pytest.mark.parametrize("bias", [-50.0, -3.0, 0.0, 50.0])
def test_depth_stays_in_its_range(output: str, bias: float) -> None:
    scene = wall_scene(focal=0.58)  # the canonical camera
    model = _model(output=output, min_depth=0.7, max_depth=30.0)
    nn.init.constant_(model.depth_net.head.bias, bias)

    depth = model.predict(scene.sample)["depth"]

    assert depth.min() >= 0.7 * (1 - 1e-6)
    assert depth.max() <= 30.0 * (1 + 1e-6)
    if abs(bias) == 50:
        end = 30.0 if (bias > 0) else 0.7
        torch.testing.assert_close(depth, torch.full_like(depth, end))


@pytest.mark.parametrize(("output", "middle"), [("depth", 15.5), ("inverse_depth", 1 / (0.5 / 1 + 0.5 / 30))])
def test_half_of_the_way_lies_halfway_in_depth_or_inverse_depth(output: str, middle: float) -> None:
    model = _model(output=output, max_depth=30.0)
    model.depth_net = Says(torch.full(SIZE, 0.5))

    depth = model.predict(wall_scene(focal=0.58).sample)["depth"]

    torch.testing.assert_close(depth, torch.full((1, 2, *SIZE), middle))


# Views


def test_three_views_have_three_depths_and_two_steps_of_either_camera() -> None:
    sample = wall_scene(views=3).sample

    prediction = _model()(sample)

    assert prediction["depth"].shape == prediction["aux"]["right_depth"].shape == (1, 3, *SIZE)
    assert prediction["prev_T_cam"].shape == prediction["aux"]["right_prev_T_cam"].shape == (1, 2, 4, 4)


def test_one_view_has_depth_and_no_motion() -> None:
    sample = wall_scene(views=1).sample
    model = _model()

    prediction = model(sample)
    terms = model.loss(prediction, sample)
    _total(terms).backward()

    assert prediction["depth"].shape == (1, 1, *SIZE)
    assert prediction["prev_T_cam"].shape == (1, 0, 4, 4)
    assert set(terms) == TERMS - TEMPORAL
    assert all(term.isfinite() for term in terms.values())


def test_prediction_is_of_the_left_camera_alone() -> None:
    sample = wall_scene(views=3).sample
    model = _model()

    both = model(sample)
    left = model.predict(sample)
    blind = model.predict(replace(sample, right=torch.full_like(sample.image, torch.nan)))

    assert set(left) == {"depth", "prev_T_cam"}
    for key in left:
        assert not left[key].requires_grad
        torch.testing.assert_close(left[key], both[key])
        assert torch.equal(left[key], blind[key])
        assert torch.equal(left[key], model(replace(sample, right=None, left_T_right=None))[key])


def test_the_right_stream_is_the_same_networks_on_the_right_images() -> None:
    sample = wall_scene(views=3).sample
    model = _model()

    aux = model(sample)["aux"]
    swapped = model(replace(sample, image=sample.right, right=None))

    assert torch.equal(aux["right_depth"], swapped["depth"])
    assert torch.equal(aux["right_prev_T_cam"], swapped["prev_T_cam"])


def test_a_mirrored_right_stream_is_what_the_networks_say_of_a_mirror() -> None:
    sample = wall_scene(views=3).sample
    model = _model(mirror_right=True)

    prediction = model(sample)
    mirror = replace(
        sample, image=sample.right.flip(-1), K=flip_intrinsics(sample.K, sample.image.shape[-1]), right=None
    )
    seen = model(mirror)

    aux = prediction["aux"]
    assert torch.equal(aux["right_depth"], seen["depth"].flip(-1))
    assert torch.equal(aux["right_prev_T_cam"], se3.mirror(seen["prev_T_cam"]))
    plain = _model()(sample)
    assert torch.equal(prediction["depth"], plain["depth"])  # the left stream is as it was
    assert not torch.equal(aux["right_depth"], plain["aux"]["right_depth"])


def test_depths_of_a_frame_and_its_mirror_image_are_blended() -> None:
    sample = wall_scene(views=2).sample
    width = sample.image.shape[-1]
    mirror = replace(sample, image=sample.image.flip(-1), K=flip_intrinsics(sample.K, width), right=None)
    model, plain = _model(flip_blend=True).eval(), _model().eval()

    found = model.predict(sample)

    own, other = 1 / plain.predict(sample)["depth"], 1 / plain.predict(mirror)["depth"].flip(-1)
    assert (own - other).abs().max() > 1e-4  # they do not agree of themselves
    share = torch.tensor([min(max(20 * (x / (width - 1) - 0.05), 0), 1) for x in range(width)])  # rises from the left
    far = 1 - share.flip(0)  # the part of the right border
    expected = far * own + (1 - share) * other + (share - far) * (own + other) / 2
    torch.testing.assert_close(1 / found["depth"], expected)
    assert torch.equal(found["prev_T_cam"], plain.predict(sample)["prev_T_cam"])
    assert torch.equal(model(sample)["depth"], plain(sample)["depth"])  # a training sees each frame once


# The loss of the truth, and of what is not true


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_every_term_is_near_zero_for_the_truth(views: int, slope: float) -> None:
    scene = wall_scene(views=views, slope=slope)
    model = _model(registration=1.0, position=1.0, rotation=1.0)

    terms = _values(model, scene.prediction(), scene.sample)

    assert set(terms) == TERMS
    assert terms.pop("smoothness") < (1e-5 if slope == 0 else 1e-3)  # a slope is rough, by its definition
    assert terms.pop("stereo") < 1e-3
    assert terms.pop("temporal") < 5e-3
    assert max(terms.values()) < 2e-3, terms


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.25, 2.0])
def test_wrong_depths_raise_the_terms(scale: float) -> None:
    scene = wall_scene(slope=0.2)
    model = _model(registration=1.0)
    true = _values(model, scene.prediction(), scene.sample)

    wrong = _values(model, scene.prediction(scale), scene.sample)

    assert wrong["stereo"] > 50 * true["stereo"]
    assert wrong["temporal"] > 10 * true["temporal"]
    assert wrong["disparity"] > 10 * true["disparity"]
    assert wrong["registration"] > 10 * true["registration"]
    for name in ("smoothness", "position", "rotation"):  # which know no scale
        assert wrong[name] == pytest.approx(true[name], abs=1e-7)


def test_depths_of_one_camera_alone_must_agree_with_the_other() -> None:
    scene = wall_scene(views=1)
    prediction = scene.prediction()
    prediction["aux"]["right_depth"] = 2 * prediction["aux"]["right_depth"]

    terms = _values(_model(), prediction, scene.sample)

    half = 0.5 * 0.8 * 0.5 / 8.0  # of the disparity, as a share of the width, in either direction
    assert terms["disparity"] == pytest.approx(2 * half, rel=1e-4)


def test_the_baseline_gives_the_metres() -> None:
    """Twice the baseline with the same images is a world of twice the size."""
    factors = [0.6 + 0.2 * step for step in range(11)]
    scene = wall_scene(slope=0.2)
    model = _model()

    def best(sample: Sample) -> float:
        return min(factors, key=lambda factor: _values(model, scene.prediction(factor), sample)["stereo"])

    left_T_right = scene.sample.left_T_right.clone()
    left_T_right[:, 0, 3] *= 2

    assert best(scene.sample) == pytest.approx(1.0)
    assert best(replace(scene.sample, left_T_right=left_T_right)) == pytest.approx(2.0)


@pytest.mark.parametrize("wrong", ["inverse", "nothing", "twice", "turned"])
def test_steps_are_poses_of_later_frames_in_earlier_ones(wrong: str) -> None:
    scene = wall_scene(slope=0.2)
    model = _model(registration=1.0)
    change = {
        "inverse": se3.inverse,
        "nothing": lambda motion: torch.eye(4).expand_as(motion),
        "twice": lambda motion: motion @ motion,
        "turned": lambda motion: motion @ se3.exp(torch.tensor([0.0, 0, 0, 0, 0.02, 0])),
    }[wrong]
    prediction = scene.prediction()
    true = _values(model, prediction, scene.sample)

    prediction["prev_T_cam"] = change(prediction["prev_T_cam"])
    prediction["aux"]["right_prev_T_cam"] = change(prediction["aux"]["right_prev_T_cam"])
    terms = _values(model, prediction, scene.sample)

    assert terms["temporal"] > 20 * true["temporal"]
    assert terms["registration"] > 10 * true["registration"]
    assert terms["stereo"] == true["stereo"]


def test_the_networks_numbers_are_the_warp_and_the_answer_is_its_inverse() -> None:
    scene = wall_scene(focal=0.58)
    angles, step = torch.tensor([0.03, -0.02, 0.05]), torch.tensor([0.1, -0.2, 0.3])
    model = _model(motion_scale=0.1)
    model.motion_net = Says(torch.cat((step, angles)) / 0.1)

    prev_T_cam = model.predict(scene.sample)["prev_T_cam"]

    R = rotations.axis_rotation(0, angles[0]) @ rotations.axis_rotation(1, angles[1])
    R = R @ rotations.axis_rotation(2, angles[2])
    next_T_cam = torch.eye(4)
    next_T_cam[:3, :3], next_T_cam[:3, 3] = R, step
    torch.testing.assert_close(prev_T_cam[0, 0], torch.linalg.inv(next_T_cam))


def test_streams_that_disagree_cost_what_they_differ_by() -> None:
    scene = wall_scene(step=(0.0, 0.0, 0.4, 0.0, 0.0, 0.0))
    prediction = scene.prediction()
    motion = prediction["aux"]["right_prev_T_cam"]
    prediction["aux"]["right_prev_T_cam"] = motion @ se3.exp(torch.tensor([0.1, 0.0, -0.2, 0.0, 0.0, 0.0]))

    terms = _values(_model(position=2.0, rotation=3.0), prediction, scene.sample)
    assert terms["position"] == pytest.approx(2 * 0.3, rel=1e-5)
    assert terms["rotation"] == 0

    prediction["aux"]["right_prev_T_cam"] = motion @ se3.exp(torch.tensor([0.0, 0.0, 0.0, 0.03, 0.0, -0.01]))
    terms = _values(_model(position=2.0, rotation=3.0), prediction, scene.sample)
    assert terms["rotation"] == pytest.approx(3 * 0.04, rel=1e-3)


def test_the_stereo_term_is_that_of_warping_by_disparity(generator: torch.Generator) -> None:
    sample = wall_scene(dtype=torch.float64).sample
    depths = 4 + 8 * torch.rand(2, 1, 2, *SIZE, generator=generator, dtype=torch.float64)
    prediction: Prediction = {"depth": depths[0], "prev_T_cam": torch.eye(4).double().expand(1, 1, 4, 4)}
    prediction["aux"] = {"right_depth": depths[1], "right_prev_T_cam": prediction["prev_T_cam"]}

    expected = torch.zeros((), dtype=torch.float64)
    focal_baseline = 0.8 * SIZE[1] * 0.5
    for image, other, depth, sign in (
        (sample.image, sample.right, depths[0], 1),
        (sample.right, sample.image, depths[1], -1),
    ):
        made, valid = warp_by_disparity(other, sign * focal_baseline / depth)
        expected += losses.masked_mean(losses.photometric_error(image, made, valid, 0.4, 5), valid)

    terms = _model(ssim_weight=0.4, ssim_window=5).loss(prediction, sample)
    torch.testing.assert_close(terms["stereo"], expected)


def test_a_mirrored_clip_has_the_same_loss(generator: torch.Generator) -> None:
    scene = wall_scene(views=3, slope=0.2, dtype=torch.float64)
    clip = replace(scene.sample.map(lambda tensor: tensor[0]), depth=None, scene="wall")
    mirrored = Sample.collate([HorizontalFlip(1.0)(clip, generator)])
    depth, right_depth = 4 + 8 * torch.rand(2, 1, 3, *SIZE, generator=generator, dtype=torch.float64)
    vectors = 0.05 * torch.randn(2, 1, 2, 6, generator=generator, dtype=torch.float64)
    turning_alike = torch.cat((vectors[..., :3], vectors[:1, ..., 3:].expand(2, 1, 2, 3)), dim=-1)
    model = _model()

    # where the cameras turn unlike, the lever of the baseline turns with the left one, so their distance may differ
    for xi, same in ((vectors, TERMS - {"position"}), (turning_alike, TERMS)):
        steps = se3.exp(xi)
        prediction: Prediction = {"depth": depth, "prev_T_cam": steps[0]}
        prediction["aux"] = {"right_depth": right_depth, "right_prev_T_cam": steps[1]}
        reflection: Prediction = {"depth": right_depth.flip(-1), "prev_T_cam": se3.mirror(steps[1])}
        reflection["aux"] = {"right_depth": depth.flip(-1), "right_prev_T_cam": se3.mirror(steps[0])}

        expected, found = model.loss(prediction, scene.sample), model.loss(reflection, mirrored)
        unswapped = model.loss({**reflection, "depth": depth.flip(-1)}, mirrored)

        assert set(expected) == TERMS
        for name in same:
            torch.testing.assert_close(found[name], expected[name], msg=lambda text, name=name: f"{name}: {text}")
        assert (unswapped["stereo"] - expected["stereo"]).abs() > 1e-4


def test_points_beyond_the_greatest_depth_are_not_registered() -> None:
    scene = wall_scene()
    prediction = scene.prediction()
    prediction["depth"], prediction["aux"]["right_depth"] = (
        torch.where(torch.arange(SIZE[1]) < 50, depth, 1000.0)
        for depth in (prediction["depth"], prediction["aux"]["right_depth"])
    )

    near = _values(_model(registration=1.0, max_depth=100.0), prediction, scene.sample)["registration"]
    all_of_it = _values(_model(registration=1.0, max_depth=1e4), prediction, scene.sample)["registration"]

    assert near < 2e-3
    assert all_of_it > 10


# The canonical focal length


def _camera(scene: StereoScene, wide: float, tall: float) -> StereoScene:
    """The same images, said to be of a camera of so many times the canonical focal length."""
    K = scene.sample.K.clone()
    K[..., 0, 0], K[..., 1, 1] = wide * 0.58 * SIZE[1], tall * 0.58 * SIZE[1]
    return replace(scene, sample=replace(scene.sample, K=K))


def test_an_image_that_two_cameras_share_has_twice_the_depth_and_step_at_twice_the_focal_length() -> None:
    near = wall_scene(focal=0.58, distance=8.0, step=(0.15, -0.05, 0.4, 0, 0, 0))
    far = wall_scene(focal=2 * 0.58, distance=16.0, step=(0.15, -0.05, 0.8, 0, 0, 0))
    torch.testing.assert_close(near.sample.image, far.sample.image, rtol=0, atol=1e-5)
    model = _model(motion_scale=1.0, max_depth=30.0)
    model.depth_net = Says((near.sample.depth[0, 0] - 1) / 29)
    model.motion_net = Says(torch.tensor([-0.15, 0.05, -0.4, 0.0, 0.0, 0.0]))

    for scene in (near, far):
        prediction = model.predict(scene.sample)
        torch.testing.assert_close(prediction["depth"][:, :1], scene.sample.depth[:, :1])
        torch.testing.assert_close(prediction["prev_T_cam"], scene.prev_T_cam)


@pytest.mark.parametrize(("wide", "tall"), [(2.0, 2.0), (0.5, 0.5), (1.5, 0.8)])
def test_steps_move_pixels_alike_whatever_the_focal_lengths(
    wide: float, tall: float, generator: torch.Generator
) -> None:
    """Points of one pixel at the depths of either camera land on one pixel: exactly, if the cameras do not turn."""
    vector = torch.tensor([0.1, -0.2, 0.3, 0.0, 0.0, 0.0])
    model = _model(motion_scale=1.0)
    model.depth_net = Says(torch.rand(SIZE, generator=generator))
    model.motion_net = Says(vector)
    landed = []
    for scene in (_camera(wall_scene(), 1.0, 1.0), _camera(wall_scene(), wide, tall)):
        prediction, K = model.predict(scene.sample), scene.sample.K[0, 0]
        points = se3.transform(se3.inverse(prediction["prev_T_cam"][0, 0]), backproject(K, prediction["depth"][0, 0]))
        landed.append(project(K, points)[0])

    assert (landed[0] - pixel_grid(*SIZE)).abs().amax((0, 1)).min() > 1
    torch.testing.assert_close(landed[1], landed[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["pitch", "yaw", "roll"])
def test_turns_move_the_middle_of_the_image_alike_whatever_the_focal_lengths(axis: int) -> None:
    """To first order in the angle and near the axis: only there can an image look alike to two cameras that turn."""
    vector = torch.zeros(6)
    vector[3 + axis] = 0.002
    model = _model(motion_scale=1.0)
    model.motion_net = Says(vector)
    moved = []
    for scene in (_camera(wall_scene(), 1.0, 1.0), _camera(wall_scene(), 2.0, 2.0), _camera(wall_scene(), 1.5, 0.8)):
        motion, K = se3.inverse(model.predict(scene.sample)["prev_T_cam"][0, 0]).double(), scene.sample.K[0, 0].double()
        offset = torch.tensor([5.0, 5.0] if axis == 2 else [0.0, 0.0])  # the middle itself does not roll
        pixel = K[:2, 2] + offset
        ray = torch.linalg.inv(K) @ torch.cat((pixel, torch.ones(1)))
        moved.append(project(K, motion[:3, :3] @ ray)[0] - pixel)

    assert moved[0].norm() > 0.01
    tolerance = 1e-4 if axis < 2 else 1e-5
    torch.testing.assert_close(moved[1], moved[0], rtol=0.01, atol=tolerance)
    if axis < 2:
        torch.testing.assert_close(moved[2], moved[0], rtol=0.01, atol=tolerance)


# The course of a training


def test_motion_waits_until_its_share_of_the_training_is_over() -> None:
    sample = wall_scene().sample
    model = _model(spatial_share=0.3).train()
    prediction = model(sample)

    assert model.needs_progress
    assert not _model().needs_progress
    assert set(_model().train().loss(prediction, sample)) == TERMS
    for progress, expected in ((0.0, TERMS - TEMPORAL), (0.29, TERMS - TEMPORAL), (0.3, TERMS), (1.0, TERMS)):
        model.progress = progress
        assert set(model.train().loss(prediction, sample)) == expected
        assert set(model.eval().loss(prediction, sample)) == TERMS


@every_form
def test_weights_of_zero_leave_their_terms_out(output: str) -> None:
    weights = ("temporal", "disparity", "position", "rotation", "registration", "smoothness")
    sample = wall_scene().sample
    model = _model(output=output, **dict.fromkeys(weights, 0.0))

    terms = model.loss(model(sample), sample)
    _total(terms).backward()

    assert terms.pop("stereo") > 0
    assert {name: term.item() for name, term in terms.items()} == dict.fromkeys(TERMS - {"stereo", "smoothness"}, 0.0)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_weights_are_factors_of_their_terms(generator: torch.Generator) -> None:
    names = ("temporal", "disparity", "position", "rotation", "registration", "smoothness")
    sample = wall_scene().sample
    one, three = _model(**dict.fromkeys(names, 1.0)), _model(**dict.fromkeys(names, 3.0))
    prediction = one(sample)

    once, thrice = one.loss(prediction, sample), three.loss(prediction, sample)

    assert torch.equal(once["stereo"], thrice["stereo"])
    for name in names:
        torch.testing.assert_close(thrice[name], 3 * once[name])
        assert once[name] > 0


# Gradients


def _images(kind: str) -> Sample:
    """Clips of two views that give a loss nothing, or nothing but trouble."""
    sample = wall_scene().sample
    same = sample.image[:, :1].expand_as(sample.image)
    flat = {"black": 0.0, "white": 1.0}
    if kind in flat:
        image = torch.full_like(sample.image, flat[kind])
        return replace(sample, image=image, right=image)
    if kind == "identical":
        return replace(sample, image=same, right=same)
    if kind == "saturated":
        return replace(sample, image=sample.image.round(), right=sample.right.round())
    return replace(sample, right=torch.zeros_like(sample.image))  # one camera is dead


@every_form
@pytest.mark.parametrize("bias", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("kind", ["black", "white", "identical", "saturated", "dead"])
def test_gradients_are_finite_for_flat_images_and_depths_at_their_bounds(output: str, bias: float, kind: str) -> None:
    sample = _images(kind)
    model = _model(output=output)
    nn.init.constant_(model.depth_net.head.bias, bias)

    terms = model.loss(model(sample), sample)
    _total(terms).backward()

    assert set(terms) == TERMS
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("step", [0.0, -7.9, 8.0, 1e3, -1e3], ids=lambda step: f"step {step}")
@pytest.mark.parametrize("level", [0.01, 8.0, 1e5], ids=lambda level: f"depth {level}")
def test_gradients_are_finite_wherever_points_lie(step: float, level: float) -> None:
    """Standing still, points behind the camera, views that share nothing."""
    sample = wall_scene().sample
    depths = torch.full((2, 1, 2, *SIZE), level, requires_grad=True)
    xi = torch.tensor([0.0, 0, step, 0, 0, 0]).expand(2, 1, 1, 6).clone().requires_grad_()
    motions = se3.exp(xi)
    prediction: Prediction = {"depth": depths[0], "prev_T_cam": motions[0]}
    prediction["aux"] = {"right_depth": depths[1], "right_prev_T_cam": motions[1]}

    terms = _model().loss(prediction, sample)
    _total(terms).backward()

    assert all(term.isfinite() for term in terms.values())
    assert depths.grad.isfinite().all()
    assert xi.grad.isfinite().all()


# Bad input


def _complaint(call: object, *arguments: object, **options: object) -> str:
    with pytest.raises(Vo3dError) as caught:
        call(*arguments, **options)  # type: ignore[operator]
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_what_is_missing_is_named() -> None:
    scene = wall_scene()
    sample, model = scene.sample, _model()
    prediction = scene.prediction()

    for lacking in ({"right": None}, {"left_T_right": None}, {"K": None}):
        line = _complaint(model.loss, prediction, replace(sample, **lacking))
        assert "the dataset gives no right, left_T_right or K: turn stereo on" in line
    assert "UnDeepVO needs K" in _complaint(model, replace(sample, K=None))
    small = wall_scene(size=(32, 64)).sample
    assert "48 rows and 96 columns but got 32 and 64" in _complaint(model, small)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"size": (0, 96)}, "size="),
        ({"channels": ()}, "channels="),
        ({"channels": (4, 0)}, "channels="),
        ({"motion_channels": ()}, "motion_channels="),
        ({"hidden": 0}, "hidden="),
        ({"kernels": (4,)}, "kernels="),
        ({"kernels": (-1,)}, "kernels="),
        ({"ssim_window": 4}, "ssim_window="),
        ({"ssim_window": 97}, "ssim_window="),
        ({"min_depth": 0.0}, "min_depth="),
        ({"min_depth": 100.0}, "min_depth below max_depth"),
        ({"focal": -1.0}, "focal="),
        ({"motion_scale": 0.0}, "motion_scale="),
        ({"image_std": (0.2, 0.0, 0.2)}, "image_std="),
        ({"ssim_weight": 1.5}, "ssim_weight=1.5"),
        ({"ssim_weight": -0.1}, "ssim_weight=-0.1"),
        ({"spatial_share": 1.0}, "spatial_share=1.0"),
        ({"temporal": -1.0}, "weights (-1.0"),
        ({"rotation": float("nan")}, "nan"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments: dict[str, object], word: str) -> None:
    assert word in _complaint(_model, **arguments)

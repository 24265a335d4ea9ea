"""The classic pipeline: motions of a drawn corridor that are known exactly, bad images, and real KITTI frames."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from numpy import ndarray
from torch import Tensor

from corridor import (
    BASELINE,
    CAMERA_HEIGHT,
    FAST,
    FOCAL,
    FORWARD,
    HALL,
    HEIGHT,
    MOTORWAY,
    SLOW,
    STILL,
    TURN,
    WIDTH,
    K,
    clip,
)
from vo3d.errors import Vo3dError
from vo3d.geometry import se3, trajectory, two_view
from vo3d.model import Model, Prediction, check_gives, check_needs
from vo3d.models.classic import ClassicOdometry
from vo3d.models.classic_gyro import GyroClassic
from vo3d.sample import Sample
from vo3d.settings.build import build


def degrees(a_T_b: Tensor, a_T_c: Tensor) -> float:
    """Angle between two rotations."""
    return float(se3.log(se3.relative(a_T_b.double(), a_T_c.double()))[3:].norm().rad2deg())


def failed(prediction: Prediction) -> int:
    """Count the steps that the images did not tell."""
    return int((~prediction["tracked"]).sum())


def angle(a: Tensor, b: Tensor) -> float:
    """Degrees between two directions."""
    return float(torch.atan2(torch.linalg.cross(a.double(), b.double()).norm(), a.double() @ b.double()).rad2deg())


@pytest.mark.parametrize("features", ["fast_lk", "orb", "sift"])
def test_motion_is_recovered(features: str) -> None:
    model = ClassicOdometry(features, scale="true")
    sample = clip("forward", noise=0.005)
    check_needs(model, sample, "the test")
    prediction = model(sample)
    check_gives(model, prediction)
    motion = prediction["prev_T_cam"]
    assert motion.shape == (1, 4, 4)
    assert motion.dtype == torch.float32
    coarse = 4 if features == "orb" else 1  # its corners are whole pixels of a pyramid
    assert degrees(motion[0], FORWARD) < 0.1 * coarse
    assert angle(motion[0, :3, 3], FORWARD[:3, 3]) < 2 * coarse
    assert float(motion[0, :3, 3].norm()) == pytest.approx(float(FORWARD[:3, 3].norm()), rel=1e-5)
    assert failed(prediction) == 0


def test_stereo_gives_metres() -> None:
    model = ClassicOdometry(scale="stereo")
    prediction = model(clip("forward", stereo=True, noise=0.005))
    motion = prediction["prev_T_cam"][0]
    assert float(motion[:3, 3].norm()) == pytest.approx(float(FORWARD[:3, 3].norm()), rel=0.02)
    assert degrees(motion, FORWARD) < 0.1
    assert angle(motion[:3, 3], FORWARD[:3, 3]) < 2
    assert failed(prediction) == 0


def test_stereo_betters_direction_and_rotation_where_most_points_are_far() -> None:
    sample = clip("fast", "fast", "fast", stereo=True, noise=0.01, planes=MOTORWAY)
    epipolar, metric = (ClassicOdometry(scale=scale)(sample)["prev_T_cam"] for scale in ("true", "stereo"))
    before, after = (np.mean([angle(step[:3, 3], FAST[:3, 3]) for step in steps]) for steps in (epipolar, metric))
    assert after < 0.6 * before
    before, after = (np.mean([degrees(step, FAST) for step in steps]) for steps in (epipolar, metric))
    assert after < before
    assert metric[:, :3, 3].norm(dim=-1).numpy() == pytest.approx(float(FAST[:3, 3].norm()), rel=0.01)


def test_stereo_tells_a_slow_step_from_a_rotation() -> None:
    model = ClassicOdometry(scale="stereo")
    prediction = model(clip("slow", stereo=True, noise=0.01, planes=HALL, baseline=0.11))
    motion = prediction["prev_T_cam"][0]
    assert motion[:3, 3].numpy() == pytest.approx(SLOW[:3, 3].numpy(), abs=6e-3)
    assert degrees(motion, SLOW) < 0.03
    assert failed(prediction) == 0


def test_left_and_right_swapped_or_at_one_place_is_one_line() -> None:
    sample = clip("forward", stereo=True, noise=0.005)
    swapped = replace(sample, image=sample.right, right=sample.image)
    with pytest.raises(Vo3dError, match="left and right images are swapped"):
        ClassicOdometry(scale="stereo")(swapped)
    with pytest.raises(Vo3dError, match="left_T_right has none"):
        ClassicOdometry(scale="stereo")(replace(sample, left_T_right=torch.eye(4)))


@pytest.mark.parametrize("right", ["blank", "unrelated"])
def test_a_right_image_that_shows_nothing_of_the_left_is_a_counted_failure(right: str) -> None:
    sample = clip("forward", stereo=True)
    blank = torch.full_like(sample.image, 0.5)
    noise = torch.rand(sample.image.shape, generator=torch.Generator().manual_seed(0))
    model = ClassicOdometry(scale="stereo")
    prediction = model(replace(sample, right={"blank": blank, "unrelated": noise}[right]))
    motion = prediction["prev_T_cam"]
    assert failed(prediction) == 1
    assert torch.equal(motion, torch.eye(4)[None])


def test_camera_height_gives_metres() -> None:
    model = ClassicOdometry(scale="height", camera_height=CAMERA_HEIGHT)
    prediction = model(clip("forward"))
    motion = prediction["prev_T_cam"][0]
    assert float(motion[:3, 3].norm()) == pytest.approx(float(FORWARD[:3, 3].norm()), rel=0.05)
    doubled = ClassicOdometry(scale="height", camera_height=2 * CAMERA_HEIGHT)(clip("forward"))["prev_T_cam"][0]
    assert torch.allclose(doubled[:3, 3], 2 * motion[:3, 3])
    assert failed(prediction) == 0


@pytest.mark.parametrize("scale", ["stereo", "true", "constant"])
def test_standing_still_is_no_motion(scale: str) -> None:
    model = ClassicOdometry(scale=scale, step=0.8)
    prediction = model(clip("still", stereo=True, noise=0.01))
    motion = prediction["prev_T_cam"][0]
    assert motion[:3, 3].norm() < 1e-6
    assert degrees(motion, STILL) < 0.02
    assert failed(prediction) == 0


@pytest.mark.parametrize("scale", ["stereo", "constant"])
def test_pure_rotation_has_no_translation(scale: str) -> None:
    motion = ClassicOdometry(scale=scale, step=0.8)(clip("turn", stereo=True, noise=0.005))["prev_T_cam"][0]
    assert motion[:3, 3].norm() < 1e-6
    assert degrees(motion, TURN) < 0.1


def test_textureless_image_is_a_counted_failure() -> None:
    model = ClassicOdometry(step=0.8)
    walk = clip("forward", "forward")
    blind = Sample(image=torch.full_like(walk.image, 0.5), K=walk.K)
    first, second = model.stream([walk, blind])
    assert first["tracked"].tolist() == [True, True]
    assert second["tracked"].tolist() == [False, False]
    assert torch.equal(second["prev_T_cam"], first["prev_T_cam"][-1].expand(2, 4, 4))  # the motion before is repeated
    alone = model(blind)
    assert torch.equal(alone["prev_T_cam"], torch.eye(4).expand(2, 4, 4))  # nothing came before
    assert failed(alone) == 2


@pytest.mark.parametrize("features", ["orb", "sift"])
def test_descriptors_of_a_textureless_image(features: str) -> None:
    model = ClassicOdometry(features, step=0.8)
    assert failed(model(Sample(image=torch.zeros(2, 3, 64, 64), K=K.expand(2, 3, 3)))) == 1


def test_unrelated_images_do_not_explode() -> None:
    model = ClassicOdometry(step=0.8)
    noise = torch.rand(6, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    motion = model(Sample(image=noise, K=K.expand(6, 3, 3)))["prev_T_cam"]
    assert motion.isfinite().all()
    assert (motion[:, :3, 3].norm(dim=-1) < 0.8 + 1e-5).all()


def test_same_clip_same_motion_in_a_batch_or_alone() -> None:
    model = ClassicOdometry(step=0.8)
    walk = clip("forward", "turn")
    alone = model(walk)["prev_T_cam"]
    batch = model(Sample.collate([walk, walk]))["prev_T_cam"]
    assert torch.equal(batch, torch.stack([alone, alone]))


def test_clips_of_a_stream_join_to_the_whole() -> None:
    model = ClassicOdometry(step=0.8)
    walk = clip("forward", "turn", "forward")
    halves = [walk.map(lambda tensor, cut=cut: tensor[cut]) for cut in (slice(0, 2), slice(1, 4))]
    joined = torch.cat([prediction["prev_T_cam"] for prediction in model.stream(halves)])
    assert torch.allclose(joined, model(walk)["prev_T_cam"], atol=1e-6)


def test_intrinsics_may_change_between_views() -> None:
    model = ClassicOdometry(step=0.8)
    walk = clip("forward")
    whole = model(walk)["prev_T_cam"][0]
    zoomed = walk.image.clone()
    ys, xs = torch.arange(HEIGHT).float(), torch.arange(WIDTH).float()
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)
    centre = torch.tensor([K[0, 2], K[1, 2]])
    where = ((grid - centre) / 1.05 + centre).numpy()
    view = cv2.remap(walk.image[1, 0].numpy(), where[..., 0], where[..., 1], cv2.INTER_CUBIC)
    zoomed[1] = torch.from_numpy(view).clamp(0, 1)
    K_zoomed = K.clone()
    K_zoomed[:2, :2] *= 1.05
    motion = model(Sample(image=zoomed, K=torch.stack([K, K_zoomed])))["prev_T_cam"][0]
    assert degrees(motion, whole) < 0.1
    assert angle(motion[:3, 3], whole[:3, 3]) < 2


@pytest.mark.parametrize(
    ("arguments", "words", "needs"),
    [
        ({"scale": "stereo"}, "stereo baseline", ("image", "K", "right", "left_T_right")),
        ({"scale": "height"}, "camera height 1.65 m", ("image", "K")),
        ({"scale": "constant", "step": 0.8134}, "constant step 0.813 m", ("image", "K")),
        ({"scale": "true"}, "ground truth", ("image", "K", "world_T_cam")),
    ],
)
def test_scale_says_where_it_comes_from(arguments: dict, words: str, needs: tuple[str, ...]) -> None:
    model = ClassicOdometry(**arguments)
    assert model.scale_source == words
    assert model.needs == needs
    assert ClassicOdometry.needs == ("image", "K")


def test_mistakes_are_told_in_words() -> None:
    walk = clip("forward")
    with pytest.raises(Vo3dError, match="no length of a step"):
        ClassicOdometry()(walk)
    with pytest.raises(Vo3dError, match="left_T_right"):
        ClassicOdometry(scale="stereo")(walk)
    with pytest.raises(Vo3dError, match="world_T_cam"):
        ClassicOdometry(scale="true")(Sample(image=walk.image, K=walk.K))
    with pytest.raises(Vo3dError, match="no parameters"):
        ClassicOdometry().loss({}, walk)


def _matches(count: int, b_T_a: ndarray, noise: float, outliers: float) -> tuple[ndarray, ndarray, ndarray]:
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(-8, 8, count), random.uniform(-3, 3, count), random.uniform(4, 30, count)], 1)
    moved = points @ b_T_a[:3, :3].T + b_T_a[:3, 3]
    a = points[:, :2] / points[:, 2:]
    b = moved[:, :2] / moved[:, 2:] + noise * random.standard_normal((count, 2))
    wrong = random.random(count) < outliers
    b[wrong] = random.uniform(-0.5, 0.5, (wrong.sum(), 2))
    return points, a, b


def test_essential_matrix_survives_outliers() -> None:
    b_T_a = two_view.inverse(FORWARD.numpy())
    _, a, b = _matches(400, b_T_a, noise=1e-4, outliers=0.4)
    found, inlier = two_view.fit_motion(a, b, threshold=1e-3)
    assert degrees(torch.from_numpy(found), torch.from_numpy(b_T_a)) < 0.05
    assert angle(torch.from_numpy(found[:3, 3]), torch.from_numpy(b_T_a[:3, 3])) < 0.5
    assert 0.55 < inlier.mean() < 0.7
    guess = two_view.inverse((FORWARD @ se3.exp(torch.tensor([0.1, 0.1, 0.2, 0, 0.004, 0]).double())).numpy())
    guided, _ = two_view.fit_motion(a, b, 1e-3, guess)
    wrong, _ = two_view.fit_motion(a, b, 1e-3, two_view.inverse(guess))

    def misfit(pose: ndarray) -> float:
        return float(np.log1p((2 * two_view.sampson(a, b, pose) / 1e-3) ** 2).sum())

    assert misfit(guided) <= misfit(found)  # a guess helps or is ignored
    assert misfit(wrong) <= misfit(found)


def test_a_guess_that_points_backwards_does_not_turn_the_motion_round() -> None:
    b_T_a = se3.exp(torch.tensor([0.02, -0.01, -0.8, 0.003, 0.01, -0.002], dtype=torch.float64)).numpy()
    backwards = two_view.rigid(b_T_a[:3, :3], -b_T_a[:3, 3] / np.linalg.norm(b_T_a[:3, 3]))
    _, a, b = _matches(300, b_T_a, noise=0.1 / FOCAL, outliers=0.3)
    for threshold in np.linspace(0.3, 2.0, 12) / FOCAL:  # each ends at slightly other optima of the two starts
        found = two_view.fit_motion(a, b, threshold, backwards)
        assert found is not None
        assert found[0][:3, 3] @ b_T_a[:3, 3] > 0


def test_depth_and_metric_motion_are_exact_without_noise() -> None:
    b_T_a = two_view.inverse(FORWARD.numpy())
    points, a, b = _matches(100, b_T_a, noise=0.0, outliers=0.0)
    assert two_view.triangulate(a, b, b_T_a) == pytest.approx(points, rel=1e-9)
    assert two_view.inverse_depth(a, b, b_T_a) == pytest.approx(1 / points[:, 2], rel=1e-9)
    assert two_view.project(a, 1 / points[:, 2], b_T_a)[0] == pytest.approx(b, abs=1e-12)
    assert np.abs(two_view.sampson(a, b, b_T_a)).max() < 1e-12
    direction = two_view.rigid(b_T_a[:3, :3], b_T_a[:3, 3] / np.linalg.norm(b_T_a[:3, 3]))
    inverse = np.where(np.arange(100) % 3 == 0, np.nan, 1 / points[:, 2])
    nearby = two_view.inverse(se3.exp(torch.tensor([0.02, -0.01, 0, 0.001, 0.002, 0]).double()).numpy()) @ direction
    for start in (direction, nearby):
        assert two_view.fit_metric_motion(a, b, inverse, BASELINE, start, 1e-3) == pytest.approx(b_T_a, abs=1e-8)
    assert two_view.fit_metric_motion(a, b, np.full(100, np.nan), BASELINE, direction, 1e-3) is None
    assert two_view.fit_metric_motion(a, b, np.full(100, 1e-6), BASELINE, direction, 1e-3) is None  # all too far


def test_an_error_that_all_disparities_share_does_not_change_the_length() -> None:
    b_T_a = two_view.inverse(FAST.numpy())
    random = np.random.default_rng(0)
    depth = 1 / random.uniform(1 / 300, 1 / 8, 300)
    a = np.stack([random.uniform(-0.8, 0.8, 300), random.uniform(-0.2, 0.2, 300)], 1)
    moved = np.concatenate([a, np.ones((300, 1))], 1) * depth[:, None] @ b_T_a[:3, :3].T + b_T_a[:3, 3]
    b = moved[:, :2] / moved[:, 2:] + 0.2 / FOCAL * random.standard_normal((300, 2))
    inverse = 1 / depth + (0.3 + 0.2 * random.standard_normal(300)) / FOCAL / BASELINE  # 0.3 pixels of disparity
    start = two_view.rigid(b_T_a[:3, :3], b_T_a[:3, 3] / np.linalg.norm(b_T_a[:3, 3]))
    found = two_view.fit_metric_motion(a, b, inverse, BASELINE, start, 0.5 / FOCAL)
    assert np.linalg.norm(found[:3, 3]) == pytest.approx(np.linalg.norm(b_T_a[:3, 3]), rel=0.01)


def test_ground_plane_is_exact_without_noise() -> None:
    random = np.random.default_rng(0)
    tilted = np.array([0.02, 1.0, 0.03])
    normal = tilted / np.linalg.norm(tilted)
    rays = np.stack([random.uniform(-0.3, 0.3, 80), random.uniform(0.1, 0.4, 80), np.ones(80)], 1)
    points = rays * (1.65 / (rays @ normal))[:, None]
    points[:20, 1] -= 0.5  # a kerb, a car: not the ground
    b_T_a = two_view.inverse(FORWARD.numpy())
    baseline = np.linalg.norm(b_T_a[:3, 3])
    moved = points @ b_T_a[:3, :3].T + b_T_a[:3, 3]
    a, b = points[:, :2] / points[:, 2:], moved[:, :2] / moved[:, 2:]
    unit = two_view.rigid(b_T_a[:3, :3], b_T_a[:3, 3] / baseline)
    assert two_view.fit_ground(a, b, unit, 1e-4) == pytest.approx(normal * baseline / 1.65, rel=1e-6)


def test_points_that_span_no_plane_give_no_ground() -> None:
    rays = np.tile([[0.1, 0.3]], (20, 1))
    moved = rays * (1 + np.linspace(0.01, 0.02, 20))[:, None]
    assert two_view.fit_ground(rays, moved, two_view.inverse(FORWARD.numpy()), 1e-4) is None


@pytest.mark.real
@pytest.mark.parametrize(("scale", "limit"), [("stereo", 2.0), ("true", 2.0), ("height", 4.0)])
def test_real_kitti_frames_end_where_they_should(shared_data: Path, scale: str, limit: float) -> None:
    from vo3d.datasets.kitti import KITTIOdometry

    recording = KITTIOdometry(
        shared_data / "kitti_odometry", ["06"], frames=(0, 51), colour=False, stereo=True
    ).recordings[0]
    truth = recording.poses()
    model = ClassicOdometry(scale=scale)
    clips = (recording.clip(range(first, min(first + 11, 51))) for first in range(0, 50, 10))
    predictions = list(model.stream(clips))
    steps = torch.cat([prediction["prev_T_cam"] for prediction in predictions])
    estimate = trajectory.chain(steps.double(), start=truth[0])
    drift = (estimate[-1, :3, 3] - truth[-1, :3, 3]).norm() / trajectory.path_lengths(truth)[-1]
    assert len(steps) == 50
    assert 100 * drift < limit  # per cent of the path
    assert not any(map(failed, predictions))


def test_a_relative_scale_is_carried_along_a_stream_whatever_its_clips() -> None:
    walk = clip(*["fast"] * 3, *["forward"] * 3, planes=MOTORWAY, noise=0.005)
    count = len(walk.image)

    def part(first: int, stop: int) -> Sample:
        views = slice(first, stop)
        assert walk.K is not None
        return Sample(image=walk.image[views], K=walk.K[views], index=torch.arange(first, stop))

    def steps(length: int) -> Tensor:
        parts = [part(first, min(first + length, count)) for first in range(0, count - 1, length - 1)]
        return torch.cat([one["prev_T_cam"] for one in ClassicOdometry(scale="relative").stream(parts)])

    pairs, whole = steps(2), ClassicOdometry(scale="relative")(walk)
    assert torch.equal(pairs, steps(4))
    assert torch.equal(pairs, whole["prev_T_cam"])
    assert bool(whole["tracked"].all())
    truth = trajectory.steps(walk.world_T_cam)[:, :3, 3].norm(dim=-1)
    ratio = pairs[:, :3, 3].norm(dim=-1) / truth
    assert (ratio / ratio.median()).numpy() == pytest.approx(np.ones(6), abs=0.08)
    batch = ClassicOdometry(scale="relative")(Sample.collate([walk, walk]))
    assert torch.equal(batch["prev_T_cam"], torch.stack([pairs, pairs]))
    with pytest.raises(Vo3dError, match="a stream must go on where it ended"):
        list(ClassicOdometry(scale="relative").stream([part(0, 3), part(3, 5)]))


def test_a_relative_scale_is_no_metre_and_says_what_it_does_not_take() -> None:
    model = ClassicOdometry(scale="relative")
    assert not model.metric
    assert "1 unit" in model.scale_source
    assert ClassicOdometry(step=1.0).metric
    with pytest.raises(Vo3dError, match="features is 'orb': expected 'fast_lk'"):
        ClassicOdometry("orb", scale="relative")
    with pytest.raises(Vo3dError, match="bundle=2: expected 3 key frames or more"):
        ClassicOdometry(scale="relative", bundle=2)
    with pytest.raises(Vo3dError, match="tracks images alone"):
        GyroClassic(scale="relative")


@pytest.mark.parametrize("text", ["true", "'true'", "height"])
def test_a_scale_is_read_out_of_yaml_as_it_is_written(text: str) -> None:
    spec = yaml.safe_load(f"{{class_path: vo3d.models.classic.ClassicOdometry, init_args: {{scale: {text}}}}}")
    assert build(Model, spec).scale == text.strip("'")

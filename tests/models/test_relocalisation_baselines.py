"""Relocalisation without learning: exact on scenes with exact answers, and never silent where it has none."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from samples import make_sample
from tiny import TinyRecording
from vo3d.datasets.tabletop import Tabletop
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.rotations import so3_exp, so3_log
from vo3d.layers.image_descriptor import Features
from vo3d.model import Model, check_gives, check_needs
from vo3d.models import ridge_pose
from vo3d.models.mean_pose import MeanPose
from vo3d.models.nearest_image import NearestImage
from vo3d.models.retrieval_pnp import KeyPoints, RetrievalPnP
from vo3d.models.ridge_pose import RidgePose
from vo3d.recording import Recording
from vo3d.sample import Sample
from vo3d.settings.build import build, read_spec
from vo3d.settings.discovery import known_baselines

KINDS: dict[str, Callable[[], Model]] = {
    "MeanPose": MeanPose,
    "NearestImage": lambda: NearestImage("thumbnail"),
    "RidgePose": lambda: RidgePose(pretrained=False),
    "RetrievalPnP": lambda: RetrievalPnP(features="thumbnail"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
TRAINING, TEST = (0, 1, 3, 4, 6, 7), (2, 5)


class Part(Recording):
    """Some views of a recording, with their depth or without, in a world that is moved."""

    def __init__(
        self, whole: Recording, chosen: Sequence[int], depth: bool = False, world_T_whole: Tensor | None = None
    ) -> None:
        self.name, self.whole, self.chosen, self.depth = "part", whole, list(chosen), depth
        poses = whole.poses()
        assert poses is not None
        moved = poses if world_T_whole is None else world_T_whole @ poses
        self.world_T_cam = moved[self.chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def clip(self, indices: Sequence[int]) -> Sample:
        """The views as they are."""
        sample = self.whole.clip([self.chosen[index] for index in indices])
        return replace(sample, depth=sample.depth if self.depth else None, world_T_cam=self.world_T_cam[list(indices)])

    def poses(self) -> Tensor:
        """All poses."""
        return self.world_T_cam


class Blind(TinyRecording):
    def poses(self) -> None:  # type: ignore[override]
        """No truth."""


@cache
def table() -> Recording:
    """Eight views of a rendered table, about half a metre away, each kept once it is rendered."""
    return Tabletop([0], (192, 256), views_per_scene=8, noise=0.0, cache=True).recordings[0]


def batch(recording: Recording, *views: int) -> Sample:
    return Sample.collate([recording.clip((view,)) for view in views])


def errors(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Millimetres and degrees."""
    turned = so3_log(truth[..., :3, :3].mT @ found[..., :3, :3]).norm(dim=-1)
    return 1000 * (found - truth)[..., :3, 3].norm(dim=-1), torch.rad2deg(turned)


@every_kind
def test_it_gives_poses_of_any_batch_in_the_world_in_float64(kind: str) -> None:
    model = KINDS[kind]()
    model.fit([Part(table(), TRAINING)])
    views = Part(table(), (*TEST, 0, 3))
    sample = views.clip(range(4)).map(lambda tensor: tensor.unflatten(0, (2, 2)))
    check_needs(model, sample, "the test")
    prediction = model.eval().predict(replace(sample, world_T_cam=None))
    check_gives(model, prediction)
    found = prediction["world_T_cam"]
    assert found.shape == (2, 2, 4, 4)
    assert found.dtype == torch.float64
    identity = torch.eye(3, dtype=torch.float64).expand(2, 2, 3, 3)
    torch.testing.assert_close(found[..., :3, :3] @ found[..., :3, :3].mT, identity, rtol=0, atol=1e-9)
    alone = [model.predict(batch(views, view))["world_T_cam"][0, 0] for view in range(4)]
    torch.testing.assert_close(torch.stack(alone), found.flatten(0, 1), rtol=1e-6, atol=1e-6)


@every_kind
def test_the_world_may_be_anywhere(kind: str) -> None:
    """A world that is moved by 5,000 km and turned moves the answers, and changes nothing else."""
    moved = se3.exp(torch.tensor([4e6, -3e6, 1e5, 1.0, -2.0, 0.5], dtype=torch.float64))
    here, there = KINDS[kind](), KINDS[kind]()
    here.fit([Part(table(), TRAINING)])
    there.fit([Part(table(), TRAINING, world_T_whole=moved)])
    sample = batch(table(), *TEST)
    expected = moved @ here.predict(sample)["world_T_cam"]
    within = 2e-3 if kind == "RetrievalPnP" else 1e-4  # metres: which points agree may depend on rounding
    torch.testing.assert_close(there.predict(sample)["world_T_cam"], expected, rtol=0, atol=within)


@every_kind
def test_nothing_learns_by_gradients(kind: str) -> None:
    model = KINDS[kind]()
    assert list(model.parameters()) == []
    assert (model.window.views, model.window.overlap) == (1, 0)
    with pytest.raises(Vo3dError, match=f"{kind} has no parameters to train"):
        model.loss({}, make_sample())


@every_kind
def test_what_cannot_be_fitted_to_is_told(kind: str) -> None:
    with pytest.raises(Vo3dError, match=f"{kind} knows no training view: call fit"):
        KINDS[kind]()(make_sample())
    with pytest.raises(Vo3dError, match="no recording with a frame"):
        KINDS[kind]().fit([])
    with pytest.raises(Vo3dError, match="no recording with a frame"):
        KINDS[kind]().fit([Part(table(), ())])
    with pytest.raises(Vo3dError, match="tiny-0 has no poses"):
        KINDS[kind]().fit([Blind()])


@every_kind
def test_one_training_view_is_enough(kind: str) -> None:
    model, one = KINDS[kind](), Part(table(), [3])
    model.fit([one])
    found = model.predict(batch(table(), 3, 3))["world_T_cam"]
    torch.testing.assert_close(found[0, 0], one.world_T_cam[0], rtol=0, atol=1e-9)


def test_they_are_found_by_their_names_also_with_arguments() -> None:
    known = known_baselines()
    assert {"mean_pose", "nearest_image", "ridge_pose", "retrieval_pnp"} <= known.keys()
    words = json.dumps({"class_path": "nearest_image", "init_args": {"features": "thumbnail"}})
    model = build(Model, read_spec(words, "--baselines", known))
    assert isinstance(model, NearestImage)
    assert model.descriptor.trunk is None
    assert isinstance(build(Model, read_spec("mean_pose", "--baselines", known)), MeanPose)


def test_the_mean_pose_is_the_mean() -> None:
    first, second = TinyRecording(0, frames=5), TinyRecording(1, frames=7)
    model = MeanPose()
    model.fit([first, second])
    poses = torch.cat((first.poses(), second.poses()))
    found = model(make_sample(b=1, s=2))["world_T_cam"]
    torch.testing.assert_close(found[0, 1, :3, 3], poses[:, :3, 3].mean(0))
    away = (poses[:, :3, :3] - found[0, 0, :3, :3]).square().sum()
    for axis in range(3):
        nudge = so3_exp(0.05 * torch.eye(3, dtype=torch.float64)[axis])
        assert away < (poses[:, :3, :3] - nudge @ found[0, 0, :3, :3]).square().sum()


@pytest.mark.parametrize("features", ["thumbnail", "efficientnet_lite0"])
def test_the_nearest_image_is_the_same_image_whatever_its_size(features: Features) -> None:
    training = Part(table(), TRAINING)
    model = NearestImage(features, pretrained=False)
    model.fit([training])
    sample = batch(training, 4, 1)
    assert torch.equal(model.predict(sample)["world_T_cam"][:, 0], training.world_T_cam[[4, 1]])
    halved = replace(sample, image=torch.nn.functional.avg_pool2d(sample.image[:, 0], 2)[:, None])
    assert torch.equal(model.predict(halved)["world_T_cam"][:, 0], training.world_T_cam[[4, 1]])


class Sliding(TinyRecording):
    """A blob that moves across the image as the camera moves, turned about by nearly half a turn."""

    def __init__(self, places: Tensor, turn: float = 3.0) -> None:
        super().__init__(frames=len(places))
        self.name, zero = "sliding", torch.zeros_like(places)
        about = torch.tensor([0.0, turn, 0.0], dtype=torch.float64)
        poses = se3.exp(torch.stack((zero, zero, zero, zero, 0.6 * places, zero), dim=-1).double())
        poses[:, :3, 3] = torch.stack((places, 0.5 * places, zero + 7), dim=-1)
        poses[:, :3, :3] = so3_exp(about) @ poses[:, :3, :3]
        self.world_T_cam = poses
        x, y = torch.arange(128.0), torch.arange(96.0)[:, None]
        blobs = torch.exp(-((x - 64 - 40 * places[:, None, None]) ** 2 + (y - 48) ** 2) / 400)
        self.image = blobs[:, None].expand(-1, 3, -1, -1).float()


def test_ridge_regression_finds_what_is_smooth_also_near_half_a_turn() -> None:
    model = RidgePose(pretrained=False)
    model.fit([Sliding(torch.linspace(-1, 1, 40))])
    test = Sliding(torch.linspace(-0.87, 0.91, 9))
    found = model.predict(batch(test, *range(9)))["world_T_cam"][:, 0]
    millimetres, degrees = errors(found, test.world_T_cam)
    assert model.penalty in ridge_pose.PENALTIES
    assert millimetres.median() < 60  # of 2 m
    assert degrees.median() < 2  # of 69, on both sides of half a turn
    assert (so3_log(test.world_T_cam[:, :3, :3])[:, 1].diff().abs() > 5).any()  # about the identity it would jump


def test_errors_of_blocks_left_out_are_those_of_fitting_again() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(25, 40, generator=generator, dtype=torch.float64)
    targets = torch.randn(25, 6, generator=generator, dtype=torch.float64)
    kernel, penalty = features @ features.mT, 0.3
    values, vectors = torch.linalg.eigh(kernel)
    residuals = []
    for block in torch.arange(25).tensor_split(ridge_pose.BLOCKS):
        rest = torch.tensor([view for view in range(25) if view not in block.tolist()])
        dual = torch.linalg.solve(kernel[rest][:, rest] + penalty * torch.eye(len(rest)).double(), targets[rest])
        residuals.append(targets[block] - kernel[block][:, rest] @ dual)
    residual = torch.cat(residuals)
    expected = (residual[:, :3].norm(dim=-1) + residual[:, 3:].norm(dim=-1)).mean()
    found = ridge_pose._error_left_out(values, vectors, targets, penalty)
    assert found == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("depth", [True, False])
def test_the_pose_in_a_rendered_scene_is_found_to_millimetres(depth: bool) -> None:
    model = RetrievalPnP(features="thumbnail")
    model.fit([Part(table(), TRAINING, depth=depth)])
    test = Part(table(), TEST)
    millimetres, degrees = errors(model.predict(batch(test, 0, 1))["world_T_cam"][:, 0], test.world_T_cam)
    nearest = (test.world_T_cam[:, None, :3, 3] - model.world_T_cam[:, :3, 3]).norm(dim=-1).min()
    assert nearest > 0.05  # metres to the nearest training view
    assert (millimetres < 5).all()
    assert (degrees < 0.5).all()
    assert (model.failures, model.views) == (0, 2)


@pytest.mark.parametrize(("key_points", "bytes_each"), [("sift", 140), ("orb", 44)])
def test_landmarks_take_the_memory_that_is_told(key_points: KeyPoints, bytes_each: int) -> None:
    model = RetrievalPnP(key_points=key_points, features="thumbnail", num_features=200)
    training = Part(table(), TRAINING, depth=True)
    model.fit([training])
    points = sum(len(one.points) for one in model.landmarks)
    assert 300 < points <= 6 * 201  # some have no depth
    assert sum(one.points.nbytes + one.descriptors.nbytes for one in model.landmarks) == bytes_each * points
    millimetres, _ = errors(model.predict(batch(training, 2))["world_T_cam"][:, 0], training.world_T_cam[2:3])
    assert (millimetres < 5).all()


def test_it_says_where_it_answers_with_a_training_view() -> None:
    model = RetrievalPnP(features="thumbnail")
    training = Part(table(), TRAINING, depth=True)
    model.fit([training])
    sample = batch(training, 0, 1)
    nothing = replace(sample, image=torch.full_like(sample.image, 0.4))
    found = model.predict(nothing)["world_T_cam"][:, 0]
    assert all(any(torch.equal(pose, known) for known in training.world_T_cam) for pose in found)
    assert (model.failures, model.views) == (2, 2)
    strict = RetrievalPnP(features="thumbnail", min_inliers=100_000)
    strict.fit([training])
    assert torch.equal(strict.predict(sample)["world_T_cam"][:, 0], training.world_T_cam[:2])
    assert strict.failures == 2


def test_wrong_arguments_of_retrieval_and_pnp_are_told() -> None:
    with pytest.raises(Vo3dError, match=r"key_points.*surf"):
        build(Model, {"class_path": "vo3d.models.retrieval_pnp.RetrievalPnP", "init_args": {"key_points": "surf"}})
    for name, words in (
        ("num_retrieved", "num_retrieved 0: expected at least 1"),
        ("num_features", "num_features 0: expected at least 1"),
        ("min_inliers", "min_inliers 0: expected at least 4"),
        ("threshold", "threshold 0: expected a positive number of pixels"),
    ):
        arguments = {"features": "thumbnail", name: 0.0 if name == "threshold" else 0}
        with pytest.raises(Vo3dError, match=words):
            RetrievalPnP(**arguments)  # type: ignore[arg-type]
    with pytest.raises(Vo3dError, match=r"grid \(0, 4\), penalty None: expected at least one row"):
        RidgePose(grid=(0, 4), pretrained=False)
    with pytest.raises(Vo3dError, match=r"penalty -1\.0: expected at least one row and column, and more than 0"):
        RidgePose(penalty=-1.0, pretrained=False)


def test_a_camera_that_is_not_known_is_told() -> None:
    class Unknown(Part):
        def clip(self, indices: Sequence[int]) -> Sample:
            return replace(super().clip(indices), K=None)

    with pytest.raises(Vo3dError, match="part gives no K: choose recordings of a known camera"):
        RetrievalPnP(features="thumbnail").fit([Unknown(table(), TRAINING)])
    model = RetrievalPnP(features="thumbnail")
    model.fit([Part(table(), TRAINING)])
    with pytest.raises(Vo3dError, match="RetrievalPnP needs K"):
        model(replace(batch(table(), 2), K=None))

"""What every method must do, whatever it is: one row of the table below for each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from samples import SIZE, between, make_sample
from tiny import TinyRecording
from vo3d.formats.weights import load_weights, save_weights
from vo3d.model import DepthModel, Model, Prediction, Window, check_gives, check_needs
from vo3d.models.classic import ClassicOdometry
from vo3d.models.classic_gyro import GyroClassic
from vo3d.models.constant_depth import ConstantDepth
from vo3d.models.constant_motion import ConstantMotion
from vo3d.models.dead_reckoning import DeadReckoning
from vo3d.models.deepvo import DeepVO
from vo3d.models.dense_flow import DenseFlow
from vo3d.models.ground_plane import GroundPlane
from vo3d.models.image_features import ImageFeatures
from vo3d.models.itermvs import IterMVS
from vo3d.models.mean_pose import MeanPose
from vo3d.models.mvsnet import MVSNet
from vo3d.models.nearest_image import NearestImage
from vo3d.models.netvlad import NetVLAD
from vo3d.models.no_motion import NoMotion
from vo3d.models.plane_sweep import PlaneSweep
from vo3d.models.posenet import PoseNet
from vo3d.models.residual_masks import ResidualMasks
from vo3d.models.retrieval_pnp import RetrievalPnP
from vo3d.models.ridge_pose import RidgePose
from vo3d.models.rigid_flow import RigidFlow
from vo3d.models.rmvsnet import RMVSNet
from vo3d.models.semi_global import SemiGlobalStereo
from vo3d.models.sfmnet import SfMNet
from vo3d.models.undeepvo import UnDeepVO
from vo3d.models.vidloc import VidLoc
from vo3d.models.vinet import VINet
from vo3d.models.vlad_features import VLADFeatures
from vo3d.sample import Sample


@dataclass(frozen=True)
class Case:
    """One method as the tests build it: small, and for frames of the given rows and columns."""

    name: str
    build: Callable[[tuple[int, int]], Model]
    poses: bool = False  # gives steps or poses
    learns: bool = True  # has parameters and a loss
    any_device: bool = True  # pure torch, so that it follows its tensors to any device
    overfit_steps: int = 0  # steps of Adam after which one clip must be learnt
    overfit_rate: float = 1e-3
    overfit_to: float = 1e-3  # share of the first loss that may be left


def fitted(model: Model) -> Model:
    """Show a method that learns without gradients a few views."""
    model.fit([TinyRecording()])
    return model


CASES = [
    Case("DeepVO", lambda size: DeepVO(size=size, width=1 / 16, hidden=32), poses=True, overfit_steps=150),
    Case(
        "VINet",
        lambda size: VINet(
            size=size, width=1 / 16, hidden=32, step_mean=(0.0, 0.0, 1.0, 0.0, 0.0, 0.0), step_std=(0.1,) * 6
        ),
        poses=True,
        any_device=False,  # readings are counted on the processor
        overfit_steps=100,
        overfit_rate=3e-3,
        overfit_to=0.1,
    ),
    Case(
        "UnDeepVO",
        lambda size: UnDeepVO(
            size=size,
            channels=(8, 16, 16),
            motion_channels=(8, 16, 16, 16),
            hidden=16,
            output="inverse_depth",
            max_depth=10.0,
        ),
        poses=True,
        overfit_steps=30,
        overfit_rate=3e-3,
        overfit_to=0.1,
    ),
    Case(
        "SfMNet",
        lambda size: SfMNet(
            size=size, channels=(8, 16, 16), hidden=16, output="inverse_depth", max_depth=10.0, swap_from=0.5
        ),
        poses=True,
        overfit_steps=50,
        overfit_rate=3e-3,
        overfit_to=0.3,
    ),
    Case(
        "PoseNet",
        lambda size: PoseNet(size=size, trunk="resnet18", hidden=16, dropout=0.0, feature_dropout=0.01, samples=3),
        poses=True,
        overfit_steps=40,
        overfit_rate=3e-3,
        overfit_to=0.3,
    ),
    Case(
        "VidLoc",
        lambda size: VidLoc(size=size, trunk="resnet18", hidden=16, dropout=0.0),
        poses=True,
        overfit_steps=40,
        overfit_rate=3e-3,
        overfit_to=0.3,
    ),
    Case(
        "VidLocMixture",
        lambda size: VidLoc(size=size, trunk="resnet18", hidden=16, dropout=0.0, head="mixture", components=2),
        poses=True,
        overfit_steps=40,
        overfit_rate=3e-3,
        overfit_to=0.3,
    ),
    Case(
        "NetVLAD",
        lambda size: NetVLAD(trunk="resnet18", cut=2, num_clusters=4, version=2, whitened=8),
        overfit_steps=30,
        overfit_to=0.1,
    ),
    Case("IterMVS", lambda size: IterMVS(iterations=2), overfit_steps=60, overfit_rate=3e-3, overfit_to=0.7),
    Case("MVSNet", lambda size: MVSNet(num_depths=8, refine=True), overfit_steps=50, overfit_rate=1e-2, overfit_to=0.2),
    Case(
        "RMVSNet",
        lambda size: RMVSNet(num_depths=8, features="uninet", sweep="near_to_far"),
        overfit_steps=50,
        overfit_rate=1e-2,
        overfit_to=0.6,
    ),
    Case("PlaneSweep", lambda size: PlaneSweep(num_depths=8), learns=False),
    Case("ConstantDepth", lambda size: ConstantDepth(depth=5.0), learns=False),
    Case("GroundPlane", lambda size: GroundPlane(height=1.65), learns=False),
    Case("SemiGlobalStereo", lambda size: SemiGlobalStereo(), learns=False, any_device=False),
    Case("NoMotion", lambda size: NoMotion(), learns=False),
    Case("RigidFlow", lambda size: RigidFlow(), learns=False),
    Case("DenseFlow", lambda size: DenseFlow(), learns=False, any_device=False),
    Case("ResidualMasks", lambda size: ResidualMasks(), learns=False, any_device=False),
    Case("ConstantMotion", lambda size: ConstantMotion(), poses=True, learns=False),
    Case("MeanPose", lambda size: fitted(MeanPose()), poses=True, learns=False),
    Case("ImageFeatures", lambda size: ImageFeatures(pretrained=False), learns=False),
    Case("VLADFeatures", lambda size: VLADFeatures(pretrained=False), learns=False),
    Case("NearestImage", lambda size: fitted(NearestImage(pretrained=False)), poses=True, learns=False),
    Case("RidgePose", lambda size: fitted(RidgePose(pretrained=False)), poses=True, learns=False),
    Case(
        "RetrievalPnP",
        lambda size: fitted(RetrievalPnP(features="thumbnail")),
        poses=True,
        learns=False,
        any_device=False,
    ),
    Case("ClassicOdometry", lambda size: ClassicOdometry(step=1.0), poses=True, learns=False, any_device=False),
    Case(
        "ClassicOdometry-relative",
        lambda size: ClassicOdometry(scale="relative"),
        poses=True,
        learns=False,
        any_device=False,
    ),
    Case("GyroClassic", lambda size: GyroClassic(step=1.0), poses=True, learns=False, any_device=False),
    Case("DeadReckoning", lambda size: DeadReckoning(), poses=True, learns=False, any_device=False),
    Case("DeadReckoningFromRest", lambda size: DeadReckoning("rest"), poses=True, learns=False, any_device=False),
]

ODD_SIZE = (67, 131)
POSES = {"prev_T_cam", "world_T_cam"}
every_model = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_learner = pytest.mark.parametrize("case", [case for case in CASES if case.learns], ids=lambda case: case.name)
with_poses = pytest.mark.parametrize("case", [case for case in CASES if case.poses], ids=lambda case: case.name)
on_any_device = pytest.mark.parametrize("case", [case for case in CASES if case.any_device], ids=lambda case: case.name)

# Shapes of what may be predicted, from the sample's axes: batch, views, rows, columns; other axes are free (None).
SHAPES: dict[str, Callable[[int, int, int, int], tuple[int | None, ...]]] = {
    "prev_T_cam": lambda b, s, h, w: (b, s - 1, 4, 4),
    "tracked": lambda b, s, h, w: (b, s - 1),
    "world_T_cam": lambda b, s, h, w: (b, s, 4, 4),
    "depth": lambda b, s, h, w: (b, s, h, w),
    "confidence": lambda b, s, h, w: (b, s, h, w),
    "log_probability": lambda b, s, h, w: (b, None, h, w),
    "descriptor": lambda b, s, h, w: (b, s, None),
    "occupancy": lambda b, s, h, w: (b, None, None, None),
    "flow": lambda b, s, h, w: (b, s - 1, 2, h, w),
    "mask": lambda b, s, h, w: (b, s - 1, None, h, w),
    "object_motion": lambda b, s, h, w: (b, s - 1, None, 4, 4),
    "log_variance": lambda b, s, h, w: (b, s, 6),
    "label": lambda b, s, h, w: (b, s, None, h, w),
}


def build(case: Case, size: tuple[int, int] = SIZE, seed: int = 0) -> Model:
    """The model of a case, with weights drawn from `seed`."""
    torch.manual_seed(seed)
    return case.build(size)


def predict(model: Model, sample: Sample) -> Prediction:
    """The prediction in evaluation mode, checked against what the model declares."""
    with torch.no_grad():
        prediction = model.eval()(sample)
    check_gives(model, prediction)
    return prediction


@every_model
def test_it_gives_what_it_declares_in_the_right_shapes(case: Case) -> None:
    model, sample = build(case), make_sample(b=2, s=3)
    assert isinstance(model.window, Window)  # no argument of a method may take its place
    check_needs(model, sample, "the test")

    prediction = predict(model, sample)

    stride = model.stride if isinstance(model, DepthModel) else 1  # maps hold every stride-th pixel
    size = (-(-SIZE[0] // stride), -(-SIZE[1] // stride))
    for key in model.gives:
        tensor = prediction[key]
        expected = SHAPES[key](2, 1 if model.window.reference else 3, *size)
        assert len(tensor.shape) == len(expected), key
        assert all(want in (None, got) for want, got in zip(expected, tensor.shape, strict=True)), key
        assert tensor.isfinite().all(), key


@every_model
def test_odd_sizes_work(case: Case) -> None:
    prediction = predict(build(case, ODD_SIZE), make_sample(b=1, s=2, size=ODD_SIZE))

    assert all(value.isfinite().all() for key, value in prediction.items() if key != "aux")


def test_those_with_poses_are_marked() -> None:
    assert all(case.poses == bool(POSES & set(build(case).gives)) for case in CASES)


@with_poses
def test_poses_are_rigid(case: Case) -> None:
    prediction = predict(build(case), make_sample())

    for key in POSES & set(prediction):
        pose = prediction[key].double()
        R = pose[..., :3, :3]
        torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R), rtol=0, atol=1e-5)
        assert (torch.linalg.det(R) > 0).all()
        assert (pose[..., 3, :] == torch.tensor([0.0, 0.0, 0.0, 1.0])).all()


@every_model
def test_evaluation_does_not_depend_on_the_batch(case: Case) -> None:
    model, sample = build(case), make_sample(b=3)

    together = predict(model, sample)

    for i in range(3):
        alone = predict(model, sample.map(lambda tensor, i=i: tensor[i : i + 1]))
        for key in model.gives:
            torch.testing.assert_close(alone[key][0], together[key][i], rtol=1e-4, atol=1e-5)


@every_model
def test_a_stream_predicts_every_clip(case: Case) -> None:
    model, sample = build(case).eval(), make_sample(b=1, s=7)
    views = [(0, 3), (2, 5), (4, 7)]  # each begins with the last view of the one before

    with torch.no_grad():
        clips = (between(sample, a, z) for a, z in views)
        predictions = list(model.stream(clips))

    assert len(predictions) == 3
    for prediction in predictions:
        check_gives(model, prediction)
    assert all(prediction[key].isfinite().all() for prediction in predictions for key in model.gives)


@every_learner
def test_every_parameter_gets_a_gradient(case: Case) -> None:
    model, sample = build(case).train(), make_sample()

    terms = model.loss(model(sample), sample)
    objective = torch.stack(list(terms.values())).sum()
    objective.backward()

    assert all(term.shape == () and term.isfinite() for term in terms.values())
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every_learner
def test_mixed_precision_leaves_gradients_whole(case: Case) -> None:
    model, sample = build(case).train(), make_sample()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = model(sample)
        objective = torch.stack(list(model.loss(prediction, sample).values())).sum()
    objective.backward()

    for key in POSES & set(prediction):
        assert prediction[key].dtype in {torch.float32, torch.float64}
    assert objective.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every_learner
def test_it_overfits_one_clip(case: Case) -> None:
    model, sample = build(case).train(), make_sample(b=1, s=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=case.overfit_rate)

    def objective() -> Tensor:
        return torch.stack(list(model.loss(model(sample), sample).values())).sum()

    first = objective().item()
    for _ in range(case.overfit_steps):
        optimizer.zero_grad()
        objective().backward()
        optimizer.step()

    assert objective().item() < case.overfit_to * first


@every_learner
def test_weights_survive_a_file(case: Case, tmp_path: Path) -> None:
    model, other, sample = build(case, seed=1), build(case, seed=2), make_sample()
    model.train()(sample)  # moves the statistics of normalising layers

    save_weights(tmp_path / "weights.safetensors", model, {})
    load_weights(other, tmp_path / "weights.safetensors")

    before, after = predict(model, sample), predict(other, sample)
    assert all(torch.equal(before[key], after[key]) for key in model.gives)


@on_any_device
def test_nothing_stays_on_the_old_device(case: Case) -> None:
    model, sample = build(case).to("meta"), make_sample().to("meta")

    prediction = model(sample)
    terms = model.loss(prediction, sample) if case.learns else {}

    assert all(tensor.is_meta for tensor in (*(prediction[key] for key in model.gives), *terms.values()))

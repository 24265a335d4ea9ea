"""PoseNet: its sizes as published, crops, heads, rotations, the map that fit makes, and samples by dropout."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from samples import make_sample
from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_weights, save_weights
from vo3d.geometry import rotations, se3
from vo3d.models.posenet import PoseNet, _spread
from vo3d.models.posenet_heads import AuxiliaryHead
from vo3d.recording import Recording
from vo3d.sample import Sample

SMALL = {"size": (32, 64), "trunk": "resnet18", "hidden": 16}


class Map(Recording):
    """Training views without images, at given poses."""

    name = "map"

    def __init__(self, world_T_cam: torch.Tensor | None) -> None:
        self.world_T_cam = world_T_cam

    def __len__(self) -> int:
        return 0 if self.world_T_cam is None else len(self.world_T_cam)

    def clip(self, indices: object) -> Sample:
        raise NotImplementedError

    def poses(self) -> torch.Tensor | None:
        return self.world_T_cam


def some_poses(n: int = 20, far: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    turn = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    position = torch.randn(n, 3, generator=generator, dtype=torch.float64) * torch.tensor([5.0, 1.0, 2.0]) + far
    return se3.from_rotation_translation(rotations.so3_exp(turn), position)


def parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def test_the_paper_s_network_has_as_many_parameters_as_published() -> None:
    model = PoseNet()
    assert parameters(model.trunk) == 5_973_552
    assert parameters(model.head) == 2_113_543
    assert round(parameters(model) / 1e6, 2) == 12.43  # with both auxiliary heads
    assert round((parameters(model.trunk) + parameters(model.head)) / 1e6, 2) == 8.09


def test_losses_of_heads_weigh_as_published() -> None:
    model = PoseNet(trunk="googlenet", size=(224, 224), hidden=8, norm="squared", beta=500.0)
    sample = make_sample(b=2, s=1, size=(224, 224))
    with torch.no_grad():
        prediction = model.train()(sample)
    position, rotation = prediction["aux"]["position"], prediction["aux"]["rotation"]
    assert len(position) == 3
    truth, weights = sample.world_T_cam, (0.3, 0.3, 1.0)
    assert truth is not None
    q = rotations.quaternion_from_matrix(truth[..., :3, :3])
    expected = sum(
        w * (p - truth[..., :3, 3]).square().sum(-1).mean() / 2 for w, p in zip(weights, position, strict=True)
    )
    turned = sum(w * (r - q).square().sum(-1).mean() / 2 for w, r in zip(weights, rotation, strict=True))
    found = model.loss(prediction, sample)
    assert found["position"].item() == pytest.approx(float(expected), rel=1e-5)
    assert found["rotation"].item() == pytest.approx(500 * float(turned), rel=1e-5)


def test_auxiliary_heads_are_not_asked_in_evaluation() -> None:
    model = PoseNet(hidden=8)
    with torch.no_grad():
        prediction = model.eval()(make_sample(b=1, s=1, size=(224, 224)))
    assert len(prediction["aux"]["position"]) == 1


def test_an_auxiliary_head_has_sixteen_averages_at_the_published_size() -> None:
    assert AuxiliaryHead((512, 14, 14), 4).fc.in_features == 2048
    with pytest.raises(Vo3dError, match="give a larger size"):
        AuxiliaryHead((512, 4, 14), 4)


def test_a_quaternion_has_unit_length_in_the_pose_alone() -> None:
    model = PoseNet(**SMALL)
    sample = make_sample(b=2, s=1, size=(32, 64))
    prediction = model.train()(sample)
    assert not torch.allclose(prediction["aux"]["rotation"].norm(dim=-1), torch.ones(1))
    assert bool(rotations.is_rotation(prediction["world_T_cam"][..., :3, :3]).all())


def test_the_map_is_mean_and_extent_of_the_training_positions_wherever_the_world_begins() -> None:
    model = PoseNet(**SMALL)
    world_T_cam = some_poses(far=5e6)
    model.fit([Map(world_T_cam[:5]), Map(world_T_cam[5:])])
    position = world_T_cam[:, :3, 3]
    assert torch.allclose(model.code.position_mean, position.mean(0), atol=1e-6)
    assert torch.allclose(model.code.position_extent.double(), position.amax(0) - position.amin(0))
    sample = replace(make_sample(b=2, s=1, size=(32, 64)), world_T_cam=world_T_cam[:2, None])
    prediction = model(sample)
    assert prediction["world_T_cam"].dtype == torch.float64
    expected = (prediction["aux"]["position"][0, :, 0] - position[:2]).norm(dim=-1).mean()
    assert model.loss(prediction, sample)["position"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_what_no_map_can_be_made_of_is_refused() -> None:
    model = PoseNet(**SMALL)
    for recordings, line in (
        ([Map(None)], "map has no poses"),
        ([], "no recording with a frame"),
        ([Map(some_poses(1).expand(4, 4, 4))], "stand at one place"),
    ):
        with pytest.raises(Vo3dError, match=line):
            model.fit(recordings)


def test_learnt_weights_begin_at_zero_and_minus_three() -> None:
    model = PoseNet(**SMALL, weighting="learned", norm="l1")
    sample = make_sample(b=2, s=1, size=(32, 64))
    prediction = model(sample)
    found, plain = model.loss(prediction, sample), PoseNet.loss
    model.log_variances, weights = None, model.log_variances
    fixed = plain(model, prediction, sample)
    assert weights is not None
    assert found["position"].item() == pytest.approx(fixed["position"].item())
    assert found["rotation"].item() == pytest.approx(fixed["rotation"].item() * math.exp(3) - 3, rel=1e-5)


def test_crops_are_even_and_cover_the_image() -> None:
    assert _spread(1, (10, 21)) == ([5], [10])
    rows, columns = _spread(128, (32, 117))
    assert len(rows) * len(columns) == 128
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, 32, 0, 117)
    assert _spread(3, (0, 20)) == ([0], [0, 10, 20])


def test_dense_crops_average_the_poses_of_crops() -> None:
    model = PoseNet(**SMALL, crops=3).eval()
    sample = make_sample(b=2, s=1, size=(32, 84))
    dense = model.predict(sample)["world_T_cam"]
    single = PoseNet(**SMALL).eval()
    single.load_state_dict(model.state_dict())
    each = torch.stack(
        [
            single.predict(Sample(image=sample.image[..., x : x + 64], scene=sample.scene, index=sample.index))[
                "world_T_cam"
            ]
            for x in (0, 10, 20)
        ]
    )
    assert torch.allclose(dense[..., :3, 3], each.mean(0)[..., :3, 3], atol=1e-6)
    middle = single.predict(sample)["world_T_cam"]
    assert torch.allclose(middle, each[1], atol=1e-6)


def test_images_without_room_for_crops_are_refused() -> None:
    for crops, size, line in ((1, (31, 64), "at least 32 rows"), (4, (32, 64), "more than 32 rows")):
        with pytest.raises(Vo3dError, match=line):
            PoseNet(**SMALL, crops=crops).eval().predict(make_sample(b=1, s=1, size=size))


def test_samples_are_reproducible_alike_for_every_image_and_spread_with_dropout() -> None:
    sample = make_sample(b=3, s=1, size=(32, 64))
    torch.manual_seed(0)
    model = PoseNet(**SMALL, samples=40, dropout=0.5, feature_dropout=0.2).eval()
    found = model.predict(sample)
    again = model.predict(sample)
    alone = model.predict(Sample(image=sample.image[1:2], scene=["x"], index=sample.index[1:2]))
    assert torch.equal(found["log_variance"], again["log_variance"])
    assert torch.allclose(found["log_variance"][1:2], alone["log_variance"], atol=1e-4)
    assert torch.allclose(found["world_T_cam"][1:2], alone["world_T_cam"], atol=1e-5)
    little = PoseNet(**SMALL, samples=40, dropout=0.01).eval()
    little.load_state_dict(model.state_dict())
    assert bool((little.predict(sample)["log_variance"] < found["log_variance"]).all())


def test_the_variance_is_that_of_the_sampled_positions() -> None:
    torch.manual_seed(0)
    model = PoseNet(**SMALL, samples=8).eval()
    sample = make_sample(b=1, s=1, size=(32, 64))
    with torch.no_grad():
        features = model.head.features(model.trunk(sample.image[0]))
        generator = torch.Generator().manual_seed(0)
        each = torch.stack([model.head.thinned(features, generator)[0] for _ in range(8)])
    variance = model.predict(sample)["log_variance"][0, 0, :3].exp()
    assert torch.allclose(variance, each.var(0)[0], rtol=1e-4)


def test_variances_are_multiplied_and_the_loss_does_not_see_it() -> None:
    torch.manual_seed(0)
    model = PoseNet(**SMALL, samples=4).eval()
    sample = make_sample(b=2, s=1, size=(32, 64))
    found, losses = [], []
    for _ in range(2):
        found.append((model.predict(sample)["log_variance"], model(sample)["log_variance"]))
        losses.append(model.loss(model(sample), sample))
        model.variance_scale.copy_(torch.tensor([4.0, 0.25]))
    for before, after in zip(*found, strict=True):
        ratio = (after - before).exp()
        torch.testing.assert_close(ratio, ratio.new_tensor([4.0] * 3 + [0.25] * 3).expand_as(ratio))
    assert losses[0] == losses[1]


def test_weights_fit_with_and_without_samples(tmp_path: Path) -> None:
    sampled, plain = PoseNet(**SMALL, samples=2), PoseNet(**SMALL)
    sampled.variance_scale.fill_(9)
    for model, name in ((sampled, "sampled"), (plain, "plain")):
        save_weights(tmp_path / f"{name}.safetensors", model, {})
    report = load_weights(PoseNet(**SMALL), tmp_path / "sampled.safetensors")
    assert report.dropped == ("variance_scale",)
    assert set(report.matched) == set(plain.state_dict())
    again = PoseNet(**SMALL, samples=2)
    load_weights(again, tmp_path / "sampled.safetensors")
    assert again.variance_scale.tolist() == [9, 9]
    report = load_weights(again, tmp_path / "plain.safetensors")
    assert report.valued == ("variance_scale",)
    assert again.variance_scale.tolist() == [1, 1]


def test_it_refuses_mirrors_and_wrong_arguments() -> None:
    assert "mirror" in PoseNet.refuses
    for arguments, line in (
        ({"samples": 1}, "none or at least 2"),
        ({"samples": 5, "dropout": 0.0}, "all alike"),
        ({"beta": 0.0}, "expected more than 0"),
        ({"pretrained": True}, "for the trunk resnet18: choose efficientnet_lite0"),
    ):
        with pytest.raises(Vo3dError, match=line):
            PoseNet(**{**SMALL, **arguments})

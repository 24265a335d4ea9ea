"""VINet: sizes, memory, losses and their schedule, senses, and the checkpoints of others."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from samples import between, make_sample
from vo3d.errors import Vo3dError
from vo3d.formats.weights import import_weights, published_map
from vo3d.geometry import se3
from vo3d.models.vinet import VINet
from vo3d.models.vinet_port import FLOWNETC, FLOWNETS, HTLIFE
from vo3d.sample import Sample

TINY = {"size": (64, 96), "width": 1 / 16, "hidden": 8, "imu_hidden": 5}


def _model(**arguments: object) -> VINet:
    torch.manual_seed(0)
    return VINet(**{**TINY, **arguments}).eval()  # type: ignore[arg-type]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_those_that_the_sizes_give() -> None:
    with torch.device("meta"):
        model, correlating = VINet(), VINet(trunk="flownetc")
    features = 1024 * 6 * 8
    assert _parameters(model.encoder) == 14_612_544
    assert _parameters(correlating.encoder) == 24_549_536
    assert correlating.encoder.conv3_1.conv.in_channels == 473
    assert model.rnn.input_size == features + 15 + 7
    assert _parameters(model.rnn) == 4000 * (features + 22 + 1000 + 2) + 4000 * (1000 + 1000 + 2)
    assert _parameters(model.rnn_imu) == 60 * (6 + 15 + 2) + 60 * (15 + 15 + 2)
    assert _parameters(model.head) == 6006


@pytest.mark.parametrize("senses", ["both", "images", "imu"])
@pytest.mark.parametrize("carry_state", [True, False])
def test_a_stream_of_clips_equals_one_long_run(senses: str, carry_state: bool) -> None:
    model, sample = _model(senses=senses, horizon=3, carry_state=carry_state), make_sample(b=1, s=9)
    with torch.no_grad():
        whole = model(sample)["prev_T_cam"]
        parts = [between(sample, first, last) for first, last in ((0, 3), (2, 4), (3, 9))]
        found = torch.cat([one["prev_T_cam"] for one in model.stream(parts)], 1)
    same = torch.allclose(found, whole, atol=1e-6)
    assert same == carry_state


def test_a_stream_that_leaves_frames_out_is_refused() -> None:
    model, sample = _model(), make_sample(b=1, s=6)
    with pytest.raises(Vo3dError, match=r"after frame \[2\] came \[3\]: make clips that overlap by one frame"):
        list(model.stream([between(sample, 0, 3), between(sample, 3, 6)]))


def test_the_pose_that_is_fed_back_begins_anew_after_the_horizon() -> None:
    model, sample = _model(senses="imu", horizon=2, step_std=(1.0,) * 6), make_sample(b=1, s=6)
    seen: list[Tensor] = []
    model.rnn.register_forward_pre_hook(lambda _, given: seen.append(given[0][0, 0, -7:].detach()))
    steps = model(sample)["prev_T_cam"].detach()
    identity = torch.tensor([0.0, 0, 0, 1, 0, 0, 0])
    assert all(torch.equal(seen[step], identity) for step in (0, 2, 4))
    assert all(torch.allclose(seen[step + 1][:3], steps[0, step, :3, 3]) for step in (0, 2))


def test_readings_may_be_any_number_and_padding_says_nothing() -> None:
    model, sample = _model(), make_sample(b=2, s=4)
    assert sample.imu is not None
    assert sample.imu_time is not None
    wider = torch.full((2, 4, 9, 6), torch.nan)
    wider[:, :, 1:7:2] = sample.imu[:, :, :3]  # NaN before, between and behind
    wider[:, :, 7:] = sample.imu[:, :, 3:]
    padded = replace(sample, imu=wider, imu_time=wider[..., 0].double())
    with torch.no_grad():
        assert torch.allclose(model(padded)["prev_T_cam"], model(sample)["prev_T_cam"], atol=1e-6)
    none = replace(sample, imu=torch.full_like(sample.imu, torch.nan))
    with pytest.raises(Vo3dError, match="a clip has no inertial reading at all"):
        model(none)


def test_a_step_without_readings_keeps_what_was_known() -> None:
    torch.manual_seed(0)
    lstm = _model().rnn_imu
    readings = torch.randn(1, 3, 4, 6)
    readings[:, 1] = torch.nan
    found, _ = lstm(readings)
    assert torch.equal(found[:, 0], found[:, 1])
    assert not torch.allclose(found[:, 1], found[:, 2])


def test_each_sense_counts() -> None:
    model, sample = _model(), make_sample(b=1, s=3)
    assert sample.imu is not None
    with torch.no_grad():
        found = model(sample)["prev_T_cam"]
        for changed in (replace(sample, imu=0 * sample.imu), replace(sample, image=0 * sample.image)):
            assert (model(changed)["prev_T_cam"] - found).abs().max() > 1e-4
        blind, deaf = _model(senses="imu"), _model(senses="images")
        black, silent = replace(sample, image=0 * sample.image), replace(sample, imu=None, imu_time=None)
        assert torch.equal(blind(sample)["prev_T_cam"], blind(black)["prev_T_cam"])
        assert torch.equal(deaf(sample)["prev_T_cam"], deaf(silent)["prev_T_cam"])
    assert (blind.needs, deaf.needs, model.needs) == (("imu",), ("image",), ("image", "imu"))
    with pytest.raises(Vo3dError, match="VINet reads imu, which the dataset does not give: turn imu on"):
        model(silent)


def _errors(model: VINet, sample: Sample, xi: Tensor) -> dict[str, float]:
    """The losses of true steps that are off by exp(xi), the first step alone."""
    assert sample.world_T_cam is not None
    steps = se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:])
    twist = se3.log(steps)
    twist[:, 0] += xi
    composed = [se3.exp(twist[:, 0])]
    for step in se3.exp(twist[:, 1:]).unbind(1):
        composed.append(composed[-1] @ step)
    aux = {"twist": twist, "start_T_cam": torch.stack(composed, 1)}
    return {name: float(term) for name, term in model.loss({"prev_T_cam": se3.exp(twist), "aux": aux}, sample).items()}


def test_the_losses_are_norms_of_twists_and_of_composed_poses() -> None:
    model, sample = _model(alpha=7.0, schedule=(9.0, 1.0)), make_sample(b=1, s=3)
    assert max(_errors(model, sample, torch.zeros(6, dtype=torch.float64)).values()) < 1e-6
    off = torch.tensor([0.3, 0, 0.4, 0, 0, 0], dtype=torch.float64)
    found = _errors(model, sample, off)
    assert found["step_translation"] == pytest.approx(0.5 * 0.5)
    assert found["step_rotation"] == pytest.approx(0.0, abs=1e-9)
    assert found["pose_translation"] > 0.3  # of both poses, in the axes of the first frame
    turned = _errors(model, sample, torch.tensor([0, 0, 0, 0, 0.1, 0], dtype=torch.float64))
    assert turned["step_rotation"] == pytest.approx(0.5 * 7 * 0.1)
    assert turned["pose_rotation"] == pytest.approx(0.5 * 7 * 2 * 0.05, rel=0.05)  # a quaternion has half of the angle


def test_the_schedule_goes_from_steps_to_poses_evenly_in_its_logarithm() -> None:
    model, sample = _model(schedule=(100.0, 0.01)), make_sample(b=1, s=3)
    xi = torch.full((6,), 0.1, dtype=torch.float64)
    model.progress = 0.0
    end = _errors(model, sample, xi)  # evaluation: the weights of the end, whatever the progress
    model.train()
    begin = _errors(model, sample, xi)
    model.progress = 0.5
    middle = _errors(model, sample, xi)
    model.progress = 1.0
    assert _errors(model, sample, xi) == pytest.approx(end)
    for name, of_steps in (("step_translation", True), ("pose_rotation", False)):
        shares = [ratio / (1 + ratio) if of_steps else 1 / (1 + ratio) for ratio in (100.0, 1.0, 0.01)]
        for found, share in zip((begin, middle, end), shares, strict=True):
            assert found[name] == pytest.approx(share * middle[name] / 0.5)


def test_the_nearer_of_two_quaternions_is_compared() -> None:
    model = _model(schedule=(1.0, 1.0))
    world_T_cam = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    world_T_cam[0, 1] = se3.exp(torch.tensor([0, 0, 0, 0, math.pi - 0.01, 0], dtype=torch.float64))
    sample = replace(make_sample(b=1, s=2), world_T_cam=world_T_cam)
    over = torch.tensor([0, 0, 0, 0, 0.02, 0], dtype=torch.float64)  # past a half turn, where w changes its sign
    assert _errors(model, sample, over)["pose_rotation"] == pytest.approx(0.5 * 10 * 0.01, rel=1e-3)


def test_truth_is_needed_to_learn() -> None:
    model, sample = _model(), make_sample(b=1, s=2)
    with pytest.raises(Vo3dError, match="VINet learns from world_T_cam, which the dataset does not give"):
        model.loss(model(sample), replace(sample, world_T_cam=None))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon is or has 0: expected at least 1"),
        ({"head": (8, 0)}, "head is or has 0"),
        ({"imu_std": (0.0,) * 6}, "expected positive image_std, imu_std, step_std and schedule"),
        ({"width": 1 / 256}, "width 0.00390625 leaves conv1 without a channel"),
        ({"width": 1 / 70, "trunk": "flownetc"}, "width 0.0142.* leaves conv_redir without a channel"),
    ],
)
def test_arguments_that_make_no_network_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(Vo3dError, match=message):
        _model(**arguments)


def _published(encoder: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The convolutions under the names of FlowNetPytorch, with a piece of their decoder."""
    renamed = {prefix + name.replace(".conv.", ".0."): tensor for name, tensor in encoder.state_dict().items()}
    return {**renamed, f"{prefix}predict_flow6.weight": torch.zeros(2, 8, 3, 3)}


@pytest.mark.parametrize("trunk", ["flownets", "flownetc"])
def test_flownets_of_others_load_into_the_trunk(trunk: str) -> None:
    theirs = _published(_model(trunk=trunk).encoder)
    torch.manual_seed(1)
    model = VINet(**TINY, trunk=trunk)  # type: ignore[arg-type]
    if trunk == "flownets":
        theirs["conv6_1.0.weight"] = torch.zeros(1)
    key_map = published_map(model, theirs)
    assert key_map is (FLOWNETS if trunk == "flownets" else FLOWNETC)
    report = import_weights(model, theirs, key_map)
    assert set(report.dropped) == {"predict_flow6.weight", "conv6_1.0.weight"} - set(report.matched)
    assert all(torch.equal(model.state_dict()[ours], theirs[key]) for key, ours in report.matched.items())
    assert not any(name.startswith("encoder.") for name in report.kept)


def test_a_checkpoint_of_htlife_has_a_place_for_every_key() -> None:
    arguments: dict[str, object] = {"trunk": "flownetc", "imu_hidden": 6, "head": (4,)}
    source = _model(**arguments)
    theirs = _published(source.encoder, "flownet_c.")
    theirs |= {f"rnn.{name}": tensor for name, tensor in source.rnn.state_dict().items()}
    theirs |= {f"rnnIMU.{name}": tensor for name, tensor in source.rnn_imu.state_dict().items()}
    theirs |= {
        f"linear{row + 1}.{name}": tensor
        for row, layer in enumerate(source.head)
        for name, tensor in layer.state_dict().items()
    }
    torch.manual_seed(1)
    model = _model(**arguments)
    assert published_map(model, theirs) is HTLIFE
    report = import_weights(model, theirs, HTLIFE)
    assert (report.dropped, report.kept) == (("flownet_c.predict_flow6.weight",), ())
    assert len(report.matched) == len(theirs) - 1
    assert torch.equal(model.head[1].weight, theirs["linear2.weight"])
    grey = torch.full((1, 2, 3, 64, 96), 0.5)
    assert model.image_std.tolist() == pytest.approx([1 / 255] * 3)
    assert torch.isfinite(model.encode(grey)).all()


def test_flownetc_is_what_its_parts_compute() -> None:
    encoder = _model(trunk="flownetc", leaky_slope=0.1, max_displacement=4).encoder
    pairs = torch.rand(2, 6, 64, 96)
    first, second = (encoder.conv3(encoder.conv2(encoder.conv1(part))) for part in pairs.split(3, 1))
    middle = nn.functional.leaky_relu((first * second).mean(1), 0.1)
    seen: list[Tensor] = []
    encoder.conv3_1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = encoder(pairs)
    redirected = encoder.conv_redir(first)
    assert found.shape == (2, 64, 1, 2)
    assert torch.allclose(seen[0][:, : redirected.shape[1]], redirected, atol=1e-6)
    assert torch.allclose(seen[0][:, redirected.shape[1] + 12], middle, atol=1e-6)  # the middle one of 25


def test_images_readings_and_pose_begin_with_an_equal_say() -> None:
    torch.manual_seed(0)
    model = VINet(size=(64, 96), width=1 / 4, hidden=64, imu_hidden=16)
    weights = model.rnn.weight_ih_l0.detach()
    shares = [float(part.square().sum(1).mean()) for part in weights.split(model.parts, dim=1)]
    assert model.parts == (512, 16, 7)
    assert shares == pytest.approx([1 / 3] * 3, rel=0.1)

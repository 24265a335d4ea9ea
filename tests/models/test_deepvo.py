"""DeepVO against its paper: layers, counts, loss, memory, and the checkpoints of others."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_weights
from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain
from vo3d.layers.flownet import FlowNetSEncoder
from vo3d.layers.pose import pose_from_vector
from vo3d.models.deepvo import DeepVO
from vo3d.sample import Sample

TINY = {"size": (64, 96), "width": 1 / 16, "hidden": 8}


def _sample(image: Tensor, world_T_cam: Tensor | None = None) -> Sample:
    b, s = image.shape[:2]
    index = torch.arange(s).expand(b, s)
    world_T_cam = None if world_T_cam is None else world_T_cam.double()
    return Sample(image=image, K=torch.eye(3).expand(b, s, 3, 3), world_T_cam=world_T_cam, index=index)


def _part(sample: Sample, start: int, stop: int) -> Sample:
    return sample.map(lambda tensor: tensor[:, start:stop])


def _model(**arguments: object) -> DeepVO:
    torch.manual_seed(0)
    return DeepVO(**{**TINY, **arguments}).eval()  # type: ignore[arg-type]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("height", "width", "features"), [(384, 1280, (1024, 6, 20)), (192, 640, (1024, 3, 10)), (376, 1241, (1024, 6, 20))]
)
def test_features_have_the_shape_of_the_paper(height: int, width: int, features: tuple[int, ...]) -> None:
    with torch.device("meta"):
        encoder = FlowNetSEncoder()
        out = encoder(torch.empty(1, 6, height, width))

    assert out.shape == (1, *features)
    assert encoder.out_size(height, width) == features[1:]


def test_parameters_are_those_of_table_one() -> None:
    with torch.device("meta"):
        model = DeepVO()

    counts = {name: _parameters(layer) for name, layer in model.encoder.named_children()}
    assert counts == {
        "conv1": 18_880,
        "conv2": 204_928,
        "conv3": 819_456,
        "conv3_1": 590_080,
        "conv4": 1_180_160,
        "conv4_1": 2_359_808,
        "conv5": 2_359_808,
        "conv5_1": 2_359_808,
        "conv6": 4_719_616,
    }
    assert _parameters(model.encoder) == 14_612_544
    assert _parameters(model.rnn) == 495_528_000 + 8_008_000
    assert _parameters(model.head) == 6_006
    assert _parameters(model) == 518_154_550


def test_a_smaller_size_and_batch_normalisation_change_the_parameters() -> None:
    with torch.device("meta"):
        model = DeepVO(size=(192, 640), batch_norm=True)

    assert _parameters(model.encoder) == 14_616_320  # batch normalisation in place of biases
    assert _parameters(model) == 14_616_320 + 4000 * (30_720 + 1000 + 2) + 8_008_000 + 6_006


def test_the_last_convolution_is_linear_unless_asked(generator: torch.Generator) -> None:
    pairs = torch.randn(2, 6, 64, 128, generator=generator)

    assert FlowNetSEncoder(width=1 / 8)(pairs).min() < 0
    assert FlowNetSEncoder(width=1 / 8, conv6_activation=True)(pairs).min() == 0


def test_the_earlier_frame_comes_first(generator: torch.Generator) -> None:
    model = _model()
    first, second, other = torch.rand(3, 1, 1, 3, 64, 96, generator=generator)
    with torch.no_grad():
        model.encoder.conv1.conv.weight[:, 3:] = 0  # blind to the later frame

        seen = model.encode(torch.cat((first, second), dim=1))
        torch.testing.assert_close(model.encode(torch.cat((first, other), dim=1)), seen)
        assert not torch.allclose(model.encode(torch.cat((other, second), dim=1)), seen)


def test_the_image_statistics_are_applied_and_travel_with_the_weights(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 3, 64, 96, generator=generator)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    plain, scaled = _model(image_mean=(0.0, 0.0, 0.0)), _model(image_mean=mean, image_std=std)
    by_hand = (image - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)

    with torch.no_grad():
        expected = plain(_sample(by_hand))["prev_T_cam"]
        torch.testing.assert_close(scaled(_sample(image))["prev_T_cam"], expected)
        plain.load_state_dict(scaled.state_dict())
        torch.testing.assert_close(plain(_sample(image))["prev_T_cam"], expected)


def test_the_output_is_scaled_by_the_statistics_of_motion(generator: torch.Generator) -> None:
    mean, std = (0.1, -0.2, 1.0, 0.01, 0.02, 0.03), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    model = _model(step_mean=mean, step_std=std)
    bias = torch.tensor([1.0, 2.0, 3.0, 0.1, 0.2, 0.3])
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(bias)
        prev_T_cam = model(_sample(torch.rand(2, 4, 3, 64, 96, generator=generator)))["prev_T_cam"]

    expected = pose_from_vector(torch.tensor(mean) + torch.tensor(std) * bias)
    torch.testing.assert_close(prev_T_cam, expected.expand(2, 3, 4, 4))


def test_the_grid_averages_the_features() -> None:
    model = _model(size=(128, 192), grid=(1, 1))

    assert model.rnn.input_size == model.encoder.out_channels
    image = torch.rand(1, 2, 3, 128, 192)
    normalised = (image - model.image_mean) / model.image_std
    with torch.no_grad():
        features = model.encoder(normalised.reshape(1, 6, 128, 192))
        torch.testing.assert_close(model.encode(image)[:, 0], features.mean(dim=(-2, -1)))


def test_the_forget_gates_begin_open() -> None:
    model = _model(num_layers=3)

    for layer in range(3):
        bias = model.rnn.get_parameter(f"bias_hh_l{layer}") + model.rnn.get_parameter(f"bias_ih_l{layer}")
        assert bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16


def test_dropout_acts_in_training_alone() -> None:
    model = _model(conv_dropout=0.2, conv6_dropout=0.5, rnn_dropout=0.5)
    sample = _sample(torch.rand(1, 3, 3, 64, 96))

    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.2] * 8 + [0.5, 0.5]
    with torch.no_grad():
        assert torch.equal(model(sample)["prev_T_cam"], model(sample)["prev_T_cam"])
        model.train()
        assert not torch.equal(model(sample)["prev_T_cam"], model(sample)["prev_T_cam"])


def _poses(vectors: Tensor) -> Tensor:
    """world_T_cam (b s 4 4) along the motions `vectors` (b s-1 6)."""
    return torch.stack([chain(steps) for steps in pose_from_vector(vectors)])


def _truth(vectors: Tensor) -> Sample:
    b, s = vectors.shape[0], vectors.shape[1] + 1
    return _sample(torch.zeros(b, s, 3, 64, 96), _poses(vectors))


def test_a_rotation_error_costs_kappa_times_its_square_summed_over_time(generator: torch.Generator) -> None:
    vectors = 0.1 * torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    error = torch.zeros_like(vectors)
    error[..., 3:] = 0.01 * torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)

    terms = _model(kappa=7.0).loss({"prev_T_cam": pose_from_vector(vectors + error)}, _truth(vectors))

    assert terms["translation"].item() == pytest.approx(0, abs=1e-20)
    assert terms["rotation"].item() == pytest.approx(7 * error.square().sum().item() / 2, rel=1e-9)  # mean of 2 clips


def test_a_translation_error_costs_its_square_summed_over_time(generator: torch.Generator) -> None:
    vectors = 0.1 * torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)
    error = torch.zeros_like(vectors)
    error[1, :, 2] = 2.0  # metres, in one clip of three

    terms = _model().loss({"prev_T_cam": pose_from_vector(vectors + error)}, _truth(vectors))

    assert terms["translation"].item() == pytest.approx(4 * 2.0**2 / 3, rel=1e-9)
    assert terms["rotation"].item() == pytest.approx(0, abs=1e-20)


def test_kappa_of_the_paper_is_the_default() -> None:
    assert _model().kappa == 100


def test_the_loss_is_blind_to_the_choice_of_world(generator: torch.Generator) -> None:
    vectors = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    sample = _truth(vectors)
    assert sample.world_T_cam is not None
    elsewhere = se3.exp(torch.randn(6, generator=generator, dtype=torch.float64)) @ sample.world_T_cam
    prediction = {"prev_T_cam": pose_from_vector(vectors + 0.1)}

    here, there = (_model().loss(prediction, _sample(sample.image, world)) for world in (sample.world_T_cam, elsewhere))

    assert {name: term.item() for name, term in here.items()} == pytest.approx(
        {name: term.item() for name, term in there.items()}
    )


def test_a_turn_through_south_is_small() -> None:
    estimate, target = torch.zeros(2, 1, 1, 6, dtype=torch.float64)
    estimate[..., 3], target[..., 3] = math.pi - 0.01, -math.pi + 0.01

    terms = _model(kappa=1.0).loss({"prev_T_cam": pose_from_vector(estimate)}, _truth(target))

    assert terms["rotation"].item() == pytest.approx(0.02**2, rel=1e-6)


def test_perfect_motions_around_a_loop_cost_nothing_and_come_home() -> None:
    vectors = torch.zeros(1, 36, 6, dtype=torch.float64)
    vectors[..., 2], vectors[..., 3] = 1.0, 2 * math.pi / 36  # a circle: the heading passes through 180 degrees
    sample = _truth(vectors)
    prediction = {"prev_T_cam": pose_from_vector(vectors)}

    terms = _model().loss(prediction, sample)

    assert sum(term.item() for term in terms.values()) == pytest.approx(0, abs=1e-20)
    torch.testing.assert_close(chain(prediction["prev_T_cam"][0])[-1], torch.eye(4, dtype=torch.float64))


def test_a_sample_without_poses_cannot_be_learnt_from() -> None:
    model, sample = _model(), _sample(torch.rand(1, 2, 3, 64, 96))

    with pytest.raises(Vo3dError, match="DeepVO learns from world_T_cam, which the dataset does not give"):
        model.loss(model(sample), sample)


@pytest.mark.parametrize("borders", [(0, 9), (0, 1, 9), (0, 2, 3, 7, 9), tuple(range(10))])
def test_a_stream_equals_one_long_forward_pass(borders: tuple[int, ...], generator: torch.Generator) -> None:
    model, sample = _model().double(), _sample(torch.rand(2, 10, 3, 64, 96, generator=generator).double())
    clips = [_part(sample, start, stop + 1) for start, stop in pairwise(borders)]

    with torch.no_grad():
        whole = model(sample)["prev_T_cam"]
        for _ in range(2):  # the second stream must not remember the first
            streamed = torch.cat([prediction["prev_T_cam"] for prediction in model.stream(clips)], dim=1)
            torch.testing.assert_close(streamed, whole)


def test_a_stream_without_memory_equals_the_clips_alone(generator: torch.Generator) -> None:
    model, sample = _model(carry_state=False), _sample(torch.rand(1, 7, 3, 64, 96, generator=generator))
    clips = [_part(sample, 0, 4), _part(sample, 3, 7)]

    with torch.no_grad():
        for clip, prediction in zip(clips, model.stream(clips), strict=True):
            assert torch.equal(prediction["prev_T_cam"], model(clip)["prev_T_cam"])


def test_memory_changes_what_is_predicted(generator: torch.Generator) -> None:
    model, sample = _model(), _sample(torch.rand(1, 7, 3, 64, 96, generator=generator))
    clips = [_part(sample, 0, 4), _part(sample, 3, 7)]

    with torch.no_grad():
        *_, last = model.stream(clips)
        assert not torch.allclose(last["prev_T_cam"], model(clips[1])["prev_T_cam"])


def test_gradients_end_at_the_border_of_a_clip(generator: torch.Generator) -> None:
    model = _model()
    image = torch.rand(1, 5, 3, 64, 96, generator=generator).requires_grad_()
    sample = _sample(image)

    *_, last = model.stream([_part(sample, 0, 3), _part(sample, 2, 5)])
    last["prev_T_cam"][..., :3, :].sum().backward()

    assert image.grad is not None
    assert image.grad[:, :2].abs().sum() == 0
    assert image.grad[:, 2:].abs().sum() > 0


def test_a_stream_with_a_gap_is_refused(generator: torch.Generator) -> None:
    sample = _sample(torch.rand(1, 6, 3, 64, 96, generator=generator))

    with pytest.raises(Vo3dError, match=r"after frame \[2\] came \[3\]: make clips that overlap by one frame"):
        list(_model().stream([_part(sample, 0, 3), _part(sample, 3, 6)]))


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(Vo3dError, match="64 rows and 96 columns but got 96 and 64: give the dataset the model's size"):
        _model()(_sample(torch.rand(1, 2, 3, 96, 64)))


def test_a_single_frame_is_refused() -> None:
    with pytest.raises(Vo3dError, match="the clip has 1: set clip_length to 2 or more"):
        _model()(_sample(torch.rand(1, 1, 3, 64, 96)))


@pytest.mark.parametrize(
    "arguments",
    [{"size": (0, 96)}, {"hidden": 0}, {"num_layers": 0}, {"kappa": -1.0}, {"step_std": (0.0,) * 6}, {"width": 0.001}],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(Vo3dError, match=r"must|without a channel"):
        _model(**arguments)


def _port_layer(in_channels: int, out_channels: int, kernel: int, stride: int, batch_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, bias=not batch_norm)
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.LeakyReLU(0.1))


class Port(nn.Module):
    """A network in the published naming and shapes, written from their description to compare results with."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = _port_layer(6, 64, 7, 2, batch_norm)
        self.conv2 = _port_layer(64, 128, 5, 2, batch_norm)
        self.conv3 = _port_layer(128, 256, 5, 2, batch_norm)
        self.conv3_1 = _port_layer(256, 256, 3, 1, batch_norm)
        self.conv4 = _port_layer(256, 512, 3, 2, batch_norm)
        self.conv4_1 = _port_layer(512, 512, 3, 1, batch_norm)
        self.conv5 = _port_layer(512, 512, 3, 2, batch_norm)
        self.conv5_1 = _port_layer(512, 512, 3, 1, batch_norm)
        self.conv6 = _port_layer(512, 1024, 3, 2, batch_norm)
        for norm in (module for module in self.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)

    def features(self, pairs: Tensor) -> Tensor:
        """What conv6 gives."""
        for layer in (self.conv1, self.conv2, self.conv3, self.conv3_1, self.conv4, self.conv4_1, self.conv5):
            pairs = layer(pairs)
        return self.conv6(self.conv5_1(pairs))


FLOWNETS_REST = [
    *("conv6_1.0.weight", "deconv5.0.weight", "deconv2.0.weight", "predict_flow6.weight", "predict_flow2.weight"),
    *("upsampled_flow6_to_5.weight", "upsampled_flow3_to_2.weight"),
]


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch_norm"])
def test_published_flownets_gives_the_same_features(
    batch_norm: bool, generator: torch.Generator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port = Port(batch_norm).eval()
    path = tmp_path_factory.mktemp("weights") / "flownets.pth.tar"
    rest = {name: torch.zeros(1) for name in FLOWNETS_REST}
    torch.save({"state_dict": {**port.state_dict(), **rest}, "epoch": 1, "arch": "flownets", "div_flow": 20}, path)
    model = _model(size=(64, 64), width=1.0, batch_norm=batch_norm, leaky_slope=0.1, conv6_activation=True)
    untouched = model.rnn.weight_hh_l1.clone()

    report = load_weights(model, path)

    assert report.source.startswith("FlowNetS")
    assert set(report.dropped) == set(FLOWNETS_REST)
    assert set(report.matched) == set(port.state_dict())
    buffers = {"image_mean", "image_std", "step_mean", "step_std"}
    memory = {name for name in model.state_dict() if name.startswith(("rnn.", "head."))}
    assert set(report.kept) == buffers | memory
    assert torch.equal(model.rnn.weight_hh_l1, untouched)
    pairs = torch.randn(1, 6, 64, 64, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(pairs), port.features(pairs))


def test_flownets_with_batch_norm_does_not_load_into_a_network_without(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("weights") / "flownets_bn.pth"
    torch.save({"state_dict": {**Port(True).state_dict(), "predict_flow6.weight": torch.zeros(1)}}, path)

    with pytest.raises(Vo3dError, match=r"no place for: conv1\.1\.weight.*build the model with width 1.*batch_norm"):
        load_weights(_model(width=1.0), path)


class PortWithMemory(Port):
    """The recurrent part in the naming of the port of DeepVO; yaw, pitch, roll come before x, y, z."""

    def __init__(self) -> None:
        super().__init__(batch_norm=True)
        self.rnn = nn.LSTM(1024 * 2, 8, 2, batch_first=True)
        self.linear = nn.Linear(8, 6)

    def forward(self, pairs: Tensor) -> Tensor:
        """Angles and translations of a batch of stacked pairs, b s 6 h w."""
        features = self.features(pairs.flatten(0, 1)).reshape(*pairs.shape[:2], -1)
        return self.linear(self.rnn(features)[0])


def test_the_published_port_of_deepvo_gives_the_same_motions(
    generator: torch.Generator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port = PortWithMemory().eval()
    published = {name: value for name, value in port.state_dict().items() if "num_batches" not in name}  # as torch 0.4
    path = tmp_path_factory.mktemp("weights") / "t000102050809_v04060710_im184x608.model.valid"
    torch.save(published, path)
    model = _model(size=(128, 64), width=1.0, batch_norm=True, leaky_slope=0.1, conv6_activation=True)
    image = torch.rand(2, 4, 3, 128, 64, generator=generator)

    report = load_weights(model, path)

    assert report.source.startswith("DeepVO (ChiWeiHsiao")
    assert set(report.matched) == set(published)
    assert report.dropped == ()
    with torch.no_grad():
        normalised = (image - model.image_mean) / model.image_std
        answer = port(torch.cat((normalised[:, :-1], normalised[:, 1:]), dim=2))
        expected = pose_from_vector(torch.cat((answer[..., 3:], answer[..., :3]), dim=-1))
        torch.testing.assert_close(model(_sample(image))["prev_T_cam"], expected)

    assert set(report.valued) == {"image_mean", "image_std", "step_mean", "step_std"}
    assert set(report.kept) == {name for name in model.state_dict() if name.endswith("num_batches_tracked")}


AS_PUBLISHED = {"width": 1.0, "batch_norm": True, "leaky_slope": 0.1, "conv6_activation": True}
AS_KITTI = {"image_mean": (0.35, 0.37, 0.36), "step_mean": (0.0, 0.0, 0.9, 0.0, 0.0, 0.0), "step_std": (0.1,) * 6}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The port's weights for frames of two features, with the wrapping of a parallel training."""
    path = tmp_path_factory.mktemp("weights") / "port.pth"
    weights = {f"module.{name}": value for name, value in PortWithMemory().state_dict().items()}
    torch.save({"model_state_dict": weights, "epoch": 250}, path)
    return path


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"leaky_slope": 0.0}, "leaky_slope 0.0 instead of 0.1"),
        ({"conv6_activation": False}, "conv6_activation False instead of True"),
        ({"pool": "max"}, "pool max instead of stride"),
    ],
)
def test_the_published_port_is_refused_by_a_network_that_computes_otherwise(
    port: Path, wrong: dict[str, object], words: str
) -> None:
    model = _model(size=(128, 64), **{**AS_PUBLISHED, **wrong})
    before = model.head.weight.clone()

    with pytest.raises(Vo3dError, match=f"other settings: {words}; build the model with size"):
        load_weights(model, port)

    assert torch.equal(model.head.weight, before)


def test_the_published_port_brings_the_statistics_of_its_training(port: Path) -> None:
    model = _model(size=(128, 64), **AS_PUBLISHED, **AS_KITTI)

    report = load_weights(model, port)

    assert model.image_mean.flatten().tolist() == pytest.approx([0.690078, 0.651704, 0.606594])
    assert model.image_std.flatten().tolist() == pytest.approx([0.261078, 0.257293, 0.251638])
    assert model.step_mean.tolist() == [0.0] * 6
    assert model.step_std.tolist() == [1.0] * 6
    assert "set as at its training: image_mean, image_std, step_mean, step_std" in report.lines[0]
    assert "It needs size (608, 184)" in report.lines[1]


def test_frames_of_another_shape_with_as_many_features_are_refused(port: Path, tmp_path: Path) -> None:
    weights = torch.load(port, weights_only=True)["model_state_dict"]
    torch.save({**weights, "module.rnn.weight_ih_l0": torch.zeros(4 * 8, 30_720)}, tmp_path / "port.pth")

    assert load_weights(_model(size=(608, 184), **AS_PUBLISHED), tmp_path / "port.pth").differs == ()
    for size in [(184, 608), (640, 192)]:
        with pytest.raises(Vo3dError, match=rf"size \({size[0]}, {size[1]}\) instead of \(608, 184\)"):
            load_weights(_model(size=size, **AS_PUBLISHED), tmp_path / "port.pth")


def test_flownets_is_a_start_of_a_network_with_other_rectifiers_and_says_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("weights") / "flownets.pth"
    torch.save({"state_dict": {**Port(False).state_dict(), "predict_flow6.weight": torch.zeros(1)}}, path)
    model = _model(width=1.0, leaky_slope=0.0, image_mean=(0.35, 0.37, 0.36))

    report = load_weights(model, path)

    assert report.differs == ("leaky_slope 0.0 instead of 0.1",)
    assert "other settings: leaky_slope 0.0 instead of 0.1" in str(report)
    assert model.image_mean.flatten().tolist() == pytest.approx([0.35, 0.37, 0.36])  # as the paper has it


def test_the_published_port_has_the_matrix_of_its_squashed_frames() -> None:
    with torch.device("meta"):
        model = DeepVO(size=(608, 184))

    assert model.rnn.weight_ih_l0.shape == (4000, 30_720)


def test_frames_of_another_camera_are_brought_to_the_one_of_the_network() -> None:
    """A picture that is linear in the ray stays so; beyond its borders there is the mean, and both give one answer."""
    model = _model(focal=0.5)  # 48 pixels, half of the focal length below

    def taken(h: int, w: int, focal: float, cx: float, cy: float) -> Sample:
        x, y = (torch.arange(w) - cx) / focal, (torch.arange(h)[:, None] - cy) / focal
        sample = _sample((0.4 + 0.3 * x + 0.2 * y).expand(1, 2, 3, h, w).clone())
        K = torch.tensor([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        return replace(sample, K=K.expand(1, 2, 3, 3))

    seen = model.through_own_camera(taken(96, 160, 96.0, 79.5, 47.5))
    own = taken(64, 96, 48.0, 47.5, 31.5)

    assert model.size is None  # whatever reads frames for it leaves them as they are
    torch.testing.assert_close(model.through_own_camera(own), own.image)
    inner = (..., slice(9, 55), slice(9, 87))
    torch.testing.assert_close(seen[inner], own.image[inner], atol=1e-5, rtol=0)
    mean = model.image_mean.expand_as(seen[..., :8])
    torch.testing.assert_close(seen[..., :8], mean)
    torch.testing.assert_close(seen[..., 88:], mean)
    large = taken(192, 288, 96.0, 143.5, 95.5)  # looks beyond all borders, which are cut
    torch.testing.assert_close(model.through_own_camera(large), own.image, atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(model(large)["prev_T_cam"], model(own)["prev_T_cam"], atol=1e-4, rtol=0)


def test_a_camera_of_its_own_needs_those_of_the_frames() -> None:
    model = _model(focal=0.5)
    assert model.needs == ("image", "K")
    with pytest.raises(Vo3dError, match="needs K"):
        model(replace(_sample(torch.zeros(1, 2, 3, 64, 96)), K=None))
    with pytest.raises(Vo3dError, match=r"focal 0\.0"):
        _model(focal=0.0)

"""The networks of a public port of UnDeepVO: its checkpoints give its depths and motions, every key has a place."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import convert_weights
from samples import make_sample
from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_weights, read_weights
from vo3d.inference.pretrained import load_into
from vo3d.model import check_needs
from vo3d.models.undeepvo import UnDeepVO
from vo3d.models.undeepvo_mistermap import networks
from vo3d.sample import Sample

SIZE = (128, 192)
CHANNELS = (4, 8, 16, 32, 64, 64, 64)  # of the port with 4 channels at first; 32 as published
MOTION_CHANNELS = (2, 4, 8, 16, 32, 32, 64)  # 16 at first as published
PORT = {"network": "mistermap", "pool": "max", "focal": None}
SMALL = {"size": SIZE, "channels": CHANNELS, "motion_channels": MOTION_CHANNELS}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def _model(**arguments: object) -> UnDeepVO:
    torch.manual_seed(0)
    return UnDeepVO(**{**SMALL, **PORT, **arguments}).eval()  # type: ignore[arg-type]


class Bag(nn.Module):
    """Modules under the names that a checkpoint has them by."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class Twin(nn.Module):
    """The port in its naming, layers and order, written from their description to compare results with.

    It has 7 stages, 4 and 2 channels at first where the published one has 32 and 16.
    """

    def __init__(self, *, inverse: bool = False, near: float = 1.0, far: float = 100.0) -> None:
        super().__init__()
        self.inverse, self.near, self.far = inverse, near, far
        down = [
            nn.Sequential(
                _conv(a, b, kernel), nn.ReLU(), nn.BatchNorm2d(b), _conv(b, b, kernel), nn.ReLU(), nn.BatchNorm2d(b)
            )
            for a, b, kernel in ((3, 4, 7), (4, 8, 5), (8, 16, 3), (16, 32, 3), (32, 64, 3), (64, 64, 3), (64, 64, 3))
        ]
        up = [
            nn.Sequential(_conv(2 * a, b), nn.ReLU(), _conv(b, b), nn.ReLU())
            for a, b in ((64, 64), (64, 32), (32, 16), (16, 8), (8, 4), (4, 2))
        ]
        self.depth_net = Bag(
            down_blocks=nn.ModuleList(Bag(convs=layers) for layers in down),
            up_blocks=nn.ModuleList(Bag(convs=layers) for layers in up),
            last_up=Bag(convs=nn.Sequential(_conv(2, 32), nn.ReLU(), nn.Conv2d(32, 1, 1))),
        )
        stages = ((6, 2, 7), (2, 4, 5), (4, 8, 3), (8, 16, 3), (16, 32, 3), (32, 32, 3), (32, 64, 3))
        pose = [
            nn.Sequential(_conv(before, after, kernel), nn.BatchNorm2d(after), nn.ReLU())
            for inputs, after, kernel in stages
            for before in (inputs, after)
        ]
        heads = {
            f"{name}{layer}": nn.Linear(inputs, outputs)
            for name in ("rot", "transl")
            for layer, inputs, outputs in ((1, 64 * 49, 512), (2, 512, 512), (3, 512, 3))
        }
        self.pose_net = Bag(vgg_part=nn.ModuleList(Bag(conv=layers) for layers in pose), **heads)

    def depth(self, image: Tensor) -> Tensor:
        """Metres, n h w."""
        kept, features = [], image
        for block in self.depth_net.down_blocks:
            kept.append(block.convs(features))
            features = nn.functional.max_pool2d(kept[-1], 2)
        features = kept[-1]
        for block, skip in zip(self.depth_net.up_blocks, kept[-2::-1], strict=True):
            features = block.convs(torch.cat((interpolate(features, scale_factor=2), skip), dim=1))
        share = self.depth_net.last_up.convs(features).sigmoid()[:, 0]
        if self.inverse:
            return 1 / (1 / self.near + share * (1 / self.far - 1 / self.near))
        return self.near + share * (self.far - self.near)

    def motion(self, current: Tensor, later: Tensor) -> Tensor:
        """`current_T_later`, n 4 4: angles of Rx Ry Rz and metres."""
        features = torch.cat((current, later), dim=1)
        for index, block in enumerate(self.pose_net.vgg_part):
            features = block.conv(features)
            features = nn.functional.max_pool2d(features, 2) if index % 2 else features
        features = nn.functional.adaptive_avg_pool2d(features, (7, 7)).flatten(1)
        net = self.pose_net
        rotation = 0.01 * net.rot3(net.rot2(net.rot1(features).relu()).relu())
        translation = 0.01 * net.transl3(net.transl2(net.transl1(features).relu()).relu())
        return torch.stack([_transformation(*vectors) for vectors in zip(rotation, translation, strict=True)])


def _transformation(angles: Tensor, translation: Tensor) -> Tensor:
    sines, cosines = angles.double().sin().tolist(), angles.double().cos().tolist()
    (a, b, c), (d, e, f) = sines, cosines
    about_x = torch.tensor([[1, 0, 0], [0, d, -a], [0, a, d]], dtype=torch.float64)
    about_y = torch.tensor([[e, 0, b], [0, 1, 0], [-b, 0, e]], dtype=torch.float64)
    about_z = torch.tensor([[f, -c, 0], [c, f, 0], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = (about_x @ about_y @ about_z).float(), translation
    return pose


def _twin(**arguments: object) -> Twin:
    """A port that answers differently everywhere: statistics, biases and last layers as after some training."""
    torch.manual_seed(1)
    twin = Twin(**arguments)  # type: ignore[arg-type]
    for name, value in (*twin.named_parameters(), *twin.named_buffers()):
        if name.endswith("bias"):
            nn.init.normal_(value, 0, 0.1)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.3, 2)
        elif name.endswith("num_batches_tracked"):
            value.fill_(1000)
    with torch.no_grad():
        twin.depth_net.last_up.convs[2].weight.mul_(60)
        twin.pose_net.rot3.weight.mul_(300)
        twin.pose_net.transl3.weight.mul_(1000)
    return twin.eval()


def _answer(twin: Twin, image: Tensor) -> tuple[Tensor, Tensor]:
    """Depths (b s h w) and motions (b s-1 4 4) of the port, whose images are normalised as ImageNet's."""
    b, s = image.shape[:2]
    image = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        depth = twin.depth(image.flatten(0, 1)).unflatten(0, (b, s))
        motion = twin.motion(image[:, :-1].flatten(0, 1), image[:, 1:].flatten(0, 1)).unflatten(0, (b, s - 1))
    return depth, motion


@pytest.fixture
def image(generator: torch.Generator) -> Tensor:
    return torch.rand(2, 3, 3, *SIZE, generator=generator)


@pytest.mark.parametrize(
    ("output", "near", "far"), [("depth", 1.0, 100.0), ("inverse_depth", 1.0, 100.0), ("inverse_depth", 0.5, 80.0)]
)
def test_a_checkpoint_of_the_port_gives_the_same_depths_and_motions(
    output: str, near: float, far: float, image: Tensor, tmp_path: Path
) -> None:
    twin = _twin(inverse=output == "inverse_depth", near=near, far=far)
    torch.save(twin.state_dict(), tmp_path / "undeepvo_checkpoint.pth")
    model = _model(output=output, min_depth=near, max_depth=far)

    report = load_into(model, tmp_path / "undeepvo_checkpoint.pth")

    depth, motion = _answer(twin, image)
    assert depth.std() > 0.05  # the answers are no constants that any weights give
    assert (motion[:, :, :3, 3].abs().amax((0, 1)) > 0.1).all()
    assert ((motion - torch.eye(4))[:, :, :3, :3].abs().amax((0, 1, 3)) > 0.01).all()
    prediction = model.predict(Sample(image=image))  # K is not asked for
    torch.testing.assert_close(prediction["depth"], depth, rtol=1e-5, atol=0)
    torch.testing.assert_close(prediction["prev_T_cam"], motion, rtol=0, atol=1e-5)
    assert report.source == "UnDeepVO (MisterMap/undeepvo)"
    assert set(report.matched) == set(twin.state_dict())
    assert set(report.matched.values()) == set(model.state_dict()) - {"image_mean", "image_std"}
    assert (report.dropped, report.kept) == ((), ())
    assert set(report.valued) == {"image_mean", "image_std"}
    assert "It needs network mistermap, pool max, focal null" in report.lines[1]


def test_a_checkpoint_of_parallel_training_is_the_same(image: Tensor, tmp_path: Path) -> None:
    state = {name: value for name, value in _twin().state_dict().items() if "num_batches" not in name}  # as torch 0.4
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth")
    model = _model()

    report = load_weights(model, tmp_path / "w.pth")

    torch.testing.assert_close(model.predict(Sample(image=image))["prev_T_cam"], _answer(_twin(), image)[1])
    assert len(report.kept) == 28  # counters of batches, which evaluation does not read
    assert all(name.endswith("num_batches_tracked") for name in report.kept)


def test_a_focal_length_does_not_change_what_the_port_answers(image: Tensor) -> None:
    model = _model()
    alone = model.predict(Sample(image=image))
    K = torch.tensor([[500.0, 0, 90], [0, 300, 60], [0, 0, 1]]).expand(2, 3, 3, 3)

    with_camera = model.predict(Sample(image=image, K=K))

    assert all(torch.equal(alone[key], with_camera[key]) for key in ("depth", "prev_T_cam"))
    check_needs(model, Sample(image=image), "the test")
    assert UnDeepVO.needs == ("image", "K")
    with pytest.raises(Vo3dError, match="UnDeepVO needs K, right, left_T_right"):
        check_needs(model, Sample(image=image), "the test", learning=True)


def test_without_a_focal_length_the_papers_networks_answer_for_the_canonical_camera(image: Tensor) -> None:
    arguments = {"network": "paper", "pool": "stride"}
    K = torch.tensor([[0.58 * SIZE[1], 0, 90], [0, 0.58 * SIZE[1], 60], [0, 0, 1]]).expand(2, 3, 3, 3)

    canonical = _model(**arguments, focal=0.58).predict(Sample(image=image, K=K))
    free = _model(**arguments, focal=None).predict(Sample(image=image))

    torch.testing.assert_close(free["depth"], canonical["depth"])
    torch.testing.assert_close(free["prev_T_cam"], canonical["prev_T_cam"])


def test_the_published_sizes_have_as_many_parameters() -> None:
    with torch.device("meta"):
        depth, motion = networks(
            (128, 384), (32, 64, 128, 256, 512, 512, 512), (16, 32, 64, 128, 256, 256, 512), (7, 5), 512, "max"
        )

    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (depth, motion)]
    assert counts == [25_315_521, 32_162_566]  # of the port's own program


@pytest.mark.parametrize("size", [(131, 203), (128, 416)])
def test_frames_of_any_size_have_depths_and_the_ports_motions(
    size: tuple[int, int], generator: torch.Generator, tmp_path: Path
) -> None:
    twin = _twin()
    torch.save(twin.state_dict(), tmp_path / "w.pth")
    model = _model(size=size)
    load_weights(model, tmp_path / "w.pth")
    image = torch.rand(1, 2, 3, *size, generator=generator)

    prediction = model.predict(Sample(image=image))

    assert prediction["depth"].shape == (1, 2, *size)
    normalised = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        motion = twin.motion(normalised[:, 0], normalised[:, 1])
    torch.testing.assert_close(prediction["prev_T_cam"][:, 0], motion, rtol=0, atol=1e-5)


def test_it_learns_from_stereo_video_as_the_papers_networks_do() -> None:
    sample = make_sample(b=2, s=2)
    model = _model(size=(64, 96), channels=(4, 8, 8), motion_channels=(4, 8, 8), hidden=16, pool="ada").train()
    before = model.motion_net.encoder[0][1].running_mean.clone()

    terms = model.loss(model(sample), sample)
    torch.stack(list(terms.values())).sum().backward()

    assert all(term.isfinite() for term in terms.values())
    normalised = {f"motion_net.encoder.{i}.0.bias" for i in range(6)}  # means are taken away behind these
    learnt = {name for name, parameter in model.named_parameters() if name not in normalised}
    assert learnt == {
        name
        for name, parameter in model.named_parameters()
        if name not in normalised and parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert not torch.equal(model.motion_net.encoder[0][1].running_mean, before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"network": "paper", "pool": "stride"}, r"no place for: .*other settings: network paper instead of mistermap"),
        ({"pool": "avg"}, "other settings: pool avg instead of max"),
        ({"focal": 0.58}, r"other settings: focal 0\.58 instead of None"),
        ({"motion_scale": 0.1}, r"other settings: motion_scale 0\.1 instead of 0\.01"),
        ({"channels": (8, *CHANNELS[1:])}, r"other shapes: depth_net\.down_blocks\.0\.convs\.0\.weight \(4, 3, 7, 7\)"),
        ({"channels": CHANNELS[:-1]}, r"no place for: depth_net\.down_blocks\.6\.convs\.0\.weight"),
        ({"hidden": 256}, r"other shapes: pose_net\.rot1\.weight \(512, 3136\)"),
    ],
)
def test_a_model_that_computes_otherwise_refuses_the_checkpoint(
    arguments: dict[str, object], words: str, tmp_path: Path
) -> None:
    torch.save(_twin().state_dict(), tmp_path / "w.pth")
    model = _model(**arguments)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    with pytest.raises(Vo3dError, match=words) as caught:
        load_into(model, tmp_path / "w.pth")

    assert "build the model with network mistermap, pool max, focal null" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra.weight": torch.zeros(1)}, r"no place for: extra\.weight"),
        ({"depth_net.last_up.convs.2.bias": None}, r"no value for: depth_net\.head\.bias"),
        ({"pose_net.transl2.weight": None}, r"no value for: motion_net\.translation\.2\.weight"),
        ({"pose_net.rot3.bias": torch.full((3,), torch.nan)}, r"pose_net\.rot3\.bias has 3 of 3 values that are NaN"),
    ],
)
def test_a_checkpoint_with_other_keys_or_values_is_refused(
    change: dict[str, Tensor | None], words: str, tmp_path: Path
) -> None:
    state = {**_twin().state_dict(), **change}
    torch.save({name: value for name, value in state.items() if value is not None}, tmp_path / "w.pth")

    with pytest.raises(Vo3dError, match=words) as caught:
        load_weights(_model(), tmp_path / "w.pth")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", ["paper", "mistermap"])
def test_the_ports_form_on_a_resnet_is_refused_with_the_reason(network: str, tmp_path: Path) -> None:
    names = ["pose_net._first_layer.weight", "pose_net.rot1.weight", "depth_net.first_level.0.weight"]
    torch.save({name: torch.zeros(2) for name in names}, tmp_path / "w.pth")

    with pytest.raises(
        Vo3dError, match=r"w\.pth: UnDeepVO on a ResNet-18 .* cannot be loaded: .*resnet=False"
    ) as caught:
        load_weights(_model(network=network), tmp_path / "w.pth")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pool": "stride"}, "pool 'stride' leaves the halving to a convolution.*expected one of max"),
        (
            {"size": (64, 192)},
            r"size=\(64, 192\) is too small for networks that halve frames 7 times.*at least 128 rows",
        ),
        ({"channels": (8,), "motion_channels": (8,)}, "expected at least two stages"),
        ({"focal": 0.0}, r"focal=0\.0"),
    ],
)
def test_arguments_that_the_networks_cannot_have_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        _model(**arguments)


def test_converted_weights_need_the_same_arguments(
    image: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(_twin(inverse=True).state_dict(), tmp_path / "w.pth")
    words = ["--checkpoint", str(tmp_path / "w.pth"), "--out", str(tmp_path / "w.safetensors")]
    words += ["--model", "vo3d.models.undeepvo.UnDeepVO", "--model.network", "mistermap", "--model.pool", "max"]
    words += ["--model.focal", "null", "--model.output", "inverse_depth", "--model.size", str(list(SIZE))]
    words += ["--model.channels", str(list(CHANNELS)), "--model.motion_channels", str(list(MOTION_CHANNELS))]

    assert convert_weights.main(words) == 0

    assert "236 tensors loaded; dropped: none; left as they were: none" in capsys.readouterr().out
    model = _model(output="inverse_depth")
    load_into(model, tmp_path / "w.safetensors")
    depth, motion = _answer(_twin(inverse=True), image)
    prediction = model.predict(Sample(image=image))
    torch.testing.assert_close(prediction["depth"], depth, rtol=1e-5, atol=0)
    torch.testing.assert_close(prediction["prev_T_cam"], motion, rtol=0, atol=1e-5)
    assert read_weights(tmp_path / "w.safetensors")[1]["source"] == "UnDeepVO (MisterMap/undeepvo)"
    with pytest.raises(Vo3dError, match=r"network paper instead of mistermap, output depth instead of inverse_depth"):
        load_into(_model(network="paper", output="depth", pool="max"), tmp_path / "w.safetensors")

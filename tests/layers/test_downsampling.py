"""Ways to halve a map: equal sizes, names and gradients in the encoders, and what torch computes by hand."""

from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu, max_pool2d

from checks import complaint
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.formats.weights import import_weights
from vo3d.geometry import se3
from vo3d.layers.downsampling import Pool, check_pool, pooling_layer
from vo3d.layers.flownet import LAYERS, FlowNetSEncoder
from vo3d.models.deepvo import CHIWEIHSIAO, FLOWNETS, DeepVO
from vo3d.sample import Sample

POOLS: tuple[Pool, ...] = get_args(Pool)
every_pool = pytest.mark.parametrize("pool", POOLS)
every_layer = pytest.mark.parametrize("pool", POOLS[1:])
HALVING = [name for name, _, _, stride in LAYERS if stride == 2]
BETAS = {f"{name}.pool.beta" for name in HALVING}


def _encoder(pool: Pool, batch_norm: bool = False) -> FlowNetSEncoder:
    torch.manual_seed(0)
    return FlowNetSEncoder(6, 1 / 32, batch_norm, leaky_slope=0.1, pool=pool)


def _deepvo(pool: Pool, **arguments: object) -> DeepVO:
    torch.manual_seed(0)
    return DeepVO(**{"size": (37, 71), "width": 1 / 32, "hidden": 8, "pool": pool, **arguments})  # type: ignore[arg-type]


@every_pool
@pytest.mark.parametrize("size", [(64, 128), (67, 131), (65, 63), (1, 97)])
def test_maps_are_halved_as_by_a_strided_convolution(pool: Pool, size: tuple[int, int]) -> None:
    encoder, pairs = _encoder(pool), torch.rand(1, 6, *size)

    with torch.no_grad():
        features = encoder(pairs)

    assert features.shape == (1, encoder.out_channels, *encoder.out_size(*size))
    assert features.shape == _encoder("stride")(pairs).shape
    assert features.isfinite().all()


@every_pool
def test_every_parameter_of_the_encoder_gets_a_gradient(pool: Pool, generator: torch.Generator) -> None:
    encoder = _encoder(pool, batch_norm=True)

    encoder(torch.randn(2, 6, 67, 131, generator=generator)).square().sum().backward()

    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@every_pool
def test_every_parameter_of_deepvo_gets_a_gradient(pool: Pool, generator: torch.Generator) -> None:
    model = _deepvo(pool, batch_norm=True)
    steps = se3.exp(0.1 * torch.randn(2, 3, 6, generator=generator))
    image = torch.rand(2, 3, 3, 37, 71, generator=generator)
    sample = Sample(image=image, K=torch.eye(3).expand(2, 3, 3, 3), world_T_cam=steps.double())

    torch.stack(list(model.loss(model(sample), sample).values())).sum().backward()

    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_pool
def test_nothing_needs_memory_on_the_meta_device(pool: Pool) -> None:
    encoder = _encoder(pool).to("meta")

    assert encoder(torch.empty(2, 6, 67, 131, device="meta")).shape == (2, encoder.out_channels, 2, 3)


@every_pool
def test_mixed_precision_leaves_features_and_gradients_whole(pool: Pool, generator: torch.Generator) -> None:
    encoder, pairs = _encoder(pool, batch_norm=True), torch.randn(2, 6, 67, 131, generator=generator)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(pairs)
        features.float().square().sum().backward()

    torch.testing.assert_close(features.float(), encoder(pairs), rtol=0.1, atol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@every_pool
@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_have_one_name_and_one_start_whatever_pools(pool: Pool, batch_norm: bool) -> None:
    strided, encoder = _encoder("stride", batch_norm).state_dict(), _encoder(pool, batch_norm).state_dict()

    assert set(encoder) - set(strided) == (BETAS if pool == "ada" else set())
    assert all(torch.equal(encoder[name], value) for name, value in strided.items())


def test_beta_is_one_trainable_number_a_layer() -> None:
    encoder = _encoder("ada")

    betas = {name: value for name, value in encoder.named_parameters() if name.endswith("beta")}
    assert set(betas) == BETAS
    assert all(beta.numel() == 1 and beta.item() == 0.5 and beta.requires_grad for beta in betas.values())


@pytest.mark.parametrize("beta", [-3.0, 0.0, 0.25, 1.0, 4.0])
def test_beta_mixes_two_poolings_and_is_held_between_them(beta: float, generator: torch.Generator) -> None:
    x = torch.randn(2, 3, 7, 9, generator=generator)
    layers: dict[str, nn.Module] = {name: pooling_layer(name, 2, ceil_mode=True) for name in ("ada", "edscw", "soft")}
    layers["ada"].load_state_dict({"beta": torch.full_like(layers["ada"].beta, beta)})

    held = min(max(beta, 0.0), 1.0)
    expected = held * layers["edscw"](x) + (1 - held) * layers["soft"](x)
    torch.testing.assert_close(layers["ada"](x), expected)


@pytest.mark.parametrize("conv6_activation", [False, True])
def test_pooling_follows_the_rectifier(conv6_activation: bool, generator: torch.Generator) -> None:
    encoder = FlowNetSEncoder(6, 1 / 32, leaky_slope=0.1, conv6_activation=conv6_activation, pool="max")
    pairs = x = torch.randn(2, 6, 67, 131, generator=generator)
    weights = encoder.state_dict()

    for name, _, kernel, stride in LAYERS:
        x = conv2d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], padding=kernel // 2)
        x = leaky_relu(x, 0.1) if name != "conv6" or conv6_activation else x
        x = max_pool2d(x, 2, ceil_mode=True) if stride == 2 else x

    with torch.no_grad():
        torch.testing.assert_close(encoder(pairs), x)


def test_dropout_follows_pooling() -> None:
    encoder = FlowNetSEncoder(6, 1 / 32, batch_norm=True, dropout=0.2, conv6_dropout=0.5, pool="avg")

    assert list(dict(encoder.conv1.named_children())) == ["conv", "norm", "rectifier", "pool", "dropout"]
    assert list(dict(encoder.conv3_1.named_children())) == ["conv", "norm", "rectifier", "dropout"]
    assert list(dict(encoder.conv6.named_children())) == ["conv", "norm", "pool", "dropout"]


@every_layer
@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil"), [(2, 2, 0, True), (3, 2, 1, False), (3, 2, 1, True)])
def test_windows_lie_as_those_of_torch(pool: Pool, kernel: int, stride: int, padding: int, ceil: bool) -> None:
    layer = pooling_layer(pool, kernel, stride, padding, ceil)

    for size in ((8, 8), (7, 10), (5, 13)):
        x = torch.rand(2, 3, *size)
        y = layer(x)
        assert y.shape == max_pool2d(x, kernel, stride, padding, ceil_mode=ceil).shape
        highest = max_pool2d(x, kernel, stride, padding, ceil_mode=ceil)
        lowest = -max_pool2d(-x, kernel, stride, padding, ceil_mode=ceil)
        assert (y <= highest + 1e-6).all()
        assert (y >= lowest - 1e-6).all()  # zeros of the padding would lie below


def test_an_average_leaves_the_padding_out(generator: torch.Generator) -> None:
    x = torch.randn(1, 2, 6, 9, generator=generator)

    y = pooling_layer("avg", 3, 2, 1)(x)

    torch.testing.assert_close(y[..., 0, 0], x[..., :2, :2].mean((-2, -1)))
    torch.testing.assert_close(y[..., 1, 1], x[..., 1:4, 1:4].mean((-2, -1)))
    torch.testing.assert_close(pooling_layer("avg")(x), avg_pool2d(x, 2))


def _published(encoder: FlowNetSEncoder) -> dict[str, Tensor]:
    """The encoder's weights under the names of FlowNetPytorch and its offspring."""
    names = {".conv.": ".0.", ".norm.": ".1."}
    state = {name: value for name, value in encoder.state_dict().items() if not name.endswith("beta")}
    return {name.replace(old, new): state[name] for name in state for old, new in names.items() if old in name}


def test_published_weights_of_flownets_enter_a_network_with_adapool() -> None:
    source, model = _encoder("stride", batch_norm=True), _deepvo("ada", batch_norm=True)
    nn.init.normal_(source.conv5.conv.weight)

    report = import_weights(model, {**_published(source), "predict_flow6.weight": torch.zeros(1)}, FLOWNETS)

    assert {name for name in report.kept if name.startswith("encoder.")} == {f"encoder.{name}" for name in BETAS}
    assert torch.equal(model.encoder.conv5.conv.weight, source.conv5.conv.weight)
    assert len(report.matched) == len(_published(source))


def test_published_weights_of_deepvo_enter_a_network_with_adapool() -> None:
    model, source = _deepvo("ada", batch_norm=True), _deepvo("stride", batch_norm=True)
    rest = {name: value for name, value in source.state_dict().items() if name.startswith("rnn.")}
    rest |= {f"linear.{name}": value for name, value in source.head.state_dict().items()}

    report = import_weights(model, {**_published(source.encoder), **rest}, CHIWEIHSIAO)

    assert {name for name in report.kept if name.startswith("encoder.")} == {f"encoder.{name}" for name in BETAS}
    assert len(report.matched) == len(_published(source.encoder)) + len(rest)


def test_an_unknown_way_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", "-c", "smoke_deepvo.yaml", "--model.net.init_args.pool", "mean")

    line = complaint(capsys, *words)
    assert "pool" in line
    assert "mean" in line
    assert "edscw" in line
    with pytest.raises(Vo3dError, match="pool='mean' is unknown: expected one of stride, max, avg, ada, soft"):
        check_pool("mean")


def test_a_stride_is_no_layer() -> None:
    with pytest.raises(Vo3dError, match=r"leaves the halving to a convolution.*expected one of max, avg, ada"):
        pooling_layer("stride")


def test_the_experiment_with_adapool_trains_and_moves_its_betas(tmp_path: Path) -> None:
    net, little = "--model.net.init_args.", {"frames": 6, "size": "[32,64]", "clip_length": 3, "cache": "false"}
    configs = ("deepvo_rendered.yaml", "pool_ada.yaml", "optim_adam.yaml", "trainer_cpu.yaml")
    words = ["fit", *(word for name in configs for word in ("-c", name))]
    words += [f"{net}size", "[32,64]", f"{net}width", "0.0625", f"{net}hidden", "16", "--data.batch_size", "2"]
    for split in ("train", "val", "test"):
        words += ["--data." + split + ".init_args.seeds", "[0]"]
        words += [word for name, v in little.items() for word in (f"--data.{split}.init_args.{name}", str(v))]

    assert main([*words, "--trainer.max_steps", "2", "--trainer.log_every_n_steps", "1", "--out", str(tmp_path)]) == 0

    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["model"]["net"]["init_args"]["pool"] == "ada"
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    betas = {name: value for name, value in stored["state_dict"].items() if name.endswith(".beta")}
    assert stored["global_step"] == 2
    assert set(betas) == {f"net.encoder.{name}" for name in BETAS}
    assert all(beta != 0.5 for beta in betas.values())

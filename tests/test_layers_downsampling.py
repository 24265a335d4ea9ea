"""Ways to halve a map: equal sizes, names and gradients in the encoders, and what torch computes by hand."""

from typing import get_args

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu, max_pool2d

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.layers.downsampling import Pool, check_pool, pooling_layer
from vo3d.layers.flownet import LAYERS, FlowNetSEncoder
from vo3d.models.deepvo import DeepVO
from vo3d.sample import Sample

from checks import complaint

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
    sample = Sample(image=image, K=torch.eye(3).expand(2, 3, 3, 3), world_T_cam=steps)

    torch.stack(list(model.loss(model(sample), sample).values())).sum().backward()

    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_pool
@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_have_one_name_and_one_start_whatever_pools(pool: Pool, batch_norm: bool) -> None:
    strided, encoder = _encoder("stride", batch_norm).state_dict(), _encoder(pool, batch_norm).state_dict()

    assert set(encoder) - set(strided) == (BETAS if pool == "ada" else set())
    assert all(torch.equal(encoder[name], value) for name, value in strided.items())


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


def test_an_unknown_way_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", "-c", "smoke_deepvo.yaml", "--model.net.init_args.pool", "mean")

    line = complaint(capsys, *words)
    assert "pool" in line
    assert "mean" in line
    assert "avg" in line
    with pytest.raises(Vo3dError, match="pool='mean' is unknown: expected one of stride, max, avg"):
        check_pool("mean")


def test_a_stride_is_no_layer() -> None:
    with pytest.raises(Vo3dError, match=r"leaves the halving to a convolution.*expected one of max, avg"):
        pooling_layer("stride")

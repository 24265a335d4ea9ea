"""The layers of the AdaPool family: beta in all its forms, and layers that share nothing."""

import copy
import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vo3d import layers
from vo3d.errors import Vo3dError

SINGLE = ("EDSCWPool", "IDWPool", "EMPool")
AXES = (1, 2, 3)
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# Layers are their functions


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("name", SINGLE)
def test_a_layer_is_its_function(name: str, axes: int) -> None:
    layer, function = getattr(layers, f"{name}{axes}d"), getattr(layers, f"{name.lower()}{axes}d")
    x = noise(2, 3, *(7, 6, 5)[:axes])
    torch.testing.assert_close(layer()(x), function(x), rtol=0, atol=0)
    options = {"padding": 1, "ceil_mode": True, "gradient": "exact"}
    y, mask = layer(3, 2, True, False, **options)(x)
    expected, weights = function(x, 3, 2, True, False, **options)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    torch.testing.assert_close(mask.fused(), weights.fused(), rtol=0, atol=0)
    torch.testing.assert_close(layer()(x[0]), function(x[0]), rtol=0, atol=0)


@pytest.mark.parametrize("axes", AXES)
def test_adapool_takes_its_arguments_in_the_published_order(axes: int) -> None:
    layer = getattr(layers, f"AdaPool{axes}d")
    names = ["kernel_size", "beta", "stride", "beta_trainable", "return_mask", "device", "dtype", "native"]
    assert list(inspect.signature(layer).parameters)[:8] == names
    x, size = noise(2, 3, *(7, 6, 5)[:axes]), (3, 2, 2)[:axes]
    beta = torch.rand(size, generator=torch.Generator().manual_seed(1))
    y, mask = layer(3, beta, 2, False, True, "cpu", torch.float64, False)(x)
    expected = getattr(layers, f"adapool{axes}d")(x, beta.double(), 3, 2)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    torch.testing.assert_close(mask.beta, beta.double(), rtol=0, atol=0)


def test_second_names_and_help() -> None:
    for axes in AXES:
        assert getattr(layers, f"SoftPool{axes}d") is getattr(layers, f"EMPool{axes}d")
        assert getattr(layers, f"AdaUnPool{axes}d") is getattr(layers, f"AdaUnpool{axes}d")
        for name in ("AdaPool", "EDSCWPool", "IDWPool", "EMPool", "AdaUnpool"):
            layer = getattr(layers, f"{name}{axes}d")
            assert {1: "(B, C, L)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}[axes] in layer.__doc__
            assert "Args:" in layer.__init__.__doc__


def test_a_layer_shows_what_it_was_given() -> None:
    shown = repr(layers.AdaPool2d(2, beta=(3, 4), padding=1, similarity="l2", resize_beta=True))
    assert shown == (
        "AdaPool2d(kernel_size=(2, 2), stride=(2, 2), padding=1, similarity='l2', beta (3, 4), "
        "parametrisation='clamp', resize_beta=True)"
    )
    assert "fixed beta ()" in repr(layers.AdaPool1d(2, beta=0.5, beta_trainable=False))
    assert repr(layers.SoftPool2d(3, 2, native=True)) == "EMPool2d(kernel_size=(3, 3), stride=(2, 2), native=True)"


# Beta


@pytest.mark.parametrize("trainable", [True, False])
def test_beta_is_a_parameter_or_a_buffer(trainable: bool) -> None:
    # published: beta_trainable=False raises TypeError, always
    given = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    layer = layers.AdaPool2d(2, given, beta_trainable=trainable)
    assert [name for name, _ in layer.named_parameters()] == ["beta"] * trainable
    assert [name for name, _ in layer.named_buffers()] == ["beta"] * (not trainable)
    assert list(layer.state_dict()) == ["beta"]
    x = noise(1, 2, 4, 6, dtype=torch.float32)
    expected = layer(x).detach()
    given.zero_()  # the layer has its own copy
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
    other = layers.AdaPool2d(2, (2, 3), beta_trainable=not trainable)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x), expected, rtol=0, atol=0)


def test_random_beta_has_no_mass_at_the_ends() -> None:
    # published: a normal distribution cut off at 0 and 1, which makes half of beta 0 and a sixth 1
    torch.manual_seed(0)
    beta = layers.AdaPool2d(2, (100, 100)).shares()
    assert ((beta > 0) & (beta < 1)).all()
    assert beta.mean().item() == pytest.approx(0.5, abs=0.02)
    assert beta.var().item() == pytest.approx(1 / 12, abs=0.005)


def test_clamped_beta_acts_clamped_and_its_gradient_passes_outside() -> None:
    # published: the clamp has no effect, so that beta leaves [0, 1] and the blend with it
    x, dy = noise(2, 3, 4, 8), noise(2, 3, 2, 4, seed=1)
    beta = torch.tensor([[-3.0, 0.0, 0.2, 1.0], [1.7, 1e8, -1e-9, 0.7]], dtype=torch.float64)
    layer = layers.AdaPool2d(2, beta)
    inside = layer.beta.detach().clamp(0, 1)
    torch.testing.assert_close(layer.shares().detach(), inside, rtol=0, atol=0)
    torch.testing.assert_close(layer(x), layers.adapool2d(x, inside), rtol=0, atol=0)
    layer(x).backward(dy)
    expected = (dy * (layers.edscwpool2d(x) - layers.empool2d(x))).sum((0, 1))
    torch.testing.assert_close(layer.beta.grad, expected)
    assert (expected != 0).all()


def test_a_beta_that_left_its_range_comes_back() -> None:
    x = noise(4, 3, 6, 6).abs()
    wanted = layers.adapool2d(x, 0.4)
    layer = layers.AdaPool2d(2, torch.tensor(1.5, dtype=torch.float64))
    slope = (layers.edscwpool2d(x) - layers.empool2d(x)).square().mean().item()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.2 / slope)
    for _ in range(30):
        optimiser.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimiser.step()
    assert layer.beta.item() == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("axes", AXES)
def test_sigmoid_stores_logits(axes: int) -> None:
    values = torch.rand((2, 3, 2)[:axes], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = getattr(layers, f"AdaPool{axes}d")(2, values, parametrisation="sigmoid")
    torch.testing.assert_close(layer.shares().detach(), values)
    torch.testing.assert_close(layer.beta.detach().sigmoid(), values)
    ends = layers.AdaPool2d(2, torch.tensor([[0.0, 1.0]]), parametrisation="sigmoid")
    assert ends.beta.isfinite().all()
    torch.testing.assert_close(ends.shares().detach(), torch.tensor([[0.0, 1.0]]), rtol=0, atol=1e-6)
    layer.beta.data.mul_(100)
    assert ((layer.shares() >= 0) & (layer.shares() <= 1)).all()


def test_without_parametrisation_beta_is_what_it_is() -> None:
    x = noise(1, 2, 4, 4)
    layer = layers.AdaPool2d(2, torch.tensor(1.5), parametrisation="none")
    torch.testing.assert_close(layer(x), 1.5 * layers.edscwpool2d(x) - 0.5 * layers.empool2d(x))


# Several sizes


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("parametrisation", ["clamp", "sigmoid"])
def test_beta_is_resized_to_the_output(axes: int, parametrisation: str) -> None:
    layer, pool = getattr(layers, f"AdaPool{axes}d"), getattr(layers, f"adapool{axes}d")
    beta = torch.rand((3, 4, 2)[:axes], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tied = layer(2, beta, parametrisation=parametrisation)
    free = layer(2, beta, parametrisation=parametrisation, resize_beta=True)
    for size in ((7, 8, 5), (6, 4, 4), (12, 20, 9), (2, 3, 2)):
        x = noise(2, 3, *size[:axes])
        out = tuple(extent // 2 for extent in size[:axes])
        if out == beta.shape:
            torch.testing.assert_close(free(x), tied(x), rtol=0, atol=0)
        else:
            with pytest.raises(Vo3dError, match="resize_beta=True"):
                tied(x)
        resized = functional.interpolate(beta[None, None], size=out, mode=MODES[axes], align_corners=False)[0, 0]
        torch.testing.assert_close(free(x), pool(x, resized))
        torch.testing.assert_close(free(x[0]), free(x)[0])
        free.zero_grad()
        free(x).square().sum().backward()
        assert free.beta.grad.shape == beta.shape
        assert free.beta.grad.abs().sum() > 0


def test_one_value_serves_every_size() -> None:
    for beta in (0.5, 1.0, torch.tensor(0.5), torch.full((1, 1), 0.5)):
        layer = layers.AdaPool2d(2, beta)
        for size in ((4, 4), (9, 5), (30, 2)):
            x = noise(1, 2, *size)
            torch.testing.assert_close(layer(x), layers.adapool2d(x, float(beta)), rtol=0, atol=0)


# Layers share nothing


def test_two_layers_at_once_keep_their_masks() -> None:
    # published: masks are attributes of a class that all layers share, and IDW looks for its own in another class
    x = noise(3, 4, 6, 6)
    one, two, three = (
        layers.AdaPool2d(2, 0.2, return_mask=True),
        layers.IDWPool2d(3, return_mask=True),
        layers.EDSCWPool2d(2, return_mask=True),
    )
    (_, first), (_, second), (_, third) = one(x), two(x), three(-x.flip(0))
    alone = [layer(values)[1].fused() for layer, values in ((one, x), (two, x), (three, -x.flip(0)))]
    for mask, expected in zip((first, second, third), alone, strict=True):
        torch.testing.assert_close(mask.fused(), expected, rtol=0, atol=0)
    assert (first.kernel, second.kernel) == ((2, 2), (3, 3))
    assert first.edscw is not third.edscw


def test_threads_do_not_disturb_each_other() -> None:
    layer = layers.AdaPool2d(2, 0.3, return_mask=True)
    inputs = [noise(2, 3, 8, 8, seed=seed) for seed in range(16)]
    expected = [layer(x) for x in inputs]
    with ThreadPoolExecutor(4) as threads:
        for (y, mask), (y_alone, mask_alone) in zip(threads.map(layer, inputs), expected, strict=True):
            torch.testing.assert_close(y, y_alone, rtol=0, atol=0)
            torch.testing.assert_close(mask.fused(), mask_alone.fused(), rtol=0, atol=0)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])  # noqa: S301
def test_copies_are_equal_and_apart(twin: Callable[[Any], Any]) -> None:
    x = noise(2, 3, 4, 6, dtype=torch.float32)
    mask = layers.adapool2d(x, 0.3, return_mask=True)[1]
    for layer, values in (
        (layers.AdaPool2d(2, (2, 3), padding=0, gradient="exact"), x),
        (layers.AdaPool2d(2, 0.5, beta_trainable=False, parametrisation="sigmoid"), x),
        (layers.SoftPool2d(2), x),
        (layers.AdaUnpool2d(mask, normalise="mean"), x[..., ::2, ::2]),
    ):
        other = twin(layer)
        torch.testing.assert_close(other(values), layer(values), rtol=0, atol=0)
        assert repr(other) == repr(layer)
        if hasattr(other, "beta"):
            other.beta.data.add_(0.25)
            assert (other(values) != layer(values)).any()


# Devices and precisions


def test_layers_on_the_meta_device() -> None:
    layer = layers.AdaPool2d(2, (2, 3), device="meta")
    assert layer.beta.is_meta
    assert layer(torch.empty(2, 3, 4, 6, device="meta")).shape == (2, 3, 2, 3)
    y, mask = layers.IDWPool3d(2, return_mask=True)(torch.empty(1, 1, 4, 4, 4, device="meta"))
    assert layers.adaunpool(y, mask).shape == (1, 1, 4, 4, 4)
    layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert ((layer.beta > 0) & (layer.beta < 1)).all()
    state = {"beta": torch.full((2, 3), 0.25)}
    late = layers.AdaPool2d(2, (2, 3), device="meta")
    late.load_state_dict(state, assign=True)
    x = noise(1, 2, 4, 6, dtype=torch.float32)
    torch.testing.assert_close(late(x), layers.adapool2d(x, 0.25))


@pytest.mark.parametrize("parametrisation", ["clamp", "sigmoid", "none"])
def test_layers_start_anew(parametrisation: str) -> None:
    layer = layers.AdaPool2d(2, 0.75, parametrisation=parametrisation)
    layer.beta.data.fill_(-9.0)
    layer.reset_parameters()
    assert layer.shares().item() == pytest.approx(0.75)
    many = layers.AdaPool1d(2, (50,), parametrisation=parametrisation)
    before = many.shares().detach().clone()
    many.reset_parameters()
    assert ((many.shares() > 0) & (many.shares() < 1)).all()
    assert (many.shares() != before).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_layers_change_precision(dtype: torch.dtype) -> None:
    x = noise(2, 3, 4, 6).to(dtype)
    layer = layers.AdaPool2d(2, (2, 3))
    mixed = layer(x)  # beta in float32
    assert mixed.dtype == dtype
    assert layer.to(dtype).beta.dtype == dtype
    torch.testing.assert_close(layer(x), mixed, rtol=0.02, atol=0.02)
    assert layers.AdaPool2d(2, (2, 3), dtype=dtype).beta.dtype == dtype
    unpool = layers.AdaUnpool2d(layers.adapool2d(x.float(), 0.5, return_mask=True)[1]).to(dtype)
    assert (unpool.mask.edscw.dtype, unpool.mask.em.dtype, unpool(mixed).dtype) == (dtype, dtype, dtype)


# Unpooling as a layer


@pytest.mark.parametrize("axes", AXES)
def test_unpooling_layers(axes: int) -> None:
    # published: the constructor refers to names that do not exist, and interpolate is not passed on
    x = noise(2, 3, *(4, 6, 2)[:axes])
    y, mask = getattr(layers, f"adapool{axes}d")(x, 0.4, return_mask=True)
    layer = getattr(layers, f"AdaUnpool{axes}d")
    torch.testing.assert_close(layer(mask)(y), layers.adaunpool(y, mask), rtol=0, atol=0)
    torch.testing.assert_close(layer()(y, mask), layers.adaunpool(y, mask), rtol=0, atol=0)
    torch.testing.assert_close(layer(mask, False)(x), layers.adaunpool(x, mask, False), rtol=0, atol=0)
    larger = tuple(extent + 3 for extent in x.shape[2:])
    torch.testing.assert_close(
        layer(mask, normalise="mean", output_size=larger)(y),
        layers.adaunpool(y, mask, normalise="mean", output_size=larger),
        rtol=0,
        atol=0,
    )
    torch.testing.assert_close(layer((mask.edscw, mask.em, 0.4))(y), layers.adaunpool(y, mask))
    assert list(layer(mask).state_dict()) == []


def test_the_layer_knows_its_axes_where_tensors_do_not() -> None:
    y, weights = noise(3, 2, 4), noise(3, 4, 8).sigmoid()  # channels and two axes, or batch, channels and one
    as_map = layers.AdaUnpool2d(weights)(y)
    torch.testing.assert_close(as_map, layers.adaunpool(y[None], weights[None])[0], rtol=0, atol=0)
    assert as_map.shape == (3, 4, 8)
    with pytest.raises(Vo3dError, match="does not fit"):
        layers.AdaUnpool1d(weights)(y)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: layers.AdaPool2d(2), "AdaPool2d: beta is missing: give a number in [0, 1], a tensor of values, or a"),
        (lambda: layers.AdaPool2d(2, 28.0), "AdaPool2d: found beta 28.0, expected a number in [0, 1]; a size"),
        (lambda: layers.AdaPool2d(2, (4,)), "AdaPool2d: found (4,) as the size of beta, expected 2 whole"),
        (lambda: layers.AdaPool3d(2, torch.rand(2, 2)), "AdaPool3d: found a beta of shape (2, 2) and torch.float32"),
        (lambda: layers.AdaPool2d(2, torch.ones(2, 2).int()), "found a beta of shape (2, 2) and torch.int32"),
        (lambda: layers.AdaPool2d(2, (2, 2), dtype=torch.int64), "AdaPool2d: found dtype torch.int64 for beta"),
        (lambda: layers.AdaPool2d(2, 0.5, parametrisation="tanh"), "'tanh' is unknown: expected one of clamp, sigmoid"),
        (lambda: layers.AdaPool2d(2, 0.5, similarity="pce"), "AdaPool2d: similarity 'pce' compares vectors"),
        (lambda: layers.SoftPool2d(2, padding=2), "EMPool2d: found padding 2 for kernel_size 2, expected at most"),
        (lambda: layers.SoftPool2d(2)(torch.zeros(1, 1, 1, 4)), "the kernel (2, 2) is larger than the input, (1, 4)"),
        (lambda: layers.AdaPool2d(2, (2, 3))(torch.zeros(1, 1, 9, 9)), "AdaPool2d: found a beta of shape (2, 3)"),
        (lambda: layers.AdaPool2d(2, (2, 3), resize_beta=True)(torch.zeros(9)), "found an input of shape (9,)"),
        (lambda: layers.AdaUnpool2d()(torch.zeros(1, 1, 2, 2)), "AdaUnpool2d: there is no mask: give one to the"),
        (lambda: layers.AdaUnpool2d(normalise="max"), "AdaUnpool2d: normalise 'max' is unknown: expected one of sum"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(call: Callable[[], Any], line: str) -> None:
    with pytest.raises(Vo3dError) as error:
        call()
    assert line in str(error.value)
    assert "\n" not in str(error.value)

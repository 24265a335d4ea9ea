"""Starting weights: their variances by sampling, what they do to signals, and that nothing is left out unsaid."""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.layers.initialisation import initialise
from vo3d.models.deepvo import DeepVO
from vo3d.models.mvsnet import MVSNet
from vo3d.models.rmvsnet import RMVSNet

SCHEMES = ("kaiming", "xavier", "orthogonal", "normal")
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)

# layer, products that an output sums, products that an input goes into
LAYERS = [
    (nn.Linear(300, 200), 300, 200),
    (nn.Conv2d(30, 50, 5, stride=2), 30 * 25, 50 * 25),
    (nn.Conv3d(16, 24, 3), 16 * 27, 24 * 27),
    (nn.Conv2d(32, 64, 3, groups=4), 8 * 9, 16 * 9),
    (nn.ConvTranspose2d(64, 32, 4, stride=2), 64 * 16 / 4, 32 * 16),
    (nn.ConvTranspose3d(40, 16, 3, stride=2), 40 * 27 / 8, 16 * 27),
]
every_layer = pytest.mark.parametrize(("layer", "inputs", "outputs"), LAYERS, ids=lambda value: type(value).__name__)


@every_layer
def test_variances_are_those_of_the_papers(layer: nn.Module, inputs: float, outputs: float) -> None:
    torch.manual_seed(0)
    weight = layer.get_parameter("weight")
    for scheme, variance in (("kaiming", 2 / inputs), ("xavier", 2 / (inputs + outputs)), ("normal", 1e-4)):
        assert initialise(layer, scheme) == ()
        # of n numbers: five deviations of the estimate, which is widest for the normal distribution
        spread = 5 * sqrt(2 / weight.numel())
        assert weight.var().item() == pytest.approx(variance, rel=spread)
        assert weight.mean().item() == pytest.approx(0, abs=5 * sqrt(variance / weight.numel()))
        bound = sqrt(3 * variance)
        assert (weight.abs().max().item() <= bound * (1 + 1e-6)) == (scheme == "xavier")


@every_layer
def test_orthogonal_matrices_are_orthogonal(layer: nn.Module, inputs: float, outputs: float) -> None:
    initialise(layer, "orthogonal")
    matrix = layer.get_parameter("weight").flatten(1)
    product = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, torch.eye(len(product)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [nn.Conv2d(64, 64, 3), nn.ConvTranspose2d(64, 64, 4, stride=2), nn.Linear(500, 500)])
def test_kaiming_keeps_the_mean_square_through_rectifiers(layer: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64, 24, 24) if not isinstance(layer, nn.Linear) else torch.randn(200, 500)
    initialise(layer, "kaiming")
    with torch.no_grad():
        y = layer(x.relu())
    inner = y[..., 4:-4, 4:-4] if y.ndim == 4 else y  # away from the border, where sums are shorter
    # a rectified unit normal has mean square 1/2, and the layer's output again mean square 1
    assert inner.square().mean().item() == pytest.approx(1, rel=0.1)


@every_scheme
def test_channels_last_weights_are_drawn_too_and_stay_so(scheme: str) -> None:
    layer = nn.Conv3d(4, 8, 3).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    before = layer.weight.clone()
    initialise(layer, scheme)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not torch.equal(layer.weight, before)


@every_scheme
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_gates_are_drawn_one_by_one(scheme: str, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layer = kind(80, 60)
    assert initialise(layer, scheme) == ()
    for name, parameter in layer.named_parameters():
        if "weight" not in name:
            continue
        for gate in parameter.split(60):
            if scheme == "orthogonal":
                torch.testing.assert_close(gate @ gate.T, torch.eye(60), rtol=0, atol=1e-5)
                continue
            inputs = gate.shape[1]
            variance = {"kaiming": 1 / inputs, "xavier": 2 / (inputs + 60), "normal": 1e-4}[scheme]
            assert gate.var().item() == pytest.approx(variance, rel=5 * sqrt(2 / gate.numel()))


def test_forget_gates_begin_open_and_other_biases_at_zero() -> None:
    layer = nn.LSTM(5, 4, num_layers=2, bidirectional=True, proj_size=3)
    assert initialise(layer, "xavier") == ()
    biases = {name: value for name, value in layer.named_parameters() if "bias" in name}
    assert len(biases) == 8
    for name, value in biases.items():
        expected = torch.zeros(16)
        if "_hh_" in name:
            expected[4:8] = 1
        assert torch.equal(value, expected), name
    assert all(value.abs().sum() == 0 for name, value in nn_gru_biases().items())


def nn_gru_biases() -> dict[str, Tensor]:
    """Of a GRU, which has no forget gate."""
    layer = nn.GRU(5, 4)
    initialise(layer, "xavier")
    return {name: value for name, value in layer.named_parameters() if "bias" in name}


@every_scheme
@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(6), nn.BatchNorm3d(6), nn.GroupNorm(2, 6), nn.LayerNorm(6), nn.InstanceNorm2d(6, True)]
)
def test_norms_begin_bare_and_keep_their_buffers(scheme: str, norm: nn.Module) -> None:
    for tensor in norm.state_dict().values():
        tensor.fill_(3)
    assert initialise(nn.Sequential(norm), scheme) == ()
    assert all((value == (1 if name == "weight" else 0)).all() for name, value in norm.named_parameters())
    assert all((value == 3).all() for value in norm.buffers())


MODELS = {
    "deepvo": (lambda: DeepVO(size=(64, 64), width=1 / 16, hidden=8), set()),
    "deepvo_ada": (
        lambda: DeepVO(size=(64, 64), width=1 / 16, hidden=8, batch_norm=True, pool="ada"),
        {f"encoder.conv{name}.pool.beta" for name in ("1", "2", "3", "4", "5", "6")},
    ),
    "mvsnet": (lambda: MVSNet(num_depths=8, refine=True), set()),
    "mvsnet_ada": (lambda: MVSNet(num_depths=8, pool="ada"), {"features.conv2_pool.beta", "features.conv5_pool.beta"}),
    "rmvsnet": (lambda: RMVSNet(num_depths=8), set()),
}


@every_scheme
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_a_model_is_set_or_named(scheme: str, name: str) -> None:
    build, left = MODELS[name]
    model = build()
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)

    assert set(initialise(model, scheme)) == left

    same = {key for key, value in model.named_parameters() if (value == 7).all()}
    assert same == left
    assert not any((value == 7).any() for key, value in model.named_parameters() if key not in left)
    assert all(torch.equal(value, buffers[key]) for key, value in model.named_buffers())


def test_a_shared_weight_is_drawn_once() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    torch.manual_seed(0)
    initialise(nn.Sequential(first, second), "normal")
    torch.manual_seed(0)
    expected = 0.01 * torch.randn(4, 4)
    torch.testing.assert_close(first.weight.detach(), expected)


def test_the_seed_decides_and_an_unknown_scheme_is_refused() -> None:
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    for layer in (one, other):
        torch.manual_seed(5)
        initialise(layer, "kaiming")
    assert torch.equal(one.weight, other.weight)
    with pytest.raises(Vo3dError, match="'he' is unknown: expected one of kaiming, xavier, orthogonal, normal"):
        initialise(one, "he")

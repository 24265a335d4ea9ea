"""The running mean against the mean of everything seen, in training and evaluation, and through its state dict."""

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.layers.running_mean import RunningMean


def _batches(generator: torch.Generator) -> list[torch.Tensor]:
    return [3 + torch.randn(b, 4, 5, 2, generator=generator, dtype=torch.float64) for b in (2, 7, 1)]


def test_it_is_the_mean_of_all_values(generator: torch.Generator) -> None:
    layer, batches = RunningMean(4).double(), _batches(generator)
    for seen, batch in enumerate(batches, start=1):
        y = layer(batch)
        for feature in range(4):
            values = [float(v) for b in batches[:seen] for v in b[:, feature].flatten()]
            mean = sum(values) / len(values)
            assert layer.mean[feature].item() == pytest.approx(mean, rel=1e-12)
            torch.testing.assert_close(y[:, feature], batch[:, feature] - mean)
    assert layer.count.item() == 10 * 10


def test_with_momentum_it_forgets(generator: torch.Generator) -> None:
    layer, batches = RunningMean(4, momentum=0.1).double(), _batches(generator)
    mean = batches[0].mean((0, 2, 3))
    for batch in batches[1:]:
        mean = 0.9 * mean + 0.1 * batch.mean((0, 2, 3))
    for batch in batches:
        layer(batch)
    torch.testing.assert_close(layer.mean, mean)


def test_evaluation_changes_nothing(generator: torch.Generator) -> None:
    layer, batches = RunningMean(4).double(), _batches(generator)
    layer(batches[0])
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    y = layer.eval()(batches[1])
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    torch.testing.assert_close(y, batches[1] - before["mean"].reshape(1, 4, 1, 1))


def test_a_state_dict_goes_on_where_another_ended(generator: torch.Generator) -> None:
    layer, batches = RunningMean(4).double(), _batches(generator)
    layer(batches[0])
    other = RunningMean(4).double()
    other.load_state_dict(layer.state_dict())
    for batch in batches[1:]:
        assert torch.equal(layer(batch), other(batch))
    assert set(layer.state_dict()) == {"mean", "count"}
    assert list(layer.parameters()) == []


def test_gradients_pass_as_through_a_constant(generator: torch.Generator) -> None:
    layer = RunningMean(4)
    x = torch.randn(3, 4, generator=generator, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * (x - layer.mean).detach())
    assert not layer.mean.requires_grad


def test_it_moves_to_another_device_and_takes_half_precision() -> None:
    layer = RunningMean(4).to("meta")
    assert layer(torch.empty(2, 4, 3, device="meta")).is_meta
    assert layer.mean.is_meta
    assert RunningMean(4)(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("arguments", [(0,), (4, 0.0), (4, 1.5)])
def test_arguments_out_of_range_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(Vo3dError, match="expected at least 1"):
        RunningMean(*arguments)


def test_other_features_are_refused() -> None:
    with pytest.raises(Vo3dError, match=r"got \(2, 5\): expected \(b, 4, \.\.\.\)"):
        RunningMean(4)(torch.ones(2, 5))

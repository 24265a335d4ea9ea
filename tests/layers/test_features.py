"""Outputs of inner layers: those that the layers give by themselves, and no hook stays behind."""

import pytest
import torch
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.layers.features import features
from vo3d.models.deepvo import DeepVO
from vo3d.models.mvsnet import MVSNet
from vo3d.sample import Sample


def _deepvo() -> tuple[DeepVO, Sample]:
    torch.manual_seed(0)
    model = DeepVO(size=(64, 64), width=1 / 16, hidden=8).eval()
    return model, Sample(image=torch.rand(2, 3, 3, 64, 64), K=torch.eye(3).expand(2, 3, 3, 3))


def _hooks(model: nn.Module) -> int:
    return sum(len(layer._forward_hooks) for layer in model.modules())


def test_features_are_the_outputs_of_the_layers() -> None:
    model, sample = _deepvo()

    with torch.no_grad(), features(model, ["encoder.conv1", "encoder", "encoder.conv1"]) as found:
        assert found == {}
        model(sample)

    x = (sample.image - model.image_mean) / model.image_std
    pairs = torch.cat((x[:, :-1], x[:, 1:]), dim=2).flatten(0, 1)
    assert list(found) == ["encoder.conv1", "encoder"]
    with torch.no_grad():
        torch.testing.assert_close(found["encoder.conv1"], model.encoder.conv1(pairs))
        torch.testing.assert_close(found["encoder"], model.encoder(pairs))


def test_they_have_gradients_and_nothing_else_changes() -> None:
    model, sample = _deepvo()
    expected = model(sample)["prev_T_cam"]

    with features(model, ["encoder.conv3"]) as found:
        prediction = model(sample)["prev_T_cam"]
    found["encoder.conv3"].sum().backward()

    assert torch.equal(prediction, expected)
    gradient = model.encoder.conv1.conv.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert model.head.weight.grad is None


def test_tuples_of_recurrent_layers_pass_through() -> None:
    model, sample = _deepvo()

    with torch.no_grad(), features(model, ["rnn"]) as found:
        model(sample)

    output, (hidden, cell) = found["rnn"]
    assert (output.shape, hidden.shape, cell.shape) == ((2, 2, 8), (2, 2, 8), (2, 2, 8))
    torch.testing.assert_close(output[:, -1], hidden[-1])


def test_of_several_runs_the_last_or_every_output_is_found() -> None:
    torch.manual_seed(0)
    model = MVSNet(num_depths=8).eval()
    poses = torch.eye(4).double().repeat(1, 3, 1, 1)
    sample = Sample(
        image=torch.rand(1, 3, 3, 32, 40),
        K=torch.tensor([[40.0, 0, 20], [0, 40, 16], [0, 0, 1]]).expand(1, 3, 3, 3),
        world_T_cam=poses,
        depth_range=torch.tensor([1.0, 2.0]).expand(1, 3, 2),
    )

    with torch.no_grad():
        with features(model, ["features"]) as last, features(model, ["features", "regulariser"], every=True) as all_:
            model(sample)
        each = [model.features(view) for view in sample.image.unbind(1)]

    assert torch.equal(last["features"], each[-1])
    assert len(all_["features"]) == 3
    assert len(all_["regulariser"]) == 1
    assert all(torch.equal(mine, other) for mine, other in zip(all_["features"], each, strict=True))


def test_hooks_are_removed_also_after_errors() -> None:
    model, _ = _deepvo()

    with features(model, ["encoder", "rnn"]):
        assert _hooks(model) == 2
    assert _hooks(model) == 0
    with pytest.raises(ZeroDivisionError), features(model, ["encoder", "rnn"]):
        raise ZeroDivisionError
    assert _hooks(model) == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("encoder.conv7", r"DeepVO has no layer 'encoder\.conv7': did you mean encoder\.conv"),
        ("quite another thing", r"no layer 'quite another thing': see model\.named_modules\(\)"),
    ],
)
def test_an_unknown_layer_is_told_with_names_like_it(name: str, told: str) -> None:
    model, _ = _deepvo()
    with pytest.raises(Vo3dError, match=told), features(model, ["encoder", name]):
        pass
    assert _hooks(model) == 0


def test_one_name_needs_no_list() -> None:
    model, sample = _deepvo()
    with torch.no_grad(), features(model, "encoder.conv1") as found:
        model(sample)
    assert list(found) == ["encoder.conv1"]


def test_a_layer_that_did_not_run_has_no_entry() -> None:
    model = nn.ModuleDict({"used": nn.ReLU(), "unused": nn.ReLU()})
    with features(model, ["used", "unused"]) as found:
        result: Tensor = model["used"](torch.tensor([-1.0, 2.0]))
    assert found == {"used": result}

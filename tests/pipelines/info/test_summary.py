"""Layers of models: multiply-adds against formulas, shapes against real passes, and every model and configuration."""

from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from checks import complaint
from places import ROOT
from tiny import TinyModel
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.model import Model
from vo3d.models.classic import ClassicOdometry
from vo3d.models.constant_motion import ConstantMotion
from vo3d.models.deepvo import DeepVO
from vo3d.models.mvsnet import MVSNet
from vo3d.models.plane_sweep import PlaneSweep
from vo3d.models.rmvsnet import RMVSNet
from vo3d.pipelines.info.overview import print_overview
from vo3d.pipelines.info.summary import Views, blank_sample, layers, summarise
from vo3d.sample import Sample

CONFIGS = [ROOT / "configs" / f"{name}.yaml" for name in ("deepvo_kitti", "mvsnet_dtu", "rmvsnet_dtu", "classic_kitti")]
META, CPU = torch.device("meta"), torch.device("cpu")
MODELS: dict[str, Callable[[], Model]] = {
    "DeepVO": partial(DeepVO, size=(64, 96), width=1 / 16, hidden=8),
    "DeepVO with AdaPool": partial(DeepVO, size=(64, 96), width=1 / 16, hidden=8, batch_norm=True, pool="ada"),
    "MVSNet": partial(MVSNet, num_depths=8, refine=True),
    "RMVSNet": partial(RMVSNet, num_depths=8),
    "PlaneSweep": partial(PlaneSweep, num_depths=8),
    "ConstantMotion": ConstantMotion,
    "ClassicOdometry": partial(ClassicOdometry, step=1.0),
    "TinyModel": TinyModel,
}


def by_hand(model: nn.Module, *inputs: object) -> int:
    """Multiply-adds of all layers that run, by the shapes of what goes in and comes out."""
    total = 0

    def add(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal total
        if isinstance(layer, nn.LSTM):
            batch, steps, _ = given[0].shape  # batch first
            for level in range(layer.num_layers):
                inputs = layer.input_size if level == 0 else layer.hidden_size
                total += batch * steps * 4 * layer.hidden_size * (inputs + layer.hidden_size)
        elif isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            assert isinstance(result, Tensor)
            # each value of the result is a sum over one row of the weight
            total += result.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
            # each value given goes into one row of the weight
            total += given[0].numel() * layer.weight[0].numel()

    handles = [layer.register_forward_hook(add) for layer in model.modules()]
    with torch.no_grad():
        model(*inputs)
    for handle in handles:
        handle.remove()
    return total


LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7), 3 * 7 * 5),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 8), 2 * 6 * 5 * 4 * 4 * 9),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (1, 4, 5, 5), 6 * 25 * 2 * 9),
    "conv3d": (lambda: nn.Conv3d(2, 3, 3, padding=1), (1, 2, 4, 5, 6), 3 * 120 * 2 * 27),
    "transposed": (lambda: nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), (2, 3, 6, 7), 2 * 3 * 42 * 5 * 16),
    "lstm": (lambda: nn.LSTM(6, 5, 2, batch_first=True), (2, 3, 6), 2 * 3 * 20 * (6 + 5 + 5 + 5)),
    "lstm, both ways": (lambda: nn.LSTM(6, 5, bidirectional=True), (3, 2, 6), 2 * 2 * 3 * 20 * 11),
    "gru": (lambda: nn.GRU(6, 5), (3, 2, 6), 2 * 3 * 15 * 11),
    "lstm cell": (lambda: nn.LSTMCell(6, 5), (2, 6), 2 * 20 * 11),
}


@pytest.mark.parametrize("device", [META, CPU], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_count_what_their_formulas_say(name: str, device: torch.device) -> None:
    build, shape, expected = LAYERS[name]
    layer = build().to(device)
    (found,) = layers(layer, torch.zeros(shape, device=device))
    assert found.multiply_adds == expected
    assert found.parameters == sum(prod(parameter.shape) for parameter in layer.parameters())
    assert found.calls == 1


@pytest.mark.parametrize("device", [META, CPU], ids=str)
def test_a_small_deepvo_is_the_sum_of_its_layers(device: torch.device) -> None:
    model = DeepVO(size=(64, 208), width=1 / 8, hidden=16).to(device).eval()
    sample = blank_sample(model.needs, Views(size=(64, 208), num=3), device)
    found = layers(model, sample)
    assert found[0].multiply_adds == by_hand(model, sample)
    parts = {layer.name: layer for layer in found}
    assert sum(parts[name].multiply_adds for name in ("encoder", "rnn", "head")) == found[0].multiply_adds
    assert parts["encoder.conv1"].output == "2x8x32x104"
    assert parts["rnn"].output == "1x2x16, 2x1x16, 2x1x16"
    # conv1: 2 pairs, 8 channels, 32 x 104 places, 6 channels in, 7 x 7
    assert parts["encoder.conv1"].multiply_adds == 2 * 8 * 32 * 104 * 6 * 49


@pytest.mark.parametrize("topology", ["port", "authors"])
def test_an_mvsnet_is_the_sum_of_its_layers_and_of_its_rays(topology: str) -> None:
    model = MVSNet(num_depths=8, topology=topology, refine=True).to(META).eval()  # type: ignore[arg-type]
    sample = blank_sample(model.needs, Views(size=(32, 40), num=3), META)
    found = layers(model, sample)
    parts = {layer.name: layer for layer in found}
    networks = parts["features"].multiply_adds + parts["regulariser"].multiply_adds + parts["refinement"].multiply_adds
    assert networks == by_hand(model, sample)
    assert parts["features"].calls == 3
    # beside the networks: rays of 8 x 10 pixels, the means over 8 depths; matrices of cameras, a handful each
    others = found[0].multiply_adds - networks
    assert 0 < others < 0.001 * found[0].multiply_adds


def test_a_recurrent_regulariser_counts_what_its_cells_do_without_their_layers() -> None:
    depths, rows, columns = 8, 8, 10
    _, _, found = summarise(MODELS["RMVSNet"], lambda model: Views(size=(32, 40), num=2))
    parts = {layer.name: layer for layer in found}
    for place, (inputs, hidden) in enumerate([(32, 16), (16, 4), (4, 2)]):
        cell = parts[f"regulariser.cells.{place}"]
        assert cell.multiply_adds == depths * rows * columns * 9 * 3 * hidden * (inputs + hidden)
        assert parts[f"{cell.name}.gates"].output == ""  # its weights are used, it is not called
    assert parts["regulariser.cells"].multiply_adds == sum(
        parts[f"regulariser.cells.{place}"].multiply_adds for place in range(3)
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_summary_of_its_parameters(name: str) -> None:
    model, views, found = summarise(MODELS[name], lambda model: Views(size=(64, 96), num=3))
    assert views.num == 3
    assert found[0].parameters == sum(parameter.numel() for parameter in model.parameters())
    assert [layer.name for layer in found] == [layer for layer, _ in model.named_modules()]
    assert all(key in found[0].output for key in model.gives)
    learns = found[0].parameters > 0
    assert learns == any(layer.multiply_adds > 0 for layer in found[1:])
    assert next(iter((*model.parameters(), *model.buffers())), torch.empty(0, device=META)).is_meta == (
        name != "ClassicOdometry"  # which needs values
    )


def test_meta_and_cpu_agree_about_every_layer() -> None:
    build, views = MODELS["MVSNet"], Views(size=(32, 40), num=2)
    _, _, found = summarise(build, lambda model: views)
    model = build().eval()
    assert layers(model, blank_sample(model.needs, views, CPU)) == found


def test_no_hook_stays_behind() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    layers(model, torch.zeros(1, 2))
    with pytest.raises(RuntimeError):
        layers(model, torch.zeros(1, 3))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_blank_sample_has_every_field_that_there_is() -> None:
    names = [name for name in Sample.__dataclass_fields__ if name != "scene"]
    sample = blank_sample(names, Views(size=(4, 6), num=2), CPU)
    assert set(sample.given()) == {*names, "scene"}
    assert sample.image.shape == (1, 2, 3, 4, 6)
    with pytest.raises(Vo3dError, match="the model needs sonar: a sample has image, K"):
        blank_sample(["sonar"], Views(size=(4, 6), num=2), CPU)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_with_a_model_has_a_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = () if "deepvo" in path.stem else ("--size", "32", "40")  # the sizes of the others are free
    assert main(["info", path.name, *size, "--depth", "1", "--views", "2"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "multiply-adds" in words
    assert "For one clip of 2 views (as asked)" in words


def test_the_papers_deepvo_needs_no_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "vo3d.models.deepvo.DeepVO", "--views", "2"]) == 0
    words = capsys.readouterr().out
    assert "518,154,550" in words
    assert "2,072.62 MB" in words
    # layer by layer: channels out, places, channels in, kernel; then the recurrent layers and the head
    convolutions = [
        *((64, 192 * 640, 6, 49), (128, 96 * 320, 64, 25), (256, 48 * 160, 128, 25), (256, 48 * 160, 256, 9)),
        *((512, 24 * 80, 256, 9), (512, 24 * 80, 512, 9), (512, 12 * 40, 512, 9), (512, 12 * 40, 512, 9)),
        (1024, 6 * 20, 512, 9),
    ]
    total = sum(map(prod, convolutions)) + 4000 * (1024 * 120 + 1000) + 4000 * 2000 + 6000
    assert f"{total:,}" in words


def test_depth_and_size_and_views_are_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    def table(*words: str) -> str:
        assert main(["info", *words]) == 0
        return " ".join(capsys.readouterr().out.split("MVSNet", 1)[1].split())

    named = ("--model", "vo3d.models.mvsnet.MVSNet", "--size", "32", "40", "--views", "2")
    whole, parts, more = (table(*named, "--depth", depth) for depth in "012")
    assert ("UniNet" in whole, "UniNet" in parts, "ConvBlock" in parts, "ConvBlock" in more) == (
        False,
        True,
        False,
        True,
    )
    assert "2 views (as asked) of 32 rows and 40 columns (as asked)" in whole
    assert table(named[1], *named[2:], "--depth", "1") == parts  # the first word needs no option
    told = table("mvsnet_tabletop.yaml", "--depth", "0")
    assert "3 views (of its data) of 160 rows and 192 columns (of its data)" in told
    assert "Needs image, K, world_T_cam, depth_range; gives depth 1x1x40x48," in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("deepvo_rendered.yaml", "--size", "64"), "size is 64: expected two numbers, rows and columns"),
        (("deepvo_rendered.yaml", "--size", "64", "96"), "DeepVO was built for frames of 64 rows and 208 columns"),
        (("deepvo_rendered.yaml", "--views", "0"), "0 views of 64 rows and 208 columns: expected at least 1 of each"),
        (("deepvo_rendered.yaml", "--views", "1"), "a motion lies between two frames but the clip has 1"),
        (("mvsnet_dtu.yaml", "--size", "0", "40"), "3 views of 0 rows and 40 columns: expected at least 1"),
        (("mvsnet_dtu.yaml", "--views", "1"), "one view: MVSNet needs at least 2"),
        (("mvsnet_dtu.yaml", "--depth", "-1"), "depth is -1"),
        (("nowhere",), "found 'nowhere', expected the path of a class"),
        (("runs/nowhere/best.ckpt",), "'runs/nowhere/best.ckpt' is no model: expected a class path"),
        (("",), "'' is no model: expected a class path"),
        (("--size", "64", "96", "--views", "2"), "size, views without a model"),
        (("--depth", "1"), "depth without a model"),
        (("mvsnet_dtu.yaml", "--weights", "mvsnet_tabletop"), "expected one of both"),
        (("deepvo_renderd.yaml",), "there is no configuration 'deepvo_renderd.yaml'"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert told in complaint(capsys, "info", *words)


def test_what_a_network_cannot_take_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Demanding(TinyModel):
        def forward(self, sample: Sample) -> dict[str, Tensor]:  # type: ignore[override]
            return {"prev_T_cam": sample.image.reshape(-1, 7)}

    with pytest.raises(Vo3dError, match=r"Demanding cannot take 2 views of 3 rows and 5 columns \(shape .*\): choose"):
        summarise(Demanding, lambda model: Views(size=(3, 5), num=2))
    with pytest.raises(Vo3dError, match="depth is -2"):
        print_overview("tiny.TinyModel", depth=-2)

"""SfM-Net: what its numbers mean, what its losses say of the truth, what it refuses, and a port's keys."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from samples import SIZE, make_sample
from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_weights, save_weights
from vo3d.geometry import rotations, se3
from vo3d.inference.pretrained import load_into
from vo3d.model import check_needs
from vo3d.models.sfmnet import SfMNet
from vo3d.models.sfmnet_networks import PIVOTS, Motions
from vo3d.sample import Sample

SMALL = {"size": SIZE, "channels": (8, 16, 16), "hidden": 16}


def _model(**arguments: object) -> SfMNet:
    torch.manual_seed(0)
    return SfMNet(**{**SMALL, **arguments})  # type: ignore[arg-type]


def _still(model: SfMNet) -> SfMNet:
    """The model with motions that are exactly the identity, whatever it sees."""
    with torch.no_grad():
        for _, last in model.motion.last_layers():
            last.weight.zero_()
    return model


def _said(rotation: Tensor, translation: Tensor, place: int) -> Motions:
    """What a motion network would say: (n m 3) each, with all of the pivot's share in one place."""
    pivot = torch.zeros(*rotation.shape[:2], PIVOTS[0] * PIVOTS[1])
    pivot[..., place] = 1
    return Motions(masks=torch.zeros(len(rotation), 3, *SIZE), rotation=rotation, translation=translation, pivot=pivot)


def _about(axis: str, angle: float) -> Tensor:
    s, c = math.sin(angle), math.cos(angle)
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return torch.tensor(rows[axis], dtype=torch.float32)


def test_it_has_the_parameters_of_the_specification() -> None:
    model = SfMNet(up="deconv")

    count = {name: sum(p.numel() for p in net.parameters()) / 1e6 for name, net in model.named_children()}

    assert round(count["structure"], 1) == 26.7
    assert round(count["motion"], 1) == 53.4


def test_motions_are_rotations_about_the_third_second_and_first_axis_without_the_pivot_added_back() -> None:
    sines = torch.tensor([0.1, -0.3, 0.2]).expand(1, 4, 3)
    translation = torch.tensor([0.5, 0.1, -0.4]).expand(1, 4, 3)
    model = _model(pivot_extent=(30.0, 20.0))
    place = 2 * PIVOTS[1] + 5

    motion = model._motions(_said(sines, translation, place))[0, 2]

    alpha, beta, gamma = (math.asin(sine) for sine in (0.1, -0.3, 0.2))
    R = _about("z", alpha) @ _about("y", beta) @ _about("x", gamma)
    pivot = torch.tensor([-30 + 60 * 5 / 29, -20 + 40 * 2 / 19, 1.0])
    torch.testing.assert_close(motion[:3, :3], R)
    torch.testing.assert_close(motion[:3, 3], torch.tensor([0.5, 0.1, -0.4]) - R @ pivot)


def test_angles_of_the_ports_are_shares_of_half_a_turn() -> None:
    numbers = torch.tensor([0.2, 0.0, 0.0]).expand(1, 4, 3)

    motion = _model(rotation="angles")._motions(_said(numbers, torch.zeros(1, 4, 3), 0))[0]

    torch.testing.assert_close(motion[0, :3, :3], _about("z", math.pi * math.tanh(0.2)))  # the camera
    torch.testing.assert_close(motion[1, :3, :3], _about("z", math.pi * 0.2))  # an object


@pytest.mark.parametrize("sine", [1.0, -1.0, 7.0])
def test_sines_at_their_bounds_have_finite_gradients(sine: float) -> None:
    sines = torch.full((1, 4, 3), sine, requires_grad=True)

    motion = _model()._motions(_said(sines, torch.zeros(1, 4, 3), 0))
    motion.square().sum().backward()

    assert sines.grad is not None
    assert sines.grad.isfinite().all()
    assert rotations.is_rotation(motion.detach()[..., :3, :3]).all()
    assert rotations.so3_log(motion.detach()[0, 0, :3, :3]).norm() > 1


def test_the_identity_gives_no_flow_and_a_perfect_warp() -> None:
    model, sample = _still(_model()).train(), make_sample()
    still = Sample(image=sample.image[:, :1].expand(-1, 3, -1, -1, -1).clone(), K=sample.K)

    prediction = model(still)
    terms = model.loss(prediction, still)

    assert prediction["flow"].abs().max() < 1e-3
    torch.testing.assert_close(prediction["prev_T_cam"], torch.eye(4).expand(2, 2, 4, 4), rtol=0, atol=1e-5)
    assert terms["photometric"] < 1e-5
    assert model.loss(prediction, sample)["photometric"] > 0.01  # other frames are not warped by nothing


def test_an_untrained_network_is_near_the_identity_with_masks_that_are_neither_full_nor_empty() -> None:
    prediction = _model().eval().predict(make_sample())

    assert prediction["flow"].norm(dim=2).median() < 2
    assert 0.2 < prediction["mask"].mean() < 0.8
    assert 0 < prediction["depth"].median() < 10


def test_both_orders_are_seen_in_training_and_one_in_use() -> None:
    model, sample = _model().eval(), make_sample(b=1, s=2)
    swapped = Sample(image=sample.image.flip(1), K=sample.K)

    there, back = model(sample)["aux"], model.predict(swapped)

    torch.testing.assert_close(there["flow"][:, 1:], back["flow"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(se3.inverse(there["next_T_cam"][:, 1:]), back["prev_T_cam"], rtol=1e-4, atol=1e-5)
    assert "aux" not in back


def test_pairs_are_seen_in_the_order_of_time_alone_until_their_share_of_the_training_is_over() -> None:
    model, sample = _model(swap_from=0.5).train(), make_sample()
    model.progress = 0.4
    alone = model(sample)
    model.progress = 0.5
    both = model(sample)

    assert alone["aux"]["flow"].shape[1] == 2
    assert both["aux"]["flow"].shape[1] == 4
    assert all(term.isfinite() for term in model.loss(alone, sample).values())
    assert model.eval()(sample)["aux"]["flow"].shape[1] == 4  # a validation is the same at all times


def test_the_world_is_static_until_masks_count() -> None:
    model, sample = _model(masks_from=0.5).train(), make_sample()
    with torch.no_grad():
        model.motion.objects["translation"].bias.add_(0.5)  # objects that move
    model.progress = 0.4
    static = model(sample)
    model.progress = 0.5
    moving = model(sample)

    assert static["aux"]["displacement"].abs().max() == 0
    assert moving["aux"]["displacement"].abs().max() > 0.1
    assert model.eval().predict(sample)["flow"].sub(static["flow"]).abs().max() > 0.1


def test_unknown_intrinsics_are_those_of_the_paper() -> None:
    sample = make_sample()
    h, w = SIZE
    K = torch.tensor([[w - 1, 0, (w - 1) / 2], [0, h - 1, (h - 1) / 2], [0, 0, 1]], dtype=torch.float32)
    model = _model(intrinsics="default").eval()
    assert model.needs == ("image",)

    alone = model.predict(Sample(image=sample.image))

    known = _model().eval().predict(Sample(image=sample.image, K=K.expand(2, 3, 3, 3)))
    torch.testing.assert_close(alone["flow"], known["flow"])
    with pytest.raises(Vo3dError, match="needs K: give the dataset intrinsics, or the model intrinsics: default"):
        _model().predict(Sample(image=sample.image))


def test_the_camera_s_supervision_is_zero_for_the_truth_and_else_metres_and_radians() -> None:
    model, sample = _still(_model(supervision="motion")).train(), make_sample(b=1, s=2)
    assert sample.world_T_cam is not None
    assert model.loss_needs == ("world_T_cam",)
    turn = se3.exp(torch.tensor([0.0, 0, 0, 0, 0.2, 0], dtype=torch.float64))
    shift = torch.eye(4, dtype=torch.float64)
    shift[2, 3] = 0.7

    def terms(step: Tensor) -> dict[str, Tensor]:
        poses = torch.stack((torch.eye(4, dtype=torch.float64), step))[None]
        posed = Sample(image=sample.image, K=sample.K, world_T_cam=poses)
        return model.loss(model(posed), posed)

    at_rest, turned, moved = terms(torch.eye(4, dtype=torch.float64)), terms(turn), terms(shift)

    assert at_rest["translation"] < 1e-5
    assert at_rest["rotation"] < 1e-5
    assert turned["rotation"].item() == pytest.approx(0.2, abs=1e-5)
    assert moved["translation"].item() == pytest.approx(0.7, abs=1e-5)


def test_depth_s_supervision_counts_what_is_measured() -> None:
    model, sample = _model(supervision="depth", depth=1.0).train(), make_sample()
    prediction = model(sample)
    truth = prediction["depth"].detach() + 2
    truth[..., :30] = 0
    truth[..., 0, 40] = 500.0  # beyond what the model can say

    term = model.loss(prediction, Sample(image=sample.image, K=sample.K, depth=truth))["depth"]

    assert term.item() == pytest.approx(2.0, abs=1e-4)


def test_the_masks_sharpen_with_progress_and_the_weights_keep_it(tmp_path: Path) -> None:
    model, sample = _model(sharpness=(1.0, 9.0)), make_sample()
    model.progress = 0.5
    model.train()(sample)
    assert model.sharpness.item() == pytest.approx(3.0)

    save_weights(tmp_path / "w.safetensors", model, {})
    other = SfMNet(**SMALL, sharpness=(1.0, 9.0))  # type: ignore[arg-type]
    load_weights(other, tmp_path / "w.safetensors")

    assert other.sharpness.item() == pytest.approx(3.0)
    assert torch.equal(other.eval().predict(sample)["mask"], model.eval().predict(sample)["mask"])


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_gradients_are_finite_for_masks_that_are_all_zero_or_all_one_and_without_motion(logit: float) -> None:
    model, sample = _still(_model()).train(), make_sample()
    with torch.no_grad():
        model.motion.mask_head.weight.zero_()
        model.motion.mask_head.bias.fill_(logit)

    prediction = model(sample)
    torch.stack(list(model.loss(prediction, sample).values())).sum().backward()

    assert prediction["mask"].float().mean().item() == pytest.approx({-1e4: 0, 0.0: 0.5, 1e4: 1}[logit])
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_for_black_and_white_frames(value: float) -> None:
    model, sample = _model(ssim_weight=0.85, scales=3).train(), make_sample()
    plain = Sample(image=torch.full_like(sample.image, value), K=sample.K)

    torch.stack(list(model.loss(model(plain), plain).values())).sum().backward()

    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_one_frame_and_frames_of_another_size_are_refused() -> None:
    sample = make_sample()
    assert sample.K is not None
    with pytest.raises(Vo3dError, match="one frame: SfMNet takes a pair apart"):
        _model().predict(Sample(image=sample.image[:, :1], K=sample.K[:, :1]))
    with pytest.raises(Vo3dError, match="built for frames of 64 rows and 96 columns but got 32 and 96"):
        _model().predict(Sample(image=sample.image[..., :32, :], K=sample.K))


def test_supervision_without_its_truth_is_refused() -> None:
    sample = Sample(image=make_sample().image, K=make_sample().K)
    for supervision, field in (("motion", "world_T_cam"), ("depth", "depth")):
        model = _model(supervision=supervision)
        with pytest.raises(Vo3dError, match=f"SfMNet needs {field}; the test gives image, K"):
            check_needs(model, sample, "the test", learning=True)
        with pytest.raises(Vo3dError, match=f"supervision: {supervision} needs {field}"):
            model.loss(model(sample), sample)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": (8,)}, "at least two channels"),
        ({"channels": (8, 18)}, "multiples of 4"),
        ({"num_masks": 0}, "at least 1"),
        ({"scales": 0}, "expected at least 1"),
        ({"scales": 7}, "at least 2 pixels at the last"),
        ({"min_depth": 3.0, "max_depth": 2.0}, "the first below the second"),
        ({"camera": -1.0}, "expected at least 0"),
        ({"ssim_weight": 2.0}, "of the last three at most 1"),
        ({"swap_from": -0.5}, "of the last three at most 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        _model(**arguments)


PORT = {
    "size": (64, 96),
    "channels": (4, 8, 8, 16, 16, 32),
    "hidden": 16,
    "camera_hidden": (12, 8),
    "up": "deconv",
    "rotation": "angles",
    "intrinsics": "default",
    "pivot_extent": (30.0, 20.0),
}


def _layer(name: str, layer: nn.Module, outputs: int) -> dict[str, Tensor]:
    """A convolution of the port with its normalisation, in its naming."""
    norm = nn.BatchNorm2d(outputs)
    kind = "conv_transpose" if isinstance(layer, nn.ConvTranspose2d) else "conv"
    return {
        **{f"{name}.{kind}.{key}": value for key, value in layer.state_dict().items()},
        **{f"{name}.batch_norm.{key}": value for key, value in norm.state_dict().items()},
    }


def _port(*, layers: bool) -> dict[str, Tensor]:
    """A state dict of the port, small, written from a description of its layers; `layers`: of its last commits."""
    torch.manual_seed(5)
    c = (4, 8, 8, 16, 16, 32)
    state: dict[str, Tensor] = {}
    for net, inputs in (("structure", 3), ("motion", 6)):
        state |= _layer(f"{net}.cd_net.c11", nn.Conv2d(inputs, c[0], 3), c[0])
        for stage in range(2, 7):
            before, after = c[stage - 2], c[stage - 1]
            state |= _layer(f"{net}.cd_net.c{stage}1", nn.Conv2d(before, after, 3), after)
            state |= _layer(f"{net}.cd_net.c{stage}2", nn.Conv2d(after, after, 3), after)
        features = c[5]
        for stage in range(5, 0, -1):
            state |= _layer(f"{net}.cd_net.u{stage}", nn.ConvTranspose2d(features, c[stage - 1], 3), c[stage - 1])
            features = 2 * c[stage - 1]

    def add(name: str, layer: nn.Module) -> None:
        state.update({f"{name}.{key}": value for key, value in layer.state_dict().items()})

    add("structure.depth", nn.Conv2d(8, 1, 1))
    add("motion.obj_mask", nn.Conv2d(8, 3, 1))
    add("motion.d1", nn.Linear(2 * 3 * 32, 16))
    add("motion.d2", nn.Linear(16, 16))
    for letter, outputs in (("t", 3), ("r", 3), ("p", 600)):
        add(f"motion.obj_{letter}", nn.Linear(16, 3 * outputs))
        if letter == "p" or not layers:
            add(f"motion.cam_{letter}", nn.Linear(16, outputs))
        else:
            widths = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, outputs))
            add(f"motion.cam_{letter}", widths)
    return state


@pytest.mark.parametrize("layers", [True, False])
def test_every_key_of_a_port_s_checkpoint_has_a_place(layers: bool, tmp_path: Path) -> None:
    state = _port(layers=layers)
    extra = {"motion.encoder.features.0.weight": torch.zeros(2, 2)} if layers else {}
    torch.save({**state, **extra}, tmp_path / "sfmnet.pkl")
    model = _model(**PORT | ({} if layers else {"camera_hidden": ()})).eval()

    report = load_into(model, tmp_path / "sfmnet.pkl")

    assert report.source == "SfM-Net (troyzgu/SfM-Net-PyTorch-Implementation)"
    assert set(report.matched) == set(state)
    assert set(report.dropped) == set(extra)
    ours = model.state_dict()
    assert set(report.matched.values()) == set(ours) - {"image_mean", "image_std", "sharpness"}
    for theirs, name in report.matched.items():
        assert torch.equal(ours[name], state[theirs]), name
    last = state["motion.cam_t.4.bias" if layers else "motion.cam_t.bias"]
    name = "motion.camera.translation.4.bias" if layers else "motion.camera.translation.0.bias"
    assert torch.equal(ours[name], last)
    assert torch.equal(ours["structure.trunk.up.0.conv.weight"], state["structure.cd_net.u5.conv_transpose.weight"])
    assert torch.equal(ours["motion.trunk.down.4.1.conv.weight"], state["motion.cd_net.c62.conv.weight"])

"""R-MVSNet: sizes, the order of the sweep, classes and loss, streaming against the whole, memory, learning."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from textured_plane import textured_plane
from vo3d.errors import Vo3dError
from vo3d.geometry.camera import subsample_intrinsics
from vo3d.geometry.plane_sweep import depth_hypotheses, variance_cost
from vo3d.layers.conv_block import ConvBlock
from vo3d.layers.unet2d import UNet2d
from vo3d.models.rmvsnet import RecurrentRegulariser, RMVSNet, Winner, hypothesis_index
from vo3d.sample import Sample


def make_model(**arguments: object) -> RMVSNet:
    torch.manual_seed(0)
    return RMVSNet(**{"num_depths": 13, "features": "uninet", **arguments})  # type: ignore[arg-type]


def sharpen(model: RMVSNet) -> RMVSNet:
    """The model with a head that tells depths apart, so that winners do not hang on rounding."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.GroupNorm):
                module.weight.add_(0.5 * torch.randn_like(module.weight))
        if isinstance(model.regulariser.after, nn.Conv2d):
            model.regulariser.after.weight.mul_(20)
    return model


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def views(sample: Sample, *which: int) -> Sample:
    return sample.map(lambda tensor: tensor[:, list(which)])


def test_parameters_are_counted() -> None:
    unet, uninet = RMVSNet(features="unet"), RMVSNet(features="uninet")

    assert (count(unet), count(unet.features)) == (799_365, 775_928)
    assert (count(uninet), count(uninet.features)) == (63_525, 40_088)
    assert count(unet.regulariser) == count(uninet.regulariser) == 23_437


@pytest.mark.parametrize("pool", ["stride", "max", "ada"])
def test_features_are_centred_on_every_fourth_pixel(pool: str, generator: torch.Generator) -> None:
    """A network with mirrored kernels gives mirrored features: of 16 k + 1 columns each halving keeps the even ones."""
    torch.manual_seed(0)
    plain, mirrored = UNet2d(pool=pool).double(), UNet2d(pool=pool).double()
    mirrored.load_state_dict(plain.state_dict())
    for module in mirrored.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.flip(-1)
    image = torch.rand(1, 3, 17, 33, generator=generator, dtype=torch.float64)

    features = plain(image)

    assert features.shape == (1, 32, 5, 9)
    torch.testing.assert_close(mirrored(image.flip(-1)), features.flip(-1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (5, 6), (16, 32), (67, 131)])
def test_features_of_any_size(size: tuple[int, int]) -> None:
    features = UNet2d()(torch.rand(2, 3, *size))

    assert features.shape == (2, 32, -(-size[0] // 4), -(-size[1] // 4))
    assert features.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_the_running_winner_equals_the_softmax(scale: float, generator: torch.Generator) -> None:
    logits = scale * torch.randn(2, 40, 6, 7, generator=generator)
    logits[0, :, 0, 0] = torch.linspace(-200, 200, 40)
    logits[0, :, 0, 1] = torch.linspace(200, -200, 40)
    depths = depth_hypotheses(torch.tensor([[1.0, 3.0], [0.5, 9.0]]), 40)
    winner = Winner()
    for logit in logits.unbind(1):
        winner.add(logit)

    depth, confidence = winner.result(depths, inverse=False, sub_interval=False)

    probability, index = logits.double().softmax(1).max(1)
    assert torch.equal(depth, depths.gather(1, index.flatten(1)).reshape(2, 6, 7))
    torch.testing.assert_close(confidence.double(), probability, rtol=0, atol=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
def test_the_mean_round_the_winner(inverse: bool, generator: torch.Generator) -> None:
    logits = torch.randn(2, 9, 6, 7, generator=generator)
    depths = depth_hypotheses(torch.tensor([[1.0, 3.0], [0.5, 9.0]]), 9, inverse=inverse)
    winner = Winner()
    for logit in logits.unbind(1):
        winner.add(logit)

    depth, _ = winner.result(depths, inverse=inverse, sub_interval=True)

    index = logits.argmax(1, keepdim=True)
    assert {0, 8} <= set(index.flatten().tolist())  # the ends are there
    near = (torch.arange(9)[:, None, None] - index).abs() <= 1
    p = torch.where(near, logits.exp(), 0)
    values = (1 / depths if inverse else depths)[:, :, None, None]
    mean = (p * values).sum(1) / p.sum(1)
    torch.testing.assert_close(depth, 1 / mean if inverse else mean)


@pytest.mark.parametrize("sweep", ["near_to_far", "far_to_near"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("variant", ["code", "paper"])
def test_forward_and_stream_equal_the_plain_network(sweep: str, inverse: bool, variant: str) -> None:
    model = sharpen(make_model(sweep=sweep, inverse=inverse, variant=variant, slab=4)).eval()
    sample = textured_plane(size=(37, 46))
    depths = depth_hypotheses(sample.depth_range[:, 0], 13, inverse=inverse)
    with torch.no_grad():
        prediction = model(sample)
        (streamed,) = model.stream([sample])
        images = sample.image - sample.image.mean((2, 3, 4), keepdim=True)
        images = images / (images.square().mean((2, 3, 4), keepdim=True).sqrt() + 1e-3)
        features = [model.features(image) for image in images.unbind(1)]
        K = subsample_intrinsics(sample.K, 4)
        swept = depths if sweep == "near_to_far" else depths.flip(1)
        cost = variance_cost(features, K, sample.world_T_cam, swept)
        logits, _ = model.regulariser(-cost, [None, None, None])  # all depths at once
    if sweep == "far_to_near":
        logits = logits.flip(1)
    probability, index = logits.softmax(1).max(1)

    torch.testing.assert_close(prediction["aux"]["log_probability"], logits.log_softmax(1), rtol=0, atol=1e-4)
    for found in (prediction, streamed):
        assert found["depth"].shape == found["confidence"].shape == (1, 1, 10, 12)
        torch.testing.assert_close(found["confidence"][:, 0], probability, rtol=0, atol=1e-5)
        torch.testing.assert_close(found["depth"][:, 0], depths[0][index], rtol=0, atol=1e-6)
    assert set(streamed) == {"depth", "confidence"}


def test_the_two_phases_may_space_their_depths_differently() -> None:
    model = make_model(inverse=False, inverse_stream=True, num_depths=6).eval()
    sample = textured_plane(size=(16, 20))
    near, far = sample.depth_range[0, 0].tolist()

    even = set(model(sample)["depth"].flatten().tolist())
    (prediction,) = model.stream([sample])
    odd = set(prediction["depth"].flatten().tolist())

    hypotheses = depth_hypotheses(sample.depth_range[:, 0], 6, inverse=True)[0]
    step = (1 / far - 1 / near) / 5
    torch.testing.assert_close(1 / hypotheses, 1 / near + step * torch.arange(6), rtol=1e-6, atol=0)
    assert hypotheses[[0, -1]].tolist() == [near, far]
    assert odd <= set(hypotheses.tolist())
    assert even <= set(depth_hypotheses(sample.depth_range[:, 0], 6)[0].tolist())


@pytest.mark.parametrize("inverse", [False, True])
def test_the_classes_of_the_two_sweeps_mirror_each_other(inverse: bool, generator: torch.Generator) -> None:
    ends = torch.tensor([[0.5, 2.0], [1.0, 30.0]])
    depths = depth_hypotheses(ends, 24, inverse=inverse)
    truth = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * torch.rand(2, 300, generator=generator)
    value = (lambda x: 1 / x) if inverse else (lambda x: x)

    index = hypothesis_index(truth[:, None], ends, 24, inverse=inverse)[:, 0]
    mirrored = hypothesis_index(truth[:, None], ends.flip(1), 24, inverse=inverse)[:, 0]

    assert torch.equal(mirrored.round(), 23 - index.round())
    nearest = (value(depths)[:, :, None] - value(truth)[:, None]).abs().argmin(1)
    assert torch.equal(index.round().long(), nearest)


@pytest.mark.parametrize(("inverse", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.1), (True, 1.0)])
def test_the_loss_equals_a_loop_over_pixels(inverse: bool, smoothing: float, generator: torch.Generator) -> None:
    model = make_model(num_depths=12, inverse=inverse, label_smoothing=smoothing)
    logits = torch.randn(2, 12, 4, 5, generator=generator)
    full = torch.zeros(2, 3, 13, 17)
    truth = 0.4 + 2.2 * torch.rand(2, 4, 5, generator=generator)  # beyond both ends of 0.5 .. 2 too
    truth[:, 0, :2] = 0
    full[:, 0, ::4, ::4] = truth
    full[:, 1:] = 1.0  # depths of sources are not read
    ends = torch.tensor([[0.5, 2.0], [0.6, 2.5]])
    image, eye = torch.zeros(2, 3, 3, 13, 17), torch.eye(3).expand(2, 3, 3, 3)
    sample = Sample(image=image, K=eye, depth=full, depth_range=ends[:, None].expand(2, 3, 2))

    prediction = {"aux": {"log_probability": logits.log_softmax(1)}}
    (loss,) = model.loss(prediction, sample).values()
    (validation_loss,) = model.eval().loss(prediction, sample).values()

    means, plain_means, left_out = [], [], 0
    for b in range(2):
        errors, plain = [], []
        grid = depth_hypotheses(ends[b : b + 1], 12, inverse=inverse)[0]
        for row in range(4):
            for column in range(5):
                t = float(truth[b, row, column])
                if not float(grid[1]) <= t <= float(grid[10]):
                    left_out += 1
                    continue
                classes = (1 / grid - 1 / t).abs() if inverse else (grid - t).abs()
                scores, nearest = logits[b, :, row, column], classes.argmin()
                errors.append(cross_entropy(scores, nearest, label_smoothing=smoothing))
                plain.append(-scores.log_softmax(0)[nearest])
        means.append(torch.stack(errors).mean())
        plain_means.append(torch.stack(plain).mean())
    assert left_out > 6
    torch.testing.assert_close(loss, torch.stack(means).mean())
    torch.testing.assert_close(validation_loss, torch.stack(plain_means).mean())  # without smoothing, to compare


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_smoothing_beyond_a_share_is_refused(smoothing: float) -> None:
    with pytest.raises(Vo3dError, match=r"label_smoothing is .*expected a share, 0 to 1"):
        RMVSNet(label_smoothing=smoothing)


def test_a_sample_without_truth_counts_as_zero() -> None:
    sample = textured_plane(size=(16, 20))
    nothing = replace(sample, depth=torch.zeros_like(sample.depth))
    model = make_model(num_depths=6)

    (loss,) = model.loss(model(nothing), nothing).values()
    loss.backward()

    assert loss == 0
    assert all(p.grad is not None and (p.grad == 0).all() for p in model.parameters())


def test_each_sample_of_a_batch_has_its_own_range() -> None:
    model = sharpen(make_model()).eval()
    first, second = textured_plane(size=(21, 30)), textured_plane(size=(21, 30), seed=1)
    second = replace(second, depth_range=2.5 * second.depth_range)
    batch = Sample(
        **{name: torch.cat((getattr(first, name), getattr(second, name))) for name in first.given() if name != "scene"}
    )
    with torch.no_grad():
        together = model(batch)
        (streamed,) = model.stream([batch])
        for b, alone in enumerate(map(model, (first, second))):
            for key in ("depth", "confidence"):
                torch.testing.assert_close(together[key][b], alone[key][0], rtol=1e-4, atol=1e-4)
            logs = together["aux"]["log_probability"][b], alone["aux"]["log_probability"][0]
            torch.testing.assert_close(*logs, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(streamed["depth"][b], alone["depth"][0])


def test_the_order_and_the_number_of_sources_are_free() -> None:
    model, sample = sharpen(make_model()).eval(), textured_plane(views=5, size=(32, 40))
    with torch.no_grad():
        together = model(sample)["aux"]["log_probability"]
        shuffled = model(views(sample, 0, 3, 1, 4, 2))["aux"]["log_probability"]
        twice = model(views(sample, 0, 0, 1, 1))["aux"]["log_probability"]
        once = model(views(sample, 0, 1))["aux"]["log_probability"]

    torch.testing.assert_close(shuffled, together, rtol=0, atol=1e-3)
    torch.testing.assert_close(twice, once, rtol=0, atol=1e-3)
    assert not torch.allclose(once, together, rtol=0, atol=1e-2)


@pytest.mark.parametrize("slab", [4, 13])
def test_recomputing_slabs_changes_no_gradient(slab: int) -> None:
    sample = textured_plane(size=(24, 32))
    gradients = []
    for recompute in (False, True):
        model = make_model(slab=slab, checkpoint_slabs=recompute, sweep="near_to_far").double()
        double = sample.map(Tensor.double)
        sum(model.loss(model(double), double).values()).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])

    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, kept, rtol=1e-9, atol=1e-12)


def test_a_random_sweep_learns_in_both_orders_and_predicts_in_one() -> None:
    model, sample = make_model(num_depths=6), textured_plane(size=(16, 20))
    orders = {order: make_model(num_depths=6, sweep=order).eval() for order in ("near_to_far", "far_to_near")}
    with torch.no_grad():
        near, far = (float(other(sample)["aux"]["log_probability"].sum()) for other in orders.values())
        seen = [float(model.train()(sample)["aux"]["log_probability"].sum()) for _ in range(12)]
        predicted = float(model.eval()(sample)["aux"]["log_probability"].sum())

    assert abs(near - far) > 1e-3
    assert {round(value, 3) for value in seen} == {round(near, 3), round(far, 3)}
    assert predicted == pytest.approx(near, abs=1e-4)


def test_the_paper_variant_is_bounded(generator: torch.Generator) -> None:
    regulariser = RecurrentRegulariser(32, "paper")

    logits, states = regulariser(100 * torch.randn(1, 32, 3, 5, 6, generator=generator), [None, None, None])

    assert isinstance(regulariser.before, ConvBlock)
    assert logits.shape == (1, 3, 5, 6)
    assert (logits.abs() <= 1).all()
    assert [state.shape[1] for state in states] == [16, 4, 1]


@pytest.mark.parametrize("features", ["unet", "uninet"])
def test_pooling_learns_too(features: str) -> None:
    model, sample = make_model(features=features, pool="ada", num_depths=6), textured_plane(size=(19, 26))

    prediction = model(sample)
    sum(model.loss(prediction, sample).values()).backward()

    assert prediction["depth"].shape == (1, 1, 5, 7)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad.abs().sum() > 0 for name, p in model.named_parameters() if name.endswith("beta"))


MEASURE = """
import torch
from vo3d.models.rmvsnet import RMVSNet
from vo3d.sample import Sample

def peak():
    # not getrusage: its peak begins with that of the process that started this one
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

torch.set_num_threads(1)
torch.manual_seed(0)
model = RMVSNet(32, features="uninet").eval()
eye = torch.eye(4).double().repeat(1, 3, 1, 1)
eye[0, 1:, 0, 3] = torch.tensor([0.1, 0.2]).double()
K = torch.tensor([[256.0, 0, 128], [0, 256, 96], [0, 0, 1]]).expand(1, 3, 3, 3)
image, ends = torch.rand(1, 3, 3, 192, 256), torch.tensor([1.0, 3.0]).expand(1, 3, 2)
sample = Sample(image=image, K=K, world_T_cam=eye, depth_range=ends)
small = Sample(image=image[..., :16, :16], K=K, world_T_cam=eye, depth_range=ends)
for model.num_depths in (256, 32):
    list(model.stream([small]))  # loads what torch loads late
start = peak()
list(model.stream([sample, sample, sample]))
few = peak() - start
model.num_depths = 256
list(model.stream([sample]))
print(few, peak() - start)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read where Linux tells it")
def test_inference_takes_no_more_memory_for_more_depths() -> None:
    # every large tensor comes from the system and goes back to it, so that the peak is that of what is alive
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}

    done = subprocess.run([sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, check=True)

    few, many = map(int, done.stdout.split())
    assert few > 10_000  # kilobytes: the measurement sees tensors
    assert many <= 1.05 * few


def test_it_overfits_a_scene() -> None:
    sample = textured_plane(size=(48, 64))
    torch.manual_seed(0)
    model = RMVSNet(32, slab=32, sweep="near_to_far").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    truth, ends = sample.depth[:, :1, ::4, ::4], sample.depth_range[0, 0]
    interval = (ends[1] - ends[0]) / 31
    shares = []
    while len(shares) < 200 and max(shares, default=0) <= 0.95:
        optimizer.zero_grad()
        prediction = model(sample)
        shares.append(float(((prediction["depth"] - truth).abs() <= interval).float().mean()))
        sum(model.loss(prediction, sample).values()).backward()
        optimizer.step()

    assert shares[0] < 0.5
    assert shares[-1] > 0.95


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_depths": 3}, "at least 4 depths"),
        ({"slab": 0}, "1 in a slab"),
    ],
)
def test_bad_arguments_are_told(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        RMVSNet(**arguments)


def test_what_a_sample_lacks_is_told() -> None:
    model, sample = make_model(), textured_plane(size=(16, 20))

    with pytest.raises(Vo3dError, match="needs at least 2, a reference and a source: raise num_views"):
        model(views(sample, 0))
    with pytest.raises(Vo3dError, match="needs K, world_T_cam and depth_range"):
        model(replace(sample, depth_range=None))
    with pytest.raises(Vo3dError, match="learns from depth"):
        model.loss(model(sample), replace(sample, depth=None))

"""VidLoc: its sizes as published, what a frame depends on, clips of any length, mixtures, places that look alike."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from samples import make_sample
from vo3d.errors import Vo3dError
from vo3d.geometry import rotations, se3
from vo3d.inference.loop import answers, evaluating, windows_of
from vo3d.layers.feature_memory import FeatureMemory
from vo3d.models.vidloc import VidLoc
from vo3d.recording import Recording
from vo3d.sample import Sample

SMALL = {"size": (32, 64), "trunk": "resnet18", "hidden": 8}


class Walk(Recording):
    """A camera that turns in a circle; each frame is noise of its own, or that of another frame."""

    def __init__(self, frames: int = 23, shown: Sequence[int] | None = None, far: float = 0.0) -> None:
        self.name = "walk"
        angle = torch.linspace(0, 2, frames, dtype=torch.float64)
        turn = rotations.axis_rotation(1, angle)
        position = torch.stack((3 * angle.sin(), 0.1 * angle, 3 * angle.cos()), -1) + far
        self.world_T_cam = se3.from_rotation_translation(turn, position)
        image = torch.rand(frames, 3, 32, 64, generator=torch.Generator().manual_seed(0))
        self.image = image if shown is None else image[list(shown)]

    def __len__(self) -> int:
        return len(self.image)

    def clip(self, indices: Sequence[int]) -> Sample:
        at = list(indices)
        pose = self.world_T_cam[at]
        return Sample(image=self.image[at], world_T_cam=pose, scene=self.name, index=torch.tensor(at))

    def poses(self) -> Tensor:
        return self.world_T_cam


def parameters(*modules: nn.Module) -> int:
    return sum(value.numel() for module in modules for value in module.parameters())


@pytest.mark.parametrize(("hidden", "lstm", "heads"), [(256, 2_625_536, 3_591), (512, 6_299_648, 7_175)])
def test_the_network_has_as_many_parameters_as_its_layers(hidden: int, lstm: int, heads: int) -> None:
    model = VidLoc(hidden=hidden)
    assert parameters(model.trunk) == 5_973_552
    assert parameters(model.lstm) == lstm
    assert parameters(model.xyz, model.turn) == heads
    one, five = (VidLoc(hidden=hidden, head="mixture", components=m).mixture for m in (1, 5))
    assert one is not None
    assert five is not None
    assert (parameters(one), parameters(five)) == (15 * (2 * hidden + 1), 75 * (2 * hidden + 1))


def test_a_frame_depends_on_what_comes_later_unless_it_reads_forward_alone() -> None:
    sample = make_sample(b=1, s=5, size=(32, 64))
    changed = replace(sample, image=torch.cat((sample.image[:, :-1], 1 - sample.image[:, -1:]), 1))
    for direction, depends in (("both", True), ("forward", False)):
        model = VidLoc(**SMALL, direction=direction).eval()
        first, other = (model.predict(one)["world_T_cam"][0, 0] for one in (sample, changed))
        assert torch.equal(first, other) != depends


@pytest.mark.parametrize("head", ["linear", "mixture"])
def test_clips_together_are_clips_one_by_one(head: str) -> None:
    model = VidLoc(**SMALL, head=head).eval()
    sample = make_sample(b=3, s=7, size=(40, 70))
    together = model.predict(sample)
    for at in range(3):
        alone = model.predict(sample.map(lambda value, at=at: value[at : at + 1]))
        for key in model.gives:
            assert torch.allclose(together[key][at], alone[key][0], atol=1e-5)
    again = model.predict(sample)
    assert all(torch.equal(together[key], again[key]) for key in model.gives)


@pytest.mark.parametrize("length", [1, 2, 5, 20, 40])
def test_a_recording_is_seen_in_clips_of_any_length_as_if_each_went_through_the_trunk(length: int) -> None:
    model, walk = VidLoc(**SMALL, head="mixture"), Walk()
    seen: list[int] = []
    model.describe = lambda image, describe=model.describe: seen.append(len(image)) or describe(image)  # type: ignore[method-assign]
    windows = windows_of(model, walk, clip_length=length)
    with evaluating(model, "cpu"):
        found = list(answers(model, walk, windows, device="cpu"))
        assert sum(seen) == len(walk)  # each image once, also where clips overlap
        for answer in found:
            alone = model.predict(Sample.collate([answer.sample]))
            assert torch.allclose(answer.prediction["world_T_cam"], alone["world_T_cam"], atol=1e-5)
    views = [answer.frames.views[place] for answer in found for place in answer.frames.counted]
    assert views == list(range(23))
    assert [len(window.views) for window in windows_of(model, walk)] == [20, 13]


def test_forward_alone_the_state_goes_on_from_clip_to_clip() -> None:
    model, walk = VidLoc(**SMALL, direction="forward"), Walk()
    with evaluating(model, "cpu"):
        short, whole = (
            torch.cat(
                [
                    one.prediction["world_T_cam"][0]
                    for one in answers(model, walk, windows_of(model, walk, clip_length=length), device="cpu")
                ]
            )
            for length in (4, 23)
        )
    assert torch.allclose(short, whole, atol=1e-5)


@pytest.mark.parametrize("rotation", ["quaternion", "log_quaternion", "6d"])
@pytest.mark.parametrize("head", ["linear", "mixture"])
def test_poses_are_rotations_and_reach_wherever_the_scene_is(head: str, rotation: str) -> None:
    model, walk = VidLoc(**SMALL, head=head, rotation=rotation), Walk(far=1000.0)
    model.fit([walk])
    sample = Sample.collate([walk.clip(range(6))])
    prediction = model(sample)
    assert bool(rotations.is_rotation(prediction["world_T_cam"][..., :3, :3]).all())
    assert (prediction["world_T_cam"][..., :3, 3] - 1000).abs().max() < 10
    terms = model.loss(prediction, sample)
    total = torch.stack([*terms.values()]).sum()
    total.backward()
    assert bool(total.isfinite())
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None)


def test_the_variance_is_that_of_poses_drawn_from_the_mixture() -> None:
    """Positions and turns of poses whose numbers are drawn, about the pose that is told."""
    torch.manual_seed(0)
    for rotation in ("quaternion", "log_quaternion", "6d"):
        model = VidLoc(**SMALL, head="mixture", components=2, rotation=rotation, floor=1e-4).eval()
        model.fit([Walk()])
        assert model.mixture is not None
        model.mixture.linear.bias.data[-2 * (3 + model.code.count) :] = -4.0  # small deviations: turns to first order
        numbers = model._numbers(Walk().world_T_cam[:1])[0]
        near = torch.stack((numbers, numbers + 0.02 * torch.randn_like(numbers)))
        model.mixture.begin_at(near)
        model.mixture.linear.weight.data.zero_()
        context = torch.zeros(1, 1, 16)
        prediction = model._poses(context)
        mixture = model.mixture(context)
        which = torch.multinomial(mixture.weight.flatten(), 100_000, replacement=True)
        mean, deviation = mixture.mean[0, 0][which], mixture.deviation[0, 0][which]
        drawn = model._decoded(mean + deviation * torch.randn_like(mean))
        told = prediction["world_T_cam"][0, 0]
        metres = (drawn[:, :3, 3] - told[:3, 3]).square().mean(0)
        turns = rotations.so3_log(told[:3, :3].mT @ drawn[:, :3, :3]).square().mean(0)
        found = prediction["log_variance"][0, 0].exp().double()
        assert torch.allclose(found, torch.cat((metres, turns)), rtol=0.1)


def test_clips_are_cut_in_training_alone() -> None:
    model = VidLoc(**SMALL, cut=1.0, dropout=0.0)
    features = torch.rand(2, 6, 512)
    parts = model.train()._cut(features)
    assert len(parts) == 2
    assert torch.equal(torch.cat([*parts], 1), features)
    assert len(model.eval()._cut(features)) == 1
    assert len(model.train()._cut(features[:, :1])) == 1


def learnt(model: VidLoc, memory: FeatureMemory, walks: Sequence[tuple[str, Tensor]], steps: int = 200) -> VidLoc:
    """Train what follows the trunk on clips of kept features."""
    place = Walk()
    place.world_T_cam = torch.cat([poses for _, poses in walks])
    model.fit([place])
    model.memory = memory
    model.trunk.requires_grad_(False)
    frames = len(walks[0][1])
    sample = Sample(
        image=torch.zeros(len(walks), frames, 3, 1, 1),
        world_T_cam=torch.stack([poses for _, poses in walks]),
        scene=[name for name, _ in walks],
        index=torch.arange(frames).expand(len(walks), frames),
    )
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack([*model.loss(model(sample), sample).values()]).sum().backward()
        optimizer.step()
    return model.eval()


def alike() -> tuple[FeatureMemory, list[tuple[str, Tensor]]]:
    """Two walks, ten metres apart, that end at two places which look the same; their beginnings differ."""
    memory, generator = FeatureMemory(), torch.Generator().manual_seed(0)
    same = torch.rand(4, 512, generator=generator)
    walks = []
    for name, x in (("left", -5.0), ("right", 5.0)):
        begin = torch.rand(4, 512, generator=generator)
        for index, row in enumerate(torch.cat((begin, same))):
            memory.add(name, index, row)
        position = torch.stack((torch.full((8,), x), torch.zeros(8), torch.arange(8.0)), -1).double()
        walks.append((name, se3.from_rotation_translation(torch.eye(3).double().expand(8, 3, 3), position)))
    return memory, walks


def ends(memory: FeatureMemory, walks: Sequence[tuple[str, Tensor]]) -> tuple[FeatureMemory, list[tuple[str, Tensor]]]:
    """The last frame of each walk alone: two places, one image."""
    last = FeatureMemory()
    for name, poses in walks:
        index = torch.tensor([[len(poses) - 1]])
        last.add(name, 0, memory.of(Sample(image=torch.zeros(1, 1, 3, 1, 1), scene=[name], index=index))[0, 0])
    return last, [(name, poses[-1:]) for name, poses in walks]


def told(model: VidLoc, walks: Sequence[tuple[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """The x of the last frame of each walk, and its predicted deviation."""
    rows = []
    for name, poses in walks:
        index = torch.arange(len(poses))[None]
        found = model.predict(Sample(image=torch.zeros(1, len(poses), 3, 1, 1), scene=[name], index=index))
        rows.append((found["world_T_cam"][0, -1, 0, 3], found["log_variance"][0, -1, 0].exp().sqrt()))
    x, deviation = (torch.stack([*row]) for row in zip(*rows, strict=True))
    return x, deviation


def mixture_model(components: int) -> VidLoc:
    torch.manual_seed(0)
    return VidLoc(**SMALL, head="mixture", components=components, dropout=0.0, floor=0.1, rotation="log_quaternion")


def test_a_mixture_has_two_modes_where_two_places_look_alike_and_one_gaussian_has_none() -> None:
    memory, walks = ends(*alike())
    for components in (2, 1):
        model = learnt(mixture_model(components), memory, walks)
        with torch.no_grad():
            prediction = model(
                Sample(image=torch.zeros(1, 1, 3, 1, 1), scene=["left"], index=torch.zeros(1, 1, dtype=torch.long))
            )
        x = model.code.position(prediction["aux"]["mean"][0, 0, :, :3])[:, 0].sort().values
        weight = prediction["aux"]["logits"][0, 0].softmax(-1)
        deviation = prediction["aux"]["deviation"][0, 0, :, 0] * 10  # metres
        if components == 2:
            assert torch.allclose(x, torch.tensor([-5.0, 5.0], dtype=torch.float64), atol=0.5)
            assert weight.min() > 0.3
            assert deviation.max() < 1.5
        else:
            assert abs(x.item()) < 1  # between the two, where nobody stood
            assert deviation.item() == pytest.approx(5, rel=0.2)
        assert prediction["log_variance"][0, 0, 0].exp().sqrt() > 4  # either says that it does not know


def test_what_came_before_tells_places_apart_that_look_alike() -> None:
    memory, walks = alike()
    x, deviation = told(learnt(mixture_model(1), memory, walks), walks)
    assert torch.allclose(x, torch.tensor([-5.0, 5.0], dtype=torch.float64), atol=0.5)
    assert deviation.max() < 1.5


def test_arguments_out_of_range_and_small_images_are_refused() -> None:
    with pytest.raises(Vo3dError, match="hidden 0"):
        VidLoc(size=(32, 64), trunk="resnet18", hidden=0)
    with pytest.raises(Vo3dError, match=r"cut 1\.5"):
        VidLoc(**SMALL, cut=1.5)
    with pytest.raises(Vo3dError, match="no package brings weights"):
        VidLoc(**SMALL, pretrained=True)
    with pytest.raises(Vo3dError, match="images of 30 and 64: give the dataset a size of at least 32 rows"):
        VidLoc(**SMALL).predict(make_sample(s=2, size=(30, 64)))
    with pytest.raises(Vo3dError, match="no features of frame 3 of walk were kept: 0 frames are"):
        FeatureMemory().of(Sample.collate([Walk().clip([3])]))

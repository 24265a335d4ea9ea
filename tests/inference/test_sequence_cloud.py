"""A cloud of a sequence lies on the true surfaces where depth and motion are true, and leaves out what is not sure."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from torch import Tensor

from stubs import Places, StepsAndDepth
from tiny import TinyModel
from true_street import TrueStreet, street
from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, se3
from vo3d.inference.loop import evaluating, windows_of
from vo3d.inference.sequence_cloud import CloudRules, SequenceCloud, off_edges, sequence_cloud
from vo3d.model import DepthModel, Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample

STREET = street(3, 12, (64, 208))


def run(model: Model, rules: CloudRules, recording: Recording = STREET, clip_length: int = 5) -> SequenceCloud:
    windows = windows_of(model, recording, clip_length=clip_length)
    with evaluating(model, "cpu"):
        return sequence_cloud(model, recording, windows, rules, device="cpu")


def surfaces(frames: range) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel of the frames as a point of the first camera's frame, one by one, with its colour."""
    sample = STREET.clip(frames)
    assert sample.world_T_cam is not None
    assert sample.depth is not None
    points, colours = [], []
    for view in range(len(frames)):
        first_T_cam = torch.linalg.inv(STREET.poses()[0]) @ sample.world_T_cam[view]
        fx, fy, cx, cy = (float(sample.K[view][at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
        for y, x in (sample.depth[view] > 0).nonzero().tolist():
            z = float(sample.depth[view, y, x])
            point = torch.tensor([(x - cx) / fx * z, (y - cy) / fy * z, z, 1.0], dtype=torch.float64)
            points.append((first_T_cam @ point)[:3].numpy())
            colours.append((sample.image[view, :, y, x] * 255).round().byte().numpy())
    return np.array(points), np.array(colours)


def test_the_cloud_is_made_of_points_of_the_true_surfaces() -> None:
    model = TrueStreet()
    found = run(model, CloudRules(every=6, every_pixel=1, max_depth=20.0))
    truth, colours = surfaces(range(0, 12, 6))
    distances, nearest = KDTree(truth).query(found.cloud.points)
    assert distances.max() < 2e-3  # metres
    assert (found.cloud.colours == colours[nearest]).all(axis=-1).mean() > 0.999
    assert found.num_frames == 2
    assert model.clips == 3  # windows of 5 that share a frame: once along the recording, for depth and motion
    torch.testing.assert_close(found.world_T_cam, se3.relative(STREET.poses()[0], STREET.poses()), atol=1e-4, rtol=0)


def test_fewer_pixels_of_fewer_frames_are_some_of_the_same_points() -> None:
    every = run(TrueStreet(), CloudRules(every=3, every_pixel=1))
    some = run(TrueStreet(), CloudRules(every=6, every_pixel=4))
    distances, _ = KDTree(every.cloud.points).query(some.cloud.points)
    assert distances.max() < 1e-6
    assert 20 < len(every.cloud) / len(some.cloud) < 45


def test_far_points_and_edges_are_left_out() -> None:
    sample = STREET.clip([0])
    assert sample.K is not None
    assert sample.depth is not None
    depth = sample.depth[0]
    near = (depth > 0) & (depth <= 10)
    found = run(TrueStreet(), CloudRules(every=12, every_pixel=1, max_depth=10.0, max_step=1e9))
    expected = backproject(sample.K[0], depth)[near]
    torch.testing.assert_close(torch.from_numpy(found.cloud.points), expected)
    fewer = run(TrueStreet(), CloudRules(every=12, every_pixel=1, max_depth=10.0))
    assert 0.7 * len(found.cloud) < len(fewer.cloud) < len(found.cloud)


def test_an_edge_is_where_neighbours_differ() -> None:
    depth = torch.full((5, 7), 10.0)
    depth[:, 4:] = 11.5
    depth[0, 0] = 0  # no measurement says nothing about its neighbours
    keep = off_edges(depth, 0.1)
    expected = torch.ones(5, 7, dtype=torch.bool)
    expected[:, 3:5] = False
    assert torch.equal(keep, expected)
    assert off_edges(depth, 0.16).all()
    ground = 1.65 * 240 / torch.arange(14, 60)  # metres: rows of a road below the horizon, down from 28 m
    assert off_edges(ground[:, None].expand(-1, 5).contiguous(), 0.1).all()


class Coarse(DepthModel):
    """A wall at 4 m at every fourth pixel, a camera that steps 1 m ahead; poses in the world, in pairs."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("depth", "world_T_cam")
    window = Window(views=2)
    stride = 4

    def forward(self, sample: Sample) -> Prediction:
        """By the numbers of the frames."""
        assert sample.index is not None
        b, s, _, h, w = sample.image.shape
        poses = torch.eye(4, dtype=torch.float64).repeat(b, s, 1, 1)
        poses[..., 2, 3] = sample.index.double() + 100
        return {"depth": torch.full((b, s, -(-h // 4), -(-w // 4)), 4.0), "world_T_cam": poses}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing."""
        return {}


def test_maps_of_a_stride_and_poses_in_the_world() -> None:
    found = run(Coarse(), CloudRules(every=2, every_pixel=1))
    K = STREET.clip([0]).K
    assert K is not None
    assert len(found.cloud) == 6 * 16 * 52
    assert set(found.cloud.points[:, 2].tolist()) == {104.0, 106.0, 108.0, 110.0, 112.0, 114.0}
    corner = [(0 - K[0, 0, 2]) / K[0, 0, 0] * 4, (0 - K[0, 1, 2]) / K[0, 1, 1] * 4, 104.0]
    np.testing.assert_allclose(found.cloud.points[0], corner, rtol=1e-6)
    last = [(4 * 51 - K[0, 0, 2]) / K[0, 0, 0] * 4, (4 * 15 - K[0, 1, 2]) / K[0, 1, 1] * 4, 114.0]
    np.testing.assert_allclose(found.cloud.points[-1], last, rtol=1e-6)


class Blind(StepsAndDepth):
    """It sees no depth."""

    def forward(self, sample: Sample) -> Prediction:
        """Holes."""
        found = super().forward(sample)
        return {**found, "depth": torch.zeros_like(found["depth"])}


class Static(TrueStreet):
    """Depth alone."""

    gives = ("depth",)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (TinyModel(), "TinyModel gives prev_T_cam: expected a model of depth"),
        (Places(), "Places gives world_T_cam: expected a model of depth"),
        (Static(), "Static gives depth: a cloud of a sequence needs poses too"),
        (Blind(), "no depth of Blind on street-0003 is within 30 m and off edges"),
    ],
)
def test_a_model_that_lacks_something(model: Model, words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        run(model, CloudRules())


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"every": 0}, "--every 0: expected at least 1"),
        ({"every_pixel": -1}, "--every-pixel -1: expected at least 1"),
        ({"max_depth": 0.0}, "--max-depth 0: expected a number above 0"),
        ({"max_step": float("nan")}, "--max-step nan: expected a number above 0"),
    ],
)
def test_rules_out_of_range(rule: dict[str, float], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        CloudRules(**rule)  # type: ignore[arg-type]

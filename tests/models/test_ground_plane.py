"""Ground plane: exact on planes among other things, whatever the camera; the road of a rendered street."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from samples import make_sample
from tiny import TinyRecording
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry.camera import pixel_grid, rays
from vo3d.models.ground_plane import GroundPlane
from vo3d.sample import Sample

TILTED = torch.tensor([0.03, 0.6, -0.05], dtype=torch.float64)  # 1.66 m below a camera that is hardly level
ROAD = 0  # Cityscapes' training id


def camera(h: int, w: int, focal: float) -> Tensor:
    return torch.tensor([[focal, 0, w / 2], [0, 1.1 * focal, 0.4 * h], [0, 0, 1]], dtype=torch.float64)


class Ground(TinyRecording):
    """A plane up to 60 m, hidden by a box in each frame and a wall at 25 m above; a third has no truth."""

    def __init__(
        self, plane: Tensor = TILTED, size: tuple[int, int] = (60, 90), wall: float = 25.0, box: float = 4.0
    ) -> None:
        super().__init__(frames=12)
        self.plane, self.size, self.wall, self.box = plane, size, wall, box

    def clip(self, indices: Sequence[int]) -> Sample:
        """A box that moves from left to right."""
        h, w = self.size
        K = camera(h, w, 80.0)
        inverse = rays(K, pixel_grid(h, w, dtype=torch.float64)) @ self.plane
        depth = torch.where(inverse > 1 / 60, 1 / inverse.clamp(min=1 / 60), self.wall)
        frames = depth.repeat(len(indices), 1, 1)
        for place, index in enumerate(indices):
            frames[place, 20:50, 5 * index : 5 * index + 30] = self.box
        frames[:, ::3] = 0
        K = K.expand(len(indices), 3, 3).float()
        image = torch.zeros(len(indices), 3, h, w)
        return replace(super().clip(indices), image=image, K=K, depth=frames.float())


def test_the_plane_is_found_among_other_things() -> None:
    model = GroundPlane()
    model.fit([Ground()])
    torch.testing.assert_close(model.plane.double(), TILTED, rtol=1e-5, atol=1e-6)
    assert model.beyond == 25
    again = GroundPlane()
    again.fit([Ground()])
    assert torch.equal(again.plane, model.plane)


@pytest.mark.parametrize(("size", "focal"), [((60, 90), 80.0), ((48, 64), 50.0), ((33, 71), 120.0)])
def test_it_is_predicted_for_any_camera(size: tuple[int, int], focal: float) -> None:
    model = GroundPlane()
    model.fit([Ground()])
    K = camera(*size, focal)
    sample = Sample(image=torch.zeros(2, 1, 3, *size), K=K.float().expand(2, 1, 3, 3))
    depth = model(sample)["depth"]
    inverse = rays(K, pixel_grid(*size, dtype=torch.float64)) @ TILTED
    near = inverse > 1 / model.reach.item()
    assert near.any()
    assert (~near).any()
    torch.testing.assert_close(depth[:, 0, near].double(), (1 / inverse[near]).expand(2, -1), rtol=1e-4, atol=0)
    assert (depth[:, 0, ~near] == 25).all()


def test_the_reach_is_where_the_plane_ends() -> None:
    """Behind a wall at 25 m nothing of the ground is seen: what the plane says of it is worse than the wall."""

    class Walled(Ground):
        def clip(self, indices: Sequence[int]) -> Sample:
            sample = super().clip(indices)
            assert sample.depth is not None
            return replace(sample, depth=sample.depth.clamp(max=20))

    model = GroundPlane()
    model.fit([Walled()])
    torch.testing.assert_close(model.plane.double(), TILTED, rtol=1e-2, atol=0)  # some of the wall is near to it
    assert (model.reach.item(), model.beyond.item()) == (20, 20)


def test_above_the_horizon_without_a_truth_is_far() -> None:
    model = GroundPlane(far=70.0)
    model.fit([Ground(wall=0.0, box=0.0)])
    assert (model.reach.item(), model.beyond.item()) == (70, 70)


def test_a_height_needs_no_training() -> None:
    model = GroundPlane(height=2.0, far=50.0)
    model.fit([])
    sample = make_sample()
    depth = model(sample)["depth"]
    assert sample.K is not None
    row = torch.arange(64.0)
    expected = 2 * 96 / (row - 32).clamp(min=1e-9)  # f h / (y - cy)
    torch.testing.assert_close(depth[0, 0, :, 5], torch.where(expected < 50, expected, 50.0))
    with pytest.raises(Vo3dError, match="height 0: expected a positive number"):
        GroundPlane(height=0.0)


def test_the_road_of_a_street_is_its_plane() -> None:
    def street(seed: int, frames: int) -> Rendered:
        return Rendered(seeds=[seed], frames=frames, size=(48, 156), clip_length=1, depth=True, label=True)

    model = GroundPlane(frames=8)
    model.fit(street(0, 100).recordings)
    assert 1 / model.plane.norm().item() == pytest.approx(1.65, rel=0.03)  # the height of the camera
    sample = street(7, 40).recordings[0].clip([5, 20, 35])
    assert sample.depth is not None
    depth = model(Sample.collate([sample]))["depth"][0]
    road = (sample.label == ROAD) & (depth < model.reach) & (sample.depth > 0)
    assert road.float().mean() > 0.1
    assert ((depth - sample.depth).abs() / sample.depth)[road].median() < 0.03


def test_no_ground_is_told_in_words() -> None:
    side = torch.tensor([0.5, 0.01, 0.0], dtype=torch.float64)
    with pytest.raises(Vo3dError, match=r"holds 0 % of the training depths below the optical axis: expected ground on"):
        GroundPlane().fit([Ground(plane=side, wall=0.0, box=0.0)])
    with pytest.raises(Vo3dError, match="0 true depths up to 80 m below the optical axis in the training frames"):
        GroundPlane().fit([Ground(plane=torch.tensor([0.0, -0.6, 0.0]).double(), wall=0.0, box=0.0)])

    class Unknown(Ground):
        def clip(self, indices: Sequence[int]) -> Sample:
            return replace(super().clip(indices), K=None)

    with pytest.raises(Vo3dError, match="tiny-0 gives no K: choose recordings of a known camera"):
        GroundPlane().fit([Unknown()])
    with pytest.raises(Vo3dError, match="GroundPlane needs K"):
        GroundPlane(height=1.0)(replace(make_sample(), K=None))

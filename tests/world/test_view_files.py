"""Files of rendered views: depth leads from view to view, and pairs are those that see the same from apart."""

import json
import math

import pytest
import torch
from torch import Tensor

from vo3d.datasets.mvs_folder import MVSFolder
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.geometry import project, sample_image, se3
from vo3d.geometry.camera import backproject
from vo3d.geometry.rotations import axis_rotation
from vo3d.sample import Sample
from vo3d.world.view_files import render_to_views, useful_pairs
from vo3d.world.view_sets import WORLDS, draw_views

SIZE = (48, 64)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> MVSFolder:
    folder = tmp_path_factory.mktemp("views")
    render_to_views(4, 3, folder, SIZE, views=8)
    return MVSFolder(folder, "all", depth="required", num_views=2)


def seen_from(sample: Sample, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """What the second view shows at the points of the first, at its true depth times a factor: colours and depth."""
    points = se3.transform(sample.world_T_cam[0], backproject(sample.K[0].double(), factor * sample.depth[0].double()))
    pixel, z = project(sample.K[1].double(), se3.transform(se3.inverse(sample.world_T_cam[1]), points))
    image, inside = sample_image(torch.cat((sample.image[1], sample.depth[1][None])), pixel.float())
    seen = inside & (sample.depth[0] > 0) & ((image[3] - z).abs() < 0.02 * z)
    return image[:3], z, seen


@pytest.mark.parametrize("world", WORLDS)
def test_depth_leads_from_view_to_view(views: MVSFolder, world: str) -> None:
    samples = [sample for sample in views if sample.scene.startswith(world)]
    assert samples
    right, wrong, shared = [], [], []
    for sample in samples:
        found, _, seen = seen_from(sample, 1.0)
        off, _, _ = seen_from(sample, 1.2)
        right.append((found - sample.image[0]).abs().mean(0)[seen].mean())
        wrong.append((off - sample.image[0]).abs().mean(0)[seen].mean())
        shared.append(seen.double().mean())
        near, far = sample.depth_range[0]
        depth = sample.depth[0][sample.depth[0] > 0]
        assert ((depth >= near) & (depth <= far)).double().mean() == pytest.approx(0.98, abs=0.005)
    assert min(shared) > 0.1
    assert torch.stack(right).mean() < 0.8 * torch.stack(wrong).mean()


def test_files_say_what_was_drawn(views: MVSFolder) -> None:
    root = views.recordings[0].photographs[0].image.parents[2]
    about = json.loads((root / "scene.json").read_text())
    assert sorted(about["scenes"]) == [scene.name for scene in views.recordings]
    drawn = draw_views("room", 3001, SIZE, 8)
    assert torch.equal(read_image(root / "room-3001" / "images" / "00000000.png"), drawn.take(0)[0].float() / 255)
    assert about["scenes"]["room-3001"]["K"] == drawn.camera.K.tolist()
    with pytest.raises(Vo3dError, match="holds files already: remove the folder"):
        render_to_views(1, 3, root, SIZE)


def test_pairs_see_the_same_from_apart() -> None:
    K = torch.tensor([[60.0, 0.0, 29.5], [0.0, 60.0, 29.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    # before a wall 6 m away, a metre is 10 pixels; the others: half a pixel, 20 pixels, no overlap, turned away
    poses[1:4, 0, 3] = torch.tensor([1.0, 0.05, 9.0])
    poses[4, :3, :3] = axis_rotation(1, torch.tensor(math.pi, dtype=torch.float64))
    pairs = useful_pairs(K, torch.full((5, 60, 60), 6.0), poses)
    assert [pair.sources for pair in pairs] == [(1,), (2, 0), (1,), (), ()]
    assert pairs[0].scores[0] > 0


def test_what_cannot_be_drawn_is_one_clear_line(tmp_path) -> None:
    with pytest.raises(Vo3dError, match="0 scenes of 4 worlds"):
        render_to_views(0, 0, tmp_path, SIZE)
    with pytest.raises(Vo3dError, match="seed -1000 of views"):
        render_to_views(1, -1, tmp_path, SIZE)

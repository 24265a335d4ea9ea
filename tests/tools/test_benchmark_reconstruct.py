"""The benchmark of reconstructions: scenes come back as they were written, and perfect depths score full marks."""

from pathlib import Path

import pytest
import torch

import benchmark_reconstruct
from vo3d.datasets.mvs_folder import MVSFolderScene
from vo3d.datasets.street_views import StreetScene
from vo3d.datasets.tabletop import TabletopScene
from vo3d.formats.pfm import write_pfm
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject
from vo3d.world.stills import Stills


def test_a_rendered_scene_comes_back_and_its_own_depth_is_right(tmp_path: Path) -> None:
    table = TabletopScene(Stills(3, (48, 64), views=3), 3)
    scene = benchmark_reconstruct.write_scene(table, tmp_path / "table")
    back = MVSFolderScene(tmp_path / "table")
    here, there = back.clip([1, 0]), table.clip([1, 0])
    torch.testing.assert_close(here.image, there.image)
    torch.testing.assert_close(here.world_T_cam, there.world_T_cam, atol=1e-6, rtol=0)
    assert list(back.sources(0)) == list(table.sources(0))
    for name, factor in zip(scene.truth, (1.0, 1.02, 1.2), strict=True):
        write_pfm(tmp_path / f"maps/{name}_depth.pfm", factor * scene.truth[name])
        write_pfm(tmp_path / f"maps/{name}_confidence.pfm", torch.full_like(scene.truth[name], 0.5 / factor))
    found = benchmark_reconstruct.scored(scene, tmp_path / "maps", sure=0.45)
    counts = [int((truth > 0).sum()) for truth in scene.truth.values()]
    assert found["1"] == pytest.approx(100 * counts[0] / sum(counts), abs=0.1)
    assert found["5"] == pytest.approx(100 * sum(counts[:2]) / sum(counts), abs=0.1)
    assert found["sure"] == pytest.approx(100 * sum(counts[:2]) / sum(counts), abs=0.1)
    assert found["sure 5"] == pytest.approx(100, abs=0.1)


def test_matched_points_stand_at_the_depth_of_the_table(tmp_path: Path) -> None:
    table = TabletopScene(Stills(3, (192, 256), views=5), 3)
    scene = benchmark_reconstruct.write_scene(table, tmp_path / "table")
    truth = benchmark_reconstruct.matched_truth(MVSFolderScene(tmp_path / "table"))
    errors = []
    for name, depth in truth.items():
        both = (depth > 0) & (scene.truth[name] > 0)
        errors.append((depth[both] / scene.truth[name][both] - 1).abs())
    error = torch.cat(errors)
    assert len(error) > 100
    assert float(error.median()) < 0.01
    assert float((error < 0.05).float().mean()) > 0.9


def test_points_in_the_sky_lie_beyond_what_is_built_and_those_on_it_do_not() -> None:
    street = StreetScene(2000, (48, 160), frames=3)
    depth, K = street.recorder.frame(1).depth.double(), street.recorder.camera.K.double()
    sky, world_T_cam = depth == 0, street.poses()[1]
    points = backproject(K, torch.where(sky, 60.0, depth))
    true, high = se3.transform(world_T_cam, points[~sky]), se3.transform(world_T_cam, points[sky])
    assert benchmark_reconstruct.percent_beyond(true, street) == 0
    assert benchmark_reconstruct.percent_beyond(high, street) > 75

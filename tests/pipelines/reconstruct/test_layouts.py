"""The wall in each layout that comes with cameras: turned by EXIF tags, and at UTM coordinates."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.spatial import cKDTree

import wall_scenes
from exif import set_orientation
from vo3d.formats.ply import PointCloud, read_cloud, read_mesh
from vo3d.pipelines.reconstruct import reconstruct

SWEEP = (
    '{"class_path": "vo3d.models.plane_sweep.PlaneSweep", "init_args": {"stride": 1, "window": 5, "smoothing": "box"}}'
)


def cloud_of(scene: Path, out: Path, **options: Any) -> tuple[PointCloud, str]:
    """Reconstruct the wall; returns the cloud in the file, and what was said."""
    with out.with_suffix(".log").open("w") as log:
        reconstruct(
            scene,
            out=out,
            model=SWEEP,
            num_depths=wall_scenes.STEPS,
            num_views=2,
            rules={"min_consistent": 1},
            console=Console(file=log, width=300),
            report=False,
            **options,
        )
    return read_cloud(out), out.with_suffix(".log").read_text()


def test_an_exif_tag_costs_no_points(tmp_path: Path) -> None:
    """That loaders of all layouts give the same samples is in tests/datasets/test_given_cameras.py."""
    plain, said = cloud_of(wall_scenes.write_mvsnet(tmp_path / "plain", views=4), tmp_path / "plain.ply")
    assert len(plain) > 250
    assert "EXIF" not in said
    scene = wall_scenes.write_mvsnet(tmp_path / "tagged", views=4)
    for path in sorted(scene.rglob("*.png"))[::2]:
        set_orientation(path, 6)
    tagged, said = cloud_of(scene, tmp_path / "tagged.ply")
    assert said.count("EXIF orientation") == 1
    np.testing.assert_array_equal(tagged.points, plain.points)


def test_utm_coordinates_move_cloud_and_mesh_and_nothing_else(tmp_path: Path) -> None:
    """Of a wall 300 m wide, so coarse that a pixel is larger than what single precision rounds to."""
    found = {}
    for name, offset in (("home", wall_scenes.HOME), ("utm", wall_scenes.UTM)):
        scene = wall_scenes.write_colmap(tmp_path / name, views=4, offset=offset, scale=300.0)
        cloud, _ = cloud_of(scene, tmp_path / f"{name}.ply", mesh=True)
        found[name] = (cloud, read_mesh(tmp_path / f"{name}_mesh.ply").vertices)
    assert len(found["home"][0]) > 250
    for far, home in zip(found["utm"], found["home"], strict=True):
        assert home.points.dtype == np.float32  # which holds it
        assert far.points.dtype == np.float64
        assert len(far) == len(home)
        away, _ = cKDTree(home.points).query(far.points - np.array(wall_scenes.UTM))
        assert away.max() < 1e-3  # metres: single precision moves points by up to 0.25 m there

"""One cloud from many depth maps: exact, each surface point once, whatever the order of the views."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from ball_scene import ball_maps, changed, colour_of, distance_to_surface, footprint, outward
from checks import assert_same
from vo3d.datasets.sevenscenes import SevenScenesRecording
from vo3d.depth_map import PosedDepthMap
from vo3d.formats.pfm import read_pfm, write_pfm
from vo3d.formats.ply import PointCloud, read_cloud, write_cloud
from vo3d.fusion.filtering import FusionRules, filter_view
from vo3d.fusion.fuse import ViewCounts, fuse, single_if_enough
from vo3d.geometry import subsample_intrinsics


def in_order(cloud: PointCloud) -> np.ndarray:
    """All numbers of a cloud, its points sorted by position."""
    rows = np.column_stack([cloud.points, cloud.colours, cloud.normals, *cloud.scalars.values()])
    return rows[np.lexsort(cloud.points.T)]


@pytest.fixture(scope="module")
def maps() -> list[PosedDepthMap]:
    return ball_maps()


@pytest.fixture(scope="module")
def cloud(maps: list[PosedDepthMap]) -> PointCloud:
    return fuse(maps).cloud


def test_points_lie_on_the_surface_with_its_colours_and_normals(cloud: PointCloud) -> None:
    error = distance_to_surface(cloud.points)
    interval = 19 / 191  # of 192 hypotheses over the range of these maps
    assert error.mean() < 0.01 * interval
    assert error.max() < 0.3 * interval
    colours = colour_of(torch.from_numpy(cloud.points)).numpy()
    assert np.abs(cloud.colours / 255 - colours).mean() < 0.01
    cosines = (cloud.normals * outward(cloud.points)).sum(axis=1)
    assert np.median(cosines) > 0.9999
    assert np.quantile(cosines, 0.02) > 0.9
    assert_same(torch.from_numpy(np.linalg.norm(cloud.normals, axis=1)), torch.ones(len(cloud)), 1e-5)
    assert set(np.unique(cloud.scalars["views"])) <= set(range(4, 10))


def test_a_surface_point_that_many_views_saw_appears_once(maps: list[PosedDepthMap], cloud: PointCloud) -> None:
    every = fuse(maps, FusionRules(visibility=False)).cloud
    assert len(every) > 3 * len(cloud)
    size = footprint(maps)
    apart, _ = cKDTree(cloud.points).query(cloud.points, 2)
    apart_every, _ = cKDTree(every.points).query(every.points, 2)
    assert np.mean(apart[:, 1] < 0.4 * size) < 0.02
    assert np.mean(apart_every[:, 1] < 0.4 * size) > 0.7
    missing, _ = cKDTree(cloud.points).query(every.points)
    near = np.abs(every.points).max(axis=1) < 1.5  # farther out, pixels are larger on the surface
    assert missing[near].max() < 3 * size


def test_pixels_left_out_are_close_to_a_point_in_their_own_view(maps: list[PosedDepthMap], cloud: PointCloud) -> None:
    # The rule itself, by brute force: each pixel that passed is in the cloud, or a point of it is within one pixel.
    rules = FusionRules()
    for view, passed in ((maps[2], filter_view(maps, 2, rules)),):
        cam_T_world = np.linalg.inv(view.world_T_cam.numpy())
        seen = cloud.points @ cam_T_world[:3, :3].T + cam_T_world[:3, 3]
        front = seen[:, 2] > 0
        pixels = (seen[front] / seen[front, 2:]) @ view.K.numpy().T
        near = cKDTree(pixels[:, :2]).query_ball_point(passed.pixels.numpy(), rules.max_pixels)
        depths = seen[front, 2]
        lonely = [
            number
            for number, found in enumerate(near)
            if not any(abs(depths[at] / float(passed.depth[number]) - 1) < rules.max_relative for at in found)
        ]
        assert len(passed.pixels) > 1000
        assert lonely == []


def test_order_of_the_views_changes_nothing(maps: list[PosedDepthMap], cloud: PointCloud) -> None:
    order = [4, 7, 0, 2, 8, 1, 6, 3, 5]
    shuffled = [
        replace(maps[old], sources=tuple(order.index(source) for source in reversed(maps[old].sources)))
        for old in order
    ]
    fused = fuse(shuffled)
    found, expected = in_order(fused.cloud), in_order(cloud)
    assert np.abs(found[:, 3:6] - expected[:, 3:6]).max() <= 1  # colours: the mean is rounded to a byte
    found[:, 3:6] = expected[:, 3:6]
    assert_same(torch.from_numpy(found), torch.from_numpy(expected), 1e-6)
    assert [count.name for count in fused.views] == [maps[old].name for old in order]


def test_counts_of_the_views_add_up(maps: list[PosedDepthMap]) -> None:
    confidence = maps[0].confidence.clone()
    confidence[:10] = 0.5
    told: list[ViewCounts] = []
    fused = fuse([replace(maps[0], confidence=confidence), *maps[1:]], progress=told.append)
    first = fused.views[0]
    assert first.pixels == 48 * 64
    assert first.known == int((maps[0].depth > 0).sum())
    assert first.confident == int((maps[0].depth[10:] > 0).sum())
    for count in fused.views:
        assert count.pixels >= count.known >= count.confident >= count.consistent >= count.fused
    assert sum(count.fused for count in fused.views) == len(fused.cloud)
    assert sorted(told, key=lambda count: count.name) == list(fused.views)
    plain = fuse(maps, FusionRules(visibility=False))
    assert all(count.fused == count.consistent for count in plain.views)


def test_plain_rule_is_the_mean_of_the_depths_that_agree(maps: list[PosedDepthMap]) -> None:
    """Without visibility, each view gives the points of its filtered pixels, as the public ports do."""
    plain = fuse(maps, FusionRules(visibility=False)).cloud
    start = 0
    for index, view in enumerate(maps):
        passed = filter_view(maps, index, FusionRules())
        column, row = passed.pixels.numpy().T
        rays = np.linalg.inv(view.K.numpy()) @ np.stack((column, row, np.ones_like(row)))
        points = view.world_T_cam.numpy()[:3, :3] @ (rays * passed.depth.numpy()) + view.world_T_cam.numpy()[:3, 3:]
        assert_same(torch.from_numpy(plain.points[start : start + len(row)]), torch.from_numpy(points.T).float())
        start += len(row)
    assert start == len(plain)


def test_maps_may_be_read_from_files_on_access(maps: list[PosedDepthMap], cloud: PointCloud, tmp_path: Path) -> None:
    for view in maps:
        write_pfm(tmp_path / f"{view.name}.pfm", view.depth)

    class Stored(Sequence[PosedDepthMap]):
        def __len__(self) -> int:
            return len(maps)

        def __getitem__(self, index: int) -> PosedDepthMap:  # type: ignore[override]
            return maps[index].with_depth(read_pfm(tmp_path / f"{maps[index].name}.pfm").double())

    stored = fuse(Stored()).cloud
    assert abs(len(stored) - len(cloud)) <= 0.001 * len(cloud)
    apart, _ = cKDTree(cloud.points).query(stored.points)
    assert np.quantile(apart, 0.99) < 1e-5


def test_a_finer_view_gives_its_detail_and_a_coarser_one_what_is_left() -> None:
    fine, coarse = ball_maps(), ball_maps(h=24, w=32)
    half = 9
    mixed = [
        *(replace(view, sources=(*view.sources, index + half)) for index, view in enumerate(fine)),
        *(
            replace(view, name=f"1{view.name}", sources=(index, *(half + source for source in view.sources)))
            for index, view in enumerate(coarse)
        ),
    ]
    fused = fuse(mixed)
    for _ in range(50):  # shapes of a tuple are checked for one item, chosen at random
        replace(fused)
    counts = fused.views
    assert sum(count.fused for count in counts[:half]) > 0.9 * sum(count.fused for count in counts)
    assert all(0 < count.consistent for count in counts[half:])


@pytest.mark.parametrize(("origin", "dtype"), [(0.0, np.float32), (5e6, np.float64)], ids=["near", "far"])
def test_points_far_from_the_origin_keep_their_digits_also_in_a_file(
    maps: list[PosedDepthMap], tmp_path: Path, origin: float, dtype: type
) -> None:
    shift = torch.eye(4, dtype=torch.float64)
    shift[0, 3] = origin
    here, cloud = fuse(maps).cloud, fuse(changed(maps, world_T_cam=[shift @ view.world_T_cam for view in maps])).cloud
    assert cloud.points.dtype == dtype
    write_cloud(tmp_path / "ball.ply", cloud)
    read = in_order(read_cloud(tmp_path / "ball.ply"))
    assert_same(torch.from_numpy(read), torch.from_numpy(in_order(cloud)))
    apart, _ = cKDTree(here.points).query(read[:, :3] - np.array([origin, 0, 0]))
    assert np.quantile(apart, 0.99) < 1e-5


@pytest.mark.parametrize(("detail", "dtype"), [(0.1, np.float64), (100.0, np.float64), (1000.0, np.float32)])
def test_single_precision_moves_points_by_a_thousandth_of_a_detail_at_most(detail: float, dtype: type) -> None:
    points = np.array([[500_000.0, 5_400_000.25, 300.0]])  # of which single precision takes a quarter of a metre
    assert single_if_enough(points, detail).dtype == dtype
    assert single_if_enough(points - points.round(), detail).dtype == np.float32


@pytest.mark.real
def test_sensor_depths_of_a_real_room_fuse(shared_data: Path) -> None:
    folder = next(path for path in sorted((shared_data / "7scenes" / "redkitchen").glob("seq-*")) if path.is_dir())
    recording = SevenScenesRecording(folder, focal=585.0, depth="required")
    indices = list(range(0, len(recording), max(1, len(recording) // 10)))[:10]
    clip = recording.clip(indices)
    assert clip.depth is not None
    assert clip.world_T_cam is not None
    maps = []
    for place in range(len(indices)):
        depth = clip.depth[place, ::4, ::4].contiguous()
        maps.append(
            PosedDepthMap(
                name=str(place),
                depth=depth,
                confidence=(depth > 0).float(),
                K=subsample_intrinsics(clip.K[place], 4),
                world_T_cam=clip.world_T_cam[place],
                image=clip.image[place, :, ::4, ::4].contiguous(),
                sources=tuple(other for other in range(len(indices)) if other != place),
                depth_range=(0.3, 8.0),
            )
        )
    rules = FusionRules(min_confidence=0.5, max_relative=0.03, max_pixels=2.0, min_consistent=2)
    fused = fuse(maps, rules)
    known = sum(count.known for count in fused.views)
    consistent = sum(count.consistent for count in fused.views)
    assert consistent > 0.3 * known
    assert len(fused.cloud) < 0.6 * consistent

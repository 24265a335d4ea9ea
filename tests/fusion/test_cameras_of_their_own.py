"""Views whose K differ, with skew and with other focal lengths across and down, against matrices multiplied out."""

import numpy as np
import torch

from ball_scene import look_at
from checks import assert_same
from vo3d.depth_map import PosedDepthMap
from vo3d.fusion.filtering import FusionRules, reproject
from vo3d.fusion.fuse import fuse

K_VIEW = [[50.0, 3.0, 21.0], [0.0, 64.0, 14.0], [0.0, 0.0, 1.0]]
K_SOURCE = [[40.0, -2.0, 19.0], [0.0, 31.0, 17.0], [0.0, 0.0, 1.0]]
SIZE = (32, 40)


def flat_map(name: str, K: list[list[float]], world_T_cam: torch.Tensor, depth: float, source: int) -> PosedDepthMap:
    """One depth everywhere: interpolation changes nothing."""
    depths = torch.full(SIZE, depth, dtype=torch.float64)
    return PosedDepthMap(
        name=name,
        depth=depths,
        confidence=torch.ones_like(depths),
        K=torch.tensor(K, dtype=torch.float64),
        world_T_cam=world_T_cam,
        image=torch.full((3, *SIZE), 0.5, dtype=torch.float64),
        sources=(source,),
        depth_range=(1.0, 9.0),
    )


def test_a_pixel_goes_to_the_source_by_its_k_and_comes_back_by_the_view_s() -> None:
    eyes = torch.tensor([[3.0, 0.2, 0.4], [2.9, 0.6, 0.1]], dtype=torch.float64)
    poses = [look_at(eye, torch.zeros(3, dtype=torch.float64)) for eye in eyes]
    view, source = flat_map("0", K_VIEW, poses[0], 3.1, 1), flat_map("1", K_SOURCE, poses[1], 2.9, 0)
    pixels = torch.tensor([[20.0, 15.0], [24.0, 11.0], [17.0, 19.0]], dtype=torch.float64)
    depth = torch.tensor([2.8, 3.0, 3.3], dtype=torch.float64)

    found = reproject(view, pixels, depth, source, max_depth_step=0.05)

    camera_0, camera_1 = np.array(K_VIEW), np.array(K_SOURCE)
    pose_0, pose_1 = (pose.numpy() for pose in poses)
    for row in range(3):
        ray = np.linalg.solve(camera_0, [*pixels[row].tolist(), 1.0])
        world = pose_0 @ [*(ray * float(depth[row])), 1.0]
        in_source = np.linalg.solve(pose_1, world)[:3]
        there = camera_1 @ in_source / in_source[2]
        assert 0 < there[0] < SIZE[1] - 1
        assert 0 < there[1] < SIZE[0] - 1
        back = np.linalg.solve(pose_0, pose_1 @ [*(np.linalg.solve(camera_1, there) * 2.9), 1.0])[:3]
        distance = np.linalg.norm((camera_0 @ back / back[2])[:2] - pixels[row].numpy())
        assert_same(found.pixels[row], torch.from_numpy(there[:2]))
        assert_same(found.expected[row], torch.tensor(in_source[2]))
        assert_same(found.depth[row], torch.tensor(back[2]))
        assert_same(found.distance[row], torch.tensor(distance))
        assert_same(found.difference[row], torch.tensor(abs(back[2] - float(depth[row])) / float(depth[row])))
        assert distance > 0.01  # the surface is not where the point was


def test_fused_points_lie_on_the_rays_of_their_own_k() -> None:
    here = torch.eye(4, dtype=torch.float64)
    maps = [flat_map("0", K_VIEW, here, 4.0, 1), flat_map("1", K_SOURCE, here, 4.0, 0)]
    fused = fuse(maps, FusionRules(visibility=False))
    start = 0
    for K, count in zip((K_VIEW, K_SOURCE), fused.views, strict=True):
        rows = fused.cloud.points[start : start + count.fused].astype(np.float64)
        start += count.fused
        assert count.fused > 300
        pixels = rows @ np.array(K).T / 4.0
        assert np.abs(pixels - np.rint(pixels)).max() < 1e-4  # whole pixels, each once
        assert len({tuple(pixel) for pixel in np.rint(pixels[:, :2]).astype(int).tolist()}) == count.fused
    assert start == len(fused.cloud)

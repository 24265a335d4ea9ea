"""Views of a tilted plane with a smooth random texture, made ray by ray: images and depths are exact."""

import torch
from torch.nn.functional import grid_sample, interpolate

from vo3d.geometry import backproject, pixel_grid, rays, se3
from vo3d.sample import Sample

NORMAL = (0.35, -0.25, 1.0)  # not of unit length: NORMAL . X = DISTANCE in the reference's frame
DISTANCE = 1.0  # metres


def textured_plane(
    *, views: int = 3, size: tuple[int, int] = (64, 80), baseline: float = 0.1, cells: int = 48, seed: int = 0
) -> Sample:
    """One sample of `views` views (batch axis of 1); sources lie around the reference and are turned a little.

    `cells` is the number of texture cells along the square metres that the reference sees.
    """
    h, w = size
    generator = torch.Generator().manual_seed(seed)
    texture = torch.rand(1, 3, cells, cells, generator=generator)
    texture = interpolate(texture, scale_factor=8, mode="bicubic", align_corners=False).clamp(0, 1)
    K = torch.tensor([[w, 0, (w - 1) / 2], [0, w, (h - 1) / 2], [0, 0, 1]], dtype=torch.float32)
    poses, images, depths = [], [], []
    for view in range(views):
        angle = torch.tensor(2.4 * view)
        radius = 0.0 if view == 0 else baseline
        x, y = radius * angle.cos(), radius * angle.sin()
        poses.append(se3.exp(torch.stack((x, y, 0 * x, 0.3 * y, -0.3 * x, 0 * x))))
        ray = rays(K, pixel_grid(h, w)) @ poses[-1][:3, :3].T  # h w 3, in the reference's frame
        normal = torch.tensor(NORMAL)
        depth = (DISTANCE - normal @ poses[-1][:3, 3]) / (ray @ normal)  # z of the view: its rays have z = 1
        points = se3.transform(poses[-1], backproject(K, depth))
        place = points[..., :2] / (1.2 * DISTANCE)  # the texture is drawn on x and y
        images.append(
            grid_sample(texture, place[None], mode="bilinear", padding_mode="reflection", align_corners=False)
        )
        depths.append(depth)
    s = len(poses)
    depth = torch.stack(depths)
    near_far = torch.tensor([0.9 * float(depth[0].min()), 1.1 * float(depth[0].max())])
    return Sample(
        image=torch.cat(images)[None],
        K=K.expand(1, s, 3, 3),
        world_T_cam=torch.stack(poses)[None].double(),
        depth=depth[None],
        depth_range=near_far.expand(1, s, 2),
        scene=["plane"],
    )

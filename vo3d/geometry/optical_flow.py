"""Optical flow without learning: of a static world by its depth, and of two images by OpenCV's dense search.

Convention: flow is in pixels, (x, y), from each view of a clip to the next: pixel p is seen at p + flow(p) there.
"""

from math import prod
from typing import Literal

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.grey import grey_image
from vo3d.geometry.precision import full_precision
from vo3d.geometry.warp import reproject

Preset = Literal["ultrafast", "fast", "medium"]

PRESETS: dict[str, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


@full_precision
def rigid_flow(
    depth: Float[Tensor, "*b s h w"], K: Float[Tensor, "*b s 3 3"], world_T_cam: Float[Tensor, "*b s 4 4"]
) -> Float[Tensor, "*b s-1 2 h w"]:
    """Compute the flow of a world in which nothing moves, by depth (z, metres) and poses of the views of a clip.

    Where the depth is 0, negative or not finite, the point is taken for one that is infinitely far, as the sky is: it
    moves with the camera's rotation alone, by the homography K R K^-1 of the plane at infinity. NaN where the point
    comes to lie behind the next camera.

    Source: Hartley and Zisserman, "Multiple view geometry", 2nd edition, section 13.4.
    """
    next_T_cam = se3.relative(world_T_cam[..., 1:, :, :], world_T_cam[..., :-1, :, :]).to(depth)
    turn = se3.from_rotation_translation(next_T_cam[..., :3, :3], torch.zeros_like(next_T_cam[..., :3, 3]))
    depth = depth[..., :-1, :, :]
    K, K_next = K[..., :-1, :, :], K[..., 1:, :, :]
    known = (depth > 0) & depth.isfinite()
    near, _ = reproject(depth, K, next_T_cam, K_next)
    far, _ = reproject(torch.ones_like(depth), K, turn, K_next)  # without a translation any depth does
    grid = pixel_grid(*depth.shape[-2:], dtype=depth.dtype, device=depth.device)
    return (torch.where(known[..., None], near, far) - grid).movedim(-1, -3)


def dense_flow(image: Float[Tensor, "*b s 3 h w"], preset: Preset = "medium") -> Float[Tensor, "*b s-1 2 h w"]:
    """Find the flow between the views of a clip (RGB in [0, 1]) by OpenCV's dense inverse search on grey images.

    Every pixel gets one, also those that the next view does not show. Raises Vo3dError for images that are too small
    for the preset, and for a preset that is none.

    Source: Kroeger, Timofte, Dai, Van Gool, "Fast optical flow using dense inverse search", ECCV 2016.
    """
    check_preset(preset)
    search = cv2.DISOpticalFlow.create(PRESETS[preset])
    *batch, views, _, h, w = image.shape
    # OpenCV halves images as often as the finest scale says, and reads beyond the border of what is less than a patch.
    least = search.getPatchSize() << search.getFinestScale()
    if min(h, w) < least:
        raise Vo3dError(
            f"images of {w}x{h} pixels: dense flow ({preset}) needs at least {least} a side: give larger images"
        )
    found = torch.empty(prod(batch), views - 1, h, w, 2)
    for flows, clip in zip(found, image.reshape(len(found), views, 3, h, w), strict=True):
        grey = [grey_image(view) for view in clip]
        for flow, view, following in zip(flows, grey, grey[1:], strict=False):
            flow.copy_(torch.from_numpy(search.calc(view, following, None)))  # type: ignore[call-overload]  # no None
    return found.movedim(-1, -3).reshape(*batch, views - 1, 2, h, w).to(image)


def check_preset(preset: str) -> None:
    """Raise Vo3dError unless OpenCV's search has the preset."""
    if preset not in PRESETS:
        raise Vo3dError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")

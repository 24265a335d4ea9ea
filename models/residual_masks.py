"""Residual masks: moving objects without learning, where the images move otherwise than a static world would."""

from itertools import product
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.optical_flow import Preset, check_preset, dense_flow, rigid_flow
from vo3d.model import Model, Prediction
from vo3d.sample import Sample


class ResidualMasks(Model):
    """Takes for moving what OpenCV's dense flow sees move otherwise than the true depth and camera explain.

    Pixels whose flow differs from the rigid flow by more than a threshold are joined into connected components (of
    eight neighbours). The largest are a mask each, in the order of their size; where there are fewer, the last masks
    are empty. Not judged, and so static, are points that the camera's motion carries out of the next image or behind
    its camera: no flow can be found there.

    Camera and depth are the truth, the flow is not: where it fails (what gets hidden, the ground nearby, fast objects)
    static parts are taken for moving, and the other way round.

    Args:
        threshold: Pixels by which the flows may differ.
        min_pixels: A component of fewer is removed.
        num_masks: The k of the masks that are given.
        preset: Of the dense flow, "ultrafast", "fast" or "medium": the slower, the finer.

    Raises:
        Vo3dError: an argument is out of its range.

    See `vo3d.geometry.optical_flow` for both flows.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K", "depth", "world_T_cam")
    gives: ClassVar[tuple[str, ...]] = ("mask",)
    baseline = "residual_masks"

    def __init__(
        self, threshold: float = 1.0, min_pixels: int = 50, num_masks: int = 8, preset: Preset = "medium"
    ) -> None:
        super().__init__()
        if not threshold > 0:
            raise Vo3dError(f"threshold {threshold:g}: expected pixels, more than 0")
        for name, count in (("min_pixels", min_pixels), ("num_masks", num_masks)):
            if count < 1:
                raise Vo3dError(f"{name} {count}: expected at least 1")
        check_preset(preset)
        self.threshold, self.min_pixels, self.num_masks = threshold, min_pixels, num_masks
        self.preset: Preset = preset

    def forward(self, sample: Sample) -> Prediction:
        """Give masks of 0 and 1 in the earlier view of each pair, b s-1 k h w; of one view, none (s-1 = 0).

        Raises Vo3dError where the sample lacks K, depth or poses, and for images that are too small for the preset.
        """
        if sample.K is None or sample.depth is None or sample.world_T_cam is None:
            raise Vo3dError("ResidualMasks needs K, depth and world_T_cam: choose a dataset with true depth and poses")
        b, s, _, h, w = sample.image.shape
        static = rigid_flow(sample.depth, sample.K, sample.world_T_cam)
        landing = static + pixel_grid(h, w, dtype=static.dtype, device=static.device).movedim(-1, 0)
        beyond = landing.new_tensor((w, h))[:, None, None] - 0.5
        inside = ((landing >= -0.5) & (landing < beyond)).all(dim=-3)  # false of NaN
        moving = inside & ((dense_flow(sample.image, self.preset) - static).norm(dim=-3) > self.threshold)
        mask = sample.image.new_zeros(b, s - 1, self.num_masks, h, w)
        for row, pair in product(range(b), range(s - 1)):
            for place, component in enumerate(self._components(moving[row, pair])):
                mask[row, pair, place] = component
        return {"mask": mask}

    def _components(self, moving: Bool[Tensor, "h w"]) -> list[Bool[Tensor, "h w"]]:
        """Find the largest connected components, at most `num_masks`, from the largest on."""
        _, label, stats, _ = cv2.connectedComponentsWithStats(moving.byte().cpu().numpy(), connectivity=8)
        area = stats[1:, cv2.CC_STAT_AREA]  # without the background
        largest = [place for place in np.argsort(-area, kind="stable") if area[place] >= self.min_pixels]
        return [torch.from_numpy(label == place + 1).to(moving.device) for place in largest[: self.num_masks]]

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("ResidualMasks has no parameters to train: evaluate it instead")

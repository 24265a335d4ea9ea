"""Semi-global stereo: OpenCV's matching of a rectified pair, the depth without learning where there is a right view."""

from math import ceil
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.grey import grey_image
from vo3d.model import DepthModel, Prediction, Window
from vo3d.sample import Sample

SIXTEENTHS = 16  # OpenCV counts disparities in sixteenths of a pixel, and searches a multiple of 16 pixels


class SemiGlobalStereo(DepthModel):
    """Matches left and right rows by OpenCV's `StereoSGBM` on grey images, and gives metric depth where it is sure.

    Depth is f B / d of the disparity d, with the focal length f of K in pixels and the baseline B in metres; 0 where it
    found none: what only the left view sees, what is not unique or consistent, the columns at the left
    border that are as many as the disparities searched, and what is infinitely far.

    Args:
        near: Metres: the nearest depth that is looked for, which says how many disparities are searched.
        block_size: Pixels of the side of the blocks that are compared, odd.
        uniqueness: Percent by which the best match must beat the second.

    Raises:
        Vo3dError: an argument is out of its range.

    Source: Hirschmueller, "Stereo processing by semiglobal matching and mutual information", PAMI 2008; penalties for
    steps of disparity of 8 and 32 times the pixels of a block, as OpenCV's documentation proposes.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K", "right", "left_T_right")
    gives: ClassVar[tuple[str, ...]] = ("depth",)
    window = Window(views=1, overlap=0)
    baseline = "semi_global"

    def __init__(self, near: float = 3.0, block_size: int = 5, uniqueness: int = 10) -> None:
        super().__init__()
        if not near > 0:
            raise Vo3dError(f"near {near:g}: expected metres, more than 0")
        if block_size < 1 or block_size % 2 == 0:
            raise Vo3dError(f"block_size {block_size}: expected an odd number of pixels")
        if not 0 <= uniqueness < 100:
            raise Vo3dError(f"uniqueness {uniqueness}: expected a percentage from 0 to 99")
        self.near, self.block_size, self.uniqueness = near, block_size, uniqueness

    def forward(self, sample: Sample) -> Prediction:
        """Give the depth of the left view, b s h w; Vo3dError for pairs that cannot be matched."""
        if sample.K is None or sample.right is None or sample.left_T_right is None:
            raise Vo3dError("SemiGlobalStereo needs K, right and left_T_right: choose a dataset of stereo pairs")
        b, s, _, h, w = sample.image.shape
        baselines = sample.left_T_right[:, 0, 3].tolist()
        depth = torch.zeros(b, s, h, w)
        for row, baseline in enumerate(baselines):
            if not baseline > 0:
                raise Vo3dError(
                    f"the right camera is {baseline:g} m to the right of the left one: expected more than 0; correct "
                    "left_T_right, or exchange the images"
                )
            for view in range(s):
                scale = float(sample.K[row, view, 0, 0]) * baseline
                pair = grey_image(sample.image[row, view]), grey_image(sample.right[row, view])
                disparity = torch.from_numpy(self._match(*pair, ceil(scale / self.near)))
                depth[row, view] = torch.where(disparity > 0, scale / disparity.clamp(min=1 / SIXTEENTHS), 0)
        return {"depth": depth.to(sample.image)}

    def _match(self, left: UInt8[ndarray, "h w"], right: UInt8[ndarray, "h w"], most: int) -> Float32[ndarray, "h w"]:
        """Find disparities in pixels up to `most`; 0 or less where there is none."""
        num = SIXTEENTHS * ceil(most / SIXTEENTHS)
        if num >= left.shape[1]:
            raise Vo3dError(
                f"depths from {self.near:g} m on have disparities up to {most} pixels, and the images are "
                f"{left.shape[1]} wide: give a larger near, or larger images"
            )
        matcher = cv2.StereoSGBM.create(
            minDisparity=0,
            numDisparities=num,
            blockSize=self.block_size,
            P1=8 * self.block_size**2,
            P2=32 * self.block_size**2,
            disp12MaxDiff=1,  # pixels
            uniquenessRatio=self.uniqueness,
            speckleWindowSize=100,  # pixels
            speckleRange=2,
        )
        return matcher.compute(left, right).astype(np.float32) / SIXTEENTHS

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("SemiGlobalStereo has no parameters to train: evaluate it instead")

"""The views of a clip: their images, one file each, and the inertial readings between them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.resize import Size, resize_image
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image

DepthChoice = Literal["none", "required", "where present"]


def read_views(files: Sequence[Path], size: Size | None) -> tuple[Float32[Tensor, "s 3 h w"], Size]:
    """The images of `files` as RGB in [0, 1], resized to `size` one by one, and their size on disk.

    Raises Vo3dError naming the file when an image is missing or damaged, or differs in size from the first.
    """
    views: list[Tensor] = []
    original: list[Size] = []
    for path in files:
        view = read_image(path)
        original.append((view.shape[-2], view.shape[-1]))
        if original[-1] != original[0]:
            (height, width), (first_height, first_width) = original[-1], original[0]
            raise Vo3dError(
                f"{path}: is {width}x{height} pixels and {files[0].name} is {first_width}x{first_height}: "
                "expected one size in a recording"
            )
        views.append(view if size is None else resize_image(view, size))
    return torch.stack(views), original[0]


def readings_between(
    steps: Float64[Tensor, "steps n c"], indices: Sequence[int], name: str
) -> Float64[Tensor, "s readings c"]:
    """The inertial readings since the previous view of a clip, NaN for its first view, as `Sample.imu` wants them.

    `steps[i]` holds the readings between the frames i and i + 1 of the recording called `name`, or their instants.
    Raises Vo3dError unless `indices` ascend at one distance: other clips have no tensor of readings.
    """
    strides = {later - earlier for earlier, later in pairwise(indices)} or {1}
    stride = min(strides)
    if len(strides) > 1 or stride < 1:
        raise Vo3dError(f"views {list(indices)} of {name!r} with imu: expected ascending views at one distance")
    since = [steps[index - stride : index].flatten(0, 1) for index in list(indices)[1:]]
    first = steps.new_full((stride * steps.shape[1], steps.shape[2]), torch.nan)
    return torch.stack([first, *since])


def check_frames(frames: tuple[int, int] | None) -> None:
    """Raise Vo3dError unless `frames` is None or a range: first, and last exclusive."""
    if frames is not None and not 0 <= frames[0] < frames[1]:
        raise Vo3dError(f"frames {frames[0]} to {frames[1]} is no range: expected 0 <= first < last (exclusive)")

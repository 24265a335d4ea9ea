"""A recording seen at another size and shape, for models that know one: cut around the middle, then resized."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from vo3d.datasets.around import RecordingAround
from vo3d.datasets.resize import PIXELS, Size, changed, check_size, resize
from vo3d.geometry.camera import crop_intrinsics
from vo3d.recording import Recording
from vo3d.sample import Sample


def cut_to(sample: Sample, size: Size) -> Sample:
    """Cut the largest window with the shape of `size` (height, width) around the middle of a clip, and resize it.

    K moves with the window. Nothing is squeezed, but for the rounding of a side to whole pixels.
    """
    check_size(size)
    height, width = sample.image.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    window = min(height, round(size[0] / scale)), min(width, round(size[1] / scale))
    top, left = (height - window[0]) // 2, (width - window[1]) // 2
    rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
    inside = replace(
        sample,
        **changed(sample, PIXELS, lambda pixels: pixels[..., rows, columns]),
        **changed(sample, ("K",), lambda K: crop_intrinsics(K, left, top)),
    )
    return resize(inside, size)


def at_size(recording: Recording, size: Size | None) -> Recording:
    """Give a recording at a size, cut to its shape; as it is if None."""
    return recording if size is None else CutRecording(recording, size)


class CutRecording(RecordingAround):
    """The views of another recording through `cut_to`.

    Args:
        recording: at the size of its files.
        size: height and width of the views.
    """

    def __init__(self, recording: Recording, size: Size) -> None:
        check_size(size)
        super().__init__(recording)
        self.size = size

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`, one after the other: those of files may be large."""
        views = [cut_to(self.recording.clip([index]), self.size) for index in indices]
        whole = ("left_T_right", "cam_T_imu")  # have no axis of views
        per_view = [name for name in views[0].given() if name not in {*whole, "scene"}]
        joined: dict[str, Any] = {name: torch.cat([getattr(view, name) for view in views]) for name in per_view}
        if (readings := self.inertial()) is not None:
            joined |= readings.since_previous(indices, self.name)
        return replace(views[0], **joined)

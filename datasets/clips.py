"""Clips of equal length taken from recordings: what every dataset of sequences is made of."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from vo3d.errors import Vo3dError
from vo3d.recording import Recording, RecordingDataset, Transform


@dataclass(frozen=True)
class Segments:
    """Clips by temporal segments: one frame out of each of `clip_length` equal parts of a recording.

    The frames ascend, so steps between them are those of a faster camera. A recording with fewer frames than a clip has
    views gives some of them several times, one after the other. Inertial readings want views at one distance: give the
    dataset no `imu` beside random frames.

    Source: Wang, Xiong, Wang, Qiao, Lin, Tang, Van Gool, "Temporal Segment Networks", ECCV 2016.

    Args:
        random: a random frame of each segment, anew in each epoch, for training; otherwise its middle, for evaluation.
        frames: of the window that is cut into segments, one window every `clip_step` frames; None: the whole recording,
            which then gives one clip.
    """

    random: bool = True
    frames: int | None = None

    def borders(self, num_frames: int, clip_length: int) -> tuple[list[int], list[int]]:
        """Return each segment's first frame of `num_frames` frames, and the frame behind its last; none is empty."""
        starts = [part * num_frames // clip_length for part in range(clip_length)]
        stops = [max((part + 1) * num_frames // clip_length, start + 1) for part, start in enumerate(starts)]
        return starts, stops


class NumberedDataset(RecordingDataset):
    """Samples that are numbered group by group: what datasets of clips and of references have in common.

    Args:
        counts: number of samples in each group.
        transforms, seed: augmentation, see `RecordingDataset`; Vo3dError for a seed below 0.
    """

    def __init__(self, counts: Iterable[int], transforms: Sequence[Transform], seed: int) -> None:
        if seed < 0:
            raise Vo3dError(f"seed is {seed}: expected a whole number of at least 0")
        self.transforms = list(transforms)
        self.seed = seed
        self._starts = [0, *accumulate(counts)]  # number of the first sample of each group, and of all samples

    def __len__(self) -> int:
        """Number of samples."""
        return self._starts[-1]

    def group(self, index: int) -> tuple[int, int]:
        """Return the group of sample `index` and the sample's number in it.

        Raises IndexError outside of 0 .. len - 1, negative numbers included.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        which = bisect_right(self._starts, index) - 1
        return which, index - self._starts[which]


class ClipDataset(NumberedDataset):
    """Clips of `clip_length` views that never cross the border of a recording.

    A clip starts every `clip_step` frames and takes every `frame_stride`-th frame; of several strides, each gives clips
    of its own, so that a network also learns motions faster than the recorded ones. `clip_step=1` gives a sliding
    window; `clip_step=(clip_length - 1) * frame_stride` gives segments in which the last view of one is the first view
    of the next, so that their relative poses chain without a gap. Frames at the end of a recording that do not fill a
    clip are left out. With `segments`, clips are cut as `Segments` says, and `frame_stride` stays 1.

    Random frames, too, are drawn from (`seed`, epoch, clip) alone, see `RecordingDataset`.

    Raises Vo3dError when there is no recording, one comes twice, or one is too short for a clip.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        *,
        clip_length: int = 2,
        clip_step: int = 1,
        frame_stride: int | Sequence[int] = 1,
        segments: Segments | None = None,
        transforms: Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        strides = [frame_stride] if isinstance(frame_stride, int) else list(frame_stride)
        lowest = {"clip_length": clip_length, "clip_step": clip_step, "frame_stride": min(strides, default=0)}
        for name, value in lowest.items():
            if value < 1:
                raise Vo3dError(f"{name} is {value}: expected a whole number of at least 1")
        if segments is not None and segments.frames is not None and segments.frames < clip_length:
            raise Vo3dError(
                f"segments.frames is {segments.frames}: expected at least clip_length, which is {clip_length}, or null"
            )
        if segments is not None and strides != [1]:
            raise Vo3dError(f"frame_stride is {strides} beside segments: expected 1, the segments space the frames")
        if not recordings:
            raise Vo3dError("no recording to take clips from: name at least one sequence")
        names = [recording.name for recording in recordings]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise Vo3dError(f"recording {twice!r} is asked for twice: name each sequence or seed once")
        self.recordings = list(recordings)
        self.clip_length = clip_length
        self.clip_step = clip_step
        self.segments = segments
        # clips are numbered recording by recording, and within one stride by stride
        self._groups = [(recording, stride) for recording in self.recordings for stride in strides]
        numbers = []
        for recording, stride in self._groups:
            span = max(self._span(recording, stride), 1)
            if len(recording) < span:
                raise Vo3dError(
                    f"recording {recording.name!r} has {len(recording)} frames: a clip of {clip_length} views at "
                    f"frame_stride {stride} needs {span}; shorten clip_length or leave the recording out"
                )
            numbers.append((len(recording) - span) // clip_step + 1)
        super().__init__(numbers, transforms, seed)

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Return the recording of clip `index` and the indices of its frames, without reading them."""
        which, number = self.group(index)
        recording, stride = self._groups[which]
        first = number * self.clip_step
        if self.segments is None:
            return recording, [first + view * stride for view in range(self.clip_length)]
        starts, stops = self.segments.borders(self._span(recording, stride), self.clip_length)
        if self.segments.random:
            # a key of its own: the transforms go on drawing what they draw without segments
            words = np.random.SeedSequence([self.seed, self.epoch, index], spawn_key=(1,))
            places: list[int] = np.random.default_rng(words).integers(starts, stops).tolist()
        else:
            places = [start + (stop - start) // 2 for start, stop in zip(starts, stops, strict=True)]
        return recording, [first + place for place in places]

    def _span(self, recording: Recording, stride: int) -> int:
        """Return the number of frames from the first to the last that a clip may take."""
        if self.segments is None:
            return (self.clip_length - 1) * stride + 1
        return min(len(recording), self.segments.frames or len(recording))

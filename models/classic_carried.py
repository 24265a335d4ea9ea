"""The classic pipeline with a scale that points carry from key frame to key frame: one tracker along all clips."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from vo3d.mapping.features import Grey
from vo3d.mapping.key_frames import KeyFrameTracker
from vo3d.model import Prediction, check_continues
from vo3d.sample import Sample


def carried_steps(
    samples: Iterable[Sample],
    make_tracker: Callable[[], KeyFrameTracker],
    views: Callable[[Sample], Iterable[tuple[Grey, Float64[ndarray, "3 3"]]]],
) -> Iterator[Prediction]:
    """Follow clip after clip, each beginning with the last view of the one before; answer each when it is settled.

    Args:
        samples: the clips, of a batch or without a batch axis.
        make_tracker: makes one for each clip of a batch.
        views: image and K of each view of one clip.

    Raises Vo3dError where a clip does not go on where the one before ended.
    """
    trackers: list[KeyFrameTracker] = []
    waiting: deque[tuple[Sample, int, int]] = deque()  # clips, with the numbers of their first frames and the ends
    last: Tensor | None = None
    for sample in samples:
        last = check_continues(sample, last)
        batched = sample.image.ndim == 5
        clips = [sample.map(itemgetter(row)) for row in range(len(sample.image))] if batched else [sample]
        trackers = trackers or [make_tracker() for _ in clips]
        shared = min(1, len(trackers[0].poses))  # views that the clip before held too
        for tracker, clip in zip(trackers, clips, strict=True):
            for image, K in list(views(clip))[shared:]:
                tracker.add(image, K)
        count = len(trackers[0].poses)
        waiting.append((sample, count - sample.image.shape[-4], count))
        while waiting and waiting[0][2] <= min(tracker.settled for tracker in trackers):
            yield _steps(trackers, *waiting.popleft())
    for tracker in trackers:
        tracker.end()
    while waiting:
        yield _steps(trackers, *waiting.popleft())


def _steps(trackers: Sequence[KeyFrameTracker], sample: Sample, first: int, stop: int) -> Prediction:
    """Give the steps from frame to frame of a clip, as the trackers have them."""
    poses = np.stack([tracker.poses[first:stop] for tracker in trackers])
    prev_T_cam = torch.from_numpy(np.linalg.inv(poses[:, :-1]) @ poses[:, 1:]).to(sample.image)
    tracked = torch.tensor([tracker.told[first + 1 : stop] for tracker in trackers], device=sample.image.device)
    if sample.image.ndim == 4:
        prev_T_cam, tracked = prev_T_cam[0], tracked[0]
    return {"prev_T_cam": prev_T_cam, "tracked": tracked}

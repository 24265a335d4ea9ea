"""Rendered drives for multi-view stereo: frames of a street as views of one scene, with exact depth."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.multiview import MultiViewDataset
from vo3d.datasets.seeds import distinct_seeds
from vo3d.errors import Vo3dError
from vo3d.geometry.view_selection import best_sources, frustum_scores
from vo3d.recording import MultiViewScene
from vo3d.sample import Sample
from vo3d.world.recorder import Recorder, Sensor

DEPTH_RANGE = (3.0, 60.0)  # metres: from the bonnet to where a metre of baseline is an angle of one degree
TYPICAL_DEPTH = 12.0  # metres, at which views are scored: near the geometric middle of the range
SOURCES = 10


class StreetScene(MultiViewScene):
    """The frames of one rendered drive, each with those that see the same surfaces under a useful angle.

    Depth is exact, and 0 outside of `depth_range` and on things that move: views of other instants do not agree there.

    Args:
        seed: of everything random.
        size: height and width in pixels, even numbers.
        frames: length of the drive, 10 a second.
        depth_range: near and far, metres, of every view.
    """

    def __init__(
        self, seed: int, size: tuple[int, int], *, frames: int = 40, depth_range: tuple[float, float] = DEPTH_RANGE
    ) -> None:
        if not 0 < depth_range[0] < depth_range[1]:
            raise Vo3dError(f"depth_range {depth_range}: expected 0 < near < far, in metres")
        self.recorder = Recorder("street", seed, frames, size, Sensor())
        self.name, self.depth_range = f"street-{seed:04d}", depth_range
        self.names = [f"{index:06d}" for index in range(frames)]
        K = self.recorder.camera.K.expand(frames, 3, 3)
        scores = frustum_scores(K, self.poses(), [size] * frames, TYPICAL_DEPTH)
        self._sources = [sources for sources, _ in best_sources(scores, SOURCES)]

    def __len__(self) -> int:
        return self.recorder.frames

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """`world_T_cam` of every frame, metres; the first is the identity."""
        return self.recorder.poses()

    def sources(self, index: int) -> Sequence[int]:
        """The best partners by `vo3d.geometry.view_selection.frustum_scores`, best first."""
        return self._sources[index]

    def clip(self, indices: Sequence[int]) -> Sample:
        """The frames at `indices`, in that order, with exact depth; Vo3dError for an index outside."""
        for index in indices:
            if not 0 <= index < len(self):
                raise Vo3dError(f"frame {index} of {self.name!r}: expected 0 to {len(self) - 1}")
        frames = [self.recorder.frame(index) for index in indices]
        near, far = self.depth_range
        depth = torch.stack([cast(Tensor, frame.depth) for frame in frames])
        mask = torch.stack([cast(Tensor, frame.mask) for frame in frames])
        matched = (mask == 0) & (depth >= near) & (depth <= far)
        return Sample(
            image=torch.stack([frame.image for frame in frames]).float() / 255,
            K=self.recorder.camera.K.float().expand(len(frames), 3, 3).clone(),
            world_T_cam=self.poses()[list(indices)],
            depth=torch.where(matched, depth, 0.0),
            depth_range=torch.tensor(self.depth_range).expand(len(frames), 2).clone(),
            scene=self.name,
            index=torch.tensor(list(indices)),
        )


class StreetViews(MultiViewDataset):
    """Reference and source views of rendered drives: one sample for each frame of each seed.

    Args:
        seeds: one drive each, as numbers or as "first-last"; keep those of training, validation and test apart.
        size, frames, depth_range: see `StreetScene`.
        num_views, transforms: see `MultiViewDataset`; `seed` there is `augmentation_seed` here.
    """

    def __init__(
        self,
        seeds: Sequence[int] | str = (0,),
        size: tuple[int, int] = (128, 160),
        *,
        frames: int = 40,
        depth_range: tuple[float, float] = DEPTH_RANGE,
        augmentation_seed: int = 0,
        **views: Any,
    ) -> None:
        scenes = [
            StreetScene(seed, (size[0], size[1]), frames=frames, depth_range=depth_range)
            for seed in distinct_seeds(seeds)
        ]
        super().__init__(scenes, seed=augmentation_seed, **views)

"""Rendered drives for multi-view stereo: frames of a street as views of one scene, with exact depth."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vo3d.datasets.lenses import pinhole, undo_lens, virtual_camera
from vo3d.datasets.multiview import MultiViewDataset, RenderedScene
from vo3d.geometry.view_selection import best_sources, frustum_scores
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor, chosen_sensor
from vo3d.world.visit import Visit, several_seeds

DEPTH_RANGE = (3.0, 60.0)  # metres: from the bonnet to where a metre of baseline is an angle of one degree
TYPICAL_DEPTH = 12.0  # metres, at which views are scored: near the geometric middle of the range
SOURCES = 10


class StreetScene(RenderedScene):
    """The frames of one rendered drive, each with those that see the same surfaces under a useful angle.

    Depth is exact, and 0 outside of `depth_range` and on things that move: views of other instants do not agree there.

    Args:
        seed: of everything random.
        size: height and width in pixels, even numbers.
        frames: length of the drive, 10 a second.
        depth_range: near and far, metres, of every view.
        sensor: the camera, or "drawn", as `vo3d.datasets.rendered.RenderedRecording` has it.
        visit: light and weather, traffic and so on, as there; the views of a camera that stands still hold no depth.
    """

    what = "frame"

    def __init__(
        self,
        seed: int,
        size: tuple[int, int],
        *,
        frames: int = 40,
        depth_range: tuple[float, float] = DEPTH_RANGE,
        sensor: Sensor | Literal["drawn"] | None = None,
        visit: Visit | None = None,
    ) -> None:
        chosen = chosen_sensor(sensor, seed)
        self.stored = virtual_camera(chosen, (size[0], size[1]))
        self.recorder = Recorder("street", seed, frames, size, chosen, visit=visit, K=pinhole(self.stored))
        K, poses = self.recorder.camera.K, self.recorder.poses()
        scores = frustum_scores(K.expand(frames, 3, 3), poses, [size] * frames, TYPICAL_DEPTH)
        sources = [best for best, _ in best_sources(scores, SOURCES)]
        super().__init__(f"street-{seed:04d}", K, poses, sources, depth_range)

    def view(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], Float[Tensor, "h w"]]:
        """Take a frame; its depth is 0 on things that move."""
        frame = self.recorder.frame(index)
        image = undo_lens(self.stored, frame.image.float() / 255)
        return (image * 255).round().to(torch.uint8), torch.where(frame.mask == 0, frame.depth, 0.0)


class StreetViews(MultiViewDataset):
    """Reference and source views of rendered drives: one sample for each frame of each seed.

    Args:
        seeds: one drive each, as numbers or as "first-last"; keep those of training, validation and test apart.
        size, frames, depth_range, sensor, visit: see `StreetScene`.
        num_views, transforms: see `MultiViewDataset`; `seed` there is `augmentation_seed` here.
    """

    def __init__(
        self,
        seeds: Sequence[int] | str = (0,),
        size: tuple[int, int] = (128, 160),
        *,
        frames: int = 40,
        depth_range: tuple[float, float] = DEPTH_RANGE,
        sensor: Sensor | Literal["drawn"] | None = None,
        visit: Visit | None = None,
        augmentation_seed: int = 0,
        **views: Any,
    ) -> None:
        super().__init__(
            [
                StreetScene(
                    seed, (size[0], size[1]), frames=frames, depth_range=depth_range, sensor=sensor, visit=visit
                )
                for seed in several_seeds(seeds, visit)
            ],
            seed=augmentation_seed,
            **views,
        )

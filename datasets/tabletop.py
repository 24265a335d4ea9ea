"""Rendered tables for multi-view stereo: views from a dome about things on a table, with exact depth."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.multiview import MultiViewDataset
from vo3d.datasets.seeds import distinct_seeds
from vo3d.errors import Vo3dError
from vo3d.recording import MultiViewScene
from vo3d.sample import Sample
from vo3d.world.dome import DEPTH_RANGE, LIGHTS, VIEWS
from vo3d.world.stills import Still, Stills


class TabletopScene(MultiViewScene):
    """The table of one seed under one light; a view is rendered when it is asked for.

    Images are rounded to 8 bits, as a file would. Depth is exact, and 0 outside of `depth_range`, as the truth of a
    scanned table is: what lies beyond it (floor, walls) is in the images only.

    Args:
        stills: the cameras and what they see; scenes that differ in the light alone may share it.
        light: 0 to 6; 3 has all lamps on.
        depth_range: near and far, metres, of every view.
        cache: keep rendered views in memory; a loader's workers each have their own cache, which lasts for more than
            one epoch only if they do (`persistent_workers`).
    """

    def __init__(
        self, stills: Stills, light: int, *, depth_range: tuple[float, float] = DEPTH_RANGE, cache: bool = False
    ) -> None:
        if not 0 < depth_range[0] < depth_range[1]:
            raise Vo3dError(f"depth_range {depth_range}: expected 0 < near < far, in metres")
        if not 0 <= light < LIGHTS:
            raise Vo3dError(f"light {light}: expected 0 to {LIGHTS - 1}")
        self.name = f"tabletop-{stills.seed:04d}-light{light}"
        self.names = [f"{index:08d}" for index in range(stills.views)]
        self.stills, self.light, self.depth_range = stills, light, depth_range
        self._cache: dict[int, Still] | None = {} if cache else None
        self._sources = stills.sources

    def __len__(self) -> int:
        return self.stills.views

    def __getstate__(self) -> dict[str, Any]:
        """A worker receives the scene without the views in its cache, and fills its own."""
        return {**self.__dict__, "_cache": None if self._cache is None else {}}

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """`world_T_cam` of every view, metres; the world's origin is the middle of the table."""
        return self.stills.world_T_cam

    def sources(self, index: int) -> Sequence[int]:
        """The best partners by the score of MVSNet for the angles between rays, best first."""
        return self._sources[index][0]

    def clip(self, indices: Sequence[int]) -> Sample:
        """The views at `indices`, in that order, with exact depth; Vo3dError for an index outside."""
        for index in indices:
            if not 0 <= index < len(self):
                raise Vo3dError(f"view {index} of {self.name!r}: expected 0 to {len(self) - 1}")
        stills = [self._still(index) for index in indices]
        near, far = self.depth_range
        depth = torch.stack([still.depth for still in stills])
        return Sample(
            image=torch.stack([still.image for still in stills]).float() / 255,
            K=self.stills.camera.K.float().expand(len(stills), 3, 3).clone(),
            world_T_cam=self.poses()[list(indices)],
            depth=torch.where((depth >= near) & (depth <= far), depth, 0.0),
            depth_range=torch.tensor(self.depth_range).expand(len(stills), 2).clone(),
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    def _still(self, index: int) -> Still:
        if self._cache is None:
            return self.stills.take(index, self.light)
        if index not in self._cache:
            self._cache[index] = self.stills.take(index, self.light)
        return self._cache[index]


class Tabletop(MultiViewDataset):
    """Reference and source views of rendered tables: one sample for each view of each seed and light.

    Args:
        seeds: one table each, as numbers or as "first-last"; keep those of training, validation and test apart.
        size: height and width in pixels.
        views_per_scene: cameras on the dome; fewer than 49 take a part of it.
        lights: those under which every table is seen, 0 to 6; None: one for each table, drawn from its seed.
        samples: rays a pixel in each direction.
        noise: standard deviation of white noise on the image.
        depth_range, cache: see `TabletopScene`.
        num_views, transforms: see `MultiViewDataset`; `seed` there is `augmentation_seed` here.
    """

    def __init__(
        self,
        seeds: Sequence[int] | str = (0,),
        size: tuple[int, int] = (128, 160),
        *,
        views_per_scene: int = VIEWS,
        lights: Sequence[int] | None = None,
        samples: int = 1,
        noise: float = 0.006,
        depth_range: tuple[float, float] = DEPTH_RANGE,
        cache: bool = False,
        augmentation_seed: int = 0,
        **views: Any,
    ) -> None:
        scenes = []
        for seed in distinct_seeds(seeds):
            stills = Stills(seed, (size[0], size[1]), views=views_per_scene, samples=samples, noise=noise)
            chosen = (drawn_light(seed),) if lights is None else lights
            scenes += [TabletopScene(stills, light, depth_range=depth_range, cache=cache) for light in chosen]
        super().__init__(scenes, seed=augmentation_seed, **views)


def drawn_light(seed: int) -> int:
    """The light of a table that is seen under one only."""
    return int(torch.randint(LIGHTS, (), generator=torch.Generator().manual_seed(seed)))

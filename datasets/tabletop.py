"""Rendered tables for multi-view stereo: views from a dome about things on a table, with exact depth."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vo3d.datasets.multiview import MultiViewDataset, RenderedScene
from vo3d.errors import Vo3dError
from vo3d.world.dome import DEPTH_RANGE, LIGHTS, VIEWS
from vo3d.world.stills import Still, Stills
from vo3d.world.visit import Visit, distinct_seeds


class TabletopScene(RenderedScene):
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
        if not 0 <= light < LIGHTS:
            raise Vo3dError(f"light {light}: expected 0 to {LIGHTS - 1}")
        name, sources = f"tabletop-{stills.seed:04d}-light{light}", [best for best, _ in stills.sources]
        super().__init__(name, stills.camera.K, stills.world_T_cam, sources, depth_range)
        self.names = [f"{index:08d}" for index in range(stills.views)]
        self.stills, self.light, self.keep = stills, light, cache
        self._cache: dict[int, Still] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Give a worker the scene without the views in its cache; it fills its own."""
        return {**self.__dict__, "_cache": {}}

    def view(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], Float[Tensor, "h w"]]:
        """Take a view, or find it in the cache."""
        still = self._cache.get(index) or self.stills.take(index, self.light)
        if self.keep:
            self._cache[index] = still
        return still.image, still.depth


class Tabletop(MultiViewDataset):
    """Reference and source views of rendered tables: one sample for each view of each seed and light.

    Args:
        seeds: one table each, as numbers or as "first-last"; keep those of training, validation and test apart.
        size: height and width in pixels.
        views_per_scene: cameras on the dome; fewer than 49 take a part of it.
        lights: those under which every table is seen, 0 to 6; None: one for each table, drawn from its seed.
        samples: rays a pixel in each direction.
        noise: standard deviation of white noise on the image.
        visit: choices of the scenes; a table obeys `photographs`.
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
        visit: Visit | None = None,
        augmentation_seed: int = 0,
        **views: Any,
    ) -> None:
        scenes = []
        for seed in distinct_seeds(seeds):
            stills = Stills(seed, (size[0], size[1]), views=views_per_scene, samples=samples, noise=noise, visit=visit)
            chosen = (drawn_light(seed),) if lights is None else lights
            scenes += [TabletopScene(stills, light, depth_range=depth_range, cache=cache) for light in chosen]
        super().__init__(scenes, seed=augmentation_seed, **views)


def drawn_light(seed: int) -> int:
    """Draw the light of a table that is seen under one only."""
    return int(torch.randint(LIGHTS, (), generator=torch.Generator().manual_seed(seed)))

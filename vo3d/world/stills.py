"""Still views of a table from cameras on a dome, in any order, the same each time."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.view_selection import best_sources
from vo3d.world.dome import VIEWS, dome_light, dome_poses, dome_scores, dtu_camera
from vo3d.world.render import quantised, render
from vo3d.world.scene import Scene, build_scene, check_scene
from vo3d.world.visit import Visit, check_seed

SOURCES = 10  # of each view, as in DTU's pair.txt


@dataclass(frozen=True)
class Still:
    """One view with its exact truth."""

    image: UInt8[Tensor, "3 h w"]
    depth: Float[Tensor, "h w"]  # z in metres; 0 = nothing there


class Stills:
    """Takes views of the tabletop of a seed under numbered lights; the scene is built at first use.

    A view depends on the arguments, its index and the light alone.

    Args:
        seed: of the things on the table and the lights, and of the cameras unless these have their own.
        size: height and width in pixels.
        views: cameras on the dome.
        cameras: seed of their places, for tables that share them.
        samples: rays a pixel in each direction.
        noise: standard deviation of white noise on the encoded image in [0, 1].
        exposure: relative standard deviation of the views' exposures.
        device: where to render.
        visit: choices of the scene; a table obeys `photographs`.

    Raises:
        Vo3dError: a seed below 0, fewer than 2 views or too many, a size that cannot be, no ray for a pixel.
    """

    def __init__(
        self,
        seed: int,
        size: tuple[int, int],
        *,
        views: int = VIEWS,
        cameras: int | None = None,
        samples: int = 1,
        noise: float = 0.006,
        exposure: float = 0.03,
        device: str = "cpu",
        visit: Visit | None = None,
    ) -> None:
        for each in (seed, cameras or 0):
            check_seed(each, f"seed {each} of a tabletop")
        if samples < 1:
            raise Vo3dError(f"{samples} samples a pixel: expected at least 1")
        self.seed, self.views, self.samples, self.noise = seed, views, samples, noise
        self.exposure, self.device, self.visit = exposure, device, visit or Visit()
        check_scene("tabletop", seed, 2, self.visit)
        self.camera = dtu_camera(size)
        self.world_T_cam: Float64[Tensor, "v 4 4"] = dome_poses(seed if cameras is None else cameras, views)

    @cached_property
    def sources(self) -> list[tuple[list[int], list[float]]]:
        """Rank the partners: indices and scores of each view's best partners, best first, as a pair.txt has them."""
        return best_sources(dome_scores(self.world_T_cam, self.camera), SOURCES)

    @cached_property
    def scene(self) -> Scene:
        """Build the scene."""
        return build_scene("tabletop", self.seed, 2, visit=self.visit).to(self.device)

    @torch.no_grad()
    def take(self, index: int, light: int) -> Still:
        """Take the view of camera `index` under a light of 0 to 6."""
        generator = torch.Generator().manual_seed((self.seed * 1009 + index) * 7 + light)
        exposure = 1 + self.exposure * float(torch.randn((), generator=generator))
        scene = replace(self.scene, light=dome_light(self.seed, light))
        view = render(scene, self.camera, self.world_T_cam[index], 0.0, samples=self.samples, exposure=exposure)
        return Still(quantised(view.image, self.noise, generator).cpu(), view.depth.cpu())

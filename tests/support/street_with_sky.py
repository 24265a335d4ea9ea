"""A rendered street swept from near to far beyond what is built: the sky agrees with itself at the far end."""

import torch

from vo3d.datasets.street_views import StreetScene
from vo3d.depth_map import PosedDepthMap
from vo3d.inference.depth import depth_maps, posed
from vo3d.inference.loop import evaluating, reference_window
from vo3d.models.plane_sweep import PlaneSweep

RANGE = (4.0, 400.0)  # metres: nothing is built beyond the far end


def swept_street(seed: int = 3, size: tuple[int, int] = (96, 160), frames: int = 3) -> list[PosedDepthMap]:
    """Sweep planes through the frames of a drive, with the truth in each map; 0 there is the sky."""
    scene = StreetScene(seed, size, frames=frames, depth_range=RANGE)
    model = PlaneSweep(num_depths=48, stride=2, inverse=True, smoothing="box")
    maps = []
    with evaluating(model, torch.device("cpu")):
        for index in range(len(scene)):
            window = reference_window(scene, index, 3)
            sample = scene.clip(window.views)
            ((view, _, _),) = depth_maps(model, scene, [window], device="cpu", read=lambda _, s=sample: s)
            maps.append(posed(view, sample, model.stride, sources=tuple(scene.sources(index))))
    return maps

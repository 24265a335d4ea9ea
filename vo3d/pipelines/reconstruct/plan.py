"""Plan the planes of each reference by the parallax of its sources, and refuse what no sweep can tell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median

import torch

from vo3d.depth_map import Planes
from vo3d.errors import Vo3dError
from vo3d.geometry.camera import subsample_intrinsics
from vo3d.geometry.sweep_plan import (
    FINEST_PER_PIXEL,
    INVERSE_FROM,
    LONGEST,
    num_planes,
    parallax,
    stretched,
    triangulation_angles,
    widened,
)
from vo3d.model import DepthModel, Frames
from vo3d.recording import MultiViewScene

FEWEST, MOST = 16, 256  # planes that are planned
LEAST_PARALLAX, GOOD_PARALLAX = 1.0, 2.0  # pixels of the depth map


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Measure what the sources of a reference tell of its depths, and plan the planes to try."""

    parallax: float  # pixels of the depth map by which the widest source sees near and far apart
    angle: float  # degrees at which the rays of reference and source meet, the widest of the sources
    planes: Planes | None  # None for a model without hypotheses


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Choose number and spacing of the planes; None leaves them to the scene."""

    num: int | None = None
    inverse: bool | None = None


def plan_sweeps(
    scene: MultiViewScene, windows: Mapping[int, Frames], model: DepthModel, choice: Choice, drop_ends: float
) -> dict[int, Sweep]:
    """Plan the sweep of each reference: of its depth range, widened by the steps that fusion drops at either end.

    The number of planes follows the parallax of the widest source; they are even in 1 / depth where far is more than
    1.5 times near. A model with a number and a spacing of its own gets a range that is long enough for two planes a
    pixel of parallax, at most four times as long: nearer ones are what it cannot tell apart, and it would be unsure of
    all of them.

    Raises:
        Vo3dError: the model leaves no choice where one is made, or the scene has no poses.
    """
    if not model.free_num_depths and choice != Choice():
        raise Vo3dError(
            f"{type(model).__name__} chooses its depths by itself: leave --num-depths and --inverse out, or take "
            "another model"
        )
    cameras, world_T_cam = scene.cameras(), scene.poses()
    if world_T_cam is None:
        raise Vo3dError(f"{scene.name}: gives no poses: a reconstruction needs them")
    K = subsample_intrinsics(cameras.K.double(), model.stride)
    size = (-(-cameras.size[0] // model.stride), -(-cameras.size[1] // model.stride))
    sweeps = {}
    for index, window in windows.items():
        views = list(window.views)
        near, far = cameras.depth_range[index].tolist()
        ends = torch.tensor((near, far), dtype=torch.float64)
        moved = float(parallax(K[views], world_T_cam[views], ends, size).max()) if len(views) > 1 else 0.0
        angles = triangulation_angles(K[views], world_T_cam[views], (near * far) ** 0.5, size)
        planes = _planes(model, near, far, moved, choice, drop_ends)
        sweeps[index] = Sweep(parallax=moved, angle=float(angles.max()) if len(views) > 1 else 0.0, planes=planes)
    return sweeps


def _planes(
    model: DepthModel, near: float, far: float, parallax: float, choice: Choice, drop_ends: float
) -> Planes | None:
    """Choose the planes of one reference."""
    if model.num_depths is None or model.num_depths < 2:
        return None
    if model.free_num_depths:
        inverse = far > INVERSE_FROM * near if choice.inverse is None else choice.inverse
        ends = round(2 * drop_ends)
        num = choice.num or num_planes(parallax, least=FEWEST, most=MOST - ends) + ends
    else:
        inverse, num = model.inverse, model.num_depths
        if (finest := num / FINEST_PER_PIXEL) > parallax > 0:
            near, far = stretched(near, far, min(finest / parallax, LONGEST), inverse=inverse)
    planes = Planes(near=near, far=far, num=num, inverse=inverse)
    near, far = widened(near, far, num, planes.margin(drop_ends), inverse=inverse)
    return replace(planes, near=near, far=far)


def tellable(scene: MultiViewScene, sweeps: Mapping[int, Sweep]) -> list[int]:
    """Return the references whose depths can be told.

    Raises:
        Vo3dError: no reference has a parallax of a pixel of its depth map.
    """
    good = [index for index, sweep in sweeps.items() if sweep.parallax >= LEAST_PARALLAX]
    if not good:
        near, far = scene.cameras().depth_range[list(sweeps)].median(dim=0).values.tolist()
        raise Vo3dError(
            f"{scene.name}: {parallax_words(sweeps.values())} from depth {near:.3g} to {far:.3g}: below "
            f"{LEAST_PARALLAX:g} no depth can be told: give photographs from places farther apart (of a sequence a "
            "larger --every), larger ones (--max-side), or a nearer --depth-range; check that poses and depths have "
            "one unit"
        )
    return good


def parallax_words(sweeps: Iterable[Sweep]) -> str:
    """Say the parallax and the angle of sweeps, medians."""
    values = list(sweeps)
    moved, angle = median(sweep.parallax for sweep in values), median(sweep.angle for sweep in values)
    return f"a parallax of {moved:.3g} pixels of the depth maps, rays that meet at {angle:.2g} degrees (medians)"

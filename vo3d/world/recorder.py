"""A virtual camera that drives through a scene and takes its frames, in any order, the same each time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.world.imu import ImuErrors, imu_readings
from vo3d.world.labels import UNKNOWN
from vo3d.world.lamps import glare
from vo3d.world.optics import lens_of, take
from vo3d.world.rain import rain_streaks
from vo3d.world.render import forward_flow, pinhole_camera, quantised
from vo3d.world.scene import Scene, build_scene, check_free, check_scene, generator_of
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit, chosen_visit


@dataclass(frozen=True)
class Frame:
    """One view with its exact truth, which is that of an ideal pinhole where a lens distorts the image."""

    image: UInt8[Tensor, "3 h w"]
    depth: Float[Tensor, "h w"]  # z in metres; 0 = sky
    mask: Int[Tensor, "h w"]
    flow: Float[Tensor, "2 h w"]  # pixels, to the later view; NaN = not defined
    label: Int[Tensor, "h w"] | None = None  # class of each pixel, where asked for


class Recorder:
    """Takes the frames of one scene; the scene is built at first use.

    A frame depends on the arguments and its index alone: not on the frames taken before, nor on other processes.

    `camera` is the ideal pinhole of depth, masks, flow, and of the images unless the sensor has a lens. `K` is its
    matrix where that is another than the sensor's own: the one of images whose lens is going to be undone.

    Raises Vo3dError at once for an unknown kind, fewer than two frames or a size that cannot be.
    """

    def __init__(
        self,
        kind: str,
        seed: int,
        frames: int,
        size: tuple[int, int],
        sensor: Sensor,
        device: str = "cpu",
        *,
        visit: Visit | None = None,
        K: Float64[Tensor, "3 3"] | None = None,
    ) -> None:
        self.kind, self.seed, self.frames, self.sensor, self.device = kind, seed, frames, sensor, device
        self.visit = chosen_visit(visit)
        check_scene(kind, seed, frames, self.visit)
        camera = pinhole_camera(size, sensor)
        self.camera = camera if K is None else replace(camera, K=K)
        self.left_T_right = torch.eye(4, dtype=torch.float64)
        self.left_T_right[0, 3] = sensor.baseline

    @cached_property
    def scene(self) -> Scene:
        """Build the scene."""
        return build_scene(self.kind, self.seed, self.frames, self.sensor, self.visit).to(self.device)

    @property
    def has_classes(self) -> bool:
        """Tell whether the scene's solids are of known classes."""
        return not bool((self.scene.solids.label == UNKNOWN).all())

    def times(self) -> Float64[Tensor, " n"]:
        """Return the seconds of every frame."""
        return torch.arange(self.frames, dtype=torch.float64) / self.sensor.rate

    @cached_property
    def _poses(self) -> Float64[Tensor, "n 4 4"]:
        return self.scene.camera.poses(self.times())[:, 0]

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Return `world_T_cam` of every left view, metres."""
        return self._poses

    @cached_property
    def _right_poses(self) -> Float64[Tensor, "n 4 4"]:
        """Compute `world_T_right` of every view, which keeps clear as the left one does."""
        poses = self.poses() @ self.left_T_right
        named = f"{self.kind} {self.seed}: the right camera"
        check_free(named, self.scene.solids, poses, self.times(), "baseline, height, lateral")
        return poses

    def imu(self, readings: int, errors: ImuErrors) -> Float64[Tensor, "steps n 6"]:
        """Compute the readings between every two frames (see `vo3d.world.imu`)."""
        if readings < 1:
            raise Vo3dError(f"{readings} imu readings between two frames: expected at least 1")
        return imu_readings(self.scene.camera, self.times(), readings, errors, self.seed)

    def object_motion(self, indices: Sequence[int]) -> Float64[Tensor, "steps k 4 4"]:
        """Compute how each object moves in the world from each view to the next: X(next) = object_motion X(now).

        Row i - 1 of the k is that of id i; k is that of `vo3d.world.traffic.num_objects` on a street, 0 on a table.
        """
        world_T_object = torch.stack([self.scene.objects(index / self.sensor.rate)[1:] for index in indices])
        return world_T_object[1:] @ se3.inverse(world_T_object[:-1])

    @torch.no_grad()
    def frame(self, index: int, *, right: bool = False, later: int | None = None, label: bool = False) -> Frame:
        """Take the left or right view at `index`; with `later`, flow to the left view of that index, else NaN flow.

        Raises Vo3dError for flow with a rolling shutter, for a lens that no ideal view covers, for `label` of a kind
        whose solids have no classes, and for a right camera that comes into a static solid.
        """
        sensor, scene = self.sensor, self.scene
        if later is not None:
            sensor.check_flow()
        if label and not self.has_classes:
            raise Vo3dError(f"label of {self.kind!r}: its things have no classes; leave label out, or take a street")
        time = index / sensor.rate

        def pose_at(delay: float) -> Float64[Tensor, "4 4"]:
            instant = torch.tensor([time + delay], dtype=torch.float64)
            if not delay:
                return (self._right_poses if right else self.poses())[index]
            left = scene.camera.poses(instant)[0, 0]
            return left @ self.left_T_right if right else left

        lens = lens_of(sensor, (self.camera.height, self.camera.width))
        view = take(scene, self.camera, pose_at, time, sensor, lens, label=label)
        if scene.light.dark:
            view = replace(view, radiance=glare(view.radiance))
        generator = generator_of(self.seed, f"{'right' if right else 'left'} image {index}")
        image = rain_streaks(view.image, generator, scene.light.rain)
        image = quantised(image, sensor.noise, generator)
        if later is None:
            flow = torch.full((2, *view.depth.shape), torch.nan, device=image.device)
        else:
            now, then = scene.objects(time), scene.objects(later / sensor.rate)
            flow = forward_flow(view, self.camera, pose_at(0.0), self.poses()[later], now, then)
        return Frame(image, view.depth, view.mask, flow, view.label)

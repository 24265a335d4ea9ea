"""A virtual camera that drives through a scene and takes its frames, in any order, the same each time."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.world.imu import ImuErrors, imu_readings
from vo3d.world.rain import rain_streaks
from vo3d.world.render import forward_flow, kitti_camera, quantised, render
from vo3d.world.scene import Scene, build_scene, check_scene
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit


@dataclass(frozen=True)
class Frame:
    """One view with its exact truth."""

    image: UInt8[Tensor, "3 h w"]
    depth: Float[Tensor, "h w"]  # z in metres; 0 = sky
    mask: Int[Tensor, "h w"]
    flow: Float[Tensor, "2 h w"]  # pixels, to the later view; NaN = not defined


class Recorder:
    """Takes the frames of one scene; the scene is built at first use.

    A frame depends on the arguments and its index alone: not on the frames taken before, nor on other processes.
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
    ) -> None:
        check_scene(kind, seed, frames)
        self.kind, self.seed, self.frames, self.sensor, self.device = kind, seed, frames, sensor, device
        self.visit = visit or Visit()
        self.camera = kitti_camera(size)
        self.left_T_right = torch.eye(4, dtype=torch.float64)
        self.left_T_right[0, 3] = sensor.baseline

    @cached_property
    def scene(self) -> Scene:
        """Build the scene."""
        return build_scene(self.kind, self.seed, self.frames, self.sensor, self.visit).to(self.device)

    def times(self) -> Float64[Tensor, " n"]:
        """Return the seconds of every frame."""
        return torch.arange(self.frames, dtype=torch.float64) / self.sensor.rate

    @cached_property
    def _poses(self) -> Float64[Tensor, "n 4 4"]:
        return self.scene.camera.poses(self.times())[:, 0]

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Return `world_T_cam` of every left view, metres."""
        return self._poses

    def imu(self, readings: int, errors: ImuErrors) -> Float64[Tensor, "steps n 6"]:
        """Compute the readings between every two frames (see `vo3d.world.imu`)."""
        if readings < 1:
            raise Vo3dError(f"{readings} imu readings between two frames: expected at least 1")
        return imu_readings(self.scene.camera, self.times(), readings, errors, self.seed)

    @torch.no_grad()
    def frame(self, index: int, *, right: bool = False, later: int | None = None) -> Frame:
        """Take the left or right view at `index`; with `later`, flow to the left view of that index, else NaN flow."""
        sensor, scene = self.sensor, self.scene
        time = index / sensor.rate
        world_T_cam = self.poses()[index]
        pose = world_T_cam @ self.left_T_right if right else world_T_cam
        view = render(scene, self.camera, pose, time, samples=sensor.samples, exposure=sensor.exposure)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + index) * 2 + int(right))
        image = rain_streaks(view.image, generator, scene.light.rain)
        image = quantised(image, sensor.noise, generator)
        if later is None:
            flow = torch.full((2, *view.depth.shape), torch.nan, device=image.device)
        else:
            flow = forward_flow(
                view, self.camera, pose, self.poses()[later], scene.objects(time), scene.objects(later / sensor.rate)
            )
        return Frame(image, view.depth, view.mask, flow)

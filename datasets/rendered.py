"""The rendered world as a dataset: frames are made when they are asked for, with exact truth; nothing is downloaded."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.seeds import distinct_seeds
from vo3d.datasets.views import readings_between
from vo3d.errors import Vo3dError
from vo3d.recording import Recording
from vo3d.sample import Sample
from vo3d.world.imu import ImuErrors
from vo3d.world.recorder import Frame, Recorder, Sensor


class RenderedRecording(Recording):
    """A drive through one rendered scene; the scene is built when the first frame is asked for.

    Images are rounded to 8 bits, as a file would, so that cached and freshly rendered frames are equal. Depth is exact
    (z, 0 = sky); `mask` holds the ids of moving objects; `flow` leads to the next view of the clip (hidden and leaving
    points included; the sky turns with the camera).

    Args:
        scene: kind of scene, a file of `vo3d.world.scenes`.
        seed: of everything random in it.
        frames: length.
        size: height and width in pixels.
        stereo, depth, flow, mask, imu: fields to give beside image, K, poses and time.
        cache: keep rendered images (not depth, flow or masks) in memory; a loader's workers each have their own cache,
            which lasts for more than one epoch only if they do (`persistent_workers`).
        sensor: frame rate, stereo baseline, exposure, noise, rays per pixel.
        imu_readings: between two frames.
        imu_errors: bias and noise of the inertial sensor; none by default.
    """

    def __init__(
        self,
        scene: str,
        seed: int,
        frames: int,
        size: tuple[int, int],
        *,
        stereo: bool = False,
        depth: bool = False,
        flow: bool = False,
        mask: bool = False,
        imu: bool = False,
        cache: bool = False,
        sensor: Sensor | None = None,
        imu_readings: int = 10,
        imu_errors: ImuErrors | None = None,
    ) -> None:
        self.name = f"{scene}-{seed:04d}"
        self._recorder = Recorder(scene, seed, frames, size, sensor or Sensor())
        self._give = {"depth": depth, "flow": flow, "mask": mask}
        self._stereo, self._imu = stereo, imu
        self._cache: dict[tuple[int, bool], UInt8[Tensor, "3 h w"]] | None = {} if cache else None
        self._imu_readings, self._imu_errors = imu_readings, imu_errors or ImuErrors()

    def __len__(self) -> int:
        return self._recorder.frames

    def __getstate__(self) -> dict[str, Any]:
        """A worker receives the recording without the frames in its cache, and fills its own."""
        return {**self.__dict__, "_cache": None if self._cache is None else {}}

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """`world_T_cam` of every frame, metres; on a street the first is the identity."""
        return self._recorder.poses()

    def clip(self, indices: Sequence[int]) -> Sample:
        """The views at `indices`; Vo3dError for an index outside, or for unevenly spaced ones with imu."""
        for index in indices:
            if not 0 <= index < len(self):
                raise Vo3dError(f"frame {index} of {self.name!r}: expected 0 to {len(self) - 1}")
        following: list[int | None] = [*list(indices)[1:], None]
        frames = [self._frame(index, later) for index, later in zip(indices, following, strict=True)]
        give = self._give
        imu = imu_time = None
        if self._imu:
            steps = self._recorder.imu(self._imu_readings, self._imu_errors)
            imu = readings_between(steps, indices, self.name).float()
            imu_time = readings_between(self._recorder.imu_times(self._imu_readings)[..., None], indices, self.name)[
                ..., 0
            ]
        return Sample(
            image=torch.stack([frame.image for frame in frames]).float() / 255,
            K=self._recorder.camera.K.float().expand(len(indices), 3, 3).clone(),
            world_T_cam=self.poses()[list(indices)],
            depth=_stack([frame.depth for frame in frames]) if give["depth"] else None,
            time=self._recorder.times()[list(indices)],
            imu=imu,
            imu_time=imu_time,
            cam_T_imu=None if imu is None else torch.eye(4),
            right=torch.stack([self._image(index, right=True) for index in indices]).float() / 255
            if self._stereo
            else None,
            left_T_right=self._recorder.left_T_right.float() if self._stereo else None,
            mask=_stack([frame.mask for frame in frames]) if give["mask"] else None,
            flow=_stack([frame.flow for frame in frames])[:-1] if give["flow"] else None,
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    def _frame(self, index: int, later: int | None) -> Frame:
        """The left view, rendered only as far as needed: a cached image without truth costs nothing."""
        if self._cache is not None and not any(self._give.values()):
            return Frame(image=self._image(index, right=False))
        frame = self._recorder.frame(index, later=later)
        if self._cache is not None:
            self._cache[index, False] = frame.image
        return frame

    def _image(self, index: int, *, right: bool) -> UInt8[Tensor, "3 h w"]:
        if self._cache is None:
            return self._recorder.frame(index, right=right).image
        if (index, right) not in self._cache:
            self._cache[index, right] = self._recorder.frame(index, right=right).image
        return self._cache[index, right]


def _stack(values: list[Tensor | None]) -> Tensor:
    return torch.stack([value for value in values if value is not None])


class Rendered(ClipDataset):
    """Clips of rendered recordings, one for each seed.

    Args:
        scene: kind of scene, a file of `vo3d.world.scenes`.
        seeds: one recording each, as numbers or as "first-last"; keep those of training, validation and test apart.
        frames: length of every recording.
        size: height and width in pixels.
        clip_length, clip_step, frame_stride, segments, transforms: see `ClipDataset`; `seed` there is
            `augmentation_seed` here.
        stereo, depth, flow, mask, imu, cache, sensor, imu_readings, imu_errors: see `RenderedRecording`.
    """

    def __init__(
        self,
        scene: str = "street",
        seeds: Sequence[int] | str = (0,),
        frames: int = 400,
        size: tuple[int, int] = (128, 416),
        *,
        stereo: bool = False,
        depth: bool = False,
        flow: bool = False,
        mask: bool = False,
        imu: bool = False,
        cache: bool = False,
        sensor: Sensor | None = None,
        imu_readings: int = 10,
        imu_errors: ImuErrors | None = None,
        augmentation_seed: int = 0,
        **clips: Any,
    ) -> None:
        recordings = [
            RenderedRecording(
                scene,
                seed,
                frames,
                size,
                stereo=stereo,
                depth=depth,
                flow=flow,
                mask=mask,
                imu=imu,
                cache=cache,
                sensor=sensor,
                imu_readings=imu_readings,
                imu_errors=imu_errors,
            )
            for seed in distinct_seeds(seeds)
        ]
        super().__init__(
            recordings,
            seed=augmentation_seed,
            **clips,
        )

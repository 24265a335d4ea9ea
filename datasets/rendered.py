"""The rendered world as a dataset: frames are made when they are asked for, with exact truth; nothing is downloaded."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.lenses import pinhole, undo_lens, virtual_camera
from vo3d.datasets.views import check_indices
from vo3d.inertial import InertialSteps
from vo3d.recording import Recording
from vo3d.sample import Sample
from vo3d.world.imu import ImuChoice, check_imu_asked_for, imu_errors_of, reading_times
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor, chosen_sensor
from vo3d.world.visit import Visit, several_seeds


class RenderedRecording(Recording):
    """A drive through one rendered scene; the scene is built when the first frame is asked for.

    Images are rounded to 8 bits, as a file would, so that cached and freshly rendered frames are equal. Depth is exact
    (z, 0 = sky); `mask` holds the ids of moving objects, `object_motion` how each moves (as many in all recordings of
    one length, rate and traffic; none on a table); `label` holds Cityscapes' training ids, which a table lacks; `flow`
    leads to the next view of the clip (hidden and leaving points included; the sky turns with the camera).

    Args:
        scene: kind of scene, a file of `vo3d.world.scenes`.
        seed: of everything random in it.
        frames: length.
        size: height and width in pixels.
        stereo, depth, flow, mask, label, object_motion, imu: fields to give beside image, K, poses and time.
        cache: keep rendered frames in memory, with the maps that are given; a loader's workers each have their own
            cache, which lasts for more than one epoch only if they do (`persistent_workers`).
        sensor: the camera (`vo3d.world.sensor`), or "drawn" for one that the seed draws. The distortion of a lens is
            undone: image, right, K, depth, flow and mask are those of one ideal pinhole.
        visit: light and weather, motion, traffic, and seeds of the place, the time, what moves and the path.
        imu_readings: between two frames.
        imu_errors: bias and noise of the inertial sensor, or "mems" for those of a small real one; none by default.
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
        label: bool = False,
        object_motion: bool = False,
        imu: bool = False,
        cache: bool = False,
        sensor: Sensor | Literal["drawn"] | None = None,
        visit: Visit | None = None,
        imu_readings: int = 10,
        imu_errors: ImuChoice = None,
    ) -> None:
        self.name = f"{scene}-{seed:04d}"
        check_imu_asked_for(imu, imu_errors)
        chosen = chosen_sensor(sensor, seed)
        if flow:
            chosen.check_flow()
        self._camera = virtual_camera(chosen, (size[0], size[1]))
        self._recorder = Recorder(scene, seed, frames, size, chosen, visit=visit, K=pinhole(self._camera))
        given = {"depth": depth, "flow": flow, "mask": mask, "label": label}
        self._give = [name for name, wanted in given.items() if wanted]
        self._stereo, self._imu, self._label, self._object_motion = stereo, imu, label, object_motion
        # Of each frame, or its right view, or the frame with a flow to a later one: the image and the maps given.
        self._cache: dict[tuple[int, bool, int | None], dict[str, Tensor]] | None = {} if cache else None
        self._imu_readings, self._imu_errors = imu_readings, imu_errors_of(imu_errors)

    def __len__(self) -> int:
        return self._recorder.frames

    def __getstate__(self) -> dict[str, Any]:
        """Give a worker the recording without the frames in its cache; it fills its own."""
        return {**self.__dict__, "_cache": None if self._cache is None else {}}

    @cached_property
    def _readings(self) -> InertialSteps:
        readings = self._recorder.imu(self._imu_readings, self._imu_errors)
        instants = reading_times(self._recorder.times(), self._imu_readings)
        return InertialSteps(readings, instants, torch.eye(4, dtype=torch.float64))

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Return `world_T_cam` of every frame, metres, in the world of the place (`vo3d.world.visit`)."""
        return self._recorder.poses()

    def inertial(self) -> InertialSteps | None:
        """Give the readings between all frames, where they are asked for; the sensor sits in the camera."""
        return self._readings if self._imu else None

    def clip(self, indices: Sequence[int]) -> Sample:
        """Render the views at `indices`; Vo3dError for an index outside, or for unevenly spaced ones with imu."""
        check_indices(indices, self, "frame")
        recorder = self._recorder
        fields: dict[str, Tensor | None] = {}
        following = [*list(indices)[1:], None] if "flow" in self._give else [None] * len(indices)
        frames = [self._frame(index, later=later) for index, later in zip(indices, following, strict=True)]
        for name in self._give:  # of the flow, the last view has none
            fields[name] = torch.stack([frame[name] for frame in (frames[:-1] if name == "flow" else frames)])
        if self._object_motion:
            fields["object_motion"] = recorder.object_motion(indices)
        if self._imu:
            fields |= self._readings.since_previous(indices, self.name)
        if self._stereo:
            fields["right"] = self._ideal([self._frame(index, right=True)["image"] for index in indices])
            fields["left_T_right"] = recorder.left_T_right.float()
        return Sample(
            image=self._ideal([frame["image"] for frame in frames]),
            K=recorder.camera.K.float().expand(len(indices), 3, 3).clone(),
            world_T_cam=self.poses()[list(indices)],
            time=recorder.times()[list(indices)],
            scene=self.name,
            index=torch.tensor(list(indices)),
            **fields,
        )

    def _ideal(self, images: Sequence[UInt8[Tensor, "3 h w"]]) -> Float[Tensor, "n 3 h w"]:
        """Make images of floats, without the distortion of the lens."""
        return torch.stack([undo_lens(self._camera, image.float() / 255) for image in images])

    def _frame(self, index: int, *, right: bool = False, later: int | None = None) -> dict[str, Tensor]:
        """Render the image and the maps that are given of a frame, or the image of its right view; or recall them."""
        if self._cache is not None and (index, right, later) in self._cache:
            return self._cache[index, right, later]
        frame = self._recorder.frame(index, right=right, later=later, label=self._label and not right)
        found = {name: getattr(frame, name) for name in ("image", *([] if right else self._give))}
        if self._cache is not None:
            self._cache[index, right, later] = found
        return found


class Rendered(ClipDataset):
    """Clips of rendered recordings, one for each seed.

    Args:
        scene: kind of scene, a file of `vo3d.world.scenes`.
        seeds: one recording each, as numbers or as "first-last"; keep those of training, validation and test apart.
        frames: length of every recording.
        size: height and width in pixels.
        clip_length, clip_step, frame_stride, segments, transforms: see `ClipDataset`; `seed` there is
            `augmentation_seed` here.
        stereo, depth, flow, mask, label, object_motion, imu, cache, sensor, visit, imu_readings, imu_errors: see
            `RenderedRecording`.
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
        label: bool = False,
        object_motion: bool = False,
        imu: bool = False,
        cache: bool = False,
        sensor: Sensor | Literal["drawn"] | None = None,
        visit: Visit | None = None,
        imu_readings: int = 10,
        imu_errors: ImuChoice = None,
        augmentation_seed: int = 0,
        **clips: Any,
    ) -> None:
        super().__init__(
            [
                RenderedRecording(
                    scene,
                    seed,
                    frames,
                    size,
                    stereo=stereo,
                    depth=depth,
                    flow=flow,
                    mask=mask,
                    label=label,
                    object_motion=object_motion,
                    imu=imu,
                    cache=cache,
                    sensor=sensor,
                    visit=visit,
                    imu_readings=imu_readings,
                    imu_errors=imu_errors,
                )
                for seed in several_seeds(seeds, visit)
            ],
            seed=augmentation_seed,
            **clips,
        )

"""The classic pipeline with a gyroscope: its rotation, the camera's direction, a stated scale."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import two_view
from vo3d.geometry.gyro_bias import gyro_bias_at_rest, gyro_bias_from_rotations
from vo3d.geometry.preintegration import Preintegration, preintegrate
from vo3d.inertial import REST, step_readings
from vo3d.model import Prediction
from vo3d.models.classic import ClassicOdometry, Frame
from vo3d.sample import Sample

Bias = Literal["none", "rest", "vision"]
MEMORY = 600  # steps that the bias is found from, at most: biases wander


class GyroClassic(ClassicOdometry):
    """`ClassicOdometry` whose rotations are those of a gyroscope; images give the direction of translation.

    Rates are integrated between the frames (`vo3d.geometry.preintegration`) and brought to the camera by `cam_T_imu`
    (None: readings in its axes). With that rotation the epipolar constraint is linear in the direction of translation,
    which two matches tell (`two_view.fit_translation`). Its length comes from the parent's sources of scale.

    Args:
        bias: What is taken off the gyroscope. "vision": with which its rotations agree best with those of the matches,
            over the steps of the recording so far, the newest included (Qin et al., "VINS-Mono", TRO 2018, section
            V-B); no truth is read. "rest": its mean over the first second of the first clip, refused where the camera
            moves then. "none": nothing.
        features, scale, camera_height, step, num_features, threshold, min_parallax: As of `ClassicOdometry`; a relative
            scale is refused.
    """

    needs: ClassVar[tuple[str, ...]] = (*ClassicOdometry.needs, "imu", "imu_time", "time")
    baseline = "classic_gyro"
    turns = False

    def __init__(self, *, bias: Bias = "vision", **classic: Any) -> None:
        super().__init__(**classic)
        if bias not in get_args(Bias):
            raise Vo3dError(f"bias={bias!r} is unknown: expected one of {', '.join(get_args(Bias))}")
        if self.scale == "relative":
            raise Vo3dError("scale='relative' tracks images alone: take another scale, or ClassicOdometry")
        self.bias = bias
        self._seen: dict[int, list[tuple[Preintegration, Tensor]]] = {}  # by the row of the batch
        self._at_rest: dict[int, Tensor] = {}
        self._row = 0
        self._imu_R_cam = torch.eye(3, dtype=torch.float64)

    def _predict(self, sample: Sample, before: Tensor | None) -> Prediction:
        """Forget the recording before where a new one begins."""
        if before is None:
            self._seen, self._at_rest = {}, {}
        return super()._predict(sample, before)

    def _clip(
        self, clip: Sample, before: Float64[ndarray, "4 4"], row: int
    ) -> tuple[Float64[ndarray, "m 4 4"], Bool[ndarray, "m"]]:
        """Go by the memory of the clip's row."""
        self._row = row
        return super()._clip(clip, before, row)

    def _views(self, clip: Sample) -> Iterator[Frame]:
        """Give each frame what was read since the one before."""
        readings, instants, cam_T_imu = step_readings(clip.to("cpu"), type(self).__name__)
        self._imu_R_cam = cam_T_imu[:3, :3].mT
        if self.bias == "rest" and self._row not in self._at_rest and len(readings):
            imu, time = readings.flatten(0, 1), instants.flatten()
            early = time <= time[0] + REST
            span = float(time[early][-1] - time[0])
            self._at_rest[self._row] = gyro_bias_at_rest(time[early], imu[early], "bias='rest'", span)
        moved: list[Preintegration | None] = [None, *preintegrate(readings, instants).unbind()]
        for frame, one in zip(super()._views(clip), moved, strict=True):
            yield replace(frame, moved=one)

    def _turn(self, cam: Frame, turned: Float64[ndarray, "4 4"]) -> Float64[ndarray, "4 4"]:
        """The gyroscope's rotation, after a look at that of the matches."""
        self._look(cam, turned)
        return two_view.rigid(self._rotation(cam), turned[:3, 3])

    def _motion(
        self,
        cam: Frame,
        a: Float[ndarray, "n 2"],
        b: Float[ndarray, "n 2"],
        threshold: float,
        guess: Float64[ndarray, "4 4"],
    ) -> tuple[Float64[ndarray, "4 4"], Bool[ndarray, "n"]] | None:
        """The gyroscope's rotation and the direction that the matches have with it."""
        if self.bias == "vision" and (fitted := super()._motion(cam, a, b, threshold, guess)) is not None:
            self._look(cam, fitted[0])
        return two_view.fit_translation(a, b, self._rotation(cam), threshold, guess[:3, 3])

    def _look(self, cam: Frame, cam_T_prev: Float64[ndarray, "4 4"]) -> None:
        """Remember the rotation that the matches tell of a step; of two looks at one step the later counts."""
        if self.bias != "vision" or cam.moved is None:
            return
        seen = self._seen.setdefault(self._row, [])
        if seen and seen[-1][0] is cam.moved:
            seen.pop()
        prev_R_cam = torch.from_numpy(cam_T_prev[:3, :3]).mT
        seen.append((cam.moved, self._imu_R_cam @ prev_R_cam @ self._imu_R_cam.mT))
        del seen[:-MEMORY]

    def _rotation(self, cam: Frame) -> Float64[ndarray, "3 3"]:
        """`cam_R_prev` of the gyroscope, less the bias that is known by now."""
        assert cam.moved is not None  # noqa: S101  of all frames but the first of a clip, to which no step leads
        bias = torch.zeros(6, dtype=torch.float64)
        if self.bias == "rest":
            bias[:3] = self._at_rest[self._row]
        elif seen := self._seen.get(self._row):
            bias[:3] = gyro_bias_from_rotations(
                Preintegration.stack([moved for moved, _ in seen]), torch.stack([rotation for _, rotation in seen])
            )
        prev_R_cam = self._imu_R_cam.mT @ cam.moved.at_bias(bias).rotation @ self._imu_R_cam
        return prev_R_cam.mT.numpy()

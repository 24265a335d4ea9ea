"""Readings of an inertial sensor, cut to the frames of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vo3d.errors import Vo3dError
from vo3d.geometry.preintegration import interval_signals
from vo3d.sample import Sample

REST = 1.0  # seconds at the beginning of a recording, at most, that may be taken for a rest
LARGEST_GAP = 5.0  # times the median time between readings, from which on some are missing


@dataclass(frozen=True)
class InertialSteps:
    """The readings between every two frames of a recording, float64; row i lies between the frames i and i + 1.

    Steps have equally many rows: NaN, in readings and instants alike, fills those that have fewer. A step may begin
    with a reading at the instant of its first frame and end with one at that of its last, which then also begins the
    next step.

    Convention: rad/s then m/s^2, gravity included, in the axes of the sensor; instants in seconds, in the clock of the
    frames; `cam_T_imu` is None where a source does not tell.
    Raises Vo3dError where readings and instants are NaN at different places.
    """

    imu: Float64[Tensor, "steps n 6"]
    time: Float64[Tensor, "steps n"]
    cam_T_imu: Float64[Tensor, "4 4"] | None = None

    def __post_init__(self) -> None:
        if not torch.equal(self.imu.isnan().any(-1), self.time.isnan()):
            raise Vo3dError("readings and instants are NaN at different places: expected NaN where there is no reading")

    def since_previous(self, indices: Sequence[int], name: str) -> dict[str, Tensor | None]:
        """Give the fields of a `Sample` for the views at `indices` of the recording called `name`.

        The readings of a view are those since the view before it; of the first there are none, and all are NaN.
        Raises Vo3dError unless `indices` ascend at one distance: other clips have no tensor of readings.
        """
        strides = {later - earlier for earlier, later in pairwise(indices)} or {1}
        stride = min(strides)
        if len(strides) > 1 or stride < 1:
            raise Vo3dError(f"views {list(indices)} of {name!r} with imu: expected ascending views at one distance")

        def since(steps: Tensor) -> Tensor:
            later = [steps[index - stride : index].flatten(0, 1) for index in list(indices)[1:]]
            first = steps.new_full((stride * steps.shape[1], *steps.shape[2:]), torch.nan)
            return torch.stack([first, *later])  # s stride*n ...

        return {
            "imu": since(self.imu).float(),
            "imu_time": since(self.time),
            "cam_T_imu": None if self.cam_T_imu is None else self.cam_T_imu.float(),
        }


def cut_to_frames(
    time: Float64[Tensor, " n"],
    imu: Float64[Tensor, "n 6"],
    frame_time: Float64[Tensor, " frames"],
    source: str,
    cam_T_imu: Float64[Tensor, "4 4"] | None = None,
) -> InertialSteps:
    """Cut a stream of readings to the intervals between frames.

    A step has a reading at the instant of either frame, linear between its neighbours in the stream, and those in
    between as they are.

    Convention: seconds in one clock; readings as `InertialSteps` has them.
    Raises Vo3dError, which begins with `source`, for instants that do not ascend, a stream that begins after the first
    frame or ends before the last, and a gap of `LARGEST_GAP` times the usual interval between the frames.
    """
    gaps = time.diff()
    if len(time) < 2 or not bool((gaps > 0).all()):
        row = int((gaps <= 0).nonzero()[0]) + 1 if len(time) > 1 else 0
        found = f"reading {row} at {time[row]:.6f} s follows {time[row - 1]:.6f} s" if row else f"{len(time)} readings"
        raise Vo3dError(f"{source}: {found}: expected two or more with ascending time stamps: sort the file")
    for word, missing, where in (
        ("begin", frame_time[0] - time[0], "after the first frame"),
        ("end", time[-1] - frame_time[-1], "before the last frame"),
    ):
        if missing < 0:
            raise Vo3dError(
                f"{source}: the readings {word} {-missing:.3f} s {where}: expected them around all frames: complete "
                "the file, give a range of frames that it covers, or a time offset if the clocks differ"
            )
    usual = gaps.median()
    wide = gaps > LARGEST_GAP * usual
    seen = wide & (time[1:] > frame_time[0]) & (time[:-1] < frame_time[-1])
    if bool(seen.any()):
        row = int(seen.nonzero()[0])
        raise Vo3dError(
            f"{source}: no reading for {gaps[row]:.3f} s after {time[row]:.6f} s, {LARGEST_GAP:g} times the usual "
            f"{usual:.4f} s or more: expected no gap: give a range of frames before or after it"
        )
    ends = torch.searchsorted(time, frame_time).clamp(1, len(time) - 1)  # the reading at or after each frame
    share = ((frame_time - time[ends - 1]) / (time[ends] - time[ends - 1]))[:, None]
    at_frame = torch.lerp(imu[ends - 1], imu[ends], share)  # frames 6
    steps, instants = [], []
    first, last = torch.searchsorted(time, frame_time, right=True), torch.searchsorted(time, frame_time)
    for step, (begin, end) in enumerate(pairwise(frame_time)):
        inside = slice(int(first[step]), int(last[step + 1]))
        steps.append(torch.cat((at_frame[step, None], imu[inside], at_frame[step + 1, None])))
        instants.append(torch.cat((begin[None], time[inside], end[None])))
    return InertialSteps(
        pad_sequence(steps, batch_first=True, padding_value=torch.nan),
        pad_sequence(instants, batch_first=True, padding_value=torch.nan),
        cam_T_imu,
    )


def step_readings(
    sample: Sample, who: str
) -> tuple[Float64[Tensor, "*b m n 6"], Float64[Tensor, "*b m n"], Float64[Tensor, "*b 4 4"]]:
    """Complete the readings of the m steps of a clip as `interval_signals` does, and give `cam_T_imu`.

    A `cam_T_imu` that no source tells is taken for the identity: readings in the camera's axes.
    Raises Vo3dError, which begins with `who` reads them, where the clip has none, and as `interval_signals` does.
    """
    if sample.imu is None or sample.imu_time is None or sample.time is None:
        raise Vo3dError(f"{who} needs imu, imu_time and time: turn imu on in the dataset's arguments")
    readings, instants = interval_signals(sample.imu, sample.imu_time, sample.time)
    if sample.cam_T_imu is not None:
        return readings, instants, sample.cam_T_imu.double()
    eye = torch.eye(4, dtype=torch.float64, device=readings.device)
    return readings, instants, eye.expand(*readings.shape[:-3], 4, 4)

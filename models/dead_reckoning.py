"""Dead reckoning: readings of an inertial sensor integrated to poses, without a look at an image."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.gyro_bias import gyro_bias_at_rest
from vo3d.geometry.preintegration import Preintegration, preintegrate
from vo3d.inertial import REST, step_readings
from vo3d.model import Model, Prediction
from vo3d.sample import Sample

Start = Literal["true", "rest"]


@dataclass(frozen=True)
class State:
    """The state that integration carries along a recording, in the axes of the sensor at the first view of all."""

    first_T_imu: Float64[Tensor, "*b 4 4"]
    velocity: Float64[Tensor, "*b 3"]  # m/s
    gravity: Float64[Tensor, "*b 3"]  # m/s^2
    bias: Float64[Tensor, "*b 6"]


class DeadReckoning(Model):
    """Steps by inertial readings alone: rate is integrated to attitude, force without gravity twice to position.

    Attitude and velocity are carried along a recording; what both are at its first view comes from `start`. Errors
    grow with the square of time and faster: a bias of 0.1 m/s^2 is 5 m after ten seconds. Readings are piecewise linear
    (`vo3d.geometry.preintegration`). A clip alone (`forward`) starts anew. A `cam_T_imu` of None is taken for the
    identity: readings in the camera's axes.

    Args:
        start: "true" reads the first true poses, and solves for the velocity at the first of them and for gravity
            (direction and length, with what the accelerometer's bias adds to it; nobody says which axis of the world is
            up). Two poses alone are taken to be of one velocity. The rates keep their bias. "rest" takes the camera to
            be at rest in the first second of the first clip, at most: the mean force is gravity, the mean rate the
            gyroscope's bias; where readings tell otherwise it is refused.
        num_poses: True poses that are read for start="true"; fewer where the first clip has fewer.
    """

    needs: ClassVar[tuple[str, ...]] = ("imu", "imu_time", "time")  # an instance adds what its start reads
    gives: ClassVar[tuple[str, ...]] = ("prev_T_cam",)
    baseline = "dead_reckoning"

    def __init__(self, start: Literal["true", "rest", True] = "true", num_poses: int = 10) -> None:
        super().__init__()
        start = "true" if start is True else start  # YAML reads the word without quotes as a truth value
        if start not in get_args(Start):
            raise Vo3dError(f"start={start!r} is unknown: expected one of {', '.join(get_args(Start))}")
        if num_poses < 2:
            raise Vo3dError(f"num_poses={num_poses}: expected at least 2 for a velocity")
        self.start = start
        self.num_poses = num_poses
        self.__dict__["needs"] = (*type(self).needs, *(("world_T_cam",) if start == "true" else ()))

    @property
    def scale_source(self) -> str:  # type: ignore[override]
        """Name the source of the scale, in the words that results print."""
        return {"true": f"IMU, and {self.num_poses} true poses", "rest": "IMU, from rest"}[self.start]

    def forward(self, sample: Sample) -> Prediction:
        """Integrate each clip on its own."""
        return self._integrate(sample, None)[0]

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("DeadReckoning has no parameters to train: evaluate it instead")

    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Integrate clip after clip from where the one before ended."""
        state = None
        for sample in samples:
            prediction, state = self._integrate(sample, state)
            yield prediction

    def _integrate(self, sample: Sample, state: State | None) -> tuple[Prediction, State | None]:
        """Return the steps of a clip or a batch of them, and the state at its end."""
        readings, instants, cam_T_imu = step_readings(sample, type(self).__name__)
        if not readings.shape[-3]:  # a view alone
            return {"prev_T_cam": readings.new_empty(*readings.shape[:-2], 4, 4).float()}, state
        if state is None:
            state = self._from_truth(sample) if self.start == "true" else self._from_rest(sample)
        poses, state = travel(preintegrate(readings, instants, state.bias[..., None, :]), state)
        prev_T_imu = se3.relative(poses[..., :-1, :, :], poses[..., 1:, :, :])
        cam_T_imu = cam_T_imu[..., None, :, :]
        return {"prev_T_cam": se3.compose(cam_T_imu, prev_T_imu, se3.inverse(cam_T_imu)).float()}, state

    def _from_truth(self, sample: Sample) -> State:
        """Solve p_k - moved_k = v t_k + g t_k^2 / 2 for velocity and gravity, in the axes of the sensor at view 0."""
        readings, instants, cam_T_imu = step_readings(sample, type(self).__name__)
        if sample.world_T_cam is None:
            raise Vo3dError("start='true' needs world_T_cam: choose a recording with poses, or start='rest'")
        count = self.num_poses - 1
        moved = preintegrate(readings[..., :count, :, :], instants[..., :count, :])
        blank = torch.zeros_like(moved.velocity[..., 0, :])
        unaided, _ = travel(moved, begin(blank, blank, blank))
        world_T_imu = se3.compose(sample.world_T_cam[..., : self.num_poses, :, :], cam_T_imu[..., None, :, :])
        truth = se3.relative(world_T_imu[..., :1, :, :], world_T_imu)
        missing = (truth - unaided)[..., 1:, :3, 3]  # *b k 3
        t = moved.duration.cumsum(-1)
        if t.shape[-1] == 1:
            gravity = -moved.velocity[..., 0, :] / t
            return begin(missing[..., 0, :] / t - gravity * t / 2, gravity, blank)
        solved: Tensor = torch.linalg.lstsq(torch.stack((t, t.square() / 2), -1), missing).solution
        return begin(solved[..., 0, :], solved[..., 1, :], blank)

    def _from_rest(self, sample: Sample) -> State:
        """Take the mean force and the mean rate of the first second for gravity and bias."""
        readings, instants, _ = step_readings(sample, type(self).__name__)
        readings, instants = readings.flatten(-3, -2), instants.flatten(-2)  # *b m 6
        means = []
        for imu, time in zip(
            readings.reshape(-1, *readings.shape[-2:]), instants.reshape(-1, instants.shape[-1]), strict=True
        ):
            early = time <= time[0] + REST
            span = float(time[early][-1] - time[0])
            bias = gyro_bias_at_rest(time[early], imu[early], "start='rest'", span)
            means.append(torch.cat((bias, imu[early, 3:].mean(0))))
        found = torch.stack(means).reshape(*readings.shape[:-2], 6)
        return begin(torch.zeros_like(found[..., 3:]), -found[..., 3:], found[..., :3])


def begin(velocity: Float64[Tensor, "*b 3"], gravity: Float64[Tensor, "*b 3"], bias: Float64[Tensor, "*b 3"]) -> State:
    """Make the state at the first view, from velocity, gravity and the gyroscope's bias."""
    eye = torch.eye(4, dtype=velocity.dtype, device=velocity.device).expand(*velocity.shape[:-1], 4, 4)
    return State(eye, velocity, gravity, torch.cat((bias, torch.zeros_like(bias)), -1))


def travel(steps: Preintegration, state: State) -> tuple[Float64[Tensor, "*b s 4 4"], State]:
    """Return the poses `first_T_imu` at the views from that of `state` on, and the state at the last."""
    poses = [state.first_T_imu]
    for step in steps.unbind():
        pose, velocity = step.predict(state.first_T_imu, state.velocity, state.gravity)
        poses.append(pose)
        state = replace(state, first_T_imu=pose, velocity=velocity)
    return torch.stack(poses, -3), state

"""What an inertial sensor read between the frames of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError


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

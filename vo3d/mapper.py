"""The contract of methods that keep a map and may move past poses: a track of states, and the map at its end."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float64
from torch import Tensor

from vo3d.depth_map import PosedDepthMap
from vo3d.model import Model
from vo3d.sample import Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """Poses of the frames seen so far, and key frames with depth."""

    world_T_cam: Float64[Tensor, "n 4 4"]  # of every frame seen so far, metres
    tracked: Bool[Tensor, " n"]  # whether the pose of a frame is known; where not, its pose says nothing
    key_frames: Sequence[PosedDepthMap]  # depth with its variance; `sources` are the key frames joined to it by edges
    key_indices: Sequence[int]  # the frame of each, ascending


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """The pose of one frame as tracked; `map` is None but in the last state."""

    index: int  # of the frame in its recording
    world_T_cam: Float64[Tensor, "4 4"] | None  # as it was when the frame came; None where tracking was lost
    num_key_frames: int
    map: Map | None = None

    @property
    def tracked(self) -> bool:
        """Tell if the pose of the frame was found."""
        return self.world_T_cam is not None


class Mapper(Model):
    """A method that keeps a map of what it has seen, and corrects poses of the past by it.

    It is built as any model is; inner networks are arguments with weights of their own. `forward` and `loss` are those
    of what it can learn; `track` is how it is run. It sees one frame of a recording after the other.
    """

    @abstractmethod
    def track(self, samples: Iterable[Sample]) -> Iterator[State]:
        """Go on from where it is through frames in time order (each a batch of one clip of one view).

        The state of the last frame carries the map.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return all that `resume` needs: tensors and plain values, which a checkpoint may hold."""

    @abstractmethod
    def resume(self, state: Mapping[str, Any]) -> None:
        """Be where the mapper was that gave `state`; the next frames continue its track."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the map: the next frame is the first of a recording."""

"""The KITTI odometry metric, as the official devkit computes it, and the absolute and step errors reported with it.

Convention: poses are `world_T_cam`, metres. They are used as stored: relative motions take the general matrix inverse
and angles the arc cosine of the trace, because the devkit does so and rotations read from text are not quite
orthonormal. Published values depend on it: in the second digit for the angles of steps between frames, in the sixth for
the rest (`vo3d.metrics.odometry` has evo's values, which differ so). Nothing is aligned here: see
`vo3d.geometry.trajectory.align`.

Source: Geiger, Lenz, Urtasun 2012, "Are we ready for autonomous driving? The KITTI vision benchmark suite", and the
program `evaluate_odometry` of its development kit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import degrees, isfinite

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.trajectory import path_lengths

DEVKIT_LENGTHS = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)  # metres
DEVKIT_START_EVERY = 10  # frames
DEVKIT_FRAME_SECONDS = 0.1
AT_ONCE = 1 << 16  # motions that are compared at a time: a million at once take gigabytes
DEVKIT_SPEEDS = tuple(map(float, range(2, 25, 2)))  # m/s; a bin reaches 2 m/s to both sides: neighbours overlap


@dataclass(frozen=True)
class Bin:
    """Mean errors of the segments of one length or speed."""

    centre: float  # metres, or m/s
    t_rel_percent: float
    r_rel_deg_per_100m: float
    num_segments: int


@dataclass(frozen=True)
class SegmentErrors:
    """Errors of all segments of one recording, or of several after `pool`."""

    first: Int64[Tensor, " m"]  # frame
    last: Int64[Tensor, " m"]  # frame
    length: Float64[Tensor, " m"]  # nominal, metres
    translation: Float64[Tensor, " m"]  # metres per metre
    rotation: Float64[Tensor, " m"]  # radians per metre
    speed: Float64[Tensor, " m"]  # m/s

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.length)

    @property
    def t_rel_percent(self) -> float | None:
        """Average the translation errors of all segments, percent of their length; None where there is no segment."""
        return 100 * self.translation.mean().item() if len(self) else None

    @property
    def r_rel_deg_per_100m(self) -> float | None:
        """Average the rotation errors of all segments, degrees per 100 m; None where there is no segment."""
        return degrees(100 * self.rotation.mean().item()) if len(self) else None

    def by_length(self) -> list[Bin]:
        """Average the errors for each segment length that occurs more than twice, as the devkit plots them."""
        return self._bins((length, self.length == length) for length in sorted({*self.length.tolist()}))

    def by_speed(self, speeds: Sequence[float] = DEVKIT_SPEEDS) -> list[Bin]:
        """Average the errors of segments less than 2 m/s from each of `speeds`, where there are more than two."""
        return self._bins((speed, (self.speed - speed).abs() < 2.0) for speed in speeds)

    def _bins(self, parts: Iterable[tuple[float, Bool[Tensor, " m"]]]) -> list[Bin]:
        """Make a bin of each centre whose part has more than two segments."""
        return [
            Bin(
                centre=float(centre),
                t_rel_percent=100 * self.translation[inside].mean().item(),
                r_rel_deg_per_100m=degrees(100 * self.rotation[inside].mean().item()),
                num_segments=int(inside.sum()),
            )
            for centre, inside in parts
            if inside.sum() > 2
        ]


def pool(errors: Sequence[SegmentErrors]) -> SegmentErrors:
    """Join the segments of several recordings in one set; its means are those that the KITTI leaderboard prints."""
    if not errors:
        raise Vo3dError("no recordings to pool: expected the segment errors of at least one")
    return SegmentErrors(*(torch.cat([getattr(part, one.name) for part in errors]) for one in fields(SegmentErrors)))


def segment_errors(
    reference: Float64[Tensor, "n 4 4"],
    estimate: Float64[Tensor, "m 4 4"],
    *,
    lengths: Sequence[float] = DEVKIT_LENGTHS,
    start_every: int = DEVKIT_START_EVERY,
    frame_seconds: float = DEVKIT_FRAME_SECONDS,
    known: Bool[Tensor, " n"] | None = None,
) -> SegmentErrors:
    """Compute the relative errors of all segments of the given lengths (metres), starting every `start_every` frames.

    A segment ends at the first frame whose distance along the reference exceeds that of its start by more than its
    length; where the reference ends before, there is no segment, and a reference shorter than the shortest length has
    none at all. Both errors are divided by the nominal length. `known` marks the frames that have an estimate:
    segments that begin or end elsewhere are left out, and distances still follow the whole reference.

    Raises Vo3dError for unequal lengths, NaN, or lengths that are not positive.
    Convention: error = inverse(inverse(est_first) est_last) inverse(ref_first) ref_last.
    """
    check_pair(reference, estimate, known)
    check_lengths(lengths)
    if start_every < 1 or not frame_seconds > 0:
        raise Vo3dError(f"a start every {start_every} frames of {frame_seconds} s: expected positive numbers")
    distance = path_lengths(reference)  # n
    start = torch.arange(0, len(reference), start_every)  # a
    goal = distance[start, None] + torch.tensor(sorted(lengths), dtype=torch.float64)  # a l
    # a l; first frame beyond the goal, n where there is none
    end = torch.from_numpy(np.searchsorted(distance.numpy(), goal.numpy(), side="right"))
    exists = end < len(reference)
    if known is not None:
        exists &= known[start, None] & known[end.clamp(max=len(reference) - 1)]
    first, last = start[:, None].expand_as(end)[exists], end[exists]  # m
    length = torch.tensor(sorted(lengths), dtype=torch.float64).expand_as(goal)[exists]
    metres, angle = _relative_errors(estimate, reference, first, last)  # m
    return SegmentErrors(
        first=first,
        last=last,
        length=length,
        translation=metres / length,
        rotation=angle / length,
        speed=length / (frame_seconds * (last - first + 1).double()),
    )


def position_errors(
    reference: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "m 4 4"], known: Bool[Tensor, " n"] | None = None
) -> Float64[Tensor, " k"]:
    """Measure between the positions of each pair of poses, metres; the rmse is the absolute trajectory error."""
    check_pair(reference, estimate, known)
    distance: Tensor = (estimate[:, :3, 3] - reference[:, :3, 3]).norm(dim=-1)
    return distance if known is None else distance[known]


def step_errors(
    reference: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "m 4 4"], known: Bool[Tensor, " n"] | None = None
) -> tuple[Float64[Tensor, " k"], Float64[Tensor, " k"]]:
    """Compute the relative errors of consecutive frames: metres, radians. Only steps between two known frames count.

    Convention: error = inverse(inverse(ref_i) ref_{i+1}) inverse(est_i) est_{i+1}, as published tables have it; the
    other order gives the same metres.
    """
    check_pair(reference, estimate, known)
    first = torch.arange(len(reference) - 1)
    if known is not None:
        first = first[known[:-1] & known[1:]]
    return _relative_errors(reference, estimate, first, first + 1)


def check_lengths(lengths: Sequence[float]) -> None:
    """Raise Vo3dError unless there is a length, and all are different, finite and positive."""
    if not lengths or not all(length > 0 and isfinite(length) for length in lengths) or len({*lengths}) != len(lengths):
        raise Vo3dError(f"segment lengths {list(lengths)}: expected one or more different positive numbers of metres")


def check_pair(
    reference: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "m 4 4"], known: Tensor | None = None
) -> None:
    """Raise Vo3dError unless both trajectories have the same number of poses, at least one, all finite."""
    if len(reference) != len(estimate) or not len(reference):
        raise Vo3dError(
            f"{len(reference)} reference and {len(estimate)} estimated poses: expected equal numbers, at least one; "
            "give estimates of a part of the frames an index column or time stamps"
        )
    for what, poses in (("reference", reference), ("estimate", estimate)):
        finite = np.isfinite(poses.detach().cpu().numpy()).all((1, 2))
        if not finite.all():
            raise Vo3dError(f"the {what} holds NaN or infinity in pose {finite.argmin()}: expected finite poses")
    if known is not None and not bool(known.any()):
        raise Vo3dError(f"none of {len(reference)} frames has an estimate: expected at least one")


def _relative_errors(
    a: Float64[Tensor, "n 4 4"], b: Float64[Tensor, "n 4 4"], first: Int64[Tensor, " m"], last: Int64[Tensor, " m"]
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, " m"]]:
    """Compare the motions of `a` and `b` between frames: metres, and radians from the trace of the rotation alone.

    By numpy, as all that is linear in the number of poses here: on a busy machine torch's threads wait for each other
    a hundred times longer than these small matrices take.

    Convention: error = inverse(inverse(a_first) a_last) inverse(b_first) b_last.
    """
    both = a.detach().cpu().numpy(), b.detach().cpu().numpy()
    metres, angles = np.empty(len(first)), np.empty(len(first))
    for begin in range(0, len(first), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        begins, ends = first[part].numpy(), last[part].numpy()
        b_motion = np.linalg.solve(both[1][begins], both[1][ends])
        error = np.linalg.solve(both[0][ends], both[0][begins] @ b_motion)  # m 4 4
        metres[part] = np.linalg.norm(error[:, :3, 3], axis=-1)
        trace = error[:, 0, 0] + error[:, 1, 1] + error[:, 2, 2]
        angles[part] = np.arccos(((trace - 1) / 2).clip(-1, 1))
    return torch.from_numpy(metres), torch.from_numpy(angles)

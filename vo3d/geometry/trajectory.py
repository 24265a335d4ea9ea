"""Trajectories: chaining steps into poses, resampling and associating by time, aligning, measuring."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import rotations, se3

AlignMode = Literal["none", "scale", "yaw", "6dof", "7dof"]


@dataclass(frozen=True)
class Alignment:
    """An estimate brought to its reference: `p_reference = scale * R @ p_estimate + t`."""

    estimate: Float[Tensor, "n 4 4"]  # the estimate after alignment; its rotations carry no scale
    scale: float  # the factor on positions; 1 for "none", "yaw" and "6dof"
    reference_T_estimate: Float[Tensor, "4 4"]  # R and t, metres of the reference; the identity for "none" and "scale"
    mode: AlignMode


def chain(
    prev_T_cam: Float[Tensor, "*b m 4 4"], start: Float[Tensor, "*b 4 4"] | None = None
) -> Float[Tensor, "*b n 4 4"]:
    """Multiply m steps into n = m + 1 poses, the first being `start` (default: the identity).

    Convention: `world_T_cam[i + 1] = world_T_cam[i] @ prev_T_cam[i]`.
    Differentiable; ceil(log2 n) batched products (Hillis and Steele 1986, "Data parallel algorithms"), not n.
    """
    if start is None:
        start = torch.eye(4, dtype=prev_T_cam.dtype, device=prev_T_cam.device).expand(*prev_T_cam.shape[:-3], 4, 4)
    poses = torch.cat([start[..., None, :, :].to(prev_T_cam), prev_T_cam], dim=-3)  # pose i = product of rows 0..i
    reach = 1
    while reach < poses.shape[-3]:
        later = se3.compose(poses[..., :-reach, :, :], poses[..., reach:, :, :])
        poses = torch.cat([poses[..., :reach, :, :], later], dim=-3)
        reach *= 2
    return poses


def steps(world_T_cam: Float[Tensor, "n 4 4"]) -> Float[Tensor, "m 4 4"]:
    """The pose of every camera in the frame of the one before (`prev_T_cam`), m = n - 1; inverse of `chain`.

    Convention: `prev_T_cam[i] = inverse(world_T_cam[i]) @ world_T_cam[i + 1]`, with the general matrix inverse: then
    `chain` gives back the poses also where their rotations were rounded by a text file. With the transpose, KITTI 00
    (seven digits, 3.7 km) comes back 0.1 m away.
    """
    prev_T_cam: Tensor = torch.linalg.solve(world_T_cam[:-1], world_T_cam[1:])
    return prev_T_cam


def start_at_identity(world_T_cam: Float[Tensor, "n 4 4"], first: int = 0) -> Float[Tensor, "n 4 4"]:
    """Express every pose in the frame of pose `first`.

    Convention: `first_T_cam = inverse(world_T_first) @ world_T_cam`, with the general matrix inverse, as the KITTI
    devkit has it: rotations read from text are orthonormal to a few digits only, and with the general inverse the
    pose `first` becomes the identity exactly. The transpose instead moves positions by 1e-6 of their distance.
    """
    first_T_cam: Tensor = torch.linalg.solve(world_T_cam[first, None], world_T_cam)
    return first_T_cam


def path_lengths(world_T_cam: Float[Tensor, "n 4 4"]) -> Float[Tensor, " n"]:
    """Distance travelled up to each pose, metres; the first is 0."""
    position = world_T_cam[:, :3, 3]
    moved = (position[1:] - position[:-1]).norm(dim=-1).cumsum(0)
    return torch.cat([moved.new_zeros(min(1, len(position))), moved])


def resample(
    time: Float64[Tensor, " n"], world_T_cam: Float[Tensor, "n 4 4"], new_time: Float64[Tensor, " m"]
) -> Float[Tensor, "m 4 4"]:
    """Poses at `new_time` (seconds), interpolated on SE(3) between the two neighbours in time.

    Nothing is extrapolated. Raises Vo3dError when `time` does not increase or `new_time` leaves its span.
    Convention: constant twist in the frame of the earlier neighbour (`vo3d.geometry.se3.interpolate`).
    """
    if len(time) < 2 or bool((time[1:] <= time[:-1]).any()):
        raise Vo3dError(f"{len(time)} time stamps cannot be interpolated: expected two or more that increase")
    outside = (new_time < time[0]) | (new_time > time[-1])
    if bool(outside.any()):
        raise Vo3dError(
            f"time {new_time[outside][0].item()!r} s lies outside the trajectory ({time[0].item()!r} to "
            f"{time[-1].item()!r} s): poses are not extrapolated; ask for times within the span"
        )
    after = torch.searchsorted(time, new_time, right=True).clamp(1, len(time) - 1)  # m
    before = after - 1
    fraction = (new_time - time[before]) / (time[after] - time[before])
    return se3.interpolate(world_T_cam[before], world_T_cam[after], fraction.to(world_T_cam))


def associate(
    time_a: Float64[Tensor, " n"],
    time_b: Float64[Tensor, " m"],
    max_difference: float = 0.01,
    *,
    mutual: bool = True,
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Indices into `time_a` and `time_b` of the stamps that belong together, in time order.

    A pair is kept when each stamp is the other's nearest and they differ by at most `max_difference` seconds, so
    no pose is used twice. Without `mutual`, each stamp of the shorter trajectory (`time_b` of equally long ones) takes
    its nearest of the other, as evo 1.38 does: one pose may serve several.
    Both inputs must increase. Raises Vo3dError when nothing matches, and for a negative difference.
    """
    if not len(time_a) or not len(time_b):
        raise Vo3dError(f"trajectories of {len(time_a)} and {len(time_b)} stamps: expected at least one in each")
    if not 0 <= max_difference < float("inf"):
        raise Vo3dError(f"a largest difference of {max_difference:g} s: expected 0 or more")
    b_is_longer = len(time_b) > len(time_a)
    short, long = (time_a, time_b) if b_is_longer else (time_b, time_a)
    index, nearest = torch.arange(len(short), device=short.device), _nearest(long, short)  # of the shorter, the longer
    keep = (long[nearest] - short).abs() <= max_difference
    if mutual:
        keep &= _nearest(short, long)[nearest] == index
    if not bool(keep.any()):
        raise Vo3dError(
            f"no stamps within {max_difference} s of each other: {time_a[0].item()!r} to {time_a[-1].item()!r} s "
            f"against {time_b[0].item()!r} to {time_b[-1].item()!r} s; check the clocks, or allow a larger difference"
        )
    return (index[keep], nearest[keep]) if b_is_longer else (nearest[keep], index[keep])


def _nearest(sorted_time: Float64[Tensor, " n"], query: Float64[Tensor, " m"]) -> Int[Tensor, " m"]:
    """Index into `sorted_time` of the stamp nearest to each query; the earlier one of two equally near."""
    after = torch.searchsorted(sorted_time, query).clamp(max=len(sorted_time) - 1)
    before = (after - 1).clamp(min=0)
    return torch.where((query - sorted_time[before]).abs() <= (sorted_time[after] - query).abs(), before, after)


def align(reference: Float[Tensor, "n 4 4"], estimate: Float[Tensor, "m 4 4"], mode: AlignMode) -> Alignment:
    """Bring an estimate to its reference by the positions, in the least-squares sense.

    "none": as it is. "scale": one factor on the positions, about the origin; move both trajectories with
    `start_at_identity` first. "yaw": translation and a turn about the z axis, for worlds whose z axis is vertical.
    "6dof": rotation and translation. "7dof": those and scale.
    Rotations of the estimate turn with it and are never scaled.
    Raises Vo3dError for unequal lengths, no poses, or where the answer is not unique: no motion, or (6dof, 7dof)
    positions on a line. Sources: Umeyama 1991, "Least-squares estimation of transformation parameters between two point
    patterns", equations 40 to 43, with its guard against reflections; for yaw, Zhang and Scaramuzza 2018, "A tutorial
    on quantitative trajectory evaluation for visual(-inertial) odometry", the four degrees of freedom that gravity
    leaves.
    Convention: `p_reference = scale * R @ p_estimate + t`.
    """
    if mode not in get_args(AlignMode):
        raise Vo3dError(f"alignment {mode!r} is unknown: choose {', '.join(get_args(AlignMode))}")
    if len(reference) != len(estimate) or not len(reference):
        raise Vo3dError(
            f"{len(reference)} reference and {len(estimate)} estimated poses: alignment needs equal numbers, not zero"
        )
    target, source = reference[:, :3, 3].double(), estimate[:, :3, 3].double()  # n 3
    reference_T_estimate = torch.eye(4, dtype=torch.float64, device=source.device)
    scale = 1.0
    if mode == "scale":
        scale = _fit_scale(target, source)
    elif mode == "yaw":
        reference_T_estimate = _fit_yaw(target, source)
    elif mode != "none":
        reference_T_estimate, scale = _umeyama(target, source, with_scale=mode == "7dof")
    scaled = estimate.double().clone()
    scaled[:, :3, 3] *= scale
    aligned = (reference_T_estimate @ scaled).to(estimate.dtype)
    return Alignment(aligned, scale, reference_T_estimate.to(estimate.dtype), mode)


def _fit_scale(target: Float64[Tensor, "n 3"], source: Float64[Tensor, "n 3"]) -> float:
    """The factor s that minimises |target - s source|^2."""
    energy = source.square().sum()
    if not energy > 0:
        raise Vo3dError("no positive scale fits an estimate that does not move; align with none to see its errors")
    scale = ((target * source).sum() / energy).item()
    if not scale > 0:
        raise Vo3dError(
            f"no positive scale fits the estimate ({scale:g} in the least-squares sense): it moves away from the "
            "reference, or that does not move; align with none, 6dof or 7dof to see its errors"
        )
    return scale


def _fit_yaw(target: Float64[Tensor, "n 3"], source: Float64[Tensor, "n 3"]) -> Float64[Tensor, "4 4"]:
    """Find the turn about z and the translation that minimise |target - (R source + t)|^2."""
    target_mean, source_mean = target.mean(0), source.mean(0)
    (x, y, _), (u, v, _) = (target - target_mean).T, (source - source_mean).T
    along, across = (u * x + v * y).sum(), (u * y - v * x).sum()  # of the horizontal parts, for every yaw the same
    if not torch.hypot(along, across) > 1e-9 * torch.hypot(x, y).norm() * torch.hypot(u, v).norm():
        raise Vo3dError(
            f"the horizontal positions of {len(source)} poses do not move: a yaw cannot be fitted to them; align with "
            "none"
        )
    yaw = torch.atan2(across, along)
    rotation = rotations.axis_rotation(2, yaw)
    return se3.from_rotation_translation(rotation, target_mean - rotation @ source_mean)


def _umeyama(
    target: Float64[Tensor, "n 3"], source: Float64[Tensor, "n 3"], *, with_scale: bool
) -> tuple[Float64[Tensor, "4 4"], float]:
    """The motion (R, t) and the scale that minimise |target - (s R source + t)|^2 (Umeyama 1991)."""
    target_mean, source_mean = target.mean(0), source.mean(0)
    target, source = target - target_mean, source - source_mean
    covariance = target.T @ source / len(source)  # equation 38
    left, singular, right = torch.linalg.svd(covariance)
    # Rank 2 is enough for one rotation (section III); below it the turn about the line of positions is free.
    if not singular[1] > 1e-9 * target.norm() * source.norm() / len(source):
        raise Vo3dError(
            f"the positions of {len(source)} poses lie on a line or do not move: a rotation cannot be fitted to them; "
            "align with none or scale"
        )
    sign = torch.ones_like(singular)
    sign[2] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))  # equations 39 and 43: never a reflection
    rotation = left @ torch.diag(sign) @ right
    scale = ((singular * sign).sum() / (source.square().sum() / len(source))).item() if with_scale else 1.0
    return se3.from_rotation_translation(rotation, target_mean - scale * rotation @ source_mean), scale

"""A coloured cloud of frames in time order, by a model that gives both their depth and their motion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.ply import PointCloud
from vo3d.geometry import backproject, se3, subsample, subsample_intrinsics
from vo3d.inference.depth import depth_maps, on_grid
from vo3d.inference.trajectory import KEYS, join_poses, poses_of, trajectory_key
from vo3d.model import DepthModel, Frames, Model, depth_model
from vo3d.recording import Recording


@dataclass(frozen=True)
class CloudRules:
    """Choose the pixels of the frames that become points.

    Args:
        every: so many-th frame.
        every_pixel: so many-th row and column of its depth.
        max_depth: metres; what is farther is left out: depth is least sure there.
        max_step: share of a depth by which those of the four pixels around it may differ; what differs more is an
            edge, where networks put points between the near and the far surface.

    Raises:
        Vo3dError: a number is out of its range.
    """

    every: int = 5
    every_pixel: int = 2
    max_depth: float = 30.0
    max_step: float = 0.1

    def __post_init__(self) -> None:
        for name in ("every", "every_pixel"):
            if getattr(self, name) < 1:
                raise Vo3dError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected at least 1")
        for name in ("max_depth", "max_step"):
            if not getattr(self, name) > 0:
                raise Vo3dError(f"--{name.replace('_', '-')} {getattr(self, name):g}: expected a number above 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceCloud:
    """A cloud with the path of the camera, in the frame of the first camera where the model gives steps."""

    cloud: PointCloud
    world_T_cam: Float64[Tensor, "n 4 4"]  # of all frames
    num_frames: int  # that gave points
    seconds: float  # of the model's work


def model_of_sequences(model: Model) -> DepthModel:
    """Return the model as one of depth and poses of frames in time order; raises Vo3dError unless it is one."""
    depth = depth_model(model)
    if not set(KEYS) & set(depth.gives):
        raise Vo3dError(
            f"{type(model).__name__} gives {', '.join(depth.gives)}: a cloud of a sequence needs poses too: expected "
            f"a model that gives {' or '.join(KEYS)} beside depth"
        )
    return depth


def sequence_cloud(
    model: Model,
    recording: Recording,
    windows: Sequence[Frames],
    rules: CloudRules,
    *,
    device: torch.device | str,
    advance: Callable[[int], object] = lambda frames: None,
) -> SequenceCloud:
    """Run `model` once along a recording, and put the points that its depth maps hold where its poses say.

    `windows` are those of `vo3d.inference.loop.windows_of`; `advance` is told of the frames that are done. Call it
    inside `evaluating`. A colour is that of the image around the pixel.

    Raises:
        Vo3dError: as `depth_maps` and `join_poses`; the recording has no K; or no pixel is left.
        TypeError: the model gives other numbers of maps or poses than it must: a defect of it.
    """
    depth = model_of_sequences(model)
    key = trajectory_key(depth, windows)
    poses: list[Tensor] = []
    kept: list[tuple[int, Tensor, Tensor]] = []  # frame, points in its camera, colours
    seconds, last = 0.0, None
    for view, answer, row in depth_maps(depth, recording, windows, device=device):
        if answer is not last:
            poses.append(poses_of(depth, key, answer))
            seconds, last = seconds + answer.seconds, answer
        frame = answer.frames.views[row]
        if frame % rules.every == 0:
            if answer.sample.K is None:
                raise Vo3dError(f"{recording.name} gives no K: a cloud needs it: choose a source that knows its camera")
            K = subsample_intrinsics(answer.sample.K[row].float(), depth.stride)
            colours = on_grid(view.image[None], depth.stride)[0]
            kept.append((frame, *_points(view.depth, K, colours, rules)))
        advance(1)
    world_T_cam = join_poses(depth, key, poses, recording.name)
    points = [se3.transform(world_T_cam[frame], points.double()).float() for frame, points, _ in kept]
    if not any(map(len, points)):
        raise Vo3dError(
            f"no depth of {type(model).__name__} on {recording.name} is within {rules.max_depth:g} m and off edges: "
            "raise --max-depth or --max-step"
        )
    colours = torch.cat([colours for _, _, colours in kept])
    return SequenceCloud(
        cloud=PointCloud(points=torch.cat(points).numpy(), colours=colours.numpy()),
        world_T_cam=world_T_cam,
        num_frames=sum(len(one) > 0 for one in points),
        seconds=seconds,
    )


def off_edges(depth: Float[Tensor, "h w"], max_step: float) -> Bool[Tensor, "h w"]:
    """Mark the pixels from whose depth those of the four around differ by at most `max_step` of the lesser one.

    Neighbours without a depth (0) are not compared with.
    """
    keep = torch.ones_like(depth, dtype=torch.bool)
    for axis in (0, 1):
        one, other = depth.narrow(axis, 0, depth.shape[axis] - 1), depth.narrow(axis, 1, depth.shape[axis] - 1)
        near, far = torch.minimum(one, other), torch.maximum(one, other)
        even = (near <= 0) | (far - near <= max_step * near)
        keep.narrow(axis, 0, depth.shape[axis] - 1).logical_and_(even)
        keep.narrow(axis, 1, depth.shape[axis] - 1).logical_and_(even)
    return keep


def _points(
    depth: Float[Tensor, "h w"], K: Float[Tensor, "3 3"], image: Float[Tensor, "3 h w"], rules: CloudRules
) -> tuple[Float[Tensor, "n 3"], UInt8[Tensor, "n 3"]]:
    """Take the points in the camera's frame that the rules keep of a map, and their colours."""
    good = (depth > 0) & (depth <= rules.max_depth) & off_edges(depth, rules.max_step)
    good = subsample(good, rules.every_pixel)
    points = subsample(backproject(K, depth).permute(2, 0, 1), rules.every_pixel)[:, good].T
    colours = subsample(image, rules.every_pixel)[:, good].T
    return points, (colours * 255).round().byte()

"""Depth maps by any model of depth: of frames in time order, and of references with their sources."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from vo3d.depth_map import DepthMap, Planes, PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.fusion.variational import refine_depth
from vo3d.geometry.camera import subsample, subsample_intrinsics
from vo3d.inference.loop import Answer, answers
from vo3d.metrics.depth import depth_metrics
from vo3d.model import DepthModel, Frames
from vo3d.recording import Recording
from vo3d.sample import Sample


def depth_maps(
    model: DepthModel,
    recording: Recording,
    windows: Sequence[Frames],
    *,
    device: torch.device | str,
    read: Callable[[Frames], Sample] | None = None,
) -> Iterator[tuple[DepthMap, Answer, int]]:
    """Give the map of each view that counts, in order, with the answer it is from and the view's place in its sample.

    For the arguments see `vo3d.inference.loop.answers`; call it inside `evaluating`.

    Raises:
        Vo3dError: as `answers` does; or a depth or confidence is not finite.
        TypeError: there is not one map a view, or one has another size than the image has pixels at the model's stride.
    """
    for answer in answers(model, recording, windows, device=device, read=read):
        for row, view in enumerate(answer.frames.counted):
            place = row if model.window.reference else view  # of a reference and its sources: s = 1
            yield _depth_map(model, recording, answer, place, view), answer, view


def _depth_map(model: DepthModel, recording: Recording, answer: Answer, row: int, view: int) -> DepthMap:
    """Make the map in one row of a prediction."""
    name = type(model).__name__
    h, w = subsample(answer.sample.image[view, 0], model.stride).shape
    expected = (1, 1 if model.window.reference else len(answer.frames.views), h, w)
    given = {key: answer.prediction[key] for key in ("depth", "confidence") if key in model.gives}
    for key, value in given.items():
        if value.shape != expected:
            raise TypeError(
                f"{name} gave {key} of the shape {tuple(value.shape)}: expected {expected}, every {model.stride}th "
                "pixel"
            )
    depth = given["depth"][0, row].float()
    confidence = given["confidence"][0, row].float() if "confidence" in given else None
    finite = depth.isfinite() if confidence is None else depth.isfinite() & confidence.isfinite()
    if bad := int((~finite).sum()):
        raise Vo3dError(
            f"{bad} of {depth.numel()} depths of {name} are NaN or infinite: take precision float32, or other weights"
        )
    known = of_view(model, answer.sample, view, name=recording.names[answer.frames.views[view]])
    return DepthMap(**known, depth=depth, confidence=confidence, seconds=answer.seconds / len(answer.frames.counted))


def of_view(model: DepthModel, sample: Sample, view: int, *, name: str) -> dict[str, Any]:
    """Collect what is known of a map beside the estimate: its name, image, truth and planes."""
    planes = None
    if model.num_depths is not None and model.num_depths > 1 and sample.depth_range is not None:
        near, far = sample.depth_range[view].tolist()
        planes = Planes(near=near, far=far, num=model.num_depths, inverse=model.inverse)
    truth = None if sample.depth is None else subsample(sample.depth[view], model.stride)
    return {"name": name, "image": sample.image[view], "truth": truth, "planes": planes}


def posed(
    view: DepthMap,
    sample: Sample,
    stride: int,
    *,
    sources: tuple[int, ...],
    foreground: Bool[Tensor, "h w"] | None = None,
) -> PosedDepthMap:
    """Join the map of a sample's first view with its camera and colours on its own grid, ready for fusion.

    `sources` are positions in the sequence that the map will belong to. A colour is the mean of the image around the
    pixel that the depth belongs to; without a confidence every depth counts as sure. `foreground` is that of the map.
    Raises Vo3dError where the sample has no camera or no depth range.
    """
    if sample.K is None or sample.world_T_cam is None or sample.depth_range is None:
        raise Vo3dError(f"scene {sample.scene} gives no K, poses or depth ranges: a reconstruction needs all three")
    near, far = sample.depth_range[0].tolist()
    known = {field.name: getattr(view, field.name) for field in fields(DepthMap)}
    known["confidence"] = torch.ones_like(view.depth) if view.confidence is None else view.confidence
    return PosedDepthMap(
        **known | {"image": on_grid(view.image[None], stride)[0]},
        K=subsample_intrinsics(sample.K[0], stride),
        world_T_cam=sample.world_T_cam[0],
        sources=sources,
        depth_range=(near, far),
        foreground=foreground,
    )


def on_grid(image: Float[Tensor, "b c h w"], stride: int) -> Float[Tensor, "b c i j"]:
    """Reduce images to every `stride`-th pixel, each the mean of its surroundings."""
    half = stride // 2
    return functional.avg_pool2d(image, 2 * half + 1, stride, padding=half, count_include_pad=False)


def depth_errors(view: DepthMap, min_confidence: float | None) -> dict[str, float]:
    """Compute the errors of a map against its truth; empty where it has none.

    See `depth_metrics` for the keys; those that begin with `confident_` count only the pixels of at least
    `min_confidence`. Lengths are in the unit of the scene, taken as metres.
    """
    if view.truth is None or not bool((view.truth > 0).any()):
        return {}
    errors = depth_metrics(view.depth, view.truth)
    if view.confidence is not None and min_confidence is not None:
        sure = depth_metrics(view.depth, view.truth, mask=view.confidence >= min_confidence)
        errors = errors | {f"confident_{key}": value for key, value in sure.items()}
    return {key: float(value) for key, value in errors.items()}


def refined(model: DepthModel, view: DepthMap, sample: Sample, device: torch.device | str) -> DepthMap:
    """Move each depth of the map between the hypotheses so that the images agree better; see `refine_depth`.

    Raises Vo3dError for a model without hypotheses: its depths have no interval.
    """
    if sample.K is None or sample.world_T_cam is None or sample.depth_range is None:
        raise Vo3dError(f"scene {sample.scene} gives no K, poses or depth ranges: refinement needs all three")
    near, far = sample.depth_range[0].tolist()
    interval = model.spacing((near, far))
    if interval is None:
        raise Vo3dError(f"{type(model).__name__} sweeps no hypotheses: there is no interval to refine depths within")
    depth, _ = refine_depth(
        view.depth.to(device),
        on_grid(sample.image.to(device), model.stride),
        subsample_intrinsics(sample.K.to(device), model.stride),
        sample.world_T_cam.to(device),
        interval,
        inverse=model.inverse,
    )
    return replace(view, depth=depth.cpu())

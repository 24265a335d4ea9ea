"""The depth map of a view by any model of multi-view stereo, on the grid that fusion wants it on."""

from dataclasses import dataclass, replace
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import subsample_intrinsics
from vo3d.metrics.depth import depth_metrics
from vo3d.model import Model, check_needs
from vo3d.reconstruction.depth_map import DepthMap
from vo3d.reconstruction.variational import refine_depth
from vo3d.sample import Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """What a model says of the reference view of a sample, on its own grid of pixels, on the CPU."""

    depth: Float[Tensor, "h w"]  # z, in the unit of the poses
    confidence: Float[Tensor, "h w"]  # in [0, 1]
    seconds: float  # of the model's work


def check_estimates_depth(model: Model) -> None:
    """Raise Vo3dError unless the model gives depth and confidence, which fusion needs."""
    if not {"depth", "confidence"} <= set(model.gives):
        raise Vo3dError(
            f"{type(model).__name__} gives {', '.join(model.gives)}: a reconstruction needs a model of depth and "
            "confidence, such as vo3d.models.mvsnet.MVSNet"
        )


def stride_of(model: Model) -> int:
    """From how many pixels of the image to the next a pixel of the model's maps goes."""
    return int(getattr(model, "stride", 1))


def estimate_depth(model: Model, sample: Sample, device: torch.device | str) -> Estimate:
    """Run `model.stream` on one sample (no batch axis, reference first); the model is in evaluation mode on `device`.

    Raises:
        Vo3dError: the sample lacks what the model needs, memory does not suffice, or the depth is not finite.
    """
    check_needs(model, sample, f"scene {sample.scene}")
    started = perf_counter()
    try:
        with torch.no_grad():
            prediction = next(iter(model.stream([Sample.collate([sample]).to(device)])))
            depth, confidence = (prediction[key][0, 0].float().cpu() for key in ("depth", "confidence"))
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        h, w = sample.image.shape[-2:]
        raise Vo3dError(
            f"memory does not suffice for images of {w}x{h} pixels: make them smaller, take fewer depths, or a "
            "precision of 16 bits where the model has one"
        ) from error
    bad = int((~(depth.isfinite() & confidence.isfinite())).sum())
    if bad:
        raise Vo3dError(
            f"{bad} of {depth.numel()} depths of {type(model).__name__} are NaN or infinite: take precision float32, "
            "or other weights"
        )
    return Estimate(depth=depth, confidence=confidence, seconds=perf_counter() - started)


def depth_map(estimate: Estimate, sample: Sample, stride: int, *, name: str, sources: tuple[int, ...]) -> DepthMap:
    """The estimate with the camera and the colours of the sample's reference, ready for fusion.

    `sources` are positions in the sequence that the map will belong to. A colour is the mean of the image around the
    pixel that the depth belongs to.
    """
    if sample.world_T_cam is None or sample.depth_range is None:
        raise Vo3dError(f"scene {sample.scene} gives no poses or no depth ranges: a reconstruction needs both")
    near, far = sample.depth_range[0].tolist()
    return DepthMap(
        name=name,
        depth=estimate.depth,
        confidence=estimate.confidence,
        K=subsample_intrinsics(sample.K[0], stride),
        world_T_cam=sample.world_T_cam[0],
        image=on_grid(sample.image[:1], stride)[0],
        sources=sources,
        depth_range=(near, far),
    )


def on_grid(image: Float[Tensor, "b c h w"], stride: int) -> Float[Tensor, "b c i j"]:
    """Images at every `stride`-th pixel, each the mean of its surroundings."""
    half = stride // 2
    return functional.avg_pool2d(image, 2 * half + 1, stride, padding=half, count_include_pad=False)


def depth_errors(estimate: Estimate, sample: Sample, stride: int, min_confidence: float) -> dict[str, float]:
    """Errors against the true depth of the sample's reference; empty where it has none.

    See `depth_metrics` for the keys; those that begin with `confident_` count only the pixels of at least
    `min_confidence`. Lengths are in the unit of the scene, taken as metres.
    """
    if sample.depth is None:
        return {}
    truth = sample.depth[0, ::stride, ::stride]
    if not bool((truth > 0).any()):
        return {}
    errors = depth_metrics(estimate.depth, truth)
    sure = depth_metrics(estimate.depth, truth, mask=estimate.confidence >= min_confidence)
    found = errors | {f"confident_{key}": value for key, value in sure.items()}
    return {key: float(value) for key, value in found.items()}


def refined(model: Model, estimate: Estimate, sample: Sample, device: torch.device | str) -> Estimate:
    """The estimate with each depth moved between the hypotheses so that the images agree better; see `refine_depth`.

    Raises Vo3dError for a model without an attribute `num_depths`: its depths have no interval.
    """
    num_depths = getattr(model, "num_depths", None)
    if num_depths is None or sample.world_T_cam is None or sample.depth_range is None:
        raise Vo3dError(f"{type(model).__name__} sweeps no hypotheses: there is no interval to refine depths within")
    inverse = bool(getattr(model, "inverse_stream", getattr(model, "inverse", False)))
    near, far = sample.depth_range[0].tolist()
    stride = stride_of(model)
    depth, _ = refine_depth(
        estimate.depth.to(device),
        on_grid(sample.image.to(device), stride),
        subsample_intrinsics(sample.K.to(device), stride),
        sample.world_T_cam.to(device),
        (1 / near - 1 / far if inverse else far - near) / (num_depths - 1),
        inverse=inverse,
    )
    return replace(estimate, depth=depth.cpu())


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "alloc" in str(error)

"""The descriptors that a model gives of images."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.model import Model, check_gives, check_needs
from vo3d.recording import Recording
from vo3d.retrieval.descriptors import Descriptors

KEY = "descriptor"
MOST_BYTES = 4 * 10**9  # of the descriptors of a recording in memory
BLOCK = 1024  # rows of a file on disk


@torch.no_grad()
def descriptor_of(
    model: Model, recording: Recording, index: int, *, device: torch.device | str
) -> Float32[Tensor, " c"]:
    """Describe one view of a recording, on the CPU. Call it inside `vo3d.inference.loop.evaluating`.

    Raises:
        Vo3dError: the image cannot be read, the model looks at several views at once or needs more than the recording
            has, or a number is NaN or infinite.
    """
    name = type(model).__name__
    if KEY not in model.gives or model.window.views != 1:
        raise Vo3dError(
            f"{name} gives {', '.join(model.gives)}: expected a model of {KEY} that sees one image at a time"
        )
    sample = recording.clip((index,))
    check_needs(model, sample, f"recording {recording.name}")
    prediction = model.predict(sample.batched().to(device))
    check_gives(model, prediction)
    found = prediction["descriptor"].reshape(-1).float().cpu()
    if not bool(found.isfinite().all()):
        raise Vo3dError(
            f"{name} gives a descriptor of view {index} of {recording.name} that is NaN or infinite: expected numbers: "
            "take precision float32, or other weights"
        )
    return found


def describe_all(
    model: Model,
    recording: Recording,
    *,
    device: torch.device | str,
    advance: Callable[[int], object] = lambda _: None,
    folder: Path | None = None,
) -> Float32[Tensor, "n c"] | Descriptors:
    """Describe all views of a recording one by one, as images may differ in size; call it inside `evaluating`.

    Args:
        model: gives `descriptor`.
        recording: whose views are described.
        device: where the model is.
        advance: is told that one more view is done.
        folder: an empty one, or one that is not there yet. Where the descriptors would fill more than `MOST_BYTES` in
            float32, they are written into it in half precision, and the caller removes them.

    Raises:
        Vo3dError: there is no view, or as `descriptor_of`.
        TypeError: the descriptors of two views have different widths: a defect of the model.
    """
    if not len(recording):
        raise Vo3dError(f"{recording.name} has no view to describe: expected at least one")
    rows: list[Tensor] = []
    stored: Descriptors | None = None
    dim = 0
    for index in range(len(recording)):
        rows.append(descriptor_of(model, recording, index, device=device))
        dim = dim or len(rows[0])
        if len(rows[-1]) != dim:
            raise TypeError(
                f"{type(model).__name__} gives {dim} values of a view of {recording.name} and {len(rows[-1])} of view "
                f"{index}: expected one width"
            )
        advance(1)
        if index == 0 and folder is not None and 4 * dim * len(recording) > MOST_BYTES:
            stored = Descriptors(folder)
        if stored is not None and (len(rows) == BLOCK or index == len(recording) - 1):
            stored.append(torch.stack(rows))
            rows.clear()
    return torch.stack(rows) if stored is None else stored

"""The descriptors that a model gives of images."""

import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.model import Model, check_gives, check_needs
from vo3d.recording import Recording
from vo3d.sample import Sample

KEY = "descriptor"


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
    prediction = model.predict(Sample.collate([sample]).to(device))
    check_gives(model, prediction)
    found = prediction["descriptor"].reshape(-1).float().cpu()
    if not bool(found.isfinite().all()):
        raise Vo3dError(
            f"{name} gives a descriptor of view {index} of {recording.name} that is NaN or infinite: expected numbers: "
            "take precision float32, or other weights"
        )
    return found

"""Where a model runs."""

import torch

from vo3d.errors import Vo3dError

WITHOUT_FLOAT64 = ("mps",)


def choose_device(name: str) -> torch.device:
    """Choose the device of that name, as torch names it; "auto" is the accelerator where there is one, else the CPU.

    One without float64, in which poses are, is left out by "auto".

    Raises Vo3dError when torch does not know the name, or cannot use the device here.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found if found is not None and found.type not in WITHOUT_FLOAT64 else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise Vo3dError(
            f"device {name!r} is unknown to torch: expected auto, cpu or a name that torch knows"
        ) from error
    if device.type in WITHOUT_FLOAT64:
        raise Vo3dError(f"device {name!r} has no float64, in which poses are: choose auto or cpu")
    try:
        torch.zeros(1, device=device).item()
    # a build of torch without the device's library says so by any of these
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise Vo3dError(f"device {name!r} cannot be used here ({reason}): choose auto or cpu") from error
    return device

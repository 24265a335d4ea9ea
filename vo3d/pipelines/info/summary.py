"""What each layer of a model costs: its output's shape, parameters and multiply-adds, from one forward pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vo3d.errors import Vo3dError
from vo3d.model import Model
from vo3d.sample import Sample

NOT_COUNTED = "sampling of maps, normalisation, other work value by value, and what torch does not do itself"
IMU_READINGS = 10  # of a blank sample, between two views
VOXELS = 32  # of a blank sample, along each side
OBJECTS = 1  # that move in a blank sample


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One module of a model with all that is in it; the model itself has the name ""."""

    name: str
    kind: str
    output: str  # shape, or shapes; empty where the module did not run by itself
    calls: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Views:
    """The size that a model is counted for: one clip of so many views of so many rows and columns."""

    size: tuple[int, int]
    num: int
    source: str = ""  # where both come from, in words


def summarise(build: Callable[[], Model], choose: Callable[[Model], Views]) -> tuple[Model, Views, list[Layer]]:
    """Give a model, and all its modules in their order, as they were in evaluation of one blank sample.

    On torch's meta device, which has shapes and no values, so that neither memory nor time depends on the size; a model
    that needs values runs on the CPU. Multiply-adds are those of matrix products and convolutions (torch counts two
    operations for each), not of `NOT_COUNTED`.

    Args:
        build: Makes the model, on whatever device is the default.
        choose: Gives the views of the sample for the model.

    Raises:
        Vo3dError: the model refuses such a sample.
    """
    try:
        return _summary(build, choose, torch.device("meta"))
    except (RuntimeError, TypeError):  # what torch and NumPy raise where a value is asked for
        return _summary(build, choose, torch.device("cpu"))


def _summary(
    build: Callable[[], Model], choose: Callable[[Model], Views], device: torch.device
) -> tuple[Model, Views, list[Layer]]:
    with device:
        model = build().eval()
    views = choose(model)
    sample = blank_sample(model.needs, views, device)
    try:
        return model, views, layers(model, sample)
    except RuntimeError as error:
        if device.type == "meta":
            raise
        reason = str(error).strip().splitlines()[0]
        raise Vo3dError(
            f"{type(model).__name__} cannot take {views.num} views of {views.size[0]} rows and {views.size[1]} columns "
            f"({reason}): choose others"
        ) from error


def blank_sample(fields: Sequence[str], views: Views, device: torch.device) -> Sample:
    """Make a batch of one clip with `fields` beside image and K: black views from one place, all depths 1, no motion.

    Raises:
        Vo3dError: the size or the number of views is not positive, or a field has no blank.
    """
    (h, w), s = views.size, views.num
    if min(h, w, s) < 1:
        raise Vo3dError(f"{s} views of {h} rows and {w} columns: expected at least 1 of each")
    zeros = partial(torch.zeros, device=device)
    focal = torch.tensor([[w, 0, (w - 1) / 2], [0, w, (h - 1) / 2], [0, 0, 1]], device=device)
    steps = torch.arange(s, device=device)[None]  # 1 s
    reading = torch.arange(IMU_READINGS, device=device, dtype=torch.float64)
    blanks: dict[str, Callable[[], Tensor]] = {
        "image": lambda: zeros(1, s, 3, h, w),
        "K": lambda: focal.expand(1, s, 3, 3),
        "world_T_cam": lambda: torch.eye(4, device=device, dtype=torch.float64).expand(1, s, 4, 4),
        "depth": lambda: torch.ones(1, s, h, w, device=device),
        "depth_range": lambda: torch.tensor([1.0, 2.0], device=device).expand(1, s, 2),
        "time": steps.double,
        "imu": lambda: zeros(1, s, IMU_READINGS, 6),
        "imu_time": lambda: steps[..., None] - (reading.flip(0) + 0.5) / IMU_READINGS,
        "cam_T_imu": lambda: torch.eye(4, device=device)[None],
        "right": lambda: zeros(1, s, 3, h, w),
        "left_T_right": lambda: torch.eye(4, device=device)[None],
        "mask": lambda: zeros(1, s, h, w, dtype=torch.long),
        "flow": lambda: zeros(1, s - 1, 2, h, w),
        "object_motion": lambda: torch.eye(4, device=device, dtype=torch.float64).expand(1, s - 1, OBJECTS, 4, 4),
        "label": lambda: zeros(1, s, h, w, dtype=torch.long),
        "occupancy": lambda: zeros(1, VOXELS, VOXELS, VOXELS, dtype=torch.bool),
        "world_T_grid": lambda: torch.eye(4, device=device, dtype=torch.float64)[None],
        "index": lambda: steps,
    }
    wanted = dict.fromkeys(["image", "K", *fields, *(["imu_time"] if "imu" in fields else [])])
    if unknown := [name for name in wanted if name not in blanks]:
        raise Vo3dError(f"the model needs {', '.join(unknown)}: a sample has {', '.join(blanks)}")
    made: dict[str, Any] = {name: blanks[name]() for name in wanted}
    return Sample(**made, scene=["blank"])


def layers(model: nn.Module, *inputs: object) -> list[Layer]:
    """List the modules of `model` in their order, the whole first, as one call on `inputs` (no gradients) finds them.

    What a module uses of another's weights without calling it counts for itself. A module that only holds others, and
    is never called, has the sum of theirs.
    """
    modules = dict(model.named_modules())
    with (
        torch.no_grad(),
        FlopCounterMode(display=False, custom_mapping=_fused_recurrences()) as counter,
        _watched(modules, lambda: counter.get_total_flops() // 2) as (counts, outputs),
    ):
        model(*inputs)
    for name in reversed(modules):
        if name not in outputs:
            parts = (f"{name}.{part}" if name else part for part, _ in modules[name].named_children())
            counts[name] = [sum(sum(counts.get(part, [])) for part in parts)]
    return [
        Layer(
            name=name,
            kind=type(module).__name__,
            output=_shape(outputs[name]) if name in outputs else "",
            calls=len(counts[name]) if name in outputs else 0,
            parameters=count(module.parameters()),
            multiply_adds=sum(counts[name]),
        )
        for name, module in modules.items()
    ]


def count(tensors: Iterator[Tensor]) -> int:
    """Count the numbers that `tensors` hold."""
    return sum(tensor.numel() for tensor in tensors)


@contextmanager
def _watched(
    modules: dict[str, nn.Module], so_far: Callable[[], int]
) -> Iterator[tuple[dict[str, list[int]], dict[str, object]]]:
    """Record of each module that runs by how much every call moved `so_far`, and its last output."""
    counts: dict[str, list[int]] = {}
    outputs: dict[str, object] = {}
    begun: dict[str, int] = {}

    def before(name: str, module: nn.Module, inputs: object) -> None:
        begun[name] = so_far()

    def after(name: str, module: nn.Module, inputs: object, output: object) -> None:
        counts.setdefault(name, []).append(so_far() - begun[name])
        outputs[name] = output

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.enter_context(module.register_forward_pre_hook(partial(before, name)))
            hooks.enter_context(module.register_forward_hook(partial(after, name)))
        yield counts, outputs


def _fused_recurrences() -> dict[Any, Callable[..., int]]:
    """Count the operations of an LSTM's layer that runs as one kernel on CPUs, which torch's counter does not know."""
    fused = getattr(torch.ops.aten, "mkldnn_rnn_layer", None)

    def operations(x: Sequence[int], of_x: Sequence[int], of_state: Sequence[int], *_: object, **__: object) -> int:
        steps, batch = x[:2]
        return 2 * steps * batch * (of_x[0] * of_x[1] + of_state[0] * of_state[1])

    return {} if fused is None else {fused: operations}


def _shape(output: object) -> str:
    """Put the shape of a tensor in words; of a table or a list those of its tensors."""
    if isinstance(output, Tensor):
        return "x".join(map(str, output.shape)) or "one number"
    if isinstance(output, dict):
        return ", ".join(f"{key} {_shape(value)}" for key, value in output.items() if key != "aux")
    if isinstance(output, Sequence) and not isinstance(output, str):
        return ", ".join(_shape(value) for value in output if value is not None)
    return type(output).__name__

"""The one loop that runs a model along a recording, window after window as the model wants them."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import torch

from vo3d.errors import Vo3dError
from vo3d.model import Frames, Model, Prediction, check_gives, check_needs
from vo3d.recording import MultiViewScene, Recording
from vo3d.sample import Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The prediction for one window, with the sample that it is of."""

    frames: Frames
    sample: Sample  # without a batch axis
    prediction: Prediction  # of a batch of one, on the CPU, without `aux`
    seconds: float  # of the model's work, without the reading of the views


def windows_of(
    model: Model, recording: Recording, *, clip_length: int | None = None, num_views: int | None = None
) -> list[Frames]:
    """List the windows in which `model` sees a recording; every view counts in one of them alone.

    Frames in time order are cut as `model.window` says. Of views in no order each is a window with its sources, or
    alone where the model looks at one view at a time.

    Args:
        model: What sees them.
        recording: Frames in time order, or views of one scene in no order.
        clip_length: Frames of a window, where the model takes any number; its usual one if None.
        num_views: Of a reference and its sources together, at most; all, if None.

    Raises:
        Vo3dError: the recording is none that the model can look at, or is too short.
    """
    name, window = type(model).__name__, model.window
    if not isinstance(recording, MultiViewScene):
        if window.reference:
            raise Vo3dError(
                f"{name} matches a view with its sources, and {recording.name} holds frames in time order: choose a "
                "dataset of views for multi-view stereo"
            )
        try:
            return window.cut(len(recording), clip_length)
        except Vo3dError as error:
            raise Vo3dError(f"{recording.name}: {error}") from error
    if window.reference:
        return [reference_window(recording, index, num_views) for index in recording.references]
    if window.views not in {None, 1}:
        raise Vo3dError(
            f"{name} looks at {window.views} frames in time order, and {recording.name} holds views in no order: "
            "choose a dataset of clips"
        )
    return [Frames(views=(index,), counted=(0,)) for index in range(len(recording))]


def reference_window(scene: MultiViewScene, index: int, num_views: int | None = None) -> Frames:
    """Join a view of a scene and its best sources, `num_views` in all at most."""
    sources = scene.sources(index)
    return Frames(views=(index, *(sources if num_views is None else sources[: num_views - 1])), counted=(0,))


@contextmanager
def evaluating(model: Model, device: torch.device | str) -> Iterator[None]:
    """Have the model on `device` in evaluation mode, without gradients; its mode comes back at the end."""
    was_training = model.training
    try:
        model.to(device).eval()
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def answers(
    model: Model,
    recording: Recording,
    windows: Sequence[Frames],
    *,
    device: torch.device | str,
    read: Callable[[Frames], Sample] | None = None,
) -> Iterator[Answer]:
    """Run `model.stream` along `windows` of one recording; inside `evaluating`.

    `read` gives the sample of a window; that of the recording, as it is, if None. Raises as `answers_to`.
    """
    read = read or (lambda frames: recording.clip(frames.views))
    return answers_to(model, ((frames, read(frames)) for frames in windows), recording.name, device=device)


def answers_to(
    model: Model, windows: Iterable[tuple[Frames, Sample]], name: str, *, device: torch.device | str
) -> Iterator[Answer]:
    """Run `model.stream` along windows with their samples, which may still be made; `name` is for messages.

    Raises:
        Vo3dError: the views lack what the model needs, cannot be read, or memory does not suffice.
        TypeError: the model does not give what it declares, or not one prediction a window: a defect of it.
    """
    source = iter(windows)
    asked: deque[tuple[Frames, Sample]] = deque()
    reading, begun = 0.0, False

    def samples() -> Iterator[Sample]:
        nonlocal reading, begun
        while True:
            began = perf_counter()
            window = next(source, None)
            reading += perf_counter() - began
            if window is None:
                return
            if not begun:
                check_needs(model, window[1], f"recording {name}")
                begun = True
            asked.append(window)
            yield window[1].batched().to(device)

    predictions = iter(model.stream(samples()))
    while True:
        began, reading = perf_counter(), 0.0
        prediction = _next(predictions, asked)
        if prediction is None:
            break
        if not asked:
            raise TypeError(f"{type(model).__name__} gave more predictions than windows: its stream must give one each")
        frames, sample = asked.popleft()
        check_gives(model, prediction)
        kept = cast(Prediction, {key: prediction[key].cpu() for key in model.gives})  # type: ignore[literal-required]
        yield Answer(frames=frames, sample=sample, prediction=kept, seconds=perf_counter() - began - reading)
    if left := len(asked) + sum(1 for _ in source):
        raise TypeError(f"{type(model).__name__} left {left} windows out: its stream must give one prediction each")


def pairs_of(views: Iterable[Sample]) -> Iterator[tuple[Frames, Sample]]:
    """Join each view with the one before it, as windows of two frames; the first view is number 0.

    Views have one frame each (image, K and time are kept), and need not all be there yet.
    """
    before: Sample | None = None
    for index, view in enumerate(views):
        if before is not None:
            both = {
                name: torch.cat([getattr(before, name), getattr(view, name)])
                for name in ("image", "K", "time")
                if getattr(view, name) is not None
            }
            frames = Frames(views=(index - 1, index), counted=(0, 1) if index == 1 else (1,))
            yield frames, Sample(**both, scene=view.scene, index=torch.tensor([index - 1, index]))
        before = view


def memory_ended(error: BaseException) -> bool:
    """Tell whether an error says that memory does not suffice, of the machine or of its accelerator."""
    told = isinstance(error, RuntimeError) and re.search("not enough memory|alloc", str(error))
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(told)


def _next(predictions: Iterator[Prediction], asked: Sequence[tuple[Frames, Sample]]) -> Prediction | None:
    """Give the next prediction, None after the last; memory that ends is an error in words."""
    try:
        return next(predictions, None)
    except RuntimeError as error:
        if not memory_ended(error) or not asked:
            raise
        h, w = asked[0][1].image.shape[-2:]
        raise Vo3dError(
            f"memory does not suffice for images of {w}x{h} pixels: make them smaller, take fewer depths, or a "
            "precision of 16 bits where the model has one"
        ) from error

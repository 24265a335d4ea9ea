"""What inner layers of a network put out, by the layers' names."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

from torch import nn

from vo3d.errors import Vo3dError


@contextmanager
def features(model: nn.Module, names: str | Iterable[str], *, every: bool = False) -> Iterator[dict[str, Any]]:
    """Collect the outputs of the layers `names`, or of one (as in `model.named_modules()`), while the context is open.

    Gives a dictionary that a forward pass fills: `with features(model, ["encoder.conv3"]) as found: model(sample)`. An
    output is kept as the layer returned it: a tensor with its gradients, or a tuple, such as the output and the state
    of a recurrent layer. A layer that did not run has no entry.

    Of a layer that ran several times, as one that sees the views of a scene one by one, the last output stays; with
    `every`, each entry is the list of all outputs. Values that the next layer changes in place, as rectifiers often do,
    are found changed. Only what runs through the layer itself is seen, not what `stream` does with copies of it.

    Raises:
        Vo3dError: `model` has no layer of that name.
    """
    layers = dict(model.named_modules())
    wanted = list(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in wanted:
        if name not in layers:
            near = get_close_matches(name, layers, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}?" if near else "see model.named_modules()"
            raise Vo3dError(f"{type(model).__name__} has no layer {name!r}: {hint}")
    found: dict[str, Any] = {}

    def keep(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if every:
            found.setdefault(name, []).append(output)
        else:
            found[name] = output

    handles = [layers[name].register_forward_hook(partial(keep, name)) for name in wanted]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()

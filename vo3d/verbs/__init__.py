"""The verbs that are one function each; `vo3d.cli` makes their options out of signatures and docstrings."""

from collections.abc import Callable

from vo3d.verbs.learning import compare, demo, evaluate, info, trajectory
from vo3d.verbs.optimizers import optimizers
from vo3d.verbs.scenes import cloud, reconstruct, render, view

FUNCTIONS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (demo, render, evaluate, reconstruct, view, cloud, trajectory, compare, optimizers, info)
}

FIRST = {"info": "model"}  # verb -> the option that its first word means if it is no option

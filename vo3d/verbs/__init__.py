"""The verbs that are one function each; `vo3d.cli` makes their options out of signatures and docstrings."""

from collections.abc import Callable

from vo3d.verbs.learning import compare, demo, evaluate, info, robustness
from vo3d.verbs.optimizers import optimizers
from vo3d.verbs.places import places_build, places_find
from vo3d.verbs.relocalisation import locate
from vo3d.verbs.render import render
from vo3d.verbs.scenes import cloud, reconstruct, view
from vo3d.verbs.tracking import track
from vo3d.verbs.trajectories import convert_trajectory, trajectory
from vo3d.verbs.weights import weights_fetch

FUNCTIONS: dict[str, Callable[..., None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        demo,
        track,
        render,
        evaluate,
        robustness,
        reconstruct,
        view,
        cloud,
        locate,
        trajectory,
        convert_trajectory,
        compare,
        optimizers,
        info,
    )
} | {"places build": places_build, "places find": places_find, "weights fetch": weights_fetch}

FIRST = {"info": "model"}  # verb -> the option that its first word means if it is no option

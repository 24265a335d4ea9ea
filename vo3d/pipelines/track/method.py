"""The method that `vo3d track` is told by one word, with its source of scale."""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from vo3d.errors import Vo3dError, quoted
from vo3d.inference.cards import weights_names
from vo3d.inference.pretrained import Pretrained, load_pretrained
from vo3d.mapper import Mapper
from vo3d.model import Model, has_own
from vo3d.settings.build import build, read_spec
from vo3d.settings.discovery import known_baselines
from vo3d.settings.files import NAME_OF_CLASS, find_config, read_settings
from vo3d.settings.run_folder import net_of

WEIGHTS = {".ckpt", ".pt", ".pth", ".tar", ".safetensors"}
DEFAULT_SCALE = "relative"  # of a method that has a choice, where nobody chose


def open_method(word: str, options: Mapping[str, Any]) -> Pretrained:
    """Make the model that a short name, a name or file of weights, a run folder, a class path or a YAML file means.

    `options` are arguments of its class that were given: scale, camera_height, step.

    Raises Vo3dError where there is no such model, it gives no motion from frame to frame, it has no use for an option,
    or it has not learnt what it must.
    """
    known = known_baselines()
    net = _opened(word, known)
    takes = {name for kind in type(net.model).__mro__ if kind is not object for name in signature(kind).parameters}
    if net.path is None and "scale" in takes and "scale" not in net.init_args:
        options = {"scale": DEFAULT_SCALE, **options}
    if strange := [f"--{name.replace('_', '-')}" for name in options if name not in takes]:
        own = f"its scale comes from: {net.model.scale_source}"
        raise Vo3dError(f"{', '.join(strange)}: {type(net.model).__name__} has no use for it ({own}): leave it out")
    if options:
        net = _opened(word, known, options)
    _check(net, word)
    return net


def _opened(word: str, known: Mapping[str, str], options: Mapping[str, Any] | None = None) -> Pretrained:
    """Make the model of a word, with other arguments where some are given; complaints name this verb's option."""
    try:
        if word.endswith(".yaml"):
            return _of_file(word, options or {})
        if word in known or word.lstrip().startswith("{") or _is_class_path(word):
            return load_pretrained(model=json.dumps(read_spec(word, "--method", known)), arguments=options)
        if Path(word).exists() or word in weights_names():
            return load_pretrained(word, arguments=options)
    except Vo3dError as error:
        raise Vo3dError(re.sub(r"--(model|weights)\b", "--method", str(error))) from error
    names = [*known, *weights_names()]
    near = get_close_matches(word, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"
    raise Vo3dError(f"--method {quoted(word)}: {hint}; or a file of weights, a run folder, a class path, YAML")


def _is_class_path(word: str) -> bool:
    """Tell whether a word is the path of a class, and no file."""
    return bool(re.fullmatch(NAME_OF_CLASS, word)) and "." in word and Path(word).suffix not in WEIGHTS


def _of_file(word: str, options: Mapping[str, Any]) -> Pretrained:
    """Make the model of a YAML file: of a configuration of `vo3d fit`, or of a model alone."""
    settings = read_settings(Path(find_config(word)))
    spec = net_of(settings, word) if "model" in settings else read_spec(word, "--method", known_baselines())
    arguments = {**spec["init_args"], **options}
    model: Model = build(Model, {"class_path": spec["class_path"], "init_args": arguments}, f"--method {word}")
    if next(model.parameters(), None) is not None:
        raise Vo3dError(f"--method {word}: {type(model).__name__} has parameters to learn: give the run of vo3d fit")
    return Pretrained(model=model.eval(), name=type(model).__name__, class_path=spec["class_path"], init_args=arguments)


def _check(net: Pretrained, word: str) -> None:
    """Raise Vo3dError unless the model gives the motion from frame to frame, and has learnt what it must."""
    model, name = net.model, type(net.model).__name__
    if "prev_T_cam" not in model.gives and not isinstance(model, Mapper):
        if "world_T_cam" in model.gives:
            raise Vo3dError(
                f"--method {word}: {name} gives poses in a scene that it learnt, not a path from frame to frame: for "
                "images of that scene there is vo3d locate"
            )
        raise Vo3dError(f"--method {word}: {name} gives {', '.join(model.gives)}: expected a model of motion")
    if has_own(model, "fit") and net.path is None and net.init_args.get("step") is None:
        how = "add --step, its length in metres" if "step" in signature(type(model)).parameters else "take classic"
        raise Vo3dError(f"--method {word}: {name} would learn its step from recordings with true poses: {how}")

"""Models with weights, by the name of the weights or by a path."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.weights import (
    FIXED_KEY,
    ImportReport,
    load_matching,
    load_weights,
    published_map,
    read_metadata,
    read_weights,
    settings_of,
    sha256_of,
)
from vo3d.inference.cards import Card, card_of, find_pretrained, published_cards, read_card, weights_names
from vo3d.model import Model
from vo3d.settings.build import build, read_spec
from vo3d.settings.files import parse_settings
from vo3d.settings.run_folder import find_checkpoint, net_of, read_run
from vo3d.settings.trust import allowing


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A model in evaluation mode, and where its values came from."""

    model: Model
    name: str  # of the weights; of the class where there are none
    class_path: str
    init_args: Mapping[str, Any]
    path: Path | None = None  # of the weights
    sha256: str | None = None
    card: Card | None = None
    report: ImportReport | None = None  # of the weights

    @property
    def origin(self) -> dict[str, object]:
        """Return what results state of their model."""
        weights = {"weights": self.name, "weights_sha256": self.sha256} if self.path else {}
        return {"class_path": self.class_path, "arguments": dict(self.init_args), **weights}


def load_pretrained(
    weights: str | None = None, *, model: str | None = None, arguments: Mapping[str, Any] | None = None
) -> Pretrained:
    """Make the model that `weights` are for, with these weights in it.

    Args:
        weights: A name (see `vo3d.inference.cards.find_pretrained`), a file, or the folder of a run of `vo3d fit`,
            which stands for its best checkpoint; None for a model without parameters.
        model: What the weights are for, where they do not say it: a class path, a table of class_path and init_args in
            JSON, or a YAML file. Without it the class is that of the card; of the run that wrote the checkpoint; of
            the published weights that the file equals, or whose keys it has.
        arguments: Arguments of the class that are other than at the training, such as num_depths.

    Raises:
        Vo3dError: there are no such weights, they do not say what they are for, or they do not fit it; the class does
            not take an argument; a model with parameters has no weights.
    """
    path, card = find_pretrained(weights) if weights is not None else (None, None)
    spec = read_spec(model, "--model") if model is not None else None
    if path is not None and path.is_dir():
        run, path = path, find_checkpoint("best", path)
        spec = spec or read_run(run)["model"]["net"]
    if card is None and path is not None and path.suffix != ".safetensors":
        card = card_of(path)
    if card is not None and (spec is None or spec["class_path"] == card.class_path):
        given = spec.get("init_args", {}) if spec is not None else {}
        spec = {"class_path": card.class_path, "init_args": {**card.init_args, **given}}
    elif card is not None and spec is not None:
        raise Vo3dError(
            f"--weights {weights} are for {quoted(card.class_path)[1:-1]}, and --model says "
            f"{quoted(spec['class_path'])[1:-1]}: leave --model out"
        )
    if spec is None and path is not None:
        spec = _recognised(path)
    if spec is None:
        raise Vo3dError(f"no weights: expected a file, or one of {', '.join(weights_names())}: name them by --weights")
    spec = {"class_path": spec["class_path"], "init_args": {**spec.get("init_args", {}), **(arguments or {})}}
    with allowing(typed=model):
        net: Model = build(Model, spec, "--model" if weights is None else f"--weights {weights}")
    report = None if path is None else load_into(net, path)
    if path is None and next(net.parameters(), None) is not None:
        raise Vo3dError(f"{spec['class_path']} has parameters, and there are no weights for it: name some by --weights")
    return Pretrained(
        model=net.eval(),
        name=card.name if card is not None else path.name if path is not None else type(net).__name__,
        class_path=spec["class_path"],
        init_args=spec["init_args"],
        path=path,
        sha256=None if path is None else sha256_of(path),
        card=card,
        report=report,
    )


def weights_file(weights: str) -> Path:
    """Find the file of the weights that a name, a path or the folder of a run stands for, as `load_pretrained` does.

    Raises Vo3dError where there is none.
    """
    path, card = find_pretrained(weights)
    if path is None:
        raise Vo3dError(f"{weights} is a {card.class_path if card else 'model'} without weights: name others")
    return find_checkpoint("best", path) if path.is_dir() else path


def _recognised(path: Path) -> dict[str, Any]:
    """Tell the model that a file of weights without a card is for.

    Raises Vo3dError when neither the configuration in a checkpoint nor the keys of published weights tell.
    """
    if path.suffix != ".safetensors" and (settings := settings_of(path)) is not None:
        return net_of(parse_settings(settings, str(path)), str(path))
    keys = read_weights(path)[0].keys()
    for card in published_cards():
        spec: dict[str, Any] = {"class_path": card.class_path, "init_args": dict(card.init_args)}
        if published_map(build(Model, spec, card.name), keys) is not None:
            return spec
    raise Vo3dError(
        f"{path}: does not say which model it is for, and is none that was published: add --model with the path of its "
        "class, such as vo3d.models.mvsnet.MVSNet, or a table of class_path and init_args"
    )


def load_into(net: Model, path: Path, *, partial: bool = False) -> ImportReport:
    """Load a file into a model by `load_weights`, or by `load_matching` what fits of it.

    Weights of vo3d say how their model was built: one that computes otherwise (`Model.fixed`) is refused; with
    `partial` it is said.

    Raises Vo3dError as those do.
    """
    differs = _differences(net, path)
    if differs and not partial:
        raise Vo3dError(
            f"{path}: the model computes otherwise than the one of these weights ({', '.join(differs)}): build "
            "it as it was then, or begin a training from them all the same with --model.partial true"
        )
    report = (load_matching if partial else load_weights)(net, path)
    return replace(report, differs=(*report.differs, *differs))


def _differences(net: Model, path: Path) -> list[str]:
    """Name what `net.fixed` has otherwise than the model by which weights of vo3d were learnt, with both values."""
    if not net.fixed or not path.is_file():
        return []
    own = f"{type(net).__module__}.{type(net).__qualname__}"
    said: Any = None
    if path.suffix != ".safetensors":
        settings = settings_of(path)
        said = None if settings is None else net_of(parse_settings(settings, str(path)), str(path))
    elif (card := read_card(path)) is not None:
        said = {"class_path": card.class_path, "init_args": card.init_args}
    elif (fixed := read_metadata(path).get(FIXED_KEY)) is not None:
        said = {"class_path": own, "init_args": parse_settings(fixed, str(path))}
    if said is None or said["class_path"] != own:
        return []
    defaults = {name: one.default for name, one in signature(type(net)).parameters.items()}
    pairs = {name: (getattr(net, name), said["init_args"].get(name, defaults[name])) for name in net.fixed}
    return [f"{name} {now} instead of {then}" for name, (now, then) in pairs.items() if _plain(now) != _plain(then)]


def _plain(value: object) -> str:
    """Write a setting so that those of a file and of a model compare: a list is a tuple."""
    return json.dumps(value, default=str)

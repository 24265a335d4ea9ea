"""The model that describes the images of a map: by name, by class, or out of a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from vo3d.errors import Vo3dError
from vo3d.inference.cards import weights_names
from vo3d.inference.descriptors import KEY
from vo3d.inference.place_map import MapSettings
from vo3d.inference.pretrained import load_pretrained
from vo3d.layers.imagenet import ADVICE, PACKAGE
from vo3d.model import Model
from vo3d.settings.build import build, read_spec, resolve
from vo3d.settings.discovery import known_baselines
from vo3d.settings.trust import allowing

BEST = "vlad_features"  # by the table of rendered walks in docs/netvlad.md
PLAIN = {"class_path": "image_features", "init_args": {"features": "patch_thumbnail"}}  # needs no weights
SEED = 0  # of what a model draws when it is built or fitted


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """A model of descriptors, and what tells it from others.

    Args:
        text: what the user called it.
        trained: whether it came with weights, so that it is not fitted.
    """

    text: str
    class_path: str
    init_args: Mapping[str, Any]
    origin: Mapping[str, str | None]
    trained: bool
    model: Model

    @property
    def learns(self) -> bool:
        """Tell whether the model learns from the images of a map, without gradients."""
        return not self.trained and type(self.model).fit is not Model.fit

    @property
    def identity(self) -> tuple[object, ...]:
        """Return what two descriptors that can be compared have in common."""
        return self.class_path, dict(self.init_args), dict(self.origin)


def choose_descriptor(text: str | None) -> tuple[Descriptor, list[str]]:
    """Build the model of a descriptor, and say what was chosen without being asked for.

    Args:
        text: A run of `vo3d fit`, weights by their name or file, a short name, a class path, a table in JSON or a YAML
            file; None for VLAD features of EfficientNet-Lite0 where its weights are installed, else thumbnails.

    Raises:
        Vo3dError: there is no such model, or it gives no descriptor.
    """
    notes: list[str] = []
    if text is None:
        if find_spec(PACKAGE.replace("-", "_")) is not None:
            return _built(BEST, read_spec(BEST, "--descriptor", known_baselines())), notes
        notes.append(f"images are compared as thumbnails: {ADVICE} brings features that recognise far more places")
        spec = read_spec(json.dumps(PLAIN), "--descriptor", known_baselines())
        return _built("thumbnails", spec), notes
    if text in weights_names() or (Path(text).exists() and not text.endswith(".yaml")):
        found = load_pretrained(text)
        chosen = Descriptor(
            text=text,
            class_path=found.class_path,
            init_args=dict(found.init_args),
            origin={"weights": found.name, "sha256": found.sha256},
            trained=True,
            model=found.model,
        )
        return _checked(chosen), notes
    spec = read_spec(text, "--descriptor", known_baselines())
    with allowing(typed=text):
        chosen = _built(text, spec)
    return chosen, notes


def _built(text: str, spec: dict[str, Any]) -> Descriptor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        whole = resolve(Model, spec, "--descriptor")  # a map outlives the defaults of today
        model: Model = build(Model, whole, "--descriptor")
    return _checked(Descriptor(text=text, **whole, origin={}, trained=False, model=model.eval()))


def _checked(chosen: Descriptor) -> Descriptor:
    gives, views = chosen.model.gives, chosen.model.window.views
    if KEY not in gives or views != 1:
        raise Vo3dError(
            f"--descriptor {chosen.text}: {type(chosen.model).__name__} gives {', '.join(gives)}: expected a model of "
            f"{KEY} that sees one image at a time, such as {BEST}"
        )
    return chosen


def describe_settings(settings: MapSettings) -> str:
    """Name the model of a map in one line."""
    arguments = ", ".join(f"{key}={value}" for key, value in settings.init_args.items())
    weights = f", weights {settings.origin['weights']}" if settings.origin else ""
    return f"{settings.class_path.rpartition('.')[2]}({arguments}){weights}"

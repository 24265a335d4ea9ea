"""Weights by name: the ones that vo3d brings, and those that others published, with a card that says what they are.

A name stands for a file of the package `vo3d.weights`. `NAME.safetensors` holds the weights, and its card as metadata.
`NAME.yaml` is the card of weights that are published elsewhere (`file`, `size`, `sha256`, `url`) or of a model that has
none. Published weights are fetched by `fetch_weights` alone, which `vo3d weights fetch` calls.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from torch import nn

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.weights import read_metadata, save_weights, sha256_of
from vo3d.settings.files import check_spec, read_settings

FOLDERS = "VO3D_WEIGHTS"  # environment variable: folders to look in, separated as those of PATH
TIMEOUT = 20.0  # seconds that a server may be silent
Facts = Mapping[str, Any]

_WRITTEN = ("class_path", "init_args", "about", "recipe", "figures", "licence")  # metadata of a safetensors file
_JSON = ("init_args", "recipe", "figures")


@dataclass(frozen=True, kw_only=True)
class Card:
    """Describe weights: the model that they fit, how they were made, what they reach, and where they come from."""

    name: str
    class_path: str
    init_args: Facts = field(default_factory=dict)
    about: str = ""
    recipe: str | Facts = ""
    figures: Facts = field(default_factory=dict)
    licence: str = ""
    file: str = ""  # published elsewhere: the name of the file there
    size: int = 0  # bytes of it
    sha256: str = ""
    url: str = ""
    page: str = ""


def save_pretrained(
    path: Path,
    model: nn.Module,
    class_path: str,
    init_args: Facts,
    recipe: str | Facts,
    figures: Facts,
    *,
    about: str = "",
    licence: str = "Apache-2.0",
) -> None:
    """Write the weights of `model` as safetensors with their card as metadata; the file is whole or absent.

    Args:
        path: With the suffix .safetensors; its stem is the name.
        model: Whose weights.
        class_path: Of the model.
        init_args: With which the class makes a model that the weights fit.
        recipe: How they were made: data, steps, optimiser, time, machine.
        figures: What they reach, by what was measured on what.
        about: One line on what they are.
        licence: Under which they may be used.

    Raises:
        Vo3dError: another suffix, a class path that is not the model's, or facts that JSON cannot hold.
    """
    own = f"{type(model).__module__}.{type(model).__qualname__}"
    if path.suffix != ".safetensors":
        raise Vo3dError(f"{path}: weights are written as safetensors: give the file the suffix .safetensors")
    if class_path != own:
        raise Vo3dError(f"{path}: class_path is {class_path!r}, the model is a {own}: give the class of the model")
    facts = {"class_path": class_path, "about": about, "licence": licence}
    try:
        facts |= {
            key: json.dumps(value)
            for key, value in (("init_args", dict(init_args)), ("recipe", recipe), ("figures", dict(figures)))
        }
    except TypeError as error:
        raise Vo3dError(
            f"{path}: the card cannot be written ({error}): give text, numbers, lists and tables"
        ) from error
    save_weights(path, model, facts)


def read_card(path: Path) -> Card | None:
    """Read the card in a safetensors file or a YAML file; None where a safetensors file does not say its class.

    Raises Vo3dError for a file that is absent, damaged, or has a card that cannot be understood.
    """
    if path.suffix == ".yaml":
        content: dict[str, Any] = read_settings(path)
    else:
        content = {key: _parsed(path, key, text) for key, text in read_metadata(path).items() if key in _WRITTEN}
        if "class_path" not in content:
            return None
    wrong = [key for key in content if key not in Card.__dataclass_fields__ or key == "name"]
    if wrong or "class_path" not in content:
        what = f"unknown keys {quoted(', '.join(map(str, wrong)))[1:-1]}" if wrong else "no class_path"
        raise Vo3dError(f"{path}: {what}: expected the card of weights: class_path, init_args, about, recipe, figures")
    for key, value in content.items():
        kinds = (str, dict) if key == "recipe" else dict if key in _JSON else int if key == "size" else str
        if not isinstance(value, kinds) or (not value and key == "class_path"):
            words: dict[Any, str] = {dict: "a table", int: "a number of bytes", str: "text"}
            expected = words.get(kinds, "text or a table")
            raise Vo3dError(f"{path}: {key} is {quoted(value)}: expected {expected} in the card of weights")
    check_spec({"class_path": content["class_path"], "init_args": content.get("init_args")}, str(path))
    return Card(name=path.stem, **content)


def _parsed(path: Path, key: str, text: str) -> Any:
    try:
        return json.loads(text) if key in _JSON else text
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, lists too deep
        raise Vo3dError(f"{path}: {key} in the metadata is no JSON ({error}): write the file again") from error


def weights_names() -> list[str]:
    """List the names that `find_pretrained` knows, in the order of the alphabet."""
    own = (path for folder in _own_folders() for path in visible_paths(folder, "*.safetensors"))
    return sorted(_brought() | {path.stem: path for path in own})


def published_cards() -> list[Card]:
    """Read the cards of weights that others published, by which their files are recognised."""
    cards = (read_card(path) for path in _brought().values() if path.suffix == ".yaml")
    return [card for card in cards if card is not None and card.file]


def find_pretrained(name: str, *, required: bool = True) -> tuple[Path | None, Card | None]:
    """Find the file of the weights called `name`, or at the path `name`, and their card where there is one.

    A name is looked up among the weights that vo3d brings, then as `NAME.safetensors` in the folders of the environment
    variable VO3D_WEIGHTS. The file of published weights is looked for in those folders, then in the cache
    ($XDG_CACHE_HOME or ~/.cache)/vo3d/weights; its name there does not matter. Nothing is fetched. The file is None for
    a model that has no weights, and unless it is `required` for published ones that are not here.

    Raises:
        Vo3dError: there is neither such a name nor such a file; published weights are not here, or are not the ones
            that were published.
    """
    brought = _brought().get(name)
    if brought is None:
        own = [folder / f"{name}.safetensors" for folder in _own_folders()]
        path = next((path for path in own if path.is_file()), Path(name))
        if not path.exists():
            raise Vo3dError(f"there are no weights {quoted(name)}: {_suggestion(name, weights_names(), 'a file, or ')}")
        return path, read_card(path) if path.suffix == ".safetensors" else None
    card = read_card(brought)
    if brought.suffix == ".safetensors" or card is None:
        return brought, card
    if not card.file:
        return None, card
    here = _published(card)
    if here is None and required:
        raise Vo3dError(
            f"{name}: these weights are not here: vo3d weights fetch {name} brings them ({what_comes(card)})"
        )
    return here, card


def fetch_weights(name: str) -> tuple[Path, bool]:
    """Fetch published weights into the cache, unless they are here, and check their SHA-256.

    Returns the file, and whether it came now.

    Raises:
        Vo3dError: these are no published weights, they cannot be had, or what came is something else.
    """
    published = {card.name: card for card in published_cards()}
    if name not in published:
        if name in _brought():
            raise Vo3dError(f"{name} comes with vo3d: there is nothing to fetch")
        if Path(name).is_file():
            raise Vo3dError(f"{name} is a file, and names are fetched: give the file itself to --weights")
        raise Vo3dError(f"there are no published weights {quoted(name)}: {_suggestion(name, sorted(published))}")
    here = _published(published[name])
    return (_fetched(published[name]), True) if here is None else (here, False)


def best_present(order: Sequence[str]) -> tuple[str, str]:
    """Choose the first of some names whose weights are here or that need none, and say so.

    The line says which is chosen, and which better ones `vo3d weights fetch` would bring. The last name of `order` must
    be one that is always here.
    """
    missing = []
    for name in order:
        path, card = find_pretrained(name, required=False)
        if path is not None or card is None or not card.file:
            break
        missing.append(f"{name} (vo3d weights fetch {name}: {what_comes(card)})")
    better = f", and does better: {', '.join(missing)}" if missing else ""
    return name, f"{name}, the best that is here{better and '; not here' + better}"


def what_comes(card: Card) -> str:
    """Say how large published weights are, and under which licence."""
    return f"{card.size / 1e6:.2g} MB, licence: {card.licence}"


def _suggestion(name: str, names: Sequence[str], besides: str = "") -> str:
    """Say which name may have been meant, or what is expected: something `besides`, or a name."""
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"expected {besides}one of {', '.join(names)}"


def card_of(path: Path) -> Card | None:
    """Find the card of published weights that the file at `path` is, by its SHA-256; None when it is none of them."""
    digest = sha256_of(path)
    return next((card for card in published_cards() if card.sha256 == digest), None)


def _brought() -> dict[str, Path]:
    """List the files of `vo3d.weights` by name."""
    folder = Path(str(resources.files("vo3d.weights")))
    return {path.stem: path for path in visible_paths(folder) if path.suffix in {".yaml", ".safetensors"}}


def _own_folders() -> list[Path]:
    """List the folders that the environment names."""
    return [Path(folder) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def _cache() -> Path:
    """Name the folder for published files."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vo3d" / "weights"


def _name_here(card: Card) -> str:
    """Name the file of published weights in the cache: names that authors give, such as model.ckpt, collide."""
    return f"{card.name}{Path(card.file).suffix}"


def _published(card: Card) -> Path | None:
    """Find the file that `card` is of, where it is on this machine; Vo3dError when only others of its name are."""
    files = [path for folder in (*_own_folders(), _cache()) if folder.is_dir() for path in visible_paths(folder)]
    alike = (path for path in files if path.is_file() and path.stat().st_size == card.size)
    found = next((path for path in alike if sha256_of(path) == card.sha256), None)
    other = next((path for path in files if path.name in {card.file, _name_here(card)}), None)
    taken = found is None and other is not None and all(one.sha256 != sha256_of(other) for one in published_cards())
    if taken:
        raise Vo3dError(
            f"{other}: not the file that {card.name} stands for (another SHA-256 than {card.sha256}): replace "
            f"it by the one of {card.page}, or give --weights its path"
        )
    return found


def _fetched(card: Card) -> Path:
    """Fetch the file that `card` is of into the cache; it is whole and the one that was published, or absent."""
    path = _cache() / _name_here(card)
    try:
        # https, and the address comes from a file of vo3d
        with urlopen(card.url, timeout=TIMEOUT) as answer:  # noqa: S310
            content = answer.read()
    except (OSError, HTTPException) as error:
        raise Vo3dError(
            f"{card.name} could not be fetched ({getattr(error, 'reason', error)}): download "
            f"{card.url} where there is a network, and put the file {card.file} into {_cache()} or into a folder that "
            f"{FOLDERS} names"
        ) from error
    if (found := sha256(content).hexdigest()) != card.sha256:
        raise Vo3dError(f"{card.url}: what came has SHA-256 {found}, not {card.sha256}: try again, or see {card.page}")
    write_whole(path, content)
    return path

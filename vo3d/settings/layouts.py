"""Scenes for multi-view stereo, and frames in time order, by their path alone, whatever layout they are in."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vo3d.errors import Vo3dError, first_few
from vo3d.every_nth import EveryNth
from vo3d.formats.candidates import visible_paths
from vo3d.recording import Layout, LiveFrames, MultiViewScene, Recording, SequenceLayout
from vo3d.settings.discovery import known_layouts, known_live_layouts, known_sequence_layouts

MAX_SIDE = 1600  # pixels of the longer side unless another size is asked for, that of MVSNet's published results
MOST_FOLDERS = 200  # that are looked into for what a folder above them was taken for


def open_scene(path: Path, options: Mapping[str, Any]) -> tuple[Layout, MultiViewScene]:
    """Open the scene in a folder by the first layout that recognises it; options that are None are left out.

    All layouts take `masks`, a folder; see `MultiViewScene.take_masks`. Where others recognise the scene too, its
    `notes` say so. Raises Vo3dError when no layout fits, or the layout that does has no use for an option.
    """
    if not path.exists():
        raise Vo3dError(f"{path}: no such file or folder: expected a scene")
    given = {name: value for name, value in options.items() if value is not None}
    masks = given.pop("masks", None)
    layouts = known_layouts()
    layout = next((one for one in layouts if one.recognises(path) or one.asked_by in given), None)
    if layout is None:
        _check_below(path, "scenes", layouts)
        _check_below(path, "frames in time order, which need a file of poses (--poses)", known_sequence_layouts()[:-1])
        video = "; of a video, vo3d track finds the camera's path" if path.is_file() else ""
        raise Vo3dError(f"{path}: no scene: expected {'; or '.join(one.words for one in layouts)}{video}")
    known = _check_options(path, layout.words, layout.scene, given)
    if "max_side" in known and not {"size", "max_side"} & set(given):
        given["max_side"] = MAX_SIDE
    opened = layout.scene(path, **given)
    if masks is not None:
        opened.take_masks(masks)
    others = [one.words for one in layouts if one is not layout and one.recognises(path)]
    if others:
        opened.notes = [*opened.notes, f"{path} is read as {layout.words}; left out: {'; '.join(others)}"]
    return layout, opened


def open_sequence(
    path: Path, options: Mapping[str, Any], *, needs_camera: bool = True
) -> tuple[SequenceLayout, Recording]:
    """Open frames in time order by the first layout that recognises them; options that are None are left out.

    All layouts take `every`, to take each frame of that distance out of those of `frames`. The layouts that bring their
    cameras have no need for `guess`, and leave it alone. Without `needs_camera`, frames whose camera nobody tells have
    no `K`.

    Raises Vo3dError when no layout fits, or the layout that does has no use for an option.
    """
    if not path.exists():
        raise Vo3dError(f"{path}: no such file or folder: expected frames in time order")
    given = {name: value for name, value in options.items() if value is not None}
    every = given.pop("every", None)
    guess = given.pop("guess", False)
    layouts = known_sequence_layouts()
    layout = next((one for one in layouts if one.recognises(path)), None)
    if layout is None:
        raise Vo3dError(f"{path}: no frames in time order: expected {'; or '.join(one.words for one in layouts)}")
    known = _check_options(path, layout.words, layout.recording, given)
    if "needs_camera" in known:
        given["needs_camera"] = needs_camera
    if "guess" in known:
        given["guess"] = guess
    try:
        opened = layout.recording(path, **given)
    except Vo3dError:
        if layout is layouts[-1]:  # which takes any folder
            _check_below(path, "sequences", layouts[:-1])
        raise
    return layout, opened if every is None else EveryNth(opened, every)


def open_live(source: str | Path, options: Mapping[str, Any]) -> LiveFrames:
    """Open frames that are still being made: a folder of images that grows, or `camera:0`, the first webcam.

    The options are those of the camera, as for a folder of images, and `size`; of a folder also `every` and `idle`, the
    seconds without a new image after which it is over. Those that are None are left out.

    Raises Vo3dError when there is no such place, or it has no use for an option.
    """
    given = {name: value for name, value in options.items() if value is not None}
    layouts = known_live_layouts()
    layout = next((one for one in layouts if one.recognises(str(source))), None)
    if layout is None:
        raise Vo3dError(
            f"{source}: no frames that are being made: expected {' or '.join(one.words for one in layouts)}"
        )
    _check_options(source, layout.words, layout.frames, given)
    return layout.frames(str(source), **given)


def _check_below(path: Path, what: str, layouts: Sequence[Layout | SequenceLayout]) -> None:
    """Raise Vo3dError that says which to choose, where folders below, down to the second, hold what is looked for."""
    found: dict[str, str] = {}
    for folder in islice(_folders(path), MOST_FOLDERS):
        above = folder.parent.relative_to(path)
        if str(above) in found:  # a part of what is there
            continue
        if words := next((layout.words for layout in layouts if layout.recognises(folder)), None):
            found[str(folder.relative_to(path))] = words
    if found:
        name, words = next(iter(found.items()))
        others = f" (others: {first_few([*found][1:])})" if len(found) > 1 else ""
        raise Vo3dError(f"{path}: holds {what}, and is none itself: name one of them: {path / name}, {words}{others}")


def _folders(path: Path) -> Iterator[Path]:
    """Give the folders in a folder, each before those in it."""
    for folder in filter(Path.is_dir, visible_paths(path) if path.is_dir() else []):
        yield folder
        yield from filter(Path.is_dir, visible_paths(folder))


def _check_options(path: Path | str, words: str, opens: Callable[..., object], given: Mapping[str, Any]) -> set[str]:
    """Return the options that a layout takes; raise Vo3dError where others are given."""
    known = {*inspect.signature(opens).parameters}
    if strange := [f"--{name.replace('_', '-')}" for name in given if name not in known]:
        raise Vo3dError(f"{path}: is {words}, which has no use for {', '.join(strange)}: leave them out")
    return known

"""`vo3d places build`: describe images and keep what was found in a map; growing it describes what is new alone."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console

from vo3d.errors import Vo3dError, first_few, visible
from vo3d.formats.files import hold_folder
from vo3d.inference.descriptors import descriptor_of
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import evaluating
from vo3d.inference.place_map import SETTINGS, TABLE, MapSettings, Place, PlaceMap, small
from vo3d.inference.progress import progress_bar
from vo3d.model import Model
from vo3d.pipelines.places.descriptor import SEED, Descriptor, choose_descriptor, describe_settings
from vo3d.pipelines.places.images import MAX_SIDE, PlaceViews, open_views

BATCH = 256  # images after which the map is written
FITTED = 200  # images at most that a model is fitted on
OURS = {".lock", "model.safetensors", "descriptors", "thumbnails", TABLE}  # of a build that ended before its map began

Say = Callable[[str, str], None]


def build_map(
    source: Path,
    *,
    out: Path,
    descriptor: str | None = None,
    every: int = 1,
    max_side: int | None = None,
    drop: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> PlaceMap:
    """Make a map of the images at `source`, or put those that are new or changed into the one that is in `out`.

    Options are those of `vo3d.verbs.places.places_build`.

    Args:
        console: Where to print.

    Raises:
        Vo3dError: the source, the map or the options are none that can be used; or some images could not be read,
            after all others were put into the map.
    """
    say = speaker(console or Console())
    chosen = choose_device(device)
    _check_out(out, source)
    before = PlaceMap(out) if (out / SETTINGS).exists() else None
    side = (before.settings.max_side if before is not None else MAX_SIDE) if max_side is None else max_side
    views = open_views(source, every=every, max_side=side)
    say("found", f"{views.name}: {_images(len(views))}, seen at up to {side} pixels a side")
    for note in views.notes:
        say("note", visible(note))
    model, settings = _model_of(before, descriptor, max_side, say) if before is not None else (None, None)
    fresh = None
    if before is None:
        fresh, notes = choose_descriptor(descriptor)
        for note in notes:
            say("note", note)
    with hold_folder(out):
        if fresh is not None:
            model, fitted = fresh.model, _fit(fresh, views, say)
            settings = MapSettings(
                class_path=fresh.class_path,
                init_args=fresh.init_args,
                origin=fresh.origin,
                max_side=side,
                dim=0,
                fitted_on=fitted,
            )
        assert model is not None  # noqa: S101  one of the two gave it
        assert settings is not None  # noqa: S101
        say("model", f"{describe_settings(settings)}, on {chosen}")
        builder = _Builder(before, settings, model, views, out)
        builder.clear(drop, say)
        began = perf_counter()
        with evaluating(model, chosen), progress_bar() as bar:
            line = bar.add_task(views.name, total=len(views))
            for index in range(len(views)):
                builder.take(index, chosen)
                bar.advance(line)
            builder.flush()
        return builder.told(perf_counter() - began, say)


def speaker(console: Console) -> Say:
    """Make what prints one line of a result."""

    def say(what: str, text: str) -> None:
        console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)

    return say


class _Builder:
    """A map that grows, and what became of each image."""

    def __init__(
        self, before: PlaceMap | None, settings: MapSettings, model: Model, views: PlaceViews, out: Path
    ) -> None:
        self.map, self.settings, self.model, self.views, self.out = before, settings, model, views, out
        places = before.places if before is not None else []
        self.known = {place.key: place for place in places}
        self.lost = [place for place in places if not os.path.exists(place.path)]
        self.described = self.kept = 0
        self.bad: list[str] = []
        self._new: list[tuple[int, str, torch.Tensor, torch.Tensor]] = []
        self._moved: list[Place] = []

    def clear(self, drop: bool, say: Say) -> None:
        """Say which images of the map are no more on the disk, but for those that only moved; drop them if asked."""
        if self.map is None or not self.lost:
            return
        moved, by_sha256 = [], {place.sha256: place for place in self.lost}
        for index in range(len(self.views)):  # an image that is new under its path may be a lost one
            if self.views.files and self.views.key(index) not in self.known:
                with suppress(OSError):  # of what cannot be read; `take` tells
                    if (found := by_sha256.pop(self.views.fingerprint(index), None)) is not None:
                        moved.append(self.views.place(index, found.row, found.sha256))
        rows = {place.row for place in moved}
        self.map.put(moved)
        self.known.update({place.key: place for place in moved})
        gone = [place for place in self.lost if place.row not in rows]
        if not gone:
            return
        names = first_few(place.name for place in gone)
        if drop:
            self.map.drop(gone)
            say("dropped", f"{_images(len(gone))} of the map that the disk has no more: {names}")
        else:
            say("note", f"the map keeps {_images(len(gone))} that the disk has no more: {names}; --drop takes out such")

    def take(self, index: int, device: torch.device) -> None:
        """Describe an image unless the map has it as it is."""
        views, known = self.views, self.known.get(self.views.key(index))
        try:
            if known is not None and known.stat is not None and known.stat == views.stat(index):
                self.kept += 1
                return
            sha256 = views.fingerprint(index)
            if known is not None and known.sha256 == sha256:
                self.kept += 1
                self._moved.append(views.place(index, known.row, sha256))  # of another time of change
                return
            image = views.image(index)
        except (Vo3dError, OSError) as error:
            self.bad.append(visible(str(error)))
            return
        self._new.append((index, sha256, descriptor_of(self.model, views, index, device=device), small(image)))
        if len(self._new) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is new to the map."""
        if self.map is None and self._new:
            self.settings = replace(self.settings, dim=len(self._new[0][2]))
            self.map = PlaceMap.create(self.out, self.settings, self.model)
        if self.map is None:
            return
        if self._new:
            first = self.map.free_row
            places = [self.views.place(index, first + at, sha) for at, (index, sha, *_) in enumerate(self._new)]
            self.map.add(places, torch.stack([row for *_, row, _ in self._new]), [small for *_, small in self._new])
            self.described += len(self._new)
            self._new = []
        if self._moved:
            self.map.put(self._moved)
            self._moved = []

    def told(self, seconds: float, say: Say) -> PlaceMap:
        """Say what was done; Vo3dError where images could not be read."""
        count = len(self.views)
        if self.views.reduced:
            say("note", f"{_images(self.views.reduced)} of more than {self.settings.max_side} pixels a side were "
                "reduced")  # fmt: skip
        for fault in self.bad:
            say("left out", fault)
        if self.map is None:
            raise Vo3dError(f"none of {_images(count)} could be read: {self.bad[0]}")
        known = f", {self.kept} known already" if self.kept else ""
        say("map", f"{self.out}: {_images(len(self.map.places))}; {self.described} described now{known}")
        if self.described:
            say("speed", f"{self.described / max(seconds, 1e-9):.1f} images a second")
        if self.bad:
            raise Vo3dError(
                f"{len(self.bad)} of {_images(count)} could not be read and are not in {self.out}, all others are: "
                f"{self.bad[0]}"
            )
        return self.map


def _check_out(out: Path, source: Path) -> None:
    """Raise Vo3dError for a folder that holds something else, or the images."""
    if out.is_file():
        raise Vo3dError(f"--out {out}: is a file: expected the folder of a map, or a new one")
    if not out.is_dir() or (out / SETTINGS).exists():
        return
    if source.exists() and out.samefile(source):
        raise Vo3dError(f"--out {out}: is the folder of the images: choose another for the map")
    if strange := sorted({path.name for path in out.iterdir()} - OURS):
        raise Vo3dError(f"--out {out}: holds {first_few(strange, 3)} and no map: choose another folder")


def _model_of(before: PlaceMap, text: str | None, max_side: int | None, say: Say) -> tuple[Model, MapSettings]:
    """Build the model of a map; Vo3dError where other images, or another descriptor, are asked for."""
    own = before.settings
    if max_side is not None and max_side != own.max_side:
        raise Vo3dError(
            f"--max-side {max_side}: the images of {before.folder} were seen at {own.max_side}: leave it out, or "
            "choose another --out"
        )
    if text is not None:
        asked = choose_descriptor(text)[0]
        if asked.identity != (own.class_path, dict(own.init_args), dict(own.origin)):
            wanted = describe_settings(replace(own, class_path=asked.class_path, init_args=asked.init_args,
                                               origin=asked.origin))  # fmt: skip
            raise Vo3dError(
                f"--descriptor {text} is {wanted}, and {before.folder} was made by {describe_settings(own)}: leave it "
                "out, or choose another --out"
            )
    say("grows", f"{before.folder}: {_images(len(before.places))}")
    return before.model(), own


def _fit(chosen: Descriptor, views: PlaceViews, say: Say) -> int:
    """Fit a model that learns without gradients on evenly spaced images; return how many."""
    if not chosen.learns:
        return 0
    step = max(1, -(-len(views) // FITTED))
    whole, bad = [], []
    for index in range(0, len(views), step):
        try:
            views.image(index)
        except (Vo3dError, OSError) as error:  # is told again when the map is made
            bad.append(visible(str(error)))
        else:
            whole.append(index)
    views.reduced = 0
    if not whole:
        raise Vo3dError(f"none of {_images(len(bad))} to fit {chosen.text} on could be read: {bad[0]}")
    name = type(chosen.model).__name__
    say("fit", f"{name} on {len(whole)} of {_images(len(views))}" + ", evenly spaced" * (step > 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        chosen.model.fit([views.part(whole)])
    chosen.model.eval()
    return len(whole)


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"

"""Depth maps in files, so that work that was interrupted goes on where it stopped."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vo3d.depth_map import DepthMap
from vo3d.errors import Vo3dError, shown
from vo3d.formats.files import atomic_path, make_folder
from vo3d.formats.pfm import read_pfm, write_pfm
from vo3d.sample import Sample

RECORD = "settings.json"  # in the folder of the maps: what they were made with


def fingerprint(sample: Sample) -> str:
    """SHA-256 of what a model sees in a sample: images (8 bits), K, poses, depth ranges."""
    digest = hashlib.sha256()
    for tensor in (sample.image.mul(255).round().byte(), sample.K, sample.world_T_cam, sample.depth_range):
        if tensor is not None:
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


class DepthFolder:
    """A folder of depth and confidence maps (PFM), with a record of what each was made from.

    Maps that were made with equal `settings` from equal images and cameras are taken from their files.

    Raises Vo3dError when the folder cannot be made, or its record cannot be read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.folder = folder
        self.settings: dict[str, object] = json.loads(json.dumps(settings))  # as it comes back from a file
        self._saved: dict[str, dict[str, Any]] = {}  # name of a view -> fingerprint of its sample, seconds
        self.differences: list[str] = []  # settings that other maps in the folder were made with
        make_folder(folder)
        path = folder / RECORD
        if not path.exists():
            return
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            before, made = dict(record["settings"]), dict(record["views"])
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise Vo3dError(
                f"{path}: not a record of depth maps ({shown(str(error))}): remove it, or choose another --out"
            ) from error
        self.differences = [
            f"{key} was {before.get(key)}, now {self.settings.get(key)}"
            for key in sorted(before.keys() | self.settings.keys())
            if before.get(key) != self.settings.get(key)
        ]
        if not self.differences:
            self._saved = made

    def __len__(self) -> int:
        """Number of views whose maps are here."""
        return len(self._saved)

    def __contains__(self, name: str) -> bool:
        """Tell whether the maps of a view are here; `load` says whether its images are still the same."""
        return name in self._saved

    def paths(self, name: str) -> tuple[Path, Path]:
        """The files of a view's depth and confidence."""
        return self.folder / f"{name}_depth.pfm", self.folder / f"{name}_confidence.pfm"

    def load(self, name: str, made_from: str) -> dict[str, Any] | None:
        """Depth, confidence and seconds of a view, made from a sample of this fingerprint; None when there are none."""
        depth, confidence = self.paths(name)
        made = self._saved.get(name, {})
        there = depth.is_file() and (confidence.is_file() or not made.get("confidence", True))
        if made.get("from") != made_from or not there:
            return None
        sure = read_pfm(confidence) if made.get("confidence", True) else None
        return {"depth": read_pfm(depth), "confidence": sure, "seconds": made["seconds"]}

    def save(self, view: DepthMap, made_from: str) -> None:
        """Write the maps of a view and note what they were made from.

        The note goes before the old maps do and comes after the new ones: an interruption leaves no wrong one.
        """
        depth, confidence = self.paths(view.name)
        self._saved.pop(view.name, None)
        self._write_record()
        write_pfm(depth, view.depth)
        if view.confidence is not None:
            write_pfm(confidence, view.confidence)
        told = view.confidence is not None
        self._saved[view.name] = {"from": made_from, "seconds": view.seconds, "confidence": told}
        self._write_record()

    def _write_record(self) -> None:
        with atomic_path(self.folder / RECORD) as temporary:
            record = {"settings": self.settings, "views": self._saved}
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

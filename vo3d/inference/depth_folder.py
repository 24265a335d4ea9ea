"""Depth maps in files, so that work that was interrupted goes on where it stopped."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vo3d.depth_map import DepthMap, Planes
from vo3d.errors import Vo3dError, shown
from vo3d.formats.files import make_folder, write_whole
from vo3d.formats.pfm import read_pfm, write_pfm
from vo3d.sample import Sample

RECORD = "settings.json"  # in the folder of the maps: what they were made with


def fingerprint(sample: Sample, planes: Planes | None = None) -> str:
    """Compute the SHA-256 of what a model sees: images (8 bits), K, poses, depth ranges, and the planes it tries."""
    digest = hashlib.sha256(repr(planes).encode())
    for tensor in (sample.image.mul(255).round().byte(), sample.K, sample.world_T_cam, sample.depth_range):
        if tensor is not None:
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def map_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Name the files of a view's depth and confidence."""
    return folder / f"{name}_depth.pfm", folder / f"{name}_confidence.pfm"


def write_maps(folder: Path, name: str, view: DepthMap) -> None:
    """Write the depth of a view and, where it has one, its confidence."""
    depth, confidence = map_paths(folder, name)
    write_pfm(depth, view.depth)
    if view.confidence is not None:
        write_pfm(confidence, view.confidence)


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
        """Count the views whose maps are here."""
        return len(self._saved)

    def __contains__(self, name: str) -> bool:
        """Tell whether the maps of a view are here; `load` says whether its images are still the same."""
        return name in self._saved

    def load(self, name: str, made_from: str) -> dict[str, Any] | None:
        """Read depth, confidence and seconds of a view, made from a sample of this fingerprint; None without any."""
        depth, confidence = map_paths(self.folder, name)
        made = self._saved.get(name, {})
        told = made.get("confidence", True)
        if made.get("from") != made_from or not depth.is_file() or (told and not confidence.is_file()):
            return None
        sure = read_pfm(confidence) if told else None
        return {"depth": read_pfm(depth), "confidence": sure, "seconds": made["seconds"]}

    def save(self, view: DepthMap, made_from: str) -> None:
        """Write the maps of a view and note what they were made from.

        The note goes before the old maps do and comes after the new ones: an interruption leaves no wrong one.
        """
        self._saved.pop(view.name, None)
        self._write_record()
        write_maps(self.folder, view.name, view)
        told = view.confidence is not None
        self._saved[view.name] = {"from": made_from, "seconds": view.seconds, "confidence": told}
        self._write_record()

    def _write_record(self) -> None:
        record = {"settings": self.settings, "views": self._saved}
        write_whole(self.folder / RECORD, json.dumps(record, indent=2) + "\n")

"""What is to be reconstructed, with what, and where it goes; and what has been made of it so far."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vo3d.depth_map import Planes, PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.formats.files import atomic_path
from vo3d.fusion.filtering import FusionRules
from vo3d.geometry.camera import subsample
from vo3d.inference.loop import reference_window
from vo3d.inference.pretrained import Pretrained
from vo3d.model import DepthModel, Frames
from vo3d.pipelines.reconstruct.plan import Choice, Sweep
from vo3d.recording import Layout, MultiViewScene
from vo3d.report.words import size_in_words
from vo3d.sample import Sample

BYTES_A_PIXEL = 8  # of the depth maps on disk: depth and confidence


@dataclass(frozen=True, kw_only=True)
class Job:
    """The scene and the model of a reconstruction, its settings, and the file that it goes to."""

    scene: MultiViewScene
    layout: Layout
    references: Sequence[int]  # places of the views that get a depth map
    num_views: int
    choice: Choice
    sweeps: Mapping[int, Sweep]  # of each reference
    net: Pretrained
    model: DepthModel  # that of `net`
    device: torch.device
    rules: FusionRules
    refine: bool
    cloud: Path

    @property
    def folder(self) -> Path:
        """Return the folder of the depth maps."""
        return beside(self.cloud, "depth")

    def window(self, reference: int) -> Frames:
        """Take a reference and its sources."""
        return window_of(self.scene, self.model, reference, self.num_views)

    def read(self, reference: int) -> Sample:
        """Read a reference and its sources, with the depth range of its planes, and set the model to these."""
        sample = self.scene.clip(self.window(reference).views)
        planes = self.sweeps[reference].planes
        if planes is None or sample.depth_range is None:
            return sample
        if self.model.free_num_depths:
            self.model.num_depths, self.model.inverse = planes.num, planes.inverse
        ranges = sample.depth_range.clone()
        ranges[0] = torch.tensor((planes.near, planes.far))
        return replace(sample, depth_range=ranges)

    def planes(self, reference: int) -> Planes | None:
        """Return the planes of a reference's depth map."""
        return self.sweeps[reference].planes

    @property
    def settings(self) -> dict[str, object]:
        """Collect all that depth maps depend on beside their images and cameras.

        The argument `slab` is left out: it changes memory and time alone. None for `num_depths` and `inverse` means
        that each map has planes of its own.
        """
        arguments = self.net.init_args.items()
        return {
            "model": self.net.class_path,
            "arguments": {key: value for key, value in arguments if key not in {"slab", "num_depths", "inverse"}},
            "weights_sha256": self.net.sha256,
            "num_views": self.num_views,
            "num_depths": self.choice.num,
            "inverse": self.choice.inverse,
            "refine": self.refine,
        }


@dataclass(kw_only=True)
class Reconstruction:
    """The maps that have been made so far, their errors, and the time that they took."""

    maps: list[PosedDepthMap] = field(default_factory=list)
    errors: list[dict[str, float]] = field(default_factory=list)
    empty: list[tuple[str, float]] = field(default_factory=list)  # of each view, and its share of pixels without depth
    stages: dict[str, float] = field(default_factory=dict)  # seconds of each step


def window_of(scene: MultiViewScene, model: DepthModel, reference: int, num_views: int) -> Frames:
    """Take a reference and its sources, or it alone where the model looks at one view at a time."""
    if not model.window.reference:
        return Frames(views=(reference,), counted=(0,))
    return reference_window(scene, reference, num_views)


def beside(cloud: Path, rest: str) -> Path:
    """Name a file or folder beside the cloud that begins with its name."""
    return cloud.with_name(f"{cloud.stem}_{rest}")


def check_writable(out: Path, option: str = "--out") -> Path:
    """Return `out`, which `option` gives; raise Vo3dError unless it is a PLY file that can be written."""
    if out.suffix.lower() != ".ply":
        raise Vo3dError(f"{option} {out}: expected a name that ends in .ply")
    if out.is_dir():
        raise Vo3dError(f"{option} {out}: is a folder: expected the name of a file, such as {out / 'cloud.ply'}")
    probe = out.with_name(f".{out.name}.probe")
    with atomic_path(probe) as temporary:
        temporary.touch()
    probe.unlink()
    return out


def check_space(job: Job, sample: Sample) -> None:
    """Raise Vo3dError unless the depth maps and as much again for the cloud have room."""
    h, w = map_size(job, sample)
    needed = 2 * BYTES_A_PIXEL * h * w * len(job.references)
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise Vo3dError(
            f"{job.folder}: {size_in_words(free)} are free, about {size_in_words(needed)} are needed: make room"
        )


def map_size(job: Job, sample: Sample) -> tuple[int, int]:
    """Return height and width of the depth maps that the model makes."""
    h, w = subsample(sample.image, job.model.stride).shape[-2:]
    return h, w


def find_references(scene: MultiViewScene, names: Sequence[str]) -> list[int]:
    """Find the places of the views to make depth maps of."""
    able = scene.references
    if not able:
        raise Vo3dError(
            f"{scene.name}: no view has a source to be matched with: in MVSNet's layout name "
            "them in pair.txt, else give more photographs of the same place, or a smaller --every"
        )
    places = {name: index for index, name in enumerate(scene.names)}
    numbers = {int(name): index for name, index in places.items() if name.isdecimal()}
    chosen = []
    for name in names:
        place = places.get(name, numbers.get(int(name)) if name.isdecimal() else None)
        if place is None:
            raise Vo3dError(
                f"--views {name}: {scene.name} has no view of that name: its views are {', '.join(scene.names[:3])} "
                "and so on"
            )
        if place not in able:
            raise Vo3dError(f"--views {name}: has no sources to be matched with: leave it out, or name some")
        chosen.append(place)
    if chosen and not any(source in chosen for place in chosen for source in scene.sources(place)):
        raise Vo3dError(
            f"--views {' '.join(names)}: none of these is a source of another, so that nothing can confirm their "
            f"depths: add some, such as {scene.names[scene.sources(chosen[0])[0]]}"
        )
    return list(dict.fromkeys(chosen)) or able

"""The sources of samples: recordings, scenes of many views, and datasets cut out of them."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from vo3d.errors import Vo3dError
from vo3d.inertial import InertialSteps
from vo3d.sample import Sample

Item = TypeVar("Item")


class Recording(ABC):
    """Frames of one scene in time order, from which clips are taken; a clip never leaves its recording."""

    name: str
    metric: bool = True  # whether lengths are metres; else they are in a unit that nobody told, and samples keep it
    first_frame: int = 0  # number of frame 0 in the source; more in an excerpt
    notes: Sequence[str] = ()  # one line each: what was chosen, left out or looks wrong when it was opened
    camera: str = ""  # says where K comes from: "given", "calib.txt", "guessed: ..."

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames as in their source, by which results tell excerpts of one sequence apart."""
        return range(self.first_frame, self.first_frame + len(self))

    @cached_property
    def names(self) -> Sequence[str]:
        """Name each frame, as results name their files: by its image, or by its number in the source."""
        return [f"{frame:06d}" for frame in self.frames]

    @abstractmethod
    def __len__(self) -> int:
        """Count the frames."""

    @abstractmethod
    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`, unaugmented, in that order; `scene` is `name`, `index` is `indices`."""

    @abstractmethod
    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """Give `world_T_cam` of every frame in metres without reading an image; None where there is no truth."""

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give the position of each frame, metres: the poses' translations, or in a source of GPS alone its fixes."""
        world_T_cam = self.poses()
        return None if world_T_cam is None else world_T_cam[:, :3, 3]

    def inertial(self) -> InertialSteps | None:
        """Give the inertial readings between all frames without reading an image; None where none are asked for."""
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Cameras:
    """Describe the cameras of the n views of a scene, as clips do, without their images."""

    K: Float32[Tensor, "n 3 3"]
    depth_range: Float32[Tensor, "n 2"]
    size: tuple[int, int]  # height and width of all images


class MultiViewScene(Recording):
    """Views of one scene in no order, each with the other views that suit it; indices are places, from 0 on."""

    @abstractmethod
    def sources(self, index: int) -> Sequence[int]:
        """List the views to match view `index` with, best first; empty where it is only ever a source."""

    @property
    def references(self) -> list[int]:
        """List the views that have sources."""
        return [index for index in range(len(self)) if self.sources(index)]

    def cameras(self) -> Cameras:
        """Give K and depth range of every view, and the size of the images; raise Vo3dError where a clip lacks them."""
        clips = [self.clip([index]) for index in range(len(self))]
        if any(clip.K is None or clip.depth_range is None for clip in clips):
            raise Vo3dError(f"{self.name}: gives no K or no depth range: choose a scene of posed views")
        return Cameras(
            K=torch.cat([clip.K for clip in clips if clip.K is not None]),
            depth_range=torch.cat([clip.depth_range for clip in clips if clip.depth_range is not None]),
            size=(clips[0].image.shape[-2], clips[0].image.shape[-1]),
        )

    def foreground(self, index: int) -> Bool[Tensor, "h w"] | None:
        """Mark the pixels of a view's image, as `clip` gives it, that are wanted; None: all are."""
        return None

    def take_masks(self, folder: Path) -> None:
        """Take what `foreground` marks from the masks in a folder; Vo3dError for a scene without image files."""
        raise Vo3dError(f"--masks {folder}: the views of {self.name} are not read from images: leave it out")


class LiveFrames(ABC):
    """Frames that are still being made, as those of a webcam or of a folder that grows; they can be read once.

    `notes` grow while frames come, and `camera`, which says where K comes from, is told from the first one on.
    """

    name: str
    camera: str = ""
    notes: Sequence[str] = ()

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield frame after frame, each a clip of one view with K, and with `time` where there is one, to the end."""


class JoinedRecording(Recording):
    """The views of several recordings, one recording after the other.

    Args:
        name: of the whole.
        parts: the recordings.
        offsets: metres that are added to the positions of each part, so that worlds which have nothing to do with each
            other do not overlap; None: all lie in one world.

    Raises:
        Vo3dError: there is no part, or not one offset for each.
    """

    def __init__(
        self, name: str, parts: Sequence[Recording], offsets: Float64[Tensor, "parts 3"] | None = None
    ) -> None:
        if not parts or (offsets is not None and len(offsets) != len(parts)):
            raise Vo3dError(
                f"{name}: {len(parts)} recordings to join: expected at least one, and an offset for each or none"
            )
        self.name, self.parts, self.offsets = name, list(parts), offsets
        self.metric = all(part.metric for part in parts)
        self.notes = [f"{part.name}: {note}" for part in parts for note in part.notes]
        self._starts = [0, *accumulate(map(len, self.parts))]

    def __len__(self) -> int:
        """Count the views of all parts."""
        return self._starts[-1]

    @cached_property
    def names(self) -> Sequence[str]:
        """Name each view by its part and its name there."""
        return [f"{part.name}/{name}" for part in self.parts for name in part.names]

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read images, with K where all views have it and poses where all parts do.

        Raises Vo3dError for views of different sizes, and as the parts do.
        """
        views = [self._part(index) for index in indices]
        read = [self.parts[which].clip((place,)) for which, place in views]
        if odd := next((one for one in read if one.image.shape != read[0].image.shape), None):
            sizes = [f"{one.image.shape[-1]}x{one.image.shape[-2]} of {one.scene}" for one in (read[0], odd)]
            raise Vo3dError(f"{self.name}: images of {' and '.join(sizes)} in one clip: expected one size")
        K = [one.K for one in read if one.K is not None]
        poses = self._poses
        return Sample(
            image=torch.cat([one.image for one in read]),
            K=torch.cat(K) if len(K) == len(read) else None,
            world_T_cam=None if poses is None else poses[list(indices)],
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """Give `world_T_cam` of every view, metres, moved by the offsets; None where a part has none."""
        return self._poses

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give the position of every view, metres, moved by the offsets; None where a part has none."""
        return self._positions

    @cached_property
    def _poses(self) -> Float64[Tensor, "n 4 4"] | None:
        found = [part.poses() for part in self.parts]
        positions = self._positions
        if positions is None or any(poses is None for poses in found):
            return None
        world_T_cam = torch.cat([poses for poses in found if poses is not None])
        world_T_cam[:, :3, 3] = positions
        return world_T_cam

    @cached_property
    def _positions(self) -> Float64[Tensor, "n 3"] | None:
        found = [part.positions() for part in self.parts]
        if any(positions is None for positions in found):
            return None
        offsets = torch.zeros(len(found), 3, dtype=torch.float64) if self.offsets is None else self.offsets
        return torch.cat([one + offset for one, offset in zip(found, offsets, strict=True) if one is not None])

    def _part(self, index: int) -> tuple[int, int]:
        """Find the part of a view, and its number there; raises IndexError outside."""
        if not 0 <= index < len(self):
            raise IndexError(f"view {index} of {len(self)}")
        which = bisect_right(self._starts, index) - 1
        return which, index - self._starts[which]


@dataclass(frozen=True)
class Layout:
    """The way the scenes of one source lie on a disk; a loader that declares one is found by the path of a scene alone.

    Args:
        words: what a folder holds, for people.
        recognises: tells whether a path is of this layout.
        scene: opens the scene at a path; its other parameters are the options that this layout has a use for.
        rank: layouts of smaller ones are asked first.
        asked_by: the option that makes a folder one of this layout although nothing in it tells.
    """

    words: str
    recognises: Callable[[Path], bool]
    scene: Callable[..., MultiViewScene]
    rank: int
    asked_by: str = ""

    @property
    def name(self) -> str:
        """Name the layout as the file of its loader."""
        return self.scene.__module__.rpartition(".")[2]


@dataclass(frozen=True)
class SequenceLayout:
    """The way frames in time order lie on a disk; a loader that declares one is found by the path of them alone.

    Args:
        words: what the path holds, for people.
        recognises: tells whether a path is of this layout.
        recording: opens the frames at a path; its other parameters are the options that this layout has a use for.
        rank: layouts of smaller ones are asked first.
    """

    words: str
    recognises: Callable[[Path], bool]
    recording: Callable[..., Recording]
    rank: int


@dataclass(frozen=True)
class LiveLayout:
    """A place where frames are being made; a loader that declares one is found by the words for the place alone.

    Args:
        words: what the place is, for people.
        recognises: tells whether the words for a place are of this kind.
        frames: opens the place; its other parameters are the options that this kind has a use for.
        rank: kinds of smaller ones are asked first.
    """

    words: str
    recognises: Callable[[str], bool]
    frames: Callable[..., LiveFrames]
    rank: int


class Transform(ABC):
    """A change of one unbatched clip, drawn from the generator that it is handed and from nothing else.

    `breaks` names the meanings that it does not keep, such as "mirror" for absolute poses; a model whose `refuses`
    has one of these words is not trained with it.
    """

    breaks: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Change the clip; the given one stays as it is."""


def augment(sample: Sample, transforms: Sequence[Transform], *, seed: int, epoch: int, index: int) -> Sample:
    """Apply all `transforms` to the clip in their order; what they draw depends on these three numbers alone."""
    if not transforms:
        return sample
    # SeedSequence spreads neighbouring triples over all 64 bits; a sum would repeat itself across epochs
    words = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(words[0]))
    for transform in transforms:
        sample = transform(sample, generator)
    return sample


class RecordingDataset(Dataset[Sample], ABC):
    """Samples cut out of recordings; evaluation and methods that `fit` read the recordings themselves.

    Augmentation: the transforms of sample `i` draw from a generator seeded by (`seed`, epoch, `i`) and by nothing else.
    The same sample of the same epoch is therefore augmented alike whatever worker or process makes it, in whatever
    order, and a run that is resumed in the middle of an epoch sees what the uninterrupted one saw, with no state of a
    random generator to restore. `set_epoch` speaks to the copy of the dataset in its own process: a loader with workers
    has to send the epoch along with each index, as that of `vo3d.training` does.
    """

    recordings: Sequence[Recording]
    transforms: Sequence[Transform] = ()
    seed: int = 0
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentations of `epoch`."""
        self.epoch = epoch

    @abstractmethod
    def __len__(self) -> int:
        """Count the samples."""

    @abstractmethod
    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Give the recording of sample `index` and the indices of its views, without reading them.

        Raises IndexError outside of 0 .. len - 1, negative numbers included.
        """

    def __getitem__(self, index: int) -> Sample:
        """Make sample `index`, augmented by the transforms in their order."""
        recording, views = self.place(index)
        return augment(recording.clip(views), self.transforms, seed=self.seed, epoch=self.epoch, index=index)


class ViewDataset(RecordingDataset):
    """Views numbered over all recordings, and samples composed of any of them, as a miner chooses them.

    Sample `i` of the dataset itself is view `i` alone.
    """

    @abstractmethod
    def compose(self, views: Sequence[int]) -> Sample:
        """Make one sample of the views with these numbers, in their order, such as a query, a positive and negatives.

        What it draws depends on the seed, the epoch and `views` alone.
        """


def recordings_of(dataset: Dataset[Sample]) -> Sequence[Recording]:
    """List the recordings behind a dataset, joined ones among them; none for one that is not made of recordings."""
    if isinstance(dataset, ConcatDataset):
        return [recording for part in dataset.datasets for recording in recordings_of(part)]
    return dataset.recordings if isinstance(dataset, RecordingDataset) else ()


def notes_of(dataset: Dataset[Sample]) -> list[str]:
    """List what the recordings behind a dataset have to say, each line once and with the name of its recording."""
    return list(dict.fromkeys(f"{one.name}: {note}" for one in recordings_of(dataset) for note in one.notes))


def evenly_spaced(items: Sequence[Item], num: int | None) -> list[Item]:
    """Choose `num` of the items, from the middles of equal parts of the sequence; all where there are no more."""
    if num is None or num >= len(items):
        return list(items)
    return [items[(2 * part + 1) * len(items) // (2 * num)] for part in range(num)]

"""The sources of samples: recordings, scenes of many views, sets to find places in, and datasets cut out of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from vo3d.errors import Vo3dError
from vo3d.geometry import trajectory
from vo3d.sample import Sample

Item = TypeVar("Item")


class Recording(ABC):
    """Frames of one scene in time order, from which clips are taken; a clip never leaves its recording."""

    name: str
    metric: bool = True  # whether lengths are metres; else they are in a unit that nobody told, and samples keep it
    first_frame: int = 0  # number of frame 0 in the source; more in an excerpt
    notes: Sequence[str] = ()  # one line each: what was chosen, left out or looks wrong when it was opened

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


class MultiViewScene(Recording):
    """Views of one scene in no order, each with the other views that suit it; indices are places, from 0 on."""

    @abstractmethod
    def sources(self, index: int) -> Sequence[int]:
        """List the views to match view `index` with, best first; empty where it is only ever a source."""

    @property
    def references(self) -> list[int]:
        """List the views that have sources."""
        return [index for index in range(len(self)) if self.sources(index)]


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


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The rule by which a source says which images show one place; exactly one of the three is given.

    Args:
        metres: images taken at most so far apart.
        frames: images whose numbers (`Recording.frames`) differ by at most so many.
        table: for each query the places of the database that are right; empty where none is.

    Raises:
        Vo3dError: none or several are given, or a distance is negative.
    """

    metres: float | None = None
    frames: int | None = None
    table: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("metres", "frames", "table") if getattr(self, name) is not None]
        if len(given) != 1:
            raise Vo3dError(f"matches by {', '.join(given) or 'nothing'}: expected one of metres, frames, table")
        if not (self.metres or 0) >= 0 or (self.frames or 0) < 0:
            limit = self.metres if self.frames is None else self.frames
            raise Vo3dError(f"matches within {limit}: expected at least 0")


@dataclass(frozen=True, kw_only=True)
class RetrievalSet:
    """Images to recognise places in, images to recognise them by, and the source's rule of what is right.

    Args:
        name: of the set.
        database: the images that are searched.
        queries: the images that are looked for.
        matches: which images of the database are right for a query.
        panorama: of each image of the database, the number of the place that it shows in one of several directions
            (Tokyo 24/7 has twelve); a place counts once. None: each image is a place.
        database_time: when each image of the database was taken, seconds; None where the set does not tell.
        query_time: the same of the queries.

    Raises:
        Vo3dError: a rule, panoramas or times do not fit the recordings.
    """

    name: str
    database: Recording
    queries: Recording
    matches: Matches
    panorama: Int[Tensor, " n"] | None = None
    database_time: Float64[Tensor, " n"] | None = None
    query_time: Float64[Tensor, " m"] | None = None

    def __post_init__(self) -> None:
        n, m = len(self.database), len(self.queries)
        table = self.matches.table
        for what, rows, expected in (
            ("table", table, m),
            ("panorama", self.panorama, n),
            ("database_time", self.database_time, n),
            ("query_time", self.query_time, m),
        ):
            if rows is not None and len(rows) != expected:
                raise Vo3dError(
                    f"{self.name}: {what} has {len(rows)} rows for {expected} images: expected one for each"
                )
        if strange := [place for row in table or () for place in row if not 0 <= place < n]:
            raise Vo3dError(f"{self.name}: the table names image {strange[0]}: expected 0 to {n - 1}")
        if self.matches.metres is not None:
            if blind := [one.name for one in (self.database, self.queries) if one.positions() is None]:
                raise Vo3dError(f"{self.name}: {blind[0]} has no positions: matches in metres need some")

    def positives(self, query: int) -> Int[Tensor, " p"]:
        """List the places in the database that are right for a query, ascending."""
        if self.matches.table is not None:
            return torch.tensor(sorted(self.matches.table[query]), dtype=torch.long)
        if self.matches.frames is not None:
            numbers = torch.tensor(self.database.frames)
            near = (numbers - self.queries.frames[query]).abs() <= self.matches.frames
        else:
            database, queries = self.database.positions(), self.queries.positions()
            assert database is not None  # noqa: S101  by the check at the start
            assert queries is not None  # noqa: S101
            near = (database - queries[query]).norm(dim=-1) <= self.matches.metres
        return near.nonzero()[:, 0]


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


def known_steps(recordings: Iterable[Recording]) -> Float64[Tensor, "n 4 4"]:
    """Compute all steps `prev_T_cam` (metres) between neighbouring frames of `recordings`.

    Raises Vo3dError when a recording has no poses or when there is no step at all.
    """
    found = []
    for recording in recordings:
        world_T_cam = recording.poses()
        if world_T_cam is None:
            raise Vo3dError(f"{recording.name} has no poses: a baseline is fitted to recordings with ground truth")
        found.append(trajectory.steps(world_T_cam))
    if not any(map(len, found)):
        raise Vo3dError("no recording with two or more frames: a baseline needs at least one step to be fitted to")
    return torch.cat(found)


def known_poses(recordings: Iterable[Recording]) -> Float64[Tensor, "n 4 4"]:
    """List `world_T_cam` (metres) of all frames of `recordings`, one recording after the other.

    Raises Vo3dError when a recording has no poses or when there is no frame at all.
    """
    found = []
    for recording in recordings:
        world_T_cam = recording.poses()
        if world_T_cam is None:
            raise Vo3dError(f"{recording.name} has no poses: a baseline is fitted to recordings with ground truth")
        found.append(world_T_cam)
    if not any(map(len, found)):
        raise Vo3dError("no recording with a frame: a baseline needs at least one to be fitted to")
    return torch.cat(found)


def known_depths(recordings: Iterable[Recording], frames: int) -> Iterator[Sample]:
    """Read at most `frames` views of the recordings, evenly spaced over all of them, each alone and with its depth.

    Raises Vo3dError when a recording has no depth or when there is no view at all.
    """
    places = [(recording, index) for recording in recordings for index in range(len(recording))]
    if not places:
        raise Vo3dError("no recording with a frame: a baseline needs at least one to be fitted to")
    for recording, index in evenly_spaced(places, frames):
        sample = recording.clip((index,))
        if sample.depth is None:
            raise Vo3dError(
                f"{recording.name} gives no depth: a baseline is fitted to true depths; turn depth on in the arguments "
                "of data.train, by --baseline_data for baselines alone"
            )
        yield sample

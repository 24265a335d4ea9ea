"""Samples for multi-view stereo: a reference view and the views that suit it, from scenes of any source."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from vo3d.errors import Vo3dError
from vo3d.recording import MultiViewScene, RecordingDataset, Transform


class MultiViewDataset(RecordingDataset):
    """One sample for each reference of each scene: the reference first, then its best sources.

    A reference with fewer than `num_views` - 1 sources is left out, unless `fewer_views`: then it comes with those it
    has, which a batch of more than one sample cannot hold.

    Args:
        scenes: where the views come from.
        num_views: views in a sample, the reference included.
        fewer_views: keep references that have fewer sources, but at least one.
        transforms, seed: augmentation, see `RecordingDataset`.

    Raises:
        Vo3dError: fewer than two views are asked for, the seed is negative, there is no scene, or no reference has
            enough sources.
    """

    def __init__(
        self,
        scenes: Sequence[MultiViewScene],
        *,
        num_views: int = 3,
        fewer_views: bool = False,
        transforms: Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        if num_views < 2:
            raise Vo3dError(f"num_views is {num_views}: expected at least 2, a reference and a source")
        if seed < 0:
            raise Vo3dError(f"seed is {seed}: expected a whole number of at least 0")
        if not scenes:
            raise Vo3dError("no scene to take views from: name at least one")
        self.recordings: list[MultiViewScene] = list(scenes)
        self.num_views = num_views
        self.transforms = list(transforms)
        self.seed = seed
        needed = 1 if fewer_views else num_views - 1
        self._references = [
            [index for index in scene.references if len(scene.sources(index)) >= needed] for scene in scenes
        ]
        self._ends = list(accumulate(len(references) for references in self._references))
        if not self._ends[-1]:
            raise Vo3dError(
                f"no view of {', '.join(scene.name for scene in scenes[:3])} has {needed} source views: give a smaller "
                "num_views, or more views that see the same surfaces"
            )

    def __len__(self) -> int:
        """Number of references."""
        return self._ends[-1]

    def place(self, index: int) -> tuple[MultiViewScene, list[int]]:
        """The scene of sample `index` and the indices of its views, reference first, without reading them.

        Raises IndexError outside of 0 .. len - 1, negative numbers included.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        which = bisect_right(self._ends, index)
        scene = self.recordings[which]
        reference = self._references[which][index - (self._ends[which - 1] if which else 0)]
        return scene, [reference, *list(scene.sources(reference))[: self.num_views - 1]]

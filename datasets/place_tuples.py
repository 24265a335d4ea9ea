"""Tuples of views to learn places from: a query, views of the same place, and views of others, drawn at random."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.clips import NumberedDataset
from vo3d.errors import Vo3dError
from vo3d.recording import Recording, RecordingDataset, Transform


class PlaceTuples(NumberedDataset):
    """The views of another dataset's recordings, each as a query with positives and negatives of its own recording.

    Views within `near` metres of a query show its place, those more than `far` metres away do not; views between are in
    no tuple of it. Which of them are taken is drawn from (`seed`, epoch, sample) alone, without one coming twice.
    Queries without enough of both are left out.

    Source: Arandjelovic et al., "NetVLAD", CVPR 2016, section 4; distances of its release.

    Args:
        dataset: whose recordings are taken; its own samples and transforms are not.
        near, far: metres.
        num_positives, num_negatives: of a tuple.
        transforms, seed: augmentation, see `RecordingDataset`.

    Raises:
        Vo3dError: a number is out of its range, a recording has no positions, or no view has enough of both.
    """

    def __init__(
        self,
        dataset: RecordingDataset,
        *,
        near: float = 10.0,
        far: float = 25.0,
        num_positives: int = 1,
        num_negatives: int = 10,
        transforms: Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        if not 0 < near <= far or min(num_positives, num_negatives) < 1:
            raise Vo3dError(
                f"near {near}, far {far}, num_positives {num_positives}, num_negatives {num_negatives}: expected "
                "0 < near <= far, and at least 1 of both"
            )
        self.recordings, self.near, self.far = list(dataset.recordings), near, far
        self.num_positives, self.num_negatives = num_positives, num_negatives
        self._positions = [_positions_of(recording) for recording in self.recordings]
        self._queries = [self._with_enough(positions) for positions in self._positions]
        super().__init__(map(len, self._queries), transforms, seed)
        if not len(self):
            raise Vo3dError(
                f"no view of {len(self.recordings)} recordings has {num_positives} others within {near} m and "
                f"{num_negatives} beyond {far} m: take longer recordings, fewer negatives, or other distances"
            )

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Give the recording of tuple `index` and its views: query, positives, negatives."""
        which, number = self.group(index)
        query, positions = self._queries[which][number], self._positions[which]
        distance = (positions - positions[query]).norm(dim=-1)
        positives, negatives = (distance <= self.near), (distance > self.far)
        positives[query] = False
        # a key of its own: the transforms go on drawing what they draw without tuples
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, self.epoch, index], spawn_key=(1,)))
        drawn = [
            generator.choice(np.flatnonzero(group.numpy()), count, replace=False).tolist()
            for group, count in ((positives, self.num_positives), (negatives, self.num_negatives))
        ]
        return self.recordings[which], [query, *drawn[0], *drawn[1]]

    def _with_enough(self, positions: Float64[Tensor, "n 3"]) -> list[int]:
        """List the views that have enough positives and negatives."""
        enough = [
            int((distance <= self.near).sum()) > self.num_positives  # it is near itself, too
            and int((distance > self.far).sum()) >= self.num_negatives
            for distance in ((positions - position).norm(dim=-1) for position in positions)
        ]
        return torch.tensor(enough, dtype=torch.bool).nonzero()[:, 0].tolist()


def _positions_of(recording: Recording) -> Float64[Tensor, "n 3"]:
    """Give the positions of a recording; raises Vo3dError where it has none."""
    positions = recording.positions()
    if positions is None:
        raise Vo3dError(f"{recording.name} has no positions: tuples of places are made of views with true ones")
    return positions

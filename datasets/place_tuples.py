"""Tuples of views to learn places from: a query, views of the same place, and views of others, drawn at random."""

from collections.abc import Sequence

import numpy as np

from vo3d.datasets.clips import NumberedDataset
from vo3d.errors import Vo3dError, first_few
from vo3d.recording import JoinedRecording, Recording, RecordingDataset, Transform
from vo3d.retrieval_set import RetrievalSet, TupleRule, places_of


class PlaceTuples(NumberedDataset):
    """The queries of sets of places, each with positives and negatives of its database.

    Which images are positives and negatives is told by `vo3d.retrieval_set.TupleRule`; which of them are taken is drawn
    from (`seed`, epoch, sample) alone, without one coming twice. Queries without enough of both are left out. Of a
    dataset of places `sets` are its own; of any other each recording is one whose queries are its database, and images
    within `far` of each other are right.

    Source: Arandjelovic et al., "NetVLAD", CVPR 2016, section 4; distances of its release.

    Args:
        dataset: whose sets or recordings are taken; its own samples and transforms are not.
        least, near, far: metres, see `TupleRule`.
        num_positives, num_negatives: of a tuple.
        transforms, seed: augmentation, see `RecordingDataset`.

    Raises:
        Vo3dError: a number is out of its range, a recording has no positions, or no query has enough of both.
    """

    def __init__(
        self,
        dataset: RecordingDataset,
        *,
        least: float = 0.0,
        near: float = 10.0,
        far: float = 25.0,
        num_positives: int = 1,
        num_negatives: int = 10,
        transforms: Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        if min(num_positives, num_negatives) < 1:
            raise Vo3dError(
                f"num_positives {num_positives}, num_negatives {num_negatives}: expected at least 1 of both"
            )
        self.rule = TupleRule(least=least, near=near, far=far)
        self.recordings, self.sets = list(dataset.recordings), places_of(dataset, metres=far)
        self.num_positives, self.num_negatives = num_positives, num_negatives
        self._whole = [_whole(places) for places in self.sets]
        near_ones = [self._with_positives(places) for places in self.sets]
        self._queries = [
            [query for query in queries if len(self.rule.negatives(places, query)) >= num_negatives]
            for places, queries in zip(self.sets, near_ones, strict=True)
        ]
        super().__init__(map(len, self._queries), transforms, seed)
        if not len(self):
            raise Vo3dError(
                f"no query of {first_few(places.name for places in self.sets)} has {num_positives} positives (of "
                f"places with positions: {least:g} to {near:g} m away) and {num_negatives} negatives (beyond {far:g} "
                f"m); {sum(map(len, near_ones))} have the positives: take more images, fewer negatives, or other "
                "distances"
            )

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Give the recording of tuple `index` and its views: query, positives, negatives.

        Of a set with queries of their own it joins these and the database, in that order.
        """
        which, number = self.group(index)
        places, query = self.sets[which], self._queries[which][number]
        # a key of its own: the transforms go on drawing what they draw without tuples
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, self.epoch, index], spawn_key=(1,)))
        drawn = [
            generator.choice(group.numpy(), count, replace=False)
            for group, count in (
                (self.rule.positives(places, query), self.num_positives),
                (self.rule.negatives(places, query), self.num_negatives),
            )
        ]
        first = 0 if places.queries is places.database else len(places.queries)
        return self._whole[which], [query, *(first + np.concatenate(drawn)).tolist()]

    def _with_positives(self, places: RetrievalSet) -> list[int]:
        """List the queries that have enough positives."""
        every = range(len(places.queries))
        return [query for query in every if len(self.rule.positives(places, query)) >= self.num_positives]


def _whole(places: RetrievalSet) -> Recording:
    """Join the queries and the database of a set."""
    if places.queries is places.database:
        return places.database
    return JoinedRecording(places.name, [places.queries, places.database])

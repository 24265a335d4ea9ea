"""Mining of hard negatives: images that a model takes for the place of a query although they were taken elsewhere.

Source: R. Arandjelovic et al., "NetVLAD: CNN architecture for weakly supervised place recognition", CVPR 2016, sections
4 and 5; its release Relja/netvlad (`trainWeakly.m`).
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.inference.progress import progress_bar
from vo3d.model import Model
from vo3d.recording import ViewDataset
from vo3d.retrieval_set import RetrievalDataset, RetrievalSet, TupleRule
from vo3d.training.mining import Miner
from vo3d.training.view_descriptors import ViewDescriptors, describe_views

FOLDER = "mining"  # in the run folder, for descriptors that memory does not hold; removed as soon as tuples are chosen
DISTANCES = 2**25  # that are in memory at once
ORDER = 1  # key of the draws of an epoch's order, which are others than those of its queries


@runtime_checkable
class RanksPlaces(Protocol):
    """A method that learns from a query, `num_positives` images of its place, and farther ones of other places."""

    num_positives: int
    margin: float
    squared: bool


class HardNegatives(Miner):
    """Chooses tuples of a query, its nearest positives, and the negatives that are nearest to it, as NetVLAD learns.

    An epoch has each query once that has a positive and enough negatives (`TupleRule`), in an order that is drawn anew
    over all of them and cut into blocks of one length; what is left over waits for another epoch. At the border of a
    block, and at the beginning of an epoch, the database and the queries to come are described anew by `forward`, in
    half precision, and the tuples of all blocks up to the next time are chosen at once. Negatives are the nearest of
    some drawn at random and of those that this query had last time. Checkpoints hold tuples and no descriptor.

    Args:
        block_size: the most queries of a block.
        num_negatives: of a tuple.
        pool: negatives that are drawn for each query.
        least, near, far: metres, see `TupleRule`.
        double_every: epochs after which twice as many blocks pass between two descriptions; None: always one.
        at_once: images of one size that are described together.

    Raises:
        Vo3dError: an argument is out of its range; the model ranks no places; data.train is no set of places, or none
            of its queries has a positive and enough negatives.

    Source: Arandjelovic et al., "NetVLAD", CVPR 2016; distances and numbers of its release, which has `least` 1 m.
    """

    def __init__(
        self,
        block_size: int = 1000,
        num_negatives: int = 10,
        pool: int = 1000,
        least: float = 0.0,
        near: float = 10.0,
        far: float = 25.0,
        double_every: int | None = 5,
        at_once: int = 16,
    ) -> None:
        super().__init__(block_size)
        if not 1 <= num_negatives <= pool or at_once < 1 or (double_every is not None and double_every < 1):
            raise Vo3dError(
                f"num_negatives {num_negatives}, pool {pool}, at_once {at_once}, double_every {double_every}: expected "
                "at least 1, and no more negatives in a tuple than in the pool"
            )
        self.most, self.num_negatives, self.pool = block_size, num_negatives, pool
        self.rule = TupleRule(least=least, near=near, far=far)
        self.double_every, self.at_once = double_every, at_once
        self._queries: list[tuple[int, int]] = []  # set, and query of it
        self._remembered = torch.empty(0, num_negatives, dtype=torch.long)  # of each query; -1 of none
        self._tuples = torch.empty(0, block_size, 0, dtype=torch.long)  # of all blocks since the last description
        self._first = (-1, 0)  # epoch and block of the first of them

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the training set in hand: count the queries, and cut them into blocks."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        net: Any = pl_module.net
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if "descriptor" not in net.gives or net.window.views != 1 or not isinstance(net, RanksPlaces):
            raise Vo3dError(
                f"HardNegatives chooses tuples for a method that ranks places, and {type(net).__name__} has not all of "
                "num_positives, margin, squared and a descriptor of single images: leave it out of trainer.callbacks"
            )
        if not isinstance(data.train, RetrievalDataset):
            raise Vo3dError(
                f"HardNegatives mines sets of places, and data.train is a {type(data.train).__name__}: give a set, or "
                "vo3d.datasets.places_of.PlacesOf, which makes sets of recordings with positions"
            )
        self._count(data.train, told=trainer.is_global_zero)
        self.num_blocks = -(-len(self._queries) // self.most)
        self.block_size = len(self._queries) // self.num_blocks
        self._remembered = torch.full((len(self._queries), self.num_negatives), -1)
        self._first = (-1, 0)

    def _count(self, dataset: RetrievalDataset, *, told: bool) -> None:
        """Find the queries that tuples can be made for, and say how many are left out."""
        known = {id(recording) for recording in dataset.recordings}
        total = lonely = few = 0
        self._queries = []
        for number, places in enumerate(dataset.sets):
            if id(places.queries) not in known:
                raise Vo3dError(f"the queries of {places.name} are no images of data.train: give images: all")
            for query in range(len(places.queries)):
                total += 1
                if not len(self.rule.positives(places, query)):
                    lonely += 1
                elif len(self.rule.negatives(places, query)) < self.num_negatives:
                    few += 1
                else:
                    self._queries.append((number, query))
        least, near, far = self.rule.least, self.rule.near, self.rule.far
        why = (
            f"{lonely} without a positive ({least:g} to {near:g} m), {few} with fewer than {self.num_negatives} "
            f"negatives (beyond {far:g} m)"
        )
        if not self._queries:
            first = "no query with a positive" if lonely == total else "no query with a positive and enough negatives"
            raise Vo3dError(
                f"{first} among {total} in data.train: {why}: give other distances, fewer negatives, or more images"
            )
        if told and lonely + few:
            sys.stderr.write(f"vo3d: {lonely + few} of {total} queries are left out of the training: {why}\n")

    def mine(self, net: Model, dataset: ViewDataset, epoch: int, block: int) -> Sequence[Sequence[int]]:
        """Give the tuples of a block; choose those of all blocks up to the next description, if they are not there."""
        first_epoch, first = self._first
        if epoch != first_epoch or not first <= block < first + len(self._tuples):
            self._choose(net, dataset, epoch, block)
            first = block
        return self._tuples[block - first].tolist()

    def state_dict(self) -> dict[str, Any]:
        """Give tuples and what is remembered; the same block is mined alike whenever this was taken."""
        return {
            "remembered": self._remembered.clone(),
            "tuples": self._tuples.clone(),
            "first": list(self._first),
            "made_with": self._made_with(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take tuples up, where a training goes on; raises Vo3dError for those of other queries or distances."""
        if not self._queries:  # a validation or a test by the weights of a checkpoint
            return
        if (then := state_dict["made_with"]) != (now := self._made_with()):
            raise Vo3dError(f"hard negatives of {then}, now {now}")
        self._remembered, self._tuples = state_dict["remembered"].clone(), state_dict["tuples"].clone()
        self._first = tuple(state_dict["first"])

    def _made_with(self) -> str:
        rule = self.rule
        return (
            f"{len(self._queries)} queries, {self.num_negatives} negatives, blocks of {self.block_size}, "
            f"{rule.least:g} to {rule.near:g} and beyond {rule.far:g} m"
        )

    def _choose(self, net: Any, dataset: Any, epoch: int, block: int) -> None:
        """Describe what is needed, and choose the tuples of the blocks up to the next time."""
        interval = 1 if self.double_every is None else 2 ** (epoch // self.double_every)
        blocks = min(interval, self.num_blocks - block)
        trainer: Any = self._trainer
        seed = trainer.datamodule.seed
        order = _generator(seed, epoch, key=ORDER).permutation(len(self._queries))
        numbers = order[block * self.block_size : (block + blocks) * self.block_size].tolist()
        start = perf_counter()
        folder = Path(trainer.default_root_dir) / FOLDER
        shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
        try:
            with progress_bar() as bar:
                views = self._needed(dataset, numbers)
                line = bar.add_task("descriptors", total=len(views))
                cache = describe_views(
                    net,
                    dataset,
                    views,
                    device=trainer.strategy.root_device,
                    folder=folder,
                    at_once=self.at_once,
                    num_workers=trainer.datamodule.num_workers,
                    context=trainer.precision_plugin.forward_context,
                    advance=lambda done: bar.advance(line, done),
                )
            described = perf_counter()
            found = self._tuples_of(net, dataset, cache, epoch, numbers)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        tuples = torch.stack([found[number][0] for number in numbers])
        self._remembered[numbers] = tuples[:, -self.num_negatives :]
        self._tuples, self._first = tuples.view(blocks, self.block_size, -1), (epoch, block)
        gaps = torch.tensor([gap for _, gap in found.values()])
        self._report(net, cache, gaps, described - start, perf_counter() - described)

    def _needed(self, dataset: RetrievalDataset, numbers: Sequence[int]) -> Int64[Tensor, " n"]:
        """List the views to describe: all databases, and these queries."""
        needed = torch.zeros(len(dataset), dtype=torch.bool)
        for places in dataset.sets:
            first = dataset.first_view(places.database)
            needed[first : first + len(places.database)] = True
        needed[[self._view(dataset, number) for number in numbers]] = True
        return needed.nonzero()[:, 0]

    def _view(self, dataset: RetrievalDataset, number: int) -> int:
        """Give the view of a query."""
        which, query = self._queries[number]
        return dataset.first_view(dataset.sets[which].queries) + query

    def _tuples_of(
        self, net: RanksPlaces, dataset: RetrievalDataset, cache: ViewDescriptors, epoch: int, numbers: Sequence[int]
    ) -> dict[int, tuple[Tensor, float]]:
        """Choose the tuple of each query, and tell by how much its nearest negative is farther than its positive."""
        trainer: Any = self._trainer
        found = {}
        for which, places in enumerate(dataset.sets):
            first = dataset.first_view(places.database)
            database = torch.arange(first, first + len(places.database))
            inside = [number for number in sorted(numbers) if self._queries[number][0] == which]
            most = max(1, DISTANCES // len(database))
            for group in (inside[start : start + most] for start in range(0, len(inside), most)):
                views = torch.tensor([self._view(dataset, number) for number in group])
                squared = cache.squared_distances(views, database, trainer.strategy.root_device)
                for number, view, row in zip(group, views, squared, strict=True):
                    near, far = self._ranked(places, row, epoch, number, first)
                    chosen = near[torch.arange(net.num_positives).clamp(max=len(near) - 1)], far[: self.num_negatives]
                    best = row[torch.stack((near[0], far[0]))]
                    gap = (best if net.squared else best.sqrt()).diff()
                    found[number] = torch.cat([view[None], *(first + one for one in chosen)]), float(gap)
        return found

    def _ranked(
        self, places: RetrievalSet, squared: Float32[Tensor, " n"], epoch: int, number: int, first: int
    ) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " m"]]:
        """Sort all positives of a query, and drawn and remembered negatives, as places in the database; nearest first.

        Of equally near ones the first in the database comes first.
        """
        query = self._queries[number][1]
        near, negatives = self.rule.positives(places, query), self.rule.negatives(places, query)
        trainer: Any = self._trainer
        generator = _generator(trainer.datamodule.seed, epoch, number)
        drawn = generator.choice(len(negatives), min(self.pool, len(negatives)), replace=False)
        remembered = self._remembered[number]
        far = torch.unique(torch.cat([negatives[torch.from_numpy(drawn)], remembered[remembered >= 0] - first]))
        return near[squared[near].argsort(stable=True)], far[squared[far].argsort(stable=True)]

    def _report(self, net: Any, cache: ViewDescriptors, gaps: Tensor, describing: float, choosing: float) -> None:
        """Say what it took, and what it gives; the loggers are told as well."""
        trainer: Any = self._trainer
        (epoch, block), seconds = self._first, describing + choosing
        violating = float((gaps < net.margin).float().mean())
        per_1000, megabytes = 1000 * seconds / len(gaps), cache.num_bytes / 1e6
        sys.stdout.write(
            f"mining of epoch {epoch}, block {block}: {len(cache.views)} images described in {describing:.1f} s "
            f"({megabytes:.1f} MB), {len(gaps)} tuples chosen in {choosing:.1f} s, {per_1000:.1f} s per 1,000 queries; "
            f"{100 * violating:.1f} % violate the margin\n"
        )
        values: Mapping[str, float] = {
            "mining/seconds_per_1000_queries": per_1000,
            "mining/cache_megabytes": megabytes,
            "mining/violating": violating,
            "epoch": epoch,
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if self._first == (0, 0) and not violating:
            unit = "squared distances" if net.squared else "distances"
            sys.stderr.write(
                f"vo3d: none of the first {len(gaps)} tuples violates the margin {net.margin:g} of {unit}, they teach "
                f"nothing: negatives are farther than positives by {float(gaps.min()):.3g} or more: give model.net a "
                "larger margin, or other distances (near, far)\n"
            )


def _generator(*numbers: int, key: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(numbers, spawn_key=(key,)))

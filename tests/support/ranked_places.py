"""A round street with queries beside it, a small model that ranks its places, and a miner that writes down tuples."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from tiny_places import Swatches
from vo3d.losses.ranking import ranking_loss
from vo3d.model import Model, Prediction, Window
from vo3d.recording import ViewDataset
from vo3d.retrieval_set import Images, Matches, RetrievalDataset, RetrievalSet
from vo3d.sample import Sample
from vo3d.training.hard_negatives import HardNegatives

STREET = 30  # images of the database, views 0 to 29: one every 12 degrees of a circle of 10 m


class RoundStreet(RetrievalDataset):
    """Views from 30 on are the queries, one every 14 degrees; the street ends before `until`, an angle in degrees."""

    def __init__(self, queries: int = 20, until: float = 360.0, images: Images = "all", placed: bool = True) -> None:
        street = Swatches("street", [angle for angle in range(0, 360, 12) if angle < until], placed=placed)
        beside = Swatches("beside", [14.0 * number + 3 for number in range(queries)], placed=placed)
        rule = Matches(metres=3.0) if placed else Matches(frames=1)
        super().__init__([RetrievalSet(name="round", database=street, queries=beside, matches=rule)], images=images)


class RankingNet(Model):
    """A linear map of sixteen cells of an image; its loss is a mean over tuples."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)

    def __init__(self, num_positives: int = 2, margin: float = 0.1, squared: bool = True) -> None:
        super().__init__()
        self.num_positives, self.margin, self.squared = num_positives, margin, squared
        self.linear = nn.Linear(16, 5)

    def forward(self, sample: Sample) -> Prediction:
        """One vector of unit length a view."""
        cells = adaptive_avg_pool2d(sample.image.mean(-3), 4).flatten(-2)  # b s 16
        return {"descriptor": normalize(self.linear(cells), dim=-1)}

    def predict(self, sample: Sample) -> Prediction:
        """Whitened, in a method that is: not what training compares."""
        raise NotImplementedError

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """The ranking loss."""
        found, first = prediction["descriptor"], 1 + self.num_positives
        hinge = ranking_loss(found[:, 0], found[:, 1:first], found[:, first:], self.margin, self.squared)
        return {"ranking": hinge.mean()}


class NotedNegatives(HardNegatives):
    """Writes down the epoch, the block, the steps done, and the tuples of each block that is asked for."""

    def __init__(self, notes: Path, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.notes = notes

    def mine(self, net: Model, dataset: ViewDataset, epoch: int, block: int) -> Sequence[Sequence[int]]:
        """As the miner does."""
        assert not net.training
        assert not torch.is_grad_enabled()
        found = super().mine(net, dataset, epoch, block)
        step = self._trainer.global_step if self._trainer is not None else -1
        with self.notes.open("a") as file:
            file.write(json.dumps([epoch, block, step, found]) + "\n")
        return found

"""Validation by what places are recognised for: how many queries of the validation sets find their place."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.inference.descriptors import KEY, describe_all
from vo3d.inference.loop import evaluating
from vo3d.metrics.retrieval import DEPTHS, first_right, recalls
from vo3d.model import Model
from vo3d.retrieval.place_search import check_widths, count_places, mark_right, right_images, search_places
from vo3d.retrieval_set import RetrievalSet


class PlaceRecall(Callback):
    """Logs recall@N of the sets of places of `data.val` after each validation; a callback of the trainer.

    `val/recall_at_<N>` is a percentage of all queries of all sets, as `recall_at_<N>_percent` of `vo3d evaluate`:
    described by `predict` in float32, searched by the rules of each set, and queries without a right image are misses.
    N that are more than the smallest database has places are left out. The first process describes all images and tells
    the others. To keep the best weights by it: --monitor val/recall_at_5 --monitor_mode max.

    Args:
        depths: the N, at most 100.

    Raises:
        Vo3dError: there is no N, or one is out of its range; in a run: `data.val` has no sets of places, all N are too
            large, or no query has a right image.
    """

    def __init__(self, depths: Sequence[int] = (1, 5, 10)) -> None:
        if not depths or not 1 <= min(depths) <= max(depths) <= max(DEPTHS):
            raise Vo3dError(f"depths {list(depths)} of PlaceRecall: expected one or more of 1 to {max(DEPTHS)}")
        self.depths = sorted(set(depths))
        self.sets: list[RetrievalSet] = []
        self._right: list[list[Tensor]] = []  # of each set, of each query
        self._defined: list[int] = []  # N of all sets

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the sets of the validation data, and see that there is something to find."""
        if stage not in {"fit", "validate"}:
            return
        dataset = getattr(trainer, "datamodule").val  # noqa: B009  Lightning declares no such attribute
        self.sets = list(getattr(dataset, "sets", []))
        if not self.sets or not all(isinstance(one, RetrievalSet) for one in self.sets):
            raise Vo3dError(
                f"PlaceRecall: data.val is {'null' if dataset is None else type(dataset).__name__}: expected sets of "
                "places: a vo3d.retrieval_set.RetrievalDataset, or vo3d.datasets.place_tuples.PlaceTuples around data "
                "with positions"
            )
        net: Any = pl_module.net
        if KEY not in net.gives or net.window.views != 1:
            raise Vo3dError(f"PlaceRecall: {type(net).__name__} is no model of {KEY} that sees one image at a time")
        self._right = [right_images(places) for places in self.sets]
        fewest = min(map(count_places, self.sets))
        if fewest < self.depths[0]:
            raise Vo3dError(f"PlaceRecall: depths {self.depths}: of the smallest database {fewest} places may be found")
        self._defined = [depth for depth in self.depths if depth <= fewest]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log; nothing in the check before the training."""
        if trainer.sanity_checking:
            return
        net: Any = pl_module.net
        found = self._measure(net, pl_module.device) if trainer.is_global_zero else {}
        for depth, share in trainer.strategy.broadcast(found).items():
            pl_module.log(f"val/recall_at_{depth}", share, sync_dist=True)  # the mean of equal values

    def _measure(self, net: Model, device: torch.device) -> dict[int, float]:
        """Compute the recall of all queries for each N, in percent."""
        ranks = []
        with evaluating(net, device):
            for places, right in zip(self.sets, self._right, strict=True):
                queries = describe_all(net, places.queries, device=device)
                database = queries
                if places.queries is not places.database:
                    database = describe_all(net, places.database, device=device)
                assert isinstance(queries, Tensor)  # noqa: S101  no folder was given
                check_widths(net, places, queries, database)
                nearest, _ = search_places(places, queries, database, "auto")
                ranks.append(first_right(mark_right(nearest.index, right)))
        return recalls(torch.cat(ranks), self._defined)

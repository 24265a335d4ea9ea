"""Training on samples that are chosen by what the model says of the data: a block at a time, in a miner's hands."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vo3d.errors import Vo3dError
from vo3d.model import Model
from vo3d.recording import ViewDataset
from vo3d.training.datamodule import ClipSampler, Places

Samples = list[tuple[int, ...]]  # the views of each, as numbers of a `ViewDataset`


class Miner(Callback, ABC):
    """Chooses, block after block, the views that samples are composed of; a callback of the trainer.

    The order of `data.train` gives way to it. Each block is mined when the last step of the one before is done, with
    the weights of that moment: no worker reads beyond its border. A block is part of every checkpoint, so that a
    resumed run goes on with the samples that the interrupted one had chosen.

    Args:
        block_size: Samples in a block; what does not fill a batch of all processes is left out.
        num_blocks: Blocks in an epoch.

    Raises:
        Vo3dError: one of them is not positive.
    """

    def __init__(self, block_size: int, num_blocks: int = 1) -> None:
        if block_size < 1 or num_blocks < 1:
            raise Vo3dError(f"block_size {block_size}, num_blocks {num_blocks} of a miner: expected at least 1 of both")
        self.block_size, self.num_blocks = block_size, num_blocks
        self._trainer: Trainer | None = None

    @abstractmethod
    def mine(self, net: Model, dataset: ViewDataset, epoch: int, block: int) -> Sequence[Sequence[int]]:
        """Choose the views of `block_size` samples, by what `net` (evaluation mode, no gradients) says of the data.

        Called in the first process alone, which tells the others. It draws from numbers made of the seed, `epoch` and
        `block` alone, or keeps its own state as callbacks do.
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the training set in hand."""
        if stage == "fit":
            if len(miners := [one for one in trainer.callbacks if isinstance(one, Miner)]) > 1:  # type: ignore[attr-defined]
                names = " and ".join(type(one).__name__ for one in miners)
                raise Vo3dError(f"trainer.callbacks has {len(miners)} miners, {names}: one chooses all samples")
            self._trainer = trainer
            trainer.datamodule.mined = partial(MinedSampler, self)  # type: ignore[attr-defined]

    def block(self, dataset: ViewDataset, epoch: int, number: int) -> Samples:
        """Give the samples of one block, the same in all processes.

        Raises Vo3dError unless they are as many as announced, each of views that there are.
        """
        trainer = self._trainer
        if trainer is None:
            raise RuntimeError("a miner works inside a trainer: give it to trainer.callbacks")
        found: Samples = []
        if trainer.is_global_zero:
            learner: Any = trainer.lightning_module
            was_training = learner.training
            learner.eval()
            with torch.no_grad():
                found = [tuple(map(int, views)) for views in self.mine(learner.net, dataset, epoch, number)]
            learner.train(was_training)
        found = trainer.strategy.broadcast(found)
        if len(found) != self.block_size or not all(found):
            raise Vo3dError(
                f"{type(self).__name__} mined {len(found)} samples, {sum(not views for views in found)} of them empty: "
                f"expected {self.block_size} with views"
            )
        most = len(dataset)
        if wrong := next((view for views in found for view in views if not 0 <= view < most), None):
            raise Vo3dError(f"{type(self).__name__} mined view {wrong}: expected numbers from 0 to {most - 1}")
        return found


class MinedSampler(ClipSampler):
    """Batches of (epoch, views) pairs in the order of a miner's blocks; for the rest as `ClipSampler`.

    Raises Vo3dError when a block does not fill one batch over all processes, and for a dataset without views.
    """

    def __init__(
        self, miner: Miner, dataset: object, batch_size: int, *, rank: int = 0, num_processes: int = 1
    ) -> None:
        if not isinstance(dataset, ViewDataset):
            raise Vo3dError(
                f"{type(miner).__name__} chooses views, and {type(dataset).__name__} composes no samples of them: give "
                "data.train a vo3d.recording.ViewDataset"
            )
        if miner.block_size < batch_size * num_processes:
            raise Vo3dError(
                f"a block has {miner.block_size} samples, one batch over all processes {batch_size * num_processes}: "
                "mine larger blocks, or give a smaller data.batch_size"
            )
        length = miner.block_size * miner.num_blocks
        super().__init__(length, batch_size, shuffle=True, rank=rank, num_processes=num_processes)
        self.miner, self.dataset = miner, dataset
        self.samples: Samples = []  # of the current block
        self._first = 0  # batch of that block to begin with
        self._per_block = miner.block_size // self.whole

    def __len__(self) -> int:
        """Count the batches in a whole epoch, whatever was skipped."""
        return self._per_block * self.miner.num_blocks

    def blocks(self) -> Iterator[None]:
        """Step through the blocks that are left of the epoch; `__iter__` gives the batches of the current one."""
        number, self._first = divmod(self.start, self._per_block)
        for block in range(number, self.miner.num_blocks):
            if not self._first:  # else the samples came with the checkpoint
                self.samples = self.miner.block(self.dataset, self.epoch, block)
            yield
            self._first = 0

    def __iter__(self) -> Iterator[Places]:
        for batch in range(self._first, self._per_block):
            yield self.share(self.samples, batch)

    def state_dict(self) -> dict[str, object]:
        """Tell the current block, and what blocks it is one of."""
        blocks = f"{self.miner.num_blocks} blocks of {self.miner.block_size} by {type(self.miner).__name__}"
        return {"samples": [list(views) for views in self.samples], "blocks": blocks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a block in its middle."""
        self.samples = [tuple(views) for views in state["samples"]]

"""Training on samples that are chosen by what the model says of the data: a block at a time, in a miner's hands."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vo3d.errors import Vo3dError
from vo3d.model import Model
from vo3d.recording import ViewDataset

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
        """The views of `block_size` samples, by what `net` (in evaluation mode, without gradients) says of the data.

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
            trainer.datamodule.miner = self  # type: ignore[attr-defined]

    def block(self, dataset: ViewDataset, epoch: int, number: int) -> Samples:
        """The samples of one block, the same in all processes.

        Raises Vo3dError unless they are as many as announced, each of views that there are.
        """
        trainer = self._trainer
        if trainer is None:
            raise RuntimeError("a miner works inside a trainer: give it to trainer.callbacks")
        found: Samples = []
        if trainer.is_global_zero:
            learner = trainer.lightning_module
            net = learner.net
            assert isinstance(net, Model)  # noqa: S101  as the learner holds it
            was_training = learner.training
            learner.eval()
            with torch.no_grad():
                found = [tuple(map(int, views)) for views in self.mine(net, dataset, epoch, number)]
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


class MinedSampler(torch.utils.data.Sampler[list[tuple[int, tuple[int, ...]]]]):
    """Batches of (epoch, views) pairs in the order of a miner's blocks; for the rest as `ClipSampler`.

    Raises Vo3dError when a block does not fill one batch over all processes.
    """

    def __init__(
        self, miner: Miner, dataset: ViewDataset, batch_size: int, *, rank: int = 0, num_processes: int = 1
    ) -> None:
        self.miner, self.dataset = miner, dataset
        self.batch_size, self.rank, self.num_processes = batch_size, rank, num_processes
        self.length = miner.block_size * miner.num_blocks
        self.epoch = 0
        self.start = 0  # batches of this epoch that are already done
        self.samples: Samples = []  # of the current block
        self._first = 0  # batch of that block to begin with
        self._per_block = miner.block_size // (batch_size * num_processes)
        if not self._per_block:
            raise Vo3dError(
                f"a block has {miner.block_size} samples, one batch over all processes {batch_size * num_processes}: "
                "mine larger blocks, or give a smaller data.batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of `epoch`, unless the sampler is in it already; Lightning calls this."""
        if epoch != self.epoch:
            self.epoch, self.start, self.samples = epoch, 0, []

    def __len__(self) -> int:
        """Number of batches in a whole epoch, whatever was skipped."""
        return self._per_block * self.miner.num_blocks

    def blocks(self) -> Iterator[None]:
        """Step through the blocks that are left of the epoch; `__iter__` gives the batches of the current one."""
        number, self._first = divmod(self.start, self._per_block)
        for block in range(number, self.miner.num_blocks):
            if not self._first:  # else the samples came with the checkpoint
                self.samples = self.miner.block(self.dataset, self.epoch, block)
            yield
            self._first = 0

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        whole = self.batch_size * self.num_processes
        for batch in range(self._first, self._per_block):
            rows = self.samples[batch * whole : (batch + 1) * whole]
            yield [(self.epoch, row) for row in rows[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]]

    def state_dict(self) -> dict[str, object]:
        """The current block, and what blocks it is one of."""
        blocks = f"{self.miner.num_blocks} blocks of {self.miner.block_size} by {type(self.miner).__name__}"
        return {"samples": [list(views) for views in self.samples], "blocks": blocks}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take up a block in its middle."""
        found = state["samples"]
        assert isinstance(found, list)  # noqa: S101  as `state_dict` has it
        self.samples = [tuple(views) for views in found]

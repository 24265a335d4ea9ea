"""Datasets become batches: one deterministic order, the same after a resume and under any number of processes."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from vo3d.errors import Vo3dError, visible
from vo3d.recording import notes_of
from vo3d.sample import Sample

Places = Sequence[tuple[int, int | tuple[int, ...]]]  # of the samples of a batch: epoch, and index or views


class Batch:
    """A collated sample, opaque to Lightning: its precision plugins would halve the doubles of `Sample.time`."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Batch":
        """Move the batch to `device`."""
        return Batch(self.sample.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Copy the batch into page-locked memory; torch's DataLoader calls this."""
        return Batch(self.sample.pin_memory())


class ClipSampler(Sampler[Places]):
    """Batches of (epoch, index) pairs in an order that depends on seed and epoch alone.

    Every process cuts its own rows out of the same global batch of `batch_size * num_processes` clips: two processes
    see together what one process with the doubled batch sees. The epoch travels with the index, into the workers,
    so that augmentation differs from epoch to epoch.

    Args:
        length: Number of clips in the dataset.
        batch_size: Clips in a batch of one process.
        shuffle: Draw a new order each epoch; the last incomplete global batch is then left out. Otherwise the order
            is that of the dataset and every clip is given (under several processes at most `num_processes - 1` twice).
        seed: Seed of the order.
        rank: Number of this process.
        num_processes: How many there are.

    Raises Vo3dError when the dataset is smaller than one global batch, or empty.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        if batch_size < 1:
            raise Vo3dError(f"batch_size is {batch_size}: expected at least 1")
        self.whole = batch_size * num_processes
        needed = self.whole if shuffle else 1
        if length < needed:
            raise Vo3dError(
                f"the dataset has {length} clips, one batch over all processes needs {needed}: "
                "give more data, or a smaller data.batch_size"
            )
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.rank, self.num_processes = rank, num_processes
        self.epoch = 0
        self.start = 0  # batches of this epoch that are already done

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of `epoch`, unless the sampler is in it already; Lightning calls this."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def blocks(self) -> Iterator[None]:
        """Step through one block, whose order is known from its start; `MinedSampler` has several."""
        yield

    def state_dict(self) -> dict[str, object]:
        """Give nothing: the order follows from the seed and the epoch."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up nothing."""

    def __len__(self) -> int:
        """Count the batches in a whole epoch, whatever was skipped."""
        full, rest = divmod(self.length, self.whole)
        return full if self.shuffle else full + (rest > 0)

    def __iter__(self) -> Iterator[Places]:
        order = list(range(self.length))
        if self.shuffle:
            generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
            order = torch.randperm(self.length, generator=generator).tolist()
        else:
            rounded = -(-self.length // self.num_processes) * self.num_processes
            order = list(islice(cycle(order), rounded))  # equal shares, or DDP would wait for ever
        for batch in range(self.start, len(self)):
            yield self.share(order, batch)

    def share(self, order: Sequence[Any], batch: int) -> Places:
        """Cut the rows of this process out of global batch number `batch` of `order`."""
        rows = order[batch * self.whole : (batch + 1) * self.whole]
        share = len(rows) // self.num_processes
        return [(self.epoch, row) for row in rows[self.rank * share : (self.rank + 1) * share]]


def seed_of(*numbers: int) -> int:
    """Make one well-mixed 62-bit seed out of several small numbers (splitmix64's finaliser, folded)."""
    mask = (1 << 64) - 1
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 2


def _set_epoch(dataset: Any, epoch: int) -> None:
    """Tell the epoch to a dataset that listens, or to the parts of joined ones."""
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            _set_epoch(part, epoch)
    elif (set_epoch := getattr(dataset, "set_epoch", None)) is not None:  # a dataset of one's own may have it
        set_epoch(epoch)


class _Batches(Dataset[Batch]):
    """Reads the batches of a sampler, views out of a `ViewDataset`; tells the epoch to the dataset."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, places: Places) -> Batch:
        _set_epoch(self.dataset, places[0][0])
        return Batch(
            Sample.collate(
                [
                    self.dataset.compose(place) if isinstance(place, tuple) else self.dataset[place]
                    for _, place in places
                ]
            )
        )


class ClipLoader(DataLoader[Batch]):
    """A DataLoader that knows how many batches of its epoch it has handed out.

    Lightning keeps `state_dict` in its checkpoints, and gives it back when a run resumes in the middle of an epoch.
    """

    def __init__(self, dataset: Dataset[Sample], sampler: ClipSampler, **options: Any) -> None:
        # Not `batch_sampler`: Lightning tells the epoch to `sampler` only.
        super().__init__(_Batches(dataset), batch_size=None, sampler=sampler, **options)
        self.clips = sampler
        self.given = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # A generator on purpose: workers begin to fetch at the first `next`, after Lightning has set the epoch.
        self.given = self.clips.start
        try:
            for _ in self.clips.blocks():  # workers read ahead within a block alone
                for batch in super().__iter__():
                    self.given += 1
                    yield batch
        except Vo3dError as error:  # out of a worker it comes wrapped in the worker's traceback
            raise Vo3dError(error.args[0].rpartition("Vo3dError: ")[2].strip()) from error

    def state_dict(self) -> dict[str, Any]:
        """Tell the place in the order: the epoch, its batches handed out, their units, and a mined block."""
        clips = self.clips
        place = {"epoch": clips.epoch, "given": self.given, "length": clips.length, "global_batch": clips.whole}
        return place | clips.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where `state` was taken; raises Vo3dError when the dataset, the batch or the mining is another."""
        mine = self.state_dict()
        for name, words in (("length", "clips in the training set"), ("global_batch", "clips in a global batch")):
            if state[name] != mine[name]:
                raise Vo3dError(
                    f"the checkpoint was made in the middle of an epoch with {state[name]} {words}, now there are "
                    f"{mine[name]}: resume with the same data and batch size, or start anew with --model.init_weights"
                )
        if state.get("blocks") != mine.get("blocks"):
            before, now = (one.get("blocks", "samples that nobody mined") for one in (state, mine))
            raise Vo3dError(
                f"the checkpoint was made in the middle of an epoch of {before}, now there are {now}: resume with the "
                "same trainer.callbacks"
            )
        self.clips.load_state_dict(state)
        self.clips.epoch, self.clips.start = state["epoch"], state["given"]
        self.given = state["given"]


class DataModule(LightningDataModule):
    """Holds the training, validation and test sets, and cuts them into batches.

    Args:
        train: Clips to learn from.
        val: Clips whose loss chooses the best weights; None: only the last weights are kept.
        test: Clips for `vo3d test`, and the recordings for `vo3d evaluate`.
        batch_size: Clips in a batch of one process.
        num_workers: Processes that read clips ahead; 0 reads in the training process.
        shuffle: Draw a new order of the training clips each epoch.
        pin_memory: Put batches into page-locked memory, from which an accelerator fetches them faster; None: where
            one trains. Without an accelerator there is no such memory, and it says nothing.
        seed: Seed of that order; the command line sets it from `seed_everything`.
    """

    def __init__(
        self,
        # not Dataset[Sample]: jsonargparse refuses every argument of the subclasses of a subscripted class
        train: Dataset | None = None,  # type: ignore[type-arg]
        val: Dataset | None = None,  # type: ignore[type-arg]
        test: Dataset | None = None,  # type: ignore[type-arg]
        batch_size: int = 8,
        num_workers: int = 0,
        shuffle: bool = True,
        pin_memory: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_workers < 0:
            raise Vo3dError(f"data.num_workers is {num_workers}: expected a number of processes, or 0")
        self.train, self.val, self.test = train, val, test
        self.batch_size, self.num_workers, self.shuffle, self.seed = batch_size, num_workers, shuffle, seed
        self.pin_memory = pin_memory
        self.mined: Callable[..., ClipSampler] | None = None  # set by a miner among the callbacks

    def setup(self, stage: str) -> None:
        """Say on stderr what the sets of this stage have to say of themselves, in one process alone."""
        used = {"fit": (self.train, self.val), "validate": (self.val,), "test": (self.test,)}.get(stage, ())
        if self.trainer is None or self.trainer.is_global_zero:
            for note in dict.fromkeys(note for one in used if one is not None for note in notes_of(one)):
                sys.stderr.write(f"vo3d: {visible(note)}\n")

    def train_dataloader(self) -> ClipLoader:
        """Make batches for `vo3d fit`; raises Vo3dError without a training set."""
        return self._loader("train", shuffle=self.shuffle)

    def val_dataloader(self) -> ClipLoader | list[ClipLoader]:
        """Make batches for validation; none without a validation set."""
        return self._loader("val", shuffle=False) if self.val is not None else []

    def test_dataloader(self) -> ClipLoader:
        """Make batches for `vo3d test`; raises Vo3dError without a test set."""
        return self._loader("test", shuffle=False)

    def _loader(self, split: str, *, shuffle: bool) -> ClipLoader:
        dataset: Dataset[Sample] | None = getattr(self, split)
        if dataset is None:
            raise Vo3dError(f"there is no data.{split}: name a dataset by its class_path in the configuration")
        trainer = self.trainer
        if self.pin_memory is None:
            pin = trainer is not None and trainer.strategy.root_device.type != "cpu"
        else:
            pin = self.pin_memory and torch.accelerator.is_available()
        share = {"rank": trainer.global_rank, "num_processes": trainer.world_size} if trainer else {}
        if split == "train" and self.mined is not None:
            sampler = self.mined(dataset, self.batch_size, **share)
        else:
            num_samples = len(dataset)  # type: ignore[arg-type]
            sampler = ClipSampler(num_samples, self.batch_size, shuffle=shuffle, seed=self.seed, **share)
        return ClipLoader(
            dataset,
            sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=pin,
            generator=torch.Generator().manual_seed(self.seed),
        )

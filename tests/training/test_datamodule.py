"""The order of batches: deterministic, complete, equal for any number of processes, resumable anywhere."""

from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, Dataset

from tiny import TinyClips
from vo3d.errors import Vo3dError
from vo3d.sample import Sample
from vo3d.training.datamodule import Batch, ClipLoader, ClipSampler, DataModule, seed_of


@settings(deadline=None, max_examples=50)
@given(
    length=st.integers(1, 60), batch=st.integers(1, 5), processes=st.integers(1, 4), epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)  # fmt: skip
def test_processes_share_the_batches_of_one(length: int, batch: int, processes: int, epoch: int, shuffle: bool) -> None:
    whole = batch * processes
    if shuffle and length < whole:
        return
    one = ClipSampler(length, whole, shuffle=shuffle, seed=3)
    several = [
        ClipSampler(length, batch, shuffle=shuffle, seed=3, rank=rank, num_processes=processes)
        for rank in range(processes)
    ]
    for sampler in (one, *several):
        sampler.set_epoch(epoch)
    shares = list(zip(*several, strict=True))
    assert [len(one)] * processes == [len(sampler) for sampler in several] == [len(shares)] * processes
    seen = [place for share in shares for part in share for place in part]
    alone = [place for rows in one for place in rows]
    extra = len(seen) - len(alone)
    assert 0 <= extra < processes
    assert seen[: len(alone)] == alone
    assert {epoch} == {place[0] for place in seen}
    indices = [index for _, index in alone]
    assert len(set(indices)) == len(indices)
    if shuffle:
        assert len(indices) == length // whole * whole
    else:
        assert indices == list(range(length))


def test_each_epoch_and_seed_has_its_order() -> None:
    orders = set()
    for seed in range(3):
        sampler = ClipSampler(40, 4, shuffle=True, seed=seed)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            order = tuple(index for rows in sampler for _, index in rows)
            assert order == tuple(index for rows in sampler for _, index in rows)
            orders.add(order)
    assert len(orders) == 9


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_where_its_state_was_taken(workers: int) -> None:
    def loader() -> ClipLoader:
        return ClipLoader(TinyClips(), ClipSampler(19, 4, shuffle=True, seed=1), num_workers=workers)

    first, second = loader(), loader()
    first.clips.set_epoch(2)
    batches = iter(first)
    seen = [next(batches).sample.image for _ in range(2)]
    second.load_state_dict(first.state_dict())
    second.clips.set_epoch(2)  # as Lightning does
    rest = [batch.sample.image for batch in second]
    assert len(seen) + len(rest) == len(second) == 4
    for ours, theirs in zip(rest, batches, strict=True):
        assert torch.equal(ours, theirs.sample.image)
    assert second.state_dict()["given"] == 4
    second.clips.set_epoch(3)
    assert len(list(second)) == 4


def test_augmentation_differs_from_epoch_to_epoch() -> None:
    loader = ClipLoader(TinyClips(), ClipSampler(19, 19, shuffle=False), num_workers=1, persistent_workers=True)
    images = []
    for epoch in range(2):
        loader.clips.set_epoch(epoch)
        images.append(next(iter(loader)).sample.image)
    torch.testing.assert_close(images[1], images[0] + 0.01)


def test_a_dataset_of_ones_own_is_told_the_epoch() -> None:
    class Own(Dataset[Sample]):
        told: ClassVar[list[int]] = []

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Sample:
            return TinyClips()[index]

        def set_epoch(self, epoch: int) -> None:
            self.told.append(epoch)

    loader = ClipLoader(Own(), ClipSampler(4, 2, shuffle=False))
    for epoch in range(2):
        loader.clips.set_epoch(epoch)
        assert len(list(loader)) == 2
    assert Own.told == [0, 0, 1, 1]


def test_joined_datasets_are_told_the_epoch() -> None:
    parts = TinyClips(), TinyClips()
    loader = ClipLoader(ConcatDataset([ConcatDataset(parts[:1]), parts[1]]), ClipSampler(38, 38, shuffle=False))
    loader.clips.set_epoch(3)
    list(loader)
    assert [part.epoch for part in parts] == [3, 3]


def test_what_users_get_wrong() -> None:
    with pytest.raises(Vo3dError, match="3 clips, one batch over all processes needs 4"):
        ClipSampler(3, 2, shuffle=True, num_processes=2)
    with pytest.raises(Vo3dError, match="0 clips"):
        ClipSampler(0, 2, shuffle=False)
    with pytest.raises(Vo3dError, match="batch_size is 0"):
        ClipSampler(3, 0, shuffle=False)
    with pytest.raises(Vo3dError, match=r"no data\.test"):
        DataModule(train=TinyClips()).test_dataloader()
    state = ClipLoader(TinyClips(), ClipSampler(19, 4, shuffle=True)).state_dict()
    with pytest.raises(Vo3dError, match="19 clips in the training set, now there are 18"):
        ClipLoader(TinyClips(), ClipSampler(18, 4, shuffle=True)).load_state_dict(state)
    with pytest.raises(Vo3dError, match="4 clips in a global batch, now there are 2"):
        ClipLoader(TinyClips(), ClipSampler(19, 2, shuffle=True)).load_state_dict(state)


class Damaged(TinyClips):
    """Clips that cannot be read."""

    def __getitem__(self, index: int) -> Sample:
        raise Vo3dError("frame.png: truncated")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_out_of_a_worker_is_one_line(workers: int) -> None:
    loader = ClipLoader(Damaged(), ClipSampler(19, 4, shuffle=False), num_workers=workers)
    with pytest.raises(Vo3dError, match=r"^frame\.png: truncated$"):
        next(iter(loader))


def test_seeds_of_neighbours_are_far_apart() -> None:
    seeds = {seed_of(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 1 << 62 for seed in seeds)
    assert seed_of(0, 1) != seed_of(1, 0)


def test_a_batch_keeps_its_doubles() -> None:
    batch = Batch(Sample.collate([TinyClips()[0], TinyClips()[1]])).to("cpu")
    assert batch.sample.time is not None
    assert batch.sample.time.dtype == torch.float64


@pytest.mark.parametrize("there", [False, True])
def test_memory_is_pinned_where_there_is_an_accelerator(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    pinned = [DataModule(TinyClips(), pin_memory=pin).train_dataloader().pin_memory for pin in (None, False, True)]
    assert pinned == [False, False, there]  # None asks the trainer, and there is none


def test_what_recordings_have_to_say_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    clips, others = TinyClips(), TinyClips()
    for recording in (*clips.recordings, *others.recordings):
        recording.notes = ["1 of 5 images are \x1b[31mmissing"]
    names = [one.name for one in clips.recordings]
    DataModule(train=clips, val=others).setup("fit")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"vo3d: {name}: 1 of 5 images are \\x1b[31mmissing" for name in dict.fromkeys(names)]
    DataModule(train=clips, val=others).setup("test")
    assert not capsys.readouterr().err

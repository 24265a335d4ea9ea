"""Mined training: blocks in the order of a miner, one at a time, the same after a resume and in two processes."""

from pathlib import Path

import pytest
import torch
import yaml

from checks import complaint
from miners import Farthest, TinyViews
from runs import run_outside, weights
from stop_callback import Stopped
from vo3d.cli import main
from vo3d.training.mining import MinedSampler

STEPS = 12  # of an epoch: three blocks of four batches


def command(folder: Path, *more: str, epochs: int = 2) -> list[str]:
    config = {
        "model": {"net": {"class_path": "tiny.TinyModel"}},
        "data": {"train": {"class_path": "miners.TinyViews"}, "batch_size": 4},
        "trainer": {"accelerator": "cpu", "max_epochs": epochs, "log_every_n_steps": 1, "enable_progress_bar": False},
    }
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    mine = ["--trainer.callbacks+=miners.Farthest", "--trainer.callbacks.notes", str(folder / "log.txt")]
    return ["fit", "-c", str(folder / "own.yaml"), "--out", str(folder / "run"), *mine, *more]


def stop_at(step: int) -> list[str]:
    return [
        "--trainer.callbacks+=stop_callback.Stop",
        f"--trainer.callbacks.step={step}",
        "--trainer.callbacks.kill=false",
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mined")
    assert main(command(folder)) == 0
    return folder


def test_each_block_is_mined_once_with_the_weights_of_its_moment(whole: Path) -> None:
    lines = [line.split() for line in (whole / "log.txt").read_text().splitlines()]
    assert [(int(epoch), int(block), int(step)) for epoch, block, step, _ in lines] == [
        (0, 0, 0), (0, 1, 4), (0, 2, 8), (1, 0, 12), (1, 1, 16), (1, 2, 20),
    ]  # fmt: skip
    assert len({digest for *_, digest in lines}) == 6  # the weights moved in between


@pytest.mark.parametrize(("step", "workers"), [(6, "0"), (8, "0"), (9, "2"), (STEPS, "0"), (STEPS + 5, "2")])
def test_a_resumed_run_sees_the_same_samples(whole: Path, tmp_path: Path, step: int, workers: str) -> None:
    """In the middle of a block, at its border, just behind it, at the end of an epoch, in the second."""
    more = ["--checkpoint_every", "1", "--data.num_workers", workers]
    with pytest.raises(Stopped):
        main(command(tmp_path, *more, *stop_at(step)))
    assert main([*command(tmp_path, *more), "--ckpt_path", "last"]) == 0
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(tmp_path).items())


def test_two_processes_learn_what_one_with_the_doubled_batch_learns(tmp_path: Path) -> None:
    words = ["--model.net.dropout", "0"]
    assert main([*command(tmp_path / "one", *words, "--data.batch_size", "8")]) == 0
    parallel = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
    run_outside([*command(tmp_path / "two", *words), *parallel], tmp_path)
    assert len((tmp_path / "two/log.txt").read_text().splitlines()) == 6  # one process mines for both
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_mined_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = ["--data.train", "tiny.TinyClips"]
    assert "Farthest chooses views, and TinyClips composes no samples" in complaint(capsys, *command(tmp_path, *clips))
    large = ["--data.batch_size", "99"]
    assert "a block has 16 samples, one batch over all processes 99" in complaint(capsys, *command(tmp_path, *large))
    few = ["--trainer.callbacks.short", "true"]
    assert "Farthest mined 3 samples, 0 of them empty: expected 16" in complaint(capsys, *command(tmp_path, *few))
    beyond = ["--trainer.callbacks.beyond", "true"]
    assert "Farthest mined view 40: expected numbers from 0 to 39" in complaint(capsys, *command(tmp_path, *beyond))
    two = ["--trainer.callbacks+=miners.Farthest"]
    assert "has 2 miners, Farthest and Farthest" in complaint(capsys, *command(tmp_path, *two))
    none = ["--trainer.callbacks.num_blocks", "0"]
    assert "num_blocks 0 of a miner: expected at least 1" in complaint(capsys, *command(tmp_path, *none))


def test_a_run_is_resumed_with_its_own_blocks_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped):
        main(command(tmp_path, "--checkpoint_every", "1", *stop_at(6)))
    other = ["--trainer.callbacks.block_size", "24", "--trainer.callbacks.num_blocks", "2", "--ckpt_path", "last"]
    line = complaint(capsys, *command(tmp_path, *other))
    assert "an epoch of 3 blocks of 16 by Farthest, now there are 2 blocks of 24 by Farthest" in line


def test_no_batch_reaches_beyond_the_border_of_its_block() -> None:
    sampler = MinedSampler(Farthest(), TinyViews(), 4)
    mined: list[int] = []

    def block(dataset: TinyViews, epoch: int, number: int) -> list[tuple[int, ...]]:
        mined.append(number)
        return [(number, place) for place in range(16)]

    sampler.miner.block = block  # type: ignore[method-assign, assignment]
    seen = []
    for _ in sampler.blocks():
        for batch in sampler:
            assert mined[-1] == batch[0][1][0]
            seen.append(batch)
    assert len(seen) == len(sampler) == STEPS
    assert mined == [0, 1, 2]

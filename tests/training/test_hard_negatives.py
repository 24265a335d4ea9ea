"""Mined tuples of places: what they are of, when they are chosen, and that a resume or two processes change nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from checks import complaint
from ranked_places import STREET, RankingNet, RoundStreet
from runs import run_outside, weights
from stop_callback import Stopped
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.training import view_descriptors
from vo3d.training.datamodule import DataModule
from vo3d.training.hard_negatives import HardNegatives
from vo3d.training.learner import Learner

MINER = {"block_size": 5, "num_negatives": 3, "pool": 6, "near": 3.0, "far": 6.0, "double_every": 1}
EPOCHS, BLOCKS, STEPS = 3, 4, 8  # of the whole training, of an epoch, of an epoch
ALL = 99  # more than there are negatives


def command(folder: Path, *more: str, **arguments: Any) -> list[str]:
    miner = {"class_path": "ranked_places.NotedNegatives", "init_args": MINER | {"notes": str(folder / "notes.txt")}}
    miner["init_args"] |= arguments
    config = {
        "model": {"net": {"class_path": "ranked_places.RankingNet"}},
        "data": {"train": {"class_path": "ranked_places.RoundStreet"}, "batch_size": 2},
        "trainer": {"accelerator": "cpu", "max_epochs": EPOCHS, "log_every_n_steps": 1, "enable_progress_bar": False},
    }
    config["trainer"]["callbacks"] = [miner]
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "-c", str(folder / "own.yaml"), "--out", str(folder / "run"), *more]


def notes(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "notes.txt").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mined")
    assert main(command(folder)) == 0
    return folder


def test_an_epoch_has_all_queries_once_in_an_order_of_its_own(whole: Path) -> None:
    found = notes(whole)
    assert [(epoch, block) for epoch, block, _, _ in found] == [(e, b) for e in range(EPOCHS) for b in range(BLOCKS)]
    orders = [[one[0] for *epoch, tuples in found if epoch[0] == number for one in tuples] for number in range(EPOCHS)]
    assert all(sorted(order) == list(range(STREET, STREET + 20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert all(max(order[:5]) - min(order[:5]) > 5 for order in orders)  # no block covers one area


def test_positives_are_near_and_negatives_far(whole: Path) -> None:
    street, queries = (recording.positions() for recording in RoundStreet().recordings)
    tuples = torch.tensor([one for *_, found in notes(whole) for one in found])
    distance = (queries[tuples[:, 0] - STREET][:, None] - street[tuples[:, 1:]]).norm(dim=-1)
    assert distance[:, :2].max() <= 3
    assert distance[:, 2:].min() > 6
    assert all(len(set(row)) == 3 for row in tuples[:, 3:].tolist())


def test_images_are_described_less_often_as_epochs_pass(whole: Path) -> None:
    rows = [line.split(",") for line in (whole / "run/history.csv").read_text().splitlines()]
    described = [(int(step), int(epoch)) for step, epoch, name, _ in rows if name == "mining/violating"]
    assert described == [(0, 0), (2, 0), (4, 0), (6, 0), (8, 1), (12, 1), (16, 2)]
    assert {"mining/seconds_per_1000_queries", "mining/cache_megabytes"} <= {name for _, _, name, _ in rows}


@pytest.mark.parametrize("step", [2, 3, 9, 10, 11])
def test_a_resumed_run_sees_the_same_tuples(whole: Path, tmp_path: Path, step: int) -> None:
    """It goes on from the step before: in a block, at its border, at an epoch's end; of two blocks the same."""
    more = ["--checkpoint_every", "1"]
    stop = ["--trainer.callbacks+=stop_callback.Stop", f"--trainer.callbacks.step={step}"]
    with pytest.raises(Stopped):
        main(command(tmp_path, *more, *stop, "--trainer.callbacks.kill=false"))
    before = len(notes(tmp_path))
    assert main([*command(tmp_path, *more), "--ckpt_path", "last"]) == 0
    assert notes(tmp_path)[before:] == notes(whole)[-len(notes(tmp_path)[before:]) :]
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(tmp_path).items())


def miner_of(folder: Path, dataset: RoundStreet, net: RankingNet, **arguments: Any) -> HardNegatives:
    """A miner in a trainer that does not train."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_model_summary=False, default_root_dir=folder)
    trainer.datamodule = DataModule(train=dataset)
    miner = HardNegatives(**{**MINER, **arguments})
    miner.setup(trainer, Learner(net), "fit")
    return miner


@torch.no_grad()
def mined(miner: HardNegatives, dataset: RoundStreet, net: RankingNet, epoch: int = 0) -> dict[int, list[int]]:
    """The positives and negatives of all queries."""
    blocks = [miner.mine(net.eval(), dataset, epoch, block) for block in range(miner.num_blocks)]
    return {query: others for block in blocks for query, *others in block}


@torch.no_grad()
def test_a_tuple_is_what_a_loop_finds(tmp_path: Path) -> None:
    dataset, net = RoundStreet(until=200), RankingNet(num_positives=4)
    found = mined(miner_of(tmp_path, dataset, net, pool=ALL), dataset, net)
    street, beside = dataset.recordings
    descriptors = torch.cat([net(dataset[view])["descriptor"] for view in range(len(dataset))]).half().float()
    expected = {}
    for query in range(len(beside)):
        view = len(street) + query
        near, far = [], []
        for other in range(len(street)):
            metres = float((street.positions()[other] - beside.positions()[query]).norm())
            entry = (float((descriptors[view] - descriptors[other]).square().sum()), other)
            if metres <= 3:
                near.append(entry)
            elif metres > 6:
                far.append(entry)
        if near:
            positives = [other for _, other in sorted(near)]
            expected[view] = (positives + 4 * positives[-1:])[:4]
            expected[view] += [other for _, other in sorted(far)[:3]]
    assert found == expected
    assert len(expected) == 15  # the others have no positive


@torch.no_grad()
def test_the_nearest_negatives_are_remembered(tmp_path: Path) -> None:
    dataset, net = RoundStreet(), RankingNet()
    miner = miner_of(tmp_path, dataset, net, pool=ALL)
    first = mined(miner, dataset, net)
    miner.pool = 3
    assert mined(miner, dataset, net, epoch=1) == first  # nothing of the pool is nearer
    assert mined(miner_of(tmp_path, dataset, net, pool=3), dataset, net, epoch=1) != first


@pytest.mark.parametrize("workers", [0, 1])
def test_descriptors_on_disk_give_the_same_tuples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    dataset, net = RoundStreet(), RankingNet()
    expected = mined(miner_of(tmp_path, dataset, net), dataset, net)
    monkeypatch.setattr(view_descriptors, "MOST_BYTES", 0)
    monkeypatch.setattr(view_descriptors, "BLOCK", 16)
    kept = []
    append = view_descriptors.Descriptors.append
    monkeypatch.setattr(
        view_descriptors.Descriptors, "append", lambda self, rows: kept.append(len(rows)) or append(self, rows)
    )
    miner = miner_of(tmp_path, dataset, net, double_every=None)
    miner._trainer.datamodule.num_workers = workers
    assert mined(miner, dataset, net) == expected
    assert kept == [16, 16, 3] * BLOCKS  # the street, and five queries
    assert not list(tmp_path.iterdir())


def test_two_processes_see_what_one_with_the_doubled_batch_sees(tmp_path: Path) -> None:
    assert main(command(tmp_path / "one", "--data.batch_size", "4", "--trainer.max_epochs", "2")) == 0
    words = ["--trainer.max_epochs", "2", "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    printed = run_outside(command(tmp_path / "two", *words), tmp_path)
    assert printed.count("mining of epoch") == 6  # one process describes and chooses for both
    assert notes(tmp_path / "two") == notes(tmp_path / "one")
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-5, atol=1e-6)


def test_what_is_left_out_and_what_teaches_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--data.train.init_args.until", "200", "--trainer.max_steps", "1", "--trainer.precision", "bf16-mixed"]
    margin = ["--model.net.init_args.margin", "-4.1"]  # squared distances are at most 4
    assert main(command(tmp_path, *short, *margin)) == 0
    said = capsys.readouterr()
    left, nothing = said.err.splitlines()[-2:]
    assert left == (
        "vo3d: 5 of 20 queries are left out of the training: 5 without a positive (0 to 3 m), 0 with fewer than 3 "
        "negatives (beyond 6 m)"
    )
    assert nothing.startswith("vo3d: none of the first 5 tuples violates the margin -4.1 of squared distances, they")
    assert "mining of epoch 0, block 0: 22 images described in" in said.out
    assert "5 tuples chosen in" in said.out
    assert "; 0.0 % violate the margin" in said.out


@pytest.mark.parametrize(
    ("more", "arguments", "line"),
    [
        ([], {"pool": 2}, "num_negatives 3, pool 2, at_once 16, double_every 1: expected at least 1"),
        ([], {"double_every": 0}, "double_every 0: expected at least 1"),
        ([], {"far": 2.0}, "least 0.0, near 3.0, far 2.0: expected 0 <= least < near <= far"),
        (["--model.net", "shaded_places.ShadedClips"], {}, "and ShadedClips has not all of num_positives"),
        (["--data.train", "miners.TinyViews"], {}, "data.train is a TinyViews: give a set, or vo3d.datasets.places_of"),
        (["--data.train.init_args.images", "database"], {}, "the queries of round are no images of data.train"),
        ([], {"near": 0.01}, "no query with a positive among 20 in data.train: 20 without a positive (0 to 0.01 m)"),
        ([], {"far": 19.9, "num_negatives": 6}, "0 without a positive (0 to 3 m), 20 with fewer than 6 negatives"),
    ],
)  # fmt: skip
def test_what_cannot_be_mined_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], arguments: dict[str, Any], line: str
) -> None:
    assert line in complaint(capsys, *command(tmp_path, *more, **arguments))


def test_a_run_is_resumed_with_its_own_distances_alone(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = ["--trainer.max_epochs", "9", "--ckpt_path", str(whole / "run/checkpoints/last.ckpt")]
    line = complaint(capsys, *command(tmp_path, *longer, near=2.9))
    assert "hard negatives of 20 queries, 3 negatives, blocks of 5, 0 to 3 and beyond 6 m, now 20 queries" in line


@torch.no_grad()
def test_weights_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    dataset, net = RoundStreet(), RankingNet()
    net.linear.bias[0] = torch.nan
    with pytest.raises(Vo3dError, match="RankingNet gives a descriptor of view 0 that is NaN or infinite"):
        mined(miner_of(tmp_path, dataset, net), dataset, net)


@torch.no_grad()
def test_a_set_without_positions_is_mined_by_its_matches(tmp_path: Path) -> None:
    dataset, net = RoundStreet(placed=False), RankingNet()
    for query, (first, second, *negatives) in mined(miner_of(tmp_path, dataset, net), dataset, net).items():
        assert (
            max(abs(query - STREET - one) for one in (first, second))
            <= 1
            < min(abs(query - STREET - one) for one in negatives)
        )

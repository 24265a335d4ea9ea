"""Mined tuples of places: what they are of, when they are chosen, and that a resume or two processes change nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ranked_places import STREET, RoundStreet
from stop_callback import Stopped
from vo3d.cli import main

MINER = {"block_size": 5, "num_negatives": 3, "pool": 6, "near": 3.0, "far": 6.0, "double_every": 1}
EPOCHS, BLOCKS, STEPS = 3, 4, 8  # of the whole training, of an epoch, of an epoch
Tuples = dict[tuple[int, int], list[list[int]]]


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


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]


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


@pytest.mark.parametrize("step", [2, 3, 9, 10, 11, 13, 18])
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

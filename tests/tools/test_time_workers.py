"""The tool that times numbers of worker processes."""

import pytest

import time_workers
from places import TINY

TINY = str(TINY)


def test_the_table_has_a_row_for_each_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert time_workers.main(["--config", TINY, "--workers", "[0,1]", "--batches", "12", "--threads", "1"]) == 0
    machine, head, *rows, best = capsys.readouterr().out.splitlines()
    assert "1 threads of torch" in machine
    assert "12 batches of 4 clips" in machine
    assert head.split()[0] == "workers"
    assert [row.split()[0] for row in rows] == ["0", "1"]
    assert rows[0].split()[-1] == "1.00"
    speeds = [float(row.split()[2]) for row in rows]
    assert min(speeds) > 0
    assert best.split()[:3] in (["best:", "--data.num_workers", "0"], ["best:", "--data.num_workers", "1"])


def test_epochs_follow_where_one_has_too_few_batches() -> None:
    class Loader:
        num_workers = 3
        epochs: list[int]

        def __init__(self) -> None:
            self.clips, self.epochs = self, []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def __iter__(self):  # type: ignore[no-untyped-def]
            yield from range(4)

    loader = Loader()
    first, speed = time_workers.read_batches(loader, 7)  # 1 + 3 + 7 batches
    assert loader.epochs == [0, 1, 2]
    assert first > 0
    assert speed > 0


def test_the_best_is_the_fewest_that_are_nearly_as_fast() -> None:
    assert time_workers.best_of({0: 1.0, 1: 9.6, 2: 10.0, 4: 3.0}) == 1
    assert time_workers.best_of({4: 10.0, 0: 9.4}) == 4


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--workers", "[-1]"], "workers are [-1]"),
        (["--workers", "[]"], "workers are []"),
        (["--workers", "[1,1]"], "workers are [1, 1]"),
        (["--batches", "0"], "batches is 0"),
        (["--batches", "many"], "batches"),
        (["--batch_size", "1000"], "one batch over all processes needs 1000"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--config", "trainer_cpu.yaml"], "there is no data.train"),
        (["--data", '{"seads": [1]}'], "seads"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], words: list[str], complaint: str) -> None:
    assert time_workers.main(["--config", TINY, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line

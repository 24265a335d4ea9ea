"""The tool that harms files: it finds each kind of fault, makes the same mutants again, and finds none in vo3d."""

import random
from pathlib import Path

import pytest

import fuzz_readers
from fuzz_targets import TARGETS, seal_png


def test_every_reader_refuses_or_reads_harmed_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_readers.main(["--mutants", "200"]) == 0, capsys.readouterr().out
    *rows, last = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == len(TARGETS)
    assert all(row.split()[-1] == "0" for row in rows)
    assert int(last.split()[0]) >= 200


def test_every_kind_of_fault_is_found_and_the_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz_readers, "MOST_SECONDS", 8)
    assert fuzz_readers.main(["--mutants", "6", "--table", "broken_targets"]) == 1
    out = capsys.readouterr().out
    for words in (
        "careless, mutant 0: KeyError: 'four'",
        "talkative, mutant 0: bad message: 309 characters",
        "fragile, mutant 0: crash: the process ended with -6",
        "greedy, mutant 0: memory: ",
        "slow, mutant 0: time: more than 8 s",
    ):
        assert f"fault: {words}" in out
    rows = [row.split() for row in out.splitlines() if not row.startswith("fault")]
    assert rows[1:-1] == [[name, "0", "0", "1"] for name in ("careless", "talkative", "fragile", "greedy", "slow")] + [
        ["careful", "0", "1", "0"]
    ]


def test_a_mutant_can_be_made_again() -> None:
    target = TARGETS["calib"]
    valid = b"P0: 1 2 3\nP1: 4 5 6\n" * 20
    mutants = [fuzz_readers.harm(valid, target, number) for number in range(50)]
    assert mutants == [fuzz_readers.harm(valid, target, number) for number in range(50)]
    assert len({*mutants, valid}) > 45


@pytest.mark.parametrize("way", fuzz_readers.HARMS)
@pytest.mark.parametrize("content", [b"\n", b"a", b"a b\nc\n", bytes(range(256))])
def test_every_way_of_harm_takes_any_content(way, content: bytes) -> None:  # type: ignore[no-untyped-def]
    chance = random.Random(0)  # noqa: S311
    assert len({way(content, chance) for _ in range(100)} | {content}) > 1


def test_checksums_are_mended(tmp_path: Path) -> None:
    whole = TARGETS["image.png"].write(tmp_path).read_bytes()
    assert seal_png(whole) == whole
    assert seal_png(whole[:29] + b"\0\0\0\0" + whole[33:]) == whole  # the checksum of the header
    assert seal_png(b"short") == b"short"


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, complaint in ((["--readers", '["x"]'], "no reader 'x'"), (["--mutants", "0"], "mutants is 0")):
        assert fuzz_readers.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert complaint in line

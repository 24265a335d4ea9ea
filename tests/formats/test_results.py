"""Results: what is saved is loaded, and only that."""

import json
from pathlib import Path

import pytest

from vo3d.errors import Vo3dError
from vo3d.evaluation.task import frames_sha256
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.results import Result, find_results

RESULT = Result(
    model="DeepVO",
    protocol={"dataset": "KITTI", "split": "test", "segment_lengths_m": [100.0]},
    sequences={"00": {"t_rel_percent": 1.5, "num_segments": 3, "ape_rmse_m": None}},
    mean={"t_rel_percent": 1.5, "ape_rmse_m": None},
    provenance={"versions": {"torch": "2.13"}, "seed": 7},
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = RESULT.save(tmp_path / "deepvo")
    assert path == tmp_path / "deepvo" / "metrics.json"
    assert Result.load(path) == RESULT
    assert Result.load(path.parent) == RESULT


def test_a_folder_names_the_results_of_its_tasks_before_an_old_one_beside_them(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    assert find_results(tmp_path) == [tmp_path]
    RESULT.save(tmp_path / "odometry")
    RESULT.save(tmp_path / ".ipynb_checkpoints")  # hidden: no result
    assert find_results(tmp_path) == [tmp_path / "odometry"]
    assert find_results(tmp_path / "metrics.json") == [tmp_path / "metrics.json"]
    assert find_results(tmp_path / "none") == [tmp_path / "none"]


def test_numbers_that_are_none_are_not_saved(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    broken = Result("x", {}, {}, {"t_rel_percent": float("nan")}, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.save(tmp_path)
    assert Result.load(tmp_path) == RESULT  # the one before is still whole
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"model": "x"', "not JSON"),
        ("\x00\x01", "not JSON"),
        ("[1, 2]", "found a list; expected model, protocol, sequences, mean, provenance"),
        ("{}", "found nothing; expected model"),
        ('{"t_rel_percent": 1}', "found t_rel_percent; expected model"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(Vo3dError, match=message) as caught:
        Result.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("model", 3, "model is 3; expected its name"),
        ("protocol", [], "protocol is a list"),
        ("sequences", {"00": 1}, r"sequences\.00 is a int; expected a table"),
        ("sequences", {"00": {"scale": "1"}}, r"sequences\.00\.scale is '1'; expected a finite number or null"),
        ("mean", {"scale": True}, r"mean\.scale is True"),
        ("mean", {"scale": 10**400}, r"mean\.scale is 10{115}\.\.\.0; expected a finite number"),
        ("sequences", {"\x1b[31m": {"scale": "\x1b]0;"}}, r"sequences\.\\x1b\[31m\.scale is '\\x1b\]0;'"),
        ("mean", {"scale": float("inf")}, r"mean\.scale is inf"),
    ],
)
def test_a_result_with_a_wrong_part_is_refused(tmp_path: Path, part: str, value: object, message: str) -> None:
    path = RESULT.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    with pytest.raises(Vo3dError, match=message):
        Result.load(path)


@pytest.mark.parametrize("text", [f"[{'1' * 5000}]", "[" * 100_000, '{"\x1b": 1}'])
def test_what_python_cannot_parse_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(Vo3dError, match="not JSON") as caught:
        Result.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 300


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"metrics\.json: cannot be read"):
        Result.load(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Vo3dError, match=r"a\.bin: not JSON"):
        Result.load(tmp_path / "a.bin")


def test_means_skip_what_is_not_defined_and_pool_segments() -> None:
    mean = Odometry().mean(
        {
            "a": {"t_rel_percent": 1.0, "r_rel_deg_per_100m": 4.0, "num_segments": 30, "fps": 10.0},
            "b": {"t_rel_percent": 2.0, "r_rel_deg_per_100m": 2.0, "num_segments": 10, "fps": 30.0},
            "short": {"t_rel_percent": None, "r_rel_deg_per_100m": None, "num_segments": 0, "fps": 20.0},
            "no truth": {"fps": 20.0},
        }
    )
    assert mean["t_rel_percent"] == pytest.approx(1.5)
    assert mean["t_rel_percent_pooled"] == pytest.approx(1.25)
    assert mean["r_rel_deg_per_100m_pooled"] == pytest.approx(3.5)
    assert mean["fps"] == pytest.approx(20)
    nothing = Odometry().mean({"short": {"t_rel_percent": None, "num_segments": 0}})
    assert nothing["t_rel_percent"] is None
    assert nothing["t_rel_percent_pooled"] is None


def test_the_fingerprint_tells_frames_apart() -> None:
    same = frames_sha256([("00", range(3)), ("01", range(2))])
    assert frames_sha256([("00", [0, 1, 2]), ("01", (0, 1))]) == same
    others = [
        [("00", range(3))],
        [("01", range(2)), ("00", range(3))],
        [("00", range(1, 4)), ("01", range(2))],
        [("00", range(4)), ("01", range(1))],
    ]
    assert len({same, *map(frames_sha256, others)}) == 5

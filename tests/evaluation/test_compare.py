"""Comparison: one table where the protocols agree, a refusal that names the difference where they do not."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vo3d.errors import Vo3dError
from vo3d.evaluation.compare import print_comparison
from vo3d.evaluation.scoring import metric_protocol
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.results import Result

FIRST = Result(
    model="DeepVO",
    protocol={
        **metric_protocol("none"),
        "dataset": "KITTI",
        "split": "test",
        "frames_sha256": "a" * 64,
        "resolution": "1241x376",
        "scale_source": "network (learned)",
    },
    sequences={"09": {"t_rel_percent": 2.5, "path_length_m": 1705.05}},
    mean={"t_rel_percent": 2.5, "r_rel_deg_per_100m": None, "fps": 12.345678},
    provenance={},
)
CLASSIC = replace(
    FIRST,
    model="Classic",
    protocol={**FIRST.protocol, "resolution": "416x128", "scale_source": "stereo baseline", "features": "orb"},
    mean={"t_rel_percent": 1.25},
)


def printed(tmp_path: Path, *results: Result, force: bool = False, width: int = 250) -> str:
    paths = [result.save(tmp_path / str(index)) for index, result in enumerate(results)]
    output = io.StringIO()
    print_comparison(paths, force, Console(file=output, width=width))
    return output.getvalue()


def test_equal_protocols_make_one_table(tmp_path: Path) -> None:
    text = printed(tmp_path, FIRST, CLASSIC)
    row = next(line for line in text.splitlines() if "DeepVO" in line)
    assert row.split()[:4] == ["DeepVO", "2.5", "-", "12.35"]
    assert "12.35" in row
    assert "1.25" in text
    assert "stereo baseline" in text
    assert "416x128" in text  # what differs but does not forbid the comparison becomes a column
    assert "orb" in text
    assert "differs" not in text
    assert "Protocol: task odometry; dataset KITTI; split test; frames_sha256 aaaaaaaaaaaa...; alignment none" in text


def test_brackets_in_names_are_no_markup(tmp_path: Path) -> None:
    text = printed(tmp_path, replace(FIRST, model="[bold]VO"), replace(CLASSIC, model="VO (pool=[/x])"), width=60)
    assert "[bold]VO" in text
    assert "VO (pool=[/x])" in text


@pytest.mark.parametrize("field", Odometry.must_agree)
def test_unequal_protocols_are_refused_with_both_values(tmp_path: Path, field: str) -> None:
    other = replace(CLASSIC, protocol={**CLASSIC.protocol, field: "something else"})
    with pytest.raises(Vo3dError, match=f"{field} is something else instead of "):
        printed(tmp_path, FIRST, other)
    missing = replace(CLASSIC, protocol={key: value for key, value in CLASSIC.protocol.items() if key != field})
    with pytest.raises(Vo3dError, match=f"{field} is - instead of "):
        printed(tmp_path, FIRST, missing)


def test_a_pipe_gets_the_whole_table(tmp_path: Path) -> None:
    long = replace(FIRST, model="A model with a name of more than eighty letters" + 40 * "!", mean={"fps": 12345.678})
    text = printed(tmp_path, long, CLASSIC, width=80)
    assert long.model in text
    assert "1.235e+04" in text


def test_force_compares_and_marks(tmp_path: Path) -> None:
    other = replace(CLASSIC, protocol={**CLASSIC.protocol, "alignment": "7dof", "split": "val"})
    text = printed(tmp_path, FIRST, other, CLASSIC, force=True)
    assert "UNEQUAL PROTOCOLS" in text
    assert "row 2 differs: split is val instead of test" in text
    assert "row 2 differs: alignment is 7dof instead of none" in text
    assert "row 3" not in text
    assert text.count("as row 1") == 2


def test_other_frames_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    other = replace(CLASSIC, sequences={"09": {"path_length_m": 901.5}})
    with pytest.raises(Vo3dError, match=r"the truth of 09 is 901.5 m long instead of 1705 m"):
        printed(tmp_path, FIRST, other)


def test_results_with_failed_recordings_are_refused(tmp_path: Path) -> None:
    other = replace(CLASSIC, provenance={"failed": {"10": "a truncated image"}})
    with pytest.raises(Vo3dError, match="recordings failed: 10"):
        printed(tmp_path, FIRST, other)
    with pytest.raises(Vo3dError, match="recordings failed: 10"):
        printed(tmp_path, other)


def test_results_of_an_unknown_task_say_what_must_agree(tmp_path: Path) -> None:
    own = {"task": "tracking", "dataset": "KITTI", "split": "test", "clip": 8}
    first = Result("A", own, {}, {"epe": 1.0}, {"must_agree": ["task", "dataset", "split"]})
    other = replace(first, model="B", protocol={**own, "clip": 4})
    assert "B" in printed(tmp_path, first, other)
    with pytest.raises(Vo3dError, match="clip is 4 instead of 8"):
        printed(tmp_path, replace(first, provenance={}), replace(other, provenance={}))
    with pytest.raises(Vo3dError, match="split is val instead of test"):
        printed(tmp_path, first, replace(first, protocol={**own, "split": "val"}))


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no results"):
        print_comparison([])
    with pytest.raises(Vo3dError, match="cannot be read"):
        print_comparison([tmp_path])

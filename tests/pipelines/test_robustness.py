"""`vo3d robustness`: which faults are injected into whose data, what is kept, what is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks import complaint
from stubs import Gyro
from vo3d.cli import main
from vo3d.evaluation.task import Task
from vo3d.formats.results import Result

pytestmark = pytest.mark.usefixtures("scenes_built_once", "coarse_figures")
FAULTS = ("rotation", "time", "bias", "noise", "dropped")
TABLE = {
    "class_path": "vo3d.datasets.rendered.Rendered",
    "init_args": {
        "scene": "tabletop",
        "seeds": [1],
        "frames": 8,
        "size": [16, 32],
        "clip_length": 3,
        "imu": True,
        "cache": True,
    },
}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command for a model that reads a gyroscope, and one that does not beside it."""
    net = {"class_path": "stubs.Gyro", "init_args": {"length": 0.7}}
    config = {"model": {"net": net}, "data": {"train": TABLE, "test": TABLE}, "out": str(tmp_path / "run")}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    return ["robustness", str(tmp_path / "own.yaml"), "--allow", "stubs", "--baselines", "constant"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what is run, as model and fault."""
    found: list[str] = []
    run = Task.run

    def noted(self: Task, *words: Any, **options: Any) -> Result:
        found.append("{} {fault} {size:g}".format(options["name"], **options["protocol"]))
        return run(self, *words, **options)

    monkeypatch.setattr(Task, "run", noted)
    return found


def rotation_errors(folder: Path, model: str, fault: str) -> list[float]:
    """The errors of a model over the sizes of a fault, out of the file of numbers."""
    content = json.loads((folder / "robustness.json").read_text())["models"][model]
    return [content["points"][point]["mean"]["rpe_mean_deg"] for point in content["faults"][fault]]


def test_each_fault_harms_who_reads_what_it_changes(
    words: list[str], runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--rotation_deg", "10", "5", "--time_offset", "0.05", "--bias", "2", "--noise", "30", "--dropped", "0.5"]
    assert main([*words, *sizes]) == 0

    folder = tmp_path / "run/robustness/test"
    out = capsys.readouterr().out
    assert runs[:2] == ["Gyro none 0", "ConstantMotion none 0"]
    assert runs[2:] == [
        *("Gyro rotation 5", "Gyro rotation 10", "Gyro time 0.05", "Gyro bias 2", "Gyro noise 30"),
        *("Gyro dropped 0.5", "ConstantMotion dropped 0.5"),
    ]
    for fault in FAULTS:
        flat, errors = (rotation_errors(folder, name, fault) for name in ("ConstantMotion", "Gyro"))
        assert len(set(flat)) == 1
        if fault == "dropped":  # it reads images, and does nothing with them
            assert len(set(errors)) == 1
        else:
            assert errors == sorted(set(errors))
            assert errors[0] < 0.1 * errors[-1]
    clean, _, worst = rotation_errors(folder, "Gyro", "rotation")
    assert f"{clean:.4g}" in out
    assert f"{worst:.4g}" in out
    assert "APE and RPE stand for them; --lengths" in out
    assert "ConstantMotion does not read imu" in out
    assert "Gyro does not read" not in out
    biased = Result.load(folder / "bias_2/Gyro/odometry")
    assert biased.mean["rpe_mean_deg"] == rotation_errors(folder, "Gyro", "bias")[1]
    assert biased.protocol["fault"] == "bias"
    page = (folder / "report.html").read_text()
    assert page.count("<img") == 1
    assert f">{worst / clean:.2f}<" in page  # how much the error grows
    assert "Extrinsic rotation" in page
    assert "Clark" not in page + out


def test_a_second_call_keeps_what_was_scored_alike(
    words: list[str],
    runs: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words += ["--faults", "rotation", "--lengths", "1", "2", "--rotation_deg", "5", "10"]
    with monkeypatch.context() as patch:

        def interrupted(self: Gyro, sample: object) -> None:
            raise KeyboardInterrupt

        def after_the_second(self: Task, *given: Any, **options: Any) -> Result:
            if options["protocol"]["size"] == 10:
                patch.setattr(Gyro, "forward", interrupted)
            return noted(self, *given, **options)

        noted = Task.run
        patch.setattr(Task, "run", after_the_second)
        assert main(words) == 130
    assert runs == ["Gyro none 0", "ConstantMotion none 0", "Gyro rotation 5", "Gyro rotation 10"]
    runs.clear()
    capsys.readouterr()

    assert main(words) == 0
    assert runs == ["Gyro rotation 10"]
    out = capsys.readouterr().out
    assert "3 of 4 results were there" in out
    assert "t_rel" in out
    errors = rotation_errors(tmp_path / "run/robustness/test", "Gyro", "rotation")
    runs.clear()

    assert main([*words, "--seed", "1"]) == 0  # other axes: the clean ones as well, which says what it was asked
    assert "Gyro rotation 10" in runs
    again = rotation_errors(tmp_path / "run/robustness/test", "Gyro", "rotation")
    assert again[0] == errors[0]
    assert again[2] != errors[2]


def test_who_fails_has_a_dash_and_the_others_are_scored(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Task.run

    def failing(self: Task, *given: Any, **options: Any) -> Result:
        if options["name"] == "Gyro" and options["protocol"]["size"] == 5:
            raise MemoryError("it broke")
        return run(self, *given, **options)

    monkeypatch.setattr(Task, "run", failing)
    assert main([*words, "--faults", "rotation", "--rotation_deg", "5", "10"]) == 2
    found = capsys.readouterr()
    assert "Gyro, rotation_5, failed: memory does not suffice" in found.out
    rows = [line.split() for line in found.out.splitlines() if " Gyro " in line]
    assert [row.index("-") for row in rows] == [4, 4]  # of two errors with their units, behind the clean one
    assert "it broke" in found.err
    assert "failed: memory" in (tmp_path / "run/robustness/test/report.html").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--faults", "rain"], "there is no fault 'rain': expected rotation, time"),
        (["--faults", "bias", "--noise", "2"], "sizes of the fault noise, and --faults bias"),
        (["--rotation_deg", "-5"], "rotation_deg -5.0: expected an angle"),
        (["--dropped", "1"], "dropped 1.0: expected a share"),
        (["--bias", "-1"], "gyro_bias -0.008"),
        (["--data", '{"imu": false}'], "gives no inertial readings to perturb: turn imu on"),
        (["--seed", "-1"], "seed -1"),
        (["--lengths", "1", "1"], "segment lengths [1.0, 1.0]"),
        (["--split", "val"], "no data.val"),
    ],
)
def test_what_cannot_be_asked_is_told_before_the_work(
    words: list[str], runs: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, *words, *more)
    assert runs == []

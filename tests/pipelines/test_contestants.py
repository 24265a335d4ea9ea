"""One contestant of an evaluation fails, at any moment: it has a row of dashes, and the others their scores."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks import complaint
from vo3d.cli import main
from vo3d.datasets.rendered import Rendered
from vo3d.evaluation.page import write_report
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.results import Result
from vo3d.models.constant_motion import ConstantMotion

STREETS = {
    "class_path": "vo3d.datasets.rendered.Rendered",
    "init_args": {"seeds": [0, 1], "frames": 6, "size": [16, 32], "clip_length": 3, "cache": True},
}
pytestmark = pytest.mark.usefixtures("scenes_built_once", "coarse_figures")
CONSTANT = "vo3d.models.constant_motion.ConstantMotion"


def faulty(**arguments: str) -> str:
    """The words that name a baseline that fails."""
    return json.dumps({"class_path": "stubs.Faulty", "init_args": arguments})


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command that scores constant motion on two streets, and baselines beside it."""
    net = {"model": {"net": {"class_path": CONSTANT}}, "data": {"train": STREETS, "test": STREETS}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**net, "out": str(tmp_path / "run")}))
    return ["evaluate", str(tmp_path / "own.yaml"), "--lengths", "1", "2", "--baselines"]


def cells(text: str, name: str) -> list[str]:
    """What stands in the row of a model, behind its name."""
    return next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name).split()


BROKEN = {
    "Faulty (when=build)": (faulty(when="build"), "it broke at build"),
    "Faulty (when=fit)": (faulty(when="fit"), "it broke at fit"),
    "Faulty (how=Vo3dError)": (
        faulty(how="Vo3dError"),
        "2 of 2 recordings failed, the first being street-0000: it broke",
    ),
    "Faulty (how=MemoryError)": (faulty(how="MemoryError"), "memory does not suffice (MemoryError: it broke at all)"),
    "Faulty (how=OutOfMemoryError)": (faulty(how="OutOfMemoryError"), "memory does not suffice for images of 32x16"),
    "Faulty (how=OSError)": (faulty(how="OSError"), "2 of 2 recordings failed, the first being street-0000: it broke"),
    "Faulty (how=SystemExit)": (faulty(how="SystemExit"), "it ended the program (SystemExit: it broke at all)"),
    "Faulty (no=x)": (faulty(no="x"), "'no' is not accepted by stubs.Faulty"),
    "Absent": ("stubs.Absent", "there is no stubs.Absent"),
}


def test_contestants_that_fail_have_rows_of_dashes(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *(baseline for baseline, _ in BROKEN.values()), "constant"]) == 2

    found = capsys.readouterr()
    (told,) = found.err.splitlines()
    page = (tmp_path / "run/evaluation/test/report.html").read_text()
    for name, (_, reason) in BROKEN.items():
        assert set(cells(found.out, name)) == {"-"}
        (line,) = [line for line in found.out.splitlines() if f", {name}, failed: " in line]
        assert reason in line
        assert name in told
        assert reason in told
        assert f"{name} failed: " in page
        assert re.search(rf">{re.escape(name)}</t[dh]>(\s*<td[^>]*>\u2013</td>)+\s*</tr>", page)
    folder = tmp_path / "run/evaluation/test"
    for other, row in (("ConstantMotion", "ConstantMotion "), ("ConstantMotion__2", "ConstantMotion #2")):
        scored = Result.load(folder / other / "odometry").mean["t_rel_percent"]
        assert f"{scored:.4g}" in cells(found.out, row)
    assert len(list(folder.glob("*/odometry/metrics.json"))) == 2


def test_names_that_are_one_as_folders_have_a_result_each(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *(faulty(when="never", how=how) for how in ("a/b", "a_b", "a/b"))]) == 0

    names = ["Faulty (when=never, how=a/b)", "Faulty (when=never, how=a_b) #2", "Faulty (when=never, how=a/b) #3"]
    found = [
        Result.load(path.parent).model for path in (tmp_path / "run").glob("evaluation/test/Faulty*/*/metrics.json")
    ]
    assert sorted(found) == sorted(names)
    text = capsys.readouterr().out
    assert [name for name in names if name in text] == names


@pytest.mark.parametrize("scene", ["street-0000", "street-0001"])
def test_what_was_scored_before_and_after_a_failure_stays_and_is_no_result(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], scene: str
) -> None:
    assert "1 of 2 recordings failed" in complaint(capsys, *words, faulty(when=scene))

    folder = tmp_path / "run/evaluation/test"
    partly = folder / f"Faulty__when_{scene}_/odometry"
    result = Result.load(partly)
    assert list(result.sequences) == [one for one in ("street-0000", "street-0001") if one != scene]
    assert list(result.provenance["failed"]) == [scene]  # type: ignore[call-overload]
    line = complaint(capsys, "compare", folder / "ConstantMotion", partly)
    assert "recordings failed" in line or "frames_sha256" in line
    page = (folder / "report.html").read_text()
    assert f"{scene}: it broke at {scene}" in page
    assert "No value is therefore marked" not in page  # the others are compared


def test_a_model_alone_that_fails_in_part_has_dashes_too(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((tmp_path / "own.yaml").read_text())
    config["model"]["net"] = {"class_path": "stubs.Faulty", "init_args": {"when": "street-0001"}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    assert main([*words[:-1], "--allow", "stubs"]) == 2

    found = capsys.readouterr()
    assert set(cells(found.out, "Faulty")) == {"-"}
    assert found.err.startswith("vo3d: error: 1 of 2 recordings failed, the first being street-0001: it broke")
    assert list(Result.load(tmp_path / "run/evaluation/test/Faulty/odometry").sequences) == ["street-0000"]


def test_a_defect_is_shown_after_the_others_are_scored(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyError, match="it broke at street-0001"):
        main([*words, faulty(when="street-0001", how="KeyError"), "constant"])

    text = capsys.readouterr().out
    assert set(cells(text, "Faulty (when=street-0001, how=KeyError)")) == {"-"}
    assert "failed: KeyError: 'it broke at street-0001'" in text
    folder = tmp_path / "run/evaluation/test"
    assert Result.load(folder / "ConstantMotion__2/odometry").mean["t_rel_percent"] is not None
    assert (folder / "report.html").is_file()
    partly = Result.load(folder / "Faulty__when_street-0001__how_KeyError_/odometry")
    assert list(partly.sequences) == ["street-0000"]
    assert partly.provenance["failed"] == {"street-0001": "KeyError: 'it broke at street-0001'"}


def test_the_model_of_the_run_may_be_the_one_that_fails(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((tmp_path / "own.yaml").read_text())
    config["model"]["net"] = {"class_path": "vo3d.models.deepvo.DeepVO", "init_args": {"size": [16, 32], "width": 0.02}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    assert main([*words, "constant"]) == 2

    found = capsys.readouterr()
    assert set(cells(found.out, "DeepVO")) == {"-"}
    assert f"vo3d: error: DeepVO: {tmp_path}/run/checkpoints/best.ckpt: no such checkpoint" in found.err
    assert Result.load(tmp_path / "run/evaluation/test/ConstantMotion/odometry").mean["t_rel_percent"] is not None
    asked = [*words, "constant", "--tasks", "depth"]
    assert "no such checkpoint" in complaint(capsys, *asked)  # not what the baseline cannot do


def test_nobody_left_is_one_line_with_every_reason_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(capsys, *words, "constant", "--data", '{"seeds": []}')
    assert line == "ConstantMotion, ConstantMotion #2: no recording to take clips from: name at least one sequence"


def test_a_result_of_before_does_not_stand_for_a_failure(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run/evaluation/test/Faulty__when_never_/odometry"
    assert main([*words, faulty(when="never")]) == 0
    before = (place / "metrics.json").read_text()
    assert not (place / "earlier_metrics.json").exists()
    nobody = [*words, faulty(when="never"), "--baseline-data", '{"seeds": []}']
    assert main(nobody) == 2

    assert set(cells(capsys.readouterr().out.rpartition("model ")[2], "Faulty (when=never)")) == {"-"}
    assert not (place / "metrics.json").exists()
    assert (place / "earlier_metrics.json").read_text() == before


def test_a_result_says_what_is_not_scored_until_it_is(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    class Watched(Odometry):
        def score(self, *arguments: Any, **more: Any) -> Any:
            seen.append(json.loads((tmp_path / "metrics.json").read_text())["provenance"]["failed"])
            return super().score(*arguments, **more)

    data = Rendered(seeds=[0, 1], frames=6, size=(16, 32), clip_length=3)
    result = Watched(lengths=(1.0,)).run(ConstantMotion(), data, tmp_path, progress=False)
    assert [list(one) for one in seen] == [["street-0000", "street-0001"], ["street-0001"]]
    assert "failed" not in result.provenance


def test_a_page_of_failures_alone_says_so(tmp_path: Path) -> None:
    task = Odometry(lengths=(1.0,))
    task.run(
        ConstantMotion(), Rendered(seeds=[0, 1], frames=6, size=(16, 32), clip_length=3), tmp_path / "a", progress=False
    )
    page = write_report(
        tmp_path, {task: {"a": tmp_path / "a"}}, title="T", failed={task: {"a": "it broke"}}
    ).read_text()
    assert "Nothing was scored on every recording." in page
    assert "a failed: it broke" in page


def test_the_out_of_a_file_is_obeyed_or_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert (tmp_path / "run/evaluation/test/ConstantMotion/odometry/metrics.json").is_file()
    assert not (tmp_path / "runs").exists()

    one = tmp_path / "one.yaml"
    one.write_text(f"class_path: {CONSTANT}\nout: elsewhere\n")
    refused = f"{one}:2: out: found 'elsewhere', expected class_path and init_args alone: leave it out"
    assert complaint(capsys, *words, one) == refused
    one.write_text("class_path: vo3d.models.mvsnet.MVSNet\nout: elsewhere\n")
    assert main(["render", "tabletop", "--frames", "4", "--size", "32x40", "--out", str(tmp_path / "tables")]) == 0
    table = tmp_path / "tables/scan0"
    assert complaint(capsys, "reconstruct", table, "--weights", "mvsnet_tabletop", "--model", one) == refused
    assert complaint(capsys, "info", one) == refused
    (tmp_path / "own.yaml").write_text((tmp_path / "own.yaml").read_text().replace(f"out: {tmp_path}/run", "out: [1]"))
    assert complaint(capsys, *words).endswith("own.yaml: out is [1]: expected the path of a folder")


def test_what_learns_from_recordings_learns_from_those_of_joined_datasets(tmp_path: Path) -> None:
    one, other = ({**STREETS, "init_args": {**STREETS["init_args"], "seeds": [seed]}} for seed in (0, 1))
    joined = {"class_path": "torch.utils.data.ConcatDataset", "init_args": {"datasets": [one, other]}}
    found = []
    for name, train in (("apart", joined), ("at_once", STREETS)):
        config = {"model": {"net": {"class_path": CONSTANT}}, "data": {"train": train, "test": STREETS}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
        out = tmp_path / name
        assert main(["evaluate", str(tmp_path / f"{name}.yaml"), "--out", str(out), "--lengths", "1", "2"]) == 0
        (place,) = out.rglob("odometry")
        found.append(Result.load(place).mean)
    assert found[0]["t_rel_percent"] == found[1]["t_rel_percent"] > 0

"""The one door: help at once, one example a verb, one line for each mistake."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from checks import complaint
from places import TINY
from vo3d.cli import VERBS, find_configs, main, spelled_out
from vo3d.errors import Vo3dError
from vo3d.verbs import FUNCTIONS


def test_help_lists_every_verb_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from vo3d.cli import main; status = main(['--help']);"
        "heavy = {'torch', 'lightning', 'jsonargparse', 'numpy', 'cv2', 'rich'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    shown = [re.split("  +", line.strip())[0] for line in run.stdout.splitlines() if line.startswith("  ")]
    verbs = [
        "demo track render fit validate test evaluate robustness reconstruct view cloud locate",
        "trajectory convert-trajectory",
    ]
    first, last = map(str.split, verbs)
    assert shown == [*first, "places build", "places find", *last, "compare", "optimizers", "weights fetch", "info"]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*verb.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"xample: vo3d {verb} " in " ".join(text.split())


def test_help_of_a_function_verb_imports_no_torch() -> None:
    code = (
        "import sys; from vo3d.cli import main; from vo3d.verbs import FUNCTIONS\n"
        "for verb in FUNCTIONS:\n"
        "    try: main([*verb.split(), '--help'])\n"
        "    except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("usage: vo3d") == len(FUNCTIONS)


def test_a_folder_holds_one_run(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    words = ["fit", "-c", TINY, "--out", trained, "--trainer.max_epochs", "1"]
    before = (trained / "history.csv").read_text()
    assert "holds a run already" in complaint(capsys, *words)
    assert (trained / "history.csv").read_text() == before
    assert main([*map(str, words), "--overwrite", "true"]) == 0
    assert (trained / "history.csv").read_text() == before


def test_a_resumed_run_keeps_its_settings(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    words = ["fit", "-c", trained / "config.yaml", "--ckpt_path", "last"]
    line = complaint(capsys, *words, "--model.net.dropout", "0.25")
    assert "made with model.net.init_args.dropout = 0.5, now asked for 0.25" in line
    assert "--model.init_weights" in line
    assert "seed_everything = 0, now asked for 1" in complaint(capsys, *words, "--seed_everything", "1")
    line = complaint(capsys, "validate", *words[1:], "--model.net.hidden", "4")
    assert "hidden = 8, now asked for 4" in line


def test_validate_and_test_leave_the_run_as_it_is(trained: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    for verb in ("validate", "test"):
        assert main([verb, "-c", str(trained / "config.yaml"), "--ckpt_path", "best"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}


def test_evaluate_scores_a_run_beside_baselines(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    baseline = '{"class_path": "tiny.TinyModel", "init_args": {"hidden": 4}}'
    words = ["--baselines", "constant", baseline, "tiny.TinyModel", "--lengths", "1", "2"]
    assert main(["evaluate", str(trained), "--allow", "tiny", "--weights", "last", *words]) == 0
    folder = trained / "evaluation" / "test"
    names = ["TinyModel", "ConstantMotion", "TinyModel__hidden_4_", "TinyModel__2"]
    results = [folder / name / "odometry" / "metrics.json" for name in names]
    assert all(path.is_file() for path in results)
    assert (folder / "report.html").stat().st_size > 10_000
    first = yaml.safe_load(results[0].read_text())
    assert first["protocol"]["dataset"] == "TinyClips"
    assert first["provenance"]["weights"] == "last.ckpt"
    assert first["mean"]["t_rel_percent"] > 0
    assert first["mean"] != yaml.safe_load(results[3].read_text())["mean"]  # trained weights, not fresh ones
    capsys.readouterr()
    assert main(["compare", *map(str, results)]) == 0
    assert "TinyModel" in capsys.readouterr().out.replace("\n", "")


def test_a_method_without_parameters_is_evaluated_from_a_file(tmp_path: Path) -> None:
    """`--data` replaces arguments of the test set, `--baseline_data` those that only the baselines see."""
    config = tmp_path / "standing.yaml"
    train, test = ({"class_path": "tiny.TinyClips", "init_args": {"seeds": [1], "frames": frames}} for frames in (9, 6))
    net = {"class_path": "vo3d.models.constant_motion.ConstantMotion"}
    config.write_text(yaml.safe_dump({"model": {"net": net}, "data": {"train": train, "test": test}}))
    words = ["--allow", "tiny", "--out", str(tmp_path / "out"), "--lengths", "1"]
    words += ["--data", '{"frames": 9, "seeds": [2]}']
    assert main(["evaluate", str(config), *words, "--baselines", "constant", "--baseline_data", '{"frames": 9}']) == 0
    own, baseline = (
        yaml.safe_load((tmp_path / "out" / name / "odometry" / "metrics.json").read_text())
        for name in ("ConstantMotion", "ConstantMotion__2")
    )
    assert own["provenance"]["run"] == "standing.yaml"
    assert list(own["sequences"]) == list(baseline["sequences"]) == ["tiny-2"]
    assert own["mean"]["rpe_mean_m"] > 0  # fitted to the training set, so it moves
    assert own["mean"]["rpe_mean_m"] == baseline["mean"]["rpe_mean_m"]
    assert baseline["provenance"]["data"] == {"frames": 9}


def test_info_counts_the_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", "tiny.TinyModel"]) == 0
    words = capsys.readouterr().out
    assert "torch" in words
    assert "110" in words  # 6 * 8 + 8 + 8 * 6 + 6


def test_trajectory_scores_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"1 0 0 0 0 1 0 0 0 0 1 {metre}" for metre in range(0, 300, 10))
    (tmp_path / "a.txt").write_text(rows + "\n")
    words = ["trajectory", str(tmp_path / "a.txt"), str(tmp_path / "a.txt"), "--json", str(tmp_path / "s.json")]
    assert main([*words, "--align", "none", "--lengths", "100", "200"]) == 0
    scores = yaml.safe_load((tmp_path / "s.json").read_text())
    assert scores["t_rel_percent"] == pytest.approx(0, abs=1e-9)
    assert scores["coverage"] == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"vo3d \d+\.\d+\S*\n", capsys.readouterr().out)


def test_types_in_help_are_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["render", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(type: Path, default: rendered)" in text
    assert "<class" not in text


def test_configs_are_found_here_first_and_then_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = find_configs(["-c", "optim_adam.yaml", "--config=optim_sgd.yaml", "--out", "optim_adam.yaml"])
    assert Path(found[1]).is_file()
    assert Path(found[2].removeprefix("--config=")).is_file()
    assert found[4] == "optim_adam.yaml"
    (tmp_path / "optim_adam.yaml").write_text("model: null\n")
    assert find_configs(["-c", "optim_adam.yaml"]) == ["-c", "optim_adam.yaml"]
    with pytest.raises(Vo3dError, match=r"no configuration 'missing\.yaml'"):
        find_configs(["-c", "missing.yaml"])


def test_render_writes_a_sequence_that_the_loader_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["render", "street", "--frames", "3", "--seed", "7", "--size", "32x64", "--out", str(tmp_path)]
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "sequences" / "07" / "image_3").iterdir())[-1] == "000002.png"
    assert len((tmp_path / "poses" / "07.txt").read_text().splitlines()) == 3
    assert "street" in complaint(capsys, "render", "moon", "--out", tmp_path / "moon")


def test_render_writes_a_room_as_7scenes_does(tmp_path: Path) -> None:
    words = ["render", "room", "--frames", "2", "--size", "24x32", "--place-seed", "7", "--sequences", "1", "1"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "room-0007" / "TestSplit.txt").read_text() == "sequence2\n"
    assert sorted(path.name for path in (tmp_path / "room-0007" / "seq-02").iterdir())[-1] == "frame-000001.pose.txt"


def test_switches_need_no_value_and_dashes_are_as_good_as_underscores() -> None:
    words = "scene --num-views 5 --mesh --no-report --refine false --size=480x640 --views a --slab -1 --stereo"
    expected = "scene --num_views 5 --mesh=true --report=false --refine false --size=480x640 --views a --slab -1"
    assert spelled_out(words.split(), {"mesh", "report", "refine", "stereo"}) == [*expected.split(), "--stereo=true"]
    assert spelled_out([], {"mesh"}) == []
    negative = "--t-offset -1e-3 --slab -2 -2.5E+2 -1. -.5e1 -1e99999 -e5"
    assert spelled_out(negative.split(), set()) == "--t_offset -0.001 --slab -2 -250 -1 -5 -1e99999 -e5".split()


@pytest.mark.parametrize("words", [["--help"], ["info", "vo3d.models.mvsnet.MVSNet"]])
def test_a_closed_pipe_ends_it_without_a_word(words: list[str]) -> None:
    """As the system ends a program whose reader went away, such as `head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        [sys.executable, "-m", "vo3d.cli", *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (run.returncode, run.stderr) == (141, "")

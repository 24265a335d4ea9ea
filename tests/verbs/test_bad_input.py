"""Every mistake that a user can make ends as one line that names the place and the way out, with exit status 2."""

import io
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from checks import complaint, the_one_line
from places import SUPPORT, TINY
from vo3d.cli import main
from vo3d.formats.files import atomic_path
from vo3d.formats.kitti import write_sequence
from vo3d.geometry import se3
from vo3d.sample import Sample

SGD = ["fit", "-c", str(TINY), "-c", "optim_sgd.yaml"]
ADAM = ["fit", "-c", str(TINY), "-c", "optim_adam.yaml"]
MOMENTUM = ["fit", "-c", str(TINY), "-c", "optim_momentum.yaml"]
FRAMES = 6
SEQUENCE = Path("data/sequences/00")
POSES = Path("data/poses/00.txt")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short sequence in KITTI's layout, a configuration that learns from it, and a run that did."""
    root = tmp_path_factory.mktemp("drive")
    generator = torch.Generator().manual_seed(0)
    poses = se3.exp(0.1 * torch.randn(FRAMES, 6, generator=generator, dtype=torch.float64))
    frames = [
        Sample(
            image=torch.rand(1, 3, 16, 24, generator=generator),
            K=torch.tensor([[[20.0, 0, 12], [0, 20, 8], [0, 0, 1]]]),
            world_T_cam=pose[None],
            time=torch.tensor([index / 10], dtype=torch.float64),
            scene="00",
            index=torch.tensor([index]),
        )
        for index, pose in enumerate(poses)
    ]
    write_sequence(root / "data", "00", frames)
    kitti = {"class_path": "vo3d.datasets.kitti.KITTIOdometry", "init_args": {"root": "data", "sequences": ["00"]}}
    config = yaml.safe_load(TINY.read_text())
    config["data"] = {"train": kitti, "val": kitti, "test": kitti, "batch_size": 2}
    (root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["fit", "-c", "config.yaml", "--out", "run", "--trainer.max_epochs", "1"]) == 0
    return root


@pytest.fixture
def here(drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the drive as the working folder."""
    shutil.copytree(drive, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_line(path: Path, number: int, pattern: str, new: str) -> Callable[[], None]:
    """Damage: replace the first match of `pattern` in a line of a text file."""

    def damage() -> None:
        lines = path.read_text().splitlines()
        lines[number - 1] = re.sub(pattern, new, lines[number - 1], count=1)
        path.write_text("\n".join(lines) + "\n")

    return damage


def cut_png() -> None:
    """Damage: half of an image is lost."""
    path = SEQUENCE / "image_2" / "000003.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_pose() -> None:
    """Damage: the last pose is lost."""
    POSES.write_text("\n".join(POSES.read_text().splitlines()[:-1]) + "\n")


def drop_images() -> None:
    """Damage: the folder of images is empty."""
    for path in (SEQUENCE / "image_2").iterdir():
        path.unlink()


# damage -> where the line says it is, what it says to do
DATA = {
    "missing sequence": (lambda: shutil.rmtree(SEQUENCE), f"{SEQUENCE}: no such sequence", "choose"),
    "calib.txt with a wrong token": (
        in_line(SEQUENCE / "calib.txt", 3, r" 0\S*", " zero"),
        f"{SEQUENCE}/calib.txt:3: 'zero' is not a finite number",
        "correct the line",
    ),
    "fewer poses than images": (drop_pose, f"{POSES}: has 5 rows, but there are 6 images", "complete the sequence"),
    "a truncated PNG": (cut_png, f"{SEQUENCE}/image_2/000003.png: not a whole image (truncated PNG", "copy or"),
    "NaN in a pose": (in_line(POSES, 2, r"^\S+", "nan"), f"{POSES}:2: 'nan' in a pose", "drop or mend"),
    "a non-rotation in a pose": (in_line(POSES, 4, r"^\S+", "3.5"), f"{POSES}:4: not a rotation", "check the order"),
    "a folder without images": (drop_images, f"{SEQUENCE}/image_2: holds no image", "expected 000000.png"),
    "an empty folder": (
        lambda: (shutil.rmtree("data"), Path("data").mkdir()),
        "data: holds nothing",
        "expected sequences/<name>",
    ),
    "no folder": (lambda: shutil.rmtree("data"), "data", "expected"),
}
VERBS = {
    "fit": ["fit", "-c", "config.yaml", "--out", "new"],
    "validate": ["validate", "-c", "run/config.yaml", "--ckpt_path", "best"],
    "evaluate": ["evaluate", "run", "--allow", "tiny"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("damage", DATA)
def test_damaged_data(damage: str, verb: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    do, place, remedy = DATA[damage]
    do()
    line = complaint(capsys, *VERBS[verb])
    assert place in line
    assert remedy in line
    assert len(line) < 400
    assert not (here / "new" / "checkpoints").exists()


def test_a_truncated_png_in_another_process(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut_png()
    line = complaint(capsys, *VERBS["fit"], "--data.num_workers", "2")
    assert line.startswith(f"{SEQUENCE}/image_2/000003.png: not a whole image (truncated PNG")


# what is written instead of what in the configuration -> where the line says it is, what it says
SETTINGS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an unknown section": (lambda tree: tree.update(trainr={"devices": 1}), "'trainr"),
    "an unknown key": (
        lambda tree: tree["data"].update(batchsize=3),
        r"^config.yaml:\d+: .*'data\.batchsize'",
    ),
    "an unknown argument": (
        lambda tree: tree["model"]["net"].update(init_args={"hiden": 3}),
        r"^config.yaml:5: model.net: Option 'hiden' is not accepted by tiny.TinyModel",
    ),
    "a wrong type": (
        lambda tree: tree["model"]["net"].update(init_args={"hidden": "four"}),
        r"^config.yaml:5: model.net.hidden: found 'four', expected a whole number",
    ),
    "a number for a list": (
        lambda tree: tree["data"]["train"]["init_args"].update(sequences=7),
        r"^config.yaml:\d+: data.train.sequences: found '7', expected a list",
    ),
    "no such class": (lambda tree: tree["model"]["net"].update(class_path="tiny.TinyModle"), "TinyModle"),
    "a sequence twice": (
        lambda tree: tree["data"]["train"]["init_args"].update(sequences=["00", "00"]),
        "recording '00' is asked for twice",
    ),
}


@pytest.mark.parametrize("mistake", SETTINGS)
def test_wrong_settings(mistake: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit, expected = SETTINGS[mistake]
    tree = yaml.safe_load(Path("config.yaml").read_text())
    edit(tree)
    Dumper = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    Path("config.yaml").write_text(yaml.dump(tree, Dumper=Dumper, sort_keys=False))
    line = complaint(capsys, *VERBS["fit"])
    assert re.search(expected, line), line
    assert len(line) < 300


def test_a_file_that_is_no_yaml(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    for content, expected in {
        b"model: [": "wrong.yaml:1: not YAML",
        b"just words": "wrong.yaml: found a str",
        b"": "wrong.yaml: found nothing",
        b"\xff\xfe\x00": "wrong.yaml: not text",
    }.items():
        path.write_bytes(content)
        assert expected in complaint(capsys, "fit", "-c", path)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["fits"], "there is no verb 'fits': did you mean fit?"),
        (["--frames"], "expected one of demo, track"),
        (["render", "street", "--frame", "3"], "--frame 3: did you mean --frames?; vo3d render --help tells more"),
        (["render", "street", "--frames", "1.5"], "frames: found '1.5', expected a whole number"),
        (["render", "street", "--frames", "0"], "expected at least 2"),
        (["render", "street", "--seed", "-1"], "seed -1"),
        (["render", "street", "--size", "big"], "--size is 'big': expected rows and columns"),
        (["render", "street", "--sensor", "wide"], "sensor: found 'wide', expected drawn, or settings of a camera"),
        (["render", "street", "--sensor", "height=1"], "sensor: found 'height=1', expected drawn, or settings"),
        (["render", "street", "--sensor", "[]"], "sensor: found '[]', expected drawn, or settings of a camera"),
        (["render", "street", "--sensor", "{focal: a}"], "sensor.focal: found 'a', expected a number"),
        (["fit", "-c", "smoke_deepvo.yaml", "--data.train.init_args.sensor", "wide"], "expected drawn, or settings"),
        (["fit", "-c", "smoke_deepvo.yaml", "--data.train.init_args.visit", "night"], "such as '{time: night"),
        (["fit", "-c", "smoke_deepvo.yaml", "--data.train.init_args.imu_errors", "bad"], "expected mems, or numbers"),
        (["render", "tabletop", "--truth", "false"], "--truth is of a drive, not of a tabletop"),
        (["render", "tabletop", "--stereo", "false"], "--stereo is of a drive, not of a tabletop"),
        (["render", "tabletop", "--imu-errors", "mems"], "--imu-errors is of a drive, not of a tabletop"),
        (["render", "room", "--layout", "dtu"], "--layout dtu is not for room: tables go to dtu"),
        (
            ["render", "room", "--sensor", "drawn"],
            "--sensor is of a drive, not of a room, which the camera of 7-Scenes",
        ),
        (["render", "room", "--sequences", "3"], "--sequences [3]: of a room: expected two numbers"),
        (["render", "room", "--motion", "walking"], "room has no motion 'walking'"),
        (
            ["render", "street", "--sequences", "3", "2"],
            "--sequences [3, 2]: of a street: expected two numbers, of a room",
        ),
        (["render", "street", "--turn", "3"], "--turn is of a walk, not of a street: leave it out"),
        (["render", "walk", "--time", "night"], "--time is not of a walk, whose passes draw their own from --seed"),
        (["render", "walk", "--frames", "9"], "--frames 9 of a walk: its length and spacing say how many"),
        (["render", "walk", "--sensor", "drawn"], "--sensor is of a drive, not of a walk: leave it out"),
        (["render", "walk", "--layout", "kitti"], "--layout kitti is not for walk: "),
        (["render", "walk", "--query-times", "noon"], "query_times: found 'noon', expected one of day, low-sun"),
        (["render", "walk", "--places", "0"], "no place to walk along"),
        (["render", "moon"], "no scene kind 'moon': expected one of room, street, tabletop, views, walk"),
        (["evaluate", "nowhere", "--weight", "last"], "--weight"),
        (["evaluate", "nowhere", "--baselines", "clasic"], "no baseline 'clasic': expected classic, classic_gyro"),
        (["evaluate", "nowhere", "--alignment", "8dof"], "found '8dof', expected one of none, scale, 6dof, 7dof"),
        (["evaluate", "nowhere", "--baseline_data", "4"], "baseline_data: found '4', expected a table"),
        (["evaluate", "nowhere", "--baselines", "clasic"], "JSON; did you mean classic?"),
        (["fit", "-c", str(TINY), "--data.train", "photos"], "such as vo3d.datasets.rendered.Rendered"),
        (["evaluate", "nowhere"], "expected the run folder"),
        (["evaluate", str(TINY.parent)], f"video or images is found by vo3d track {TINY.parent}"),
        (["reconstruct", str(TINY)], "of a video, vo3d track finds the camera's path"),
        (
            ["view", str(TINY.parent)],
            "expected a PLY file, a trajectory or a reconstruction; or, for the cloud of a video",
        ),
        (["trajectory", "only.txt"], "est"),
        (["trajectory", "nowhere.txt", "nowhere.txt"], "nowhere.txt: cannot be read (No such file or directory)"),
        (["compare"], "results"),
        (["compare", "nowhere.json"], "nowhere.json"),
        (["compare", str(TINY)], "not JSON"),
        (["info", "--model", "nowhere"], "found 'nowhere', expected the path of a class"),
        (["info", "--model", "nowhere.yaml"], "there is no configuration 'nowhere.yaml'"),
        (["info", "--model", "optim_adam.yaml"], "names no model"),
        (["info", "--model", "vo3d.models.deepvo.DeepVo"], "DeepVo"),
        (["info", "--model", "torch.nn.Linear"], "torch.nn.Linear"),
        (["fit"], "model.net"),
        (["fit"], "vo3d fit -c deepvo_rendered.yaml -c optim_adam.yaml"),
        (["fit", "smoke_deepvo.yaml"], "smoke_deepvo.yaml: give it by -c, as in vo3d fit -c smoke_deepvo.yaml"),
        (["fit", "-c", str(TINY), "--force"], "--force: did you mean --overwrite true?"),
        (["fit", "-c", str(TINY), "--max_epochs", "3"], "did you mean --trainer.max_epochs?"),
        (["fit", "-c", str(TINY), "--lr", "3"], "did you mean --model.optimizer.lr?"),
        (["fit", "-c"], "expected one argument"),
        (["fit", "-c", "nowhere.yaml"], "deepvo_kitti.yaml"),
        (["fit", "-c", "optim_adm.yaml"], "there is no configuration 'optim_adm.yaml'"),
        (["fit", "-c", "optim_adm.yaml"], "did you mean optim_adam.yaml?"),
        (["fit", "-c", str(TINY), "--model.optimizer", "vo3d.optim.Adm"], "no vo3d.optim.Adm: did you mean Adam?"),
        (["fit", "-c", str(TINY), "--model.optimizer", "torch.optim.Sgd"], "no torch.optim.Sgd: did you mean SGD?"),
        (["fit", "-c", str(TINY), "--model.optimizer", "Adam"], "torch.optim.Adam, vo3d.optim.Adam"),
        (["fit", "-c", str(TINY), "--model.optimizer", "vo3d.optim.SGD"], "required: lr"),
        ([*SGD, "--model.optimizer.lr", "-1"], "SGD: lr is -1.0: expected a number of at least 0"),
        ([*SGD, "--model.optimizer.lr", "fast"], "model.optimizer.lr: found 'fast', expected a number; vo3d fit"),
        ([*SGD, "--model.optimizer.weight_decay", "-1"], "SGD: weight_decay is -1.0"),
        ([*SGD, "--model.optimizer.momentum", "0.9"], "'momentum' is not accepted by vo3d.optim.SGD"),
        ([*ADAM, "--model.optimizer.betas", "[0.9]"], "betas: found '[0.9]', expected a list of 2"),
        (
            ["fit", "-c", str(TINY), "--model.optimizer", "Admn"],
            "'Admn', expected the path of a class, such as vo3d.optim",
        ),
        (["fit", "-c", str(TINY), "--model.scheduler", "Stp"], "such as torch.optim.lr_scheduler.StepLR"),
        (["fit", "-c", str(TINY), "--model.groups", "[1]"], "found '1', expected a table of settings of GroupRule"),
        (["fit", "-c", str(TINY), "--model.groups", "[{}]"], "found '{}', expected a table of settings of GroupRule"),
        ([*MOMENTUM, "--model.optimizer.momentum", "1.0"], "momentum is 1.0: expected at least 0 and less than 1"),
        ([*MOMENTUM, "--model.optimizer.form", "avaraged"], "found 'avaraged', expected one of accumulated, averaged"),
        (["fit", "-c", str(TINY), "-c", "optim_bfgs.yaml", "--model.optimizer.most_parameters", "9"], "use LBFGS"),
        (["fit", "-c", str(TINY), "-c", "optim_lbfgs.yaml", "--model.optimizer.lr", "-1"], "LBFGS: lr is -1.0"),
        (["fit", "-c", str(TINY), "-c", "optim_cg.yaml", "--model.optimizer.beta", "rp"], "'rp'"),
        (["fit", "-c", str(TINY), "--model.init", "kaimin"], "found 'kaimin', expected one of kaiming, xavier"),
        (["fit", "-c", str(TINY), "--model.l1", "-1"], "model.l1 is -1.0: expected a number, at least 0"),
        (["fit", "-c", str(TINY), "--model.partial", "true"], "give --model.init_weights"),
        (["fit", "-c", str(TINY), "--trainer.max_epoch", "1"], "did you mean --trainer.max_epochs?"),
        (["fit", "-c", str(TINY), "--trainer.max_epochs", "x"], "max_epochs: found 'x', expected a whole number"),
        (["fit", "-c", str(TINY), "--model.net.hiden", "4"], "is not accepted by tiny.TinyModel: did you mean hidden?"),
        (["fit", "-c", str(TINY), "--ckpt_path", "last"], "no such checkpoint"),
        (["fit", "-c", str(TINY), "--ckpt_path", "elsewhere.ckpt"], "elsewhere.ckpt"),
        (["fit", "-c", str(TINY), "--checkpoint_every", "0"], "checkpoint_every is 0"),
        (["fit", "-c", str(TINY), "--patience", "-1"], "patience is -1"),
        (["fit", "-c", str(TINY), "--min_delta", "0.1"], "give --patience too"),
        (["fit", "-c", str(TINY), "--patience_after", "3"], "give --patience too"),
        (["fit", "-c", str(TINY), "--patience", "3", "--monitor", "null"], "patience counts validations"),
        (["fit", "-c", str(TINY), "--monitor", "val/lss"], "monitor='val/lss'"),
        (["fit", "-c", str(TINY), "--seed_everything", "-1"], "seed_everything is -1"),
        (["fit", "-c", str(TINY), "--data.num_workers", "-1"], "data.num_workers is -1"),
        (["fit", "-c", str(TINY), "--trainer.accelerator", "gpus"], "gpus"),
        (["validate", "-c", str(TINY)], "needs weights"),
    ],
)
def test_a_wrong_word(words: list[str], part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path)] if words[0] == "fit" and words[-1] != "-c" else []
    assert part in complaint(capsys, *words, *out)


def test_a_checkpoint_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    saved = io.BytesIO()
    torch.save({"state_dict": {"weight": Evil()}}, saved)
    whole = (trained / "checkpoints" / "last.ckpt").read_bytes()
    for name, content in {
        "text.ckpt": b"hello",
        "empty.ckpt": b"",
        "short.ckpt": whole[: len(whole) // 2],
        "raw.ckpt": pickle.dumps(Evil()),
        "evil.ckpt": saved.getvalue(),
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        for words in (
            ("fit", "-c", TINY, "--out", tmp_path / "out", "--ckpt_path", path),
            ("validate", "-c", trained / "config.yaml", "--ckpt_path", path),
            ("fit", "-c", TINY, "--out", tmp_path / "out", "--model.init_weights", path),
            ("evaluate", trained, "--allow", "tiny", "--weights", path),
        ):
            line = complaint(capsys, *words)
            assert str(path) in line
            assert ("this pickle calls" if name == "evil.ckpt" else "copy or download it again") in line
    assert not (tmp_path / "ran").exists()


def test_evaluate_says_what_is_missing(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = ("evaluate", trained, "--allow", "tiny")
    assert "'best' or 'last'" in complaint(capsys, *evaluate, "--weights", "beast")
    assert "no_such" in complaint(capsys, *evaluate, "--baselines", "no_such.Model")
    assert "class_path: found 3" in complaint(capsys, *evaluate, "--baselines", '{"class_path": 3}')
    assert "device 'toaster' is unknown" in complaint(capsys, *evaluate, "--device", "toaster")
    assert "device 'meta' cannot be used here" in complaint(capsys, *evaluate, "--device", "meta")
    assert "segment lengths [1.0, 1.0]" in complaint(capsys, *evaluate, "--lengths", "1", "1")
    assert "clip_length 1" in complaint(capsys, *evaluate, "--clip_length", "1")
    config = yaml.safe_load((trained / "config.yaml").read_text())
    config["data"]["test"] = None
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    weights = trained / "checkpoints" / "last.ckpt"
    assert "no data.test" in complaint(capsys, "evaluate", tmp_path, "--weights", weights)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "est.txt: no poses"),
        (bytes(range(128, 256)), "est.txt: not a text file"),
        (b"1 0 0 0 0 1 0 0 0 0 1 0\n" * 2, "est.txt: 2 poses, but ref.txt has 3"),
        (
            b"0.1 0 0 0 0 0 0 1\n0.2 0 0 0 0 0 0 1\n",
            "est.txt: 2 poses, but ref.txt has 3: expected as many; ref.txt has no",
        ),
        (b"1 2 3 4 5 6 7 8 9 10\n", "est.txt: 10 columns; expected 12 or 13 (KITTI), 8 (TUM), or at least 8 by commas"),
        (b"0.2 0 0 0 0 0 0 1\n0.1 0 0 0 0 0 0 1\n", "est.txt:2: time stamp 0.1 after 0.2; expected ascending ones"),
        (b"1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 inf\n", "est.txt:2: 'inf' in a pose"),
        (b"1 0 0 0 0 1 0 0 0 0 1 0\n" * 2 + b"2 0 0 0 0 1 0 0 0 0 1 0\n", "est.txt:3: not a rotation"),
    ],
)
def test_a_wrong_trajectory(
    content: bytes, part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ref.txt").write_text("".join(f"1 0 0 0 0 1 0 0 0 0 1 {metre}\n" for metre in range(3)))
    Path("est.txt").write_bytes(content)
    line = complaint(capsys, "trajectory", "ref.txt", "est.txt", "--json", "scores.json")
    assert line.startswith(part)
    assert not Path("scores.json").exists()


def test_a_place_that_cannot_be_written_to(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    Path("folder").mkdir()
    for words in (
        ("render", "street", "--frames", "2", "--size", "32x64", "--out", "file/sub"),
        ("fit", "-c", "config.yaml", "--out", "file"),
        ("evaluate", "run", "--allow", "tiny", "--out", "file/sub"),
        ("trajectory", POSES, POSES, "--json", "file/scores.json"),
    ):
        assert "file" in (line := complaint(capsys, *words))
        assert "choose another" in line
    assert "folder: Is a directory" in complaint(capsys, "trajectory", POSES, POSES, "--json", "folder")
    assert Path("file").read_text() == "in the way"


def test_a_full_disk(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    line = complaint(capsys, "trajectory", POSES, POSES, "--json", "scores.json")
    assert line == "cannot write scores.json: No space left on device: free some space, or choose another place"
    assert not list(here.glob(".scores*"))


def test_the_fault_of_another_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "ours.txt"):
        (tmp_path / "elsewhere").read_text()


def test_a_run_that_failed_at_once_leaves_its_folder_free(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complaint(capsys, *VERBS["fit"], "--data.batch_size", "100")
    assert main(VERBS["fit"]) == 0
    assert "holds a run already" in complaint(capsys, *VERBS["fit"])


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no mistake of the user")

    monkeypatch.setattr("vo3d.pipelines.trajectory.score.score_files", broken)
    with pytest.raises(ValueError, match="no mistake of the user"):
        main(["trajectory", "a", "b"])


def test_in_a_process_of_its_own(here: Path) -> None:
    cut_png()
    run = subprocess.run(
        [sys.executable, "-m", "vo3d.cli", *VERBS["evaluate"]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )
    assert run.returncode == 2
    assert f"{SEQUENCE}/image_2/000003.png: not a whole image" in the_one_line(run.stderr.splitlines())
    assert "Traceback" not in run.stdout


def test_an_interrupt_from_the_keyboard(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tiny.TinyModel.loss", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        assert main(VERBS["fit"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores the signal from its first on
    lines = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("Seed set")]
    assert lines == ["vo3d: interrupted; what was written before stays"]


def test_a_bar_less_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*VERBS["fit"], "--trainer.enable_progress_bar", "false"]) == 0
    assert "Epoch" not in capsys.readouterr().out

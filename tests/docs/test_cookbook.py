"""The page of recipes: each of its lines runs, or, where it needs a GPU, is understood."""

import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from scipy.io import savemat
from torch.utils.data import Dataset

import vo3d.datasets.rendered
from kitti_flow_tree import write_scenes
from kitti_raw_tree import DAY, DRIVE, HEIGHT, OTHER, WIDTH, small_K, write_calibration, write_drive, write_list
from places import ROOT
from vo3d.cli import main
from vo3d.formats.images import write_image
from vo3d.formats.ply import Mesh, PointCloud, write_cloud, write_mesh
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.retrieval_set import RetrievalDataset
from vo3d.settings.build import build
from vo3d.world.recorder import Recorder
from wall_scenes import write_seven_scenes

PAGE = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
LISTS = ("dbImageFns", "qImageFns")  # names of images in a list of NetVLAD's
BASE = ["fit", "-c", "smoke_deepvo.yaml"]
# runs of two steps may end before they validate
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key:UserWarning"),
    pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning"),  # fewer than are logged
]
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
ROWS = [(row[1], row[2]) for row in re.finditer(r"^\| (.*?) \| `([^`]*)` \|(?: .* \|)?$", PAGE, re.MULTILINE)]
GPU = [line for what, line in ROWS if what.endswith("(GPU)")]
OPTIONS = [line for what, line in ROWS if line.startswith("-") and line not in GPU]
COMMANDS = [line for _, line in ROWS if re.match(r"([A-Z_]+=\S+ )?(vo3d|python|tensorboard) ", line)]


def python() -> str:
    """Blocks and lines of Python, in the order of the page."""
    cells = {line for _, line in ROWS} - {*GPU, *OPTIONS, *COMMANDS}
    found = re.finditer(r"^```python\n(.*?)^```$|^\| [^\n]*? \| `([^`\n]*)` \|", PAGE, re.DOTALL | re.MULTILINE)
    return "\n".join(match[1] or match[2] for match in found if match[1] or match[2] in cells)


def groups() -> list[list[str]]:
    """Lines of options that can be given together, because none says what another says: fewer runs do for all."""
    together: list[tuple[set[str], list[str]]] = []
    alike = {"-c": "--model.optimizer", "--data.train": "clips", "--data.batch_size": "clips"}
    for line in OPTIONS:
        names = {".".join(word.split(".")[:2]) for word in shlex.split(line) if re.match(r"--?[a-z]", word)}
        names = {alike.get(name, name) for name in names}
        for taken, lines in together:
            if not taken & names:
                taken.update(names)
                lines.append(line)
                break
        else:
            together.append((names, [line]))
    return [lines for _, lines in together]


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder where the command at the top of the page has run, and a video lies; frames are rendered once."""
    folder = tmp_path_factory.mktemp("cookbook")
    video = cv2.VideoWriter(str(folder / "drive.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    noise = cv2.resize(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8), (96, 72))
    for index in range(5):
        video.write(np.ascontiguousarray(noise[12:60, 3 * index : 3 * index + 64]))
    video.release()
    write_temple(folder)
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    frame = cache(Recorder.frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(vo3d.datasets.rendered, "Recorder", cache(Recorder))
        patch.setattr(Recorder, "frame", lambda *place, **options: frame(*place, **options))  # noqa: PLW0108 (binds)
        (block,) = re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
        for line in block.splitlines():
            assert main([*shlex.split(line)[1:], *QUIET]) == 0, line
        yield folder
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = flags
    torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])


def write_temple(folder: Path) -> None:
    """Write a cloud, a mesh of four of its points, and the path of a camera."""
    points = np.random.default_rng(0).random((50, 3), np.float32)
    write_cloud(folder / "temple.ply", PointCloud(points=points))
    faces = np.array([[0, 1, 2], [1, 2, 3]])
    write_mesh(folder / "temple_mesh.ply", Mesh(vertices=PointCloud(points=points[:4]), faces=faces))
    poses = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    poses[:, 0, 3] = torch.arange(5)
    write_trajectory(folder / "poses.tum", Trajectory(world_T_cam=poses, time=poses[:, 0, 3]), "tum")


def test_the_page_has_all_kinds_of_lines() -> None:
    families = PAGE.partition("| family | names |")[2].partition("\n\n")[0]  # the one table of other things
    told = [line for line in PAGE.replace(families, "").splitlines() if line.startswith("| ") and "`" in line]
    assert len(told) == len(ROWS) > 85
    assert len(OPTIONS) > 35
    assert len(COMMANDS) > 6
    assert len(GPU) == 3
    assert not [line for line in python().splitlines() if line.startswith(("-", "vo3d "))]


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning")  # TensorBoard's graphs are traces
def test_python_runs(workplace: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(python(), "docs/cookbook.md", "exec"), names)  # noqa: S102
    assert (names["frames"], names["height"], names["width"]) == (5, 48, 64)
    assert names["rate"] == pytest.approx(10)
    assert set(names["found"]) == {"encoder.conv3", "rnn"}  # type: ignore[call-overload]
    torch.testing.assert_close(names["minimum"].x, torch.tensor([3, 0.5], dtype=torch.float64))  # type: ignore[attr-defined]
    assert len(names["losses"]) == 5  # type: ignore[arg-type]
    assert list((workplace / "runs" / "graph").glob("events*"))


@pytest.mark.filterwarnings("ignore:The PyTorch Profiler default schedule:UserWarning")  # two steps are few for it
@pytest.mark.parametrize("lines", groups(), ids=lambda lines: f"{len(lines)}-lines")
def test_options_train(lines: list[str], tmp_path: Path) -> None:
    words = [word for line in sorted(lines, key=lambda line: not line.startswith("-c")) for word in shlex.split(line)]
    assert main([*BASE, "--out", str(tmp_path), *words, *QUIET]) == 0, lines
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("line", GPU)
def test_options_for_gpus_are_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*BASE, *shlex.split(line), "--print_config"])
    assert ended.value.code in (0, None)
    assert "accelerator: gpu" in capsys.readouterr().out


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)
    while re.match(r"[A-Z_]+=", words[0]):
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    program_name, *rest = words
    if program_name == "vo3d":
        extra = QUIET if rest[0] == "fit" else []
        if rest[0] == "fit" and "--out" not in rest:
            extra = [*extra, "--out", str(tmp_path), "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]
        assert main([*rest, *extra]) == 0
    elif program_name == "tensorboard":
        assert {found.value for found in entry_points(group="console_scripts", name="tensorboard")}
        assert list(Path(rest[rest.index("--logdir") + 1]).rglob("events.out.tfevents*"))
    else:
        assert (ROOT / rest[0]).is_file()
        assert importlib.import_module(Path(rest[0]).stem).main(rest[1:]) == 0


def test_the_list_of_optimisers_is_whole() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.partition("## Which optimiser")[2]))
    brought = {path.stem.removeprefix("optim_") for path in (ROOT / "configs").glob("optim_*.yaml")}
    assert named == brought


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    assert all((ROOT / "docs" / link.split("#")[0]).is_file() for link in links)


def write_places(folder: Path) -> None:
    """An office with KITTI's rows, a sequence of 7-Scenes, and a list of Cambridge Landmarks."""
    poses = torch.eye(4, dtype=torch.float64).repeat(100, 1, 1)
    poses[:, 0, 3] = torch.arange(100) / 100
    write_trajectory(folder / "office" / "poses.txt", Trajectory(world_T_cam=poses), "kitti")
    for index in range(100):
        write_image(folder / "office" / "images" / f"{index}.png", torch.full((3, 36, 48), index / 100))
    room, facade = folder / "7scenes" / "redkitchen", folder / "cambridge" / "ShopFacade"
    write_seven_scenes(room / "seq-01", views=2)
    (room / "TrainSplit.txt").write_text("sequence1\n", encoding="utf-8")
    write_image(facade / "seq1" / "frame00001.png", torch.zeros(3, 36, 64))
    (facade / "dataset_test.txt").write_text("Landmarks\n\n\nseq1/frame00001.png 1 2 3 1 0 0 0\n", encoding="utf-8")


def write_sets(folder: Path) -> None:
    """Two folders with a table, two with UTM names, and a list of NetVLAD's."""
    names = {"database": ["a.jpg", "b.jpg"], "queries": ["q.jpg"]}
    utm = [f"@{east}@4180112.25@10@S@@@@@@@@@@@.jpg" for east in (548321.1, 548921.1)]
    for root, files in (
        ("corridor", names),
        ("sf_xs/test", {"database": utm, "queries": utm[:1]}),
        ("pittsburgh", {"images": names["database"], "queries_real": names["queries"]}),
    ):
        for below, images in files.items():
            for name in images:
                write_image(folder / root / below / name, torch.full((3, 6, 8), 0.5))
    (folder / "corridor/ground_truth.json").write_text("[[0]]", encoding="utf-8")
    places = {"utmDb": np.array([[0.0, 50], [9, 9]]), "utmQ": np.array([[1.0], [9]]), "posDistThr": 25.0}
    cells = [np.array([[name] for name in names[part]], object) for part in ("database", "queries")]
    savemat(folder / "pittsburgh/pitts30k_test.mat", {"dbStruct": places | dict(zip(LISTS, cells, strict=True))})


@pytest.fixture
def data_of_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stereo rig's folders, and drives of KITTI raw with their lists, in the working folder."""
    clip = vo3d.datasets.rendered.Rendered("street", [3], 3, (96, 312), stereo=True, clip_length=3)[0]
    for name, images in (("left", clip.image), ("right", clip.right)):
        for index, image in enumerate(images):
            write_image(tmp_path / "rig" / name / f"{index}.png", image)
    write_calibration(tmp_path / "kitti_raw" / DAY, small_K(), (HEIGHT, WIDTH))
    for drive in (DRIVE, OTHER):
        write_drive(tmp_path / "kitti_raw" / DAY, drive)
    write_scenes(tmp_path / "kitti_2015", 2015, (HEIGHT, WIDTH), count=2)
    write_places(tmp_path)
    write_sets(tmp_path)
    write_list(tmp_path / "train_files.txt", f"{DAY}/{DRIVE} 2 l", f"{DAY}/{DRIVE} 3 r")
    write_list(tmp_path / "test_files.txt", f"{DAY}/{DRIVE} 0000000004 l", f"{DAY}/{OTHER} 0000000001 l")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_data_of_users_are_read_as_the_page_says(text: str, data_of_users: Path) -> None:
    (data_of_users / "overlay.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "-c", "smoke_deepvo.yaml", "-c", "overlay.yaml", "--print_config"])
    assert ended.value.code in (0, None)
    found: list[int] = []
    for name, description in yaml.safe_load(text)["data"].items():
        dataset = build(Dataset, description)
        sample = dataset[0]
        if isinstance(dataset, RetrievalDataset):
            assert dataset.sets[0].positives(0).tolist() == [0]
            assert len(dataset) == (2 if name == "train" else 3)
            continue
        size = description["init_args"].get("size", [HEIGHT, WIDTH])
        if "short_side" in description["init_args"]:
            assert sample.world_T_cam is not None
            assert sample.image.shape[0] == 1
            whole = build(Dataset, description | {"init_args": description["init_args"] | {"transforms": []}})
            assert min(whole[0].image.shape[-2:]) == 256
            found.append(len(dataset))
            continue
        assert list(sample.image.shape[-2:]) == size
        assert (sample.depth is not None) == (name == "test")
        assert (sample.right is not None) == (name != "test")
        assert len(dataset) == {"train": 2, "val": 5, "test": 2}[name]
    assert found in ([], [80, 5, 15], [2, 1])

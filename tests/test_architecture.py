"""The house rules: which room may know which, how long a file may be, what an import may do, what a wheel holds."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from draw_calls import ROWS
from places import ROOT, SUPPORT

# A room may import rooms of a lower row, or of its own row where that is said below; never of a higher one.
ROW = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
# Rooms that must not meet although their row would allow it: they meet in a YAML file or as arguments.
STRANGERS = {
    *((room, far) for far in ("models", "datasets") for room in ("settings", "inference", "evaluation")),
    *((room, far) for far in ("models", "datasets") for room in ("training", "pipelines", "verbs", "cli")),
    ("models", "datasets"),
    ("datasets", "models"),
    ("training", "evaluation"),
    ("evaluation", "training"),
}
SOURCES = sorted(path for folder in ("vo3d", "models", "datasets", "configs") for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    relative = path.relative_to(ROOT).with_suffix("")
    parts = [part for part in relative.parts if part != "__init__"]
    return ".".join(parts if parts[0] == "vo3d" else ["vo3d", *parts])


MODULES = {module_name(path): path for path in SOURCES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, module, and whether the import runs with the file (not inside a function)."""
    inside = {
        child
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, node not in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield node.lineno, full if full in MODULES else module, node not in inside


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_arrows_between_rooms_point_one_way() -> None:
    wrong = []
    for name, path in MODULES.items():
        here = room(name)
        if not here:
            continue
        assert here in ROW, f"{path}: the room {here!r} has no row in this test"
        for line, target, _ in imports(path):
            there = room(target)
            if target.split(".")[0] != "vo3d" or not there or there == here:
                continue
            if ROW[there] > ROW[here] or (here, there) in STRANGERS:
                wrong.append(f"{path}:{line}: {here} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_one_method_a_file_and_one_source_a_file() -> None:
    shared = {
        f"vo3d.datasets.{name}"
        for name in (
            *("around", "asl", "clips", "cut", "given_camera", "image_poses", "kitti_oxts", "lenses", "multiview"),
            *(
                "foreground",
                "photographs",
                "place_images",
                "posed_views",
                "rectify",
                "registered",
                "resize",
                "sparse_views",
                "tracked",
                "twins",
                "transforms",
                "views",
            ),
        )
    } | {"vo3d.models.classic"}  # whose parts others exchange
    wrong = [
        f"{path}:{line}: {name} imports {target}"
        for name, path in MODULES.items()
        for line, target, _ in imports(path)
        if room(name) in {"models", "datasets"}
        and name not in shared
        and target.startswith(("vo3d.models.", "vo3d.datasets."))
        and target not in shared
        and not target.startswith(f"{name}_")  # what lies beside a method bears its name first
    ]
    assert not wrong, "\n".join(wrong)


def test_the_map_in_the_readme_equals_the_folders() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = page.partition("## The house")[2].partition("```\n")[2].partition("```")[0].splitlines()
    names = [re.findall(r"\S+", re.match(r"\s*((\w+(/|\.py)(\s+|$))*)", line)[1]) for line in lines]
    inside = [line.startswith("  ") for line in lines]
    mapped = {name.rstrip("/") for found, within in zip(names, inside, strict=True) if within for name in found}
    beside = {name.rstrip("/") for found, within in zip(names, inside, strict=True) if not within for name in found}

    rooms = {path.name for path in (ROOT / "vo3d").iterdir() if (path / "__init__.py").is_file()}
    files = {path.name for path in (ROOT / "vo3d").glob("*.py")} - {"__init__.py"}
    assert mapped == rooms | files
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    folders = {name.split("/")[0] for name in listed.stdout.splitlines() if "/" in name and name[0] != "."}
    assert beside == folders


def test_a_method_knows_no_room_above_it() -> None:
    program = "import sys, vo3d.models.deepvo; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    rooms = {room(name) for name in loaded if name.startswith("vo3d.")}
    assert rooms <= {found for found, row in ROW.items() if row < ROW["report"]} | {"models"}, rooms


def test_no_import_cycle() -> None:
    graph = {
        name: {target for _, target, _ in imports(path) if target in MODULES and target != name}  # deferred ones too
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "import cycle: " + " -> ".join((*trail, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(MODULES)


def test_heavy_and_restricted_packages_stay_where_they_belong() -> None:
    wrong = []
    evo_files = set()
    for name, path in MODULES.items():
        for line, target, at_import in imports(path):
            package = target.split(".")[0]
            where = f"{path}:{line}: {target}"
            if package == "evo":
                evo_files.add(name)
            if package in {"lightning", "pytorch_lightning"} and room(name) not in {"training", "cli"}:
                wrong.append(f"{where}: lightning belongs in training/ and cli.py")
            if package in {"open3d", "matplotlib", "rerun"} and at_import:
                wrong.append(f"{where}: import it inside the function that needs it")
            if package in {"models", "datasets", "configs"}:
                wrong.append(f"{where}: import vo3d.{package}")
    assert not wrong, "\n".join(wrong)
    assert len(evo_files) == 1, f"evo (GPL-3) is imported in {sorted(evo_files)}: it belongs in one file"


def test_source_files_stay_short_and_free_of_device_names() -> None:
    long = [path for path in SOURCES if len(path.read_text().splitlines()) > 400]
    assert not long, f"more than 400 lines: {long}"
    vague = [path for path in SOURCES if path.stem in {"utils", "helpers", "misc", "common", "data", "info"}]
    assert not vague, f"a name that says nothing: {vague}"
    devices = [
        f"{path}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.split(":")[0] == "cuda"
    ]
    assert not devices, f"a device is the caller's choice: {devices}"


def test_a_test_that_checks_nothing_fails(tmp_path: Path) -> None:
    """The guard counts while a test runs: a loop over nothing has assertions that never happen."""
    (tmp_path / "test_empty.py").write_text("def test_loop() -> None:\n    for x in []:\n        assert x\n")
    (tmp_path / "test_full.py").write_text("def test_loop() -> None:\n    for x in [1]:\n        assert x\n")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "check_guard", "-o", "enable_assertion_pass_hook=true"]

    done = subprocess.run(
        [*words, "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SUPPORT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "test_empty.py::test_loop" in done.stdout


def test_imports_have_no_effect(tmp_path: Path) -> None:
    """Importing everything in a fresh process leaves torch's global switches and the home folder alone."""
    program = f"""
import importlib, torch
def switches():
    return (torch.get_default_dtype(), torch.is_grad_enabled(), torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(),
            torch.get_float32_matmul_precision(), torch.initial_seed(), torch.cuda.is_initialized())
torch.manual_seed(1)
before = switches()
for name in {sorted(MODULES)!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != "triton":  # optional, and absent where there are no wheels of it
            raise
assert switches() == before, (before, switches())
"""
    tmp_path.chmod(0o555)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    # lightning loads matplotlib through torchmetrics, and matplotlib makes folders of its own wherever it is loaded
    assert {path for path in tmp_path.rglob("*") if path.is_file() and "matplotlib" not in path.parts} == set()


def test_the_wheel_holds_every_module_and_configuration(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 20e6
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        (name if name.startswith("vo3d/") else f"vo3d/{name}")
        for name in listed.stdout.splitlines()
        if name.startswith(("vo3d/", "models/", "datasets/", "configs/")) and (ROOT / name).is_file()
    }
    assert expected <= names, f"missing from the wheel: {sorted(expected - names)}"
    strangers = {name.split("/")[0] for name in names} - {"vo3d"}
    assert all(name.endswith(".dist-info") for name in strangers), strangers

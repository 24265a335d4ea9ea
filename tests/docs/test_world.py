"""The page of the world: its lines run, and its table of classes and of motions are those of the code."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

import vo3d.world.labels
from places import ROOT
from vo3d.cli import main
from vo3d.datasets.kitti import KITTIOdometry
from vo3d.datasets.place_folders import PlaceFolders
from vo3d.datasets.rendered import Rendered, RenderedRecording
from vo3d.datasets.rendered_walks import RenderedWalks
from vo3d.settings.build import build
from vo3d.world.motions import GAITS
from vo3d.world.sensor import Sensor
from vo3d.world.walk import Walk

PAGE = (ROOT / "docs" / "world.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def block(kind: str) -> str:
    return next(text for found, text in BLOCKS if found == kind)


def test_two_visits_in_python_lie_in_one_frame() -> None:
    names: dict[str, RenderedRecording] = {}
    exec(block("python"), names)  # noqa: S102  the page's own lines
    car, walker = names["by_day"].poses()[0], names["on_foot"].poses()[0]
    torch.testing.assert_close(car, torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)
    assert 4.0 < float(walker[0, 3]) < 7.0  # on the walk beside the lane


def test_the_yaml_makes_a_dataset() -> None:
    made = build(Rendered, yaml.safe_load(block("yaml")), "world.yaml")
    assert len(made.recordings) == 16


@pytest.mark.parametrize("number", [0, 1])
def test_the_commands_write_drives(number: int, tmp_path: Path) -> None:
    line = block("").splitlines()[number].replace("--frames 200", "--frames 3").replace("data/visits", str(tmp_path))
    assert main([*shlex.split(line)[1:], "--size", "32x96"]) == 0
    sample = KITTIOdometry(tmp_path, [f"0{number + 1}"], stereo=True, imu=True)[0]
    assert sample.right is not None
    assert (tmp_path / "truth" / f"0{number + 1}" / "contact_sheet.png").is_file()


def test_the_walks_of_the_page_are_places(tmp_path: Path) -> None:
    text = next(text for kind, text in BLOCKS if kind == "yaml" and "RenderedWalks" in text)
    made = build(RenderedWalks, yaml.safe_load(text), "walks.yaml")
    assert [places.name for places in made.sets] == [f"walks-{time}" for time in Walk().query_times]
    assert len(made.sets[0].database) == 16 * 41
    line = next(line for line in PAGE.splitlines() if line.startswith("vo3d render walk") and "--length 300" in line)
    small = line.replace("300", "12").replace("--places 16", "--places 1").replace("data/unseen", str(tmp_path))
    assert main([*shlex.split(small)[1:], "--size", "12x16"]) == 0
    assert len(PlaceFolders(tmp_path).sets[0].database) == 3


def test_tables_name_what_there_is() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| right ", PAGE, re.MULTILINE)
    assert rows == list(GAITS)
    fields = [name for row in re.findall(r"^\| (`.*?`) \| .*? \| ", PAGE, re.MULTILINE) for name in row.split(", ")]
    assert set(vars(Sensor())) <= {name.strip("`") for name in fields}
    for name, number in re.findall(r"(\w+) (\d+)[,; (]", PAGE.partition("- `label`")[2].partition("\n")[0]):
        assert getattr(vo3d.world.labels, name.upper()) == int(number)

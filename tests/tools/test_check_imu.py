"""The figures of inertial readings against true poses, on a rendered street with a perfect sensor and a biased one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import check_imu

STREET = "vo3d.datasets.rendered.Rendered"


def printed(capsys: pytest.CaptureFixture[str], gravity: str, **options: Any) -> str:
    """Run the tool on five steps of a street, and give what it says."""
    options = {"seeds": [3], "frames": 6, "size": [8, 16], "clip_length": 2, "imu": True, **options}
    data = json.dumps({"class_path": STREET, "init_args": options})
    assert check_imu.main(["--data", data, "--gravity", gravity, "--window", "0.2"]) == 0
    return capsys.readouterr().out


def test_figures_of_a_perfect_sensor_are_small_and_those_of_a_biased_one_are_its_bias(
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = r"(\d+\.\d+)"
    exact = printed(capsys, "[0, 9.81, 0]")
    assert float(re.search(rf"no bias taken off: {number} deg", exact)[1]) < 0.002
    assert float(re.search(rf"3 windows: median {number} m", exact)[1]) < 0.01
    assert "bias at rest: street-0003: no 1 s at rest" in exact
    biased = printed(capsys, "[0, 9.81, 0]", imu_errors={"gyro_bias": 0.1})
    found = [float(value) for value in re.search(r"true rotations \((.*?)\)", biased)[1].split(",")]
    assert 0.05 < sum(value**2 for value in found) ** 0.5 < 0.4
    assert float(re.search(rf"no bias taken off: {number} deg", biased)[1]) > 1
    assert float(re.search(rf"true rotations .*: {number} deg", biased)[1]) < 0.01


def test_what_is_missing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"class_path": STREET, "init_args": {"seeds": [3], "frames": 3, "size": [8, 16], "clip_length": 2}}
    assert check_imu.main(["--data", json.dumps(data)]) == 2
    assert re.fullmatch(r"check_imu: street-\d+: has no readings: turn poses and imu on\n", capsys.readouterr().err)


def test_one_source_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_imu.main([]) == 2
    assert capsys.readouterr().err == "check_imu: expected --data or --kitti: give one of them\n"


@pytest.mark.real
def test_the_whole_of_kitti_06_goes_without_its_images(capsys: pytest.CaptureFixture[str], shared_data: Path) -> None:
    assert check_imu.main(["--kitti", str(shared_data / "kitti_odometry"), "--gravity", "[0, 9.81, 0]"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("06: 1101 frames\n")
    assert float(re.search(r"no bias taken off: (\d+\.\d+) deg", told)[1]) < 2

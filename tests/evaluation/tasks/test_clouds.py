"""Scores of clouds behind one function: values by hand, the DTU folder, coloured errors, one line for bad input."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.io import savemat

from vo3d.errors import Vo3dError
from vo3d.formats.ply import PointCloud, read_cloud, write_cloud
from vo3d.metrics.clouds import cloud_metrics
from vo3d.metrics.dtu import DtuScan, evaluate_scan
from vo3d.pipelines.cloud import score_clouds


def cloud(path: Path, points: Any) -> Path:
    write_cloud(path, PointCloud(points=np.asarray(points, dtype=np.float64)))
    return path


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Errors 0, 0.1 and 3 one way, 0, 0.1 and 1 the other."""
    est = cloud(tmp_path / "est.ply", [[0, 0, 0], [1, 0, 0.1], [1, 0, 3]])
    return est, cloud(tmp_path / "ref.ply", [[0, 0, 0], [1, 0, 0], [0, 1, 0]])


def test_a_pair_has_the_values_by_hand(pair: tuple[Path, Path], tmp_path: Path) -> None:
    est, ref = pair
    console = quiet()
    found = score_clouds(
        str(est), ref, distances=[0.05, 0.5], unit="mm", json=tmp_path / "deep/scores.json", console=console
    )
    assert found["metrics"] == pytest.approx(
        {
            "cloud_num_predicted": 3,
            "cloud_num_reference": 3,
            "cloud_accuracy": 3.1 / 3,
            "cloud_accuracy_median": 0.1,
            "cloud_completeness": 1.1 / 3,
            "cloud_completeness_median": 0.1,
            "cloud_precision_0.05_percent": 100 / 3,
            "cloud_recall_0.05_percent": 100 / 3,
            "cloud_f_score_0.05_percent": 100 / 3,
            "cloud_precision_0.5_percent": 200 / 3,
            "cloud_recall_0.5_percent": 200 / 3,
            "cloud_f_score_0.5_percent": 200 / 3,
        }
    )
    assert json.loads((tmp_path / "deep/scores.json").read_text()) == found
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "est.ply against ref.ply" in text
    assert "mean, mm" in text
    assert "0.5 mm" in text
    assert "66.67" in text
    assert "seed 0" in text


def test_a_cut_leaves_strays_out_of_means_but_not_of_shares(pair: tuple[Path, Path]) -> None:
    est, ref = pair
    found = score_clouds(str(est), ref, distances=[0.5], cut=0.5, console=quiet())["metrics"]
    assert found["cloud_accuracy"] == pytest.approx(0.05)
    assert found["cloud_precision_0.5_percent"] == pytest.approx(200 / 3)
    far = cloud(est.with_name("far.ply"), [[9, 9, 9]])
    found = score_clouds(str(far), ref, distances=[0.5], cut=0.5, console=quiet())["metrics"]
    assert found["cloud_accuracy"] is None
    assert found["cloud_f_score_0.5_percent"] == 0


def test_the_estimate_is_scaled_first_and_both_are_thinned(pair: tuple[Path, Path], tmp_path: Path) -> None:
    est, ref = pair
    small = cloud(tmp_path / "small.ply", read_cloud(est).points / 1000)
    plain = score_clouds(str(est), ref, console=quiet())["metrics"]
    assert score_clouds(str(small), ref, scale=1000.0, console=quiet())["metrics"] == pytest.approx(plain, abs=1e-9)
    dense = np.random.default_rng(0).random((3000, 3))
    both = cloud(tmp_path / "a.ply", dense), cloud(tmp_path / "b.ply", dense[:2000] + 0.01)
    found = score_clouds(str(both[0]), both[1], thin=0.1, seed=3, console=quiet())
    again = score_clouds(str(both[0]), both[1], thin=0.1, seed=3, console=quiet())
    other = score_clouds(str(both[0]), both[1], thin=0.1, seed=4, console=quiet())
    assert found == again
    assert found["metrics"] != other["metrics"]
    assert found["protocol"]["points_read"] == [3000, 2000]
    assert found["metrics"]["cloud_num_predicted"] < 1000 > found["metrics"]["cloud_num_reference"]


def test_error_clouds_go_from_white_to_red(pair: tuple[Path, Path], tmp_path: Path) -> None:
    est, ref = pair
    score_clouds(str(est), ref, distances=[0.1, 0.2], errors=tmp_path / "errors", console=quiet())
    estimate = read_cloud(tmp_path / "errors" / "est_estimate_error.ply")
    reference = read_cloud(tmp_path / "errors" / "ref_reference_error.ply")
    assert estimate.colours is not None
    assert estimate.colours.tolist() == [[255, 255, 255], [255, 128, 128], [255, 0, 0]]
    np.testing.assert_allclose(estimate.scalars["error"], [0, 0.1, 3], rtol=1e-6)
    np.testing.assert_allclose(reference.scalars["error"], [0, 0.1, 1], rtol=1e-6)
    score_clouds(str(est), ref, distances=[0.1], cut=0.5, errors=tmp_path / "errors", console=quiet())
    assert read_cloud(tmp_path / "errors" / "est_estimate_error.ply").scalars["error"][2] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_metric_of_the_whole_clouds(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((500, 3)), rng.random((400, 3))
    found = score_clouds(str(cloud(tmp_path / "a.ply", a)), cloud(tmp_path / "b.ply", b), console=quiet())["metrics"]
    assert found == cloud_metrics(a, b, (0.005, 0.01, 0.02))
    brute = np.linalg.norm(a[:, None] - b[None], axis=-1)
    assert found["cloud_accuracy"] == pytest.approx(brute.min(1).mean())
    assert found["cloud_completeness"] == pytest.approx(brute.min(0).mean())


def sheet(seed: int) -> tuple[np.ndarray, DtuScan]:
    """A reference of a wavy sheet in millimetres, and a noisy estimate."""
    rng = np.random.default_rng(seed)
    xy = rng.random((400, 2)) * 40
    reference = np.c_[xy, 10 + np.sin(xy[:, 0])]
    scan = DtuScan(
        reference=reference,
        observed=np.ones((60, 60, 40), bool),
        box=np.array([[0.0, 0, 0], [60, 60, 40]]),
        resolution=1.0,
        plane=np.array([0.0, 0, 1, -9.5]),
    )
    return reference + rng.normal(size=(400, 3)) * 0.4, scan


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """Scans 1 and 114 in the official layout, and clouds of them in metres and in millimetres."""
    (tmp_path / "ObsMask").mkdir()
    for number in (1, 114):
        points, scan = sheet(number)
        cloud(tmp_path / "Points" / "stl" / f"stl{number:03d}_total.ply", scan.reference)
        savemat(
            tmp_path / "ObsMask" / f"ObsMask{number}_10.mat", {"ObsMask": scan.observed, "BB": scan.box, "Res": 1.0}
        )
        savemat(tmp_path / "ObsMask" / f"Plane{number}.mat", {"P": scan.plane[:, None]})
        cloud(tmp_path / "out" / f"net{number:03d}_l3.ply", points)
        cloud(tmp_path / "metres" / f"scan{number}.ply", points / 1000)
    cloud(tmp_path / "metres" / "notes.ply", [[0, 0, 0]])  # no number: not a scan
    return tmp_path


def test_a_folder_is_scored_by_the_benchmarks_rules(benchmark: Path) -> None:
    console = quiet()
    found = score_clouds(
        str(benchmark / "out"),
        dtu=benchmark,
        json=benchmark / "dtu.json",
        errors=benchmark / "errors",
        protocol={"fusion": "by hand"},
        console=console,
    )
    for number in (1, 114):
        points, scan = sheet(number)
        assert found["scans"][str(number)] == evaluate_scan(points, scan)
    mean = np.mean([row["dtu_overall_mm"] for row in found["scans"].values()])
    assert found["mean"]["dtu_overall_mm"] == pytest.approx(mean)
    assert found["protocol"]["fusion"] == "by hand"
    assert found["protocol"]["light"] == "not stated"
    assert json.loads((benchmark / "dtu.json").read_text()) == found
    assert len([*(benchmark / "errors").iterdir()]) == 4
    text = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line.split()[1] for line in text.splitlines() if line.startswith("\N{BOX DRAWINGS LIGHT VERTICAL}")]
    assert rows == ["1", "114", "mean"]
    assert "fusion by hand" in text


def test_patterns_single_files_and_metres_give_the_same(benchmark: Path) -> None:
    whole = score_clouds(str(benchmark / "out"), dtu=benchmark, console=quiet())
    (benchmark / "out" / "._net114_l3.ply").write_bytes(b"left behind by a file manager")
    assert score_clouds(str(benchmark / "out"), dtu=benchmark, console=quiet()) == whole
    pattern = score_clouds(
        str(benchmark / "out" / "net{scan:03d}_l3.ply"), dtu=benchmark, scans=[1, 114], console=quiet()
    )
    assert pattern == whole
    one = score_clouds(str(benchmark / "out" / "net114_l3.ply"), dtu=benchmark, scans=[114], console=quiet())
    assert one["scans"] == {"114": whole["scans"]["114"]}
    metres = score_clouds(str(benchmark / "metres"), dtu=benchmark, scale=1000.0, console=quiet())
    assert metres["protocol"]["scale to mm"] == 1000
    assert metres["scans"]["1"] == pytest.approx(whole["scans"]["1"], rel=1e-9)
    within = score_clouds(str(benchmark / "out"), dtu=benchmark, scans=[1], distances=[0.5], seed=2, console=quiet())
    assert "dtu_f_score_0.5mm_percent" in within["mean"]
    assert within["protocol"]["evaluation seed"] == 2


@pytest.mark.parametrize(
    ("est", "arguments", "message"),
    [
        ("est.ply", {}, "neither a reference nor a DTU folder"),
        ("est.ply", {"ref": "ref.ply", "dtu": "."}, "both a reference and a DTU folder"),
        ("absent.ply", {"ref": "ref.ply"}, "absent.ply"),
        ("est.ply", {"ref": "absent.ply"}, "absent.ply"),
        ("text.ply", {"ref": "ref.ply"}, "text.ply"),
        ("est.ply", {"ref": "ref.ply", "distances": [-1.0]}, "expected different positive numbers"),
        ("est.ply", {"ref": "ref.ply", "distances": [1.0], "cut": 0.5}, "none beyond the cut"),
        ("est.ply", {"ref": "ref.ply", "scale": 0.0}, "scale 0.0: expected a positive number"),
        ("est.ply", {"ref": "ref.ply", "thin": -1.0}, "thin -1.0"),
        ("est.ply", {"ref": "ref.ply", "scans": [1]}, "belong to --dtu"),
        ("est.ply", {"ref": "ref.ply", "json": "est.ply/scores.json"}, "cannot write"),
        ("est.ply", {"dtu": "."}, "no such folder: expected the folder of the clouds"),
        (".", {"dtu": "."}, "holds no cloud whose name ends in the number"),
        ("twice", {"dtu": "."}, "scan001_l3.ply and scan1.ply are both of scan 1"),
        ("one", {"dtu": ".", "scans": [4]}, "holds no cloud of scan 4"),
        ("one", {"dtu": "."}, "stl001_total.ply: no such file"),
        ("one", {"dtu": ".", "thin": 0.1}, "there they are the benchmark's"),
    ],
)
def test_bad_input_gets_one_line(
    est: str, arguments: dict[str, Any], message: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "text.ply").write_text("no cloud")
    cloud(tmp_path / "twice" / "scan1.ply", [[0, 0, 0]])
    cloud(tmp_path / "twice" / "scan001_l3.ply", [[0, 0, 0]])
    cloud(tmp_path / "one" / "scan1.ply", [[0, 0, 0]])
    paths = {key: tmp_path / value for key, value in arguments.items() if key in {"ref", "dtu", "json"}}
    with pytest.raises(Vo3dError, match=message) as caught:
        score_clouds(str(tmp_path / est), **{**arguments, **paths}, console=quiet())
    assert "\n" not in str(caught.value)

"""The DTU evaluation against a literal slow port of its rules, values by hand, its borders, and small trees."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from vo3d.errors import Vo3dError
from vo3d.formats.ply import PointCloud, read_cloud, write_cloud
from vo3d.metrics.dtu import DtuRules, DtuScan, compare_scan, dtu_metrics, error_clouds, evaluate_scan, in_mask
from vo3d.metrics.dtu_table import DTU_TEST_SCANS, PROTOCOL, evaluate_dataset


def slow_reduce(points: np.ndarray, radius: float, order: np.ndarray) -> np.ndarray:
    """reducePts_haa, one point after the other."""
    alive = [True] * len(points)
    for row in order:
        if alive[row]:
            for other in range(len(points)):
                if other != row and sum((points[row] - points[other]) ** 2) <= radius * radius:
                    alive[other] = False
    return points[alive]


def slow_distances(to: np.ndarray, start: np.ndarray, box: np.ndarray, block: float) -> np.ndarray:
    """MaxDistCP, block by block, every pair."""
    distances = np.full(len(start), block)
    number = np.floor((box[1] - box[0]) / block).astype(int)
    for index in product(*(range(n + 1) for n in number)):
        low = box[0] + np.array(index) * block
        high = low + block
        asked = [i for i, p in enumerate(start) if (p >= low).all() and (p < high).all()]
        near = [p for p in to if (p >= low - block).all() and (p < high + block).all()]
        for i in asked:
            distances[i] = min((math.dist(start[i], p) for p in near), default=block)
    return distances


def slow_metrics(points: np.ndarray, scan: DtuScan, rules: DtuRules) -> dict[str, float]:
    """PointCompareMain and ComputeStat_web."""
    q = slow_reduce(points, rules.radius, np.random.default_rng(rules.seed).permutation(len(points)))
    g = scan.reference
    d_data, d_stl = slow_distances(g, q, scan.box, rules.block), slow_distances(q, g, scan.box, rules.block)
    masked = []
    for p in q:
        v = [math.floor(abs(x) + 0.5) * (1 if x > 0 else -1) for x in (p - scan.box[0]) / scan.resolution + 1]
        inside = all(0 < a <= size for a, size in zip(v, scan.observed.shape, strict=True))
        masked.append(inside and bool(scan.observed[v[0] - 1, v[1] - 1, v[2] - 1]))
    above = [sum(scan.plane[:3] * p) + scan.plane[3] > 0 for p in g]
    data, stl = d_data[np.array(masked, bool)], d_stl[np.array(above, bool)]
    found: dict[str, float] = {"dtu_num_predicted": len(points), "dtu_num_thinned": len(q)}
    found |= {"dtu_num_masked": len(data), "dtu_num_above_plane": len(stl)}
    for name, all_values in (("accuracy", data), ("completeness", stl)):
        values = sorted(all_values[all_values < rules.cut])
        n = len(values)
        mean = sum(values) / n
        found |= {
            f"dtu_num_{name}": n,
            f"dtu_{name}_mm": mean,
            f"dtu_{name}_median_mm": (values[(n - 1) // 2] + values[n // 2]) / 2,
            f"dtu_{name}_variance_mm2": sum((v - mean) ** 2 for v in values) / (n - 1),
            f"dtu_{name}_outlier_percent": 100 * (len(all_values) - n) / len(all_values),
        }
    found["dtu_overall_mm"] = (found["dtu_accuracy_mm"] + found["dtu_completeness_mm"]) / 2
    for d in rules.within:
        a, c = (100 * (values < d).sum() / len(values) for values in (data, stl))
        found |= {f"dtu_accuracy_{d:g}mm_percent": a, f"dtu_completeness_{d:g}mm_percent": c}
        found[f"dtu_f_score_{d:g}mm_percent"] = 2 * a * c / (a + c)
    return found


def random_scan(seed: int, num: int = 250) -> tuple[np.ndarray, DtuScan]:
    """A wavy sheet in a box of several blocks, and a prediction of it with noise, stray points and duplicates."""
    rng = np.random.default_rng(seed)
    xy = rng.random((num, 2)) * [170, 90]
    reference = np.c_[xy, 20 + 8 * np.sin(xy[:, 0] / 20)]
    points = reference[rng.integers(0, num, num)] + rng.normal(size=(num, 3)) * 0.8
    stray = rng.random((60, 3)) * [400, 300, 200] - [100, 80, 60]
    stray[:20] = rng.random((20, 3)) * [150, 80, 8] + [0, 0, 52]  # in the mask, more than 20 mm above the sheet
    clumps = np.repeat(points[:20], 4, axis=0) + rng.normal(size=(80, 3)) * 0.1
    scan = DtuScan(
        reference=np.concatenate((reference, rng.random((40, 3)) * [300, 200, 100] - 60)),
        observed=rng.random((75, 40, 30)) < 0.8,
        box=np.array([[-3.0, -5, -7], [150, 80, 60]]),
        resolution=2.5,
        plane=np.array([0.1, 0.2, 1.0, -30]),
    )
    return np.concatenate((points, stray, clumps, points[:30])), scan


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_slow_port_on_random_clouds(seed: int) -> None:
    points, scan = random_scan(seed)
    rules = DtuRules(seed=seed, within=(0.5, 1.0, 2.0))
    found = evaluate_scan(points, scan, rules, workers=1)
    assert found == pytest.approx(slow_metrics(points, scan, rules), rel=1e-9)
    assert 0 < found["dtu_accuracy_outlier_percent"] < 50
    assert found["dtu_num_thinned"] < found["dtu_num_predicted"]


@pytest.mark.parametrize("block", [20.0, 30.0, 60.0])
def test_distances_below_the_cut_are_those_of_the_blocks(block: float) -> None:
    points, scan = random_scan(7, num=150)
    rules = DtuRules(radius=1e-6, block=block, cut=block, within=(1.0,))
    found = compare_scan(points, scan, rules, everywhere=True)
    for start, to, ours in (
        (found.points, scan.reference, found.to_reference),
        (scan.reference, found.points, found.to_prediction),
    ):
        slow = slow_distances(to, start, scan.box, block)
        assert 0 < (slow < block).sum() < len(slow)
        np.testing.assert_allclose(ours, np.minimum(slow, block), rtol=1e-12)


def by_hand(**changed: Any) -> DtuScan:
    """Three reference points, one of them below the plane z = 5; a box of 0..120, voxels of 1 mm with a hole."""
    observed = np.ones((121, 121, 121), bool)
    observed[50:, :, :] = False
    scan = DtuScan(
        reference=np.array([[10.0, 10, 10], [40, 10, 10], [10, 40, 2]]),
        observed=observed,
        box=np.array([[0.0, 0, 0], [120, 120, 120]]),
        resolution=1.0,
        plane=np.array([0.0, 0, 1, -5]),
    )
    return replace(scan, **changed)


def test_values_by_hand() -> None:
    prediction = np.array(
        [
            [10.0, 10, 10.5],  # 0.5 from the first
            [10.0, 43, 6],  # 5 from the third
            [52.0, 15, 10],  # in the hole, yet 13 from the second: it is the nearest to that one
            [10.0, 100, 100],  # far beyond the cut
        ]
    )
    found = evaluate_scan(prediction, by_hand(), DtuRules(within=(1.0, 20.0)))
    assert found == pytest.approx(
        {
            "dtu_num_predicted": 4,
            "dtu_num_thinned": 4,
            "dtu_num_masked": 3,
            "dtu_num_accuracy": 2,
            "dtu_num_above_plane": 2,
            "dtu_num_completeness": 2,
            "dtu_accuracy_mm": 2.75,
            "dtu_accuracy_median_mm": 2.75,
            "dtu_accuracy_variance_mm2": 2.25**2 * 2,
            "dtu_accuracy_outlier_percent": 100 / 3,
            "dtu_completeness_mm": 6.75,
            "dtu_completeness_median_mm": 6.75,
            "dtu_completeness_variance_mm2": 6.25**2 * 2,
            "dtu_completeness_outlier_percent": 0,
            "dtu_overall_mm": 4.75,
            "dtu_accuracy_1mm_percent": 100 / 3,
            "dtu_completeness_1mm_percent": 50,
            "dtu_f_score_1mm_percent": 40,
            "dtu_accuracy_20mm_percent": 200 / 3,
            "dtu_completeness_20mm_percent": 100,
            "dtu_f_score_20mm_percent": 80,
        }
    )


def test_one_distance_has_the_variance_0() -> None:
    found = evaluate_scan(np.array([[10.0, 10, 11]]), by_hand())
    assert found["dtu_accuracy_mm"] == 1
    assert found["dtu_accuracy_variance_mm2"] == 0


def test_a_distance_of_the_cut_is_dropped() -> None:
    for far, num in ((30.0, 0), (np.nextafter(30.0, 0), 1)):
        found = evaluate_scan(np.array([[10.0, 10, far]]), by_hand(reference=np.array([[10.0, 10, 10]])))
        assert found["dtu_num_masked"] == found["dtu_num_above_plane"] == 1
        assert found["dtu_num_accuracy"] == found["dtu_num_completeness"] == num


def test_a_point_on_the_plane_is_dropped() -> None:
    reference = np.array([[10.0, 10, 5], [10, 10, np.nextafter(5.0, 9)]])
    assert evaluate_scan(reference, by_hand(reference=reference))["dtu_num_above_plane"] == 1


def test_halves_round_up_at_the_lowest_voxel_and_out_of_the_highest() -> None:
    scan = by_hand(observed=np.ones((121, 121, 121), bool), box=np.array([[8.0, 8, 8], [68, 68, 68]]), resolution=0.5)
    for axis in range(3):
        points = np.full((4, 3), 20.0)
        points[:, axis] = [7.75, np.nextafter(7.75, 0), 68.25, np.nextafter(68.25, 0)]
        assert in_mask(points, scan).tolist() == [True, False, False, True]
    below = np.array([[7.75, 10, 10]])
    found = evaluate_scan(below, replace(scan, reference=below))
    # in the mask, but below the blocks, whose first begins at the box: its distance is not searched for
    assert (found["dtu_num_masked"], found["dtu_num_accuracy"], found["dtu_num_completeness"]) == (1, 0, 0)


def test_the_blocks_are_closed_below_and_open_above() -> None:
    box = np.array([[0.0, 0, 0], [70, 59.9, 60]])  # two, one and two blocks: they end at 120, 60 and 120
    for axis, top in enumerate((120.0, 60.0, 120.0)):
        for place, found in ((top, 0), (np.nextafter(top, 0), 1), (0.0, 1), (np.nextafter(0.0, -1), 0)):
            points = np.full((1, 3), 10.0)
            points[0, axis] = place
            scan = by_hand(reference=points, box=box, plane=np.array([0.0, 0, 0, 1]))
            assert evaluate_scan(points, scan)["dtu_num_completeness"] == found


def test_a_mirror_of_the_reference_has_no_error_and_half_of_it_no_worse_accuracy() -> None:
    _, scan = random_scan(4, num=2000)
    whole = evaluate_scan(scan.reference, scan, DtuRules(radius=1e-3))
    assert whole["dtu_accuracy_mm"] == whole["dtu_completeness_mm"] == 0
    assert whole["dtu_f_score_1mm_percent"] < 100  # points beyond the blocks stay in the denominator
    half = evaluate_scan(scan.reference[scan.reference[:, 0] < 80], scan, DtuRules(radius=1e-3))
    assert half["dtu_accuracy_mm"] == 0
    assert half["dtu_completeness_mm"] > 1


def test_order_and_duplicates_hardly_change_the_means() -> None:
    rng = np.random.default_rng(8)
    xy = rng.random((60_000, 2)) * 40
    scan = by_hand(reference=np.c_[xy, np.full(len(xy), 10.0)][:20_000], plane=np.array([0.0, 0, 0, 1]))
    points = np.c_[xy, 10.5 + rng.normal(size=len(xy)) * 0.02]
    plain = evaluate_scan(points, scan)
    for changed in (rng.permutation(points), np.concatenate((points, points))):
        found = evaluate_scan(changed, scan)
        assert found["dtu_num_thinned"] != plain["dtu_num_thinned"]
        for key in ("dtu_accuracy_mm", "dtu_completeness_mm"):
            assert found[key] == pytest.approx(plain[key], rel=1e-3)
    assert evaluate_scan(points, scan, DtuRules(seed=1))["dtu_accuracy_mm"] != plain["dtu_accuracy_mm"]
    assert evaluate_scan(points, scan, workers=1) == evaluate_scan(points, scan, workers=2) == plain


def test_ten_times_as_large_with_ten_times_the_constants_is_the_same() -> None:
    points, scan = random_scan(5)
    large = replace(
        scan, reference=10 * scan.reference, box=10 * scan.box, resolution=25.0, plane=scan.plane * [1, 1, 1, 10]
    )
    plain = evaluate_scan(points, scan)
    scaled = evaluate_scan(10 * points, large, DtuRules(radius=2.0, block=600.0, cut=200.0, within=(10.0, 20.0)))
    for key, value in plain.items():
        factor = 100 if key.endswith("mm2") else 10 if key.endswith("mm") else 1
        other = key.replace("2mm_", "20mm_").replace("1mm_", "10mm_")
        assert scaled[other] == pytest.approx(factor * value, rel=1e-9)


def test_an_empty_prediction_has_no_errors() -> None:
    found = evaluate_scan(np.empty((0, 3)), by_hand())
    assert found["dtu_num_thinned"] == found["dtu_num_completeness"] == 0
    assert found["dtu_num_above_plane"] == 2
    assert found["dtu_completeness_outlier_percent"] == 100
    assert found["dtu_completeness_1mm_percent"] == 0
    for key in ("accuracy_mm", "completeness_mm", "overall_mm", "accuracy_1mm_percent", "f_score_1mm_percent"):
        assert math.isnan(found[f"dtu_{key}"])


def test_nan_and_infinity_are_refused_with_their_number() -> None:
    points = np.ones((5, 3))
    points[2:4, 1] = math.nan, math.inf
    with pytest.raises(Vo3dError, match="2 of 5 points of the prediction are NaN or infinite, the first is number 2"):
        evaluate_scan(points, by_hand())
    with pytest.raises(Vo3dError, match="2 of 5 points of the reference"):
        evaluate_scan(np.ones((1, 3)), by_hand(reference=points))


@pytest.mark.parametrize(
    "wrong", [{"cut": 61.0}, {"cut": 0.0}, {"cut": math.nan}, {"within": (21.0,)}, {"within": (1.0, 1.0)}]
)
def test_impossible_rules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Vo3dError, match="expected"):
        DtuRules(**wrong)


def golden_scan() -> tuple[np.ndarray, DtuScan]:
    """A scene without a random number: spirals of points on a saddle, and a prediction that is off by known waves."""
    k = np.arange(400)
    turn, length = k * 2.399963, np.sqrt(k)
    x, y = 30 + length * np.cos(turn), 30 + length * np.sin(turn)
    scan = DtuScan(
        reference=np.c_[x, y, 15 + 0.01 * (x - 30) * (y - 30)],
        observed=np.indices((60, 60, 40)).sum(0) % 7 > 0,
        box=np.array([[0.0, 0, 0], [60, 60, 40]]),
        resolution=1.0,
        plane=np.array([0.0, 0, 1, -14.5]),
    )
    points = scan.reference[:300] + 0.6 * np.sin(np.c_[k, 2 * k, 3 * k][:300])
    points[280:] = np.c_[4 + 0.3 * k[:20], np.full((20, 2), [4, 37])]  # more than 20 mm away
    return points, scan


GOLDEN = {  # made by slow_metrics; the order of the walk is numpy's
    "dtu_num_predicted": 300,
    "dtu_num_thinned": 271,
    "dtu_num_masked": 242,
    "dtu_num_above_plane": 297,
    "dtu_num_accuracy": 238,
    "dtu_accuracy_mm": 0.70027608642,
    "dtu_accuracy_median_mm": 0.770046471538,
    "dtu_accuracy_variance_mm2": 0.0456964020421,
    "dtu_accuracy_outlier_percent": 1.65289256198,
    "dtu_num_completeness": 297,
    "dtu_completeness_mm": 1.17747081654,
    "dtu_completeness_median_mm": 0.828574612704,
    "dtu_completeness_variance_mm2": 0.871172792584,
    "dtu_completeness_outlier_percent": 0,
    "dtu_overall_mm": 0.93887345148,
    "dtu_accuracy_1mm_percent": 98.347107438,
    "dtu_completeness_1mm_percent": 71.7171717172,
    "dtu_f_score_1mm_percent": 82.9471824072,
    "dtu_accuracy_2mm_percent": 98.347107438,
    "dtu_completeness_2mm_percent": 83.8383838384,
    "dtu_f_score_2mm_percent": 90.5150293255,
}


def test_a_fixed_scene_has_the_stored_numbers() -> None:
    points, scan = golden_scan()
    assert evaluate_scan(points, scan, DtuRules(radius=0.8)) == pytest.approx(GOLDEN, rel=1e-6)


def test_error_clouds_show_what_counts_in_red_and_the_rest_in_green(tmp_path: Path) -> None:
    prediction = np.array([[10.0, 10, 10], [10, 10, 15], [10, 10, 22], [55, 10, 10], [90, 10, 90]])
    with pytest.raises(Vo3dError, match="everywhere"):
        error_clouds(compare_scan(prediction, by_hand()))
    distances = compare_scan(prediction, by_hand(), everywhere=True)
    assert dtu_metrics(distances) == dtu_metrics(compare_scan(prediction, by_hand()))
    predicted, reference = error_clouds(distances)
    write_cloud(tmp_path / "error.ply", predicted)
    read = read_cloud(tmp_path / "error.ply")
    assert read.scalars["error"].tolist() == [0, 5, 12, 15, 60]
    assert read.colours is not None
    assert reference.colours is not None
    assert read.colours.tolist() == [[255, 255, 255], [255, 128, 128], [255, 0, 0], [0, 255, 0], [0, 255, 0]]
    assert reference.colours.tolist() == [[255, 255, 255], [255, 0, 0], [0, 255, 0]]  # the third is below the plane


def write_tree(root: Path, scans: dict[int, DtuScan]) -> None:
    """The official layout."""
    for number, scan in scans.items():
        write_cloud(root / "Points" / "stl" / f"stl{number:03d}_total.ply", PointCloud(points=scan.reference))
        folder = root / "ObsMask"
        folder.mkdir(exist_ok=True)
        content = {"ObsMask": scan.observed, "BB": scan.box, "Res": scan.resolution, "Margin": 10}
        savemat(folder / f"ObsMask{number}_10.mat", content, do_compression=True)
        savemat(folder / f"Plane{number}.mat", {"P": scan.plane[:, None]})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    scans = {number: random_scan(number) for number in (1, 118)}
    write_tree(tmp_path, {number: scan for number, (_, scan) in scans.items()})
    for number, (points, _) in scans.items():
        write_cloud(tmp_path / "out" / f"net{number:03d}_l3.ply", PointCloud(points=points))
    return tmp_path


def test_a_table_of_scans_has_their_rows_their_mean_and_the_protocol(tree: Path) -> None:
    seen = []
    table = evaluate_dataset(
        tree,
        str(tree / "out" / "net{scan:03d}_l3.ply"),
        (1, 118),
        protocol={"light": 3, "views": 5},
        clouds=tree / "errors",
        progress=lambda scan, row: seen.append((scan, row)),
    )
    for number in (1, 118):
        points, scan = random_scan(number)
        assert table.rows[number] == evaluate_scan(points, scan)
    assert seen == [*table.rows.items()]
    accuracy = [row["dtu_accuracy_mm"] for row in table.rows.values()]
    assert table.mean["dtu_accuracy_mm"] == pytest.approx(np.mean(accuracy))
    both = table.mean["dtu_accuracy_mm"] + table.mean["dtu_completeness_mm"]
    assert table.mean["dtu_overall_mm"] == pytest.approx(both / 2)
    assert not any("num_" in key for key in table.mean)
    assert table.protocol["light"] == 3
    assert table.protocol["fusion"] == "not stated"
    assert table.protocol["evaluation seed"] == 0
    assert {*PROTOCOL, "scans", "evaluation radius", "evaluation version"} <= table.protocol.keys()
    errors = sorted(path.name for path in (tree / "errors").iterdir())
    assert errors == [f"net{n}_l3_{n}_{what}_error.ply" for n in ("001", "118") for what in ("prediction", "reference")]

    content = json.loads(table.to_json())
    assert content["scans"]["118"] == table.rows[118]
    assert content["mean"] == table.mean


def test_nan_is_null_in_json_and_makes_the_mean_nan(tree: Path) -> None:
    write_cloud(tree / "out" / "net118_l3.ply", PointCloud(points=np.full((1, 3), 1e4)))
    table = evaluate_dataset(tree, str(tree / "out/net{scan:03d}_l3.ply"), (1, 118))
    assert math.isnan(table.mean["dtu_accuracy_mm"])
    content = json.loads(table.to_json())
    assert content["mean"]["dtu_accuracy_mm"] is None
    assert content["scans"]["1"]["dtu_accuracy_mm"] == table.rows[1]["dtu_accuracy_mm"]


def test_the_benchmark_has_22_scans() -> None:
    assert len({*DTU_TEST_SCANS}) == 22


def damage_masks(change: dict[str, Any]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        good = {"ObsMask": np.ones((3, 3, 3), bool), "BB": np.array([[0.0, 0, 0], [3, 3, 3]]), "Res": 1.0}
        content = {key: value for key, value in (good | change).items() if value is not None}
        savemat(root / "ObsMask" / "ObsMask1_10.mat", content)

    return damage


def cut_in_half(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


HDF5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 01 00:00:00 2024 HDF5 schema 1.00 .".ljust(124)
EMPTY = "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no prediction": (lambda root: (root / "out/net001_l3.ply").unlink(), "net001_l3.ply: no such file: .* scan 1"),
    "no reference": (lambda root: (root / "Points/stl/stl001_total.ply").unlink(), "stl001_total.ply: no such file"),
    "no mask": (lambda root: (root / "ObsMask/ObsMask1_10.mat").unlink(), "ObsMask1_10.mat: no such file"),
    "no plane": (lambda root: (root / "ObsMask/Plane1.mat").unlink(), "Plane1.mat: no such file"),
    "half a prediction": (cut_in_half("out/net001_l3.ply"), "net001_l3.ply: truncated"),
    "half a reference": (cut_in_half("Points/stl/stl001_total.ply"), "stl001_total.ply: truncated"),
    "half a mask": (cut_in_half("ObsMask/ObsMask1_10.mat"), "ObsMask1_10.mat: no whole MATLAB file"),
    "half a plane": (cut_in_half("ObsMask/Plane1.mat"), "Plane1.mat: no whole MATLAB file"),
    "no points": (lambda root: (root / "out/net001_l3.ply").write_text(EMPTY), "net001_l3.ply: holds no points"),
    "text for a mask": (lambda root: (root / "ObsMask/ObsMask1_10.mat").write_text("a" * 999), "no whole MATLAB file"),
    "nothing for a mask": (lambda root: (root / "ObsMask/ObsMask1_10.mat").write_text(""), "no whole MATLAB file"),
    "version 7.3": (
        lambda root: (root / "ObsMask/ObsMask1_10.mat").write_bytes(HDF5 + b"\x00\x02IM" + bytes(400)),
        "of version 7.3: expected version 5: save it again with -v7",
    ),
    "other names": (damage_masks({"ObsMask": None, "Mask": 1.0}), r"holds .*Mask.*: expected ObsMask \(nxmxk\), BB"),
    "a flat mask": (damage_masks({"ObsMask": np.ones((3, 3), bool)}), r"ObsMask is of shape \(3, 3\)"),
    "a mask of text": (damage_masks({"ObsMask": "yes"}), "ObsMask is no array of numbers"),
    "a turned box": (damage_masks({"BB": np.ones((3, 2))}), r"BB is of shape \(3, 2\)"),
    "a box of NaN": (damage_masks({"BB": np.full((2, 3), np.nan)}), r"BB is of shape \(2, 3\) with NaN or infinity"),
    "a box upside down": (damage_masks({"BB": np.array([[0, 0, 9], [3, 3, 3]])}), "expected a box from low to high"),
    "voxels of no size": (damage_masks({"Res": 0.0}), "a positive side"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_trees_get_one_line(name: str, tree: Path) -> None:
    damage, expected = DAMAGES[name]
    damage(tree)
    with pytest.raises(Vo3dError, match=expected) as caught:
        evaluate_dataset(tree, str(tree / "out/net{scan:03d}_l3.ply"), (118, 1))
    assert "\n" not in str(caught.value)


def test_load_names_the_file_that_is_absent(tree: Path) -> None:
    with pytest.raises(Vo3dError, match=r"stl002_total.ply: no such file: expected Points.stl.stl002_total.ply"):
        DtuScan.load(tree, 2)


@pytest.mark.parametrize(
    ("pattern", "scans", "expected"),
    [
        ("net{number}.ply", (1,), "names no file of scan 1"),
        ("net{}.ply", (1,), "names no file of scan 1"),
        ("net{scan:03d.ply", (1,), "names no file of scan 1"),
        ("net{scan.name}.ply", (1,), "names no file of scan 1"),
        ("net.ply", (1, 118), "names one file for all scans"),
        ("net{scan}.ply", (), "one or more different scans"),
        ("net{scan}.ply", (1, 1), "one or more different scans"),
    ],
)
def test_bad_patterns_get_one_line(pattern: str, scans: tuple[int, ...], expected: str, tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=expected):
        evaluate_dataset(tmp_path, pattern, scans)

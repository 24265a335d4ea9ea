"""Scoring files: the published table, association, coverage, and what cannot be scored."""

import io
import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import cv2
import pytest
import torch
from rich.console import Console
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.scoring import score
from vo3d.formats.trajectories import Trajectory, TrajectoryFormat, read_trajectory, write_trajectory
from vo3d.geometry import se3
from vo3d.geometry.rotations import axis_rotation
from vo3d.geometry.trajectory import chain, path_lengths
from vo3d.pipelines.trajectory.convert import convert_trajectory
from vo3d.pipelines.trajectory.page import Drawn
from vo3d.pipelines.trajectory.score import score_files
from vo3d.report.paths import plot_trajectories

# The table of KITTI 00, published estimates: devkit metric, alignments, errors, six decimals each.
COLUMNS = ("t_rel_percent", "r_rel_deg_per_100m", "ape_rmse_m", "rpe_mean_m", "rpe_mean_deg")
TABLE = {
    ("ORB", "none"): (0.699729, 0.253330, 7.790293, 0.019301, 0.058956),
    ("ORB", "scale"): (0.702003, 0.253330, 7.223847, 0.019577, 0.058956),
    ("ORB", "6dof"): (0.699729, 0.253330, 1.303453, 0.019301, 0.058956),
    ("ORB", "7dof"): (0.627708, 0.253330, 0.937710, 0.018953, 0.058956),
    ("SPTAM", "none"): (1.486961, 0.557706, 9.224551, 0.023406, 0.241699),
    ("SPTAM", "scale"): (1.584962, 0.557706, 8.710139, 0.024455, 0.241699),
    ("SPTAM", "6dof"): (1.486961, 0.557706, 3.738492, 0.023406, 0.241699),
    ("SPTAM", "7dof"): (1.490888, 0.557706, 3.635295, 0.023520, 0.241699),
}
EVO_STORED = {"ORB": 1.303450, "SPTAM": 3.738488}  # evo's own results, SE(3) alignment


@pytest.mark.real
@pytest.mark.parametrize("name", ["ORB", "SPTAM"])
def test_published_values_of_kitti_00(shared_data: Path, tmp_path: Path, name: str) -> None:
    folder = shared_data / "trajectories" / "kitti_00"
    paths = folder / "KITTI_00_gt.txt", folder / f"KITTI_00_{name}.txt"
    found, text = scored(*paths, align="6dof", json=tmp_path / "scores.json")
    assert found["evo_ape_rmse_m"] == pytest.approx(EVO_STORED[name], rel=1e-6, abs=0.5e-6)
    assert json.loads((tmp_path / "scores.json").read_text()) == found
    assert "4541 of 4541 poses of the reference were scored" in text
    rows = {"6dof": found}
    reference, estimate = (read_trajectory(path, "kitti").world_T_cam for path in paths)
    for mode in ("none", "scale", "7dof"):
        rows[mode] = dict(score(reference, estimate, alignment=mode, with_evo=False).metrics)
    for mode, row in rows.items():
        for key, published in zip(COLUMNS, TABLE[name, mode], strict=True):
            assert row[key] == pytest.approx(published, rel=1e-6, abs=0.5e-6), (mode, key)
        assert row["num_segments"] == 3283
        assert row["coverage"] == 1
        assert (row["scale"] == 1) == (mode in ("none", "6dof"))


@pytest.fixture
def drive(generator: torch.Generator) -> Tensor:
    xi = torch.randn(399, 6, generator=generator, dtype=torch.float64) * 0.03
    xi[:, 2] += 1
    return chain(se3.exp(xi))


def save(path: Path, world_T_cam: Tensor, format: TrajectoryFormat = "kitti", **fields: Tensor) -> Path:
    write_trajectory(path, Trajectory(world_T_cam=world_T_cam, **fields), format)
    return path


def scored(ref: Path, *estimates: Path, **options: object) -> tuple[dict[str, object], str]:
    output = io.StringIO()
    return score_files(ref, estimates, console=Console(file=output, width=200), **options), output.getvalue()


def test_a_part_of_the_frames_by_index(tmp_path: Path, drive: Tensor, generator: torch.Generator) -> None:
    noisy = se3.compose(drive, se3.exp(torch.randn(400, 6, generator=generator, dtype=torch.float64) * 0.01))
    frames = (torch.rand(400, generator=generator) > 0.2).nonzero()[:, 0]
    moved = se3.compose(se3.exp(torch.randn(6, generator=generator, dtype=torch.float64)), noisy)
    reference = save(tmp_path / "gt.txt", drive)
    estimate = save(tmp_path / "est.txt", moved[frames], frames=frames)
    found, text = scored(reference, estimate, align="6dof")
    known = torch.zeros(400, dtype=torch.bool)
    known[frames] = True
    assert found["coverage"] == pytest.approx(len(frames) / 400)
    assert found["coverage_estimate"] == 1
    assert f"{len(frames)} of 400 poses of the reference were scored" in text
    assert 0 < found["num_segments"] < score(drive, noisy).metrics["num_segments"]
    assert found["path_length_m"] == pytest.approx(score(drive, noisy).metrics["path_length_m"])  # not a short cut
    # what unknown frames hold must not matter
    other = moved.where(known[:, None, None], torch.eye(4, dtype=torch.float64))
    assert score(drive, other, alignment="6dof", known=known).metrics["t_rel_percent"] == pytest.approx(
        found["t_rel_percent"], rel=1e-9
    )


def test_frames_that_the_reference_lacks_are_refused(tmp_path: Path, drive: Tensor) -> None:
    reference = save(tmp_path / "gt.txt", drive)
    with pytest.raises(Vo3dError, match=r"short\.txt: 390 poses, but .*gt\.txt has 400.*needs the frame index"):
        scored(reference, save(tmp_path / "short.txt", drive[10:]))
    beyond = save(tmp_path / "beyond.txt", drive[:3], frames=torch.tensor([5, 399, 400]))
    with pytest.raises(Vo3dError, match=r"frame 400 is not in .*gt\.txt \(frames 0 to 399\)"):
        scored(reference, beyond)
    gaps = save(tmp_path / "gaps.txt", drive[::2], frames=torch.arange(0, 400, 2))
    with pytest.raises(Vo3dError, match=r"frame 5 is not in .*gaps\.txt"):
        scored(gaps, save(tmp_path / "odd.txt", drive[:2], frames=torch.tensor([4, 5])))
    assert (
        scored(gaps, save(tmp_path / "even.txt", drive[4:9:2], frames=torch.tensor([4, 6, 8])))[0]["coverage"]
        == 3 / 200
    )


@pytest.mark.parametrize("format", ["tum", "euroc"])
def test_files_with_stamps_are_associated_by_time(tmp_path: Path, drive: Tensor, format: TrajectoryFormat) -> None:
    time = 1.4e9 + torch.arange(400, dtype=torch.float64) * 0.05
    reference = save(tmp_path / "gt", drive, format, time=time)
    late = time[1::2] + 0.004
    late[-1] += 1  # nothing belongs to this one
    found, text = scored(reference, save(tmp_path / "est", drive[1::2], format, time=late))
    assert found["ape_rmse_m"] == pytest.approx(0, abs=1e-9)
    assert found["coverage"] == 199 / 400
    assert found["coverage_estimate"] == 199 / 200
    assert "199 of 400 poses of the reference were scored" in text
    protocol = found["protocol"]
    assert protocol["time_unit"] == dict.fromkeys(("reference", "estimate"), "s" if format == "tum" else "ns")
    assert protocol["frame_seconds"] == pytest.approx(0.1, abs=1e-6)
    with pytest.raises(Vo3dError, match=r"no stamps within 0\.001 s .*\(--t-offset, --max-difference\)"):
        scored(reference, tmp_path / "est", max_difference=0.001)


def test_recordings_without_segments_are_said_to_have_none(tmp_path: Path, drive: Tensor) -> None:
    indoors = drive.clone()
    indoors[:, :3, 3] *= 0.02
    reference, out = save(tmp_path / "gt.txt", indoors), tmp_path / "out.json"
    found, text = scored(reference, reference, json=out)
    assert (found["num_segments"], found["t_rel_percent"], found["r_rel_deg_per_100m"]) == (0, None, None)
    reason = "the scored part of the reference is 8.0 m long, the shortest segment 100 m"
    assert found["reasons"] == dict.fromkeys(("t_rel_percent", "r_rel_deg_per_100m"), reason)
    assert f"no t_rel (%), r_rel (deg/100 m): {reason}." in text
    assert json.loads(out.read_text()) == found
    indoor, text = scored(reference, reference, lengths=[1.0, 2.0])
    assert indoor["num_segments"] > 20
    assert indoor["t_rel_percent"] == pytest.approx(0, abs=1e-9)
    assert indoor["protocol"]["segment_lengths_m"] == [1.0, 2.0]
    assert [part["centre"] for part in indoor["by_length"]] == [1.0, 2.0]
    assert "no t_rel" not in text


def test_straight_roads_have_no_value_of_evo_for_scale(drive: Tensor) -> None:
    straight = torch.eye(4, dtype=torch.float64).repeat(400, 1, 1)
    straight[:, 2, 3] = torch.arange(400)
    shrunk = straight.clone()
    shrunk[:, 2, 3] /= 4
    found = score(straight, shrunk, alignment="scale")
    metrics = found.metrics
    assert metrics["scale"] == pytest.approx(4)
    assert metrics["t_rel_percent"] == pytest.approx(0, abs=1e-9)
    assert metrics["evo_ape_rmse_m"] is None
    assert "evo cannot align (scale) 400 poses" in found.reasons["evo_ape_rmse_m"]
    with pytest.raises(Vo3dError, match="lie on a line"):
        score(straight, shrunk, alignment="7dof")


def test_the_final_drift_is_a_share_of_the_path() -> None:
    reference = torch.eye(4, dtype=torch.float64).repeat(11, 1, 1)
    reference[:, 2, 3] = torch.arange(11)  # ten metres ahead
    estimate = reference.clone()
    estimate[-1, 0, 3] = 0.3
    assert score(reference, estimate, with_evo=False).metrics["final_drift_percent"] == pytest.approx(3.0)
    still = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    assert score(still, still, with_evo=False).metrics["final_drift_percent"] is None


def test_one_pose_has_no_error(drive: Tensor) -> None:
    found = score(drive[:1], drive[:1])
    errors = {key for key in found.metrics if key.split("_")[0] in ("ape", "rpe", "final", "evo", "t", "r")}
    assert {found.metrics[key] for key in errors} == {None}
    assert errors == set(found.reasons)
    assert "one pose was matched" in found.reasons["ape_rmse_m"]
    assert "one pose was matched" in found.reasons["evo_ape_rmse_m"]


def test_bad_files_leave_nothing_behind(tmp_path: Path, drive: Tensor) -> None:
    reference = save(tmp_path / "gt.txt", drive)
    bad = tmp_path / "bad.txt"
    bad.write_text(reference.read_text().replace("\n", " nan\n", 3))
    with pytest.raises(Vo3dError, match=r"bad\.txt:1: 'nan' in a pose"):
        scored(reference, bad, json=tmp_path / "out.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "gt.txt"]


EVO_OPTIONS = {"none": (), "scale": ("--correct_scale",), "6dof": ("--align",), "7dof": ("--align", "--correct_scale")}
EVO_APE = """
import json, sys
from evo.cli import ape, ape_parser

for words in json.loads(sys.argv[1]):
    ape.run(ape_parser.parser().parse_args(words))
"""


def evo_command(folder: Path, reference: Path, estimate: Path, *aligns: str) -> list[float]:
    """Give the rmse of evo's own command `evo_ape tum` with each alignment, with all its digits; evo is loaded once."""
    results = [folder / f"{align}.zip" for align in aligns]
    words = [
        ["tum", str(reference), str(estimate), *EVO_OPTIONS[align], "--save_results", str(result), "--no_warnings"]
        for align, result in zip(aligns, results, strict=True)
    ]
    subprocess.run([sys.executable, "-c", EVO_APE, json.dumps(words)], capture_output=True, check=True)
    return [float(json.loads(ZipFile(result).read("stats.json"))["rmse"]) for result in results]


def test_a_csv_of_euroc_against_tum_equals_evo(tmp_path: Path, drive: Tensor, generator: torch.Generator) -> None:
    time = 1_403_636_579.5 + torch.arange(400, dtype=torch.float64) * 0.005
    csv = save(tmp_path / "data.csv", drive, "euroc", time=time)
    noisy = se3.compose(drive, se3.exp(torch.randn(400, 6, generator=generator, dtype=torch.float64) * 0.05))[::7]
    tum = save(tmp_path / "est.txt", noisy, "tum", time=time[::7] + 0.0013)
    in_tum = save(tmp_path / "truth.tum", drive, "tum", time=time)  # evo's command takes one format for both files
    for align, rmse in zip(EVO_OPTIONS, evo_command(tmp_path, in_tum, tum, *EVO_OPTIONS), strict=True):
        found, _ = scored(csv, tum, align=align, association="evo")
        assert found["evo_ape_rmse_m"] == pytest.approx(rmse, abs=1e-9)
        assert found["coverage"] == len(noisy) / 400
    found, _ = scored(csv, tum, align="6dof")
    assert found["ape_rmse_m"] == pytest.approx(found["evo_ape_rmse_m"], abs=1e-9)
    assert found["protocol"]["format"] == {"reference": "euroc", "estimate": "tum"}
    shifted = save(tmp_path / "late.txt", noisy, "tum", time=time[::7] + 5.0013)
    assert scored(csv, shifted, align="6dof", t_offset=-5.0)[0]["ape_rmse_m"] == pytest.approx(found["ape_rmse_m"])
    with pytest.raises(Vo3dError, match="no stamps within"):
        scored(csv, shifted)


def test_a_repeated_stamp_equals_evo_without_it(tmp_path: Path, drive: Tensor, generator: torch.Generator) -> None:
    time = torch.arange(400, dtype=torch.float64) * 0.05
    reference = save(tmp_path / "gt.tum", drive, "tum", time=time)
    noise = se3.exp(torch.randn(400, 6, generator=generator, dtype=torch.float64) * 0.05)
    clean = save(tmp_path / "est.tum", se3.compose(drive, noise), "tum", time=time)
    lines = clean.read_text().splitlines()
    again = " ".join([lines[200].split()[0], *lines[201].split()[1:]])
    twice = tmp_path / "twice.tum"
    twice.write_text("\n".join([*lines[:201], again, *lines[201:]]) + "\n")
    found, text = scored(reference, twice, align="6dof")
    assert "1 row left out with the time stamp of the row before (line 202)" in text
    assert [line.split(": ")[1] for line in found["notes"]] == [
        "1 row left out with the time stamp of the row before (line 202)"
    ]
    assert found["coverage_estimate"] == 1
    assert [found["evo_ape_rmse_m"]] == pytest.approx(evo_command(tmp_path, reference, clean, "6dof"), abs=1e-9)
    assert found["ape_rmse_m"] == scored(reference, clean, align="6dof")[0]["ape_rmse_m"]


@pytest.mark.real
def test_rows_that_people_have_equal_evo(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "trials" / "trajectories"
    truth, estimate = folder / "euroc_groundtruth.csv", folder / "euroc_estimate_in_tum.txt"
    in_tum = tmp_path / "truth.tum"
    convert_trajectory(truth, in_tum)
    for align, rmse in zip(EVO_OPTIONS, evo_command(tmp_path, in_tum, estimate, *EVO_OPTIONS), strict=True):
        found, _ = scored(truth, estimate, align=align, lengths=[2.0])
        assert found["evo_ape_rmse_m"] == pytest.approx(rmse, abs=1e-9)
    desk = folder / "tum_fr2_desk_groundtruth_rows.txt"  # with a repeated stamp, which evo would use twice
    once = desk.read_text().splitlines()
    again = [row for row, before in zip(once[1:], once, strict=False) if row.split()[0] == before.split()[0] != "#"]
    assert len(again) == 1
    reference, lines = tmp_path / "desk.tum", [line for line in once if line != again[0]]
    reference.write_text("\n".join(lines) + "\n")
    moved = tmp_path / "moved.tum"
    rows = [line.split() for line in lines if line[0] != "#"]
    moved.write_text(
        "".join(
            f"{row[0]} {float(row[1]) + 1e-4 * (7 * index % 5)} {' '.join(row[2:])}\n" for index, row in enumerate(rows)
        )
    )
    for align, rmse in zip(EVO_OPTIONS, evo_command(tmp_path, reference, moved, *EVO_OPTIONS), strict=True):
        found, _ = scored(desk, moved, align=align, lengths=[0.01])
        assert found["evo_ape_rmse_m"] == pytest.approx(rmse, abs=1e-9)
    plain = scored(folder / "gt.tum", folder / "base.tum")[0]["ape_rmse_m"]
    for name in ("bom.tum", "bom_comment.tum", "commas.tum", "duplicate.tum", "ms_integer.tum", "us_integer.tum"):
        assert scored(folder / "gt.tum", folder / name)[0]["ape_rmse_m"] == pytest.approx(plain, abs=1e-12), name
    for name in ("base.csv", "euroc_bom.csv", "unnormalised_1pct.tum"):
        assert scored(folder / "gt.csv", folder / name)[0]["ape_rmse_m"] == pytest.approx(plain, rel=1e-6), name


def test_yaw_turns_about_the_vertical_alone(tmp_path: Path, drive: Tensor) -> None:
    time = torch.arange(400, dtype=torch.float64) * 0.05
    tilted = drive.clone()
    tilted[:, 2, 3] *= 1.001  # a slope that yaw and translation cannot take away, and a rotation could
    moved = se3.compose(
        se3.from_rotation_translation(axis_rotation(2, torch.tensor(0.7).double()), drive[5, :3, 3]), tilted
    )
    reference = save(tmp_path / "gt.tum", drive, "tum", time=time)
    estimate = save(tmp_path / "est.tum", moved, "tum", time=time)
    found, _ = scored(reference, estimate, align="yaw")
    height = (tilted - drive)[:, 2, 3]
    assert found["ape_rmse_m"] == pytest.approx((height - height.mean()).square().mean().sqrt().item(), abs=1e-9)
    assert "evo has no alignment by yaw" in found["reasons"]["evo_ape_rmse_m"]
    assert found["protocol"]["origin"] == "as stored"
    rows = save(tmp_path / "gt.kitti", drive)
    with pytest.raises(Vo3dError, match=r"gt\.kitti: alignment yaw turns about a vertical z axis"):
        scored(rows, rows, align="yaw")


def test_what_is_covered_is_said_in_poses_and_seconds(tmp_path: Path, drive: Tensor) -> None:
    time = torch.arange(400, dtype=torch.float64) * 0.05
    reference = save(tmp_path / "gt.tum", drive, "tum", time=time)
    part = torch.cat([torch.arange(100, 150), torch.arange(200, 300)])
    found, text = scored(reference, save(tmp_path / "part.tum", drive[part], "tum", time=time[part]), lengths=[10.0])
    assert found["coverage"] == 150 / 400
    assert found["coverage_seconds"] == pytest.approx(9.95 / 19.95)
    covered = (
        "150 of 400 poses of the reference were scored, 9.950 of its 19.950 s (from 5.000 s on), the longest gap 2.55"
    )
    assert covered in text
    one = save(tmp_path / "one.tum", drive[7:8], "tum", time=time[7:8])
    found, text = scored(reference, one)
    assert found["ape_rmse_m"] is None
    assert "no APE (m), RPE (m), RPE (deg), final drift, scored part (%), APE, evo" in text


def test_length_and_drift_are_those_of_the_scored_part(drive: Tensor) -> None:
    known = torch.zeros(400, dtype=torch.bool)
    known[100:301] = True
    estimate = drive.clone()
    estimate[300, 1, 3] += 5
    found = score(drive, estimate, known=known, with_evo=False).metrics
    length = (path_lengths(drive)[300] - path_lengths(drive)[100]).item()
    assert found["scored_length_m"] == pytest.approx(length)
    assert found["path_length_m"] == pytest.approx(path_lengths(drive)[-1].item())
    assert found["final_drift_percent"] == pytest.approx(100 * 5 / length)


def test_several_estimates_share_a_table_and_one_failure_costs_one_column(tmp_path: Path, drive: Tensor) -> None:
    reference = save(tmp_path / "gt.txt", drive)
    (tmp_path / "a").mkdir()
    same, other = save(tmp_path / "same.txt", drive), save(tmp_path / "a" / "same.txt", drive)
    short = save(tmp_path / "short.txt", drive[:100])
    out, page = tmp_path / "out.json", tmp_path / "page"
    output = io.StringIO()
    with pytest.raises(Vo3dError, match=r"short\.txt is not scored: .*short\.txt: 100 poses, but .*gt\.txt has 400"):
        score_files(
            reference,
            [same, short, other],
            json=out,
            plot=page,
            evo=False,
            console=Console(file=output, width=200),
        )
    content = json.loads(out.read_text())
    assert list(content["results"]) == [str(same), str(other)]
    assert content["results"][str(same)] == scored(reference, same, evo=False)[0]
    assert "evo_ape_rmse_m" not in content["results"][str(same)]
    assert "expected as many" in content["failed"]["short.txt"]
    rows = [line.split("│")[1:-1] for line in output.getvalue().splitlines() if line.startswith("│ APE")]
    assert [[cell.strip() for cell in row] for row in rows] == [["APE", "0.000000", "-", "0.000000", "m"]]
    assert {path.name for path in page.iterdir()} == {"report.html", "paths.png", "drift.png"}
    assert "short.txt" in (page / "report.html").read_text()
    with pytest.raises(Vo3dError, match="given twice"):
        scored(reference, same, same)


def test_names_of_files_are_no_markup_and_no_column_is_cut(tmp_path: Path, drive: Tensor) -> None:
    for folder in ("a[", "b["):
        (tmp_path / folder).mkdir()
    names = ["[red]x.txt", "a[/y].txt", "b[/y].txt", "esc\x1b[31m.txt", *(f"{number}.txt" for number in range(6))]
    estimates = [save(tmp_path / name, drive) for name in names]
    output = io.StringIO()
    score_files(save(tmp_path / "[b]r.txt", drive), estimates, evo=False, console=Console(file=output, width=60))
    title, _, heads, *rest = output.getvalue().splitlines()
    assert title.strip() == "against [b]r.txt"
    same = [str(tmp_path / name) for name in names[1:3]]
    assert heads.split()[3::2][:4] == ["[red]x.txt", *same, r"esc\x1b[31m.txt"]
    assert next(line for line in rest if line.startswith("│ APE")).count("0.000000") == 10
    assert "\x1b" not in output.getvalue()
    assert "[red]x.txt: 400 of 400 poses of the reference were scored." in rest


def test_a_page_shows_the_estimate_in_the_world_of_the_reference(tmp_path: Path, drive: Tensor) -> None:
    utm = torch.tensor([500_000.0, 5_400_000.0, 300.0], dtype=torch.float64)
    time = torch.arange(400, dtype=torch.float64)
    upright = drive[:, [2, 0, 1, 3]].clone()  # z up, x ahead
    upright[:, :3, 3] += utm
    reference = save(tmp_path / "gt.tum", upright, "tum", time=time)
    estimate = save(tmp_path / "est.tum", se3.compose(se3.inverse(upright[3]), upright), "tum", time=time)
    found, _ = scored(reference, estimate, align="6dof", plot=tmp_path / "page")
    assert found["ape_rmse_m"] < 1e-8
    assert found["evo_ape_rmse_m"] < 1e-8
    shown = paths_drawn(reference, estimate)
    assert (shown.aligned[:, :3, 3] - upright[:, :3, 3]).norm(dim=1).max() < 1e-8
    picture = cv2.imread(str(tmp_path / "page" / "paths.png"))
    assert picture.std() > 5


def test_a_short_estimate_of_a_long_reference_is_drawn_whole(
    tmp_path: Path, drive: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = torch.arange(400, dtype=torch.float64)
    reference = save(tmp_path / "gt.tum", drive, "tum", time=time)
    part = save(tmp_path / "part.tum", drive[:40], "tum", time=time[:40])
    lengths: list[list[int]] = []
    monkeypatch.setattr("vo3d.pipelines.trajectory.page.MOST", 50)
    monkeypatch.setattr(
        "vo3d.pipelines.trajectory.page.plot_trajectories",
        lambda maps, styles: (
            lengths.extend([len(one.reference), *map(len, one.estimates.values())] for one in maps.values())
            or plot_trajectories(maps, styles)
        ),
    )
    scored(reference, part, plot=tmp_path / "page", evo=False)
    assert lengths == [[50, 40]]
    assert "Of more than 50 poses some are drawn" in (tmp_path / "page" / "report.html").read_text()


def paths_drawn(reference: Path, estimate: Path) -> Drawn:
    found: list[Drawn] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "vo3d.pipelines.trajectory.score.write_trajectory_page",
            lambda folder, ref, truth, drawn, *rest: found.extend(drawn.values()),
        )
        scored(reference, estimate, align="6dof", plot=reference.parent / "none")
    return found[0]


@pytest.mark.parametrize("source", ["kitti", "tum", "euroc"])
@pytest.mark.parametrize("target", ["kitti", "tum", "euroc"])
def test_any_format_becomes_any(
    tmp_path: Path, drive: Tensor, source: TrajectoryFormat, target: TrajectoryFormat
) -> None:
    time = 1_403_636_579 + torch.arange(400, dtype=torch.float64) * 0.05
    far = drive.clone()
    far[:, :3, 3] += torch.tensor([500_000.0, 5_400_000.0, 300.0], dtype=torch.float64)
    first = save(tmp_path / "first", far, source, time=time)
    (tmp_path / "times.txt").write_text("".join(f"{second!r}\n" for second in time.tolist()))
    times = tmp_path / "times.txt" if source == "kitti" and target != "kitti" else None
    convert_trajectory(first, tmp_path / "second", to=target, times=times, every=3)
    found = read_trajectory(tmp_path / "second", target)
    assert torch.equal(found.world_T_cam[:, :3, 3], far[::3, :3, 3])  # to the last digit, millions of metres away
    torch.testing.assert_close(found.world_T_cam, far[::3], rtol=0, atol=1e-14)
    if target != "kitti":
        assert torch.equal(found.time, time[::3])


def test_poses_of_the_body_become_those_of_the_camera(tmp_path: Path, drive: Tensor) -> None:
    body_T_cam = se3.exp(torch.tensor([0.1, -0.2, 0.3, 1.0, 0.5, -0.2], dtype=torch.float64))
    time = torch.arange(400, dtype=torch.float64)
    source = save(tmp_path / "data.csv", drive, "euroc", time=time)
    flat = ", ".join(map(repr, body_T_cam.flatten().tolist()))
    inverse = "".join(f"    - {row}\n" for row in se3.inverse(body_T_cam).tolist())
    files = {
        "sensor.yaml": f"sensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: [{flat}]\n",
        "camchain.yaml": f"cam0:\n  T_cam_imu:\n{inverse}cam1: {{}}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        convert_trajectory(source, tmp_path / "cam.tum", camera_from_body=tmp_path / name)
        found = read_trajectory(tmp_path / "cam.tum").world_T_cam
        torch.testing.assert_close(found, se3.compose(drive, body_T_cam.expand(400, 4, 4)), rtol=0, atol=1e-12)
    for text, message in (
        ("a: 1\n", "holds no pose of a camera"),
        ("T_BS: [1, 2]\n", "T_BS holds no 4x4 matrix"),
        (f"T_BS: [{', '.join(['2'] * 16)}]\n", "the last row of the pose is 2 2 2 2"),
        ("a: [\n", "not YAML"),
    ):
        (tmp_path / "wrong.yaml").write_text(text)
        with pytest.raises(Vo3dError, match=message):
            convert_trajectory(source, tmp_path / "cam.tum", camera_from_body=tmp_path / "wrong.yaml")
    with pytest.raises(Vo3dError, match=r"absent\.yaml: no such file: expected a YAML file with T_BS"):
        convert_trajectory(source, tmp_path / "cam.tum", camera_from_body=tmp_path / "absent.yaml")


def test_stamps_are_shifted_exactly_and_what_cannot_be_converted_is_said(tmp_path: Path, drive: Tensor) -> None:
    source = tmp_path / "data.csv"
    source.write_text("1403636579763555584,0,0,0,1,0,0,0\n1403636579813555456,0,0,0,1,0,0,0\n")
    convert_trajectory(source, tmp_path / "late.csv", t_offset=-0.000000001)
    assert read_trajectory(tmp_path / "late.csv").nanoseconds.tolist() == [1403636579763555583, 1403636579813555455]
    rows = save(tmp_path / "poses.txt", drive)
    (tmp_path / "times.txt").write_text("0\n1\n")
    for options, message in (
        ({}, "its ending tells no format"),
        ({"to": "tum"}, r"poses\.txt: has no time stamps, and tum needs some; give them \(--times times\.txt\)"),
        ({"to": "tum", "times": tmp_path / "times.txt"}, r"times\.txt: has 2 times, but .* has 400 poses"),
        ({"to": "kitti", "t_offset": 1.0}, "has no time stamps to shift"),
        ({"to": "kitti", "every": 0}, "every is 0: expected 1 or more"),
    ):
        with pytest.raises(Vo3dError, match=message):
            convert_trajectory(rows, tmp_path / "out", **options)
    with pytest.raises(Vo3dError, match="would overwrite its own source"):
        convert_trajectory(rows, rows, to="kitti")
    with pytest.raises(Vo3dError, match=r"times\.txt: would overwrite its own source"):
        convert_trajectory(rows, tmp_path / "times.txt", to="kitti", times=tmp_path / "times.txt")
    for inputs in ((rows, tmp_path / "late.csv"), (tmp_path / "late.csv", rows)):
        with pytest.raises(Vo3dError, match=r"poses\.txt: would overwrite its own source"):
            scored(*inputs, json=rows)
    with pytest.raises(Vo3dError, match="has time stamps of its own"):
        convert_trajectory(source, tmp_path / "out.tum", times=tmp_path / "times.txt")
    with pytest.raises(Vo3dError, match=r"its first time stamp would be -2\.36345e\+08 s"):
        convert_trajectory(source, tmp_path / "out.tum", t_offset=-1639981579.0)
    for seconds in (1e10, 1e300):
        with pytest.raises(Vo3dError, match=r"its first time stamp would be 1\S+ s; expected 0 s to the year 2262"):
            convert_trajectory(source, tmp_path / "out.tum", t_offset=seconds)
    convert_trajectory(source, tmp_path / "OUT.TUM", t_offset=-1403636579.0)
    assert read_trajectory(tmp_path / "OUT.TUM").nanoseconds.tolist() == [763555584, 813555456]
    assert not (tmp_path / "out").exists()


def test_rows_without_stamps_are_taken_one_by_one_beside_those_with(tmp_path: Path, drive: Tensor) -> None:
    rows = save(tmp_path / "poses.txt", drive)
    stamped = save(tmp_path / "est.tum", drive, "tum", time=torch.arange(400, dtype=torch.float64))
    found, _ = scored(rows, stamped)
    assert found["protocol"]["matched_by"] == "row"
    assert found["ape_rmse_m"] < 1e-9
    short = save(tmp_path / "short.tum", drive[:9], "tum", time=torch.arange(9, dtype=torch.float64))
    with pytest.raises(
        Vo3dError, match=r"poses\.txt has no time stamps: give it some \(vo3d convert-trajectory --times"
    ):
        scored(rows, short)


def test_frames_count_from_0_in_a_reference_with_stamps(tmp_path: Path, drive: Tensor) -> None:
    reference = save(tmp_path / "gt.tum", drive, "tum", time=torch.arange(400, dtype=torch.float64) * 0.05)
    found, text = scored(reference, save(tmp_path / "est.txt", drive[10::2], frames=torch.arange(10, 400, 2)))
    assert found["protocol"]["matched_by"] == "frame"
    assert found["ape_rmse_m"] < 1e-9
    assert found["protocol"]["frame_seconds"] == pytest.approx(0.05)
    assert "195 of 400 poses of the reference were scored" in text
    with pytest.raises(Vo3dError, match=r"frame 400 is not in .*gt\.tum"):  # as many, but from 1 on: not row by row
        scored(reference, save(tmp_path / "from1.txt", drive, frames=torch.arange(1, 401)))


def test_unequal_numbers_of_rows_say_which_file_needs_the_index(tmp_path: Path, drive: Tensor) -> None:
    whole, half = save(tmp_path / "whole.txt", drive), save(tmp_path / "half.txt", drive[::2])
    index = save(tmp_path / "index.txt", drive[::2], frames=torch.arange(0, 400, 2))
    for reference, estimate, who in (
        (whole, half, "an estimate of a part of the frames needs the frame index"),
        (half, whole, "where the reference holds a part of the frames, both files need the frame index"),
        (index, whole, "where the reference holds a part of the frames, both files need the frame index"),
    ):
        with pytest.raises(Vo3dError, match=who):
            scored(reference, estimate)


def test_a_shift_without_stamps_is_refused(tmp_path: Path, drive: Tensor) -> None:
    rows = save(tmp_path / "poses.txt", drive)
    stamped = save(tmp_path / "est.tum", drive, "tum", time=torch.arange(400, dtype=torch.float64))
    for reference, estimate in ((rows, rows), (rows, stamped), (stamped, rows)):
        with pytest.raises(
            Vo3dError, match=r"poses\.txt: has no time stamps to match those shifted by 5 s: leave --t-o"
        ):
            scored(reference, estimate, t_offset=5.0)


def test_a_pose_that_serves_several_is_covered_once(tmp_path: Path, drive: Tensor) -> None:
    time = torch.arange(400, dtype=torch.float64) * 0.05
    reference = save(tmp_path / "gt.tum", drive, "tum", time=time)
    estimate = save(tmp_path / "est.tum", drive[:40], "tum", time=time[:40] / 10)
    found, text = scored(reference, estimate, association="evo", max_difference=0.1)
    assert (found["coverage"], found["coverage_estimate"]) == (5 / 400, 1)
    assert found["protocol"]["frame_seconds"] == pytest.approx(0.05)
    assert "5 of 400 poses of the reference were scored" in text


def test_stamps_that_do_not_meet_tell_units_that_differ(tmp_path: Path, drive: Tensor) -> None:
    reference = save(tmp_path / "gt.tum", drive, "tum", time=1.4e9 + torch.arange(400, dtype=torch.float64))
    rows = [line.split(" ", 1)[1] for line in reference.read_text().splitlines()[1:]]
    slow = tmp_path / "slow.tum"  # microseconds of a hertz have the step of nanoseconds
    slow.write_text("".join(f"{second}000000 {row}\n" for second, row in enumerate(rows)))
    with pytest.raises(Vo3dError, match=r"their units were taken for s and ns \(--time-unit\)"):
        scored(reference, slow)
    found, _ = scored(reference, slow, est_time_unit="us", t_offset=1.4e9)
    assert found["coverage"] == 1

"""Scoring files: the published table, association, coverage, and what cannot be scored."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.scoring import score
from vo3d.formats.trajectories import Trajectory, TrajectoryFormat, read_trajectory, write_trajectory
from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain
from vo3d.pipelines.trajectory import score_files

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
    found, text = scored(*paths, "kitti", align="6dof", json=tmp_path / "scores.json")
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


def scored(*args: object, **options: object) -> tuple[dict[str, object], str]:
    output = io.StringIO()
    return score_files(*args, console=Console(file=output, width=200), **options), output.getvalue()


def test_a_part_of_the_frames_by_index(tmp_path: Path, drive: Tensor, generator: torch.Generator) -> None:
    noisy = se3.compose(drive, se3.exp(torch.randn(400, 6, generator=generator, dtype=torch.float64) * 0.01))
    frames = (torch.rand(400, generator=generator) > 0.2).nonzero()[:, 0]
    moved = se3.compose(se3.exp(torch.randn(6, generator=generator, dtype=torch.float64)), noisy)
    reference = save(tmp_path / "gt.txt", drive)
    estimate = save(tmp_path / "est.txt", moved[frames], frames=frames)
    found, text = scored(reference, estimate, "kitti", align="6dof")
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
    found, text = scored(reference, save(tmp_path / "est", drive[1::2], format, time=late), format, align="none")
    assert found["ape_rmse_m"] == pytest.approx(0, abs=1e-9)
    assert found["coverage"] == 199 / 400
    assert found["coverage_estimate"] == 199 / 200
    assert "199 of 400 poses of the reference were scored" in text
    protocol = found["protocol"]
    assert protocol["time_unit"] == dict.fromkeys(("reference", "estimate"), "s" if format == "tum" else "ns")
    assert protocol["frame_seconds"] == pytest.approx(0.1, abs=1e-6)
    assert protocol["pose_of"] == ("camera" if format == "tum" else "body")
    with pytest.raises(Vo3dError, match=r"no stamps within 0\.001 s"):
        scored(reference, tmp_path / "est", format, max_difference=0.001)


def test_recordings_without_segments_are_said_to_have_none(tmp_path: Path, drive: Tensor) -> None:
    indoors = drive.clone()
    indoors[:, :3, 3] *= 0.02
    reference, out = save(tmp_path / "gt.txt", indoors), tmp_path / "out.json"
    found, text = scored(reference, reference, json=out)
    assert (found["num_segments"], found["t_rel_percent"], found["r_rel_deg_per_100m"]) == (0, None, None)
    assert "No segment: the reference is 8.0 m long, the shortest segment 100 m" in text
    assert json.loads(out.read_text()) == found
    indoor, text = scored(reference, reference, lengths=[1.0, 2.0])
    assert indoor["num_segments"] > 20
    assert indoor["t_rel_percent"] == pytest.approx(0, abs=1e-9)
    assert indoor["protocol"]["segment_lengths_m"] == [1.0, 2.0]
    assert [part["centre"] for part in indoor["by_length"]] == [1.0, 2.0]
    assert "No segment" not in text


def test_straight_roads_have_no_value_of_evo_for_scale(drive: Tensor) -> None:
    straight = torch.eye(4, dtype=torch.float64).repeat(400, 1, 1)
    straight[:, 2, 3] = torch.arange(400)
    shrunk = straight.clone()
    shrunk[:, 2, 3] /= 4
    metrics = score(straight, shrunk, alignment="scale").metrics
    assert metrics["scale"] == pytest.approx(4)
    assert metrics["t_rel_percent"] == pytest.approx(0, abs=1e-9)
    assert metrics["evo_ape_rmse_m"] is None
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


def test_one_pose_has_no_step(drive: Tensor) -> None:
    metrics = score(drive[:1], drive[:1]).metrics
    assert (metrics["rpe_mean_m"], metrics["rpe_mean_deg"], metrics["evo_rpe_mean_m"]) == (None, None, None)
    assert metrics["ape_rmse_m"] == 0


def test_bad_files_leave_nothing_behind(tmp_path: Path, drive: Tensor) -> None:
    reference = save(tmp_path / "gt.txt", drive)
    bad = tmp_path / "bad.txt"
    bad.write_text(reference.read_text().replace("\n", " nan\n", 3))
    with pytest.raises(Vo3dError, match=r"bad\.txt:1: 'nan' in a pose"):
        scored(reference, bad, json=tmp_path / "out.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "gt.txt"]

"""The odometry report: every number of the results is on the page, every mistake in them is one clear line."""

import base64
import json
import re
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.page import write_report
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain, start_at_identity
from vo3d.metrics.kitti_odometry import segment_errors
from vo3d.recording import Recording
from vo3d.report.scored import read_scored
from vo3d.sample import Sample

LENGTHS = [20.0, 40.0, 60.0]
PROTOCOL = {
    "dataset": "street <rendered> & more",
    "split": ["seed 101", "seed 102"],
    "alignment": "none",
    "segment_lengths_m": LENGTHS,
    "segment_start_every": 10,
    "scale_source": "ground truth",
}


def write_odometry_report(out: Path, results: dict[str, Path], **options: Any) -> Path:
    return write_report(out, {Odometry(): results}, **options)


def drive(seed: int, noise: float = 0.0, frames: int = 160) -> Tensor:
    """A curvy path, the same for the same seed, with noise on its steps."""
    time = torch.linspace(0, 1, frames - 1, dtype=torch.float64)
    twist = torch.zeros(frames - 1, 6, dtype=torch.float64)
    twist[:, 2] = 0.8 + 0.3 * torch.sin(12 * time + seed)
    twist[:, 4] = 0.02 * torch.sin(7 * time + seed)
    random = torch.randn(twist.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return chain(se3.exp(twist + 0.01 * noise * random))


def metrics(reference: Tensor, estimate: Tensor) -> dict[str, float | int | None]:
    errors = segment_errors(reference, estimate, lengths=LENGTHS)
    return {
        "t_rel_percent": errors.t_rel_percent,
        "r_rel_deg_per_100m": errors.r_rel_deg_per_100m,
        "num_segments": len(errors),
        "ape_rmse_m": None,
        "coverage": 1.0,
        "scale": 1.0,
        "fps": 31.0,
    }


def write_result(folder: Path, noise: float, names: Sequence[str] = ("101", "102"), **changes: Any) -> Path:
    """A result folder as an evaluation leaves it, from noisy copies of the truth."""
    sequences = {}
    for name in names:
        reference, estimate = drive(int(name)), drive(int(name), noise)
        write_trajectory(folder / "reference" / f"{name}.txt", Trajectory(world_T_cam=reference), "kitti")
        write_trajectory(folder / "trajectories" / f"{name}.txt", Trajectory(world_T_cam=estimate), "kitti")
        sequences[name] = metrics(reference, estimate)
    mean = {"t_rel_percent": sum(one["t_rel_percent"] for one in sequences.values()) / len(names), "fps": 31.0}
    provenance = {"seed": 7, "versions": {"vo3d": "0.1.0"}, "command": "vo3d evaluate"}
    content = {"model": folder.name, "protocol": PROTOCOL, "sequences": sequences, "mean": mean}
    (folder / "metrics.json").write_text(json.dumps(content | {"provenance": provenance} | changes))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Path]:
    return {
        "DeepVO": write_result(tmp_path / "deepvo", 0.5),
        "constant <motion>": write_result(
            tmp_path / "constant", 4.0, protocol=PROTOCOL | {"scale_source": "training mean"}
        ),
    }


class Frames(Recording):
    """Grey frames, each as bright as its place."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __len__(self) -> int:
        return 160

    def clip(self, indices: Sequence[int]) -> Sample:
        """Flat pictures."""
        image = torch.stack([torch.full((3, 24, 78), index / 160) for index in indices])
        return Sample(image=image, K=torch.eye(3).expand(len(indices), 3, 3), scene=self.name)

    def poses(self) -> Tensor:
        """The truth."""
        return drive(int(self.name))


def captions(page: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)]


def test_the_report_shows_every_figure_and_stands_alone(results: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "history.csv").write_text("step,epoch,name,value\n0,0,train/loss,2\n1,0,train/loss,1\n1,0,lr-Adam,0.1\n")
    (run / "config.yaml").write_text("model:\n  hidden: 256\n")
    path = write_odometry_report(
        tmp_path / "out",
        results,
        title="Odometry & more",
        run=run,
        recordings={"any": [Frames("101"), Frames("999")]},
        commands=["vo3d fit -c a.yaml", "vo3d evaluate > log"],
    )
    assert path == tmp_path / "out" / "report.html"
    page = path.read_text(encoding="utf-8")
    kinds = ("trajectories", "drift", "motion", "error_over_distance", "error_over_speed", "frames_101", "training")
    expected = {f"{kind}.png" for kind in kinds}
    assert {file.name for file in (tmp_path / "out" / "figures").iterdir()} == expected
    assert len(captions(page)) == len(expected)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "http" not in page
    assert "vo3d fit -c a.yaml\nvo3d evaluate &gt; log" in page
    assert "hidden: 256" in page
    assert "Odometry &amp; more" in page


def test_every_picture_on_the_page_decodes_to_its_stated_size(results: dict[str, Path], tmp_path: Path) -> None:
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)" width="(\d+)" height="(\d+)" alt="([^"]+)"', page)
    assert len(images) == page.count("<img ") == 5
    for content, width, height, _ in images:
        image = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (pytest.approx(2 * int(height), abs=1), pytest.approx(2 * int(width), abs=1), 3)
        assert image.std() > 1  # not an empty sheet


def test_numbers_protocol_and_the_leader_are_those_of_the_results(results: dict[str, Path], tmp_path: Path) -> None:
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    means = [read_scored(folder).mean["t_rel_percent"] for folder in results.values()]
    assert means[0] < means[1]
    assert f">{means[0]:.2f}</strong>" in page
    assert f"<td>{means[1]:.2f}</td>" in page
    assert f"DeepVO is off by {means[0]:.2f} % of the distance travelled on 2 recordings" in page
    assert "that is the lowest of 2 models." in page
    text = unescape(page)
    assert "street <rendered> & more" in text
    assert "<dt>scale source</dt><dd><div>" in page  # differs: one line for each model
    assert "constant <motion></span> training mean" in text
    assert "<motion>" not in page


def test_unequal_recordings_are_shown_where_they_exist_and_nothing_is_ranked(
    results: dict[str, Path], tmp_path: Path
) -> None:
    results["classic"] = write_result(tmp_path / "classic", 1.0, names=("102", "103"))
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    assert "classic was not scored on 101." in page
    assert "DeepVO was not scored on 103." in page
    assert "<strong" not in page
    assert "lowest" not in page
    assert '<p class="lead">DeepVO, constant &lt;motion&gt;, classic on 3 recordings.</p>' in page
    assert sum("mean over 3 recordings" in caption for caption in captions(page)) == 2


def test_unequal_protocols_are_named_and_nothing_is_ranked(results: dict[str, Path], tmp_path: Path) -> None:
    results["aligned"] = write_result(tmp_path / "aligned", 1.0, protocol=PROTOCOL | {"alignment": "7dof"})
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    assert "aligned: alignment is 7dof instead of none." in page
    assert "<strong" not in page


def test_the_first_model_is_measured_against_constant_motion(tmp_path: Path) -> None:
    blind = {"101": {"fps": 30.0}, "102": {"fps": 30.0}}  # no ground truth, no figures
    results = {
        "DeepVO": write_result(tmp_path / "deepvo", 1.0, sequences=blind, mean={"t_rel_percent": 10.0}),
        "Better": write_result(tmp_path / "better", 0.5, sequences=blind, mean={"t_rel_percent": 0.4}),
        "ConstantMotion": write_result(tmp_path / "constant", 4.0, sequences=blind, mean={"t_rel_percent": 53.0}),
    }
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    assert (
        "DeepVO is off by 10.00 % of the distance travelled on 2 recordings, 5.3 times less than ConstantMotion "
        "(53.00 %), which looks at no image; lowest: Better, 0.40 %." in page
    )
    write_result(tmp_path / "constant", 4.0, sequences=blind, mean={"t_rel_percent": 5.0})
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    assert "2.0 times more than ConstantMotion" in page


def heads(page: str) -> list[list[str]]:
    """The names of the columns of each table."""
    rows = re.findall(r"<thead><tr>(.*?)</tr></thead>", page)
    return [re.findall(r'<th scope="col"[^>]*>([^<]*)', row) for row in rows]


def test_columns_that_say_nothing_are_left_out_and_those_of_the_method_come_where_they_differ(
    results: dict[str, Path], tmp_path: Path
) -> None:
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    assert heads(page) == [
        ["model", "t_rel", "speed", "scale source"],
        ["recording", "model", "t_rel", "r_rel", "APE"],
    ]
    assert "Scale and coverage are 1 in all rows." in page
    mean = {"t_rel_percent": 1.0, "scale": 1.0, "coverage": 0.5}
    results = {
        "a": write_result(tmp_path / "a", 1.0, mean=mean, protocol=PROTOCOL | {"resolution": "416x128"}),
        "b": write_result(tmp_path / "b", 1.0, mean=mean, protocol=PROTOCOL | {"resolution": "208x64"}),
    }
    page = write_odometry_report(tmp_path / "out", results, title="t").read_text(encoding="utf-8")
    assert heads(page)[0] == ["model", "t_rel", "coverage", "input"]
    assert "Scale is 1 in all rows." in page


def test_captions_hold_the_numbers_of_the_figures(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "a", 1.0, names=("101",))
    page = write_odometry_report(tmp_path / "out", {"a": folder}, title="t").read_text(encoding="utf-8")
    track = read_scored(folder).tracks["101"]
    end = (track.aligned[-1, :3, 3] - track.reference[-1, :3, 3]).norm().item()
    assert f"At the end of the path: a {end:.1f} m, " in page
    segments = read_scored(folder).segments()
    assert segments is not None
    counts = ", ".join(f"{int((segments.length == length).sum())} at {length:g} m" for length in LENGTHS)
    assert f"Segments: {counts}." in page


@pytest.mark.parametrize("seconds", [0.1, 0.05, None])
def test_speeds_use_the_time_between_frames_that_is_stated(tmp_path: Path, seconds: float | None) -> None:
    folder = write_result(tmp_path / "a", 1.0, names=("101",))
    content = json.loads((folder / "metrics.json").read_text())
    content["sequences"]["101"]["frame_seconds"] = seconds
    (folder / "metrics.json").write_text(json.dumps(content))
    segments = read_scored(folder).segments()
    assert segments is not None
    frames = (segments.last - segments.first + 1).double()
    assert torch.allclose(segments.speed, segments.length / frames / (seconds or 0.1))
    page = write_odometry_report(tmp_path / "out", {"a": folder}, title="t", recordings={"a": [Frames("101")]})
    text = page.read_text(encoding="utf-8")
    assert ("does not state the time between frames" in text) == (seconds is None)
    assert ("next 20 frames (1.0 s) from above" in text) == (seconds == 0.05)


@pytest.mark.parametrize("mode", ["scale", "6dof", "7dof"])
def test_tracks_are_aligned_as_the_protocol_says(tmp_path: Path, mode: str) -> None:
    folder = write_result(tmp_path / "a", 0.0, names=("101",), protocol=PROTOCOL | {"alignment": mode})
    halved = drive(101)
    halved[:, :3, 3] *= 0.5
    write_trajectory(folder / "trajectories" / "101.txt", Trajectory(world_T_cam=halved), "kitti")
    track = read_scored(folder).tracks["101"]
    aligned = torch.allclose(track.aligned, start_at_identity(drive(101)), atol=1e-6)
    assert aligned == (mode != "6dof")
    assert torch.allclose(track.scaled, track.reference, atol=1e-6) == (mode != "6dof")


def test_segments_are_those_that_the_metrics_were_made_of(results: dict[str, Path]) -> None:
    scored = read_scored(results["DeepVO"])
    segments = scored.segments()
    assert segments is not None
    total = sum(one["num_segments"] for one in scored.sequences.values())
    assert len(segments) == total
    pooled = sum(one["t_rel_percent"] * one["num_segments"] for one in scored.sequences.values()) / total
    assert segments.t_rel_percent == pytest.approx(pooled, rel=1e-6)


def test_without_frames_or_long_segments_the_page_says_so(tmp_path: Path) -> None:
    protocol = PROTOCOL | {"segment_lengths_m": [1000.0]}
    folder = write_result(tmp_path / "a", 1.0, names=("101",), protocol=protocol)
    page = write_odometry_report(tmp_path / "out", {"a": folder}, title="t").read_text(encoding="utf-8")
    assert "No sample frames" in page
    assert "No error over distance" in page
    assert "No error over speed" in page
    assert "No commands were given" in page


def test_a_recording_without_ground_truth_is_named_and_not_drawn(tmp_path: Path) -> None:
    sequences = {"104": {"fps": 30.0}}
    folder = write_result(tmp_path / "a", 1.0, names=("101",), sequences=sequences)
    page = write_odometry_report(tmp_path / "out", {"a": folder}, title="t").read_text(encoding="utf-8")
    assert "No ground truth for 104: a has no errors there." in page
    assert "<figure>" not in page


def test_a_recording_that_failed_is_said(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "a", 1.0, names=("101",), provenance={"failed": {"102": "image 7 is truncated"}})
    page = write_odometry_report(tmp_path / "out", {"a": folder}, title="t").read_text(encoding="utf-8")
    assert "a failed on 102 image 7 is truncated" in page


def _remove(folder: Path) -> None:
    (folder / "metrics.json").unlink()


def _cut(folder: Path) -> None:
    (folder / "metrics.json").write_text('{"model": "a"')


def _change(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "metrics.json").read_text()) | changes
        (folder / "metrics.json").write_text(json.dumps(content))

    return change


def _shorten(folder: Path) -> None:
    path = folder / "trajectories" / "101.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _other_truth(folder: Path) -> None:
    write_trajectory(folder / "reference" / "101.txt", Trajectory(world_T_cam=drive(5)), "kitti")


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_remove, "metrics.json: cannot be read (No such file or directory)"),
        (_cut, "metrics.json: not JSON"),
        (_change(protocol=None), "metrics.json: protocol is a NoneType"),
        (_change(sequences={}), "metrics.json: found no recording"),
        (_change(sequences={"101": 3}), "metrics.json: sequences.101 is a int"),
        (_change(mean={"scale": "big"}), "metrics.json: mean.scale is 'big'"),
        (lambda folder: (folder / "trajectories" / "101.txt").unlink(), "101.txt"),
        (_shorten, "101.txt: found 159 poses, expected 160"),
        (_other_truth, "the ground truth of 101 differs from that of DeepVO"),
    ],
    ids=["missing", "cut off", "no protocol", "empty", "no table", "a word", "no track", "short track", "other truth"],
)
def test_a_bad_result_is_one_clear_line_and_leaves_no_page(
    results: dict[str, Path], tmp_path: Path, spoil: Callable[[Path], None], found: str
) -> None:
    spoil(results["constant <motion>"])
    with pytest.raises(Vo3dError) as error:
        write_odometry_report(tmp_path / "out", results, title="t")
    assert found in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "report.html").exists()


def test_no_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="at least one model"):
        write_odometry_report(tmp_path, {}, title="t")

"""Methods from outside of the package, named by class path: trained two steps, evaluated by what they give."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from checks import complaint
from stop_callback import Stopped
from stubs import Fixed, Patient, Places, StepsAndDepth, TrivialMapper
from tiny import TinyRecording, Whole
from vo3d.cli import main
from vo3d.datasets.tabletop import Tabletop
from vo3d.evaluation.page import write_report
from vo3d.evaluation.tasks.clouds import Clouds
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.relocalisation import read_relocalised
from vo3d.formats.results import Result
from vo3d.formats.trajectories import read_trajectory
from vo3d.inference.loop import answers, evaluating, windows_of
from vo3d.models.deepvo import DeepVO
from vo3d.recording import MultiViewScene
from vo3d.sample import Sample

STREET = {
    "class_path": "vo3d.datasets.rendered.Rendered",
    "init_args": {"seeds": [0], "frames": 8, "size": [16, 32], "clip_length": 3, "depth": True, "cache": True},
}
pytestmark = pytest.mark.usefixtures("scenes_built_once", "coarse_figures")
OWN = ["--allow", "stubs"]  # where the methods of these runs lie
TABLE = {
    "class_path": "vo3d.datasets.tabletop.Tabletop",
    "init_args": {"seeds": [0], "size": [32, 40], "views_per_scene": 4, "num_views": 3, "cache": True},
}


def train(net: str, data: dict[str, Any], folder: Path, *more: str) -> Path:
    """Two steps on the CPU."""
    config = {
        "model": {"net": {"class_path": f"stubs.{net}"}},
        "data": {"train": data, "test": data, "batch_size": 2},
        "trainer": {"accelerator": "cpu", "max_steps": 2, "log_every_n_steps": 1, "enable_progress_bar": False},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", str(folder / "own.yaml"), "--out", str(folder / "run"), *more]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def steps_and_depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a method of poses and depth; nothing is logged in its two steps."""
    return train("StepsAndDepth", STREET, tmp_path_factory.mktemp("steps"), "--trainer.log_every_n_steps", "3")


def test_steps_and_depth_get_two_tables_and_one_page(steps_and_depth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = steps_and_depth
    assert main(["evaluate", str(run), *OWN, "--weights", "last", "--lengths", "2", "4"]) == 0
    text = capsys.readouterr().out
    assert "Protocol: task odometry" in text
    assert "Protocol: task single_view_depth" in text
    assert "depth not scored" not in text
    assert "flow not scored: Rendered gives no flow to compare with: turn it on" in text
    folder = run / "evaluation/test/StepsAndDepth"
    odometry, depth = (Result.load(folder / task) for task in ("odometry", "single_view_depth"))
    assert odometry.mean["t_rel_percent"] > 0  # type: ignore[operator]
    assert depth.sequences["street-0000"]["num_images"] == 8  # each frame once
    assert not any("confident" in key for key in depth.mean)
    page = (run / "evaluation/test/report.html").read_text()
    assert "no history.csv with losses" in page  # nothing was logged in two steps
    depths = ("Single view depth: result", "Single view depth: depth maps")
    for title in ("Odometry: result", "Odometry: paths from above", *depths, "Protocol"):
        assert f">{title}</h2>" in page
    assert main(["compare", str(run / "evaluation/test/StepsAndDepth")]) == 0  # the folder of a model: both tables


def test_the_rules_of_single_views_are_options(
    steps_and_depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(steps_and_depth), *OWN, "--weights", "last", "--out", str(tmp_path)]
    rules = ["--cap", "1", "50", "--crop", "garg", "--scaling", "median", "--references", "2"]
    assert main([*words, "--tasks", "single_view_depth", *rules]) == 0
    assert "cap 1 50; crop garg; scaling median" in capsys.readouterr().out
    result = Result.load(tmp_path / "StepsAndDepth/single_view_depth")
    assert (result.protocol["cap"], result.mean["num_images"]) == ([1.0, 50.0], 2)
    assert result.mean["depth_scale"] > 0  # type: ignore[operator]
    for options, line in (
        (["--cap", "50"], "cap of 1 numbers: expected two, near and far in metres"),
        (["--cap", "50", "1"], "cap 50 to 1 m: expected a near and a larger far"),
        (["--crop", "middle"], "crop"),
        (["--scaling", "mean"], "scaling"),
        (["--tasks", "odometry", "--cap", "1", "50"], "--cap is an option of single_view_depth, and odometry runs"),
    ):
        assert line in complaint(capsys, *words, *options)


def test_baselines_of_depth_are_fitted_to_truths_that_the_model_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = {**STREET, "init_args": {**STREET["init_args"], "depth": False}}
    test = {**STREET, "init_args": {**STREET["init_args"], "stereo": True}}
    net = {"class_path": "vo3d.models.semi_global.SemiGlobalStereo", "init_args": {"near": 20.0}}
    config = {"model": {"net": net}, "data": {"train": blind, "test": test}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    words = ["evaluate", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out"), "--references", "2"]
    words += ["--baselines", "constant_depth", "ground_plane"]
    told = "street-0000 gives no depth: a baseline is fitted to true depths; turn depth on"
    assert told in complaint(capsys, *words)
    assert main([*words, "--baseline_data", '{"depth": true}']) == 0
    found = {name: Result.load(tmp_path / f"out/{name}/single_view_depth") for name in ("ConstantDepth", "GroundPlane")}
    assert found["GroundPlane"].mean["depth_delta1_percent"] > found["ConstantDepth"].mean["depth_delta1_percent"]  # type: ignore[operator]
    assert found["GroundPlane"].provenance["data"] == {"depth": True}
    assert "coverage" in capsys.readouterr().out


def test_a_key_without_a_truth_is_said(
    steps_and_depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", '{"depth": false}', "--out", str(tmp_path / "out")]
    words = ["evaluate", str(steps_and_depth), *OWN, "--weights", "last", *data]
    assert main(words) == 0
    assert "depth not scored: Rendered gives no depth to compare with: turn it on" in capsys.readouterr().out
    assert not (tmp_path / "out/StepsAndDepth/single_view_depth").exists()
    assert "gives no depth to compare with" in complaint(capsys, *words, "--tasks", "single_view_depth")
    assert "the task single_view_depth scores it" in complaint(capsys, *words, "--tasks", "depth")
    assert "there is no task 'flows'" in complaint(capsys, *words, "--tasks", "flows")
    assert (
        "--references is an option of depth and flow and masks and single_view_depth, and odometry runs"
        in complaint(capsys, *words, "--tasks", "odometry", "--references", "1")
    )


def test_flow_and_masks_are_scored_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"flow": True, "mask": True, "object_motion": True, "clip_length": 2}
    data = {**STREET, "init_args": {**STREET["init_args"], "seeds": [3], "frames": 5, "size": [24, 48], **fields}}
    net = {"class_path": "true_pairs.TruePairs", "init_args": {"shift": 1.5, "num_masks": 3}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"net": net}, "data": {"test": data}}))
    words = ["evaluate", str(tmp_path / "own.yaml"), "--allow", "true_pairs", "--out", str(tmp_path / "out")]
    words += ["--baselines", "true_pairs.Blank"]
    assert main([*words, "--tasks", "flow", "masks", "--references", "2"]) == 0
    text = capsys.readouterr().out
    assert "Protocol: task flow" in text
    assert "Protocol: task masks" in text
    for column in ("moving EPE", "background IoU", "rotation", "still"):
        assert column in text, column
    flow, masks = (Result.load(tmp_path / f"out/TruePairs/{task}") for task in ("flow", "masks"))
    assert flow.mean["flow_epe_px"] == pytest.approx(1.5, rel=1e-5)
    assert (flow.mean["num_pairs"], masks.mean["num_pairs"]) == (2, 2)
    assert masks.mean["mask_iou_percent"] == masks.mean["mask_found_percent"] == 100
    assert Result.load(tmp_path / "out/Blank/masks").mean["mask_iou_percent"] == 0
    page = (tmp_path / "out/report.html").read_text()
    for title in ("Flow: result", "Masks: result"):
        assert f">{title}</h2>" in page
    assert main(words) == 0  # nobody asked: the same tasks
    assert "not scored" not in capsys.readouterr().out
    task = '{"class_path": "vo3d.evaluation.tasks.masks.Masks", "init_args": {"least": 2000}}'
    assert main([*words, "--tasks", task]) == 0
    assert Result.load(tmp_path / "out/TruePairs/masks").mean["mask_iou_percent"] is None
    for more, line in (
        (["--tasks", "flow", "--data", '{"flow": false}'], "Rendered gives no flow to compare with: turn it on"),
        (
            ["--tasks", "masks", "--data", '{"mask": false}'],
            "Rendered gives no mask to compare with: turn it on",
        ),
        (["--tasks", "masks", "--clip-length", "1"], "clip_length 1: expected at least 2 frames, for one pair"),
        (["--tasks", "flow", "--references", "0"], "references 0: expected at least 1 of each recording"),
        (["--tasks", "flow", "--crop", "garg"], "--crop is an option of single_view_depth, and flow runs"),
        (["--tasks", "masks", "--data", '{"frames": 1}'], "expected at least 2"),
        (["--tasks", task.replace("2000", "0")], "least 0: expected at least 1 pixel"),
    ):
        assert line in complaint(capsys, *words, *more), more


def test_what_a_recording_has_to_say_is_said(
    steps_and_depth: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vo3d.recording.Recording.notes", ["1 of 9 images are missing"])
    words = ["evaluate", str(steps_and_depth), *OWN, "--weights", "last", "--tasks", "single_view_depth"]
    assert main([*words, "--out", str(steps_and_depth / "said")]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "are missing" in line] == [
        "street-0000: 1 of 9 images are missing"
    ]


def test_poses_in_the_world_are_scored_as_relocalisation_and_as_odometry_where_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("Places", STREET, tmp_path)
    words = ["evaluate", str(run), *OWN, "--weights", "last"]
    capsys.readouterr()
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "Protocol: task relocalisation" in text
    assert "odometry" not in text
    assert "not scored" not in text
    assert not (run / "evaluation/test/Places/odometry").exists()
    found = Result.load(run / "evaluation/test/Places/relocalisation")
    assert found.mean["num_frames"] == 8
    assert found.mean["median_position_m_pooled"] > 0  # type: ignore[operator]
    assert found.mean["nearest_position_m_pooled"] == pytest.approx(0, abs=1e-9)  # tested on what it was trained on
    table = read_relocalised(run / "evaluation/test/Places/relocalisation/relocalisation/street-0000.csv")
    assert table.nearest == [("street-0000", index) for index in range(8)]
    assert main(["compare", str(run / "evaluation/test/Places")]) == 0
    assert "median" in capsys.readouterr().out
    assert main([*words, "--tasks", "odometry", "--lengths", "2"]) == 0
    result = Result.load(run / "evaluation/test/Places/odometry")
    assert result.protocol["clip_length"] == 1
    assert result.mean["coverage"] == 1
    assert result.mean["ape_rmse_m"] > 0  # type: ignore[operator]
    assert len(read_trajectory(run / "evaluation/test/Places/odometry/trajectories/street-0000.txt", "kitti")) == 8


def test_training_views_that_cannot_be_had_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": {"frames": 0}}
    for number, (train_data, told) in enumerate(
        (
            (None, "there is no data.train"),
            (broken, "0 frames of 'street': expected at least 2"),
            ({**STREET, "init_args": {**STREET["init_args"], "seeds": [1]}}, None),
        )
    ):
        config = {
            "model": {"net": {"class_path": "stubs.Told"}},
            "data": {"test": STREET} | ({} if train_data is None else {"train": train_data}),
        }
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
        words = ["evaluate", str(tmp_path / "own.yaml"), *OWN, "--out", str(tmp_path / f"out{number}")]
        assert main(words) == 0
        (line,) = [one for one in capsys.readouterr().out.splitlines() if "without training views" in one] or [None]
        result = Result.load(tmp_path / f"out{number}/Told/relocalisation")
        assert result.mean["median_position_m_pooled"] == 0
        assert ("training_frames_sha256" in result.protocol) is (told is None)
        assert ("nearest_position_m" in result.sequences["street-0000"]) is (told is None)
        if told is None:
            assert line is None
        else:
            assert line is not None
            assert line.startswith("relocalisation goes without training views: ")
            assert told in line


def test_a_fixed_number_of_hypotheses_reconstructs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("Fixed", TABLE, tmp_path)
    assert main(["evaluate", str(run), *OWN, "--weights", "last"]) == 0
    assert main(["render", "tabletop", "--frames", "6", "--size", "64x80", "--out", str(tmp_path / "tables")]) == 0
    capsys.readouterr()
    weights = ["--weights", str(run / "checkpoints/last.ckpt"), *OWN]
    status = main(["reconstruct", str(tmp_path / "tables/scan0"), *weights, "--out", str(tmp_path / "a.ply")])
    found = capsys.readouterr()
    assert "16 depths" in found.out
    assert "Fixed gives no confidence: every depth counts as sure" in found.out
    # a plane as a depth is hardly confirmed by other views: either some points are, or one line says why not
    assert status == 0 or (status == 2 and found.err.count("\n") == 1)


def test_clouds_are_scored_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump(
            {
                "model": {"net": {"class_path": "vo3d.models.plane_sweep.PlaneSweep", "init_args": {"num_depths": 32}}},
                "data": {
                    "test": {
                        "class_path": "vo3d.datasets.tabletop.Tabletop",
                        "init_args": {"seeds": [3], "size": [96, 128], "views_per_scene": 7, "num_views": 4},
                    }
                },
            }
        )
    )
    words = ["evaluate", str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / "out")]
    task = '{"class_path": "vo3d.evaluation.tasks.clouds.Clouds", "init_args": {"distances": [0.01, 0.02, 0.04]}}'
    assert main([*words, "--tasks", task, "--min-confidence", "0.2"]) == 0
    result = Result.load(tmp_path / "out/PlaneSweep/clouds")
    assert result.mean["cloud_f_score_large_percent"] > 50  # type: ignore[operator]
    assert result.protocol["distances"] == [0.01, 0.02, 0.04]
    assert (tmp_path / "out/PlaneSweep/clouds/clouds/tabletop-0003-light6.ply").is_file() or list(
        (tmp_path / "out/PlaneSweep/clouds/clouds").glob("*.ply")
    )
    assert "three that ascend" in complaint(capsys, *words, "--tasks", task.replace("0.04", "0.001"))


def test_what_is_learnt_without_gradients_is_learnt_once_and_finished(tmp_path: Path) -> None:
    run = train("Places", STREET, tmp_path)
    stored = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    mean = stored["state_dict"]["net.world_T_mean"]
    assert mean[2, 3] > 0.5  # the mean position of the street's frames
    assert stored["state_dict"]["net.finished"] == 1  # of one recording, after the training
    # a resumed run keeps what the first one learnt, whatever the data are now
    more = {**STREET, "init_args": {**STREET["init_args"], "frames": 8, "seeds": [1]}}
    config = yaml.safe_load((tmp_path / "own.yaml").read_text())
    config["data"]["train"] = more
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    words = ["fit", "-c", str(tmp_path / "own.yaml"), "--trainer.max_steps", "4"]
    assert main([*words, "--out", str(run), "--ckpt_path", "last"]) == 0
    again = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]["net.world_T_mean"]
    assert torch.equal(again, mean)
    # and so does one that starts from weights
    start = ["--model.init_weights", str(run / "checkpoints/last.ckpt")]
    assert main([*words, "--out", str(tmp_path / "tuned"), *start]) == 0
    tuned = torch.load(tmp_path / "tuned/checkpoints/last.ckpt", weights_only=True)["state_dict"]["net.world_T_mean"]
    assert torch.equal(tuned, mean)


def test_a_method_that_begins_in_part_from_weights_learns_the_rest(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(6, 3)}, tmp_path / "trunk.pth")
    run = train(
        "Places", STREET, tmp_path, "--model.init_weights", str(tmp_path / "trunk.pth"), "--model.partial", "true"
    )
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert state["net.world_T_mean"][2, 3] > 0.5


def test_a_training_that_was_stopped_is_not_taken_for_a_finished_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = ["--trainer.callbacks+=stop_callback.Stop", "--trainer.callbacks.step=2", "--trainer.callbacks.kill=false"]
    more = ["--checkpoint_every", "1", "--trainer.max_steps", "4"]
    with pytest.raises(Stopped):
        train("Places", STREET, tmp_path, *stop, *more)
    line = complaint(capsys, "evaluate", str(tmp_path / "run"), *OWN, "--weights", "last", "--lengths", "2")
    assert "its training did not end, and Places learns a part at the end: resume it" in line


def test_one_task_that_fails_leaves_the_others_and_the_page(
    steps_and_depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(steps_and_depth), *OWN, "--weights", "last", "--lengths", "2", "--out", str(tmp_path)]
    line = complaint(capsys, *words, "--tasks", '{"class_path": "stubs.Failing"}', "odometry")
    assert "street-0000: nothing of it was understood" in line
    assert Result.load(tmp_path / "StepsAndDepth/odometry").mean["t_rel_percent"] is not None
    assert "Paths from above" in (tmp_path / "report.html").read_text()
    again = [*words, "--tasks", "odometry", "odometry"]
    assert "two tasks are called odometry" in complaint(capsys, *again)


def test_a_scene_without_a_point_is_a_cloud_that_was_not_found(tmp_path: Path) -> None:
    data = Tabletop(seeds=[0], size=(32, 40), views_per_scene=4, num_views=3)
    result = Clouds(min_confidence=2.0).run(Fixed(), data, tmp_path, progress=False)
    assert result.mean["cloud_f_score_middle_percent"] == 0
    assert result.mean["cloud_num_predicted"] == 0
    assert "cloud_accuracy" not in result.mean
    page = write_report(tmp_path / "page", {Clouds(): {"Fixed": tmp_path}}, title="Tables").read_text()
    assert "Fixed left no point of tabletop-0000" in page


def test_what_learns_from_recordings_is_refused_without_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"model": {"net": {"class_path": "vo3d.models.constant_motion.ConstantMotion"}}, "data": {"test": STREET}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    assert "ConstantMotion learns from recordings, and there is no data.train" in complaint(
        capsys, "evaluate", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out")
    )


def test_the_classic_pipeline_needs_recordings_for_a_constant_step_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out"), "--lengths", "1")
    net: dict[str, Any] = {"class_path": "vo3d.models.classic.ClassicOdometry", "init_args": {"scale": "true"}}
    for scale in ("true", "constant"):
        net["init_args"]["scale"] = scale
        (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"net": net}, "data": {"test": STREET}}))
        if scale == "true":
            assert main([*words]) == 0
        else:
            assert "ClassicOdometry learns from recordings, and there is no data.train" in complaint(capsys, *words)


def test_augmentation_that_breaks_the_meaning_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip = [{"class_path": "vo3d.datasets.transforms.HorizontalFlip"}]
    data = {**STREET, "init_args": {**STREET["init_args"], "depth": False, "transforms": flip}}
    config = {
        "model": {"net": {"class_path": "stubs.Places"}},
        "data": {"train": data, "batch_size": 2},
        "trainer": {"accelerator": "cpu", "max_steps": 2},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    line = complaint(capsys, "fit", "-c", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run"))
    assert "HorizontalFlip breaks what Places learns (mirror): leave it out of data.train.transforms" in line


def test_a_dataset_around_that_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = {"class_path": "stubs.Told"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"net": net}, "data": {"test": STREET}}))
    data = {"class_path": "vo3d.datasets.backwards.Backwards"}
    words = ["evaluate", str(tmp_path / "own.yaml"), *OWN, "--out", str(tmp_path / "out"), "--tasks", "relocalisation"]
    assert main([*words, "--data", json.dumps(data)]) == 0
    result = Result.load(tmp_path / "out/Told/relocalisation")
    assert result.protocol["dataset"] == "Backwards"
    assert list(result.sequences) == ["street-0000_backwards"]
    table = read_relocalised(tmp_path / "out/Told/relocalisation/relocalisation/street-0000_backwards.csv")
    assert table.frames.diff().unique().tolist() == [-1]
    line = complaint(capsys, *words, "--data", json.dumps({**data, "root": "x"}))
    assert "--data: root: found 'x', expected class_path and init_args alone" in line


def test_progress_is_told_and_needs_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Patient.told.clear()
    train("Patient", STREET, tmp_path, "--trainer.max_steps", "4", "--trainer.max_epochs", "-1")
    assert Patient.told == [0.0, 0.25, 0.5, 0.75]
    endless = ["--trainer.max_steps", "-1", "--trainer.max_epochs", "-1", "--trainer.max_time", "00:00:00:20"]
    words = ["fit", "-c", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "other"), *endless]
    assert "this one has no known end" in complaint(capsys, *words)


def test_a_mapper_is_scored_by_the_map_it_has_in_the_end(tmp_path: Path) -> None:
    recording = TinyRecording(frames=30)
    recording.image[7:9] = 0  # it is lost there
    result = Odometry(lengths=(1.0, 2.0)).run(TrivialMapper(), Whole([recording]), tmp_path, progress=False)
    metrics = result.sequences["tiny-0"]
    assert metrics["coverage"] == pytest.approx(28 / 30)
    assert metrics["ape_rmse_m"] == pytest.approx(0, abs=1e-12)  # the drift of the states is not in the map
    written = read_trajectory(tmp_path / "trajectories/tiny-0.txt", "kitti")
    assert written.frames is not None
    assert written.frames.tolist() == [index for index in range(30) if index not in (7, 8)]


def test_a_mapper_goes_on_where_it_was_saved() -> None:
    recording, whole, first, second = TinyRecording(frames=12), TrivialMapper(), TrivialMapper(), TrivialMapper()
    samples = [Sample.collate([recording.clip([index])]) for index in range(12)]
    *states, last = whole.track(samples)
    *_, half = first.track(samples[:5])
    second.resume(first.state())
    *_, end = second.track(samples[5:])
    assert last.map is not None
    assert half.map is not None
    assert end.map is not None
    assert all(state.map is None for state in states)
    assert len(half.map.world_T_cam) == 5
    assert torch.equal(end.map.world_T_cam, last.map.world_T_cam)
    assert list(end.map.key_indices) == list(last.map.key_indices) == [0, 5, 10]
    assert (end.index, end.num_key_frames, end.tracked) == (11, 3, True)


class Square(MultiViewScene):
    """Four views of nothing."""

    name = "square"

    def __len__(self) -> int:
        return 4

    def sources(self, index: int) -> Sequence[int]:
        return [other for other in range(4) if other != index]

    def poses(self) -> torch.Tensor:
        return torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)

    def clip(self, indices: Sequence[int]) -> Sample:
        return TinyRecording().clip(indices)


def test_windows_are_those_that_the_model_wants() -> None:
    scene, recording = Square(), TinyRecording(frames=6)
    assert [list(one.views) for one in windows_of(Fixed(), scene, clip_length=9, num_views=3)] == [
        [0, 1, 2],
        [1, 0, 2],
        [2, 0, 1],
        [3, 0, 1],
    ]
    assert [list(one.views) for one in windows_of(Places(), scene, clip_length=9)] == [[0], [1], [2], [3]]
    assert len(windows_of(Places(), recording, clip_length=9)) == 6
    for model, where, words in (
        (Fixed(), recording, "Fixed matches a view with its sources, and tiny-0 holds frames in time order"),
        (DeepVO(size=(4, 6), width=1 / 64, hidden=2), TinyRecording(frames=6), None),
        (StepsAndDepth(), recording, None),
    ):
        if words is None:
            assert windows_of(model, where, clip_length=4)[-1].views[-1] == 5
            continue
        with pytest.raises(ValueError, match=words):
            windows_of(model, where, clip_length=4)


def test_a_prediction_that_lacks_a_declared_key_is_a_defect() -> None:
    class Liar(Places):
        gives = ("world_T_cam", "depth")

    recording, model = TinyRecording(frames=3), Liar()
    windows = windows_of(model, recording, clip_length=3)
    with evaluating(model, "cpu"), pytest.raises(TypeError, match="Liar declares"):
        list(answers(model, recording, windows, device="cpu"))

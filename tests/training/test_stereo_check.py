"""Training on stereo video begins with a look at the pairs, however it begins."""

from pathlib import Path

import cv2
import pytest

from vo3d.cli import main
from vo3d.world.drive_files import render_to_kitti

CLASS = "vo3d.datasets.kitti.KITTIOdometry"


def fit(root: Path, out: Path, *more: str) -> int:
    data = ["--data.train", CLASS, "--data.train.root", str(root), "--data.train.sequences", '["03"]']
    size = ["--data.train.size", "[32,64]", "--data.train.stereo", "true", "--data.val", "null", "--data.test", "null"]
    return main(["fit", "-c", "smoke_undeepvo.yaml", *data, *size, "--out", str(out), "--patience", "null", *more])


def exchange(root: Path) -> None:
    """Exchange the left and the right images."""
    folder = root / "sequences" / "03"
    for left in sorted((folder / "image_2").iterdir()):
        right = folder / "image_3" / left.name
        images = cv2.imread(str(left)), cv2.imread(str(right))
        cv2.imwrite(str(left), images[1])
        cv2.imwrite(str(right), images[0])


def test_swapped_pairs_are_refused_at_every_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, run = tmp_path / "drive", tmp_path / "run"
    render_to_kitti("street", 5, 3, root, size=(96, 312), imu=False, truth=False)
    assert fit(root, run) == 0
    checkpoint = str(run / "checkpoints" / "last.ckpt")

    exchange(root)

    starts = (
        (tmp_path / "fresh", []),
        (tmp_path / "from", ["--model.init_weights", checkpoint]),
        (run, ["--ckpt_path", "last", "--trainer.max_steps", "4"]),
    )
    for out, words in starts:
        capsys.readouterr()
        assert fit(root, out, *words) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert "left and right images are swapped: the median disparity" in line, line
        assert "is -" in line

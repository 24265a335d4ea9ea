"""Features kept of a frozen trunk: the same training without the images, and what makes keeping them wrong."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from checks import complaint
from tiny import TinyRecording
from vo3d.cli import main
from vo3d.sample import Sample

FROZEN = [{"match": r"trunk\..*", "freeze": True}]
CACHE = "vo3d.training.feature_cache.FeatureCache"


def command(folder: Path, *, callbacks: Sequence[str] = (CACHE,), **changes: Any) -> list[str]:
    net = {"size": [4, 6], "clip_length": 4, "trunk": "resnet18", "hidden": 4, "dropout": 0.2, "cut": 0.5}
    rendered = {"class_path": "tiny.TinyWalks"}
    config: dict[str, Any] = {
        "seed_everything": 1,
        "model": {
            "net": {"class_path": "vo3d.models.vidloc.VidLoc", "init_args": net},
            "groups": changes.get("groups", FROZEN),
        },
        "data": {"train": changes.get("train", rendered), "val": rendered, "batch_size": 4},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 2,
            "log_every_n_steps": 1,
            "callbacks": [{"class_path": name} for name in callbacks],
        },
    }
    config["model"]["net"] = changes.get("net", config["model"]["net"])
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "-c", str(folder / "own.yaml"), "--out", str(folder / "run")]


def learnt(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_a_training_with_kept_features_is_the_one_without_them_and_reads_each_image_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    clip = TinyRecording.clip

    def counted(self: TinyRecording, indices: Sequence[int]) -> Sample:
        read.extend(indices)
        return clip(self, indices)

    monkeypatch.setattr(TinyRecording, "clip", counted)
    assert main(command(tmp_path / "kept")) == 0
    assert sorted(read) == sorted([*range(20)] * 2)  # to learn from, and to validate
    read.clear()
    assert main(command(tmp_path / "read", callbacks=())) == 0
    assert len(read) > 2 * 17 * 4
    kept, seen = learnt(tmp_path / "kept"), learnt(tmp_path / "read")
    assert kept.keys() == seen.keys()
    for name, value in kept.items():
        assert torch.allclose(value, seen[name], atol=1e-5), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"groups": []}, r"trunk.conv1.weight and \d+ others learn: freeze it by model.groups"),
        (
            {
                "train": {
                    "class_path": "tiny.TinyWalks",
                    "init_args": {"transforms": [{"class_path": "vo3d.datasets.transforms.PhotometricJitter"}]},
                }
            },
            r"data.train has transforms \(PhotometricJitter\)",
        ),
        ({"train": {"class_path": "tiny.TinyClips"}}, "data.train is a TinyClips, which makes its samples in a way"),
        ({"net": {"class_path": "tiny.TinyModel"}, "groups": []}, "TinyModel has none that makes vectors"),
    ],
)
def test_what_makes_kept_features_wrong_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(words, complaint(capsys, *command(tmp_path, **changes)))

"""Where numbers came from: versions, and the accelerator in names that people know."""

import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch

from vo3d.provenance import accelerator, provenance, versions


def test_versions_are_those_that_are_installed() -> None:
    found = versions()
    assert found["torch"] == version("torch")
    assert found["vo3d"] == version("vo3d")
    assert "none" not in found.values()


def test_the_accelerator_is_named_or_none() -> None:
    found = accelerator()
    assert list(found) == ["CUDA", "cuDNN", "GPU"]
    assert found["CUDA"] == (torch.version.cuda or "none")
    assert (found["GPU"] == "none") == (not torch.accelerator.is_available())
    assert (found["cuDNN"] == "none") == (torch.backends.cudnn.version() is None)
    assert provenance()["accelerator"] == found


@pytest.mark.parametrize(
    ("number", "words"), [(90100, "9.1.0"), (91002, "9.10.2"), (8902, "8.9.2"), (8401, "8.4.1"), (7605, "7.6.5")]
)
def test_gpus_and_their_library_are_told_as_people_write_them(
    monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: number)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: "made up")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 3)
    names = ["Large", "Small", "Large"]
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(get_device_name=names.__getitem__))
    assert accelerator() == {"CUDA": "12.8", "cuDNN": words, "GPU": "2 x Large, Small"}

    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace())
    assert accelerator()["GPU"] == "3 x made up"


def test_versions_do_not_wait_for_torch() -> None:
    program = "import sys, vo3d.provenance as p; p.versions(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

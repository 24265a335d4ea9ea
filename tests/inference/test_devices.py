"""Where a model runs: as asked, or on an accelerator that can hold poses."""

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.inference.devices import choose_device


@pytest.mark.parametrize(("there", "chosen"), [("cuda", "cuda"), ("xpu", "xpu"), ("mps", "cpu"), (None, "cpu")])
def test_auto_takes_an_accelerator_that_has_float64(
    there: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(there) if there else None)
    assert choose_device("auto").type == chosen


def test_a_device_that_cannot_be_used_is_refused() -> None:
    assert choose_device("cpu").type == "cpu"
    for name, words in (("mps", "has no float64"), ("abacus", "unknown to torch"), ("cuda:99", "cannot be used here")):
        with pytest.raises(Vo3dError, match=words):
            choose_device(name)

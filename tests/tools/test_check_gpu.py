"""The check of every method on a device, here on the processor."""

import pytest
import torch
from torch import nn

import check_gpu
from vo3d.models.undeepvo import UnDeepVO

SMALL = ["--device", "cpu", "--small", "true"]


def test_a_method_runs_in_both_precisions(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = check_gpu.Row(
        lambda size: UnDeepVO(size=size, channels=(4, 8), motion_channels=(4, 8), hidden=8), (96, 128), (32, 64)
    )
    monkeypatch.setitem(check_gpu.ROWS, "UnDeepVO", tiny)

    assert check_gpu.main([*SMALL, "--models", "[UnDeepVO]"]) == 0

    head, *rows = capsys.readouterr().out.splitlines()
    assert torch.__version__ in head
    assert [row.partition(":")[0] for row in rows] == ["UnDeepVO 1x2x64x32 float32", "UnDeepVO 1x2x64x32 bfloat16"]
    assert all(float(row.split(": ")[1].split()[0]) > 0 for row in rows)


def test_one_that_breaks_is_told_and_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(size: tuple[int, int]) -> UnDeepVO:
        model = UnDeepVO(size=size, channels=(4, 8), motion_channels=(4, 8), hidden=8)
        nn.init.constant_(model.motion_net.translation[-1].bias, torch.nan)
        return model

    monkeypatch.setitem(check_gpu.ROWS, "UnDeepVO", check_gpu.Row(broken, (96, 128), (32, 64)))

    assert check_gpu.main([*SMALL, "--models", "[UnDeepVO]"]) == 1

    assert capsys.readouterr().out.count("FAILED: a term of the loss or a gradient is not finite") == 2


def test_an_unknown_method_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_gpu.main([*SMALL, "--models", "[Nothing]"]) == 2
    assert "expected some of DeepVO" in capsys.readouterr().err

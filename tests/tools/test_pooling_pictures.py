"""The tool that reduces images by each pooling and brings them back: its numbers are those of its operators."""

import csv
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import pooling_pictures
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image


@pytest.fixture(scope="module")
def image() -> Tensor:
    """Smooth waves with noise: detail for every operator to lose."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(136) / 9, torch.arange(152) / 7, indexing="ij")
    waves = torch.stack([torch.sin(x), torch.cos(y), torch.sin(x + y)]) / 4 + 0.5
    return (waves + 0.1 * torch.randn(3, 136, 152, generator=generator)).clamp(0, 1)[None]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_pixels_of_windows_are_brought_back_to_their_middle(image: Tensor, factor: int) -> None:
    small = functional.avg_pool2d(image, factor)
    expected = functional.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)
    assert torch.allclose(pooling_pictures.brought_back(small, "average", factor), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_pixels_that_stride_kept_are_brought_back_to_where_they_were(image: Tensor, factor: int) -> None:
    small = pooling_pictures.reduced(image, pooling_pictures.STRIDE, factor, False)
    back = pooling_pictures.brought_back(small, pooling_pictures.STRIDE, factor)
    assert torch.allclose(back[..., ::factor, ::factor], image[..., ::factor, ::factor], atol=1e-5)


def test_every_pooling_reduces_to_the_same_size(image: Tensor) -> None:
    for direct in (False, True):
        for method in pooling_pictures.POOLINGS:
            assert pooling_pictures.reduced(image, method, 8, direct).shape == (1, 3, 17, 19)
    assert pooling_pictures.pool_sizes(8, False) == [2, 2, 2]
    assert pooling_pictures.pool_sizes(8, True) == [8]


def test_reconstructions_have_the_mean_of_the_pooled_windows(image: Tensor) -> None:
    found = dict(
        zip(("nearest", "bilinear", "mean", "sum"), pooling_pictures.unpooled(image, 4, False).values(), strict=True)
    )
    pooled = functional.avg_pool2d(found["nearest"], 4)
    assert torch.allclose(functional.avg_pool2d(found["mean"], 4), pooled, atol=1e-5)
    assert torch.allclose(16 * functional.avg_pool2d(found["sum"], 4), pooled, atol=1e-5)
    scores = {name: pooling_pictures.psnr_and_ssim(one, image) for name, one in found.items()}
    assert scores["mean"] > scores["nearest"] > scores["sum"]


def test_the_square_is_put_on_the_strongest_detail() -> None:
    image = torch.full((1, 3, 256, 512), 0.5)
    image[..., 160:176, 360:376] = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    box = pooling_pictures.telling_crop(image, None)
    assert box.x <= 360
    assert box.y <= 160
    assert box.x + box.width >= 376
    assert box.y + box.height >= 176
    assert (box.x % 8, box.y % 8) == (0, 0)


def test_figures_and_numbers_of_own_images(
    image: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "waves.png"
    write_image(source, functional.pad(image, (0, 3, 0, 5))[0])  # not a multiple of 8: the rest is cut off
    out = tmp_path / "out"
    arguments = ["--image", str(source), "--out", str(out), "--small", "--crop", "1000", "9"]
    monkeypatch.setattr(sys, "argv", ["pooling_pictures.py", *arguments])
    pooling_pictures.main()
    name = "_".join(source.with_suffix("").parts[-3:])
    assert sorted(path.name for path in out.iterdir()) == [f"pooling_{name}.png", "scores.csv", f"unpooling_{name}.png"]
    printed = capsys.readouterr().out
    assert "152x136, square at 112, 8" in printed
    with (out / "scores.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * (len(pooling_pictures.POOLINGS) + len(pooling_pictures.UNPOOLINGS))
    (average,) = (row for row in rows if row["method"] == "average" and row["factor"] == "4")
    stored = (image * 255).round() / 255
    back = functional.interpolate(functional.avg_pool2d(stored, 4), scale_factor=4, mode="bilinear")
    error = (back - stored).square().mean()
    assert float(average["psnr_db"]) == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    assert f"| average | {float(rows[1]['psnr_db']):.2f} / {float(rows[1]['ssim']):.4f}" in printed


def test_an_image_that_is_too_small_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "tiny.png", torch.rand(3, 64, 200))
    with pytest.raises(Vo3dError, match=r"tiny\.png: 200x64 pixels: expected at least 96 a side"):
        list(pooling_pictures.load([tmp_path / "tiny.png"]))


def test_mistakes_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.png").write_text("no image")
    for name, words in (("missing.png", "no such image file"), ("page.png", "not a whole image")):
        out = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", ["pooling_pictures.py", "--image", str(tmp_path / name), "--out", str(out)])
        assert pooling_pictures.main() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line
        assert words in line
        assert not out.exists()

"""Images: round trips, and every kind of damage refused with the name of the file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.images import read_depth_png, read_image, write_image


@pytest.fixture
def photo() -> torch.Tensor:
    """A small image with structure, so that its compressed file is longer than its header."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 23), torch.linspace(0, 1, 31), indexing="ij")
    noise = torch.rand(23, 31, generator=torch.Generator().manual_seed(0))
    return torch.stack([x, y, 0.5 * noise])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_lossless_formats_return_the_image_within_half_a_count(
    tmp_path: Path, photo: torch.Tensor, suffix: str
) -> None:
    write_image(tmp_path / f"a{suffix}", photo)
    back = read_image(tmp_path / f"a{suffix}")
    assert back.dtype == torch.float32
    assert (back - photo).abs().max() <= 0.5 / 255 + 1e-6
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_jpeg_returns_a_smooth_image_nearly(tmp_path: Path, photo: torch.Tensor) -> None:
    photo[2] = 0.25
    write_image(tmp_path / "a.jpg", photo)
    assert (read_image(tmp_path / "a.jpg") - photo).abs().max() < 0.06


def test_channels_are_rgb(tmp_path: Path) -> None:
    blue = np.zeros((2, 2, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "blue.png"), blue)
    assert read_image(tmp_path / "blue.png")[:, 0, 0].tolist() == [0, 0, 1]


def test_grey_becomes_rgb_or_stays(tmp_path: Path) -> None:
    grey = torch.tensor([[0.0, 0.2], [0.4, 1.0]])
    write_image(tmp_path / "grey.png", grey)
    assert torch.allclose(read_image(tmp_path / "grey.png"), grey.expand(3, 2, 2))
    assert torch.allclose(read_image(tmp_path / "grey.png", grey_to_rgb=False), grey[None])


def test_sixteen_bits_keep_their_precision(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.array([[1, 65535]], np.uint16))
    assert torch.allclose(read_image(tmp_path / "deep.png")[0], torch.tensor([[1 / 65535, 1.0]]), rtol=1e-6)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 3, 4), 255, np.uint8))
    assert read_image(tmp_path / "a.png").shape == (3, 2, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncations_are_refused_by_name(tmp_path: Path, photo: torch.Tensor, suffix: str) -> None:
    write_image(tmp_path / f"whole{suffix}", photo)
    content = (tmp_path / f"whole{suffix}").read_bytes()
    torn = tmp_path / f"torn{suffix}"
    for length in {*range(0, len(content), 7), *range(len(content) - 14, len(content))}:
        torn.write_bytes(content[:length])
        with pytest.raises(Vo3dError, match=f"torn{suffix}: not a whole image") as caught:
            read_image(torn)
        assert "\n" not in str(caught.value)


def test_flipped_bytes_of_a_png_are_refused(tmp_path: Path, photo: torch.Tensor) -> None:
    write_image(tmp_path / "whole.png", photo)
    content = bytearray((tmp_path / "whole.png").read_bytes())
    for position in range(0, len(content) - 12, 5):  # the last 12 bytes are the end chunk
        content[position] ^= 0x55
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(Vo3dError, match=r"bad\.png: not a whole image"):
            read_image(tmp_path / "bad.png")
        content[position] ^= 0x55


def test_a_wrong_checksum_is_named(tmp_path: Path, photo: torch.Tensor) -> None:
    path = tmp_path / "photo.png"
    write_image(path, photo)
    content = bytearray(path.read_bytes())
    content[-13] ^= 1  # the last byte before the end chunk: the checksum of the pixels
    path.write_bytes(content)
    with pytest.raises(Vo3dError, match="wrong checksum in chunk b'IDAT'"):
        read_image(path)


def test_progressive_jpeg_with_restarts_and_data_behind_its_end_is_whole(tmp_path: Path) -> None:
    pixels = (np.random.default_rng(0).random((64, 64, 3)) * 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    content = cv2.imencode(".jpg", pixels, options)[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(content + b"maker's notes")
    assert read_image(tmp_path / "a.jpg").shape == (3, 64, 64)
    (tmp_path / "b.jpg").write_bytes(content[:-2])
    with pytest.raises(Vo3dError, match=r"b\.jpg.*truncated JPEG"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(Vo3dError, match=r"a\.png: not a whole image"):
        read_image(tmp_path / "a.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"gone\.png: no such image file"):
        read_image(tmp_path / "gone.png")


def test_depth_is_metres_and_zero_where_there_is_none(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "depth.png"), np.array([[0, 65535, 1500, 40001]], np.uint16))
    assert read_depth_png(tmp_path / "depth.png", invalid=(0, 65535)).tolist() == [[0, 0, 1.5, pytest.approx(40.001)]]
    assert read_depth_png(tmp_path / "depth.png", metres_per_count=1 / 256)[0, 2].item() == 1500 / 256


def test_depth_of_eight_bits_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "depth.png"), np.zeros((2, 2), np.uint8))
    with pytest.raises(Vo3dError, match=r"depth\.png: uint8.*16 bits"):
        read_depth_png(tmp_path / "depth.png")


@pytest.mark.parametrize(
    ("image", "name", "words"),
    [
        (torch.full((3, 2, 2), torch.nan), "a.png", "NaN"),
        (torch.zeros(2, 2, 2), "a.png", "shape"),
        (torch.zeros(3, 2, 2), "a.xyz", "xyz"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path: Path, image: torch.Tensor, name: str, words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        write_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())

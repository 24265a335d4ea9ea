"""Images: round trips, and every kind of damage refused with the name of the file."""

import struct
import zlib
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.image_headers import header_size
from vo3d.formats.images import MAX_PIXELS, image_size, read_depth_png, read_image, write_image


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


def png_of(width: int, height: int) -> bytes:
    """Make a whole PNG file with these sizes in its header, and next to no pixels."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(9))),
        (b"IEND", b""),
    ):
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("suffix", "channels"),
    [*product([".png", ".jpg", ".bmp", ".tif", ".webp"], [1, 3]), (".ppm", 3), (".pgm", 1)],
)
def test_headers_tell_the_size(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, torch.zeros(channels, 23, 310))
    assert header_size(path.read_bytes()) == (23, 310)
    assert image_size(path) == (23, 310)


def test_webp_without_loss_and_with_extras(tmp_path: Path) -> None:
    for quality in (101, 50):  # above 100: without loss
        _, encoded = cv2.imencode(".webp", np.zeros((23, 310, 4), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, quality])
        assert header_size(encoded.tobytes()) == (23, 310)
    extended = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (309).to_bytes(3, "little") + (22).to_bytes(3, "little")
    assert header_size(extended) == (23, 310)


@pytest.mark.parametrize(("width", "height"), [(2**31 - 1, 2**31 - 1), (25_000, 25_000), (MAX_PIXELS + 1, 1)])
def test_too_many_pixels_are_refused_before_they_are_unpacked(tmp_path: Path, width: int, height: int) -> None:
    words = rf"an image of {width} x {height} pixels: expected at most 200 million"
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(width, height))
    for read in (read_image, image_size, read_depth_png):
        with pytest.raises(Vo3dError, match=rf"bomb\.png: {words}"):
            read(path)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif", ".webp", ".ppm"])
def test_other_formats_with_too_many_pixels_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bomb{suffix}"
    write_image(path, torch.zeros(3, 5, 7))
    content = path.read_bytes()
    sides = {
        ".jpg": (struct.pack(">HH", 5, 7), struct.pack(">HH", 65000, 65000)),
        ".bmp": (struct.pack("<ii", 7, 5), struct.pack("<ii", 65000, 65000)),
        ".tif": (struct.pack("<HHII", 256, 3, 1, 7), struct.pack("<HHII", 256, 4, 1, 2**30)),
        ".webp": (b"/" + struct.pack("<I", 6 + (4 << 14)), b"/" + struct.pack("<I", 16383 + (16383 << 14))),
        ".ppm": (b"7 5", b"65000 65000"),
    }
    old, new = sides[suffix]
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(Vo3dError, match="expected at most 200 million"):
        read_image(path)


def test_a_pointer_of_git_lfs_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 3\n")
    for read in (read_image, image_size):
        with pytest.raises(
            Vo3dError, match=r"a\.png: not a whole image \(a Git LFS pointer stands for it: run 'git lfs"
        ):
            read(tmp_path / "a.png")

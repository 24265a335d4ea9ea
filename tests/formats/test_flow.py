"""Files of flow and disparity: against OpenCV's reader and bytes written here, there and back, and every refusal."""

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.flow import (
    read_flo,
    read_flow,
    read_kitti_disparity,
    read_kitti_flow,
    write_flo,
    write_kitti_disparity,
    write_kitti_flow,
)

nan, inf = float("nan"), float("inf")


@pytest.fixture
def flow(generator: torch.Generator) -> Tensor:
    """Draw flow of 3 x 5 pixels, one of which is not known."""
    flow = 100 * torch.randn(2, 3, 5, generator=generator)
    flow[:, 1, 4] = nan
    return flow


def test_flo_is_what_opencv_writes_and_reads(tmp_path: Path, flow: Tensor) -> None:
    write_flo(tmp_path / "deep" / "a.flo", flow)
    back = read_flo(tmp_path / "deep" / "a.flo")
    assert back.dtype == torch.float32
    assert torch.equal(back.nan_to_num(7.5), flow.nan_to_num(7.5))
    seen = torch.from_numpy(cv2.readOpticalFlow(str(tmp_path / "deep" / "a.flo"))).permute(2, 0, 1)
    known = ~flow.isnan()
    assert torch.equal(seen[known], flow[known])
    assert bool((seen[~known] > 1e9).all())  # the threshold of Middlebury's own reader
    cv2.writeOpticalFlow(str(tmp_path / "b.flo"), flow.nan_to_num(0).permute(1, 2, 0).contiguous().numpy())
    assert torch.equal(read_flo(tmp_path / "b.flo"), flow.nan_to_num(0))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.flo"]


def test_flo_byte_by_byte(tmp_path: Path) -> None:
    numbers = (1.5, -2.0, 1e10, 1e10, 0.25, 2e9, nan, 0.0)
    (tmp_path / "a.flo").write_bytes(b"PIEH" + struct.pack("<ii8f", 4, 1, *numbers))
    assert read_flo(tmp_path / "a.flo")[:, 0, 0].tolist() == [1.5, -2.0]
    assert bool(read_flo(tmp_path / "a.flo")[:, 0, 1:].isnan().all())
    write_flo(tmp_path / "b.flo", torch.tensor([[[1.5, nan]], [[-2.0, 3.0]]]))
    assert (tmp_path / "b.flo").read_bytes() == b"PIEH" + struct.pack("<ii4f", 2, 1, 1.5, -2.0, 1e10, 1e10)


def test_kitti_flow_channel_by_channel(tmp_path: Path) -> None:
    """The readme of the development kit: u, v, valid as red, green, blue."""
    counts = np.zeros((2, 3, 3), np.uint16)
    counts[0, 0] = 32768 + 64 * 3, 32768 - 32, 1
    counts[1, 2] = 0, 65535, 1
    cv2.imwrite(str(tmp_path / "a.png"), counts[..., ::-1])
    flow = read_kitti_flow(tmp_path / "a.png")
    assert flow[:, 0, 0].tolist() == [3.0, -0.5]
    assert flow[:, 1, 2].tolist() == [-512.0, 511.984375]
    assert int(flow.isnan().all(0).sum()) == 4
    write_kitti_flow(tmp_path / "b.png", flow)
    assert np.array_equal(cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)[..., ::-1], counts)


def test_kitti_flow_there_and_back(tmp_path: Path, flow: Tensor) -> None:
    write_kitti_flow(tmp_path / "a.png", flow)
    back = read_flow(tmp_path / "a.png")
    assert torch.equal(back.isnan(), flow.isnan())
    assert (back - flow).nan_to_num(0).abs().max() <= 1 / 128
    write_flo(tmp_path / "a.flo", flow)
    assert torch.equal(read_flow(tmp_path / "a.flo").nan_to_num(0), flow.nan_to_num(0))


def test_disparity_there_and_back(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[0, 1, 256], [384, 65535, 2560]], np.uint16))
    disparity = read_kitti_disparity(tmp_path / "a.png")
    assert disparity.tolist() == [[0, 1 / 256, 1], [1.5, 65535 / 256, 10]]
    write_kitti_disparity(tmp_path / "b.png", disparity)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    write_kitti_disparity(tmp_path / "c.png", torch.tensor([[0.0, 1e-6]]))
    assert read_kitti_disparity(tmp_path / "c.png").tolist() == [[0, 1 / 256]]  # there, and so not none


GOOD = b"PIEH" + struct.pack("<ii4f", 2, 1, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"a\.flo: is empty: expected a map of flow"),
        (b"PIE", r"a\.flo: begins with b'PIE': expected b'PIEH', as Middlebury's"),
        (b"HEIP" + GOOD[4:], r"a\.flo: begins with b'HEIP': expected b'PIEH'"),  # big endian
        (GOOD[:9], r"a\.flo: truncated: 9 bytes: expected width and height: copy"),
        (GOOD[:-1], r"a\.flo: truncated: 15 bytes of flow, expected 16 for 2 x 1 pixels: copy or make it again"),
        (GOOD + b"\0", r"a\.flo: too long: 17 bytes of flow, expected 16 for 2 x 1 pixels"),
        (b"PIEH" + struct.pack("<ii", 0, 5), r"a\.flo: a map of 0 x 5 pixels: expected at least one"),
        (b"PIEH" + struct.pack("<ii2f", -1, -1, 1, 1), r"a\.flo: a map of -1 x -1 pixels: expected at least one"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"a\.flo: a Git LFS pointer stands for the map of flow"),
        (None, r"a\.flo: no such file: expected a map of flow"),
    ],
)
def test_wrong_flo_is_one_clear_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "a.flo").write_bytes(content)
    with pytest.raises(Vo3dError, match=words) as caught:
        read_flo(tmp_path / "a.flo")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("read", "shape", "kind", "words"),
    [
        (read_kitti_flow, (3, 4), np.uint16, "1 channel of 16 bits: expected flow as KITTI has it, three channels"),
        (read_kitti_flow, (3, 4, 3), np.uint8, "3 channels of 8 bits: expected flow as KITTI has it, three channels"),
        (read_kitti_flow, (3, 4, 4), np.uint16, "4 channels of 16 bits: expected flow as KITTI has it"),
        (read_kitti_disparity, (3, 4), np.uint8, "1 channel of 8 bits: expected disparity as KITTI has it, one"),
        (read_kitti_disparity, (3, 4, 3), np.uint16, "3 channels of 16 bits: expected disparity as KITTI has it"),
    ],
)
def test_other_images_are_no_flow(
    tmp_path: Path, read: Callable[[Path], Tensor], shape: tuple[int, ...], kind: type, words: str
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.ones(shape, kind))
    with pytest.raises(Vo3dError, match=rf"a\.png: {words}"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_kitti_flow, read_kitti_disparity])
def test_damaged_images_are_one_clear_line(tmp_path: Path, read: Callable[[Path], Tensor]) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(Vo3dError, match=r"a\.png: no such image file"):
        read(path)
    write_kitti_flow(path, torch.zeros(2, 9, 9))
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(Vo3dError, match=r"a\.png: not a whole image \(truncated PNG"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(Vo3dError, match=r"a\.png: not a whole image \(the file is empty\)"):
        read(path)


@pytest.mark.parametrize(
    ("write", "value", "words"),
    [
        (write_flo, inf, "the flow to write holds inf: expected pixels below 1e[+]09, or NaN"),
        (write_flo, -1e9, "the flow to write holds -1e[+]09: expected pixels below 1e[+]09"),
        (write_kitti_flow, inf, "the flow to write holds inf: expected -512 to 511.98 pixels, or write .flo"),
        (write_kitti_flow, 512.0, "the flow to write holds 512: expected -512 to 511.98 pixels"),
        (write_kitti_flow, -512.01, "the flow to write holds -512.01: expected -512 to 511.98 pixels"),
        (write_kitti_disparity, -0.1, r"the disparity to write holds -0.1: expected 0 \(none\) to 255.99 pixels"),
        (write_kitti_disparity, nan, r"the disparity to write holds nan: expected 0 \(none\)"),
        (write_kitti_disparity, 256.0, r"the disparity to write holds 256: expected 0 \(none\)"),
    ],
)
def test_what_does_not_fit_is_not_written(
    tmp_path: Path, write: Callable[[Path, Tensor], None], value: float, words: str
) -> None:
    values = torch.zeros(3, 4) if write is write_kitti_disparity else torch.zeros(2, 3, 4)
    values[..., 1, 2] = value
    with pytest.raises(Vo3dError, match=rf"a\.x: {words}"):
        write(tmp_path / "a.x", values)
    with pytest.raises(Vo3dError, match=r"a\.x: the map to write has shape .*: expected at least one pixel"):
        write(tmp_path / "a.x", values[..., :0])
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_are_no_flow(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"a\.pfm: no known file of flow: expected \.flo or \.png"):
        read_flow(tmp_path / "a.pfm")

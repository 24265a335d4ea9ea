"""Masks of ids, grey or with a palette, and motions of objects: what is read, and every refusal."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from vo3d.errors import Vo3dError
from vo3d.formats.images import read_counts, write_counts
from vo3d.formats.moving_objects import read_mask, read_object_motion
from vo3d.geometry import axis_rotation


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_masks_hold_ids(tmp_path: Path, bits: int) -> None:
    ids = torch.tensor([[0, 1, 2], [255, (1 << bits) - 1, 7]])
    write_counts(tmp_path / "a.png", ids, bits=bits)  # type: ignore[arg-type]
    assert read_mask(tmp_path / "a.png").dtype == torch.int64
    assert torch.equal(read_mask(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_of_a_palette_the_places_are_ids(tmp_path: Path, bits: int, transparent: bool) -> None:
    """As DAVIS has them, and as programs that pack few colours into few bits write them."""
    ids = (3 * np.arange(77).reshape(7, 11) % (1 << bits)).astype(np.uint8)
    picture = Image.new("P", (11, 7))
    picture.putdata(ids.flatten().tolist())
    picture.putpalette(np.random.default_rng(0).integers(0, 255, 3 << bits).tolist())
    picture.save(tmp_path / "a.png", bits=bits, **({"transparency": 0} if transparent else {}))
    assert (tmp_path / "a.png").read_bytes()[24:26] == bytes([bits, 3])  # so many bits, a palette
    assert torch.equal(read_mask(tmp_path / "a.png"), torch.from_numpy(ids.astype(np.int64)))


def test_masks_of_one_bit_hold_one_id(tmp_path: Path) -> None:
    picture = Image.fromarray(np.eye(5, dtype=bool))
    picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[24:26] == bytes([1, 0])
    assert torch.equal(read_mask(tmp_path / "a.png"), torch.eye(5).long())


def test_counts_have_red_first_and_opacity_last(tmp_path: Path) -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert np.array_equal(read_counts(tmp_path / "a.png"), picture)
    Image.fromarray(picture[..., :3].copy()).save(tmp_path / "a.png")
    assert np.array_equal(read_counts(tmp_path / "a.png"), picture[..., :3])
    colours = torch.from_numpy(picture[..., :3].copy()).permute(2, 0, 1).long() * 1000
    write_counts(tmp_path / "b.png", colours, bits=16)
    assert np.array_equal(read_counts(tmp_path / "b.png"), colours.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_are_no_ids(tmp_path: Path, channels: int) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.ones((4, 5, channels), np.uint8))
    with pytest.raises(Vo3dError, match=rf"a\.png: has {channels} channels: expected a mask of ids, a grey image or"):
        read_mask(tmp_path / "a.png")


def test_damaged_masks_are_named(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"a\.png: no such image file"):
        read_mask(tmp_path / "a.png")
    Image.fromarray(np.ones((9, 9), np.uint8), "P").save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:-15])
    with pytest.raises(Vo3dError, match=r"a\.png: not a whole image \(truncated PNG"):
        read_mask(tmp_path / "a.png")


R = axis_rotation(1, torch.tensor(0.3, dtype=torch.float64))
ROW = " ".join(f"{value:.12g}" for value in torch.cat([R, torch.ones(3, 1, dtype=torch.float64)], 1).flatten().tolist())
STILL = "1 0 0 0 0 1 0 0 0 0 1 0"


def test_motions_are_found_by_frame_and_id(tmp_path: Path) -> None:
    text = f"# frame id r11 ...\n0 3 {ROW}\n\n2 1 {STILL}\n"
    (tmp_path / "object_motion.txt").write_text(text, encoding="utf-8")
    motions = read_object_motion(tmp_path / "object_motion.txt", 4)
    assert motions.k == 3
    first = motions.at(0)
    assert torch.allclose(first[2, :3, :3], R, atol=1e-11)
    assert first[2, :, 3].tolist() == [1, 1, 1, 1]
    assert bool(first[:2].isnan().all())
    assert bool(motions.at(1).isnan().all())
    assert torch.equal(motions.at(2)[0], torch.eye(4, dtype=torch.float64))


def test_nothing_moves_in_a_file_without_lines(tmp_path: Path) -> None:
    (tmp_path / "object_motion.txt").write_text("# frame id\n", encoding="utf-8")
    motions = read_object_motion(tmp_path / "object_motion.txt", 4)
    assert motions.k == 0
    assert motions.at(0).shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"0 1 {STILL} 5", r"motion\.txt:1: 15 columns: expected frame, id, and 12 numbers"),
        (f"0 1 {STILL}\n0 1 {STILL}", r"motion\.txt:2: frame 0, id 1 is in line 1 already: expected frame"),
        (
            f"3 1 {STILL}",
            r"motion\.txt:1: a motion from frame 3 to the next, and there are 4 frames: expected the file",
        ),
        (f"-1 1 {STILL}", r"motion\.txt:1: a motion from frame -1 to the next"),
        (f"0 0 {STILL}", r"motion\.txt:1: id 0: expected 1 to 65535"),
        (f"0 65536 {STILL}", r"motion\.txt:1: id 65536: expected 1 to 65535"),
        (f"0.5 1 {STILL}", r"motion\.txt:1: '0\.5' as a frame: expected a whole number"),
        (f"0 x {STILL}", r"motion\.txt:1: 'x' as an id: expected a whole number"),
        (f"0 1 nan{STILL[1:]}", r"motion\.txt:1: 'nan': expected a finite number"),
        (f"\n0 1 2{STILL[1:]}", r"motion\.txt:2: not a rotation: R\^T R differs from 1"),
        (None, r"motion\.txt: no such file: expected motions of objects"),
    ],
)
def test_odd_motions_are_one_clear_line(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "object_motion.txt").write_text(text, encoding="utf-8")
    with pytest.raises(Vo3dError, match=words) as caught:
        read_object_motion(tmp_path / "object_motion.txt", 4)
    assert "\n" not in str(caught.value)

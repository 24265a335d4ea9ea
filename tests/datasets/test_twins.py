"""Views that are one are found by their files and by their poses, and read no more than it takes."""

from pathlib import Path

import pytest
import torch

from vo3d.datasets.twins import find_twins


def poses(*places: float) -> torch.Tensor:
    world_T_cam = torch.eye(4, dtype=torch.float64).repeat(len(places), 1, 1)
    world_T_cam[:, 0, 3] = torch.tensor(places)
    return world_T_cam


def test_equal_files_and_equal_poses_are_told(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abcde"]
    long = bytes(70_000)
    for path, content in zip(files, (long + b"1", b"x", long + b"1", long + b"2", b"y"), strict=True):
        path.write_bytes(content)
    pairs, notes = find_twins(files, poses(0, 1, 2, 3, 1))
    assert pairs == {(0, 2), (1, 4)}
    assert notes[0].startswith("a and c are the same image: neither is matched with the other")
    assert notes[1].startswith("b and e have the same pose")


def test_a_turn_or_a_missing_file_is_no_twin(tmp_path: Path) -> None:
    world_T_cam = poses(0, 0, 5)
    world_T_cam[1, :2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert find_twins([tmp_path / name for name in "abc"], world_T_cam) == (set(), [])


def test_files_of_other_sizes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in "abc"]
    for length, path in enumerate(files):
        path.write_bytes(bytes(length))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr(Path, "open", refuse)
    assert find_twins(files, poses(0, 1, 2)) == (set(), [])

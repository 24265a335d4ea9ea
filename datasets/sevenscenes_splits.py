"""The official splits of 7-Scenes: which sequences are for training and which for testing."""

import re
from pathlib import Path
from typing import Literal

from vo3d.datasets.views import check_folder, listed
from vo3d.errors import Vo3dError, first_few, quoted
from vo3d.formats.text import parse_whole, read_content

# Sequences for training and for testing, for scenes without the files (Shotton et al., CVPR 2013). All papers report
# frame counts that follow from these.
OFFICIAL: dict[str, dict[str, tuple[int, ...]]] = {
    "chess": {"train": (1, 2, 4, 6), "test": (3, 5)},
    "fire": {"train": (1, 2), "test": (3, 4)},
    "heads": {"train": (2,), "test": (1,)},
    "office": {"train": (1, 3, 4, 5, 8, 10), "test": (2, 6, 7, 9)},
    "pumpkin": {"train": (2, 3, 6, 8), "test": (1, 7)},
    "redkitchen": {"train": (1, 2, 5, 7, 8, 11, 13), "test": (3, 4, 6, 12, 14)},
    "stairs": {"train": (2, 3, 5, 6), "test": (1, 4)},
}
OTHER = {"train": "test", "test": "train"}


def sequence_folders(scene: Path, split: Literal["train", "test"] | list[str]) -> tuple[list[Path], list[str]]:
    """Return the folders of a split's sequences, and lines on where an official split comes from.

    `sequence1` in TrainSplit.txt or TestSplit.txt is the folder `seq-01`. Where the file is missing, the sequences of
    `OFFICIAL` are taken, and a line says so.

    Raises Vo3dError when there is no such scene, for a file with the line where one is wrong, for a scene that has
    neither file nor table, for sequences that are not there, and for one that is in both splits.
    """
    check_folder(scene, "scene")
    if not isinstance(split, str):
        return [scene / name for name in split], []
    path, other = (scene / f"{which.capitalize()}Split.txt" for which in (split, OTHER[split]))
    known = OFFICIAL.get(scene.name.lower())
    notes = []
    if path.is_file():
        numbers, source = read_sequences(path), str(path)
    elif known is not None:
        numbers, source = list(known[split]), f"{scene}: the official {split} split"
        notes.append(f"{path}: no such file: the official {split} split is taken, {_named(numbers)}")
    else:
        raise Vo3dError(
            f"{path}: no such file, and {scene.name} is none of the scenes whose split is known ({', '.join(OFFICIAL)})"
            ": add the file, with lines such as sequence1, or give a list of sequences as split"
        )
    apart = read_sequences(other) if other.is_file() else []
    if both := [number for number in numbers if number in apart]:
        raise Vo3dError(
            f"{source} and {other.name} share {_named(both)}: expected splits without a common sequence, as what is "
            "tested must not be trained on"
        )
    folders = [scene / f"seq-{number:02d}" for number in numbers]
    if missing := [folder.name for folder in folders if not folder.is_dir()]:
        packed = (f"unpack {name}.zip" for name in missing if (scene / f"{name}.zip").is_file())
        there = f"there are {listed(scene, 'seq-*')}; add the others, or give a list of sequences as split"
        raise Vo3dError(
            f"{source} names {len(folders)} sequences, of which {len(missing)} are not there ({first_few(missing)}): "
            f"{next(packed, there)}"
        )
    if scene.name.lower() == "heads":
        notes.append(
            f"{split} is {_named(numbers)}: the lists that caffe-posenet released have train and test of heads swapped "
            "against the official split (train seq-02, test seq-01): compare with results of the same split alone"
        )
    return folders, notes


def read_sequences(path: Path) -> list[int]:
    """Read the numbers of the sequences that a file names; lines that begin with # are comments.

    Raises Vo3dError with file and line for another line, and for a file that is missing, no text, or names none.
    """
    numbers = []
    for number, line in read_content(path, "the official split; or give a list of sequences as split"):
        match = re.fullmatch(r"sequence\s*(\d+)", line.strip())
        if match is None:
            raise Vo3dError(f"{path}:{number}: found {quoted(line.strip())}: expected a line such as sequence1")
        numbers.append(parse_whole(match[1], path, number, "the number of a sequence"))
    if not numbers:
        raise Vo3dError(f"{path}: names no sequence: expected lines such as sequence1")
    return numbers


def _named(numbers: list[int]) -> str:
    """Name the folders of sequences."""
    return ", ".join(f"seq-{number:02d}" for number in numbers)

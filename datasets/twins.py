"""Views that are one: the same image or the same pose twice. They would confirm each other whatever they say."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from jaxtyping import Float64
from scipy.spatial import cKDTree
from torch import Tensor

_SAME = 1e-6  # of the size of the scene, and of the numbers of a rotation
_FIRST = 1 << 16  # bytes of a file that are compared before all are read


def find_twins(images: Sequence[Path], world_T_cam: Float64[Tensor, "v 4 4"]) -> tuple[set[tuple[int, int]], list[str]]:
    """Find pairs of views, the smaller index first, of one pose or of equal image files, and say which they are."""
    poses = _one_pose(world_T_cam)
    files = _one_file(images)
    notes = []
    for pairs, what in ((files, "are the same image"), (poses - files, "have the same pose")):
        if pairs:
            one, other = (images[index].name for index in min(pairs))
            more = f", and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
            notes.append(
                f"{one} and {other} {what}{more}: neither is matched with the other, because nothing "
                "can be told from it: leave one of them out"
            )
    return poses | files, notes


def _one_pose(world_T_cam: Float64[Tensor, "v 4 4"]) -> set[tuple[int, int]]:
    """Find the pairs of views whose poses are equal."""
    places = world_T_cam[:, :3, 3].numpy()
    near = cKDTree(places).query_pairs(_SAME * float((places.max(0) - places.min(0)).max()))
    return {(i, j) for i, j in near if torch.allclose(world_T_cam[i, :3, :3], world_T_cam[j, :3, :3], 0, _SAME)}


def _one_file(images: Sequence[Path]) -> set[tuple[int, int]]:
    """Find the pairs of image files that are equal byte by byte; those that are missing are told when they are read."""
    alike = _grouped([index for index, path in enumerate(images) if path.is_file()], lambda i: images[i].stat().st_size)
    for key in (lambda i: _beginning(images[i]), lambda i: sha256(images[i].read_bytes()).digest()):
        alike = [part for group in alike for part in _grouped(group, key)]
    return {(i, j) for equal in alike for i in equal for j in equal if i < j}


def _grouped(indices: Sequence[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Group indices by a key, without those that are alone with theirs."""
    groups = defaultdict(list)
    for index in indices:
        groups[key(index)].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_FIRST)

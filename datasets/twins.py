"""Views that are one: the same image or the same pose twice. They would confirm each other whatever they say."""

from collections import defaultdict
from collections.abc import Sequence
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
    beginnings = defaultdict(list)
    for index, path in enumerate(images):
        if path.is_file():
            with path.open("rb") as file:
                beginnings[path.stat().st_size, file.read(_FIRST)].append(index)
    wholes = defaultdict(list)
    for alike in beginnings.values():
        for index in alike if len(alike) > 1 else ():
            wholes[sha256(images[index].read_bytes()).digest()].append(index)
    return {(i, j) for equal in wholes.values() for i in equal for j in equal if i < j}

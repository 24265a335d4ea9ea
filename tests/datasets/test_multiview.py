"""Samples of multi-view scenes: their sources, the best or random ones, and scenes by the folder."""

from pathlib import Path

import pytest

from vo3d.datasets.multiview import scene_folders
from vo3d.datasets.tabletop import Tabletop
from vo3d.errors import Vo3dError


def test_random_sources_are_some_of_them_and_others_in_each_epoch() -> None:
    best, drawn, other = (
        Tabletop((1,), (32, 40), num_views=4, random_sources=random, augmentation_seed=seed)
        for random, seed in ((False, 0), (True, 0), (True, 1))
    )
    epochs = []
    for epoch in range(40):
        drawn.set_epoch(epoch)
        scene, (reference, *sources) = drawn.place(20)
        assert reference == 20
        assert len({*sources}) == 3
        assert {*sources} <= {*scene.sources(20)}
        assert drawn.place(20)[1] == [reference, *sources]
        epochs.append(tuple(sources))
    assert len(set(epochs)) > 20
    assert {source for sources in epochs for source in sources} == {*drawn.recordings[0].sources(20)}
    drawn.set_epoch(0)
    assert [other.place(index)[1] for index in range(9)] != [drawn.place(index)[1] for index in range(9)]
    assert best.place(20)[1] == [20, *best.recordings[0].sources(20)[:3]]


def test_all_scenes_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no folder in it: expected one for each scene"):
        scene_folders(tmp_path, "all")
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "scene.json").touch()
    assert scene_folders(tmp_path, "all") == [tmp_path / "a", tmp_path / "b"]
    assert scene_folders(tmp_path, ["b"]) == [tmp_path / "b"]
    assert scene_folders(tmp_path, None) == [tmp_path]

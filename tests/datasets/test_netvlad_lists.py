"""Pittsburgh and Tokyo by their lists, written here as MATLAB and NumPy write them, around grey images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vo3d.datasets.netvlad_lists import NetVLADLists
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image

DATABASE = [f"000/{number:06d}_pitch1_yaw{number % 12 + 1}.jpg" for number in range(24)]
QUERIES = ["001/000001_pitch2_yaw3.jpg", "001/000002_pitch2_yaw3.jpg"]
PLACES = np.array([[500000.0 + 30 * (number // 12), 4.4e6] for number in range(24)])
ASKED = np.array([[500010.0, 4.4e6], [500035.0, 4.4e6]])


def cells(names: list[str]) -> np.ndarray:
    column = np.empty((len(names), 1), object)
    column[:, 0] = names
    return column


def structure(**changes: Any) -> dict[str, Any]:
    fields = {
        "whichSet": "test",
        "dbImageFns": cells(DATABASE),
        "utmDb": PLACES.T,
        "qImageFns": cells(QUERIES),
        "utmQ": ASKED.T,
        "numImages": 24.0,
        "numQueries": 2.0,
        "posDistThr": 25.0,
        "posDistSqThr": 625.0,
        "nonTrivPosDistSqThr": 100.0,
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def write(root: Path, name: str = "pitts30k_test", *, packed: bool = True, **changes: Any) -> Path:
    savemat(root / f"{name}.mat", {"dbStruct": structure(**changes)}, do_compression=packed)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, names in (("images", DATABASE), ("queries_real", QUERIES)):
        for number, name in enumerate(names):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / folder / name, torch.full((3, 4, 6 + number % 2), number / 24))
    return tmp_path


@pytest.mark.parametrize("packed", [False, True])
def test_pittsburgh(root: Path, packed: bool) -> None:
    dataset = NetVLADLists(write(root, packed=packed), "pitts30k_test.mat")
    places = dataset.sets[0]
    assert [one.name for one in dataset.recordings] == ["pitts30k_test_database", "pitts30k_test_queries"]
    assert places.database.names == DATABASE
    positions = places.database.positions()
    assert positions is not None
    assert positions.tolist() == [[*row, 0] for row in PLACES.tolist()]
    assert places.panorama is None
    assert places.database_time is None
    assert [places.positives(query).tolist() for query in (0, 1)] == [list(range(24)), list(range(12, 24))]
    assert NetVLADLists(root, "pitts30k_test.mat", metres=10.0).sets[0].positives(0).tolist() == list(range(12))
    assert dataset[24].scene == "pitts30k_test_queries"
    assert dataset[13].image.shape == (1, 3, 4, 7)
    assert torch.allclose(dataset[13].image, torch.tensor(13 / 24), atol=2e-2)
    small = NetVLADLists(root, root / "pitts30k_test.mat", size=(2, 3), images="database")
    assert len(small) == 24
    assert small.compose([0, 1]).image.shape == (2, 3, 2, 3)


def test_tokyo_has_twelve_views_and_files_of_another_suffix(root: Path) -> None:
    for path in (root / "images/000").iterdir():
        path.rename(path.with_suffix(".png"))
    (root / "queries_real").rename(root / "247query_subset_v2")
    places = NetVLADLists(write(root, "tokyo247"), "tokyo247.mat").sets[0]
    assert places.panorama is not None
    assert places.panorama.tolist() == [0] * 12 + [1] * 12
    assert NetVLADLists(root, "tokyo247.mat", views=1).sets[0].panorama is None
    with pytest.raises(Vo3dError, match="24 images in panoramas of 7 views: expected a whole number"):
        NetVLADLists(root, "tokyo247.mat", views=7)


def test_tokyo_time_machine_has_time_stamps(root: Path) -> None:
    stamps = np.arange(24, dtype=np.int32)[None] // 6
    write(
        root, "tokyoTM_val", dbTimeStamp=stamps, qTimeStamp=np.array([[3], [1]], np.int32), utmDb=np.float32(PLACES.T)
    )
    places = NetVLADLists(root, "tokyoTM_val.mat").sets[0]
    assert places.database_time is not None
    assert places.query_time is not None
    assert places.database_time.tolist() == stamps[0].tolist()
    assert places.query_time.tolist() == [3, 1]
    assert places.query_time.dtype == torch.float64


def test_arrays_with_texts_of_names(root: Path) -> None:
    np.savez(root / "pitts.npz", utmDb=PLACES, utmQ=ASKED, posDistThr=np.array(25))
    (root / "index.txt").write_text("".join(f"./images/{name}\n" for name in DATABASE))
    (root / "query.txt").write_text("\r\n".join(f"queries_real\\{name}".replace("/", "\\") for name in QUERIES))
    options = {"database_names": "index.txt", "query_names": root / "query.txt"}
    places = NetVLADLists(root, "pitts.npz", **options).sets[0]
    assert [places.positives(query).tolist() for query in (0, 1)] == [list(range(24)), list(range(12, 24))]
    with pytest.raises(Vo3dError, match="holds no names of images: give database_names and query_names"):
        NetVLADLists(root, "pitts.npz")
    np.savez(root / "pitts.npz", utmDb=PLACES[1:], utmQ=ASKED, posDistThr=25)
    with pytest.raises(Vo3dError, match=r"utmDb is of shape \(23, 2\): expected finite numbers 24x2"):
        NetVLADLists(root, "pitts.npz", **options)
    np.savez(root / "pitts.npz", utmDb=PLACES.astype(object), utmQ=ASKED, posDistThr=25)
    with pytest.raises(Vo3dError, match="Object arrays cannot be loaded"):
        NetVLADLists(root, "pitts.npz", **options)


@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_changed_bytes_are_one_line_or_other_values(root: Path, suffix: str) -> None:
    write(root, packed=False)
    np.savez(root / "pitts30k_test.npz", utmDb=PLACES, utmQ=ASKED, posDistThr=25)
    (root / "index.txt").write_text("\n".join(DATABASE))
    (root / "query.txt").write_text("\n".join(QUERIES))
    path = root / f"pitts30k_test{suffix}"
    texts = {} if suffix == ".mat" else {"database_names": "index.txt", "query_names": "query.txt"}
    content, chance, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(150):
        harmed = bytearray(content)
        for place in chance.integers(0, len(content), 3):
            harmed[place] = chance.integers(256)
        path.write_bytes(harmed[: chance.integers(len(harmed) // 2, 2 * len(harmed))])
        try:
            NetVLADLists(root, path, **texts)
        except Vo3dError as error:
            assert str(root) in str(error) or "pitts30k_test" in str(error)  # noqa: PT017  others are whole
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"utmQ": None}, "utmQ is missing, or no numbers: expected finite numbers 2x2"),
        ({"utmDb": PLACES}, r"utmDb is of shape \(24, 2\): expected finite numbers 2x24"),
        ({"utmQ": ASKED.T * np.nan}, "utmQ is of shape"),
        ({"dbImageFns": np.ones((24, 1))}, "dbImageFns is no list of names"),
        ({"posDistThr": -1.0}, "posDistThr is -1: expected metres above 0"),
        ({"utmQ": ASKED.T + 1e5}, r"no image of the database is right for any of the 2 queries \(within 25 m\)"),
        (
            {"qImageFns": cells(["1.jpg", "2.jpg"])},
            "1.jpg, the first image that .*, is in none of the folders",
        ),
        ({"qImageFns": cells([QUERIES[0], "2.jpg"])}, r"1 of 2 images that .* names are missing \(2\.jpg\)"),
        ({"qTimeStamp": np.ones((1, 3))}, r"qTimeStamp is of shape \(1, 3\): expected finite numbers 1x2"),
    ],
)
def test_faults_are_one_line(root: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        NetVLADLists(write(root, **changes), "pitts30k_test.mat")


def test_a_file_of_something_else_is_refused(root: Path) -> None:
    savemat(root / "a.mat", {"other": 1.0})
    with pytest.raises(Vo3dError, match=r"a\.mat: holds other: expected dbStruct with dbImageFns"):
        NetVLADLists(root, "a.mat")
    with pytest.raises(Vo3dError, match=r"b\.mat: no such file"):
        NetVLADLists(root, "b.mat")
    with pytest.raises(Vo3dError, match="names its images itself"):
        NetVLADLists(root, "a.mat", query_names="index.txt")

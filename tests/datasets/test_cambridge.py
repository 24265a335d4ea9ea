"""Cambridge Landmarks in its official layout, written here around a painted wall, and as people have it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import wall
from vo3d.datasets.cambridge import CambridgeLandmarks
from vo3d.datasets.posed_views import PosedViews
from vo3d.datasets.resize import Size, wanted_size
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.geometry import rotations, se3

HEIGHT, WIDTH, VIEWS = 36, 64, 6
K = torch.tensor([[70.0, 0, (WIDTH - 1) / 2], [0, 70.0, (HEIGHT - 1) / 2], [0, 0, 1]], dtype=torch.float64)
HEADER = "Visual Landmark Dataset V1\nImageFile, Camera Position [X Y Z W P Q R]\n\n"
TRAIN = ["seq2/frame00007.png", "seq2/frame00003.png", "seq10/frame00001.png", "seq2/frame00009.png"]
TEST = ["seq3/frame00001.png", "seq3/frame00002.png"]


def row(name: str, pose: torch.Tensor) -> str:
    """A line of a list: the centre, and the rotation world to camera."""
    q = rotations.quaternion_from_matrix(se3.inverse(pose)[:3, :3])
    return f"{name} {' '.join(repr(value) for value in [*pose[:3, 3].tolist(), *(-q).tolist()])}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    scene = tmp_path / "Wall"
    names = [*TRAIN, *TEST]
    for name, pose in zip(names, wall.poses(VIEWS), strict=True):
        (scene / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(scene / name, wall.photograph(K, pose, HEIGHT, WIDTH)[0])
    rows = dict(zip(names, map(row, names, wall.poses(VIEWS)), strict=True))
    (scene / "dataset_train.txt").write_text(HEADER + "".join(rows[name] for name in TRAIN))
    (scene / "dataset_test.txt").write_text(HEADER + "".join(rows[name] for name in TEST))
    cameras = "".join(f"{name.replace('png', 'jpg')}\t70 1 0 0 0 0 0 0 0 0\n" for name in names)
    (scene / "reconstruction.nvm").write_text(f"NVM_V3\n\n{len(names)}\n{cameras}\n0\n")
    return tmp_path


def test_a_recording_for_each_folder_in_the_order_of_the_list(root: Path) -> None:
    dataset = CambridgeLandmarks(root, "Wall")
    found = [(one.name, list(one.frames), list(one.names)) for one in dataset.recordings]
    assert found == [
        ("Wall_seq2", [7, 3, 9], ["frame00007", "frame00003", "frame00009"]),
        ("Wall_seq10", [1], ["frame00001"]),
    ]
    assert all(one.metric and not one.notes for one in dataset.recordings)
    assert len(dataset) == 4
    for index, view in enumerate((0, 1, 3, 2)):
        sample = dataset[index]
        assert sample.given() == ("image", "K", "world_T_cam", "scene", "index")
        pose = wall.poses(VIEWS)[view]
        assert sample.world_T_cam is not None
        assert sample.world_T_cam.dtype == torch.float64
        assert torch.allclose(sample.world_T_cam[0], pose, atol=1e-14)
        # what was painted tells pose and K together: a rotation that is turned the other way shows another wall
        picture, _ = wall.photograph(sample.K[0].double(), sample.world_T_cam[0], HEIGHT, WIDTH)
        assert (sample.image[0] - picture).abs().max() < 0.003
        assert torch.equal(sample.K[0].double(), K)
    assert [one.name for one in CambridgeLandmarks(root, "Wall", split="test", clip_length=2).recordings] == [
        "Wall_seq3"
    ]


def test_sizes_keep_the_shape(root: Path) -> None:
    sample = CambridgeLandmarks(root, "Wall", short_side=18)[0]
    assert sample.image.shape == (1, 3, 18, 32)
    assert sample.K is not None
    assert sample.K[0].tolist() == [[35, 0, 15.5], [0, 35, 8.5], [0, 0, 1]]
    cut = CambridgeLandmarks(root, "Wall", size=(18, 18))[0]
    assert torch.equal(cut.image, sample.image[..., 7:25])
    assert cut.K is not None
    assert cut.K[0, 0].tolist() == [35, 0, 8.5]


@pytest.mark.parametrize(
    ("stored", "expected"), [((1080, 1920), (256, 455)), ((480, 640), (256, 341)), ((1920, 1080), (455, 256))]
)
def test_the_published_sizes_come_of_a_short_side_of_256(stored: Size, expected: Size) -> None:
    assert wanted_size(stored, None, 256) == expected
    assert wanted_size(stored, None, None) is None
    assert wanted_size(stored, (3, 4), None) == (3, 4)


def test_lists_as_people_have_them(root: Path) -> None:
    scene = root / "Wall"
    path = scene / "dataset_train.txt"
    expected = CambridgeLandmarks(root, "Wall").recordings[0].poses()
    text = path.read_text().replace("/", "\\").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    (scene / TRAIN[0]).rename(scene / "seq2/frame00007.PNG")
    dataset = CambridgeLandmarks(root, "Wall")
    assert [one.name for one in dataset.recordings] == ["Wall_seq2", "Wall_seq10"]
    assert torch.equal(dataset.recordings[0].poses(), expected)
    assert dataset[0].image.shape == (1, 3, HEIGHT, WIDTH)


def test_without_a_model_there_is_no_k(root: Path) -> None:
    scene = root / "Wall"
    model = (scene / "reconstruction.nvm").read_text()
    (scene / "reconstruction.nvm").write_text(model.replace("seq10", "seq11"))
    dataset = CambridgeLandmarks(root, "Wall")
    assert dataset[0].K is None
    words = "has no camera for 1 of 4 images (seq10/frame00001.png): samples have no K"
    assert [one.notes for one in dataset.recordings] == [[f"{scene}/reconstruction.nvm: {words}"]] * 2
    (scene / "reconstruction.nvm").write_text(model.replace("70 1 0 0 0 0 0 0 0 0", "70 1 0 0 0 0 0 0 -0.02 0"))
    (note,) = CambridgeLandmarks(root, "Wall").recordings[0].notes
    assert note.endswith("radial distortion of up to 0.02 is not undone")
    (scene / "reconstruction.nvm").unlink()
    dataset = CambridgeLandmarks(root, "Wall")
    assert dataset[0].K is None
    assert "no such file: focal lengths are not known" in dataset.recordings[0].notes[0]


def test_poses_that_went_wrong_are_told(root: Path) -> None:
    path = root / "Wall/dataset_train.txt"
    lines = path.read_text().splitlines()
    name, _, *rest = lines[4].split()
    lines[4] = " ".join([name, "20000.0", *rest])
    path.write_text("\n".join(lines))
    (note,) = CambridgeLandmarks(root, "Wall").recordings[1].notes
    assert note.startswith(f"{path}:5: 1 of 4 images stand more than 10 km from the middle of the scene")


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (lambda scene: None, {"scene": "Fence"}, "Fence: no such scene: there are Wall"),
        (lambda scene: (scene / "dataset_train.txt").unlink(), {}, "dataset_train.txt: no such file"),
        (lambda scene: (scene / TRAIN[2]).unlink(), {}, f"dataset_train.txt:6: {TRAIN[2]}: no such image in"),
        (
            lambda scene: edit(scene / "dataset_train.txt", TRAIN[0], TEST[0]),
            {},
            "share 1 images (seq3/frame00001.png)",
        ),
        (lambda scene: edit(scene / "dataset_train.txt", TRAIN[0], "1"), {}, "dataset_train.txt:4: 1: no such image"),
        (
            lambda scene: edit(scene / "dataset_test.txt", TEST[0] + " ", TEST[0] + "\n"),
            {},
            "dataset_test.txt:4: found",
        ),
        (lambda scene: edit(scene / "reconstruction.nvm", "\n6\n", "\n9\n"), {}, "reconstruction.nvm:11: found '0'"),
        (lambda scene: (scene / TRAIN[2]).write_bytes(b"?"), {}, "frame00001.png: not a whole image"),
        (
            lambda scene: write_image(scene / TRAIN[1], torch.zeros(3, WIDTH, HEIGHT)),
            {},
            "frame00003.png: is 36x64 pixels and frame00007.png is 64x36: images of one recording need one size: give",
        ),
        (lambda scene: None, {"size": (4, 4), "short_side": 4}, "size (4, 4) and short_side 4: give one of the two"),
        (lambda scene: None, {"short_side": 0}, "short_side is 0: expected pixels"),
        (lambda scene: None, {"clip_length": 2}, "recording 'Wall_seq10' has 1 frames"),
    ],
)
def test_every_mistake_is_one_clear_line(
    root: Path, harm: Callable[[Path], None], options: dict[str, object], words: str
) -> None:
    harm(root / "Wall")
    with pytest.raises(Vo3dError) as caught:
        CambridgeLandmarks(root, **{"scene": "Wall", **options})  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_that_change_later_and_views_outside_are_refused(root: Path) -> None:
    one = CambridgeLandmarks(root, "Wall").recordings[0]
    assert isinstance(one, PosedViews)
    with pytest.raises(Vo3dError, match=r"view 3 of 'Wall_seq2': expected 0 to 2"):
        one.clip([3])
    write_image(root / "Wall" / TRAIN[0], torch.zeros(3, 5, 6))
    with pytest.raises(Vo3dError, match=r"frame00007\.png: is 6x5 pixels, but it was 64x36"):
        one.clip([0])

"""One's own photographs with poses in KITTI's, TUM's or COLMAP's form, written here around a painted wall."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import wall
import wall_scenes
from vo3d.datasets.posed_frames import PosedFrames
from vo3d.datasets.sevenscenes import SevenScenes
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import read_model, write_model
from vo3d.formats.images import write_image
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import pixel_grid, rays, se3, undistort_points
from vo3d.recording import Recording

H, W = wall_scenes.H, wall_scenes.W
VIEWS = 8
K = wall.intrinsics(H, W)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return wall_scenes.write_posed(tmp_path / "walk", views=VIEWS)


def shows_the_wall(recording: Recording, views: list[int], *, names: int = VIEWS) -> bool:
    """Whether images, poses and K of the recording belong to these places of the wall."""
    assert len(recording) == len(views)
    sample = recording.clip(range(len(views)))
    assert sample.world_T_cam is not None
    assert torch.allclose(sample.world_T_cam, wall.poses(names)[views], atol=1e-6)
    assert sample.K is not None
    assert torch.allclose(sample.K.double(), K.expand(len(views), 3, 3))
    pictures = torch.stack([wall.photograph(K, wall.poses(names)[view], H, W)[0] for view in views])
    return bool((sample.image - pictures).abs().max() < 0.003)


def test_single_views_of_kittis_rows(folder: Path) -> None:
    dataset = PosedFrames(folder)
    assert len(dataset) == VIEWS
    sample = dataset[3]
    assert sample.given() == ("image", "K", "world_T_cam", "scene", "index")
    assert (sample.image.shape, sample.scene) == ((1, 3, H, W), "walk")
    assert sample.world_T_cam is not None
    assert sample.world_T_cam.dtype == torch.float64
    (one,) = dataset.recordings
    assert shows_the_wall(one, list(range(VIEWS)))
    assert (one.metric, list(one.frames), one.notes) == (True, list(range(VIEWS)), [])
    assert PosedFrames(folder, clip_length=3)[0].image.shape == (3, 3, H, W)


def test_ranges_cut_training_and_test_out_of_one_folder(folder: Path) -> None:
    train = PosedFrames(folder, frames=[(0, 3), (5, 8)], every=2)
    assert [(one.name, list(one.frames), one.first_frame) for one in train.recordings] == [
        ("walk_000000", [0, 2], 0),
        ("walk_000005", [5, 7], 5),
    ]
    assert shows_the_wall(train.recordings[1], [5, 7])
    (test,) = PosedFrames(folder, frames=(3, 5)).recordings
    assert (test.name, list(test.frames)) == ("walk", [3, 4])
    assert shows_the_wall(test, [3, 4])


def test_images_by_their_stamps_and_gaps(tmp_path: Path) -> None:
    """A range counts the images of the folder, also those whose poses were lost."""
    names = [f"{100 + index / 8:.3f}.png" for index in range(VIEWS)]
    wall_scenes.pictures(tmp_path / "rgb", names)
    kept = [0, 1, 4, 5, 6]
    time = 100.001 + torch.tensor(kept, dtype=torch.float64) / 8
    tracked = Trajectory(world_T_cam=wall.poses(VIEWS)[kept], time=time)
    write_trajectory(tmp_path / "groundtruth.txt", tracked, "tum")
    dataset = PosedFrames(tmp_path, frames=(1, 6), intrinsics=tuple(K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()))
    (one,) = dataset.recordings
    assert shows_the_wall(one, [1, 4, 5])
    assert list(one.frames) == [1, 4, 5]
    assert any("3 of 8 images have no pose" in note for note in one.notes)
    with pytest.raises(Vo3dError, match=r"none of the images 2 to 3 has a pose: choose another range"):
        PosedFrames(tmp_path, frames=(2, 4))


def test_without_intrinsics_there_is_no_k(folder: Path) -> None:
    (folder / "K.txt").unlink()
    dataset = PosedFrames(folder, format="kitti", short_side=18)
    assert dataset[0].given() == ("image", "world_T_cam", "scene", "index")
    assert dataset[0].image.shape == (1, 3, 18, 24)
    assert dataset.recordings[0].notes == [
        "no intrinsics given, nor in intrinsics.txt or K.txt or camera-intrinsics.txt: samples have no K"
    ]


def test_files_as_people_have_them(folder: Path) -> None:
    path = folder / "poses.txt"
    path.rename(folder / "my poses.TXT").write_bytes(b"\xef\xbb\xbf" + (folder / "my poses.TXT").read_bytes())
    text = (folder / "my poses.TXT").read_bytes().replace(b"\n", b"\r\n")
    (folder / "my poses.TXT").write_bytes(text)
    for image in sorted((folder / "images").iterdir()):
        image.rename(image.with_suffix(".PNG"))
    (folder / "images").rename(folder / "Photos")
    (folder / "Photos/._0.PNG").write_bytes(b"?")
    (one,) = PosedFrames(folder, poses="my poses.TXT", images="Photos").recordings
    assert shows_the_wall(one, list(range(VIEWS)))


def test_a_project_of_colmap(tmp_path: Path) -> None:
    folder = wall_scenes.write_colmap(tmp_path / "garden", views=5)
    dataset = PosedFrames(folder)
    (one,) = dataset.recordings
    assert shows_the_wall(one, list(range(5)), names=5)
    assert (one.name, one.metric) == ("garden", False)
    assert one.notes == ["lengths are in the unit of COLMAP's model, which is not metres unless it was scaled"]
    train, test = PosedFrames(folder, frames=[(0, 2), (4, 5)]), PosedFrames(folder, frames=(2, 4), format="colmap")
    assert [one.name for one in train.recordings] == ["garden_000000", "garden_000004"]
    assert shows_the_wall(test.recordings[0], [2, 3], names=5)
    write_trajectory(folder / "poses.txt", Trajectory(world_T_cam=wall.poses(5).flip(0)), "kitti")
    with pytest.raises(Vo3dError, match=r"holds poses\.txt and a model of COLMAP in .*: say whose poses are meant"):
        PosedFrames(folder)
    assert shows_the_wall(PosedFrames(folder, format="colmap").recordings[0], list(range(5)), names=5)
    turned = PosedFrames(folder, poses="poses.txt").recordings[0].poses()
    assert turned is not None
    assert torch.allclose(turned, wall.poses(5).flip(0), atol=1e-12)


def test_registered_images_come_in_natural_order(tmp_path: Path) -> None:
    """COLMAP numbers images as it likes, here from the last to the first; 2.png comes before 10.png."""
    folder = wall_scenes.write_colmap(tmp_path, views=12)
    model = read_model(folder)
    images = [replace(image, id=100 - image.id) for image in model.images]
    points = replace(model.points, image_id=100 - model.points.image_id)
    write_model(folder / "sparse/0", replace(model, images=images, points=points))
    assert read_model(folder).images[0].name == "11.png"
    (one,) = PosedFrames(folder).recordings
    assert list(one.names) == [str(view) for view in range(12)]
    assert shows_the_wall(one, list(range(12)), names=12)


def test_a_lens_is_undone(folder: Path) -> None:
    coefficients = (-0.25, 0.05, 0.002, -0.001)
    looks = rays(K, undistort_points(pixel_grid(H, W, dtype=torch.float64), K, coefficients, "radtan"))
    for path, pose in zip(sorted((folder / "images").iterdir()), wall.poses(VIEWS), strict=True):
        write_image(path, wall.look(looks, pose)[0])
    four = K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    sample = PosedFrames(folder, intrinsics=(*four, *coefficients))[1]
    assert sample.K is not None
    picture, _ = wall.photograph(sample.K[0].double(), wall.poses(VIEWS)[1], H, W)
    still, _ = wall.photograph(K, wall.poses(VIEWS)[1], H, W)
    assert (sample.image[0] - picture).abs().mean() < 0.012 < (sample.image[0] - still).abs().mean()


def test_photographs_of_several_shapes_need_a_size(folder: Path) -> None:
    (folder / "K.txt").unlink()
    path = sorted((folder / "images").iterdir())[1]
    write_image(path, torch.zeros(3, W, H))
    with pytest.raises(
        Vo3dError, match=r"is 36x48 pixels and .* is 48x36: images of one recording need one size: give"
    ):
        PosedFrames(folder)
    assert PosedFrames(folder, size=(20, 20), clip_length=2)[0].image.shape == (2, 3, 20, 20)


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (lambda folder: None, {"root": "/nowhere"}, "/nowhere: no such folder"),
        (
            lambda folder: (folder / "poses.txt").unlink(),
            {},
            "walk: holds no file of poses (poses.txt, trajectory.txt, g",
        ),
        (lambda folder: None, {"poses": "a.txt"}, "a.txt: cannot be read"),
        (lambda folder: None, {"images": "photos"}, "photos: no such folder of images"),
        (lambda folder: (folder / "empty").mkdir(), {"images": "empty"}, "empty: holds no image: expected some"),
        (lambda folder: None, {"format": "tum"}, "poses.txt:1: "),
        (lambda folder: None, {"format": "colmap"}, "walk: no COLMAP model"),
        (lambda folder: None, {"format": "colmap", "poses": "poses.txt"}, "poses or intrinsics beside format colmap"),
        (lambda folder: None, {"every": 0}, "every is 0"),
        (lambda folder: None, {"frames": (0, 9)}, "walk: has 8 images, but frames up to 9 are asked for: shorten"),
        (lambda folder: None, {"frames": (3, 3)}, "frames 3 to 3 is no range"),
        (lambda folder: None, {"frames": [(0, 4), (2, 6)]}, "walk: the frames 0 to 4 and 2 to 6 (exclusive) overlap"),
        (lambda folder: None, {"intrinsics": (9.0, 9.0, 99.0, 9.0)}, "the principal point (99, 9), outside of it"),
        (lambda folder: None, {"size": (9, 9), "short_side": 9}, "give one of the two"),
        (lambda folder: next((folder / "images").iterdir()).unlink(), {}, "has 8 poses, but"),
        (lambda folder: next((folder / "images").iterdir()).write_bytes(b"?"), {}, "not a whole image"),
    ],
)
def test_every_mistake_is_one_clear_line(
    folder: Path, harm: Callable[[Path], object], options: dict[str, object], words: str
) -> None:
    harm(folder)
    with pytest.raises(Vo3dError) as caught:
        PosedFrames(**{"root": folder, **options})  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.real
def test_real_frames_as_ones_own_folder(shared_data: Path, tmp_path: Path) -> None:
    """Redkitchen's images and poses, given as a folder with KITTI's rows, say what the loader of 7-Scenes says."""
    scenes = SevenScenes(shared_data / "7scenes", "redkitchen", frames=(0, 12), short_side=60, clip_length=1)
    (recording,) = scenes.recordings
    (tmp_path / "images").mkdir()
    for path in recording.files:  # type: ignore[attr-defined]
        (tmp_path / "images" / path.name.replace(".color", "")).symlink_to(path)
    poses = recording.poses()
    assert poses is not None
    write_trajectory(tmp_path / "poses.txt", Trajectory(world_T_cam=poses), "kitti")
    here = PosedFrames(tmp_path, short_side=60, intrinsics=(525.0, 525.0, 320.0, 240.0))
    for index in (0, 11):
        one, other = here[index], scenes[index]
        assert torch.equal(one.image, other.image)
        assert one.K is not None
        assert torch.allclose(one.K, other.K)
        assert one.world_T_cam is not None
        assert torch.allclose(se3.inverse(one.world_T_cam) @ other.world_T_cam, torch.eye(4).double(), atol=1e-12)

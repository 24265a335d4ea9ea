"""Folders of images with a file of poses, written here around a painted wall: which pose is of which image, and K."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import wall
from vo3d.datasets import sevenscenes
from vo3d.datasets.posed_images import PosedImages, PosedImagesScene, recognises, scene
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import pixel_grid, rays, undistort_points
from vo3d.geometry import trajectory as trajectories
from vo3d.geometry.distortion import LensModel

HEIGHT, WIDTH, VIEWS = 48, 60, 6
RANGE = (0.7, 1.4)
K = wall.intrinsics(HEIGHT, WIDTH)
FOUR = f"{float(K[0, 0])} {float(K[1, 1])} {float(K[0, 2])} {float(K[1, 2])}  # fx fy cx cy"


def write_folder(folder: Path, names: list[str] | None = None, *, images: str = "images") -> Path:
    """Images alone, with K in a file."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    for name, pose in zip(names or [f"{index}.png" for index in range(VIEWS)], wall.poses(VIEWS), strict=True):
        write_image(folder / images / name, wall.photograph(K, pose, HEIGHT, WIDTH)[0])
    (folder / "intrinsics.txt").write_text(f"{FOUR}\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "walk")
    write_trajectory(folder / "poses.txt", Trajectory(world_T_cam=wall.poses(VIEWS)), "kitti")
    return folder


def shows_the_wall(here: PosedImagesScene, views: list[int]) -> bool:
    """Whether the views have the poses and the images of these places of the wall."""
    sample = here.clip(list(range(len(views))))
    assert len(here) == len(views)
    assert sample.world_T_cam is not None
    assert torch.allclose(sample.world_T_cam.double(), wall.poses(VIEWS)[views], atol=1e-6)
    assert torch.allclose(sample.K.double(), K.expand(len(views), 3, 3))
    pictures = torch.stack([wall.photograph(K, wall.poses(VIEWS)[view], HEIGHT, WIDTH)[0] for view in views])
    return bool((sample.image - pictures).abs().max() < 0.003)


def test_as_many_poses_as_images_go_together_in_order(folder: Path) -> None:
    assert recognises(folder)
    here = scene(folder, depth_range=RANGE)
    assert shows_the_wall(here, [0, 1, 2, 3, 4, 5])
    assert here.name == "walk"
    sample = here.clip([0])
    assert sample.given() == ("image", "K", "world_T_cam", "depth_range", "scene", "index")
    assert sample.depth_range is not None
    assert torch.allclose(sample.depth_range, torch.tensor([RANGE]))
    assert shows_the_wall(scene(folder, depth_range=RANGE, every=2), [0, 2, 4])


@pytest.mark.parametrize(
    ("images", "names"),
    [("rgb", None), ("color", [f"frame{index + 8}.png" for index in range(VIEWS)]), (".", None)],
)
def test_where_images_lie_and_how_they_sort(tmp_path: Path, images: str, names: list[str] | None) -> None:
    folder = write_folder(tmp_path, names, images=images)
    write_trajectory(folder / "trajectory.txt", Trajectory(world_T_cam=wall.poses(VIEWS)), "kitti")
    assert recognises(folder)
    assert shows_the_wall(scene(folder, depth_range=RANGE), [0, 1, 2, 3, 4, 5])


def test_partners_see_the_same_at_an_angle(folder: Path) -> None:
    here = PosedImagesScene(folder, depth_range=RANGE, num_sources=3)
    # 6 cm apart at a metre: the next but one (7 degrees) is better than the next one (3.5 degrees)
    assert here.sources(0)[0] == 2
    assert set(here.sources(2)[:2]) == {0, 4}
    assert all(len(here.sources(index)) == 3 for index in range(VIEWS))
    far = PosedImagesScene(folder, depth_range=(3.0, 5.0))
    assert (
        far.sources(0)[0] == 4 or far.sources(0)[0] == 5
    )  # the angles are smaller, so the cameras stand farther apart


def test_a_frame_index_tells_the_image(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    kept = [1, 2, 5]
    poses = Trajectory(world_T_cam=wall.poses(VIEWS)[kept], frames=torch.tensor(kept))
    write_trajectory(folder / "poses.txt", poses, "kitti")
    assert shows_the_wall(scene(folder, depth_range=RANGE), kept)


@pytest.mark.parametrize(
    "names",
    [
        [f"{100 + index / 8}.png" for index in range(VIEWS)],  # fractions of one to three digits
        [f"{(100 + index / 8) * 1e9 + 1.4e18:.0f}.png" for index in range(VIEWS)],
        [f"{(100 + index / 8) * 1e6 + 1.4e15:.0f}.png" for index in range(VIEWS)],
        [f"{(100 + index / 8) * 1e3 + 1.4e12:.0f}.png" for index in range(VIEWS)],
    ],
)
def test_stamps_tell_the_image(tmp_path: Path, names: list[str]) -> None:
    """A tracker of 32 Hz that lost the third image."""
    folder = write_folder(tmp_path, names, images="rgb")
    start = 100.001 if "." in names[0][:-4] else 1.4e9 + 100.001
    time = start + torch.arange(4 * (VIEWS - 1) + 1, dtype=torch.float64) / 32
    all_poses = trajectories.resample(
        start + torch.arange(VIEWS, dtype=torch.float64) / 8, wall.poses(VIEWS), time.clamp(max=start + (VIEWS - 1) / 8)
    )
    keep = (torch.arange(len(time)) - 8).abs() > 1
    tracked = Trajectory(world_T_cam=all_poses[keep], time=time[keep])
    write_trajectory(folder / "groundtruth.txt", tracked, "tum")
    assert shows_the_wall(scene(folder, depth_range=RANGE), [0, 1, 3, 4, 5])


@pytest.mark.parametrize("digits", [13, 16])
def test_whole_stamps_of_another_clock(tmp_path: Path, digits: int) -> None:
    """Images go by their places where they may be numbered, else the files that do not go together are named."""
    folder = write_folder(tmp_path, [f"{10 ** (digits - 1) + 7 + index}.png" for index in range(VIEWS)])
    time = torch.arange(VIEWS, dtype=torch.float64)
    write_trajectory(folder / "poses.txt", Trajectory(world_T_cam=wall.poses(VIEWS), time=time), "tum")
    if digits == 13:
        assert shows_the_wall(scene(folder, depth_range=RANGE), list(range(VIEWS)))
    else:
        with pytest.raises(Vo3dError, match=r"poses\.txt, for the images in .*images: no stamps within 0\.02 s of"):
            scene(folder, depth_range=RANGE)


@pytest.mark.parametrize("text", [FOUR, "144 0 57.6\n0 146.88 50.88\n0 0 1\n"])
def test_k_has_several_spellings(folder: Path, text: str) -> None:
    rows = K.tolist()
    if "\n" in text:
        text = "\n".join(" ".join(map(repr, row)) for row in rows)
    (folder / "intrinsics.txt").unlink()
    (folder / "K.txt").write_text(text)
    assert shows_the_wall(scene(folder, depth_range=RANGE), list(range(VIEWS)))
    square = [[*row, 0.0] for row in rows] + [[0.0, 0.0, 0.0, 1.0]]
    (folder / "intrinsics.txt").write_text("\n".join(" ".join(map(repr, row)) for row in square))
    with pytest.raises(Vo3dError, match=r"intrinsics\.txt: K\.txt is there too and says otherwise: expected one"):
        scene(folder, depth_range=RANGE)
    (folder / "K.txt").write_bytes((folder / "intrinsics.txt").read_bytes())
    assert shows_the_wall(scene(folder, depth_range=RANGE), list(range(VIEWS)))
    given = scene(folder, depth_range=RANGE, intrinsics=(70.0, 71.0, 30.0, 24.0))
    assert given.clip([0]).K[0].tolist() == [[70, 0, 30], [0, 71, 24], [0, 0, 1]]


@pytest.mark.parametrize(("moved", "depths"), [(0.0, RANGE), (0.01, RANGE), (1.0, (70.0, 140.0))])
def test_views_from_one_place_are_told(folder: Path, moved: float, depths: tuple[float, float]) -> None:
    poses = wall.poses(VIEWS)
    poses[:, :3, 3] *= moved
    write_trajectory(folder / "poses.txt", Trajectory(world_T_cam=poses), "kitti")
    (note,) = scene(folder, depth_range=depths).notes
    assert note.startswith("6 of 6 views stand so near to their sources that rays meet at less than 0.2 degrees")
    assert "(0.png: " in note
    assert "depths there mean nothing: take images from places farther apart" in note


@pytest.mark.real
def test_three_real_frames_within_two_millimetres_are_told(shared_data: Path) -> None:
    (note,) = sevenscenes.scene(shared_data / "trials/scenes/stairs_1mm", every=1).notes
    assert note.startswith("3 of 3 views stand so near to their sources")


def test_many_folders_make_one_dataset(folder: Path) -> None:
    dataset = PosedImages(folder.parent, ["walk"], depth_range=RANGE, poses="poses.txt", size=(24, 30), num_views=3)
    assert len(dataset) == VIEWS
    assert dataset[0].image.shape == (3, 3, 24, 30)


BARREL = (-0.25, 0.05, 0.002, -0.001)


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("radtan -0.25 0.05 0.002 -0.001", False),
        ("plumb_bob -0.25 0.05 0.002 -0.001 0  # k3", False),
        ("", True),
        ("fisheye 0.05 -0.02 0.01 0", False),
    ],
)
def test_a_lens_is_undone(folder: Path, line: str, given: bool) -> None:
    model: LensModel = "equidistant" if "fisheye" in line else "radtan"
    coefficients = (0.05, -0.02, 0.01, 0.0) if "fisheye" in line else BARREL
    looks = rays(K, undistort_points(pixel_grid(HEIGHT, WIDTH, dtype=torch.float64), K, coefficients, model))
    for index, pose in enumerate(wall.poses(VIEWS)):
        write_image(folder / f"images/{index}.png", wall.look(looks, pose)[0])
    (folder / "intrinsics.txt").write_text(f"{line}\n{FOUR}\n")
    four = tuple(float(word) for word in FOUR.split()[:4])
    sample = scene(folder, depth_range=RANGE, intrinsics=(*four, *BARREL) if given else None).clip([1])
    picture, _ = wall.photograph(sample.K[0].double(), wall.poses(VIEWS)[1], HEIGHT, WIDTH)
    assert (sample.image[0] - picture).abs().mean() < 0.012
    still, _ = wall.photograph(K, wall.poses(VIEWS)[1], HEIGHT, WIDTH)
    assert (sample.image[0] - still).abs().mean() > 0.015  # the test tells K apart


def test_images_without_a_pose_are_left_out_with_a_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    poses = Trajectory(world_T_cam=wall.poses(VIEWS)[[1, 2, 5]], frames=torch.tensor([1, 2, 5]))
    write_trajectory(folder / "poses.txt", poses, "kitti")
    assert list(scene(folder, depth_range=RANGE).notes) == [
        f"3 of 6 images have no pose in {folder}/poses.txt (0.png, 3.png, 4.png): they are left out"
    ]


def test_points_that_match_tell_the_range(folder: Path) -> None:
    here = scene(folder)
    (note,) = [note for note in here.notes if note.startswith("nothing there tells how far things are")]
    assert "points that match between the images and fit the poses do, from" in note
    K, poses = here.cameras().K.double(), here.poses()
    for index, (near, far) in enumerate(here.cameras().depth_range.tolist()):
        _, depth = wall.photograph(K[index], poses[index], *here.cameras().size)
        assert near < float(depth.median()) < far
        assert 0.5 * float(depth.min()) < near < far < 2 * float(depth.max())
    assert all(here.sources(index) for index in range(VIEWS))


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (
            lambda folder: [write_image(path, torch.full((3, 96, 120), 0.5)) for path in folder.glob("images/*.png")],
            {"depth_range": None},
            "images: nothing there tells how far things are, and 0 points that match",
        ),
        (lambda folder: None, {"depth_range": (2.0, 1.0)}, "depth_range 2 to 1: expected 0 < near < far"),
        (lambda folder: (folder / "poses.txt").unlink(), {}, "no file poses.txt or trajectory.txt or .* of poses"),
        (lambda folder: (folder / "intrinsics.txt").unlink(), {}, "no file intrinsics.txt or K.txt or .*: give intrin"),
        (lambda folder: (folder / "intrinsics.txt").write_text("1 2"), {}, "intrinsics.txt: 2 numbers: expected fx fy"),
        (
            lambda folder: (folder / "intrinsics.txt").write_text("0 1 2 3"),
            {},
            r"intrinsics.txt: K is singular \(fx 0, fy 1\)",
        ),
        (
            lambda folder: (folder / "intrinsics.txt").write_text("1 a 2 3"),
            {},
            "intrinsics.txt:1: 'a': expected a finite",
        ),
        (lambda folder: (folder / "intrinsics.txt").write_text("9 9 99 9"), {}, r"0\.png: is 60x48 .* point \(99, 9\)"),
        (lambda folder: (folder / "poses.txt").write_text("1 2 3\n"), {}, r"poses\.txt: 3 columns; expected 12 or 13"),
        (
            lambda folder: (folder / "poses.txt").write_text("1403636579763555584,0,0,0,1,0,0,0\n"),
            {},
            r"poses\.txt: holds poses of the body, as EuRoC has them: expected the camera's",
        ),
        (lambda folder: (folder / "poses.txt").write_text(""), {}, r"poses\.txt: no poses"),
        (lambda folder: (folder / "images/5.png").unlink(), {}, r"poses\.txt: has 6 poses, but .*images has 5 images"),
        (
            lambda folder: write_trajectory(
                folder / "poses.txt",
                Trajectory(world_T_cam=wall.poses(2), frames=torch.tensor([1, 6])),
                "kitti",
            ),
            {},
            r"poses\.txt: has a pose of frame 6, but there are 6 images",
        ),
        (lambda folder: None, {"every": 0}, "every is 0"),
        (
            lambda folder: (folder / "intrinsics.txt").write_text(f"{FOUR}\nradtan 1 2 3"),
            {},
            r"intrinsics\.txt:2: 3 coefficients of a radtan lens: expected 4 or 5 or 8 ",
        ),
        (
            lambda folder: (folder / "intrinsics.txt").write_text(f"{FOUR}\nradtan 1 0 0 0\n\nfisheye 0 0 0 0"),
            {},
            r"intrinsics\.txt:4: a lens, as line 2 has: expected one",
        ),
        (
            lambda folder: (folder / "intrinsics.txt").write_text(f"{FOUR}\nfov 1 2 3 4"),
            {},
            r"intrinsics\.txt:2: 'fov': expected a finite number",
        ),
        (lambda folder: None, {"intrinsics": (9.0, 9.0, 9.0, 9.0, 1.0)}, "intrinsics: 1 coefficients of a radtan"),
        (lambda folder: None, {"intrinsics": (9.0, 9.0, 9.0)}, "intrinsics: 3 numbers: expected fx fy cx cy"),
        (lambda folder: None, {"poses": Path("/nowhere.txt")}, r"/nowhere\.txt: cannot be read"),
        (
            lambda folder: [path.unlink() for path in (folder / "images").iterdir()],
            {},
            "walk: holds no image, nor do images/, rgb/",
        ),
        (lambda folder: (folder / "images/3.png").write_bytes(b"?"), {}, r"3\.png: not a whole image"),
    ],
)
def test_every_mistake_is_one_clear_line(
    folder: Path, harm: Callable[[Path], None], options: dict[str, object], words: str
) -> None:
    harm(folder)
    with pytest.raises(Vo3dError, match=words) as caught:
        scene(folder, **{"depth_range": RANGE, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not recognises(folder / "nowhere")


def test_what_was_mended_in_a_trajectory_is_said(tmp_path: Path) -> None:
    """Quaternions that are one per cent too long."""
    folder = write_folder(tmp_path, [f"{100 + index / 8}.png" for index in range(VIEWS)])
    rows = [f"{100 + index / 8} {index / 50} 0 0 0 0 0 1.01" for index in range(VIEWS)]
    (folder / "poses.txt").write_text("\n".join(rows) + "\n")
    assert any("off unit length: they are normalised" in note for note in scene(folder, depth_range=RANGE).notes)

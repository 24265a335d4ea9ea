"""Folders in MVSNet's layout, in all spellings and sizes, written here around a painted wall; and the real ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import wall
from vo3d.datasets.mvs_folder import MVSFolder, MVSFolderScene, recognises, scene
from vo3d.datasets.photographs import Window, unique_names
from vo3d.errors import Vo3dError
from vo3d.formats.images import image_size, read_image, write_image
from vo3d.formats.mvsnet import MVSCamera, ViewSources, read_cam, write_cam, write_pairs
from vo3d.formats.pfm import read_pfm, write_pfm
from vo3d.geometry import reproject, sample_image, se3
from vo3d.sample import Sample

HEIGHT, WIDTH = 96, 120
NUMBERS = (0, 2, 5)  # of the views: names of files may have gaps
PAIRS = [
    ViewSources(view=2, sources=(5, 0), scores=(9.0, 5.0)),
    ViewSources(view=0, sources=(2,), scores=(9.0,)),
    ViewSources(view=5, sources=(), scores=()),
]


def write_views(
    folder: Path, *, images: str = "images", cams: str = "cams", pairs: str = "pair.txt", suffix: str = ".png"
) -> Path:
    for name in (images, cams, "depths"):
        (folder / name).mkdir(parents=True)
    write_pairs(folder / pairs, PAIRS)
    K = wall.intrinsics(HEIGHT, WIDTH)
    for number, pose in zip(NUMBERS, wall.poses(len(NUMBERS)), strict=True):
        image, depth = wall.photograph(K, pose, HEIGHT, WIDTH)
        write_image(folder / images / f"{number:08d}{suffix}", image)
        camera = MVSCamera(
            K=K,
            cam_T_world=se3.inverse(pose),
            depth_min=0.5 + number / 100,
            depth_interval=0.01,
            num_depths=100,
            depth_max=1.5,
        )
        write_cam(folder / cams / f"{number:08d}_cam.txt", camera)
        write_pfm(folder / "depths" / f"{number:08d}.pfm", depth)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_views(tmp_path / "desk")


def consistency(sample: Sample) -> float:
    """How far the views are from showing one wall."""
    assert sample.world_T_cam is not None
    assert sample.depth is not None
    return wall.disagreement(sample.image, sample.K, sample.world_T_cam, sample.depth)


def test_a_sample_holds_what_the_files_say(folder: Path) -> None:
    dataset = MVSFolder(folder, depth="required", num_views=3)
    assert [recording.name for recording in dataset.recordings] == ["desk"]
    assert dataset.recordings[0].names == ["00000000", "00000002", "00000005"]
    assert [dataset.recordings[0].sources(index) for index in range(3)] == [(1,), (2, 0), ()]
    assert len(dataset) == 1
    sample = dataset[0]
    assert sample.index is not None
    assert sample.index.tolist() == [1, 2, 0]  # places, though the files have the numbers 2, 5, 0
    assert sample.depth_range is not None
    assert torch.allclose(sample.depth_range, torch.tensor([[0.52, 1.5], [0.55, 1.5], [0.5, 1.5]]))
    assert torch.allclose(sample.K.double(), wall.intrinsics(HEIGHT, WIDTH).expand(3, 3, 3))
    assert sample.world_T_cam is not None
    assert torch.allclose(sample.world_T_cam.double(), wall.poses(3)[[1, 2, 0]], atol=1e-6)
    assert consistency(sample) < 0.01


@pytest.mark.parametrize(
    "spelling",
    [
        {"images": "blended_images", "pairs": "cams/pair.txt"},  # BlendedMVS
        {"cams": "cams_1", "suffix": ".jpg"},  # Tanks and Temples
    ],
)
def test_other_spellings(tmp_path: Path, spelling: dict[str, str]) -> None:
    folder = write_views(tmp_path / "park", **spelling)
    assert recognises(folder)
    (folder / "depths").rename(folder / "rendered_depth_maps")
    assert consistency(MVSFolder(tmp_path, ["park"], depth="required", num_views=3)[0]) < 0.015


def test_the_folder_of_cameras_can_be_chosen(folder: Path) -> None:
    (folder / "cams_1").mkdir()
    for path in (folder / "cams").iterdir():
        (folder / "cams_1" / path.name).write_text(path.read_text().replace(" 1.5\n", " 3.5\n"))
    far = [MVSFolder(folder, cams=cams, num_views=3)[0].depth_range for cams in (None, "cams", "cams_1")]
    assert [float(one[0, 1]) for one in far if one is not None] == [1.5, 1.5, 3.5]


def test_what_is_no_such_folder_is_not_recognised(folder: Path) -> None:
    assert recognises(folder)
    assert not recognises(folder / "images")
    assert not recognises(folder / "nowhere")
    assert scene(folder, max_side=60).clip([0]).image.shape == (1, 3, 48, 60)


@pytest.mark.parametrize("size", [(48, 60), (64, 64), (40, 100), (33, 47), (150, 130)])
def test_a_size_keeps_the_geometry(folder: Path, size: tuple[int, int]) -> None:
    sample = MVSFolder(folder, size=size, depth="required", num_views=3)[0]
    assert sample.image.shape == (3, 3, *size)
    assert sample.K[0, 0, 0] / sample.K[0, 1, 1] == pytest.approx(1 / 1.02, rel=0.02)  # no change of shape
    image, _ = wall.photograph(sample.K[0].double(), wall.poses(3)[1], *size)
    assert (image - sample.image[0]).abs().mean() < 0.03  # what a camera with this K sees
    wrong, _ = wall.photograph(sample.K[0].double() + 1.5 * torch.eye(3).flip(0).triu(2), wall.poses(3)[1], *size)
    assert (wrong - sample.image[0]).abs().mean() > 2 * (image - sample.image[0]).abs().mean()
    assert consistency(sample) < 0.03


def test_max_side_only_makes_smaller(folder: Path) -> None:
    assert scene(folder, max_side=500).clip([0]).image.shape == (1, 3, HEIGHT, WIDTH)
    assert torch.equal(scene(folder, max_side=500).clip([0]).K, scene(folder).clip([0]).K)
    assert scene(folder, max_side=50).clip([0]).image.shape == (1, 3, 40, 50)


def test_images_of_unequal_sizes_need_a_size(folder: Path) -> None:
    path = folder / "images/00000005.png"
    K = wall.intrinsics(60, 90)
    image, depth = wall.photograph(K, wall.poses(3)[2], 60, 90)
    write_image(path, image)
    write_pfm(folder / "depths/00000005.pfm", depth)
    camera = MVSCamera(
        K=K,
        cam_T_world=se3.inverse(wall.poses(3)[2]),
        depth_min=0.5,
        depth_interval=0.01,
        num_depths=9,
        depth_max=1.5,
    )
    write_cam(folder / "cams/00000005_cam.txt", camera)
    with pytest.raises(Vo3dError) as caught:
        MVSFolder(folder)
    assert str(caught.value) == (
        f"{path}: is 90x60 pixels and 00000000.png is 120x96: views that go together need one size: "
        "give size=(height, width) to resize all"
    )
    sample = MVSFolder(folder, size=(64, 80), depth="required", num_views=3)[0]
    assert consistency(sample) < 0.03


@pytest.mark.parametrize(
    ("stored", "size", "max_side", "resized", "result"),
    [
        ((1200, 1600), None, None, (1200, 1600), (1200, 1600)),
        ((1200, 1600), (864, 1152), None, (864, 1152), (864, 1152)),
        ((1200, 1600), (512, 640), None, (512, 683), (512, 640)),
        ((1080, 1920), None, 1000, (562, 1000), (562, 1000)),
        ((3, 7), (2, 5), None, (2, 5), (2, 5)),
        ((9, 2000), None, 10, (1, 10), (1, 10)),
    ],
)
def test_windows(
    stored: tuple[int, int],
    size: tuple[int, int] | None,
    max_side: int | None,
    resized: tuple[int, int],
    result: tuple[int, int],
) -> None:
    window = Window.of(stored, size, max_side)
    assert (window.resized, window.size) == (resized, result)
    assert window.cut(torch.zeros(3, *resized)).shape == (3, *result)


def test_names_are_as_long_as_they_have_to_be() -> None:
    assert unique_names([Path("/a/b/1.png"), Path("/a/b/2.jpg")]) == ["1", "2"]
    assert unique_names([Path("/a/left/1.png"), Path("/a/right/1.png")]) == ["left_1", "right_1"]
    assert unique_names([Path("/a/1.png"), Path("/a/1.jpg")]) == ["1.png", "1.jpg"]
    images = [Path(f"/{name}") for name in ("x/1/a.jpg", "y/1/a.jpg", "z/b.jpg", "z/b.png")]
    assert unique_names(images) == ["x_1_a.jpg", "y_1_a.jpg", "z_b.jpg", "z_b.png"]


def test_a_loader_with_workers_gives_the_same(folder: Path) -> None:
    dataset = MVSFolder(folder, num_views=2, size=(32, 40))
    (batch,) = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=Sample.collate)
    assert torch.equal(batch.image[1], dataset[1].image)
    assert batch.depth_range.shape == (2, 2, 2)


def test_a_range_for_all_and_truth_that_is_absent(folder: Path) -> None:
    (folder / "depths/00000005.pfm").unlink()
    sample = MVSFolder(folder, depth="where present", depth_range=(0.25, 4.0), num_views=3)[0]
    assert sample.depth_range is not None
    assert sample.depth_range.tolist() == [[0.25, 4.0]] * 3
    assert sample.depth is not None
    assert [bool(view.any()) for view in sample.depth] == [True, False, True]
    with pytest.raises(Vo3dError, match=r"00000005\.pfm: no such file"):
        MVSFolder(folder, depth="required", num_views=3)[0]
    for path in (folder / "depths").iterdir():
        path.unlink()
    (folder / "depths").rmdir()
    with pytest.raises(Vo3dError, match=r"desk: no folder depths/ or rendered_depth_maps/ of true depth"):
        MVSFolder(folder, depth="required", num_views=3)
    assert MVSFolder(folder, num_views=3)[0].depth is None


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def nan_truth(folder: Path) -> None:
    path = folder / "depths/00000002.pfm"
    read_pfm(path)
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\xc0\x7f")


def far_away(folder: Path) -> None:
    """A camera five thousand kilometres from the origin, as geographic coordinates have it."""
    camera = read_cam(folder / CAM)
    cam_T_world = camera.cam_T_world.clone()
    cam_T_world[0, 3] = 5e6
    write_cam(folder / CAM, replace(camera, cam_T_world=cam_T_world))


CAM = "cams/00000002_cam.txt"


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (
            lambda folder: (folder / CAM).unlink(),
            {},
            r"pair\.txt:3: names view 2, which has no camera: expected .*_cam",
        ),
        (lambda folder: rewrite(folder / CAM, f"{1.2 * WIDTH}", "0"), {}, r"00000002_cam\.txt:8: K is singular \(fx 0"),
        (
            lambda folder: rewrite(folder / CAM, "0.52", "-1"),
            {},
            r"00000002_cam\.txt:12: depth_min -1: expected a depth",
        ),
        (
            lambda folder: rewrite(folder / "pair.txt", "2 5 9", "2 7 9"),
            {},
            r"pair\.txt:3: names view 7, which has no im",
        ),
        (
            lambda folder: [path.rename(path.with_stem("9")) for path in folder.glob("images/*.png")],
            {},
            r"images: holds the image of no view that .*pair\.txt names, such as 00000000",
        ),
        (
            lambda folder: (folder / "images/00000002.png").write_bytes(b"none"),
            {},
            r"00000002\.png: not a whole image",
        ),
        (nan_truth, {"depth": "required"}, r"00000002\.pfm: 1 of 11520 values are NaN or infinite"),
        (
            lambda folder: write_pfm(folder / "depths/00000002.pfm", torch.ones(4, 5)),
            {"depth": "required"},
            r"00000002\.pfm: is 5x4 pixels, but its image is 120x96",
        ),
        (
            lambda folder: write_image(folder / "images/00000000.png", torch.ones(24, 30)),
            {"size": (96, 120)},
            r"00000000\.png: is 30x24 pixels, but its camera has the principal point \(57\.6, 50\.88\), outside of it",
        ),
        (lambda folder: None, {"size": (0, 5)}, r"size \(0, 5\) is no image size"),
        (lambda folder: None, {"max_side": 0}, "max_side is 0"),
        (lambda folder: None, {"max_side": 9, "size": (5, 5)}, "give one of the two"),
        (lambda folder: None, {"depth_range": (2.0, 1.0)}, "depth range 2 to 1: expected 0 < near < far"),
        (lambda folder: None, {"scenes": ["sofa"]}, "sofa: no such folder"),
        (lambda folder: None, {"num_views": 4}, "no view of desk has 3 source views"),
    ],
)
def test_every_mistake_is_one_clear_line(
    folder: Path, harm: Callable[[Path], None], options: dict[str, object], words: str
) -> None:
    harm(folder)
    with pytest.raises(Vo3dError, match=words) as caught:
        MVSFolder(folder, **{"num_views": 3, **options})[0]  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_camera_five_thousand_kilometres_away_is_where_it_was(folder: Path) -> None:
    near = MVSFolderScene(folder).clip([0, 1]).world_T_cam
    far_away(folder)
    far = MVSFolderScene(folder).clip([0, 1]).world_T_cam
    assert far.dtype == torch.float64
    camera = read_cam(folder / CAM).cam_T_world
    torch.testing.assert_close(far[1], se3.inverse(camera), rtol=1e-12, atol=1e-9)
    assert torch.equal(far[0], near[0])


def test_a_view_outside_and_an_image_that_changes(folder: Path) -> None:
    here = MVSFolderScene(folder)
    with pytest.raises(Vo3dError, match="view 3 of 'desk': expected 0 to 2"):
        here.clip([0, 3])
    write_image(folder / "images/00000000.png", torch.ones(48, 60))
    with pytest.raises(Vo3dError, match=r"00000000\.png: is 60x48 pixels, but its camera is for 120x96"):
        here.clip([0])


def test_headers_tell_the_size_that_reading_gives(tmp_path: Path) -> None:
    """Also of a photograph that was taken upright: its header says to turn it."""
    pixels = torch.rand(3, 30, 50)
    for name in ("a.png", "a.jpg", "a.bmp"):
        write_image(tmp_path / name, pixels)
        assert image_size(tmp_path / name) == image_size(tmp_path / name, upright=True) == (30, 50)
    plain = (tmp_path / "a.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: turn right
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    assert image_size(turned, upright=True) == tuple(read_image(turned, upright=True).shape[1:]) == (50, 30)
    assert image_size(turned) == tuple(read_image(turned).shape[1:]) == (30, 50)
    assert torch.equal(read_image(turned), read_image(tmp_path / "a.jpg"))
    progressive = cv2.imencode(
        ".jpg", (pixels.permute(1, 2, 0) * 255).byte().numpy(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    )
    (tmp_path / "b.jpg").write_bytes(progressive[1].tobytes())
    assert image_size(tmp_path / "b.jpg") == (30, 50)
    with pytest.raises(Vo3dError, match=r"c\.png: no such image file"):
        image_size(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes(plain[:20])
    with pytest.raises(Vo3dError, match=r"d\.jpg: not a whole image"):
        image_size(tmp_path / "d.jpg")


@pytest.mark.real
def test_the_temple_as_the_reference_output_was_made(shared_data: Path) -> None:
    dataset = MVSFolder(shared_data / "mvs" / "templeRing", num_views=5)
    sample = dataset[5]
    assert sample.index is not None
    assert sample.index.tolist() == [5, 6, 4, 7, 3]
    assert sample.image.shape == (5, 3, 480, 640)
    assert sample.K[0, 0].tolist() == pytest.approx([1520.4, 0, 302.32])
    assert sample.depth_range is not None
    assert sample.depth_range[0].tolist() == pytest.approx([0.506063, 0.6372])


@pytest.mark.real
@pytest.mark.parametrize(("name", "size"), [("templeRing", (120, 160)), ("tagboard", (90, 160))])
def test_real_views_agree_at_some_depth_of_their_range(shared_data: Path, name: str, size: tuple[int, int]) -> None:
    """A plane sweep without learning: in most textured places one depth within the range fits better than the ends.

    With the first source's pose undone, nothing would fit anywhere.
    """
    sample = MVSFolder(shared_data / "mvs" / name, size=size, num_views=4)[0]
    assert best_difference(sample) < 0.7 * best_difference(with_poses_reversed(sample))


def with_poses_reversed(sample: Sample) -> Sample:
    """World and camera exchanged, the commonest mistake."""
    assert sample.world_T_cam is not None
    return Sample(
        image=sample.image,
        K=sample.K,
        world_T_cam=se3.inverse(sample.world_T_cam),
        depth_range=sample.depth_range,
    )


def best_difference(sample: Sample) -> float:
    """Mean over textured pixels of the smallest difference of colour that any depth of the range gives."""
    assert sample.depth_range is not None
    assert sample.world_T_cam is not None
    near, far = sample.depth_range[0].tolist()
    image = sample.image
    costs = [cost_at(image, sample.K, sample.world_T_cam, depth) for depth in torch.linspace(near, far, 32).tolist()]
    cost = torch.stack(costs).amin(0)
    grey = image[0].mean(0)
    textured = (grey[1:, 1:] - grey[:-1, :-1]).abs() > 0.03
    return float(cost[1:, 1:][textured].mean())


def cost_at(image: Tensor, K: Tensor, world_T_cam: Tensor, depth: float) -> Tensor:
    """Mean difference of colour between the reference and the other views, with all points at one depth."""
    plane = torch.full(image.shape[-2:], depth)
    cost = torch.zeros_like(plane)
    for source in range(1, len(image)):
        pixels, _ = reproject(plane, K[0], se3.relative(world_T_cam[source], world_T_cam[0]).to(K), K[source])
        seen, valid = sample_image(image[source], pixels)
        cost += torch.where(valid, (seen - image[0]).abs().mean(0), 0.3)
    return cost / (len(image) - 1)


def test_views_without_an_image_are_left_out_with_a_line(folder: Path) -> None:
    (folder / "images/00000005.png").unlink()
    here = scene(folder)
    assert list(here.notes) == [f"1 of 3 images of {folder} are missing (00000005): the others are used"]
    assert here.names == ["00000000", "00000002"]
    assert [here.sources(index) for index in range(2)] == [(1,), (0,)]  # not 5, which was the better one
    assert here.clip([0, 1]).image.shape == (2, 3, HEIGHT, WIDTH)


def test_k_for_another_size_draws_a_line(folder: Path) -> None:
    path = folder / CAM
    camera = read_cam(path)
    half = camera.K.clone()
    half[:2] /= 2
    write_cam(path, replace(camera, K=half))
    (note,) = scene(folder).notes
    assert "the principal point is far from the centre in 1 of 3 views (00000002.png has (28.8, 25.44) in 120x" in note
    half[:2, :2] *= 100
    half[:2, 2] = camera.K[:2, 2]
    write_cam(path, replace(camera, K=half))
    (note,) = scene(folder).notes
    assert "1 of 3 views have a field of view that few lenses have (00000002.png has 0.955 degrees" in note


def test_pairs_that_see_nothing_in_common_draw_a_line(folder: Path) -> None:
    """Poses from the camera to the world instead of its inverse, of cameras around a place off the origin."""

    def moved(*twist: float) -> Tensor:
        return se3.exp(torch.tensor(twist, dtype=torch.float64))

    paths = sorted(folder.glob("cams/*"))
    for index, path in enumerate(paths):
        cam_T_world = moved(0, 0, 1, 0, 0, 0) @ moved(0, 0, 0, 0, 0.6 * index, 0) @ moved(-40, -9, -20, 0, 0, 0)
        write_cam(path, replace(read_cam(path), cam_T_world=cam_T_world))
    assert not scene(folder).notes
    for path in paths:
        camera = read_cam(path)
        write_cam(path, replace(camera, cam_T_world=se3.inverse(camera.cam_T_world)))
    (note,) = scene(folder).notes
    assert note.startswith("3 of 3 pairs in pair.txt see nothing in common by cameras and depth ranges, such as 0000")

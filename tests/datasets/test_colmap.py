"""COLMAP's projects, written here around a painted wall that lenses distort: cameras, partners, depth ranges."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import wall
from vo3d.datasets.colmap import Colmap, ColmapScene, recognises, scene
from vo3d.datasets.lenses import lens_pixels, pinhole
from vo3d.datasets.photographs import unique_names
from vo3d.datasets.registered import stored_camera
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import ColmapCamera, ColmapImage, ColmapModel, SparsePoints, read_model, write_model
from vo3d.formats.colmap_model import CAMERA_MODELS
from vo3d.formats.images import write_image
from vo3d.geometry import distort_points, pixel_grid, project, rays, rotations, se3, undistort_points

HEIGHT, WIDTH, VIEWS = 96, 120, 5
BARREL = (-0.25, 0.05, 0.002, -0.001)


def camera(id: int, name: str, coefficients: tuple[float, ...] = (), h: int = HEIGHT, w: int = WIDTH) -> ColmapCamera:
    """A camera with the focal lengths and centre of the wall's."""
    K = wall.intrinsics(h, w)
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) + 0.5, float(K[1, 2]) + 0.5
    focals = (fx, fy)[: CAMERA_MODELS[name].focals]
    return ColmapCamera(id=id, model=name, width=w, height=h, params=(*focals, cx, cy, *coefficients))


def directions(one: ColmapCamera) -> Tensor:
    """Where each pixel of the real camera looks (h, w, 3)."""
    pixels = pixel_grid(one.height, one.width, dtype=torch.float64)
    if one.lens is not None:
        pixels = undistort_points(pixels, one.K, one.lens[1], one.lens[0])
    return rays(one.K, pixels)


def write_project(
    folder: Path, cameras: list[ColmapCamera], *, points: int = 60, binary: bool = True, keypoints: bool = False
) -> Path:
    """Five views, of the cameras in turn, and points of the wall that they see; the last view sees three of them."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(points, 3, generator=generator, dtype=torch.float64) - 0.5
    xyz[:, 2] = 1 + wall.SLOPE * xyz[:, 0]
    images, point, image_id = [], [], []
    for index, world_T_cam in enumerate(wall.poses(VIEWS)):
        one = cameras[index % len(cameras)]
        name = f"{'left' if index % 2 else 'right'}/{index // 2}.png"
        picture, _ = wall.look(directions(one), world_T_cam)
        write_image(folder / "images" / name, picture)
        cam_T_world = se3.inverse(world_T_cam)
        pixels, _ = project(one.K, se3.transform(cam_T_world, xyz))
        if one.lens is not None:
            pixels = distort_points(pixels, one.K, one.lens[1], one.lens[0])
        seen = ((pixels > 0) & (pixels < torch.tensor([one.width, one.height]))).all(-1).nonzero()[:, 0]
        seen = seen[:3] if index == VIEWS - 1 else seen
        none = torch.zeros(0, 2, dtype=torch.float64)
        images.append(
            ColmapImage(
                id=10 * index + 1,
                name=name,
                camera_id=one.id,
                cam_T_world=cam_T_world,
                keypoints=pixels[seen] if keypoints else none,
                point_ids=seen + 1 if keypoints else none[:, 0].long(),
            )
        )
        point.append(seen)
        image_id.append(torch.full_like(seen, 10 * index + 1))
    observed = torch.cat(point)
    sparse = SparsePoints(
        id=torch.arange(points) + 1,
        xyz=xyz,
        rgb=torch.zeros(points, 3, dtype=torch.uint8),
        error=torch.ones(points, dtype=torch.float64),
        point=observed,
        image_id=torch.cat(image_id),
        keypoint=torch.cat([torch.arange(len(seen)) for seen in point]),
    )
    model = ColmapModel(folder=folder, cameras={one.id: one for one in cameras}, images=images, points=sparse)
    write_model(folder / "sparse" / "0", model, binary=binary)
    return folder


@pytest.mark.parametrize("place", ["", "sparse/0"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_pinhole_project(tmp_path: Path, place: str, binary: bool) -> None:
    folder = write_project(tmp_path / "desk", [camera(3, "PINHOLE")], binary=binary)
    assert recognises(folder / place)
    here = scene(folder / place)
    assert here.name == "desk"
    assert here.names == ["right_0", "left_0", "right_1", "left_1", "right_2"]
    sample = here.clip([0, 1, 3])
    assert sample.given() == ("image", "K", "world_T_cam", "depth_range", "scene", "index")
    assert torch.allclose(sample.K.double(), wall.intrinsics(HEIGHT, WIDTH).expand(3, 3, 3))
    assert sample.world_T_cam is not None
    assert torch.allclose(sample.world_T_cam.double(), wall.poses(VIEWS)[[0, 1, 3]], atol=1e-6)
    picture, _ = wall.photograph(wall.intrinsics(HEIGHT, WIDTH), wall.poses(VIEWS)[1], HEIGHT, WIDTH)
    assert (sample.image[1] - picture).abs().max() < 0.003  # 8 bits


def test_what_is_no_project_is_not_recognised(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "desk", [camera(3, "PINHOLE")])
    assert not recognises(folder / "images")
    assert not recognises(folder / "nowhere")


def test_partners_and_ranges_come_from_the_points(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")])
    here = ColmapScene(folder, widen=0.0, num_sources=2)
    # the cameras stand 6 cm apart, a metre away: the next but one, at 7 degrees, is better than the next one, at 3.5
    assert here.sources(0)[0] == 2
    assert here.sources(1)[0] == 3
    assert here.sources(2)[0] == 0  # not 4, which saw little
    assert here.sources(4) == ()
    assert here.references == [0, 1, 2, 3]
    model = read_model(folder)
    for index, one in enumerate(model.images[:4]):
        z = se3.transform(one.cam_T_world, model.points.xyz[model.points.point[model.points.image_id == one.id]])[:, 2]
        near, far = here.photographs[index].depth_range
        assert float(z.min()) <= near < far <= float(z.max())
    nears, fars = zip(*(one.depth_range for one in here.photographs[:4]), strict=True)
    assert here.photographs[4].depth_range == (min(nears), max(fars))
    wide = ColmapScene(folder, widen=0.5).photographs[0].depth_range
    assert wide == (
        pytest.approx(nears[0] / (fars[0] / nears[0]) ** 0.5),
        pytest.approx(fars[0] ** 1.5 / nears[0] ** 0.5),
    )


def test_a_given_range_needs_no_points_of_a_view(tmp_path: Path) -> None:
    here = scene(write_project(tmp_path, [camera(3, "PINHOLE")]), depth_range=(0.5, 2.0))
    assert {one.depth_range for one in here.photographs} == {(0.5, 2.0)}
    assert len(here.sources(4)) == 4


LENSES = [
    ("SIMPLE_RADIAL", (-0.2,)),
    ("RADIAL", (0.15, 0.1)),
    ("OPENCV", BARREL),
    ("FULL_OPENCV", (*BARREL, 0.01, 0.02, 0.0, 0.01)),
    ("OPENCV_FISHEYE", (0.05, -0.02, 0.01, 0.0)),
    ("FISHEYE", ()),
]


@pytest.mark.parametrize(("name", "coefficients"), LENSES)
def test_a_lens_is_undone(tmp_path: Path, name: str, coefficients: tuple[float, ...]) -> None:
    """What is read is what a pinhole with the K that is given sees, up to interpolation, and all of it is seen."""
    one = camera(3, name, coefficients)
    sample = scene(write_project(tmp_path, [one])).clip([1])
    K = sample.K[0].double()
    picture, _ = wall.photograph(K, wall.poses(VIEWS)[1], HEIGHT, WIDTH)
    difference = (sample.image[0] - picture).abs()
    assert difference.max() < 0.05
    assert difference.mean() < 0.006
    still, _ = wall.photograph(one.K, wall.poses(VIEWS)[1], HEIGHT, WIDTH)
    assert (sample.image[0] - still).abs().mean() > 0.015  # the test tells K apart
    assert torch.equal(K[:2, 2].float(), one.K[:2, 2].float())


@pytest.mark.parametrize(("name", "coefficients"), LENSES)
def test_the_zoom_is_the_smallest_that_leaves_no_pixel_empty(name: str, coefficients: tuple[float, ...]) -> None:
    one = camera(3, name, coefficients)
    K = pinhole(stored_camera(one, Path()))
    assert one.lens is not None

    def outside(factor: float) -> int:
        zoomed = K * torch.tensor([[factor, 1, 1], [1, factor, 1], [1, 1, 1]], dtype=torch.float64)
        pixels = distort_points(pixel_grid(HEIGHT, WIDTH, dtype=torch.float64), one.K, one.lens[1], one.lens[0], zoomed)
        inside = ((pixels >= 0) & (pixels <= torch.tensor([WIDTH - 1, HEIGHT - 1]))).all(-1)
        return int((~inside).sum())

    assert outside(1.0) == 0
    assert outside(0.97) > 0


def test_the_map_between_its_places_is_exact_enough() -> None:
    """Of a strong lens at a size at which it would be used."""
    one = camera(3, "OPENCV", BARREL, 480, 641)
    assert one.lens is not None
    stored = stored_camera(one, Path())
    pixels = lens_pixels(stored)
    assert pixels.shape == (480, 641, 2)
    some = pixel_grid(480, 641, dtype=torch.float64)[::7, ::5]
    exact = distort_points(some, one.K, one.lens[1], one.lens[0], pinhole(stored))
    assert float((pixels[::7, ::5] - exact).norm(dim=-1).max()) < 0.01


def test_a_lens_that_cannot_be_undone_is_told() -> None:
    one = camera(4, "SIMPLE_RADIAL", (-12.0,))  # stops growing at a sixth of the focal length
    with pytest.raises(Vo3dError, match=r"camera 4 \(SIMPLE_RADIAL 144 .*-12\) of .*: its lens cannot be undone"):
        pinhole(stored_camera(one, Path()))


def test_cameras_of_different_sizes(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "OPENCV", BARREL), camera(9, "PINHOLE", h=80, w=60)])
    with pytest.raises(Vo3dError, match=r"left/0\.png: is 60x80 pixels and 0\.png is 120x96: .*give size="):
        scene(folder)
    sample = scene(folder, size=(64, 72)).clip([0, 1, 2, 3])
    assert sample.image.shape == (4, 3, 64, 72)
    for index in range(4):
        picture, _ = wall.photograph(sample.K[index].double(), wall.poses(VIEWS)[index], 64, 72)
        assert (sample.image[index] - picture).abs().mean() < 0.04


def test_many_projects_make_one_dataset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_project(tmp_path / name, [camera(3, "PINHOLE")])
    dataset = Colmap(tmp_path, ["a", "b"], num_views=3, size=(48, 60))
    assert [one.name for one in dataset.recordings] == ["a", "b"]
    assert len(dataset) == 8
    assert dataset[4].image.shape == (3, 3, 48, 60)
    assert dataset[4].scene == "b"


def test_an_image_is_read_as_colmap_reads_it(tmp_path: Path) -> None:
    """A photograph whose header says to turn it: the model was made of the pixels as they are stored."""
    folder = write_project(tmp_path, [camera(3, "PINHOLE")])
    path = folder / "images/right/0.png"
    picture = scene(folder).clip([0]).image[0]
    jpeg = path.with_suffix(".jpg")
    write_image(jpeg, picture)
    plain = jpeg.read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    path.write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    assert (scene(folder).clip([0]).image[0] - picture).abs().mean() < 0.05


def points_of(folder: Path, change: Callable[[SparsePoints], SparsePoints]) -> None:
    model = read_model(folder)
    write_model(folder / "sparse/0", replace(model, points=change(model.points)))


def none_left(points: SparsePoints) -> SparsePoints:
    return SparsePoints(**{name: getattr(points, name)[:0] for name in points.__dataclass_fields__})


def few_left(points: SparsePoints) -> SparsePoints:
    tracks = {name: getattr(points, name)[:5] for name in ("point", "image_id", "keypoint")}
    return replace(points, **tracks)


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (
            lambda folder: points_of(folder, few_left),
            {},
            "no view sees 10 sparse points: .*give --depth-range NEAR FAR",
        ),
        (
            lambda folder: [path.unlink() for path in folder.glob("images/*/*")],
            {},
            r"images: holds none of the 5 images that .*sparse/0 has registered, such as right/0\.png: add them",
        ),
        (
            lambda folder: write_image(folder / "images/left/1.png", torch.ones(60, 48)),
            {},
            r"left/1\.png: is 48x60 pixels, but its camera in .*sparse/0 is for 120x96",
        ),
        (lambda folder: (folder / "images").rename(folder / "photos"), {}, "no folder images/ beside the model"),
        (lambda folder: (folder / "sparse/0/cameras.bin").unlink(), {}, "no COLMAP model"),
        (lambda folder: None, {"min_points": 1}, "min_points 1: expected at least"),
        (
            lambda folder: None,
            {"depth_range": (0.0, 2.0)},
            r"right/0\.png: depth range 0 to 2: expected 0 < near < far",
        ),
        (lambda folder: None, {"images": Path("/nowhere")}, r"/nowhere: holds none of the 5 images"),
    ],
)
def test_every_mistake_is_one_clear_line(
    tmp_path: Path, harm: Callable[[Path], None], options: dict[str, object], words: str
) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")])
    harm(folder)
    with pytest.raises(Vo3dError, match=words) as caught:
        ColmapScene(folder, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "desk", [camera(3, "PINHOLE")])
    (folder / "images").rename(tmp_path / "photos")
    assert scene(folder, images=tmp_path / "photos").clip([2]).image.shape == (1, 3, HEIGHT, WIDTH)


def cameras_of(folder: Path, change: Callable[[ColmapCamera], ColmapCamera]) -> None:
    model = read_model(folder)
    cameras = {id: change(camera) for id, camera in model.cameras.items()}
    write_model(folder / "sparse/0", replace(model, cameras=cameras))


def poses_of(folder: Path, change: Callable[[Tensor], Tensor]) -> None:
    model = read_model(folder)
    images = [replace(image, cam_T_world=change(image.cam_T_world)) for image in model.images]
    write_model(folder / "sparse/0", replace(model, images=images))


def zoomed(factor: float) -> Callable[[Path], None]:
    """Multiply the focal lengths of all cameras."""

    def change(camera: ColmapCamera) -> ColmapCamera:
        focals = CAMERA_MODELS[camera.model].focals
        return replace(camera, params=(*(factor * f for f in camera.params[:focals]), *camera.params[focals:]))

    return lambda folder: cameras_of(folder, change)


def reordered(cam_T_world: Tensor) -> Tensor:
    """Read a quaternion x y z w as w x y z."""
    w, x, y, z = rotations.quaternion_from_matrix(cam_T_world[:3, :3])
    wrong = rotations.matrix_from_quaternion(torch.stack((x, y, z, w)))
    return se3.from_rotation_translation(wrong, cam_T_world[:3, 3])


OPENGL = torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))


@pytest.mark.parametrize("keypoints", [True, False])
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (zoomed(2), "it fits with focal lengths of 0.5 times those"),
        (zoomed(0.4), "it fits with focal lengths of 2.5 times those"),
        (lambda folder: poses_of(folder, reordered), "the quaternions are written x y z w: write w x y z"),
        (lambda folder: poses_of(folder, lambda pose: OPENGL @ pose), "the cameras look along -z, as OpenGL's"),
        (
            lambda folder: cameras_of(folder, lambda one: replace(one, params=tuple(2 * p for p in one.params))),
            "it fits with keypoints 2 times as far apart: cameras or keypoints are for another image size",
        ),
        (
            lambda folder: points_of(folder, lambda points: replace(points, xyz=points.xyz.flip(-1))),
            "cameras, images and points are not of one model",
        ),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(
    tmp_path: Path, harm: Callable[[Path], None], words: str, keypoints: bool
) -> None:
    """Where points are seen is told twice: by keypoints, or, without these, by the borders of the images."""
    one = camera(3, "PINHOLE") if "2 times as far" in words else camera(3, "OPENCV", BARREL)
    folder = write_project(tmp_path, [one], keypoints=keypoints)
    assert not scene(folder).notes
    harm(folder)
    if not keypoints and ("2.5 times" in words or "quaternions" in words):
        assert not scene(folder).notes  # all points are still inside of the images
        return
    with pytest.raises(Vo3dError, match=r"sparse/0: sparse points miss their keypoints by .* in the median of \d+"):
        scene(folder)
    with pytest.raises(Vo3dError, match=words if keypoints else "expected about one: "):
        scene(folder)


def test_poses_the_other_way_round_are_told(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")], keypoints=True)
    far = se3.exp(torch.tensor([0.5, 0.2, 0.4, 0.3, -0.2, 0.5], dtype=torch.float64))  # off the origin
    model = read_model(folder)
    points = replace(model.points, xyz=se3.transform(far, model.points.xyz))
    images = [replace(image, cam_T_world=far @ se3.inverse(image.cam_T_world)) for image in model.images]
    write_model(folder / "sparse/0", replace(model, images=images, points=points))
    with pytest.raises(Vo3dError, match="the poses map cameras to the world: write their inverses"):
        scene(folder)


def test_one_wrong_camera_of_two_is_told(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE"), camera(9, "SIMPLE_RADIAL", (-0.1,))], keypoints=True)
    zoom = zoomed(2)
    cameras = dict(read_model(folder).cameras)
    zoom(folder)
    model = read_model(folder)
    write_model(folder / "sparse/0", replace(model, cameras={3: cameras[3], 9: model.cameras[9]}))
    with pytest.raises(Vo3dError, match=r"keypoints of camera 9 by .* focal lengths of 0.5 times"):
        scene(folder)


def test_a_small_miss_draws_a_line(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")], keypoints=True)
    zoomed(1.07)(folder)
    assert [note for note in scene(folder).notes if "miss their keypoints by 2." in note]


def test_a_principal_point_far_from_the_centre_draws_a_line(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")])
    cameras_of(folder, lambda one: replace(one, params=(*one.params[:2], 30.0, 24.0)))
    (note,) = scene(folder).notes
    assert "far from the centre in 5 of 5 views (0.png has (29.5, 23.5) in 120x96 pixels)" in note


def test_missing_images_are_left_out_with_a_line(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")])
    (folder / "images/left/1.png").unlink()
    here = scene(folder)
    assert here.names == ["right_0", "left_0", "1", "2"] or len(here) == 4
    assert list(here.notes) == [f"1 of 5 images of {folder}/sparse/0 are missing (left/1.png): the others are used"]
    assert all(source < 4 for index in range(4) for source in here.sources(index))
    assert here.clip([0, 1, 2, 3]).image.shape == (4, 3, HEIGHT, WIDTH)


def test_images_that_were_resized_are_told_and_k_is_scaled(tmp_path: Path) -> None:
    """Half the size, with a lens: what is read is what a pinhole of the scaled K sees."""
    one = camera(3, "OPENCV", BARREL)
    folder = write_project(tmp_path, [one])
    half = camera(3, "OPENCV", BARREL, HEIGHT // 2, WIDTH // 2)
    looks = directions(half)
    for name, world_T_cam in zip(scene(folder).photographs, wall.poses(VIEWS), strict=True):
        write_image(name.image, wall.look(looks, world_T_cam)[0])
    here = scene(folder)
    assert "5 of 5 images are resized (0.png is 60x48 pixels, its camera for 120x96): K is scaled" in here.notes[0]
    sample = here.clip([1])
    K = sample.K[0].double()
    # the wall's K of the half size: the centre of the top-left pixel is (0, 0) in both
    assert float(K[0, 2]) == pytest.approx((float(one.K[0, 2]) + 0.5) / 2 - 0.5)
    picture, _ = wall.photograph(K, wall.poses(VIEWS)[1], HEIGHT // 2, WIDTH // 2)
    assert (sample.image[0] - picture).abs().mean() < 0.03


def test_a_model_without_points_is_paired_by_its_poses(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")])
    points_of(folder, none_left)
    here = scene(folder, depth_range=(0.7, 1.4))
    assert list(here.notes) == ["no sparse points of these images: views are paired by their poses"]
    assert all(len(here.sources(index)) == 4 for index in range(VIEWS))
    assert here.sources(0)[0] == 2  # 7 degrees apart, as posed images are paired
    (folder / "sparse/0/points3D.bin").unlink()
    assert len(scene(folder, depth_range=(0.7, 1.4)).references) == VIEWS


def test_an_unused_camera_of_an_unknown_lens_is_left_out(tmp_path: Path) -> None:
    folder = write_project(tmp_path, [camera(3, "PINHOLE")], binary=False)
    path = folder / "sparse/0/cameras.txt"
    path.write_text(path.read_text() + "8 FOV 640 480 500 500 320 240 0.9\n9 PINHOLE 640 480 0 500 320 240\n")
    notes = scene(folder).notes
    assert len(notes) == 2
    assert "camera 8 is left out, as no image has it: " in notes[0]
    assert "camera model FOV" in notes[0]
    assert "camera 9 is left out" in notes[1]


def test_names_that_become_equal_when_joined_stay_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a_b/c.jpg", "a/b_c.jpg", "x/c.jpg", "x/b_c.jpg", "X/C.jpg", "a/b_c_2.jpg")]
    assert unique_names(paths) == ["a_b_c", "a_b_c_2", "x_c", "x_b_c", "X_C_2", "a_b_c_2_2"]
    assert unique_names(paths[:1]) == ["c"]
    assert unique_names([Path("x/1.jpg"), Path("y/1.jpg")]) == ["x_1", "y_1"]
    with pytest.raises(Vo3dError, match=r"a_b/c\.jpg: is among the images of a scene twice"):
        unique_names([paths[0], paths[0]])
    with pytest.raises(Vo3dError, match=r"/a_b/c\.jpg: is among the images of a scene twice"):
        unique_names([tmp_path / "x/../a_b/c.jpg", paths[0]])


@pytest.mark.real
def test_a_real_model_fits_itself_and_is_refused_once_it_does_not(shared_data: Path, tmp_path: Path) -> None:
    """Four drone photographs, whose points miss their keypoints by less than a pixel."""
    folder = shutil.copytree(shared_data / "trials/scenes/maupertuis_wide", tmp_path / "wide")
    assert not scene(folder).notes
    cameras = folder / "sparse/0/cameras.txt"
    cameras.chmod(0o644)
    text = cameras.read_text()
    cameras.write_text(text.replace("616.16425", "1232.3285"))
    with pytest.raises(Vo3dError, match=r"by 113 pixels, .* it fits with focal lengths of 0.5 times"):
        scene(folder)
    cameras.write_text(text.replace("616.16425", "647"))
    (note,) = scene(folder).notes
    assert "by 5.67 pixels" in note

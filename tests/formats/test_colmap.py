"""COLMAP's models against texts and bytes made by hand, its camera models against its formulas, and bad files."""

import math
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor

from checks import assert_same
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import ColmapModel, find_model, observations, read_model, write_model
from vo3d.formats.colmap_model import CAMERA_MODELS, ColmapCamera, ColmapImage, SparsePoints, make_camera
from vo3d.geometry import distort_points, project, rotations, se3

CAMERAS = """# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
# Number of cameras: 2
7 SIMPLE_RADIAL 640 480 500.5 320.5 240 -0.1
2 PINHOLE 800 600 700 710 400 300.25
"""
IMAGES = """# Image list with two lines of data per image:
#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME
#   POINTS2D[] as (X, Y, POINT3D_ID)
90 1 0 0 0 0.5 -1 2 7 left camera/my photo 1.jpg
10.5 20 4000000000 0.5 0.5 -1 3 4 11
3 0.5 0.5 0.5 0.5 0 0 0 2 b.png

"""
POINTS = """# 3D point list
11 1 2 3 255 0 7 0.25 90 2
4000000000 -1 0.5 4 1 2 3 1.5 90 0 3 5 90 1
"""


def write_text(folder: Path, *, cameras: str = CAMERAS, images: str = IMAGES, points: str | None = POINTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text(cameras)
    (folder / "images.txt").write_text(images)
    if points is not None:
        (folder / "points3D.txt").write_text(points)
    return folder


def write_bytes(folder: Path) -> Path:
    """The same model, packed as COLMAP's documentation says."""
    folder.mkdir(parents=True, exist_ok=True)
    cameras = struct.pack("<Q", 2)
    cameras += struct.pack("<IiQQ4d", 7, 2, 640, 480, 500.5, 320.5, 240, -0.1)
    cameras += struct.pack("<IiQQ4d", 2, 1, 800, 600, 700, 710, 400, 300.25)
    images = struct.pack("<QI7dI", 2, 90, 1, 0, 0, 0, 0.5, -1, 2, 7) + b"left camera/my photo 1.jpg\0"
    images += struct.pack("<Q ddQ ddQ ddQ", 3, 10.5, 20, 4000000000, 0.5, 0.5, 2**64 - 1, 3, 4, 11)
    images += struct.pack("<I7dI", 3, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 2) + b"b.png\0"
    images += struct.pack("<Q", 0)
    points = struct.pack("<QQ3d3BdQ2I", 2, 11, 1, 2, 3, 255, 0, 7, 0.25, 1, 90, 2)
    points += struct.pack("<Q3d3BdQ6I", 4000000000, -1, 0.5, 4, 1, 2, 3, 1.5, 3, 90, 0, 3, 5, 90, 1)
    for name, content in (("cameras", cameras), ("images", images), ("points3D", points)):
        (folder / f"{name}.bin").write_bytes(content)
    return folder


def assert_same_model(left: ColmapModel, right: ColmapModel, tolerance: float = 1e-12) -> None:
    assert left.cameras == right.cameras
    assert [(i.id, i.name, i.camera_id) for i in left.images] == [(i.id, i.name, i.camera_id) for i in right.images]
    for one, other in zip(left.images, right.images, strict=True):
        assert_same(one.cam_T_world, other.cam_T_world, tolerance)
        assert_same(one.keypoints, other.keypoints, tolerance)
        assert_same(one.point_ids, other.point_ids, 0)
    for name in ("id", "xyz", "rgb", "error", "point", "image_id", "keypoint"):
        assert_same(getattr(left.points, name), getattr(right.points, name), 0)


@pytest.mark.parametrize("write", [write_text, write_bytes])
def test_a_model_made_by_hand(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    model = read_model(write(tmp_path))
    first, second = model.images  # by id: 3, 90
    assert (first.id, first.name, second.id, second.name) == (3, "b.png", 90, "left camera/my photo 1.jpg")
    assert second.cam_T_world.tolist() == [[1, 0, 0, 0.5], [0, 1, 0, -1], [0, 0, 1, 2], [0, 0, 0, 1]]
    assert first.cam_T_world[:3, :3].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert second.keypoints.tolist() == [[10, 19.5], [0, 0], [2.5, 3.5]]  # half a pixel less than in the file
    assert second.point_ids.tolist() == [4000000000, -1, 11]
    assert first.keypoints.shape == (0, 2)
    assert model.cameras[7].K.tolist() == [[500.5, 0, 320], [0, 500.5, 239.5], [0, 0, 1]]
    assert model.cameras[7].lens == ("radtan", (-0.1, 0, 0, 0))
    assert model.cameras[2].K.tolist() == [[700, 0, 399.5], [0, 710, 299.75], [0, 0, 1]]
    assert model.cameras[2].lens is None
    points = model.points
    assert (points.id.tolist(), points.xyz.tolist()) == ([11, 4000000000], [[1, 2, 3], [-1, 0.5, 4]])
    assert (points.rgb.tolist(), points.error.tolist()) == ([[255, 0, 7], [1, 2, 3]], [0.25, 1.5])
    assert points.keypoint.tolist() == [2, 0, 5, 1]
    point, view = observations(model)
    assert point.tolist() == [0, 1, 1, 1]
    assert view.tolist() == [1, 1, 0, 1]  # places among the images, not their ids


def random_model(generator: torch.Generator) -> ColmapModel:
    """Every camera model, ids with gaps, keypoints without points, a point that nobody sees."""
    cameras = {
        5 * model.id + 3: ColmapCamera(
            id=5 * model.id + 3,
            model=name,
            width=640,
            height=480,
            params=tuple((torch.rand(model.num_params, generator=generator, dtype=torch.float64) + 0.1).tolist()),
        )
        for name, model in CAMERA_MODELS.items()
    }
    images = []
    for index, camera_id in enumerate(cameras):
        xi = torch.randn(6, generator=generator, dtype=torch.float64)
        keypoints = torch.rand(index, 2, generator=generator, dtype=torch.float64) * 640
        images.append(
            ColmapImage(
                id=index * index + 2,
                name=f"folder {index}/é.jpg",
                camera_id=camera_id,
                cam_T_world=se3.exp(xi),
                keypoints=keypoints,
                point_ids=torch.arange(index) - 1,
            )
        )
    points = SparsePoints(
        id=torch.tensor([3, 2**40, 7]),
        xyz=torch.randn(3, 3, generator=generator, dtype=torch.float64),
        rgb=torch.tensor([[0, 1, 2], [253, 254, 255], [9, 9, 9]], dtype=torch.uint8),
        error=torch.rand(3, generator=generator, dtype=torch.float64),
        point=torch.tensor([0, 0, 2]),
        image_id=torch.tensor([2, 102, 18]),
        keypoint=torch.tensor([0, 1, 2**31]),
    )
    return ColmapModel(folder=Path(), cameras=cameras, images=images, points=points)


@pytest.mark.parametrize("binary", [True, False])
def test_there_and_back(tmp_path: Path, generator: torch.Generator, binary: bool) -> None:
    model = random_model(generator)
    write_model(tmp_path / "sparse", model, binary=binary)
    assert_same_model(read_model(tmp_path), model)
    assert {path.suffix for path in (tmp_path / "sparse").iterdir()} == {".bin" if binary else ".txt"}


def test_the_writer_makes_the_bytes_of_colmap(tmp_path: Path) -> None:
    by_hand, written = write_bytes(tmp_path / "a"), tmp_path / "b"
    model = read_model(by_hand)
    model.images.sort(key=lambda image: -image.id)  # the order of the file made by hand
    write_model(written, model)
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        assert (written / name).read_bytes() == (by_hand / name).read_bytes()


def test_the_model_is_found_where_colmap_puts_it(tmp_path: Path) -> None:
    assert find_model(tmp_path) is None
    write_text(tmp_path / "sparse" / "0", cameras=CAMERAS.replace("640", "641"))
    assert find_model(tmp_path) == tmp_path / "sparse" / "0"
    assert read_model(tmp_path).cameras[7].width == 641
    write_bytes(tmp_path / "sparse" / "0")  # beside the text: what COLMAP itself would read
    assert read_model(tmp_path).cameras[7].width == 640
    write_text(tmp_path / "sparse")
    assert find_model(tmp_path) == tmp_path / "sparse"


def colmap_pixels(name: str, params: list[float], points: Tensor) -> Tensor:
    """The formulas of COLMAP's documentation: camera coordinates (n, 3) to its pixels."""
    two = name in ("PINHOLE", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FISHEYE")
    fx, fy, cx, cy, *k = params if two else [params[0], *params]
    u, v = (points[:, :2] / points[:, 2:]).unbind(-1)
    if "FISHEYE" in name:
        radius = torch.hypot(u, v)
        theta = torch.atan(radius)
        u, v = u * theta / radius, v * theta / radius
    r2 = u**2 + v**2
    if name in ("SIMPLE_RADIAL", "RADIAL") or "FISHEYE" in name:
        factor = 1 + sum((k_i * r2 ** (i + 1) for i, k_i in enumerate(k)), torch.zeros_like(u))
        du = dv = torch.zeros_like(u)
    elif k:
        k1, k2, p1, p2, k3, k4, k5, k6 = [*k, 0, 0, 0, 0][:8]
        factor = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        du, dv = 2 * p1 * u * v + p2 * (r2 + 2 * u**2), 2 * p2 * u * v + p1 * (r2 + 2 * v**2)
    else:
        factor, du, dv = torch.ones_like(u), torch.zeros_like(u), torch.zeros_like(u)
    return torch.stack((fx * (u * factor + du) + cx, fy * (v * factor + dv) + cy), dim=-1)


@pytest.mark.parametrize("name", CAMERA_MODELS)
def test_each_camera_model_sees_what_colmap_says(generator: torch.Generator, name: str) -> None:
    model = CAMERA_MODELS[name]
    focals = [500.0, 510.0][: model.focals]
    coefficients = [-0.2, 0.05, 0.003, -0.002, 0.01, 0.02, -0.01, 0.004][: model.coefficients]
    params = [*focals, 320.5, 240.25, *coefficients]
    camera = make_camera("here", 1, name, (640, 480), params)
    points = torch.randn(200, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.4, 0.3, 0.1])
    points[:, 2] += 1.5
    pixels, _ = project(camera.K, points)
    if camera.lens is not None:
        kind, given = camera.lens
        pixels = distort_points(pixels, camera.K, given, kind)
    assert_same(pixels + 0.5, colmap_pixels(name, params, points), 1e-8)
    assert (camera.lens is None) == ("PINHOLE" in name)


def test_a_lens_without_distortion_is_a_pinhole_but_a_fisheye_is_not() -> None:
    assert make_camera("here", 1, "OPENCV", (4, 4), [9.0, 9.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]).lens is None
    assert make_camera("here", 1, "FISHEYE", (4, 4), [9.0, 9.0, 2.0, 2.0]).lens == ("equidistant", (0, 0, 0, 0))


BAD_TEXTS = {
    "no camera model": (
        "cameras",
        CAMERAS.replace("PINHOLE", "FOV"),
        ":5: camera 2 has the camera model FOV: expected",
    ),
    "typo": ("cameras", CAMERAS.replace("PINHOLE", "PINHOL"), ":5: camera 2 has the camera model PINHOL"),
    "parameters": ("cameras", CAMERAS.replace(" 300.25", ""), ":5: camera 2 has 3 parameters: expected 4 for PINHOLE"),
    "zero focal": ("cameras", CAMERAS.replace("700", "0"), ":5: camera 2 is 800 x 600 pixels with PINHOLE 0 710"),
    "nan": ("cameras", CAMERAS.replace("700", "nan"), ":5: 'nan': expected a finite number"),
    "long": ("cameras", CAMERAS.replace("700", "1e7"), ":5: camera 2: K has an entry of 1e+07: expected pixels"),
    "wide": ("cameras", CAMERAS.replace("800", "8000000"), ":5: camera 2 is 8000000 x 600 pixels: expected up to"),
    "digits": ("cameras", CAMERAS.replace("800", "8" * 5000), f":5: '{'8' * 115}...' as an id or a size"),
    "model": (
        "cameras",
        CAMERAS.replace("PINHOLE", "\x1b[31m" + "P" * 999),
        r":5: camera 2 has the camera model \x1b[31mPP",
    ),
    "point below": ("images", IMAGES.replace("20 4000000000", "20 -2"), ":4: a keypoint has the point -2"),
    "far image": ("images", IMAGES.replace("0.5 -1 2 7", "1e99 -1 2 7"), ":4: no rigid motion"),
    "far point": (
        "points3D",
        POINTS.replace("1 2 3 255", "1e99 2 3 255"),
        ": point 11 is 1e+99 2 3 255 0 7 0.25: expected",
    ),
    "id below": ("points3D", POINTS.replace("11 1", "-11 1"), ": a point has an id or a keypoint below 0"),
    "size": ("cameras", CAMERAS.replace("800", "800.5"), ":5: '800.5' as an id or a size"),
    "short camera": ("cameras", "1 PINHOLE 3 4\n", ":1: 4 tokens: expected a line: camera id"),
    "camera twice": ("cameras", CAMERAS.replace("\n2 ", "\n7 "), ": camera 7 is there twice"),
    "camera lacks": ("images", IMAGES.replace("2 7 left", "2 8 left"), ": image 90 has camera 8, which"),
    "no name": ("images", "1 1 0 0 0 0 0 0 2\n\n", ":1: 9 tokens: expected a line: image id"),
    "lines lost": ("images", IMAGES.replace("\n10.5", "\n9 10.5"), ":5: 10 tokens: expected a line of keypoints"),
    "keypoint": ("images", IMAGES.replace("20 4000000000", "20 one"), ":5: 'one' as the id of a point"),
    "quaternion": ("images", IMAGES.replace("90 1 0", "90 2 0"), ":4: no rigid motion: a quaternion of length 2"),
    "zero quaternion": ("images", IMAGES.replace("90 1 0", "90 0 0"), ":4: no rigid motion: a quaternion of length 0"),
    "image nan": ("images", IMAGES.replace("0.5 -1 2 7", "inf -1 2 7"), ":4: 'inf': expected a finite number"),
    "image twice": ("images", IMAGES.replace("\n3 ", "\n90 "), ": image 90 is there twice"),
    "no images": ("images", "# nothing\n", ": holds no images"),
    "tracks": (
        "points3D",
        POINTS.replace("3 5", "4 5").replace("90", "91"),
        ": a point is seen in image 4, which",
    ),
    "half a track": ("points3D", POINTS.replace("90 2", "90"), ":2: 9 tokens: expected a line: point id"),
    "colour": ("points3D", POINTS.replace("255", "256"), ":2: colour 256 0 7"),
    "point id": ("points3D", POINTS.replace("11 1", "1.5 1"), ":2: '1.5' as the id of a point: expected a whole"),
    "huge id": ("points3D", POINTS.replace("4000000000", "1" + "0" * 19), ":3: '10000000000000000000' as the id of"),
    "point twice": ("points3D", POINTS.replace("4000000000", "11"), ": point 11 is there twice"),
    "point nan": ("points3D", POINTS.replace("1 2 3 255", "nan 2 3 255"), ":2: 'nan': expected a finite number"),
}


@pytest.mark.parametrize(("name", "text", "words"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_bad_text_is_one_line_with_its_place(tmp_path: Path, name: str, text: str, words: str) -> None:
    write_text(tmp_path)
    path = tmp_path / f"{name}.txt"
    path.write_text(text)
    with pytest.raises(Vo3dError) as caught:
        read_model(tmp_path)
    assert str(caught.value).startswith(f"{path}{words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_wherever_a_binary_file_ends_it_is_refused(tmp_path: Path, name: str) -> None:
    path = write_bytes(tmp_path) / f"{name}.bin"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(Vo3dError, match=rf"{name}.bin: truncated: byte \d+ of {size} is needed"):
            read_model(tmp_path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(Vo3dError, match=rf"{name}.bin: 1 bytes left after the last entry"):
        read_model(tmp_path)


@pytest.mark.parametrize(("model_id", "name"), [(7, "FOV"), (10, "THIN_PRISM_FISHEYE"), (99, "number 99")])
def test_a_camera_model_without_a_place_is_named(tmp_path: Path, model_id: int, name: str) -> None:
    path = write_bytes(tmp_path) / "cameras.bin"
    num_params = {7: 5, 10: 12, 99: 5}[model_id]
    path.write_bytes(struct.pack(f"<QIiQQ{num_params}d", 1, 7, model_id, 640, 480, *range(num_params)))
    with pytest.raises(Vo3dError, match=f"camera 7 has the camera model {name}: .* image_undistorter first"):
        read_model(tmp_path)


def test_observations_in_images_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    path = write_text(tmp_path) / "points3D.txt"
    path.write_text(POINTS.replace("3 5", "4 5"))
    model = read_model(tmp_path)
    assert list(model.notes) == [
        f"1 of 4 observations in {path} are left out: {tmp_path}/images.txt lacks their images (4)"
    ]
    point, view = observations(model)
    assert (point.tolist(), view.tolist()) == ([0, 1, 1], [1, 1, 1])


@pytest.mark.parametrize(("model_id", "num_params"), [(7, 5), (10, 12), (11, 16), (12, 4), (13, 5), (16, 6), (17, 2)])
def test_a_camera_that_no_image_has_may_be_of_any_model(tmp_path: Path, model_id: int, num_params: int) -> None:
    path = write_bytes(tmp_path) / "cameras.bin"
    other = struct.pack(f"<IiQQ{num_params}d", 1, model_id, 640, 480, *range(num_params))
    path.write_bytes(struct.pack("<Q", 3) + other + path.read_bytes()[8:])
    model = read_model(tmp_path)
    assert set(model.cameras) == {2, 7}
    (note,) = model.notes
    assert note.startswith(f"camera 1 is left out, as no image has it: {path}: camera 1 has the camera model ")


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_a_pointer_of_git_lfs_says_so(tmp_path: Path, name: str) -> None:
    (write_bytes(tmp_path) / f"{name}.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 3\n")
    with pytest.raises(Vo3dError, match=rf"{name}\.bin: a Git LFS pointer, not the model .*: run 'git lfs pull'"):
        read_model(tmp_path)


def test_other_damage_in_binary_files(tmp_path: Path) -> None:
    path = write_bytes(tmp_path) / "images.bin"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(struct.pack("<d", -1), struct.pack("<d", math.nan)))
    with pytest.raises(Vo3dError, match=r"images.bin, image 90: no rigid motion"):
        read_model(tmp_path)
    path.write_bytes(whole.replace(b"photo", b"\xff\xfe\xfd\xfc\xfb"))
    with pytest.raises(Vo3dError, match=r"images.bin: the name at byte 72 is not UTF-8"):
        read_model(tmp_path)
    for old, new, words in (
        (struct.pack("<d", 10.5), struct.pack("<d", math.nan), "image 90: a keypoint is NaN or infinite"),
        (struct.pack("<Q", 11), struct.pack("<q", -2), "image 90: a keypoint has the point -2"),
        (b"b.png\0", b"\0", "image 3: its name is ''"),
        (b"b.png\0", b"b\n.png\0", r"image 3: its name is 'b\\n.png'"),
        (struct.pack("<d", -1), struct.pack("<d", 1e99), "image 90: no rigid motion"),
    ):
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(Vo3dError, match=f"images.bin, {words}"):
            read_model(tmp_path)
    path.write_bytes(whole)
    points = tmp_path / "points3D.bin"
    good = points.read_bytes()
    for old, new, words in (
        (struct.pack("<d", 0.25), struct.pack("<d", math.nan), "point 11 is 1 2 3 255 0 7 nan: expected finite"),
        (struct.pack("<Q", 11), struct.pack("<q", -2), "a point has an id or a keypoint below 0"),
    ):
        points.write_bytes(good.replace(old, new))
        with pytest.raises(Vo3dError, match=f"points3D.bin: {words}"):
            read_model(tmp_path)
    points.write_bytes(good.replace(struct.pack("<d", 4), struct.pack("<d", math.inf)))
    with pytest.raises(Vo3dError, match=r"points3D.bin: point .* is .*inf.*: expected finite"):
        read_model(tmp_path)


@pytest.mark.parametrize("points", [None, "# 3D point list\n", "5 0 0 1 9 9 9 0.5\n"])
def test_a_model_without_points_is_refused_where_they_are_needed(tmp_path: Path, points: str | None) -> None:
    model = read_model(write_text(tmp_path, points=points))
    assert len(model.images) == 2
    with pytest.raises(Vo3dError) as caught:
        observations(model)
    assert str(caught.value).startswith(f"{tmp_path}: the COLMAP model has no sparse points")
    assert "\n" not in str(caught.value)


def test_an_empty_model_in_binary_form(tmp_path: Path) -> None:
    write_bytes(tmp_path)
    (tmp_path / "points3D.bin").write_bytes(struct.pack("<Q", 0))
    assert len(read_model(tmp_path).points) == 0
    (tmp_path / "images.bin").write_bytes(struct.pack("<Q", 0))
    with pytest.raises(Vo3dError, match=r"images.bin: holds no images"):
        read_model(tmp_path)
    with pytest.raises(Vo3dError, match="no COLMAP model: expected cameras and images"):
        read_model(tmp_path / "elsewhere")


def test_a_quaternion_with_few_digits_is_made_a_rotation(tmp_path: Path) -> None:
    model = read_model(write_text(tmp_path, images=IMAGES.replace("0.5 0.5 0.5 0.5", "0.707 0 0 0.707")))
    assert bool(rotations.is_rotation(model.images[0].cam_T_world[:3, :3], 1e-12))

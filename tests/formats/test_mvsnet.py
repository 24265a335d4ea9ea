"""cam.txt, pair.txt and their folders: tolerant where files in the wild differ, one line where they are wrong."""

import math
from pathlib import Path

import pytest
import torch

from checks import assert_same
from vo3d.errors import Vo3dError
from vo3d.formats.mvsnet import MVSCamera, ViewSources, read_cam, read_pairs, read_scene, write_cam, write_pairs
from vo3d.geometry import se3

POSE = "0 -1 0 10\n1 0 0 20\n0 0 1 30\n0 0 0 1"
MATRIX = "2892.33 0 823.205\n0 2883.175 619.071\n0 0 1"


def cam_text(pose: str = POSE, matrix: str = MATRIX, depths: str = "425.0 2.5") -> str:
    return f"extrinsic\n{pose}\n\nintrinsic\n{matrix}\n\n{depths}\n"


def make_scene(folder: Path, *, cams: str = "cams", images: str = "images", suffix: str = ".jpg") -> Path:
    for index in range(3):
        (folder / images).mkdir(parents=True, exist_ok=True)
        (folder / cams).mkdir(exist_ok=True)
        (folder / images / f"{index:08d}{suffix}").touch()
        (folder / cams / f"{index:08d}_cam.txt").write_text(cam_text(depths=f"{425 + index} 2.5"))
    (folder / "pair.txt").write_text("2\n0\n2 1 9.5 2 3\n2\n1 0 7 \n")
    return folder


def test_a_cam_file_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "00000000_cam.txt"
    path.write_text(cam_text())
    camera = read_cam(path)
    assert camera.K.tolist() == [[2892.33, 0, 823.205], [0, 2883.175, 619.071], [0, 0, 1]]
    point = camera.cam_T_world @ torch.tensor([1.0, 2, 3, 1], dtype=torch.float64)
    assert point.tolist() == [8, 21, 33, 1]
    assert (camera.depth_min, camera.depth_interval) == (425, 2.5)


@pytest.mark.parametrize(
    ("depths", "num_depths", "depth_max"),
    [
        ("425 2.5", 192, 902.5),  # neither: the published number of depths
        ("425 2.5 256", 256, 1062.5),  # num: the last depth is min + interval (num - 1)
        ("425\n2.5 255.6", 256, 1062.5),  # as the authors' converter writes the number
        ("425 2.5 192.0 935.0", 192, 935),
        ("425 2.5 192 935 7", 192, 935),
        ("425 2.5 192 935 7 8", 192, 935),
        ("425 2.5 1", 1, 425),
    ],
)
def test_the_line_of_depths_may_be_short_or_long(
    tmp_path: Path, depths: str, num_depths: int, depth_max: float
) -> None:
    path = tmp_path / "cam.txt"
    path.write_text(cam_text(depths=depths))
    camera = read_cam(path)
    assert (camera.num_depths, camera.depth_max) == (num_depths, depth_max)
    if depths == "425 2.5":
        assert read_cam(path, num_depths=3).depth_max == 430


def test_line_ends_and_blanks_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "cam.txt"
    path.write_bytes(cam_text().replace("\n\n", "\n").replace("\n", "  \r\n").encode())
    assert read_cam(path).depth_max == 902.5


BAD_CAMS = {
    "no word": (cam_text()[10:], ":1: found '0' where 'extrinsic' should be"),
    "empty": ("", ":1: found 'the end of the file'"),
    "other word": (cam_text().replace("intrinsic\n2892", "K\n2892"), ":7: found 'K' where 'intrinsic' should be"),
    "short matrix": ("extrinsic\n1 0 0 0\n", ":2: 4 numbers of 'extrinsic'"),
    "three rows": (cam_text(pose=POSE[:-8]), ":6: 'intrinsic': expected a finite number"),
    "nan": (cam_text(matrix=MATRIX.replace("823.205", "nan")), ":8: 'nan': expected a finite number"),
    "singular": (cam_text(matrix="2892 0 800\n0 0 600\n0 0 1"), ":8: K is singular (fx 2892, fy 0)"),
    "zeros": (cam_text(matrix="0 0 0\n0 0 0\n0 0 0"), ":8: K is singular"),
    "transposed": (cam_text(matrix="2892 0 0\n0 2883 0\n800 600 1"), ":8: K is no matrix of a pinhole camera"),
    "long": (cam_text(matrix=MATRIX.replace("823.205", "1e7")), ":8: K has an entry of 1e+07: expected pixels, up to"),
    "far": (cam_text(depths="425 1e20"), ":12: depth_max 1.91e+22: expected up to 1e+12"),
    "many depths": (cam_text(depths="425 2.5 1e300"), ":12: depth_interval 2.5 and 1e+300 depths"),
    "word of control": ("\x1b[31m" + "x" * 999, r":1: found '\x1b[31mxxx"),
    "scaled": (cam_text(pose=POSE.replace("-1", "-2")), ":2: not a rotation"),
    "mirrored": (cam_text(pose=POSE.replace("-1", "1")), ":2: not a rotation"),
    "last row": (cam_text(pose=POSE[:-1] + "2"), ":2: the last row of the pose is 0 0 0 2"),
    "zero depth": (cam_text(depths="0 2.5 192"), ":12: depth_min 0: expected a depth above 0"),
    "negative depth": (cam_text(depths="-1 2.5 192"), ":12: depth_min -1"),
    "no interval": (cam_text(depths="425 0"), ":12: depth_interval 0 and 192 depths"),
    "no depths": (cam_text(depths="425 2.5 0"), ":12: depth_interval 2.5 and 0 depths"),
    "inverted": (cam_text(depths="425 2.5 192 400"), ":12: depth_max 400 is not above depth_min 425"),
    "one depth": (cam_text(depths="425"), ":12: 1 numbers after the intrinsic matrix"),
    "no range": (cam_text(depths=""), ":10: 0 numbers after the intrinsic matrix"),
    "too many": (cam_text(depths="1 2 3 4 5 6 7"), ":12: 7 numbers after the intrinsic matrix"),
}


@pytest.mark.parametrize(("text", "words"), BAD_CAMS.values(), ids=BAD_CAMS)
def test_a_bad_cam_file_is_one_line_with_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "00000007_cam.txt"
    path.write_text(text)
    with pytest.raises(Vo3dError) as caught:
        read_cam(path)
    assert str(caught.value).startswith(f"{path}{words}")
    assert "\n" not in str(caught.value)


def test_cameras_and_pairs_there_and_back(tmp_path: Path, generator: torch.Generator) -> None:
    pose = se3.exp(torch.randn(6, generator=generator, dtype=torch.float64))
    K = torch.tensor([[300.1, 0.1, 159.7], [0, 299.9, 119.3], [0, 0, 1]], dtype=torch.float64)
    camera = MVSCamera(K=K, cam_T_world=pose, depth_min=0.1, depth_interval=0.003, num_depths=96, depth_max=0.4)
    write_cam(tmp_path / "a_cam.txt", camera)
    back = read_cam(tmp_path / "a_cam.txt")
    assert_same(back.K, K, 0)
    assert_same(back.cam_T_world, pose, 0)
    assert (back.depth_min, back.depth_interval, back.num_depths, back.depth_max) == (0.1, 0.003, 96, 0.4)
    pairs = [ViewSources(view=4, sources=(7, 0), scores=(1 / 3, 0.25)), ViewSources(view=0, sources=(), scores=())]
    write_pairs(tmp_path / "pair.txt", pairs)
    assert read_pairs(tmp_path / "pair.txt") == pairs


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    K, pose = torch.eye(3, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    path = tmp_path / "cam.txt"
    for wrong, words in (
        ({"K": K * 0}, "singular"),
        ({"cam_T_world": pose * 2}, "last row"),
        ({"depth_min": 0.0}, "depths from 0 to 9"),
        ({"depth_max": 0.5}, "depths from 1 to 0.5"),
    ):
        good = {"K": K, "cam_T_world": pose, "depth_min": 1.0, "depth_max": 9.0}
        with pytest.raises(Vo3dError, match=words):
            write_cam(path, MVSCamera(depth_interval=0.1, num_depths=81, **{**good, **wrong}))  # type: ignore[arg-type]
    with pytest.raises(Vo3dError, match="no view to write"):
        write_pairs(path, [])
    assert not path.exists()


def test_any_number_of_sources_and_none_of_them_the_view_itself(tmp_path: Path) -> None:
    path = tmp_path / "pair.txt"
    path.write_text("3\n\n5\n0\n9\n3 5 0.0 2 1.5 9 nan\n2\n1 5 2 \n")
    first, second, third = read_pairs(path)
    assert (first.view, first.sources, first.line) == (5, (), 4)
    assert (second.view, second.sources, second.scores) == (9, (5, 2), (0, 1.5))
    assert (third.view, third.sources) == (2, (5,))
    path.write_text("1\n0\n1 3 nan\n")
    assert math.isnan(read_pairs(path)[0].scores[0])


BAD_PAIRS = {
    "empty": ("", ":1: no number of views"),
    "no count": ("0\n1 1 5\n", ": 1 lines after a number of views of 0"),
    "short": ("2\n0\n1 1 5\n1\n", ": 3 lines after a number of views of 2"),
    "long": ("1\n0\n1 1 5\n1\n1 0 5\n", ": 4 lines after a number of views of 1"),
    "word": ("one\n0\n1 1 5\n", ":1: 'one' as the number of views"),
    "sources": ("1\n0\n2 1 5\n", ":3: 2 tokens after a number of sources of 2"),
    "id": ("1\n0\n1 1.5 5\n", ":3: '1.5' as the number of a source"),
    "score": ("1\n0\n1 1 high\n", ":3: a score of view 0 is no number"),
    "twice": ("1\n0\n2 1 5 1 4\n", ":3: view 0 names a source twice"),
    "view twice": ("2\n0\n0\n0\n0\n", ":4: view 0 again"),
    "two views": ("1\n0 1\n0\n", ":2: 2 tokens"),
}


@pytest.mark.parametrize(("text", "words"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_a_bad_pair_file_is_one_line_with_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pair.txt"
    path.write_text(text)
    with pytest.raises(Vo3dError) as caught:
        read_pairs(path)
    assert str(caught.value).startswith(f"{path}{words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cams", "images", "suffix"),
    [("cams", "images", ".jpg"), ("cams_1", "blended_images", ".png"), ("cams", "images", ".JPG")],
)
def test_a_folder_gives_its_views(tmp_path: Path, cams: str, images: str, suffix: str) -> None:
    views = read_scene(make_scene(tmp_path, cams=cams, images=images, suffix=suffix), num_depths=11)
    assert list(views) == [0, 1, 2]
    assert views[0].sources == (1, 2)
    assert views[0].scores == (9.5, 3)
    assert (views[1].sources, views[2].sources) == ((), (0,))
    assert views[2].image == tmp_path / images / f"00000002{suffix}"
    assert (views[2].camera.depth_min, views[2].camera.depth_max) == (427, 452)


def test_the_folder_of_cameras_can_be_chosen(tmp_path: Path) -> None:
    make_scene(tmp_path)
    (tmp_path / "cams_1").mkdir()
    for path in (tmp_path / "cams").iterdir():
        (tmp_path / "cams_1" / path.name).write_text(cam_text(depths="1 2"))
    assert read_scene(tmp_path)[0].camera.depth_min == 425
    assert read_scene(tmp_path, cams="cams_1")[0].camera.depth_min == 1
    with pytest.raises(Vo3dError, match="no folder cams_2/"):
        read_scene(tmp_path, cams="cams_2")


def test_what_a_folder_lacks_is_one_line(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene")
    pairs = scene / "pair.txt"

    def complaint() -> str:
        with pytest.raises(Vo3dError) as caught:
            read_scene(scene)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    text = pairs.read_text()
    pairs.write_text(text.replace("2 1 9.5 2 3", "2 1 9.5 7 3"))
    assert complaint().startswith(
        f"{pairs}:3: names view 7, which has no image: expected {scene / 'images' / '00000007'}."
    )
    pairs.unlink()
    assert complaint().startswith(f"{pairs}: no such file: expected a pair.txt")
    pairs.write_text(text)
    cam = scene / "cams" / "00000001_cam.txt"
    cam.unlink()
    assert complaint().startswith(f"{pairs}:3: names view 1, which has no camera: expected {cam}")
    cam.write_text(cam_text(matrix="0 0 0\n0 0 0\n0 0 1"))
    assert complaint().startswith(f"{cam}:8: K is singular")
    for image in (scene / "images").iterdir():
        image.unlink()
    assert complaint().startswith(f"{scene / 'images'}: no images")
    (scene / "images").rmdir()
    assert complaint().startswith(f"{scene}: no folder images/ or blended_images/")
    scene = tmp_path / "nowhere"
    assert complaint().startswith(f"{scene}: no such folder")


@pytest.mark.real
@pytest.mark.parametrize(("name", "count"), [("templeRing", 19), ("tagboard", 7)])
def test_real_scenes(shared_data: Path, name: str, count: int) -> None:
    views = read_scene(shared_data / "mvs" / name)
    assert list(views) == list(range(count))
    for view in views.values():
        camera = view.camera
        assert view.image.is_file()
        assert camera.num_depths == 192
        last = camera.depth_min + camera.depth_interval * 191
        assert last == pytest.approx(camera.depth_max, rel=1e-5)  # six digits in the file
        assert list(view.scores) == sorted(view.scores, reverse=True)
        assert len(view.sources) == min(10, count - 1)


@pytest.mark.real
def test_the_temple_is_in_front_of_its_cameras(shared_data: Path) -> None:
    """The middle of Middlebury's bounding box lies inside of each depth range and near the centre of each image."""
    views = read_scene(shared_data / "mvs" / "templeRing")
    low = torch.tensor([-0.023121, -0.038009, -0.091940], dtype=torch.float64)
    high = torch.tensor([0.078626, 0.121636, -0.017395], dtype=torch.float64)
    middle = torch.cat([(low + high) / 2, torch.ones(1, dtype=torch.float64)])
    for view in views.values():
        x, y, z = (view.camera.K @ (view.camera.cam_T_world @ middle)[:3]).tolist()
        assert view.camera.depth_min < z < view.camera.depth_max
        assert 160 < x / z < 480
        assert 120 < y / z < 360

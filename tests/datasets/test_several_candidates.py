"""Folders as people have them: several models and folders of images, links into other projects, hidden files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import wall_scenes
from vo3d.datasets import colmap, dtu, mvs_folder, nerf, posed_images, sevenscenes
from vo3d.datasets.folder import ImageFolder
from vo3d.datasets.kitti import KITTIRecording
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import read_model
from vo3d.formats.images import read_image, write_image
from vo3d.formats.kitti import read_times
from vo3d.recording import Recording
from vo3d.settings.layouts import open_scene

RANGE = (wall_scenes.NEAR, wall_scenes.FAR)


def note_of(scene: Recording) -> str:
    """The one line that it has to say."""
    (note,) = scene.notes
    return note


@pytest.mark.parametrize("order", [(3, 5), (5, 3)])
def test_of_two_colmap_models_the_larger_is_read(tmp_path: Path, order: tuple[int, int]) -> None:
    for number, views in enumerate(order):
        wall_scenes.write_colmap(tmp_path, views=views, place=f"sparse/{number}")
    here = colmap.scene(tmp_path)
    large, small = order.index(5), order.index(3)
    assert len(here) == 5
    assert here.name == tmp_path.name
    taken = f"{tmp_path}/sparse/{large}/images.bin is taken, with 5 images; left out: "
    assert f"{taken}{tmp_path}/sparse/{small}/images.bin (3)" in here.notes
    assert len(colmap.scene(tmp_path / f"sparse/{small}")) == 3  # as it was asked for
    assert not colmap.scene(tmp_path / f"sparse/{small}").notes


@pytest.mark.parametrize("text", [3, 5, 7])
def test_of_two_forms_of_a_model_the_larger_is_read(tmp_path: Path, text: int) -> None:
    wall_scenes.write_colmap(tmp_path, views=max(text, 5), binary=False)
    wall_scenes.write_colmap(tmp_path, views=text, binary=False)
    wall_scenes.write_colmap(tmp_path, views=5, binary=True)
    model = read_model(tmp_path)
    taken, left = (".txt", ".bin (5)") if text > 5 else (".bin", f".txt ({text})")
    assert len(model.images) == max(text, 5)
    assert model.notes[0].endswith(f"left out: {tmp_path}/sparse/0/images{left}")
    assert model.notes[0].startswith(f"{tmp_path}/sparse/0/images{taken} is taken")


def test_images_of_a_model_are_those_that_it_names(tmp_path: Path) -> None:
    wall_scenes.write_colmap(tmp_path)
    (tmp_path / "sparse" / "images").mkdir()  # nearer, and without any of them
    write_image(tmp_path / "sparse" / "images" / "other.png", read_image(tmp_path / "images" / "0.png"))
    assert colmap.scene(tmp_path).photographs[0].image == tmp_path / "images" / "0.png"
    assert not colmap.scene(tmp_path).notes
    shutil.copytree(tmp_path / "images", tmp_path / "sparse" / "0" / "images")
    assert note_of(colmap.scene(tmp_path)) == (
        f"{tmp_path}/sparse/0/images is taken, with 5 of 5 images; left out: {tmp_path}/images (5)"
    )


def test_a_linked_model_has_the_images_beside_the_link(tmp_path: Path) -> None:
    mine, other = (wall_scenes.write_colmap(tmp_path / name) for name in ("mine", "other"))
    shutil.rmtree(mine / "sparse")
    (mine / "sparse").symlink_to(other / "sparse")
    here = colmap.scene(mine)
    assert {photograph.image.parent for photograph in here.photographs} == {mine / "images"}
    assert here.name == "mine"
    assert not here.notes
    shutil.rmtree(mine / "images")
    (mine / "images").mkdir()  # without any of them
    linked = colmap.scene(mine)
    assert {photograph.image.parent for photograph in linked.photographs} == {other / "images"}
    assert note_of(linked) == f"{mine}/sparse/0 is a link: the images are those in {other}/images"


def test_a_linked_transforms_json_has_the_images_beside_the_link(tmp_path: Path) -> None:
    mine, other = (wall_scenes.write_nerf(tmp_path / name) for name in ("mine", "other"))
    (mine / "transforms.json").unlink()
    (mine / "transforms.json").symlink_to(other / "transforms.json")
    here = nerf.scene(mine, depth_range=RANGE)
    assert {photograph.image.parent for photograph in here.photographs} == {mine / "images"}
    assert not here.notes
    shutil.rmtree(mine / "images")
    linked = nerf.scene(mine, depth_range=RANGE)
    assert {photograph.image.parent for photograph in linked.photographs} == {other / "images"}
    assert note_of(linked) == (f"{mine}/transforms.json is a link: the images are those beside {other}/transforms.json")


def test_the_folder_of_models_may_be_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall_scenes.write_colmap(tmp_path)
    monkeypatch.chdir(tmp_path / "sparse")
    assert colmap.scene(Path()).name == tmp_path.name


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\nsize 3\n", b"\xff" * 72, b""])
def test_a_damaged_model_is_not_the_larger(tmp_path: Path, content: bytes) -> None:
    wall_scenes.write_colmap(tmp_path)
    wall_scenes.write_colmap(tmp_path, place="sparse/1")
    (tmp_path / "sparse/1/images.bin").write_bytes(content)
    assert note_of(colmap.scene(tmp_path)).endswith(f"left out: {tmp_path}/sparse/1/images.bin (0)")


def test_suffixes_in_other_capitals_are_those_of_the_same_images(tmp_path: Path) -> None:
    for name, write in (("colmap", wall_scenes.write_colmap), ("nerf", wall_scenes.write_nerf)):
        folder = write(tmp_path / name)
        for path in list((folder / "images").iterdir()):
            path.rename(path.with_suffix(".PNG"))
        _, here = open_scene(folder, {"depth_range": RANGE})
        assert len(here) == 5
        assert not here.notes


def test_the_folder_of_images_may_be_named_from_the_scene(tmp_path: Path) -> None:
    for name, write in (("colmap", wall_scenes.write_colmap), ("nerf", wall_scenes.write_nerf)):
        folder = write(tmp_path / name)
        shutil.copytree(folder / "images", folder / "images_2")
        _, here = open_scene(folder, {"depth_range": RANGE, "images": Path("images_2")})
        assert here.photographs[0].image == folder / "images_2" / "0.png"  # type: ignore[attr-defined]
        with pytest.raises(Vo3dError, match=rf"images_4: no such folder of images, nor in .*{name}"):
            open_scene(folder, {"depth_range": RANGE, "images": Path("images_4")})


def test_a_linked_folder_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall_scenes.write_mvsnet(tmp_path / "long", views=3)
    wall_scenes.write_posed(tmp_path / "walk", views=3)
    for name, target in (("mvs", "long"), ("posed", "walk"), ("pictures", "walk/images")):
        (tmp_path / name).symlink_to(tmp_path / target)
    assert mvs_folder.scene(tmp_path / "mvs").name == "mvs"
    assert posed_images.scene(tmp_path / "posed", depth_range=RANGE).name == "posed"
    assert ImageFolder(tmp_path / "pictures", field_of_view=60.0).recordings[0].name == "pictures"
    monkeypatch.chdir(tmp_path / "long")
    assert mvs_folder.scene(Path()).name == "long"


def test_a_linked_scan_of_dtu_has_the_cameras_beside_the_link(tmp_path: Path) -> None:
    scan = wall_scenes.write_dtu_training(tmp_path / "other", views=3)
    wall_scenes.write_dtu_training(tmp_path / "mine", views=3)
    mine = tmp_path / "mine" / "Rectified" / "scan7_train"
    mine.symlink_to(scan)
    here = dtu.scene(mine)
    assert here.name == "scan7_light3"
    assert not here.notes
    (tmp_path / "chair").symlink_to(scan)  # nothing beside it
    assert dtu.recognises(tmp_path / "chair")
    assert note_of(dtu.scene(tmp_path / "chair")) == f"{tmp_path}/chair is a link: its scan is {scan}"


def test_folders_of_mvsnet_that_are_there_twice(tmp_path: Path) -> None:
    wall_scenes.write_mvsnet(tmp_path, views=4)
    (tmp_path / "blended_images").mkdir()
    (tmp_path / "images" / "00000003.png").rename(tmp_path / "blended_images" / "00000003.png")
    (tmp_path / "images").rename(tmp_path / "some")
    (tmp_path / "blended_images").rename(tmp_path / "images")  # one image
    (tmp_path / "some").rename(tmp_path / "blended_images")  # three
    shutil.copy(tmp_path / "images" / "00000003.png", tmp_path / "blended_images")
    shutil.copytree(tmp_path / "cams", tmp_path / "cams_1")
    (tmp_path / "depths").mkdir()
    text = (tmp_path / "pair.txt").read_text()
    (tmp_path / "cams" / "pair.txt").write_text(text)
    here = mvs_folder.scene(tmp_path)
    assert len(here) == 4
    assert list(here.notes) == [
        f"{tmp_path}/blended_images is taken, with 4 files; left out: {tmp_path}/images (1)",
        f"{tmp_path}/cams is taken, with 4 files; left out: {tmp_path}/cams_1 (4)",
    ]
    (tmp_path / "cams" / "pair.txt").write_text(text.replace("1.0", "2.0"))
    assert mvs_folder.scene(tmp_path).notes[-1] == (
        f"{tmp_path}/pair.txt is taken; left out: {tmp_path}/cams/pair.txt, which says otherwise"
    )


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = [
        wall_scenes.write_mvsnet(tmp_path / "mvs", views=3),
        wall_scenes.write_posed(tmp_path / "posed", views=3),
    ]
    for folder in folders:
        first = min((folder / "images").iterdir())
        write_image(first.with_suffix(".jpg"), read_image(first))
    wanted = r"\.png: \w+\.jpg is of the same name: remove one of the two, or rename it"
    with pytest.raises(Vo3dError, match=wanted):
        mvs_folder.scene(folders[0])
    with pytest.raises(Vo3dError, match=wanted):
        posed_images.scene(folders[1], depth_range=RANGE)
    with pytest.raises(Vo3dError, match=wanted):
        ImageFolder(folders[1] / "images", field_of_view=60.0)


def test_posed_images_in_the_fuller_folder_and_one_file_of_poses(tmp_path: Path) -> None:
    wall_scenes.write_posed(tmp_path, views=4)
    (tmp_path / "images").rename(tmp_path / "rgb")
    write_image(tmp_path / "images" / "preview.png", read_image(tmp_path / "rgb" / "0.png"))
    here = posed_images.scene(tmp_path, depth_range=RANGE)
    assert len(here) == 4
    assert note_of(here) == f"{tmp_path}/rgb is taken, with 4 images; left out: {tmp_path}/images (1)"
    poses = (tmp_path / "poses.txt").read_text()
    (tmp_path / "groundtruth.txt").write_text(poses)
    assert len(posed_images.scene(tmp_path, depth_range=RANGE)) == 4
    (tmp_path / "groundtruth.txt").write_text("# another\n" + poses)
    with pytest.raises(Vo3dError, match=r"poses\.txt: groundtruth\.txt is there too and says otherwise: expected one"):
        posed_images.scene(tmp_path, depth_range=RANGE)
    assert len(posed_images.scene(tmp_path, depth_range=RANGE, poses=tmp_path / "poses.txt")) == 4


def test_frames_of_7_scenes_in_two_forms_and_depth_of_dtu_in_two_places(tmp_path: Path) -> None:
    wall_scenes.write_seven_scenes(tmp_path / "seq-01")
    frame = tmp_path / "seq-01" / "frame-000001.color.png"
    write_image(frame.with_suffix(".jpg"), read_image(frame))
    said = f"{tmp_path}/seq-01: 1 frames are there as PNG and as JPEG: the JPEG files are left out"
    assert note_of(sevenscenes.SevenScenesRecording(tmp_path / "seq-01")) == said
    assert note_of(sevenscenes.scene(tmp_path / "seq-01", every=1)) == said

    wall_scenes.write_dtu_evaluation(tmp_path / "dtu")
    (tmp_path / "dtu" / "Depths" / "scan1").mkdir(parents=True)
    raw = tmp_path / "dtu" / "Depths_raw" / "scan1"
    here = dtu.DTUEvaluationScene(tmp_path / "dtu", 1, depth="required")
    assert note_of(here) == f"the true depth is that of {raw}; left out: {tmp_path}/dtu/Depths/scan1"
    assert not dtu.DTUEvaluationScene(tmp_path / "dtu", 1).notes  # which reads none
    raw.rename(tmp_path / "dtu" / "Depths_raw" / "scan4")  # of another scan alone
    shutil.rmtree(tmp_path / "dtu" / "Depths" / "scan1")
    (tmp_path / "dtu" / "Depths_raw" / "scan4").rename(tmp_path / "dtu" / "Depths" / "scan1")
    assert dtu.DTUEvaluationScene(tmp_path / "dtu", 1, depth="required").clip([0]).depth is not None


def test_readings_of_kitti_in_two_files(tmp_path: Path) -> None:
    wall_scenes.write_kitti(tmp_path)
    (tmp_path / "imus").mkdir()
    middles = [float(read_times(tmp_path / "sequences/00/times.txt")[at : at + 2].mean()) for at in (0, 1)]
    rows = "".join(f"{frame} {time} 0 0 0 0 0 9.8\n" for frame, time in enumerate(middles, start=1))
    (tmp_path / "imus" / "00.txt").write_text(rows)
    assert not KITTIRecording(tmp_path, "00", imu=True).notes
    savemat(tmp_path / "imus" / "00.mat", {"imu_data_interp": np.zeros((21, 6))})
    here = KITTIRecording(tmp_path, "00", imu=True)
    assert note_of(here) == f"the readings are those of {tmp_path}/imus/00.mat; left out: {tmp_path}/imus/00.txt"
    imu = here.clip([0, 1]).imu
    assert imu is not None
    assert imu.shape == (2, 10, 6)


def test_readings_without_stamps_are_those_of_the_middles_with_a_note(tmp_path: Path) -> None:
    wall_scenes.write_kitti(tmp_path)
    (tmp_path / "imus").mkdir()
    file = tmp_path / "imus" / "00.txt"
    file.write_text("".join(f"{frame} 0 0 0 0 0 9.8\n" for frame in (1, 1, 2, 2)))
    here = KITTIRecording(tmp_path, "00", imu=True)
    words = f"{file} has no stamps: each reading is taken for that of the middle of its part of the interval, as vo3d"
    assert note_of(here).startswith(words)
    found = here.clip([0, 1, 2])
    assert found.time is not None
    assert found.imu_time is not None
    parts = found.time.diff()[:, None] * torch.tensor([0.25, 0.75])
    torch.testing.assert_close(found.imu_time[1:], found.time[:2, None] + parts)
    file.write_text("".join(f"{frame} {1e9 + frame} 0 0 0 0 0 9.8\n" for frame in (1, 2)))
    with pytest.raises(Vo3dError, match=r"00\.txt: readings of 1000000001 to .* expected stamps in the clock of times"):
        KITTIRecording(tmp_path, "00", imu=True)


def test_a_folder_of_two_layouts_says_so(tmp_path: Path) -> None:
    wall_scenes.write_mvsnet(tmp_path, views=3)
    wall_scenes.write_colmap(tmp_path, views=3)
    layout, here = open_scene(tmp_path, {})
    assert layout.name == "mvs_folder"
    assert note_of(here).startswith(f"{tmp_path} is read as MVSNet's layout (images/, cams/, pair.txt); left out: a CO")
    assert not open_scene(tmp_path / "sparse", {})[1].notes


def test_what_systems_leave_behind_changes_nothing(tmp_path: Path) -> None:
    """MacOS puts `._name` beside each file of a volume that is not its own, and `.DS_Store` into each folder."""
    folders = {
        "mvs": wall_scenes.write_mvsnet(tmp_path / "mvs", views=3),
        "colmap": wall_scenes.write_colmap(tmp_path / "colmap", views=3),
        "posed": wall_scenes.write_posed(tmp_path / "posed", views=3),
        "7": wall_scenes.write_seven_scenes(tmp_path / "seq-01"),
        "dtu": wall_scenes.write_dtu_training(tmp_path / "dtu", views=3),
        "kitti": wall_scenes.write_kitti(tmp_path / "kitti"),
    }
    for path in [*tmp_path.rglob("*")]:
        junk = path / ".DS_Store" if path.is_dir() else path.with_name(f"._{path.name}")
        junk.write_bytes(b"\0\5\x16\7")
    (tmp_path / "colmap" / "sparse" / ".1").mkdir()
    for path in folders["colmap"].glob("sparse/0/*.bin"):
        shutil.copy(path, tmp_path / "colmap" / "sparse" / ".1")
    for name in ("mvs", "colmap", "dtu"):
        _, here = open_scene(folders[name], {})
        assert (len(here), list(here.notes)) == (3, [])
    posed = posed_images.scene(folders["posed"], depth_range=RANGE)
    seven = sevenscenes.scene(folders["7"], every=1)
    kitti = KITTIRecording(folders["kitti"], "00", stereo=True)
    pictures = ImageFolder(folders["posed"] / "images", field_of_view=60.0).recordings[0]
    assert [len(one) for one in (posed, seven, kitti, pictures)] == [3, 2, 3, 3]
    assert not any(one.notes for one in (posed, seven, kitti, pictures))


@pytest.mark.parametrize(
    ("project", "place", "given"),
    [
        ("desk", "sparse/0", "desk"),
        ("desk", "sparse/12", "desk/sparse/12"),
        ("desk", "sparse", "desk/sparse"),
        ("desk", ".", "desk"),
        ("sparse/desk", ".", "sparse/desk"),
    ],
)
def test_a_project_of_colmap_has_the_name_of_its_folder(tmp_path: Path, project: str, place: str, given: str) -> None:
    wall_scenes.write_colmap(tmp_path / project, views=3, place=place)
    assert colmap.scene(tmp_path / given).name == "desk"

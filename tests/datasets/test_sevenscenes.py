"""7-Scenes: the official layout written here, every refusal in one line, and the real excerpts."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vo3d.datasets.sevenscenes import SevenScenes, SevenScenesScene, SevenScenesViews, recognises, scene
from vo3d.datasets.sevenscenes_splits import OFFICIAL
from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, se3
from vo3d.geometry.camera import project

COUNT = 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Scene `desk` with two training sequences and a test sequence; pixels tell sequence and frame."""
    scene = tmp_path / "desk"
    for sequence in (1, 2, 3):
        folder = scene / f"seq-{sequence:02d}"
        folder.mkdir(parents=True)
        for number in range(COUNT):
            stem = str(folder / f"frame-{number:06d}")
            suffix = "jpg" if sequence == 2 else "png"
            cv2.imwrite(f"{stem}.color.{suffix}", np.full((480, 640, 3), 40 * sequence + 10 * number, np.uint8))
            depth = np.full((480, 640), 1000 * sequence + number, np.uint16)
            depth[0, :2] = 0, 65535
            cv2.imwrite(f"{stem}.depth.png", depth)
            step = torch.tensor([0.01, 0.02, 0.03, 0.04, -0.05, 0.06], dtype=torch.float64)
            pose = se3.exp(number * step)
            pose[:3, :3] *= 1 + 1e-4  # as far from a rotation as the official files
            rows = ["\t ".join(f"{value:.18e}" for value in row) + "\t " for row in pose.tolist()]
            Path(f"{stem}.pose.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (scene / "TrainSplit.txt").write_text("sequence1\nsequence2\n", encoding="utf-8")
    (scene / "TestSplit.txt").write_text("sequence3\n", encoding="utf-8")
    return tmp_path


def test_a_sample_holds_what_the_files_say(root: Path) -> None:
    dataset = SevenScenes(root, "desk", depth="required", clip_length=3)
    assert [recording.name for recording in dataset.recordings] == ["desk_seq-01", "desk_seq-02"]
    sample = dataset[1]
    assert torch.allclose(sample.image[:, 0, 0, 0], torch.tensor([50, 60, 70]) / 255)
    assert sample.K[2].tolist() == [[525, 0, 320], [0, 525, 240], [0, 0, 1]]
    assert sample.depth is not None
    assert torch.allclose(sample.depth[:, 5, 5], torch.tensor([1.001, 1.002, 1.003]))
    assert sample.depth[0, 0, :3].tolist() == [0, 0, pytest.approx(1.001)]
    assert sample.scene == "desk_seq-01"
    assert sample.index is not None
    assert sample.index.tolist() == [1, 2, 3]
    assert dataset[3].image[0, 0, 0, 0] == pytest.approx(90 / 255, abs=0.01)  # the second clip of the JPEG sequence
    assert "time" not in sample.given()


def test_rotations_become_orthonormal(root: Path) -> None:
    poses = SevenScenes(root, "desk").recordings[0].poses()
    assert poses is not None
    step = torch.tensor([0.01, 0.02, 0.03, 0.04, -0.05, 0.06], dtype=torch.float64)
    expected = se3.exp(torch.arange(COUNT, dtype=torch.float64)[:, None] * step)
    assert torch.allclose(poses, expected, atol=1e-12)


def test_splits_are_the_official_ones_or_a_list(root: Path) -> None:
    def names(**options: object) -> list[str]:
        return [recording.name for recording in SevenScenes(root, "desk", **options).recordings]  # type: ignore[arg-type]

    assert names(split="test") == ["desk_seq-03"]
    assert names(split=["seq-03", "seq-01"]) == ["desk_seq-03", "desk_seq-01"]


def test_ranges_are_recordings_of_their_own(root: Path) -> None:
    def recordings(frames: object) -> list[tuple[str, list[int]]]:
        dataset = SevenScenes(root, "desk", split=["seq-01", "seq-03"], frames=frames, clip_length=1)  # type: ignore[arg-type]
        return [(one.name, list(one.frames)) for one in dataset.recordings]

    assert recordings([(2, 4), (0, 1)]) == [
        ("desk_seq-01_000002", [2, 3]),
        ("desk_seq-01_000000", [0]),
        ("desk_seq-03_000002", [2, 3]),
        ("desk_seq-03_000000", [0]),
    ]
    assert recordings([(1, 3)]) == recordings((1, 3)) == [("desk_seq-01", [1, 2]), ("desk_seq-03", [1, 2])]
    sample = SevenScenes(root, "desk", split=["seq-01"], frames=[(0, 1), (2, 4)], clip_length=1)[2]
    assert (sample.scene, float(sample.image[0, 0, 0, 0])) == ("desk_seq-01_000002", pytest.approx(70 / 255))
    assert sample.index is not None
    assert sample.index.tolist() == [1]


def test_the_official_split_stands_in_for_a_missing_file(root: Path) -> None:
    scene = (root / "desk").rename(root / "pumpkin")
    for number in (6, 7, 8):
        (scene / f"seq-{number:02d}").symlink_to(scene / "seq-01")
    (scene / "TestSplit.txt").unlink()
    (scene / "TrainSplit.txt").unlink()
    dataset = SevenScenes(root, "pumpkin", split="test", clip_length=1)
    assert [one.name for one in dataset.recordings] == ["pumpkin_seq-01", "pumpkin_seq-07"]
    note = f"{scene}/TestSplit.txt: no such file: the official test split is taken, seq-01, seq-07"
    assert all(note in one.notes for one in dataset.recordings)
    names = [one.name for one in SevenScenesViews(root, "pumpkin", every=1, num_views=2).recordings]
    assert names == ["pumpkin_seq-02", "pumpkin_seq-03", "pumpkin_seq-06", "pumpkin_seq-08"]
    (scene / "TrainSplit.txt").write_text("sequence1\n")
    with pytest.raises(Vo3dError, match=r"the official test split and TrainSplit\.txt share seq-01"):
        SevenScenes(root, "pumpkin", split="test")
    (scene / "seq-02.zip").touch()
    scene.joinpath("seq-02").rename(scene / "seq-20")
    (scene / "TrainSplit.txt").unlink()
    with pytest.raises(Vo3dError, match=r"train split names 4 .* 1 are not there \(seq-02\): unpack seq-02\.zip"):
        SevenScenes(root, "pumpkin")


def test_heads_says_which_way_round_its_split_is(root: Path) -> None:
    scene = (root / "desk").rename(root / "heads")
    (scene / "TrainSplit.txt").write_bytes(b"\xef\xbb\xbf# for training\r\nsequence2\r\n")  # as editors leave it
    (scene / "TestSplit.txt").unlink()
    for split, name in (("train", "seq-02"), ("test", "seq-01")):
        (one,) = SevenScenes(root, "heads", split=split).recordings  # type: ignore[arg-type]
        assert one.name == f"heads_{name}"
        assert one.notes[-1].startswith(f"{split} is {name}: the lists that caffe-posenet released have train and test")
    assert not SevenScenes(root, "heads", split=["seq-01"]).recordings[0].notes


@pytest.mark.parametrize("scene", OFFICIAL)
def test_the_table_has_the_published_numbers_of_frames(scene: str) -> None:
    """Counts of frames that the released lists have; 1000 a sequence, of stairs 500."""
    published = {"chess": (4000, 2000), "fire": (2000, 2000), "heads": (1000, 1000), "office": (6000, 4000)}
    published |= {"pumpkin": (4000, 2000), "redkitchen": (7000, 5000), "stairs": (2000, 1000)}
    each = 500 if scene == "stairs" else 1000
    split = OFFICIAL[scene]
    assert (each * len(split["train"]), each * len(split["test"])) == published[scene]
    assert not set(split["train"]) & set(split["test"])


def test_a_range_and_a_size(root: Path) -> None:
    dataset = SevenScenes(root, "desk", frames=(1, 3), size=(120, 160), depth="required", focal=585.0)
    assert [recording.frames for recording in dataset.recordings] == [range(1, 3), range(1, 3)]
    sample = dataset[0]
    assert sample.image.shape == (2, 3, 120, 160)
    assert sample.image[0, 0, 0, 0] == pytest.approx(50 / 255)
    assert sample.depth is not None
    assert sample.depth.shape == (2, 120, 160)
    found = [float(sample.K[0][place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2))]
    assert found == pytest.approx([146.25, 146.25, 320.5 / 4 - 0.5, 240.5 / 4 - 0.5])


def test_a_short_side_keeps_the_shape(root: Path) -> None:
    sample = SevenScenes(root, "desk", short_side=256, depth="required")[0]
    assert sample.image.shape == (2, 3, 256, 341)
    assert sample.depth is not None
    assert sample.depth.shape == (2, 256, 341)
    assert torch.equal(sample.K, SevenScenes(root, "desk", size=(256, 341))[0].K)


def test_png_wins_where_both_are_there(root: Path) -> None:
    cv2.imwrite(str(root / "desk/seq-01/frame-000000.color.jpg"), np.zeros((480, 640, 3), np.uint8))
    assert SevenScenes(root, "desk")[0].image[0, 0, 0, 0] == pytest.approx(40 / 255)


def test_a_missing_depth_map_is_an_error_unless_gaps_are_asked_for(root: Path) -> None:
    (root / "desk/seq-01/frame-000001.depth.png").unlink()
    depth = SevenScenes(root, "desk", depth="where present", size=(48, 64))[0].depth
    assert depth is not None
    assert bool((depth[0] == 1.0).any())
    assert not depth[1].any()
    with pytest.raises(Vo3dError, match=r"frame-000001\.depth\.png: no such image file"):
        SevenScenes(root, "desk", depth="required")[0]
    assert SevenScenes(root, "desk")[0].depth is None


def rewrite(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


POSE = "desk/seq-01/frame-000002.pose.txt"


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (lambda root: None, {"scene": "sofa"}, "sofa: no such scene: there are desk"),
        (lambda root: None, {"split": ["seq-09"]}, "seq-09: no such sequence: there are seq-01, seq-02, seq-03"),
        (lambda root: (root / "desk/TrainSplit.txt").unlink(), {}, "TrainSplit.txt: no such file"),
        (lambda root: rewrite(root / "desk/TrainSplit.txt", "sequence2", "2"), {}, "TrainSplit.txt:2: found '2'"),
        (lambda root: (root / "desk/TrainSplit.txt").write_text(""), {}, "TrainSplit.txt: names no sequence"),
        (
            lambda root: (root / "desk/TestSplit.txt").write_text("sequence2\nsequence3\n"),
            {},
            "TrainSplit.txt and TestSplit.txt share seq-02: expected splits without a common sequence",
        ),
        (
            lambda root: rewrite(root / "desk/TrainSplit.txt", "2", "12"),
            {},
            "TrainSplit.txt names 2 sequences, of which 1 are not there (seq-12): there are seq-01, seq-02, seq-03",
        ),
        (lambda root: None, {"frames": [(0, 2), (1, 3)]}, "desk_seq-01: the frames 0 to 2 and 1 to 3 (exclusive) over"),
        (lambda root: None, {"frames": []}, "desk_seq-01: frames is an empty list: expected ranges"),
        (lambda root: None, {"frames": [(0, 2), (3, 3)]}, "frames 3 to 3 is no range"),
        (lambda root: None, {"short_side": 9, "size": (9, 9)}, "size (9, 9) and short_side 9: give one of the two"),
        (lambda root: None, {"depth_focal": 0.0}, "depth_focal is 0.0: expected pixels"),
        (lambda root: (root / POSE).unlink(), {}, "frame-000002.pose.txt: no such file"),
        (lambda root: (root / POSE).write_text("1 0 0 0\n"), {}, "frame-000002.pose.txt: has 1 rows"),
        (
            lambda root: (root / POSE).write_text("1 0 0 0\n0 1 0 nan\n"),
            {},
            "frame-000002.pose.txt:2: found '0 1 0 nan'",
        ),
        (lambda root: (root / POSE).write_text("1 0 0 0\n0 1 x 0\n"), {}, "frame-000002.pose.txt:2: found '0 1 x 0'"),
        (
            lambda root: (root / POSE).write_text("2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n"),
            {},
            "frame-000002.pose.txt: not a rotation",
        ),
        (
            lambda root: [path.unlink() for path in (root / "desk/seq-01").glob("*.color.png")],
            {},
            "seq-01: holds no image",
        ),
        (
            lambda root: (root / "desk/seq-01/frame-000002.color.png").unlink(),
            {},
            "frame-000002.color.png: no such file, nor .color.jpg",
        ),
        (lambda root: None, {"frames": (2, 9)}, "frame-000004.color.png: no such file, nor .color.jpg, the first of 5"),
        (lambda root: None, {"focal": 0.0}, "focal is 0"),
        (
            lambda root: cv2.imwrite(str(root / "desk/seq-01/frame-000000.depth.png"), np.zeros((48, 64), np.uint16)),
            {"depth": "required"},
            "frame-000000.depth.png: is 64x48 pixels",
        ),
    ],
)
def test_every_mistake_is_one_clear_line(root: Path, harm, options: dict[str, object], words: str) -> None:
    harm(root)
    with pytest.raises(Vo3dError) as caught:
        SevenScenes(root, **{"scene": "desk", **options})[0]  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_of_another_size_are_refused(root: Path) -> None:
    for number in range(COUNT):
        cv2.imwrite(str(root / f"desk/seq-01/frame-{number:06d}.color.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(
        Vo3dError, match=r"frame-000000\.color\.png: is 64x48 pixels: the images of 7-Scenes are 640x480"
    ):
        SevenScenes(root, "desk")[0]


@pytest.mark.real
def test_the_real_splits_of_stairs(shared_data: Path) -> None:
    root = shared_data / "7scenes"
    train = SevenScenes(root, "stairs", depth="required", clip_length=3)
    test = SevenScenes(root, "stairs", split="test")
    assert not any("official" in note for one in [*train.recordings, *test.recordings] for note in one.notes)
    assert [recording.name for recording in train.recordings] == ["stairs_seq-02", "stairs_seq-03"]
    assert [recording.name for recording in test.recordings] == ["stairs_seq-01", "stairs_seq-04"]
    depth = train[0].depth
    assert depth is not None
    assert bool((depth == 0).any())
    assert depth.max() < 10  # metres; 65535 would be 65


@pytest.mark.real
def test_the_real_excerpt_of_redkitchen_has_a_split_to_train_on_alone(shared_data: Path) -> None:
    root = shared_data / "7scenes"
    train = SevenScenes(root, "redkitchen", frames=[(0, 200), (300, 500)], clip_length=1)
    assert [(one.name, one.first_frame, len(one)) for one in train.recordings] == [
        ("redkitchen_seq-01_000000", 0, 200),
        ("redkitchen_seq-01_000300", 300, 200),
    ]
    with pytest.raises(Vo3dError, match=r"official test split names 5 sequences, of which 5 are not there \(seq-03"):
        SevenScenes(root, "redkitchen", split="test")


@pytest.mark.real
def test_moved_real_depth_agrees_with_k_of_the_colour_camera(shared_data: Path) -> None:
    """The depth of a view, moved by poses and K of the colour camera, is what the next view measured."""
    found = {}
    for depth_focal in (585.0, None):
        dataset = SevenScenes(
            shared_data / "7scenes",
            "redkitchen",
            depth="required",
            depth_focal=depth_focal,
            frames=(0, 1000),
            clip_length=2,
            frame_stride=10,
        )
        errors = []
        for start in (0, 200, 600):
            sample = dataset[start]
            assert sample.depth is not None
            assert sample.world_T_cam is not None
            later_T_now = se3.relative(sample.world_T_cam[1], sample.world_T_cam[0])
            errors.append(float(median_disagreement(sample.depth, sample.K[0], later_T_now)))
        found[depth_focal] = errors
    assert max(found[585.0]) < 0.01
    assert sum(found[585.0]) < sum(found[None])  # depth in the pixels of another camera does not belong to K


@pytest.mark.real
def test_real_depth_agrees_between_views_by_the_real_poses(shared_data: Path) -> None:
    root = shared_data / "7scenes"
    dataset = SevenScenes(
        root, "redkitchen", depth="required", focal=585.0, frames=(0, 1000), clip_length=2, frame_stride=10
    )
    assert len(dataset.recordings[0]) == 1000
    for start in (0, 200, 600):
        sample = dataset[start]
        assert sample.depth is not None
        assert sample.world_T_cam is not None
        later_T_now = se3.relative(sample.world_T_cam[1], sample.world_T_cam[0])
        assert float(median_disagreement(sample.depth, sample.K[0], later_T_now)) < 0.01
        backwards = median_disagreement(sample.depth, sample.K[0], se3.inverse(later_T_now))
        assert float(backwards) > 2 * float(median_disagreement(sample.depth, sample.K[0], later_T_now))


def median_disagreement(depth: torch.Tensor, K: torch.Tensor, later_T_now: torch.Tensor) -> torch.Tensor:
    """Median relative difference between the depth of a view, moved into the next one, and what that one measured."""
    points = backproject(K, depth[0])[depth[0] > 0]
    later_T_now = later_T_now.to(points)
    moved = points @ later_T_now[:3, :3].T + later_T_now[:3, 3]
    pixels, z = project(K, moved)
    x, y = pixels.round().long().unbind(-1)
    inside = (z > 0) & (x >= 0) & (x < 640) & (y >= 0) & (y < 480)
    measured = depth[1][y[inside], x[inside]]
    z = z[inside][measured > 0]
    return ((z - measured[measured > 0]).abs() / z).median()


@pytest.mark.real
def test_missing_real_depth_is_an_error_or_zeros(shared_data: Path) -> None:
    root = shared_data / "7scenes"
    with pytest.raises(Vo3dError, match=r"frame-000001\.depth\.png: no such image file"):
        SevenScenes(root, "redkitchen", depth="required", frames=(0, 6))[0]
    depth = SevenScenes(root, "redkitchen", depth="where present", frames=(0, 6), clip_length=6)[0].depth
    assert depth is not None
    assert [bool(view.any()) for view in depth] == [True, False, False, False, False, True]


def test_frames_as_views(root: Path) -> None:
    folder = root / "desk/seq-01"
    assert recognises(folder)
    assert not recognises(root)
    here = scene(folder, every=2, max_side=320)
    assert (here.name, here.names) == ("desk_seq-01", ["frame-000000.color", "frame-000002.color"])
    sample = here.clip([0, 1])
    assert sample.image.shape == (2, 3, 240, 320)
    assert sample.K[0, 0].tolist() == [262.5, 0, 159.75]
    assert sample.depth_range is not None
    assert sample.depth_range.tolist() == [[0.5, 5.0]] * 2
    assert torch.allclose(sample.image[:, 0, 0, 0], torch.tensor([40, 60]) / 255)
    poses = SevenScenes(root, "desk").recordings[0].poses()
    assert poses is not None
    assert torch.equal(here.poses(), poses[::2])
    dataset = SevenScenesViews(root, "desk", every=1, depth="required", num_views=3)
    assert [one.name for one in dataset.recordings] == ["desk_seq-01", "desk_seq-02"]
    assert dataset[4].given() == ("image", "K", "world_T_cam", "depth", "depth_range", "scene", "index")


@pytest.mark.parametrize(("count", "views", "step"), [(3, 3, 1), (19, 10, 2), (90, 10, 9), (91, 10, 10), (95, 10, 10)])
def test_short_sequences_are_not_thinned_out_to_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, count: int, views: int, step: int
) -> None:
    folder = root / "desk/seq-01"
    for number in range(count):
        for kind in ("color.png", "pose.txt"):
            if not (path := folder / f"frame-{number:06d}.{kind}").exists():
                path.symlink_to(folder / f"frame-000000.{kind}")
    for path in [path for path in folder.glob("*.color.png") if int(path.name[6:12]) >= count]:
        path.unlink()
    here = scene(folder)
    assert here.names == [f"frame-{number:06d}.color" for number in range(0, count, step)]
    assert len(here) == views
    assert any(f"has {count} frames: " in note for note in here.notes) == (step != 10)
    assert len(scene(folder, every=2)) == -(-count // 2)


def test_depth_moves_into_the_colour_camera(root: Path) -> None:
    """A ray of the colour camera has the depth that the depth camera measured along the same ray."""
    counts = (np.arange(480 * 640).reshape(480, 640) % 60000 + 1).astype(np.uint16)
    cv2.imwrite(str(root / "desk/seq-01/frame-000000.depth.png"), counts)
    depth = SevenScenesScene(root / "desk/seq-01", depth="required").clip([0]).depth
    assert depth is not None
    for x, y in ((320, 240), (400, 200), (46, 31), (600, 440)):
        column, row = (round(centre + (at - centre) * 585 / 525) for at, centre in ((x, 320), (y, 240)))
        assert float(depth[0, y, x]) == pytest.approx(counts[row, column] / 1000)
    assert not depth[0, :, :32].any()  # the depth camera sees less
    assert not depth[0, :24].any()
    clip = SevenScenes(root, "desk", split=["seq-01"], depth="required", depth_focal=585.0)[0]
    assert clip.depth is not None
    assert torch.equal(clip.depth[0], depth[0])
    measured = SevenScenes(root, "desk", split=["seq-01"], depth="required")[0].depth
    assert measured is not None
    assert torch.allclose(measured[0], torch.from_numpy(counts / 1000).float())
    still = SevenScenesScene(root / "desk/seq-01", depth="required", depth_focal=525.0).clip([0]).depth
    assert still is not None
    assert torch.allclose(still[0], torch.from_numpy(counts / 1000).float())


def test_bad_arguments_of_views(root: Path) -> None:
    for options, words in (
        ({"every": 0}, "every is 0"),
        ({"depth_range": (0.0, 1.0)}, "depth_range 0 to 1"),
        ({"num_sources": 0}, "num_sources is 0"),
    ):
        with pytest.raises(Vo3dError, match=words):
            SevenScenesScene(root / "desk/seq-01", **options)  # type: ignore[arg-type]


@pytest.mark.real
def test_real_partners_see_the_same_room(shared_data: Path) -> None:
    """Sources by poses alone: the sensor's depth of a view, moved into its first source, is what that measured."""
    dataset = SevenScenesViews(
        shared_data / "7scenes", "redkitchen", frames=(0, 300), every=30, depth="required", num_views=2
    )
    assert len(dataset) == 10
    for index in (0, 5):
        sample = dataset[index]
        assert sample.depth is not None
        assert sample.world_T_cam is not None
        source_T_reference = se3.relative(sample.world_T_cam[1], sample.world_T_cam[0])
        assert float(median_disagreement(sample.depth, sample.K[0], source_T_reference)) < 0.03
        baseline = source_T_reference[:3, 3].norm()
        assert 0.05 < baseline < 0.6

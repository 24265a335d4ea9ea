"""Flow, masks and motions of objects beside a folder of images: as they were written, cut, resized, and refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vo3d.datasets.folder import FolderRecording, ImageFolder
from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.formats.flow import write_flo, write_kitti_flow
from vo3d.formats.images import write_counts, write_image
from vo3d.sample import Sample
from vo3d.world.drive_files import render_to_kitti

SIZE = (48, 160)
FRAMES = 5
CAMERA = (100.0, 100.0, 79.5, 23.5)


@pytest.fixture(scope="module")
def made() -> Sample:
    """Render a drive with all that is known of it."""
    truth = {"flow": True, "mask": True, "object_motion": True}
    return RenderedRecording("street", 7, FRAMES, SIZE, **truth).clip(range(FRAMES))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the same drive as `vo3d render` does."""
    folder = tmp_path_factory.mktemp("drive")
    render_to_kitti("street", FRAMES, 7, folder, SIZE, stereo=False, imu=False, truth=True)
    return folder


@pytest.fixture
def drive(rendered: Path, made: Sample, tmp_path: Path) -> Path:
    """Copy the written drive, and put its flow beside it."""
    shutil.copytree(rendered / "sequences" / "07" / "image_2", tmp_path / "images")
    shutil.copytree(rendered / "truth" / "07" / "mask", tmp_path / "mask")
    shutil.copy(rendered / "truth" / "07" / "object_motion.txt", tmp_path)
    for index, flow in enumerate(made.flow):
        write_flo(tmp_path / "flow" / f"{index:06d}.flo", flow)
    return tmp_path


def opened(drive: Path, **options: object) -> FolderRecording:
    names = {"flow": drive / "flow", "mask": drive / "mask", "object_motion": drive / "object_motion.txt"}
    return FolderRecording(drive / "images", intrinsics=CAMERA, **(names | options))  # type: ignore[arg-type]


def test_a_rendered_drive_is_read_as_it_was_made(drive: Path, made: Sample) -> None:
    sample = opened(drive).clip(range(FRAMES))
    assert torch.equal(sample.mask, made.mask.long())
    assert len(sample.mask.unique()) > 2  # something moves
    assert torch.equal(sample.flow.isnan(), made.flow.isnan())
    assert torch.equal(sample.flow.nan_to_num(0), made.flow.nan_to_num(0))
    motions = made.object_motion
    k = sample.object_motion.shape[1]
    assert 0 < k <= motions.shape[1]
    compared = 0
    for step in range(FRAMES - 1):
        shown = [one for one in made.mask[step].unique().tolist() if one]
        for one in range(1, k + 1):
            found = sample.object_motion[step, one - 1]
            expected = motions[step, one - 1] if one in shown else torch.eye(4, dtype=torch.float64)
            torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
        compared += len(shown)
    assert compared > 2


def test_the_loader_gives_clips_with_truth(drive: Path, made: Sample) -> None:
    dataset = ImageFolder(
        str(drive / "images"),
        intrinsics=CAMERA,
        flow=str(drive / "flow"),
        mask=str(drive / "mask"),
        object_motion=str(drive / "object_motion.txt"),
        frames=(1, 5),
        clip_length=3,
    )
    assert not dataset.recordings[0].notes
    batch = next(iter(DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=Sample.collate)))
    assert batch.flow.shape == (2, 2, 2, *SIZE)
    assert batch.object_motion.shape[:2] == (2, 2)
    assert torch.equal(batch.mask[1], made.mask[2:5].long())  # the range is of the source
    assert torch.equal(batch.flow[1].nan_to_num(0), made.flow[2:4].nan_to_num(0))
    single = dataset.recordings[0].clip([1])
    assert single.flow.shape == (0, 2, *SIZE)
    assert single.object_motion.shape == (0, batch.object_motion.shape[2], 4, 4)


def test_sizes_scale_flow_and_keep_ids(drive: Path, made: Sample) -> None:
    sample = opened(drive, size=(24, 160)).clip([0, 1])
    assert torch.equal(sample.mask, made.mask[:2, 1::2].long())
    expected = made.flow[:1, :, 1::2] * torch.tensor([1, 0.5])[:, None, None]
    assert torch.equal(sample.flow.isnan(), expected.isnan())
    assert torch.equal(sample.flow.nan_to_num(0), expected.nan_to_num(0))


def test_each_can_be_given_alone(drive: Path) -> None:
    nothing = {"flow": None, "mask": None, "object_motion": None}
    plain = opened(drive, **nothing).clip([0, 1])
    assert plain.flow is plain.mask is plain.object_motion is None
    flow = opened(drive, **(nothing | {"flow": drive / "flow"})).clip([0, 1])
    assert (flow.flow is not None, flow.mask, flow.object_motion) == (True, None, None)
    mask = opened(drive, **(nothing | {"mask": drive / "mask"})).clip([3, 1])  # in any order
    assert (mask.flow, mask.mask is not None, mask.object_motion) == (None, True, None)


def test_maps_of_kitti_and_palettes_are_read(drive: Path, made: Sample) -> None:
    """As many flows as images, the last of which leads nowhere."""
    for index in range(FRAMES):
        (drive / "flow" / f"{index:06d}.flo").unlink(missing_ok=True)
        write_kitti_flow(drive / "flow" / f"{index:06d}.png", made.flow[min(index, FRAMES - 2)])
        picture = Image.fromarray((made.mask[index].numpy() > 0).astype(np.uint8), "L").convert("P")
        picture.putpalette([0, 0, 0, 128, 0, 0])
        picture.save(drive / "mask" / f"{index:06d}.png")
    sample = opened(drive, object_motion=None).clip([0, 1, 2, 3, 4])
    assert (sample.flow - made.flow).abs().nan_to_num(0).max() <= 1 / 128
    assert torch.equal(sample.mask, (made.mask > 0).long())


def test_other_names_pair_in_natural_order_and_a_note_says_so(drive: Path, made: Sample) -> None:
    for index in range(FRAMES):
        (drive / "mask" / f"{index:06d}.png").rename(drive / "mask" / f"m{index + 8}.png")  # m9 before m10
    recording = opened(drive)
    (note,) = recording.notes
    assert note.endswith("mask: they pair in natural order, 000000 with m8.png to 000004 with m12.png")
    assert torch.equal(recording.clip([0, 3, 4][1:]).mask, made.mask[3:5].long())


def test_videos_have_no_names_to_pair_by(drive: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(str(drive / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (SIZE[1], SIZE[0]))
    for path in sorted((drive / "images").iterdir()):
        writer.write(cv2.imread(str(path)))
    writer.release()
    names = {"flow": drive / "flow", "mask": drive / "mask", "object_motion": drive / "object_motion.txt"}
    recording = FolderRecording(drive / "a.avi", intrinsics=CAMERA, **names)
    assert recording.notes == []
    assert torch.equal(recording.clip([2, 3]).mask, opened(drive).clip([2, 3]).mask)


def test_frames_that_do_not_follow_have_no_flow(drive: Path) -> None:
    for indices in ([0, 2], [1, 0], [2, 2]):
        with pytest.raises(
            Vo3dError, match=r"with flow and object_motion, which lead from each frame to the next: exp"
        ):
            opened(drive).clip(indices)
    with pytest.raises(Vo3dError, match=r"frames \[0, 2\] of .*images with flow, which lead"):
        opened(drive, object_motion=None).clip([0, 2])


def _remove(name: str) -> Callable[[Path], None]:
    return lambda drive: (drive / name).unlink()


def _rename(name: str, other: str) -> Callable[[Path], None]:
    return lambda drive: (drive / name).rename(drive / other) and None


def _copy(name: str, other: str) -> Callable[[Path], None]:
    return lambda drive: shutil.copy(drive / name, drive / other) and None


def _empty(name: str) -> Callable[[Path], None]:
    return lambda drive: [path.unlink() for path in (drive / name).iterdir()] and None


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda drive: shutil.rmtree(drive / "flow"), "flow: no such folder: expected a map of flow for each image"),
        (lambda drive: shutil.rmtree(drive / "mask"), "mask: no such folder: expected a mask for each image"),
        (_empty("flow"), r"flow: holds no map of flow: expected files ending in \.flo or \.png"),
        (_empty("mask"), r"mask: holds no mask: expected files ending in \.png"),
        (_remove("mask/000004.png"), r"mask: has 4 files, and .*images has 5 frames: expected 5$"),
        (
            _remove("flow/000001.flo"),
            r"has 3 files, .* 5 frames \('000001' is in one of them alone\): expected 4 or 5$",
        ),
        (
            _rename("flow/000001.flo", "flow/x.flo"),
            r"flow: has other names .* \('000001' is in one of them alone\): ex",
        ),
        (_rename("flow/000000.flo", "flow/000004.flo"), r"flow: has other names than .* \('000000' is in one of them"),
        (_rename("mask/000001.png", "mask/x.png"), r"mask: has other names than .*: expected each mask to have the na"),
        (_copy("flow/000001.flo", "flow/000001.png"), r"flow/000001\.png: 000001\.flo is of the same name"),
        (_remove("object_motion.txt"), r"object_motion\.txt: no such file: expected motions of objects"),
        (_remove("images/000004.png"), r"txt:\d+: a motion from frame 3 to the next, and there are 4 frames"),
        (
            lambda drive: write_flo(drive / "flow" / "000000.flo", torch.zeros(2, 48, 150)),
            r"flow/000000\.flo: is 150x48 pixels, but its image is 160x48: make them agree",
        ),
        (
            lambda drive: write_counts(drive / "mask" / "000000.png", torch.zeros(24, 80).long(), bits=8),
            r"mask/000000\.png: is 80x24 pixels, but its image is 160x48: make them agree",
        ),
        (
            lambda drive: write_image(drive / "mask" / "000000.png", torch.zeros(3, *SIZE)),
            r"mask/000000\.png: has 3 channels: expected a mask of ids, a grey image or one with a palette",
        ),
        (
            lambda drive: write_image(drive / "flow" / "000000.png", torch.zeros(3, *SIZE)) or _empty_flo(drive),
            r"flow/000000\.png: 3 channels of 8 bits: expected flow as KITTI has it",
        ),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(drive: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(drive)
    with pytest.raises(Vo3dError, match=words) as caught:
        opened(drive)
    assert "\n" not in str(caught.value)


def _empty_flo(drive: Path) -> None:
    (drive / "flow" / "000000.flo").unlink()


def test_ids_without_motions_are_one_clear_line(drive: Path) -> None:
    mask = torch.zeros(SIZE, dtype=torch.long)
    mask[3, 4] = 999
    write_counts(drive / "mask" / "000002.png", mask, bits=16)
    with pytest.raises(Vo3dError, match=r"mask/000002\.png: shows id 999, and .*motion\.txt knows 1 to \d+: more mask"):
        opened(drive).clip([2, 3])
    assert opened(drive).clip([1, 2]).object_motion is not None  # of the last view no motion is wanted
    lines = (drive / "object_motion.txt").read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if line.startswith("1 "))
    (drive / "object_motion.txt").write_text("\n".join(line for line in lines if line != first), encoding="utf-8")
    words = rf"mask/000001\.png: shows id {first.split()[1]}, whose motion from frame 1 to the next is not in"
    with pytest.raises(Vo3dError, match=words):
        opened(drive).clip([1, 2])
    with pytest.raises(Vo3dError, match="motions of objects without masks: give the folder of their ids as mask"):
        opened(drive, mask=None)

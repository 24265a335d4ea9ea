"""KITTI's text files: values, the line of every mistake, and a sequence that reads back as it was written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vo3d.datasets.kitti import KITTIOdometry
from vo3d.errors import Vo3dError
from vo3d.formats.kitti import read_calib, read_imu, read_times, write_sequence
from vo3d.geometry import se3
from vo3d.sample import Sample

# the values of sequences 04 to 12, from the benchmark's calib.txt
P0 = "P0: 7.070912000000e+02 0 6.018873000000e+02 0 0 7.070912000000e+02 1.831104000000e+02 0 0 0 1 0"
P2 = (
    "P2: 7.070912000000e+02 0 6.018873000000e+02 4.688783000000e+01 0 7.070912000000e+02 1.831104000000e+02 "
    "1.178601000000e-01 0 0 1 6.203223000000e-03"
)


def test_calib_gives_the_matrices(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text(f"{P0}\n{P2}\n\n", encoding="utf-8")
    calib = read_calib(tmp_path / "calib.txt")
    assert list(calib) == ["P0", "P2"]
    assert calib["P2"].dtype == torch.float64
    assert calib["P2"][:, 3].tolist() == [46.88783, 0.1178601, 0.006203223]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"{P0}\nP1: 1 2 x {'0 ' * 9}", ":2", "'x' is not a finite number"),
        (f"{P0}\nP1: nan {'0 ' * 11}", ":2", "'nan' is not a finite number"),
        (f"{P0}\nP1: 1 2 3", ":2", "followed by 3 numbers"),
        (f"{P0}\nQ1: {'0 ' * 12}", ":2", "found 'Q1:'"),
        (f"{P0}\nP1 {'0 ' * 12}", ":2", "found 'P1'"),
        (f"{P0}\n{P0}", ":2", "a second P0:"),
        (f"\n{P0}\nP1: {'0 ' * 12}", ":3", "no projection of a rectified camera"),
        (f"{P0}\nTr: {'0 ' * 12}", ":2", "not a rotation"),
        (f"{P0}\nTr: 2 0 0 0 0 2 0 0 0 0 2 0", ":2", "not a rotation"),
        (f"{P0}\nTr: 1 0 0 1e200 0 1 0 0 0 0 1 0", ":2", "the position is 1e+200 0 0"),
        ("P2: 1e7 0 0 0 0 7 0 0 0 0 1 0", ":1", "K has an entry of 1e+07: expected pixels, up to 1e+06"),
        ("P2: 7 0 0 1e99 0 7 0 0 0 0 1 0", ":1", "has an offset of 1e+99"),
        (f"{P0}\n\x1b[31m{'x' * 999}", ":2", r"found '\x1b[31mxxx"),
        ("Tr: 1 0 0 0 0 1 0 0 0 0 1 0", "", "holds no projection matrix"),
        ("", "", "holds no projection matrix"),
    ],
)
def test_a_wrong_calib_is_one_line_with_its_place(tmp_path: Path, text: str, line: str, words: str) -> None:
    (tmp_path / "calib.txt").write_text(text, encoding="utf-8")
    with pytest.raises(Vo3dError) as caught:
        read_calib(tmp_path / "calib.txt")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'calib.txt'}{line}: ")
    assert words in message
    assert "\n" not in message


def test_a_binary_or_missing_calib_is_named(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Vo3dError, match=r"calib\.txt: not a text file"):
        read_calib(tmp_path / "calib.txt")
    with pytest.raises(Vo3dError, match=r"gone\.txt: no such file"):
        read_calib(tmp_path / "gone.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0\n0.1\nsoon\n", ":3: 'soon' is not a finite number"),
        ("0\n0.1\n0.1\n", ":3: time 0.1 s follows 0.1 s"),
        ("0\n0.1 0.2\n", ":2: found 2 tokens"),
        ("-0.1\n0\n", ":1: time -0.1 s: expected 0 or more"),
        (f"0\n{'9' * 5000}\n", f":2: '{'9' * 115}...' is not a finite number"),
        ("", ": is empty"),
    ],
)
def test_wrong_times_are_one_line_with_their_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "times.txt").write_text(text, encoding="utf-8")
    with pytest.raises(Vo3dError) as caught:
        read_times(tmp_path / "times.txt")
    assert f"times.txt{words}" in str(caught.value)


def test_matlab_imu_turns_into_camera_axes(tmp_path: Path) -> None:
    rows = np.arange(21 * 6, dtype=np.float64).reshape(21, 6)
    savemat(tmp_path / "06.mat", {"imu_data_interp": rows})
    found = read_imu(tmp_path / "06.mat")
    steps = found.imu
    assert steps.shape == (2, 10, 6)
    # row 10 is frame 1, the last reading of the first step: acceleration 60 61 62, rate 63 64 65 (forward, left, up)
    assert steps[0, 9].tolist() == [-64, -65, 63, -61, -62, 60]
    assert steps[0, 0].tolist() == [-10, -11, 9, -7, -8, 6]
    assert (found.time, found.cam_T_imu) == (None, None)
    assert found.part.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"imu_data_interp": np.zeros((20, 6))}, "has 20 rows"),
        ({"imu_data_interp": np.zeros((21, 5))}, r"of shape \(21, 5\): expected imu_data_interp \(nx6\)"),
        ({"imu_data_interp": np.full((21, 6), -1e7)}, "has a reading of 1e.07"),
        ({"imu_data_interp": np.full((21, 6), np.nan)}, "with NaN or infinity"),
        ({"other": np.zeros((21, 6))}, "holds other: expected imu_data_interp"),
    ],
)
def test_a_wrong_imu_file_is_named(tmp_path: Path, content: dict[str, np.ndarray], words: str) -> None:
    savemat(tmp_path / "06.mat", content)
    with pytest.raises(Vo3dError, match=rf"06\.mat: .*{words}"):
        read_imu(tmp_path / "06.mat")


def test_an_imu_file_that_is_no_matlab_file_is_named(tmp_path: Path) -> None:
    for content in (b"", b"no matlab file at all, but long enough to hold a header" * 4):
        (tmp_path / "06.mat").write_bytes(content)
        with pytest.raises(Vo3dError, match=r"06\.mat: no whole MATLAB file"):
            read_imu(tmp_path / "06.mat")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 0 0 0 0 0\n", ":1: 6 columns"),
        ("# head\n1 0 0 0 0 0 0\n3 0 0 0 0 0 0\n", ":3: frame 3 follows frame 1"),
        ("2 0 0 0 0 0 0\n", ":1: frame 2 follows frame 0"),
        ("1 0 0 0 0 0 0\n1 0 0 0 0 0 0\n2 0 0 0 0 0 0\n", ": frame 2 has 1 readings"),
        ("# head\n", ": holds no reading"),
        ("1 0 0 0 0 0 1e7\n", ": has a reading of 1e+07: expected rad/s and m/s^2 up to 1e+06"),
        ("1 0.1 0 0 0 0 0 -1e7\n", ": has a reading of 1e+07: expected rad/s and m/s^2 up to 1e+06"),
        ("1 0.1 0 0 0 0 0 0\n1 0 0 0 0 0 0\n", ":2: 7 columns: expected frame, time, wx wy wz"),
        ("1 0 0 0 0 0 0\n1 0.1 0 0 0 0 0 0\n", ":2: 8 columns: expected frame, time, wx wy wz"),
        ("1 soon 0 0 0 0 0 0\n", ":1: 'soon' is not a finite number"),
        ("1 nan 0 0 0 0 0 0\n", ":1: 'nan' is not a finite number"),
    ],
)
def test_wrong_imu_text_is_one_line_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "06.txt").write_text(text, encoding="utf-8")
    with pytest.raises(Vo3dError) as caught:
        read_imu(tmp_path / "06.txt")
    assert f"06.txt{words}" in str(caught.value)


PAIR = {
    "image": torch.rand(2, 3, 12, 20),
    "right": torch.rand(2, 3, 12, 20),
    "K": torch.eye(3).expand(2, 3, 3),
    "world_T_cam": torch.eye(4).double().expand(2, 4, 4),
    "time": torch.zeros(2, dtype=torch.float64),
    "index": torch.arange(2),
}


def frames(count: int = 5) -> Iterator[Sample]:
    """Stereo frames of one view each, along a curve."""
    generator = torch.Generator().manual_seed(0)
    step = torch.tensor([0.01, -0.02, 0.9, 0.001, 0.03, -0.002])
    left_T_right = torch.eye(4)
    left_T_right[0, 3] = 0.5372
    for number in range(count):
        yield Sample(
            image=torch.rand(1, 3, 12, 20, generator=generator),
            right=torch.rand(1, 3, 12, 20, generator=generator),
            K=torch.tensor([[[15.3, 0, 9.1], [0, 15.7, 6.2], [0, 0, 1]]]),
            left_T_right=left_T_right,
            world_T_cam=se3.exp(number * step.double())[None],
            time=torch.tensor([0.1037 * number], dtype=torch.float64),
            index=torch.tensor([number]),
        )


def test_a_written_sequence_reads_back_to_the_same_samples(tmp_path: Path) -> None:
    imu = torch.randn(4, 10, 6)
    imu_time = 0.1037 * (torch.arange(40, dtype=torch.float64).view(4, 10) / 10 + 0.03)
    write_sequence(tmp_path, "07", frames(), imu=imu, imu_time=imu_time)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "imus/07.txt",
        "poses/07.txt",
        "sequences/07/calib.txt",
        *(f"sequences/07/image_{camera}/{number:06d}.png" for camera in (2, 3) for number in range(5)),
        "sequences/07/times.txt",
    ]
    dataset = KITTIOdometry(tmp_path, ["07"], stereo=True, imu=True, clip_length=5)
    sample, original = dataset[0], list(frames())
    for name in ("image", "right"):
        assert (
            getattr(sample, name) - torch.cat([getattr(frame, name) for frame in original])
        ).abs().max() < 0.51 / 255
    for name, tolerance in (("K", 1e-6), ("world_T_cam", 1e-6), ("time", 1e-9)):
        expected = torch.cat([getattr(frame, name) for frame in original])
        assert torch.allclose(getattr(sample, name), expected, rtol=1e-6, atol=tolerance), name
    assert sample.left_T_right is not None
    assert torch.allclose(sample.left_T_right, original[0].left_T_right, atol=1e-6)  # type: ignore[arg-type]
    assert sample.imu is not None
    assert sample.imu[0].isnan().all()
    assert torch.allclose(sample.imu[1:], imu, rtol=1e-6)
    assert sample.imu_time is not None
    assert sample.imu_time[0].isnan().all()
    assert torch.allclose(sample.imu_time[1:], imu_time, rtol=0, atol=1e-9)
    assert torch.equal(sample.cam_T_imu, torch.eye(4))  # type: ignore[arg-type]


def test_a_mono_sequence_has_no_second_folder(tmp_path: Path) -> None:
    write_sequence(tmp_path, "a", (replace(frame, right=None, left_T_right=None) for frame in frames(2)))
    assert not (tmp_path / "sequences" / "a" / "image_3").exists()
    assert KITTIOdometry(tmp_path, ["a"])[0].right is None


def test_an_interrupted_sequence_is_refused_by_the_reader(tmp_path: Path) -> None:
    def breaking() -> Iterator[Sample]:
        yield from frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sequence(tmp_path, "07", breaking())
    with pytest.raises(Vo3dError, match=r"calib\.txt: no such file"):
        KITTIOdometry(tmp_path, ["07"])


def test_a_folder_with_images_is_not_written_over(tmp_path: Path) -> None:
    write_sequence(tmp_path, "07", frames(5))
    with pytest.raises(Vo3dError, match="07: holds images already"):
        write_sequence(tmp_path, "07", frames(3))
    assert len(list((tmp_path / "sequences/07/image_2").iterdir())) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": None}, "frame 2 lacks K, world_T_cam or time"),
        ({"world_T_cam": None}, "frame 2 lacks K, world_T_cam or time"),
        ({"K": torch.eye(3)[None]}, "frame 2 has another size or K"),
        ({"right": None}, "frame 2: expected right images"),
        (PAIR, "frame 2 has images of shape"),
    ],
)
def test_frames_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    given = [replace(frame, **change) if number == 2 else frame for number, frame in enumerate(frames())]  # type: ignore[arg-type]
    with pytest.raises(Vo3dError, match=words):
        write_sequence(tmp_path, "07", given)


def test_nothing_to_write_and_wrong_imu_are_errors(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no frame to write"):
        write_sequence(tmp_path, "07", [])
    with pytest.raises(Vo3dError, match="imu has 5 steps for 5 frames"):
        write_sequence(tmp_path, "07", frames(), imu=torch.zeros(5, 10, 6))
    with pytest.raises(Vo3dError, match=r"no imu_time beside imu of shape \(4, 10, 6\): expected an instant a reading"):
        write_sequence(tmp_path, "07a", frames(), imu=torch.zeros(4, 10, 6))
    middles = 0.1037 * (torch.arange(4, dtype=torch.float64)[:, None] + torch.tensor([0.25, 0.75]).double())
    for name, stamps, words in (
        ("a", middles + 1.4e9, "stand between frames of 0 and 0.1037 s: expected stamps in the clock"),
        ("b", middles + 0.1037, "stand between frames"),
        ("c", middles.flip(1), "do not ascend"),
        ("d", torch.cat((middles[:3], middles[3:] * torch.nan)), "do not ascend"),
    ):
        with pytest.raises(Vo3dError, match=rf"imus/{name}\.txt: .*{words}"):
            write_sequence(tmp_path, name, frames(), imu=torch.zeros(4, 2, 6), imu_time=stamps)
    with pytest.raises(Vo3dError, match="readings of nan to nan s stand between frames"):
        write_sequence(
            tmp_path, "e", frames(2), imu=torch.zeros(1, 1, 6), imu_time=torch.full((1, 1), torch.nan).double()
        )


def test_a_turned_right_camera_has_no_place_in_this_layout(tmp_path: Path) -> None:
    turned = se3.exp(torch.tensor([0.5, 0, 0, 0, 0.1, 0]))
    with pytest.raises(Vo3dError, match="left_T_right turns"):
        write_sequence(tmp_path, "07", (replace(frame, left_T_right=turned) for frame in frames()))

"""TUM-VI (Schubert et al., IROS 2018): fisheye stereo and inertial readings, and poses where there was a tracker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vo3d.datasets.asl import ASLFiles, ASLRecording, recordings_in
from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.cut import at_size
from vo3d.datasets.resize import Size
from vo3d.recording import Recording, SequenceLayout

FIELD_OF_VIEW = 90.0  # degrees: the lens shows more, but a pinhole wider than this has few pixels in its middle


def _calibration(home: Path, camera: str) -> Path:
    """Name the file that describes all cameras."""
    return home / "dso" / "camchain.yaml"


FILES = ASLFiles(calibration=_calibration, truth=("mocap0",), sensor=False)


class TUMVI(ClipDataset):
    """Clips of TUM-VI in its export for EuRoC and DSO: `image`, `K`, `time`, `world_T_cam`, and what is asked for.

    Layout: `root/dataset-room1_512_16/mav0/{cam0,cam1,imu0,mocap0}`, each with `data.csv` (stamps in ns), the cameras
    with `data/<stamp>.png` of 16 bits, and `dso/camchain.yaml`, Kalibr's file of both cameras. Images come without the
    distortion of the fisheye.

    Arguments:
        root: the folder that holds the recordings, or one recording.
        sequences: folders in `root`, such as "dataset-room1_512_16"; None: `root` itself is the recording.
        field_of_view: horizontal, degrees, of the images that are given; None: the most that leaves no pixel without a
            view, down to half of the focal length.
        poses: give the true poses, and only the frames that they cover. The tracker saw the rooms and, of other
            recordings, their begin and end: of these the longer run is taken (see `vo3d.datasets.tracked`). False
            keeps all frames and gives no `world_T_cam`.
        camera, stereo, imu, time_offset, frames, size: see `vo3d.datasets.euroc.EuRoC`.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Convention: the truth is of the inertial sensor, which is the body; otherwise as EuRoC.
    Raises Vo3dError naming the file for what is missing or damaged, or says something else than its neighbours.
    """

    def __init__(
        self,
        root: str | Path,
        sequences: Sequence[str] | None = None,
        *,
        camera: str = "cam0",
        field_of_view: float | None = FIELD_OF_VIEW,
        stereo: bool = False,
        imu: bool = False,
        poses: bool = True,
        time_offset: float = 0.0,
        frames: tuple[int, int] | None = None,
        size: Size | None = None,
        **clips: Any,
    ) -> None:
        def open_one(folder: Path) -> Recording:
            return ASLRecording(
                folder,
                FILES,
                camera=camera,
                field_of_view=field_of_view,
                stereo=stereo,
                imu=imu,
                poses=poses,
                time_offset=time_offset,
                frames=frames,
                size=size,
            )

        super().__init__(recordings_in(Path(root), sequences, open_one), **clips)


def recognises(path: Path) -> bool:
    """Tell whether a path is a recording of TUM-VI, or its folder mav0."""
    home = path.absolute().parent if path.absolute().name == "mav0" else path
    return (home / "dso" / "camchain.yaml").is_file() and (home / "mav0" / "cam0" / "data.csv").is_file()


def sequence(
    path: Path, *, frames: tuple[int, int] | None = None, size: Size | None = None, stereo: bool = False
) -> Recording:
    """Open a recording by its folder, cut to a size."""
    return at_size(ASLRecording(path, FILES, field_of_view=FIELD_OF_VIEW, stereo=stereo, frames=frames), size)


SEQUENCE_LAYOUT = SequenceLayout("a recording of TUM-VI (mav0 and dso/camchain.yaml)", recognises, sequence, rank=4)

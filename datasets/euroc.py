"""EuRoC MAV (Burri et al., IJRR 2016): stereo, inertial readings and true poses of a flying robot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vo3d.datasets.asl import ASLFiles, ASLRecording, recordings_in
from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.cut import at_size
from vo3d.datasets.resize import Size
from vo3d.recording import Recording, SequenceLayout


def _calibration(home: Path, camera: str) -> Path:
    """Name the file that describes a camera."""
    return home / "mav0" / camera / "sensor.yaml"


FILES = ASLFiles(calibration=_calibration, truth=("state_groundtruth_estimate0",), sensor=True)


class EuRoC(ClipDataset):
    """Clips of EuRoC's recordings: `image`, `K`, `time`, `world_T_cam` where there is truth, and what is asked for.

    Layout: `root/MH_01_easy/mav0/{cam0,cam1,imu0,state_groundtruth_estimate0}`, each with `data.csv` (stamps in ns) and
    `sensor.yaml`, the cameras with `data/<stamp>.png`. Images come without the distortion of the lens; grey ones have
    three equal channels.

    Arguments:
        root: the folder that holds the recordings, or one recording.
        sequences: folders in `root`, such as "MH_01_easy"; None: `root` itself is the recording.
        camera: whose images are given: cam0 is the left one.
        stereo: also give the right camera, as `right` and `left_T_right`, both turned into a rectified pair; `camera`
            is the left one then. Frames that one of the two lacks are left out.
        imu: also give the readings between the frames, with one at either frame, linear between its neighbours.
        poses: give the true poses, and only the frames that they cover (see `vo3d.datasets.tracked`): of the official
            recordings, the first and the last have none. False keeps all frames and gives no `world_T_cam`.
        time_offset: seconds that are added to the stamps of the readings to have them in the clock of the images:
            Kalibr's `timeshift_cam_imu` (t_imu = t_cam + shift) with its sign changed.
        frames: first and last (exclusive) image of `data.csv` to take of every recording.
        size: height and width to resize to at load.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Convention: the truth is of the body; `world_T_cam` is that of the camera that took `image`, as it is turned by the
    rectification, interpolated on SE(3) at its stamp: x right, y down, z forward. `time` is seconds since 1970, of
    which float64 holds 2e-7.
    Raises Vo3dError naming the file for what is missing or damaged, or says something else than its neighbours.
    """

    def __init__(
        self,
        root: str | Path,
        sequences: Sequence[str] | None = None,
        *,
        camera: str = "cam0",
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
                stereo=stereo,
                imu=imu,
                poses=poses,
                time_offset=time_offset,
                frames=frames,
                size=size,
            )

        super().__init__(recordings_in(Path(root), sequences, open_one), **clips)


def recognises(path: Path) -> bool:
    """Tell whether a path is a recording of EuRoC, or its folder mav0."""
    home = path.parent if path.absolute().name == "mav0" else path
    return (home / "mav0" / "cam0" / "data.csv").is_file()


def sequence(
    path: Path, *, frames: tuple[int, int] | None = None, size: Size | None = None, stereo: bool = False
) -> Recording:
    """Open a recording by its folder, cut to a size."""
    return at_size(ASLRecording(path, FILES, stereo=stereo, frames=frames), size)


SEQUENCE_LAYOUT = SequenceLayout("a recording of EuRoC (MH_01_easy/mav0)", recognises, sequence, rank=5)

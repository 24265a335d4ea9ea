"""Verbs around trajectory files: scores, other formats."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
from pathlib import Path
from typing import Literal

Format = Literal["kitti", "tum", "euroc"]
FormatOrAuto = Literal["auto", "kitti", "tum", "euroc"]
Unit = Literal["auto", "s", "ms", "us", "ns"]


def trajectory(
    ref: Path,
    est: list[Path],
    format: FormatOrAuto = "auto",
    ref_format: FormatOrAuto | None = None,
    est_format: FormatOrAuto | None = None,
    time_unit: Unit = "auto",
    ref_time_unit: Unit | None = None,
    est_time_unit: Unit | None = None,
    align: Literal["none", "scale", "yaw", "6dof", "7dof"] = "none",
    association: Literal["mutual", "evo"] = "mutual",
    max_difference: float = 0.01,
    t_offset: float = 0.0,
    lengths: list[float] = [],  # noqa: B006 (read only)
    evo: bool = True,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Score estimated trajectories against the ground truth, by evo's metrics and by KITTI's.

    Example: vo3d trajectory poses/06.txt estimate/06.txt --align 7dof --json scores.json

    Example: vo3d trajectory mav0/state_groundtruth_estimate0/data.csv a.tum b.tum --align yaw --plot runs/mh01

    Args:
        ref: The file of the ground truth.
        est: The files of the estimates.
        format: The format of the files; auto tells it from each file.
        ref_format: The format of the ground truth, where it is another.
        est_format: The format of the estimates, where it is another.
        time_unit: The unit of the time stamps; auto tells it from their size.
        ref_time_unit: The unit of those of the ground truth, where it is another.
        est_time_unit: The unit of those of the estimates, where it is another.
        align: What is fitted to the ground truth before the errors are taken; yaw needs a vertical z axis.
        association: Stamps that are each other's nearest, or for each of the shorter file the nearest, as evo has it.
        max_difference: Seconds between time stamps that belong together.
        t_offset: Seconds that are added to the time stamps of the estimates.
        lengths: Metres of the segments of the KITTI metric; without it the official 100 to 800.
        evo: Compute evo's metrics too, which take a minute for a million poses.
        json: A file for the numbers.
        plot: A folder for a page with pictures.
    """
    from vo3d.pipelines.trajectory.score import score_files

    score_files(
        ref,
        est,
        format=format,
        ref_format=ref_format,
        est_format=est_format,
        time_unit=time_unit,
        ref_time_unit=ref_time_unit,
        est_time_unit=est_time_unit,
        align=align,
        association=association,
        max_difference=max_difference,
        t_offset=t_offset,
        lengths=lengths,
        evo=evo,
        json=json,
        plot=plot,
    )


def convert_trajectory(
    source: Path,
    target: Path,
    to: Format | None = None,
    format: FormatOrAuto = "auto",
    time_unit: Unit = "auto",
    times: Path | None = None,
    camera_from_body: Path | None = None,
    every: int = 1,
    t_offset: float = 0.0,
) -> None:
    """Write a trajectory in another format, with all its digits.

    Example: vo3d convert-trajectory data.csv gt.tum --camera-from-body mav0/cam0/sensor.yaml --every 10

    Example: vo3d convert-trajectory poses/06.txt 06.tum --times sequences/06/times.txt

    Args:
        source: The file to read.
        target: The file to write.
        to: The format to write; without it by the ending, .kitti, .tum or .csv (EuRoC).
        format: The format to read; auto tells it from the file.
        time_unit: The unit of the time stamps that are read; auto tells it from their size.
        times: Seconds of each frame, one a line, for poses without time stamps.
        camera_from_body: EuRoC's sensor.yaml or Kalibr's camchain.yaml: poses of the body become those of that camera.
        every: Keep every so many-th pose, from the first on.
        t_offset: Seconds that are added to the time stamps.
    """
    from vo3d.pipelines.trajectory.convert import convert_trajectory as convert

    convert(
        source,
        target,
        to=to,
        format=format,
        time_unit=time_unit,
        times=times,
        camera_from_body=camera_from_body,
        every=every,
        t_offset=t_offset,
    )

"""The verb that finds the path of a camera."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
import math
import re
from pathlib import Path
from typing import Any, Literal

from vo3d.errors import Vo3dError, quoted
from vo3d.verbs.scenes import rows_and_columns


def track(
    source: Path,
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: list[str] = [],  # noqa: B006 (read only)
    method: str | None = None,
    scale: Literal["relative", "stereo", "height", "constant", "true"] | None = None,
    camera_height: float | None = None,
    step: float | None = None,
    every: int = 1,
    start: str | None = None,
    end: str | None = None,
    size: str | None = None,
    out: Path | None = None,
    follow: float | None = None,
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Find the path of a camera from its video: poses, pictures from above and from the side, a page.

    Without --focal, --fov or --intrinsics the camera is the one that EXIF or the dataset tells, else a guess, and the
    result says which. Frames whose motion the images do not tell are gaps. To OUT go poses.tum (time and pose a row),
    poses.txt (KITTI's rows), track.json, path.png, frames.png and report.html.

    Example: vo3d track walk.mp4

    Example: vo3d track walk.mp4 --fov 65 --start 0:10 --end 1:05 --every 2 --out walk

    Example: vo3d track sequences/06 --scale stereo

    Example: vo3d track camera:0 --follow 5

    Args:
        source: A video, a folder of images, or a sequence of KITTI, 7-Scenes, EuRoC, TUM; see --follow.
        focal: The focal length in pixels, of square pixels and a centred camera.
        fov: Instead: the horizontal field of view, degrees.
        intrinsics: Instead: fx fy cx cy in pixels, or a file that holds them, of OpenCV, ROS, COLMAP and others.
        method: classic, or the name of weights, a run folder, a file of weights, a class path, a YAML file; without it
            the best that is here, classic.
        scale: Where the classic pipeline has lengths from: relative carries the first length on; stereo, height,
            constant and true give metres.
        camera_height: With --scale height, metres above the ground.
        step: With --scale constant, metres a frame.
        every: Take every so many-th frame.
        start: The first frame, or its time: 12.5s, 1:05.
        end: The frame, or time, after the last.
        size: Rows and columns that frames are resized and cut to, such as 480x640; without it as they are.
        out: The folder of the results; without it tracks/NAME OF THE SOURCE.
        follow: Take images as they come into the folder, or from the webcam camera:0, until none has come for so many
            seconds.
        device: As torch names it; auto takes the accelerator where there is one.
        allow: Modules of your own that a run or a file may name.
    """
    from vo3d.pipelines.track import track as track_frames
    from vo3d.settings.trust import allowing

    camera = _camera(focal, fov, intrinsics)
    options = {"scale": scale, "camera_height": camera_height, "step": step}
    if follow is not None and not follow > 0:
        raise Vo3dError(f"--follow {follow:g}: expected seconds, more than 0")
    with allowing(allow, typed=method, beside=[Path(method)] if method else []):
        track_frames(
            source,
            method=method,
            scale={name: value for name, value in options.items() if value is not None},
            camera=camera,
            between=(_moment("--start", start), _moment("--end", end)),
            every=every,
            size=None if size is None else rows_and_columns(size),
            out=out,
            follow=follow,
            device=device,
        )


def _camera(focal: float | None, fov: float | None, intrinsics: list[str]) -> dict[str, Any]:
    """Return the one thing that is known of the camera, as the readers of images name it."""
    given = {"--focal": focal, "--fov": fov, "--intrinsics": intrinsics or None}
    if len(several := [name for name, value in given.items() if value is not None]) > 1:
        raise Vo3dError(f"{' and '.join(several)}: each tells the camera: give one of them")
    if focal is not None:
        if not 0 < focal < math.inf:
            raise Vo3dError(f"--focal {focal:g}: expected pixels, more than 0")
        return {"focal": focal}
    if fov is not None:
        if not 0 < fov < 180:
            raise Vo3dError(f"--fov {fov:g}: expected degrees between 0 and 180")
        return {"field_of_view": fov}
    if len(intrinsics) == 1 and not _is_number(intrinsics[0]):
        return {"camera": intrinsics[0]}
    if intrinsics:
        numbers = [float(word) for word in intrinsics if _is_number(word)]
        if len(numbers) != 4 or len(intrinsics) != 4:
            found = quoted(" ".join(intrinsics))
            raise Vo3dError(f"--intrinsics {found}: expected fx fy cx cy, four numbers in pixels, or a file of them")
        return {"intrinsics": tuple(numbers)}
    return {}


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _moment(option: str, word: str | None) -> int | float | None:
    """Read a frame (120) or a time (12.5s, 1:05, 1:00:05.5) as whole frames or seconds."""
    if word is None:
        return None
    if word.isdecimal():
        return int(word)
    if match := re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)s", word):
        return float(match[1])
    if re.fullmatch(r"\d+(:[0-5]?\d){0,1}:[0-5]?\d(\.\d*)?", word):
        seconds = 0.0
        for part in word.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    raise Vo3dError(f"{option} {quoted(word)}: expected a frame such as 120, or a time such as 12.5s or 1:05")

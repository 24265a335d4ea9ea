"""Cameras of VisualSFM's models (NVM_V3), for the focal lengths that lists of poses do not have.

A file has `NVM_V3`, with a calibration behind it where one was fixed, the number of cameras, then a camera a line:
`name f W X Y Z CX CY CZ r 0`, focal length in pixels, rotation world to camera, centre, radial distortion. The points
behind them are not read. The principal point is the centre of the image.

Source: the documentation of VisualSFM, http://ccwu.me/vsfm/doc.html#nvm.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.pinhole import LARGEST_K
from vo3d.formats.text import parse_number, parse_whole

HEADER = "NVM_V3"


@dataclass(frozen=True, kw_only=True)
class NvmCamera:
    """Focal length, pixels, and radial distortion of one image."""

    focal: float
    distortion: float


def read_nvm_cameras(path: Path) -> dict[str, NvmCamera]:
    """Read the cameras of the first model of a file, by the names of their images as `nvm_key` spells them.

    Raises Vo3dError with file and line for another header, a number of cameras that is none or not kept, a camera that
    is not a name and ten finite numbers, and a focal length of 0 or less or beyond `vo3d.formats.pinhole.LARGEST_K`.
    """
    lines = _lines(path)
    number, header = next(lines, (1, ""))
    if header.split()[:1] != [HEADER]:
        raise Vo3dError(f"{path}:{number}: found {quoted(header)}: expected {HEADER}, a model of VisualSFM")
    number, line = next(lines, (number, ""))
    count = parse_whole(line, path, number, "the number of cameras")
    if count < 1:
        raise Vo3dError(f"{path}:{number}: {count} cameras: expected a model with at least one")
    found = {}
    for _ in range(count):
        number, line = next(lines, (number, ""))
        name, *tokens = line.rsplit(maxsplit=10) or [""]
        if len(tokens) != 10:
            raise Vo3dError(
                f"{path}:{number}: found {quoted(line)}: expected one of {count} cameras, a name and ten numbers"
            )
        values = [parse_number(token, path, number) for token in tokens]
        if not 0 < values[0] <= LARGEST_K:
            raise Vo3dError(f"{path}:{number}: a focal length of {values[0]:g}: expected pixels, 0 to {LARGEST_K:g}")
        found[nvm_key(name)] = NvmCamera(focal=values[0], distortion=values[8])
    return found


def nvm_key(name: str) -> str:
    """Spell the name of an image so that those of a model and of a list meet: with /, without its suffix.

    Models of Cambridge Landmarks were made of .jpg, their lists name .png.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("") if path.name else path)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank with their numbers, one by one: the points may be a gigabyte."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise Vo3dError(f"{path}: cannot be read ({error.strerror}): expected a model of VisualSFM") from error
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not a text file in UTF-8 (byte {error.start}): expected {HEADER}") from error

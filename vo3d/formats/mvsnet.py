"""The files of MVSNet (Yao et al., ECCV 2018): cam.txt, pair.txt, and folders that hold them beside their images.

    folder/images/00000000.jpg        or .png; blended_images/ in BlendedMVS
    folder/cams/00000000_cam.txt      or cams_1/ in Tanks and Temples
    folder/pair.txt                   the sources of each view, best first; cams/pair.txt in BlendedMVS

Convention: poses map the world into the camera (x right, y down, z forward). Lengths are in the file's own unit,
millimetres for DTU. K is for the image size that the files were made for; DTU's training cameras are at a quarter.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted, shown
from vo3d.formats.candidates import check_stems, fullest, visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.images import IMAGE_SUFFIXES
from vo3d.formats.pinhole import check_pinhole
from vo3d.formats.text import FARTHEST, parse_number, parse_whole, read_lines
from vo3d.formats.trajectories import check_poses

IMAGE_FOLDERS = ("images", "blended_images")
CAM_FOLDERS = ("cams", "cams_1")
MOST_DEPTHS = 10**6
NUM_DEPTHS = 192  # what the published DTU settings use with the interval that the files state

_CAM_FORM = "a cam.txt ('extrinsic', 16 numbers, 'intrinsic', 9 numbers, depth_min depth_interval [num [depth_max]])"
_PAIR_FORM = "a pair.txt (number of views; then for each its number, and a line 'n source score source score ...')"


@dataclass(frozen=True, kw_only=True)
class MVSCamera:
    """What a cam.txt holds: a pinhole camera with its pose and the depths that a sweep should try.

    Convention: `depth_max` is the last depth, depth_min + depth_interval * (num_depths - 1), unless the file says
    otherwise; depths are z. Lengths are in the file's unit, `K` in pixels.
    """

    K: Float64[Tensor, "3 3"]
    cam_T_world: Float64[Tensor, "4 4"]
    depth_min: float
    depth_interval: float
    num_depths: int
    depth_max: float


@dataclass(frozen=True, kw_only=True)
class ViewSources:
    """One view of a pair.txt and its sources, best first; a score may be NaN, as some programs write."""

    view: int
    sources: tuple[int, ...]
    scores: tuple[float, ...]
    line: int = field(default=0, compare=False)  # of the sources, in the file


@dataclass(frozen=True, kw_only=True)
class MVSView:
    """One view of a scene for multi-view stereo: its image, its camera, and its sources, best first."""

    index: int  # the number in the names of its files
    image: Path
    camera: MVSCamera
    sources: tuple[int, ...] = ()  # indices of other views; empty: only ever a source
    scores: tuple[float, ...] = ()


def read_cam(path: Path, *, num_depths: int = NUM_DEPTHS) -> MVSCamera:
    """Read a cam.txt; `num_depths` counts where the file states no number of depths.

    The line of depths may hold two to six numbers: depth_min, depth_interval, then the number of depths (decimals are
    rounded) and depth_max where they are stated; numbers after these are ignored.

    Raises:
        Vo3dError: with file and line, for a missing file, a wrong token, a singular K or one that is no pinhole's, a
            pose that is no rigid motion, depths that are not 0 < depth_min < depth_max.
    """
    tokens = [
        (token, number) for number, line in enumerate(read_lines(path, _CAM_FORM), start=1) for token in line.split()
    ]
    extrinsic, at = _matrix(path, tokens, 0, "extrinsic", 4)
    check_poses(extrinsic[None], path, [at])
    intrinsic, at = _matrix(path, tokens, 17, "intrinsic", 3)
    check_pinhole(intrinsic, f"{path}:{at}")
    depths = tokens[27:]
    last = tokens[-1][1]
    if not 2 <= len(depths) <= 6:
        raise Vo3dError(f"{path}:{last}: {len(depths)} numbers after the intrinsic matrix: expected {_CAM_FORM}")
    line = depths[0][1]
    depth_min, interval, *rest = (parse_number(token, path, number) for token, number in depths)
    if depth_min <= 0:
        raise Vo3dError(f"{path}:{line}: depth_min {depth_min:g}: expected a depth above 0: correct the depth range")
    count = rest[0] if rest else float(num_depths)
    if interval <= 0 or not 1 <= count <= MOST_DEPTHS:
        raise Vo3dError(
            f"{path}:{line}: depth_interval {interval:g} and {count:g} depths: expected an interval above 0 and 1 to "
            f"{MOST_DEPTHS} depths: correct the depth range"
        )
    whole = max(1, math.floor(count + 0.5))
    depth_max = rest[1] if len(rest) > 1 else depth_min + interval * (whole - 1)
    if depth_max < depth_min or (depth_max == depth_min and whole > 1):
        raise Vo3dError(
            f"{path}:{line}: depth_max {depth_max:g} is not above depth_min {depth_min:g}: correct the depth range"
        )
    if depth_max > FARTHEST:
        raise Vo3dError(f"{path}:{line}: depth_max {depth_max:g}: expected up to {FARTHEST:g}: correct the depth range")
    return MVSCamera(
        K=intrinsic,
        cam_T_world=extrinsic,
        depth_min=depth_min,
        depth_interval=interval,
        num_depths=whole,
        depth_max=depth_max,
    )


def write_cam(path: Path, camera: MVSCamera) -> None:
    """Write a cam.txt with all four depth numbers and all the digits of float64; the file is whole or absent.

    Raises Vo3dError for a camera that `read_cam` would refuse.
    """
    check_poses(camera.cam_T_world[None], path)
    check_pinhole(camera.K, f"{path}")
    if not 0 < camera.depth_min <= camera.depth_max < math.inf or camera.depth_interval <= 0 or camera.num_depths < 1:
        raise Vo3dError(
            f"{path}: depths from {camera.depth_min:g} to {camera.depth_max:g} in {camera.num_depths} steps of "
            f"{camera.depth_interval:g}: expected 0 < depth_min <= depth_max and an interval above 0"
        )
    extrinsic, intrinsic = (
        "\n".join(" ".join(map(repr, row)) for row in matrix.tolist()) for matrix in (camera.cam_T_world, camera.K)
    )
    depths = f"{camera.depth_min!r} {camera.depth_interval!r} {camera.num_depths} {camera.depth_max!r}"
    write_whole(path, f"extrinsic\n{extrinsic}\n\nintrinsic\n{intrinsic}\n\n{depths}\n")


def read_pairs(path: Path) -> list[ViewSources]:
    """Read a pair.txt with any number of views and of sources.

    A view that is named as its own source, as the authors' script does where there are few views, is left out.

    Raises:
        Vo3dError: with file and line, for a missing file, a wrong token, a number of views or sources that is not as
            announced, a view with two entries, a source named twice.
    """
    numbered = enumerate(read_lines(path, _PAIR_FORM), start=1)
    lines = [(line.split(), number) for number, line in numbered if line.strip()]
    if not lines or len(lines[0][0]) != 1:
        raise Vo3dError(f"{path}:1: no number of views in the first line: expected {_PAIR_FORM}")
    count = parse_whole(lines[0][0][0], path, lines[0][1], "the number of views")
    body = lines[1:]
    if count < 1 or len(body) != 2 * count:
        raise Vo3dError(
            f"{path}: {len(body)} lines after a number of views of {count}: expected two for each of at least one view"
        )
    pairs: dict[int, ViewSources] = {}
    for (names, name_line), (tokens, line) in zip(body[::2], body[1::2], strict=True):
        if len(names) != 1:
            raise Vo3dError(f"{path}:{name_line}: {len(names)} tokens: expected the number of a view alone in its line")
        view = parse_whole(names[0], path, name_line, "the number of a view")
        if view in pairs or view < 0:
            raise Vo3dError(f"{path}:{name_line}: view {view} again, or below 0: expected each view once, from 0 on")
        pairs[view] = _sources_of(path, line, view, tokens)
    return list(pairs.values())


def write_pairs(path: Path, pairs: Sequence[ViewSources]) -> None:
    """Write a pair.txt; the file is whole or absent. Raises Vo3dError when there is no view."""
    if not pairs:
        raise Vo3dError(f"{path}: no view to write: expected at least one with its sources")
    lines = [str(len(pairs))]
    for row in pairs:
        couples = (f"{source} {score!r}" for source, score in zip(row.sources, row.scores, strict=True))
        lines += [str(row.view), " ".join([str(len(row.sources)), *couples])]
    write_whole(path, "\n".join(lines) + "\n")


@dataclass(frozen=True, kw_only=True)
class MVSFiles:
    """The files of a folder in MVSNet's layout, and a line for each that was left out."""

    images: dict[str, list[Path]]  # by stem
    image_folder: Path
    cam_folder: Path
    pairs: Path
    notes: tuple[str, ...] = ()


def find_pairs(folder: Path) -> Path | None:
    """The pair.txt of a folder, in it or in its folder of cameras; None: there is none."""
    places = (folder, *(folder / name for name in CAM_FOLDERS))
    return next((place / "pair.txt" for place in places if (place / "pair.txt").is_file()), None)


def find_files(folder: Path, cams: str | None = None) -> MVSFiles:
    """Find the images, the cameras and the pair.txt of a folder, the fullest where there are several.

    `cams` names the folder of the cameras, where it is to be another than the fullest. Raises Vo3dError where there is
    no such folder, or no image.
    """
    if not folder.is_dir():
        raise Vo3dError(f"{folder}: no such folder: expected images/, cams/ and pair.txt")
    image_folder, images_left = _fullest_folder(folder, IMAGE_FOLDERS, "*", IMAGE_SUFFIXES)
    cam_folder, cams_left = _fullest_folder(folder, (cams,) if cams else CAM_FOLDERS, "*_cam.txt", (".txt",))
    images: dict[str, list[Path]] = {}
    for path in visible_paths(image_folder):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.setdefault(path.stem, []).append(path)
    if not images:
        raise Vo3dError(f"{image_folder}: no images: expected 00000000.jpg (or .png) and so on")
    pairs = [path for place in (folder, cam_folder) if (path := place / "pair.txt").is_file()]
    pairs = pairs or [find_pairs(folder) or folder / "pair.txt"]
    same = len(pairs) < 2 or pairs[0].read_bytes() == pairs[1].read_bytes()
    pairs_left = [] if same else [f"{pairs[0]} is taken; left out: {pairs[1]}, which says otherwise"]
    return MVSFiles(
        images=images,
        image_folder=image_folder,
        cam_folder=cam_folder,
        pairs=pairs[0],
        notes=(*images_left, *cams_left, *pairs_left),
    )


def read_scene(
    folder: Path, *, cams: str | None = None, num_depths: int = NUM_DEPTHS, imageless: list[int] | None = None
) -> dict[int, MVSView]:
    """The views that a folder's pair.txt names, by ascending index, with their cameras; images are not read.

    `cams` is as in `find_files`, `num_depths` as in `read_cam`. Views that are in no line of pair.txt are left alone.
    A list of `imageless` views takes the indices of those that have a camera and no image, which are then left out, as
    sources too.

    Raises:
        Vo3dError: with file and line: as `read_cam` and `read_pairs`; pair.txt names a view that has no camera, or no
            image, unless that is left out, or two; there are no images at all.
    """
    files = find_files(folder, cams)
    pair_file = files.pairs
    pairs = read_pairs(pair_file)
    # where each view is named: as the view of a row, else as a source in the first row that has it
    named = {source: row.line for row in reversed(pairs) for source in row.sources}
    named |= {row.view: row.line for row in pairs}
    rows = {row.view: row for row in pairs}
    views = {}
    for index, line in sorted(named.items()):
        images, cam = files.images.get(f"{index:08d}", []), files.cam_folder / f"{index:08d}_cam.txt"
        check_stems(images)
        if not images and imageless is not None and cam.is_file():
            imageless.append(index)
            continue
        if not images:
            raise Vo3dError(
                f"{pair_file}:{line}: names view {index}, which has no image: expected "
                f"{files.image_folder / f'{index:08d}'}.jpg or .png: add it, or take the view out of pair.txt"
            )
        if not cam.is_file():
            raise Vo3dError(
                f"{pair_file}:{line}: names view {index}, which has no camera: expected {cam}: add it, or take the "
                "view out of pair.txt"
            )
        row = rows.get(index, ViewSources(view=index, sources=(), scores=()))
        views[index] = MVSView(
            index=index,
            image=images[0],
            camera=read_cam(cam, num_depths=num_depths),
            sources=row.sources,
            scores=row.scores,
        )
    if not views:
        raise Vo3dError(
            f"{files.image_folder}: holds the image of no view that {pair_file} names, such as {min(named):08d}.jpg"
        )
    return {index: _without(view, imageless or ()) for index, view in views.items()}


def _matrix(path: Path, tokens: list[tuple[str, int]], start: int, name: str, size: int) -> tuple[Tensor, int]:
    """The square matrix that follows the word `name`, which must be at token `start`; and its first line."""
    words = tokens[start : start + 1 + size * size]
    if not words or words[0][0].lower() != name:
        found, line = words[0] if words else ("the end of the file", tokens[-1][1] if tokens else 1)
        raise Vo3dError(f"{path}:{line}: found {quoted(found)} where '{name}' should be: expected {_CAM_FORM}")
    if len(words) < 1 + size * size:
        raise Vo3dError(f"{path}:{words[-1][1]}: {len(words) - 1} numbers of '{name}': expected {_CAM_FORM}")
    values = torch.tensor([parse_number(token, path, line) for token, line in words[1:]], dtype=torch.float64)
    return values.reshape(size, size), words[1][1]


def _without(view: MVSView, left_out: Collection[int]) -> MVSView:
    """Take sources out of a view."""
    rows = zip(view.sources, view.scores, strict=True)
    kept = [(source, score) for source, score in rows if source not in left_out]
    return replace(view, sources=tuple(source for source, _ in kept), scores=tuple(score for _, score in kept))


def _sources_of(path: Path, line: int, view: int, tokens: list[str]) -> ViewSources:
    """The line `n source score source score ...` of one view."""
    count = parse_whole(tokens[0], path, line, "the number of sources")
    if len(tokens) != 1 + 2 * count:
        raise Vo3dError(
            f"{path}:{line}: {len(tokens) - 1} tokens after a number of sources of {count}: expected a source and a "
            "score for each"
        )
    sources = [parse_whole(token, path, line, "the number of a source") for token in tokens[1::2]]
    if len(set(sources)) < len(sources) or min(sources, default=0) < 0:
        raise Vo3dError(f"{path}:{line}: view {view} names a source twice, or one below 0: expected each once")
    try:
        scores = [float(token) for token in tokens[2::2]]
    except ValueError as error:
        raise Vo3dError(
            f"{path}:{line}: a score of view {view} is no number ({shown(str(error))}): correct the line"
        ) from error
    kept = [(source, score) for source, score in zip(sources, scores, strict=True) if source != view]
    return ViewSources(
        view=view, sources=tuple(source for source, _ in kept), scores=tuple(score for _, score in kept), line=line
    )


def _fullest_folder(
    folder: Path, names: Sequence[str], pattern: str, suffixes: Sequence[str]
) -> tuple[Path, list[str]]:
    """Return the folder of these names that holds the most files, and a line on the others."""
    counts = {
        place: sum(path.suffix.lower() in suffixes for path in visible_paths(place, pattern))
        for name in names
        if (place := folder / name).is_dir()
    }
    if not counts:
        wanted = " or ".join(f"{name}/" for name in names)
        raise Vo3dError(f"{folder}: no folder {wanted}: expected the layout of MVSNet: images/, cams/ and pair.txt")
    return fullest(counts, "files")

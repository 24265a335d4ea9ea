"""The verb that tells where images were taken."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
from pathlib import Path

from vo3d.errors import Vo3dError
from vo3d.verbs.scenes import rows_and_columns


def locate(
    source: Path,
    map: Path | None = None,
    weights: str = "best",
    out: Path = Path("located"),
    clip_length: int | None = None,
    size: str | None = None,
    range: list[int] = [],  # noqa: B006 (read only)
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Tell where each image of a folder, or each frame of a video, was taken, in a scene that a model learnt.

    The scene is that of a run of `vo3d fit`, and so is its world: poses are those of cameras among its training views.
    To OUT go poses.tum and poses.csv, pictures of the positions and, where the model tells how sure it is, of the
    poses over time. Images of another scene get poses as well: read the notes.

    Example: vo3d locate walk.mp4 --map runs/posenet_excerpt --out located

    Args:
        source: A video, a folder of images, one image, or a sequence of 7-Scenes or KITTI.
        map: The folder of the run.
        weights: Its checkpoint: best, last, or a file.
        out: The folder of the results.
        clip_length: Frames that go through a model of clips at once; without it, the model's usual number.
        size: Rows and columns that images are resized and cut to, such as 256x341; without it those of the run.
        range: First and last (exclusive) frame; without it, all.
        device: As torch names it; auto takes the accelerator where there is one.
        allow: Modules of your own, or files such as exp/mymethod.py, that the run may name.
    """
    from vo3d.pipelines.locate import locate as locate_images
    from vo3d.settings.trust import allowing

    if map is None:
        raise Vo3dError("no --map: expected the folder of a run of vo3d fit, which learnt the scene")
    if len(range) not in {0, 2}:
        raise Vo3dError(f"--range: {len(range)} numbers: expected 2")
    with allowing(allow, beside=[map]):
        locate_images(
            source,
            run=map,
            weights=weights,
            out=out,
            clip_length=clip_length,
            size=None if size is None else rows_and_columns(size),
            frames=(range[0], range[1]) if range else None,
            device=device,
        )

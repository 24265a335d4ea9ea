"""Photographs that a sparse model of COLMAP has registered: their files, their cameras, their poses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, fit_to_images
from vo3d.datasets.views import as_spelled, first_of, given_and_target, is_there, missing_note
from vo3d.errors import Vo3dError, shown
from vo3d.formats.candidates import fullest
from vo3d.formats.colmap import ColmapCamera, ColmapModel, read_model
from vo3d.formats.colmap_check import check_reprojection
from vo3d.formats.images import image_size
from vo3d.geometry import se3


@dataclass(frozen=True, kw_only=True)
class Registered:
    """The images of a project that are there, by ascending id; `model` holds these alone.

    Convention: lengths are in the model's own unit, known up to scale.
    """

    name: str  # of the project
    model: ColmapModel
    files: list[Path]
    cameras: Sequence[StoredCamera]  # at the sizes of the files
    world_T_cam: Float64[Tensor, "n 4 4"]
    notes: list[str]


def registered_images(folder: Path, images: Path | None) -> Registered:
    """Find the images of a project, in the folder `images` or where `ColmapScene` says that they lie.

    Raises Vo3dError naming the file: as `read_model` and `check_reprojection` do; no image is there, or one of another
    shape than its camera.
    """
    whole = read_model(folder)
    notes = [*whole.notes, *filter(None, [check_reprojection(whole)])]
    image_folder, chosen = (images, []) if images is not None else _image_folder(whole)
    notes += chosen
    places = {image.name: as_spelled(image_folder / image.name) for image in whole.images}
    model = whole.with_images([image for image in whole.images if is_there(places[image.name])])
    missing = [name for name, place in places.items() if not is_there(place)]
    if not model.images:
        raise Vo3dError(
            f"{image_folder}: holds none of the {len(missing)} images that {whole.folder} has registered, such as "
            f"{shown(missing[0])}: add them, or give their folder"
        )
    notes += missing_note(missing, len(whole.images), f"of {whole.folder}")
    files = [places[image.name] for image in model.images]
    owners = {camera.id: stored_camera(camera, model.folder) for camera in model.cameras.values()}
    cameras, resized = fit_to_images(
        [owners[image.camera_id] for image in model.images], files, list(map(image_size, files))
    )
    return Registered(
        name=_project_name(whole.folder),
        model=model,
        files=files,
        cameras=cameras,
        world_T_cam=torch.stack([se3.inverse(image.cam_T_world) for image in model.images]),
        notes=[*notes, *resized],
    )


def stored_camera(camera: ColmapCamera, model: Path) -> StoredCamera:
    """Return a camera of the `model` as the loaders have them."""
    words = f"camera {camera.id} ({camera.model} {' '.join(f'{value:g}' for value in camera.params)}) of {model}"
    return StoredCamera(name=words, size=(camera.height, camera.width), K=camera.K, lens=camera.lens)


def _project_name(model: Path) -> str:
    """Return the name of the folder that holds a model as COLMAP puts it, in sparse/ or sparse/0/ or itself."""
    place = given_and_target(model)[0]
    if place.name == "0" or (place.name.isdecimal() and place.parent.name == "sparse"):
        place = place.parent
    return (place.parent if place.name == "sparse" else place).name


def _image_folder(model: ColmapModel) -> tuple[Path, list[str]]:
    """Find the folder that holds the most images of a model, and a line where there was a choice or a link."""
    given, *target = given_and_target(model.folder)
    without: list[Path] = []
    for place in (given, *target):
        folders = [path for above in (place, *place.parents[:2]) if (path := above / "images").is_dir()]
        counts = {path: sum(is_there(as_spelled(path / image.name)) for image in model.images) for path in folders}
        if held := {path: count for path, count in counts.items() if count}:
            folder, notes = fullest(held, f"of {len(model.images)} images")
            linked = [f"{model.folder} is a link: the images are those in {folder}"] if place != given else []
            return folder, [*linked, *notes]
        without += folders
    complaint = f"{model.folder}: no folder images/ beside the model or above it: give the folder of its images"
    return first_of(without, complaint), []

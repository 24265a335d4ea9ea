"""Cambridge Landmarks (Kendall, Grimes, Cipolla, ICCV 2015): outdoor places with the pose of every photograph."""

from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.lenses import StoredCamera
from vo3d.datasets.posed_views import PosedViews
from vo3d.datasets.resize import Size
from vo3d.datasets.views import as_spelled, check_folder, is_there, numbers_in
from vo3d.errors import Vo3dError, first_few, shown
from vo3d.formats.images import image_size
from vo3d.formats.nvm import NvmCamera, nvm_key, read_nvm_cameras
from vo3d.formats.pose_lists import PoseList, read_pose_list

MODEL = "reconstruction.nvm"
FAR = 1e4  # metres from the middle of a scene: what stands there was placed wrongly, scenes are 500 m long at most


class CambridgeLandmarks(ClipDataset):
    """Single images, or clips, of one scene: `image`, `world_T_cam`, `index`, and `K` where its model is there.

    Layout: `root/<scene>/{dataset_train.txt,dataset_test.txt,reconstruction.nvm}`, `root/<scene>/seq1/frame00001.png`.
    Each folder that the list of the split names is a recording, in the order of the list.

    Arguments:
        root: the folder that holds the scenes.
        scene: such as "ShopFacade".
        split: "train" or "test".
        size: height and width of the images, cut to its shape; see `vo3d.datasets.posed_views.PosedViews`.
        short_side: instead of it, pixels of the shorter side: 256 makes 455x256 of 1920x1080.
        clip_length: views in a sample. Frames are some seconds apart here and there, as the list leaves some out.
        clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Convention: the lists hold the camera's centre and the rotation world to camera; `world_T_cam` is in metres. Focal
    lengths are those of VisualSFM for each image, with the principal point at its centre; its radial distortion is not
    undone.
    Raises Vo3dError when a folder, a list or an image is missing or damaged, with the line of the list.
    """

    def __init__(
        self,
        root: str | Path,
        scene: str,
        *,
        split: Literal["train", "test"] = "train",
        size: Size | None = None,
        short_side: int | None = None,
        clip_length: int = 1,
        **clips: Any,
    ) -> None:
        folder = Path(root) / scene
        check_folder(folder, "scene")
        path = folder / f"dataset_{split}.txt"
        rows = read_pose_list(path, "world_to_camera")
        other = folder / f"dataset_{'test' if split == 'train' else 'train'}.txt"
        if other.is_file():
            apart = set(read_pose_list(other, "world_to_camera").names)
            if both := [name for name in rows.names if name in apart]:
                raise Vo3dError(
                    f"{path} and {other.name} share {len(both)} images ({first_few(both)}): expected splits without a "
                    "common image, as what is tested must not be trained on"
                )
        images = [_image(folder, path, name, line) for name, line in zip(rows.names, rows.lines, strict=True)]
        cameras, notes = _cameras(folder, rows, images)
        notes = [*rows.notes, *_far_note(path, rows), *notes]
        places: dict[str, list[int]] = {}
        for place, name in enumerate(rows.names):
            places.setdefault(str(PurePosixPath(name).parent), []).append(place)
        super().__init__(
            [
                PosedViews(
                    scene if sequence == "." else f"{scene}_{sequence.replace('/', '_')}",
                    [images[place] for place in of],
                    rows.world_T_cam[of],
                    None if cameras is None else [cameras[place] for place in of],
                    numbers=numbers_in([rows.names[place] for place in of]),
                    size=size,
                    short_side=short_side,
                    notes=notes,
                )
                for sequence, of in places.items()
            ],
            clip_length=clip_length,
            **clips,
        )


def _image(folder: Path, path: Path, name: str, line: int) -> Path:
    """Find an image of the list."""
    image = as_spelled(folder / name)
    if not is_there(image):
        raise Vo3dError(f"{path}:{line}: {shown(name)}: no such image in {folder}: complete the scene")
    return image


def _cameras(folder: Path, rows: PoseList, images: list[Path]) -> tuple[list[StoredCamera] | None, list[str]]:
    """Return the cameras of the images, None where the model of the scene does not tell all, and lines on that."""
    path = folder / MODEL
    if not path.is_file():
        return None, [f"{path}: no such file: focal lengths are not known, samples have no K"]
    model = read_nvm_cameras(path)
    found = [model.get(nvm_key(name)) for name in rows.names]
    known = [camera for camera in found if camera is not None]
    if len(known) < len(found):
        without = [name for name, camera in zip(rows.names, found, strict=True) if camera is None]
        return None, [
            f"{path}: has no camera for {len(without)} of {len(found)} images ({first_few(without)}): samples have no K"
        ]
    most = max(abs(camera.distortion) for camera in known)
    notes = [f"{path}: radial distortion of up to {most:.2g} is not undone"] if most else []
    return [_stored(path, image, camera) for image, camera in zip(images, known, strict=True)], notes


def _stored(path: Path, image: Path, camera: NvmCamera) -> StoredCamera:
    """Describe the camera of one image, with the principal point at its centre."""
    height, width = image_size(image)
    rows = [[camera.focal, 0.0, (width - 1) / 2], [0.0, camera.focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
    return StoredCamera(name=str(path), size=(height, width), K=torch.tensor(rows, dtype=torch.float64))


def _far_note(path: Path, rows: PoseList) -> list[str]:
    """Say how many images stand farther from the middle of the scene than anything can."""
    centre = rows.world_T_cam[:, :3, 3]
    far = ((centre - centre.median(dim=0).values).norm(dim=1) > FAR).nonzero()[:, 0].tolist()
    if not far:
        return []
    return [
        f"{path}:{rows.lines[far[0]]}: {len(far)} of {len(centre)} images stand more than {FAR / 1000:g} km from the "
        "middle of the scene: poses that went wrong? Leave these lines out of training"
    ]

"""List the readers that `fuzz_readers.py` harms files for: how to write a small valid file, and how to read it."""

import json
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from scipy.io import savemat

import fuzz_places
import fuzz_recordings
from fuzz_readers import Target
from vo3d.datasets.folder import FolderRecording
from vo3d.datasets.nerf import NeRFScene
from vo3d.datasets.posed_images import PosedImagesScene
from vo3d.datasets.sevenscenes import SevenScenesRecording
from vo3d.datasets.sevenscenes_splits import read_sequences
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import read_model, write_model
from vo3d.formats.colmap_model import ColmapModel, make_camera, make_image, make_points
from vo3d.formats.flow import read_flow, read_kitti_disparity, write_flo, write_kitti_disparity, write_kitti_flow
from vo3d.formats.images import image_focal, image_size, read_depth_png, read_image, write_counts, write_image
from vo3d.formats.kitti import read_calib, read_imu, read_times
from vo3d.formats.moving_objects import read_mask, read_object_motion
from vo3d.formats.mvsnet import MVSCamera, ViewSources, read_cam, read_pairs, read_scene, write_cam, write_pairs
from vo3d.formats.nvm import read_nvm_cameras
from vo3d.formats.pfm import read_pfm, write_pfm
from vo3d.formats.ply import Mesh, PlyForm, PointCloud, read_cloud, read_mesh, write_cloud, write_mesh
from vo3d.formats.pose_lists import read_pose_list
from vo3d.formats.results import Result
from vo3d.formats.trajectories import Trajectory, TrajectoryFormat, read_trajectory, write_trajectory
from vo3d.formats.weights import is_finished, read_metadata, read_weights, settings_of
from vo3d.metrics.dtu import DtuScan

K = torch.tensor([[30.0, 0, 4], [0, 30, 3], [0, 0, 1]], dtype=torch.float64)
CLOUD = PointCloud(
    points=np.arange(12.0).reshape(4, 3),
    colours=np.arange(12, dtype=np.uint8).reshape(4, 3),
    normals=np.eye(4, 3, dtype=np.float32),
)


def poses(count: int = 3) -> Trajectory:
    """Return a straight way with a stamp a second."""
    world_T_cam = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    world_T_cam[:, 0, 3] = torch.arange(count)
    return Trajectory(world_T_cam=world_T_cam, time=torch.arange(count, dtype=torch.float64))


def write_text(folder: Path, *, name: str, text: str) -> Path:
    """Write a text file."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def write_poses(folder: Path, *, format: TrajectoryFormat) -> Path:
    """Write a trajectory."""
    write_trajectory(folder / "poses.txt", poses(), format)
    return folder / "poses.txt"


def write_picture(folder: Path, *, suffix: str, name: str = "a") -> Path:
    """Write an image that is not all of one colour."""
    write_image(folder / f"{name}{suffix}", torch.linspace(0, 1, 3 * 6 * 8).reshape(3, 6, 8))
    return folder / f"{name}{suffix}"


def write_turned(folder: Path) -> Path:
    """Write a photograph that its header says to turn, with a focal length of 26 mm in 35 mm film."""
    path = write_picture(folder, suffix=".jpg")
    turn = b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    camera = b"\x87\x69\0\x04\0\0\0\x01\0\0\0\x26" + b"\0\0\0\0" + b"\0\x01\xa4\x05\0\x03\0\0\0\x01\0\x1a\0\0"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + turn + camera
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:])
    if image_focal(path) is None:
        raise AssertionError(f"{path}: has no focal length")
    return path


def write_depth(folder: Path) -> Path:
    """Write a depth map of 16 bits."""
    cv2.imwrite(str(folder / "depth.png"), np.arange(48, dtype=np.uint16).reshape(6, 8) * 100)
    return folder / "depth.png"


def read_picture(path: Path) -> None:
    """Read size, focal length and pixels of an image, as it is stored and upright."""
    image_focal(path)
    for upright in (False, True):
        height, width = image_size(path, upright=upright)
        if read_image(path, upright=upright).shape[1:] != (height, width):
            raise AssertionError(f"{path}: the header says {height} x {width}")


def write_map(folder: Path) -> Path:
    """Write a float map."""
    write_pfm(folder / "depth.pfm", torch.arange(12.0).reshape(3, 4))
    return folder / "depth.pfm"


def write_motion(folder: Path, *, suffix: str) -> Path:
    """Write a map of flow."""
    write = write_flo if suffix == ".flo" else write_kitti_flow
    write(folder / f"flow{suffix}", torch.arange(24.0).reshape(2, 3, 4))
    return folder / f"flow{suffix}"


def write_disparity(folder: Path) -> Path:
    """Write a map of disparity."""
    write_kitti_disparity(folder / "disparity.png", torch.arange(12.0).reshape(3, 4))
    return folder / "disparity.png"


def write_palette(folder: Path) -> Path:
    """Write a mask of ids with a palette of two colours."""
    path = folder / "mask.png"
    write_counts(path, torch.eye(4).long(), bits=8)
    content = bytearray(path.read_bytes())
    content[25] = 3  # the colour type, in the header, which ends at byte 33
    colours = bytes([0, 0, 0, 128, 0, 0])
    content[33:33] = struct.pack(">I", len(colours)) + b"PLTE" + colours + bytes(4)
    path.write_bytes(seal_png(bytes(content)))
    return path


def write_camera(folder: Path) -> Path:
    """Write a cam.txt."""
    camera = MVSCamera(
        K=K, cam_T_world=poses(1).world_T_cam[0], depth_min=1, depth_interval=0.1, num_depths=11, depth_max=2
    )
    write_cam(folder / "cams" / "00000000_cam.txt", camera)
    return folder / "cams" / "00000000_cam.txt"


def write_scene(folder: Path) -> Path:
    """Write a folder in MVSNet's layout; the file to harm is pair.txt."""
    camera = write_camera(folder)
    (folder / "images").mkdir()
    for index in range(3):
        camera.with_name(f"{index:08d}_cam.txt").write_bytes(camera.read_bytes())
        write_picture(folder / "images", suffix=".png", name=f"{index:08d}")
    write_pairs(
        folder / "pair.txt",
        [ViewSources(view=i, sources=((i + 1) % 3, (i + 2) % 3), scores=(2.5, 1.0)) for i in range(3)],
    )
    return folder / "pair.txt"


def write_sparse(folder: Path, *, name: str, binary: bool) -> Path:
    """Write a model of COLMAP; the file to harm is that of `name`."""
    keypoints = torch.tensor([[1.0, 2], [3, 4]], dtype=torch.float64)
    images = [
        make_image("", id, f"{id}.jpg", 1, [1, 0, 0, 0, id, 0, 0], keypoints, torch.tensor([7, -1])) for id in (1, 2)
    ]
    model = ColmapModel(
        folder=folder,
        cameras={1: make_camera("", 1, "RADIAL", (8, 6), (30, 4, 3, 0.1, 0.01))},
        images=images,
        points=make_points("", [7], [[0, 0, 5, 9, 8, 7, 0.5]], [2], [1, 0, 2, 0]),
    )
    write_model(folder, model, binary=binary)
    return folder / f"{name}{'.bin' if binary else '.txt'}"


def write_points(folder: Path, *, form: PlyForm) -> Path:
    """Write a cloud."""
    write_cloud(folder / "cloud.ply", CLOUD, form=form)
    return folder / "cloud.ply"


def write_faces(folder: Path, *, form: PlyForm) -> Path:
    """Write a mesh."""
    write_mesh(folder / "mesh.ply", Mesh(vertices=CLOUD, faces=np.array([[0, 1, 2], [1, 2, 3]])), form=form)
    return folder / "mesh.ply"


def write_result(folder: Path) -> Path:
    """Write a metrics.json."""
    metrics: dict[str, float | int | None] = {"ape_rmse_m": 1.5, "num_segments": 3, "scale": None}
    return Result("m", {"task": "odometry", "deep": [{"a": 1}]}, {"00": metrics}, {"scale": 1.0}, {"seed": 0}).save(
        folder
    )


def write_tensors(folder: Path) -> Path:
    """Write weights as safetensors."""
    save_file({"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}, folder / "a.safetensors", {"class_path": "m.M"})
    return folder / "a.safetensors"


def write_checkpoint(folder: Path, *, zipped: bool) -> Path:
    """Write weights as PyTorch does, in its present or its former form."""
    content = {"state_dict": {"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}, "epoch": 3}
    torch.save(content, folder / "a.pth", _use_new_zipfile_serialization=zipped)
    return folder / "a.pth"


def read_tensors(path: Path) -> None:
    """Read weights and their metadata."""
    read_weights(path)
    read_metadata(path)


def read_checkpoint(path: Path) -> None:
    """Read weights and what else is asked of checkpoints."""
    settings_of(path)
    is_finished(path)
    read_weights(path)


def write_imu(folder: Path, *, packed: bool) -> Path:
    """Write inertial readings as MATLAB does."""
    savemat(folder / "06.mat", {"imu_data_interp": np.arange(126.0).reshape(21, 6)}, do_compression=packed)
    return folder / "06.mat"


def write_scan(folder: Path, *, name: str, packed: bool) -> Path:
    """Write the truth of a scan of DTU; the file to harm is that of `name`."""
    write_cloud(folder / "Points/stl/stl001_total.ply", CLOUD)
    (folder / "ObsMask").mkdir()
    content = {"ObsMask": np.ones((2, 3, 4), bool), "BB": np.array([[0.0, 0, 0], [3, 3, 3]]), "Res": 1.0, "Margin": 10}
    savemat(folder / "ObsMask/ObsMask1_10.mat", content, do_compression=packed)
    savemat(folder / "ObsMask/Plane1.mat", {"P": np.ones((4, 1))}, do_compression=packed)
    return folder / "ObsMask" / name


def read_scan(path: Path) -> DtuScan:
    """Read the scan whose mask or plane this file is."""
    return DtuScan.load(path.parents[1], 1)


def write_frame(folder: Path) -> Path:
    """Write a frame of 7-Scenes, whose pose is the file to harm."""
    for kind in ("color", "depth"):
        (folder / f"frame-000000.{kind}.png").touch()
    return write_text(folder, name="frame-000000.pose.txt", text="1 0 0 1\n0 1 0 2\n0 0 1 3\n0 0 0 1\n")


def write_posed(folder: Path, *, name: str) -> Path:
    """Write images with poses and intrinsics; the file to harm is that of `name`."""
    (folder / "images").mkdir()
    for index in range(3):
        write_picture(folder / "images", suffix=".png", name=str(index))
    write_trajectory(folder / "poses.txt", Trajectory(world_T_cam=poses().world_T_cam), "kitti")
    write_text(folder, name="intrinsics.txt", text="30 30 4 3\nradtan 0.01 0 0 0\n")
    return folder / name


def read_posed(path: Path) -> PosedImagesScene:
    """Read the scene that this file is of."""
    return PosedImagesScene(path.parent.parent if path.suffix == ".png" else path.parent, depth_range=(1, 9))


def write_nerf(folder: Path) -> Path:
    """Write images with the transforms.json of a NeRF, which is the file to harm."""
    content = {"fl_x": 30.5, "fl_y": 30, "cx": 4.5, "cy": 3, "w": 8, "h": 6, "k1": 0.01, "p1": 0.001}
    frames = []
    for index in range(3):
        write_picture(folder / "images", suffix=".png", name=str(index))
        rows = [[1, 0, 0, index], [0, 1, 0, 0.5], [0, 0, 1, 0], [0, 0, 0, 1]]
        frames.append({"file_path": f"images/{index}", "transform_matrix": rows, "w": 8, "fl_x": 30.5})
    text = json.dumps({**content, "camera_model": "OPENCV", "frames": frames})
    return write_text(folder, name="transforms.json", text=text)


def write_video(folder: Path) -> Path:
    """Write a video of four frames."""
    writer = cv2.VideoWriter(str(folder / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(4):
        writer.write(np.full((48, 64, 3), 60 * index, np.uint8))
    writer.release()
    return folder / "a.avi"


def read_video(path: Path) -> None:
    """Read all frames."""
    recording = FolderRecording(path, field_of_view=60)
    if len(recording) > 1000:
        raise Vo3dError(f"{path}: says that it has {len(recording)} frames")
    for index in range(len(recording)):
        recording.clip([index])


def seal_png(content: bytes) -> bytes:
    """Mend the checksums of the chunks of a PNG file as far as it has any."""
    sealed, position = bytearray(content), 8
    while position + 12 <= len(sealed):
        end = position + 12 + int.from_bytes(sealed[position : position + 4], "big")
        if end > len(sealed):
            break
        sealed[end - 4 : end] = struct.pack(">I", zlib.crc32(sealed[position + 4 : end - 4]))
        position = end
    return bytes(sealed)


P = "30 0 4 0 0 30 3 0 0 0 1 0"
CALIB = f"P0: {P}\nP1: {P}\nP2: {P}\nP3: {P}\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n"
IMU = "# frame time wx wy wz ax ay az\n" + "".join(f"{1 + at // 2} {at / 20} 0.1 0 0 0 0 9.8\n" for at in range(4))
MOTIONS = "# frame id r11 r12 r13 t1\n" + "".join(f"{step} {step + 1} 0 -1 0 2 1 0 0 3 0 0 1 4\n" for step in range(3))
KITTI_13 = "".join(f"{index} 1 0 0 {index} 0 1 0 0 0 0 1 0\n" for index in (0, 2, 5))
POSE_LIST = "Landmarks\n\nseq1/frame1.png 1 2 3 1 0 0 0\nseq 2\\b.JPG 1.5 2e1 -3 0.6 0 0.8 0\n"
NVM = "NVM_V3\n\n2\na/1.jpg\t1670.5 1 0 0 0 1 2 3 -0.05 0\nb.jpg 800 1 0 0 0 1 2 3 0 0\n\n1\n1 2 3 4 5 6 0\n"


def targets() -> Iterator[Target]:
    """Yield the readers of vo3d.formats and vo3d.metrics, then those of the datasets' own files."""
    yield Target("calib", partial(write_text, name="calib.txt", text=CALIB), read_calib)
    yield Target("times", partial(write_text, name="times.txt", text="0\n0.1\n0.2\n"), read_times)
    yield Target("imu, text", partial(write_text, name="06.txt", text=IMU), read_imu)
    for packed in (False, True):
        kind = "packed" if packed else "plain"
        yield Target(f"imu, {kind}", partial(write_imu, packed=packed), read_imu)
        for name in ("ObsMask1_10.mat", "Plane1.mat"):
            yield Target(f"{name}, {kind}", partial(write_scan, name=name, packed=packed), read_scan)
    yield from fuzz_recordings.targets()
    for format in get_args(TrajectoryFormat):
        yield Target(f"poses, {format}", partial(write_poses, format=format), partial(read_trajectory, format=format))
    yield Target(
        "poses, numbered", partial(write_text, name="a.txt", text=KITTI_13), partial(read_trajectory, format="kitti")
    )
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm"):
        seal = seal_png if suffix == ".png" else bytes
        yield Target(f"image{suffix}", partial(write_picture, suffix=suffix), read_picture, seal)
    yield Target("image, turned", write_turned, read_picture)
    yield Target("depth.png", write_depth, read_depth_png, seal_png)
    yield Target("flo", partial(write_motion, suffix=".flo"), read_flow)
    yield Target("KITTI's flow", partial(write_motion, suffix=".png"), read_flow, seal_png)
    yield Target("KITTI's disparity", write_disparity, read_kitti_disparity, seal_png)
    yield Target("mask with a palette", write_palette, read_mask, seal_png)
    yield Target(
        "object_motion.txt",
        partial(write_text, name="object_motion.txt", text=MOTIONS),
        partial(read_object_motion, frames=4),
    )
    yield Target("pfm", write_map, read_pfm)
    yield Target("cam.txt", write_camera, read_cam)
    yield Target("pair.txt", write_scene, read_pairs)
    yield Target("MVSNet's folder", write_scene, lambda path: read_scene(path.parent))
    for name, binary in product(("cameras", "images", "points3D"), (False, True)):
        kind = "binary" if binary else "text"
        yield Target(
            f"{name}, {kind}", partial(write_sparse, name=name, binary=binary), lambda path: read_model(path.parent)
        )
    for form in get_args(PlyForm):
        yield Target(f"cloud, {form}", partial(write_points, form=form), read_cloud)
        yield Target(f"mesh, {form}", partial(write_faces, form=form), read_mesh)
    yield Target("metrics.json", write_result, Result.load)
    yield Target("safetensors", write_tensors, read_tensors)
    for zipped in (True, False):
        name = "checkpoint" if zipped else "checkpoint, former form"
        yield Target(name, partial(write_checkpoint, zipped=zipped), read_checkpoint)
    yield Target("7-Scenes' pose", write_frame, lambda path: SevenScenesRecording(path.parent))
    split = partial(write_text, name="TrainSplit.txt", text="sequence1\nsequence3\n")
    yield Target("7-Scenes' split", split, read_sequences)
    for name in ("poses.txt", "intrinsics.txt", "images/0.png"):
        yield Target(
            f"posed images, {name}", partial(write_posed, name=name), read_posed, seal_png if "png" in name else bytes
        )
    yield Target(
        "list of poses",
        partial(write_text, name="dataset_train.txt", text=POSE_LIST),
        partial(read_pose_list, pose_convention="world_to_camera"),
    )
    yield Target("model of VisualSFM", partial(write_text, name="reconstruction.nvm", text=NVM), read_nvm_cameras)
    yield Target("transforms.json", write_nerf, lambda path: NeRFScene(path, depth_range=(1, 9)))
    yield Target("video", write_video, read_video)
    yield from fuzz_places.targets()


TARGETS = {target.name: target for target in targets()}

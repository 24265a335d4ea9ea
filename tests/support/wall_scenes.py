"""The painted wall of `wall`, written in the layouts that come with cameras, at home or far from the origin."""

import json
from pathlib import Path

import torch
from torch import Tensor

import wall
from vo3d.formats.colmap import ColmapCamera, ColmapImage, ColmapModel, SparsePoints, write_model
from vo3d.formats.images import write_image
from vo3d.formats.kitti import write_sequence
from vo3d.formats.mvsnet import MVSCamera, ViewSources, write_cam, write_pairs
from vo3d.formats.pfm import write_pfm
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import se3
from vo3d.sample import Sample

H, W = 36, 48
HOME = (0.0, 0.0, 0.0)
UTM = (500_000.0, 5_400_000.0, 300.0)  # metres, of a place in central Europe
NEAR, FAR, STEPS = 0.7, 1.5, 24


def poses(views: int, *, offset: tuple[float, float, float] = HOME, scale: float = 1.0) -> Tensor:
    """`world_T_cam` of cameras before a wall that is `scale` times as large and stands elsewhere."""
    found = wall.poses(views)
    found[:, :3, 3] = found[:, :3, 3] * scale + torch.tensor(offset, dtype=torch.float64)
    return found


def pictures(folder: Path, names: list[str], *, h: int = H, w: int = W) -> Tensor:
    """Write what the cameras see, and return K."""
    K = wall.intrinsics(h, w)
    for name, pose in zip(names, wall.poses(len(names)), strict=True):
        write_image(folder / name, wall.photograph(K, pose, h, w)[0])
    return K


def neighbours(views: int) -> list[ViewSources]:
    """The other views of each, the nearest first."""
    rows = [sorted(set(range(views)) - {index}, key=lambda other: abs(other - index)) for index in range(views)]
    return [ViewSources(view=index, sources=tuple(row), scores=(1.0,) * len(row)) for index, row in enumerate(rows)]


def mvsnet_camera(K: Tensor, world_T_cam: Tensor, scale: float) -> MVSCamera:
    """With the range of the wall's depths."""
    return MVSCamera(
        K=K,
        cam_T_world=se3.inverse(world_T_cam),
        depth_min=NEAR * scale,
        depth_max=FAR * scale,
        depth_interval=(FAR - NEAR) * scale / (STEPS - 1),
        num_depths=STEPS,
    )


def write_mvsnet(
    folder: Path, *, views: int = 5, offset: tuple[float, float, float] = HOME, scale: float = 1.0
) -> Path:
    """images/, cams/, pair.txt."""
    K = pictures(folder / "images", [f"{index:08d}.png" for index in range(views)])
    for index, pose in enumerate(poses(views, offset=offset, scale=scale)):
        write_cam(folder / "cams" / f"{index:08d}_cam.txt", mvsnet_camera(K, pose, scale))
    write_pairs(folder / "pair.txt", neighbours(views))
    return folder


def write_posed(folder: Path, *, views: int = 5, offset: tuple[float, float, float] = HOME, scale: float = 1.0) -> Path:
    """images/, poses.txt, K.txt."""
    K = pictures(folder / "images", [f"{index}.png" for index in range(views)])
    (folder / "K.txt").write_text("\n".join(" ".join(map(repr, row)) for row in K.tolist()))
    write_trajectory(folder / "poses.txt", Trajectory(world_T_cam=poses(views, offset=offset, scale=scale)), "kitti")
    return folder


def write_nerf(folder: Path, *, views: int = 5, offset: tuple[float, float, float] = HOME, scale: float = 1.0) -> Path:
    """images/, transforms.json, with cameras in OpenGL's axes."""
    K = pictures(folder / "images", [f"{index}.png" for index in range(views)])
    axes = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    frames = [
        {"file_path": f"images/{index}.png", "transform_matrix": (pose @ axes).tolist()}
        for index, pose in enumerate(poses(views, offset=offset, scale=scale))
    ]
    camera = {"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]) + 0.5, "cy": float(K[1, 2]) + 0.5}
    (folder / "transforms.json").write_text(json.dumps({**camera, "w": W, "h": H, "frames": frames}))
    return folder


def write_colmap(
    folder: Path,
    *,
    views: int = 5,
    offset: tuple[float, float, float] = HOME,
    scale: float = 1.0,
    place: str = "sparse/0",
    binary: bool = True,
) -> Path:
    """images/, sparse/0/ with points of the wall that all views see."""
    names = [f"{index}.png" for index in range(views)]
    K, count = pictures(folder / "images", names), 60
    xyz = torch.rand(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    xyz[:, 2] = 1 + wall.SLOPE * xyz[:, 0]
    none = torch.zeros(0, 2, dtype=torch.float64)
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) + 0.5, float(K[1, 2]) + 0.5
    images = [
        ColmapImage(
            id=index + 1,
            name=name,
            camera_id=1,
            cam_T_world=se3.inverse(pose),
            keypoints=none,
            point_ids=none[:, 0].long(),
        )
        for index, (name, pose) in enumerate(zip(names, poses(views, offset=offset, scale=scale), strict=True))
    ]
    sparse = SparsePoints(
        id=torch.arange(count) + 1,
        xyz=xyz * scale + torch.tensor(offset, dtype=torch.float64),
        rgb=torch.zeros(count, 3, dtype=torch.uint8),
        error=torch.ones(count, dtype=torch.float64),
        point=torch.arange(count).repeat(views),
        image_id=torch.arange(1, views + 1).repeat_interleave(count),
        keypoint=torch.zeros(count * views, dtype=torch.int64),
    )
    cameras = {1: ColmapCamera(id=1, model="PINHOLE", width=W, height=H, params=(fx, fy, cx, cy))}
    write_model(
        folder / place, ColmapModel(folder=folder, cameras=cameras, images=images, points=sparse), binary=binary
    )
    return folder


def write_dtu_training(folder: Path, *, views: int = 5) -> Path:
    """Rectified/scan2_train, Depths/scan2_train, Cameras; returns the folder of the scan."""
    scan, truth = folder / "Rectified" / "scan2_train", folder / "Depths" / "scan2_train"
    K = pictures(scan, [f"rect_{index + 1:03d}_3_r5000.png" for index in range(views)])
    quarter = K / torch.tensor([[4.0], [4.0], [1.0]], dtype=torch.float64)
    for index, pose in enumerate(poses(views)):
        millimetres = pose.clone()
        millimetres[:3, 3] *= 1000
        write_cam(folder / "Cameras" / "train" / f"{index:08d}_cam.txt", mvsnet_camera(quarter, millimetres, 1000.0))
        write_depth(truth, index, wall.photograph(K, pose, H, W)[1][::4, ::4])
    write_pairs(folder / "Cameras" / "pair.txt", neighbours(views))
    return scan


def write_dtu_evaluation(folder: Path, *, views: int = 3) -> Path:
    """scan1 in MVSNet's layout, Depths_raw/scan1; returns the root."""
    write_mvsnet(folder / "scan1", views=views, scale=1000.0)
    for index, pose in enumerate(wall.poses(views)):
        write_depth(folder / "Depths_raw" / "scan1", index, wall.photograph(wall.intrinsics(H, W), pose, H, W)[1])
    return folder


def write_depth(folder: Path, index: int, depth: Tensor) -> None:
    """As DTU has it: millimetres, and a picture of where they hold, which is not symmetric."""
    mask = torch.ones_like(depth)
    mask[:4, :2] = 0
    write_pfm(folder / f"depth_map_{index:04d}.pfm", 1000 * depth)
    write_image(folder / f"depth_visual_{index:04d}.png", mask)


def write_seven_scenes(folder: Path, *, views: int = 2) -> Path:
    """frame-000000.color.png, .depth.png, .pose.txt."""
    import cv2

    K = pictures(folder, [f"frame-{index:06d}.color.png" for index in range(views)], h=480, w=640)
    for index, pose in enumerate(wall.poses(views)):
        depth = (1000 * wall.photograph(K, pose, 480, 640)[1]).round().short().numpy().view("uint16")
        cv2.imwrite(str(folder / f"frame-{index:06d}.depth.png"), depth)
        text = "\n".join(" ".join(map(repr, row)) for row in pose.tolist())
        (folder / f"frame-{index:06d}.pose.txt").write_text(text)
    return folder


def write_kitti(folder: Path, *, views: int = 3) -> Path:
    """sequences/00 with both colour cameras, poses/00.txt."""
    K, apart = wall.intrinsics(H, W), torch.eye(4)
    apart[0, 3] = 0.1
    frames = [
        Sample(
            image=wall.photograph(K, pose, H, W)[0][None],
            right=wall.photograph(K, pose @ apart.double(), H, W)[0][None],
            left_T_right=apart,
            K=K.float()[None],
            world_T_cam=pose[None],
            time=torch.tensor([0.1 * index], dtype=torch.float64),
            scene="00",
        )
        for index, pose in enumerate(wall.poses(views))
    ]
    write_sequence(folder, "00", frames)
    return folder

"""Verbs around scenes: reconstruction, point clouds, and looking at them."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
import sys
from pathlib import Path
from typing import Any, Literal

from vo3d.errors import Vo3dError


def reconstruct(
    scene: Path,
    weights: str | None = None,
    model: str | None = None,
    out: Path = Path("cloud.ply"),
    views: list[str] = [],  # noqa: B006 (read only)
    num_views: int = 5,
    num_depths: int | None = None,
    inverse: bool | None = None,
    size: str | None = None,
    max_side: int | None = None,
    depth_range: list[float] = [],  # noqa: B006 (read only)
    images: Path | None = None,
    poses: Path | None = None,
    intrinsics: list[float] = [],  # noqa: B006 (read only)
    every: int | None = None,
    min_confidence: float | None = None,
    min_consistent: int = 3,
    max_pixels: float = 1.0,
    max_relative: float = 0.01,
    max_violations: float = 1.0,
    drop_ends: float = 3.0,
    drop_clipped: float = 0.03,
    masks: Path | None = None,
    refine: bool = False,
    mesh: bool = False,
    colmap: bool = False,
    depth_png: bool = False,
    report: bool = True,
    precision: Literal["float32", "bfloat16", "float16"] | None = None,
    slab: int | None = None,
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Make a coloured point cloud of posed photographs by a model of multi-view stereo.

    The scene is a folder in MVSNet's layout, a COLMAP project, a NeRF's transforms.json with its images, or images with
    poses. Depth maps go to OUT's name with _depth as they are made; the same command after an interruption goes on from
    there.

    Example: vo3d reconstruct data/temple --out temple.ply

    Args:
        scene: The folder of the scene, or a transforms.json.
        weights: A name that `vo3d info` lists, a file, or the folder of a run; plane_sweep needs none. Without it, the
            best method that is here: itermvs_blendedmvs (see vo3d weights fetch), else plane_sweep.
        model: The class that the weights are for, where they do not say it: a class path, YAML or JSON.
        out: The cloud, a PLY file.
        views: Names or numbers of the views to make depth maps of; without it, all.
        num_views: Views that a depth map is made from, itself included.
        num_depths: Depths to try between near and far; without it, as many as the parallax of the views is worth.
        inverse: Whether depths are even in 1 / depth; without it, where far is more than 1.5 times near.
        size: Rows and columns that the images are resized and cut to, such as 480x640.
        max_side: The most pixels of the longer side of the images, instead of a size; without either, 1600.
        depth_range: Near and far, instead of what the scene says.
        images: The folder of the images of a COLMAP model or a transforms.json, from here or from the scene, where
            they lie elsewhere.
        poses: The file of the poses of images (KITTI's rows or TUM's), where it has no usual name.
        intrinsics: Of images with poses: fx, fy, cx, cy in pixels, where no file of the folder holds them; then
            k1, k2, p1, p2 and so on of OpenCV's lens model, where the lens distorts.
        every: Of images with poses, take every so many-th.
        min_confidence: The least confidence of a depth; without it, what suits the model.
        min_consistent: Sources that must confirm a depth, or all where there are fewer.
        max_pixels: Pixels by which a point may miss itself, seen in a source and back.
        max_relative: Share of the depth by which it may differ there.
        max_violations: Sources that may look through a point, for each view that agrees on it.
        drop_ends: Drop depths within so many steps of either end of the depth range, such as the sky's; 0 keeps them.
        drop_clipped: Drop pixels whose colours all lie within this share of black or of white; 0 keeps them.
        masks: A folder of masks, named as the images (a.png or a.jpg.png): 0 is left out. Without it, those in masks/
            beside the images or their folder, else the transparency of the images.
        refine: Move each depth between the hypotheses so that the images agree better.
        mesh: Also write a mesh, as PLY and as GLB.
        colmap: Also write COLMAP's dense workspace, from which its and OpenMVS's fusion and meshing go on.
        depth_png: Also write the depths that passed the filters as 16-bit PNG: millimetres where the unit is metres.
        report: Also write a page with pictures.
        precision: Of the network, where the model has a choice.
        slab: Depths that are held at once, where the model has a choice.
        device: As torch names it; auto takes the accelerator where there is one.
        allow: Modules of your own, or files such as exp/mymethod.py, that weights, a run or a YAML file may name.
    """
    from vo3d.pipelines.reconstruct import reconstruct as reconstruct_scene
    from vo3d.settings.trust import allowing

    for option, numbers, counts in (("depth-range", depth_range, (2,)), ("intrinsics", intrinsics, (4, 8, 9, 12))):
        if len(numbers) not in {0, *counts}:
            raise Vo3dError(f"--{option}: {len(numbers)} numbers: expected {' or '.join(map(str, counts))}")
    if depth_range and not 0 < depth_range[0] < depth_range[1]:
        raise Vo3dError(f"--depth-range {depth_range[0]:g} {depth_range[1]:g}: expected 0 < near < far")
    arguments = {"precision": precision, "slab": slab}
    rules: dict[str, Any] = {
        "min_consistent": min_consistent,
        "max_pixels": max_pixels,
        "max_relative": max_relative,
        "max_violations": max_violations,
        "drop_ends": drop_ends,
        "drop_clipped": drop_clipped,
    }
    with allowing(allow, beside=[Path(word) for word in (weights, model) if word]):
        reconstruct_scene(
            scene,
            out=out,
            weights=weights,
            model=model,
            reading={
                "size": None if size is None else rows_and_columns(size),
                "max_side": max_side,
                "depth_range": tuple(depth_range) or None,
                "images": images,
                "poses": poses,
                "intrinsics": tuple(intrinsics) or None,
                "every": every,
                "masks": masks,
            },
            arguments={name: value for name, value in arguments.items() if value is not None},
            views=views,
            num_views=num_views,
            num_depths=num_depths,
            inverse=inverse,
            rules=rules if min_confidence is None else {**rules, "min_confidence": min_confidence},
            refine=refine,
            mesh=mesh,
            colmap=colmap,
            depth_png=depth_png,
            report=report,
            device=device,
        )


def view(
    source: list[Path],
    weights: str | None = None,
    model: str | None = None,
    out: Path | None = None,
    viewer: Literal["auto", "rerun", "open3d", "pictures"] = "auto",
    frames: int = 36,
    up: list[float] = [],  # noqa: B006 (read only)
    ply: Path | None = None,
    path: Path | None = None,
    intrinsics: list[float] = [],  # noqa: B006 (read only)
    field_of_view: float | None = None,
    range: list[int] = [],  # noqa: B006 (read only)
    size: str | None = None,
    recording: str | None = None,
    every: int | None = None,
    every_pixel: int | None = None,
    max_depth: float | None = None,
    max_step: float | None = None,
    device: str | None = None,
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Show clouds, meshes and cameras: in rerun or a window where that can be, else as pictures and a page.

    With --weights also a sequence, as a cloud that a model of depth and poses makes of it: a video, a folder of images,
    a sequence or a raw drive of KITTI, or a recording of a configuration or run.

    Example: vo3d view temple.ply

    Example: vo3d view temple.ply temple_mesh.ply poses.tum

    Example: vo3d view data/sequences/06 --weights runs/undeepvo --range 0 200 --ply drive.ply

    Example: vo3d view drive.mp4 --weights runs/undeepvo --intrinsics 721.5 721.5 609.6 172.9

    Args:
        source: PLY files, trajectories (TUM, KITTI, EuRoC), folders with poses.tum, cameras (transforms.json), or the
            folder of a reconstruction, as many as you like; with --weights a sequence.
        weights: Of a model of depth and poses: a name that `vo3d info` lists, a file, or the folder of a run.
        model: The class that the weights are for, where they do not say it: a class path, YAML or JSON.
        out: A folder for pictures, a moving one, and a page in which the cloud can be turned.
        viewer: What to show it in; auto takes the first that works.
        frames: Number of pictures around the cloud.
        up: The upright direction, three numbers; without it what the file says, else -y.
        path: A trajectory that is drawn beside the cloud.
        ply: Of a sequence, the file for its cloud; without it the sequence's name in --out, or here.
        intrinsics: Of a video or images: fx, fy, cx, cy in pixels.
        field_of_view: Instead of --intrinsics: the horizontal one, degrees.
        range: Of a sequence, its first and last (exclusive) frame; without it, all.
        size: Rows and columns that frames are resized and cut to, such as 128x416; without it those of the model.
        recording: Of a configuration or run, the name of one of its test recordings; without it the first.
        every: Take points of every so many-th frame; without it 5. The motion is found from all.
        every_pixel: Take every so many-th row and column of their depth; without it 2.
        max_depth: Metres; what is farther away is left out; without it 30.
        max_step: Share of the depth by which neighbours may differ; more is an edge, left out; without it 0.1.
        device: As torch names it; without it, the accelerator where there is one.
        allow: Modules of your own, or files such as exp/mymethod.py, that weights, a run or a YAML file may name.
    """
    reading: dict[str, Any] = {
        "intrinsics": tuple(intrinsics) or None,
        "field_of_view": field_of_view,
        "frames": tuple(range) or None,
        "size": None if size is None else rows_and_columns(size),
    }
    rules = {"every": every, "every_pixel": every_pixel, "max_depth": max_depth, "max_step": max_step}
    rules = {name: value for name, value in rules.items() if value is not None}
    show: dict[str, Any] = {"out": out, "viewer": viewer, "frames": frames, "up": up or None}
    if weights is None and model is None:
        from vo3d.report.layers import is_viewable
        from vo3d.report.viewer import view_cloud

        others = {"range": range or None, "ply": ply, "recording": recording, "device": device, "allow": allow or None}
        given = [name for name, value in {**reading, **rules, **others}.items() if value is not None]
        if words := [f"--{name.replace('_', '-')}" for name in given if name != "frames"]:
            raise Vo3dError(f"{', '.join(words)}: of a sequence: add --weights of a model of depth and poses")
        if strange := [one for one in source if not is_viewable(one)]:
            raise Vo3dError(
                f"{strange[0]}: expected a PLY file, a trajectory or a reconstruction; or, for the cloud of a video or "
                "a folder of images, add --weights of a model of depth and poses"
            )
        sys.stdout.write(view_cloud(source, path=path, **show) + "\n")
        return
    if path is not None:
        raise Vo3dError("--path is for a cloud that is there: make it first, then vo3d view CLOUD.ply --path POSES")
    if len(source) > 1:
        raise Vo3dError(f"{source[1]}: one sequence at a time is made a cloud of with --weights: leave the others out")
    from vo3d.pipelines.sequence_view import view_sequence
    from vo3d.settings.trust import allowing

    for option, numbers, count in (("intrinsics", intrinsics, 4), ("range", range, 2)):
        if len(numbers) not in {0, count}:
            raise Vo3dError(f"--{option}: {len(numbers)} numbers: expected {count}")
    with allowing(allow, beside=[source[0], *(Path(word) for word in (weights, model) if word)]):
        line = view_sequence(
            source[0],
            weights=weights,
            model=model,
            recording=recording,
            reading=reading,
            rules=rules,
            ply=ply,
            device=device or "auto",
            **show,
        )
    sys.stdout.write(line + "\n")


def cloud(
    est: str,
    ref: Path | None = None,
    dtu: Path | None = None,
    scans: list[int] = [],  # noqa: B006 (read only)
    distances: list[float] = [],  # noqa: B006 (read only)
    unit: str = "m",
    scale: float = 1.0,
    thin: float = 0.0,
    cut: float | None = None,
    seed: int = 0,
    json: Path | None = None,
    errors: Path | None = None,
    protocol: dict[str, Any] | None = None,
) -> None:
    """Score a point cloud against a reference, or a folder of clouds by the rules of the DTU benchmark.

    Example: vo3d cloud temple.ply --ref scan.ply --distances 0.001 0.002 --errors errors

    Example: vo3d cloud results --dtu data/dtu_evaluation --scale 1000 --json dtu.json

    Args:
        est: The estimated cloud, a PLY file; with --dtu the folder of the clouds, or a pattern (out/{scan:03d}.ply).
        ref: The reference cloud, in the same frame and unit; nothing is aligned.
        dtu: The folder of the DTU evaluation, which holds Points and ObsMask.
        scans: Numbers of the DTU scans; without it those of the clouds in the folder, or the benchmark's 22.
        distances: Of the F-scores, in the unit of the reference, in millimetres with --dtu.
        unit: The unit of the reference, which the table names.
        scale: What the coordinates of the estimate are multiplied by first: 1000 makes millimetres of metres.
        thin: With --ref, thin both clouds first, until no two points are within this distance.
        cut: With --ref, leave distances of this or more out of means and medians.
        seed: Of the order of the thinning.
        json: A file for the numbers.
        errors: A folder for the clouds coloured by their errors, white to red.
        protocol: With --dtu, what is to be said about the clouds, such as '{"light": 3}'.
    """
    from vo3d.pipelines.cloud import score_clouds

    score_clouds(
        est,
        ref,
        dtu,
        scans=scans or None,
        distances=distances or None,
        unit=unit,
        scale=scale,
        thin=thin,
        cut=cut,
        seed=seed,
        json=json,
        errors=errors,
        protocol=protocol,
    )


def rows_and_columns(size: str) -> tuple[int, int]:
    """Read `128x416` as numbers; Vo3dError for other words."""
    rows, sign, columns = size.partition("x")
    if not (sign and rows.isdigit() and columns.isdigit()):
        raise Vo3dError(f"--size is {size!r}: expected rows and columns, such as 128x416")
    return int(rows), int(columns)

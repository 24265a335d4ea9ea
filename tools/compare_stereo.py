"""Compare depths of a single view with OpenCV's stereo matching on real pairs, where there is no true depth.

    python tools/compare_stereo.py --root data/kitti_odometry --sequence 06 --frames "[40,51]" \
        --weights "[runs/undeepvo_pairs/checkpoints/last.ckpt]" --picture stereo.png

The left image is made from the right one by the depth of each model, by OpenCV's (semi-global matching at the size of
the files, brought to the model's by the nearest pixel), and by no disparity at all. The photometric error is
0.85 (1 - SSIM) / 2 + 0.15 L1, averaged over the pixels that OpenCV knows and that lie in the right image by every
depth; the difference of depth is |z - z_OpenCV| / z_OpenCV over the pixels that OpenCV puts within `cap` metres.

Models of motion or flow also make each frame from the next one (the last from the one before), whose photometric error
stands beside that of the next frame as it is, both over the pixels that lie in it.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from jsonargparse import auto_cli
from torch import Tensor

from vo3d.datasets.kitti import KITTIRecording
from vo3d.datasets.resize import resize_labels
from vo3d.depth_map import DepthMap
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.optical_flow import rigid_flow
from vo3d.geometry.warp import warp_by_depth, warp_by_flow
from vo3d.inference.pretrained import load_pretrained
from vo3d.losses import masked_mean, photometric_error
from vo3d.model import Prediction
from vo3d.models.semi_global import SemiGlobalStereo
from vo3d.report.canvas import save_figure
from vo3d.report.depth import plot_contact_sheet
from vo3d.sample import Sample

FAR = 1e6  # metres: no disparity
STEPS = (0.0, 2.0, 5.0, 10.0, 25.0, 50.0)  # percent, of errors in pictures


def compare(
    root: Path,
    weights: list[str],
    sequence: str = "06",
    frames: tuple[int, int] = (40, 51),
    colour: bool = False,
    cap: tuple[float, float] = (1.0, 60.0),
    scaling: Literal["none", "median"] = "none",
    picture: Path | None = None,
    out: Path | None = None,
) -> None:
    """Print a table of photometric errors and differences of depth over the frames of one sequence.

    Args:
        root: the folder of KITTI odometry, which holds sequences.
        weights: names, files or run folders of models of single-view depth.
        sequence: the sequence.
        frames: first and last (exclusive) frame.
        colour: take the colour cameras.
        cap: metres between which differences of depth are counted.
        scaling: "median" multiplies each depth map by the median of OpenCV's over its own, within the cap.
        picture: a file for the images and depths of a few frames.
        out: a file for the numbers, JSON.
    """
    models = {name: load_pretrained(name).model for name in weights}
    sizes = {getattr(model, "size", None) for model in models.values()}
    if len(sizes) != 1 or None in sizes:
        raise Vo3dError(f"models of the sizes {sorted(map(str, sizes))}: expected one size for all that are compared")
    (size,) = sizes
    whole, small = (
        KITTIRecording(root, sequence, colour=colour, stereo=True, frames=frames, size=one) for one in (None, size)
    )
    sums: dict[str, list[dict[str, float]]] = {}
    views: list[DepthMap] = []
    for index in range(len(small)):
        beside = index + 1 if index + 1 < len(small) else index - 1
        sample = Sample.collate([small.clip([index, beside])])
        truth = _matched(whole.clip([index]), sample)
        near = (truth > cap[0]) & (truth < cap[1])
        predictions = {name: model.predict(sample) for name, model in models.items()}
        answers = {name: prediction["depth"][0, 0] for name, prediction in predictions.items()}
        if scaling == "median":
            answers = {name: depth * (truth[near].median() / depth[near].median()) for name, depth in answers.items()}
        depths = {"OpenCV": truth, **answers, "no disparity": torch.full_like(truth, FAR)}
        made = {name: _made(sample, depth) for name, depth in depths.items()}
        common = torch.stack([valid for _, valid in made.values()]).all(0) & (truth > 0)
        for name, (image, _) in made.items():
            error = photometric_error(sample.image[0, 0], image, common)
            row = {"photometric": float(masked_mean(error, common)), "counted": float(common.float().mean())}
            if name in answers:
                apart = ((depths[name] - truth).abs() / truth)[near]
                row |= {"median": float(apart.median()), "mean": float(apart.mean())}
                row["ratio"] = float((depths[name] / truth)[near].median())
                row |= _from_beside(sample, predictions[name])
            sums.setdefault(name, []).append(row)
        if index % 5 == 0:
            views += [
                DepthMap(
                    name=f"{name}, {small.names[index]}",
                    image=sample.image[0, 0],
                    depth=depth.clamp(max=cap[1]),
                    truth=torch.where(near, truth, 0.0),
                )
                for name, depth in answers.items()
            ]
    table = {name: _mean(rows) for name, rows in sums.items()}
    _print(table, len(small))
    if out is not None:
        out.write_text(json.dumps({"frames": list(frames), "sequence": sequence, "rows": table}, indent=1) + "\n")
    if picture is not None:
        save_figure(plot_contact_sheet(views, steps=STEPS, within=25.0), picture)


def _matched(sample: Sample, small: Sample) -> Float[Tensor, "h w"]:
    """Compute OpenCV's depth at the size of the files and take the nearest pixels of it; 0 = none."""
    depth = SemiGlobalStereo()(Sample.collate([sample]))["depth"][0, 0]
    return resize_labels(depth, (small.image.shape[-2], small.image.shape[-1]))


def _made(sample: Sample, depth: Float[Tensor, "h w"]) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"]]:
    """Make the left view from the right image by a depth map of the left."""
    if sample.right is None or sample.K is None or sample.left_T_right is None:
        raise Vo3dError("the sequence gives no stereo pairs")
    right_T_left = se3.inverse(sample.left_T_right[0])
    return warp_by_depth(sample.right[0, 0], depth, sample.K[0, 0], right_T_left)


def _from_beside(sample: Sample, prediction: Prediction) -> dict[str, float]:
    """Compute the photometric error of the first frame made from the second one, and of that one as it is."""
    image, other = sample.image[0]
    if "flow" in prediction:
        flow = prediction["flow"][0, 0]
    elif "prev_T_cam" in prediction and sample.K is not None:
        step = prediction["prev_T_cam"][0, 0]
        flow = rigid_flow(prediction["depth"][0], sample.K[0], torch.stack((torch.eye(4).to(step), step)))[0]
    else:
        return {}
    made, valid = warp_by_flow(other, flow)
    errors = {"next": made, "next_as_it_is": other}
    return {name: float(masked_mean(photometric_error(image, one, valid), valid)) for name, one in errors.items()}


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def _print(table: dict[str, dict[str, float]], num: int) -> None:
    """Print the table, means over the frames."""
    reference = table["OpenCV"]["photometric"]
    lines = [
        "| depth of | photometric error | over OpenCV's | median difference | mean difference | median ratio "
        "| from the next frame | next frame as it is |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in table.items():
        given: list[Any] = [f"{row['photometric']:.4f}", f"{row['photometric'] / reference:.2f}"]
        given += [f"{row[key]:.3f}" if key in row else "" for key in ("median", "mean", "ratio")]
        given += [f"{row[key]:.4f}" if key in row else "" for key in ("next", "next_as_it_is")]
        lines.append(f"| {' | '.join([name, *given])} |")
    share = 100 * table["OpenCV"]["counted"]
    sys.stdout.write("\n".join([*lines, f"means over {num} frames; {share:.0f} % of the pixels counted"]) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        auto_cli(compare, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"compare_stereo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Masks of moving objects, and the motions of these: pairs of neighbouring frames against the truth."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from vo3d.errors import Vo3dError
from vo3d.evaluation.flow_pictures import mask_sections
from vo3d.evaluation.pair_task import PairTask, compare_first
from vo3d.evaluation.synthesis import write_motion
from vo3d.evaluation.task import Metric, Seen
from vo3d.formats.files import write_whole
from vo3d.formats.pfm import write_pfm
from vo3d.formats.results import Metrics
from vo3d.geometry.camera import backproject
from vo3d.inference.loop import Answer
from vo3d.metrics.masks import MaskScores, motion_distance, motion_in_camera, rotation_error, score_masks
from vo3d.model import Model
from vo3d.recording import Recording
from vo3d.report.html import Section
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names
from vo3d.sample import Sample

HEADLINE = "mask_iou_percent"
FOUND = 0.5  # an object counts as found from this IoU on


class Masks(PairTask):
    """Masks of moving objects in the earlier frame of each pair, each true object by the mask that suits it best.

    Masks are assigned to the true objects so that the sum of their intersections over unions (IoU) is largest; an
    object without a mask has 0. In a frame with more objects than the model has masks the rest is missed. Where no
    object is visible in a pair, that of the background alone is defined.

    Where the data have `object_motion` and the model gives it, the motion of each object that got a mask is compared in
    the axes of the earlier camera: by the angle between the rotations, and, with true depth and K, by the mean distance
    between where the object's points go by the truth and by the prediction. Lengths are the model's own: those of a
    model whose scale is free mean nothing, and rotations do. They are there only where a recording is `metric`.

    | key | mean over | value |
    |---|---|---|
    | `mask_iou_percent` | `num_objects` | IoU of an object with its mask |
    | `mask_found_percent` | `num_objects` | objects whose IoU is at least 0.5; `num_found` counts them |
    | `mask_moving_iou_percent` | `num_moving_pairs` | IoU of all that moves, objects and masks each as one |
    | `mask_background_iou_percent` | `num_pairs` | IoU of what belongs to nothing |
    | `object_rotation_deg` | `num_motions` | angle between the rotations |
    | `object_distance_m` | `num_distances` | distance between where points go |
    | `object_still_distance_m` | `num_distances` | the same of objects that were said to stand still |

    `num_small_objects` were left out; `num_objects_beyond` were more than the model has masks.
    `masks/<recording>/` holds the masks and motions of the first pair of some recordings.

    Args:
        least: Objects of fewer pixels are left out.
        references, clip_length: See `PairTask`.
    """

    name = "masks"
    keys = ("mask",)
    reads = ("object_motion",)
    must_agree = ("task", "dataset", "split", "frames_sha256", "resolution", "rule", "least_pixels", "truth", "mean")
    method_terms: ClassVar[Mapping[str, str]] = {"num_masks": "masks", **PairTask.method_terms}
    weights: ClassVar[Mapping[str, str]] = {
        HEADLINE: "num_objects",
        "mask_found_percent": "num_objects",
        "mask_moving_iou_percent": "num_moving_pairs",
        "mask_background_iou_percent": "num_pairs",
        "object_rotation_deg": "num_motions",
        "object_distance_m": "num_distances",
        "object_still_distance_m": "num_distances",
    }
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            HEADLINE,
            "IoU",
            "%",
            1,
            "high",
            meaning="Mean intersection over union of each true object with the mask that the best assignment gives it.",
        ),
        Metric("mask_found_percent", "found", "%", 1, "high", meaning="Objects whose IoU is at least 50 %."),
        Metric(
            "mask_moving_iou_percent",
            "moving IoU",
            "%",
            1,
            "high",
            meaning="IoU of all that moves, all objects as one and all masks as one; of the background, the rest.",
        ),
        Metric("mask_background_iou_percent", "background IoU", "%", 1, "high"),
        Metric("num_objects", "objects", "", 0, meaning="True objects in all pairs."),
        Metric(
            "num_objects_beyond",
            "beyond",
            "objects",
            0,
            meaning="Objects in excess of the masks that the model has, pair by pair: they are missed.",
            plain=0.0,
        ),
        Metric("num_small_objects", "small", "objects", 0, meaning="Objects of too few pixels, left out.", plain=0.0),
        Metric(
            "object_rotation_deg",
            "rotation",
            "deg",
            3,
            "low",
            meaning="Mean angle between true and predicted rotation from frame to frame, of objects that got a mask.",
        ),
        Metric(
            "object_distance_m",
            "motion",
            "m",
            3,
            "low",
            meaning="Mean distance between where their points go by truth and prediction, in the model's own scale; "
            "still: the same if they were said not to move.",
        ),
        Metric("object_still_distance_m", "still", "m", 3),
        Metric("num_motions", "motions", "", 0, shown=False),
        Metric("num_pairs_without_truth", "left out", "pairs", 0, meaning="Pairs without a true mask.", plain=0.0),
        Metric("fps", "speed", "pairs/s"),
    )

    def __init__(self, least: int = 20, references: int | None = None, clip_length: int | None = None) -> None:
        super().__init__(references, clip_length)
        if least < 1:
            raise Vo3dError(f"least {least}: expected at least 1 pixel")
        self.least = least

    def measure(self, recording: Recording, answer: Answer, pair: int, seen: Seen) -> Metrics | None:
        """Score the masks of a pair, and the motions of the objects that got one."""
        sample, prediction = answer.sample, answer.prediction
        if sample.mask is None:
            return None
        ids = sample.mask[pair]
        if sample.object_motion is not None and int(ids.max()) > (known := sample.object_motion.shape[-3]):
            raise Vo3dError(
                f"{recording.name}: mask shows object {int(ids.max())}, and object_motion has those of 1 to {known}: "
                "expected a motion of each id; mend the data, or leave object_motion out"
            )
        mask = prediction["mask"][0, pair].float()
        motions = prediction["object_motion"][0, pair] if "object_motion" in prediction else None
        if motions is not None and len(motions) != len(mask):
            raise Vo3dError(f"{len(motions)} motions of objects for {len(mask)} masks: expected one of each")
        seen.note("num_masks", len(mask))
        scores = score_masks(mask, ids, least=self.least)
        num = len(scores.objects)
        found = int((scores.iou >= FOUND).sum())
        row: Metrics = {
            "num_objects": num,
            "num_found": found,
            "num_small_objects": scores.num_small,
            "num_objects_beyond": max(0, num - len(mask)),
            "num_moving_pairs": int(num > 0),
            HEADLINE: 100 * float(scores.iou.mean()) if num else None,
            "mask_found_percent": 100 * found / num if num else None,
            "mask_moving_iou_percent": None if scores.moving_iou is None else 100 * scores.moving_iou,
            "mask_background_iou_percent": None if scores.background_iou is None else 100 * scores.background_iou,
        }
        if sample.object_motion is not None and motions is not None:
            row |= _motions(recording, sample, motions, pair, scores)
        return row

    def keep(self, folder: Path, name: str, answer: Answer, pair: int) -> None:
        """Write each mask as `<name>_mask_<k>.pfm`, k from 0 on, and the motions as `<name>_motions.json` (k 4x4).

        The motion of the camera is written as that of a depth map is.
        """
        for old in (*folder.glob("*_mask_*.pfm"), *folder.glob("*_motions.json")):
            old.unlink()
        for k, mask in enumerate(answer.prediction["mask"][0, pair]):
            write_pfm(folder / f"{name}_mask_{k}.pfm", mask.float())
        motions = answer.prediction.get("object_motion")
        if motions is not None:
            write_whole(folder / f"{name}_motions.json", json.dumps(motions[0, pair].double().tolist()) + "\n")
        write_motion(folder, name, answer, pair)

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe the rules, and how many masks the model has."""
        return super().protocol(model, seen) | {
            "num_masks": max((int(str(num)) for num in seen.values.get("num_masks", {})), default=None),
            "rule": "membership >= 0.5; assignment of the largest sum of IoU; found: IoU >= 0.5",
            "least_pixels": self.least,
            "truth": "objects of the earlier frame; motions in the axes of its camera",
            "mean": "over objects, background over pairs, of a recording, then recordings; pooled: over all",
        }

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the IoU of the first model beside that of the first baseline."""
        told = compare_first(models, comparable, HEADLINE, "%", lower=False)
        if told is None:
            return f"{', '.join(models)} on {count(scored_names(models), 'recording')}."
        name, model = next(iter(models.items()))
        found, num = (int(model.mean.get(key) or 0) for key in ("num_found", "num_objects"))
        return f"The masks of {name} have an IoU with moving objects of {told[0]}{told[1]}; found: {found} of {num}."

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show masks over the images, and motions."""
        yield from mask_sections(models, recordings, figures)


def _motions(recording: Recording, sample: Sample, motions: torch.Tensor, pair: int, scores: MaskScores) -> Metrics:
    """Compute the errors of the motions of one pair's objects that got a mask."""
    assert sample.object_motion is not None  # noqa: S101  as the caller saw
    assert sample.mask is not None  # noqa: S101
    if sample.world_T_cam is None:
        raise Vo3dError(f"{recording.name} has object_motion without world_T_cam: motions of the world need poses")
    truths = motion_in_camera(sample.object_motion[pair], sample.world_T_cam[pair])
    got = scores.masks >= 0
    objects, given = scores.objects[got], motions[scores.masks[got]].double()
    truths = truths[objects - 1]
    row: Metrics = {
        "num_motions": len(objects),
        "object_rotation_deg": float(rotation_error(given, truths).mean()) if len(objects) else None,
    }
    if sample.depth is None or sample.K is None or not recording.metric:
        return row
    depth = sample.depth[pair].double()
    points = backproject(sample.K[pair].double(), depth)  # h w 3
    still = torch.eye(4, dtype=torch.float64)
    distances = [
        (motion_distance(motion, truth, of), motion_distance(still, truth, of))
        for one, motion, truth in zip(objects, given, truths, strict=True)
        if len(of := points[(sample.mask[pair] == one) & (depth > 0)])
    ]
    means = torch.tensor(distances, dtype=torch.float64).reshape(-1, 2).mean(0).tolist() if distances else [None, None]
    return row | {
        "num_distances": len(distances),
        "object_distance_m": means[0],
        "object_still_distance_m": means[1],
    }

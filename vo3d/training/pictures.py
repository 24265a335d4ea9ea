"""Pictures in TensorBoard: what predicted depth, motion, flow and masks make of one clip of the validation set.

Of models that give poses in the world and no depth, a map of the predicted and the true positions of its views.
"""

import sys
from typing import Any, cast

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from vo3d.inference.loop import evaluating
from vo3d.model import Model, Prediction
from vo3d.recording import evenly_spaced
from vo3d.report.depth import colour_depth, depth_limits, known
from vo3d.report.flow import FlowPair, colour_flow, flow_limit, flow_pictures
from vo3d.report.masks import paint_masks, true_masks
from vo3d.report.positions import Positions, map_axes, paint_positions
from vo3d.report.synthesis import synthesis_pictures, synthesise_first
from vo3d.sample import Sample
from vo3d.settings.complaints import one_line

DRAWN = ("depth", "flow", "mask")  # what pictures are made of
MAPPED, BATCH = 64, 8  # samples on a map, and at once
SHARE = 1 / 16  # of the width: the flow that has the full colour where no true one is known


class ValidationPictures(Callback):
    """Draws, after each validation, what a model gives of the clip in the middle of the validation set.

    Depth, flow and masks are drawn, each where the model gives it (see `vo3d.report.synthesis`, `flow` and `masks`),
    and once the image and what is true. Pictures of the clip at several steps share the scales of residuals and of
    flow, and that of depth where there is a true one. A model that gives `world_T_cam` and no depth has a map of the
    positions of up to 64 samples (see `paint_positions`). Pictures go to TensorBoard's logger, from the first process;
    without that logger, or with a model that gives none of these, nothing is done. The training goes on as it would
    without them: random states and modes are put back, and where a picture cannot be made, that is said once.
    """

    def __init__(self) -> None:
        self.clip: Sample | None = None  # read once: the same at all steps, whatever the data's augmentation
        self.failed = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the pictures of this step, unless validation is only tried out."""
        boards = [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        net = getattr(pl_module, "net", None)
        wanted = isinstance(net, Model) and {*DRAWN, "world_T_cam"} & {*net.gives} and boards and not self.failed
        if not wanted or trainer.sanity_checking or not trainer.is_global_zero:
            return
        with isolate_rng():
            try:
                pictures = _positions(trainer, cast(Model, net))
                if {*DRAWN} & {*cast(Model, net).gives}:
                    pictures |= self._pictures(trainer, cast(Model, net))
                for board in cast("list[SummaryWriter]", boards):
                    for name, picture in pictures.items():
                        board.add_image(f"val/{name}", picture, trainer.global_step)
            except Exception as error:  # noqa: BLE001 (a training is worth more than its pictures; it is said)
                self.failed = True
                kind = type(error).__name__
                sys.stderr.write(
                    f"vo3d: no more pictures of the validation, training goes on: {kind}: {one_line(error)}\n"
                )

    def _pictures(self, trainer: Trainer, net: Model) -> dict[str, Tensor]:
        """Draw the clip as the model sees it now."""
        first = self.clip is None
        if self.clip is None:
            dataset: Any = getattr(trainer, "datamodule").val  # noqa: B009  Lightning declares no such attribute
            self.clip = dataset[len(dataset) // 2]
        clip, device = self.clip, trainer.strategy.root_device
        with evaluating(net, device), trainer.precision_plugin.val_step_context():
            found = net.predict(Sample.collate([clip]).to(device))
        given = {key: found[key][0].detach().float().cpu() for key in net.gives if key in {*DRAWN, "prev_T_cam"}}  # type: ignore[literal-required]
        pictures = {"image": clip.image[0].float().clamp(0, 1)}
        if "depth" in given:
            pictures |= _of_depth(clip, cast(Prediction, given), getattr(net, "stride", 1))
        if "flow" in given and len(given["flow"]):  # a single view has no pair
            pictures |= _of_flow(clip, given["flow"][0])
        if "mask" in given and len(given["mask"]):
            pictures |= _of_masks(clip, given["mask"][0])
        changing = {name: one for name, one in pictures.items() if name != "image" and not name.startswith("true_")}
        return pictures if first else changing


def _positions(trainer: Trainer, net: Model) -> dict[str, Tensor]:
    """Draw where a model that gives poses in the world and no depth sees samples from all over the validation set."""
    if "world_T_cam" not in net.gives or "depth" in net.gives:
        return {}
    dataset: Any = getattr(trainer, "datamodule").val  # noqa: B009  Lightning declares no such attribute
    samples = [dataset[index] for index in evenly_spaced(range(len(dataset)), MAPPED)]
    if any(sample.world_T_cam is None for sample in samples):
        return {}
    poses: list[Tensor] = []
    with evaluating(net, trainer.strategy.root_device), trainer.precision_plugin.val_step_context():
        for start in range(0, len(samples), BATCH):
            batch = Sample.collate(samples[start : start + BATCH]).to(trainer.strategy.root_device)
            poses.append(net.predict(batch)["world_T_cam"].detach().double().cpu().flatten(0, 1))
    truth = torch.cat([sample.world_T_cam for sample in samples if sample.world_T_cam is not None])
    places = Positions(truth[:, :3, 3], torch.cat(poses)[:, :3, 3])
    return {"positions": paint_positions(places, map_axes(truth))}


def _of_depth(clip: Sample, given: Prediction, stride: int) -> dict[str, Tensor]:
    """Draw the first view's depth and what it makes of other images, in the scale of the true depth if there is one."""
    truth = None if clip.depth is None or not known(clip.depth[0]).any() else clip.depth[0]
    limits = None if truth is None else depth_limits([truth])
    pictures = synthesis_pictures(synthesise_first(clip, given, stride=stride), limits)
    return pictures if truth is None else {**pictures, "true_depth": colour_depth(truth, limits)}


def _of_flow(clip: Sample, flow: Float[Tensor, "2 h w"]) -> dict[str, Tensor]:
    """Draw the flow of the first pair and what it leaves over, in the scale of the true flow if there is one."""
    truth = None if clip.flow is None or not clip.flow[0].isfinite().any() else clip.flow[0].float()
    limit = SHARE * flow.shape[-1] if truth is None else flow_limit([truth])
    pair = FlowPair(name="", image=clip.image[0].float(), following=clip.image[1].float(), flow=flow, truth=truth)
    pictures = flow_pictures(pair, limit)
    return pictures if truth is None else {**pictures, "true_flow": colour_flow(truth, limit)}


def _of_masks(clip: Sample, mask: Float[Tensor, "k h w"]) -> dict[str, Tensor]:
    """Draw the masks of the first pair, and the true ones where they are known."""
    pictures = {"masks": paint_masks(clip.image[0].float(), mask)}
    if clip.mask is not None:
        pictures["true_masks"] = paint_masks(clip.image[0].float(), true_masks(clip.mask[0]).mask)
    return pictures

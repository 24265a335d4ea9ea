"""Pictures in TensorBoard: what predicted depth and motion make of one clip of the validation set."""

import sys
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from vo3d.inference.loop import evaluating
from vo3d.model import Model, Prediction
from vo3d.report.depth import colour_depth, depth_limits, known
from vo3d.report.synthesis import synthesis_pictures, synthesise_first
from vo3d.sample import Sample
from vo3d.settings.complaints import one_line


class DepthPictures(Callback):
    """Draws, after each validation, what a model of depth gives of the clip in the middle of the validation set.

    For the pictures see `vo3d.report.synthesis`; those of one clip at several steps share the scale of residuals, and
    that of depth where there is a true one. They go to TensorBoard's logger, from the first process; without that
    logger, or with a model without depth, nothing is done. The training goes on as it would without them: random
    states and modes are put back, and where a picture cannot be made, that is said once.
    """

    def __init__(self) -> None:
        self.clip: Sample | None = None  # read once: the same at all steps, whatever the data's augmentation
        self.failed = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the pictures of this step, unless validation is only tried out."""
        boards = [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        net = getattr(pl_module, "net", None)
        wanted = isinstance(net, Model) and "depth" in net.gives and boards and not self.failed
        if not wanted or trainer.sanity_checking or not trainer.is_global_zero:
            return
        with isolate_rng():
            try:
                pictures = self._pictures(trainer, cast(Model, net))
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
        given: dict[str, Tensor] = {key: found[key][0] for key in net.gives if key in {"depth", "prev_T_cam"}}  # type: ignore[literal-required]
        truth = None if clip.depth is None or not known(clip.depth[0]).any() else clip.depth[0]
        limits = None if truth is None else depth_limits([truth])
        stride = getattr(net, "stride", 1)
        pictures = synthesis_pictures(synthesise_first(clip, cast(Prediction, given), stride=stride), limits)
        if truth is not None and first:
            pictures["true_depth"] = colour_depth(truth, limits)
        if not first:
            del pictures["image"]  # it does not change
        return pictures

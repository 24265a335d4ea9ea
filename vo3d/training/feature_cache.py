"""The first stage of a training: a frozen trunk sees every frame once, and the rest learns from what it said."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.inference.progress import progress_bar
from vo3d.layers.feature_memory import FeatureMemory
from vo3d.recording import Recording, RecordingDataset
from vo3d.sample import Sample

AT_ONCE = 16  # images that go through the trunk together


@runtime_checkable
class Describing(Protocol):
    """A method that makes a vector of each image by a `trunk`, and reads vectors out of a `memory` where it has one."""

    trunk: nn.Module
    memory: FeatureMemory | None

    def describe(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n f"]:
        """Make a vector of each image."""
        ...


class Unread(Recording):
    """A recording whose clips have no images: poses and places alone.

    Args:
        recording: the recording itself.
        name: by which the memory knows it.
    """

    def __init__(self, recording: Recording, name: str) -> None:
        self.name, self.metric, self.notes = name, recording.metric, recording.notes
        self._recording = recording

    def __len__(self) -> int:
        return len(self._recording)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Give poses and places of the views at `indices`, with images of one black pixel."""
        poses = self.poses()
        return Sample(
            image=torch.zeros(len(indices), 3, 1, 1),
            world_T_cam=None if poses is None else poses[list(indices)],
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    def poses(self) -> Tensor | None:
        """Give `world_T_cam` of every frame."""
        return self._recording.poses()


class UnreadDataset(RecordingDataset):
    """The samples of a dataset without their images; `split` tells its recordings from those of another."""

    def __init__(self, dataset: RecordingDataset, split: str) -> None:
        self.dataset, self.recordings = dataset, dataset.recordings
        self.unread = {one.name: Unread(one, f"{split}/{one.name}") for one in dataset.recordings}

    def set_epoch(self, epoch: int) -> None:
        """Choose what is drawn in `epoch`."""
        self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Give the recording of a sample and the indices of its views."""
        recording, views = self.dataset.place(index)
        return self.unread[recording.name], views


class FeatureCache(Callback):
    """Keeps the features of all training and validation frames, keyed by scene and frame; a callback of the trainer.

    The trunk of the method has to be frozen (`model.groups`), and the training data have no transforms: what it says of
    a frame then never changes. Images are read once, at the start; steps cost no more than what follows the trunk.
    Under several processes each keeps all features.

    Raises:
        Vo3dError: the method has no trunk that makes vectors of images, some of it learns, or images are augmented.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the images out of the training and validation sets."""
        if stage != "fit":
            return
        net: Any = pl_module.net
        if not isinstance(net, Describing):
            raise Vo3dError(
                f"FeatureCache keeps what a trunk says of images, and {type(net).__name__} has none that makes "
                "vectors: leave it out of trainer.callbacks"
            )
        if learning := [name for name, one in net.trunk.named_parameters() if one.requires_grad]:
            raise Vo3dError(
                f"FeatureCache keeps the features of a frozen trunk, and trunk.{learning[0]} and {len(learning) - 1} "
                r"others learn: freeze it by model.groups (match: trunk\..*, freeze: true), or leave FeatureCache out"
            )
        self._data: Any = getattr(trainer, "datamodule")  # noqa: B009  Lightning declares no such attribute
        for name in ("train", "val"):
            dataset = getattr(self._data, name)
            if dataset is None:
                continue
            if not isinstance(dataset, RecordingDataset):
                raise Vo3dError(f"data.{name} is a {type(dataset).__name__}: FeatureCache reads a RecordingDataset")
            if type(dataset).__getitem__ is not RecordingDataset.__getitem__:
                raise Vo3dError(
                    f"data.{name} is a {type(dataset).__name__}, which makes its samples in a way of its own: "
                    "FeatureCache keeps what recordings give: leave it out of trainer.callbacks"
                )
            if dataset.transforms:
                raise Vo3dError(
                    f"data.{name} has transforms ({type(dataset.transforms[0]).__name__}), which change images from "
                    "epoch to epoch: FeatureCache keeps what never changes: give transforms: []"
                )
            setattr(self._data, name, UnreadDataset(dataset, name))

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the memory before the first validation."""
        self._fill(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the memory before the first step."""
        self._fill(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the images back."""
        net: Any = pl_module.net
        net.memory = None
        for name in ("train", "val"):
            if stage == "fit" and isinstance(dataset := getattr(self._data, name, None), UnreadDataset):
                setattr(self._data, name, dataset.dataset)

    @torch.no_grad()
    def _fill(self, pl_module: LightningModule) -> None:
        """Describe all frames, once."""
        net: Any = pl_module.net
        if net.memory is not None:
            return
        memory, was_training = FeatureMemory(), net.training
        net.eval()
        recordings = [
            (dataset.unread[one.name].name, one)
            for name in ("train", "val")
            if (dataset := getattr(self._data, name)) is not None
            for one in dataset.recordings
        ]
        with progress_bar() as bar:
            line = bar.add_task("features", total=sum(len(recording) for _, recording in recordings))
            for key, recording in recordings:
                for start in range(0, len(recording), AT_ONCE):
                    views = range(start, min(start + AT_ONCE, len(recording)))
                    image = torch.cat([recording.clip((view,)).image for view in views]).to(pl_module.device)
                    for view, features in zip(views, net.describe(image), strict=True):
                        memory.add(key, view, features)
                    bar.advance(line, len(views))
        pl_module.train(was_training)
        net.memory = memory

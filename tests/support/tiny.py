"""A small model and a small dataset, for tests of what runs models without caring which."""

import os
import signal
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from vo3d.datasets.clips import ClipDataset
from vo3d.geometry import se3
from vo3d.model import Model, Prediction
from vo3d.recording import Recording, RecordingDataset, Transform
from vo3d.sample import Sample


class TinyModel(Model):
    """Steps from mean colours through one hidden layer, with dropout so that random numbers matter."""

    needs: ClassVar[tuple[str, ...]] = ("image", "world_T_cam")
    gives: ClassVar[tuple[str, ...]] = ("prev_T_cam",)

    def __init__(self, hidden: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, 6))

    def forward(self, sample: Sample) -> Prediction:
        """One step for each pair of views."""
        colour = sample.image.mean((-2, -1))  # b s 3
        step = self.layers(torch.cat([colour[:, :-1], colour[:, 1:]], -1))
        return {"prev_T_cam": se3.exp(step.float())}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Mean squared differences of rotation and translation."""
        assert sample.world_T_cam is not None
        truth = se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:])
        error = prediction["prev_T_cam"] - truth.float()
        return {"rotation": error[..., :3, :3].square().mean(), "translation": error[..., :3, 3].square().mean()}


class TinyRecording(Recording):
    """A camera along a seeded path; each frame is one colour and some noise."""

    def __init__(self, seed: int = 0, frames: int = 20) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.name = f"tiny-{seed}"
        steps = 0.1 * torch.randn(frames, 6, generator=generator, dtype=torch.float64)
        pose = torch.eye(4, dtype=torch.float64)
        rows = []
        for step in se3.exp(steps):
            rows.append(pose)
            pose = pose @ step
        self.world_T_cam = torch.stack(rows)
        self.image = torch.rand(frames, 3, 4, 6, generator=generator)

    def __len__(self) -> int:
        return len(self.image)

    def clip(self, indices: Sequence[int]) -> Sample:
        """The frames at `indices`."""
        places = list(indices)
        return Sample(
            image=self.image[places],
            K=torch.eye(3).expand(len(places), 3, 3),
            world_T_cam=self.world_T_cam[places],
            time=torch.tensor(places, dtype=torch.float64) / 10,
            scene=self.name,
            index=torch.tensor(places),
        )

    def poses(self) -> Tensor:
        """The whole path."""
        return self.world_T_cam


class Whole(RecordingDataset):
    """Recordings as they are, one sample each."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = list(recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """All frames of a recording."""
        return self.recordings[index], list(range(len(self.recordings[index])))


class TinyClips(RecordingDataset):
    """Pairs of neighbouring frames of some recordings; `epoch` shifts the brightness, as augmentation would."""

    def __init__(self, seeds: Sequence[int] = (0,), frames: int = 20, bare: bool = False) -> None:
        self.recordings = [TinyRecording(seed, frames) for seed in seeds]
        self.frames, self.bare = frames, bare

    def __len__(self) -> int:
        return len(self.recordings) * (self.frames - 1)

    def place(self, index: int) -> tuple[Recording, list[int]]:
        recording, place = divmod(index, self.frames - 1)
        return self.recordings[recording], [place, place + 1]

    def __getitem__(self, index: int) -> Sample:
        recording, views = self.place(index)
        sample = recording.clip(views)
        if self.bare:
            return Sample(image=sample.image, K=sample.K, scene=sample.scene, index=sample.index)
        shift = 0.01 * self.epoch
        return Sample(**{name: getattr(sample, name) for name in sample.given()} | {"image": sample.image + shift})


class TinyWalks(ClipDataset):
    """Clips of four frames of one recording."""

    def __init__(self, frames: int = 20, transforms: Sequence[Transform] = ()) -> None:
        super().__init__([TinyRecording(frames=frames)], clip_length=4, transforms=transforms)


class DyingClips(TinyClips):
    """Kills the process that reads clip 5, as a system without memory would; never the training process."""

    def __getitem__(self, index: int) -> Sample:
        if index == 5 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)

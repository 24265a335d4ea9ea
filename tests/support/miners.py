"""A set of single views and a miner for it, as small as they can be."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from tiny import TinyRecording
from vo3d.model import Model
from vo3d.recording import Recording, ViewDataset
from vo3d.sample import Sample
from vo3d.training.mining import Miner


class TinyViews(ViewDataset):
    """Single frames of tiny recordings; samples are pairs of them."""

    def __init__(self, seeds: Sequence[int] = (0, 1), frames: int = 20) -> None:
        self.recordings = [TinyRecording(seed, frames) for seed in seeds]
        self.frames = frames

    def __len__(self) -> int:
        return len(self.recordings) * self.frames

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """One frame."""
        recording, frame = divmod(index, self.frames)
        return self.recordings[recording], [frame]

    def compose(self, views: Sequence[int]) -> Sample:
        """Frames of any recordings, one after the other."""
        parts = [self[view] for view in views]
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("image", "K", "world_T_cam")}
        return Sample(**joined, scene="mined")


class Farthest(Miner):
    """Each view in turn with the one whose predicted step from it is the longest."""

    def __init__(
        self,
        block_size: int = 16,
        num_blocks: int = 3,
        notes: Path | None = None,
        short: bool = False,
        beyond: bool = False,
    ) -> None:
        super().__init__(block_size, num_blocks)
        self.notes, self.short, self.beyond = notes, short, beyond

    def mine(self, net: Model, dataset: ViewDataset, epoch: int, block: int) -> Sequence[Sequence[int]]:
        """By the model as it is now."""
        assert not net.training
        assert not torch.is_grad_enabled()
        if self.short:
            return [(0, 1)] * 3
        if self.beyond:
            return [(0, len(dataset))] * self.block_size
        generator = torch.Generator().manual_seed(1000 * epoch + block)
        order = torch.randperm(len(dataset), generator=generator)[: self.block_size].tolist()
        found = []
        for view in order:
            pairs = Sample.collate([dataset.compose((view, other)) for other in range(0, len(dataset), 5)])
            length = net(pairs)["prev_T_cam"][:, 0, :3, 3].norm(dim=-1)
            found.append((view, 5 * int(length.argmax())))
        if self.notes is not None:
            digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest()
            step = self._trainer.global_step if self._trainer is not None else -1
            with self.notes.open("a") as file:
                file.write(f"{epoch} {block} {step} {digest}\n")
        return found

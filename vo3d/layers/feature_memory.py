"""Features of frames that were computed once, by scene and frame."""

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.sample import Sample


class FeatureMemory:
    """Holds the features that a frozen trunk makes of frames, so that a training need not read their images again."""

    def __init__(self) -> None:
        self._features: dict[tuple[str, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self._features)

    def add(self, scene: str, index: int, features: Float[Tensor, " f"]) -> None:
        """Keep the features of a frame, by `Sample.scene` and `Sample.index`."""
        self._features[scene, index] = features

    def of(self, sample: Sample) -> Float[Tensor, "b s f"]:
        """Give the features of all views of a batch; raises Vo3dError for a frame that was never seen."""
        assert sample.index is not None  # noqa: S101  of recordings
        keys = [
            [(scene, index) for index in row] for scene, row in zip(sample.scene, sample.index.tolist(), strict=True)
        ]
        if strange := [key for row in keys for key in row if key not in self._features]:
            raise Vo3dError(
                f"no features of frame {strange[0][1]} of {strange[0][0]} were kept: {len(self)} frames are"
            )
        return torch.stack([torch.stack([self._features[key] for key in row]) for row in keys])

"""Geometry-aware augmentation of clips: whatever happens to the pixels happens to cameras, depth and flow as well."""

from abc import ABC, abstractmethod

import torch

from vo3d.sample import Sample


class Transform(ABC):
    """A change of one unbatched clip, drawn from the generator that it is handed and from nothing else."""

    @abstractmethod
    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The changed clip; the given one stays as it is."""

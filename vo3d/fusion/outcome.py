"""Name what became of each pixel of a depth map: the first test that it failed, or a point of the cloud."""

from collections.abc import Mapping
from enum import IntEnum

import torch
from jaxtyping import UInt8
from torch import Tensor


class Outcome(IntEnum):
    """The fate of a pixel, in the order in which it is tested; `words` say it to people."""

    BACKGROUND = 0
    NO_DEPTH = 1
    END = 2
    CLIPPED = 3
    UNSURE = 4
    UNCONFIRMED = 5
    SEEN_THROUGH = 6
    REPEATED = 7
    KEPT = 8

    @property
    def words(self) -> str:
        """Say what it means."""
        return _WORDS[self]


_WORDS: Mapping[Outcome, str] = {
    Outcome.BACKGROUND: "background (mask)",
    Outcome.NO_DEPTH: "no depth",
    Outcome.END: "end of the depth range",
    Outcome.CLIPPED: "black or burnt out",
    Outcome.UNSURE: "low confidence",
    Outcome.UNCONFIRMED: "too few sources agree",
    Outcome.SEEN_THROUGH: "seen through by other views",
    Outcome.REPEATED: "in the cloud by another view",
    Outcome.KEPT: "a point",
}


def count_outcomes(outcomes: UInt8[Tensor, "h w"]) -> dict[Outcome, int]:
    """Count the pixels of each outcome, also those that no pixel has."""
    counts = torch.bincount(outcomes.flatten().long(), minlength=len(Outcome)).tolist()
    return dict(zip(Outcome, counts, strict=True))

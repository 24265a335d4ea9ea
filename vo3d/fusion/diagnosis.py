"""Tell why nothing is left of depth maps after filtering."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.depth_map import PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.fusion.filtering import FusionRules, check_sources, confident_pixels, reproject

Cause = Literal["no depth", "no sources", "depth range", "overlap", "poses", "views", "free space", "confidence"]

_END = 0.02  # what share of the depth range counts as its end
_MANY_AT_ENDS = 0.3  # the share of depths at the ends from which the range is to blame
_FEW = 0.05  # the share of pixels below which a test is to blame
_CHANCE = 0.1  # the share of pixels that may agree by chance

_ADVICE: dict[Cause, str] = {
    "no depth": "the depth maps are empty, as where no source sees the depths that are tried: check that the depth "
    "range has the unit of the poses, and that the sources look at the same place",
    "no sources": "no view has a source to confirm its depths: name the pairs of views that see the same (pair.txt)",
    "depth range": "the depth range misses the scene: set the near and far depth of the views anew",
    "overlap": "the views do not see the same surface, or the poses put them apart: check the pairs of views, and "
    "whether poses map cameras into the world and not the world into cameras",
    "poses": "the views contradict each other: check the poses (camera into the world, one unit for poses and depths), "
    "that K is that of the size of the maps, and that the depth range holds the scene",
    "views": "pairs of views agree, but too few on the same pixels: lower the number of views that must agree "
    "(--min-consistent), or add sources",
    "free space": "other views look through the points that agree: allow more violations, or do not count them",
    "confidence": "the depths agree but the network is not sure of them: lower the least confidence",
}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Shares of pixels that pass each test by itself, and the likely cause if nothing passes all; `str` is one line.

    The geometric shares are over all pixels with a depth, whatever their confidence: so the cause of low confidence
    shows. They, and the medians, are over all pairs of a view and its source.
    """

    num_maps: int
    num_pairs: int
    rules: FusionRules
    known: float  # of all pixels
    confident: float  # of the known ones, as the following
    at_ends: float  # at the near or far end of the depth range
    overlap: float  # inside the image of the source
    reprojection: float  # of those inside, closer than `max_pixels`
    depth_difference: float  # of those inside, closer than `max_relative`
    agreement: float  # of those inside, both
    agree_enough: float  # of the known ones, confirmed by as many sources as are needed
    confidence_for_tenth: float  # the least confidence that a tenth of the known pixels would pass
    cause: Cause

    def __str__(self) -> str:
        """The finding, the figures and what to do, in one line."""
        if not self.known or not self.num_pairs:
            return f"no point is left of {self.num_maps} depth maps: {_ADVICE[self.cause]}"
        rules, limit = self.rules, self.rules.max_relative
        unsure = (
            "" if self.confident or self.cause == "confidence" else "; no depth has the least confidence: lower it too"
        )
        return (
            f"no point is left of {self.num_maps} depth maps; of the depths {self.confident:.1%} have the confidence "
            f"{rules.min_confidence:g} ({self.confidence_for_tenth:.2g} would keep 10 %), {self.at_ends:.0%} lie at "
            f"the ends of the depth range, {self.overlap:.0%} fall into a source's image; of those "
            f"{self.reprojection:.0%} come back within {rules.max_pixels:g} px and {self.depth_difference:.0%} "
            f"within {limit:.1%} of the depth, {self.agreement:.0%} both; {self.agree_enough:.0%} are confirmed by "
            f"{rules.min_consistent} sources, or all of fewer: {_ADVICE[self.cause]}{unsure}"
        )


def diagnose(maps: Sequence[PosedDepthMap], rules: FusionRules) -> Diagnosis:
    """Measure what each test of `rules` would let pass by itself, and name what is most likely wrong.

    Raises:
        Vo3dError: there are no maps, or `sources` names what is not there.
    """
    if not maps:
        raise Vo3dError("no depth maps to fuse: expected at least two views with sources")
    counts: Counter[str] = Counter()
    confidences = []
    for index, view in enumerate(maps):
        check_sources(view, index, len(maps))
        places = view.known.nonzero().flip(-1)
        depth = view.depth[view.known]
        first, last = view.depth_range
        margin = _END * (last - first)
        counts.update(
            pixels=view.depth.numel(),
            known=len(depth),
            confident=int(confident_pixels(view, rules).sum()),
            ends=int(((depth <= first + margin) | (depth >= last - margin)).sum()),
        )
        confidences.append(view.confidence[view.known])
        agreeing = torch.zeros_like(depth, dtype=torch.long)
        for source in view.sources:
            seen = reproject(view, places.to(depth.dtype), depth, maps[source], max_depth_step=rules.max_depth_step)
            counts.update(
                pairs=1,
                asked=len(depth),
                inside=int((seen.inside | (seen.found > 0)).sum()),  # rounding may put a pixel of the border outside
                near=int((seen.distance < rules.max_pixels).sum()),
                close=int((seen.difference < rules.max_relative).sum()),
            )
            agreeing += seen.agrees(rules)
        enough = agreeing >= rules.views_needed(len(view.sources))
        counts.update(both=int(agreeing.sum()), enough=int(enough.sum()))
    known, inside = counts["known"], counts["inside"]
    at_ends, overlap = _share(counts["ends"], known), _share(inside, counts["asked"])
    agreement, agree_enough = _share(counts["both"], inside), _share(counts["enough"], known)
    signs: dict[Cause, bool] = {  # the first that is seen tells the cause
        "no depth": not known,
        "no sources": not counts["pairs"],
        "depth range": at_ends >= _MANY_AT_ENDS,
        "overlap": overlap < _FEW,
        "poses": agreement < _CHANCE,
        "views": agree_enough < _FEW,
        "free space": rules.max_violations is not None and counts["confident"] >= _FEW * known,
        "confidence": True,  # what is left where every other test lets enough pass
    }
    return Diagnosis(
        num_maps=len(maps),
        num_pairs=counts["pairs"],
        rules=rules,
        known=_share(known, counts["pixels"]),
        confident=_share(counts["confident"], known),
        at_ends=at_ends,
        overlap=overlap,
        reprojection=_share(counts["near"], inside),
        depth_difference=_share(counts["close"], inside),
        agreement=agreement,
        agree_enough=agree_enough,
        confidence_for_tenth=_exceeded_by_a_tenth(torch.cat(confidences)),
        cause=next(cause for cause, seen in signs.items() if seen),
    )


def _share(part: int, whole: int) -> float:
    """`part` of `whole`; 0 of nothing."""
    return part / whole if whole else 0.0


def _exceeded_by_a_tenth(confidences: Float[Tensor, " n"]) -> float:
    """The confidence that a tenth of the pixels have at least."""
    ranked = confidences.nan_to_num(0.0).sort(descending=True).values
    return float(ranked[(len(ranked) - 1) // 10]) if len(ranked) else 0.0

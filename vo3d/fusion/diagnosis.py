"""Tell why little or nothing is left of depth maps after filtering, and what to do."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vo3d.depth_map import Outcome, PosedDepthMap, count_outcomes
from vo3d.errors import Vo3dError, first_few
from vo3d.fusion.filtering import FusionRules, confirm, filter_view
from vo3d.fusion.sweep_steps import SweepSteps, sweep_steps

Cause = Literal[
    "masks",
    "no depth",
    "no sources",
    "parallax",
    "depth range",
    "clipped",
    "overlap",
    "steps",
    "poses",
    "views",
    "free space",
    "confidence",
]

_END = 0.02  # what share of the depth range counts as its end, of maps without planes
_LEAST_PARALLAX = 1.0  # pixels from near to far, below which no depth can be told
_COARSE = 1.0  # pixels from plane to plane, above which a surface may fall between two
_MOST = 0.5  # the share of depths, or of pixels, that are most
_MANY_AT_ENDS = 0.3  # the share of depths at the ends from which the range is to blame
_FEW = 0.05  # the share of pixels below which a test is to blame
_LITTLE = 0.02  # the share of pixels that survive, below which a cloud is not taken without a word
_CHANCE = 0.1  # the share of pixels that may agree by chance


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Shares of pixels that pass each test by itself, and the likely cause of few points; `str` is one line.

    The geometric shares are over all pixels with a depth, whatever their confidence: so the cause of low confidence
    shows. They, and the medians, are over all pairs of a view and its source.
    """

    num_maps: int
    num_pairs: int
    rules: FusionRules
    steps: SweepSteps
    wanted: float  # of all pixels: not left out by a mask
    known: float  # of the wanted ones
    confident: float  # of the known ones, as the following
    at_near: float  # at the near end of the depth range
    at_far: float  # at the far end
    clipped: float  # black or burnt out
    overlap: float  # inside the image of the source
    reprojection: float  # of those inside, closer than `max_pixels`
    depth_difference: float  # of those inside, closer than `max_relative`
    agreement: float  # of those inside, both
    agree_enough: float  # of the known ones, confirmed by as many sources as are needed
    confidence_for_tenth: float  # the least confidence that a tenth of the known pixels would pass
    cause: Cause

    @property
    def at_ends(self) -> float:
        """Return the share at either end."""
        return self.at_near + self.at_far

    @property
    def figures(self) -> str:
        """Say how many depths each test lets pass."""
        rules, limit = self.rules, self.rules.max_relative
        return (
            f"of the depths {self.confident:.1%} have the confidence "
            f"{rules.min_confidence:g} ({self.confidence_for_tenth:.2g} would keep 10 %), {self.at_ends:.0%} lie at "
            f"the ends of the depth range, {self.overlap:.0%} fall into a source's image; of those "
            f"{self.reprojection:.0%} come back within {rules.max_pixels:g} px and {self.depth_difference:.0%} "
            f"within {limit:.1%} of the depth, {self.agreement:.0%} both; {self.agree_enough:.0%} are confirmed by "
            f"{rules.min_consistent} sources, or all of fewer"
        )

    @property
    def advice(self) -> str:
        """Say what is most likely wrong, and what to do about it."""
        unsure = (
            "; no depth has the least confidence: lower it too"
            if self.known and self.num_pairs and not self.confident and self.cause != "confidence"
            else ""
        )
        return _advice(self) + unsure

    def __str__(self) -> str:
        """The finding, the figures and what to do, in one line."""
        figures = f"; {self.figures}" if self.known and self.num_pairs else ""
        return f"no point is left of {self.num_maps} depth maps{figures}: {self.advice}"


def _advice(found: Diagnosis) -> str:
    """Put the likely cause and its remedy in words."""
    steps, rules = found.steps, found.rules
    end = "near" if found.at_near > found.at_far else "far"
    beyond = (
        "there is something nearer than that, or nothing can be matched there: lower the first number of --depth-range"
        if end == "near"
        else "the scene lies beyond it, or is sky: raise the second number of --depth-range, or leave the sky out by "
        "--masks"
    )
    finer = f"raise --num-depths to {steps.num_wanted}"
    if steps.inverse is False and steps.far_over_near > 1.5:
        finer = f"space them by --inverse true, or {finer}"
    fewer = rules.min_consistent - 1
    texts: dict[Cause, str] = {
        "masks": "the masks leave nothing: in a mask 0 marks what is left out, and all else is kept: turn them round, "
        "or do without --masks",
        "no depth": "the depth maps are empty, as where no source sees the depths that are tried: check that the depth "
        "range has the unit of the poses (--depth-range), and that the sources look at the same place",
        "no sources": "no view has a source to confirm its depths: name the pairs of views that see the same "
        "(pair.txt)",
        "parallax": f"from the near to the far end of the depth range nothing moves by more than {steps.parallax:.2g} "
        "pixels between a view and its sources, so that no depth can be told: take photographs from places farther "
        "apart (of a sequence, a larger --every), and check that poses and --depth-range have one unit",
        "depth range": f"the depth range misses the scene: {max(found.at_near, found.at_far):.0%} of the depths lie at "
        f"its {end} end: {beyond}",
        "clipped": f"{found.clipped:.0%} of the depths lie where the image is black or burnt out, so that nothing can "
        "be matched: take photographs of another exposure, or keep these depths by --drop-clipped 0",
        "overlap": "the views do not see the same surface, or the poses put them apart: check the pairs of views, and "
        "whether poses map cameras into the world and not the world into cameras",
        "steps": f"neighbours among the depths that are tried are up to {steps.coarsest:.2g} pixels apart in a source, "
        f"so that surfaces fall between them: {finer}",
        "poses": "the views contradict each other: check the poses (camera into the world, one unit for poses and "
        "depths), that K is that of the size of the maps, and that the depth range holds the scene",
        "views": "pairs of views agree, but too few on the same pixels: "
        + (f"lower the number of views that must agree (--min-consistent {fewer}), or add sources" if fewer else "")
        + ("" if fewer else "add photographs of the same place"),
        "free space": "other views look through the points that agree: check poses and K, or allow more violations "
        "(--max-violations)",
        "confidence": "the depths agree but the network is not sure of them: lower the least confidence "
        f"(--min-confidence {found.confidence_for_tenth:.2g}), or take other weights",
    }
    return texts[found.cause]


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
        outcomes = filter_view(maps, index, rules).outcomes
        known = wanted_depths(view)
        places = known.nonzero().flip(-1)
        depth = view.depth[known]
        near, far = at_ends(view, rules)
        counts.update(
            pixels=view.depth.numel(),
            wanted=view.depth.numel() if view.foreground is None else int(view.foreground.sum()),
            known=len(depth),
            confident=int((known & (view.confidence >= rules.min_confidence)).sum()),
            near=int(near.sum()),
            far=int(far.sum()),
        )
        counts.update({outcome.name: num for outcome, num in count_outcomes(outcomes).items()})
        confidences.append(view.confidence[known])
        agreeing = torch.zeros_like(depth, dtype=torch.long)
        for source in view.sources:
            seen, agrees = confirm(view, places, depth, maps[source], rules)
            counts.update(
                pairs=1,
                asked=len(depth),
                inside=int((seen.inside | (seen.found > 0)).sum()),  # rounding may put a pixel of the border outside
                close_by=int((seen.distance < rules.max_pixels).sum()),
                as_deep=int((seen.difference < rules.max_relative).sum()),
                both=int(agrees.sum()),
            )
            agreeing += agrees
        counts.update(enough=int((agreeing >= rules.views_needed(len(view.sources))).sum()))
    return _concluded(counts, torch.cat(confidences), sweep_steps(maps), rules, len(maps))


def _concluded(
    counts: Counter[str], confidences: Float[Tensor, " n"], steps: SweepSteps, rules: FusionRules, num_maps: int
) -> Diagnosis:
    """Draw the conclusion from the counts of pixels."""
    known, inside = counts["known"], counts["inside"]
    near, far = _share(counts["near"], known), _share(counts["far"], known)
    overlap, clipped = _share(inside, counts["asked"]), _share(counts[Outcome.CLIPPED.name], known)
    agreement, agree_enough = _share(counts["both"], inside), _share(counts["enough"], known)
    signs: dict[Cause, bool] = {  # the first that is seen tells the cause
        "masks": not counts["wanted"],
        "no depth": not known,
        "no sources": not counts["pairs"],
        "parallax": steps.parallax < _LEAST_PARALLAX
        and steps.inverted < 10 * _LEAST_PARALLAX,  # else of poses inverted
        "depth range": near + far >= _MANY_AT_ENDS,
        "clipped": clipped >= _MOST,
        "overlap": overlap < _FEW,
        "steps": steps.coarsest > _COARSE and agree_enough < _CHANCE,
        "poses": agreement < _CHANCE,
        "views": agree_enough < _FEW,
        "free space": counts[Outcome.SEEN_THROUGH.name] > counts[Outcome.KEPT.name],
        "confidence": True,  # what is left where every other test lets enough pass
    }
    return Diagnosis(
        num_maps=num_maps,
        num_pairs=counts["pairs"],
        rules=rules,
        steps=steps,
        wanted=_share(counts["wanted"], counts["pixels"]),
        known=_share(known, counts["wanted"]),
        confident=_share(counts["confident"], known),
        at_near=near,
        at_far=far,
        clipped=clipped,
        overlap=overlap,
        reprojection=_share(counts["close_by"], inside),
        depth_difference=_share(counts["as_deep"], inside),
        agreement=agreement,
        agree_enough=agree_enough,
        confidence_for_tenth=_exceeded_by_a_tenth(confidences),
        cause=next(cause for cause, seen in signs.items() if seen),
    )


def warning(maps: Sequence[PosedDepthMap], rules: FusionRules, survived: float, ends: float) -> str | None:
    """Say in one line what is likely wrong with a cloud that is hardly one; None where nothing is.

    `survived` is the share of wanted pixels that passed the filters, `ends` that of the depths at either end.
    """
    if survived >= _LITTLE and ends <= _MOST:
        return None
    found = diagnose(maps, rules)
    what = (
        f"only {survived:.2%} of the pixels survive; {found.figures}"
        if survived < _LITTLE
        else f"{found.at_ends:.0%} of the depths lie at the ends of the depth range"
    )
    return f"{what}: {found.advice}"


def wanted_depths(view: PosedDepthMap) -> Bool[Tensor, "h w"]:
    """Mark the pixels that have a depth and are not left out by a mask."""
    return view.known if view.foreground is None else view.known & view.foreground


def at_ends(view: PosedDepthMap, rules: FusionRules) -> tuple[Bool[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Mark the depths at the near and at the far end: as the rules drop them, without planes within 2 % of the range.

    Where the rules drop none, one step counts as the end.
    """
    wanted = wanted_depths(view)
    near, far = view.depth_range
    if view.planes is None:
        margin = _END * (far - near)
        return wanted & (view.depth <= near + margin), wanted & (view.depth >= far - margin)
    margin = view.planes.margin(rules.drop_ends or 1.0)
    steps = view.planes.steps(torch.where(wanted, view.depth, near))
    return wanted & (steps < margin), wanted & (steps > view.planes.num - 1 - margin)


def map_shares(view: PosedDepthMap, rules: FusionRules) -> tuple[float, float]:
    """Compute the share of a map's depths that lie at the ends of the range, and of wanted pixels without depth."""
    known = int(wanted_depths(view).sum())
    wanted = view.depth.numel() if view.foreground is None else int(view.foreground.sum())
    near, far = at_ends(view, rules)
    return _share(int(near.sum() + far.sum()), known), _share(wanted - known, wanted)


def empty_maps(shares: Sequence[tuple[str, float]]) -> str | None:
    """Say which maps have no depth at most of their pixels, of pairs of a view's name and that share; None of none."""
    if not (empty := [(name, share) for name, share in shares if share > _MOST]):
        return None
    return (
        f"{len(empty)} of {len(shares)} depth maps have no depth at most of their pixels "
        f"({first_few(f'{name}: {share:.0%}' for name, share in empty)}): no source sees there what lies within the "
        "depth range: check its unit (--depth-range), and that the sources look at the same place"
    )


def _share(part: int, whole: int) -> float:
    """`part` of `whole`; 0 of nothing."""
    return part / whole if whole else 0.0


def _exceeded_by_a_tenth(confidences: Float[Tensor, " n"]) -> float:
    """The confidence that a tenth of the pixels have at least."""
    ranked = confidences.nan_to_num(0.0).sort(descending=True).values
    return float(ranked[(len(ranked) - 1) // 10]) if len(ranked) else 0.0

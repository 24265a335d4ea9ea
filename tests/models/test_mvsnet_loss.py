"""Which pixels MVSNet's losses count, and that nothing is learnt through the confidence."""

from dataclasses import replace

import pytest
import torch

from samples import make_sample
from vo3d.models.mvsnet import MVSNet
from vo3d.sample import Sample

# 11 hypotheses from 3 to 8 metres: one every half a metre, the second at 3.5, the last but one at 7.5
TRUTHS = {0.0: False, 2.9: False, 3.0: False, 3.4: False, 3.5: True, 5.0: True, 7.5: True, 7.6: False, 8.0: False,
          9.0: False}  # fmt: skip


def with_truths(*truths: float) -> Sample:
    """One sample whose loss sees the truths, one a row of the network's grid."""
    sample = make_sample(b=1, s=2, size=(4 * len(truths), 32))
    assert sample.depth is not None
    rows = torch.tensor(truths).repeat_interleave(4)[:, None]
    return replace(sample, depth=rows.expand(4 * len(truths), 32).expand(1, 2, -1, -1).clone())


def loss_of(model: MVSNet, sample: Sample, estimate: torch.Tensor) -> torch.Tensor:
    prediction = {"depth": estimate, "confidence": estimate, "aux": {"initial_depth": estimate}}
    return model.loss(prediction, sample)["depth"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("truth", "counts"), TRUTHS.items())
def test_the_authors_loss_counts_truths_from_the_second_depth_to_the_last_but_one(truth: float, counts: bool) -> None:
    estimate = torch.full((1, 1, 1, 8), truth + 1.0)  # two intervals too far
    loss = loss_of(MVSNet(num_depths=11), with_truths(truth), estimate)
    assert loss.item() == pytest.approx(2.0 if counts else 0.0, rel=1e-5)


def test_the_authors_loss_is_the_mean_over_what_counts() -> None:
    errors = torch.tensor([0.5 * (row + 1) for row in range(len(TRUTHS))])  # 1, 2, 3 ... intervals
    estimate = (torch.tensor([*TRUTHS]) + errors)[None, None, :, None].expand(1, 1, len(TRUTHS), 8)
    loss = loss_of(MVSNet(num_depths=11), with_truths(*TRUTHS), estimate)
    assert loss.item() == pytest.approx((5 + 6 + 7) / 3, rel=1e-5)


@pytest.mark.parametrize(("truth", "counts"), [(0.0, False), (0.5, True), (2.9, True), (5.0, True), (30.0, True)])
def test_the_port_s_loss_counts_every_truth(truth: float, counts: bool) -> None:
    estimate = torch.full((1, 1, 1, 8), truth + 1.0)  # 1000 mm too far, less the half of the square part
    loss = loss_of(MVSNet(num_depths=11, loss="port"), with_truths(truth), estimate)
    assert loss.item() == pytest.approx(999.5 if counts else 0.0, rel=1e-4)


@pytest.mark.parametrize("refine", [False, True])
def test_depths_carry_gradients_and_the_confidence_none(refine: bool) -> None:
    torch.manual_seed(0)
    prediction = MVSNet(num_depths=8, refine=refine)(make_sample(b=1))
    assert prediction["depth"].requires_grad
    assert prediction["aux"]["initial_depth"].requires_grad
    assert not prediction["confidence"].requires_grad


def test_the_loss_of_the_refined_depth_reaches_the_cost_volume() -> None:
    torch.manual_seed(0)
    model = MVSNet(num_depths=8, refine=True)
    sample = make_sample(b=1)
    model.loss(model(sample), sample)["refined_depth"].backward()
    for part in (model.features, model.regulariser, model.refinement):
        assert part is not None
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters())

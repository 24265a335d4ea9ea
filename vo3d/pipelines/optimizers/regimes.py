"""The survey's data regimes side by side: logistic regression on noisy moons."""

from pathlib import Path

import torch

from vo3d.optim import SGD
from vo3d.optim.regimes import batches, logistic_loss, noisy_moons, polynomial_features, train
from vo3d.pipelines.optimizers.tables import write_rows
from vo3d.report.canvas import save_figure
from vo3d.report.regimes import RegimeCurve, plot_regimes

CASES = {  # words for people: regime, samples of a mini-batch
    "one sample after the other": ("sample", 1),
    "one random sample (SGD)": ("stochastic", 1),
    "mini-batches of 10": ("mini_batch", 10),
    "mini-batches of 50": ("mini_batch", 50),
    "all samples (batch)": ("batch", 1),
}
SAMPLES, NOISE, RATE, UPDATES = 500, 0.3, 0.3, 2000


def run_regimes(out: Path, *, updates: int = UPDATES) -> list[Path]:
    """Write `out/regimes.png` and `out/regimes.csv`, the loss on all data after each update, and give their paths.

    Gradient descent at one rate from weights of 0, equally many updates in each regime, on 500 noisy moons in random
    order; a cubic polynomial separates them.
    """
    curves = {name: descend(regime, size, updates) for name, (regime, size) in CASES.items()}
    rows = [
        (CASES[name][0], curve.samples[0], update, seen, loss)
        for name, curve in curves.items()
        for update, (seen, loss) in enumerate(zip(curve.samples, curve.loss, strict=True), start=1)
    ]
    write_rows(out / "regimes.csv", [("regime", "batch_size", "update", "samples", "loss"), *rows])
    return [save_figure(plot_regimes(curves), out / "regimes.png"), out / "regimes.csv"]


def descend(regime: str, batch_size: int, updates: int) -> RegimeCurve:
    """Compute the loss on all data after each update, and how many samples were seen until then."""
    points, labels = noisy_moons(SAMPLES, NOISE)
    features = polynomial_features(points)
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    losses: list[float] = []

    def watch(update: int) -> None:
        with torch.no_grad():
            losses.append(logistic_loss(weights, features, labels).item())

    train(
        lambda x, y: logistic_loss(weights, x, y),
        (features, labels),
        optimizer=SGD([weights], lr=RATE),
        regime=regime,
        batch_size=batch_size,
        updates=updates,
        watch=watch,
    )
    size = len(next(batches(SAMPLES, regime, batch_size=batch_size)))
    return RegimeCurve(samples=[size * (number + 1) for number in range(updates)], loss=losses)

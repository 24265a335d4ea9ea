"""The optimisers of the gradient-descent survey, first and second order, and surfaces to watch them on."""

from vo3d.optim.adam import Adam, AdaMax, Nadam
from vo3d.optim.adaptive import Adadelta, Adagrad, RMSprop
from vo3d.optim.classic import NAG, SGD, Momentum
from vo3d.optim.moments import (
    Average,
    DecayedSum,
    Gradient,
    LargestSquare,
    MomentOptimizer,
    NesterovAverage,
    One,
    SquareAverage,
    SquareSum,
)
from vo3d.optim.noise import GradientNoise
from vo3d.optim.schedules import ThresholdDecay, Warmup

__all__ = [
    "NAG",
    "SGD",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Average",
    "DecayedSum",
    "Gradient",
    "GradientNoise",
    "LargestSquare",
    "MomentOptimizer",
    "Momentum",
    "Nadam",
    "NesterovAverage",
    "One",
    "RMSprop",
    "SquareAverage",
    "SquareSum",
    "ThresholdDecay",
    "Warmup",
]

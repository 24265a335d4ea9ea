"""The optimisers of the gradient-descent survey, first and second order, and surfaces to watch them on."""

from vo3d.optim.adaptive import Adadelta, Adagrad, Adam, AdaMax, Nadam, RMSprop
from vo3d.optim.classic import NAG, SGD, Momentum
from vo3d.optim.closures import BFGS, DFP, LBFGS, SR1, ConjugateGradient, Newton
from vo3d.optim.descent import Minimum, minimize
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
from vo3d.optim.newton import linear_cg
from vo3d.optim.noise import GradientNoise
from vo3d.optim.schedules import ThresholdDecay, Warmup

__all__ = [
    "BFGS",
    "DFP",
    "LBFGS",
    "NAG",
    "SGD",
    "SR1",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Average",
    "ConjugateGradient",
    "DecayedSum",
    "Gradient",
    "GradientNoise",
    "LargestSquare",
    "Minimum",
    "MomentOptimizer",
    "Momentum",
    "Nadam",
    "NesterovAverage",
    "Newton",
    "One",
    "RMSprop",
    "SquareAverage",
    "SquareSum",
    "ThresholdDecay",
    "Warmup",
    "linear_cg",
    "minimize",
]

"""Directions: the contract of a direction rule, and the rules that need nothing but gradients.

A rule holds settings; what it learns on the way is in a `Memory`, a dict of tensors and numbers that the caller owns,
so that a checkpoint can hold it. An empty memory is a fresh start.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from vo3d.errors import Vo3dError
from vo3d.optim.choice import choose
from vo3d.optim.line_search import Line, Trial
from vo3d.optim.objective import Iterate, Objective, Vector

Memory = dict[str, Any]


class Direction(ABC):
    """A rule for the direction of the next step."""

    line_search = "strong_wolfe"  # the search that suits the rule
    c2 = 0.9  # and the flattening that it should ask for
    remembers: ClassVar[Mapping[str, int]] = {}  # what it writes into its memory, with the dimensions of each, of n

    @abstractmethod
    def direction(self, objective: Objective, at: Iterate, memory: Memory) -> Vector:
        """Give the direction to search along from `at`."""

    def first_step(self, line: Line, memory: Memory) -> float:
        """Give the length to try first, before the learning rate multiplies it."""
        return 1.0

    def accepts(self, line: Line, trial: Trial) -> bool:
        """Tell whether the step leads to a place from which the rule can go on."""
        return True

    def remember(self, line: Line, trial: Trial, memory: Memory) -> None:  # noqa: B027 - most rules have nothing to learn
        """Learn from the step that was taken: both ends of it were evaluated on the same function."""


def cautious_step(line: Line) -> float:
    """Give the first length where nothing is known of the scale: 1 / |g|, at most 1."""
    return min(1.0, 1.0 / float(line.start.gradient.norm()))


class SteepestDescent(Direction):
    """p = -g."""

    line_search = "backtracking"

    def direction(self, objective: Objective, at: Iterate, memory: Memory) -> Vector:
        """Straight down."""
        return -at.gradient


Beta = Callable[[Vector, Vector, Vector], float]

BETAS: Mapping[str, Beta] = {  # of g, the new gradient g' and p; y = g' - g
    "fr": lambda g, new, p: float(new @ new / (g @ g)),  # g'.g' / g.g (Fletcher and Reeves 1964)
    "pr": lambda g, new, p: float(new @ (new - g) / (g @ g)),  # g'.y / g.g (Polak and Ribiere 1969)
    "pr+": lambda g, new, p: max(0.0, BETAS["pr"](g, new, p)),  # not below 0 (Gilbert and Nocedal 1992)
    "hs": lambda g, new, p: float(new @ (new - g) / (p @ (new - g))),  # g'.y / p.y (Hestenes and Stiefel 1952)
    "dy": lambda g, new, p: float(new @ new / (p @ (new - g))),  # g'.g' / p.y (Dai and Yuan 1999)
}
ENOUGH = 0.01  # a direction descends enough where p.g <= -0.01 |g|^2


class NonlinearCG(Direction):
    """p' = -g' + beta p, with beta by name: fr, pr, pr+, hs or dy.

    Begins anew with -g after n steps, where p' would not descend and, if `powell` is given (0.1 is usual), where
    |g'.g| >= `powell` |g'|^2 (Powell 1977). With pr+ the line search goes on until p'.g' <= -0.01 |g'|^2.
    Source: Nocedal and Wright 2006, section 5.2. Raises Vo3dError for an unknown beta and a `powell` below 0.
    """

    c2 = 0.2
    remembers: ClassVar[Mapping[str, int]] = {"p": 1, "beta": 0, "age": 0, "fall": 0}

    def __init__(self, beta: str = "pr+", powell: float | None = None) -> None:
        if powell is not None and not powell >= 0:
            raise Vo3dError(f"conjugate gradients: powell is {powell}: expected a number of at least 0, or none")
        self.name = beta
        self.beta = choose("beta of conjugate gradients", beta, BETAS)
        self.powell = powell

    def direction(self, objective: Objective, at: Iterate, memory: Memory) -> Vector:
        """-g + beta p, or -g where that does not descend."""
        if memory.get("beta"):
            p: Vector = memory["beta"] * memory["p"] - at.gradient
            if float(p @ at.gradient) < 0:
                return p
        memory["age"] = 0
        return -at.gradient

    def first_step(self, line: Line, memory: Memory) -> float:
        """Go as far as if f fell a little more than in the last step: 2.02 (f - f_last) / p.g."""
        fall = memory.get("fall", 0.0)
        return float(2.02 * fall / -line.slope) if fall > 0 else cautious_step(line)

    def accepts(self, line: Line, trial: Trial) -> bool:
        """Tell, for pr+, whether the next direction will descend enough."""
        if self.name != "pr+":
            return True
        g, new = line.start.gradient, trial.point.gradient
        square = float(new @ new)
        return self.beta(g, new, line.direction) * trial.slope - square <= -ENOUGH * square

    def remember(self, line: Line, trial: Trial, memory: Memory) -> None:
        """Keep p, beta, how far f fell, and how many steps ago -g was followed."""
        g, new = line.start.gradient, trial.point.gradient
        age = memory.get("age", 0) + 1
        turned = self.powell is not None and abs(float(new @ g)) >= self.powell * float(new @ new)
        beta = 0.0 if turned or age >= g.numel() else self.beta(g, new, line.direction)
        memory.update(p=line.direction, beta=beta, age=age, fall=line.start.f - trial.f)

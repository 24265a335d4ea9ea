"""Directions from an approximate inverse Hessian H that gradients alone build up: BFGS, DFP, SR1, and L-BFGS.

With s the last step and y the change of the gradient over it, every update obeys the secant equation H' y = s.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch

from vo3d.errors import Vo3dError
from vo3d.optim.choice import choose
from vo3d.optim.directions import Direction, Memory, cautious_step
from vo3d.optim.line_search import Line, Trial
from vo3d.optim.objective import Iterate, Matrix, Objective, Vector

FLAT = 1e-10  # a pair is skipped where y.s <= 1e-10 |y| |s|: no curvature to learn
CLOSE = 1e-8  # SR1 is skipped where |(s - Hy).y| < 1e-8 |s - Hy| |y|: the update would divide by nothing


def bfgs(H: Matrix, s: Vector, y: Vector) -> None:
    """H' = (I - rho s y^T) H (I - rho y s^T) + rho s s^T, rho = 1 / y.s, in place.

    Multiplied out: H + s w^T + w s^T with w = rho (1 + rho y.Hy) / 2 s - rho Hy.
    Source: Broyden, Fletcher, Goldfarb, Shanno 1970.
    """
    rho = 1 / (y @ s)
    Hy = H @ y
    w = rho * (1 + rho * (y @ Hy)) / 2 * s - rho * Hy
    H.addr_(s, w).addr_(w, s)


def dfp(H: Matrix, s: Vector, y: Vector) -> None:
    """H' = H - Hy (Hy)^T / y.Hy + s s^T / y.s, in place (Davidon 1959, Fletcher and Powell 1963)."""
    Hy = H @ y
    H.addr_(Hy, -Hy / (y @ Hy)).addr_(s, s / (y @ s))


def sr1(H: Matrix, s: Vector, y: Vector) -> None:
    """H' = H + r r^T / r.y, r = s - Hy, in place; unchanged where |r.y| < 1e-8 |r| |y| (Broyden 1967)."""
    r = s - H @ y
    divisor = r @ y
    if abs(float(divisor)) >= CLOSE * float(r.norm() * y.norm()) and float(divisor) != 0:
        H.addr_(r, r / divisor)


UPDATES: Mapping[str, tuple[Callable[[Matrix, Vector, Vector], None], float]] = {  # and the c2 of its searches
    "bfgs": (bfgs, 0.9),
    "dfp": (dfp, 0.1),  # mends a bad H only after accurate searches
    "sr1": (sr1, 0.4),
}


def curved(s: Vector, y: Vector) -> bool:
    """Tell whether f curves upwards over the step by more than rounding: y.s > 1e-10 |y| |s|."""
    return float(y @ s) > FLAT * float(y.norm() * s.norm())


class QuasiNewton(Direction):
    """p = -H g, with the update of H by name: bfgs, dfp or sr1. Memory O(n^2), time O(n^2) a step.

    BFGS and DFP begin with H = (y.s / y.y) I at the first pair, and skip pairs without curvature, so that H stays
    positive definite. SR1 begins with I: scaled so, its first update would divide by 0. Its H may be indefinite; where
    -H g climbs, H g is followed.
    Source: Nocedal and Wright 2006, sections 6.1 and 6.2. Raises Vo3dError for an unknown update.
    """

    remembers: ClassVar[Mapping[str, int]] = {"H": 2}

    def __init__(self, update: str = "bfgs") -> None:
        self.name = update
        self.update, self.c2 = choose("quasi-Newton update", update, UPDATES)

    def direction(self, objective: Objective, at: Iterate, memory: Memory) -> Vector:
        """-H g, turned round where it climbs."""
        if "H" not in memory:
            return -at.gradient
        p: Vector = -(memory["H"] @ at.gradient)
        return -p if float(p @ at.gradient) > 0 else p

    def first_step(self, line: Line, memory: Memory) -> float:
        """1 along -H g; 1 / |g| while there is no H."""
        return 1.0 if "H" in memory else cautious_step(line)

    def remember(self, line: Line, trial: Trial, memory: Memory) -> None:
        """Update H."""
        s, y = trial.step * line.direction, trial.point.gradient - line.start.gradient
        if self.name != "sr1" and not curved(s, y):
            return
        if "H" not in memory:
            scale = 1.0 if self.name == "sr1" else float((y @ s) / (y @ y))
            memory["H"] = scale * torch.eye(s.numel(), dtype=s.dtype, device=s.device)
        self.update(memory["H"], s, y)


def two_loop(g: Vector, steps: Sequence[Vector], changes: Sequence[Vector]) -> Vector:
    """H g for the H that BFGS makes of (y.s / y.y) I by the pairs (s, y), oldest first, without forming it.

    Backwards: alpha_i = s_i.q / y_i.s_i, q -= alpha_i y_i. Then r = (y.s / y.y) q of the newest pair. Forwards:
    r += (alpha_i - y_i.r / y_i.s_i) s_i. Time and memory O(m n).
    Source: Nocedal 1980; Nocedal and Wright 2006, algorithm 7.4.
    """
    pairs = [(s, y, 1 / (y @ s)) for s, y in zip(steps, changes, strict=True)]
    q = g
    alphas = []
    for s, y, rho in reversed(pairs):
        alpha = rho * (s @ q)
        q = q - alpha * y
        alphas.append(alpha)
    if pairs:
        s, y, rho = pairs[-1]
        q = q / (rho * (y @ y))
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + (alpha - rho * (y @ q)) * s
    return q


class LimitedMemory(Direction):
    """p = -H g with H of the last `history` pairs: L-BFGS (Liu and Nocedal 1989). Memory and time O(history n).

    Raises Vo3dError for a history below 1.
    """

    remembers: ClassVar[Mapping[str, int]] = {"steps": 1, "changes": 1}

    def __init__(self, history: int = 10) -> None:
        if history < 1:
            raise Vo3dError(f"L-BFGS: the history is {history}: expected 1 pair or more")
        self.history = history

    def direction(self, objective: Objective, at: Iterate, memory: Memory) -> Vector:
        """-H g, or -g where that does not descend."""
        p = -two_loop(at.gradient, memory.get("steps", []), memory.get("changes", []))
        return p if float(p @ at.gradient) < 0 else -at.gradient

    def first_step(self, line: Line, memory: Memory) -> float:
        """1 along -H g; 1 / |g| while there are no pairs."""
        return 1.0 if memory.get("steps") else cautious_step(line)

    def remember(self, line: Line, trial: Trial, memory: Memory) -> None:
        """Keep the pair, if f curves upwards over it."""
        s, y = trial.step * line.direction, trial.point.gradient - line.start.gradient
        if curved(s, y):
            memory["steps"] = [*memory.get("steps", []), s][-self.history :]
            memory["changes"] = [*memory.get("changes", []), y][-self.history :]

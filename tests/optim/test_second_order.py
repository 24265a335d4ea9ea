"""The formulas of the second-order methods against NumPy, and what theory says of them on quadratics."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim import linear_cg, minimize
from vo3d.optim.descent import Stopping, descend
from vo3d.optim.directions import BETAS, NonlinearCG
from vo3d.optim.landscapes import beale, rosenbrock, saddle
from vo3d.optim.line_search import Line, Trial, exact_quadratic
from vo3d.optim.newton import REMEDIES, ExactNewton
from vo3d.optim.objective import FunctionObjective, Iterate
from vo3d.optim.quasi_newton import QuasiNewton, bfgs, curved, dfp, sr1, two_loop

N = 20


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.fixture
def matrix(generator: torch.Generator) -> Tensor:
    """Symmetric, eigenvalues 1 to 20."""
    basis = torch.linalg.qr(torch.randn(N, N, generator=generator, dtype=torch.float64)).Q
    return basis @ torch.diag(torch.linspace(1, 20, N, dtype=torch.float64)) @ basis.mT


@pytest.fixture
def pairs(generator: torch.Generator, matrix: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Steps and changes of the gradient, of positive curvature, not all of one quadratic."""
    steps = torch.randn(6, N, generator=generator, dtype=torch.float64)
    noise = torch.randn(6, N, generator=generator, dtype=torch.float64)
    return [(s, matrix @ s + e / 10) for s, e in zip(steps, noise, strict=True)]


def numpy_bfgs(H: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    rho, identity = 1 / (y @ s), np.eye(len(s))
    return (identity - rho * np.outer(s, y)) @ H @ (identity - rho * np.outer(y, s)) + rho * np.outer(s, s)


def numpy_dfp(H: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    return H - (H @ np.outer(y, y) @ H) / (y @ H @ y) + np.outer(s, s) / (y @ s)


def numpy_sr1(H: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    rest = s - H @ y
    return H + np.outer(rest, rest) / (rest @ y)


@pytest.mark.parametrize(("ours", "reference"), [(bfgs, numpy_bfgs), (dfp, numpy_dfp), (sr1, numpy_sr1)])
def test_updates_equal_their_formula_and_obey_the_secant_equation(ours, reference, pairs) -> None:
    H = torch.eye(N, dtype=torch.float64) / 5
    expected = H.numpy().copy()
    for s, y in pairs:
        ours(H, s, y)
        expected = reference(expected, s.numpy(), y.numpy())
        np.testing.assert_allclose(H, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        torch.testing.assert_close(H @ y, s, rtol=0, atol=1e-11)


def test_two_loops_equal_bfgs_with_a_matrix(pairs, generator) -> None:
    g = torch.randn(N, generator=generator, dtype=torch.float64)
    s, y = (part.numpy() for part in pairs[-1])
    H = np.eye(N) * (y @ s) / (y @ y)
    for s, y in pairs:
        H = numpy_bfgs(H, s.numpy(), y.numpy())
    found = two_loop(g, [s for s, _ in pairs], [y for _, y in pairs])
    np.testing.assert_allclose(found, H @ g.numpy(), rtol=1e-12, atol=1e-12)
    assert torch.equal(two_loop(g, [], []), g)


def test_betas_equal_their_formulas(generator) -> None:
    g, new, p = torch.randn(3, N, generator=generator, dtype=torch.float64)
    a, b, d = g.numpy(), new.numpy(), p.numpy()
    expected = {
        "fr": (b @ b) / (a @ a),
        "pr": b @ (b - a) / (a @ a),
        "pr+": max(0.0, b @ (b - a) / (a @ a)),
        "hs": b @ (b - a) / (d @ (b - a)),
        "dy": (b @ b) / (d @ (b - a)),
    }
    assert {name: beta(g, new, p) for name, beta in BETAS.items()} == pytest.approx(expected, rel=1e-12)
    assert BETAS["pr+"](new, new / 2, p) == 0 > BETAS["pr"](new, new / 2, p)


def test_pairs_without_curvature_are_skipped() -> None:
    s = vector(1, 0)
    assert curved(s, vector(1e-9, 1))
    assert not curved(s, vector(1e-11, 1))
    assert not curved(s, vector(-1, 0))
    H = torch.eye(2, dtype=torch.float64)
    sr1(H, s, s)  # s - Hy is 0
    sr1(H, s, vector(1, 1))  # s - Hy is (0, -1), and its product with y -1: an update
    assert torch.equal(H, torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64))
    sr1(H, vector(0, 1), vector(0, 0))  # 0 / 0
    assert bool(H.isfinite().all())


def quadratic(A: Tensor, b: Tensor):
    return lambda x: x @ A @ x / 2 - b @ x


def test_newton_needs_one_step_on_a_quadratic(matrix) -> None:
    b = torch.arange(N, dtype=torch.float64)
    found = minimize(quadratic(matrix, b), torch.zeros(N, dtype=torch.float64), "newton", gtol=1e-10)
    assert (found.nit, found.nhev, found.status) == (1, N, "gradient")
    torch.testing.assert_close(matrix @ found.x, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("form", ["matrix", "product"])
def test_linear_cg_needs_n_steps_at_most(form, matrix, generator) -> None:
    b = torch.randn(N, generator=generator, dtype=torch.float64)
    found = linear_cg(matrix if form == "matrix" else lambda v: matrix @ v, b, tolerance=1e-9)
    assert found.converged
    assert found.nit <= N
    torch.testing.assert_close(found.x, torch.linalg.solve(matrix, b), rtol=0, atol=1e-8)
    again = linear_cg(matrix, b, x0=found.x, tolerance=1e-8)
    assert again.nit == 0
    clusters = torch.diag(torch.tensor([1.0, 1, 1, 5, 5, 9], dtype=torch.float64))  # as many steps as eigenvalues
    assert linear_cg(clusters, torch.arange(1, 7, dtype=torch.float64)).nit == 3


@pytest.mark.parametrize("update", ["bfgs", "dfp"])
def test_exact_searches_end_after_n_steps_with_the_inverse_hessian(update, matrix) -> None:
    f = FunctionObjective(quadratic(matrix, torch.ones(N, dtype=torch.float64)), torch.Size([N]))
    start = f.evaluate(torch.linspace(-3, 5, N, dtype=torch.float64))
    memory: dict[str, Tensor] = {}
    end = descend(f, start, QuasiNewton(update), exact_quadratic, Stopping(1e-9, 0.0, N), memory=memory)
    assert end.status == "gradient" or float(end.at.gradient.abs().max()) < 1e-8
    assert end.nit <= N
    torch.testing.assert_close(memory["H"], torch.linalg.inv(matrix), rtol=0, atol=1e-6)


def test_sr1_finds_the_inverse_hessian_without_exact_searches(generator) -> None:
    A = torch.diag(vector(1, 2, -3, 4))  # indefinite, too
    H = torch.eye(4, dtype=torch.float64)
    for s in torch.randn(4, 4, generator=generator, dtype=torch.float64):
        sr1(H, s, A @ s)
    torch.testing.assert_close(H, torch.linalg.inv(A), rtol=0, atol=1e-9)


def test_fletcher_reeves_and_polak_ribiere_agree_on_quadratics(matrix) -> None:
    f = quadratic(matrix, torch.ones(N, dtype=torch.float64))
    paths = []
    for beta in BETAS:
        start = torch.linspace(-3, 5, N, dtype=torch.float64)
        found = minimize(f, start, NonlinearCG(beta), line_search="exact_quadratic", gtol=1e-8, history=True)
        assert found.nit <= N
        assert found.status == "gradient"
        paths.append(found.history)
    for one, other in itertools.pairwise(paths):
        torch.testing.assert_close(one[:12], other[:12], rtol=0, atol=1e-9)


def trial(step: float, g: Tensor, p: Tensor) -> Trial:
    return Trial(step, Iterate(step * p, 0.0, g), float(g @ p))


def test_conjugate_gradients_begin_anew(generator) -> None:
    g, p = vector(1, 0, 0), vector(-1, 0, 0)
    f = FunctionObjective(lambda x: x @ x, torch.Size([3]))
    line = Line(f, Iterate(vector(0, 0, 0), 1.0, g), p)

    def age_and_beta(rule: NonlinearCG, new: Tensor, **memory: float) -> tuple[int, float]:
        state = dict(memory)
        rule.remember(line, trial(1.0, new, p), state)
        return state["age"], state["beta"]

    across, along = vector(0, 1, 0), vector(0.2, 1, 0)
    assert age_and_beta(NonlinearCG("fr"), across) == (1, 1.0)
    assert age_and_beta(NonlinearCG("fr"), across, age=1) == (2, 1.0)
    assert age_and_beta(NonlinearCG("fr"), across, age=2) == (3, 0.0)  # n steps
    assert age_and_beta(NonlinearCG("fr", powell=0.1), along) == (1, 0.0)
    assert age_and_beta(NonlinearCG("fr", powell=0.2), along)[1] > 1
    climbs = {"p": vector(5, 0, 0), "beta": 1.0, "age": 1}
    at = Iterate(vector(0, 0, 0), 1.0, g)
    assert torch.equal(NonlinearCG("fr").direction(f, at, climbs), -g)
    assert climbs["age"] == 0
    # PR+ turns down a step after which p'.g' would not be below -0.01 |g'|^2: a long step up against p
    steep = trial(1.0, vector(-3, 0, 0), p)
    assert not NonlinearCG("pr+").accepts(line, steep)
    assert NonlinearCG("pr").accepts(line, steep)
    assert NonlinearCG("pr+").accepts(line, trial(1.0, across, p))


def test_pure_newton_goes_to_any_stationary_point() -> None:
    pure = ExactNewton("none")
    to_saddle = minimize(beale, vector(1, 1.5), pure, gtol=1e-10)
    torch.testing.assert_close(to_saddle.x, vector(0, 1), rtol=0, atol=1e-9)
    on_saddle = minimize(saddle, vector(1, 1), pure, gtol=1e-10)
    assert torch.equal(on_saddle.x, vector(0, 0))
    valley = minimize(rosenbrock, vector(-1.2, 1), pure, gtol=1e-10)
    torch.testing.assert_close(valley.x, vector(1, 1), rtol=0, atol=1e-12)
    assert (to_saddle.nit, on_saddle.nit, valley.nit) == (6, 1, 7)


def test_newton_with_absolute_eigenvalues_goes_down() -> None:
    found = minimize(beale, vector(1, 1.5), "newton", gtol=1e-10)
    torch.testing.assert_close(found.x, vector(3, 0.5), rtol=0, atol=1e-8)
    valley = minimize(rosenbrock, vector(-1.2, 1), "newton", gtol=1e-10)
    torch.testing.assert_close(valley.x, vector(1, 1), rtol=0, atol=1e-12)
    assert (found.nit, valley.nit) == (10, 22)


@pytest.mark.parametrize("remedy", ["absolute", "shift", "gradient"])
def test_remedies_descend_where_the_hessian_does_not_curve_up(remedy, generator) -> None:
    g = torch.randn(4, generator=generator, dtype=torch.float64)
    for diagonal in ((1, -2, 3, 0), (-1, -2, -3, -4), (0, 0, 0, 0), (5, 5, 5, -1e-12)):
        p = REMEDIES[remedy](torch.diag(vector(*diagonal)), g)
        assert float(p @ g) < 0
        assert bool(p.isfinite().all())
    found = minimize(beale, vector(1, 1.5), ExactNewton(remedy))
    torch.testing.assert_close(found.x, vector(3, 0.5), rtol=0, atol=1e-4)


def test_absolute_eigenvalues_by_hand() -> None:
    p = REMEDIES["absolute"](torch.diag(vector(2, -4)), vector(2, 4))
    torch.testing.assert_close(p, vector(-1, -1), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_cg(torch.diag(vector(1, -1)), vector(1, 2)), "linear_cg: p.Ap is -3 in iteration 1: expected"),
        (lambda: linear_cg(torch.eye(3), torch.ones(2)), r"A is \(3, 3\) and b is \(2,\): expected \(n, n\)"),
        (
            lambda: linear_cg(torch.eye(2), torch.ones(2), torch.ones(3)),
            r"x0 is \(3,\) and b is \(2,\): expected equal",
        ),
        (
            lambda: linear_cg(torch.eye(2).double(), torch.ones(2)),
            "A is torch.float64 and b is torch.float32: expected",
        ),
        (lambda: linear_cg(torch.eye(2), torch.ones(2), tolerance=-1.0), "the tolerance is -1.0: expected"),
        (lambda: linear_cg(torch.eye(2), torch.ones(2), max_iter=0), "max_iter is 0: expected 1 or more"),
        (lambda: QuasiNewton("bgfs"), "update 'bgfs': expected one of bfgs, dfp, sr1; did you mean bfgs?"),
        (lambda: NonlinearCG("pr++"), r"'pr\+\+': expected one of fr, pr, pr\+, hs, dy; did you mean pr\+\?"),
        (lambda: NonlinearCG(powell=-0.1), "powell is -0.1: expected a number of at least 0"),
        (lambda: ExactNewton("abs"), "'abs': expected one of absolute, shift, gradient, none"),
        (lambda: minimize(lambda x: x[0] ** 2, vector(1, 2), ExactNewton("none")), "the Hessian is singular"),
        (lambda: minimize(lambda x: (x.abs() ** 1.5).sum(), vector(1, 0), "newton"), "the Hessian is not finite"),
    ],
)
def test_mistakes_are_told_in_one_line(call, message) -> None:
    with pytest.raises(Vo3dError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)

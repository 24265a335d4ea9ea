"""SE(3): group axioms, agreement with the matrix exponential, and gradients, above all where formulas are 0 / 0."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from checks import assert_same
from vo3d.geometry import is_rotation, se3
from vo3d.geometry.precision import product

SHAPES = st.sampled_from([(), (1,), (3,), (2, 3), (0,), (2, 0), (2, 1, 2)])
SEEDS = st.integers(0, 2**31 - 1)
KINDS = st.sampled_from(["uniform", "tangent", "tiny", "zero", "nearly pi"])
properties = settings(max_examples=20, deadline=None)


def tangents(kind: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Tangent vectors: rotations uniform below pi, ordinary, of 1e-7, none, and within 1e-4 of pi."""
    generator = torch.Generator().manual_seed(seed)
    xi = torch.randn(*shape, 6, generator=generator, dtype=torch.float64)
    axis = torch.nn.functional.normalize(xi[..., 3:], dim=-1)
    fraction = torch.rand(*shape, 1, generator=generator, dtype=torch.float64)
    if kind == "uniform":
        xi = torch.cat((10 * xi[..., :3], axis * fraction * 3.1), dim=-1)
    elif kind == "tangent":
        xi = 0.1 * xi
    elif kind == "tiny":
        xi = 1e-7 * xi
    elif kind == "zero":
        xi = 0 * xi
    else:
        xi = torch.cat((xi[..., :3], axis * (math.pi - 1e-4 * fraction)), dim=-1)
    return xi.to(dtype)


def hat(xi: Tensor) -> Tensor:
    """The 4x4 matrix of a tangent vector, written out."""
    matrix = xi.new_zeros(*xi.shape[:-1], 4, 4)
    a, b, c = xi[..., 3], xi[..., 4], xi[..., 5]
    matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2] = -c, b, -a
    matrix[..., 1, 0], matrix[..., 2, 0], matrix[..., 2, 1] = c, -b, a
    matrix[..., :3, 3] = xi[..., :3]
    return matrix


@properties
@given(KINDS, SHAPES, SEEDS)
def test_exp_is_the_matrix_exponential(kind, shape, seed):
    xi = tangents(kind, shape, seed)
    assert_same(se3.exp(xi), torch.matrix_exp(hat(xi)) if xi.numel() else hat(xi))


@properties
@given(KINDS, SHAPES, SEEDS)
def test_exp_gives_rigid_motions(kind, shape, seed):
    a_T_b = se3.exp(tangents(kind, shape, seed, torch.float32))
    assert a_T_b.dtype == torch.float32
    assert is_rotation(a_T_b[..., :3, :3], 1e-6).all()
    assert (a_T_b[..., 3, :] == torch.tensor([0.0, 0.0, 0.0, 1.0])).all()


@properties
@given(KINDS, SHAPES, SEEDS)
def test_log_undoes_exp(kind, shape, seed):
    xi = tangents(kind, shape, seed)
    # A rotation of pi - 1e-4 has 1e-8 of its sine left, so its axis keeps fewer digits.
    assert_same(se3.log(se3.exp(xi)), xi, 1e-7 if kind == "nearly pi" else 1e-9)


@properties
@given(SHAPES, SEEDS)
def test_tiny_motions_keep_their_digits_in_float32(shape, seed):
    xi = tangents("tiny", shape, seed, torch.float32)
    torch.testing.assert_close(se3.log(se3.exp(xi)), xi, rtol=1e-5, atol=0)


@properties
@given(KINDS, SHAPES, SEEDS)
def test_group_axioms(kind, shape, seed):
    a_T_b, b_T_c, c_T_d = (se3.exp(tangents(kind, shape, seed + i)) for i in range(3))
    identity = torch.eye(4, dtype=torch.float64).expand(a_T_b.shape)
    assert_same(se3.compose(se3.compose(a_T_b, b_T_c), c_T_d), se3.compose(a_T_b, se3.compose(b_T_c, c_T_d)))
    assert_same(se3.compose(a_T_b, b_T_c, c_T_d), a_T_b @ b_T_c @ c_T_d)
    assert_same(se3.compose(a_T_b, se3.inverse(a_T_b)), identity)
    assert_same(se3.compose(se3.inverse(a_T_b), a_T_b), identity)
    assert_same(se3.compose(a_T_b, identity), a_T_b)
    assert_same(se3.inverse(se3.compose(a_T_b, b_T_c)), se3.compose(se3.inverse(b_T_c), se3.inverse(a_T_b)))


@properties
@given(KINDS, SHAPES, SEEDS)
def test_relative_leads_from_a_to_b(kind, shape, seed):
    world_T_a, world_T_b = (se3.exp(tangents(kind, shape, seed + i)) for i in range(2))
    assert_same(se3.compose(world_T_a, se3.relative(world_T_a, world_T_b)), world_T_b)


def test_compose_broadcasts():
    many, one = se3.exp(tangents("uniform", (4, 1), 0)), se3.exp(tangents("uniform", (3,), 1))
    assert_same(se3.compose(many, one), torch.stack([torch.stack([m @ o for o in one]) for m in many[:, 0]]))


@properties
@given(SHAPES, SEEDS, st.floats(-0.5, 1.5))
def test_interpolation_moves_at_constant_velocity(shape, seed, t):
    world_T_a, xi = se3.exp(tangents("uniform", shape, seed)), tangents("tangent", shape, seed + 1)
    world_T_b = se3.compose(world_T_a, se3.exp(xi))
    assert_same(se3.interpolate(world_T_a, world_T_b, 0.0), world_T_a)
    assert_same(se3.interpolate(world_T_a, world_T_b, 1.0), world_T_b)
    assert_same(se3.relative(world_T_a, se3.interpolate(world_T_a, world_T_b, t)), se3.exp(t * xi))


def test_interpolation_at_several_fractions():
    world_T_a, world_T_b = (se3.exp(tangents("uniform", (), i)) for i in (0, 1))
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    poses = se3.interpolate(world_T_a, world_T_b, t)
    steps = se3.log(se3.relative(poses[:-1], poses[1:]))
    assert_same(steps, steps[:1].expand(4, 6))


@properties
@given(SHAPES, SEEDS)
def test_transform_is_the_homogeneous_product(shape, seed):
    a_T_b = se3.exp(tangents("uniform", shape, seed))
    points = torch.randn(*shape, 2, 5, 3, dtype=torch.float64)
    homogeneous = torch.cat((points, torch.ones_like(points[..., :1])), dim=-1)
    expected = (a_T_b[..., None, None, :, :] @ homogeneous[..., None])[..., :3, 0]
    assert_same(se3.transform(a_T_b, points), expected)
    assert_same(se3.transform(se3.inverse(a_T_b), se3.transform(a_T_b, points)), points)


@properties
@given(SHAPES, SEEDS)
def test_mirror_swaps_left_and_right(shape, seed):
    a_T_b, b_T_c = (se3.exp(tangents("uniform", shape, seed + i)) for i in range(2))
    points = torch.randn(*shape, 5, 3, dtype=torch.float64)
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert_same(se3.transform(se3.mirror(a_T_b), points * flip), se3.transform(a_T_b, points) * flip)
    assert_same(se3.mirror(se3.compose(a_T_b, b_T_c)), se3.compose(se3.mirror(a_T_b), se3.mirror(b_T_c)))


def test_tangent_vectors_are_translation_first():
    xi = torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0, math.pi / 2], dtype=torch.float64)
    a_T_b = se3.exp(torch.cat((torch.zeros(3, dtype=torch.float64), xi[3:])))
    assert_same(a_T_b[:3, :3] @ torch.tensor([1.0, 0, 0], dtype=torch.float64), torch.tensor([0.0, 1, 0]).double())
    assert_same(se3.exp(torch.cat((xi[:3], 0 * xi[3:])))[:3, 3], xi[:3])


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-4, 0.3, 1.0])
def test_gradients_of_exp_and_log(scale):
    xi = (scale * tangents("tangent", (2,), 3) * 10).requires_grad_()
    assert torch.autograd.gradcheck(se3.exp, xi)
    assert torch.autograd.gradcheck(lambda xi: se3.log(se3.exp(xi)), xi)
    assert torch.autograd.gradgradcheck(se3.exp, xi)
    # The Jacobian of log after exp is the identity, known without finite differences.
    jacobian = torch.autograd.functional.jacobian(lambda xi: se3.log(se3.exp(xi)), xi.detach()[0])
    assert_same(jacobian, torch.eye(6, dtype=torch.float64), 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1e-7, 1e-3])
def test_gradients_are_right_close_to_the_identity(dtype, scale):
    """At the identity exp(xi) = 1 + xi^, so the derivative of each entry is known."""
    xi = torch.full((6,), scale, dtype=dtype)
    jacobian = torch.autograd.functional.jacobian(se3.exp, xi)
    expected = hat(torch.eye(6, dtype=dtype)).permute(1, 2, 0)
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=2 * scale + 1e-6)


def test_gradients_of_the_rest():
    world_T_a, world_T_b = (se3.exp(tangents("uniform", (2,), i)).requires_grad_() for i in (0, 1))
    t = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(se3.inverse, world_T_a)
    assert torch.autograd.gradcheck(se3.relative, (world_T_a, world_T_b))
    xi = tangents("tangent", (2,), 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda xi, t: se3.interpolate(se3.exp(xi), world_T_b, t), (xi, t))
    assert_same(
        torch.autograd.grad(se3.interpolate(world_T_a, world_T_a, t).sum(), t)[0],
        torch.zeros(2, dtype=torch.float64),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, -1), (1, 1, 0), (0, -1, 1), (1, -2, 3)])
def test_half_turns_have_a_finite_log_and_gradient(axis, dtype):
    u = torch.nn.functional.normalize(torch.tensor(axis, dtype=dtype), dim=0)
    half_turn = 2 * u[:, None] * u[None] - torch.eye(3, dtype=dtype)
    a_T_b = se3.from_rotation_translation(half_turn, torch.tensor([1.0, 2, 3], dtype=dtype)).requires_grad_()
    xi = se3.log(a_T_b)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    assert xi[3:].norm().item() == pytest.approx(math.pi, abs=tolerance)
    assert torch.autograd.grad(xi.sum(), a_T_b)[0].isfinite().all()
    torch.testing.assert_close(se3.exp(xi), a_T_b, rtol=0, atol=10 * tolerance)


def test_relative_keeps_its_digits_far_from_the_origin():
    world_T_a = se3.exp(tangents("uniform", (100,), 0))
    world_T_a[:, :3, 3] *= 1000
    world_T_a = world_T_a.float()
    world_T_b = se3.compose(world_T_a.double(), se3.exp(tangents("tangent", (100,), 1))).float()
    exact = se3.relative(world_T_a.double(), world_T_b.double())
    assert_same(exact, se3.compose(se3.inverse(world_T_a.double()), world_T_b.double()))
    torch.testing.assert_close(se3.relative(world_T_a, world_T_b).double(), exact, rtol=0, atol=1e-6)


def test_constants_carry_no_graph():
    a_T_b = se3.exp(torch.ones(6))
    assert not a_T_b.requires_grad
    assert not se3.log(a_T_b).requires_grad
    assert se3.exp(torch.ones(6, requires_grad=True)).requires_grad
    with torch.no_grad():
        assert not se3.exp(torch.ones(6, requires_grad=True)).requires_grad


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's forward mode
def test_forward_mode_is_refused_and_not_wrong():
    xi = torch.ones(6, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="jacrev"):
        torch.func.jvp(se3.exp, (xi,), (xi,))
    with pytest.raises(NotImplementedError, match="jacrev"):
        torch.func.jvp(se3.log, (se3.exp(xi),), (se3.exp(xi),))
    assert_same(torch.func.jacrev(lambda xi: se3.log(se3.exp(xi)))(xi), torch.eye(6, dtype=torch.float64))
    many = tangents("tangent", (3,), 0)
    assert_same(torch.func.vmap(se3.exp)(many), se3.exp(many))


def test_optimisation_from_the_identity_reaches_the_pose():
    target = se3.exp(torch.tensor([0.5, -0.3, 0.8, 0.4, -0.6, 0.2]))
    xi = torch.zeros(6, requires_grad=True)
    optimizer = torch.optim.LBFGS([xi], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (se3.exp(xi) - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(se3.exp(xi.detach()), target, rtol=0, atol=1e-4)


def test_autocast_does_not_round_geometry():
    xi, other = tangents("uniform", (5,), 0, torch.float32), tangents("uniform", (5,), 1, torch.float32)
    expected = se3.log(se3.compose(se3.exp(xi), se3.inverse(se3.exp(other))))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = se3.log(se3.compose(se3.exp(xi), se3.inverse(se3.exp(other))))
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert torch.equal(actual, expected)
    half = xi.bfloat16()
    assert torch.equal(se3.exp(half), se3.exp(half.float()))
    assert torch.equal(se3.exp(xi=half), se3.exp(half.float()))


@properties
@given(SHAPES, SEEDS)
def test_product_is_the_matrix_product(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(*shape, 3, 4, generator=generator, dtype=torch.float64)
    right = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    assume(left.numel())
    assert_same(product(left, right), left @ right)

"""Rotations: every name of a rotation converts there and back, and agrees with scipy."""

import math
from itertools import permutations
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.geometry.conversions import quaternion_exp_to_log
from scipy.spatial.transform import Rotation
from torch import Tensor

from checks import assert_same
from vo3d.geometry import (
    euler_from_matrix,
    is_rotation,
    log_quaternion_from_matrix,
    matrix_from_6d,
    matrix_from_euler,
    matrix_from_log_quaternion,
    matrix_from_quaternion,
    quaternion_from_matrix,
    sixd_from_matrix,
    so3_exp,
    so3_log,
)
from vo3d.geometry.rotations import EulerOrder, mean_rotation

ORDERS = ["".join(letters) for letters in permutations("xyz")]
SHAPES = st.sampled_from([(), (1,), (3,), (2, 3), (0,)])
SEEDS = st.integers(0, 2**31 - 1)
SCALES = st.sampled_from([0.0, 1e-12, 1e-7, 1e-3, 1.0, math.pi - 1e-3, math.pi - 1e-7])
properties = settings(max_examples=20, deadline=None)


def rotation_vectors(scale: float, shape: tuple[int, ...], seed: int) -> Tensor:
    """Rotation vectors of length `scale` in every direction."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.nn.functional.normalize(torch.randn(*shape, 3, generator=generator).double(), dim=-1)


def random_rotations(shape: tuple[int, ...], seed: int) -> Tensor:
    """Rotations drawn uniformly."""
    count = math.prod(shape)
    matrices = Rotation.random(count, random_state=np.random.RandomState(seed)).as_matrix() if count else np.empty(0)
    return torch.from_numpy(matrices.reshape(*shape, 3, 3))


def jacobian_at(function, point: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(function, point)


def test_all_orders_are_tested():
    assert sorted(ORDERS) == sorted(get_args(EulerOrder))


@properties
@given(SHAPES, SEEDS)
def test_uniform_rotations_go_there_and_back(shape, seed):
    R = random_rotations(shape, seed)
    assert_same(matrix_from_quaternion(quaternion_from_matrix(R)), R)
    assert_same(matrix_from_log_quaternion(log_quaternion_from_matrix(R)), R)
    assert_same(matrix_from_6d(sixd_from_matrix(R)), R)
    assert_same(so3_exp(so3_log(R)), R)
    for order in ORDERS:
        assert_same(matrix_from_euler(euler_from_matrix(R, order), order), R)


@properties
@given(SCALES, SHAPES, SEEDS)
def test_rotation_vectors_go_there_and_back(scale, shape, seed):
    phi = rotation_vectors(scale, shape, seed)
    assert_same(so3_log(so3_exp(phi)), phi, 1e-7 if scale > 3 else 1e-15 + 1e-9 * scale)
    assert_same(log_quaternion_from_matrix(so3_exp(phi)), phi / 2, 1e-7)


@properties
@given(SEEDS)
def test_scipy_agrees(seed):
    R = random_rotations((20,), seed)
    oracle = Rotation.from_matrix(R.numpy())
    assert_same(so3_log(R), torch.from_numpy(oracle.as_rotvec()))
    assert_same(quaternion_from_matrix(R), torch.from_numpy(oracle.as_quat(canonical=True, scalar_first=True)))
    for order in ORDERS:
        assert_same(euler_from_matrix(R, order), torch.from_numpy(oracle.as_euler(order.upper())), 1e-6)


def test_the_default_order_is_yaw_pitch_roll_of_a_camera():
    yaw, pitch, roll = 0.3, -0.2, 0.1
    expected = Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_matrix()
    R = matrix_from_euler(torch.tensor([yaw, pitch, roll], dtype=torch.float64))
    assert_same(R, torch.from_numpy(expected))
    # y points down, so a positive yaw turns the view to the right.
    ahead = matrix_from_euler(torch.tensor([0.1, 0.0, 0.0]).double()) @ torch.tensor([0.0, 0, 1]).double()
    assert ahead[0] > 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("middle", [math.pi / 2, -math.pi / 2])
@pytest.mark.parametrize("offset", [0.0, 1e-16, 1e-12, 1e-9, 1e-6, 1e-3])
def test_gimbal_lock_still_gives_the_rotation(order, middle, offset):
    angles = torch.tensor([0.7, middle - math.copysign(offset, middle), -1.1], dtype=torch.float64, requires_grad=True)
    R = matrix_from_euler(angles, order)
    found = euler_from_matrix(R, order)
    assert_same(matrix_from_euler(found, order), R, 1e-14)
    assert found[1].item() == pytest.approx(angles[1].item(), abs=1e-9)
    assert torch.autograd.grad(found.sum(), angles)[0].isfinite().all()


@pytest.mark.parametrize("order", ORDERS)
def test_exact_gimbal_lock_gives_the_whole_turn_to_the_third_angle(order):
    # Entries of exactly 0 and 1, as a quarter turn has them; the first angle is not determined.
    R = matrix_from_euler(torch.tensor([0.0, math.pi / 2, 0.0], dtype=torch.float64), order).round()
    R = R @ matrix_from_euler(torch.tensor([0.0, 0.0, 0.4], dtype=torch.float64), order)
    expected = torch.tensor([0.0, math.pi / 2, 0.4], dtype=torch.float64)
    assert_same(euler_from_matrix(R, order), expected)
    assert_same(euler_from_matrix(torch.where(R == 0, -0.0, R), order), expected)  # the angle of (0, -0) would be pi
    leaf = R.clone().requires_grad_()
    assert torch.autograd.grad(euler_from_matrix(leaf, order).sum(), leaf)[0].isfinite().all()


@properties
@given(SHAPES, SEEDS)
def test_quaternions_have_a_canonical_sign(shape, seed):
    R = random_rotations(shape, seed)
    q = quaternion_from_matrix(R)
    assert (q[..., 0] >= 0).all()
    assert_same(q.norm(dim=-1), torch.ones(shape, dtype=torch.float64))
    assert_same(matrix_from_quaternion(-3 * q), R)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, 0, -1), (0, -3, 4)])
def test_half_turns_have_one_quaternion(axis):
    u = torch.tensor(axis, dtype=torch.float64) / math.hypot(*axis)
    half_turn = 2 * u[:, None] * u[None] - torch.eye(3, dtype=torch.float64)
    q = quaternion_from_matrix(half_turn)
    first = next(value for value in q.tolist() if abs(value) > 1e-12)
    assert first > 0
    assert_same(q[1:].abs(), u.abs())
    assert_same(so3_log(half_turn), math.pi * q[1:])


def test_quaternions_are_w_first():
    quarter_about_z = torch.tensor([math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4)], dtype=torch.float64)
    expected = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    assert_same(matrix_from_quaternion(quarter_about_z), expected)
    assert_same(quaternion_from_matrix(expected), quarter_about_z)


@properties
@given(SEEDS)
def test_log_quaternion_is_the_logarithm_of_the_canonical_quaternion(seed):
    R = random_rotations((10,), seed)
    q = quaternion_from_matrix(R)
    # MapNet, equation 3: v / |v| * arccos(u)
    expected = q[:, 1:] / q[:, 1:].norm(dim=-1, keepdim=True) * q[:, :1].acos()
    assert_same(log_quaternion_from_matrix(R), expected, 1e-6)
    assert_same(log_quaternion_from_matrix(R), quaternion_exp_to_log(q))
    assert (log_quaternion_from_matrix(R).norm(dim=-1) <= math.pi / 2 + 1e-12).all()


@properties
@given(SHAPES, SEEDS)
def test_6d_gives_a_rotation_from_any_two_vectors(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    sixd = torch.randn(*shape, 6, generator=generator, dtype=torch.float64)
    R = matrix_from_6d(sixd)
    assert is_rotation(R, 1e-9).all()
    # The first vector keeps its direction; the second stays in the plane of the two, on its side.
    assert_same(torch.linalg.cross(R[..., 0], sixd[..., :3]), torch.zeros(*shape, 3, dtype=torch.float64))
    assert ((R[..., 1] * sixd[..., 3:]).sum(-1) > 0).all()


def test_degenerate_6d_is_finite():
    sixd = torch.tensor([[0.0] * 6, [1.0, 0, 0, 2, 0, 0]], requires_grad=True)
    R = matrix_from_6d(sixd)
    assert R.isfinite().all()
    assert not is_rotation(R).any()
    assert torch.autograd.grad(R.sum(), sixd)[0].isfinite().all()


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-3, 1.0, 3.0])
def test_gradients_of_exp_and_log(scale):
    phi = rotation_vectors(scale, (), 4)
    assert torch.autograd.gradcheck(so3_exp, phi.clone().requires_grad_())
    identity = torch.eye(3, dtype=torch.float64)
    assert_same(jacobian_at(lambda phi: so3_log(so3_exp(phi)), phi), identity)
    assert_same(
        jacobian_at(lambda log_q: log_quaternion_from_matrix(matrix_from_log_quaternion(log_q)), phi / 2), identity
    )


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_of_euler_angles(order):
    for angles in ([0.0, 0.0, 0.0], [1e-7, -1e-7, 1e-7], [0.5, -0.4, 2.0]):
        point = torch.tensor(angles, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda a: matrix_from_euler(a, order), point.clone().requires_grad_())
        there_and_back = jacobian_at(lambda a: euler_from_matrix(matrix_from_euler(a, order), order), point)
        assert_same(there_and_back, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_gradients_of_quaternions_and_6d(seed):
    R = torch.eye(3, dtype=torch.float64) if seed is None else random_rotations((), seed)
    q, sixd = quaternion_from_matrix(R), sixd_from_matrix(R)
    assert torch.autograd.gradcheck(matrix_from_quaternion, q.clone().requires_grad_())
    assert torch.autograd.gradcheck(matrix_from_6d, (1.3 * sixd).requires_grad_())
    # There and back is the projection that normalises: 1 - q q^T.
    projection = torch.eye(4, dtype=torch.float64) - q[:, None] * q[None]
    assert_same(jacobian_at(lambda q: quaternion_from_matrix(matrix_from_quaternion(q)), q), projection)


def test_the_mean_rotation_lies_in_the_middle():
    middle = random_rotations((), 3)
    turns = rotation_vectors(0.7, (5,), 4)
    around = middle @ so3_exp(torch.cat((turns, -turns)))
    torch.testing.assert_close(mean_rotation(around), middle, rtol=0, atol=1e-12)
    torch.testing.assert_close(mean_rotation(middle[None]), middle, rtol=0, atol=1e-12)
    for seed in range(20):  # rotations all over: the nearest orthogonal matrix may be a reflection
        scattered = random_rotations((3,), seed)
        found = mean_rotation(scattered)
        assert is_rotation(found)
        others = random_rotations((500,), seed + 100)
        distance = (scattered - found).square().sum()
        assert (distance <= (scattered - others[:, None]).square().sum((1, 2, 3))).all()
    assert any(
        torch.linalg.det(torch.linalg.svd(r.mean(0))[0] @ torch.linalg.svd(r.mean(0))[2]) < 0
        for r in (random_rotations((3,), seed) for seed in range(20))
    )


def test_is_rotation_tells_rotations_from_the_rest():
    R = random_rotations((2, 3), 0)
    assert is_rotation(R).shape == (2, 3)
    assert is_rotation(R).all()
    assert is_rotation(R.float()).all()
    assert not is_rotation(-R).any()
    assert not is_rotation(1.001 * R).any()
    assert is_rotation(1.001 * R, tolerance=0.01).all()
    assert not is_rotation(torch.full((3, 3), math.nan))
    assert not is_rotation(torch.zeros(3, 3))


def test_autocast_does_not_round_rotations():
    angles = torch.tensor([[0.3, -0.2, 0.1]])
    expected = matrix_from_euler(angles, "zyx")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(matrix_from_euler(angles, "zyx"), expected)
        assert torch.equal(euler_from_matrix(expected, "zyx"), euler_from_matrix(expected, "zyx").float())

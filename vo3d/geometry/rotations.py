"""Rotations and their many names, each converted to and from the 3x3 matrix, with any leading batch shape.

Convention: `a_R_b` rotates vectors of frame b into frame a; quaternions are (w, x, y, z), w >= 0; angles in radians.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from kornia.geometry.conversions import (
    quaternion_to_axis_angle,
    quaternion_to_rotation_matrix,
    rotation_matrix_to_quaternion,
)
from kornia.geometry.liegroup import So3
from torch import Tensor
from torch.autograd import forward_ad

from vo3d.geometry.precision import full_precision, product

EulerOrder = Literal["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"]

SMALL_ANGLE = 0.1  # radians: below it a series of four terms is exact to rounding in float64


@full_precision
def matrix_from_quaternion(q_wxyz: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation of a quaternion of any length but zero; q and -q are the same rotation.

    Convention: Hamilton's quaternion, (w, x, y, z).
    """
    return quaternion_to_rotation_matrix(q_wxyz)


@full_precision
def quaternion_from_matrix(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """The unit quaternion of a rotation, of the two the one whose first component that is not zero is positive.

    Convention: Hamilton's quaternion, (w, x, y, z), so w >= 0.
    """
    q = rotation_matrix_to_quaternion(R)
    w, x, y, z = q.unbind(-1)
    leading = torch.where(w != 0, w, torch.where(x != 0, x, torch.where(y != 0, y, z)))
    return torch.where((leading < 0)[..., None], -q, q)


def axis_rotation(axis: int, angle: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation by an angle about the coordinate axis 0 (x), 1 (y) or 2 (z).

    Convention: right-handed; radians.
    """
    zero, one, s, c = torch.zeros_like(angle), torch.ones_like(angle), angle.sin(), angle.cos()
    rows = (
        (one, zero, zero, zero, c, -s, zero, s, c),
        (c, zero, s, zero, one, zero, -s, zero, c),
        (c, -s, zero, s, c, zero, zero, zero, one),
    )[axis]
    return torch.stack(rows, dim=-1).reshape(*angle.shape, 3, 3)


@full_precision
def matrix_from_euler(angles: Float[Tensor, "*b 3"], order: EulerOrder = "yxz") -> Float[Tensor, "*b 3 3"]:
    """The rotation of three turns about the axes of `order`.

    Convention: intrinsic (each turn about the axes as the turns before left them), angles in the order of the letters:
    "yxz" is R_y(angles[0]) R_x(angles[1]) R_z(angles[2]), that is yaw, pitch, roll of a camera whose y points down.
    """
    first, second, third = (
        axis_rotation("xyz".index(axis), angle) for axis, angle in zip(order, angles.unbind(-1), strict=True)
    )
    return product(product(first, second), third)


@full_precision
def euler_from_matrix(R: Float[Tensor, "*b 3 3"], order: EulerOrder = "yxz") -> Float[Tensor, "*b 3"]:
    """Three turns about the axes of `order` that make the rotation; the middle one lies in [-pi/2, pi/2].

    At gimbal lock (middle angle exactly +-pi/2) only the sum or difference of the outer angles is defined: the first
    is 0 and the third takes the whole turn. Close to it the split between the two is ill-conditioned, but the three
    together always give back R to rounding, because the third angle is measured after the first has been undone.

    Convention: as `matrix_from_euler`. Source: Shoemake, "Euler angle conversion", Graphics Gems IV, 1994.
    """
    i, j, k = ("xyz".index(axis) for axis in order)
    sign = 1 if (j - i) % 3 == 1 else -1  # whether the order is even or odd
    sine, cosine = -sign * R[..., j, k], R[..., k, k]  # of the first angle, times the cosine of the second
    locked = (sine == 0) & (cosine == 0)
    first = torch.atan2(sine, torch.where(locked, torch.ones_like(cosine), cosine))
    s, c = first.sin(), first.cos()
    second = torch.atan2(sign * R[..., i, k], c * R[..., k, k] - sign * s * R[..., j, k])
    third = torch.atan2(
        sign * c * R[..., j, i] + s * R[..., k, i],
        c * R[..., j, j] + sign * s * R[..., k, j],
    )
    return torch.stack((first, second, third), dim=-1)


@full_precision
def matrix_from_log_quaternion(log_q: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation of a log quaternion: axis times half the angle.

    Convention: as `log_quaternion_from_matrix`.
    """
    return so3_exp(2 * log_q)


@full_precision
def log_quaternion_from_matrix(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """The logarithm of the unit quaternion with w >= 0: axis times half the angle, of length at most pi/2.

    Convention: half of the rotation vector `so3_log`.
    Source: Brahmbhatt et al., "Geometry-aware learning of maps for camera localization" (MapNet), 2018, equation 3.
    """
    return so3_log(R) / 2


@full_precision
def matrix_from_6d(sixd: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation whose first two columns are the given vectors after Gram-Schmidt: continuous, hence easy to learn.

    The two vectors must be neither zero nor parallel; if they are, what comes back is finite but no rotation.

    Convention: first column, then second column. Source: Zhou et al., "On the continuity of rotation representations
    in neural networks", 2019, equation 15.
    """
    x = torch.nn.functional.normalize(sixd[..., :3], dim=-1)
    y = sixd[..., 3:]
    y = torch.nn.functional.normalize(y - (x * y).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)


def sixd_from_matrix(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 6"]:
    """The first two columns of a rotation, one after the other.

    Convention: as `matrix_from_6d`. Source: Zhou et al. 2019, equation 14.
    """
    return R[..., :2].mT.flatten(-2)


@full_precision
def so3_exp(phi: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation by |phi| radians about phi (Rodrigues); smooth everywhere, the identity included."""
    with graph_only_for(phi):
        return So3.exp(phi).matrix()


@full_precision
def so3_log(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """The rotation vector, axis times angle, of length at most pi; accurate from 0 to pi inclusive.

    At exactly pi both axes are right; the one returned has a positive first component that is not zero.
    """
    phi: Tensor = quaternion_to_axis_angle(quaternion_from_matrix(R))
    return phi


def cross_matrix(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Write the cross product as a matrix: `cross_matrix(v) @ u` is v x u."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).reshape(*v.shape, 3)


@full_precision
def so3_right_jacobian(phi: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Compute J with exp(phi + d) = exp(phi) exp(J d) for small d; smooth everywhere, the identity included.

    Source: Forster et al., "On-manifold preintegration for real-time visual-inertial odometry", TRO 2017, equation 8.
    """
    squared = phi.square().sum(-1)
    small = squared < SMALL_ANGLE**2
    x = torch.where(small, squared, 0.0)  # each branch sees arguments at which its derivatives are finite
    angle = torch.where(small, 1.0, squared).sqrt()
    first = torch.where(small, 1 / 2 - x / 24 + x**2 / 720 - x**3 / 40320, 2 * ((angle / 2).sin() / angle).square())
    second = torch.where(small, 1 / 6 - x / 120 + x**2 / 5040 - x**3 / 362880, (angle - angle.sin()) / angle**3)
    turn = cross_matrix(phi)
    eye = torch.eye(3, dtype=phi.dtype, device=phi.device)
    return eye - first[..., None, None] * turn + second[..., None, None] * product(turn, turn)


@full_precision
def mean_rotation(R: Float[Tensor, "n *b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation nearest to the mean of n matrices: the chordal mean.

    Source: Hartley et al., "Rotation averaging", IJCV 2013, section 5.3.
    """
    u, _, vt = torch.linalg.svd(R.mean(0))
    last = torch.linalg.det(product(u, vt)).sign()  # -1 where the nearest orthogonal matrix is a reflection
    handed = torch.stack((torch.ones_like(last), torch.ones_like(last), last), dim=-1)
    return product(u * handed[..., None, :], vt)


def is_rotation(R: Float[Tensor, "*b 3 3"], tolerance: float = 1e-5) -> Bool[Tensor, "*b"]:
    """Tell whether R is a rotation: R R^T is the identity within `tolerance` in each entry, and R is no reflection.

    The default fits float32 and text files with seven digits. NaN is no rotation.
    """
    R = R.double()
    error = (R @ R.mT - torch.eye(3, dtype=R.dtype, device=R.device)).abs().amax(dim=(-2, -1))
    proper: Tensor = torch.linalg.det(R) > 0
    return proper & (error <= tolerance)


def graph_only_for(argument: Tensor) -> torch.autograd.grad_mode.set_grad_enabled:
    """Record a graph only if `argument` asks for one: for calls of kornia's Lie classes.

    Those make a parameter of every constant that they are given, so that results of constants would ask for gradients;
    and the parameter forgets the tangent of forward-mode differentiation, which would give zeros: that is refused.
    """
    if forward_ad.unpack_dual(argument).tangent is not None:  # type: ignore[no-untyped-call]
        raise NotImplementedError("exp and log have no forward-mode derivative: use jacrev, not jacfwd or jvp")
    return torch.set_grad_enabled(torch.is_grad_enabled() and argument.requires_grad)

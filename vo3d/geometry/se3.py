"""Rigid motions, SE(3), as plain 4x4 tensors with any leading batch shape.

Convention: `a_T_b` maps points of frame b into frame a; a tangent vector is translation first: (rho, phi), in metres
and radians, with exp(rho, phi) = [[exp(phi^), V(phi) rho], [0, 1]].
"""

import torch
from jaxtyping import Float
from kornia.geometry.liegroup import Se3
from torch import Tensor

from vo3d.geometry.precision import full_precision, product
from vo3d.geometry.rotations import graph_only_for


@full_precision
def exp(xi: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 4 4"]:
    """The motion of a tangent vector; smooth everywhere, the identity included.

    Convention: `xi` is translation (metres) before rotation (radians); V couples the two.
    Source: Eade, "Lie groups for 2D and 3D transformations", 2013, section 3.2.
    """
    with graph_only_for(xi):
        return Se3.exp(xi).matrix()


@full_precision
def log(a_T_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 6"]:
    """The principal tangent vector of a motion: the inverse of `exp` for rotations below pi.

    At an angle of exactly pi both axes are right; one of them is returned. Gradients are finite everywhere, and right
    except at pi, where the logarithm jumps.

    Convention: translation (metres) before rotation (radians), of length at most pi.
    """
    with graph_only_for(a_T_b):
        return Se3.from_matrix(a_T_b).log()


@full_precision
def inverse(a_T_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """`b_T_a`, in closed form: the transposed rotation; exact where a general inverse would round.

    The upper left 3x3 block must be a rotation (`rotations.is_rotation`); that is not checked here.
    """
    b_R_a = a_T_b[..., :3, :3].mT
    return from_rotation_translation(b_R_a, -product(b_R_a, a_T_b[..., :3, 3:])[..., 0])


@full_precision
def compose(first: Float[Tensor, "*#b 4 4"], *rest: Float[Tensor, "*#b 4 4"]) -> Float[Tensor, "*#b 4 4"]:
    """The product of motions from left to right: `compose(a_T_b, b_T_c, c_T_d)` is `a_T_d`; batch shapes broadcast."""
    for factor in rest:
        first = product(first, factor)
    return first


@full_precision
def relative(world_T_a: Float[Tensor, "*#b 4 4"], world_T_b: Float[Tensor, "*#b 4 4"]) -> Float[Tensor, "*#b 4 4"]:
    """The pose of b in the frame of a, `a_T_b`; batch shapes broadcast.

    Positions are subtracted before they are turned: far from the origin the product `inverse(world_T_a) @ world_T_b`
    loses in float32 what two large numbers have in common, a millimetre at four kilometres.
    """
    a_R_world = world_T_a[..., :3, :3].mT
    apart = world_T_b[..., :3, 3:] - world_T_a[..., :3, 3:]
    a_R_b = product(a_R_world, world_T_b[..., :3, :3])
    return from_rotation_translation(a_R_b, product(a_R_world, apart)[..., 0])


@full_precision
def interpolate(
    world_T_a: Float[Tensor, "*#b 4 4"], world_T_b: Float[Tensor, "*#b 4 4"], t: Float[Tensor, "*#b"] | int | float
) -> Float[Tensor, "*#b 4 4"]:
    """The pose at the fraction `t` of the way from a (0) to b (1): the screw motion of constant velocity.

    `t` outside [0, 1] extrapolates with the same velocity. Rotations between a and b must stay below pi.
    """
    xi = log(relative(world_T_a, world_T_b))
    return compose(world_T_a, exp(xi * (t[..., None] if isinstance(t, Tensor) else t)))


@full_precision
def from_rotation_translation(
    a_R_b: Float[Tensor, "*#b 3 3"], a_t_b: Float[Tensor, "*#b 3"]
) -> Float[Tensor, "*#b 4 4"]:
    """The motion `a_T_b` of a rotation and the position of b's origin in a; batch shapes broadcast."""
    batch = torch.broadcast_shapes(a_R_b.shape[:-2], a_t_b.shape[:-1])  # type: ignore[no-untyped-call]
    top = torch.cat((a_R_b.expand(*batch, 3, 3), a_t_b[..., None].expand(*batch, 3, 1)), dim=-1)
    bottom = top.new_tensor((0.0, 0.0, 0.0, 1.0)).expand(*batch, 1, 4)
    return torch.cat((top, bottom), dim=-2)


@full_precision
def transform(a_T_b: Float[Tensor, "*b 4 4"], points: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
    """Points of frame b, seen in frame a.

    The batch axes of `a_T_b` are the leading axes of `points` (each equal, or 1); what other axes `points` has, such as
    `h w`, share the motion.
    """
    a_T_b = a_T_b.reshape(*a_T_b.shape[:-2], *(1,) * (points.ndim - a_T_b.ndim + 1), 4, 4)
    x, y, z = points[..., None].unbind(-2)
    columns = a_T_b[..., :3, :].unbind(-1)
    # Not a matmul: three multiplications and additions keep float32 where TF32 is allowed.
    return columns[0] * x + columns[1] * y + columns[2] * z + columns[3]


@full_precision
def mirror(a_T_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """The motion that cameras seem to make when every image is flipped left to right: M T M, M = diag(-1, 1, 1, 1)."""
    sign = a_T_b.new_tensor((-1.0, 1.0, 1.0, 1.0))
    return a_T_b * sign * sign[:, None]

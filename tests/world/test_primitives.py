"""Ray casting of solids against definitions: a ray enters where the first of many samples along it is inside."""

import pytest
import torch

from solids import inside
from vo3d.world.primitives import BALL, BOX, CYLINDER, ENTER, PLANE, local_normal

KINDS = {"plane": PLANE, "box": BOX, "cylinder": CYLINDER, "ball": BALL}


def rays(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from outside every solid (above the plane as well) towards its neighbourhood."""
    angle = torch.rand(count, generator=generator, dtype=torch.float64) * 2 * torch.pi
    origin = torch.stack((3 * angle.cos(), -1.5 - angle.sin() ** 2, 3 * angle.sin()), 1)
    target = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 3 - 1.5
    return origin, (target - origin) * (0.2 + torch.rand(count, 1, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("name", KINDS)
def test_rays_enter_where_dense_sampling_finds_the_first_point_inside(name, generator):
    kind = KINDS[name]
    origin, direction = rays(generator, 300)
    t = ENTER[kind](tuple(origin.T), tuple(direction.T))
    steps = torch.linspace(0, 30, 30001, dtype=torch.float64)
    for o, d, entered in zip(origin, direction, t, strict=True):
        within = inside(torch.full((len(steps),), kind), o + steps[:, None] * d)
        if within.any():
            assert abs(float(steps[within.long().argmax()]) - float(entered)) < 1.1e-3
        elif entered < 30:  # a chord shorter than the sampling
            chord = inside(torch.full((1,), kind), (o + (entered + 1e-4) * d)[None])
            assert not chord or inside(torch.full((1,), kind), (o + (entered + 2e-3) * d)[None]).logical_not().all()
    assert 60 < int((t < torch.inf).sum()) <= 300


@pytest.mark.parametrize("name", KINDS)
def test_rays_that_look_away_or_start_inside_see_nothing(name, generator):
    kind = KINDS[name]
    origin, direction = rays(generator, 200)
    t = ENTER[kind](tuple(origin.T), tuple(direction.T))
    away = ENTER[kind](tuple(origin.T), tuple(-direction.T))
    assert (away[t < torch.inf] == torch.inf).all()
    within = torch.tensor([[0.1, 0.2, -0.3]], dtype=torch.float64).expand(200, 3)
    assert (ENTER[kind](tuple(within.T), tuple(direction.T)) == torch.inf).all()


def test_ball_agrees_with_the_quadratic_formula(generator):
    origin, direction = rays(generator, 500)
    t = ENTER[BALL](tuple(origin.T), tuple(direction.T))
    a, b = direction.square().sum(1), (origin * direction).sum(1)
    root = b**2 - a * (origin.square().sum(1) - 1)
    expected = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)
    torch.testing.assert_close(t, expected)


@pytest.mark.parametrize("name", KINDS)
def test_normals_face_the_ray_and_moving_along_them_leaves_the_solid(name, generator):
    kind = KINDS[name]
    origin, direction = rays(generator, 500)
    t = ENTER[kind](tuple(origin.T), tuple(direction.T))
    hit = t < torch.inf
    point = (origin + t[:, None] * direction)[hit]
    kinds = torch.full((len(point),), kind)
    normal, axis = local_normal(kinds, point.T.float())
    assert ((normal.T * direction[hit]).sum(1) < 1e-6).all()
    assert not inside(kinds, point + 1e-3 * normal.T).any()
    assert inside(kinds, point - 1e-3 * normal.T).all()
    assert (axis >= 0).all()
    assert (axis <= 2).all()

"""The colour of each pixel: paints under sun and sky light, haze, and the sky itself."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.world.casting import Camera, Seen
from vo3d.world.primitives import local_normal
from vo3d.world.scene import Hits, Light, Scene
from vo3d.world.textures import fractal_noise

STEEPEST = 0.02  # cosine at which a grazing surface's footprint stops growing


def shade(scene: Scene, seen: Seen, camera: Camera, world_T_cam: Float64[Tensor, "4 4"]) -> Float[Tensor, "3 t 64"]:
    """Linear radiance of every pixel, in tile order; 1 is a white paper in full light."""
    position = world_T_cam[:3, 3].float()
    ray_T_pixel = (world_T_cam[:3, :3] @ camera.K.inverse()).float()
    depth, solid = seen.depth.flatten(), seen.solid.flatten()
    x, y = seen.pixel[0].flatten(), seen.pixel[1].flatten()
    ray = torch.stack([ray_T_pixel[i, 0] * x + ray_T_pixel[i, 1] * y + ray_T_pixel[i, 2] for i in range(3)])
    image = torch.empty(3, len(depth), device=depth.device)
    solid_rows = torch.cat(
        (
            seen.solids.rotation.flatten(1),
            seen.solids.half,
            (seen.solids.centre - position),
            seen.solids.kind[:, None].float(),
            seen.solids.material,
        ),
        1,
    ).T.contiguous()
    hit = depth < torch.inf
    paint = torch.where(hit, seen.solids.paint[solid] if len(seen.solids) else -1, -1)
    for index, colour in enumerate(scene.paints):
        where = (paint == index).nonzero()[:, 0]
        if not len(where):
            continue
        hits = _surface(scene, solid_rows[:, solid[where]], depth[where], ray[:, where], ray_T_pixel, position)
        albedo, sunlit = colour(hits)
        radiance = albedo * _light(scene.light, hits.normal, sunlit)
        far = 1 - torch.exp(depth[where] * (-1.0 / scene.light.haze))
        image[:, where] = torch.lerp(radiance, _column(scene.light.horizon, depth), far)
    where = (~hit).nonzero()[:, 0]
    if len(where):
        image[:, where] = _sky(scene, ray[:, where], float(1 / camera.K[0, 0]))
    return image.view(3, *seen.depth.shape)


def _surface(scene: Scene, rows: Tensor, depth: Tensor, ray: Tensor, ray_T_pixel: Tensor, position: Tensor) -> Hits:
    """Points, normals and texture coordinates where rays meet solids; `rows` holds each point's solid."""
    turn, half, offset, kind, material = rows[:9].view(3, 3, -1), rows[9:12], rows[12:15], rows[15].int(), rows[16:]

    def into_solid(vector: Tensor) -> Tensor:
        return torch.stack([turn[0, i] * vector[0] + turn[1, i] * vector[1] + turn[2, i] * vector[2] for i in range(3)])

    local = into_solid(ray * depth - offset)
    normal, axis = local_normal(kind, local / half)
    normal = normal / half
    normal = normal / torch.linalg.vector_norm(normal, dim=0)
    direction = into_solid(ray)
    slope = (direction * normal).sum(0).clamp(max=-STEEPEST)
    # a runs along x, or z on the faces that look along x; b runs down y, or along z on those that look along y.
    flat, sideways = axis == 1, axis == 0
    steps = []
    for pixel_axis in range(2):
        change = into_solid(ray_T_pixel[:, pixel_axis, None].expand(3, len(depth)))
        step = depth * (change - direction * ((change * normal).sum(0) / slope))
        steps.append((torch.where(sideways, step[2], step[0]), torch.where(flat, step[2], step[1])))
    return Hits(
        a=torch.where(sideways, local[2], local[0]),
        b=torch.where(flat, local[2], local[1]),
        a_step=torch.stack((steps[0][0], steps[1][0])),
        b_step=torch.stack((steps[0][1], steps[1][1])),
        axis=axis,
        local=local,
        half=half,
        world=ray * depth + position[:, None],
        normal=torch.stack(
            [turn[i, 0] * normal[0] + turn[i, 1] * normal[1] + turn[i, 2] * normal[2] for i in range(3)]
        ),
        material=material,
        lattice=scene.lattice,
    )


def _light(light: Light, normal: Tensor, sunlit: Tensor) -> Float[Tensor, "3 n"]:
    """Light on a surface: Lambert's law for the sun, and a sky that is brighter above (y is down)."""
    sun = (_column(light.to_sun, normal) * normal).sum(0).clamp(min=0) * sunlit
    sky = 0.7 - 0.3 * normal[1]
    return _column(light.sun, normal) * sun + _column(light.ambient, normal) * sky


def _sky(scene: Scene, ray: Tensor, pixel_angle: float) -> Float[Tensor, "3 n"]:
    """Sky at infinity: a gradient, a glow about the sun, clouds, and a far line of trees on the horizon."""
    light = scene.light
    ray = ray / torch.linalg.vector_norm(ray, dim=0)
    up = (-ray[1]).clamp(min=0)
    colour = torch.lerp(_column(light.horizon, ray), _column(light.zenith, ray), 1 - (1 - up) ** 4)
    glow = (_column(light.to_sun, ray) * ray).sum(0).clamp(min=0)
    colour = colour + _column(light.sun, ray) * (0.25 * glow**8 + 2.0 * glow**256)
    height = up + 0.12
    clouds = fractal_noise(
        scene.lattice, ray[0] / height * 1.5, ray[2] / height * 1.5, pixel_angle * 2 / height**2, 1.0, 4
    )[0]
    cover = ((clouds + light.clouds * 2 - 1) * 1.2).clamp(0, 1) * (up * 8).clamp(0, 1)
    colour = torch.lerp(colour, _column((0.9, 0.9, 0.92), ray), cover * 0.85)
    azimuth = torch.atan2(ray[0], ray[2])
    footprint = torch.full_like(up, pixel_angle)
    trees = 0.035 + 0.025 * fractal_noise(scene.lattice, azimuth, torch.zeros_like(up), footprint, 0.15, 4)[0]
    wooded = ((trees - up) / pixel_angle + 0.5).clamp(0, 1)
    return torch.lerp(colour, _column((0.16, 0.22, 0.17), ray) * 0.4 + _column(light.horizon, ray) * 0.55, wooded)


def _column(values: tuple[float, float, float], like: Tensor) -> Float[Tensor, "3 1"]:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]

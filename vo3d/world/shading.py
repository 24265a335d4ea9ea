"""The colour of each pixel: paints under the light of sun, sky and lamps, and haze."""

from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from vo3d.world.casting import Camera, Seen
from vo3d.world.lamps import lamp_light
from vo3d.world.primitives import PLANE, TRIANGLE, local_normal
from vo3d.world.scene import Hits, Light, Scene, Solids, column
from vo3d.world.shadows import lit, shaded, shadow_bounds
from vo3d.world.sky import low_sky, sky_light

SHADOW_RANGE = 70.0  # metres from the camera within which moving things cast shadows
STEEPEST = 0.02  # cosine at which a grazing surface's footprint stops growing


def shade(
    scene: Scene, seen: Seen, camera: Camera, world_T_cam: Float64[Tensor, "4 4"], time: float
) -> Float[Tensor, "3 t 64"]:
    """Compute the linear radiance of every pixel at a time (seconds), in tile order; 1: white paper in full light."""
    light, position = scene.light, world_T_cam[:3, 3].float()
    ray_T_pixel = (world_T_cam[:3, :3] @ camera.K.inverse()).float()
    depth, solid = seen.depth.flatten(), seen.solid.flatten()
    x, y = seen.pixel[0].flatten(), seen.pixel[1].flatten()
    ray = torch.stack([ray_T_pixel[i, 0] * x + ray_T_pixel[i, 1] * y + ray_T_pixel[i, 2] for i in range(3)])
    image = torch.empty(3, len(depth), device=depth.device)
    solid_rows = torch.cat(
        (
            seen.solids.rotation.flatten(1),
            seen.solids.half,
            seen.solids.seen_from(world_T_cam[:3, 3]).centre,
            seen.solids.kind[:, None].float(),
            seen.solids.material,
        ),
        1,
    ).T.contiguous()
    sky = (depth == torch.inf).nonzero()[:, 0]
    if len(sky):
        image[:, sky] = sky_light(light, scene.lattice, ray[:, sky], float(1 / camera.K[0, 0]))
    # Pixels in the order of their paints: surfaces are worked out once, and each paint gets a slice.
    paint = seen.of_solid(seen.solids.paint, -1).flatten()
    groups = [(paint == index).nonzero()[:, 0] for index in range(len(scene.paints))]
    where = torch.cat(groups)
    depth, ray = depth[where], ray[:, where]
    hits = _surface(scene, solid_rows[:, solid[where]], depth, ray, ray_T_pixel, position)
    if seen.solids.shape.shape[1]:
        _curve(hits, seen.solids, solid[where])
    albedo, sunlit = torch.empty_like(hits.world), torch.empty_like(depth)
    glow = torch.zeros_like(hits.world) if light.dark or light.wet > 0 else None
    for colour, group, end in zip(scene.paints, groups, accumulate(map(len, groups)), strict=True):
        if len(group):
            part = slice(end - len(group), end)
            albedo[:, part], sunlit[part], *glowing = colour(hits.part(part))
            if glow is not None and glowing:
                glow[:, part] = glowing[0]
    if scene.indoors is not None:
        solids = scene.placed(time, torch.float64).seen_from(world_T_cam[:3, 3])
        illumination = scene.indoors.illumination(hits, solids, ray * depth)
    else:
        illumination = _outdoors(scene, hits, sunlit, depth, ray * depth, world_T_cam, time)
    radiance = albedo * illumination if glow is None else torch.addcmul(glow, albedo, illumination)
    far = 1 - torch.exp(depth * (ray * ray).sum(0).sqrt() * (-1.0 / light.haze))
    image[:, where] = torch.lerp(radiance, low_sky(light, ray), far)
    return image.view(3, *seen.depth.shape)


def _surface(scene: Scene, rows: Tensor, depth: Tensor, ray: Tensor, ray_T_pixel: Tensor, position: Tensor) -> Hits:
    """Compute points, normals and texture coordinates where rays meet solids; `rows` holds each point's solid."""
    turn, half, offset, kind, material = rows[:9].view(3, 3, -1), rows[9:12], rows[12:15], rows[15].int(), rows[16:]

    def into_solid(vector: Tensor) -> Tensor:
        return (turn * vector[:, None]).sum(0)

    local = into_solid(ray * depth - offset)
    normal, axis = local_normal(kind, local / half)
    normal = normal / half
    normal = normal * (normal * normal).sum(0).rsqrt()
    direction = into_solid(ray)
    if scene.solids.shape.shape[1]:  # the side of a triangle that the ray meets
        normal = torch.where((kind == TRIANGLE) & (direction[2] * normal[2] > 0), -normal, normal)
    slope = (direction * normal).sum(0).clamp(max=-STEEPEST)
    # a runs along x, or z on the faces that look along x; b runs down y, or along z on those that look along y.
    flat, sideways = axis == 1, axis == 0
    right, down = (
        depth * (change - direction * ((change * normal).sum(0) / slope))
        for change in (into_solid(ray_T_pixel[:, pixel_axis, None]) for pixel_axis in range(2))
    )
    return Hits(
        a=torch.where(sideways, local[2], local[0]),
        b=torch.where(flat, local[2], local[1]),
        a_step=torch.stack((torch.where(sideways, right[2], right[0]), torch.where(sideways, down[2], down[0]))),
        b_step=torch.stack((torch.where(flat, right[2], right[1]), torch.where(flat, down[2], down[1]))),
        axis=axis,
        local=local,
        half=half,
        world=ray * depth + position[:, None],
        normal=(turn * normal).sum(1),
        plane=kind == PLANE,
        material=material,
        lattice=scene.lattice,
        light=scene.light,
        ray=ray,
    )


def _outdoors(
    scene: Scene, hits: Hits, sunlit: Tensor, depth: Tensor, offset: Tensor, world_T_cam: Tensor, time: float
) -> Float[Tensor, "3 n"]:
    """Compute the light of sun, sky and lamps on surface points; their `offset` is that from the camera."""
    light = scene.light
    if scene.shadows or scene.movers is not None:
        solids = scene.placed(time, torch.float64).seen_from(world_T_cam[:3, 3])
        if scene.shadows:
            sunlit = sunlit * lit(solids, offset, hits.normal, light.to_sun)
        else:
            sunlit = sunlit * _moving_shadows(light, solids, hits.plane, depth, offset)
    illumination = _illumination(light, hits.normal, sunlit)
    return illumination + lamp_light(scene, hits, world_T_cam, time) if light.dark else illumination


def _curve(hits: Hits, solids: Solids, solid: Int[Tensor, " n"]) -> None:
    """Give the points of triangles, in place, the normal and the texture coordinates of their mesh."""
    where = (solids.kind[solid] == TRIANGLE).nonzero()[:, 0]
    solid = solid[where]
    start, x_slope, y_slope = solids.shape[solid, 2:].T.view(3, 4, -1)
    x, y = hits.local[:2, where]
    lean_x, lean_y, hits.a[where], hits.b[where] = start + x_slope * x + y_slope * y
    for step in range(2):  # until here a and b were the triangle's own x and y
        right, down = hits.a_step[step, where], hits.b_step[step, where]
        hits.a_step[step, where], hits.b_step[step, where] = (x_slope * right + y_slope * down)[2:]
    turn = solids.rotation[solid]
    side = torch.where((turn[..., 2].T * hits.normal[:, where]).sum(0) < 0, -1.0, 1.0)
    normal = torch.stack((lean_x, lean_y, torch.ones_like(lean_x))) * side
    hits.normal[:, where] = functional.normalize((turn @ normal.T[..., None])[..., 0], dim=1).T


def _moving_shadows(
    light: Light, solids: Solids, plane: Bool[Tensor, " n"], depth: Float[Tensor, " n"], offset: Float[Tensor, "3 n"]
) -> Float[Tensor, " n"]:
    """Compute the share of sunlight that moving solids near the camera, in view or not, leave to points of planes.

    The solids and the points' `offset` are seen from the camera.
    """
    sunlit = torch.ones_like(depth)
    caster = (solids.object > 0) & (torch.linalg.vector_norm(solids.centre, dim=1) < SHADOW_RANGE)
    solids = solids.select(caster.nonzero()[:, 0])
    ground = (plane & (depth < SHADOW_RANGE)).nonzero()[:, 0]
    if not len(solids) or not len(ground):
        return sunlit
    points = offset[:, ground].T.contiguous()
    low, high = shadow_bounds(solids, float(points[0, 1]), light.to_sun)
    # Points in their order along one axis: those in a solid's bounds there are a range, of which few are outside.
    axis = int((points.amax(0) - points.amin(0))[::2].argmax())
    along, order = points[:, 2 * axis].contiguous().sort()
    first, last = (torch.searchsorted(along, bound[:, axis].contiguous()) for bound in (low, high))
    count = (last - first).clamp(min=0)
    owner = torch.repeat_interleave(torch.arange(len(solids), device=count.device), count)
    point = order[first[owner] + torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count)[owner]]
    across = points[point, 2 - 2 * axis]
    within = ((across > low[owner, 1 - axis]) & (across < high[owner, 1 - axis])).nonzero()[:, 0]
    dark = shaded(solids, points, owner[within], point[within], light.to_sun)
    sunlit[ground[dark]] = 0.0
    return sunlit


def _illumination(light: Light, normal: Tensor, sunlit: Tensor) -> Float[Tensor, "3 n"]:
    """Compute the light on a surface: Lambert's law for the sun, and a sky that is brighter above (y is down)."""
    sun = (column(light.to_sun, normal) * normal).sum(0).clamp(min=0) * sunlit
    sky = 0.7 - 0.3 * normal[1]
    return column(light.sun, normal) * sun + column(light.ambient, normal) * sky

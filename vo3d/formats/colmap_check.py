"""Compare what a sparse model of COLMAP says twice: where its cameras and poses put its points, and where it saw them.

Focal lengths of another image size, quaternions in another order and poses the other way round are told by that.
"""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.colmap import ColmapModel, observations
from vo3d.geometry import distort_points, project, rotations, se3

SAMPLED = 4000  # observations, evenly out of all
REFUSED, LEAST_REFUSED = 0.01, 4.0  # of the median miss: a share of the image's longer side, and pixels
DOUBTED, LEAST_DOUBTED = 0.002, 2.0
LEAST_OF_CAMERA = 50  # observations by which a camera is judged alone


def check_reprojection(model: ColmapModel) -> str | None:
    """Return a line for people where sparse points miss their keypoints by more than COLMAP leaves; None: they do not.

    The miss is the distance of a keypoint from where the camera and the pose of its image put its point, in the median.
    Where a model does not store the keypoint, it is the distance of that place from the image.

    Raises:
        Vo3dError: the miss is such that the model cannot be right; names what would make it right, if that is known.
    """
    chosen = torch.linspace(0, len(model.points.point) - 1, min(SAMPLED, len(model.points.point))).long()
    if not len(chosen):
        return None
    cam_T_world = torch.stack([image.cam_T_world for image in model.images])
    misses, owner = _misses(model, chosen, cam_T_world), _owners(model, chosen)
    groups = {f" of camera {id}": owner == id for id in model.cameras} if len(model.cameras) > 1 else {}
    doubt = None
    for whose, mine in [*groups.items(), ("", chosen >= 0)]:
        if whose and int(mine.sum()) < LEAST_OF_CAMERA:
            continue
        miss, count = float(misses[mine].median()), int(mine.sum())
        cameras = [camera for id, camera in model.cameras.items() if bool((owner[mine] == id).any())]
        side = max(max(camera.width, camera.height) for camera in cameras)
        words = f"by {miss:.3g} pixels" if miss < torch.inf else "by lying behind the views"
        found = f"sparse points miss their keypoints{whose} {words}, in the median of {count} observations"
        if miss > (limit := max(LEAST_REFUSED, REFUSED * side)):
            reason = _reason(model, chosen[mine], cam_T_world, limit)
            raise Vo3dError(f"{model.folder}: {found}: expected about one: {reason}")
        if miss > max(LEAST_DOUBTED, DOUBTED * side) and doubt is None:
            doubt = f"{found}, where about one is usual: cameras or poses are not exact, so that few depths may agree"
    return doubt


def _owners(model: ColmapModel, chosen: Int64[Tensor, " m"]) -> Int64[Tensor, " m"]:
    """Find the camera of each of the chosen observations."""
    ids = torch.tensor([image.camera_id for image in model.images], dtype=torch.int64)
    return ids[observations(model)[1][chosen]]


def _misses(
    model: ColmapModel, chosen: Int64[Tensor, " m"], cam_T_world: Float64[Tensor, "v 4 4"], stretch: float = 1.0
) -> Float64[Tensor, " m"]:
    """Measure how far the chosen observations lie from their points' images, pixels; infinite for points behind."""
    found, seen = _places(model, chosen, cam_T_world, stretch)
    return torch.nan_to_num(torch.linalg.vector_norm(found - seen, dim=-1), torch.inf)


def _places(
    model: ColmapModel, chosen: Int64[Tensor, " m"], cam_T_world: Float64[Tensor, "v 4 4"], stretch: float = 1.0
) -> tuple[Float64[Tensor, "m 2"], Float64[Tensor, "m 2"]]:
    """Find where cameras with focal lengths times `stretch` put points (NaN: behind), and where these were seen."""
    point, view = (rows[chosen] for rows in observations(model))
    local = se3.transform(cam_T_world[view], model.points.xyz[point])
    owner = _owners(model, chosen)
    found, seen = torch.full((2, len(chosen), 2), torch.nan, dtype=torch.float64)
    for camera in model.cameras.values():
        mine = owner == camera.id
        K = camera.K
        K[:2, :2] *= stretch
        pixels, _ = project(K, local[mine])
        if camera.lens is not None and len(pixels):
            ahead = pixels.isfinite().all(-1)
            pixels[ahead] = distort_points(pixels[ahead], K, camera.lens[1], camera.lens[0])
        found[mine] = pixels
        last = torch.tensor([camera.width - 0.5, camera.height - 0.5], dtype=torch.float64)
        seen[mine] = pixels.clamp(min=-0.5).minimum(last)
    rows = zip(view.tolist(), model.points.keypoint[chosen].tolist(), strict=True)
    for index, (image, row) in enumerate(rows):
        keypoints = model.images[image].keypoints
        if row < len(keypoints):
            seen[index] = keypoints[row]
    return found, seen


def _reason(
    model: ColmapModel, chosen: Int64[Tensor, " m"], cam_T_world: Float64[Tensor, "v 4 4"], limit: float
) -> str:
    """Find the usual mistake without which the points are where they were seen, within the limit in pixels."""
    w, x, y, z = rotations.quaternion_from_matrix(cam_T_world[:, :3, :3]).unbind(-1)
    turned = cam_T_world.clone()
    turned[:, :3, :3] = rotations.matrix_from_quaternion(torch.stack((z, w, x, y), dim=-1))
    flipped = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)) @ cam_T_world
    for mended, words in (
        (turned, "the quaternions are written x y z w: write w x y z"),
        (se3.inverse(cam_T_world), "the poses map cameras to the world: write their inverses"),
        (flipped, "the cameras look along -z, as OpenGL's: turn their y and z axes round"),
    ):
        if float(_misses(model, chosen, mended).median()) < limit:
            return words
    found, seen = _places(model, chosen, cam_T_world)
    centre = torch.stack([model.cameras[id].K[:2, 2] for id in _owners(model, chosen).tolist()])
    stretch = float(((seen - centre).norm(dim=-1) / (found - centre).norm(dim=-1)).nanmedian())
    if 0 < stretch < torch.inf and float(_misses(model, chosen, cam_T_world, stretch).median()) < limit:
        return f"it fits with focal lengths of {stretch:.3g} times those in {model.folder}: correct the cameras"
    corner = -0.5  # of an image, which stays where it is when the image is resized
    scale = float(((found - corner).norm(dim=-1) / (seen - corner).norm(dim=-1)).nanmedian())
    if float(((seen - corner) * scale + corner - found).norm(dim=-1).nanmedian()) < limit:
        return f"it fits with keypoints {scale:.3g} times as far apart: cameras or keypoints are for another image size"
    return (
        "cameras, images and points are not of one model, or focal lengths, quaternions (w x y z) or poses (world to "
        "camera) are not as COLMAP writes them: export the model again"
    )

"""The motion between two calibrated views from matched points: essential matrix, triangulation, scale.

Convention: points are *rays*, the first two coordinates of K^-1 (u, v, 1), so that a distance in pixels is one of
rays divided by the focal length; `b_T_a` maps camera points of view a into view b. Everything is float64 numpy,
because OpenCV works on arrays.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

MIN_POINTS = 8  # fewer determine an essential matrix only barely, and no outlier shows
MAX_TILT = 5.0  # degrees between the camera's y axis and the ground's normal
ROAD_BELOW = 0.05  # the ground is looked for in rays at least this far below the horizon ...
ROAD_WIDTH = 3.0  # ... and at most this many camera heights to the side
GROUND_TRIALS = 200
LENGTH_TRIALS = 25
DIRECTION_TRIALS = 100
GROWTH_NOISE = 0.02  # of the way that translation moves a point: what comes nearer grows and is tracked less exactly
RIG_OFFSET = 0.5  # deviation of the error that all disparities share, in that of a match; more where many agree
SETTLED = 1e-5  # by which a rotation's entries may still change: far less than a pixel
ROUNDS = 20  # of a refinement
BEHIND = 1e-6  # of the depth in the one view: less in the other is behind it
DEGENERATE = 1e-9  # determinant of three rays that span no plane: drawn twice, or on one line
CROSS = np.cross(np.eye(3)[:, None], np.eye(3)).swapaxes(1, 2)  # matrices of the products with the three axes
Rows = Float[ndarray, "n 2"]


def rays_from_pixels(pixels: Rows, K: Float[ndarray, "3 3"]) -> Rows:
    """Rays through `pixels`.

    Convention: K may be skewed and anisotropic, its last row is (0, 0, 1).
    """
    return (pixels.astype(np.float64) - K[:2, 2]) @ np.linalg.inv(K[:2, :2]).T  # type: ignore[no-any-return]


def rigid(rotation: Float[ndarray, "3 3"], translation: Float[ndarray, "3"]) -> Float[ndarray, "4 4"]:
    """The 4x4 pose of a rotation and a translation."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation
    return pose


def inverse(a_T_b: Float[ndarray, "4 4"]) -> Float[ndarray, "4 4"]:
    """`b_T_a` of a rigid motion."""
    return rigid(a_T_b[:3, :3].T, -a_T_b[:3, :3].T @ a_T_b[:3, 3])


def fit_rotation(a: Rows, b: Rows, iterations: int = 10) -> Float[ndarray, "4 4"]:
    """The pure rotation `b_T_a` that moves the rays a onto the rays b with the least sum of distances.

    Kabsch's solution, reweighted to the L1 norm so that a minority of outliers or of near points does not pull.
    Convention: rays are compared as unit vectors, so that points behind the image plane cannot appear.
    """
    from_a, from_b = (np.ascontiguousarray(_unit(_homogeneous(rays)).T) for rays in (a, b))
    weight, rotation = np.ones(len(a)), np.eye(3)
    for _ in range(iterations):
        _, u, vt = cv2.SVDecomp((from_b * weight) @ from_a.T)
        u[:, 2] *= np.linalg.det(u @ vt)
        before, rotation = rotation, u @ vt
        if np.abs(rotation - before).max() < SETTLED:
            break
        weight = 1 / np.maximum(np.sqrt(((from_b - rotation @ from_a) ** 2).sum(0)), 1e-6)
    return rigid(rotation, np.zeros(3))


def parallax(a: Rows, b: Rows, b_T_a: Float[ndarray, "4 4"]) -> Float[ndarray, "n"]:
    """Measure how far each ray b is from its ray a after `b_T_a`'s rotation: the part that translation must explain."""
    turned = _homogeneous(a) @ b_T_a[:3, :3].T
    return np.linalg.norm(turned[:, :2] / turned[:, 2:] - b, axis=1)  # type: ignore[no-any-return]


def fit_motion(
    a: Rows, b: Rows, threshold: float, guess: Float[ndarray, "4 4"] | None = None
) -> tuple[Float[ndarray, "4 4"], Bool[ndarray, "n"]] | None:
    """The motion `b_T_a` up to scale (its translation has length 1) and its inliers, or None where there is none.

    Five-point RANSAC with local optimisation (OpenCV's USAC) on the essential matrix, the one of its four poses with
    the points in front of both views (Nister, 2004), then least squares on the robust Sampson distance over all five
    freedoms. When little moves, turning and sliding look alike and RANSAC may settle beside the optimum: a `guess`,
    such as the motion before, is refined too, and the one that explains all matches better wins.
    `threshold` is the distance of an inlier from its epipolar line, in units of rays.
    """
    if len(a) < MIN_POINTS:
        return None
    essential, mask = cv2.findEssentialMat(a, b, np.eye(3), cv2.USAC_ACCURATE, 0.999, threshold)
    if essential is None or essential.shape != (3, 3) or np.count_nonzero(mask) < MIN_POINTS:
        return None
    chosen = mask.ravel() > 0
    one, other, direction = cv2.decomposeEssentialMat(essential)
    poses = [rigid(rotation, sign * direction[:, 0]) for rotation in (one, other) for sign in (1, -1)]
    starts = [max(poses, key=lambda pose: in_front(a[chosen], b[chosen], pose).sum())]
    if guess is not None and np.linalg.norm(guess[:3, 3]) > 0:
        starts.append(guess)
    refined = [_refine_motion(a[chosen], b[chosen], start, threshold) for start in starts]
    return _best_in_front(a, b, refined, threshold)


def fit_translation(
    a: Rows,
    b: Rows,
    b_R_a: Float[ndarray, "3 3"],
    threshold: float,
    guess: Float[ndarray, "3"] | None = None,
) -> tuple[Float[ndarray, "4 4"], Bool[ndarray, "n"]] | None:
    """Find the motion `b_T_a` of a known rotation up to scale, and its inliers, as `fit_motion` does; None without.

    The epipolar constraint is linear in the translation, t . (R a x b) = 0: RANSAC over pairs of matches, then least
    squares on the robust Sampson distance over the two freedoms that are left, from the best of the pairs and from
    `guess`, such as the direction of the motion before.
    """
    if len(a) < MIN_POINTS:
        return None
    normals = np.cross(_homogeneous(a) @ b_R_a.T, _homogeneous(b))
    size = np.linalg.norm(normals, axis=1, keepdims=True)
    pairs = np.random.default_rng(0).integers(len(a), size=(DIRECTION_TRIALS, 2))
    directions = np.cross(*(normals / np.maximum(size, 1e-18))[pairs.T])
    directions = directions[np.linalg.norm(directions, axis=1) > DEGENERATE]
    if len(directions) == 0:
        return None
    starts = [rigid(b_R_a, direction) for direction in _unit(directions)]
    starts = [min(starts, key=lambda pose: _misfit(a, b, pose, threshold))]
    if guess is not None and np.linalg.norm(guess) > 0:
        starts.append(rigid(b_R_a, guess))
    refined = [_refine_motion(a, b, start, threshold, turns=False) for start in starts]
    return _best_in_front(a, b, refined, threshold)


def _misfit(a: Rows, b: Rows, b_T_a: Float[ndarray, "4 4"], threshold: float) -> float:
    """The robust sum of all Sampson distances."""
    return float(np.log1p((2 * sampson(a, b, b_T_a) / threshold) ** 2).sum())


def _best_in_front(
    a: Rows, b: Rows, motions: Sequence[Float[ndarray, "4 4"]], threshold: float
) -> tuple[Float[ndarray, "4 4"], Bool[ndarray, "n"]] | None:
    """The motion that explains all matches best, turned so that they lie in front, and its inliers; None for few."""
    b_T_a = min(motions, key=lambda pose: _misfit(a, b, pose, threshold))
    close = np.abs(sampson(a, b, b_T_a)) < threshold
    backwards = rigid(b_T_a[:3, :3], -b_T_a[:3, 3])  # has the same epipolar lines: only depth tells them apart
    b_T_a = max(b_T_a, backwards, key=lambda pose: (close & in_front(a, b, pose)).sum())
    inlier = close & in_front(a, b, b_T_a)
    return (b_T_a, inlier) if inlier.sum() >= MIN_POINTS else None


def _refine_motion(
    a: Rows, b: Rows, start: Float[ndarray, "4 4"], threshold: float, *, turns: bool = True
) -> Float[ndarray, "4 4"]:
    """The motion near `start` with the least robust Sampson distance; its translation has length 1.

    Its rotation stays as it is unless it `turns`. Gauss-Newton on squares that are reweighted for Cauchy's loss, over
    turns in the frame of b and shifts across the translation; a step that does not lower the loss ends it.
    """
    pose = rigid(start[:3, :3], _unit(start[:3, 3]))
    from_a, from_b = (np.ascontiguousarray(_homogeneous(rays).T) for rays in (a, b))
    value, slope = _sampson_slope(from_a, from_b, pose, turns)
    loss = _cauchy(value[:, None] * 2 / threshold)
    for _ in range(ROUNDS):
        weighted = slope / (1 + (value * 2 / threshold) ** 2)
        change = cv2.solve(weighted @ slope.T, -weighted @ value[:, None], flags=cv2.DECOMP_SVD)[1][:, 0]
        turned = cv2.Rodrigues(change[:3])[0] @ pose[:3, :3] if turns else pose[:3, :3]
        moved = rigid(turned, _unit(pose[:3, 3] + _across(pose[:3, 3]) @ change[-2:]))
        changed, steeper = _sampson_slope(from_a, from_b, moved, turns)
        if not (less := _cauchy(changed[:, None] * 2 / threshold)) < loss * (1 - 1e-6):
            break
        pose, value, slope, loss = moved, changed, steeper, less
    return pose


def _across(direction: Float[ndarray, "3"]) -> Float[ndarray, "3 2"]:
    """Two directions of unit length across one."""
    return cv2.SVDecomp(direction[:, None], flags=cv2.SVD_FULL_UV)[1][:, 1:]


def _cross_matrix(vector: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """The matrix that multiplies as the cross product with `vector` does."""
    return np.tensordot(vector, CROSS, 1)


def _sampson_slope(
    from_a: Float[ndarray, "3 n"], from_b: Float[ndarray, "3 n"], b_T_a: Float[ndarray, "4 4"], turns: bool
) -> tuple[Float[ndarray, " n"], Float[ndarray, "k n"]]:
    """`sampson` of homogeneous rays, and its derivatives by turns in b and by shifts across the translation."""
    turn, across = b_T_a[:3, :3], _across(b_T_a[:3, 3])
    shift, *shifts = np.tensordot(np.column_stack([b_T_a[:3, 3], across]).T, CROSS, 1)
    turns_of = shift @ CROSS if turns else CROSS[:0]
    essentials = np.concatenate([shift[None], turns_of, np.stack(shifts)]) @ turn
    line_b = essentials @ from_a  # k+1 3 n
    line_a = essentials[:, :, :2].swapaxes(1, 2) @ from_b  # k+1 2 n
    away = (line_b * from_b).sum(1)
    squared = (line_b[:, :2] * line_b[0, :2]).sum(1) + (line_a * line_a[0]).sum(1)
    norm = np.maximum(squared[0], 1e-18)
    return away[0] / np.sqrt(norm), (away[1:] - away[0] * squared[1:] / norm) / np.sqrt(norm)


def sampson(a: Rows, b: Rows, b_T_a: Float[ndarray, "4 4"]) -> Float[ndarray, "n"]:
    """Signed first-order distance of each match from the epipolar geometry of `b_T_a`, in units of rays.

    Sampson's approximation (Hartley and Zisserman, Multiple View Geometry, eq. 11.9).
    """
    essential = _cross_matrix(b_T_a[:3, 3]) @ b_T_a[:3, :3]
    from_a, from_b = _homogeneous(a), _homogeneous(b)
    line_b, line_a = from_a @ essential.T, from_b @ essential
    norm = (line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1)
    return (line_b * from_b).sum(1) / np.sqrt(np.maximum(norm, 1e-18))  # type: ignore[no-any-return]


def triangulate(a: Rows, b: Rows, b_T_a: Float[ndarray, "4 4"]) -> Float[ndarray, "n 3"]:
    """Points in the frame of a where the rays nearly meet.

    The depth in a minimises |b x (depth R a + t)|; it is negative behind the camera and huge for parallel rays.
    Units: those of the translation of `b_T_a`.
    """
    from_a, from_b = _homogeneous(a), _homogeneous(b)
    across = np.cross(from_b, from_a @ b_T_a[:3, :3].T)
    moved = np.cross(from_b, b_T_a[:3, 3])
    squared = np.maximum((across**2).sum(1), 1e-18)
    return from_a * (-(across * moved).sum(1) / squared)[:, None]  # type: ignore[no-any-return]


def inverse_depth(a: Rows, b: Rows, b_T_a: Float[ndarray, "4 4"]) -> Float[ndarray, "n"]:
    """Inverse depths 1 / z in the frame of a at which the rays nearly meet: those that minimise |b x (R a + t / z)|.

    They are near 0 for parallel rays, and the noise of a ray moves them as far near as far away; 0 without translation.
    Units: one over those of the translation of `b_T_a`.
    """
    from_b = _homogeneous(b)
    across = np.cross(from_b, _homogeneous(a) @ b_T_a[:3, :3].T)
    moved = np.cross(from_b, b_T_a[:3, 3])
    return -(across * moved).sum(1) / np.maximum((moved**2).sum(1), 1e-18)  # type: ignore[no-any-return]


def project(a: Rows, inverse: Float[ndarray, "n"], b_T_a: Float[ndarray, "4 4"]) -> tuple[Rows, Rows]:
    """Rays in b of points at an inverse depth in a, and how far they move for one of inverse depth.

    What lies behind b is seen far off its image, and does not move.
    """
    point = _homogeneous(a) @ b_T_a[:3, :3].T + inverse[:, None] * b_T_a[:3, 3]
    depth = np.maximum(point[:, 2:], BEHIND)
    seen = point[:, :2] / depth
    return seen, np.where(point[:, 2:] > BEHIND, (b_T_a[:2, 3] - seen * b_T_a[2, 3]) / depth, 0.0)


def in_front(a: Rows, b: Rows, b_T_a: Float[ndarray, "4 4"]) -> Bool[ndarray, "n"]:
    """Tell whether the rays of a match meet in front of both views."""
    points = triangulate(a, b, b_T_a)
    return (points[:, 2] > 0) & ((points @ b_T_a[:3, :3].T + b_T_a[:3, 3])[:, 2] > 0)  # type: ignore[no-any-return]


def fit_metric_motion(
    a: Rows,
    b: Rows,
    inverse: Float[ndarray, "n"],
    baseline: float,
    b_T_a: Float[ndarray, "4 4"],
    threshold: float,
    *,
    turns: bool = True,
) -> Float[ndarray, "4 4"] | None:
    """The motion in metres, from one up to scale and stereo's inverse depths in a, 1/m (NaN: none); None if it fails.

    One robust least squares over all matches: the distance of each ray b from its epipolar line and, where there is a
    depth, its distance along the line from where that puts it, divided by what a disparity's noise leaves open. So all
    points tell rotation and direction, and near ones the length. Rectification is off by parts of a pixel, which moves
    all disparities alike; lest far points turn it into a wrong length, this offset is a seventh unknown.
    `baseline` is in metres; `threshold` is twice the noise of a ray; the rotation stays as it is unless it `turns`.
    """
    noise = threshold / 2
    disparity_noise = noise / baseline  # of an inverse depth: the same near and far
    near = inverse > 2 * disparity_noise
    if near.sum() < MIN_POINTS:
        return None
    known, inverse = np.isfinite(inverse), np.nan_to_num(inverse)
    ray_noise = np.hypot(noise, GROWTH_NOISE * parallax(a, b, b_T_a))

    def distance(pose: Float[ndarray, "4 4"], offset: float) -> Float[ndarray, "m 2"]:
        seen, slope = project(a, inverse + disparity_noise * offset, pose)
        squared = (slope**2).sum(1)
        share = np.where(known, noise / np.sqrt(ray_noise**2 + squared * disparity_noise**2), 0.0)
        along = ((seen - b) * slope).sum(1) / np.maximum(squared, 1e-18)
        apart = seen - b - slope * (along * (1 - share))[:, None]
        return np.concatenate([apart, [[offset / RIG_OFFSET * noise, 0.0]]])

    ratios = inverse_depth(a[near], b[near], b_T_a) / inverse[near]
    lengths = np.quantile(ratios, np.linspace(0.02, 0.98, LENGTH_TRIALS))  # a median may be that of the cars around
    starts = (rigid(b_T_a[:3, :3], length * b_T_a[:3, 3]) for length in lengths)
    start = min(starts, key=lambda pose: _cauchy(distance(pose, 0.0) / noise))
    unit = max(float(np.linalg.norm(start[:3, 3])), 0.01)  # makes steps of the translation comparable to the rotation's

    def motion(x: Float[ndarray, "k"]) -> Float[ndarray, "4 4"]:
        turned = cv2.Rodrigues(x[:3])[0] @ start[:3, :3] if turns else start[:3, :3]
        return rigid(turned, start[:3, 3] + unit * x[-4:-1])

    x = _minimise(lambda x: distance(motion(x), x[-1]), 7 if turns else 4, noise)
    close = np.linalg.norm(distance(motion(x), x[-1])[:-1], axis=1) < threshold
    return motion(x) if (close & near).sum() >= MIN_POINTS else None


def fit_ground(a: Rows, b: Rows, b_T_a: Float[ndarray, "4 4"], threshold: float) -> Float[ndarray, "3"] | None:
    """The ground under view a as n / height, in baselines, from the motion up to scale; None if no plane is seen.

    On a plane n . X = height the inverse depth of a ray is linear in it: 1 / z = (n / height) . (x, y, 1). RANSAC and
    least squares over the rays in a cone before the wheels, where its noise is divided by how far it moves a match.
    Convention: n points down and lies within `MAX_TILT` of the camera's y axis.
    """
    road = (a[:, 1] > ROAD_BELOW) & (np.abs(a[:, 0]) < ROAD_WIDTH * a[:, 1])
    if road.sum() < MIN_POINTS:
        return None
    rays, inverse = _homogeneous(a[road]), 1 / triangulate(a[road], b[road], b_T_a)[:, 2]
    moves = project(a[road], inverse, b_T_a)[1]
    weight = np.linalg.norm(moves, axis=1)
    three = np.random.default_rng(0).integers(len(rays), size=(GROUND_TRIALS, 3))
    three = three[np.abs(np.linalg.det(rays[three])) > DEGENERATE]
    planes = np.linalg.solve(rays[three], inverse[three][..., None])[..., 0]
    planes = planes[planes[:, 1] > np.cos(np.radians(MAX_TILT)) * np.linalg.norm(planes, axis=1)]
    if len(planes) == 0:
        return None
    close = np.abs(planes @ rays.T - inverse) * weight < threshold
    inlier = close[close.sum(1).argmax()]
    for _ in range(3):
        if inlier.sum() < MIN_POINTS:
            return None
        plane = np.linalg.lstsq(rays[inlier] * weight[inlier, None], inverse[inlier] * weight[inlier])[0]
        inlier = np.abs(rays @ plane - inverse) * weight < threshold
    return plane  # type: ignore[no-any-return]


def _minimise(residual: Callable[[ndarray], ndarray], freedoms: int, scale: float) -> Float[ndarray, "k"]:
    """The argument near zero with the least Cauchy loss of the rows of `residual`, whose inliers are about `scale`.

    Gauss-Newton on reweighted squares with numeric derivatives; a step that does not lower the loss ends it.
    """
    x, nudge = np.zeros(freedoms), 1e-6 * np.eye(freedoms)
    value = residual(x) / scale
    for _ in range(ROUNDS):
        slope = np.stack([(residual(x + step) / scale - value) / 1e-6 for step in nudge], axis=-1)
        weight = 1 / (1 + (value**2).sum(1))
        normal = np.einsum("nki,nkj,n->ij", slope, slope, weight)
        change = np.linalg.lstsq(normal, -np.einsum("nki,nk,n->i", slope, value, weight))[0]
        changed = residual(x + change) / scale
        if not _cauchy(changed) < _cauchy(value) * (1 - 1e-6):
            break
        x, value = x + change, changed
    return x


def _cauchy(residual: Float[ndarray, "n k"]) -> float:
    return float(np.log1p((residual**2).sum(1)).sum())


def _homogeneous(rays: Rows) -> Float[ndarray, "n 3"]:
    return np.concatenate([rays, np.ones((len(rays), 1))], axis=1)


def _unit(vectors: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)  # type: ignore[no-any-return]

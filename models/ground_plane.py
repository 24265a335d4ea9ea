"""Ground plane: the baseline that knows how a camera stands above the ground, and of every image no more than K."""

from collections.abc import Sequence
from math import cos, radians
from typing import ClassVar

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import pixel_grid, rays
from vo3d.known_truth import known_depths
from vo3d.model import DepthModel, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample

POINTS = 2_000  # of one frame that `fit` looks at, at most
TRIALS = 1_000  # planes through three points
JUDGES = 20_000  # points that vote on these
WITHIN = 0.05  # share of the distance by which a point of the plane may be off it
LEAST = 0.1  # share of the points below the optical axis that is ground
STEEPEST = radians(45)  # between the plane's normal and the camera's y axis
ROUNDS = 10  # of least squares
REACHES = 20


class GroundPlane(DepthModel):
    """Predicts the depth of one plane in the frame of the camera, fitted to the true depths of training frames.

    The plane holds the points X (metres, camera axes) with m . X = 1, so that a pixel p has the depth
    1 / (m . K^-1 p), whatever the camera. Pixels that see it beyond its reach or not at all (the horizon and what is
    above) have the median of the training depths of such pixels, or `far` where none of them has a true depth. `fit`
    chooses the reach: farther away, something stands before the plane more often than not.

    Args:
        height: Metres of a level camera above level ground, which is taken as it is, up to `far`; None: set by `fit`.
        far: Metres up to which `fit` looks at true depths, and the longest reach.
        frames: Training frames that `fit` looks at, at most, evenly spaced over all recordings.

    Raises:
        Vo3dError: an argument is not positive.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K")
    gives: ClassVar[tuple[str, ...]] = ("depth",)
    window = Window(views=1, overlap=0)
    baseline = "ground_plane"
    plane: Tensor  # 3, 1 / metres: m above
    reach: Tensor  # a number, metres
    beyond: Tensor  # a number, metres: the depth of whatever is not the plane

    def __init__(self, height: float | None = None, far: float = 80.0, frames: int = 100) -> None:
        super().__init__()
        for name, value in (("height", height), ("far", far), ("frames", frames)):
            if value is not None and not value > 0:
                raise Vo3dError(f"{name} {value:g}: expected a positive number")
        self.far, self.frames = far, frames
        self.register_buffer("plane", torch.tensor([0.0, torch.nan if height is None else 1 / height, 0.0]))
        self.register_buffer("reach", torch.tensor(far))
        self.register_buffer("beyond", torch.tensor(far))
        if height is not None:  # there is nothing to learn, and no training recordings are asked for
            self.__dict__["fit"] = super().fit

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Fit the plane to points in the lower halves of at most `frames` views, those below the optical axis.

        It is the one of `TRIALS` planes through three points that most points lie on (RANSAC; Fischler and Bolles,
        CACM 1981), of those that lie below an upright camera; then least squares over its points, again and again.
        The reach is the one of `REACHES` equal parts of `far`, added up, with the least mean relative error. Of each
        view at most `POINTS` evenly spaced points are taken.

        Raises Vo3dError where there are none, or no such plane.
        """
        points = self._points(recordings)
        ahead = points / points[:, 2:]  # the rays
        below = points[ahead[:, 1] > 0]
        if len(below) < 3:
            raise Vo3dError(
                f"{len(below)} true depths up to {self.far:g} m below the optical axis in the training frames: a plane "
                "needs 3; choose other recordings, or give a height"
            )
        m = fit_plane(below)
        z, inverse = points[:, 2], ahead @ m
        errors: list[tuple[float, float, float]] = []  # of a reach, - reach, the median beyond
        for reach in (self.far * part / REACHES for part in range(1, REACHES + 1)):
            plane = inverse > 1 / reach
            beyond = z[~plane].median().item() if bool((~plane).any()) else self.far
            depth = torch.where(plane, 1 / inverse.clamp(min=1 / reach), beyond)
            errors.append((((depth - z).abs() / z).mean().item(), -reach, beyond))
        _, nearness, beyond = min(errors)  # of reaches that are as good, the longest
        self.plane.copy_(m)
        self.reach.fill_(-nearness)
        self.beyond.fill_(beyond)

    def _points(self, recordings: Sequence[Recording]) -> Float64[Tensor, "n 3"]:
        """Collect points in the frames of the cameras, metres."""
        found = []
        for sample in known_depths(recordings, self.frames):
            if sample.K is None or sample.depth is None:
                raise Vo3dError(f"{sample.scene} gives no K: choose recordings of a known camera, or give a height")
            y, x = ((sample.depth[0] > 0) & (sample.depth[0] <= self.far)).nonzero().unbind(-1)
            step = len(x) // POINTS + 1
            x, y = x[::step], y[::step]
            seen = rays(sample.K[0].double(), torch.stack((x, y), dim=-1).double())
            found.append(seen * sample.depth[0, y, x, None])
        return torch.cat(found)

    def forward(self, sample: Sample) -> Prediction:
        """Give the depth of the plane in each view, b s h w; Vo3dError before `fit`."""
        if sample.K is None:
            raise Vo3dError("GroundPlane needs K: choose a dataset of a known camera")
        if not self.plane.is_meta and bool(self.plane.isnan().any()):  # there, nothing has a value
            raise Vo3dError("GroundPlane knows no plane: call fit(recordings), or give it a height")
        b, s, _, h, w = sample.image.shape
        grid = pixel_grid(h, w, dtype=sample.K.dtype, device=sample.K.device)
        inverse = rays(sample.K, grid.expand(b, s, h, w, 2)) @ self.plane.to(sample.K)  # b s h w
        return {"depth": torch.where(inverse > 1 / self.reach, 1 / inverse.clamp(min=1 / self.far), self.beyond)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("GroundPlane has no parameters to train: evaluate it, after its fit(recordings), instead")


def fit_plane(points: Float64[Tensor, "n 3"]) -> Float64[Tensor, "3"]:
    """Find the plane m . X = 1 below the camera that most of the points lie on; see `GroundPlane.fit`.

    Raises Vo3dError where it does not hold `LEAST` of them.
    """
    generator = torch.Generator().manual_seed(0)  # the same points, the same plane
    triples = points[torch.randint(len(points), (TRIALS, 3), generator=generator)]
    planes, _ = torch.linalg.solve_ex(triples, torch.ones(TRIALS, 3, dtype=points.dtype))
    planes = planes[_below(planes)]
    judges = points[:: len(points) // JUDGES + 1]
    votes = [int(_on(judges, plane).sum()) for plane in planes]
    best = planes[votes.index(max(votes))] if votes else torch.full_like(points[0], torch.nan)
    for _ in range(ROUNDS if votes else 0):
        own = points[_on(points, best)]
        best = torch.linalg.lstsq(own, torch.ones(len(own), 1, dtype=own.dtype)).solution[:, 0]
    share = _on(points, best).double().mean().item() if bool(_below(best)) else 0.0
    if share < LEAST:
        raise Vo3dError(
            f"a plane below the camera holds {100 * share:.0f} % of the training depths below the optical axis: "
            f"expected ground on at least {100 * LEAST:.0f} %, seen by an upright camera"
        )
    return best


def _below(planes: Float64[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
    """Mark planes that lie below an upright camera; false of what is not finite."""
    return planes[..., 1] > cos(STEEPEST) * planes.norm(dim=-1)  # type: ignore[no-any-return]


def _on(points: Float64[Tensor, "n 3"], plane: Float64[Tensor, "3"]) -> Bool[Tensor, " n"]:
    """Mark the points on a plane: m . X - 1 is how far a point is beyond it, as a share of the plane's distance."""
    return (points @ plane - 1).abs() < WITHIN

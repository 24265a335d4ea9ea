"""Variational refinement: the energy falls, quantised depth comes back, and nothing moves farther than allowed."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from textured_plane import textured_plane
from vo3d.errors import Vo3dError
from vo3d.fusion.variational import refine_depth
from vo3d.geometry.warp import BORDER_SLACK
from vo3d.sample import Sample

INTERVAL = 0.05  # metres, or 1 / metres; a source's pixel moves by 0.8 for it


def quantised(sample: Sample, inverse: bool) -> Tensor:
    """The nearest hypothesis of each pixel, as a perfect winner-takes-all would give it."""
    truth, near = sample.depth[0, 0], sample.depth_range[0, 0, 0]
    if inverse:
        return 1 / (1 / near + INTERVAL * ((1 / truth - 1 / near) / INTERVAL).round())
    return near + INTERVAL * ((truth - near) / INTERVAL).round()


def refine(sample: Sample, depth: Tensor, **arguments: object) -> tuple[Tensor, Tensor]:
    return refine_depth(depth, sample.image[0], sample.K[0], sample.world_T_cam[0], INTERVAL, **arguments)  # type: ignore[arg-type]


def rmse(depth: Tensor, truth: Tensor, inverse: bool) -> float:
    error = 1 / depth - 1 / truth if inverse else depth - truth
    return float(error.square().mean().sqrt()) / INTERVAL


@pytest.mark.parametrize("inverse", [False, True])
def test_a_tilted_plane_is_found_between_the_hypotheses(inverse: bool) -> None:
    sample = textured_plane(baseline=0.2)
    truth, start = sample.depth[0, 0], quantised(sample, inverse)

    with torch.no_grad():  # as those who reconstruct call it
        depth, energies = refine(sample, start, inverse=inverse)

    before, after = (rmse(found, truth, inverse) for found in (start, depth))
    assert before == pytest.approx(12**-0.5, rel=0.02)  # of an even distribution over one interval
    assert after < before / 3
    assert len(energies) == 21
    assert (energies.diff() <= 0).all()
    assert energies[-1] < 0.7 * energies[0]


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("side", [-1, 1])
def test_no_pixel_moves_by_more_than_an_interval(inverse: bool, side: int) -> None:
    sample = textured_plane(size=(24, 32), baseline=0.2, cells=12)
    truth = sample.depth[0, 0]
    start = 1 / (1 / truth + 1.5 * side * INTERVAL) if inverse else truth + 1.5 * side * INTERVAL

    depth, energies = refine(sample, start, inverse=inverse, iterations=40)

    moved = (1 / depth - 1 / start if inverse else depth - start) / INTERVAL * -side
    assert moved.abs().max() <= 1 + 1e-4
    assert moved.max() > 0.999  # the truth is farther, and some pixels go as far as they may
    assert energies[-1] < energies[0]


def test_what_hides_a_surface_does_not_pull_it() -> None:
    """One of three sources sees something else in the middle of its image."""
    sample = textured_plane(views=4, baseline=0.2)
    truth, start = sample.depth[0, 0], quantised(sample, False)
    hidden = replace(sample, image=sample.image.clone())
    hidden.image[0, 1, :, 16:48, 20:60] = torch.rand(3, 32, 40, generator=torch.Generator().manual_seed(0))

    depth, _ = refine(hidden, start)

    assert rmse(depth, truth, False) < rmse(start, truth, False) / 2.5


def test_two_surfaces_are_not_drawn_together() -> None:
    start = torch.full((20, 24), 1.0)
    start[:, 12:] = 1.0 + 3 * INTERVAL  # a step of three intervals, and one of one
    start[10:] += INTERVAL
    sample = textured_plane(size=(20, 24), views=2)
    flat = replace(sample, image=torch.full_like(sample.image, 0.5))  # no texture: the smoothness is alone

    depth, energies = refine(flat, start, iterations=60)

    assert energies[-1] < 0.5 * energies[0]
    across = (depth[:, 12] - depth[:, 11]) / INTERVAL
    assert (across - 3).abs().max() < 1e-3
    assert ((depth[10] - depth[9]) / INTERVAL).max() < 0.5


def test_pixels_without_a_depth_stay_so_and_change_no_others() -> None:
    sample = textured_plane(size=(40, 48), baseline=0.2)
    start = quantised(sample, False)
    holes = start.clone()
    holes[10:20, 10:25] = 0
    holes[0, 0] = torch.nan
    other = replace(sample, image=sample.image.clone())

    depth, energies = refine(sample, holes)
    other.image[0, 0, :, 12:18, 12:23] = 0  # of the reference, in the hole, far enough from what has a depth
    blind, _ = refine(other, holes)

    assert torch.equal(depth == 0, ~(holes > 0))
    assert depth.isfinite().all()
    assert energies.isfinite().all()
    known = holes > 0
    assert rmse(depth[known], sample.depth[0, 0][known], False) < rmse(start[known], sample.depth[0, 0][known], False)
    torch.testing.assert_close(blind, depth, rtol=0, atol=1e-6)


def test_a_map_without_any_depth_comes_back_empty() -> None:
    sample = textured_plane(size=(16, 20))

    depth, energies = refine(sample, torch.zeros(16, 20))

    assert (depth == 0).all()
    assert (energies == 0).all()


def test_the_energy_is_that_of_its_formula() -> None:
    """Against loops, on a few pixels, with windows that reach over the border."""
    sample = textured_plane(size=(9, 11), baseline=0.1, cells=48).map(Tensor.double)
    depth = quantised(sample, False)
    depth[3:6, 4:8] += 3 * INTERVAL
    _, (energy,) = refine(sample, depth, iterations=0, window=3, smoothness=0.3, colour_deviation=0.2)

    assert float(energy) == pytest.approx(slow_energy(sample, depth, 0.3, 0.2), rel=1e-6)


def slow_energy(sample: Sample, depth: Tensor, smoothness: float, deviation: float) -> float:
    """The mean over the pixels of the two terms, with windows of 3 x 3."""
    image, K, pose = sample.image[0], sample.K[0], sample.world_T_cam[0]
    h, w = depth.shape
    grey = image.mean(1)

    def look(source: int, row: int, column: int, z: float) -> float | None:
        point = z * torch.linalg.inv(K[0]) @ torch.tensor([column, row, 1.0]).double()
        world = pose[0, :3, :3] @ point + pose[0, :3, 3]
        x, y, z = (K[source] @ (pose[source, :3, :3].T @ (world - pose[source, :3, 3]))).tolist()
        x, y = x / z, y / z
        if max(abs(x - (w - 1) / 2) - (w - 1) / 2, abs(y - (h - 1) / 2) - (h - 1) / 2) > BORDER_SLACK:
            return None
        x, y = min(max(x, 0.0), w - 1.0), min(max(y, 0.0), h - 1.0)
        i, j = min(int(y), h - 2), min(int(x), w - 2)
        b, a = y - i, x - j
        upper, lower = ((1 - a) * grey[source, row, j] + a * grey[source, row, j + 1] for row in (i, i + 1))
        return float((1 - b) * upper + b * lower)

    seen = {}
    for source in range(1, len(image)):
        for row in range(h):
            for column in range(w):
                z = float(depth[row, column])
                ends = [look(source, row, column, z + INTERVAL * side) for side in (-1, 1)]
                if None not in ends:
                    seen[source, row, column] = look(source, row, column, z)
    total, alike, joined = 0.0, [], []
    for row in range(h):
        for column in range(w):
            costs = []
            for source in range(1, len(image)):
                if (source, row, column) not in seen:
                    continue
                places = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
                places = [place for place in places if (source, *place) in seen]
                a = torch.stack([grey[0][place] for place in places])
                b = torch.tensor([seen[source, *place] for place in places]).double()
                variances = [x.var(correction=0) + (2 / 255) ** 2 for x in (a, b)]
                covariance = ((a - a.mean()) * (b - b.mean())).mean()
                correlation = float(covariance / (variances[0] * variances[1]).sqrt())
                alike.append(correlation > 0.5)
                if alike[-1]:
                    costs.append(1 - correlation)
            total += sum(costs) / max(len(costs), 1)
            for i, j in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if 0 <= row + i < h and 0 <= column + j < w:
                    colour = (image[0, :, row, column] - image[0, :, row + i, column + j]).square().sum()
                    jump = (depth[row, column] - depth[row + i, column + j]) / INTERVAL
                    joined.append(abs(float(jump)) <= 2.5)
                    if joined[-1]:
                        total += smoothness * float(torch.exp(-colour / (2 * deviation**2)) * jump**2)
    assert {*alike} == {*joined} == {False, True}  # both rules are at work
    return total / (h * w)


@pytest.mark.parametrize(("changes", "words"), [({"window": 4}, "odd window"), ({"views": 1}, "at least 2 views")])
def test_bad_arguments_are_told(changes: dict[str, int], words: str) -> None:
    sample = textured_plane(size=(16, 20), views=changes.pop("views", 2))

    with pytest.raises(Vo3dError, match=words):
        refine(sample, sample.depth[0, 0], **changes)


def test_an_interval_of_nothing_is_told() -> None:
    sample = textured_plane(size=(16, 20))

    with pytest.raises(Vo3dError, match="expected a positive number"):
        refine_depth(sample.depth[0, 0], sample.image[0], sample.K[0], sample.world_T_cam[0], 0.0)

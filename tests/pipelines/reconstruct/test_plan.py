"""Planning of sweeps: planes follow range and parallax, people overrule, and what cannot be told is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.inference.loop import reference_window
from vo3d.model import DepthModel
from vo3d.models.plane_sweep import PlaneSweep
from vo3d.pipelines.reconstruct.plan import Choice, Sweep, plan_sweeps, tellable
from vo3d.recording import Cameras, MultiViewScene
from vo3d.sample import Sample
from vo3d.settings.layouts import open_scene

FOCAL, SIZE = 400.0, (96, 128)


class Rail(MultiViewScene):
    """Cameras on a rail that all look across it; nothing reads an image."""

    def __init__(self, places: Sequence[float], near: float, far: float) -> None:
        self.name, self._places, self._range = "rail", places, (near, far)

    def __len__(self) -> int:
        return len(self._places)

    def clip(self, indices: Sequence[int]) -> Sample:
        raise AssertionError("an image was read")

    def poses(self) -> Tensor:
        world_T_cam = torch.eye(4, dtype=torch.float64).repeat(len(self), 1, 1)
        world_T_cam[:, 0, 3] = torch.tensor(self._places)
        return world_T_cam

    def sources(self, index: int) -> list[int]:
        return [other for other in (index - 1, index + 1) if 0 <= other < len(self)]

    def cameras(self) -> Cameras:
        K = torch.tensor([[FOCAL, 0, 63.5], [0, FOCAL, 47.5], [0, 0, 1]])
        ranges = torch.tensor([self._range])
        return Cameras(K=K.expand(len(self), 3, 3), depth_range=ranges.expand(len(self), 2), size=SIZE)


def planned(scene: Rail, model: DepthModel, choice: Choice | None = None, drop_ends: float = 3.0) -> dict[int, Sweep]:
    windows = {index: reference_window(scene, index) for index in scene.references}
    return plan_sweeps(scene, windows, model, choice or Choice(), drop_ends)


def test_planes_follow_the_parallax_of_the_widest_source() -> None:
    sweeps = planned(Rail([0.0, 0.1, 0.4], 2.0, 8.0), PlaneSweep(stride=4))
    step = FOCAL / 4 * (1 / 2 - 1 / 8)  # pixels of the map for a metre
    assert [sweeps[index].parallax for index in range(3)] == pytest.approx([0.1 * step, 0.3 * step, 0.3 * step])
    for sweep in sweeps.values():
        assert sweep.planes is not None
        assert sweep.planes.num == max(16, round(4 * sweep.parallax) + 1) + 6  # and three at either end
        assert sweep.planes.inverse
        ends = sweep.planes.steps(torch.tensor([2.0, 8.0])).tolist()
        margin = sweep.planes.margin(3.0)
        assert ends == pytest.approx([margin, sweep.planes.num - 1 - margin], abs=1e-3)


def test_a_shallow_scene_has_planes_even_in_depth_and_people_overrule() -> None:
    rail = Rail([0.0, 2.0], 2.0, 2.8)
    planes = planned(rail, PlaneSweep())[0].planes
    assert planes is not None
    assert not planes.inverse
    chosen = planned(rail, PlaneSweep(), Choice(num=40, inverse=True), 0.0)[0].planes
    assert chosen is not None
    assert (chosen.num, chosen.inverse) == (40, True)
    assert (chosen.near, chosen.far) == (pytest.approx(2.0), pytest.approx(2.8))


def test_a_model_that_chooses_its_depths_keeps_them() -> None:
    class Stubborn(PlaneSweep):
        free_num_depths = False

    planes = planned(Rail([0.0, 2.0], 2.0, 8.0), Stubborn(num_depths=12))[0].planes
    assert planes is not None
    assert (planes.num, planes.inverse) == (12, Stubborn().inverse)
    ends = planes.steps(torch.tensor([2.0, 8.0])).tolist()
    assert ends == pytest.approx([planes.margin(3.0), 11 - planes.margin(3.0)], abs=1e-3)
    with pytest.raises(Vo3dError, match="Stubborn chooses its depths by itself: leave --num-depths and --inverse out"):
        planned(Rail([0.0, 2.0], 2.0, 8.0), Stubborn(), Choice(inverse=True))


def test_planes_that_are_too_many_for_the_parallax_get_a_longer_range() -> None:
    class Many(PlaneSweep):
        free_num_depths = False

    rail = Rail([0.0, 1.0], 2.0, 2.5)
    sweep = planned(rail, Many(num_depths=256, stride=1, inverse=True), drop_ends=0.0)[0]
    assert sweep.planes is not None
    assert sweep.parallax == pytest.approx(FOCAL * (1 / 2 - 1 / 2.5))
    reached = FOCAL * (1 / sweep.planes.near - 1 / sweep.planes.far)
    assert reached == pytest.approx(128)
    assert 1 / sweep.planes.near + 1 / sweep.planes.far == pytest.approx(1 / 2 + 1 / 2.5)
    narrow = planned(Rail([0.0, 0.05], 2.0, 2.5), Many(num_depths=256, stride=1, inverse=True), drop_ends=0.0)[0].planes
    assert narrow is not None
    assert 1 / narrow.near - 1 / narrow.far == pytest.approx(4 * (1 / 2 - 1 / 2.5))


def test_views_without_parallax_are_left_out_and_a_scene_of_them_is_refused() -> None:
    rail = Rail([0.0, 0.001, 0.5], 2.0, 8.0)
    assert tellable(rail, planned(rail, PlaneSweep())) == [1, 2]
    still = Rail([0.0, 0.001, 0.002], 2.0, 8.0)
    with pytest.raises(Vo3dError, match=r"rail: a parallax of 0\.0375 pixels .* below 1 no depth can be told"):
        tellable(still, planned(still, PlaneSweep()))


@pytest.mark.real
def test_three_photographs_a_millimetre_apart_are_refused(shared_data: Path) -> None:
    _, scene = open_scene(shared_data / "trials" / "scenes" / "stairs_1mm", {"every": 1})
    windows = {index: reference_window(scene, index) for index in scene.references}
    with pytest.raises(Vo3dError, match="below 1 no depth can be told: give photographs from places farther apart"):
        tellable(scene, plan_sweeps(scene, windows, PlaneSweep(), Choice(), 3.0))

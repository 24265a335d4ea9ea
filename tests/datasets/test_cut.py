"""Recordings cut to another shape: nothing is squeezed, and cameras follow."""

import pytest
import torch

from vo3d.datasets.cut import CutRecording, cut_to
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, project, se3
from vo3d.world.sensor import Sensor

STREET = Rendered(seeds=[3], frames=4, size=(72, 128), stereo=True, depth=True, sensor=Sensor(focal=0.7)).recordings[0]


@pytest.mark.parametrize("size", [(24, 64), (60, 60), (72, 128), (31, 97)])
def test_points_lie_where_the_camera_says(size: tuple[int, int]) -> None:
    whole = STREET.clip([0, 1])
    cut = cut_to(whole, size)

    assert cut.K is not None
    assert whole.K is not None
    assert cut.image.shape[-2:] == cut.depth.shape[-2:] == cut.right.shape[-2:] == size  # type: ignore[union-attr]
    assert float(cut.K[0, 0, 0] / cut.K[0, 1, 1]) == pytest.approx(1, abs=0.03)  # nothing is squeezed
    centre = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    torch.testing.assert_close(cut.K[0, :2, 2], centre, atol=1.0, rtol=0)  # the middle stays the middle
    depth = cut.depth[0]  # type: ignore[index]
    pixels, _ = project(whole.K[0], backproject(cut.K[0], depth))
    x, y = pixels.unbind(-1)
    seen = (depth > 0) & (x > 0) & (x < 127) & (y > 0) & (y < 71)
    corners = [
        whole.depth[0][y.floor().long().clamp(0, 70) + down, x.floor().long().clamp(0, 126) + right]  # type: ignore[index]
        for down in (0, 1)
        for right in (0, 1)
    ]
    among = torch.stack(corners)
    between = (among.amin(0) <= depth * 1.001) & (depth * 0.999 <= among.amax(0))
    assert between[seen].float().mean() > 0.97  # edges may fall on the other side


def test_a_cut_recording_is_the_recording_otherwise() -> None:
    cut = CutRecording(STREET, (24, 64))
    sample, whole = cut.clip([1, 3]), STREET.clip([1, 3])

    assert len(cut) == 4
    assert list(cut.frames) == list(STREET.frames)
    assert list(cut.names) == list(STREET.names)
    assert torch.equal(cut.poses(), STREET.poses())  # type: ignore[arg-type]
    assert sample.given() == whole.given()
    assert torch.equal(sample.world_T_cam, whole.world_T_cam)  # type: ignore[arg-type]
    assert torch.equal(sample.index, whole.index)  # type: ignore[arg-type]
    assert sample.left_T_right.shape == (4, 4)  # type: ignore[union-attr]
    assert torch.equal(sample.left_T_right, whole.left_T_right)  # type: ignore[arg-type]
    assert torch.equal(sample.image, cut_to(whole, (24, 64)).image)
    assert se3.relative(*sample.world_T_cam).shape == (4, 4)  # type: ignore[misc]


def test_no_size_is_refused() -> None:
    with pytest.raises(Vo3dError, match="no image size"):
        CutRecording(STREET, (0, 5))

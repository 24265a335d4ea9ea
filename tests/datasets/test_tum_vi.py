"""TUM-VI: recordings rendered into its layout, through a fisheye."""

import math
from pathlib import Path

import pytest
import torch

from asl_tree import BODY_T_LEFT, LEFT_T_RIGHT, Truth, write_asl
from vo3d.datasets.euroc import SEQUENCE_LAYOUT as EUROC
from vo3d.datasets.tum_vi import SEQUENCE_LAYOUT, TUMVI
from vo3d.errors import Vo3dError
from vo3d.geometry import se3

SIZE, NAME = (36, 48), "dataset-room1_512_16"
# of TUM-VI's cam0 at 512x512
FISHEYE = ("equidistant", (0.0034823894, 0.00071503485, -0.0020532361, 0.00020293674))
FOCAL = 0.5  # of the width; TUM-VI's 0.373 shows more than the world renders through a lens


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    home = tmp_path_factory.mktemp("tum_vi") / NAME
    return write_asl(home, frames=2, size=SIZE, lens=FISHEYE, focal=FOCAL, stereo=True, tum_vi=True, samples=2)


def test_a_fisheye_pair_becomes_one_of_ideal_cameras(whole: Truth) -> None:
    sample = TUMVI(whole.home.parent, [NAME], stereo=True, imu=True)[0]
    assert sample.K is not None
    angle = 2 * math.degrees(math.atan(SIZE[1] / 2 / float(sample.K[0, 0, 0])))
    assert angle == pytest.approx(90, abs=1)
    assert sample.left_T_right[:3, 3].tolist() == pytest.approx([float(LEFT_T_RIGHT[:3, 3].norm()), 0, 0])
    pose = sample.world_T_cam[1]
    for image, seen_from in ((sample.image[1], pose), (sample.right[1], pose @ sample.left_T_right.double())):
        assert 255 * float((image - whole.rendered(1, seen_from, sample.K[1], SIZE)).abs().mean()) < 2.5
        turned = seen_from @ se3.exp(torch.tensor([0, 0, 0, 1.5 / float(sample.K[0, 0, 0]), 0, 0], dtype=torch.float64))
        assert 255 * float((image - whole.rendered(1, turned, sample.K[1], SIZE)).abs().mean()) > 3


def test_the_body_is_the_sensor(whole: Truth) -> None:
    sample = TUMVI(whole.home, imu=True)[0]
    torch.testing.assert_close(sample.world_T_cam, whole.world_T_left, rtol=0, atol=1e-9)
    torch.testing.assert_close(sample.cam_T_imu, se3.inverse(BODY_T_LEFT).float(), rtol=0, atol=1e-6)
    assert sample.imu[1, 1].tolist() == pytest.approx(whole.reading(1), rel=1e-5)


def test_a_field_of_view_that_the_lens_does_not_show_is_refused(whole: Truth) -> None:
    with pytest.raises(Vo3dError, match=r"camchain.yaml: cam0: its lens does not show 170 degrees"):
        TUMVI(whole.home, field_of_view=170.0)
    with pytest.raises(Vo3dError, match="field_of_view is 180: expected degrees"):
        TUMVI(whole.home, field_of_view=180.0)


def test_it_is_told_from_euroc_by_its_calibration(whole: Truth, tmp_path: Path) -> None:
    assert SEQUENCE_LAYOUT.rank < EUROC.rank
    assert SEQUENCE_LAYOUT.recognises(whole.home)
    assert SEQUENCE_LAYOUT.recognises(whole.home / "mav0")
    assert not SEQUENCE_LAYOUT.recognises(tmp_path)
    assert SEQUENCE_LAYOUT.recording(whole.home, size=(32, 32)).clip([0]).image.shape == (1, 3, 32, 32)

"""The benchmark of tracks on frames of a drawn corridor."""

import re

import numpy as np
import pytest

import benchmark_track
from corridor import MOTORWAY, K, clip
from vo3d.geometry.grey import grey_image


def test_a_plain_loop_takes_time_and_a_standing_camera_none(capsys: pytest.CaptureFixture[str]) -> None:
    images = [grey_image(image) for image in clip(*["fast"] * 4, planes=MOTORWAY).image]
    assert benchmark_track.plain_loop(iter(images), K.double().numpy(), keep=0.6) > 0
    benchmark_track.stand(images, K.double().numpy(), noise=4.0)
    told = capsys.readouterr().out.splitlines()
    assert [re.match(r"standing (from the start|after \d+ frames), noise of 4", line) is not None for line in told] == [
        True,
        True,
    ]
    shares = [float(re.search(r"([\d.e-]+) % of constant steps", line)[1]) for line in told]
    assert np.max(shares) < 1.0

"""The page of a cloud holds the points that were put in, asks nothing of the network, and says what it shows."""

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.ply import PointCloud
from vo3d.report.cloud_page import cloud_page

NODE = shutil.which("node")


def cloud(count: int = 500, offset: float = 0.0, **known: Any) -> PointCloud:
    """Points in a box of 2 x 4 x 6 far from the origin, with everything that a page can show."""
    random = np.random.default_rng(0)
    given = {
        "colours": random.integers(0, 256, (count, 3)).astype(np.uint8),
        "normals": random.normal(size=(count, 3)),
        "scalars": {"error <m>": random.normal(size=count).astype(np.float32), "views": np.arange(count) % 7},
    }
    return PointCloud(points=random.uniform((-1, -2, -3), (1, 2, 3), (count, 3)) + offset, **(given | known))


def script(path: Path, kind: str) -> str:
    """The content of one script of the page."""
    found = re.search(rf"<script{kind}>(.*?)</script>", path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def opened(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the page says of itself, and its arrays as its program reads them."""
    about = json.loads(script(path, ' type="application/json" id="about"'))
    payload = base64.b64decode(script(path, ' type="text/plain" id="points"'), validate=True)
    arrays, start = {}, 0
    for entry in about["arrays"]:
        kind = np.dtype(entry["kind"]).newbyteorder("<")
        array = np.frombuffer(payload, kind, about["count"] * entry["width"], start)
        assert start % kind.itemsize == 0  # the browser refuses arrays that begin between two of their numbers
        start += array.nbytes
        arrays[entry["name"]] = array.reshape(-1, entry["width"]) if entry["width"] > 1 else array
    assert start == len(payload)
    return about, arrays


def test_the_payload_is_the_cloud(tmp_path: Path) -> None:
    given = cloud(offset=1e5)
    about, arrays = opened(cloud_page(given, tmp_path / "new" / "page.html", "t"))
    assert about["count"] == 500
    assert about["choices"] == [
        ["colours", "RGB"], ["normals", "normal"], ["height", "height"], ["scalar0", "error <m>"], ["scalar1", "views"]
    ]  # fmt: skip
    size = np.array(about["size"])
    found = given.points.min(0) + size * arrays["points"] / 65535
    assert (np.abs(given.points - found) <= size / 65535 / 2 + 1e-9).all()
    np.testing.assert_allclose(size, np.ptp(given.points, axis=0))
    np.testing.assert_array_equal(arrays["colours"], given.colours)
    assert given.normals is not None
    unit = given.normals / np.linalg.norm(given.normals, axis=1, keepdims=True)
    np.testing.assert_allclose(arrays["normals"] / 127, unit, atol=0.5 / 127 + 1e-9)
    for name, key in (("scalar0", "error <m>"), ("scalar1", "views")):
        low, high = np.quantile(given.scalars[key], (0.01, 0.99))
        assert about["ends"][name] == [f"{low:.4g}", f"{high:.4g}"]
        back = low + (high - low) * arrays[name] / 65534
        np.testing.assert_allclose(back, np.clip(given.scalars[key], low, high), atol=(high - low) / 65534)


def test_the_page_stands_alone_and_escapes_its_words(tmp_path: Path) -> None:
    attack = "</script><script>alert('&')"
    given = cloud(scalars={attack: np.zeros(500)})
    path = cloud_page(given, tmp_path / "page.html", attack)
    page = path.read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 3
    assert html.escape(attack) in page
    assert opened(path)[0]["choices"][-1][1] == attack
    assert "@@" not in page
    for word in ("http", " src=", "@import", "url(", "fetch(", "import("):
        assert word not in page.replace(attack, "")
    assert len(page) - 4 * 500 * 14 / 3 < 16_000  # all but the payload


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    strays = np.concatenate((cloud(5000).points, 1e4 * np.ones((3, 3))))
    path = cloud_page(PointCloud(points=strays), tmp_path / "page.html", "t", max_points=1000)
    about, arrays = opened(path)
    assert about["count"] == len(arrays["points"]) == 1000
    assert max(about["size"]) < 7
    assert about["choices"] == [["height", "height"]]
    assert "1,000 of 5,003 points, chosen by chance; 3 far outside are left out." in path.read_text()
    again = cloud_page(PointCloud(points=strays), tmp_path / "again.html", "t", max_points=1000)
    assert again.read_text() == path.read_text()
    whole = cloud_page(cloud(5000), tmp_path / "whole.html", "t")
    assert "<p>5,000 points. Positions are rounded to 9e-05 of the cloud&#x27;s unit.</p>" in whole.read_text()


def test_height_follows_up(tmp_path: Path) -> None:
    for up, axis, sign in (((0.0, 0.0, 1.0), 2, 1), (None, 1, -1)):
        about, arrays = opened(cloud_page(cloud(), tmp_path / "page.html", "t", up=up))
        height = (np.array(about["low"]) + np.array(about["size"]) * arrays["points"] / 65535) @ about["upright"][6:]
        assert np.corrcoef(height, arrays["points"][:, axis])[0, 1] == pytest.approx(sign, abs=1e-6)
        low, high = about["height"]
        assert np.mean((height >= low) & (height <= high)) == pytest.approx(0.98, abs=0.005)
    sideways = torch.eye(4)[None, [1, 0, 2, 3]]  # y of the camera along x
    about, _ = opened(cloud_page(cloud(), tmp_path / "page.html", "t", world_T_cam=sideways))
    assert about["upright"][6:] == pytest.approx([-1, 0, 0])


def test_a_flat_cloud_and_numbers_that_are_none(tmp_path: Path) -> None:
    flat = np.array([[0.0, 0, 1], [1, 0, 1], [0, 0, 3]])
    odd = {"some": np.array([np.nan, 2.0, 3.0]), "none": np.full(3, np.inf), "same": np.full(3, 7)}
    about, arrays = opened(cloud_page(PointCloud(points=flat, scalars=odd), tmp_path / "page.html", "t"))
    assert arrays["scalar0"].tolist() == [65535, 0, 65534]
    assert arrays["scalar1"].tolist() == [65535] * 3
    assert arrays["scalar2"].tolist() == [0] * 3
    assert all(np.isfinite(about[key]).all() for key in ("low", "size", "height", "radius"))
    one = opened(cloud_page(PointCloud(points=np.array([[5.0, 6.0, 7.0]])), tmp_path / "one.html", "t"))[0]
    assert one["radius"] > 0
    assert min(one["size"]) > 0
    for count, most in ((0, 5), (5, 0)):
        with pytest.raises(Vo3dError, match="at least one of each"):
            cloud_page(cloud(count), tmp_path / "absent.html", "t", max_points=most)
    assert not (tmp_path / "absent.html").exists()


@pytest.mark.skipif(NODE is None, reason="the page's program is run by node, which is not installed")
def test_the_program_of_the_page_reads_what_was_written(tmp_path: Path) -> None:
    path = cloud_page(cloud(300), tmp_path / "page.html", "t")
    about, arrays = opened(path)
    program = """
const { readFileSync } = require("fs");
const page = readFileSync(process.argv[1], "utf8");
const scripts = [...page.matchAll(/<script([^>]*)>([^]*?)<\\/script>/g)];
const texts = { about: scripts[0][2], points: scripts[1][2] };
const nodes = { view: { getContext: () => null } };
const find = (name) => nodes[name] ??= { textContent: texts[name] };
const run = new Function("document", "window", scripts[2][2] + "; return { decode, colours, axes };");
const { decode, colours, axes } = run({ getElementById: find }, {});
const arrays = decode(texts.points);
const shown = {};
for (const by of ["colours", "normals", "height", "scalar0", "scalar1"]) shown[by] = [...colours(arrays, by).out];
const fault = nodes.fault.textContent;
console.log(JSON.stringify({ fault, points: [...arrays.points], axes: axes(0.7, 0.3), shown }));
"""
    assert NODE
    done = subprocess.run([NODE, "-e", program, str(path)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["fault"] == "The cloud cannot be shown: this browser has no WebGL."
    np.testing.assert_array_equal(np.reshape(found["points"], (-1, 3)), arrays["points"])
    shown = {by: np.reshape(values, (-1, 3)) for by, values in found["shown"].items()}
    np.testing.assert_array_equal(shown["colours"], arrays["colours"])
    np.testing.assert_array_equal(shown["normals"], (127.5 + arrays["normals"]).astype(np.uint8))
    axes = np.array(found["axes"])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    height = (np.array(about["low"]) + np.array(about["size"]) * arrays["points"] / 65535) @ about["upright"][6:]
    low, high = about["height"]
    ramp, stops = np.array(about["ramp"]), np.linspace(0, 1, len(about["ramp"]))
    shares = {"height": (height - low) / (high - low), "scalar0": arrays["scalar0"] / 65534}
    for by, share in shares.items():
        expected = np.stack([np.interp(np.clip(share, 0, 1), stops, ramp[:, channel]) for channel in range(3)], 1)
        assert np.abs(shown[by] - expected).max() <= 1

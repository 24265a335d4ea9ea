"""The report of a reconstruction states what was found, what it took, and where the cloud can be turned."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from page_reader import Page
from vo3d.depth_map import Outcome, Planes, PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.formats.ply import PointCloud
from vo3d.fusion.filtering import FusionRules
from vo3d.fusion.fuse import Fused, ViewCounts
from vo3d.metrics.depth import depth_metrics
from vo3d.report.reconstruction import write_reconstruction_report
from vo3d.report.words import duration_in_words

SIZE = (12, 16)
RULES = FusionRules(min_confidence=0.5, min_consistent=2)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of few pixels: drawing is faster."""
    monkeypatch.setattr("vo3d.report.canvas.DPI", 70)


def depth_map(number: int) -> PosedDepthMap:
    """A noisy view of a wall two metres away, with a hole."""
    random = torch.Generator().manual_seed(number)
    depth = 2 + 0.04 * torch.randn(SIZE, generator=random)
    depth[3:5] = 0
    world_T_cam = torch.eye(4, dtype=torch.float64)
    world_T_cam[0, 3] = 0.1 * number
    return PosedDepthMap(
        name=f"view <{number}>",
        depth=depth,
        confidence=torch.rand(SIZE, generator=random),
        K=torch.tensor([[20.0, 0, 7.5], [0, 20, 5.5], [0, 0, 1]]),
        world_T_cam=world_T_cam,
        image=torch.rand(3, *SIZE, generator=random),
        sources=(),
        depth_range=(1.0, 3.0),
    )


def fused(count: int) -> Fused:
    """A cloud, and counts of so many views, the last of which gave nothing."""
    points = np.random.default_rng(0).uniform((-2, -1, 1.9), (2, 1, 2.1), (500, 3))
    views = tuple(
        ViewCounts(
            name=f"view <{n}>", pixels=192, known=160, confident=90 - n, consistent=50, fused=40 if n < count - 1 else 0
        )
        for n in range(count)
    )
    ones = np.ones(500, np.int64)
    cloud = PointCloud(points=points, colours=np.full((500, 3), 90, np.uint8))
    outcomes = torch.full(SIZE, Outcome.UNSURE, dtype=torch.uint8)
    outcomes[:3] = Outcome.KEPT
    return Fused(cloud=cloud, views=views, num_seen=ones, seen_by=0 * ones, outcomes=(outcomes,) * count)


def report(folder: Path, count: int = 8, truths: dict[str, Tensor] | None = None, **changes: object) -> Path:
    maps = [depth_map(number) for number in range(count)]
    if truths is not None:
        maps = [replace(view, truth=truths.get(view.name)) for view in maps]
    if (num_depths := changes.pop("num_depths", None)) is not None:
        maps = [replace(view, planes=Planes(near=1.0, far=3.0, num=num_depths, inverse=False)) for view in maps]
    given: dict[str, object] = {"title": "A <wall>", "settings": {"scene": "wall", "weights": "none"}, "frames": 5}
    return write_reconstruction_report(
        folder,
        fused(count),
        maps,
        RULES,
        **(given | changes),  # type: ignore[arg-type]
    )


def rows(path: Path, place: int) -> list[list[str]]:
    """The cells of one table of the page."""
    table = re.findall(r"<tbody>(.*?)</tbody>", path.read_text(encoding="utf-8"), re.DOTALL)[place]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.strip().splitlines()]
    return [[re.sub(r"<.*?>", "", cell) for cell in row] for row in cells]


def test_the_report_says_what_was_found_and_what_it_took(tmp_path: Path) -> None:
    spent = {"seconds": {"depth maps": 100.0, "fusion": 50.4}, "peak_bytes": 1_500_000_000}
    path = report(tmp_path, **spent, unit="mm", commands=["vo3d reconstruct wall"], provenance={"torch": "x.y"})
    page = Page(path)
    assert page.texts["h1"] == ["A <wall>"]
    lead = "500 points from 7 of 8 views, in 2 min 30 s, with at most 1.5 GB of memory."
    assert page.texts["p"][0] == lead
    assert "6 of 8 views, evenly chosen" in page.text("figcaption")
    assert re.search(r"98 % of its points lie within 3\.\d+ x 1\.9\d x 0\.19\d mm", page.text("figcaption"))
    stated = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    expected = {"depth maps": "100 s", "fusion": "50 s", "peak memory": "1.5 GB", "scene": "wall",
                "least confidence": "0.5", "views that must confirm": "2", "largest reprojection error": "1 px",
                "largest difference of depths": "1 %", "points seen by several views": "kept once"}  # fmt: skip
    assert expected.items() <= stated.items()
    assert page.texts["code"] == ["vo3d reconstruct wall", "torch: x.y"]
    counts = rows(path, 0)
    assert counts[0] == ["view &lt;0&gt;", "192", "160", "90", "50", "40", "20.8"]
    assert counts[-1] == ["all views", "1536", "1280", "692", "400", "280", "18.2"]


def test_the_cloud_lies_beside_the_report(tmp_path: Path) -> None:
    page = Page(report(tmp_path, 2))
    links = [target for target in page.attributes("href") if not target.startswith("#")]
    assert links == ["cloud.html"]
    assert "<title>A &lt;wall&gt;</title>" in (tmp_path / "cloud.html").read_text()
    assert (tmp_path / "turntable" / "turntable.gif").is_file()
    assert len(list((tmp_path / "turntable").glob("*.png"))) == 5
    assert all(source.startswith("data:image/png") for source in page.attributes("src"))
    assert len(page.attributes("src")) == len(list((tmp_path / "figures").iterdir())) == 3


def test_errors_are_those_of_the_metrics_for_all_and_for_confident_depths(tmp_path: Path) -> None:
    truths = {f"view <{number}>": torch.full(SIZE, 2.0) for number in (0, 2)}
    truths["view <2>"][:6] = 0
    path = report(tmp_path, 3, truths=truths, num_depths=41)
    expected = []
    for number in (0, 2):
        view = depth_map(number)
        for mask in (None, view.confidence >= 0.5):
            depth = view.depth if mask is None else torch.where(mask, view.depth, 0.0)
            found = depth_metrics(depth, truths[view.name], interval=torch.tensor(0.05))
            keys = (
                "coverage_percent",
                "within_1_interval_percent",
                "within_1pc_percent",
                "within_5pc_percent",
                "abs_rel",
            )
            expected.append([found[f"depth_{key}"].item() for key in keys])
            expected[-1][-1] *= 100
    each = rows(path, 1)
    assert [row[:2] for row in each] == [
        [f"view &lt;{number}&gt;", kind]
        for number in (0, 2)
        for kind in ("all", "confidence \N{GREATER-THAN OR EQUAL TO} 0.5")
    ]
    digits = (1, 1, 1, 1, 2)
    assert [row[2:] for row in each] == [
        [f"{value:.{places}f}" for value, places in zip(row, digits, strict=True)] for row in expected
    ]
    means = np.array(expected).reshape(2, 2, 5).mean(0)
    for row, mean in zip(rows(path, 0), means, strict=True):
        assert [float(cell) for cell in row[2:]] == pytest.approx(mean.tolist(), abs=0.0501)
    assert "within 1 interval" in Page(path).text("th")


def test_a_view_without_any_true_pixel_does_not_spoil_the_mean(tmp_path: Path) -> None:
    truths: dict[str, Tensor] = {"view <0>": torch.full(SIZE, 2.0), "view <1>": torch.zeros(SIZE)}
    path = report(tmp_path, 2, truths=truths)
    assert rows(path, 1)[2][2:] == 4 * ["\N{EN DASH}"]
    assert [cell[2:] for cell in rows(path, 0)] == [row[2:] for row in rows(path, 1)[:2]]
    assert "interval" not in Page(path).text("th")


def test_what_cannot_be_reported_is_said(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="0 depth maps and 500 points"):
        write_reconstruction_report(tmp_path, fused(1), [], RULES, title="t", settings={})
    empty = replace(fused(1), cloud=PointCloud(points=np.zeros((0, 3))))
    with pytest.raises(Vo3dError, match="1 depth maps and 0 points"):
        write_reconstruction_report(tmp_path, empty, [depth_map(0)], RULES, title="t", settings={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.26, "1.3 s"), (119.4, "119 s"), (150.0, "2 min 30 s"), (599.8, "10 min 0 s"), (725.0, "12 min"),
     (12000.0, "3 h 20 min")],
)  # fmt: skip
def test_durations_lose_less_than_a_tenth(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


def test_a_warning_stands_before_the_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned = replace(fused(2), warning="only 1 % survive: raise --num-depths")
    monkeypatch.setitem(globals(), "fused", lambda count: warned)
    assert Page(report(tmp_path, 2)).texts["p"][1] == "Warning: only 1 % survive: raise --num-depths."

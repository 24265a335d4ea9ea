"""The tool that scores networks of multi-view stereo beside plane sweeping, on two small tables."""

import json
from pathlib import Path

import pytest
import torch

import compare_mvs
from vo3d.depth_map import DepthMap
from vo3d.formats.results import Result
from vo3d.inference.cards import save_pretrained
from vo3d.models.mvsnet import MVSNet
from vo3d.sample import Sample


def test_every_method_is_a_row_with_equal_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "drawn.safetensors"
    save_pretrained(weights, MVSNet(num_depths=8), "vo3d.models.mvsnet.MVSNet", {"num_depths": 8}, "none", {})
    words = ["--model", f"drawn={weights}", "--scenes", "2", "--references", "1", "--size", "48", "64"]
    words += ["--num-depths", "8", "--pictures", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert compare_mvs.main(words) == 0
    rows = json.loads((tmp_path / "out" / "table.json").read_text())
    assert list(rows) == [*compare_mvs.BASELINES, "drawn", "protocol"]
    results = {name: Result.load(tmp_path / "out" / name) for name in ("plane_sweep", "plane_sweep__variance", "drawn")}
    assert len({result.protocol["frames_sha256"] for result in results.values()}) == 1
    assert rows["drawn"]["within_1_percent"] == results["drawn"].mean["depth_recall_1pc_percent"]
    assert rows["drawn"]["scenes"] == 2
    assert 0 <= rows["drawn"]["scenes_better_than_plane_sweep"] <= 2
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert [line.split(" | ")[0] for line in table.splitlines()[2:6]] == [
        "| plane sweep",
        "| plane sweep, unsmoothed",
        "| plane sweep, variance",
        "| drawn",
    ]
    assert (tmp_path / "out" / "views.png").stat().st_size > 10_000


class _One:
    """One sample with its truth, as the tool keeps them."""

    def __init__(self, depth: torch.Tensor) -> None:
        h, w = depth.shape
        image = torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(0)).repeat(1, 3, 1, 1)
        image[..., : w // 2] *= 0.1
        self.sample = Sample(image=image, K=torch.eye(3)[None], depth=depth[None], scene="one")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self.sample


def test_shares_are_counted_by_class() -> None:
    depth = torch.full((48, 96), 2.0)
    depth[:, 64:] = 1.0  # a step at column 16 of the map
    depth[:8] = 0
    samples = _One(depth)
    (pixels,) = compare_mvs.classes(samples)
    truth = depth[::4, ::4]
    assert int(sum(pixels[name].sum() for name in ("weak", "middle", "strong"))) == int((truth > 0).sum())
    assert not pixels["weak"][:, 12:].any()
    edge = pixels["edge"]
    assert edge[2].all()  # beside what has no truth
    assert edge[3:, 15:17].all()
    assert not edge[3:, :15].any()
    assert not edge[3:, 17:].any()
    estimate = truth.clone()
    estimate[:, :12] *= 1.02  # wrong on the left
    estimate[5, 20] = 0  # none
    confidence = torch.linspace(0, 1, 24).expand(12, 24)
    found = compare_mvs.shares_within(
        {0: DepthMap(name="0", image=torch.zeros(3, 48, 96), depth=estimate, confidence=confidence)}, samples, [pixels]
    )
    assert found["all"] == pytest.approx(100 * (120 - 1) / 240)
    assert found["confident"] == pytest.approx(100 * (120 - 1) / 130)  # column 11 has the median
    assert found["weak"] == 0  # all of them on the left
    assert found["strong"] == pytest.approx(100 * int((pixels["strong"] & (estimate == truth)).sum()) / 80)
    inside = int(pixels["inside"].sum())
    assert found["inside"] == pytest.approx(100 * int((pixels["inside"] & (estimate == truth)).sum()) / inside)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nothing"], "--model nothing: expected NAME=WEIGHTS"),
        (["--model", "plane sweep=x"], "a name that is not taken"),
        (["--model", "net=absent.ckpt"], "absent.ckpt"),
    ],
)
def test_mistakes_get_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare_mvs.main([*words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err

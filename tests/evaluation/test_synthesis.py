"""The report shows a view as depth and motion make it from other images, out of what was kept while it was scored."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
import torch

from tiny import Whole
from true_street import TrueStreet, street
from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.evaluation.page import write_report
from vo3d.evaluation.tasks.single_view_depth import SingleViewDepth
from vo3d.geometry import se3
from vo3d.recording import Recording
from vo3d.report import synthesis
from vo3d.report.synthesis import ViewSynthesis

SIZE = (64, 208)
DRAWN: list[ViewSynthesis] = []


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of few pixels, and what they are made of."""
    plot = synthesis.plot_view_synthesis
    monkeypatch.setattr("vo3d.report.canvas.DPI", 70)
    monkeypatch.setattr(
        "vo3d.evaluation.synthesis.plot_view_synthesis",
        lambda found, **more: (DRAWN.append(found), plot(found, **more))[1],
    )
    DRAWN.clear()


def page(out: Path, recording: Recording, task: SingleViewDepth, model: TrueStreet | None = None) -> str:
    """Score the truth on a recording, and write its report."""
    task.run(model or TrueStreet(), Whole([street(3, 12, SIZE)]), out, protocol={"dataset": "x", "split": "y"})
    written = write_report(out / "page", {task: {"truth": out}}, title="x", recordings={"truth": [recording]})
    return unescape(written.read_text())


@pytest.mark.parametrize(("clip_length", "key", "other"), [(16, "next", 4), (4, "before", 2)])
def test_the_page_shows_the_views_made_again(clip_length: int, key: str, other: int, tmp_path: Path) -> None:
    """Frame 3 of 12 is shown; where windows have 4 frames it is the last of one."""
    text = page(tmp_path, street(3, 12, SIZE), SingleViewDepth(references=2, clip_length=clip_length))
    assert ">Views made from other images</h2>" in text
    assert "street-0003, 000003, with its depth, made from the right image and from the" in text
    assert (tmp_path / "page" / "figures" / "synthesis_1_1.png").is_file()
    content = json.loads((tmp_path / "maps" / "street-0003" / "000003_motion.json").read_text())
    assert content["source"] == other
    truth = se3.relative(*street(3, 12, SIZE).poses()[[other, 3]])
    torch.testing.assert_close(torch.tensor(content["source_T_view"]), truth.float(), atol=1e-5, rtol=0)
    (found,) = DRAWN
    assert found.name == "street-0003, 000003"
    assert [made.key for made in found.made] == ["right", key]
    for made in found.made:
        residual, identity = made.means()
        assert residual < 0.6 * identity  # what is hidden stays wrong
        assert made.share > 0.5


class Still(TrueStreet):
    """The same without its motion."""

    gives = ("depth",)

    def forward(self, sample):  # type: ignore[no-untyped-def]
        """Depth alone."""
        return {"depth": super().forward(sample)["depth"]}


def test_without_a_motion_and_a_right_image_there_is_no_section(tmp_path: Path) -> None:
    mono = RenderedRecording("street", 3, 12, SIZE, depth=True)
    text = page(tmp_path, street(3, 12, SIZE), SingleViewDepth(references=1))
    assert [made.key for made in DRAWN[-1].made] == ["right", "next"]
    text = page(tmp_path, street(3, 12, SIZE), SingleViewDepth(references=1), Still())  # it takes the motion away
    assert [made.key for made in DRAWN[-1].made] == ["right"]
    assert not list((tmp_path / "maps").rglob("*.json"))
    text = page(tmp_path, mono, SingleViewDepth(references=1), Still())
    assert "Views made from other images" not in text
    assert re.search(r">Depth maps</h2>", text)
    assert len(DRAWN) == 2


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"source": 12, "source_T_view": 1}', '{"source": 1, "source_T_view": [1]}']
)
def test_a_damaged_motion_is_refused(content: str, tmp_path: Path) -> None:
    page(tmp_path, street(3, 12, SIZE), SingleViewDepth(references=1))
    (file,) = (tmp_path / "maps").rglob("*.json")
    file.write_text(content)
    with pytest.raises(Vo3dError, match=f"{file}: not the motion of a view .*: evaluate the model again"):
        write_report(
            tmp_path / "page", {SingleViewDepth(): {"a": tmp_path}}, title="x", recordings={"a": [street(3, 12, SIZE)]}
        )


def test_maps_of_another_size_are_refused(tmp_path: Path) -> None:
    page(tmp_path, street(3, 12, SIZE), SingleViewDepth(references=1))
    other = RenderedRecording("street", 3, 12, (32, 104), stereo=True)
    with pytest.raises(Vo3dError, match="a map of 208x64: expected 104x32, as street-0003 has now"):
        write_report(tmp_path / "page", {SingleViewDepth(): {"a": tmp_path}}, title="x", recordings={"a": [other]})

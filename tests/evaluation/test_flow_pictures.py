"""Reports show flow and masks of moving objects, out of files as their tasks leave them."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.evaluation.flow_pictures import flow_sections, mask_sections
from vo3d.formats.flow import write_flo
from vo3d.formats.pfm import write_pfm
from vo3d.geometry import se3
from vo3d.recording import Recording
from vo3d.report import flow, masks
from vo3d.report.html import Picture, Section, Text, write_page
from vo3d.report.masks import true_masks
from vo3d.report.scored import Scored
from vo3d.sample import Sample

VIEW = "000002"
DRAWN: list[tuple[Any, ...]] = []


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of few pixels, and what they are made of."""
    plots = {"plot_flow": flow.plot_flow, "plot_masks": masks.plot_masks}

    def watch(name: str) -> Any:
        return lambda *given, **more: (DRAWN.append((*given, more)), plots[name](*given, **more))[1]

    monkeypatch.setattr("vo3d.report.canvas.DPI", 50)
    for name in plots:
        monkeypatch.setattr(f"vo3d.evaluation.flow_pictures.{name}", watch(name))
    DRAWN.clear()


class Street(Recording):
    """Eight frames of noise in which two objects move; what is `absent` is not given."""

    def __init__(self, seed: int = 3, size: tuple[int, int] = (48, 60), absent: Collection[str] = ()) -> None:
        self.name, self.size, self.absent = f"street-{seed:04d}", size, absent

    def __len__(self) -> int:
        return 8

    def poses(self) -> torch.Tensor:
        """Steps of a metre."""
        return se3.exp(torch.arange(8)[:, None] * torch.tensor([0.0, 0, 1, 0, 0.1, 0]).double())

    def clip(self, indices: Sequence[int]) -> Sample:
        """Draw what depends on the frames alone."""
        draw = torch.Generator().manual_seed(indices[0])
        s, h, w = len(indices), *self.size
        mask = torch.zeros(s, h, w, dtype=torch.long)
        mask[:, :10, :10], mask[:, 20:26, 20:26] = 2, 1
        given: dict[str, Any] = {
            "K": torch.tensor([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1]]).expand(s, 3, 3),
            "world_T_cam": self.poses()[list(indices)],
            "depth": 5 + torch.rand(s, h, w, generator=draw),
            "flow": torch.randn(s - 1, 2, h, w, generator=draw),
            "mask": mask,
            "object_motion": se3.exp(0.1 * torch.randn(s - 1, 2, 6, generator=draw).double()),
        }
        image = torch.rand(s, 3, h, w, generator=draw)
        return Sample(image=image, **{key: value for key, value in given.items() if key not in self.absent})


def scored(folder: Path, *names: str) -> dict[str, Scored]:
    """The result of a model on recordings."""
    rows: dict[str, dict[str, Any]] = {name: {} for name in names}
    return {"SfM": Scored(model="SfM", protocol={}, sequences=rows, mean={}, provenance={}, folder=folder)}


def write_flow(folder: Path, seed: int = 3, view: str = VIEW) -> torch.Tensor:
    truth = Street(seed).clip([2, 3]).flow
    assert truth is not None
    predicted = truth[0] + 1
    predicted[:, 0, 0] = torch.nan
    write_flo(folder / "flow" / f"street-{seed:04d}" / f"{view}_flow.flo", predicted)
    return predicted


def write_masks(folder: Path, view: str = VIEW) -> tuple[torch.Tensor, torch.Tensor]:
    """The true masks and motions of the two objects, in reverse order."""
    clip = Street().clip([2, 3])
    assert clip.mask is not None
    assert clip.object_motion is not None
    truth = true_masks(clip.mask[0], clip.object_motion[0], clip.world_T_cam)
    assert truth.motion is not None
    chosen = truth.large[1::-1]
    for number, mask in enumerate(truth.mask[chosen]):
        write_pfm(folder / "masks" / "street-0003" / f"{view}_mask_{number}.pfm", mask)
    motions = truth.motion[chosen]
    (folder / "masks" / "street-0003" / f"{view}_motions.json").write_text(json.dumps(motions.tolist()))
    return truth.mask[chosen], motions


def pictures(sections: Iterator[Section], page: Path) -> list[Picture | Text]:
    """The parts of the one section, of which a page can be made."""
    (section,) = sections
    write_page(page / "report.html", "x", [section])
    return list(section.parts)  # type: ignore[arg-type]


def test_flow_is_shown_beside_the_truth(tmp_path: Path) -> None:
    predicted = write_flow(tmp_path)
    (picture,) = pictures(
        flow_sections(scored(tmp_path, "street-0003"), {"SfM": [Street()]}, tmp_path / "figures"), tmp_path
    )
    assert isinstance(picture, Picture)
    assert picture.path == tmp_path / "figures" / "flow_1_1.png"
    assert picture.path.is_file()
    assert picture.caption.startswith("SfM: street-0003, 000002, with its flow to the next frame.")
    ((pair, _),) = DRAWN
    assert pair.name == "street-0003, 000002"
    torch.testing.assert_close(pair.flow, predicted, equal_nan=True)
    clip = Street().clip([2, 3])
    assert torch.equal(pair.image, clip.image[0])
    assert torch.equal(pair.following, clip.image[1])
    assert torch.equal(pair.truth, clip.flow[0])  # type: ignore[index]


def test_two_recordings_of_a_model_are_shown(tmp_path: Path) -> None:
    for seed in (3, 4, 5):
        write_flow(tmp_path, seed)
    names = [f"street-{seed:04d}" for seed in (2, 3, 4, 5)]  # the first has no files
    seen = {"SfM": [Street(seed, absent=["flow"]) for seed in (5, 4, 3, 2)]}
    parts = pictures(flow_sections(scored(tmp_path, *names), seen, tmp_path / "figures"), tmp_path)
    assert [part.path.name for part in parts if isinstance(part, Picture)] == ["flow_1_1.png", "flow_1_2.png"]
    assert [pair.name for pair, _ in DRAWN] == ["street-0003, 000002", "street-0004, 000002"]
    assert all(pair.truth is None for pair, _ in DRAWN)  # these recordings have none


def test_masks_are_shown_with_their_motions(tmp_path: Path) -> None:
    mask, motion = write_masks(tmp_path)
    (picture,) = pictures(
        mask_sections(scored(tmp_path, "street-0003"), {"SfM": [Street()]}, tmp_path / "figures"), tmp_path
    )
    assert isinstance(picture, Picture)
    assert picture.path == tmp_path / "figures" / "masks_1_1.png"
    assert "beside the true ones" in picture.caption
    ((_, found, truth, more),) = DRAWN
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(found.motion, motion)
    assert found.camera is None
    clip = Street().clip([2, 3])
    assert clip.world_T_cam is not None
    assert len(truth.mask) == len(truth.motion) == len(truth.names) == 2
    torch.testing.assert_close(truth.camera, se3.relative(clip.world_T_cam[0], clip.world_T_cam[1]))
    assert torch.equal(more["depth"], clip.depth[0])  # type: ignore[index]
    assert more["unit"] == "m"


def write_camera(folder: Path, source: int) -> torch.Tensor:
    """The motion of the camera, as `write_motion` writes it."""
    next_T_view = se3.exp(torch.tensor([0.1, 0.2, -1.1, 0.01, 0.02, 0.03]).double())
    content = {"source": source, "source_T_view": next_T_view.tolist()}
    (folder / "masks" / "street-0003" / f"{VIEW}_motion.json").write_text(json.dumps(content))
    return se3.inverse(next_T_view)


def test_the_predicted_motion_of_the_camera_is_told(tmp_path: Path) -> None:
    write_masks(tmp_path)
    prev_T_cam = write_camera(tmp_path, 3)
    pictures(mask_sections(scored(tmp_path, "street-0003"), {"SfM": [Street()]}, tmp_path / "figures"), tmp_path)
    ((_, found, _, _),) = DRAWN
    torch.testing.assert_close(found.camera, prev_T_cam)
    write_camera(tmp_path, 4)
    refused(mask_sections, tmp_path, ".*_motion.json: a motion from frame 2 to 4: expected 3: evaluate the model again")


def test_masks_are_shown_without_motions_and_truth(tmp_path: Path) -> None:
    write_masks(tmp_path)
    (tmp_path / "masks" / "street-0003" / f"{VIEW}_motions.json").unlink()
    blind = Street(absent=["mask", "depth"])
    (picture,) = pictures(
        mask_sections(scored(tmp_path, "street-0003"), {"SfM": [blind]}, tmp_path / "figures"), tmp_path
    )
    assert isinstance(picture, Picture)
    assert "true ones" not in picture.caption
    ((_, found, truth, more),) = DRAWN
    assert found.motion is None
    assert truth is None
    assert more["depth"] is None


@pytest.mark.parametrize(("sections", "kind"), [(flow_sections, "flow"), (mask_sections, "masks")])
def test_it_is_said_where_nothing_is_shown(sections: Any, kind: str, tmp_path: Path) -> None:
    (note,) = pictures(sections(scored(tmp_path, "street-0003"), {"SfM": [Street()]}, tmp_path), tmp_path)
    assert isinstance(note, Text)
    assert note.text == f"No {kind} of SfM: no recording of such files was given to this report."


def refused(sections: Any, folder: Path, line: str, recording: Recording | None = None) -> None:
    with pytest.raises(Vo3dError) as refusal:
        list(sections(scored(folder, "street-0003"), {"SfM": [recording or Street()]}, folder / "figures"))
    assert re.fullmatch(line.replace("FOLDER", re.escape(str(folder))), str(refusal.value)), refusal.value


@pytest.mark.parametrize(("view", "told"), [("000007", "view after it"), ("other", "such view")])
def test_files_of_other_views_are_refused(view: str, told: str, tmp_path: Path) -> None:
    write_flow(tmp_path, view=view)
    write_masks(tmp_path, view=view)
    end = f"street-0003 has no {told} now: evaluate the model again"
    refused(flow_sections, tmp_path, f"FOLDER/flow/street-0003/{view}_flow.flo: {end}")
    refused(mask_sections, tmp_path, f"FOLDER/masks/street-0003/{view}_mask_0.pfm: {end}")


def test_files_of_another_size_are_refused(tmp_path: Path) -> None:
    write_flow(tmp_path)
    write_masks(tmp_path)
    other = Street(size=(24, 30))
    end = "of 60x48 pixels: expected 30x24, as street-0003 has now: evaluate the model again"
    refused(flow_sections, tmp_path, f"FOLDER/flow/street-0003/000002_flow.flo: {end}", other)
    refused(mask_sections, tmp_path, f"FOLDER/masks/street-0003/000002_mask_0.pfm: {end}", other)


def test_damaged_flow_is_refused(tmp_path: Path) -> None:
    write_flow(tmp_path)
    (file,) = tmp_path.rglob("*.flo")
    file.write_bytes(file.read_bytes()[:-4])
    refused(flow_sections, tmp_path, "FOLDER/flow/street-0003/000002_flow.flo: .*")


def test_damaged_masks_are_refused(tmp_path: Path) -> None:
    write_masks(tmp_path)
    folder = tmp_path / "masks" / "street-0003"
    (folder / f"{VIEW}_mask_1.pfm").rename(folder / f"{VIEW}_mask_999999999999.pfm")
    refused(mask_sections, tmp_path, f"FOLDER/masks/street-0003/{VIEW}_mask_1.pfm: no such file: evaluate .* again")
    write_pfm(folder / f"{VIEW}_mask_1.pfm", torch.zeros(4, 6))
    write_pfm(folder / f"{VIEW}_mask_2.pfm", torch.zeros(4, 6))
    (folder / f"{VIEW}_mask_999999999999.pfm").unlink()
    refused(mask_sections, tmp_path, r".*mask_1.pfm: a map of shape \(4, 6\): expected \(48, 60\), as the others .*")
    (folder / f"{VIEW}_mask_0.pfm").write_bytes(b"Pf\n3 3\n-1\n")
    refused(mask_sections, tmp_path, ".*000002_mask_0.pfm: truncated: 0 bytes of pixels, expected 36 .*")
    (folder / f"{VIEW}_mask_0.pfm").rename(folder / f"{VIEW}_mask_.pfm")
    refused(mask_sections, tmp_path, ".*mask_.pfm: expected a name that ends in _mask_ and a number: .*")


@pytest.mark.parametrize(
    "content",
    ["{", "{}", "[]", "[1]", '["a"]', "[[1], [2, 3]]", f"[1{'0' * 400}]", json.dumps([[[1e400] * 4] * 4] * 2)],
)
def test_damaged_motions_are_refused(content: str, tmp_path: Path) -> None:
    write_masks(tmp_path)
    (file,) = tmp_path.rglob("*.json")
    file.write_text(content)
    refused(mask_sections, tmp_path, f"FOLDER/masks/street-0003/{VIEW}_motions.json: [^\n]*")

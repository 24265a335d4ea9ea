"""`vo3d optimizers`: every file there is and named on the page, every racer with its settings, mistakes in one line."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from checks import complaint
from vo3d.cli import main
from vo3d.optim import SGD, Momentum
from vo3d.optim.landscapes import LANDSCAPES
from vo3d.optim.races import RACES, Race
from vo3d.pipelines.optimizers import surfaces
from vo3d.pipelines.optimizers.page import write_survey_page
from vo3d.pipelines.optimizers.surfaces import RACERS, SHOWS, run_surfaces, write_traces

FEW = {name: SHOWS[name] for name in ("saddle", "saddle_noise", "star")}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three races, and what the other two parts leave."""
    folder = tmp_path_factory.mktemp("optimizers")
    paths = run_surfaces(folder, FEW)
    assert set(paths) == set((folder / "surfaces").iterdir())
    training = folder / "training"
    training.mkdir()
    still = (folder / "surfaces" / "star.png").read_bytes()
    for path in (folder / "regimes.png", training / "curves.png", training / "rates.png"):
        path.write_bytes(still)
    (folder / "regimes.csv").write_text("regime,loss\n")
    (training / "runs.csv").write_text("optimiser,rate\n")
    (training / "table.md").write_text("| optimiser | rate |\n| --- | --- |\n| Adam | 0.001 |\n")
    return folder


def test_every_race_is_shown() -> None:
    assert set(SHOWS) == set(RACES)


def test_a_race_leaves_pictures_and_numbers(out: Path) -> None:
    files = {path.name for path in (out / "surfaces").iterdir()}
    kinds = {
        "saddle": {".png", ".gif", ".csv", "_surface.png", "_racers.csv"},
        "star": {".png", ".gif", ".csv", "_racers.csv"},
        "saddle_noise": {".png", ".csv", "_racers.csv"},
    }
    assert files == {name + kind for name, own in kinds.items() for kind in own}
    for path in (out / "surfaces").glob("*.[pg][ni][gf]"):
        with Image.open(path) as picture:
            assert picture.width > 700
        assert path.stat().st_size < 2_000_000


def test_every_racer_has_its_settings_and_its_outcome(out: Path) -> None:
    with (out / "surfaces" / "star_racers.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(RACES["star"].settings())
    assert tuple(rows["Adagrad"]) == RACERS
    assert rows["Adagrad"]["settings"] == "lr 0.5, eps 1e-08"
    assert rows["Adagrad"]["there at step"] == rows["Adagrad"]["steps"] == rows["Adagrad"]["gradients"] == "37"
    assert rows["Adagrad"]["left at step"] == ""
    with (out / "surfaces" / "saddle_noise_racers.csv").open(newline="", encoding="utf-8") as file:
        noisy = {row["method"]: row for row in csv.DictReader(file)}
    assert len(noisy) == 12
    assert noisy["NAG"]["left at step"] == ""
    assert noisy["NAG, noise"]["left at step"] == "34"


def test_a_csv_file_repeats_the_traces_to_the_last_digit(tmp_path: Path) -> None:
    traces = Race(LANDSCAPES["beale"], {"SGD": partial(SGD, lr=0.01), "Momentum": partial(Momentum, lr=0.01)}, 12).run()
    assert traces["Momentum"].steps < 12  # it diverges
    path = write_traces(tmp_path / "new" / "race.csv", traces)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(trace.values) for trace in traces.values())
    for name, trace in traces.items():
        own = [row for row in rows if row["method"] == name]
        assert [int(row["step"]) for row in own] == list(range(len(trace.values)))
        read = torch.tensor([[float(row[key]) for key in "xyf"] for row in own], dtype=torch.float64)
        assert torch.equal(read, torch.cat([trace.positions, trace.values[:, None]], dim=1))


def test_the_page_names_every_file_and_claims_no_winner(out: Path) -> None:
    page = write_survey_page(out, "vo3d optimizers --out here").read_text(encoding="utf-8")
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in {"index.html", "table.md"}]
    assert len(files) == 17
    for path in files:
        assert path.name in page, path
    assert page.count("data:image/gif;base64,") == 2
    for name in FEW:
        for racer, settings in RACES[name].settings().items():
            assert f">{racer}<" in page
            assert f">{settings}<" in page
    assert "found no clear winner" in page
    assert "eps of 1e-08 is inside of the root, as in the survey" in page
    assert all(RACES[name].settings()["RMSprop"].endswith("eps 1e-08, eps_inside True") for name in FEW)
    assert "best of its column" not in page
    assert ">Adam<" in page
    assert "vo3d optimizers --out here" in page
    for name in SHOWS.keys() - FEW.keys():
        assert SHOWS[name].title not in page


def test_the_verb_runs_the_parts_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(surfaces, "run_surfaces", lambda out: ran.append(f"surfaces {out.name}"))
    monkeypatch.setattr("vo3d.pipelines.optimizers.regimes.run_regimes", lambda out: ran.append(f"regimes {out.name}"))
    monkeypatch.setattr(
        "vo3d.pipelines.optimizers.training.run_training", lambda out: ran.append(f"training {out.name}")
    )
    for parts in ([], ["--parts", "training"], ["--parts", "regimes", "surfaces"]):
        assert main(["optimizers", "--out", str(tmp_path / "new"), *parts]) == 0
    assert ran == ["surfaces new", "regimes new", "training new", "regimes new", "surfaces new"]
    assert capsys.readouterr().out.splitlines()[-1] == f"Open {tmp_path / 'new' / 'index.html'} for the pictures."
    assert "--parts regimes surfaces" in (tmp_path / "new" / "index.html").read_text(encoding="utf-8")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(capsys, "optimizers", "--out", tmp_path / "new", "--parts", "surfaces", "regime")
    assert line == "--parts 'regime': expected one of surfaces, regimes, training; did you mean regimes?"
    assert not (tmp_path / "new").exists()
    line = complaint(capsys, "optimizers", "--parts", "xyz")
    assert line == "--parts 'xyz': expected one of surfaces, regimes, training"
    (tmp_path / "file").write_text("")
    line = complaint(capsys, "optimizers", "--out", tmp_path / "file" / "below")
    assert line.startswith(f"cannot write to {tmp_path / 'file' / 'below'}: ")

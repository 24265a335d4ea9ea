"""`vo3d render walk`: its options are the choices of the walk."""

import json

from vo3d.cli import main
from vo3d.datasets.place_folders import PlaceFolders


def test_options_choose_the_walk(tmp_path):
    words = "--place-seed 7 --seed 2 --places 2 --length 12 --spacing 4 --turn 0 --passes 1 --traffic 0 --size 12x16"
    times = ["--database-times", "day", "--query-times", "night", "fog"]
    assert main(["render", "walk", *words.split(), *times, "--out", str(tmp_path / "walks")]) == 0
    content = json.loads((tmp_path / "walks" / "scene.json").read_text())
    assert (content["seed"], content["places"], content["size"]) == (2, [7, 8], [12, 16])
    assert content["walk"] == {
        "length": 12.0, "spacing": 4.0, "database_times": ["day"], "query_times": ["night", "fog"], "passes": 1,
        "turn": 0.0, "traffic": 0.0, "photographs": False,
    }  # fmt: skip
    (places,) = PlaceFolders(tmp_path / "walks").sets
    assert len(places.database) == 2 * 4
    assert {name.split("/")[0] for name in places.queries.names} == {
        f"{place}-{time}-1" for place in ("0007", "0008") for time in ("night", "fog")
    }

"""`vo3d render views`: its options, and those that it refuses."""

import json

from vo3d.cli import main


def test_options_choose_the_views(tmp_path, capsys):
    out = str(tmp_path / "views")
    assert main([*"render views --places 1 --frames 5 --seed 2 --size 16x20 --out".split(), out]) == 0
    content = json.loads((tmp_path / "views" / "scene.json").read_text())
    assert (content["seed"], content["size"], content["views"], content["photographs"]) == (2, [16, 20], 5, False)
    assert content["scenes"]["tabletop-2000"]["views"] == 5
    for words, said in (
        ("--traffic 0", "--traffic is not of views, whose scenes draw their own from --seed: leave it out"),
        ("--length 9", "--length is of a walk, not of views: leave it out"),
        ("--stereo false", "--stereo is of a drive, not of views: leave it out"),
        ("--layout dtu", "--layout dtu is not for views"),
    ):
        assert main(["render", "views", *words.split(), "--out", out]) == 2
        assert said in capsys.readouterr().err

"""Files of rendered walks: the reader of folders of places gives back what the dataset renders."""

import json

import pytest
import torch

from vo3d.datasets.place_folders import PlaceFolders
from vo3d.datasets.rendered_walks import RenderedWalks
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.world.recorder import Recorder
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit
from vo3d.world.walk import Walk
from vo3d.world.walk_files import SHEET_COLUMNS, render_to_places

SIZE = (12, 16)


def test_the_folders_give_back_images_positions_and_matches(tmp_path):
    walk = Walk(length=12.0, query_times=("rain",), traffic=0.0)
    render_to_places(walk, [9, 7], 3, tmp_path, SIZE)
    (read,) = PlaceFolders(tmp_path, metres=10.0).sets
    (places,) = RenderedWalks([9, 7], 3, SIZE, length=12.0, query_times=("rain",), traffic=0.0, cache=True).sets
    for files, rendered in ((read.database, places.database), (read.queries, places.queries)):
        assert sorted(files.names) == sorted(f"{name}.png" for name in rendered.names)
        for file, name in enumerate(files.names):
            view = list(rendered.names).index(name.removesuffix(".png"))
            assert torch.equal(files.positions()[file], rendered.positions()[view])
            if name.startswith("0007"):
                assert torch.equal(files.clip([file]).image, rendered.clip([view]).image)
    for file, name in enumerate(read.queries.names):
        right = {read.database.names[place].removesuffix(".png") for place in read.positives(file)}
        query = list(places.queries.names).index(name.removesuffix(".png"))
        assert right == {places.database.names[place] for place in places.positives(query)}
    again = json.loads((tmp_path / "scene.json").read_text())
    drawn = again["passes"]["queries/0007-rain-1"]
    sensor = Sensor(**drawn["sensor"] | {"centre": tuple(drawn["sensor"]["centre"])})
    recorder = Recorder("street", 0, drawn["frames"], tuple(again["size"]), sensor, visit=Visit(**drawn["visit"]))
    image = recorder.frame(drawn["views"][1]).image
    assert torch.equal(image.float() / 255, places.queries.parts[1].clip([1]).image[0])
    sheet = read_image(tmp_path / "contact_sheet.png")
    assert sheet.shape == (3, 2 * (SIZE[0] + 4), SHEET_COLUMNS * (SIZE[1] + 4))
    with pytest.raises(Vo3dError, match="database: holds files already: remove the folder"):
        render_to_places(walk, [7], 3, tmp_path, SIZE)
    (tmp_path / "queries" / "positions.csv").unlink()  # as of a set that was interrupted
    with pytest.raises(Vo3dError, match="nothing says which images are right"):
        PlaceFolders(tmp_path)

"""The weights that vo3d brings: they load by name, their cards are whole, and they know a table they never saw."""

from importlib import resources

import pytest

from vo3d.datasets.tabletop import Tabletop
from vo3d.inference.pretrained import load_pretrained
from vo3d.metrics.depth import depth_metrics
from vo3d.sample import Sample

NAMES = sorted(
    path.name.removesuffix(".safetensors")
    for path in resources.files("vo3d.weights").iterdir()
    if path.name.endswith(".safetensors")
)


@pytest.fixture(scope="module")
def table() -> Sample:
    """A table whose seed is none of training's."""
    return Sample.collate([Tabletop(seeds=[1003], size=(160, 192), num_views=3)[20]])


def test_there_are_weights_for_both_networks() -> None:
    assert {"mvsnet_tabletop", "rmvsnet_tabletop"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_brought_weights_know_a_table_they_never_saw(name: str, table: Sample) -> None:
    found = load_pretrained(name)

    prediction = next(iter(found.model.stream([table])))

    assert table.depth is not None
    scores = depth_metrics(prediction["depth"], table.depth[:, :1, ::4, ::4])
    assert scores["depth_within_1pc_percent"].item() > 70
    assert found.card is not None
    assert found.card.recipe
    assert found.card.figures["within_1_percent"] > 70
    assert found.card.licence == "Apache-2.0"

"""The weights that vo3d brings: they load by name, their cards are whole, and they know a table they never saw."""

from importlib import resources

import pytest
import torch

from vo3d.datasets.rendered import Rendered
from vo3d.datasets.rendered_walks import RenderedWalks
from vo3d.datasets.tabletop import Tabletop
from vo3d.geometry import se3
from vo3d.inference.descriptors import describe_all
from vo3d.inference.loop import evaluating
from vo3d.inference.pretrained import load_pretrained
from vo3d.metrics.depth import depth_metrics
from vo3d.metrics.single_view import EigenRules, single_view_metrics
from vo3d.retrieval.search import search
from vo3d.sample import Sample
from vo3d.world.visit import Visit

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


@pytest.mark.parametrize("name", [name for name in NAMES if "tabletop" in name])
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


def test_brought_weights_know_a_street_they_never_saw() -> None:
    found = load_pretrained("undeepvo_streets")
    street = Rendered(seeds=[2000], frames=30, size=(96, 312), visit=Visit(traffic=0.25), depth=True).recordings[0]
    sample = Sample.collate([street.clip([7, 8])])

    prediction = found.model.predict(sample)

    assert sample.depth is not None
    assert sample.world_T_cam is not None
    scores = single_view_metrics(prediction["depth"], sample.depth, EigenRules(cap=(1.0, 80.0)))
    assert scores["depth_abs_rel"].max().item() < 0.12
    truth = se3.relative(sample.world_T_cam[:, 0], sample.world_T_cam[:, 1])
    step = prediction["prev_T_cam"][:, 0, :3, 3].double()
    assert (step - truth[:, :3, 3]).norm() < 0.3 * truth[:, :3, 3].norm()
    assert found.card is not None
    assert found.card.recipe["steps"] == 832
    assert found.card.figures["depth_abs_rel"] < 0.09
    assert found.card.licence == "Apache-2.0"


def test_brought_weights_know_places_they_never_saw() -> None:
    found = load_pretrained("netvlad_walks")
    (places,) = RenderedWalks([2000], query_times=("night",), length=60.0, cache=True).sets
    with evaluating(found.model, torch.device("cpu")):
        queries, database = (describe_all(found.model, one, device="cpu") for one in (places.queries, places.database))

    nearest = search(queries, database, 1).index[:, 0]

    right = [int(first) in places.positives(query).tolist() for query, first in enumerate(nearest)]
    assert sum(right) >= len(right) - 2
    assert database.shape[1] == 256  # whitened
    assert found.card is not None
    assert found.card.figures["recall_at_1_percent"] > 90
    assert found.card.licence == "Apache-2.0"

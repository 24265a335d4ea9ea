"""The benchmark of the NetVLAD layer: its peer gets the weights of ours, and its definition is that of ours."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vo3d.layers.netvlad import NetVLADPool

# Not the peer: our own layer behind the names of the peer's weights, with an import that is not installed
PEER = """
import torch
from sklearn.neighbors import NearestNeighbors
from vo3d.layers.netvlad import NetVLADPool


class NetVLAD(torch.nn.Module):
    def __init__(self, num_clusters, dim):
        super().__init__()
        self.conv = torch.nn.Conv2d(dim, num_clusters, 1, bias=False)
        self.centroids = torch.nn.Parameter(torch.zeros(num_clusters, dim))

    def forward(self, x):
        layer = NetVLADPool(x.shape[1], len(self.centroids))
        layer.load_state_dict({"assignment.weight": self.conv.weight[..., 0, 0], "centres": self.centroids})
        return layer(x)
"""


@pytest.fixture
def tool() -> Iterator[ModuleType]:
    """Import the tool, and forget the peer, its folder and what stood in for scikit-learn."""
    path, modules = list(sys.path), set(sys.modules)
    yield importlib.import_module("benchmark_netvlad")
    sys.path[:] = path
    for name in {"netvlad", "sklearn", "sklearn.neighbors"} - modules:
        sys.modules.pop(name, None)


def test_a_peer_of_equal_weights_and_the_definition_give_what_ours_gives(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "netvlad.py").write_text(PEER)
    torch.manual_seed(0)
    ours, x = NetVLADPool(8, 3), torch.randn(2, 8, 4, 5, requires_grad=True)
    peer, upstream = tool.load_peer(tmp_path, ours), torch.randn(2, 24)

    with torch.no_grad():
        torch.testing.assert_close(peer(x), ours(x))
        torch.testing.assert_close(tool.definition(ours, x), ours(x).double(), rtol=0, atol=1e-6)
    forward, gradients = (tool.call(ours, x, upstream, backward=backward) for backward in (False, True))
    assert not forward.requires_grad
    assert [tuple(one.shape) for one in gradients] == [(2, 8, 4, 5), (3, 8), (3, 8)]


def test_a_folder_without_the_peer_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no netvlad\.py"):
        tool.load_peer(tmp_path, NetVLADPool(8, 3))

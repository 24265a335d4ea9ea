"""Checkpoints of others from which VidLoc can begin, and where their keys belong.

There are no weights of the authors. Sources: trunks (`vo3d.layers.trunk.TRUNKS_ALONE`); NVlabs/geomapnet
(models/vidloc.py), whose heads are LSTMs that cannot leave [-1, 1] and have no place here.
"""

from collections.abc import Mapping

from vo3d.formats.weights import KeyMap
from vo3d.layers.trunk import TRUNKS_ALONE

GEOMAPNET = KeyMap(
    source="a VidLoc of geomapnet",
    signature=("feature_extractor.conv1.weight", "lstm_fc.weight_ih_l0_reverse", "lstm_xyz.weight_ih_l0"),
    rename={
        r"feature_extractor\.((conv1|bn1|layer\d)\..*)": r"trunk.\1",
        r"lstm_fc\.(.*)": r"lstm.\1",
    },
    drop=(r"lstm_(xyz|wpqr)\..*",),
    keep=(r"trunk\.image_(mean|std)", r"trunk\..*\.num_batches_tracked", r"(?!trunk\.|lstm\.).*"),
    needs="the ResNet of its trunk, hidden 1024, and heads that are trained anew",
)

PUBLISHED: Mapping[str, KeyMap] = {"geomapnet": GEOMAPNET, **TRUNKS_ALONE}

"""Published checkpoints of PoseNet, and where their keys belong.

Sources: alexgkendall/caffe-posenet (layers of posenet/models/train_posenet.prototxt); hazirbas/poselstm-pytorch
(models/posenet.py); NVlabs/geomapnet (models/posenet.py); GoogLeNet on Places, with which poselstm-pytorch begins.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from vo3d.formats.weights import KeyMap
from vo3d.layers.googlenet import BVLC, CAFFE_STD, INCEPTIONS, POSELSTM

# Ours that a checkpoint of another program cannot have: a map of zero mean and unit extent, as if nothing was fitted
UNFITTED = {
    "position_mean": (0.0, 0.0, 0.0),
    "position_extent": (1.0, 1.0, 1.0),
    "reference": (1.0, 0.0, 0.0, 0.0),
    "variance_scale": (1.0, 1.0),
}
LEARNT_WEIGHTS = ("log_variances",)


def _quaternions(loaded: Mapping[str, Tensor]) -> Mapping[str, object]:
    """Tell how heads of four numbers are meant."""
    return {"rotation": "quaternion"}


def _of_trunk(
    key_map: KeyMap,
    rename: Mapping[str, str],
    *,
    keep: tuple[str, ...] = (),
    values: Mapping[str, tuple[float, ...]] = UNFITTED,
    settings: Callable[[Mapping[str, Tensor]], Mapping[str, object]] = _quaternions,
    **changes: object,
) -> KeyMap:
    """Extend the map of a trunk to one of PoseNet, in which the trunk has a name and heads follow."""
    return replace(
        key_map,
        rename={**{theirs: f"trunk.{ours}" for theirs, ours in key_map.rename.items()}, **rename},
        keep=(*(f"trunk\\.{pattern}" for pattern in key_map.keep), *LEARNT_WEIGHTS, *keep),
        convert={f"trunk.{ours}": change for ours, change in key_map.convert.items()},
        values={**{f"trunk.{ours}": numbers for ours, numbers in key_map.values.items()}, **values},
        settings=lambda loaded: {**key_map.settings(loaded), **settings(loaded)},
        **changes,  # type: ignore[arg-type]
    )


_BLOB = r"(?:_0|\.weight)", r"(?:_1|\.bias)"  # as caffe.Net.params numbers them, or as converters write them
_PARTS = {
    "out0": "conv_1x1",
    "reduction1": "reduce_3x3",
    "out1": "conv_3x3",
    "reduction2": "reduce_5x5",
    "out2": "conv_5x5",
    "out3": "pool_project",
}
_CAFFE = {
    **{name: f"trunk.{name}.conv" for name in ("conv1", "reduction2", "conv2")},
    **{
        f"icp{number}_{theirs}": f"trunk.inception_{name}.{ours}.conv"
        for number, name in enumerate(INCEPTIONS, start=1)
        for theirs, ours in _PARTS.items()
    },
    "cls1_reduction_pose": "auxiliary.0.conv",
    "cls2_reduction_pose": "auxiliary.1.conv",
    "cls1_fc1_pose": "auxiliary.0.fc",
    "cls2_fc1": "auxiliary.1.fc",
    "cls3_fc1_pose": "head.fc",
    **{
        f"cls{number}_fc_pose_{theirs}": f"{head}.{ours}"
        for number, head in enumerate(("auxiliary.0", "auxiliary.1", "head"), start=1)
        for theirs, ours in (("xyz", "xyz"), ("wpqr", "rotation"))
    },
}

CAFFE = KeyMap(
    source="blobs of a PoseNet of caffe-posenet",
    signature=(),  # of one of two spellings, see `PUBLISHED`
    rename={
        f"{theirs}{blob}": f"{ours}.{part}"
        for theirs, ours in _CAFFE.items()
        for blob, part in zip(_BLOB, ("weight", "bias"), strict=True)
    },
    keep=("trunk\\.image_mean", *LEARNT_WEIGHTS),
    convert={"trunk.conv1.conv.weight": lambda weight: weight.flip(1)},  # blue came first
    values={"trunk.image_std": [CAFFE_STD] * 3, **UNFITTED},
    settings=lambda loaded: {"pool_padding": 0, **_quaternions(loaded)},
    needs="trunk googlenet and rotation quaternion, and with the mean colour of its scene as trunk.image_mean",
)

POSELSTM_POSENET = _of_trunk(
    POSELSTM,
    {
        rf"cls{number}_fc\.{theirs}\.(.*)": rf"{head}.{ours}.\1"
        for number, head in enumerate(("auxiliary.0", "auxiliary.1", "head"), start=1)
        for theirs, ours in (
            (r"projection\.1", "conv"),
            (r"cls_fc_pose\.0", "fc"),
            ("cls_fc_xy", "xyz"),
            ("cls_fc_wpqr", "rotation"),
        )
    },
    drop=(r"model\.\d+\..*",),  # the same tensors once more
    signature=(*POSELSTM.signature, "cls3_fc.cls_fc_xy.weight"),
    needs="trunk googlenet_poselstm and rotation quaternion",
)

PLACES = _of_trunk(
    BVLC,
    {},
    keep=(r"auxiliary\..*", r"head\..*", *UNFITTED),
    values={},
    settings=lambda _: {},
    signature=("conv1/7x7_s2_0", "inception_3a/1x1_0"),
    needs="trunk googlenet",
)

GEOMAPNET = KeyMap(
    source="a PoseNet of geomapnet",
    signature=("feature_extractor.conv1.weight", "fc_xyz.weight", "fc_wpqr.weight"),
    rename={
        r"(?:mapnet\.)?feature_extractor\.((conv1|bn1|layer\d)\..*)": r"trunk.\1",
        r"(?:mapnet\.)?feature_extractor\.fc\.(.*)": r"head.fc.\1",
        r"(?:mapnet\.)?fc_xyz\.(.*)": r"head.xyz.\1",
        r"(?:mapnet\.)?fc_wpqr\.(.*)": r"head.rotation.\1",
    },
    keep=(r"trunk\.image_(mean|std)", r"trunk\..*\.num_batches_tracked", *LEARNT_WEIGHTS),
    values=UNFITTED,
    settings=lambda _: {"rotation": "log_quaternion"},
    needs="trunk resnet34 and rotation log_quaternion, and with mean and deviation of the positions of its scene "
    "(pose_stats.txt) as position_mean and position_extent",
)

PUBLISHED: Mapping[str, KeyMap] = {
    "caffe-posenet": replace(CAFFE, signature=("icp1_out0_0", "cls3_fc_pose_xyz_0")),
    "caffe-posenet-converted": replace(CAFFE, signature=("icp1_out0.weight", "cls3_fc_pose_xyz.weight")),
    "poselstm": POSELSTM_POSENET,
    "places": PLACES,
    "geomapnet": GEOMAPNET,
    "mapnet": replace(GEOMAPNET, signature=tuple(f"mapnet.{key}" for key in GEOMAPNET.signature)),
}

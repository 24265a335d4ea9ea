"""Published checkpoints of PoseNet, and where their keys belong.

Sources: alexgkendall/caffe-posenet (layers of posenet/models/train_posenet.prototxt); hazirbas/poselstm-pytorch
(models/posenet.py); NVlabs/geomapnet (models/posenet.py). Checkpoints of trunks alone are a start, such as GoogLeNet on
Places, with which poselstm-pytorch begins.
"""

from collections.abc import Mapping
from dataclasses import replace

from vo3d.formats.weights import KeyMap
from vo3d.layers.googlenet import CAFFE_STD, INCEPTIONS, POSELSTM
from vo3d.layers.trunk import TRUNKS_ALONE, of_trunk

# Ours that a checkpoint of another program cannot have: a map of zero mean and unit extent, as if nothing was fitted
UNFITTED = {
    "code.position_mean": (0.0, 0.0, 0.0),
    "code.position_extent": (1.0, 1.0, 1.0),
    "code.reference": (1.0, 0.0, 0.0, 0.0),
    "variance_scale": (1.0, 1.0),
}
LEARNT_WEIGHTS = ("log_variances",)


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
    settings=lambda _: {"pool_padding": 0, "rotation": "quaternion"},
    needs="trunk googlenet and rotation quaternion, and with the mean colour of its scene as trunk.image_mean",
)

POSELSTM_POSENET = of_trunk(
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
    keep=LEARNT_WEIGHTS,
    values=UNFITTED,
    settings=lambda _: {"pool_padding": 1, "rotation": "quaternion"},
    signature=(*POSELSTM.signature, "cls3_fc.cls_fc_xy.weight"),
    needs="trunk googlenet_poselstm and rotation quaternion",
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
    "(pose_stats.txt) as code.position_mean and code.position_extent",
)

PUBLISHED: Mapping[str, KeyMap] = {
    "caffe-posenet": replace(CAFFE, signature=("icp1_out0_0", "cls3_fc_pose_xyz_0")),
    "caffe-posenet-converted": replace(CAFFE, signature=("icp1_out0.weight", "cls3_fc_pose_xyz.weight")),
    "poselstm": POSELSTM_POSENET,
    "geomapnet": GEOMAPNET,
    "mapnet": replace(GEOMAPNET, signature=tuple(f"mapnet.{key}" for key in GEOMAPNET.signature)),
    **TRUNKS_ALONE,
}

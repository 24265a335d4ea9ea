"""Published checkpoints of VINet and its trunks, and where their keys belong.

Sources: ClementPinard/FlowNetPytorch (FlowNetS and FlowNetC); NVIDIA/flownet2-pytorch (FlowNet2-C, its encoder has the
same names); HTLife/VINet (flownet_c, rnn, rnnIMU, linear1, linear2).
"""

from collections.abc import Mapping

from vo3d.formats.weights import KeyMap

_LAYER = r"(conv\d(?:_1)?|conv_redir)"
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_OURS = (
    *("image_mean", "image_std", "imu_mean", "imu_std", "step_mean", "step_std"),
    r"encoder\..*\.num_batches_tracked",
    r"encoder\..*\.pool\.beta",
)
_RECURRENT = (r"rnn\..*", r"rnn_imu\..*", r"head\..*")
_DECODER = (
    r"deconv\d\..*",
    r"predict_flow\d\..*",
    r"upsampled_flow\d_to_\d\..*",
)
_TRUNK = {
    rf"{_LAYER}\.0\.(weight|bias)": r"encoder.\1.conv.\2",
    rf"{_LAYER}\.1\.{_NORM}": r"encoder.\1.norm.\2",
}
_LEARNT_WITH = (
    "width 1, leaky_slope 0.1 and pool stride; they were learnt with image_mean (0.45, 0.432, 0.411) and image_std 1"
)

FLOWNETS = KeyMap(
    source="FlowNetS (ClementPinard/FlowNetPytorch)",
    signature=("conv1.0.weight", "conv4_1.0.weight", "predict_flow6.weight"),
    rename=_TRUNK,
    drop=(r"conv6_1\..*", *_DECODER),
    keep=(*_OURS, *_RECURRENT),
    settings=lambda _: {"leaky_slope": 0.1, "pool": "stride"},
    needs=f"trunk flownets, {_LEARNT_WITH}, and batch_norm true for the files named flownets_bn, false for the others",
)
FLOWNETC = KeyMap(
    source="FlowNetC (ClementPinard/FlowNetPytorch, NVIDIA/flownet2-pytorch)",
    signature=("conv1.0.weight", "conv_redir.0.weight", "predict_flow6.weight"),
    rename=_TRUNK,
    drop=_DECODER,
    keep=(*_OURS, *_RECURRENT),
    settings=lambda _: {"leaky_slope": 0.1, "pool": "stride"},
    needs=f"trunk flownetc, max_displacement 20, {_LEARNT_WITH}",
)
HTLIFE = KeyMap(
    source="VINet (HTLife/VINet)",
    signature=("flownet_c.conv1.0.weight", "rnnIMU.weight_ih_l0", "linear1.weight"),
    rename={
        **{rf"flownet_c\.{theirs}": ours for theirs, ours in _TRUNK.items()},
        r"rnn\.((?:weight|bias)_[ih]h_l\d)": r"rnn.\1",
        r"rnnIMU\.((?:weight|bias)_[ih]h_l\d)": r"rnn_imu.\1",
        r"linear1\.(weight|bias)": r"head.0.\1",
        r"linear2\.(weight|bias)": r"head.1.\1",
    },
    drop=tuple(rf"flownet_c\.{part}" for part in _DECODER),
    keep=_OURS,
    values={
        "image_mean": (0.0, 0.0, 0.0),
        "image_std": (1 / 255, 1 / 255, 1 / 255),  # it reads grey levels from 0 to 255 as they are
        "imu_mean": (0.0,) * 6,
        "imu_std": (1.0,) * 6,
        "step_mean": (0.0,) * 6,
        "step_std": (1.0,) * 6,
    },
    settings=lambda _: {"leaky_slope": 0.1, "pool": "stride", "grid": None},
    needs="trunk flownetc, hidden 1024, num_layers 2, imu_hidden 6, imu_layers 2, head [128], size (384, 512), grid "
    "null, width 1, leaky_slope 0.1, max_displacement 20, pool stride; its steps were learnt from differences in the "
    "axes of the world, so that its motions are not those of a network trained here",
)
PUBLISHED: Mapping[str, KeyMap] = {"htlife": HTLIFE, "flownetc": FLOWNETC, "flownets": FLOWNETS}

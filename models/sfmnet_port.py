"""Map the keys of a public port's checkpoints to those of our networks.

Its networks are those of `up` "deconv"; the first layers of the camera's rotation and translation are its own. Its
geometry exchanges rows and columns, and does not warp: weights that it trained say little.

Source: github.com/troyzgu/SfM-Net-PyTorch-Implementation, commit d69c8bd (Codebase).
"""

from collections.abc import Mapping

from torch import Tensor

from vo3d.formats.weights import KeyMap

_TRUNK = {  # layers of the trunk of either network
    "c11": "first",
    **{f"c{stage}{place}": f"down.{stage - 2}.{place - 1}" for stage in range(2, 7) for place in (1, 2)},
    **{f"u{stage}": f"up.{5 - stage}" for stage in range(1, 6)},
}
_PARTS = {"conv": "conv", "conv_transpose": "conv", "batch_norm": "norm"}
_HEADS = {
    r"structure\.depth": "structure.head",
    r"motion\.obj_mask": "motion.mask_head",
    r"motion\.d1": "motion.dense.0",
    r"motion\.d2": "motion.dense.2",
    **{
        rf"motion\.{theirs}_{letter}": f"motion.{ours}.{name}"
        for theirs, ours in (("cam", "camera"), ("obj", "objects"))
        for letter, name in (("r", "rotation"), ("t", "translation"), ("p", "pivot"))
    },
}


def _settings(ours: Mapping[str, Tensor]) -> dict[str, object]:
    """Give what the port's weights need and no shape shows."""
    return {
        "up": "deconv",
        "rotation": "angles",
        "intrinsics": "default",
        "output": "relu",
        "pivot_extent": (30.0, 20.0),
        "pool": "stride",
    }


TROYZGU = KeyMap(
    source="SfM-Net (troyzgu/SfM-Net-PyTorch-Implementation)",
    signature=("structure.cd_net.c11.conv.weight", "motion.obj_mask.weight"),
    rename={
        **{
            rf"(structure|motion)\.cd_net\.{theirs}\.{part}\.(.*)": rf"\1.trunk.{ours}.{name}.\2"
            for theirs, ours in _TRUNK.items()
            for part, name in _PARTS.items()
        },
        r"motion\.cam_r\.(weight|bias)": r"motion.camera.rotation.0.\1",  # the first commits have one layer there
        r"motion\.cam_t\.(weight|bias)": r"motion.camera.translation.0.\1",
        **{rf"{theirs}\.((?:\d\.)?(?:weight|bias))": rf"{ours}.\1" for theirs, ours in _HEADS.items()},
    },
    drop=(r"motion\.encoder\..*",),  # a VGG-16 that its forward pass does not use
    keep=(r".*\.num_batches_tracked", "sharpness"),
    values={"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)},
    settings=_settings,
    needs="up deconv, rotation angles, camera_hidden [512, 256], intrinsics default, output relu, pivot_extent "
    "[30, 20], pool stride, size [128, 384]; the sharpness of its masks is not in the file",
)

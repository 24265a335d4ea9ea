"""Published checkpoints of NetVLAD, and where their keys belong.

Sources: Relja/netvlad (MATLAB) and its layout in cvg/Hierarchical-Localization; uzh-rpg/netvlad_tf_open; Nanne/
pytorch-NetVlad; QVPR/Patch-NetVLAD; yxgeee/OpenIBL.

Two orders of a descriptor's values: ours goes cluster after cluster (k-major), value k d_max + d; that of MATLAB and
TensorFlow channel after channel (d-major), value d k_max + k. The latter also store the centres with the other sign.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError, shown
from vo3d.formats.weights import KeyMap
from vo3d.layers.resnet import MEAN, STD
from vo3d.layers.trunk import TRUNKS_ALONE
from vo3d.layers.vgg import CONVOLUTIONS, MATCONVNET_MEAN, MATCONVNET_STD, STAGES

DIM = STAGES[-1][0]
VLAD, WPCA = 30, 33  # layers of the release's networks, from 0 on
TF = "vgg16_netvlad_pca"  # scope of all variables


def to_d_major(values: Float[Tensor, "*b kd"], dim: int = DIM) -> Float[Tensor, "*b kd"]:
    """Reorder descriptors, or the columns of a whitening, from ours to that of MATLAB and TensorFlow.

    Args:
        values: cluster after cluster.
        dim: channels of a local descriptor.
    """
    return values.reshape(*values.shape[:-1], -1, dim).mT.flatten(-2)


def from_d_major(values: Float[Tensor, "*b kd"], dim: int = DIM) -> Float[Tensor, "*b kd"]:
    """Undo `to_d_major`."""
    return values.reshape(*values.shape[:-1], dim, -1).mT.flatten(-2)


def from_parts(
    convolutions: Sequence[tuple[Float[Tensor, "_ _ _ _"], Float[Tensor, " _"]]],
    assignment: Float[Tensor, "d k"],
    centres: Float[Tensor, "d k"],
    average_rgb: Float[Tensor, "3"],
    whitening: tuple[Float[Tensor, "n kd"], Float[Tensor, " n"]] | None = None,
) -> dict[str, Tensor]:
    """Make our state dict of a VGG-16 NetVLAD, version 1, out of the tensors of the release.

    Args:
        convolutions: weight (3 3 inputs outputs) and bias of each of the thirteen, conv1_1 to conv5_3.
        assignment: w_k in columns.
        centres: -c_k in columns.
        average_rgb: mean colour, 0 to 255.
        whitening: weight, whose columns are in d-major order, and bias.
    """
    found = {"trunk.image_mean": average_rgb.reshape(3, 1, 1) / 255, "trunk.image_std": torch.full((3, 1, 1), 1 / 255)}
    for place, (weight, bias) in zip(CONVOLUTIONS, convolutions, strict=True):
        found |= {f"trunk.features.{place}.weight": weight.permute(3, 2, 0, 1), f"trunk.features.{place}.bias": bias}
    found |= {"vlad.assignment.weight": assignment.mT, "vlad.centres": -centres.mT}
    if whitening is not None:
        found |= {"whitening.weight": from_d_major(whitening[0], len(assignment)), "whitening.bias": whitening[1]}
    return {name: tensor.float().contiguous() for name, tensor in found.items()}


def from_structure(tree: Mapping[str, Any]) -> dict[str, Tensor]:
    """Make our state dict out of the release's network, as a MATLAB structure (`vo3d.formats.matlab_tree.read_tree`).

    Files that hold the release's own class cannot be read: they have to be saved as structures in MATLAB first, as the
    ones are that hloc brings.

    Args:
        tree: `net` with `layers`, each with `weights`, and `meta.normalization.averageImage`.

    Raises:
        Vo3dError: it is no VGG-16 with NetVLAD.
    """
    try:
        layers, average = tree["net"]["layers"], tree["net"]["meta"]["normalization"]["averageImage"]
        learnt = {place: weights for place, layer in enumerate(layers) if (weights := layer.get("weights"))}
        pairs = {place: [torch.from_numpy(one.copy()) for one in weights] for place, weights in learnt.items()}
        *first, vlad = [place for place in pairs if place <= VLAD]
        if tuple(first) != CONVOLUTIONS or vlad != VLAD or not {*pairs} <= {*first, VLAD, WPCA}:
            raise ValueError(f"weights in layers {', '.join(map(str, pairs))}")
        whitening = None
        if WPCA in pairs:
            kernel, bias = pairs[WPCA]
            whitening = kernel.flatten(0, -2).mT, bias.flatten()
        # an average image of each pixel, or of each colour alone
        colour = torch.from_numpy(average.copy()).double().reshape(-1, 3).mean(0)
        convolutions = [(kernel, bias.flatten()) for kernel, bias in (pairs[place] for place in first)]
        assignment, centres = pairs[VLAD]
        return from_parts(convolutions, assignment, centres, colour, whitening)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise Vo3dError(
            f"no network of NetVLAD's release ({type(error).__name__}: {shown(str(error))}): expected a structure net "
            f"with weights in the layers {', '.join(map(str, CONVOLUTIONS))}, {VLAD} and, of a whitened one, {WPCA}"
        ) from error


def _flat(weight: Tensor) -> Tensor:
    """Take a convolution of 1 x 1 as a matrix."""
    return weight.flatten(1)


NANNE = KeyMap(
    source="a NetVLAD of pytorch-NetVlad",
    signature=("encoder.0.weight", "pool.conv.weight", "pool.centroids"),
    rename={
        r"encoder\.(\d+\.(weight|bias))": r"trunk.features.\1",
        r"pool\.conv\.(weight|bias)": r"vlad.assignment.\1",
        r"pool\.centroids": "vlad.centres",
        r"WPCA\.0\.(weight|bias)": r"whitening.\1",
    },
    keep=(r"trunk\..*\.beta", r"whitening\..*"),
    convert={"vlad.assignment.weight": _flat, "whitening.weight": _flat},
    values={"trunk.image_mean": MEAN, "trunk.image_std": STD},
    settings=lambda _: {"aggregation": "netvlad"},
    needs="trunk vgg16 or alexnet, as the file has it; num_clusters, whitened and version as its shapes and keys say",
)
PATCH = replace(NANNE, source="a NetVLAD of Patch-NetVLAD", signature=(*NANNE.signature, "WPCA.0.weight"))
IBL = replace(
    NANNE,
    source="a NetVLAD of OpenIBL",
    signature=("base_model.base.0.weight", "net_vlad.conv.weight", "net_vlad.centroids"),
    rename={
        r"base_model\.base\.(\d+\.(weight|bias))": r"trunk.features.\1",
        r"net_vlad\.conv\.(weight|bias)": r"vlad.assignment.\1",
        r"net_vlad\.centroids": "vlad.centres",
        r"pca_layer\.(weight|bias)": r"whitening.\1",
    },
    values={"trunk.image_mean": MATCONVNET_MEAN, "trunk.image_std": [MATCONVNET_STD] * 3},
    needs="trunk vgg16, and whitened as its shapes say",
)


def _of_tensorflow() -> KeyMap:
    """Map the variables of netvlad_tf_open, which are those of MATLAB: d-major, centres with the other sign."""
    names = [f"conv{stage}_{one}" for stage, (_, count) in enumerate(STAGES, 1) for one in range(1, count + 1)]
    places = dict(zip(names, CONVOLUTIONS, strict=True))
    convert: dict[str, Callable[[Tensor], Tensor]] = {
        f"trunk.features.{place}.weight": lambda weight: weight.permute(3, 2, 0, 1) for place in CONVOLUTIONS
    }
    convert |= {
        "trunk.image_mean": lambda average: average.reshape(3, 1, 1) / 255,
        "vlad.assignment.weight": lambda kernel: kernel.flatten(0, -2).mT,
        "vlad.centres": lambda centres: -centres.flatten(0, -2).mT,
        "whitening.weight": lambda kernel: from_d_major(kernel.flatten(0, -2).mT),
    }
    return KeyMap(
        source="a NetVLAD of netvlad_tf_open",
        signature=(f"{TF}/conv1_1/kernel", f"{TF}/assignment/kernel", f"{TF}/cluster_centers"),
        rename={
            f"{TF}/average_rgb": "trunk.image_mean",
            **{f"{TF}/{name}/kernel": f"trunk.features.{place}.weight" for name, place in places.items()},
            **{f"{TF}/{name}/bias": f"trunk.features.{place}.bias" for name, place in places.items()},
            f"{TF}/assignment/kernel": "vlad.assignment.weight",
            f"{TF}/cluster_centers": "vlad.centres",
            f"{TF}/WPCA/kernel": "whitening.weight",
            f"{TF}/WPCA/bias": "whitening.bias",
        },
        keep=(r"trunk\..*\.beta", r"whitening\..*"),
        convert=convert,
        values={"trunk.image_std": [MATCONVNET_STD] * 3},
        settings=lambda _: {"aggregation": "netvlad"},
        needs="trunk vgg16, and whitened as its shapes say",
    )


PUBLISHED: Mapping[str, KeyMap] = {
    "patch-netvlad": PATCH,
    "pytorch-netvlad": NANNE,
    "openibl": IBL,
    "netvlad-tf": _of_tensorflow(),
    **TRUNKS_ALONE,
}

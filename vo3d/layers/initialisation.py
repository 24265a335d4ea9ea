"""Starting weights by the kind of layer, chosen by a name."""

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vo3d.errors import Vo3dError

Scheme = Literal["kaiming", "xavier", "orthogonal", "normal"]
NORMAL_STD = 0.01

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
)
Draw = Callable[[Tensor, float, float], None]  # a matrix (to be filled), its numbers of inputs and of outputs


@torch.no_grad()
def initialise(module: nn.Module, scheme: str) -> tuple[str, ...]:
    """Draw new weights for every layer in `module`; gives the names of the parameters that no rule knows.

    The schemes differ in the weights of convolutions, linear layers and recurrent layers, where an output sums n_in
    products and an input goes into n_out of them:

    - "kaiming": normal, variance 2 / n_in; in recurrent layers, which have no rectifiers, 1 / n_in. He et al., "Delving
      deep into rectifiers", ICCV 2015, equation 10.
    - "xavier": uniform, variance 2 / (n_in + n_out). Glorot and Bengio, "Understanding the difficulty of training deep
      feedforward neural networks", AISTATS 2010, equation 16.
    - "orthogonal": the matrix of the outputs (first axis) against all other axes has orthonormal rows, or columns where
      it is taller than wide. Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
      deep linear neural networks", ICLR 2014.
    - "normal": normal, deviation 0.01. Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep
      convolutional neural networks", NIPS 2012, section 5.

    The gates of recurrent layers are drawn one by one. n_in of a transposed convolution is what an output sums on the
    average: channels times kernel over stride. Biases become 0, but the forget gates of an LSTM begin open (1),
    so that its memory lasts from the first step on. Normalising layers begin as the bare normalisation: weight 1, bias
    0. Buffers, such as running statistics, stay. Random numbers are torch's global ones.

    Raises:
        Vo3dError: the scheme is unknown.
    """
    if scheme not in get_args(Scheme):
        raise Vo3dError(f"initialisation {scheme!r} is unknown: expected one of {', '.join(get_args(Scheme))}")
    drawn: set[Tensor] = set()
    for layer in module.modules():
        own = {name: parameter for name, parameter in layer.named_parameters(recurse=False) if parameter not in drawn}
        if isinstance(layer, _CONVOLUTIONS):
            _draw_convolution(layer, own, _draws(scheme, rectified=True))
        elif isinstance(layer, _RECURRENT):
            _draw_recurrent(layer, own, _draws(scheme, rectified=False))
        elif isinstance(layer, NORMS):
            for name, parameter in own.items():
                parameter.fill_(1 if name == "weight" else 0)
        else:
            continue
        drawn.update(own.values())
    return tuple(name for name, parameter in module.named_parameters() if parameter not in drawn)


def _draws(scheme: str, *, rectified: bool) -> Draw:
    """Return what fills one matrix by `scheme`."""

    def draw(weight: Tensor, inputs: float, outputs: float) -> None:
        if scheme == "kaiming":
            weight.normal_(0, sqrt((2 if rectified else 1) / inputs))
        elif scheme == "xavier":
            bound = sqrt(6 / (inputs + outputs))
            weight.uniform_(-bound, bound)
        elif scheme == "orthogonal":
            matrix = nn.init.orthogonal_(weight.new_empty(len(weight), weight[0].numel()))
            weight.copy_(matrix.reshape(weight.shape))  # not in place: the weight may have its channels last
        else:
            weight.normal_(0, NORMAL_STD)

    return draw


def _draw_convolution(layer: nn.Module, own: Mapping[str, Tensor], draw: Draw) -> None:
    """Draw a convolution, or a linear layer: one whose kernel has no axes."""
    if (weight := own.get("weight")) is not None:
        first, second, kernel = weight.shape[0] / getattr(layer, "groups", 1), weight.shape[1], prod(weight.shape[2:])
        if isinstance(layer, _TRANSPOSED):  # in out/groups *kernel
            draw(weight, first * kernel / prod(layer.stride), float(second * kernel))
        else:  # out in/groups *kernel
            draw(weight, float(second * kernel), first * kernel)
    if "bias" in own:
        own["bias"].zero_()


def _draw_recurrent(layer: nn.Module, own: Mapping[str, Tensor], draw: Draw) -> None:
    """Draw the gates, stacked along the first axis; those of an LSTM are input, forget, cell, output."""
    hidden = int(layer.hidden_size)  # type: ignore[arg-type]
    for name, parameter in own.items():
        if "bias" in name:
            parameter.zero_()
        else:  # weight_hr, the projection of an LSTM's output, has no gates
            for gate in [parameter] if name.startswith("weight_hr") else torch.split(parameter, hidden):
                draw(gate, float(gate.shape[1]), float(gate.shape[0]))
        if isinstance(layer, nn.LSTM | nn.LSTMCell) and name.startswith("bias_hh"):
            parameter[hidden : 2 * hidden] = 1  # added to bias_ih: of the two one is enough

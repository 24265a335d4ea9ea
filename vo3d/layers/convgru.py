"""A recurrent unit whose state is a map: what R-MVSNet gathers along depth."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d


class ConvGRUCell(nn.Module):
    """A gated recurrent unit with 3 x 3 convolutions, run over a sequence of maps.

    r = sigmoid(n_r(W_r * [x, h])), u = sigmoid(n_u(W_u * [x, h])), y = tanh(n_y(W_y * [x, r h])) and
    h' = u h + (1 - u) y, where each n normalises one map over its rows, columns and channels together and has a gain
    and an offset for each channel. The update gate u keeps the old state. The output is the new state.

    The part of each convolution that sees x alone is done for all steps at once; only the part that sees h waits.

    Source: the recurrent unit of Yao et al., "Recurrent MVSNet", CVPR 2019, as in the authors' program; after Cho et
    al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.

    Args:
        in_channels: channels of x.
        hidden: channels of the state.
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__()
        self.in_channels, self.hidden = in_channels, hidden
        self.gates = nn.Conv2d(in_channels + hidden, 2 * hidden, 3, padding=1)  # reset, update
        self.gates_norm = nn.GroupNorm(2, 2 * hidden)  # each gate by itself
        self.candidate = nn.Conv2d(in_channels + hidden, hidden, 3, padding=1)
        self.candidate_norm = nn.GroupNorm(1, hidden)

    def forward(
        self, x: Float[Tensor, "k b c h w"], state: Float[Tensor, "b f h w"] | None = None
    ) -> tuple[Float[Tensor, "k b f h w"], Float[Tensor, "b f h w"]]:
        """Compute the states after each of k steps, and the last one; `state` None begins with zeros."""
        k, b, c, h, w = x.shape
        if state is None:
            state = x.new_zeros(b, self.hidden, h, w)
        convolutions = (self.gates, self.candidate)
        of_x = torch.cat([convolution.weight[:, :c] for convolution in convolutions])
        of_gates, of_candidate = (convolution.weight[:, c:].contiguous() for convolution in convolutions)
        bias = torch.cat([self.gates.bias, self.candidate.bias])  # type: ignore[list-item]
        from_x = conv2d(x.reshape(k * b, c, h, w), of_x, bias, padding=1).reshape(k, b, -1, h, w)  # k b 3f h w
        states = []
        for step in from_x:
            gates_x, candidate_x = step.split((2 * self.hidden, self.hidden), dim=1)
            gates = self.gates_norm(gates_x + conv2d(state, of_gates, padding=1)).sigmoid()  # b 2f h w
            reset, update = gates.chunk(2, dim=1)
            y = self.candidate_norm(candidate_x + conv2d(reset * state, of_candidate, padding=1)).tanh()
            state = y + update * (state - y)  # not lerp: under autocast the types may differ
            states.append(state)
        return torch.stack(states), state

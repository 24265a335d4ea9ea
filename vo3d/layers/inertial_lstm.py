"""A recurrent network that reads an inertial sensor at its own rate, and tells what it knows at every frame."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vo3d.errors import Vo3dError
from vo3d.layers.initialisation import initialise

LSTMState = tuple[Tensor, Tensor]  # hidden and cell state, each num_layers b hidden
READING = 6  # numbers: rad/s x 3, m/s^2 x 3


class InertialLSTM(nn.LSTM):
    """An LSTM over the readings of a clip, any number between two frames; its parameters are those of `nn.LSTM`.

    What it gives for a step is its output after the last reading before the later frame: the memory goes on from step
    to step. A step without readings repeats what was known before, zeros at the beginning.

    Source: Clark et al., "VINet", AAAI 2017.

    Args:
        hidden_size, num_layers: of the LSTM.
    """

    def __init__(self, hidden_size: int, num_layers: int) -> None:
        super().__init__(READING, hidden_size, num_layers, batch_first=True)

    def reset_parameters(self) -> None:
        """Draw new weights, with open forget gates (`vo3d.layers.initialisation`)."""
        initialise(self, "kaiming")

    def forward(  # type: ignore[override]
        self, readings: Float[Tensor, "b steps n 6"], state: LSTMState | None = None
    ) -> tuple[Float[Tensor, "b steps hidden"], LSTMState]:
        """Compute the features of each step, and the state after the last reading; a reading with NaN is none.

        Raises Vo3dError for a clip without any reading.
        """
        b, steps, n = readings.shape[:3]
        known = ~readings.isnan().any(-1)  # b steps n
        counts = known.sum(-1).cumsum(-1)  # b steps; readings up to each frame
        if not bool((counts[:, -1] > 0).all()):
            raise Vo3dError("a clip has no inertial reading at all: expected some between its frames: see its imu")
        # readings first, in their order, and what fills up behind them
        order = known.flatten(1).logical_not().to(torch.uint8).argsort(dim=1, stable=True)  # b steps*n
        filled = torch.where(known[..., None], readings, 0).flatten(1, 2)
        ordered = filled.gather(1, order[..., None].expand(b, steps * n, READING))
        lengths = counts[:, -1].cpu()
        packed = pack_padded_sequence(ordered, lengths, batch_first=True, enforce_sorted=False)
        found, state_after = super().forward(packed, state)
        outputs = pad_packed_sequence(found, batch_first=True)[0]  # b longest hidden
        before = outputs.new_zeros(b, self.hidden_size) if state is None else state[0][-1].to(outputs)
        outputs = torch.cat((before[:, None], outputs), 1)  # row i: after i readings
        return outputs.gather(1, counts[..., None].expand(b, steps, self.hidden_size)), state_after

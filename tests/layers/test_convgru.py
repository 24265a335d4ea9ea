"""The recurrent unit over maps against a loop over its pixels, and its gates at their ends."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vo3d.layers.convgru import ConvGRUCell

Array = NDArray[np.float64]


def make_cell(in_channels: int = 3, hidden: int = 2, seed: int = 0) -> ConvGRUCell:
    """A cell in float64 whose gains and offsets are not those of a fresh one."""
    torch.manual_seed(seed)
    cell = ConvGRUCell(in_channels, hidden).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


def convolve(weight: Array, bias: Array, x: Array) -> Array:
    """3 x 3, zeros around, one map (c h w) at a time."""
    _, h, w = x.shape
    out = np.zeros((len(weight), h, w))
    for o in range(len(weight)):
        for row in range(h):
            for column in range(w):
                total = bias[o]
                for i in range(-1, 2):
                    for j in range(-1, 2):
                        if 0 <= row + i < h and 0 <= column + j < w:
                            total += weight[o, :, i + 1, j + 1] @ x[:, row + i, column + j]
                out[o, row, column] = total
    return out


def normalise(x: Array, gain: Array, offset: Array, eps: float) -> Array:
    return (x - x.mean()) / np.sqrt(x.var() + eps) * gain[:, None, None] + offset[:, None, None]


def reference_step(cell: ConvGRUCell, x: Array, h: Array) -> Array:
    """One step as the authors wrote it: of the joint convolution the first half resets, the second updates."""
    p = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    f, eps = cell.hidden, cell.gates_norm.eps
    both = convolve(p["gates.weight"], p["gates.bias"], np.concatenate((x, h)))
    gain, offset = p["gates_norm.weight"], p["gates_norm.bias"]
    r = 1 / (1 + np.exp(-normalise(both[:f], gain[:f], offset[:f], eps)))
    u = 1 / (1 + np.exp(-normalise(both[f:], gain[f:], offset[f:], eps)))
    y = convolve(p["candidate.weight"], p["candidate.bias"], np.concatenate((x, r * h)))
    y = np.tanh(normalise(y, p["candidate_norm.weight"], p["candidate_norm.bias"], eps))
    return u * h + (1 - u) * y


def test_it_equals_a_loop_over_steps_and_pixels(generator: torch.Generator) -> None:
    cell = make_cell()
    x = torch.randn(3, 2, 3, 4, 5, generator=generator, dtype=torch.float64)  # steps, batch, channels, rows, columns
    start = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64)

    out, last = cell(x, start)

    for b in range(2):
        h = start[b].numpy()
        for k in range(3):
            h = reference_step(cell, x[k, b].numpy(), h)
            np.testing.assert_allclose(out[k, b].detach().numpy(), h, rtol=0, atol=1e-12)
    assert torch.equal(last, out[-1])


def test_the_first_state_is_zero(generator: torch.Generator) -> None:
    cell, x = make_cell(), torch.randn(2, 1, 3, 4, 5, generator=generator, dtype=torch.float64)

    torch.testing.assert_close(cell(x)[0], cell(x, x.new_zeros(1, 2, 4, 5))[0], rtol=0, atol=0)


def test_steps_in_one_go_equal_steps_one_by_one(generator: torch.Generator) -> None:
    cell, x = make_cell(), torch.randn(5, 2, 3, 6, 7, generator=generator, dtype=torch.float64)
    state, states = None, []
    for step in x:
        out, state = cell(step[None], state)
        states.append(out)

    torch.testing.assert_close(cell(x)[0], torch.cat(states), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("offset", "keeps"), [(40.0, True), (-40.0, False)])
def test_an_update_gate_of_one_keeps_the_state(offset: float, keeps: bool, generator: torch.Generator) -> None:
    cell = make_cell()
    x = torch.randn(1, 1, 3, 4, 5, generator=generator, dtype=torch.float64)
    state = torch.randn(1, 2, 4, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        cell.gates_norm.weight[2:] = 0
        cell.gates_norm.bias[2:] = offset

    out, _ = cell(x, state)

    assert torch.allclose(out[0], state, rtol=0, atol=1e-12) is keeps
    assert keeps or (out.abs() <= 1).all()  # all of it is the new candidate


@pytest.mark.parametrize(("in_channels", "hidden", "count"), [(32, 16, 20_880), (16, 4, 2_196), (4, 2, 342)])
def test_parameters_are_counted(in_channels: int, hidden: int, count: int) -> None:
    assert sum(parameter.numel() for parameter in ConvGRUCell(in_channels, hidden).parameters()) == count


def test_each_map_of_a_batch_is_normalised_by_itself(generator: torch.Generator) -> None:
    cell, x = make_cell(), torch.randn(2, 3, 3, 4, 5, generator=generator, dtype=torch.float64)

    together = cell(x)[0]

    for b in range(3):
        torch.testing.assert_close(cell(x[:, b : b + 1])[0], together[:, b : b + 1], rtol=0, atol=1e-12)

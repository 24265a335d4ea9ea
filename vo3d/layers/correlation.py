"""Correlation of two maps over displacements: what FlowNetC matches features by."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from vo3d.errors import Vo3dError


def correlation(
    first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"], max_displacement: int = 20, stride: int = 2
) -> Float[Tensor, "b n h w"]:
    """Compute the mean over channels of first(x) second(x + d), for each displacement d of a square grid.

    Displacements are `stride` pixels apart and at most `max_displacement` in x and y: n = (2 r + 1)^2 of them with
    r = floor(max_displacement / stride), row by row, x fastest, from (-r, -r) stride on. Outside of its map `second`
    is zero.

    The products of a row with a row are one matrix product, of whose result a diagonal band is kept: with the columns
    parted by their remainder modulo `stride`, all of the band is asked for. No neighbourhood is copied.

    Source: Fischer et al., "FlowNet", ICCV 2015, equation 1 with patches of one pixel (k = 0), divided by the number of
    channels as its programs do.
    Raises Vo3dError for a negative `max_displacement` and a `stride` below 1.
    """
    check_displacements(max_displacement, stride)
    b, c, h, w = first.shape
    reach = max_displacement // stride
    side = 2 * reach + 1
    columns = -(-w // stride)  # of one remainder
    over = columns * stride - w
    margin = reach * stride
    rows = pad(first / c, (0, over)).reshape(b, c, h, columns, stride).permute(2, 0, 4, 3, 1)  # h b stride columns c
    rows = rows.reshape(h * b * stride, columns, c)
    others = pad(second, (margin, margin + over, margin, margin))
    others = others.reshape(b, c, h + 2 * margin, columns + 2 * reach, stride).permute(2, 0, 4, 1, 3).contiguous()
    found = []
    for down in range(side):
        partners = others[down * stride : down * stride + h].flatten(0, 2)  # h*b*stride c columns+2r, a view
        products = torch.bmm(rows, partners).flatten(1)  # h*b*stride columns*(columns+2r)
        skewed = pad(products, (0, columns)).reshape(-1, columns, columns + side)  # row i is shifted left by i
        found.append(skewed[..., :side])
    stacked = torch.stack(found).reshape(side, h, b, stride, columns, side)
    maps = stacked.permute(2, 0, 5, 1, 4, 3).reshape(b, side * side, h, columns * stride)
    return maps[..., :w]


def check_displacements(max_displacement: int, stride: int) -> None:
    """Raise Vo3dError unless these make a grid of displacements."""
    if max_displacement < 0 or stride < 1:
        raise Vo3dError(
            f"max_displacement {max_displacement}, stride {stride} of a correlation: expected at least 0 and 1"
        )

"""The 3-D network that turns a cost volume into one number for each depth of each pixel."""

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vo3d.geometry.precision import full_precision
from vo3d.layers.conv_block import ConvBlock

Topology = Literal["port", "authors"]
SLAB = 16  # depths that the decoder's last block makes at once


class VolumeUNet(nn.Module):
    """An encoder and decoder over depth, rows and columns with three halvings, for volumes of any size.

    The two networks that are both called MVSNet differ in where the first halving begins: in the "port" (and in all
    that followed it) at the 8 channels of the first convolution, in the "authors" code at the raw volume; and in the
    bias of the last convolution. A skip is added after the rectifier of the decoder's block.

    Above and below `body`, which needs the whole halved volume, a convolution looks one depth to either side: so
    `from_slabs` never holds the raw volume or the decoder's last as a whole.

    Source: Yao et al., "MVSNet", ECCV 2018, and the two programs.

    Args:
        in_channels: of the cost volume.
        topology: "port" (298,009 parameters) or "authors" (308,376).
    """

    def __init__(self, in_channels: int = 32, topology: Topology = "port") -> None:
        super().__init__()
        self.topology = topology

        def block(inputs: int, outputs: int, stride: int = 1, *, transposed: bool = False) -> ConvBlock:
            return ConvBlock(inputs, outputs, axes=3, stride=stride, transposed=transposed)

        self.conv0 = block(in_channels, 8)
        self.conv1 = block(8 if topology == "port" else in_channels, 16, 2)
        self.conv2 = block(16, 16)
        self.conv3 = block(16, 32, 2)
        self.conv4 = block(32, 32)
        self.conv5 = block(32, 64, 2)
        self.conv6 = block(64, 64)
        self.conv7 = block(64, 32, 2, transposed=True)
        self.conv9 = block(32, 16, 2, transposed=True)
        self.conv11 = block(16, 8, 2, transposed=True)
        self.prob = nn.Conv3d(8, 1, 3, padding=1, bias=topology == "port")
        # up to twice as fast on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, cost: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b d h w"]:
        """Compute the logit of each depth; on a CPU, with gradients, in float32 whatever autocast says.

        oneDNN's bfloat16 gradients of the weights of 3-D convolutions are wrong on CPUs with AVX-512 BF16: they read
        memory that nothing has written where a volume has two depths, and write past their own at the stride of two.
        """
        if cost.device.type == "cpu" and torch.is_grad_enabled():
            return full_precision(self._forward)(cost)
        return self._forward(cost)

    def _forward(self, cost: Tensor) -> Tensor:
        full = self.conv0(cost)  # b 8 d h w
        half = self.conv1(full if self.topology == "port" else cost)  # b 16 d/2 h/2 w/2
        decoded = self.conv11(self.body(half), size=full.shape[2:])  # b 8 d h w
        logits: Tensor = self.prob(decoded + full)
        return logits[:, 0]

    def body(self, half: Float[Tensor, "b 16 d h w"]) -> Float[Tensor, "b 16 d h w"]:
        """Do all that happens below full size."""
        half = self.conv2(half)  # b 16 d h w
        quarter = self.conv4(self.conv3(half))  # b 32 d/2 h/2 w/2
        eighth = self.conv6(self.conv5(quarter))  # b 64 d/4 h/4 w/4
        quarter = quarter + self.conv7(eighth, size=quarter.shape[2:])
        decoded: Tensor = self.conv9(quarter, size=half.shape[2:])
        return half + decoded

    @torch.no_grad()
    def from_slabs(
        self, slabs: Iterable[Float[Tensor, "b c _ h w"]], num_depths: int
    ) -> Iterator[Float[Tensor, "b _ h w"]]:
        """Do as `forward`, without gradients, for a cost volume that comes in slabs of depths; gives logits in slabs.

        Only 8 channels of the volume are ever whole. All slabs but the last must hold the same, even number of depths.
        For networks in evaluation mode: a slab has no statistics of the volume.
        """
        if self.topology == "port":
            full = _collected(_convolved(slabs, self.conv0), num_depths)  # b 8 d h w
            half = self.conv1(full)
        else:
            halves: list[Tensor] = []
            full = _collected(_convolved(self._halved(slabs, halves), self.conv0), num_depths)
            half = torch.cat(halves, dim=2)
            del halves
        decoded = self.body(half)
        del half
        yield from (logits[:, 0] for logits in _convolved(self._decoded(decoded, full), self.prob))

    def _halved(self, slabs: Iterable[Tensor], parts: list[Tensor]) -> Iterator[Tensor]:
        """Pass the slabs on, and leave what `conv1` makes of them, two depths of each into one, in `parts`."""
        before = None
        for slab in slabs:
            if before is None:
                before = torch.zeros_like(slab[:, :, :1])
            after = [torch.zeros_like(slab[:, :, :1])] if slab.shape[2] % 2 else []
            parts.append(_convolve(self.conv1, torch.cat((before, slab, *after), dim=2)))
            before = slab[:, :, -1:].clone()  # not a view, which would keep the slab
            yield slab

    def _decoded(self, half: Tensor, full: Tensor) -> Iterator[Tensor]:
        """Sum the decoder's last block and its skip, in slabs of depths."""
        num_depths = full.shape[2]
        for begin in range(0, num_depths, SLAB):
            end = min(begin + SLAB, num_depths)
            part = half[:, :, begin // 2 : (end + 1) // 2 + 1]  # one more: the last depth lies between two
            depths = num_depths - begin if end == num_depths else 2 * part.shape[2] - 1
            decoded = self.conv11(part, size=(depths, *full.shape[3:]))[:, :, : end - begin]
            yield decoded.add_(full[:, :, begin:end])


def _convolve(block: nn.Module, padded: Tensor) -> Tensor:
    """Apply a block whose input has its neighbours in depth already around it."""
    conv = block.conv if isinstance(block, ConvBlock) else block
    if not isinstance(conv, nn.Conv3d):
        raise TypeError(f"{type(conv).__name__} where a Conv3d was expected")
    if conv.stride[0] == 1:
        result = _plane_by_plane(padded, conv.weight)
        if conv.bias is not None:
            result += conv.bias[:, None, None, None]
    else:
        result = functional.conv3d(padded, conv.weight, conv.bias, conv.stride, (0, 1, 1))
    if not isinstance(block, ConvBlock):
        return result
    result = block.norm(result)
    return functional.relu_(result) if block.relu else result


def _plane_by_plane(padded: Float[Tensor, "b c n h w"], weight: Float[Tensor, "k c 3 3 3"]) -> Tensor:
    """Convolve in 3-D without padding in depth, as a sum of 2-D ones.

    On a CPU this is up to twice as fast for many channels and eight times for one, in layouts with channels last.
    """
    b, _, n, h, w = padded.shape
    k = weight.shape[0]
    taps = weight.permute(2, 0, 1, 3, 4).flatten(0, 1)  # 3 k channels out
    planes = padded.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)  # b*n c h w
    parts = functional.conv2d(planes, taps, padding=1).reshape(b, n, 3 * k, h, w)
    before, here, after = torch.split(parts, k, dim=2)
    result: Tensor = (before[:, :-2] + here[:, 1:-1]).add_(after[:, 2:])  # b n-2 k h w
    return result.transpose(1, 2)


def _convolved(slabs: Iterable[Tensor], block: nn.Module) -> Iterator[Tensor]:
    """Apply a block with stride 1 to a volume that comes in slabs; each result lags one depth behind."""
    edge = None
    for slab in slabs:
        if edge is None:
            edge = torch.zeros_like(slab[:, :, :1])
        padded = torch.cat((edge, slab), dim=2)
        if padded.shape[2] > 2:
            yield _convolve(block, padded)
        edge = padded[:, :, -2:].clone()  # not a view, which would keep the slab
    if edge is not None:
        yield _convolve(block, torch.cat((edge, torch.zeros_like(edge[:, :, :1])), dim=2))


def _collected(slabs: Iterable[Tensor], num_depths: int) -> Tensor:
    """Put the slabs side by side in one volume."""
    volume, begin = None, 0
    for slab in slabs:
        if volume is None:
            b, c, _, h, w = slab.shape
            volume = slab.new_empty(b, num_depths, h, w, c).permute(0, 4, 1, 2, 3)  # channels last in memory
        volume[:, :, begin : begin + slab.shape[2]] = slab
        begin += slab.shape[2]
    if volume is None or begin != num_depths:
        raise ValueError(f"slabs of {begin} depths where {num_depths} were announced")
    return volume

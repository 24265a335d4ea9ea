"""The networks of IterMVS: features at three levels, matching costs from similarities, and the recurrent estimate."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vo3d.layers.conv_block import ConvBlock
from vo3d.layers.downsampling import Pool, pooling_layer

CHANNELS = (16, 32, 48)  # of the features of levels 1, 2, 3, at a half, a quarter and an eighth of the image
GROUPS = 8  # of channels, each of which makes one similarity
HIDDEN = 32
NUM_BINS = 256  # of inverse depth
ROWS = 8  # whose logits stay in a processor's cache
RADIUS = 4  # bins to either side of the likeliest one that an estimate looks at

Pyramid = tuple[Float[Tensor, "b 16 h1 w1"], Float[Tensor, "b 32 h2 w2"], Float[Tensor, "b 48 h3 w3"]]


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut around them; at stride 2 a third convolution halves the shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, pool: Pool) -> None:
        super().__init__()
        step = 1 if pool != "stride" else stride
        self.conv1 = ConvBlock(in_channels, out_channels, stride=step)
        self.conv2 = ConvBlock(out_channels, out_channels, relu=False)
        self.shortcut = nn.Identity() if stride == 1 else ConvBlock(in_channels, out_channels, stride=step, relu=False)
        self.pool = nn.Identity() if step == stride else pooling_layer(pool, 3, stride, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k i j"]:
        """Compute the maps, at half their size if the stride is 2."""
        y: Tensor = self.pool((self.shortcut(x) + self.conv2(self.conv1(x))).relu_())
        return y


class FeaturePyramid(nn.Module):
    """Features of a view at a half, a quarter and an eighth of its size, whose sides are multiples of 8.

    Coarse maps are enlarged and added to finer ones, so that each level sees as far as the coarsest.

    Args:
        pool: what halves the maps, see `vo3d.layers.downsampling`.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        widths = (8, *CHANNELS)
        self.stem = ConvBlock(3, widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(ResidualBlock(before, width, 2, pool), ResidualBlock(width, width, 1, pool))
            for before, width in pairwise(widths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, CHANNELS[-1], 1) for width in CHANNELS[:-1])
        self.out = nn.ModuleList(nn.Conv2d(CHANNELS[-1], width, 3, padding=1) for width in CHANNELS)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Pyramid:
        """Compute the maps of levels 1, 2 and 3."""
        maps = []
        x = self.stem(image)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        level3 = self.out[2](x)
        x = enlarged(x, 2) + self.lateral[1](maps[1])
        level2 = self.out[1](x)
        x = enlarged(x, 2) + self.lateral[0](maps[0])
        return self.out[0](x), level2, level3


class MatchingNetwork(nn.Module):
    """Turn the similarities of one depth, a map for each group of channels, into one matching score a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(GROUPS, 8, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.up1 = nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, bias=False)
        self.up0 = nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, bias=False)
        self.score = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, similarity: Float[Tensor, "b d g h w"]) -> Float[Tensor, "b d h w"]:
        """Compute the scores; each depth is looked at alone."""
        fine = self.conv0(similarity.flatten(0, 1)).relu_()  # b*d 8 h w
        half = self.conv1(fine).relu_()
        quarter = self.conv2(half).relu_()
        half = half + self.up1(quarter, output_size=half.shape[2:])
        fine = fine + self.up0(half, output_size=fine.shape[2:])
        score: Tensor = self.score(fine)
        return score.reshape(*similarity.shape[:2], *score.shape[2:])


class ViewWeight(nn.Module):
    """Judge from its similarities along depth how well a source sees each pixel: the peak of a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(GROUPS, 16, 3, padding=1, bias=False)
        self.score = nn.Conv2d(16, 1, 1)

    def forward(self, similarity: Float[Tensor, "b d g h w"]) -> Float[Tensor, "b 1 h w"]:
        """Compute the weight of a source, in [0, 1]."""
        score: Tensor = self.score(self.conv(similarity.flatten(0, 1)).relu_())
        return score.reshape(*similarity.shape[:2], *score.shape[2:]).softmax(1).amax(1, keepdim=True)


class RecurrentEstimate(nn.Module):
    """The state of each pixel at a quarter of the image, what changes it, and the depth that it stands for.

    Args:
        num_start: scores that the state begins with.
        num_matches: scores that each step brings.
    """

    def __init__(self, num_start: int, num_matches: int) -> None:
        super().__init__()
        self.start = nn.Sequential(
            nn.Conv2d(num_start, 64, 3, padding=1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(64, HIDDEN, 1)
        )
        inputs = HIDDEN + 1 + num_matches
        self.update = nn.Conv2d(inputs, HIDDEN, 3, padding=2, dilation=2)
        self.reset = nn.Conv2d(inputs, HIDDEN, 3, padding=2, dilation=2)
        self.candidate = nn.Conv2d(inputs, HIDDEN, 3, padding=2, dilation=2)
        self.depth = nn.Sequential(
            nn.Conv2d(HIDDEN, 32, 3, padding=2, dilation=2, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, NUM_BINS, 1),
        )
        self.confidence = nn.Sequential(
            nn.Conv2d(HIDDEN, 32, 3, padding=2, dilation=2, bias=False), nn.ReLU(inplace=True), nn.Conv2d(32, 1, 1)
        )

    def begin(self, scores: Float[Tensor, "b d h w"]) -> Float[Tensor, "b f h2 w2"]:
        """Make the first state, at twice the size of the scores."""
        return enlarged(self.start(scores), 2).tanh()

    def place(self, state: Float[Tensor, "b f h w"]) -> Float[Tensor, "b 1 h w"]:
        """Compute `likeliest_place` of the logits of a state, which exist for a few rows at a time."""
        x = self.depth[:-1](state)
        return torch.cat([likeliest_place(self.depth[-1](rows)) for rows in x.split(ROWS, dim=2)], dim=2)

    def step(
        self,
        state: Float[Tensor, "b f h w"],
        place: Float[Tensor, "b 1 h w"],
        matches: Float[Tensor, "b m h w"],
    ) -> Float[Tensor, "b f h w"]:
        """Change the state by the present estimate and the scores around it: a gated recurrent unit."""
        x = torch.cat((state, place, matches), dim=1)
        update = self.update(x).sigmoid()
        x = torch.cat((self.reset(x).sigmoid() * state, place, matches), dim=1)
        new: Tensor = state + update * (self.candidate(x).tanh() - state)
        return new


def likeliest_place(logits: Float[Tensor, "b n h w"]) -> Float[Tensor, "b 1 h w"]:
    """Compute the place in [0, 1] that a distribution over bins stands for.

    It is the mean, under their probabilities, of the bins from 4 below to 4 above the likeliest one; a bin at the end
    counts for each that would lie beyond it.
    """
    n = logits.shape[1]
    around = torch.arange(-RADIUS, RADIUS + 1, device=logits.device)[:, None, None]
    top, likeliest = logits.detach().max(1, keepdim=True)  # twice as fast as argmax
    bins = (likeliest + around).clamp(0, n - 1)  # b 9 h w
    shifted = logits - top
    probability = shifted.gather(1, bins).exp() / shifted.exp().sum(1, keepdim=True)
    mean = (bins * probability).sum(1, keepdim=True) / (probability.sum(1, keepdim=True) + 1e-6)
    return mean / (n - 1)


class ConvexUpsampling(nn.Module):
    """Enlarge a map four times: each fine pixel is a mean of the 3 x 3 coarse ones around it, weighted by features.

    Source: Teed, Deng, "RAFT", ECCV 2020.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.Conv2d(CHANNELS[1], 64, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 9 * 16, 1, bias=False),
        )

    def forward(self, x: Float[Tensor, "b 1 h w"], features: Float[Tensor, "b 32 h w"]) -> Float[Tensor, "b 1 H W"]:
        """Enlarge `x`; at the border its pixels go on outside."""
        h, w = x.shape[2:]
        weights = self.weights(features).reshape(-1, 9, 16, h, w).softmax(1)  # b 9 16 h w
        around = functional.unfold(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3)  # b 9 h*w
        fine = torch.einsum("bkhw,bkshw->bshw", around.reshape(*around.shape[:2], h, w), weights)
        return functional.pixel_shuffle(fine, 4)


def enlarged(x: Float[Tensor, "b c h w"], scale: int | float) -> Float[Tensor, "b c i j"]:
    """Resize maps bilinearly by a factor, borders kept in place."""
    return functional.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)

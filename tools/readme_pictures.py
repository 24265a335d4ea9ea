"""Render the picture of the README: frames of the street beside their exact depth.

Example: `python tools/readme_pictures.py --out docs/images/street.png`
"""

import argparse
from pathlib import Path

import torch
from matplotlib import colormaps
from torch import Tensor
from torch.nn import functional

from vo3d.datasets.rendered import RenderedRecording
from vo3d.formats.images import write_image
from vo3d.world.sensor import Sensor

VIEWS = ((2000, 60), (2002, 316), (7, 150))  # seed, frame
SIZE = (160, 520)
NEAREST, FARTHEST = 4.0, 120.0  # metres of the colours' ends


def coloured(depth: Tensor) -> Tensor:
    """Depth (h w), metres, as colours (3 h w): near bright, far dark, sky black."""
    place = (depth.clamp(NEAREST, FARTHEST).log() - torch.tensor(NEAREST).log()) / torch.tensor(
        FARTHEST / NEAREST
    ).log()
    colours = torch.from_numpy(colormaps["magma"](1 - place.numpy())[..., :3]).permute(2, 0, 1).float()
    return colours * (depth > 0)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("docs/images/street.png"))
    arguments = parser.parse_args()
    rows = []
    for seed, frame in VIEWS:
        recording = RenderedRecording("street", seed, 400, SIZE, depth=True, sensor=Sensor(samples=2, noise=0.0))
        clip = recording.clip([frame])
        pair = [clip.image[0], coloured(clip.depth[0])]
        rows.append(torch.cat([functional.pad(picture, (3, 3, 3, 3), value=1.0) for picture in pair], dim=2))
    write_image(arguments.out, torch.cat(rows, dim=1))


if __name__ == "__main__":
    main()

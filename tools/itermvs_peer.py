"""IterMVS by its authors' program, a checkout of FangjinhuaWang/IterMVS, for `benchmark_mvs.py`."""

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from vo3d.formats.weights import read_weights
from vo3d.geometry import se3
from vo3d.sample import Sample

CHECKPOINT = Path("checkpoints") / "blendedmvs" / "model_000015.ckpt"  # in the checkout


def authors_of(folder: Path) -> ModuleType:
    """The authors' network, under a name that hides no package of ours."""
    if not (folder / "models" / "net.py").is_file() or not (folder / CHECKPOINT).is_file():
        raise SystemExit(f"{folder}: no models/net.py and {CHECKPOINT}: expected a checkout of FangjinhuaWang/IterMVS")
    package = ModuleType("itermvs_authors")
    package.__path__ = [str(folder / "models")]
    sys.modules[package.__name__] = package
    return import_module(f"{package.__name__}.net")


def authors_call(folder: Path, sample: Sample) -> Callable[[], Tensor]:
    """Make a call without arguments that gives the depth of the first view (h w), sides multiples of 32."""
    if sample.K is None or sample.world_T_cam is None or sample.depth_range is None:
        raise TypeError("the sample lacks its cameras")
    network = authors_of(folder).Pipeline(iteration=4, test=True)
    weights, _ = read_weights(folder / CHECKPOINT)
    network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in weights.items()})
    network.eval().to(sample.image.device)
    images = {"level_0": 2 * sample.image - 1, "level_2": sample.image}  # of level 2 nothing is read
    projections = {}
    for level in (1, 2, 3):
        projection = se3.inverse(sample.world_T_cam).to(sample.image)
        scaled = sample.K * sample.K.new_tensor((0.5**level, 0.5**level, 1.0))[:, None]
        projection[..., :3, :] = scaled @ projection[..., :3, :]
        projections[f"level_{level}"] = projection
    near, far = sample.depth_range[:, 0].unbind(-1)

    def call() -> Tensor:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # meshgrid without an indexing
            depth: Tensor = network(images, projections, near, far)["depths_upsampled"]
        return depth[0, 0]

    return call

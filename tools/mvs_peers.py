"""Make what `benchmark_mvs.py` compares: the inputs, the peers in folders of the user's, and our networks."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from itermvs_peer import CHECKPOINT, authors_call
from vo3d.formats.weights import import_weights, load_weights
from vo3d.geometry import plane_homography, se3, subsample_intrinsics, warp_homography
from vo3d.models.itermvs import IterMVS
from vo3d.models.mvsnet import XY_GUO, MVSNet
from vo3d.models.rmvsnet import RMVSNet
from vo3d.sample import Sample

PORT, PREDICT, FORWARD, RECURRENT = "port", "predict", "forward", "R-MVSNet, predict"
AUTHORS, ITERATIVE = "IterMVS, authors", "IterMVS, predict"
HALVES = {f"{PREDICT}, {precision}": precision for precision in ("bfloat16", "float16")}
NEAR, PLANE, FAR = 0.425, 0.6, 0.935  # metres: the range of DTU, and where the picture lies in it


@dataclass(frozen=True)
class Case:
    """One candidate on one size of problem."""

    candidate: str
    size: tuple[int, int] = (480, 640)
    views: int = 5
    depths: int = 96
    device: str = "cpu"
    weights: str = ""  # a file; none: drawn with a seed
    port: str = ""  # a folder
    authors: str = ""  # of IterMVS: a folder

    @property
    def title(self) -> str:
        """The problem in one line."""
        h, w = self.size
        return f"{w}x{h}, {self.views} views, {self.depths} depths, {self.device}"


def load_port(folder: Path) -> ModuleType:
    """The network of a checkout of xy-guo/MVSNet_pytorch, under a name that hides no package of ours."""
    if not (folder / "models" / "mvsnet.py").is_file():
        raise SystemExit(f"{folder}: no models/mvsnet.py: expected a checkout of xy-guo/MVSNet_pytorch")
    package = ModuleType("mvsnet_port")
    package.__path__ = [str(folder / "models")]
    sys.modules[package.__name__] = package
    return import_module(f"{package.__name__}.mvsnet")


def sample_of(case: Case) -> Sample:
    """Smooth noise on a plane before the cameras, which look the same way from places some centimetres apart."""
    generator = torch.Generator().manual_seed(0)
    h, w = case.size
    noise = torch.rand(1, 3, h // 4, w // 4, generator=generator)
    reference = functional.interpolate(noise, (h, w), mode="bicubic", align_corners=False)[0].clamp(0, 1)
    focal = 1.8 * w
    K = torch.tensor([[focal, 0.0, (w - 1) / 2], [0.0, focal, (h - 1) / 2], [0.0, 0.0, 1.0]])
    shifts = 0.025 * torch.randn(case.views, 3, generator=generator)
    shifts[0] = 0
    world_T_cam = se3.from_rotation_translation(torch.eye(3).expand(case.views, 3, 3), shifts)
    images = []
    for pose in world_T_cam:
        distance = PLANE - pose[2, 3]
        homography = plane_homography(K, pose, torch.tensor([0.0, 0.0, 1.0]), distance)  # reference_H_source
        images.append(warp_homography(reference, homography)[0])
    sample = Sample(
        image=torch.stack(images)[None],
        K=K.expand(1, case.views, 3, 3),
        world_T_cam=world_T_cam[None].double(),
        depth_range=torch.tensor([NEAR, FAR]).expand(1, case.views, 2),
    )
    return sample.to(case.device)


def draw_weights(model: nn.Module) -> None:
    """Weights from a seed that keep the size of what passes through, as trained ones do."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def network(case: Case) -> MVSNet | RMVSNet | IterMVS:
    """Ours, with the weights of the case; IterMVS with those of its authors' checkout."""
    model: MVSNet | RMVSNet | IterMVS
    if case.candidate == RECURRENT:
        model = RMVSNet(num_depths=case.depths)
    elif case.candidate == ITERATIVE:
        model = IterMVS()
    else:
        precision: Any = HALVES.get(case.candidate, "float32")
        model = MVSNet(num_depths=case.depths, precision=precision)
    weights = {RECURRENT: "", ITERATIVE: case.authors and str(Path(case.authors) / CHECKPOINT)}
    if file := weights.get(case.candidate, case.weights):
        load_weights(model, Path(file))
    else:
        draw_weights(model)
    return model.eval().to(case.device)


def port_of(case: Case) -> Callable[[], Tensor]:
    """The port's forward pass with our weights, corners aligned as when its weights were learnt."""
    peer = load_port(Path(case.port)).MVSNet(refine=False)
    twin = network(case)
    published = {f"module.{name}": tensor for name, tensor in peer.state_dict().items()}
    places = import_weights(MVSNet(), published, XY_GUO).matched
    ours = twin.state_dict()
    peer.load_state_dict({name.removeprefix("module."): ours[places[name]] for name in published})
    peer.eval().to(case.device)
    sample = sample_of(case)
    if sample.K is None or sample.world_T_cam is None or sample.depth_range is None:
        raise TypeError("the sample lacks its cameras")
    projection = se3.inverse(sample.world_T_cam).to(sample.image)  # 1 s 4 4
    projection[..., :3, :] = subsample_intrinsics(sample.K, twin.stride) @ projection[..., :3, :]
    near, far = sample.depth_range[0, 0].tolist()
    depths = torch.linspace(near, far, case.depths, device=case.device)[None]
    aligned = patch.object(functional, "grid_sample", partial(functional.grid_sample, align_corners=True))

    def call() -> Tensor:
        with aligned, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # meshgrid without an indexing
            depth: Tensor = peer(sample.image, projection, depths)["depth"]
        return depth[0]

    return call


def runner(case: Case) -> Callable[[], Tensor]:
    """Return what is measured: a call without arguments that gives the depth of the first view (h w)."""
    if case.candidate == PORT:
        return port_of(case)
    if case.candidate == AUTHORS:
        return authors_call(Path(case.authors), sample_of(case))
    model, sample = network(case), sample_of(case)
    if case.candidate == FORWARD:

        def call() -> Tensor:
            with torch.no_grad():
                return model(sample)["depth"][0, 0]

    else:

        def call() -> Tensor:
            return model.predict(sample)["depth"][0, 0]

    return call

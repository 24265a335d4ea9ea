"""Samples for multi-view stereo: a reference view and the views that suit it, from scenes of any source."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from vo3d.datasets.clips import NumberedDataset
from vo3d.datasets.views import check_indices
from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.recording import MultiViewScene, Transform
from vo3d.sample import Sample


class MultiViewDataset(NumberedDataset):
    """One sample for each reference of each scene: the reference first, then its best sources.

    A reference with fewer than `num_views` - 1 sources is left out, unless `fewer_views`: then it comes with those it
    has, which a batch of more than one sample cannot hold.

    Args:
        scenes: where the views come from.
        num_views: views in a sample, the reference included.
        fewer_views: keep references that have fewer sources, but at least one.
        random_sources: take random ones of a reference's sources instead of the best, anew in each epoch: to train on
            baselines of all lengths.
        transforms, seed: augmentation, see `RecordingDataset`.

    Raises:
        Vo3dError: fewer than two views are asked for, the seed is negative, there is no scene, or no reference has
            enough sources.
    """

    def __init__(
        self,
        scenes: Sequence[MultiViewScene],
        *,
        num_views: int = 3,
        fewer_views: bool = False,
        random_sources: bool = False,
        transforms: Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        if num_views < 2:
            raise Vo3dError(f"num_views is {num_views}: expected at least 2, a reference and a source")
        if not scenes:
            raise Vo3dError("no scene to take views from: name at least one")
        self.recordings: list[MultiViewScene] = list(scenes)
        self.num_views, self.random_sources = num_views, random_sources
        needed = 1 if fewer_views else num_views - 1
        self._references = [
            [index for index in scene.references if len(scene.sources(index)) >= needed] for scene in scenes
        ]
        if not any(self._references):
            raise Vo3dError(
                f"no view of {', '.join(scene.name for scene in scenes[:3])} has {needed} source views: give a smaller "
                "num_views, or more views that see the same surfaces"
            )
        super().__init__(map(len, self._references), transforms, seed)

    def place(self, index: int) -> tuple[MultiViewScene, list[int]]:
        """Return the scene of sample `index` and the indices of its views, reference first, without reading them."""
        which, number = self.group(index)
        scene, reference = self.recordings[which], self._references[which][number]
        sources = list(scene.sources(reference))
        if self.random_sources:
            # a key of its own: the transforms go on drawing what they draw without it
            words = np.random.SeedSequence([self.seed, self.epoch, index], spawn_key=(1,))
            sources = [sources[i] for i in np.random.default_rng(words).permutation(len(sources))]
        return scene, [reference, *sources[: self.num_views - 1]]


def scene_folders(root: str | Path, scenes: Sequence[str] | Literal["all"] | None) -> list[Path]:
    """Return the folders of the `scenes` in `root`; "all": every folder in it; None: `root` itself is the only one.

    Raises Vo3dError for "all" of a root without folders.
    """
    if scenes != "all":
        return [Path(root)] if scenes is None else [Path(root) / name for name in scenes]
    folders = [path for path in visible_paths(Path(root)) if path.is_dir()]
    if not folders:
        raise Vo3dError(f"{root}: no folder in it: expected one for each scene")
    return sorted(folders)


class RenderedScene(MultiViewScene):
    """Views that a virtual camera takes when they are asked for, with exact depth.

    Images are rounded to 8 bits, as a file would. Depth is 0 outside of `depth_range`, as that of a scanner is.

    Args:
        name: of the scene.
        K: of all views, pixels.
        world_T_cam: of each view, metres.
        sources: of each view, best first.
        depth_range: near and far, metres, of every view; Vo3dError unless 0 < near < far.
    """

    what = "view"  # in messages

    def __init__(
        self,
        name: str,
        K: Float64[Tensor, "3 3"],
        world_T_cam: Float64[Tensor, "n 4 4"],
        sources: Sequence[Sequence[int]],
        depth_range: tuple[float, float],
    ) -> None:
        if not 0 < depth_range[0] < depth_range[1]:
            raise Vo3dError(f"depth_range {depth_range}: expected 0 < near < far, in metres")
        self.name, self.depth_range = name, depth_range
        self._K, self._world_T_cam, self._sources = K, world_T_cam, sources

    def __len__(self) -> int:
        """Number of views."""
        return len(self._world_T_cam)

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Return `world_T_cam` of every view, metres."""
        return self._world_T_cam

    def sources(self, index: int) -> Sequence[int]:
        """Return the indices of the best partners of a view, best first."""
        return self._sources[index]

    def clip(self, indices: Sequence[int]) -> Sample:
        """Render the views at `indices`, in that order; Vo3dError for an index outside."""
        check_indices(indices, self, self.what)
        image, depth = (torch.stack(values) for values in zip(*map(self.view, indices), strict=True))
        near, far = self.depth_range
        return Sample(
            image=image.float() / 255,
            K=self._K.float().expand(len(image), 3, 3).clone(),
            world_T_cam=self._world_T_cam[list(indices)],
            depth=torch.where((depth >= near) & (depth <= far), depth, 0.0),
            depth_range=torch.tensor(self.depth_range).expand(len(image), 2).clone(),
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    @abstractmethod
    def view(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], Float[Tensor, "h w"]]:
        """Render the image of a view and its depth, metres."""

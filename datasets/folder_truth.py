"""Read the truth that lies in files beside the images of a folder: flow, masks of ids, motions of objects."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from vo3d.datasets.photographs import check_shape
from vo3d.datasets.resize import Size, resize_flow, resize_labels
from vo3d.datasets.views import image_files
from vo3d.errors import Vo3dError
from vo3d.formats.candidates import check_stems
from vo3d.formats.flow import FLOW_SUFFIXES, read_flow
from vo3d.formats.moving_objects import read_mask, read_object_motion

MASK_SUFFIXES = (".png",)


class FolderTruth:
    """Flow, masks and motions of the frames of a folder or a video, or none of them.

    Args:
        source: the folder or the video, for messages.
        names: of its images, without suffixes; none of a video.
        frames: number of them.
        size: height and width of the frames, which the maps must have.
        flow, mask, object_motion: see `vo3d.datasets.folder.ImageFolder`.

    Raises Vo3dError when files do not go with the frames, or the first of a folder is damaged or of another size.
    """

    def __init__(
        self,
        source: Path,
        names: Sequence[str],
        frames: int,
        size: Size,
        *,
        flow: Path | None,
        mask: Path | None,
        object_motion: Path | None,
    ) -> None:
        if object_motion is not None and mask is None:
            raise Vo3dError(f"{object_motion}: motions of objects without masks: give the folder of their ids as mask")
        self._source, self._size = source, size
        self._flow: list[Path] | None = None
        self._mask: list[Path] | None = None
        self.notes: list[str] = []
        self._motions = None if object_motion is None else read_object_motion(object_motion, frames)
        self._motion_file = object_motion
        if flow is not None:
            self._flow = self._files(flow, "map of flow", FLOW_SUFFIXES, names, (frames - 1, frames))
            self._read_flow(0)
        if mask is not None:
            self._mask = self._files(mask, "mask", MASK_SUFFIXES, names, (frames,))
            self._read_mask(0)

    def fields(self, frames: Sequence[int], size: Size | None) -> dict[str, Tensor | None]:
        """Read what is known of a clip, resized to `size`, by the names of `Sample`.

        Raises Vo3dError naming the file that is damaged, of another size or shows an id whose motion is not told, and
        for frames that do not follow one another where something leads from each to the next.
        """
        fields: dict[str, Tensor | None] = {}
        leading = [name for name, one in (("flow", self._flow), ("object_motion", self._motions)) if one is not None]
        if leading and any(later != earlier + 1 for earlier, later in pairwise(frames)):
            raise Vo3dError(
                f"frames {list(frames)} of {self._source} with {' and '.join(leading)}, which lead from each frame to "
                "the next: expected frames one after the other (frame_stride 1)"
            )
        masks = [] if self._mask is None else [self._read_mask(frame) for frame in frames]
        if self._flow is not None:
            maps = [self._read_flow(frame) for frame in frames[:-1]]
            flow = torch.stack(maps) if maps else torch.zeros(0, 2, *self._size)
            fields["flow"] = flow if size is None else resize_flow(flow, size)
        if self._mask is not None:
            mask = torch.stack(masks)
            fields["mask"] = mask if size is None else resize_labels(mask, size)
        if self._motions is not None:
            motions = [self._motion(frame, mask) for frame, mask in zip(frames[:-1], masks, strict=False)]
            none = torch.zeros(0, self._motions.k, 4, 4, dtype=torch.float64)
            fields["object_motion"] = torch.stack(motions) if motions else none
        return fields

    def _files(
        self, folder: Path, what: str, suffixes: Sequence[str], names: Sequence[str], counts: Sequence[int]
    ) -> list[Path]:
        """Return a file for each of the first frames, as many as one of the `counts`."""
        if not folder.is_dir():
            raise Vo3dError(f"{folder}: no such folder: expected a {what} for each image")
        files = image_files(folder, suffixes)
        if not files:
            raise Vo3dError(f"{folder}: holds no {what}: expected files ending in {' or '.join(suffixes)}")
        check_stems(files)
        by_name = {path.stem: path for path in files}
        together = not by_name.keys().isdisjoint(names)
        alone = sorted(by_name.keys() ^ set(names[: len(files)])) if together else []
        hint = f" ({alone[0]!r} is in one of them alone)" if alone else ""
        if len(files) not in counts:
            raise Vo3dError(
                f"{folder}: has {len(files)} files, and {self._source} has {counts[-1]} frames{hint}: expected "
                f"{' or '.join(map(str, counts))}"
            )
        if alone:
            raise Vo3dError(
                f"{folder}: has other names than {self._source}{hint}: expected each {what} to have the name of its "
                "image"
            )
        if together:
            return [by_name[name] for name in names[: len(files)]]
        if names:
            pairs = f"{names[0]} with {files[0].name} to {names[len(files) - 1]} with {files[-1].name}"
            note = f"no name is in both {self._source} and {folder}: they pair in natural order, {pairs}"
            self.notes = [*self.notes, note]
        return files

    def _read_flow(self, frame: int) -> Float32[Tensor, "2 h w"]:
        assert self._flow is not None  # noqa: S101  by the callers
        flow = read_flow(self._flow[frame])
        check_shape(self._flow[frame], flow, self._size, "its image is")
        return flow

    def _read_mask(self, frame: int) -> Int64[Tensor, "h w"]:
        assert self._mask is not None  # noqa: S101  by the callers
        mask = read_mask(self._mask[frame])
        check_shape(self._mask[frame], mask, self._size, "its image is")
        return mask

    def _motion(self, frame: int, mask: Int64[Tensor, "h w"]) -> Float64[Tensor, "k 4 4"]:
        """Return the motions from a frame to the next, the identity of what it does not show."""
        assert self._motions is not None  # noqa: S101  by the callers
        assert self._mask is not None  # noqa: S101
        k, motion = self._motions.k, self._motions.at(frame)
        ids = torch.unique(mask)
        shown, path = ids[ids > 0], self._mask[frame]
        if len(shown) and int(shown[-1]) > k:
            raise Vo3dError(
                f"{path}: shows id {int(shown[-1])}, and {self._motion_file} knows 1 to {k}: more mask ids than K: "
                "give the masks and motions of one recording"
            )
        if len(untold := shown[motion[shown - 1].isnan().flatten(1).any(-1)]):
            raise Vo3dError(
                f"{path}: shows id {int(untold[0])}, whose motion from frame {frame} to the next is not in "
                f"{self._motion_file}: give the masks and motions of one recording"
            )
        return torch.where(motion.isnan(), torch.eye(4, dtype=torch.float64), motion)

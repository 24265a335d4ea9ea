"""The descriptors of many views with the weights of one moment, for a miner to compare."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vo3d.errors import Vo3dError
from vo3d.model import Model, check_gives
from vo3d.recording import ViewDataset
from vo3d.retrieval.descriptors import Descriptors
from vo3d.sample import Sample

MOST_BYTES = 4 * 10**9  # of descriptors in memory
BLOCK = 1024  # rows of a file on disk
VALUES = 2**24  # numbers of descriptors that are compared at once


class ViewDescriptors:
    """Descriptors in half precision, by the numbers of their views.

    Args:
        views: numbers of the views, ascending.
        rows: a descriptor of each, in memory or on disk.
    """

    def __init__(self, views: Int64[Tensor, " n"], rows: Tensor | Descriptors) -> None:
        self.views, self.rows = views, rows

    @property
    def num_bytes(self) -> int:
        """Count the bytes of all descriptors."""
        dim = self.rows.dim if isinstance(self.rows, Descriptors) else self.rows.shape[1]
        return 2 * len(self.rows) * dim

    def squared_distances(
        self, views: Int64[Tensor, " m"], others: Int64[Tensor, " n"], device: torch.device | str = "cpu"
    ) -> Float32[Tensor, "m n"]:
        """Compute the squared distances of views from other ones on a device, to about 1e-6 for vectors of unit length.

        The numbers of both ascend. Memory beside the result: the descriptors of `views`, and 16 million numbers.
        """
        queries = self._take(views).to(device)
        tiles = []
        for part in torch.split(others, max(1, VALUES // queries.shape[1])):
            rows = self._take(part).to(device)
            lengths = queries.square().sum(1)[:, None] + rows.square().sum(1)
            tiles.append(lengths.addmm_(queries, rows.T, alpha=-2).clamp_(min=0).cpu())
        return torch.cat(tiles, 1)

    def _take(self, views: Tensor) -> Tensor:
        index = torch.searchsorted(self.views, views)
        return self.rows.take(index) if isinstance(self.rows, Descriptors) else self.rows[index].float()


def describe_views(
    net: Model,
    dataset: ViewDataset,
    views: Int64[Tensor, " n"],
    *,
    device: torch.device | str,
    folder: Path,
    at_once: int = 16,
    num_workers: int = 0,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
    advance: Callable[[int], object] = lambda _: None,
) -> ViewDescriptors:
    """Describe views, unaugmented, by `forward` of a model in evaluation mode, without gradients.

    Args:
        net: gives `descriptor` of images alone.
        dataset: whose views are described.
        views: their numbers, ascending.
        device: where the model is.
        folder: an empty one, or one that is not there yet. Where descriptors would fill more than `MOST_BYTES`, they
            are written into it, and the caller removes them.
        at_once: images of one size that are described together.
        num_workers: processes that read images.
        context: gives what the model runs in, such as autocast.
        advance: is told how many more views are done.

    Raises:
        Vo3dError: an image cannot be read, or a descriptor has numbers that are NaN or infinite.
    """
    stored: Descriptors | None = None
    rows: list[Tensor] = []
    done = 0
    for samples in _batches(dataset, views, at_once, num_workers):
        with context():
            prediction = net(Sample.collate(samples).to(device))
        check_gives(net, prediction)
        found = prediction["descriptor"].flatten(0, 1).to("cpu", torch.float16)
        if bad := (~found.isfinite().all(1)).nonzero()[:1].flatten().tolist():
            raise Vo3dError(
                f"{type(net).__name__} gives a descriptor of view {int(views[done + bad[0]])} that is NaN or infinite: "
                "lower the learning rate, or look for bad values in the data"
            )
        if not done and 2 * len(views) * found.shape[1] > MOST_BYTES:
            stored = Descriptors(folder)
        rows.append(found)
        done += len(found)
        if stored is not None and (sum(map(len, rows)) >= BLOCK or done == len(views)):
            stored.append(torch.cat(rows))
            rows.clear()
        advance(len(found))
    return ViewDescriptors(views, torch.cat(rows) if stored is None else stored)


class _Views(Dataset[Sample]):
    """Single images of a dataset without its transforms."""

    def __init__(self, dataset: ViewDataset, views: Sequence[int]) -> None:
        self.dataset, self.views = dataset, views

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> Sample:
        recording, places = self.dataset.place(self.views[index])
        clip = recording.clip(places)
        return Sample(image=clip.image, scene=clip.scene, index=torch.tensor([self.views[index]]))


def _batches(dataset: ViewDataset, views: Tensor, at_once: int, num_workers: int) -> Iterator[list[Sample]]:
    """Read views in their order, as many at once as have one size."""
    generator = torch.Generator().manual_seed(0)  # else the loader would draw from that of the training
    group: list[Sample] = []
    for sample in DataLoader(
        _Views(dataset, views.tolist()), batch_size=None, num_workers=num_workers, generator=generator
    ):
        if group and (len(group) == at_once or group[0].image.shape != sample.image.shape):
            yield group
            group = []
        group.append(sample)
    if group:
        yield group

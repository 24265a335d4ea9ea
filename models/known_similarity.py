"""Known similarity: descriptors out of a matrix that another program wrote, so that its results are scored as ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.similarity import read_similarity
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample

DATABASE, QUERIES = "_database", "_queries"  # ends of the names of recordings


class KnownSimilarity(Model):
    """Describes images so that the order of distances is the order of given similarities; it looks at no pixel.

    Image j of n in the database is the unit vector e_j of n + 1 axes. Query i with the similarities s_ij is
    (a s_i1, ..., a s_in, c_i), where a = 1 / max_i |s_i| is one factor for all queries and c_i makes it of unit length.
    Its squared distance to image j is 2 - 2 a s_ij: the nearest image is the most similar one, and distances of
    different queries compare as their similarities do, so that precision and recall are those of the matrix as well.

    A database of n images takes 4 n (n + 1) bytes of descriptors: 100 MB of 5,000 images. It is made for benchmarks of
    some thousand images.

    Args:
        file: the matrix, a row for each query and a column for each image of the database, higher is more alike; see
            `vo3d.formats.similarity.read_similarity`.
        key: of the array in an .npz file; None: its only matrix.

    Raises:
        Vo3dError: the file holds no such matrix.
    """

    needs: ClassVar[tuple[str, ...]] = ("index",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)
    queries: Tensor  # q n+1, of unit length

    def __init__(self, file: Path, key: str | None = None) -> None:
        super().__init__()
        self.file = Path(file)
        similarity = read_similarity(self.file, key)
        norms = similarity.norm(dim=-1, keepdim=True)
        largest = norms.max().clamp(min=torch.finfo(torch.float64).tiny)
        rest = (1 - (norms / largest).square()).clamp(min=0).sqrt()
        self.register_buffer("queries", torch.cat((similarity / largest, rest), -1).float(), persistent=False)

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Raise Vo3dError for recordings of other lengths than the matrix has."""
        for recording in recordings:
            expected = self._count(recording.name)
            if len(recording) != expected:
                raise Vo3dError(f"{recording.name} has {len(recording)} images: {self._words()}")

    def forward(self, sample: Sample) -> Prediction:
        """Describe each view by its recording and its place there: `descriptor`, b s n+1."""
        if sample.index is None:
            raise Vo3dError("KnownSimilarity needs the places of views in their recordings: choose a dataset of places")
        scenes = [sample.scene] if isinstance(sample.scene, str) else sample.scene
        rows = [self._describe(scene, index) for scene, index in zip(scenes, sample.index, strict=True)]
        return {"descriptor": torch.stack(rows)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("KnownSimilarity has no parameters to train: evaluate it instead")

    def _describe(self, scene: str, index: Tensor) -> Tensor:
        count = self._count(scene)
        if int(index.max()) >= count:
            raise Vo3dError(f"{scene} has an image {int(index.max())}, counted from 0: {self._words()}")
        if scene.endswith(QUERIES):
            return self.queries[index]
        found = self.queries.new_zeros(len(index), self.queries.shape[1])
        return found.scatter(1, index[:, None].to(found.device), 1.0)

    def _count(self, scene: str) -> int:
        """Count the images that the matrix has of a recording."""
        for ending, count in ((QUERIES, len(self.queries)), (DATABASE, self.queries.shape[1] - 1)):
            if scene.endswith(ending):
                return count
        raise Vo3dError(f"{scene}: expected a recording whose name ends with {QUERIES} or {DATABASE}")

    def _words(self) -> str:
        queries, images = len(self.queries), self.queries.shape[1] - 1
        return (
            f"{self.file} is of {queries} queries (rows) and a database of {images} images: choose the matrix of this "
            "set, or turn it over"
        )

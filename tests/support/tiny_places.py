"""Small sets of places: images of one colour each, a model that tells colours, and a set that YAML files can name."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from vo3d.losses.ranking import mean_of_violations, ranking_loss
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet
from vo3d.sample import Sample


class Swatches(Recording):
    """Images that each are a point of light on a circle: those of near numbers look alike, and stand near each other.

    `angles` are degrees; positions lie on a circle of 10 m.
    """

    def __init__(self, name: str, angles: Sequence[float], *, placed: bool = True) -> None:
        self.name, self.placed = name, placed
        self.angles = torch.tensor(angles, dtype=torch.float64).deg2rad()

    def __len__(self) -> int:
        return len(self.angles)

    def clip(self, indices: Sequence[int]) -> Sample:
        """A bright spot of light, one image a view."""
        rows, columns = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
        angle = self.angles[list(indices)][:, None, None]
        far = (rows - 12 - 8 * angle.sin()).square() + (columns - 16 - 8 * angle.cos()).square()
        image = (-far / 40).exp().float()[:, None].repeat(1, 3, 1, 1)
        return Sample(image=image, scene=self.name, index=torch.tensor(list(indices)))

    def poses(self) -> None:
        """None is known."""

    def positions(self) -> Tensor | None:
        """On the circle."""
        flat = torch.stack((self.angles.cos(), self.angles.sin(), 0 * self.angles), -1)
        return 10 * flat if self.placed else None


def swatch_set(
    name: str, database: Sequence[float], queries: Sequence[float], matches: Matches, **more: Any
) -> RetrievalSet:
    """Make a set out of angles."""
    return RetrievalSet(
        name=name,
        database=Swatches(f"{name}_database", database),
        queries=Swatches(f"{name}_queries", queries),
        matches=matches,
        **more,
    )


class SwatchPlaces(RetrievalDataset):
    """A street of 24 images and 12 queries beside them, one of which stands where the database does not reach."""

    def __init__(self, metres: float = 1.5) -> None:
        angles = [10.0 * number for number in range(24)]
        queries = [*(20.0 * number + 4 for number in range(11)), 300.0]
        super().__init__([swatch_set("circle", angles, queries, Matches(metres=metres))])


class Told(Model):
    """Gives rows that were told it, by the name of a recording."""

    needs: ClassVar[tuple[str, ...]] = ("index",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)

    def __init__(self, rows: dict[str, Tensor]) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, sample: Sample) -> Prediction:
        """The row of each view."""
        assert sample.index is not None
        return {"descriptor": torch.stack([self.rows[sample.scene[0]][row] for row in sample.index])}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


class Projected(Model):
    """Describes an image by a projection of its thumbnail, and learns it by the ranking loss of one positive."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)

    def __init__(self, values: int = 2, margin: float = 0.1) -> None:
        super().__init__()
        self.layer = nn.Linear(16, values)
        self.margin = margin

    def forward(self, sample: Sample) -> Prediction:
        """Unit vectors."""
        thumbnail = adaptive_avg_pool2d(sample.image.mean(-3), 4)  # b s 4 4
        return {"descriptor": normalize(self.layer(thumbnail.flatten(-2)), dim=-1)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """As NetVLAD's."""
        query, positive, negatives = prediction["descriptor"].tensor_split((1, 2), dim=1)
        return {"ranking": mean_of_violations(ranking_loss(query[:, 0], positive, negatives, self.margin))}

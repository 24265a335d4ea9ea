"""What every method obeys: fields it needs, keys it gives, a forward pass, a loss, a stream."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, TypedDict

from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.sample import Sample


class Prediction(TypedDict, total=False):
    """What methods may give; metrics follow these keys, not the method's name. Units as in `Sample`."""

    prev_T_cam: Tensor  # *b s-1 4 4: pose of each view in the frame of the one before
    world_T_cam: Tensor  # *b s 4 4
    depth: Tensor  # *b s h w; multi-view stereo: s = 1, the reference, at every `stride`-th pixel
    confidence: Tensor  # *b s h w, in [0, 1]
    initial_depth: Tensor  # *b s h w, before the refinement
    log_probability: Tensor  # *b d h w, of each depth hypothesis
    descriptor: Tensor  # *b s c, of unit length
    occupancy: Tensor  # *b d d d, probability
    flow: Tensor  # *b s-1 2 h w, pixels
    mask: Tensor  # *b s k h w, membership of k moving objects
    log_variance: Tensor  # *b s k


class Model(nn.Module, ABC):
    """A method whose constructor is its configuration.

    `needs` names the `Sample` fields that `forward` reads, `loss_needs` those that `loss` reads beside them, `gives`
    the `Prediction` keys that it returns.

    What only some methods have is found by its name: `fit(recordings)`, which learns from training recordings without
    gradients, before an evaluation; `scale_source`, words that say where metres come from; `failures`, the number of
    steps that could not be told so far; `published`, the checkpoints of others that `vo3d.formats.weights` can load;
    `stride`, where dense maps are smaller than the image: their pixel (x, y) is the image's (stride x, stride y);
    `min_confidence`, the confidence from which on a depth is worth keeping; `num_depths`, the depth hypotheses of a
    plane sweep, which may be set from outside, and `inverse`, whether they are evenly spaced in 1 / depth
    (`inverse_stream`, where `stream` does otherwise than `forward`).
    """

    needs: ClassVar[tuple[str, ...]]
    loss_needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]]

    @abstractmethod
    def forward(self, sample: Sample) -> Prediction:
        """Predict from a batch of clips (`*b` is one axis)."""

    @abstractmethod
    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Scalar terms, already weighted; the objective is their sum."""

    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Predict along one recording, clip after clip; methods with memory carry their state from clip to clip.

        This is the path of inference: it may leave out keys that only the loss reads.
        """
        yield from map(self, samples)


def check_needs(model: Model, sample: Sample, source: str, *, learning: bool = False) -> None:
    """Raise Vo3dError unless `sample`, which `source` made, has what `model` needs (to learn, if `learning`).

    Called once at the start, so that a wrong pairing of model and dataset is told before any work is done.
    """
    needs = (*model.needs, *model.loss_needs) if learning else model.needs
    missing = [name for name in needs if name not in sample.given()]
    if missing:
        raise Vo3dError(
            f"{type(model).__name__} needs {', '.join(missing)}; {source} gives {', '.join(sample.given())}: "
            "turn the field on in the dataset's arguments, or choose another dataset"
        )


def reference_and_sources(model: Model, sample: Sample) -> tuple[Tensor, Tensor]:
    """`world_T_cam` (b s 4 4) of a sample for multi-view stereo, and near and far of its reference (b 2).

    Raises Vo3dError where the sample has no poses, no depth range, or one view alone.
    """
    if sample.world_T_cam is None or sample.depth_range is None:
        raise Vo3dError(
            f"{type(model).__name__} needs world_T_cam and depth_range: choose a dataset of posed views that has both"
        )
    if sample.image.shape[1] < 2:
        raise Vo3dError(f"one view: {type(model).__name__} needs at least 2, a reference and a source: raise num_views")
    return sample.world_T_cam, sample.depth_range[:, 0]


def check_gives(model: Model, prediction: Prediction) -> None:
    """Raise TypeError unless the keys of `prediction` are those that `model` declares: a defect of the model."""
    if set(prediction) != set(model.gives):
        raise TypeError(f"{type(model).__name__} declares {sorted(model.gives)} but returned {sorted(prediction)}")

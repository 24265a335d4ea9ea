"""The contract of methods: fields needed, keys given, windows wanted, a forward pass, a loss, a stream."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.recording import Recording
from vo3d.sample import Sample


class Prediction(TypedDict, total=False):
    """The keys that methods may give; metrics follow these keys, not the method's name. Units as in `Sample`."""

    prev_T_cam: Tensor  # *b s-1 4 4: pose of each view in the frame of the one before
    tracked: Tensor  # *b s-1, bool: whether the images told the step; one that they did not is a guess
    world_T_cam: Tensor  # *b s 4 4, in the scene's world, never merely relative to a window
    depth: Tensor  # *b s h w, 0 = none; of a reference and its sources: s = 1, the reference
    confidence: Tensor  # *b s h w, in [0, 1]
    log_probability: Tensor  # *b d h w, of each depth hypothesis
    flow: Tensor  # *b s-1 2 h w, pixels
    mask: Tensor  # *b s-1 k h w, membership in [0, 1] of k moving objects, in the earlier view
    object_motion: Tensor  # *b s-1 k 4 4, rigid motion of each mask to the next view, in the earlier camera's axes
    descriptor: Tensor  # *b s c, of unit length
    log_variance: Tensor  # *b s 6, of metres x 3 and radians x 3
    occupancy: Tensor  # *b d d d, probability, axes x y z of the grid
    label: Tensor  # *b s c h w, log-probability of each class
    aux: dict[str, Tensor]  # what only the loss reads; nothing scores it, and `gives` does not name it


@dataclass(frozen=True, kw_only=True)
class Frames:
    """One window: frames of a recording in the order that a model sees them, and the places among them that count."""

    views: Sequence[int]
    counted: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Window:
    """The views of a recording that a model wants at once: their number, their overlap, and which of them count.

    Every view of a recording counts in one window alone. Images alone are `Window(views=1, overlap=0)`, pairs
    `Window(views=2)`, clips of which the middle counts have a `margin`, or of any length a `share`; the default is
    clips of any length.

    Args:
        views: in a window; None: as many as the caller likes.
        overlap: views that a window shares with the one before it.
        margin: views at either end of a window that do not count, but for the ends of the recording.
        share: the margin as a part of a window of any length, less than a half; windows then overlap by both margins.
        usual: views of a window of any length where the caller names no number.
        reference: a window is a reference and its sources, of which the reference counts: views of a `MultiViewScene`
            in no order, and not of a recording in time order.

    Raises:
        ValueError: windows do not advance, or views between them would not count: an error of the model.
    """

    views: int | None = None
    overlap: int = 1
    margin: int = 0
    share: float = 0.0
    usual: int = 16
    reference: bool = False

    def __post_init__(self) -> None:
        if self.views is not None and not 0 <= self.overlap < self.views:
            raise ValueError(f"windows of {self.views} views that overlap by {self.overlap} do not advance")
        if self.overlap < 2 * self.margin:
            raise ValueError(f"a margin of {self.margin} views on either side needs an overlap of {2 * self.margin}")
        if not 0 <= self.share < 0.5 or (self.share and self.views is not None):
            raise ValueError(f"a share of {self.share} on either side, views {self.views}: expected less than a half")

    def length(self, asked: int | None = None) -> int:
        """Count the views of a window where the caller asks for so many, or for none in particular."""
        return self.views or (self.usual if asked is None else asked)

    def cut(self, num_frames: int, length: int | None = None) -> list[Frames]:
        """Cut a recording into windows in time order; of a model that takes any number of views, `length` in each.

        The last window is shorter where the number of views is free, and begins earlier where it is not.
        Raises Vo3dError where the recording, or `length`, is too short.
        """
        views = self.length(length)
        margin = int(self.share * views) if self.share else self.margin
        overlap = 2 * margin if self.share else self.overlap
        if views <= overlap:
            raise Vo3dError(f"clip_length {views}: expected at least {overlap + 1} frames")
        if num_frames < (self.views or 1):
            raise Vo3dError(f"{num_frames} frames: the model wants {self.views or 1} at once: give a longer recording")
        found: list[Frames] = []
        done = start = 0
        while done < num_frames:
            stop = min(start + views, num_frames)
            first = start if self.views is None else stop - views
            end = num_frames if stop == num_frames else stop - margin
            found.append(Frames(views=range(first, stop), counted=range(done - first, end - first)))
            done, start = end, start + views - overlap
        return found


class Model(nn.Module, ABC):
    """A method whose constructor is its configuration.

    Class variables say what it is:

    - `needs`: the `Sample` fields that `forward` reads; `loss_needs`: those that `loss` reads beside them;
    - `gives`: the `Prediction` keys that it returns, without `aux`;
    - `window`: how it wants to see a recording, see `Window`;
    - `refuses`: words for what breaks its meaning, such as "mirror" for an absolute pose (`Transform.breaks`);
    - `needs_progress`: whether it cannot be trained without a known end, by which `progress` is counted;
    - `fixed`: arguments, kept as attributes of the same names, that weights depend on although no shape shows them;
    - `published`: the checkpoints of others that `vo3d.formats.weights` can load into it;
    - `baseline`: the short name of a method that others are measured against, for `--baselines`;
    - `scale_source`: words that say where its metres come from;
    - `metric`: whether its lengths are metres; else they are in a unit that it chose.

    A model that gives `log_variance` may carry a buffer `variance_scale`, the factors on its variances of metres and of
    radians, 1 when fresh: `forward` and `predict` multiply (`vo3d.layers.uncertainty`), the loss never reads it. At the
    end of a training it is fitted so that 68.3 % of the errors of the validation recordings are within one deviation.
    """

    needs: ClassVar[tuple[str, ...]]
    loss_needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]]
    window: Window = Window()
    refuses: ClassVar[tuple[str, ...]] = ()
    needs_progress: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[Mapping[str, Any]] = {}
    baseline: ClassVar[str] = ""
    scale_source: str = "network (learned)"
    metric: bool = True

    progress: float = 0.0
    """Share of the training that is done, set by the learner; 0 where the end of the training is not known.

    What inference needs of it is a buffer of the model, saved with its weights.
    """

    @abstractmethod
    def forward(self, sample: Sample) -> Prediction:
        """Predict from a batch of clips (`*b` is one axis), for training."""

    @abstractmethod
    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute scalar terms, already weighted; the objective is their sum."""

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """Predict from one window, for inference: `forward` without gradients, unless a method knows a cheaper way."""
        prediction: Prediction = self(sample)
        return prediction

    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Predict window after window of one recording; methods with memory carry their state from one to the next."""
        yield from map(self.predict, samples)

    def check(self, recordings: Sequence[Recording]) -> None:
        """Refuse training recordings that nothing right can be learnt from, by Vo3dError.

        Called at the start of every training, resumed ones as well; it may read a few views.
        """

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Learn from training recordings what is learnt without gradients.

        Called at the start of a fresh training (not of a resumed one, nor after `init_weights`), and before the
        evaluation of a method that has no weights. Raises Vo3dError where the recordings lack what it needs.
        """

    def finish(self, recordings: Sequence[Recording]) -> None:
        """Do the same after training; training may go on from here, so it changes nothing that `forward` reads."""


class DepthModel(Model):
    """A method that gives `depth`, and says what that depth is.

    - `stride`: pixel (x, y) of its maps is the image's pixel (stride x, stride y);
    - `min_confidence`: the confidence from which on a depth is worth keeping; None without confidence;
    - `num_depths`: the number of its depth hypotheses; None where it has none;
    - `inverse`: whether the hypotheses of inference are evenly spaced in 1 / depth;
    - `free_num_depths`: whether `num_depths` may be set from outside.
    """

    stride: int = 1
    min_confidence: float | None = None
    num_depths: int | None = None
    inverse: bool = False
    free_num_depths: ClassVar[bool] = False

    def spacing(self, depth_range: tuple[float, float]) -> float | None:
        """Compute the distance of two hypotheses from near to far, in depth or 1 / depth; None without hypotheses."""
        if self.num_depths is None or self.num_depths < 2:
            return None
        near, far = depth_range
        return (1 / near - 1 / far if self.inverse else far - near) / (self.num_depths - 1)


def depth_model(model: Model) -> DepthModel:
    """Return the model as one of depth; raises Vo3dError unless it is one."""
    name = type(model).__name__
    if "depth" not in model.gives:
        raise Vo3dError(f"{name} gives {', '.join(model.gives)}: expected a model of depth")
    if not isinstance(model, DepthModel):
        raise Vo3dError(f"{name} gives depth and does not say at which pixels: derive it from vo3d.model.DepthModel")
    return model


def has_own(model: Model, method: str) -> bool:
    """Tell if a model has a `method` of its own, such as check, fit or finish, in place of that of `Model`."""
    return getattr(model, method) != getattr(Model, method).__get__(model)  # type: ignore[no-any-return]


def check_needs(model: Model, sample: Sample, source: str, *, learning: bool = False) -> None:
    """Raise Vo3dError unless `sample`, which `source` made, has what `model` needs (to learn, if `learning`).

    Called once at the start, so that a wrong pairing of model and dataset is told before any work is done.
    """
    needs = (*model.needs, *model.loss_needs) if learning else model.needs
    if missing := [name for name in needs if name not in sample.given()]:
        raise Vo3dError(
            f"{type(model).__name__} needs {', '.join(missing)}; {source} gives {', '.join(sample.given())}: "
            "turn the field on in the dataset's arguments, or choose another dataset"
        )


def check_size(model: Model, image: Float[Tensor, "*b 3 h w"], size: tuple[int, int]) -> None:
    """Raise Vo3dError unless images have the rows and columns that `model` was built for."""
    if tuple(image.shape[-2:]) != tuple(size):
        raise Vo3dError(
            f"{type(model).__name__} was built for frames of {size[0]} rows and {size[1]} columns but got "
            f"{image.shape[-2]} and {image.shape[-1]}: give the dataset the model's size, or the model (untrained) the "
            "dataset's"
        )


def check_continues(sample: Sample, last: Int[Tensor, "*b"] | None) -> Int[Tensor, "*b"] | None:
    """Give the index of the last view of a clip, which the next one of a stream must begin with; None where none tells.

    Raises Vo3dError unless the clip begins with `last`, that of the clip before it.
    """
    if sample.index is None:
        return None
    first = sample.index[..., 0]
    if last is not None and not torch.equal(last, first):
        raise Vo3dError(
            f"a stream must go on where it ended, but after frame {last.tolist()} came {first.tolist()}: make clips "
            "that overlap by one frame"
        )
    return sample.index[..., -1]


def check_gives(model: Model, prediction: Prediction) -> None:
    """Raise TypeError unless the keys of `prediction` are those that `model` declares: a defect of the model."""
    if set(prediction) - {"aux"} != set(model.gives):
        raise TypeError(f"{type(model).__name__} declares {sorted(model.gives)} but returned {sorted(prediction)}")


def posed_views(
    model: Model, sample: Sample
) -> tuple[Float[Tensor, "b s 3 3"], Float64[Tensor, "b s 4 4"], Float[Tensor, "b 2"]]:
    """Return `K` and `world_T_cam` of all views, and near and far of the first, which a sweep over its depths needs.

    Raises Vo3dError where the sample lacks one of them, or has one view alone.
    """
    if sample.K is None or sample.world_T_cam is None or sample.depth_range is None:
        raise Vo3dError(f"{type(model).__name__} needs K, world_T_cam and depth_range: choose a dataset of posed views")
    if sample.image.shape[1] < 2:
        raise Vo3dError(f"one view: {type(model).__name__} needs at least 2, a reference and a source: raise num_views")
    return sample.K, sample.world_T_cam, sample.depth_range[:, 0]

"""Dense flow: OpenCV's inverse search, the optical flow without learning."""

from typing import ClassVar

from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.optical_flow import Preset, check_preset, dense_flow
from vo3d.model import Model, Prediction
from vo3d.sample import Sample


class DenseFlow(Model):
    """Finds the flow of grey images by OpenCV's `DISOpticalFlow`: patches by inverse search, refined together.

    Every pixel gets a flow, also those that the next view does not show: there it is a guess.

    Args:
        preset: "ultrafast", "fast" or "medium": the slower, the finer.

    Raises:
        Vo3dError: the preset is none.

    See `vo3d.geometry.optical_flow.dense_flow`.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("flow",)
    baseline = "dense_flow"

    def __init__(self, preset: Preset = "medium") -> None:
        super().__init__()
        check_preset(preset)
        self.preset: Preset = preset

    def forward(self, sample: Sample) -> Prediction:
        """Give the flow from each view to the next, b s-1 2 h w, pixels; of one view, no flow (s-1 = 0).

        Raises Vo3dError for images that are too small for the preset.
        """
        return {"flow": dense_flow(sample.image, self.preset)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("DenseFlow has no parameters to train: evaluate it instead")

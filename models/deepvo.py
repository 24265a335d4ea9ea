"""DeepVO: visual odometry by a recurrent convolutional network.

Wang, Clark, Wen, Trigoni, "DeepVO: Towards End-to-End Visual Odometry with Deep Recurrent Convolutional Neural
Networks", ICRA 2017.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.geometry import se3
from vo3d.geometry.camera import scale_intrinsics
from vo3d.layers.downsampling import Pool
from vo3d.layers.flownet import FlowNetSEncoder
from vo3d.layers.pose import pose_from_vector, vector_from_pose
from vo3d.losses import squared_euler_error, squared_translation_error
from vo3d.model import Model, Prediction, check_continues, check_size
from vo3d.sample import Sample

_TRUNK_KEYS = {
    r"(conv\d(?:_1)?)\.0\.(weight|bias)": r"encoder.\1.conv.\2",
    r"(conv\d(?:_1)?)\.1\.(weight|bias|running_mean|running_var|num_batches_tracked)": r"encoder.\1.norm.\2",
}
_UNPUBLISHED_KEYS = (
    "image_mean",
    "image_std",
    "step_mean",
    "step_std",
    r"encoder\..*\.num_batches_tracked",
    r"encoder\..*\.pool\.beta",
)

FLOWNETS = KeyMap(
    source="FlowNetS (ClementPinard/FlowNetPytorch)",
    signature=("conv1.0.weight", "predict_flow6.weight"),
    rename=_TRUNK_KEYS,
    drop=(r"conv6_1\..*", r"deconv\d\..*", r"predict_flow\d\..*", r"upsampled_flow\d_to_\d\..*"),
    keep=(*_UNPUBLISHED_KEYS, r"rnn\..*", r"head\..*"),
    settings=lambda _: {"leaky_slope": 0.1, "pool": "stride"},
    needs="width 1, leaky_slope 0.1, and batch_norm true for the files named flownets_bn, false for the others; they "
    "were learnt with image_mean (0.45, 0.432, 0.411), image_std 1, conv6_activation true and pool stride",
)


def _translation_first(rows: Tensor) -> Tensor:
    """From the order (yaw, pitch, roll, x, y, z) to ours."""
    return rows.roll(3, dims=0)


def _as_trained(ours: Mapping[str, Tensor]) -> dict[str, object]:
    """Give what the port's weights need and no shape shows; frames of many sizes have the features of 608 x 184."""
    squashed = ours.get("rnn.weight_ih_l0", torch.empty(0, 0)).shape[1] == 1024 * 10 * 3
    settings = {"leaky_slope": 0.1, "conv6_activation": True, "grid": None, "pool": "stride"}
    return {**settings, **({"size": (608, 184)} if squashed else {})}


# Its frames are 608 rows and 184 columns: the port hands (width, height) to a resize that expects (height, width), and
# the weights know only such squashed frames. It subtracts 0.5 and then the means in its params.py, hence the numbers
# below; its outputs are metres and radians. Its steps are in the axes of the first frame of a window, not of the frame
# before, so that its motions are not quite those of a network trained here.
CHIWEIHSIAO = KeyMap(
    source="DeepVO (ChiWeiHsiao/DeepVO-pytorch)",
    signature=("conv1.0.weight", "rnn.weight_ih_l0", "linear.weight"),
    rename={**_TRUNK_KEYS, r"(rnn\..*)": r"\1", r"linear\.(weight|bias)": r"head.\1"},
    keep=_UNPUBLISHED_KEYS,
    convert={"head.weight": _translation_first, "head.bias": _translation_first},
    values={
        "image_mean": (0.690078, 0.651704, 0.606594),
        "image_std": (0.261078, 0.257293, 0.251638),
        "step_mean": (0.0,) * 6,
        "step_std": (1.0,) * 6,
    },
    settings=_as_trained,
    needs="size (608, 184), width 1, hidden 1000, num_layers 2, grid null, batch_norm true, leaky_slope 0.1, "
    "conv6_activation true, pool stride",
)

State = tuple[Tensor, Tensor]  # hidden and cell state of the LSTM, each num_layers b hidden


class DeepVO(Model):
    """Metric camera motion from the frames of one camera: convolutions on pairs of frames, then a recurrent network.

    The defaults are the paper's network at its resolution (518 million parameters, 2 GB). Convention: the six outputs
    are those of `vo3d.layers.pose`.

    Args:
        size: rows and columns of the frames; fixed, because the first recurrent matrix depends on it.
        width: multiplier of the convolutions' channels.
        batch_norm: batch normalisation after each convolution (the paper has none, published FlowNetS weights may).
        leaky_slope: slope of the rectifiers below zero: 0 in the paper, 0.1 in FlowNetS.
        conv6_activation: rectify the last convolution too, as some ports do; the paper does not.
        grid: average the last features over this many rows and columns before the recurrent part, for a smaller
            first matrix; None keeps every feature, as the paper does.
        hidden: size of the recurrent state.
        num_layers: recurrent layers, one on the other.
        conv_dropout: probability of dropping a value after conv1 to conv5_1 (the paper gives no rates).
        conv6_dropout: the same after conv6.
        rnn_dropout: the same after the last recurrent layer.
        kappa: weight of the squared angles beside the squared metres.
        image_mean: RGB mean of the training frames, in [0, 1], that is subtracted; kept with the weights.
        image_std: RGB deviation that the difference is divided by; the paper does not divide.
        step_mean: mean motion (x, y, z, yaw, pitch, roll), metres and radians, that the output is added to, and
        step_std: deviation that it is multiplied by, so that a network trained from nothing starts with plausible
            motions; kept with the weights. The defaults leave the output as it is.
        carry_state: whether `stream` keeps its memory from clip to clip, or begins every clip afresh.
        focal: the focal length, as a share of the columns, of the camera that the network sees through: frames of any
            size are brought to it by their K and to `size`, with grey where their camera does not look. KITTI's
            cameras have 0.58. None, as in the paper: frames of `size` of one camera, that of the training.
        pool: what halves the maps of the encoder: the stride of its convolutions, as in the paper, or a way of
            pooling, such as "ada", after convolutions of stride 1, which cost four times as much; see
            `vo3d.layers.flownet`.

    Raises:
        Vo3dError: an argument is out of its range.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    loss_needs = ("world_T_cam",)
    gives = ("prev_T_cam",)
    fixed = ("leaky_slope", "conv6_activation", "grid", "pool", "focal")
    published: ClassVar[Mapping[str, KeyMap]] = {"flownets": FLOWNETS, "chiweihsiao": CHIWEIHSIAO}

    image_mean: Tensor  # 3 1 1
    image_std: Tensor  # 3 1 1
    step_mean: Tensor  # 6
    step_std: Tensor  # 6

    def __init__(
        self,
        size: tuple[int, int] = (384, 1280),
        width: float = 1.0,
        batch_norm: bool = False,
        leaky_slope: float = 0.0,
        conv6_activation: bool = False,
        grid: tuple[int, int] | None = None,
        hidden: int = 1000,
        num_layers: int = 2,
        conv_dropout: float = 0.0,
        conv6_dropout: float = 0.0,
        rnn_dropout: float = 0.0,
        kappa: float = 100.0,
        image_mean: tuple[float, float, float] = (0.45, 0.432, 0.411),
        image_std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        step_mean: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        step_std: tuple[float, float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        carry_state: bool = True,
        focal: float | None = None,
        pool: Pool = "stride",
    ) -> None:
        super().__init__()
        if min(*size, hidden, num_layers) < 1:
            raise Vo3dError(f"size {size}, hidden {hidden} and num_layers {num_layers} must all be at least 1")
        if min(*image_std, *step_std) <= 0 or kappa < 0:
            raise Vo3dError(
                f"image_std {image_std} and step_std {step_std} must be positive, kappa {kappa} not negative"
            )
        if focal is not None and focal <= 0:
            raise Vo3dError(f"focal {focal} must be positive, a share of the columns")
        self.input_size = (size[0], size[1])
        self.size = self.input_size if focal is None else None  # of the frames that are asked for
        self.focal = focal
        if focal is not None:
            self.needs = ("image", "K")  # type: ignore[misc]
        self.leaky_slope, self.conv6_activation, self.pool = leaky_slope, conv6_activation, pool
        self.grid = None if grid is None else tuple(grid)
        self.kappa = kappa
        self.carry_state = carry_state
        self.register_buffer("image_mean", torch.tensor(image_mean).reshape(3, 1, 1))
        self.register_buffer("image_std", torch.tensor(image_std).reshape(3, 1, 1))
        self.register_buffer("step_mean", torch.tensor(step_mean))
        self.register_buffer("step_std", torch.tensor(step_std))
        self.encoder = FlowNetSEncoder(
            6,
            width,
            batch_norm,
            leaky_slope,
            conv6_activation,
            dropout=conv_dropout,
            conv6_dropout=conv6_dropout,
            pool=pool,
        )
        self.to_grid = nn.Identity() if grid is None else nn.AdaptiveAvgPool2d(tuple(grid))
        rows, columns = self.encoder.out_size(*size) if grid is None else grid
        self.rnn = nn.LSTM(self.encoder.out_channels * rows * columns, hidden, num_layers, batch_first=True)
        self.rnn_dropout = nn.Dropout(rnn_dropout)
        self.head = nn.Linear(hidden, 6)
        self.reset_parameters()

    def forward(self, sample: Sample) -> Prediction:
        """`prev_T_cam` (b s-1 4 4) of each clip, from a memory that is empty at its first frame.

        Raises:
            Vo3dError: the frames are not of the model's size, or a clip has fewer than two.
        """
        return self.advance(sample, None)[0]

    def advance(self, sample: Sample, state: State | None) -> tuple[Prediction, State]:
        """Predict on from `state` (None: an empty memory); also gives the state after the last frame."""
        features = self.encode(self.through_own_camera(sample))  # b s-1 channels*rows*columns
        memory, state = self.rnn(features, state)  # b s-1 hidden
        vector = self.step_mean + self.step_std * self.head(self.rnn_dropout(memory))  # b s-1 6
        return {"prev_T_cam": pose_from_vector(vector)}, state

    def through_own_camera(self, sample: Sample) -> Float[Tensor, "b s 3 h w"]:
        """Resize frames to the focal length that the network knows, and cut or fill them around the principal point.

        The point comes to lie within half a pixel of the middle. Without `focal`, frames stay as they are.

        Raises:
            Vo3dError: the sample has no K.
        """
        if self.focal is None:
            return sample.image
        if sample.K is None:
            raise Vo3dError(
                "this DeepVO sees through a camera of its own, so that it needs K: give the dataset intrinsics"
            )
        own = self.focal * self.input_size[1]
        return torch.stack([self._through(own, *clip) for clip in zip(sample.image, sample.K[:, 0], strict=True)])

    def _through(
        self, own: float, image: Float[Tensor, "s 3 h w"], K: Float[Tensor, "3 3"]
    ) -> Float[Tensor, "s 3 i j"]:
        """Bring the frames of one clip, which share K, to a focal length of `own` pixels."""
        (rows, columns), (h, w) = self.input_size, image.shape[-2:]
        size = max(1, round(h * own / float(K[1, 1]))), max(1, round(w * own / float(K[0, 0])))
        image = nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True)
        K = scale_intrinsics(K, size[1] / w, size[0] / h)
        left, top = round((columns - 1) / 2 - float(K[0, 2])), round((rows - 1) / 2 - float(K[1, 2]))
        edges = (left, columns - size[1] - left, top, rows - size[0] - top)  # negative ones cut
        return nn.functional.pad(image - self.image_mean, edges) + self.image_mean

    def encode(self, image: Float[Tensor, "b s 3 h w"]) -> Float[Tensor, "b pairs features"]:
        """Flattened features of each pair of successive frames, the earlier frame in the first three channels."""
        b, s = image.shape[:2]
        check_size(self, image, self.input_size)
        if s < 2:
            raise Vo3dError(f"a motion lies between two frames but the clip has {s}: set clip_length to 2 or more")
        image = (image - self.image_mean) / self.image_std
        pairs = torch.cat((image[:, :-1], image[:, 1:]), dim=2).flatten(0, 1)  # b*(s-1) 6 h w
        features: Tensor = self.to_grid(self.encoder(pairs))  # b*(s-1) channels rows columns
        return features.reshape(b, s - 1, -1)

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Squared errors of translation and angles, summed over the time steps and averaged over the clips.

        mean_i sum_k ||p'_k - p_k||^2 (`translation`, m^2) and kappa mean_i sum_k ||phi'_k - phi_k||^2 (`rotation`):
        equation 5 of the paper, on motions between successive frames.

        Raises:
            Vo3dError: the sample has no poses to compare with.
        """
        if sample.world_T_cam is None:
            raise Vo3dError(
                "DeepVO learns from world_T_cam, which the dataset does not give: choose one with true poses, or only "
                "predict"
            )
        estimate = vector_from_pose(prediction["prev_T_cam"])  # b s-1 6
        target = vector_from_pose(se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:])).to(estimate)
        translation = squared_translation_error(estimate[..., :3], target[..., :3])  # b s-1
        rotation = squared_euler_error(estimate[..., 3:], target[..., 3:])
        return {
            "translation": translation.sum(dim=-1).mean(),
            "rotation": self.kappa * rotation.sum(dim=-1).mean(),
        }

    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Predict along one recording in clips of any length, each beginning with the last frame of the one before.

        In evaluation mode this equals one forward pass over the whole recording (unless `carry_state` is off).
        The state that is carried is cut from the graph: gradients end at the border of a clip.

        Raises:
            Vo3dError: a clip does not begin where the one before it ended.
        """
        state: State | None = None
        last: Tensor | None = None  # frame of the clip before, where its index tells
        for sample in samples:
            last = check_continues(sample, last)
            prediction, (hidden, cell) = self.advance(sample, state)
            if self.carry_state:
                state = hidden.detach(), cell.detach()
            yield prediction

    def reset_parameters(self) -> None:
        """Draw new weights: He et al. (2015) in the convolutions, deviation 1 / sqrt(inputs) elsewhere.

        The forget gates begin open (bias 1), so that the memory lasts from the first step on.
        """
        self.encoder.reset_parameters()
        for name, parameter in (*self.rnn.named_parameters(), *self.head.named_parameters()):
            if "weight" in name:
                nn.init.kaiming_normal_(parameter, nonlinearity="linear")
            else:
                nn.init.zeros_(parameter)
        hidden = self.rnn.hidden_size
        with torch.no_grad():
            for layer in range(self.rnn.num_layers):
                # gates are stacked input, forget, cell, output; of the two equal biases one is enough
                self.rnn.get_parameter(f"bias_hh_l{layer}")[hidden : 2 * hidden] = 1.0

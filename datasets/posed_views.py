"""Images in files, each with its pose, in an order: what methods that see one image at a time learn a place from."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, camera_notes, check_centre, pinhole, undo_lens
from vo3d.datasets.photographs import Window, check_shape, unique_names
from vo3d.datasets.resize import Size, resize_image, wanted_size
from vo3d.datasets.views import check_indices
from vo3d.errors import Vo3dError
from vo3d.formats.images import image_size, orientation_notes, read_image
from vo3d.recording import Recording
from vo3d.sample import Sample


class PosedViews(Recording):
    """Views with `image`, `world_T_cam`, `index`, and `K` where their cameras are known.

    Images are read as they are stored, whatever way up EXIF says, and without the distortion of their lens where that
    is known.

    Args:
        name: of the recording.
        images: its files.
        world_T_cam: of each image.
        cameras: of each image, at its size; None: not known.
        numbers: of each image in its source; None: 0 and on.
        size: height and width of the images: resized, without a change of their shape, to cover it, and what is left
            over cut off evenly at two borders.
        short_side: instead of `size`, pixels of the shorter side; the shape stays, but for the rounding of the longer.
        metric: whether poses are in metres.
        notes: what is to be said of it, a line each; those of images and cameras come behind them.

    Raises:
        Vo3dError: an image is missing or damaged, images have unequal sizes at the end, a camera is not for its image.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Path],
        world_T_cam: Float64[Tensor, "n 4 4"],
        cameras: Sequence[StoredCamera] | None,
        *,
        numbers: Sequence[int] | None = None,
        size: Size | None = None,
        short_side: int | None = None,
        metric: bool = True,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.metric = name, metric
        self.files, self._poses, self._cameras = list(images), world_T_cam, cameras
        self.names = unique_names(self.files)
        self._numbers = range(len(self.files)) if numbers is None else numbers
        self.first_frame = self._numbers[0]
        sizes = [image_size(path) for path in self.files] if cameras is None else [camera.size for camera in cameras]
        self._windows = [Window.of(stored, wanted_size(stored, size, short_side), None) for stored in sizes]
        self._check_sizes()
        self.notes = [*notes, *orientation_notes(self.files)]
        self._K = None
        if cameras is not None:
            for path, camera in zip(self.files, cameras, strict=True):
                check_centre(camera.K, camera.size, path)
            K = [window.intrinsics(pinhole(camera)) for window, camera in zip(self._windows, cameras, strict=True)]
            self._K = torch.stack(K).float()
            seen = [(path.name, camera.K, camera.size) for path, camera in zip(self.files, cameras, strict=True)]
            self.notes = [*self.notes, *camera_notes(seen)]

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames as in their source."""
        return self._numbers

    def __len__(self) -> int:
        """Count the views."""
        return len(self.files)

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Return `world_T_cam` of every view."""
        return self._poses

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when one is missing, damaged, or of another size."""
        check_indices(indices, self, "view")
        return Sample(
            image=torch.stack([self._image(index) for index in indices]),
            K=None if self._K is None else self._K[list(indices)],
            world_T_cam=self._poses[list(indices)],
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    def _image(self, index: int) -> Float32[Tensor, "3 h w"]:
        path, window = self.files[index], self._windows[index]
        image = read_image(path)
        check_shape(path, image, window.stored, "it was")
        if self._cameras is not None:
            image = undo_lens(self._cameras[index], image)
        return window.cut(resize_image(image, window.resized))

    def _check_sizes(self) -> None:
        """Raise Vo3dError for the first view whose size is another than that of the first one."""
        first = self._windows[0].size
        for path, window in zip(self.files, self._windows, strict=True):
            if window.size != first:
                (height, width), (first_height, first_width) = window.size, first
                raise Vo3dError(
                    f"{path}: is {width}x{height} pixels and {self.files[0].name} is {first_width}x{first_height}: "
                    "images of one recording need one size: give size=(height, width) to resize and cut all"
                )

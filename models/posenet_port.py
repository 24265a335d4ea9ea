"""Published checkpoints of PoseNet and where their keys belong (filled below)."""

from collections.abc import Mapping

from vo3d.formats.weights import KeyMap

PUBLISHED: Mapping[str, KeyMap] = {}

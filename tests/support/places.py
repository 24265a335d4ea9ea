"""Where things lie: the checkout, its tools, the real excerpts beside it, and the configuration of the tiny model."""

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent  # on the path of modules, for processes that a test starts
ROOT = SUPPORT.parents[1]
TOOLS = ROOT / "tools"
SHARED_DATA = ROOT.parent / "shared" / "data"
TINY = SUPPORT / "tiny.yaml"
PREVIOUS = SUPPORT / "previous"  # what the version before wrote

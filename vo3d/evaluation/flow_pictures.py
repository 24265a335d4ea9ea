"""Pictures of optical flow and of masks in reports."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vo3d.recording import Recording
from vo3d.report.html import Section
from vo3d.report.scored import Scored


def flow_sections(
    models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
) -> Iterator[Section]:
    """Yield nothing: flow is scored, and not drawn."""
    yield from ()


def mask_sections(
    models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
) -> Iterator[Section]:
    """Yield nothing: masks are scored, and not drawn."""
    yield from ()

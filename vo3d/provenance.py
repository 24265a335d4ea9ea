"""Where a number came from: versions of everything that made it, the machine, the command."""

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "vo3d", "torch", "kornia", "lightning", "jsonargparse", "numpy", "scipy", "opencv-python", "opencv-python-headless",
    "evo", "open3d",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The version of Python and of each package that numbers depend on; packages that are absent are left out.

    Reads the installed metadata only: nothing is imported.
    """
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance() -> dict[str, object]:
    """Versions, platform, number of CPUs, the command and the date (UTC, ISO 8601)."""
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }

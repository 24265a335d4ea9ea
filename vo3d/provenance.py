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
    """Look up the version of Python and of each package that numbers depend on; packages that are absent are left out.

    Reads the installed metadata only: nothing is imported.
    """
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def accelerator() -> dict[str, str]:
    """Tell the CUDA that torch was built with, its cuDNN, the names of the GPUs; "none" where there is none."""
    import torch  # noqa: PLC0415 (versions alone must not wait for it)

    cudnn: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    names: list[str] = []
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        name_of = getattr(torch.get_device_module(device), "get_device_name", lambda index: str(device))
        names = [name_of(index) for index in range(torch.accelerator.device_count())]
    counted = [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    return {
        "CUDA": torch.version.cuda or "none",
        "cuDNN": "none" if cudnn is None else _cudnn_version(cudnn),
        "GPU": ", ".join(counted) or "none",
    }


def _cudnn_version(number: int) -> str:
    """Read the version that cuDNN packs into a number: 91002 is 9.10.2, 8902 is 8.9.2."""
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def provenance() -> dict[str, object]:
    """Collect versions, platform, accelerator, number of CPUs, the command and the date (UTC, ISO 8601)."""
    return {
        "versions": versions(),
        "accelerator": accelerator(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }

"""open3d, wherever pip has installed it: its wheel for Linux needs a libusb that minimal systems lack."""

import ctypes
import importlib
import sys
from types import ModuleType

LIBUSB = "libusb-1.0.so.0"


def load_open3d() -> ModuleType:
    """The module `open3d`; where Linux has no libusb of its own, the copy in the wheel `libusb-package` is loaded.

    open3d touches USB only for depth cameras, but without the library it cannot be imported.
    """
    if sys.platform == "linux":
        _load_libusb()
    return importlib.import_module("open3d")


def _load_libusb() -> None:
    """Make the symbols of libusb known to what is loaded later: the loader then takes `LIBUSB` as satisfied."""
    try:
        ctypes.CDLL(LIBUSB, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        from libusb_package import get_library_path  # noqa: PLC0415

        ctypes.CDLL(str(get_library_path()), mode=ctypes.RTLD_GLOBAL)

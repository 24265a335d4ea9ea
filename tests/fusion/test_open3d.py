"""open3d can be imported with nothing but what pip installs."""

import subprocess
import sys

import pytest


def run(program: str) -> str:
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.strip()


def test_open3d_loads_in_a_fresh_process_and_computes() -> None:
    program = (
        "from vo3d.fusion.open3d_library import load_open3d;"
        "import sys; assert 'open3d' not in sys.modules;"
        "box = load_open3d().geometry.TriangleMesh.create_box();"
        "print(len(box.triangles))"
    )
    assert run(program) == "12"


@pytest.mark.skipif(sys.platform != "linux", reason="only open3d's wheel for Linux needs it")
def test_the_packaged_libusb_serves_where_the_system_has_none() -> None:
    # The name of the system's library is made one that exists nowhere; the packaged copy must carry the true one.
    program = (
        "import vo3d.fusion.open3d_library as library;"
        "name = library.LIBUSB; library.LIBUSB = 'libusb-absent.so.0'; library._load_libusb();"
        "maps = open('/proc/self/maps').read(); assert 'libusb_package' in maps;"
        "import ctypes; print(ctypes.CDLL(name)._name)"
    )
    assert run(program) == "libusb-1.0.so.0"

"""The table of located images: columns that are there, and fields that do not fit each other."""

from pathlib import Path

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.located import Located, write_located


def located(count: int = 2, **fields: object) -> Located:
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    return Located(frames=torch.arange(7, 7 + count), names=["a", "b, c"][:count], world_T_cam=poses, **fields)  # type: ignore[arg-type]


def test_columns_are_those_of_what_is_known(tmp_path: Path) -> None:
    write_located(tmp_path / "a.csv", located())
    assert (tmp_path / "a.csv").read_text() == (
        'frame,name,x_m,y_m,z_m,qw,qx,qy,qz\n7,a,0.0,0.0,0.0,1.0,0.0,0.0,0.0\n8,"b, c",0.0,0.0,0.0,1.0,0.0,0.0,0.0\n'
    )
    time = torch.tensor([0.5, 1.5], dtype=torch.float64)
    write_located(tmp_path / "a.csv", located(time=time, deviations=torch.ones(2, 6, dtype=torch.float64)))
    assert (tmp_path / "a.csv").read_text().partition("\n")[0] == (
        "frame,name,time_s,x_m,y_m,z_m,qw,qx,qy,qz,position_m,rotation_deg,std_x_m,std_y_m,std_z_m,std_rx_deg,"
        "std_ry_deg,std_rz_deg"
    )
    assert located(time=time).stamps.tolist() == [0.5, 1.5]
    assert located().stamps.tolist() == [7, 8]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="names of 1 frames: expected one for each of 2"):
        Located(frames=torch.arange(2), names=["a"], world_T_cam=torch.eye(4, dtype=torch.float64).repeat(2, 1, 1))
    found = located()
    found.world_T_cam[1, 0, 3] = torch.nan
    with pytest.raises(Vo3dError, match=r"a\.csv, pose 1: the pose holds NaN"):
        write_located(tmp_path / "a.csv", found)
    assert not list(tmp_path.iterdir())

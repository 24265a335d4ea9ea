"""SE(3), rotations, pinhole cameras, warps, trajectories: pure functions, tensors in and out, any leading batch shape.

Conventions, here once for the whole toolkit:

- `a_T_b` is a 4x4 matrix that maps points of frame b into frame a, so equal letters meet in a product:
  `world_T_cam = world_T_prev @ prev_T_cam`. `a_R_b` and `a_t_b` are its rotation and translation. Metres.
- A camera looks along +z, x is right and y is down. The centre of the top-left pixel is (0, 0). `K` is in pixels;
  `depth` is z in metres, 0 = no measurement.
- A tangent vector of SE(3) is translation first, then rotation. Angles are radians. Quaternions are (w, x, y, z).
- Pixels are (x, y) and NaN where a point has none; masks named `valid` are True where a value can be trusted.
- Geometry computes in float32 or float64, also inside autocast (see `precision.full_precision`).

`se3` and `trajectory` are used as modules (`se3.exp`, `trajectory.chain`); the other names are here as well.
"""

from vo3d.geometry import se3, trajectory
from vo3d.geometry.camera import (
    backproject,
    crop_intrinsics,
    flip_intrinsics,
    pixel_grid,
    project,
    rays,
    scale_intrinsics,
    subsample,
    subsample_intrinsics,
)
from vo3d.geometry.distortion import distort_points, undistort_points
from vo3d.geometry.plane_sweep import depth_hypotheses, sweep_pixels, variance_cost, variance_slabs, warp_to_planes
from vo3d.geometry.precision import full_precision
from vo3d.geometry.rotations import (
    axis_rotation,
    euler_from_matrix,
    is_rotation,
    log_quaternion_from_matrix,
    matrix_from_6d,
    matrix_from_euler,
    matrix_from_log_quaternion,
    matrix_from_quaternion,
    quaternion_from_matrix,
    sixd_from_matrix,
    so3_exp,
    so3_log,
)
from vo3d.geometry.warp import (
    depth_from_disparity,
    homography_pixels,
    plane_homography,
    reproject,
    sample_image,
    warp_by_depth,
    warp_by_disparity,
    warp_by_flow,
    warp_homography,
)

__all__ = [
    "axis_rotation",
    "backproject",
    "crop_intrinsics",
    "depth_from_disparity",
    "depth_hypotheses",
    "distort_points",
    "euler_from_matrix",
    "flip_intrinsics",
    "full_precision",
    "homography_pixels",
    "is_rotation",
    "log_quaternion_from_matrix",
    "matrix_from_6d",
    "matrix_from_euler",
    "matrix_from_log_quaternion",
    "matrix_from_quaternion",
    "pixel_grid",
    "plane_homography",
    "project",
    "quaternion_from_matrix",
    "rays",
    "reproject",
    "sample_image",
    "scale_intrinsics",
    "se3",
    "sixd_from_matrix",
    "so3_exp",
    "so3_log",
    "subsample",
    "subsample_intrinsics",
    "sweep_pixels",
    "trajectory",
    "undistort_points",
    "variance_cost",
    "variance_slabs",
    "warp_by_depth",
    "warp_by_disparity",
    "warp_by_flow",
    "warp_homography",
    "warp_to_planes",
]

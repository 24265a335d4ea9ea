"""vo3d: learned visual odometry and 3D reconstruction on one shared base."""

__version__ = "0.1.0"

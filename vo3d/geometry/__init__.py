"""SE(3), rotations, pinhole cameras, warps, trajectories."""

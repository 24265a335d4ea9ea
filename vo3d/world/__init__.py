"""The rendered world: exact images, depth, flow, masks, poses and inertial readings, in plain torch."""

"""`vo3d robustness`: what faults of the sensors do to models of motion."""

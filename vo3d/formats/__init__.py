"""Files in, files out: trajectories, images, KITTI sequences, weights."""

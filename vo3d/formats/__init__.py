"""Files in, files out: trajectories, images, KITTI, MVSNet and COLMAP scenes, depth maps, point clouds, weights."""

"""From depth maps to a point cloud and a mesh: filtering, fusion, normals, TSDF."""

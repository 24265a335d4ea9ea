"""`vo3d reconstruct`: from posed photographs to a point cloud, by a model of multi-view stereo."""

from vo3d.pipelines.reconstruct.pipeline import reconstruct

__all__ = ["reconstruct"]

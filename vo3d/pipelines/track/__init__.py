"""`vo3d track`: a video to the path of its camera, in files, pictures and words."""

from vo3d.pipelines.track.pipeline import track

__all__ = ["track"]

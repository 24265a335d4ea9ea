"""Losses before any mean or sum: one value a residual, pose or pixel; the method decides what to do with the axes."""

from vo3d.losses.consistency import disparity_consistency, moved_depth_error, registration_error, round_trip_error
from vo3d.losses.motion import pose_consistency, pose_error, squared_euler_error, squared_translation_error, wrap_angle
from vo3d.losses.penalties import absolute, charbonnier, huber, squared
from vo3d.losses.photometric import halved, masked_mean, photometric_error, structural_error
from vo3d.losses.ranking import mean_of_violations, ranking_loss
from vo3d.losses.regression import vector_error, weighted_by_uncertainty
from vo3d.losses.smoothness import edge_aware_smoothness, normalised_by_mean, second_order_smoothness

__all__ = [
    "absolute",
    "charbonnier",
    "disparity_consistency",
    "edge_aware_smoothness",
    "halved",
    "huber",
    "masked_mean",
    "mean_of_violations",
    "moved_depth_error",
    "normalised_by_mean",
    "photometric_error",
    "pose_consistency",
    "pose_error",
    "ranking_loss",
    "registration_error",
    "round_trip_error",
    "second_order_smoothness",
    "squared",
    "squared_euler_error",
    "squared_translation_error",
    "structural_error",
    "vector_error",
    "weighted_by_uncertainty",
    "wrap_angle",
]

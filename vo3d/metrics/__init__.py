"""Metrics equal to the official programs, as functions of trajectories and tensors."""

"""Optimisers of the gradient-descent survey, second-order methods, and the landscapes they are watched on."""

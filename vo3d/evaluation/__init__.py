"""Run a model over whole recordings; results with their protocol; comparison of results."""

"""The optimisers of the survey in pictures and tables: `vo3d optimizers`."""
